/* auth/authlog_test.c -- the authentication log: its texts, what is coalesced, its rows; bans. */
#include "auth/authlog.h"
#include "auth/ban.h"
#include "auth/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW              1700000000000ull
#define SET(field, text) authlog_text(field, sizeof(field), slice_str(text))

static const uint64_t key[2] = { 3, 4 };

static struct authlog_entry entry(uint64_t at_ms, const char *address, const char *identity,
				  const char *result)
{
	struct authlog_entry e = { .at_ms = at_ms, .last_ms = at_ms, .count = 1, .port = 4711 };

	SET(e.door, "submission");
	SET(e.address, address);
	SET(e.tls, "TLSv1.3");
	SET(e.mechanism, "PLAIN");
	SET(e.identity, identity);
	SET(e.result, result);
	SET(e.reason, strcmp(result, "ok") ? "wrong_secret" : "ok");
	SET(e.name, "client.example");
	return e;
}

/* -- texts -- */

static void test_text(void **state)
{
	static const struct {
		struct slice in;
		const char *out;
	} row[] = {
		{ { "", 0 }, "" },
		{ { "apikey", 6 }, "apikey" },
		{ { "a\r\nb", 4 }, "a\\x0d\\x0ab" },
		{ { "a\0b", 3 }, "a\\x00b" },
		{ { "\x1b[31m", 5 }, "\\x1b[31m" },
		{ { "\x7f", 1 }, "\\x7f" },
		{ { "back\\slash", 10 }, "back\\x5cslash" },
		{ { "\xc3\xa4", 2 }, "\xc3\xa4" },
		{ { "\xc3", 1 }, "\\xc3" },
		{ { "\xc3(", 2 }, "\\xc3(" },
		{ { "\xc2\x9b", 2 }, "\\xc2\\x9b" }, /* CSI, in one byte to some terminals */
		{ { "\xed\xa0\x80", 3 }, "\\xed\\xa0\\x80" },
		{ { "\xf0\x9f\x93\xa7", 4 }, "\xf0\x9f\x93\xa7" },
		{ { "\xff\xff", 2 }, "\\xff\\xff" },
	};
	char field[64], small[8];

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		authlog_text(field, sizeof field, row[i].in);
		assert_string_equal(field, row[i].out);
	}
	/* Cut between characters, never within an escape. */
	authlog_text(small, sizeof small, S("123456789"));
	assert_string_equal(small, "1234567");
	authlog_text(small, sizeof small, S("12345\xc3\xa4x"));
	assert_string_equal(small, "12345\xc3\xa4");
	authlog_text(small, sizeof small, S("123456\xc3\xa4"));
	assert_string_equal(small, "123456");
	authlog_text(small, sizeof small, S("1234\x01"));
	assert_string_equal(small, "1234");
}

static void test_no_secret_is_copied(void **state)
{
	static const struct {
		struct slice in;
		bool secret;
	} row[] = {
		{ S("SG.AbcdefghijklmnopqrstuV.abcdefghijklmnopqrstuvwxyz0123456789-_ABCDE"),
		  true },
		{ S("apikey:SG.AbcdefghijklmnopqrstuV.abc"), true },
		{ S("SG.AbcdefghijklmnopqrstuV"), true },
		{ S("abcdefghijklmnopqrstuvwxyz0123456789-_ABCDE"), true },
		{ S("U0cuQWJjZGVmZ2hpamtsbW5vcHFyc3R1Vi5hYmNkZWY="), true },
		{ S("eyJhbGciOiJub25lIn0.e30."), true },
		{ S("SG.example"), false },
		{ S("MAIL.SG.EXAMPLE"), false },
		{ S("apikey"), false },
		{ S("AbcdefghijklmnopqrstuV"), false },
		{ S("a.very.long.name.of.somebody.who.sends@mail.shop.example"), false },
		{ S("token:sso:sub=0123456789abcdef0123456789abcdef0123456789"), false },
		{ S(""), false },
	};
	char field[AUTHLOG_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		authlog_claim(field, sizeof field, row[i].in);
		assert_int_equal(!strcmp(field, AUTHLOG_SECRET), row[i].secret);
	}
}

/* -- coalescing -- */

static bool add(struct authlog_fold *f, uint64_t at_ms, const char *address, const char *identity,
		const char *result, struct authlog_entry *ret)
{
	struct authlog_entry e = entry(at_ms, address, identity, result);
	bool write = authlog_fold_add(f, &e);

	if (ret)
		*ret = e;
	return write;
}

static void test_fold(void **state)
{
	struct authlog_fold *f = authlog_fold_new(100, key);
	struct authlog_entry e;

	(void)state;
	assert_true(add(f, NOW, "192.0.2.1", "a", "failed", NULL));
	assert_false(add(f, NOW + 5, "192.0.2.1", "a", "failed", NULL));
	assert_false(add(f, NOW + 59999, "192.0.2.1", "a", "failed", NULL));
	/* Another source, another identity: rows of their own; and what was right is never folded.
	 */
	assert_true(add(f, NOW + 6, "192.0.2.2", "a", "failed", NULL));
	assert_true(add(f, NOW + 7, "192.0.2.1", "b", "failed", NULL));
	assert_true(add(f, NOW + 8, "192.0.2.1", "a", "ok", NULL));
	assert_true(add(f, NOW + 9, "192.0.2.1", "a", "ok", NULL));
	assert_false(authlog_fold_due(f, NOW + 59999, &e));
	assert_true(authlog_fold_due(f, NOW + 60000, &e));
	assert_string_equal(e.address, "192.0.2.1");
	assert_string_equal(e.identity, "a");
	assert_int_equal(e.count, 2);
	assert_int_equal(e.at_ms, NOW + 5);
	assert_int_equal(e.last_ms, NOW + 59999);
	/* The two that came once have nothing to tell. */
	assert_false(authlog_fold_due(f, NOW + 60007, &e));
	/* It goes on: still one row a minute. */
	for (unsigned i = 0; i < 1000; i++)
		assert_false(add(f, NOW + 60001 + i, "192.0.2.1", "a", "failed", NULL));
	assert_false(authlog_fold_due(f, NOW + 119000, &e));
	assert_true(authlog_fold_due(f, NOW + 130000, &e));
	assert_int_equal(e.count, 1000);
	assert_false(authlog_fold_due(f, NOW + 130000, &e));
	assert_false(authlog_fold_due(f, NOW + 190000, &e));
	/* Silence for a minute: forgotten. */
	assert_true(add(f, NOW + 190001, "192.0.2.1", "a", "failed", NULL));
	assert_false(add(f, NOW + 190002, "192.0.2.1", "a", "failed", NULL));
	/* The end comes: nothing is kept back. */
	assert_true(authlog_fold_due(f, UINT64_MAX, &e));
	assert_int_equal(e.count, 1);
	assert_false(authlog_fold_due(f, UINT64_MAX, &e));
	authlog_fold_free(f);
	authlog_fold_free(NULL);
}

/* Ten thousand names from one address are a score of rows, and one with their number. */
static void test_fold_distinct(void **state)
{
	struct authlog_fold *f = authlog_fold_new(1000, key);
	struct authlog_entry e;
	unsigned rows = 0;

	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		char name[32];

		snprintf(name, sizeof name, "guess%u", i);
		if (add(f, NOW + i, "192.0.2.1", name, "failed", &e))
			rows++;
	}
	assert_int_equal(rows, AUTHLOG_DISTINCT + 1);
	assert_string_equal(e.identity, "*");
	/* Others are not concerned, nor is it for ever. */
	assert_true(add(f, NOW, "192.0.2.2", "x", "failed", &e));
	assert_string_equal(e.identity, "x");
	assert_true(authlog_fold_due(f, NOW + 80000, &e));
	assert_string_equal(e.identity, "*");
	assert_int_equal(e.count, 10000 - AUTHLOG_DISTINCT - 1);
	assert_true(add(f, NOW + 80000, "192.0.2.1", "again", "failed", &e));
	assert_string_equal(e.identity, "again");
	authlog_fold_free(f);
}

static void test_fold_full(void **state)
{
	struct authlog_fold *f = authlog_fold_new(10, key);
	char address[32];
	struct authlog_entry e;

	(void)state;
	/* More sources than can be kept in mind: each of the others is a row. */
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(address, sizeof address, "192.0.%u.%u", i / 256, i % 256);
		assert_true(add(f, NOW, address, "a", "failed", NULL));
	}
	assert_false(add(f, NOW + 1, "192.0.0.3", "a", "failed", NULL));
	assert_true(add(f, NOW + 1, "192.0.3.3", "a", "failed", NULL));
	assert_true(authlog_fold_due(f, NOW + 60000, &e));
	assert_string_equal(e.address, "192.0.0.3");
	authlog_fold_free(f);
}

/* -- rows -- */

struct fix {
	struct store *s;
	struct store_handle *h;
	struct err e;
};

static void begin(struct fix *f)
{
	static const struct schema *const schemas[] = { &authlog_schema };
	static const struct store_conf conf = { .busy_ms = 50 };

	*f = (struct fix){ 0 };
	f->s = store_open(&store_memory, &conf, schemas, 1, &f->e);
	f->h = store_attach(f->s, &f->e);
	assert_non_null(f->h);
}

static void end(struct fix *f)
{
	store_detach(f->h);
	store_close(f->s);
}

static size_t list(struct fix *f, const struct authlog_filter *filter, size_t limit,
		   struct authlog_at *at, struct arena *a, struct authlog_entry **ret, bool *more)
{
	size_t n;

	arena_init(a, 64u << 20);
	assert_true(authlog_list(f->h, filter, at->n ? at : NULL, limit, SIZE_MAX, a, ret, &n, at,
				 more, &f->e));
	return n;
}

static void test_rows(void **state)
{
	struct authlog_entry x[100], *got;
	struct authlog_filter all = { 0 };
	struct authlog_at at = { 0 };
	struct fix f;
	struct arena a;
	bool more;

	(void)state;
	begin(&f);
	for (unsigned i = 0; i < 100; i++) {
		x[i] = entry(NOW + i / 10, i % 2 ? "192.0.2.1" : "2001:db8::1", "who",
			     i % 5 ? "failed" : "ok");
		x[i].account = i % 3;
		x[i].count = i + 1;
		SET(x[i].key_id, i == 7 ? "KEY" : "");
		SET(x[i].cipher, "TLS_AES_256_GCM_SHA384");
	}
	assert_true(authlog_add(f.h, x, 60, &f.e) && authlog_add(f.h, x + 60, 40, &f.e));
	assert_int_equal(list(&f, &all, 1000, &at, &a, &got, &more), 100);
	assert_false(more);
	for (unsigned i = 0; i < 100; i++) {
		x[i].n = got[i].n;
		assert_memory_equal(&got[i].at_ms, &x[i].at_ms, sizeof x[i].at_ms);
		assert_int_equal(got[i].count, i + 1);
		assert_int_equal(got[i].account, i % 3);
		assert_int_equal(got[i].port, 4711);
		assert_string_equal(got[i].address, x[i].address);
		assert_string_equal(got[i].tls, x[i].tls);
		assert_string_equal(got[i].cipher, x[i].cipher);
		assert_string_equal(got[i].identity, "who");
		assert_string_equal(got[i].name, "client.example");
		assert_string_equal(got[i].reason, x[i].reason);
	}
	arena_done(&a);
	end(&f);
}

static void test_filters(void **state)
{
	static const struct {
		struct authlog_filter f;
		size_t n;
	} row[] = {
		{ { 0 }, 2000 },
		{ { .account = 1 }, 667 },
		{ { .address = { "192.0.2.1", 9 } }, 1000 },
		{ { .address = { "192.0.2.9", 9 } }, 0 },
		{ { .result = { "ok", 2 } }, 400 },
		{ { .reason = { "wrong_secret", 12 }, .account = 1 }, 534 },
		{ { .since_ms = NOW + 50 }, 1500 },
		{ { .since_ms = NOW + 50, .until_ms = NOW + 60 }, 100 },
		{ { .until_ms = NOW + 1 }, 10 },
		{ { .until_ms = NOW }, 0 },
		{ { .identity = { "who", 3 }, .key_id = { "KEY", 3 } }, 2 },
	};
	struct authlog_entry *x = calloc(2000, sizeof *x), *got;
	struct fix f;

	(void)state;
	begin(&f);
	for (unsigned i = 0; i < 2000; i++) {
		x[i] = entry(NOW + i / 10, i % 2 ? "192.0.2.1" : "2001:db8::1", "who",
			     i % 5 ? "failed" : "ok");
		x[i].account = i % 3;
		SET(x[i].key_id, i % 1000 == 7 ? "KEY" : "");
	}
	assert_true(authlog_add(f.h, x, 2000, &f.e));
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		/* In one piece, and in pages. */
		for (size_t limit = 3000; limit; limit = limit == 3000 ? 97 : 0) {
			struct authlog_at at = { 0 };
			size_t n = 0, some;
			bool more;

			do {
				struct arena a;

				some = list(&f, &row[i].f, limit, &at, &a, &got, &more);
				n += some;
				arena_done(&a);
			} while (more && n <= 2000);
			if (n != row[i].n)
				fail_msg("row %zu: %zu, want %zu", i, n, row[i].n);
		}
	}
	free(x);
	end(&f);
}

/* A filter that matches nothing does not hold up whoever asks: he is told where to go on. */
static void test_bounded_look(void **state)
{
	struct authlog_filter none = { .address = S("nobody") };
	struct authlog_entry *x = calloc(2000, sizeof *x), *got;
	struct authlog_at at = { 0 };
	struct fix f;
	unsigned calls = 0;
	bool more = true;

	(void)state;
	begin(&f);
	for (unsigned i = 0; i < 2000; i++)
		x[i] = entry(NOW + i, "192.0.2.1", "who", "failed");
	assert_true(authlog_add(f.h, x, 2000, &f.e));
	for (; more; calls++) {
		struct arena a;
		size_t n;

		arena_init(&a, 1u << 20);
		assert_true(authlog_list(f.h, &none, calls ? &at : NULL, 10, 300, &a, &got, &n, &at,
					 &more, &f.e));
		assert_int_equal(n, 0);
		arena_done(&a);
		assert_true(calls < 20);
	}
	assert_int_equal(calls, 7);
	free(x);
	end(&f);
}

static void test_prune(void **state)
{
	struct authlog_entry x[50];
	struct fix f;
	uint64_t oldest;
	size_t n;

	(void)state;
	begin(&f);
	assert_true(authlog_oldest(f.h, &oldest, &f.e));
	assert_int_equal(oldest, 0);
	for (unsigned i = 0; i < 50; i++)
		x[i] = entry(NOW + i, "192.0.2.1", "who", "failed");
	assert_true(authlog_add(f.h, x, 50, &f.e));
	assert_true(authlog_prune(f.h, NOW + 20, 15, &n, &f.e));
	assert_int_equal(n, 15);
	assert_true(authlog_prune(f.h, NOW + 20, 15, &n, &f.e));
	assert_int_equal(n, 5);
	assert_true(authlog_oldest(f.h, &oldest, &f.e));
	assert_int_equal(oldest, NOW + 20);
	end(&f);
}

/* A store that fails at any call says so and keeps nothing half. */
static void test_failing_store(void **state)
{
	(void)state;
	for (uint64_t nth = 1; nth < 12; nth++) {
		struct authlog_entry x[3] = { entry(NOW, "a", "b", "ok"),
					      entry(NOW, "a", "b", "ok"),
					      entry(NOW, "a", "b", "ok") };
		struct authlog_filter all = { 0 };
		struct authlog_entry *got;
		struct authlog_at at = { 0 };
		struct arena a;
		struct fix f;
		bool more, ok;

		begin(&f);
		store_memory_fail(f.s, nth);
		ok = authlog_add(f.h, x, 3, &f.e);
		assert_true(ok || f.e.kind == ERR_LATER);
		store_memory_fail(f.s, 0);
		assert_int_equal(list(&f, &all, 10, &at, &a, &got, &more), ok ? 3 : 0);
		arena_done(&a);
		end(&f);
	}
}

/* -- bans -- */

static struct ban ban(const char *prefix, uint64_t until_ms, const char *reason)
{
	struct ban b = { .began_ms = NOW, .until_ms = until_ms, .by_hand = true };

	assert_true(net_parse(slice_str(prefix), &b.prefix));
	snprintf(b.reason, sizeof b.reason, "%s", reason);
	snprintf(b.by, sizeof b.by, "uid:0");
	return b;
}

static void test_bans(void **state)
{
	struct ban one = ban("192.0.2.1", NOW + 10, "first"),
		   two = ban("2001:db8::/64", BAN_FOR_EVER, "second"),
		   again = ban("192.0.2.1", NOW + 20, "longer");
	const struct ban *got;
	struct bans *set;
	struct fix f;

	(void)state;
	begin(&f);
	assert_true(ban_save(f.h, &one, &f.e) && ban_save(f.h, &two, &f.e) &&
		    ban_save(f.h, &again, &f.e));
	set = bans_new(10000, key);
	assert_true(ban_load(f.h, NOW, set, &f.e));
	assert_int_equal(bans_count(set), 2);
	got = bans_hold(set, again.prefix.at, NOW);
	assert_non_null(got);
	assert_string_equal(got->reason, "longer");
	assert_string_equal(got->by, "uid:0");
	assert_int_equal(got->began_ms, NOW);
	assert_int_equal(got->until_ms, NOW + 20);
	assert_true(got->by_hand);
	bans_free(set);
	/* What is over is not loaded, and its row goes. */
	set = bans_new(10000, key);
	assert_true(ban_load(f.h, NOW + 20, set, &f.e));
	assert_int_equal(bans_count(set), 1);
	bans_free(set);
	assert_true(ban_forget(f.h, &two.prefix, &f.e) && ban_forget(f.h, &two.prefix, &f.e));
	set = bans_new(10000, key);
	assert_true(ban_load(f.h, NOW, set, &f.e));
	assert_int_equal(bans_count(set), 0);
	/* More than a page of them. */
	for (unsigned i = 0; i < 700; i++) {
		one.prefix.at[14] = (unsigned char)(i >> 8);
		one.prefix.at[15] = (unsigned char)i;
		one.until_ms = i % 7 ? NOW + 1000 : NOW;
		assert_true(ban_save(f.h, &one, &f.e));
	}
	assert_true(ban_load(f.h, NOW, set, &f.e));
	assert_int_equal(bans_count(set), 600);
	bans_free(set);
	end(&f);
}

int authlog_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),      cmocka_unit_test(test_no_secret_is_copied),
		cmocka_unit_test(test_fold),      cmocka_unit_test(test_fold_distinct),
		cmocka_unit_test(test_fold_full), cmocka_unit_test(test_rows),
		cmocka_unit_test(test_filters),   cmocka_unit_test(test_bounded_look),
		cmocka_unit_test(test_prune),     cmocka_unit_test(test_failing_store),
		cmocka_unit_test(test_bans),
	};

	return cmocka_run_group_tests_name("authlog", tests, NULL, NULL);
}
