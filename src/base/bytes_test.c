/* Slices, buffers, arenas, base64, ids. */
#include "base/arena.h"
#include "base/auto.h"
#include "base/b64.h"
#include "base/id.h"
#include "base/must.h"
#include "base/room_test.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const struct slice nothing = { NULL, 0 };

static void slices_compare(void **state)
{
	assert_true(slice_eq(S("a\0b"), S("a\0b")));
	assert_true(slice_eq(nothing, S("")));
	assert_false(slice_eq(S("a"), S("b")) || slice_eq(S("a"), S("ab")) ||
		     slice_eq(S("A"), S("a")));
	assert_true(slice_ieq(S("aZ-\xc3"), S("Az-\xc3")));
	assert_true(slice_ieq(nothing, S("")));
	/* Neither what stands 32 beside a letter, nor what a locale calls one. */
	assert_false(slice_ieq(S("["), S("{")) || slice_ieq(S("@"), S("`")) ||
		     slice_ieq(S("\xc4"), S("\xe4")) || slice_ieq(S("a"), S("ab")));
	assert_true(slice_starts(S("abc"), S("ab")) && slice_starts(S("abc"), nothing));
	assert_false(slice_starts(S("abc"), S("AB")) || slice_starts(S("a"), S("ab")));
	assert_true(slice_istarts(S("abc"), S("AB")));
	assert_false(slice_istarts(S("abc"), S("B")) || slice_istarts(S("a"), S("ab")));
	assert_true(slice_ends(S("abc"), S("bc")) && slice_ends(S("abc"), nothing));
	assert_false(slice_ends(S("abc"), S("ab")) || slice_ends(S("c"), S("bc")));
	assert_true(slice_cmp(S("a"), S("b")) < 0 && slice_cmp(S("b"), S("a")) > 0);
	assert_true(slice_cmp(S("a"), S("ab")) < 0 && slice_cmp(S("ab"), S("a")) > 0);
	assert_true(slice_cmp(S("a"), S("\xff")) < 0 && slice_cmp(nothing, S("a")) < 0);
	assert_int_equal(slice_cmp(S("ab"), S("ab")), 0);
	assert_int_equal(slice_cmp(nothing, nothing), 0);
}

static void slices_cut(void **state)
{
	static const struct {
		struct slice in;
		bool ok;
		struct slice head, tail, rhead, rtail;
	} rows[] = {
		{ S("a:b:c"), true, S("a"), S("b:c"), S("a:b"), S("c") },
		{ S(":a"), true, S(""), S("a"), S(""), S("a") },
		{ S("a:"), true, S("a"), S(""), S("a"), S("") },
		{ S(":"), true, S(""), S(""), S(""), S("") },
		{ S("abc"), false, S("abc"), S(""), S("abc"), S("") },
		{ S(""), false, S(""), S(""), S(""), S("") },
		{ { NULL, 0 }, false, S(""), S(""), S(""), S("") },
	};
	struct slice head, tail, s = S("abc");

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(slice_cut(rows[i].in, ':', &head, &tail), rows[i].ok);
		assert_true(slice_eq(head, rows[i].head) && slice_eq(tail, rows[i].tail));
		assert_int_equal(slice_rcut(rows[i].in, ':', &head, &tail), rows[i].ok);
		assert_true(slice_eq(head, rows[i].rhead) && slice_eq(tail, rows[i].rtail));
	}
	head = slice_take(&s, 2);
	assert_true(slice_eq(head, S("ab")) && slice_eq(s, S("c")));
	assert_true(slice_eq(slice_from(S("abc"), 1), S("bc")));
	assert_int_equal(slice_from(S("abc"), 9).n, 0);
	assert_int_equal(slice_from(nothing, 1).n, 0);
	assert_true(slice_eq(slice_trim(S(" \t a b\t ")), S("a b")));
	assert_int_equal(slice_trim(S(" \t")).n, 0);
	assert_true(slice_eq(slice_trim(S("\na\r")), S("\na\r"))); /* line ends are no blanks */
	assert_int_equal(slice_str(NULL).n, 0);
	assert_true(slice_eq(slice_str("ab"), S("ab")));
}

static void decimal(void **state)
{
	static const struct {
		struct slice in;
		bool ok;
		uint64_t v;
	} rows[] = {
		{ S("0"), true, 0 },
		{ S("007"), true, 7 },
		{ S("18446744073709551615"), true, UINT64_MAX },
		{ S("18446744073709551616"), false, 0 },
		{ S("18446744073709551620"), false, 0 },
		{ S("99999999999999999999"), false, 0 },
		{ S("000000000000000000001"), false, 0 }, /* 21 digits */
		{ S(""), false, 0 },
		{ S("+1"), false, 0 },
		{ S("-1"), false, 0 },
		{ S(" 1"), false, 0 },
		{ S("1 "), false, 0 },
		{ S("1\0"), false, 0 },
		{ S("0x1"), false, 0 },
		{ S("1e3"), false, 0 },
		{ S("/"), false, 0 },
		{ S(":"), false, 0 },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint64_t v = 42;

		assert_int_equal(slice_u64(rows[i].in, &v), rows[i].ok);
		assert_int_equal(v, rows[i].ok ? rows[i].v : 42);
	}
	assert_false(slice_u64(nothing, &(uint64_t){ 0 }));
}

static void buffer_builds(void **state)
{
	struct buf b;

	buf_init(&b, 1000);
	buf_add(&b, S("a"));
	buf_add(&b, nothing);
	buf_addc(&b, '\0');
	buf_addu(&b, 0);
	buf_addc(&b, ' ');
	buf_addu(&b, UINT64_MAX);
	buf_addf(&b, " %s%d ", "x", -1);
	buf_addhex(&b, S("\x00\x9f\xff"));
	assert_true(slice_eq(buf_slice(&b), S("a\0000 18446744073709551615 x-1 009fff")));
	assert_false(b.failed);
	assert_int_equal(buf_left(&b), 1000 - b.n);
	buf_shift(&b, 0);
	buf_shift(&b, b.n - 2);
	assert_true(slice_eq(buf_slice(&b), S("ff")));
	buf_shift(&b, 2);
	assert_int_equal(b.n, 0);
	buf_done(&b);
	assert_true(!b.p && !b.cap && !b.n && b.max == 1000);
	buf_done(&b); /* twice is fine */
}

/* Every size of append against every ceiling: what fits is there, what does not adds nothing. */
static void buffer_ceiling(void **state)
{
	static const char bytes[300] = { 0 };

	for (size_t max = 0; max < 200; max++)
		for (size_t first = 0; first < 300; first += 7) {
			struct buf b;

			buf_init(&b, max);
			buf_add(&b, slice(bytes, first));
			assert_int_equal(b.failed, first > max);
			assert_int_equal(b.n, first > max ? 0 : first);
			assert_true(b.n <= b.cap && b.cap <= b.max);
			if (!b.failed) {
				buf_add(&b, slice(bytes, max - first)); /* to the brim */
				assert_true(!b.failed && b.n == max);
			}
			buf_addc(&b, 'x');
			assert_true(b.failed && b.n == (first > max ? 0 : max));
			buf_done(&b);
		}
}

static void buffer_failure_sticks(void **state)
{
	struct buf b;

	buf_init(&b, 4);
	buf_add(&b, S("abc"));
	buf_add(&b, S("de"));
	assert_true(b.failed);
	buf_add(&b, S("f")); /* would fit, comes too late */
	buf_addf(&b, "%s", "");
	assert_null(buf_room_for(&b, 1));
	assert_true(slice_eq(buf_slice(&b), S("abc")));
	buf_clear(&b);
	buf_add(&b, S("wxyz"));
	assert_true(!b.failed && slice_eq(buf_slice(&b), S("wxyz")));
	buf_wipe(&b);
	assert_true(!b.p && b.max == 4);
	assert_null(buf_room_for(&b, SIZE_MAX));
	assert_true(b.failed);
	buf_done(&b);
}

static void buffer_room(void **state)
{
	struct buf b;
	char *at;

	buf_init(&b, 100);
	assert_non_null(buf_room_for(&b, 0));
	at = buf_room_for(&b, 100);
	assert_non_null(at);
	memset(at, 'x', 100);
	assert_int_equal(b.n, 0);
	buf_grew(&b, 60);
	assert_int_equal(b.n, 60);
	assert_non_null(buf_room_for(&b, 40));
	assert_null(buf_room_for(&b, 41));
	buf_done(&b);
}

static void arena_serves(void **state)
{
	struct arena a;
	struct slice s;
	char *p[100];

	arena_init(&a, 10000);
	for (size_t i = 0; i < 100; i++) {
		p[i] = arena_alloc(&a, 1 + i % 60);
		assert_non_null(p[i]);
		assert_int_equal((uintptr_t)p[i] % _Alignof(max_align_t), 0);
		for (size_t k = 0; k < 1 + i % 60; k++)
			assert_int_equal(p[i][k], 0);
		memset(p[i], (int)i, 1 + i % 60);
	}
	for (size_t i = 0; i < 100; i++)
		assert_true(p[i][0] == (char)i && p[i][i % 60] == (char)i); /* none overlap */
	s = arena_dup(&a, S("text"));
	assert_true(slice_eq(s, S("text")) && s.p[4] == '\0');
	assert_int_equal(arena_dup(&a, nothing).n, 0);
	assert_non_null(arena_dup(&a, nothing).p);
	assert_non_null(ARENA_NEW(&a, uint64_t));
	assert_non_null(ARENA_ARRAY(&a, uint64_t, 10));
	arena_done(&a);
	assert_true(!a.blocks && !a.used && a.max == 10000);
	assert_non_null(arena_alloc(&a, 5000)); /* and again, more than a block holds */
	arena_done(&a);
}

static void arena_ceiling(void **state)
{
	struct arena a;
	size_t got = 0;

	arena_init(&a, 1000);
	assert_non_null(arena_alloc(&a, 1000));
	assert_null(arena_alloc(&a, 1));
	assert_true(a.failed);
	arena_done(&a);
	arena_init(&a, 1000);
	assert_null(arena_alloc(&a, 1001));
	assert_null(arena_alloc(&a, 1)); /* sticky */
	assert_null(arena_dup(&a, S("x")).p);
	arena_done(&a);
	arena_init(&a, 1000);
	while (arena_alloc(&a, 10))
		got += 10;
	assert_true(got >= 600 && got <= 1000);
	arena_done(&a);
	arena_init(&a, 1000);
	assert_non_null(arena_alloc(&a, 600));
	assert_null(arena_alloc(&a, 401)); /* together too much */
	arena_done(&a);
	arena_init(&a, 1000);
	assert_null(ARENA_ARRAY(&a, uint64_t, SIZE_MAX / 4)); /* the product wraps */
	assert_true(a.failed);
	arena_done(&a);
	arena_init(&a, SIZE_MAX);
	assert_non_null(arena_alloc(&a, 100));
	assert_null(arena_alloc(&a, SIZE_MAX - 50));
	arena_done(&a);
}

static void base64(void **state)
{
	/* RFC 4648 10, and all the sextets */
	static const struct {
		struct slice bytes, text, url;
	} rows[] = {
		{ S(""), S(""), S("") },
		{ S("f"), S("Zg=="), S("Zg") },
		{ S("fo"), S("Zm8="), S("Zm8") },
		{ S("foo"), S("Zm9v"), S("Zm9v") },
		{ S("foob"), S("Zm9vYg=="), S("Zm9vYg") },
		{ S("fooba"), S("Zm9vYmE="), S("Zm9vYmE") },
		{ S("foobar"), S("Zm9vYmFy"), S("Zm9vYmFy") },
		{ S("\xfb\xff\xbf"), S("+/+/"), S("-_-_") },
		{ S("\xff"), S("/w=="), S("_w") },
		{ S("\0\0"), S("AAA="), S("AAA") },
		{ S("\x00\x10\x83\x10\x51\x87\x20\x92\x8b\x30\xd3\x8f\x41\x14\x93\x51\x55\x97\x61"
		    "\x96\x9b\x71\xd7\x9f"
		    "\x82\x18\xa3\x92\x59\xa7\xa2\x9a\xab\xb2\xdb\xaf\xc3\x1c\xb3\xd3\x5d\xb7\xe3"
		    "\x9e\xbb\xf3\xdf\xbf"),
		  S("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"),
		  S("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char bytes[64];
		struct buf b;

		buf_init(&b, 200);
		b64_encode(&b, rows[i].bytes);
		assert_true(slice_eq(buf_slice(&b), rows[i].text));
		assert_int_equal(b.n, B64_LEN(rows[i].bytes.n));
		buf_clear(&b);
		b64url_encode(&b, rows[i].bytes);
		assert_true(slice_eq(buf_slice(&b), rows[i].url));
		assert_int_equal(b.n, B64URL_LEN(rows[i].bytes.n));
		buf_clear(&b);
		buf_addc(&b, '-');
		assert_true(b64_decode(&b, rows[i].text));
		assert_true(slice_eq(slice_from(buf_slice(&b), 1), rows[i].bytes));
		assert_true(b64url_decode(bytes, rows[i].bytes.n, rows[i].url));
		assert_true(slice_eq(slice(bytes, rows[i].bytes.n), rows[i].bytes));
		buf_done(&b);
	}
}

static void base64_refused(void **state)
{
	static const struct slice bad[] = {
		S("Z"),        S("Zg"),       S("Zg="),   S("Zm8"),        S("Zm9vY"),
		S("="),        S("=="),       S("==="),   S("===="),       S("Z==="),
		S("Zh=="),     S("Zm9="),     S("Zg=a"),  S("Z=g="),       S("=Zg="),
		S("Zg==Zg=="), S("Zm9v\n"),   S(" Zg="),  S("Zm 8"),       S("Zm-_"),
		S("Zm8\0"),    S("Zg==\r\n"), S("Zm8=="), S("\xc3\xbc=="), S("Zm9v===="),
	};
	static const struct slice bad_url[] = {
		S("Zg=="), S("Zh"), S("Z"), S(""), S("Zm8"), S("Z+"), S("Z/"), S("Z "), S("Z\0"),
	};
	struct buf b;
	char c[8];

	buf_init(&b, 100);
	buf_addc(&b, '-');
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		if (b64_decode(&b, bad[i]))
			fail_msg("row %zu", i);
		assert_int_equal(b.n, 1);
	}
	assert_false(b.failed);
	for (size_t i = 0; i < sizeof bad_url / sizeof *bad_url; i++)
		if (b64url_decode(c, 1, bad_url[i]))
			fail_msg("url row %zu", i);
	assert_false(b64url_decode(c, 2, S("Zm9"))); /* bits behind the last byte */
	buf_done(&b);
	buf_init(&b, 2);
	assert_false(b64_decode(&b, S("Zm9v")));
	assert_true(b.failed && b.n == 0);
	buf_done(&b);
}

static void ids(void **state)
{
	static const unsigned char low[10] = { 0 },
				   high[10] = { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255 };
	struct id a = id_make(1795473796042, high), b = id_make(1795473796043, low), c;
	struct buf text;

	assert_int_equal(id_time(a), 1795473796042);
	assert_int_equal(id_time(id_make((1ull << 48) - 1, low)), (1ull << 48) - 1);
	assert_true(id_cmp(a, b) < 0 && id_cmp(b, a) > 0 && id_cmp(a, a) == 0);
	assert_true(id_eq(a, a) && !id_eq(a, b) && !id_eq(a, id_make(1795473796042, low)));
	buf_init(&text, ID_TEXT);
	id_add(&text, a);
	assert_true(!text.failed && text.n == ID_TEXT);
	assert_true(id_parse(buf_slice(&text), &c) && id_eq(a, c));
	c = b;
	assert_false(id_parse(slice(text.p, ID_TEXT - 1), &c));
	text.p[3] = '+';
	assert_false(id_parse(buf_slice(&text), &c));
	assert_false(id_parse(S(""), &c));
	assert_true(id_eq(b, c));
	buf_done(&text);
}

static void locals_clean_up(void **state)
{
	int kept, gone;
	{
		AUTO_FD a = open("/dev/null", O_RDONLY | O_CLOEXEC);
		AUTO_FD b = open("/dev/null", O_RDONLY | O_CLOEXEC);
		AUTO_FREE char *p = malloc(10);

		assert_true(a >= 0 && b >= 0 && p);
		gone = b;
		kept = fd_steal(&a);
		assert_int_equal(a, -1);
	}
	assert_true(fcntl(kept, F_GETFD) >= 0);
	assert_int_equal(fcntl(gone, F_GETFD), -1);
	close(kept);
}

static void bugs_end_the_program(void **state)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		MUST(1 + 1 == 2);
		MUST(1 + 1 == 3);
		_exit(0);
	}
	assert_true(child > 0 && waitpid(child, &status, 0) == child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int run_bytes_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_compare),  cmocka_unit_test(slices_cut),
		cmocka_unit_test(decimal),         cmocka_unit_test(buffer_builds),
		cmocka_unit_test(buffer_ceiling),  cmocka_unit_test(buffer_failure_sticks),
		cmocka_unit_test(buffer_room),     cmocka_unit_test(arena_serves),
		cmocka_unit_test(arena_ceiling),   cmocka_unit_test(base64),
		cmocka_unit_test(base64_refused),  cmocka_unit_test(ids),
		cmocka_unit_test(locals_clean_up), cmocka_unit_test(bugs_end_the_program),
	};

	return cmocka_run_group_tests_name("base bytes", tests, NULL, NULL);
}
