/* auth/gate_test.c -- what the guard does with attempts, and what is left in its store. */
#include "auth/gate.h"
#include "auth/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOW    1700000000000ull
#define MINUTE 60000ull
#define DAY    (24 * 60 * MINUTE)

static const uint64_t key[2] = { 5, 6 };

static const struct gate_conf plain = {
	.limiter = { .free = 3,
		     .delay_ms = 500,
		     .delay_max_ms = 10000,
		     .ban_after = 10,
		     .ban_ms = 15 * MINUTE,
		     .ban_max_ms = DAY,
		     .half_life_ms = 10 * MINUTE,
		     .good_ms = DAY,
		     .memory = 1 << 20 },
	.bans_max = 100,
	.queue_max = 1000,
	.keep_ms = 90 * DAY,
	.rows_max = 100000,
};

struct fix {
	struct store *s;
	struct gate *g;
	struct err e;
};

static void begin(struct fix *f, const struct gate_conf *c)
{
	static const struct schema *const schemas[] = { &authlog_schema };
	static const struct store_conf conf = { .busy_ms = 50 };

	*f = (struct fix){ 0 };
	f->s = store_open(&store_memory, &conf, schemas, 1, &f->e);
	f->g = gate_new(c, f->s, key, NOW, &f->e);
	assert_non_null(f->g);
}

static void end(struct fix *f)
{
	gate_free(f->g);
	store_close(f->s);
}

static struct gate_verdict attempt(struct fix *f, const char *address, const char *secret,
				   enum auth_reason reason, uint64_t now_ms)
{
	struct authlog_entry e = { .port = 1 };
	struct gate_attempt a = { .who.identity = S("apikey"),
				  .secret = slice_str(secret),
				  .reason = reason,
				  .entry = &e };

	assert_true(net_address(slice_str(address), a.who.address));
	snprintf(e.address, sizeof e.address, "%s", address);
	return gate_decided(f->g, &a, now_ms);
}

static bool holds(struct fix *f, const char *address, uint64_t now_ms)
{
	unsigned char at[16];
	struct ban b;

	assert_true(net_address(slice_str(address), at));
	return gate_holds(f->g, at, now_ms, &b);
}

static unsigned guess_until_banned(struct fix *f, const char *address, uint64_t now_ms)
{
	unsigned n = 0;
	char secret[16];

	do
		snprintf(secret, sizeof secret, "s%u", n);
	while (!attempt(f, address, secret, REASON_WRONG_SECRET, now_ms).banned && ++n < 1000);
	return n + 1;
}

static size_t rows(struct fix *f, const char *result, uint32_t *ret_count)
{
	struct authlog_filter filter = { .result = slice_str(result) };
	struct authlog_entry *got;
	struct authlog_at at;
	struct arena a;
	size_t n;
	bool more;

	arena_init(&a, 64u << 20);
	assert_true(gate_list(f->g, &filter, NULL, 10000, NOW, &a, &got, &n, &at, &more, &f->e));
	*ret_count = 0;
	for (size_t i = 0; i < n; i++)
		*ret_count += got[i].count;
	arena_done(&a);
	return n;
}

static void test_guesses(void **state)
{
	struct fix f;
	uint32_t sum;

	(void)state;
	begin(&f, &plain);
	assert_false(holds(&f, "192.0.2.1", NOW));
	assert_int_equal(guess_until_banned(&f, "192.0.2.1", NOW), 10);
	assert_true(holds(&f, "192.0.2.1", NOW));
	assert_false(holds(&f, "192.0.2.2", NOW));
	assert_true(holds(&f, "192.0.2.1", NOW + 15 * MINUTE - 1));
	assert_false(holds(&f, "192.0.2.1", NOW + 15 * MINUTE));
	assert_true(gate_write(f.g, true, NOW, &f.e));
	assert_int_equal(rows(&f, "banned", &sum), 1);
	/* The first of them, and one with the number of the rest. */
	assert_int_equal(rows(&f, "failed", &sum), 2);
	assert_int_equal(sum, 10);
	end(&f);
}

/* What is no guess is not counted; one secret, be it tried for ever, is one guess. */
static void test_no_guesses(void **state)
{
	static const enum auth_reason row[] = { REASON_OK,
						REASON_STORE_DOWN,
						REASON_MECHANISM,
						REASON_REVOKED,
						REASON_EXPIRED,
						REASON_ACCOUNT_HELD,
						REASON_ACCOUNT_CLOSED,
						REASON_SCOPE_MISSING,
						REASON_OTHER_IDENTITY,
						REASON_USERNAME_KEY_MISMATCH,
						REASON_ISSUER_DOWN,
						REASON_ISSUER_BUSY,
						REASON_ADDRESS };
	struct fix f;
	char secret[16];

	(void)state;
	begin(&f, &plain);
	for (unsigned i = 0; i < 400; i++) {
		snprintf(secret, sizeof secret, "s%u", i);
		assert_int_equal(
		    attempt(&f, "192.0.2.1", secret, row[i % (sizeof row / sizeof *row)], NOW + i)
			.delay_ms,
		    0);
		assert_int_equal(
		    attempt(&f, "192.0.2.2", "old", REASON_WRONG_SECRET, NOW + i).delay_ms, 0);
	}
	assert_false(holds(&f, "192.0.2.1", NOW) || holds(&f, "192.0.2.2", NOW));
	end(&f);
}

/* A balancer's own connections: a ban would take it out for everybody behind it. */
static void test_spared(void **state)
{
	struct authlog_entry e = { .port = 1 };
	struct gate_attempt a = { .reason = REASON_WRONG_SECRET, .spared = true, .entry = &e };
	char secret[16];
	uint32_t sum;
	struct fix f;

	(void)state;
	begin(&f, &plain);
	assert_true(net_address(S("192.0.2.9"), a.who.address));
	for (unsigned i = 0; i < 100; i++) {
		snprintf(secret, sizeof secret, "s%u", i);
		a.secret = slice_str(secret);
		assert_int_equal(gate_decided(f.g, &a, NOW).delay_ms, 0);
	}
	assert_false(holds(&f, "192.0.2.9", NOW));
	/* Nor does a good login make it known. */
	a.reason = REASON_OK;
	gate_decided(f.g, &a, NOW);
	assert_int_equal(gate_standing(f.g, a.who.address, NOW), LIMITER_UNKNOWN);
	/* It is in the log all the same. */
	assert_true(gate_write(f.g, true, NOW, &f.e));
	rows(&f, "failed", &sum);
	assert_int_equal(sum, 100);
	end(&f);
}

static void test_who_is_not_held(void **state)
{
	struct net allow;
	struct gate_conf c = plain;
	struct ban b = { .began_ms = NOW, .until_ms = BAN_FOR_EVER, .by_hand = true };
	struct fix f;

	(void)state;
	assert_true(net_parse(S("10.0.0.0/8"), &allow));
	c.limiter.allow = &allow;
	c.limiter.n_allow = 1;
	begin(&f, &c);
	attempt(&f, "192.0.2.1", "right", REASON_OK, NOW);
	guess_until_banned(&f, "192.0.2.1", NOW);
	guess_until_banned(&f, "10.0.0.1", NOW);
	assert_false(holds(&f, "192.0.2.1", NOW));
	assert_false(holds(&f, "10.0.0.1", NOW));
	/* By hand: whoever it was, but for what the configuration allows. */
	assert_true(net_parse(S("192.0.2.1"), &b.prefix));
	assert_true(gate_ban(f.g, &b, &f.e));
	assert_true(net_parse(S("10.0.0.1"), &b.prefix));
	assert_true(gate_ban(f.g, &b, &f.e));
	assert_true(holds(&f, "192.0.2.1", NOW));
	assert_false(holds(&f, "10.0.0.1", NOW));
	end(&f);
}

static void test_bans_outlive(void **state)
{
	struct ban b = { .began_ms = NOW, .until_ms = NOW + DAY, .by_hand = true }, *list;
	struct arena a;
	struct fix f;
	size_t n;

	(void)state;
	begin(&f, &plain);
	guess_until_banned(&f, "2001:db8::1", NOW);
	assert_true(net_parse(S("198.51.100.0/24"), &b.prefix));
	snprintf(b.reason, sizeof b.reason, "abuse");
	assert_true(gate_ban(f.g, &b, &f.e));
	assert_true(gate_write(f.g, true, NOW, &f.e));
	gate_free(f.g);
	f.g = gate_new(&plain, f.s, key, NOW + 1, &f.e);
	assert_non_null(f.g);
	assert_true(holds(&f, "2001:db8::1", NOW + 1));
	assert_true(holds(&f, "198.51.100.77", NOW + 1));
	arena_init(&a, 1u << 20);
	assert_true(gate_bans(f.g, NOW + 1, &a, &list, &n, &f.e));
	assert_int_equal(n, 2);
	assert_string_equal(list[0].reason, "abuse");
	assert_string_equal(list[1].by, "limiter");
	/* Lifted, it stays so. */
	assert_true(gate_lift(f.g, &list[1].prefix, &f.e));
	assert_false(holds(&f, "2001:db8::1", NOW + 1));
	assert_false(gate_lift(f.g, &list[1].prefix, &f.e));
	assert_int_equal(f.e.kind, ERR_ABSENT);
	arena_done(&a);
	gate_free(f.g);
	f.g = gate_new(&plain, f.s, key, NOW + 1, &f.e);
	assert_false(holds(&f, "2001:db8::1", NOW + 1));
	/* One that is lifted before it was written does not come back either. */
	guess_until_banned(&f, "192.0.2.9", NOW);
	assert_true(net_parse(S("192.0.2.9"), &b.prefix));
	assert_true(gate_lift(f.g, &b.prefix, &f.e));
	assert_true(gate_write(f.g, true, NOW, &f.e));
	gate_free(f.g);
	f.g = gate_new(&plain, f.s, key, NOW + 1, &f.e);
	assert_false(holds(&f, "192.0.2.9", NOW + 1));
	/* One by hand lasts, also when the limiter's own had not been written before it. */
	guess_until_banned(&f, "192.0.2.9", NOW);
	assert_true(gate_ban(f.g, &b, &f.e));
	assert_true(gate_write(f.g, true, NOW, &f.e));
	gate_free(f.g);
	f.g = gate_new(&plain, f.s, key, NOW + 1, &f.e);
	assert_true(holds(&f, "192.0.2.9", NOW + DAY - 1));
	end(&f);
}

/* The store is slow or broken: decisions go on, rows wait, and beyond a bound they are dropped. */
static void test_store_fails(void **state)
{
	struct fix f;
	uint32_t sum;
	char address[32];

	(void)state;
	begin(&f, &plain);
	store_memory_fail(f.s, 1);
	for (unsigned i = 0; i < 1500; i++) {
		snprintf(address, sizeof address, "10.1.%u.%u", i / 256, i % 256);
		attempt(&f, address, "x", REASON_OK, NOW);
		assert_false(i % 100 == 99 && gate_write(f.g, false, NOW, &f.e));
	}
	assert_int_equal(gate_count(f.g).waiting, 1000);
	assert_int_equal(gate_count(f.g).dropped, 500);
	store_memory_fail(f.s, 0);
	assert_true(gate_write(f.g, true, NOW, &f.e));
	assert_int_equal(rows(&f, "ok", &sum), 1000);
	assert_int_equal(gate_count(f.g).waiting, 0);
	end(&f);
}

static void test_prune(void **state)
{
	struct gate_conf c = plain;
	struct fix f;
	uint32_t sum;

	(void)state;
	c.rows_max = 2000;
	c.queue_max = 5000;
	begin(&f, &c);
	for (unsigned i = 0; i < 4000; i++)
		attempt(&f, "192.0.2.1", "x", REASON_OK, NOW + i);
	assert_true(gate_write(f.g, true, NOW, &f.e));
	while (gate_prune(f.g, NOW + 4000))
		;
	assert_in_range(rows(&f, "ok", &sum), 1000, 2000);
	/* Counted again at a start; and by age. */
	gate_free(f.g);
	c.rows_max = 1000;
	f.g = gate_new(&c, f.s, key, NOW, &f.e);
	assert_true(gate_count_rows(f.g, &f.e));
	while (gate_prune(f.g, NOW + 4000))
		;
	assert_in_range(rows(&f, "ok", &sum), 1, 1000);
	while (gate_prune(f.g, NOW + 91 * DAY))
		;
	assert_int_equal(rows(&f, "ok", &sum), 0);
	/* Not kept at all. */
	c.keep_ms = 0;
	gate_configure(f.g, &c);
	attempt(&f, "192.0.2.1", "x", REASON_OK, NOW);
	assert_int_equal(rows(&f, "ok", &sum), 0);
	end(&f);
}

int gate_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guesses),      cmocka_unit_test(test_no_guesses),
		cmocka_unit_test(test_spared),       cmocka_unit_test(test_who_is_not_held),
		cmocka_unit_test(test_bans_outlive), cmocka_unit_test(test_store_fails),
		cmocka_unit_test(test_prune),
	};

	return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
