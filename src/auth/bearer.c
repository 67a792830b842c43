/* auth/bearer.c -- a bearer token stands for a key. What it is worth its issuer has said, and which
 * of its claims count its rules: whoever asked them made the list of identities. */
#include "auth/login_impl.h"

/* A key may be chosen by its id where a token is known by several. */
static enum auth_reason choose(const struct auth_found *found, struct slice username,
			       struct slice *ret)
{
	*ret = slice_str(found->ids[0]);
	if (!found->n)
		return REASON_UNKNOWN_SUBJECT;
	for (size_t i = 0; key_id_shape(username) && i < found->n; i++)
		if (slice_eq(slice_str(found->ids[i]), username)) {
			*ret = username;
			return REASON_OK;
		}
	return found->n == 1 ? REASON_OK : REASON_AMBIGUOUS_SUBJECT;
}

/* Whom the client says that it is: the key, its account, or what one of the claims that count says.
 * Mail programs will not be without a user name. */
static bool is_called(const struct auth_attempt *at, const struct auth_rows *rows)
{
	struct slice name = at->username, value;

	if (!name.n || slice_eq(name, slice_str(rows->key.id)) ||
	    slice_eq(name, slice_str(rows->account.name)))
		return true;
	for (size_t i = 0; i < at->n_identities; i++)
		if (slice_cut(at->identities[i], '=', &(struct slice){ 0 }, &value) &&
		    slice_eq(value, name))
			return true;
	return false;
}

bool auth_by_token(struct store_handle *h, const struct auth_attempt *at, struct principal *ret,
		   struct auth_finding *f, struct err *e)
{
	uint64_t generation = store_generation(store_of(h));
	struct auth_rows rows = { 0 };
	struct auth_found found = { 0 };
	enum auth_reason r = at->fault;
	struct slice id = S("");
	bool ok;

	if (r != REASON_OK)
		return auth_refuse(f, r, e);
	if (!store_begin(h, STORE_READ, e))
		return auth_down(f);
	ok = auth_find(h, at, &found, e);
	r = choose(&found, at->username, &id);
	ok = ok && (r != REASON_OK || auth_look_up(h, id, at->client, &rows, e));
	if (!store_finish(h, ok, e))
		return auth_down(f);
	if (r == REASON_OK && !rows.key_there)
		r = REASON_UNKNOWN_SUBJECT;
	if (r != REASON_OK)
		return auth_refuse(f, r, e);
	memcpy(f->key_id, id.p, id.n);
	f->account = rows.key.account;
	if (!is_called(at, &rows))
		return auth_refuse(f, REASON_OTHER_IDENTITY, e);
	if (at->ends_ms && at->now_ms >= at->ends_ms)
		return auth_refuse(f, REASON_TOKEN_EXPIRED, e);
	if (!auth_admit(at, &rows, generation, ret, f, e))
		return false;
	auth_rests_on(ret, at->issuer, at->ends_ms);
	return true;
}
