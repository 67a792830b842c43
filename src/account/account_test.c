/* account/account_test.c -- accounts and the trail; main() of the room's tests. */
#include "account/account.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "account/test_impl.h"

static const struct actor alice = { { "uid:0", 5 }, 1000 };

int account_fix_begin(void **state)
{
	static const struct schema *const schemas[] = { &account_schema };
	static const struct store_conf conf = { .busy_ms = 50 };
	struct fix *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->s = store_open(&store_memory, &conf, schemas, 1, &f->e);
	f->h = f->s ? store_attach(f->s, &f->e) : NULL;
	arena_init(&f->a, 8 << 20);
	*state = f;
	return f->h ? 0 : -1;
}

int account_fix_end(void **state)
{
	struct fix *f = *state;

	store_detach(f->h);
	store_close(f->s);
	arena_done(&f->a);
	free(f);
	return 0;
}

void assert_trail(struct fix *f, uint64_t account, uint64_t from_ms, const char *acts)
{
	struct trail_row *rows;
	struct buf b;
	size_t n;

	OK(f, trail_list(f->h, account, NULL, 100, &f->a, &rows, &n, &f->e));
	buf_init(&b, 4096);
	for (size_t i = 0; i < n; i++) {
		if (rows[i].at_ms < from_ms)
			continue;
		buf_add(&b, rows[i].act);
		buf_addc(&b, ' ');
	}
	buf_addc(&b, 0);
	assert_string_equal(b.p, acts);
	buf_done(&b);
}

static void test_names(void **state)
{
#define A32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	static const char *const good[] = { "a", "0", "shop", "a-b.c-1", "x.y", (A32 A32) };
	static const char *const bad[] = {
		"",    "A",   ".a",  "a.",       "-a",  "a-",  "a..b",        "a-.b",
		"a_b", "a b", "a/b", "\xc3\xa4", "a\n", "a'b", (A32 A32 "a"),
	};
	struct fix *f = *state;
	struct account a, b;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		OK(f, account_add(f->h, &alice, slice_str(good[i]), &a, &f->e));
		OK(f, account_find(f->h, slice_str(good[i]), &b, &f->e));
		assert_memory_equal(&a, &b, sizeof(a));
		assert_string_equal(b.name, good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		FAILS(f, ERR_INPUT, account_add(f->h, &alice, slice_str(bad[i]), &a, &f->e));
		FAILS(f, ERR_ABSENT, account_find(f->h, slice_str(bad[i]), &a, &f->e));
	}
	FAILS(f, ERR_INPUT, account_add(f->h, &alice, S("a\0b"), &a, &f->e));
}

static void test_life(void **state)
{
	struct fix *f = *state;
	struct account a, b;

	OK(f, account_add(f->h, &alice, S("shop"), &a, &f->e));
	assert_true(a.id >= 1 && a.id < UINT64_C(1) << 53);
	assert_int_equal(a.state, ACCOUNT_ACTIVE);
	assert_int_equal(a.created_ms, 1000);
	b = a;
	FAILS(f, ERR_CONFLICT, account_add(f->h, &alice, S("shop"), &b, &f->e));
	assert_non_null(strstr(f->e.text, "shop"));
	assert_int_equal(a.id, b.id); /* untouched on failure */

	const struct actor later = { S("uid:7"), 2000 };

	OK(f, account_set_state(f->h, &later, a.id, ACCOUNT_HELD, QUEUED_AS_STATE, &f->e));
	OK(f, account_set_state(f->h, &later, a.id, ACCOUNT_HELD, QUEUED_AS_STATE, &f->e));
	OK(f, account_get(f->h, a.id, &b, &f->e));
	assert_int_equal(b.state, ACCOUNT_HELD);
	const struct actor last = { S("uid:7"), 3000 };

	OK(f, account_set_state(f->h, &last, a.id, ACCOUNT_ACTIVE, QUEUED_AS_STATE, &f->e));
	OK(f, account_get(f->h, a.id, &b, &f->e));
	assert_int_equal(b.state, ACCOUNT_ACTIVE);
	assert_trail(f, a.id, 0, "account.add account.hold account.release ");
	FAILS(f, ERR_ABSENT,
	      account_set_state(f->h, &last, a.id ^ 1, ACCOUNT_ACTIVE, QUEUED_AS_STATE, &f->e));
	FAILS(f, ERR_ABSENT, account_get(f->h, a.id ^ 1, &b, &f->e));
	FAILS(f, ERR_ABSENT, account_find(f->h, S("nobody"), &b, &f->e));
}

static void test_list(void **state)
{
	static const char *const names[] = { "b", "a", "c.d", "c" };
	struct fix *f = *state;
	struct account a, *list;
	size_t n;

	OK(f, account_list(f->h, S(""), 10, &f->a, &list, &n, &f->e));
	assert_int_equal(n, 0);
	for (size_t i = 0; i < 4; i++)
		OK(f, account_add(f->h, &alice, slice_str(names[i]), &a, &f->e));
	OK(f, account_list(f->h, S(""), 3, &f->a, &list, &n, &f->e));
	assert_int_equal(n, 3);
	assert_string_equal(list[0].name, "a");
	assert_string_equal(list[2].name, "c");
	OK(f, account_list(f->h, slice_str(list[2].name), 3, &f->a, &list, &n, &f->e));
	assert_int_equal(n, 1);
	assert_string_equal(list[0].name, "c.d");
}

static void test_trail(void **state)
{
	static char whole[400];
	struct fix *f = *state;
	struct trail_row *rows, first;
	struct actor by = { S("key:abc"), 5 };
	size_t n;

	memset(whole, 'x', sizeof(whole));
	memcpy(whole + TRAIL_TEXT_MAX - 1, "\xc3\xbc", 2); /* lies across the cut */
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, trail_add(f->h, 7, &by, S("one"), slice(whole, sizeof(whole)), &f->e));
	by.now_ms = 6;
	OK(f, trail_add(f->h, 7, &by, S("two"), S(""), &f->e));
	OK(f, trail_add(f->h, 7, &by, S("two"), S(""), &f->e)); /* the same, twice at once */
	OK(f, trail_add(f->h, 8, &by, S("other"), S("x"), &f->e));
	OK(f, store_commit(f->h, &f->e));
	OK(f, trail_list(f->h, 7, NULL, 1, &f->a, &rows, &n, &f->e));
	assert_int_equal(n, 1);
	first = rows[0];
	assert_int_equal(first.object.n, TRAIL_TEXT_MAX - 1);
	assert_true(slice_eq(first.who, S("key:abc")));
	assert_int_equal(first.at_ms, 5);
	OK(f, trail_list(f->h, 7, &first, 10, &f->a, &rows, &n, &f->e));
	assert_int_equal(n, 2);
	assert_true(slice_eq(rows[0].act, S("two")));
	OK(f, trail_list(f->h, 7, &rows[1], 10, &f->a, &rows, &n, &f->e));
	assert_int_equal(n, 0);
}

/* Whichever store call fails, there is an error, and nothing of the act is left. */
static void test_faults(void **state)
{
	struct fix *f = *state;
	struct account a = { 0 }, *list;
	bool ok = false;
	size_t n;

	for (uint64_t at = 1; !ok; at++) {
		store_memory_fail(f->s, at);
		ok = account_add(f->h, &alice, S("shop"), &a, &f->e);
		store_memory_fail(f->s, 0);
		if (!ok) {
			assert_err(&f->e, ERR_LATER);
			OK(f, account_list(f->h, S(""), 9, &f->a, &list, &n, &f->e));
			assert_int_equal(n, 0);
		}
		assert_true(at < 20);
	}
	ok = false;
	for (uint64_t at = 1; !ok; at++) {
		store_memory_fail(f->s, at);
		ok = account_set_state(f->h, &alice, a.id, ACCOUNT_HELD, QUEUED_AS_STATE, &f->e);
		store_memory_fail(f->s, 0);
		OK(f, account_get(f->h, a.id, &a, &f->e));
		assert_int_equal(a.state, ok ? ACCOUNT_HELD : ACCOUNT_ACTIVE);
		assert_true(at < 20);
	}
}

static void test_queued(void **state)
{
	static const struct actor later = { { "uid:1", 5 }, 2000 };
	struct fix *f = *state;
	enum queued q = QUEUED_AS_STATE;
	struct account a;

	OK(f, account_add(f->h, &alice, S("shop"), &a, &f->e));
	assert_int_equal(a.state_ms, 1000);
	assert_int_equal(account_queued(&a), QUEUED_KEEP);
	OK(f, account_set_state(f->h, &later, a.id, ACCOUNT_HELD, QUEUED_AS_STATE, &f->e));
	OK(f, account_get(f->h, a.id, &a, &f->e));
	assert_int_equal(a.state_ms, 2000);
	assert_int_equal(account_queued(&a), QUEUED_HOLD);
	OK(f, account_set_queued(f->h, &later, a.id, QUEUED_KEEP, &f->e));
	OK(f, account_set_queued(f->h, &later, a.id, QUEUED_KEEP, &f->e));
	OK(f, account_get(f->h, a.id, &a, &f->e));
	assert_int_equal(a.state, ACCOUNT_HELD);
	assert_int_equal(account_queued(&a), QUEUED_KEEP);
	/* The next state begins with its own rule. */
	OK(f, account_set_state(f->h, &later, a.id, ACCOUNT_CLOSED, QUEUED_AS_STATE, &f->e));
	OK(f, account_get(f->h, a.id, &a, &f->e));
	assert_string_equal(account_state_name(a.state), "closed");
	assert_int_equal(account_queued(&a), QUEUED_HOLD);
	FAILS(f, ERR_ABSENT, account_set_queued(f->h, &later, a.id ^ 1, QUEUED_KEEP, &f->e));
	assert_trail(f, a.id, 0, "account.add account.hold account.queued account.close ");

	for (size_t i = QUEUED_KEEP; i <= QUEUED_CANCEL; i++) {
		OK(f, queued_parse(slice_str(queued_name((enum queued)i)), &q, &f->e));
		assert_int_equal(q, i);
	}
	FAILS(f, ERR_INPUT, queued_parse(S(""), &q, &f->e));
	FAILS(f, ERR_INPUT, queued_parse(S("Keep"), &q, &f->e));
}

/* A database of the first version: its rows are read, its words understood. */
static void test_first_version(void **state)
{
	static const struct column columns[] = {
		{ "account", VAL_INT, false },
		{ "name", VAL_TEXT, false },
		{ "state", VAL_TEXT, false },
		{ "created_ms", VAL_INT, false },
	};
	static const struct table then = { "account", columns, 4, 1 };
	const struct schema first = { "account", account_schema.versions, 1 };
	const struct schema *const schemas[] = { &first }, *const now[] = { &account_schema };
	const struct val row[] = { val_int(7), val_text(S("shop")), val_text(S("suspended")),
				   val_int(5) };
	char path[] = "/tmp/account-test-XXXXXX";
	struct store_conf conf = { 0 };
	struct store_handle *h;
	struct account a;
	struct store *s;
	struct err e = { 0 };
	char file[64];

	(void)state;
	assert_non_null(mkdtemp(path));
	snprintf(file, sizeof file, "%s/db", path);
	conf.path = slice_str(file);
	s = store_open(&store_sqlite, &conf, schemas, 1, &e);
	h = s ? store_attach(s, &e) : NULL;
	if (!h || !store_begin(h, STORE_WRITE, &e) || !store_insert(h, &then, row, &e) ||
	    !store_commit(h, &e))
		fail_msg("%s", e.text);
	store_detach(h);
	store_close(s);
	s = store_open(&store_sqlite, &conf, now, 1, &e);
	h = s ? store_attach(s, &e) : NULL;
	if (!h || !account_get(h, 7, &a, &e))
		fail_msg("%s", e.text);
	assert_int_equal(a.state, ACCOUNT_HELD);
	assert_int_equal(a.state_ms, 0);
	assert_int_equal(a.queued, QUEUED_AS_STATE);
	if (!account_set_state(h, &alice, 7, ACCOUNT_HELD, QUEUED_CANCEL, &e) ||
	    !account_get(h, 7, &a, &e))
		fail_msg("%s", e.text);
	assert_int_equal(a.queued, QUEUED_CANCEL);
	store_detach(h);
	store_close(s);
	/* The engine keeps two more beside it while it is open. */
	assert_int_equal(unlink(file), 0);
	snprintf(file, sizeof file, "%s/db-wal", path);
	(void)unlink(file);
	snprintf(file, sizeof file, "%s/db-shm", path);
	(void)unlink(file);
	assert_int_equal(rmdir(path), 0);
}

/* The one in docs/operations.md. */
static void test_state_table(void **state)
{
	char line[400];
	struct buf table, doc;
	FILE *in = fopen("docs/operations.md", "re");

	(void)state;
	if (!in)
		in = fopen("../../docs/operations.md", "re");
	assert_non_null(in);
	buf_init(&table, 65536);
	buf_init(&doc, 1 << 20);
	state_table(&table);
	while (fgets(line, sizeof line, in))
		buf_add(&doc, slice_str(line));
	fclose(in);
	buf_addc(&table, 0);
	buf_addc(&doc, 0);
	if (!strstr(doc.p, table.p))
		fail_msg("docs/operations.md does not have this table:\n%s", table.p);
	buf_done(&table);
	buf_done(&doc);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, account_fix_begin, account_fix_end)
	const struct CMUnitTest tests[] = {
		T(test_names),
		T(test_life),
		T(test_list),
		T(test_trail),
		T(test_faults),
		T(test_queued),
		cmocka_unit_test(test_first_version),
		cmocka_unit_test(test_state_table),
	};
	int failed = cmocka_run_group_tests_name("account", tests, NULL, NULL);

	return failed + key_tests() + key_means_tests() + network_tests();
}
