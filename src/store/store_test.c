/* store/store_test.c -- one suite over every engine. */
#include "store/store_rig_test.h"

#include "base/buf.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void test_values(void **state)
{
	static char big[STORE_VALUE_MAX + 1];
	struct fix *f = *state;
	struct val v[5], got[5];

	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	key_row(v, INT64_MIN, S("k\xc3\xb6y'\"%"), INT64_MAX, S("\0\xff\0x"));
	v[4] = val_text(S(""));
	OK(f, store_insert(f->h, &keyed, v, &f->e));
	OK(f, store_get(f->h, &keyed, v, &f->a, got, &f->e));
	assert_true(got[0].i == INT64_MIN && got[2].i == INT64_MAX);
	assert_true(slice_eq(got[1].s, v[1].s) && slice_eq(got[3].s, v[3].s));
	assert_int_equal(got[4].type,
			 VAL_TEXT); /* an empty text is not NULL, an empty blob neither */
	assert_int_equal(got[4].s.n, 0);

	v[3] = val_blob(S(""));
	v[4] = (struct val){ 0 };
	OK(f, store_update(f->h, &keyed, v, &f->e));
	OK(f, store_get(f->h, &keyed, v, &f->a, got, &f->e));
	assert_int_equal(got[3].type, VAL_BLOB);
	assert_int_equal(got[3].s.n, 0);
	assert_int_equal(got[4].type, VAL_NULL);

	memset(big, 'x', sizeof(big));
	v[3] = val_blob(slice(big, STORE_VALUE_MAX));
	OK(f, store_update(f->h, &keyed, v, &f->e));
	OK(f, store_get(f->h, &keyed, v, &f->a, got, &f->e));
	assert_int_equal(got[3].s.n, STORE_VALUE_MAX);
	v[3] = val_blob(slice(big, sizeof(big)));
	FAILS(f, ERR_INPUT, store_update(f->h, &keyed, v, &f->e));
	v[3] = val_blob(S(""));
	v[4] = val_text(S("\xff"));
	FAILS(f, ERR_INPUT, store_update(f->h, &keyed, v, &f->e));
	v[4] = val_text(S("a\0b"));
	FAILS(f, ERR_INPUT, store_update(f->h, &keyed, v, &f->e));
	OK(f, store_commit(f->h, &f->e));
}

static void test_conflict_absent(void **state)
{
	struct fix *f = *state;
	struct val v[5];

	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	key_row(v, 1, S("a"), 1, S("x"));
	FAILS(f, ERR_ABSENT, store_update(f->h, &keyed, v, &f->e));
	FAILS(f, ERR_ABSENT, store_remove(f->h, &keyed, v, &f->e));
	OK(f, put(f, 1, S("a"), 1, S("x")));
	FAILS(f, ERR_CONFLICT, put(f, 1, S("a"), 1, S("y")));
	OK(f, put(f, 1, S("A"), 1, S("")));  /* texts compare by bytes */
	OK(f, put(f, 1, S("a "), 1, S(""))); /* and without padding */
	/* After an answer like these the transaction goes on. */
	OK(f, store_commit(f->h, &f->e));
	assert_true(has(f, f->h, 1, S("a"), 1));
	assert_true(has(f, f->h, 1, S("A"), 1));
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, store_remove(f->h, &keyed, v, &f->e));
	FAILS(f, ERR_ABSENT, store_remove(f->h, &keyed, v, &f->e));
	OK(f, put(f, 1, S("a"), 1, S("again")));
	OK(f, store_commit(f->h, &f->e));
	assert_true(has(f, f->h, 1, S("a"), 1));
}

/* Rows of a scan as text: "account/key/n " each. */
static void assert_scan(struct fix *f, const struct val *prefix, size_t n, const struct val *after,
			size_t limit, const char *wanted)
{
	struct rows r;
	struct buf b;

	OK(f, store_scan(f->h, &keyed, prefix, n, after, limit, &f->a, &r, &f->e));
	buf_init(&b, 4096);
	for (size_t i = 0; i < r.n; i++) {
		struct val *v = r.at + i * r.columns;

		buf_addf(&b, "%lld/%.*s/%lld ", (long long)v[0].i, SLICE_ARG(v[1].s),
			 (long long)v[2].i);
		assert_true(slice_eq(v[3].s, S("data")));
	}
	buf_addc(&b, 0);
	assert_string_equal(b.p, wanted);
	buf_done(&b);
}

static void test_scan(void **state)
{
	struct fix *f = *state;
	struct val v[5];
	struct rows r;

	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, put(f, 2, S("b"), -1, S("data")));
	OK(f, put(f, 2, S("b"), 10, S("data")));
	OK(f, put(f, 2, S("b"), 9, S("data")));
	OK(f, put(f, 2, S("ab"), 1, S("data")));
	OK(f, put(f, 2, S("a"), 1, S("data")));
	OK(f, put(f, 10, S("a"), 1, S("data")));
	OK(f, put(f, -3, S("\xc3\xbc"), 1, S("data")));
	OK(f, put(f, -3, S("z"), 1, S("data")));
	OK(f, put(f, -3, S("Z"), 1, S("data")));
	OK(f, store_commit(f->h, &f->e));

	assert_scan(f, NULL, 0, NULL, 100,
		    "-3/Z/1 -3/z/1 -3/\xc3\xbc/1 2/a/1 2/ab/1 2/b/-1 2/b/9 2/b/10 10/a/1 ");
	key_row(v, 2, S("b"), 9, S(""));
	assert_scan(f, v, 1, NULL, 100, "2/a/1 2/ab/1 2/b/-1 2/b/9 2/b/10 ");
	assert_scan(f, v, 2, NULL, 2, "2/b/-1 2/b/9 ");
	assert_scan(f, v, 3, NULL, 2, "2/b/9 ");
	assert_scan(f, v, 0, v, 100, "2/b/10 10/a/1 ");
	assert_scan(f, v, 1, v, 100, "2/b/10 ");
	assert_scan(f, v, 2, v, 100, "2/b/10 ");
	assert_scan(f, v, 3, v, 100, "");
	assert_scan(f, v, 0, NULL, 0, "");
	key_row(v, 2, S("aa"), 5, S("")); /* behind a key that does not exist */
	assert_scan(f, v, 1, v, 2, "2/ab/1 2/b/-1 ");
	key_row(v, 3, S(""), 0, S(""));
	assert_scan(f, v, 1, NULL, 100, "");

	/* Many rows, and an arena that cannot hold them. */
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	for (int64_t i = 0; i < 500; i++)
		OK(f, put(f, 77, S("many"), 499 - i, S("data")));
	OK(f, store_commit(f->h, &f->e));
	v[0] = val_int(77);
	OK(f, store_scan(f->h, &keyed, v, 1, NULL, SIZE_MAX, &f->a, &r, &f->e));
	assert_int_equal(r.n, 500);
	for (size_t i = 0; i < r.n; i++)
		assert_int_equal(r.at[i * r.columns + 2].i, i);
	arena_done(&f->a);
	arena_init(&f->a, 10000);
	FAILS(f, ERR_LATER, store_scan(f->h, &keyed, v, 1, NULL, SIZE_MAX, &f->a, &r, &f->e));
}

static void test_rollback(void **state)
{
	struct fix *f = *state;
	struct val v[5];

	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, put(f, 1, S("kept"), 1, S("")));
	OK(f, store_commit(f->h, &f->e));
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, put(f, 1, S("gone"), 1, S("")));
	key_row(v, 1, S("kept"), 1, S(""));
	OK(f, store_remove(f->h, &keyed, v, &f->e));
	assert_true(has(f, f->h, 1, S("gone"), 1)); /* a writer sees what it wrote */
	store_rollback(f->h);
	assert_false(has(f, f->h, 1, S("gone"), 1));
	assert_true(has(f, f->h, 1, S("kept"), 1));
	store_rollback(f->h); /* none is open: nothing happens */

	/* Detaching rolls back, and lets the next writer begin. */
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, put(f, 1, S("gone"), 1, S("")));
	store_detach(f->h);
	f->h = store_attach(f->s, &f->e);
	assert_non_null(f->h);
	assert_false(has(f, f->h, 1, S("gone"), 1));
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, store_commit(f->h, &f->e));
}

static void test_generation(void **state)
{
	struct fix *f = *state;
	uint64_t was = store_generation(f->s);
	struct val v[5];

	assert_true(was > 0);
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, put(f, 1, S("a"), 1, S("")));
	assert_int_equal(store_generation(f->s), was); /* not before the commit */
	store_rollback(f->h);
	assert_int_equal(store_generation(f->s), was);
	OK(f, store_begin(f->h, STORE_READ, &f->e));
	assert_false(has(f, f->h, 1, S("a"), 1));
	OK(f, store_commit(f->h, &f->e));
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, store_commit(f->h, &f->e)); /* nothing written */
	assert_int_equal(store_generation(f->s), was);
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, put(f, 1, S("a"), 1, S("")));
	OK(f, store_commit(f->h, &f->e));
	assert_true(store_generation(f->s) > was);
	was = store_generation(f->s);
	key_row(v, 1, S("a"), 1, S("b"));
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, store_update(f->h, &keyed, v, &f->e));
	OK(f, store_commit(f->h, &f->e));
	assert_true(store_generation(f->s) > was);
	was = store_generation(f->s);
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, store_remove(f->h, &keyed, v, &f->e));
	OK(f, store_commit(f->h, &f->e));
	assert_true(store_generation(f->s) > was);
	assert_ptr_equal(store_of(f->h), f->s);
}

static void test_lookups(void **state)
{
	struct fix *f = *state;
	uint64_t was = store_lookups(f->h);
	struct rows r;

	assert_false(has(f, f->h, 1, S("a"), 1));
	OK(f, store_scan(f->h, &names, NULL, 0, NULL, 1, &f->a, &r, &f->e));
	assert_int_equal(store_lookups(f->h), was + 2);
}

/* A reader keeps its state while a writer commits; a second writer waits and gives up. */
static void test_two_handles(void **state)
{
	struct fix *f = *state;
	struct store_handle *other = store_attach(f->s, &f->e);

	assert_non_null(other);
	OK(f, store_begin(other, STORE_READ, &f->e));
	assert_false(has(f, other, 1, S("a"), 1));
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, put(f, 1, S("a"), 1, S("")));
	assert_false(has(f, other, 1, S("a"), 1));
	OK(f, store_commit(f->h, &f->e));
	assert_false(has(f, other, 1, S("a"), 1));
	OK(f, store_commit(other, &f->e));
	assert_true(has(f, other, 1, S("a"), 1));

	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, put(f, 1, S("b"), 1, S("")));
	assert_false(has(f, other, 1, S("b"), 1)); /* outside of a transaction: what is committed */
	FAILS(f, ERR_LATER, store_begin(other, STORE_WRITE, &f->e));
	OK(f, store_commit(f->h, &f->e));
	OK(f, store_begin(other, STORE_WRITE, &f->e));
	assert_true(has(f, other, 1, S("b"), 1));
	OK(f, store_commit(other, &f->e));
	store_detach(other);
}

struct worker {
	struct store *s;
	int64_t who;
	bool ok;
};

#define ROUNDS 50

/* Adds to one counter, and leaves a row: writers that did not take turns would lose some. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct err e = { 0 };
	struct store_handle *h = store_attach(w->s, &e);

	for (int64_t i = 0; h && i < ROUNDS; i++) {
		struct val v[2] = { val_text(S("counter")), val_int(0) }, k[5];
		struct arena a;

		arena_init(&a, 4096);
		key_row(k, w->who, S("row"), i, S("x"));
		w->ok = store_begin(h, STORE_WRITE, &e) && store_get(h, &names, v, &a, v, &e) &&
			(v[1].i++, store_update(h, &names, v, &e)) &&
			store_insert(h, &keyed, k, &e) && store_commit(h, &e);
		arena_done(&a);
		if (!w->ok) {
			fprintf(stderr, "worker: %s\n", e.text);
			break;
		}
	}
	store_detach(h);
	return NULL;
}

static void test_threads(void **state)
{
	struct fix *f = *state;
	struct val v[2] = { val_text(S("counter")), val_int(0) };
	struct worker w[4];
	pthread_t t[LEN(w)];
	struct rows r;

	/* Writers wait for each other's syncs, which may be slow. */
	store_detach(f->h);
	store_close(f->s);
	f->s = open_at(f->backend, 60000, &f->e);
	f->h = store_attach(f->s, &f->e);
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, store_insert(f->h, &names, v, &f->e));
	OK(f, store_commit(f->h, &f->e));
	for (size_t i = 0; i < LEN(w); i++) {
		w[i] = (struct worker){ f->s, (int64_t)i, false };
		assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
	}
	for (size_t i = 0; i < LEN(w); i++) {
		pthread_join(t[i], NULL);
		assert_true(w[i].ok);
	}
	OK(f, store_get(f->h, &names, v, &f->a, v, &f->e));
	assert_int_equal(v[1].i, LEN(w) * ROUNDS);
	OK(f, store_scan(f->h, &keyed, NULL, 0, NULL, 1000, &f->a, &r, &f->e));
	assert_int_equal(r.n, LEN(w) * ROUNDS);
	assert_int_equal(store_generation(f->s), 1 + 1 + LEN(w) * ROUNDS);
}

/* Random operations against a list kept by hand; both engines tell the same story. */
static void test_model(void **state)
{
	struct fix *f = *state;
	bool now[64] = { false }, then[64];
	uint32_t x = 12345;

	for (int tx = 0; tx < 60; tx++) {
		memcpy(then, now, sizeof(then));
		OK(f, store_begin(f->h, STORE_WRITE, &f->e));
		for (int i = 0; i < 20; i++) {
			struct val v[5];
			size_t k;
			bool ok, wanted;

			x = x * 1664525 + 1013904223;
			k = x >> 26;
			key_row(v, (int64_t)(k / 8), S("k"), (int64_t)(k % 8), S("data"));
			if (x >> 20 & 1) {
				ok = store_insert(f->h, &keyed, v, &f->e);
				wanted = !now[k];
				now[k] = true;
			} else {
				ok = store_remove(f->h, &keyed, v, &f->e);
				wanted = now[k];
				now[k] = false;
			}
			assert_int_equal(ok, wanted);
		}
		if (x >> 10 & 1) {
			OK(f, store_commit(f->h, &f->e));
		} else {
			store_rollback(f->h);
			memcpy(now, then, sizeof(now));
		}
		for (size_t k = 0; k < LEN(now); k++)
			assert_int_equal(has(f, f->h, (int64_t)(k / 8), S("k"), (int64_t)(k % 8)),
					 now[k]);
		arena_done(&f->a);
	}
}

static void test_bad_schema(void **state)
{
	struct fix *f = *state;
	static const struct column bad_name[] = { { "a\"b", VAL_INT, false } };
	static const struct column null_key[] = { { "a", VAL_INT, true } };
	static const struct table tables[] = {
		{ "t", bad_name, 1, 1 },    { "t", null_key, 1, 1 },    { "T", key_columns, 2, 1 },
		{ "t", key_columns, 2, 0 }, { "t", key_columns, 2, 3 },
	};
	const struct store_conf conf = { slice_str(path), 50 };

	for (size_t i = 0; i < LEN(tables); i++) {
		const struct change c = { CHANGE_CREATE_TABLE, &tables[i], { 0 } };
		const struct schema_version v = { &c, 1 };
		const struct schema s = { "bad", &v, 1 };
		const struct schema *const list[] = { &schema, &s };

		assert_null(store_open(f->backend, &conf, list, 2, &f->e));
		assert_err(&f->e, ERR_BUG);
	}
	const struct schema *const twice[] = { &schema, &schema };

	assert_null(store_open(f->backend, &conf, twice, 2, &f->e));
	assert_err(&f->e, ERR_BUG);
}

static void test_memory_fault(void **state)
{
	struct fix *f = *state;

	/* begin, insert, insert, commit: each fails once; nothing stays. */
	for (uint64_t n = 1; n <= 4; n++) {
		bool ok;

		store_memory_fail(f->s, n);
		ok = store_begin(f->h, STORE_WRITE, &f->e);
		assert_int_equal(ok, n > 1);
		if (ok) {
			ok = put(f, 1, S("a"), 1, S("")) && put(f, 1, S("b"), 1, S(""));
			assert_int_equal(ok, n > 3);
			store_memory_fail(f->s, n == 4);
			FAILS(f, ERR_LATER, store_commit(f->h, &f->e));
		}
		store_memory_fail(f->s, 0);
		assert_false(has(f, f->h, 1, S("a"), 1));
		assert_int_equal(store_generation(f->s), 1);
	}
}

#define BOTH(test)                                                                                 \
	{ #test " sqlite", test, with_sqlite, end_test, NULL },                                    \
	{                                                                                          \
#test " memory", test, with_memory, end_test, NULL                                 \
	}

int store_contract_cases(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_values),
		BOTH(test_conflict_absent),
		BOTH(test_scan),
		BOTH(test_rollback),
		BOTH(test_generation),
		BOTH(test_lookups),
		BOTH(test_two_handles),
		BOTH(test_threads),
		BOTH(test_model),
		BOTH(test_bad_schema),
		cmocka_unit_test_setup_teardown(test_memory_fault, with_memory, end_test),
	};

	return cmocka_run_group_tests_name("store contract", tests, NULL, NULL);
}
