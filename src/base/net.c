#include "base/net.h"

#include <arpa/inet.h>

static const unsigned char mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

bool net_address(struct slice text, unsigned char ret[NET_BYTES])
{
	unsigned char six[NET_BYTES], four[4];
	char room[NET_TEXT];

	if (!text.n || text.n >= sizeof room || memchr(text.p, '\0', text.n))
		return false;
	memcpy(room, text.p, text.n);
	room[text.n] = '\0';
	if (inet_pton(AF_INET, room, four) == 1) {
		memcpy(ret, mapped, sizeof mapped);
		memcpy(ret + sizeof mapped, four, sizeof four);
		return true;
	}
	if (inet_pton(AF_INET6, room, six) != 1)
		return false;
	memcpy(ret, six, sizeof six);
	return true;
}

static bool is_four(const unsigned char at[NET_BYTES])
{
	return !memcmp(at, mapped, sizeof mapped);
}

/* Which bits of byte i belong to a network of so many bits. */
static unsigned char mask(unsigned bits, unsigned i)
{
	if (bits >= 8 * (i + 1))
		return 0xff;
	if (bits <= 8 * i)
		return 0;
	return (unsigned char)(0xffu << (8 * (i + 1) - bits));
}

bool net_parse(struct slice text, struct net *ret)
{
	struct slice address, bits_text;
	struct net net;
	uint64_t bits;
	bool some = slice_cut(text, '/', &address, &bits_text);
	uint64_t most;

	if (!net_address(address, net.at))
		return false;
	most = memchr(address.p, ':', address.n) ? 128 : 32;
	if (!some)
		bits = most;
	else if (bits_text.n > 3 || !slice_u64(bits_text, &bits) || bits > most)
		return false;
	net.bits = (unsigned)(bits + (128 - most));
	for (unsigned i = 0; i < NET_BYTES; i++)
		if (net.at[i] & (unsigned char)~mask(net.bits, i))
			return false;
	*ret = net;
	return true;
}

bool net_has(const struct net *net, const unsigned char address[NET_BYTES])
{
	for (unsigned i = 0; i < NET_BYTES; i++)
		if ((net->at[i] ^ address[i]) & mask(net->bits, i))
			return false;
	return true;
}

bool net_is_loopback(const unsigned char address[NET_BYTES])
{
	static const unsigned char one[NET_BYTES] = { [15] = 1 };

	return (is_four(address) && address[12] == 127) || !memcmp(address, one, sizeof one);
}

void net_text(const unsigned char address[NET_BYTES], char ret[NET_TEXT])
{
	if (is_four(address))
		inet_ntop(AF_INET, address + 12, ret, NET_TEXT);
	else
		inet_ntop(AF_INET6, address, ret, NET_TEXT);
}
