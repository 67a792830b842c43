/* Fields by name, percent-decoding, queries. */
#include "http/conn.h"
#include "http/head.h"
#include "http/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void fields(void **state)
{
	struct http_head h;
	struct slice v = S("untouched");

	assert_int_equal(http_head_parse(S("GET /p?q HTTP/1.1\r\nHost: h\r\nX-A: \t one two\t \r\n"
					   "x-b:\r\nX-A: second\r\n__proto__: 1\r\n\r\n"),
					 (struct http_limits){ 9, 0 }, &h),
			 0);
	assert_true(slice_eq(h.method, S("GET")));
	assert_true(slice_eq(h.path, S("/p")) && slice_eq(h.query, S("q")));
	assert_true(http_head_field(&h, S("x-a"), &v) && slice_eq(v, S("one two")));
	assert_true(http_head_field(&h, S("X-B"), &v) && v.n == 0);
	assert_true(http_head_field(&h, S("__PROTO__"), &v) && slice_eq(v, S("1")));
	v = S("untouched");
	assert_false(http_head_field(&h, S("x-"), &v));
	assert_false(http_head_field(&h, S("toString"), &v));
	assert_false(http_head_field(&h, S(""), &v));
	assert_true(slice_eq(v, S("untouched")));
}

static void head_is_untouched_by_a_refusal(void **state)
{
	struct http_head h = { .length = 7 };

	assert_int_equal(
	    http_head_parse(S("GET / HTTP/1.1\r\n\r\n"), (struct http_limits){ 9, 0 }, &h), 400);
	assert_int_equal(h.length, 7);
	/* What is no head at all. */
	assert_int_equal(http_head_parse(S(""), (struct http_limits){ 9, 0 }, &h), 400);
	assert_int_equal(
	    http_head_parse(S("GET / HTTP/1.1\r\nHost: h\r\n"), (struct http_limits){ 9, 0 }, &h),
	    400);
}

static void path_decoding(void **state)
{
	static const struct {
		struct slice in;
		bool ok;
		struct slice out;
	} rows[] = {
		{ S(""), true, S("") },
		{ S("a+b@x.com"), true, S("a+b@x.com") },
		{ S("%41%2f%2F%7e"), true, S("A//~") },
		{ S("%25"), true, S("%") },
		{ S("%2541"), true, S("%41") }, /* once */
		{ S("%c3%BC"), true, S("\xc3\xbc") },
		{ S("%ff%01"), true, S("\xff\x01") },
		{ S("%00"), false, S("") },
		{ S("a%00b"), false, S("") },
		{ S("%"), false, S("") },
		{ S("%4"), false, S("") },
		{ S("ab%4"), false, S("") },
		{ S("%4g"), false, S("") },
		{ S("%g4"), false, S("") },
		{ S("%%41"), false, S("") },
		{ S("%-1"), false, S("") },
		{ S("a\0b"), false, S("") },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char *exact = malloc(rows[i].in.n ? rows[i].in.n : 1);
		struct buf b;

		assert_non_null(exact);
		memcpy(exact, rows[i].in.p, rows[i].in.n);
		buf_init(&b, 100);
		buf_add(&b, S("-"));
		assert_int_equal(http_decode(slice(exact, rows[i].in.n), &b), rows[i].ok);
		assert_true(b.n == 1 + rows[i].out.n &&
			    slice_eq(slice_from(buf_slice(&b), 1), rows[i].out));
		buf_done(&b);
		free(exact);
	}
}

static void decoding_has_a_ceiling(void **state)
{
	struct buf b;

	buf_init(&b, 2);
	assert_false(http_decode(S("abc"), &b));
	assert_true(b.failed && b.n == 0);
	buf_done(&b);
}

static void queries(void **state)
{
	static const struct {
		struct slice query, name;
		size_t nth;
		bool ok;
		struct slice out;
	} rows[] = {
		{ S("a=1&b=2"), S("b"), 0, true, S("2") },
		{ S("a=1&b=2"), S("c"), 0, false, S("") },
		{ S("a=1&a=2"), S("a"), 0, true, S("1") },
		{ S("a=1&a=2"), S("a"), 1, true, S("2") },
		{ S("a=1&a=2"), S("a"), 2, false, S("") },
		{ S("a[]=1&b=0&a%5B%5D=2&a=3"), S("a"), 1, true, S("2") },
		{ S("a[]=1&b=0&a%5b%5d=2&a=3"), S("a"), 2, true, S("3") },
		{ S("a=x+y%2Bz"), S("a"), 0, true, S("x y+z") },
		{ S("+a=1"), S(" a"), 0, true, S("1") },
		{ S("a=b=c"), S("a"), 0, true, S("b=c") },
		{ S("a"), S("a"), 0, true, S("") },
		{ S("a="), S("a"), 0, true, S("") },
		{ S("&&a=1&"), S("a"), 0, true, S("1") },
		{ S(""), S("a"), 0, false, S("") },
		{ S("a=%zz"), S("a"), 0, false, S("") },
		{ S("a=ok%00"), S("a"), 0, false, S("") },
		{ S("a=%zz&a=1"), S("a"), 1, true, S("1") },
		{ S("%zz=1&a=2"), S("a"), 0, true, S("2") },
		{ S("A=1"), S("a"), 0, false, S("") },
		{ S("__proto__=1"), S("__proto__"), 0, true, S("1") },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct buf b;

		buf_init(&b, 100);
		assert_int_equal(http_query_get(rows[i].query, rows[i].name, rows[i].nth, &b),
				 rows[i].ok);
		assert_true(slice_eq(buf_slice(&b), rows[i].out));
		buf_done(&b);
	}
}

static void query_with_a_long_name(void **state)
{
	struct buf q, b;

	buf_init(&q, 1 << 16);
	buf_init(&b, 100);
	for (int i = 0; i < 5000; i++)
		buf_addc(&q, 'n');
	buf_add(&q, S("=1&a=2"));
	assert_true(http_query_get(buf_slice(&q), S("a"), 0, &b));
	assert_true(slice_eq(buf_slice(&b), S("2")));
	buf_done(&q);
	buf_done(&b);
}

int run_head_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields),        cmocka_unit_test(head_is_untouched_by_a_refusal),
		cmocka_unit_test(path_decoding), cmocka_unit_test(decoding_has_a_ceiling),
		cmocka_unit_test(queries),       cmocka_unit_test(query_with_a_long_name),
	};

	return cmocka_run_group_tests_name("http head", tests, NULL, NULL);
}
