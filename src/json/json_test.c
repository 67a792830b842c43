/* JSON: what is read, what is refused and with which words. */
#include "json/json.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* From exactly these bytes on the heap, gone before the tree is used. */
static struct json *read_exact(struct slice text, struct err *e)
{
	char *exact = malloc(text.n ? text.n : 1);
	struct json *j;

	assert_non_null(exact);
	if (text.n)
		memcpy(exact, text.p, text.n);
	j = json_read(slice(exact, text.n), e);
	free(exact);
	return j;
}

static void well_formed(void **state)
{
	static const struct slice rows[] = {
		S("{}"),
		S("[]"),
		S(" \t\r\n{ \"a\" : [ 1 , -2.5e3 , true , false , null , \"x\" ] } \n"),
		S("{\"a\":{\"a\":1},\"b\":{\"a\":1}}"), /* the same name in two objects */
		S("[\"\\u00fc\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"),
		S("[\"[{[{[{\",\"\\\"[[\"]"),
		S("[9223372036854775807]"),
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct err e = { 0 };
		struct json *j = read_exact(rows[i], &e);

		if (!j)
			fail_msg("row %zu: %s", i, e.text);
		json_free(j);
	}
	json_free(NULL);
}

static void refused(void **state)
{
	static const struct {
		struct slice in;
		const char *why; /* the end of the text */
	} rows[] = {
		{ S(""), "'[' or '{' expected" },
		{ S("null"), "'[' or '{' expected" },
		{ S("\"x\""), "'[' or '{' expected" },
		{ S("1"), "'[' or '{' expected" },
		{ S("\xef\xbb\xbf{}"), "'[' or '{' expected" }, /* byte order mark */
		{ S("{} x"), "end of file expected" },
		{ S("{}{}"), "end of file expected" },
		{ S("{}\0"), "a NUL byte" },
		{ S("[1\0]"), "a NUL byte" }, /* the library skips it behind a number */
		{ S("{\"a\":-1.5e3\0,\"b\":2\0}"), "a NUL byte" },
		{ S("{\"a\":1,\"a\":2}"), "duplicate object key" },
		{ S("{\"a\":1,\"\\u0061\":2}"), "duplicate object key" },
		{ S("{\"a\":1,}"), "string or '}' expected" },
		{ S("{a:1}"), "string or '}' expected" },
		{ S("{'a':1}"), "string or '}' expected" },
		{ S("[1,]"), "unexpected token" },
		{ S("[1"), "']' expected" },
		{ S("[01]"), "invalid token" },
		{ S("[+1]"), "invalid token" },
		{ S("[.5]"), "invalid token" },
		{ S("[NaN]"), "invalid token" },
		{ S("[1e999]"), "real number overflow" },
		{ S("[9223372036854775808]"), "too big integer" },
		{ S("[\"\xff\"]"), "unable to decode byte 0xff" },
		{ S("[\"\xc0\xaf\"]"), "unable to decode byte 0xc0" },
		{ S("[\"\xed\xa0\x80\"]"), "unable to decode byte 0xed" },
		{ S("[\"\\ud800\"]"), "invalid Unicode '\\uD800'" },
		{ S("[\"\\u0000\"]"), "\\u0000 is not allowed without JSON_ALLOW_NUL" },
		{ S("{\"a\\u0000b\":1}"), "NUL byte in object key not supported" },
		{ S("[\"a\0b\"]"), "a NUL byte" },
		{ S("[\"a\001b\"]"), "control character 0x1" },
		{ S("[\"a\nb\"]"), "unexpected newline" },
		{ S("[\"\\x\"]"), "invalid escape" },
		{ S("[\"a"), "premature end of input" },
		{ S("[\"\\"), "invalid escape" },
		{ S("[/**/]"), "invalid token" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct err e = { 0 };
		struct json *j = read_exact(rows[i].in, &e);

		if (j || e.kind != ERR_INPUT ||
		    !slice_ends(slice_str(e.text), slice_str(rows[i].why)))
			fail_msg("row %zu: %s", i, j ? "accepted" : e.text);
		json_free(j);
	}
}

static void errors_name_the_place_and_quote_nothing(void **state)
{
	struct err e = { 0 };

	assert_null(read_exact(S("{\n \"key\": SG.secret }"), &e));
	assert_string_equal(e.text, "JSON: line 2, column 10: invalid token");
	assert_null(json_read(S("{"), NULL)); /* nobody asks why */
}

static struct json *nested(size_t depth, char open, char close, struct err *e)
{
	struct json *j;
	struct buf b;

	buf_init(&b, 1 << 24);
	for (size_t i = 0; i < depth; i++) {
		if (open == '{' && i)
			buf_add(&b, S("\"a\":"));
		buf_addc(&b, open);
	}
	for (size_t i = 0; i < depth; i++)
		buf_addc(&b, close);
	j = json_read(buf_slice(&b), e);
	buf_done(&b);
	return j;
}

static void depth(void **state)
{
	struct json *j;
	struct err e = { 0 };

	j = nested(64, '[', ']', NULL);
	assert_non_null(j);
	json_free(j);
	j = nested(64, '{', '}', NULL);
	assert_non_null(j);
	json_free(j);
	assert_null(nested(65, '[', ']', &e));
	assert_string_equal(e.text, "JSON: more than 64 levels");
	assert_null(nested(65, '{', '}', &e));
	assert_null(nested(1000000, '[', ']', &e));
	/* Brackets in text are no levels. */
	assert_null(json_read(S("{]]]]]]]]"), &e));
}

/* n values: the list and n - 1 in it. */
static struct json *many(size_t n, struct err *e)
{
	struct json *j;
	struct buf b;

	buf_init(&b, 1 << 24);
	buf_add(&b, S("[0"));
	for (size_t i = 2; i < n; i++)
		buf_add(&b, S(",0"));
	buf_addc(&b, ']');
	j = json_read(buf_slice(&b), e);
	buf_done(&b);
	return j;
}

static void values(void **state)
{
	struct err e = { 0 };
	struct json *j = many(JSON_VALUES, &e);

	assert_non_null(j);
	assert_int_equal(json_length(j), JSON_VALUES - 1);
	json_free(j);
	assert_null(many(JSON_VALUES + 1, &e));
	assert_string_equal(e.text, "JSON: more than 262144 values");
}

static void looked_at(void **state)
{
	struct json *j =
	    read_exact(S("{\"t\":\"\\u00fc\",\"n\":7,\"neg\":-1,\"r\":1.0,\"yes\":true,"
			 "\"no\":false,\"nil\":null,\"l\":[\"x\",2],\"o\":{\"a\":{}},"
			 "\"__proto__\":\"p\",\"\":\"empty\"}"),
		       NULL);
	struct slice s = S("untouched");
	uint64_t n = 99;

	assert_non_null(j);
	assert_true(json_as_text(json_get(j, "t"), &s) && slice_eq(s, S("\xc3\xbc")));
	assert_true(json_as_text(json_get(j, "__proto__"), &s) && slice_eq(s, S("p")));
	assert_true(json_as_text(json_get(j, ""), &s) && slice_eq(s, S("empty")));
	assert_false(json_as_text(json_get(j, "n"), &s) || json_as_text(json_get(j, "nil"), &s) ||
		     json_as_text(json_get(j, "absent"), &s) || json_as_text(NULL, &s));
	assert_true(slice_eq(s, S("empty")));
	assert_true(json_as_number(json_get(j, "n"), &n) && n == 7);
	assert_false(json_as_number(json_get(j, "neg"), &n) ||
		     json_as_number(json_get(j, "r"), &n) || json_as_number(json_get(j, "t"), &n) ||
		     json_as_number(NULL, &n));
	assert_int_equal(n, 7);
	assert_true(json_as_true(json_get(j, "yes")));
	assert_false(json_as_true(json_get(j, "no")) || json_as_true(json_get(j, "n")) ||
		     json_as_true(NULL));
	assert_int_equal(json_length(json_get(j, "l")), 2);
	assert_true(json_as_text(json_at(json_get(j, "l"), 0), &s) && slice_eq(s, S("x")));
	assert_null(json_at(json_get(j, "l"), 2));
	assert_int_equal(json_length(json_get(j, "o")), 0);
	assert_int_equal(json_length(NULL), 0);
	assert_null(json_at(j, 0));
	assert_null(json_get(json_get(j, "l"), "x"));
	assert_null(json_get(NULL, "x"));
	assert_null(json_get(j, "toString"));
	assert_true(json_has_members(j) && json_has_members(json_get(j, "o")));
	assert_false(json_has_members(json_get(j, "l")) || json_has_members(NULL));
	json_free(j);
}

static void wanted(void **state)
{
	struct json *j = read_exact(
	    S("{\"t\":\"x\",\"n\":7,\"b\":true,\"nb\":false,\"nil\":null,\"l\":[],\"o\":{}}"),
	    NULL);
	const struct json *sub = NULL;
	struct slice s = S("untouched");
	struct err e = { 0 };
	uint64_t n = 99;
	bool b = false;

	assert_non_null(j);
	assert_true(json_want_text(j, "t", true, &s, &e) && slice_eq(s, S("x")));
	assert_true(json_want_text(j, "absent", false, &s, &e) && slice_eq(s, S("x")));
	assert_false(json_want_text(j, "absent", true, &s, &e));
	assert_int_equal(e.kind, ERR_INPUT);
	assert_string_equal(e.text, "\"absent\" is missing");
	assert_false(json_want_text(j, "nil", false, &s, &e));
	assert_string_equal(e.text, "\"nil\" is not a text");

	assert_true(json_want_number(j, "n", true, &n, &e) && n == 7);
	assert_true(json_want_number(j, "absent", false, &n, &e) && n == 7);
	assert_false(json_want_number(j, "absent", true, &n, &e));
	assert_false(json_want_number(j, "t", false, &n, &e));
	assert_string_equal(e.text, "\"t\" is not a whole number of 0 or more");

	n = 99;
	assert_true(json_want_between(j, "absent", false, 1, 3, &n, &e) && n == 99);
	assert_false(json_want_between(j, "absent", true, 1, 3, &n, &e));
	assert_false(json_want_between(j, "n", true, 1, 6, &n, &e));
	assert_string_equal(e.text, "\"n\" is not between 1 and 6");
	assert_false(json_want_between(j, "n", true, 8, 9, &n, &e));
	assert_false(json_want_between(j, "t", true, 1, 3, &n, &e));
	assert_int_equal(n, 99);
	assert_true(json_want_between(j, "n", true, 7, 7, &n, &e) && n == 7);

	assert_true(json_want_bool(j, "b", &b, &e) && b);
	assert_true(json_want_bool(j, "absent", &b, &e) && b);
	assert_true(json_want_bool(j, "nb", &b, &e) && !b);
	assert_false(json_want_bool(j, "n", &b, &e));
	assert_string_equal(e.text, "\"n\" is neither true nor false");

	assert_true(json_want_list(j, "absent", false, &sub, &e) && !sub);
	assert_false(json_want_list(j, "absent", true, &sub, &e));
	assert_false(json_want_list(j, "o", false, &sub, &e));
	assert_string_equal(e.text, "\"o\" is not a list");
	assert_null(sub);
	assert_true(json_want_list(j, "l", true, &sub, &e) && sub == json_get(j, "l"));
	sub = NULL;
	assert_true(json_want_object(j, "absent", false, &sub, &e) && !sub);
	assert_false(json_want_object(j, "absent", true, &sub, &e));
	assert_false(json_want_object(j, "l", false, &sub, &e));
	assert_string_equal(e.text, "\"l\" is not an object");
	assert_null(sub);
	assert_true(json_want_object(j, "o", true, &sub, &e) && sub == json_get(j, "o"));
	json_free(j);
}

static void only(void **state)
{
	static const char *const names[] = { "a", "b" };
	struct json *j = read_exact(S("{\"b\":1,\"a\":2}"), NULL);
	struct err e = { 0 };

	assert_true(json_only(j, names, 2, &e));
	assert_false(json_only(j, names, 1, &e));
	assert_int_equal(e.kind, ERR_INPUT);
	assert_string_equal(e.text, "\"b\" is not known");
	json_free(j);
	j = read_exact(S("{}"), NULL);
	assert_true(json_only(j, NULL, 0, &e));
	json_free(j);
	j = read_exact(S("[]"), NULL);
	assert_false(json_only(j, names, 2, &e));
	assert_string_equal(e.text, "JSON: not an object");
	json_free(j);
	j = read_exact(S("{\"\\u001b[31m0123456789012345678901234567890123456789"
			 "01234567890123456789xx\":1}"),
		       NULL);
	assert_false(json_only(j, names, 2, &e));
	assert_string_equal(e.text, "\"?[31m0123456789012345678901234567890123456789"
				    "0123456789012345678\" is not known");
	json_free(j);
}

static void each(void **state)
{
	struct json *j = read_exact(S("{\"a\":1,\"b\":2,\"c\":3}"), NULL);
	const struct json *value;
	struct slice name;
	void *it = NULL;
	uint64_t n, sum = 0;
	size_t seen = 0;

	while (json_each(j, &it, &name, &value)) {
		assert_true(json_as_number(value, &n));
		assert_true(name.n == 1 && name.p[0] == (char)('a' + (int)n - 1));
		sum += n;
		seen++;
	}
	assert_int_equal(seen, 3);
	assert_int_equal(sum, 6);
	json_free(j);
	j = read_exact(S("[1]"), NULL);
	it = NULL;
	assert_false(json_each(j, &it, &name, &value));
	json_free(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(well_formed),
		cmocka_unit_test(refused),
		cmocka_unit_test(errors_name_the_place_and_quote_nothing),
		cmocka_unit_test(depth),
		cmocka_unit_test(values),
		cmocka_unit_test(looked_at),
		cmocka_unit_test(wanted),
		cmocka_unit_test(only),
		cmocka_unit_test(each),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
