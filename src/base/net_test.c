/* Addresses and networks. */
#include "base/net.h"

#include "base/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void addresses(void **state)
{
	static const struct {
		const char *text, *again; /* NULL: it is none */
	} cases[] = {
		{ "192.0.2.1", "192.0.2.1" },
		{ "0.0.0.0", "0.0.0.0" },
		{ "2001:DB8::0001", "2001:db8::1" },
		{ "::", "::" },
		{ "::ffff:192.0.2.1", "192.0.2.1" },
		{ "::192.0.2.1", "::192.0.2.1" },
		{ "", NULL },
		{ "192.0.2", NULL },
		{ "192.0.2.256", NULL },
		{ "192.0.2.01", NULL },
		{ "[::1]", NULL },
		{ "fe80::1%eth0", NULL },
		{ " 192.0.2.1", NULL },
		{ "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255x", NULL },
		{ "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:00", NULL },
	};
	char text[NET_TEXT];

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		unsigned char at[NET_BYTES];
		bool ok = net_address(slice_str(cases[i].text), at);

		if (ok != !!cases[i].again)
			fail_msg("%s", cases[i].text);
		if (!ok)
			continue;
		net_text(at, text);
		assert_string_equal(text, cases[i].again);
	}
	assert_false(net_address(slice("1.2.3.4\0", 8), (unsigned char[NET_BYTES]){ 0 }));
}

static void networks(void **state)
{
	static const struct {
		const char *net, *in, *out; /* in NULL: it is no network */
	} cases[] = {
		{ "10.0.0.0/8", "10.255.0.1", "11.0.0.0" },
		{ "10.0.0.0/8", "10.0.0.0", "9.255.255.255" },
		{ "192.0.2.7", "192.0.2.7", "192.0.2.6" },
		{ "192.0.2.4/31", "192.0.2.5", "192.0.2.6" },
		{ "0.0.0.0/0", "255.255.255.255", "::1" },
		{ "::/0", "10.0.0.1", NULL },
		{ "2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::" },
		{ "::1", "::1", "127.0.0.1" },
		{ "10.0.0.1/8", NULL, NULL },
		{ "10.0.0.0/33", NULL, NULL },
		{ "10.0.0.0/", NULL, NULL },
		{ "10.0.0.0/-1", NULL, NULL },
		{ "10.0.0.0/0008", NULL, NULL },
		{ "::/129", NULL, NULL },
		{ "/8", NULL, NULL },
		{ "host/8", NULL, NULL },
	};
	unsigned char at[NET_BYTES];
	struct net net;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (net_parse(slice_str(cases[i].net), &net) != !!cases[i].in)
			fail_msg("%s", cases[i].net);
		if (!cases[i].in)
			continue;
		assert_true(net_address(slice_str(cases[i].in), at));
		assert_true(net_has(&net, at));
		if (!cases[i].out)
			continue;
		assert_true(net_address(slice_str(cases[i].out), at));
		if (net_has(&net, at))
			fail_msg("%s in %s", cases[i].out, cases[i].net);
	}
}

static void loopback(void **state)
{
	static const struct {
		const char *text;
		bool is;
	} cases[] = { { "127.0.0.1", true },        { "127.255.0.9", true }, { "::1", true },
		      { "::ffff:127.0.0.1", true }, { "128.0.0.1", false },  { "::", false },
		      { "0.0.0.0", false },         { "::127.0.0.1", false } };
	unsigned char at[NET_BYTES];

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_true(net_address(slice_str(cases[i].text), at));
		assert_int_equal(net_is_loopback(at), cases[i].is);
	}
}

int run_net_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses),
		cmocka_unit_test(networks),
		cmocka_unit_test(loopback),
	};

	return cmocka_run_group_tests_name("base net", tests, NULL, NULL);
}
