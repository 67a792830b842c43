/* proxy/proxy_test.c -- headers to the byte: whole, cut at every place, and read as a driver reads.
 */
#include "proxy/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SIG    "\r\n\r\n\0\r\nQUIT\n"
#define TO4    "\x0a\0\0\x02"
#define TO6    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"
#define V2(b)  S(SIG b)
#define CLIENT "\xc0\0\x02\x01"
#define SIX    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"

static const struct good {
	struct slice text;
	enum proxy_kind kind;
	const char *address; /* of a client */
	unsigned version, port;
} goods[] = {
	{ S("PROXY TCP4 192.0.2.1 10.0.0.2 51234 465\r\n"), PROXY_CLIENT, "192.0.2.1", 1, 51234 },
	{ S("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n"), PROXY_CLIENT, "1.1.1.1", 1, 1 },
	{ S("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), PROXY_CLIENT,
	  "255.255.255.255", 1, 65535 },
	{ S("PROXY TCP4 1.1.1.1 1.1.1.1 0 0\r\n"), PROXY_CLIENT, "1.1.1.1", 1, 0 },
	{ S("PROXY TCP6 :: :: 1 1\r\n"), PROXY_CLIENT, "::", 1, 1 },
	{ S("PROXY TCP6 2001:db8::1 2001:db8::2 4 5\r\n"), PROXY_CLIENT, "2001:db8::1", 1, 4 },
	{ S("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
	  PROXY_CLIENT, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1, 65535 },
	{ S("PROXY UNKNOWN\r\n"), PROXY_UNKNOWN, NULL, 1, 0 },
	{ S("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
	  PROXY_UNKNOWN, NULL, 1, 0 },
	{ S("PROXY UNKNOWN TCP4 1.2.3.4 whatever\r\n"), PROXY_UNKNOWN, NULL, 1, 0 },
	{ V2("\x21\x11\0\x0c" CLIENT TO4 "\xc8\x22\x01\xd1"), PROXY_CLIENT, "192.0.2.1", 2, 51234 },
	{ V2("\x21\x21\0\x24" SIX TO6 "\0\x07\x01\xd1"), PROXY_CLIENT, "2001:db8::1", 2, 7 },
	{ V2("\x21\x11\0\x13" CLIENT TO4 "\xc8\x22\x01\xd1\x04\0\0\x20\0\x01z"), PROXY_CLIENT,
	  "192.0.2.1", 2, 51234 },
	{ V2("\x20\0\0\0"), PROXY_LOCAL, NULL, 2, 0 },
	{ V2("\x20\x11\0\x0c" CLIENT TO4 "\xc8\x22\x01\xd1"), PROXY_LOCAL, NULL, 2, 0 },
	{ V2("\x20\x99\0\x02xx"), PROXY_LOCAL, NULL, 2, 0 },
	{ V2("\x21\0\0\0"), PROXY_UNKNOWN, NULL, 2, 0 },
	{ V2("\x21\0\0\x03xyz"), PROXY_UNKNOWN, NULL, 2, 0 },
	{ V2("\x21\x12\0\x0c" CLIENT TO4 "\xc8\x22\x01\xd1"), PROXY_UNKNOWN, NULL, 2, 0 },
};

static const struct {
	struct slice text;
	const char *want;
} bads[] = {
	{ S("EHLO client\r\n"), "there is none" },
	{ S("proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n"), "there is none" },
	{ S("\x16\x03\x01\x02\x00\x01"), "there is none" },
	{ S("PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n"), "neither TCP4, TCP6 nor UNKNOWN" },
	{ S("PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n"), "neither TCP4, TCP6 nor UNKNOWN" },
	{ S("PROXY UNKNOWNS\r\n"), "neither TCP4, TCP6 nor UNKNOWN" },
	{ S("PROXY \r\n"), "neither TCP4, TCP6 nor UNKNOWN" },
	{ S("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n"), "the line does not end in CRLF" },
	{ S("PROXY UNKNOWN\n"), "the line does not end in CRLF" },
	{ S("PROXY \n"), "the line does not end in CRLF" },
	{ S("PROXY UNKNOWN \r \r\n"), "a CR in the line" },
	{ S("PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n"), "addresses or ports are malformed" },
	{ S("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n"), "addresses or ports are malformed" },
	{ S("PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n"), "addresses or ports are malformed" },
	{ S("PROXY TCP4 ::1 1.1.1.1 1 1\r\n"), "addresses or ports are malformed" },
	{ S("PROXY TCP4 1.1.1.1 ::1 1 1\r\n"), "addresses or ports are malformed" },
	{ S("PROXY TCP6 ::1 1.1.1.1 1 1\r\n"), "addresses or ports are malformed" },
	{ S("PROXY TCP6 1.1.1.1 ::1 1 1\r\n"), "addresses or ports are malformed" },
	{ S("PROXY TCP4 1.1.1.256 1.1.1.1 1 1\r\n"), "addresses or ports are malformed" },
	{ S("PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n"), "addresses or ports are malformed" },
	{ S("PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n"), "addresses or ports are malformed" },
	{ S("PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n"), "addresses or ports are malformed" },
	{ S("PROXY TCP4 1.1.1.1 1.1.1.1 -1 1\r\n"), "addresses or ports are malformed" },
	{ S("PROXY TCP4 1.1.1.1 1.1.1.1 000001 1\r\n"), "addresses or ports are malformed" },
	{ S("PROXY TCP4 1.1.1.1\t1.1.1.1 1 1\r\n"), "addresses or ports are malformed" },
	{ S("PROXY UNKNOWN "
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxx\r\n"),
	  "longer than 107 bytes" },
	{ S("\r\n\r\n\0\r\nQUIT\r"), "there is none" },
	{ V2("\x22\x11\0\0"), "neither version 2's LOCAL nor its PROXY" },
	{ V2("\x11\x11\0\0"), "neither version 2's LOCAL nor its PROXY" },
	{ V2("\x21\x13\0\0"), "an unknown family or transport" },
	{ V2("\x21\x01\0\0"), "an unknown family or transport" },
	{ V2("\x21\x11\0\x0b" CLIENT TO4 "\xc8\x22\x01"), "too short for its addresses" },
	{ V2("\x21\x31\0\x01z"), "too short for its addresses" },
	{ V2("\x21\x11\x07\xf1"), "longer than 2048 bytes" },
	{ V2("\x20\x11\xff\xff"), "longer than 2048 bytes" },
	{ V2("\x21\x11\0\x0e" CLIENT TO4 "\xc8\x22\x01\xd1\x04\0"), "a malformed extension" },
	{ V2("\x21\x11\0\x0f" CLIENT TO4 "\xc8\x22\x01\xd1\x04\0\x01"), "a malformed extension" },
	{ V2("\x21\x11\0\x10" CLIENT TO4 "\xc8\x22\x01\xd1\x03\0\x01z"), "a malformed extension" },
	{ V2("\x21\x11\0\x13" CLIENT TO4 "\xc8\x22\x01\xd1\x03\0\x04zzzz"),
	  "its checksum is wrong" },
};

static void assert_good(const struct good *g, const struct proxy_header *h)
{
	char text[NET_TEXT] = "";

	assert_int_equal(h->kind, g->kind);
	assert_int_equal(h->version, g->version);
	if (g->address) {
		net_text(h->address, text);
		assert_string_equal(text, g->address);
		assert_int_equal(h->port, g->port);
	}
}

/* On the heap and no longer than it is: the sanitizer sees a byte too far. */
static char *copy(struct slice s, size_t n)
{
	char *p = malloc(n ? n : 1);

	assert_non_null(p);
	memcpy(p, s.p, n);
	return p;
}

/* Whole, with the connection's own bytes behind it, and cut at every place: then it wants more, and
 * never more than what is missing. */
static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof goods / sizeof *goods; i++) {
		struct slice text = goods[i].text, in;
		struct proxy_header h = { 0 };
		struct err e;
		char long_text[400];

		memcpy(long_text, text.p, text.n);
		memcpy(long_text + text.n, "EHLO\r\n", 6);
		in = slice(long_text, text.n + 6);
		assert_int_equal(proxy_parse(&in, &h, &e), PROXY_OK);
		assert_good(&goods[i], &h);
		assert_true(slice_eq(in, S("EHLO\r\n")));
		for (size_t n = 0; n < text.n; n++) {
			char *part = copy(text, n);

			in = slice(part, n);
			if (proxy_parse(&in, &h, &e) != PROXY_MORE)
				fail_msg("good %zu cut at %zu", i, n);
			assert_int_equal(in.n, n);
			assert_true(proxy_wants(in) >= 1 && proxy_wants(in) <= text.n - n);
			free(part);
		}
	}
}

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
		struct slice text = bads[i].text, in = text;
		struct proxy_header h = { .version = 77 };
		char want[100];
		struct err e = { 0 };

		snprintf(want, sizeof want, "PROXY header: %s", bads[i].want);
		if (proxy_parse(&in, &h, &e) != PROXY_BAD)
			fail_msg("bad %zu, %s", i, want);
		assert_string_equal(e.text, want);
		assert_int_equal(e.kind, ERR_INPUT);
		assert_int_equal(in.n, text.n);
		assert_int_equal(h.version, 77);
		/* It may be seen earlier, and is never taken for good. */
		for (size_t n = 0; n < text.n; n++) {
			char *part = copy(text, n);

			in = slice(part, n);
			assert_int_not_equal(proxy_parse(&in, &h, &e), PROXY_OK);
			free(part);
		}
	}
}

/* As the driver does it: reads what is wanted, until it is complete. */
static void test_driven(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof goods / sizeof *goods; i++) {
		struct slice text = goods[i].text, have = slice(text.p, 0);
		struct proxy_header h;
		struct err e;
		size_t reads = 0;

		while (proxy_parse(&have, &h, &e) == PROXY_MORE) {
			have.n += proxy_wants(have);
			assert_true(have.n <= text.n && ++reads < 60);
		}
		assert_int_equal(have.n, 0);
		assert_true(have.p == text.p + text.n);
		assert_good(&goods[i], &h);
	}
}

/* A right checksum is taken, and notices every flipped bit behind the signature. */
static void test_checksum(void **state)
{
	/* The checksum was computed by another program. */
	static const char header[] = SIG "\x21\x11\0\x13" CLIENT TO4 "\xc8\x22\x01\xd1"
					 "\x03\0\x04\x95\xa0\x8b\x43";
	char bytes[sizeof header - 1];
	struct proxy_header h;
	struct slice in = slice(header, sizeof header - 1);
	struct err e = { 0 };

	(void)state;
	if (proxy_parse(&in, &h, &e) != PROXY_OK)
		fail_msg("%s", e.text);
	for (size_t bit = 8 * 12; bit < 8 * sizeof bytes; bit++) {
		memcpy(bytes, header, sizeof bytes);
		bytes[bit / 8] = (char)((unsigned char)bytes[bit / 8] ^ (1u << bit % 8));
		in = slice(bytes, sizeof bytes);
		/* Flips that make it a LOCAL, or another kind of extension, are no matter of the
		 * checksum. */
		if (proxy_parse(&in, &h, &e) == PROXY_OK && h.kind == PROXY_CLIENT &&
		    (unsigned char)bytes[28] == 3)
			fail_msg("bit %zu", bit);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_driven),
		cmocka_unit_test(test_checksum),
	};

	return cmocka_run_group_tests_name("proxy", tests, NULL, NULL);
}
