#include "policy/limiter.h"

#include "base/map.h"
#include "policy/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MINUTE 60000ull
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define NOW    1700000000000ull

static const uint64_t key[2] = { 0x0123456789abcdef, 0xfedcba9876543210 };

static const struct limiter_conf plain = {
	.free = 3,
	.delay_ms = 500,
	.delay_max_ms = 10000,
	.ban_after = 20,
	.ban_ms = 15 * MINUTE,
	.ban_max_ms = DAY,
	.half_life_ms = 10 * MINUTE,
	.good_ms = DAY,
	.memory = 1 << 20,
};

static struct limiter_who v4(uint32_t address, const char *identity)
{
	struct limiter_who w = { .identity = slice_str(identity) };

	w.address[10] = w.address[11] = 0xff;
	for (int i = 0; i < 4; i++)
		w.address[12 + i] = (unsigned char)(address >> (24 - 8 * i));
	return w;
}

static struct limiter_who v6(uint64_t net, uint64_t host, const char *identity)
{
	struct limiter_who w = { .identity = slice_str(identity) };

	for (int i = 0; i < 8; i++) {
		w.address[i] = (unsigned char)(net >> (56 - 8 * i));
		w.address[8 + i] = (unsigned char)(host >> (56 - 8 * i));
	}
	return w;
}

/* The n-th secret: as a keyed digest gives it. */
static uint64_t secret(uint64_t n)
{
	return siphash(key, slice(&n, sizeof n));
}

static struct limiter *begin(const struct limiter_conf *c)
{
	struct limiter *l = limiter_new(c, key);

	assert_non_null(l);
	return l;
}

static void test_growing_delays(void **state)
{
	static const uint64_t want[] = { 0, 0, 0, 500, 1000, 2000, 4000, 8000, 10000, 10000 };
	struct limiter *l = begin(&plain);
	struct limiter_who w = v4(1, "");

	(void)state;
	for (unsigned i = 0; i < sizeof want / sizeof *want; i++) {
		struct limiter_verdict v = limiter_failed(l, &w, secret(i), NOW);

		assert_int_equal(v.delay_ms, want[i]);
		assert_int_equal(v.cause, want[i] ? LIMITER_ADDRESS : LIMITER_NONE);
		assert_int_equal(v.ban.bits, 0);
		/* What the next attempt waits is known before it is made. */
		assert_int_equal(limiter_look(l, &w, NOW).delay_ms, want[i]);
	}
	w = v4(2, "");
	assert_int_equal(limiter_look(l, &w, NOW).delay_ms, 0);
	limiter_free(l);
}

/* A program with an old key, all day long. */
static void test_the_same_secret_counts_once(void **state)
{
	struct limiter *l = begin(&plain);
	struct limiter_who w = v4(1, "apikey");

	(void)state;
	for (unsigned i = 0; i < 5000; i++) {
		/* Two programs, two old keys. */
		struct limiter_verdict v = limiter_failed(l, &w, secret(i % 2), NOW + i * 1000);

		assert_int_equal(v.delay_ms, 0);
		assert_int_equal(v.ban.bits, 0);
	}
	limiter_free(l);
}

static void test_fades(void **state)
{
	struct limiter *l = begin(&plain);
	struct limiter_who w = v4(1, "");

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		limiter_failed(l, &w, secret(i), NOW);
	assert_int_equal(limiter_look(l, &w, NOW).delay_ms, 8000);
	/* 8, 6, 4, 3 */
	assert_int_equal(limiter_look(l, &w, NOW + 5 * MINUTE).delay_ms, 2000);
	assert_int_equal(limiter_look(l, &w, NOW + 10 * MINUTE).delay_ms, 500);
	assert_int_equal(limiter_look(l, &w, NOW + 15 * MINUTE).delay_ms, 0);
	assert_int_equal(limiter_look(l, &w, NOW + 100 * DAY).delay_ms, 0);
	/* Set back, the clock makes nobody older. */
	assert_int_equal(limiter_look(l, &w, NOW - DAY).delay_ms, 8000);
	assert_int_equal(limiter_look(l, &w, 0).delay_ms, 8000);
	limiter_free(l);
}

static void test_ban(void **state)
{
	struct limiter *l = begin(&plain);
	struct limiter_who w = v4(0xc0000207, "");
	uint64_t now = NOW, last = 0, n = 0;
	struct limiter_verdict v;

	(void)state;
	for (unsigned i = 1; i < plain.ban_after; i++)
		assert_int_equal(limiter_failed(l, &w, secret(n++), now).ban.bits, 0);
	v = limiter_failed(l, &w, secret(n++), now);
	assert_int_equal(v.ban.bits, 128);
	assert_memory_equal(v.ban.at, w.address, 16);
	assert_int_equal(v.ban_cause, LIMITER_ADDRESS);
	assert_int_equal(v.ban_until_ms, now + 15 * MINUTE);
	/* The next ones are longer, up to a day; and come sooner, since half of it is remembered.
	 */
	for (unsigned round = 0; round < 12; round++) {
		unsigned tries = 1;

		now = v.ban_until_ms;
		while (!(v = limiter_failed(l, &w, secret(n++), now)).ban.bits)
			assert_true(++tries <= plain.ban_after);
		assert_true(v.ban_until_ms - now >= last);
		assert_true(v.ban_until_ms - now <= DAY);
		last = v.ban_until_ms - now;
	}
	assert_int_equal(last, DAY);
	/* A long time of peace is a fresh start. */
	now += 10 * DAY;
	for (unsigned i = 1; i < plain.ban_after; i++)
		assert_int_equal(limiter_failed(l, &w, secret(n++), now).ban.bits, 0);
	v = limiter_failed(l, &w, secret(n++), now);
	assert_int_equal(v.ban_until_ms, now + 15 * MINUTE);
	limiter_free(l);
}

static void test_no_ban_when_told(void **state)
{
	struct limiter_conf c = plain;
	struct limiter_who w = v6(1, 1, "");
	struct limiter *l;

	(void)state;
	c.ban_after = 0;
	l = begin(&c);
	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(limiter_failed(l, &w, secret(i), NOW).ban.bits, 0);
	c.ban_after = 5;
	limiter_configure(l, &c);
	assert_int_equal(limiter_failed(l, &w, secret(6000), NOW).ban.bits, 64);
	limiter_free(l);
}

/* Who has a /64 has 2^64 addresses. */
static void test_network(void **state)
{
	struct limiter *l = begin(&plain);
	struct limiter_who w;
	struct limiter_verdict v = { 0 };
	unsigned n = 0;

	(void)state;
	while (!v.ban.bits && n < 1000) {
		w = v6(0x20010db800010002, n, "");
		v = limiter_failed(l, &w, secret(n++), NOW);
		assert_true(n > 9 || !v.delay_ms);
	}
	assert_int_equal(n, 60);
	assert_int_equal(v.ban.bits, 64);
	assert_int_equal(v.ban_cause, LIMITER_NETWORK);
	assert_int_equal(v.cause, LIMITER_NETWORK);
	w = v6(0x20010db800010002, 0, "");
	assert_memory_equal(v.ban.at, w.address, 16);
	/* A neighbour beside it is nobody's accomplice; nor are IPv4 addresses, mapped as they are
	 * into one /64. */
	w = v6(0x20010db800010003, 1, "");
	assert_int_equal(limiter_look(l, &w, NOW).delay_ms, 0);
	for (n = 0; n < 5000; n++) {
		w = v4(n, "");
		v = limiter_failed(l, &w, secret(n), NOW);
		assert_int_equal(v.delay_ms, 0);
		assert_int_equal(v.ban.bits, 0);
	}
	limiter_free(l);
}

/* Many addresses guess at one identity: strangers are slowed down there, and nobody is locked out.
 */
static void test_identity(void **state)
{
	struct limiter *l = begin(&plain);
	struct limiter_who owner = v4(77, "SGowner"), w;
	struct limiter_verdict v;

	(void)state;
	limiter_good(l, &owner, NOW - HOUR);
	for (unsigned n = 0; n < 1000; n++) {
		w = v4(1000 + n, "SGowner");
		v = limiter_failed(l, &w, secret(n), NOW);
		assert_int_equal(v.ban.bits, 0);
	}
	assert_int_equal(v.delay_ms, 10000);
	assert_int_equal(v.cause, LIMITER_IDENTITY);
	w = v4(5, "SGowner");
	assert_int_equal(limiter_look(l, &w, NOW).delay_ms, 10000);
	w = v4(5, "SGother");
	assert_int_equal(limiter_look(l, &w, NOW).delay_ms, 0);
	assert_int_equal(limiter_look(l, &owner, NOW).delay_ms, 0);
	limiter_free(l);
}

static void test_standing(void **state)
{
	struct limiter *l = begin(&plain);
	struct limiter_who w = v6(8, 1, ""), neighbour = v6(8, 2, ""), other = v6(9, 1, "");

	(void)state;
	assert_int_equal(limiter_standing(l, w.address, NOW), LIMITER_UNKNOWN);
	limiter_failed(l, &w, secret(1), NOW);
	assert_int_equal(limiter_standing(l, w.address, NOW), LIMITER_SUSPECT);
	/* One failure says nothing of a neighbour; and it fades. */
	assert_int_equal(limiter_standing(l, neighbour.address, NOW), LIMITER_UNKNOWN);
	assert_int_equal(limiter_standing(l, w.address, NOW + plain.half_life_ms), LIMITER_UNKNOWN);
	for (unsigned i = 0; i < 3; i++)
		limiter_failed(l, &w, secret(10 + i), NOW);
	assert_int_equal(limiter_standing(l, neighbour.address, NOW), LIMITER_SUSPECT);
	assert_int_equal(limiter_standing(l, other.address, NOW), LIMITER_UNKNOWN);
	/* Who has logged in well is trusted, whatever else failed there. */
	limiter_good(l, &w, NOW);
	assert_int_equal(limiter_standing(l, w.address, NOW), LIMITER_TRUSTED);
	limiter_free(l);
}

static void test_trusted(void **state)
{
	struct limiter *l = begin(&plain);
	struct limiter_who w = v6(9, 9, "");
	struct limiter_verdict v = { 0 };

	(void)state;
	assert_false(limiter_trusts(l, w.address, NOW));
	limiter_good(l, &w, NOW);
	assert_true(limiter_trusts(l, w.address, NOW));
	for (unsigned i = 0; i < 200; i++) {
		v = limiter_failed(l, &w, secret(i), NOW + HOUR);
		assert_int_equal(v.ban.bits, 0);
	}
	/* Its own failures do slow it down. */
	assert_int_equal(v.delay_ms, 10000);
	assert_int_equal(v.cause, LIMITER_ADDRESS);
	assert_true(limiter_trusts(l, w.address, NOW + DAY - 1));
	assert_false(limiter_trusts(l, w.address, NOW + DAY));
	for (unsigned i = 0; i < plain.ban_after; i++)
		v = limiter_failed(l, &w, secret(1000 + i), NOW + DAY + HOUR);
	assert_int_equal(v.ban.bits, 128);
	limiter_free(l);
}

static void test_allowed(void **state)
{
	struct net p = { .bits = 120 };
	struct limiter_conf c = plain;
	struct limiter_who w = v4(0x0a000001, "who");
	struct limiter *l;

	(void)state;
	memcpy(p.at, w.address, 16);
	p.at[15] = 0;
	c.allow = &p;
	c.n_allow = 1;
	l = begin(&c);
	for (unsigned i = 0; i < 200; i++) {
		struct limiter_verdict v = limiter_failed(l, &w, secret(i), NOW);

		assert_int_equal(v.delay_ms, 0);
		assert_int_equal(v.ban.bits, 0);
	}
	assert_true(limiter_trusts(l, w.address, NOW));
	assert_int_equal(limiter_look(l, &w, NOW).delay_ms, 0);
	/* Nor does it tell on the identity it tried. */
	w = v4(0x0a000101, "who");
	assert_int_equal(limiter_look(l, &w, NOW).delay_ms, 0);
	assert_false(limiter_trusts(l, w.address, NOW));
	assert_int_equal(limiter_count(l).kept, 0);
	limiter_free(l);
}

static void test_installation(void **state)
{
	struct limiter_conf c = plain;
	struct limiter_who w, friend = v4(7, "");
	struct limiter *l;

	(void)state;
	c.all_per_minute = 600;
	l = begin(&c);
	limiter_good(l, &friend, NOW);
	/* Nine a second for ten minutes are fine, */
	for (unsigned i = 0; i < 5400; i++) {
		w = v4(1000 + i, "");
		assert_int_equal(limiter_failed(l, &w, secret(i), NOW + i * 111).delay_ms, 0);
	}
	/* thirty are not: and whoever is a stranger waits. */
	for (unsigned i = 0; i < 9000; i++) {
		w = v4(100000 + i, "");
		limiter_failed(l, &w, secret(i), NOW + 600000 + i * 33);
	}
	w = v4(1, "");
	assert_in_range(limiter_look(l, &w, NOW + 900000).delay_ms, 500, 2000);
	assert_int_equal(limiter_look(l, &w, NOW + 900000).cause, LIMITER_INSTALLATION);
	assert_int_equal(limiter_look(l, &friend, NOW + 900000).delay_ms, 0);
	assert_int_equal(limiter_look(l, &w, NOW + 900000 + 5 * MINUTE).delay_ms, 0);
	limiter_free(l);
}

/* A flood of new addresses makes forget what is harmless, not who is trusted or suspicious. */
static void test_memory(void **state)
{
	struct limiter_conf c = plain;
	struct limiter_who good[100], bad[100], w;
	struct limiter_count n;
	struct limiter *l;

	(void)state;
	c.memory = 256 << 10;
	l = begin(&c);
	for (unsigned i = 0; i < 100; i++) {
		good[i] = v4(i, "");
		bad[i] = v4(1000 + i, "");
		limiter_good(l, &good[i], NOW);
		for (unsigned k = 0; k < 15; k++)
			limiter_failed(l, &bad[i], secret(k), NOW);
	}
	for (unsigned i = 0; i < 300000; i++) {
		w = v4(1000000 + i, "");
		limiter_failed(l, &w, secret(i), NOW + i / 1000);
	}
	n = limiter_count(l);
	assert_true(n.bytes <= c.memory && n.bytes > c.memory / 2);
	assert_true(n.kept <= n.bytes / 32 && n.kept > n.bytes / 40);
	assert_int_equal(n.forgotten, 200 + 300000 - n.kept);
	for (unsigned i = 0; i < 100; i++) {
		assert_true(limiter_trusts(l, good[i].address, NOW + 1000));
		assert_true(limiter_look(l, &bad[i], NOW + 1000).delay_ms > 0);
	}
	limiter_free(l);
}

/* Grown over and over, nothing is lost that there is room for. */
static void test_growth_keeps(void **state)
{
	struct limiter *l = begin(&plain);
	struct limiter_who w;

	(void)state;
	for (unsigned i = 0; i < 5000; i++)
		for (unsigned k = 0; k < 4; k++) {
			w = v4(i, "");
			limiter_failed(l, &w, secret(k), NOW);
		}
	assert_int_equal(limiter_count(l).kept, 5000);
	assert_int_equal(limiter_count(l).forgotten, 0);
	for (unsigned i = 0; i < 5000; i++) {
		w = v4(i, "");
		assert_int_equal(limiter_look(l, &w, NOW).delay_ms, 500);
	}
	limiter_free(l);
}

static void test_extremes(void **state)
{
	static const uint64_t times[] = { 0, 1, NOW, UINT32_MAX * 1000ull, UINT64_MAX };
	struct limiter_conf c = plain;
	struct limiter *l;

	(void)state;
	c.delay_max_ms = c.ban_max_ms = UINT64_MAX;
	c.all_per_minute = 1;
	l = begin(&c);
	for (unsigned a = 0; a < 5; a++)
		for (unsigned b = 0; b < 5; b++)
			for (unsigned i = 0; i < 300; i++) {
				struct limiter_who w = v6(a, b, "x");

				limiter_look(l, &w, times[a]);
				limiter_failed(l, &w, secret(i), times[b]);
				limiter_trusts(l, w.address, times[a]);
				if (i % 50 == 0)
					limiter_good(l, &w, times[a]);
			}
	limiter_free(l);
	limiter_free(NULL);
}

int limiter_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_growing_delays),
		cmocka_unit_test(test_the_same_secret_counts_once),
		cmocka_unit_test(test_fades),
		cmocka_unit_test(test_ban),
		cmocka_unit_test(test_no_ban_when_told),
		cmocka_unit_test(test_network),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_standing),
		cmocka_unit_test(test_trusted),
		cmocka_unit_test(test_allowed),
		cmocka_unit_test(test_installation),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_growth_keeps),
		cmocka_unit_test(test_extremes),
	};

	return cmocka_run_group_tests_name("limiter", tests, NULL, NULL);
}
