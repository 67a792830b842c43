/* store/store_sqlite_test.c -- what only SQLite has: a file, which is killed, damaged, full, old or
 * another program's. */
#include "store/store_rig_test.h"

#include "base/buf.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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

#define SQLITE(test) cmocka_unit_test_setup_teardown(test, with_sqlite, end_test)

int store_sqlite_cases(void)
{
	const struct CMUnitTest tests[] = {
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

	return cmocka_run_group_tests_name("store SQLite", tests, NULL, NULL);
}
