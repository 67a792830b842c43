/* The PROXY protocol as its specification of 2020 has it: version 1 in section 2.1, version 2 in
 * section 2.2 (haproxy's doc/proxy-protocol.txt). */
#include "proxy/proxy.h"

#include "base/crc32c.h"

#define V1_LEAST   15 /* PROXY UNKNOWN CRLF */
#define V1_TCP4    32 /* PROXY TCP4 1.1.1.1 1.1.1.1 1 1 CRLF */
#define V1_TCP6    22 /* PROXY TCP6 :: :: 1 1 CRLF */
#define V2_FIXED   16
#define CRC_BYTES  4
#define TLV_CRC32C 0x03

static const struct slice v1_begins = { "PROXY ", 6 };
static const struct slice v2_begins = { "\r\n\r\n\0\r\nQUIT\n", 12 };

static unsigned byte(struct slice s, size_t at)
{
	return (unsigned char)s.p[at];
}

static unsigned two_bytes(struct slice s, size_t at)
{
	return byte(s, at) << 8 | byte(s, at + 1);
}

/* The bytes at hand may still become it. */
static bool may_begin(struct slice have, struct slice with)
{
	size_t n = have.n < with.n ? have.n : with.n;

	return !n || !memcmp(have.p, with.p, n);
}

static enum proxy_result bad(struct err *e, const char *why)
{
	err_set(e, ERR_INPUT, "PROXY header: %s", why);
	return PROXY_BAD;
}

/* -- version 1: a line for people -- */

static bool port(struct slice text, uint16_t *ret)
{
	uint64_t v;

	if (text.n > 5 || (text.n > 1 && text.p[0] == '0') || !slice_u64(text, &v) || v > 65535)
		return false;
	*ret = (uint16_t)v;
	return true;
}

static bool address(struct slice text, bool six, unsigned char ret[NET_BYTES])
{
	return !memchr(text.p, ':', text.n) != six && net_address(text, ret);
}

/* Behind "TCP4 " or "TCP6 ". */
static bool endpoints(struct slice text, bool six, struct proxy_header *ret)
{
	unsigned char to[NET_BYTES];
	struct slice word[4];
	uint16_t to_port;

	for (int i = 0; i < 4; i++)
		if (slice_cut(text, ' ', &word[i], &text) != (i < 3) || !word[i].n)
			return false;
	return address(word[0], six, ret->address) && address(word[1], six, to) &&
	       port(word[2], &ret->port) && port(word[3], &to_port);
}

static enum proxy_result parse_v1(struct slice *in, struct proxy_header *ret, struct err *e)
{
	struct proxy_header h = { .version = 1 };
	struct slice line, left;

	if (in->n < v1_begins.n)
		return PROXY_MORE;
	if (!slice_cut(slice(in->p, in->n < PROXY_V1_MAX ? in->n : PROXY_V1_MAX), '\n', &line,
		       &left))
		return in->n < PROXY_V1_MAX ? PROXY_MORE : bad(e, "longer than 107 bytes");
	if (line.p[line.n - 1] != '\r')
		return bad(e, "the line does not end in CRLF");
	left = slice(line.p + v1_begins.n, line.n - v1_begins.n - 1);
	if (memchr(left.p, '\r', left.n))
		return bad(e, "a CR in the line");
	/* What follows UNKNOWN is not to be looked at. */
	if (slice_eq(left, S("UNKNOWN")) || slice_starts(left, S("UNKNOWN ")))
		h.kind = PROXY_UNKNOWN;
	else if (!slice_starts(left, S("TCP4 ")) && !slice_starts(left, S("TCP6 ")))
		return bad(e, "neither TCP4, TCP6 nor UNKNOWN");
	else if (!endpoints(slice_from(left, 5), left.p[3] == '6', &h))
		return bad(e, "addresses or ports are malformed");
	slice_take(in, line.n + 1);
	*ret = h;
	return PROXY_OK;
}

/* -- version 2: bytes -- */

/* The addresses of a family and transport; SIZE_MAX: no such. */
static size_t address_bytes(unsigned family)
{
	switch (family) {
	case 0x00: return 0;
	case 0x11:
	case 0x12: return 12;
	case 0x21:
	case 0x22: return 36;
	case 0x31:
	case 0x32: return 216;
	default: return SIZE_MAX;
	}
}

/* Extensions are skipped, but for the checksum of the whole header, in which its own bytes count as
 * zeros. */
static bool extensions(struct slice whole, size_t from, const char **ret_why)
{
	while (from < whole.n) {
		size_t at = from + 3, n;

		*ret_why = "a malformed extension";
		if (at > whole.n)
			return false;
		n = two_bytes(whole, from + 1);
		if (n > whole.n - at)
			return false;
		if (byte(whole, from) == TLV_CRC32C) {
			uint32_t crc;

			if (n != CRC_BYTES)
				return false;
			crc = crc32c(0, slice(whole.p, at));
			crc = crc32c(crc, S("\0\0\0\0"));
			crc = crc32c(crc, slice_from(whole, at + CRC_BYTES));
			*ret_why = "its checksum is wrong";
			if (crc != (two_bytes(whole, at) << 16 | two_bytes(whole, at + 2)))
				return false;
		}
		from = at + n;
	}
	return true;
}

static void take_client(struct slice whole, struct proxy_header *h)
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

	h->kind = PROXY_CLIENT;
	if (byte(whole, 13) == 0x11) {
		memcpy(h->address, mapped, sizeof mapped);
		memcpy(h->address + sizeof mapped, whole.p + V2_FIXED, 4);
		h->port = (uint16_t)two_bytes(whole, V2_FIXED + 8);
	} else {
		memcpy(h->address, whole.p + V2_FIXED, NET_BYTES);
		h->port = (uint16_t)two_bytes(whole, V2_FIXED + 32);
	}
}

static enum proxy_result parse_v2(struct slice *in, struct proxy_header *ret, struct err *e)
{
	struct proxy_header h = { .version = 2, .kind = PROXY_UNKNOWN };
	const char *why = NULL;
	unsigned family;
	size_t whole, addresses;

	if (in->n < V2_FIXED)
		return PROXY_MORE;
	whole = V2_FIXED + two_bytes(*in, 14);
	family = byte(*in, 13);
	addresses = address_bytes(family);
	if (byte(*in, 12) != 0x20 && byte(*in, 12) != 0x21)
		return bad(e, "neither version 2's LOCAL nor its PROXY");
	if (whole > PROXY_V2_MAX)
		return bad(e, "longer than 2048 bytes");
	if (byte(*in, 12) == 0x20)
		h.kind = PROXY_LOCAL;
	else if (addresses == SIZE_MAX)
		return bad(e, "an unknown family or transport");
	else if (addresses > whole - V2_FIXED)
		return bad(e, "too short for its addresses");
	if (in->n < whole)
		return PROXY_MORE;
	/* What a LOCAL or an address of no kind brings along is thrown away unread. */
	if (h.kind == PROXY_UNKNOWN && family &&
	    !extensions(slice(in->p, whole), V2_FIXED + addresses, &why))
		return bad(e, why);
	if (h.kind == PROXY_UNKNOWN && (family == 0x11 || family == 0x21))
		take_client(*in, &h);
	slice_take(in, whole);
	*ret = h;
	return PROXY_OK;
}

enum proxy_result proxy_parse(struct slice *in, struct proxy_header *ret, struct err *e)
{
	if (!in->n)
		return PROXY_MORE;
	if (may_begin(*in, v1_begins))
		return parse_v1(in, ret, e);
	if (may_begin(*in, v2_begins))
		return parse_v2(in, ret, e);
	return bad(e, "there is none");
}

size_t proxy_wants(struct slice have)
{
	size_t whole = V1_LEAST;

	if (have.n && have.p[0] == v2_begins.p[0]) {
		whole = V2_FIXED;
		if (have.n >= V2_FIXED)
			whole += two_bytes(have, 14);
		return have.n < whole ? whole - have.n : 1;
	}
	if (have.n >= V1_LEAST && have.p[9] == '4')
		whole = V1_TCP4;
	if (have.n >= V1_LEAST && have.p[9] == '6')
		whole = V1_TCP6;
	if (have.n < whole)
		return whole - have.n;
	return have.p[have.n - 1] == '\r' ? 1 : 2;
}
