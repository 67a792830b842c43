/* store/store_test.c -- one suite over every engine, then what only SQLite has. */
#include "store/store.h"

#include "base/buf.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof(*(a)))

static const struct column key_columns[] = {
	{ "account", VAL_INT, false }, { "key", VAL_TEXT, false },   { "n", VAL_INT, false },
	{ "data", VAL_BLOB, true },    { "select", VAL_TEXT, true },
};
static const struct table keyed = { "key", key_columns, LEN(key_columns), 3 };
static const struct column name_columns[] = {
	{ "name", VAL_TEXT, false },
	{ "id", VAL_INT, false },
};
static const struct table names = { "name", name_columns, LEN(name_columns), 1 };
static const struct change changes[] = {
	{ CHANGE_CREATE_TABLE, &keyed, { 0 } },
	{ CHANGE_CREATE_TABLE, &names, { 0 } },
};
static const struct schema_version versions[] = { { changes, LEN(changes) } };
static const struct schema schema = { "suite", versions, LEN(versions) };
static const struct schema *const schemas[] = { &schema };

static char dir[] = "/tmp/signet-store-XXXXXX";
static char path[64];

struct fix {
	const struct store_backend *backend;
	struct store *s;
	struct store_handle *h;
	struct arena a;
	struct err e;
};

static void wipe_files(void)
{
	static const char *const ends[] = { "", "-wal", "-shm", "-journal" };
	char name[80];

	for (size_t i = 0; i < LEN(ends); i++) {
		snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		unlink(name);
	}
}

static struct store *open_at(const struct store_backend *b, uint32_t busy_ms, struct err *e)
{
	const struct store_conf conf = { slice_str(path), busy_ms };

	return store_open(b, &conf, schemas, 1, e);
}

static int begin_test(void **state, const struct store_backend *b)
{
	struct fix *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->backend = b;
	f->s = open_at(b, 50, &f->e);
	f->h = f->s ? store_attach(f->s, &f->e) : NULL;
	arena_init(&f->a, 16 << 20);
	*state = f;
	return f->h ? 0 : -1;
}

static int with_sqlite(void **state)
{
	return begin_test(state, &store_sqlite);
}

static int with_memory(void **state)
{
	return begin_test(state, &store_memory);
}

static int end_test(void **state)
{
	struct fix *f = *state;

	store_detach(f->h);
	store_close(f->s);
	arena_done(&f->a);
	free(f);
	wipe_files();
	return 0;
}

static void assert_err(const struct err *e, enum err_kind kind)
{
	if (e->kind != kind)
		fail_msg("%s, not %s: %s", err_kind_name(e->kind), err_kind_name(kind), e->text);
}

#define OK(f, call)                                                                                \
	do {                                                                                       \
		if (!(call))                                                                       \
			fail_msg(#call ": %s", (f)->e.text);                                       \
	} while (0)
#define FAILS(f, wanted, call)                                                                     \
	do {                                                                                       \
		assert_false(call);                                                                \
		assert_err(&(f)->e, wanted);                                                       \
	} while (0)

static void key_row(struct val *v, int64_t account, struct slice key, int64_t n, struct slice data)
{
	v[0] = val_int(account);
	v[1] = val_text(key);
	v[2] = val_int(n);
	v[3] = val_blob(data);
	v[4] = (struct val){ 0 };
}

static bool put(struct fix *f, int64_t account, struct slice key, int64_t n, struct slice data)
{
	struct val v[5];

	key_row(v, account, key, n, data);
	return store_insert(f->h, &keyed, v, &f->e);
}

static bool has(struct fix *f, struct store_handle *h, int64_t account, struct slice key, int64_t n)
{
	struct val v[5], got[5];

	key_row(v, account, key, n, S(""));
	if (store_get(h, &keyed, v, &f->a, got, &f->e))
		return true;
	assert_err(&f->e, ERR_ABSENT);
	return false;
}

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

/* ---- memory ---- */

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

/* ---- SQLite ---- */

static void reopen(struct fix *f)
{
	store_detach(f->h);
	store_close(f->s);
	f->s = open_at(f->backend, 50, &f->e);
	if (!f->s)
		fail_msg("%s", f->e.text);
	f->h = store_attach(f->s, &f->e);
	assert_non_null(f->h);
}

static void test_reopen(void **state)
{
	struct fix *f = *state;
	struct stat st;
	char wal[80];

	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, put(f, 1, S("a"), 1, S("")));
	OK(f, store_commit(f->h, &f->e));
	snprintf(wal, sizeof(wal), "%s-wal", path);
	assert_int_equal(stat(wal, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	reopen(f);
	assert_true(has(f, f->h, 1, S("a"), 1));
	reopen(f);
	assert_true(has(f, f->h, 1, S("a"), 1));
}

/* Killed in the middle of a transaction: what was committed is there, the rest is not. */
static void test_kill(void **state)
{
	struct fix *f = *state;

	store_detach(f->h);
	store_close(f->s);
	f->h = NULL;
	f->s = NULL;
	for (int64_t round = 0; round < 5; round++) {
		int status;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			f->s = open_at(&store_sqlite, 50, &f->e);
			f->h = f->s ? store_attach(f->s, &f->e) : NULL;
			if (f->h && store_begin(f->h, STORE_WRITE, &f->e) &&
			    put(f, 1, S("kept"), round, S("")) && store_commit(f->h, &f->e) &&
			    store_begin(f->h, STORE_WRITE, &f->e) &&
			    put(f, 1, S("gone"), round, S("")))
				kill(getpid(), SIGKILL);
			_exit(1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
	}
	f->s = open_at(&store_sqlite, 50, &f->e);
	f->h = store_attach(f->s, &f->e);
	for (int64_t round = 0; round < 5; round++) {
		assert_true(has(f, f->h, 1, S("kept"), round));
		assert_false(has(f, f->h, 1, S("gone"), round));
	}
}

static void assert_open_fails(enum err_kind kind, const char *part)
{
	struct err e = { 0 };

	assert_null(open_at(&store_sqlite, 50, &e));
	assert_err(&e, kind);
	if (!strstr(e.text, part))
		fail_msg("\"%s\" does not say \"%s\"", e.text, part);
}

static void put_bytes(long at, const char *bytes, size_t n)
{
	FILE *file = fopen(path, at ? "r+" : "w");

	assert_non_null(file);
	fseek(file, at, SEEK_SET);
	assert_int_equal(fwrite(bytes, 1, n, file), n);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

static void test_bad_files(void **state)
{
	char other[80];
	struct err e;
	struct store *s;

	wipe_files();
	put_bytes(0, "this is no database, but long enough to look at", 47);
	assert_open_fails(ERR_DAMAGED, "not a database");
	wipe_files();
	assert_int_equal(mkdir(path, 0700), 0);
	assert_open_fails(ERR_DENIED, "regular file");
	rmdir(path);
	snprintf(other, sizeof(other), "%s.other", path);
	assert_int_equal(symlink(other, path), 0);
	assert_open_fails(ERR_DENIED, "regular file");
	wipe_files();
	s = open_at(&store_sqlite, 50, &e);
	assert_non_null(s);
	store_close(s);
	assert_int_equal(chmod(path, 0640), 0);
	assert_open_fails(ERR_DENIED, "chmod 600");
	wipe_files();
	const struct store_conf none = { S("/nonexistent/dir/x.db"), 0 }, empty = { S(""), 0 };

	assert_null(store_open(&store_sqlite, &none, schemas, 1, &e));
	assert_err(&e, ERR_LATER);
	assert_non_null(strstr(e.text, "/nonexistent/dir/x.db"));
	assert_null(store_open(&store_sqlite, &empty, schemas, 1, &e));
	assert_err(&e, ERR_INPUT);
}

/* The header is sound, the pages behind it are not. */
static void test_damaged_pages(void **state)
{
	struct fix *f = *state;
	char noise[4096];
	struct rows r;
	struct stat st;

	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	for (int64_t i = 0; i < 2000; i++)
		OK(f, put(f, i, S("a"), 1, S("some data to fill the pages with")));
	OK(f, store_commit(f->h, &f->e));
	store_detach(f->h);
	store_close(f->s);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size > 20 * 4096);
	memset(noise, 0xa5, sizeof(noise));
	for (long at = 3 * 4096; at < st.st_size; at += 4096)
		put_bytes(at, noise, sizeof(noise));
	f->s = open_at(f->backend, 50, &f->e);
	assert_non_null(f->s);
	f->h = store_attach(f->s, &f->e);
	FAILS(f, ERR_DAMAGED, store_scan(f->h, &keyed, NULL, 0, NULL, 5000, &f->a, &r, &f->e));
}

/* A directory that may not be written, seen by a user who is not root. */
static void test_unwritable(void **state)
{
	int status;
	pid_t pid;

	wipe_files();
	if (geteuid() != 0)
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct err e = { 0 };

		if (setgid(65534) != 0 || setuid(65534) != 0)
			_exit(2);
		_exit(!open_at(&store_sqlite, 50, &e) && e.kind == ERR_LATER &&
			      strstr(e.text, "Permission denied")
			  ? 0
			  : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A disk that takes no more: the transaction fails whole, later ones work. */
static void test_full_disk(void **state)
{
	struct fix *f = *state;
	struct rlimit old, tight;
	static char big[200000];

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	tight = old;
	tight.rlim_cur = 65536;
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, put(f, 1, S("small"), 1, S("")));
	OK(f, put(f, 1, S("big"), 1, slice(big, sizeof(big))));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	bool ok = store_commit(f->h, &f->e);

	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_false(ok);
	assert_err(&f->e, ERR_LATER);
	assert_int_equal(store_generation(f->s), 1);
	assert_false(has(f, f->h, 1, S("small"), 1));
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, put(f, 1, S("small"), 1, S("")));
	OK(f, store_commit(f->h, &f->e));
	reopen(f);
	assert_true(has(f, f->h, 1, S("small"), 1));
	assert_false(has(f, f->h, 1, S("big"), 1));
}

/* Version 2 of the suite's schema: a column more, a table less, a table more. */
static const struct column key_columns_2[] = {
	{ "account", VAL_INT, false }, { "key", VAL_TEXT, false },   { "n", VAL_INT, false },
	{ "data", VAL_BLOB, true },    { "select", VAL_TEXT, true }, { "note", VAL_TEXT, true },
};
static const struct table keyed_2 = { "key", key_columns_2, LEN(key_columns_2), 3 };
static const struct table more = { "more", name_columns, LEN(name_columns), 1 };
static const struct change changes_2[] = {
	{ CHANGE_ADD_COLUMN, &keyed, { "note", VAL_TEXT, true } },
	{ CHANGE_DROP_TABLE, &names, { 0 } },
	{ CHANGE_CREATE_TABLE, &more, { 0 } },
};
static const struct schema_version versions_2[] = {
	{ changes, LEN(changes) },
	{ changes_2, LEN(changes_2) },
};
static const struct schema schema_2 = { "suite", versions_2, 2 };
static const struct schema elsewhere = { "elsewhere", versions, 0 };

static void test_migration(void **state)
{
	static const struct schema *const newer[] = { &schema_2, &elsewhere };
	const struct store_conf conf = { slice_str(path), 50 };
	struct fix *f = *state;
	struct val v[6] = { { 0 } }, got[6];

	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, put(f, 1, S("old"), 1, S("data")));
	OK(f, store_commit(f->h, &f->e));
	store_detach(f->h);
	store_close(f->s);
	f->h = NULL;
	for (int again = 0; again < 2; again++) {
		f->s = store_open(&store_sqlite, &conf, newer, 2, &f->e);
		OK(f, f->s);
		f->h = store_attach(f->s, &f->e);
		key_row(v, 1, S("old"), 1, S(""));
		OK(f, store_get(f->h, &keyed_2, v, &f->a, got, &f->e));
		assert_true(slice_eq(got[3].s, S("data")));
		assert_int_equal(got[5].type, again ? VAL_TEXT : VAL_NULL);
		OK(f, store_begin(f->h, STORE_WRITE, &f->e));
		got[5] = val_text(S("new"));
		OK(f, store_update(f->h, &keyed_2, got, &f->e));
		OK(f, store_commit(f->h, &f->e));
		struct val m[2] = { val_text(S("x")), val_int(1) };

		FAILS(f, ERR_ABSENT, store_get(f->h, &more, m, &f->a, got, &f->e));
		FAILS(f, ERR_BUG, store_get(f->h, &names, m, &f->a, got, &f->e));
		store_detach(f->h);
		store_close(f->s);
	}
	/* The older program refuses, and the file is as it was. */
	assert_open_fails(ERR_CONFLICT, "newer");
	f->s = store_open(&store_sqlite, &conf, newer, 2, &f->e);
	OK(f, f->s);
	f->h = store_attach(f->s, &f->e);
	OK(f, f->h);
}

/* A migration that fails leaves the file at its old version. */
static void test_failed_migration(void **state)
{
	static const struct change bad[] = {
		{ CHANGE_CREATE_TABLE, &more, { 0 } },
		{ CHANGE_CREATE_TABLE, &names, { 0 } }, /* exists */
	};
	static const struct schema_version v[] = { { changes, LEN(changes) }, { bad, LEN(bad) } };
	static const struct schema broken = { "suite", v, 2 };
	static const struct schema *const list[] = { &broken };
	const struct store_conf conf = { slice_str(path), 50 };
	struct val m[2] = { val_text(S("x")), val_int(1) };
	struct fix *f = *state;

	assert_null(store_open(&store_sqlite, &conf, list, 1, &f->e));
	assert_err(&f->e, ERR_BUG);
	assert_non_null(strstr(f->e.text, "suite"));
	reopen(f);
	FAILS(f, ERR_BUG, store_get(f->h, &more, m, &f->a, m, &f->e));
	FAILS(f, ERR_ABSENT, store_get(f->h, &names, m, &f->a, m, &f->e));
}

static void test_foreign(void **state)
{
	struct fix *f = *state;

	store_detach(f->h);
	store_close(f->s);
	f->h = NULL;
	f->s = NULL;
	put_bytes(68, "\0\0\0\1", 4); /* the application id in SQLite's header */
	assert_open_fails(ERR_DAMAGED, "another program");
}

static int set_up(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/control.db", dir);
	return 0;
}

static int tear_down(void **state)
{
	wipe_files();
	return rmdir(dir);
}

#define BOTH(test)                                                                                 \
	{ #test " sqlite", test, with_sqlite, end_test, NULL },                                    \
	{                                                                                          \
#test " memory", test, with_memory, end_test, NULL                                 \
	}
#define SQLITE(test) cmocka_unit_test_setup_teardown(test, with_sqlite, end_test)

int main(void)
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
		SQLITE(test_reopen),
		SQLITE(test_kill),
		cmocka_unit_test(test_bad_files),
		SQLITE(test_damaged_pages),
		cmocka_unit_test(test_unwritable),
		SQLITE(test_full_disk),
		SQLITE(test_migration),
		SQLITE(test_failed_migration),
		SQLITE(test_foreign),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
