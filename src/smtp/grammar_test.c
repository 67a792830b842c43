/* Paths, parameters, lines and dots: the parts of the room that know no session. */
#include "base/xtext.h"
#include "smtp/dot.h"
#include "smtp/param.h"
#include "smtp/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

int run_grammar_tests(void);

/* On the heap exactly, so that ASan sees one byte too far. The caller frees .p. */
static struct slice exact(struct slice s)
{
	char *p = malloc(s.n ? s.n : 1);

	assert_non_null(p);
	if (s.n)
		memcpy(p, s.p, s.n);
	return slice(p, s.n);
}

static void free_slice(struct slice s)
{
	free((void *)(uintptr_t)s.p);
}

#define X8    "xxxxxxxx"
#define X16   X8 X8
#define X63   X16 X16 X16 X8 "xxxxxxx"
#define X64   X16 X16 X16 X16
#define D63X3 X63 "." X63 "." X63

enum { N = 1, L = 2, Q = 4, U = 8 }; /* null, literal, quoted, utf8 */

static void path_accepts(void **state)
{
	static const struct {
		struct slice in;
		enum smtp_path_kind kind;
		const char *local, *domain;
		unsigned is;
		bool qualified;
		size_t left;
	} rows[] = {
		{ S("<>"), SMTP_REVERSE_PATH, "", "", N, true, 0 },
		{ S("<> SIZE=1"), SMTP_REVERSE_PATH, "", "", N, true, 7 },
		{ S("<a@b.c>"), SMTP_REVERSE_PATH, "a", "b.c", 0, true, 0 },
		{ S("<a@b.c>>x"), SMTP_FORWARD_PATH, "a", "b.c", 0, true, 2 },
		{ S("<aB.c!#$%&'*+-/=?^_`{|}~9@X-1.y>"), SMTP_FORWARD_PATH,
		  "aB.c!#$%&'*+-/=?^_`{|}~9", "X-1.y", 0, true, 0 },
		{ S("<postMaster>"), SMTP_FORWARD_PATH, "postMaster", "", 0, true, 0 },
		{ S("<postmaster@b>"), SMTP_FORWARD_PATH, "postmaster", "b", 0, false, 0 },
		{ S("<a@localhost>"), SMTP_REVERSE_PATH, "a", "localhost", 0, false, 0 },
		{ S("<a@1.2.3.4>"), SMTP_REVERSE_PATH, "a", "1.2.3.4", 0, false, 0 },
		{ S("<\"a b\\\"@>\"@b.c>"), SMTP_FORWARD_PATH, "\"a b\\\"@>\"", "b.c", Q, true, 0 },
		{ S("<\"\"@b.c>"), SMTP_FORWARD_PATH, "\"\"", "b.c", Q, true, 0 },
		{ S("<\"\\\\\"@b.c>"), SMTP_FORWARD_PATH, "\"\\\\\"", "b.c", Q, true, 0 },
		{ S("<a@[127.0.0.1]>"), SMTP_FORWARD_PATH, "a", "[127.0.0.1]", L, true, 0 },
		{ S("<a@[IPv6:::1]>"), SMTP_FORWARD_PATH, "a", "[IPv6:::1]", L, true, 0 },
		{ S("<a@[ipv6:1:2:3:4:5:6:7:ffFF]>"), SMTP_FORWARD_PATH, "a",
		  "[ipv6:1:2:3:4:5:6:7:ffFF]", L, true, 0 },
		{ S("<a@[IPv6:::ffff:1.2.3.4]>"), SMTP_FORWARD_PATH, "a", "[IPv6:::ffff:1.2.3.4]",
		  L, true, 0 },
		{ S("<a@[IPv6:1:2:3:4:5:6:1.2.3.4]>"), SMTP_FORWARD_PATH, "a",
		  "[IPv6:1:2:3:4:5:6:1.2.3.4]", L, true, 0 },
		{ S("<a@[IPv6:1::]>"), SMTP_FORWARD_PATH, "a", "[IPv6:1::]", L, true, 0 },
		{ S("<a@[IPv6:1:2:3::5:6:7]>"), SMTP_FORWARD_PATH, "a", "[IPv6:1:2:3::5:6:7]", L,
		  true, 0 },
		{ S("<@r.s,@t:a@b.c>"), SMTP_FORWARD_PATH, "a", "b.c", 0, true, 0 },
		{ S("<@r.s:\"q\"@[1.2.3.4]>"), SMTP_REVERSE_PATH, "\"q\"", "[1.2.3.4]", Q | L, true,
		  0 },
		{ S("<\xc3\xbc@b.c>"), SMTP_FORWARD_PATH, "\xc3\xbc", "b.c", U, true, 0 },
		{ S("<\"\xf0\x9f\x98\x80 \"@b.c>"), SMTP_FORWARD_PATH, "\"\xf0\x9f\x98\x80 \"",
		  "b.c", Q | U, true, 0 },
		{ S("<a@b\xc3\xbc"
		    "c.\xe4\xb8\xad>"),
		  SMTP_FORWARD_PATH, "a",
		  "b\xc3\xbc"
		  "c.\xe4\xb8\xad",
		  U, true, 0 },
		{ S("<" X64 "@" X63 ".x>"), SMTP_FORWARD_PATH, X64, X63 ".x", 0, true, 0 },
		/* 256 with the brackets */
		{ S("<" X16 X16 X16 X8 "xxx@" D63X3 ".yz>"), SMTP_FORWARD_PATH,
		  X16 X16 X16 X8 "xxx", D63X3 ".yz", 0, true, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct slice copy = exact(rows[i].in), in = copy;
		struct smtp_path p;

		if (!smtp_path_parse(&in, rows[i].kind, &p))
			fail_msg("refused: %.*s", SLICE_ARG(rows[i].in));
		assert_true(slice_eq(p.local, slice_str(rows[i].local)));
		assert_true(slice_eq(p.domain, slice_str(rows[i].domain)));
		assert_int_equal(p.whole.n, p.local.n + (p.domain.n ? 1 + p.domain.n : 0));
		assert_ptr_equal(p.whole.p, p.local.p);
		assert_int_equal(p.null_path, !!(rows[i].is & N));
		assert_int_equal(p.literal, !!(rows[i].is & L));
		assert_int_equal(p.quoted, !!(rows[i].is & Q));
		assert_int_equal(p.utf8, !!(rows[i].is & U));
		assert_int_equal(smtp_path_qualified(&p), rows[i].qualified);
		assert_int_equal(in.n, rows[i].left);
		free_slice(copy);
	}
}

static void path_refuses(void **state)
{
	static const struct slice rows[] = {
		S(""),
		S("<"),
		S("a@b.c"),
		S("<a@b.c"),
		S("<a>"),
		S("<@b.c>"),
		S("<a@>"),
		S("< a@b.c>"),
		S("<a @b.c>"),
		S("<a@b.c >"),
		S("<a@@b.c>"),
		S("<a@b@c>"),
		S("<.a@b.c>"),
		S("<a.@b.c>"),
		S("<a..b@b.c>"),
		S("<a@.b>"),
		S("<a@b.>"),
		S("<a@b..c>"),
		S("<a@-b.c>"),
		S("<a@b-.c>"),
		S("<a@b_c.d>"),
		S("<a,b@c.d>"),
		S("<a(c)@b.c>"),
		S("<a@b.c(d)>"),
		S("<a\0@b.c>"),
		S("<a@b\0.c>"),
		S("<a\x7f@b.c>"),
		S("<a\t@b.c>"),
		S("<\"a@b.c>"),
		S("<\"a\\\"@b.c>"),
		S("<\"a\"b@b.c>"),
		S("<a\"b\"@b.c>"),
		S("<\"\x01\"@b.c>"),
		S("<\"\\\x01\"@b.c>"),
		S("<\"\\\xc3\xbc\"@b.c>"),
		S("<\"\x7f\"@b.c>"),
		S("<\"\\"),
		S("<\""),
		S("<\xc3@b.c>"),
		S("<\xff@b.c>"),
		S("<\xc0\x80@b.c>"),
		S("<\xed\xa0\x80@b.c>"),
		S("<\xc2\x85@b.c>"),
		S("<a@\xc2\x85.c>"),
		S("<a@b.\xc3"),
		S("<\xc3"),
		S("<a@[1.2.3]>"),
		S("<a@[1.2.3.4.5]>"),
		S("<a@[1.2.3.256]>"),
		S("<a@[01.2.3.4]>"),
		S("<a@[1.2.3.4>"),
		S("<a@1.2.3.4]>"),
		S("<a@[]>"),
		S("<a@[1.2.3.4]x>"),
		S("<a@[1..3.4]>"),
		S("<a@[IPv6:]>"),
		S("<a@[IPv6:1]>"),
		S("<a@[IPv6:1:2:3:4:5:6:7:8:9]>"),
		S("<a@[IPv6:1:2:3:4:5:6:7::]>"),
		S("<a@[IPv6:1::2::3]>"),
		S("<a@[IPv6::1]>"),
		S("<a@[IPv6:1:]>"),
		S("<a@[IPv6:12345::]>"),
		S("<a@[IPv6:g::]>"),
		S("<a@[IPv6:1.2.3.4::]>"),
		S("<a@[IPv6:::1.2.3]>"),
		S("<a@[IPv6:1:2:3:4:5:6:7:1.2.3.4]>"),
		S("<a@[IPv6::::]>"),
		S("<a@[x-9:!Z^~]>"),
		S("<a@[2001:db8::1]>"),
		S("<a@[x-:y]>"),
		S("<a@[x:]>"),
		S("<a@[:x]>"),
		S("<a@[x:\\]>"),
		S("<a@[x:a b]>"),
		S("<a@[x:[]>"),
		S("<a@[x_y:z]>"),
		S("<@r.s>"),
		S("<@r.s:>"),
		S("<@r.s,a@b.c>"),
		S("<@r.s,:a@b.c>"),
		S("<@:a@b.c>"),
		S("<r.s:a@b.c>"),
		S("<@r.s:@t:a@b.c>"),
		S("<@[1.2.3.4]:a@b.c>"),
		S("<@\xc3\xbc.s:a@b.c>"),
		S("<" X64 "x@b.c>"),
		S("<a@" X64 ".c>"),
		S("<a@" D63X3 "." X63 ".x>"),
		S("<" X16 X16 X16 X8 "xxx@" D63X3 ".xyz>"),
		S("<@r.s:" X16 X16 X16 X8 "x@" D63X3 ".xyz>"),
		S("<@r.s:Postmaster>"),
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		for (int kind = 0; kind < 2; kind++) {
			struct slice copy = exact(rows[i]), in = copy;
			struct smtp_path p = { .utf8 = true, .local = S("untouched") };

			if (smtp_path_parse(&in, kind ? SMTP_FORWARD_PATH : SMTP_REVERSE_PATH, &p))
				fail_msg("accepted: %.*s", SLICE_ARG(rows[i]));
			assert_int_equal(in.n, rows[i].n);
			assert_true(p.utf8 && slice_eq(p.local, S("untouched")));
			free_slice(copy);
		}
	}
}

static void path_kinds_differ(void **state)
{
	struct slice null = S("<>"), post = S("<Postmaster>"), quoted = S("<\"postmaster\">");
	struct smtp_path p;

	(void)state;
	assert_false(smtp_path_parse(&null, SMTP_FORWARD_PATH, &p));
	assert_false(smtp_path_parse(&post, SMTP_REVERSE_PATH, &p));
	assert_false(smtp_path_parse(&quoted, SMTP_FORWARD_PATH, &p));
}

static void domains_alone(void **state)
{
	(void)state;
	assert_true(smtp_domain_valid(S("a")));
	assert_true(smtp_domain_valid(S("a.b-c.9")));
	assert_false(smtp_domain_valid(S("")));
	assert_false(smtp_domain_valid(S("a.")));
	assert_false(smtp_domain_valid(S("a b")));
	assert_true(smtp_literal_valid(S("[1.2.3.4]")));
	assert_false(smtp_literal_valid(S("1.2.3.4")));
	assert_false(smtp_literal_valid(S("[")));
}

static enum smtp_param_got mail_params(struct slice in, struct smtp_mail_params *ret)
{
	struct slice copy = exact(in);
	enum smtp_param_got got = smtp_mail_params_parse(copy, ret);

	/* For the comparisons below, slices into the copy are moved to the original. */
	if (got == SMTP_PARAM_OK && ret->envid.n)
		ret->envid.p = in.p + (ret->envid.p - copy.p);
	if (got == SMTP_PARAM_OK && ret->auth.n)
		ret->auth.p = in.p + (ret->auth.p - copy.p);
	free_slice(copy);
	return got;
}

#define X100 X64 X16 X16 "xxxx"

static void mail_param_values(void **state)
{
	struct smtp_mail_params p;

	(void)state;
	assert_int_equal(mail_params(S(""), &p), SMTP_PARAM_OK);
	assert_true(p.size == 0 && p.body == SMTP_BODY_UNSAID && p.ret == SMTP_RET_UNSAID &&
		    !p.smtputf8 && !p.envid.n && !p.auth.n);
	assert_int_equal(mail_params(S(" size=12345 Body=8bitmime  SMTPUTF8 RET=hdrs ENVID=Ab+2B1 "
				       "AUTH=a+40b"),
				     &p),
			 SMTP_PARAM_OK);
	assert_true(p.size == 12345 && p.body == SMTP_BODY_8BITMIME && p.ret == SMTP_RET_HDRS &&
		    p.smtputf8);
	assert_true(slice_eq(p.envid, S("Ab+2B1")) && slice_eq(p.auth, S("a+40b")));
	assert_int_equal(mail_params(S(" BODY=7BIT RET=FULL AUTH=<> SIZE=0"), &p), SMTP_PARAM_OK);
	assert_true(p.body == SMTP_BODY_7BIT && p.ret == SMTP_RET_FULL &&
		    slice_eq(p.auth, S("<>")));
	assert_int_equal(mail_params(S(" SIZE=99999999999999999999"), &p), SMTP_PARAM_OK);
	assert_true(p.size == UINT64_MAX);
	assert_int_equal(mail_params(S(" ENVID=" X100), &p), SMTP_PARAM_OK);
}

static void mail_param_refusals(void **state)
{
	static const struct {
		struct slice in;
		enum smtp_param_got got;
	} rows[] = {
		{ S("SIZE=1"), SMTP_PARAM_BAD }, /* no blank before it */
		{ S(" SIZE"), SMTP_PARAM_BAD },
		{ S(" SIZE="), SMTP_PARAM_BAD },
		{ S(" SIZE=-1"), SMTP_PARAM_BAD },
		{ S(" SIZE=+1"), SMTP_PARAM_BAD },
		{ S(" SIZE=1x"), SMTP_PARAM_BAD },
		{ S(" SIZE=000000000000000000001"), SMTP_PARAM_BAD },
		{ S(" SIZE=1 SIZE=1"), SMTP_PARAM_BAD },
		{ S(" SIZE=1 size=2"), SMTP_PARAM_BAD },
		{ S(" BODY=7BIT BODY=7BIT"), SMTP_PARAM_BAD },
		{ S(" SMTPUTF8 SMTPUTF8"), SMTP_PARAM_BAD },
		{ S(" RET=FULL RET=FULL"), SMTP_PARAM_BAD },
		{ S(" ENVID=a ENVID=a"), SMTP_PARAM_BAD },
		{ S(" AUTH=<> AUTH=<>"), SMTP_PARAM_BAD },
		{ S(" BODY"), SMTP_PARAM_BAD },
		{ S(" BODY=9BIT"), SMTP_PARAM_BAD },
		{ S(" BODY=BINARYMIME"), SMTP_PARAM_UNKNOWN },
		{ S(" SMTPUTF8=1"), SMTP_PARAM_BAD },
		{ S(" RET=NONE"), SMTP_PARAM_BAD },
		{ S(" RET"), SMTP_PARAM_BAD },
		{ S(" ENVID"), SMTP_PARAM_BAD },
		{ S(" ENVID=a+b"), SMTP_PARAM_BAD },
		{ S(" ENVID=a+2b"), SMTP_PARAM_BAD }, /* upper-case hexadecimal only */
		{ S(" ENVID=a+2"), SMTP_PARAM_BAD },
		{ S(" ENVID=a+0D"), SMTP_PARAM_BAD }, /* CR when decoded */
		{ S(" ENVID=a+FF"), SMTP_PARAM_BAD },
		{ S(" ENVID=\xc3\xbc"), SMTP_PARAM_BAD },
		{ S(" ENVID=" X100 "x"), SMTP_PARAM_BAD },
		{ S(" AUTH="), SMTP_PARAM_BAD },
		{ S(" AUTH=a=b"), SMTP_PARAM_BAD },
		{ S(" AUTH=+0A"), SMTP_PARAM_BAD },
		{ S(" FOO"), SMTP_PARAM_UNKNOWN },
		{ S(" FOO=bar"), SMTP_PARAM_UNKNOWN },
		{ S(" SIZEX=1"), SMTP_PARAM_UNKNOWN },
		{ S(" NOTIFY=NEVER"), SMTP_PARAM_UNKNOWN },
		{ S(" ORCPT=rfc822;a"), SMTP_PARAM_UNKNOWN },
		{ S(" =x"), SMTP_PARAM_BAD },
		{ S(" -x=1"), SMTP_PARAM_BAD },
		{ S(" F_O"), SMTP_PARAM_BAD },
		{ S(" FOO=\x01"), SMTP_PARAM_BAD },
		{ S(" FOO=\xff"), SMTP_PARAM_BAD },
		{ S("\tSIZE=1"), SMTP_PARAM_BAD },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct smtp_mail_params p = { .size = 77 };

		if (mail_params(rows[i].in, &p) != rows[i].got)
			fail_msg("wrong: %.*s", SLICE_ARG(rows[i].in));
		assert_int_equal(p.size, 77);
	}
}

static void rcpt_param_rows(void **state)
{
	static const struct {
		struct slice in;
		bool utf8;
		enum smtp_param_got got;
		unsigned notify;
		const char *type, *addr;
	} rows[] = {
		{ S(""), false, SMTP_PARAM_OK, 0, "", "" },
		{ S(" NOTIFY=never"), false, SMTP_PARAM_OK, SMTP_NOTIFY_NEVER, "", "" },
		{ S(" notify=SUCCESS,failure,DELAY ORCPT=rfc822;a+2Bb@c.d"), false, SMTP_PARAM_OK,
		  SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY, "rfc822",
		  "a+2Bb@c.d" },
		{ S(" ORCPT=utf-8;\\x{FC}@b.c"), false, SMTP_PARAM_OK, 0, "utf-8", "\\x{FC}@b.c" },
		{ S(" ORCPT=UTF-8;\xc3\xbc@b.c"), true, SMTP_PARAM_OK, 0, "UTF-8", "\xc3\xbc@b.c" },
		{ S(" ORCPT=utf-8;\\x{10FFFF}"), false, SMTP_PARAM_OK, 0, "utf-8", "\\x{10FFFF}" },
		{ S(" ORCPT=utf-8;\xc3\xbc@b.c"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=utf-8;\xc2\x85@b.c"), true, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=utf-8;a\\b"), true, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=utf-8;\\x{}"), true, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=utf-8;\\x{0A}"), true, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=utf-8;\\x{D800}"), true, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=utf-8;\\x{110000}"), true, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=utf-8;\\x{FC"), true, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=utf-8;a+2Bb"), true, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=rfc822;\xc3\xbc@b.c"), true, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=rfc822"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=rfc822;"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=;a"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=rfc822;a+0D+0Ab"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=rfc822;a+7F"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" ORCPT=rfc822;a ORCPT=rfc822;a"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" NOTIFY=NEVER,FAILURE"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" NOTIFY=FAILURE,NEVER"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" NOTIFY=FAILURE,FAILURE"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" NOTIFY=FAILURE,"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" NOTIFY=,FAILURE"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" NOTIFY=SOMETIMES"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" NOTIFY"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" NOTIFY=DELAY NOTIFY=DELAY"), false, SMTP_PARAM_BAD, 0, "", "" },
		{ S(" SIZE=1"), false, SMTP_PARAM_UNKNOWN, 0, "", "" },
		{ S(" FOO"), false, SMTP_PARAM_UNKNOWN, 0, "", "" },
		{ S("x"), false, SMTP_PARAM_BAD, 0, "", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct slice copy = exact(rows[i].in);
		struct smtp_rcpt_params p = { 0 };

		if (smtp_rcpt_params_parse(copy, rows[i].utf8, &p) != rows[i].got)
			fail_msg("wrong: %.*s", SLICE_ARG(rows[i].in));
		assert_int_equal(p.notify, rows[i].notify);
		assert_true(slice_eq(p.orcpt_type, slice_str(rows[i].type)));
		assert_true(slice_eq(p.orcpt_addr, slice_str(rows[i].addr)));
		assert_int_equal(p.orcpt.n, p.orcpt_type.n + p.orcpt_addr.n + (p.orcpt.n > 0));
		free_slice(copy);
	}
}

static void orcpt_length(void **state)
{
	struct smtp_rcpt_params p;
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	buf_add(&b, S(" ORCPT=rfc822;"));
	while (b.n < 7 + 500)
		buf_addc(&b, 'x');
	assert_int_equal(smtp_rcpt_params_parse(buf_slice(&b), false, &p), SMTP_PARAM_OK);
	buf_addc(&b, 'x');
	assert_int_equal(smtp_rcpt_params_parse(buf_slice(&b), false, &p), SMTP_PARAM_BAD);
	buf_done(&b);
}

static void xtext(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 8);
	buf_add(&b, S("."));
	assert_true(xtext_decode(&b, S("a+2B+00+FF")));
	assert_true(slice_eq(buf_slice(&b), S(".a+\0\xff")));
	assert_false(xtext_decode(&b, S("a+")));
	assert_false(xtext_decode(&b, S("a=")));
	assert_false(xtext_decode(&b, S("a b")));
	assert_int_equal(b.n, 5);
	assert_false(xtext_decode(&b, S("abcd"))); /* over the ceiling */
	assert_int_equal(b.n, 5);
	buf_done(&b);
}

/* -- lines and dots -------------------------------------------------------------------------- */

static void lines_rows(void **state)
{
	static const struct {
		struct slice in;
		bool ok;
		uint64_t longest;
	} rows[] = {
		{ S(""), true, 0 },
		{ S("abc"), true, 3 },
		{ S("abc\r\n"), true, 3 },
		{ S("\r\n\r\n"), true, 0 },
		{ S("ab\r\nabcd\r\nabc"), true, 4 },
		{ S("ab\r\nabcd"), true, 4 },
		{ S("\n"), false, 0 },
		{ S("a\nb\r\n"), false, 0 },
		{ S("a\rb\r\n"), false, 0 },
		{ S("\r\r\n"), false, 0 },
		{ S("a\r\r\n"), false, 0 },
		{ S("a\r"), false, 0 },
		{ S("\r"), false, 0 },
		{ S("a\r\n\n"), false, 0 },
		{ S("a\r\n\r"), false, 0 },
		{ S("\0"), false, 0 },
		{ S("a\0b\r\n"), false, 0 },
		{ S("a\r\0\n"), false, 0 },
		{ S("a\n\r\n"), false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		for (size_t a = 0; a <= rows[i].in.n; a++) {
			for (size_t b = a; b <= rows[i].in.n; b++) {
				struct slice p1 = exact(slice(rows[i].in.p, a));
				struct slice p2 = exact(slice(rows[i].in.p + a, b - a));
				struct slice p3 = exact(slice_from(rows[i].in, b));
				struct lines l = { 0 };

				lines_feed(&l, p1);
				lines_feed(&l, p2);
				lines_feed(&l, p3);
				assert_int_equal(lines_end(&l), rows[i].ok);
				if (rows[i].ok)
					assert_int_equal(lines_longest(&l), rows[i].longest);
				free_slice(p1);
				free_slice(p2);
				free_slice(p3);
			}
		}
	}
}

/* The rules once more, a byte at a time and as plain as can be: what the fast one is held to. */
struct plain {
	struct buf content;
	bool malformed, ended;
	size_t eaten;
};

static void plain_dot(struct plain *p, struct slice in)
{
	bool bol = true;
	size_t i = 0;

	while (i < in.n) {
		if (bol && in.p[i] == '.') {
			i++;
			if (in.n - i >= 2 && in.p[i] == '\r' && in.p[i + 1] == '\n') {
				p->ended = true;
				i += 2;
				break;
			}
			bol = false;
			if (i < in.n && in.p[i] == '\r')
				p->malformed |= in.n - i >= 2;
			continue;
		}
		bol = false;
		if (in.p[i] == '\r' && i + 1 < in.n && in.p[i + 1] == '\n') {
			buf_add(&p->content, S("\r\n"));
			bol = true;
			i += 2;
			continue;
		}
		p->malformed |=
		    in.p[i] == '\n' || in.p[i] == '\0' || (in.p[i] == '\r' && i + 1 < in.n);
		buf_addc(&p->content, in.p[i++]);
	}
	p->eaten = i;
}

/* Runs the decoder over `in` cut at a and b; the bytes of each part die before the next. */
static void dot_run(struct slice in, size_t a, size_t b, struct plain *ret, bool *ret_lines_ok)
{
	size_t cuts[4] = { 0, a, b, in.n };
	struct dot d = { 0 };

	for (int k = 0; k < 3 && !ret->ended; k++) {
		struct slice part = exact(slice(in.p + cuts[k], cuts[k + 1] - cuts[k])),
			     left = part;
		struct slice span;
		enum dot_got got;

		while ((got = dot_next(&d, &left, &span)) == DOT_SPAN) {
			assert_true(span.n && span.p >= part.p && span.p + span.n <= left.p);
			buf_add(&ret->content, span);
		}
		ret->ended = got == DOT_END;
		if (!ret->ended)
			assert_int_equal(left.n, 0);
		ret->eaten = cuts[k] + part.n - left.n;
		free_slice(part);
	}
	ret->malformed = d.lines.malformed;
	*ret_lines_ok = lines_end(&d.lines);
}

static void dot_check(struct slice in, size_t a, size_t b)
{
	struct plain want = { 0 }, got = { 0 };
	bool lines_ok;

	buf_init(&want.content, 1000);
	buf_init(&got.content, 1000);
	plain_dot(&want, in);
	dot_run(in, a, b, &got, &lines_ok);
	assert_int_equal(got.ended, want.ended);
	if (want.ended) {
		assert_int_equal(got.eaten, want.eaten);
		assert_int_equal(got.malformed, want.malformed);
		assert_int_equal(lines_ok, !want.malformed);
		if (!want.malformed)
			assert_true(slice_eq(buf_slice(&got.content), buf_slice(&want.content)));
	}
	buf_done(&want.content);
	buf_done(&got.content);
}

/* Every string of up to seven of these bytes, with a real end behind it, at every cut. */
static void dot_all_short_inputs(void **state)
{
	static const char set[] = { '.', '\r', '\n', 'a', '\0' };
	char in[12];

	(void)state;
	for (size_t len = 0; len <= 6; len++) {
		size_t all = 1;

		for (size_t i = 0; i < len; i++)
			all *= sizeof set;
		for (size_t k = 0; k < all; k++) {
			size_t v = k;

			for (size_t i = 0; i < len; i++, v /= sizeof set)
				in[i] = set[v % sizeof set];
			memcpy(in + len, "\r\n.\r\n", 5);
			for (size_t a = 0; a <= len + 5; a += len > 4 ? 2 : 1)
				dot_check(slice(in, len + 5), a, a + (len + 5 - a) / 2);
		}
	}
}

static void dot_rows(void **state)
{
	static const struct {
		struct slice in;
		const char *content;
		size_t left;
	} rows[] = {
		{ S(".\r\n"), "", 0 },
		{ S("a\r\n.\r\nRSET\r\n"), "a\r\n", 6 },
		{ S("..\r\n.\r\n"), ".\r\n", 0 },
		{ S("...a\r\n..\r\n.b\r\n.\r\n"), "..a\r\n.\r\nb\r\n", 0 },
		{ S("a.\r\n.\r\n"), "a.\r\n", 0 },
		{ S("\r\n.\r\n"), "\r\n", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		for (size_t a = 0; a <= rows[i].in.n; a++) {
			for (size_t b = a; b <= rows[i].in.n; b++) {
				struct plain got = { 0 };
				bool lines_ok;

				buf_init(&got.content, 1000);
				dot_run(rows[i].in, a, b, &got, &lines_ok);
				assert_true(got.ended && !got.malformed && lines_ok);
				/* What lies behind the end in another part was never fed. */
				assert_int_equal(got.eaten, rows[i].in.n - rows[i].left);
				assert_true(
				    slice_eq(buf_slice(&got.content), slice_str(rows[i].content)));
				buf_done(&got.content);
			}
		}
	}
}

int run_grammar_tests(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(path_accepts),
		cmocka_unit_test(path_refuses),
		cmocka_unit_test(path_kinds_differ),
		cmocka_unit_test(domains_alone),
		cmocka_unit_test(mail_param_values),
		cmocka_unit_test(mail_param_refusals),
		cmocka_unit_test(rcpt_param_rows),
		cmocka_unit_test(orcpt_length),
		cmocka_unit_test(xtext),
		cmocka_unit_test(lines_rows),
		cmocka_unit_test(dot_all_short_inputs),
		cmocka_unit_test(dot_rows),
	};

	return cmocka_run_group_tests_name("smtp grammar", tests, NULL, NULL);
}
