#include "mime/header.h"

#include "mime/room_test.h"

#include <stdlib.h>

static enum mime_problem split(struct slice in, bool whole, struct arena *a, struct mime_header *h)
{
	return mime_header_split(in, whole, &mime_limits_default, a, h);
}

static void takes_fields_apart(void **state)
{
	struct slice in = S("From: a@b\r\nSubject:\tone\r\n two\r\n\t\r\nX:\r\n\r\nbody\r\n");
	struct mime_header h;
	struct arena a;

	arena_init(&a, 1 << 20);
	assert_int_equal(split(in, true, &a, &h), MIME_FINE);
	assert_int_equal(h.n, 3);
	assert_true(h.ended);
	assert_int_equal(h.bytes, in.n - 6);
	assert_slice(h.fields[0].name, S("From"));
	assert_slice(h.fields[0].value, S(" a@b"));
	assert_slice(h.fields[0].raw, S("From: a@b\r\n"));
	assert_int_equal(h.fields[0].id, MIME_FROM);
	assert_slice(h.fields[1].value, S("\tone\r\n two\r\n\t"));
	assert_slice(h.fields[1].raw, S("Subject:\tone\r\n two\r\n\t\r\n"));
	assert_slice(mime_unfold(h.fields[1].value, &a), S("one two"));
	assert_slice(h.fields[2].value, S(""));
	assert_int_equal(h.fields[2].id, MIME_OTHER);
	arena_done(&a);
}

static void knows_where_the_head_ends(void **state)
{
	static const struct {
		struct slice in;
		bool whole;
		enum mime_problem want;
		size_t bytes, n;
		bool ended;
	} cases[] = {
		{ S("A: 1\r\n\r\nB: 2\r\n"), true, MIME_FINE, 8, 1, true },
		{ S("A: 1\r\nB: 2\r\n"), true, MIME_FINE, 12, 2, false },
		{ S("\r\nA: 1\r\n"), true, MIME_FINE, 2, 0, true },
		{ S(""), true, MIME_FINE, 0, 0, false },
		{ S("A: 1\r\n\r\n"), false, MIME_FINE, 8, 1, true },
		/* The caller promised header_max bytes: what is not there is too far away. */
		{ S("A: 1\r\n"), false, MIME_HEADER_TOO_LARGE, 0, 0, false },
		{ S("A: 1\r"), false, MIME_HEADER_TOO_LARGE, 0, 0, false },
		{ S("A: 1"), true, MIME_BAD_LINE_END, 0, 0, false },
		{ S("A: 1\r"), true, MIME_BAD_LINE_END, 0, 0, false },
		{ S("A: 1\r\n\r"), true, MIME_BAD_LINE_END, 0, 0, false },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mime_header h = { 0 };
		struct arena a;

		arena_init(&a, 1 << 20);
		print_message("  case %zu\n", i);
		assert_int_equal(split(cases[i].in, cases[i].whole, &a, &h), cases[i].want);
		assert_int_equal(h.bytes, cases[i].bytes);
		assert_int_equal(h.n, cases[i].n);
		assert_int_equal(h.ended, cases[i].ended);
		arena_done(&a);
	}
}

static void refuses(void **state)
{
	static const struct {
		struct slice in;
		enum mime_problem want;
	} cases[] = {
		{ S("From a@b Mon Jan 1\r\nFrom: a@b\r\n\r\n"), MIME_MBOX_LINE },
		{ S("A: 1\r\nFrom a@b Mon\r\n\r\n"), MIME_BAD_FIELD },
		{ S(">From: a\r\nA\r\n\r\n"), MIME_BAD_FIELD },
		{ S("no colon\r\n\r\n"), MIME_BAD_FIELD },
		{ S(": no name\r\n\r\n"), MIME_BAD_FIELD },
		{ S("From : a@b\r\n\r\n"), MIME_BAD_FIELD },
		{ S("From\t: a@b\r\n\r\n"), MIME_BAD_FIELD },
		{ S("Fr\xc3\xb6m: a@b\r\n\r\n"), MIME_BAD_FIELD },
		{ S("Fr\x7fm: a@b\r\n\r\n"), MIME_BAD_FIELD },
		{ S("Fr\x01m: a@b\r\n\r\n"), MIME_BAD_FIELD },
		{ S(" From: a@b\r\n\r\n"), MIME_BAD_FIELD },
		{ S("\tA: 1\r\n\r\n"), MIME_BAD_FIELD },
		{ S("A: 1\nB: 2\r\n\r\n"), MIME_BAD_LINE_END },
		{ S("A: 1\r\n\nB: 2\r\n\r\n"), MIME_BAD_LINE_END },
		{ S("A: 1\rB: 2\r\n\r\n"), MIME_BAD_LINE_END },
		{ S("A: 1\r\r\nB: 2\r\n\r\n"), MIME_BAD_LINE_END },
		{ S("A: 1\r\n\r\r\n"), MIME_BAD_LINE_END },
		{ S("A: 1\n\r\n"), MIME_BAD_LINE_END },
		{ S("\n"), MIME_BAD_LINE_END },
		{ S("A: 1\0002\r\n\r\n"), MIME_NUL },
		{ S("A: 12345678901234567890\0\r\n\r\n"), MIME_NUL },
		{ S("\0\r\n\r\n"), MIME_NUL },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mime_header h = { 0 };
		struct arena a;

		arena_init(&a, 1 << 20);
		print_message("  case %zu\n", i);
		assert_int_equal(split(cases[i].in, true, &a, &h), cases[i].want);
		arena_done(&a);
	}
}

/* A CR, LF, NUL or high byte at each place of a long line: the eight-byte steps miss none. */
static void sees_every_byte(void **state)
{
	static const struct {
		char byte;
		enum mime_problem want;
	} kinds[] = { { '\r', MIME_BAD_LINE_END }, { '\n', MIME_BAD_LINE_END },
		      { '\0', MIME_NUL },          { '\x80', MIME_FINE },
		      { '\xff', MIME_FINE },       { '\x01', MIME_FINE },
		      { '\x0c', MIME_FINE },       { '\x0e', MIME_FINE },
		      { '\x8d', MIME_FINE } };

	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
		for (size_t at = 2; at < 42; at++) {
			char line[] = "A:0123456789012345678901234567890123456789\r\n\r\n";
			struct mime_header h = { 0 };
			struct arena a;

			line[at] = kinds[k].byte;
			arena_init(&a, 1 << 20);
			assert_int_equal(split(slice(line, 46), true, &a, &h), kinds[k].want);
			if (kinds[k].want == MIME_FINE)
				assert_int_equal(h.fields[0].high,
						 (unsigned char)kinds[k].byte > 0x7f);
			arena_done(&a);
		}
}

static void keeps_its_limits(void **state)
{
	const struct mime_limits limits = { .header_max = 100, .fields_max = 3, .line_max = 20 };
	static const struct {
		struct slice in;
		enum mime_problem want;
	} cases[] = {
		{ S("A: 45678901234567890\r\n\r\n"), MIME_FINE },
		{ S("A: 456789012345678901\r\n\r\n"), MIME_LINE_TOO_LONG },
		{ S("A: 456789012345678901\r"), MIME_LINE_TOO_LONG },
		{ S("A: 4567890123456789012345"), MIME_LINE_TOO_LONG },
		{ S("A:\r\n 23456789012345678901\r\n\r\n"), MIME_LINE_TOO_LONG },
		{ S("A:\r\n 2345678901234567890\r\n\r\n"), MIME_FINE },
		{ S("A:\r\nB:\r\nC:\r\n\r\n"), MIME_FINE },
		{ S("A:\r\nB:\r\nC:\r\nD:\r\n\r\n"), MIME_TOO_MANY_FIELDS },
		/* 100 bytes with the empty line; 101 */
		{ S("A:\r\n 345678901234567\r\n 345678901234567\r\n 345678901234567\r\n"
		    " 345678901234567\r\n 345678901234567\r\n 6\r\n\r\n12345"),
		  MIME_FINE },
		{ S("A:\r\n 345678901234567\r\n 345678901234567\r\n 345678901234567\r\n"
		    " 345678901234567\r\n 345678901234567\r\n 67\r\n\r\n12345"),
		  MIME_HEADER_TOO_LARGE },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mime_header h = { 0 };
		struct arena a;

		arena_init(&a, 1 << 20);
		print_message("  case %zu\n", i);
		assert_int_equal(mime_header_split(cases[i].in, true, &limits, &a, &h),
				 cases[i].want);
		if (i == 8)
			assert_int_equal(h.bytes, 100);
		arena_done(&a);
	}
}

static void knows_names_in_any_case(void **state)
{
	static const struct {
		struct slice name;
		enum mime_name id;
	} cases[] = {
		{ S("from"), MIME_FROM },
		{ S("sender"), MIME_SENDER },
		{ S("reply-to"), MIME_REPLY_TO },
		{ S("to"), MIME_TO },
		{ S("cc"), MIME_CC },
		{ S("bcc"), MIME_BCC },
		{ S("date"), MIME_DATE },
		{ S("message-id"), MIME_MESSAGE_ID },
		{ S("subject"), MIME_SUBJECT },
		{ S("received"), MIME_RECEIVED },
		{ S("return-path"), MIME_RETURN_PATH },
		{ S("authentication-results"), MIME_AUTHENTICATION_RESULTS },
		{ S("resent-from"), MIME_RESENT_FROM },
		{ S("resent-sender"), MIME_RESENT_SENDER },
		{ S("resent-to"), MIME_RESENT_TO },
		{ S("resent-cc"), MIME_RESENT_CC },
		{ S("resent-bcc"), MIME_RESENT_BCC },
		{ S("x-smtpapi"), MIME_X_SMTPAPI },
		{ S("froms"), MIME_OTHER },
		{ S("fro"), MIME_OTHER },
		{ S("f\x12om"), MIME_OTHER },
		{ S("__proto__"), MIME_OTHER },
		{ S("authentication-results2"), MIME_OTHER },
		{ S("x"), MIME_OTHER },
		{ S(""), MIME_OTHER },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char upper[32], mixed[32];
		size_t n = cases[i].name.n;

		for (size_t k = 0; k < n; k++) {
			char c = cases[i].name.p[k];

			upper[k] = ascii_alpha(c) ? (char)(c & ~0x20) : c;
			mixed[k] = k % 2 ? c : upper[k];
		}
		assert_int_equal(mime_name_of(cases[i].name), cases[i].id);
		assert_int_equal(mime_name_of(slice(upper, n)), cases[i].id);
		assert_int_equal(mime_name_of(slice(mixed, n)), cases[i].id);
	}
}

/* 10^5 fields with the limits raised: linear, and the memory of the default limits is bounded. */
static void bears_many_fields(void **state)
{
	const size_t n = 100000;
	struct mime_limits limits = mime_limits_default;
	char *in = malloc(n * 4 + 2);
	struct mime_header h = { 0 };
	struct arena a;

	assert_non_null(in);
	for (size_t i = 0; i < n; i++)
		memcpy(in + i * 4, "a:\r\n", 4);
	memcpy(in + n * 4, "\r\n", 2);
	arena_init(&a, 64 << 20);
	assert_int_equal(split(slice(in, n * 4 + 2), true, &a, &h), MIME_TOO_MANY_FIELDS);
	assert_true(a.used < 256 << 10);
	limits.fields_max = n;
	limits.header_max = n * 4 + 2;
	assert_int_equal(mime_header_split(slice(in, n * 4 + 2), true, &limits, &a, &h), MIME_FINE);
	assert_int_equal(h.n, n);
	arena_done(&a);
	arena_init(&a, 1000);
	assert_int_equal(split(slice(in, n * 4 + 2), true, &a, &h), MIME_NO_MEMORY);
	arena_done(&a);
	free(in);
}

int header_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_fields_apart),
		cmocka_unit_test(knows_where_the_head_ends),
		cmocka_unit_test(refuses),
		cmocka_unit_test(sees_every_byte),
		cmocka_unit_test(keeps_its_limits),
		cmocka_unit_test(knows_names_in_any_case),
		cmocka_unit_test(bears_many_fields),
	};

	return cmocka_run_group_tests_name("mime header", tests, NULL, NULL);
}
