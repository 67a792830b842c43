#include "account/network.h"

#include "account/test_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const char *text_of(const struct networks *s)
{
	static char text[NETWORKS_TEXT + 1];
	struct buf out;

	buf_init(&out, NETWORKS_TEXT);
	networks_text(s, &out);
	assert_false(out.failed);
	snprintf(text, sizeof text, "%.*s", SLICE_ARG(buf_slice(&out)));
	buf_done(&out);
	return text;
}

static void test_networks(void **state)
{
	static const char *const good[] = { "192.0.2.1", "10.0.0.0/8", "2001:db8::/32", "::1",
					    "192.0.2.1" };
	static const char *const bad[] = { "",      "192.0.2.1/24", "192.0.2.0/33", "mail.example",
					   "[::1]", "fe80::1%eth0", "10.0.0.0/8 ",  "any" };
	struct networks s = { 0 }, again;
	struct buf bytes;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(networks_add(&s, slice_str(good[i]), &e));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_false(networks_add(&s, slice_str(bad[i]), &e));
		assert_int_equal(e.kind, ERR_INPUT);
	}
	assert_string_equal(text_of(&s), "192.0.2.1 10.0.0.0/8 2001:db8::/32 ::1");
	buf_init(&bytes, NETWORKS_BYTES);
	networks_bytes(&s, &bytes);
	assert_int_equal(bytes.n, 4 * 17);
	assert_true(networks_read(buf_slice(&bytes), &again));
	assert_string_equal(text_of(&again), text_of(&s));
	/* What was not written so. */
	assert_false(networks_read(slice(bytes.p, 16), &again));
	bytes.p[16] = (char)129;
	assert_false(networks_read(buf_slice(&bytes), &again));
	buf_done(&bytes);
	assert_true(networks_read(S(""), &again));
	assert_int_equal(again.n, 0);
}

static void test_who_may(void **state)
{
	struct networks s = { 0 };
	struct err e;

	(void)state;
	assert_true(networks_allow(&s, S("203.0.113.1")));
	assert_true(networks_allow(&s, S("unix")));
	assert_true(networks_add(&s, S("10.0.0.0/8"), &e));
	assert_true(networks_add(&s, S("2001:db8::/32"), &e));
	assert_true(networks_allow(&s, S("10.255.0.1")));
	assert_true(networks_allow(&s, S("::ffff:10.0.0.1")));
	assert_true(networks_allow(&s, S("2001:db8:1::1")));
	assert_false(networks_allow(&s, S("11.0.0.1")));
	assert_false(networks_allow(&s, S("2001:db9::1")));
	assert_false(networks_allow(&s, S("unix")));
	assert_false(networks_allow(&s, S("")));
	/* No address is not the address 0. */
	assert_true(networks_add(&s, S("::/0"), &e));
	assert_true(networks_allow(&s, S("198.51.100.1")));
	assert_false(networks_allow(&s, S("unix")));
}

static void test_too_many(void **state)
{
	struct networks s = { 0 };
	char text[32];
	struct err e;

	(void)state;
	for (int i = 0; i <= NETWORKS_MAX; i++) {
		snprintf(text, sizeof text, "10.0.0.%d", i);
		assert_int_equal(networks_add(&s, slice_str(text), &e), i < NETWORKS_MAX);
	}
	assert_true(networks_add(&s, S("10.0.0.0"), &e)); /* it is there */
}

int network_tests(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_networks),
					    cmocka_unit_test(test_who_may),
					    cmocka_unit_test(test_too_many) };

	return cmocka_run_group_tests_name("networks", tests, NULL, NULL);
}
