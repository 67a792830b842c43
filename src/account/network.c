#include "account/network.h"

#include "policy/bans.h"

#define ONE (NET_BYTES + 1)

bool networks_add(struct networks *s, struct slice text, struct err *e)
{
	struct net n;

	if (!net_parse(text, &n))
		return err_set(e, ERR_INPUT,
			       "\"%.*s\" is no address and no network: 192.0.2.1, 192.0.2.0/24, "
			       "2001:db8::/32, with no bit set behind the prefix",
			       text.n < 60 ? (int)text.n : 60, text.p);
	for (size_t i = 0; i < s->n; i++)
		if (s->at[i].bits == n.bits && !memcmp(s->at[i].at, n.at, NET_BYTES))
			return true;
	if (s->n == NETWORKS_MAX)
		return err_set(e, ERR_INPUT, "a key has at most %d networks", NETWORKS_MAX);
	s->at[s->n++] = n;
	return true;
}

bool networks_read(struct slice bytes, struct networks *ret)
{
	struct networks s = { .n = bytes.n / ONE };

	if (bytes.n % ONE || s.n > NETWORKS_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		const char *one = bytes.p + i * ONE;

		memcpy(s.at[i].at, one, NET_BYTES);
		s.at[i].bits = (unsigned char)one[NET_BYTES];
		if (s.at[i].bits > 8 * NET_BYTES)
			return false;
	}
	*ret = s;
	return true;
}

void networks_bytes(const struct networks *s, struct buf *out)
{
	for (size_t i = 0; i < s->n; i++) {
		buf_add(out, slice(s->at[i].at, NET_BYTES));
		buf_addc(out, (char)s->at[i].bits);
	}
}

void networks_text(const struct networks *s, struct buf *out)
{
	for (size_t i = 0; i < s->n; i++) {
		if (i)
			buf_addc(out, ' ');
		bans_add_net(out, &s->at[i]);
	}
}

bool networks_allow(const struct networks *s, struct slice client)
{
	unsigned char address[NET_BYTES] = { 0 };
	bool is_one = net_address(client, address), has = false;

	for (size_t i = 0; i < s->n; i++)
		has |= net_has(&s->at[i], address);
	return !s->n || (is_one && has);
}
