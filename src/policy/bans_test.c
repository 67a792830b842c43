#include "policy/bans.h"

#include "policy/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define NOW 1000000ull

static const uint64_t key[2] = { 1, 2 };

static struct net prefix(const char *text)
{
	struct net p;

	if (!net_parse(slice_str(text), &p))
		fail_msg("%s", text);
	return p;
}

static struct ban ban(const char *text, uint64_t until_ms, bool by_hand)
{
	struct ban b = {
		.prefix = prefix(text), .began_ms = NOW, .until_ms = until_ms, .by_hand = by_hand
	};

	snprintf(b.reason, sizeof b.reason, "%s", text);
	return b;
}

static const char *held(const struct bans *b, const char *address, uint64_t now_ms)
{
	const struct ban *found = bans_hold(b, prefix(address).at, now_ms);

	return found ? found->reason : "-";
}

static void test_text(void **state)
{
	static const char *const row[] = {
		"192.0.2.1",       "192.0.2.0/24",  "0.0.0.0/0",           "128.0.0.0/1",
		"2001:db8::1",     "2001:db8::/64", "2001:db8:0:180::/57", "::/0",
		"255.255.255.255", "::1",
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct net p = prefix(row[i]);
		struct buf out;

		buf_init(&out, 100);
		bans_add_net(&out, &p);
		if (!slice_eq(buf_slice(&out), slice_str(row[i])))
			fail_msg("%s gave %.*s", row[i], (int)out.n, out.p);
		buf_done(&out);
	}
}

static void test_hold_and_end(void **state)
{
	struct bans *b = bans_new(100, key);
	struct ban one = ban("192.0.2.7", NOW + 10, false),
		   net = ban("192.0.2.0/24", NOW + 5, true),
		   six = ban("2001:db8::/64", BAN_FOR_EVER, true);

	(void)state;
	assert_string_equal(held(b, "192.0.2.7", NOW), "-");
	assert_true(bans_add(b, &one) && bans_add(b, &net) && bans_add(b, &six));
	assert_int_equal(bans_count(b), 3);
	assert_string_equal(held(b, "192.0.2.7", NOW), "192.0.2.7"); /* lasts longer */
	assert_string_equal(held(b, "192.0.2.8", NOW), "192.0.2.0/24");
	assert_string_equal(held(b, "192.0.3.7", NOW), "-");
	assert_string_equal(held(b, "2001:db8::1:2", NOW), "2001:db8::/64");
	assert_string_equal(held(b, "2001:db8:0:1::2", NOW), "-");
	assert_string_equal(held(b, "192.0.2.8", NOW + 5), "-");
	assert_string_equal(held(b, "192.0.2.7", NOW + 9), "192.0.2.7");
	assert_string_equal(held(b, "192.0.2.7", NOW + 10), "-");
	assert_int_equal(bans_expire(b, NOW + 5), 1);
	assert_int_equal(bans_expire(b, NOW + 10), 1);
	assert_int_equal(bans_expire(b, UINT32_MAX), 0);
	assert_int_equal(bans_count(b), 1);
	assert_false(bans_lift(b, &one.prefix));
	assert_true(bans_lift(b, &six.prefix));
	assert_string_equal(held(b, "2001:db8::1:2", NOW), "-");
	bans_free(b);
	bans_free(NULL);
}

static void test_who_beats_whom(void **state)
{
	struct bans *b = bans_new(100, key);
	struct ban shorter = ban("192.0.2.7", NOW + 10, false),
		   longer = ban("192.0.2.7", NOW + 20, false),
		   hand = ban("192.0.2.7", NOW + 5, true);

	(void)state;
	assert_true(bans_add(b, &shorter));
	assert_true(bans_add(b, &longer));
	assert_false(bans_add(b, &shorter));
	assert_string_equal(held(b, "192.0.2.7", NOW + 19), "192.0.2.7");
	/* A person may shorten it, and a machine not undo that. */
	assert_true(bans_add(b, &hand));
	assert_string_equal(held(b, "192.0.2.7", NOW + 6), "-");
	assert_false(bans_add(b, &longer));
	assert_int_equal(bans_count(b), 1);
	bans_free(b);
}

static void test_full(void **state)
{
	struct bans *b = bans_new(200, key);
	struct ban hand = ban("198.51.100.1", NOW + 1, true),
		   more = ban("198.51.100.2", NOW + 9, false);
	size_t at = 0, n = 0;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		struct ban one = ban("10.0.0.0", NOW + 1000 - i, false);

		one.prefix.at[15] = (unsigned char)i;
		assert_true(bans_add(b, &one));
	}
	/* The one that ends first gives way. */
	assert_string_equal(held(b, "10.0.0.199", NOW), "10.0.0.0");
	assert_true(bans_add(b, &hand));
	assert_string_equal(held(b, "10.0.0.199", NOW), "-");
	assert_string_equal(held(b, "10.0.0.198", NOW), "10.0.0.0");
	while (bans_each(b, &at))
		n++;
	assert_int_equal(n, 200);
	assert_int_equal(bans_expire(b, NOW + 2000), 200);
	for (unsigned i = 0; i < 200; i++) {
		struct ban one = ban("10.0.0.0", BAN_FOR_EVER, true);

		one.prefix.at[15] = (unsigned char)i;
		assert_true(bans_add(b, &one));
	}
	assert_false(bans_add(b, &more));
	assert_false(bans_add(b, &hand));
	bans_free(b);
}

int bans_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_hold_and_end),
		cmocka_unit_test(test_who_beats_whom),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests_name("bans", tests, NULL, NULL);
}
