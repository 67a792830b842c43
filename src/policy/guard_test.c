/* policy/guard_test.c -- which addresses are special, at both edges of each range. */
#include "policy/guard.h"

#include "policy/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof *(a))

static void read_address(const char *text, unsigned char ret[16])
{
	assert_true(net_address(slice_str(text), ret));
}

static const struct {
	const char *text, *what;
} rows[] = {
	{ "0.0.0.0", "of this network" },
	{ "0.255.255.255", "of this network" },
	{ "1.0.0.0", NULL },
	{ "9.255.255.255", NULL },
	{ "10.0.0.0", "private" },
	{ "10.255.255.255", "private" },
	{ "11.0.0.0", NULL },
	{ "100.63.255.255", NULL },
	{ "100.64.0.0", "of a carrier's NAT" },
	{ "100.127.255.255", "of a carrier's NAT" },
	{ "100.128.0.0", NULL },
	{ "126.255.255.255", NULL },
	{ "127.0.0.1", "loopback" },
	{ "127.255.255.254", "loopback" },
	{ "128.0.0.0", NULL },
	{ "169.253.255.255", NULL },
	{ "169.254.169.254", "link-local" },
	{ "169.255.0.0", NULL },
	{ "172.15.255.255", NULL },
	{ "172.16.0.0", "private" },
	{ "172.31.255.255", "private" },
	{ "172.32.0.0", NULL },
	{ "192.0.0.8", "reserved" },
	{ "192.0.1.0", NULL },
	{ "192.0.2.1", "for documentation" },
	{ "192.0.3.0", NULL },
	{ "192.88.99.1", "reserved" },
	{ "192.167.255.255", NULL },
	{ "192.168.0.1", "private" },
	{ "192.169.0.0", NULL },
	{ "198.17.255.255", NULL },
	{ "198.18.0.0", "for benchmarks" },
	{ "198.19.255.255", "for benchmarks" },
	{ "198.20.0.0", NULL },
	{ "198.51.100.9", "for documentation" },
	{ "203.0.113.9", "for documentation" },
	{ "203.0.114.0", NULL },
	{ "223.255.255.255", NULL },
	{ "224.0.0.1", "multicast" },
	{ "239.255.255.255", "multicast" },
	{ "240.0.0.1", "reserved" },
	{ "255.255.255.255", "reserved" },
	{ "::", "reserved" },
	{ "::1", "loopback" },
	{ "::2", "reserved" },
	{ "::127.0.0.1", "reserved" },
	{ "::ffff:127.0.0.1", "loopback" },
	{ "::ffff:10.1.2.3", "private" },
	{ "::ffff:8.8.8.8", NULL },
	{ "64:ff9b::7f00:1", "loopback" },
	{ "64:ff9b::a01:203", "private" },
	{ "64:ff9b::808:808", NULL },
	{ "64:ff9b:1::1", "private" },
	{ "100::1", "discarded" },
	{ "2001::1", "reserved" },
	{ "2001:1ff:ffff::", "reserved" },
	{ "2001:200::", NULL },
	{ "2001:db8::1", "for documentation" },
	{ "2001:db9::1", NULL },
	{ "2002:7f00:1::", "loopback" },
	{ "2002:c0a8:101::1", "private" },
	{ "2002:808:808::1", NULL },
	{ "2606:4700::1", NULL },
	{ "3fff::1", "for documentation" },
	{ "3fff:1000::", NULL },
	{ "5f00::1", "reserved" },
	{ "fbff::1", NULL },
	{ "fc00::1", "private" },
	{ "fdff:ffff::", "private" },
	{ "fe00::", NULL },
	{ "fe80::1", "link-local" },
	{ "febf::1", "link-local" },
	{ "fec0::1", "private" },
	{ "feff::1", "private" },
	{ "ff02::1", "multicast" },
};

static void test_special(void **state)
{
	unsigned char a[16];

	(void)state;
	for (size_t i = 0; i < LEN(rows); i++) {
		const char *got;

		read_address(rows[i].text, a);
		got = guard_special(a);
		if (strcmp(got ? got : "-", rows[i].what ? rows[i].what : "-"))
			fail_msg("%s: %s", rows[i].text, got ? got : "-");
	}
}

static void test_any(void **state)
{
	const struct net nets[] = { { .at = { 0xfc }, .bits = 7 },
				    { .at = { [15] = 1 }, .bits = 128 } };
	unsigned char a[16];

	(void)state;
	read_address("fd00::1", a);
	assert_true(guard_any(nets, 2, a));
	assert_false(guard_any(nets, 0, a));
	read_address("::1", a);
	assert_true(guard_any(nets, 2, a));
	assert_false(guard_any(nets, 1, a));
	read_address("::2", a);
	assert_false(guard_any(nets, 2, a));
}

int guard_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_special),
		cmocka_unit_test(test_any),
	};

	return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
