#include "base/b64.h"

static const char std_set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void encode(struct buf *out, struct slice in, const char *set, bool pad)
{
	const unsigned char *p = (const unsigned char *)in.p;
	size_t i = 0;

	for (; in.n - i >= 3; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)p[i + 1] << 8 | p[i + 2];
		char four[4] = { set[v >> 18], set[v >> 12 & 63], set[v >> 6 & 63], set[v & 63] };

		buf_add(out, slice(four, 4));
	}
	if (in.n - i == 1) {
		char two[4] = { set[p[i] >> 2], set[(p[i] & 3) << 4], '=', '=' };

		buf_add(out, slice(two, pad ? 4 : 2));
	} else if (in.n - i == 2) {
		uint32_t v = (uint32_t)p[i] << 8 | p[i + 1];
		char three[4] = { set[v >> 10], set[v >> 4 & 63], set[(v & 15) << 2], '=' };

		buf_add(out, slice(three, pad ? 4 : 3));
	}
}

void b64_encode(struct buf *out, struct slice in)
{
	encode(out, in, std_set, true);
}

void b64url_encode(struct buf *out, struct slice in)
{
	encode(out, in, url_set, false);
}

static int value(char c, char c62, char c63)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == c62 ? 62 : c == c63 ? 63 : -1;
}

/* in holds no padding; ret has room for in.n * 3 / 4 bytes. */
static bool decode(unsigned char *ret, struct slice in, char c62, char c63)
{
	uint32_t acc = 0;
	unsigned bits = 0;

	if (in.n % 4 == 1)
		return false;
	for (size_t i = 0; i < in.n; i++) {
		int v = value(in.p[i], c62, c63);

		if (v < 0)
			return false;
		acc = acc << 6 | (uint32_t)v;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			*ret++ = (unsigned char)(acc >> bits);
			acc &= (1u << bits) - 1;
		}
	}
	return acc == 0;
}

bool b64_decode(struct buf *out, struct slice in)
{
	size_t n;
	char *at;

	if (in.n % 4)
		return false;
	if (in.n && in.p[in.n - 1] == '=')
		in.n--;
	if (in.n % 4 == 3 && in.p[in.n - 1] == '=')
		in.n--;
	n = in.n * 3 / 4;
	if (!n)
		return in.n == 0;
	at = buf_room_for(out, n);
	if (!at || !decode((unsigned char *)at, in, '+', '/'))
		return false;
	buf_grew(out, n);
	return true;
}

bool b64url_decode(void *ret, size_t n, struct slice in)
{
	return in.n == B64URL_LEN(n) && decode(ret, in, '-', '_');
}
