/* Errors, UTF-8, times, JSON out. */
#include "base/err.h"
#include "base/jsonout.h"
#include "base/mdoc.h"
#include "base/room_test.h"
#include "base/timetext.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void errors(void **state)
{
	struct err e = { 0 };
	char big[500];

	assert_false(err_set(&e, ERR_LATER, "disk %s at %d", "full", 7));
	assert_int_equal(e.kind, ERR_LATER);
	assert_string_equal(e.text, "disk full at 7");
	assert_false(err_in(&e, "spool"));
	assert_int_equal(e.kind, ERR_LATER);
	assert_string_equal(e.text, "spool: disk full at 7");
	assert_false(err_set(NULL, ERR_BUG, "nobody asks") || err_in(NULL, "x"));
	err_set(&e, ERR_INPUT, "%s", "a\r\nb\x1b[31m\x7f\t\xc3\xbc");
	assert_string_equal(e.text, "a??b?[31m??\xc3\xbc");
	err_in(&e, "x\ny");
	assert_true(slice_starts(slice_str(e.text), S("x?y: a??b")));
	memset(big, 'x', sizeof big);
	big[sizeof big - 1] = '\0';
	err_set(&e, ERR_INPUT, "%s", big);
	assert_int_equal(strlen(e.text), sizeof e.text - 1);
	err_in(&e, "front");
	assert_int_equal(strlen(e.text), sizeof e.text - 1);
	assert_true(slice_starts(slice_str(e.text), S("front: xxx")));
}

static void kinds(void **state)
{
	static const char *const names[] = { "none",   "bug",      "input", "denied",
					     "absent", "conflict", "later", "damaged" };

	for (int i = ERR_NONE; i <= ERR_DAMAGED; i++)
		assert_string_equal(err_kind_name((enum err_kind)i), names[i]);
}

static void utf8(void **state)
{
	static const struct {
		struct slice s;
		bool ok;
	} rows[] = {
		{ S(""), true },
		{ S("a\0\x7f"), true },
		{ S("\xc2\x80\xdf\xbf"), true },
		{ S("\xe0\xa0\x80\xec\xbf\xbf\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"), true },
		{ S("\xf0\x90\x80\x80\xf1\x80\x80\x80\xf4\x8f\xbf\xbf"), true },
		{ S("\x80"), false },
		{ S("\xbf"), false },
		{ S("\xc0\x80"), false }, /* overlong NUL */
		{ S("\xc0\xaf"), false }, /* overlong slash */
		{ S("\xc1\xbf"), false },
		{ S("\xe0\x80\xaf"), false },
		{ S("\xe0\x9f\xbf"), false },
		{ S("\xf0\x80\x80\xaf"), false },
		{ S("\xf0\x8f\xbf\xbf"), false },
		{ S("\xed\xa0\x80"), false }, /* surrogates */
		{ S("\xed\xbf\xbf"), false },
		{ S("\xf4\x90\x80\x80"), false }, /* beyond U+10FFFF */
		{ S("\xf5\x80\x80\x80"), false },
		{ S("\xf8\x88\x80\x80\x80"), false },
		{ S("\xfe"), false },
		{ S("\xff"), false },
		{ S("\xc3"), false }, /* cut short */
		{ S("\xe2\x82"), false },
		{ S("\xf0\x9f\x98"), false },
		{ S("\xc3("), false },
		{ S("\xe2(\xac"), false },
		{ S("\xe2\x82("), false },
		{ S("\xf0\x9f\x98("), false },
		{ S("\xc3\xc3\xbc"), false },
		{ S("ok\xff"), false },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char *exact = malloc(rows[i].s.n ? rows[i].s.n : 1);

		assert_non_null(exact);
		memcpy(exact, rows[i].s.p, rows[i].s.n);
		if (utf8_valid(slice(exact, rows[i].s.n)) != rows[i].ok)
			fail_msg("row %zu", i);
		free(exact);
	}
	assert_true(utf8_valid(slice(NULL, 0)));
}

/* All code points, encoded by the rules, and every one with its last byte missing. */
static void utf8_all(void **state)
{
	for (uint32_t c = 0x80; c <= 0x10ffff; c++) {
		char p[4];
		size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
		static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
		uint32_t v = c;

		for (size_t i = n; --i; v >>= 6)
			p[i] = (char)(0x80 | (v & 0x3f));
		p[0] = (char)(lead[n] | v);
		assert_int_equal(utf8_valid(slice(p, n)), c < 0xd800 || c > 0xdfff);
		assert_false(utf8_valid(slice(p, n - 1)));
	}
}

/* Wherever a byte that is not ASCII stands: the reading is eight bytes wide. */
static void spans(void **state)
{
	static const struct {
		uint64_t ms;
		const char *want;
	} cases[] = {
		{ 0, "0 seconds" },        { 999, "0 seconds" },     { 1000, "1 second" },
		{ 119999, "119 seconds" }, { 120000, "2 minutes" },  { 3600000, "60 minutes" },
		{ 7200000, "2 hours" },    { 86400000, "24 hours" }, { 172799999, "47 hours" },
		{ 172800000, "2 days" },   { 432000000, "5 days" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf b;

		buf_init(&b, 64);
		time_add_span(&b, cases[i].ms);
		buf_addc(&b, '\0');
		assert_string_equal(b.p, cases[i].want);
		buf_done(&b);
	}
}

static void every_place(void **state)
{
	for (size_t n = 2; n <= 26; n++)
		for (size_t i = 0; i + 1 < n; i++) {
			char exact[26], *p = exact + sizeof exact - n;

			memset(exact, 'x', sizeof exact);
			assert_true(ascii_only(slice(p, n)) && utf8_valid(slice(p, n)));
			p[i] = '\xc3';
			assert_false(ascii_only(slice(p, n)) || utf8_valid(slice(p, n)));
			p[i + 1] = '\xa9';
			assert_false(ascii_only(slice(p, n)));
			assert_true(utf8_valid(slice(p, n)));
		}
}

static void kinds_of_bytes(void **state)
{
	for (int c = 0; c < 256; c++) {
		char byte = (char)c;

		assert_int_equal(has_control(slice(&byte, 1)), c < 0x20 || c == 0x7f);
		assert_int_equal(ascii_only(slice(&byte, 1)), c < 0x80);
		assert_int_equal(ascii_digit(byte), c >= '0' && c <= '9');
		assert_int_equal(ascii_alpha(byte),
				 (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'));
		assert_int_equal(ascii_lower(byte), c >= 'A' && c <= 'Z' ? byte + 32 : byte);
	}
	assert_true(has_control(S("ab\n")) && !has_control(S("")));
	assert_true(!ascii_only(S("ab\xff")) && ascii_only(S("")));
}

static void times(void **state)
{
	/* From Python's datetime. */
	static const struct {
		uint64_t ms;
		struct slice mail, log;
	} rows[] = {
		{ 0, S("Thu, 01 Jan 1970 00:00:00 +0000"), S("1970-01-01T00:00:00.000Z") },
		{ 951782399999, S("Mon, 28 Feb 2000 23:59:59 +0000"),
		  S("2000-02-28T23:59:59.999Z") },
		{ 951782400000, S("Tue, 29 Feb 2000 00:00:00 +0000"),
		  S("2000-02-29T00:00:00.000Z") },
		{ 1709210096042, S("Thu, 29 Feb 2024 12:34:56 +0000"),
		  S("2024-02-29T12:34:56.042Z") },
		{ 1795473796042, S("Mon, 23 Nov 2026 22:43:16 +0000"),
		  S("2026-11-23T22:43:16.042Z") },
		{ 4107542399000, S("Sun, 28 Feb 2100 23:59:59 +0000"),
		  S("2100-02-28T23:59:59.000Z") },
		{ 4107542400000, S("Mon, 01 Mar 2100 00:00:00 +0000"),
		  S("2100-03-01T00:00:00.000Z") },
		{ 253402300799000, S("Fri, 31 Dec 9999 23:59:59 +0000"),
		  S("9999-12-31T23:59:59.000Z") },
		/* A clock beyond four digits of year stays there. */
		{ 253402300800000, S("Fri, 31 Dec 9999 23:59:59 +0000"),
		  S("9999-12-31T23:59:59.000Z") },
		{ UINT64_MAX - 615, S("Fri, 31 Dec 9999 23:59:59 +0000"),
		  S("9999-12-31T23:59:59.000Z") },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct buf b;

		buf_init(&b, 100);
		time_add_rfc5322(&b, rows[i].ms);
		assert_true(slice_eq(buf_slice(&b), rows[i].mail));
		buf_clear(&b);
		time_add_rfc3339(&b, rows[i].ms);
		if (!slice_eq(buf_slice(&b), rows[i].log))
			fail_msg("row %zu: %.*s", i, SLICE_ARG(buf_slice(&b)));
		buf_clear(&b);
		time_add_clock(&b, rows[i].ms);
		assert_true(slice_eq(buf_slice(&b), slice(rows[i].log.p + 11, 8)));
		buf_done(&b);
	}
}

static void json_structure(void **state)
{
	static const unsigned char random[10] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
	struct json_out j;
	struct buf b;

	buf_init(&b, 1000);
	json_begin(&j, &b);
	json_open(&j);
	json_kstr(&j, "s", S("x"));
	json_knum(&j, "n", UINT64_MAX);
	json_kbool(&j, "t", true);
	json_kbool(&j, "f", false);
	json_key(&j, "z");
	json_null(&j);
	json_key(&j, "l");
	json_open_list(&j);
	json_num(&j, 0);
	json_open_list(&j);
	json_close_list(&j);
	json_open(&j);
	json_close(&j);
	json_str(&j, S(""));
	json_bool(&j, true);
	json_close_list(&j);
	json_key(&j, "o");
	json_open(&j);
	json_knum(&j, "a", 1);
	json_close(&j);
	json_ktime(&j, "never", 0);
	json_ktime(&j, "at", 1795473796042);
	json_kid(&j, "id", id_make(0, random));
	json_close(&j);
	assert_true(slice_eq(
	    buf_slice(&b), S("{\"s\":\"x\",\"n\":18446744073709551615,\"t\":true,\"f\":false,"
			     "\"z\":null,\"l\":[0,[],{},\"\",true],\"o\":{\"a\":1},\"never\":null,"
			     "\"at\":\"2026-11-23T22:43:16.042Z\","
			     "\"id\":\"AAAAAAAAAQIDBAUGBwgJCg\"}")));
	buf_done(&b);
}

static void json_text(void **state)
{
	static const struct {
		struct slice in, out;
	} rows[] = {
		{ S(""), S("\"\"") },
		{ S("a/b<&>'"), S("\"a/b<&>'\"") },
		{ S("\"\\"), S("\"\\\"\\\\\"") },
		{ S("\0\x01\n\r\t\x1f\x7f"),
		  S("\"\\u0000\\u0001\\u000a\\u000d\\u0009\\u001f\\u007f\"") },
		{ S("\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80"),
		  S("\"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80\"") },
		{ S("a\xff"
		    "b"),
		  S("\"a\xef\xbf\xbd"
		    "b\"") },
		{ S("\xc3"), S("\"\xef\xbf\xbd\"") },
		{ S("\xc3\""), S("\"\xef\xbf\xbd\\\"\"") }, /* the quote is not swallowed */
		{ S("\xe2\x82\n"), S("\"\xef\xbf\xbd\xef\xbf\xbd\\u000a\"") },
		{ S("\xed\xa0\x80"), S("\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"") },
		{ S("\xc0\xa2"), S("\"\xef\xbf\xbd\xef\xbf\xbd\"") }, /* overlong quote */
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct json_out j;
		struct buf b;

		buf_init(&b, 1000);
		json_begin(&j, &b);
		json_str(&j, rows[i].in);
		if (!slice_eq(buf_slice(&b), rows[i].out))
			fail_msg("row %zu: %.*s", i, SLICE_ARG(buf_slice(&b)));
		buf_clear(&b);
		json_begin(&j, &b);
		json_open(&j);
		json_kstr(&j, "\"k\n", rows[i].in);
		json_close(&j);
		assert_true(slice_starts(buf_slice(&b), S("{\"\\\"k\\u000a\":\"")));
		buf_done(&b);
	}
}

/* Any bytes at all come out as UTF-8 without a control byte. */
static void json_text_is_harmless(void **state)
{
	uint64_t seed = 5;
	struct json_out j;
	struct buf b;

	buf_init(&b, 1000);
	for (int i = 0; i < 50000; i++) {
		char bytes[12];

		for (size_t k = 0; k < sizeof bytes; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			bytes[k] = (char)(seed >> 56);
		}
		buf_clear(&b);
		json_begin(&j, &b);
		json_str(&j, slice(bytes, sizeof bytes));
		assert_true(utf8_valid(buf_slice(&b)) && !has_control(buf_slice(&b)));
	}
	buf_clear(&b);
	b.max = b.cap = 10;
	json_begin(&j, &b);
	json_str(&j, S("longer than ten"));
	assert_true(b.failed);
	buf_done(&b);
}

/* No text is taken for a request, and a word stays one argument. */
static void mdoc(void **state)
{
	static const struct {
		const char *text, *line, *word;
	} cases[] = {
		{ "plain", "plain\n", "\"plain\"" },
		{ ".Sh X", "\\&.Sh X\n", "\".Sh X\"" },
		{ "'br", "\\&'br\n", "\"'br\"" },
		{ "a\\fBb", "a\\efBb\n", "\"a\\efBb\"" },
		{ "two\n.Sh lines", "two .Sh lines\n", "\"two .Sh lines\"" },
		{ "a \"b\"", "a \"b\"\n", "\"a \"\"b\"\"\"" },
		{ "", "\n", "\"\"" },
	};
	struct buf b;

	buf_init(&b, 1000);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		buf_clear(&b);
		mdoc_line(&b, slice_str(cases[i].text));
		assert_true(slice_eq(buf_slice(&b), slice_str(cases[i].line)));
		buf_clear(&b);
		mdoc_word(&b, slice_str(cases[i].text));
		assert_true(slice_eq(buf_slice(&b), slice_str(cases[i].word)));
	}
	buf_done(&b);
}

int run_text_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors),
		cmocka_unit_test(kinds),
		cmocka_unit_test(utf8),
		cmocka_unit_test(utf8_all),
		cmocka_unit_test(every_place),
		cmocka_unit_test(kinds_of_bytes),
		cmocka_unit_test(spans),
		cmocka_unit_test(times),
		cmocka_unit_test(json_structure),
		cmocka_unit_test(json_text),
		cmocka_unit_test(json_text_is_harmless),
		cmocka_unit_test(mdoc),
	};

	return cmocka_run_group_tests_name("base text", tests, NULL, NULL);
}
