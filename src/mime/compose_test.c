#include "mime/compose.h"

#include "mime/room_test.h"

static const struct mime_letter plain = {
	.from = S("Jo <jo@example.com>"),
	.to = S("mary@example.org, x@y.example"),
	.subject = S("Hello"),
	.text = S("one\ntwo\r\nthree"),
	.now_ms = 1700000000000,
	.token = S("abc.def"),
	.hostname = S("relay.example"),
};

static void check(const struct mime_letter *l, struct slice want)
{
	struct err e = { 0 };
	struct buf out;

	buf_init(&out, 1 << 16);
	if (!mime_compose(l, &out, &e))
		fail_msg("%s", e.text);
	assert_slice(buf_slice(&out), want);
	buf_done(&out);
}

static void writes_a_plain_message(void **state)
{
	check(&plain, S("From: Jo <jo@example.com>\r\n"
			"To: mary@example.org, x@y.example\r\n"
			"Subject: Hello\r\n"
			"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
			"Message-ID: <abc.def@relay.example>\r\n"
			"MIME-Version: 1.0\r\n"
			"Content-Type: text/plain; charset=utf-8\r\n"
			"Content-Transfer-Encoding: 7bit\r\n"
			"\r\n"
			"one\r\ntwo\r\nthree\r\n"));
}

static void encodes(void **state)
{
	struct mime_letter l = plain;

	/* The euro sign would be cut by a word of 45 bytes. */
	l.subject = S("Gr\xc3\xbc\xc3\x9f"
		      "e, und zwar so viele davon, dass ein \xe2\x82\xac nicht reicht");
	l.text = S("a=b \xc3\xa4 \n.\n\t\n0123456789012345678901234567890123456789"
		   "0123456789012345678901234567890123456789\n");
	check(&l,
	      S("From: Jo <jo@example.com>\r\n"
		"To: mary@example.org, x@y.example\r\n"
		"Subject: "
		"=?utf-8?B?R3LDvMOfZSwgdW5kIHp3YXIgc28gdmllbGUgZGF2b24sIGRhc3MgZWluIA==?=\r\n"
		" =?utf-8?B?4oKsIG5pY2h0IHJlaWNodA==?=\r\n"
		"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
		"Message-ID: <abc.def@relay.example>\r\n"
		"MIME-Version: 1.0\r\n"
		"Content-Type: text/plain; charset=utf-8\r\n"
		"Content-Transfer-Encoding: quoted-printable\r\n"
		"\r\n"
		"a=3Db =C3=A4=20\r\n.\r\n=09\r\n"
		"012345678901234567890123456789012345678901234567890123456789012345678901234=\r\n"
		"56789\r\n"));
}

/* A subject that a reader would decode or trim has to be encoded although it is ASCII. */
static void encodes_what_would_change(void **state)
{
	static const struct slice subjects[] = { S("=?utf-8?q?x?="), S(" x"), S("x ") };

	for (size_t i = 0; i < 3; i++) {
		struct mime_letter l = plain;
		struct err e = { 0 };
		struct buf out;

		l.subject = subjects[i];
		buf_init(&out, 1 << 16);
		assert_true(mime_compose(&l, &out, &e));
		assert_non_null(memmem(out.p, out.n, "Subject: =?utf-8?B?", 19));
		buf_done(&out);
	}
}

static void refuses_bad_values(void **state)
{
	static const struct {
		enum { FROM, TO, SUBJECT, TEXT, TOKEN, HOST } which;
		struct slice value;
	} cases[] = {
		{ FROM, S("jo@example.com\r\nBcc: x@y.example") },
		{ FROM, S("jo@example.com\r\n ") },
		{ FROM, S("a@b.example, c@d.example") },
		{ FROM, S("G: a@b.example;") },
		{ FROM, S("") },
		{ FROM, S("J\xc3\xb6 <jo@example.com>") },
		{ TO, S("") },
		{ TO, S("G:;") },
		{ TO, S("x@y.example\n") },
		{ TO, S("x@y.example\0") },
		{ SUBJECT, S("a\r\nBcc: x@y.example") },
		{ SUBJECT, S("a\n") },
		{ SUBJECT, S("a\r") },
		{ SUBJECT, S("a\0b") },
		{ SUBJECT, S("\xff") },
		{ TEXT, S("a\0b") },
		{ TEXT, S("a\rb") },
		{ TEXT, S("\xc3") },
		{ TOKEN, S("a\r\nb") },
		{ HOST, S("a\nb") },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mime_letter l = plain;
		struct slice *at[] = { &l.from, &l.to, &l.subject, &l.text, &l.token, &l.hostname };
		struct err e = { 0 };
		struct buf out;

		*at[cases[i].which] = cases[i].value;
		buf_init(&out, 1 << 16);
		print_message("  case %zu\n", i);
		assert_false(mime_compose(&l, &out, &e));
		assert_int_equal(e.kind, ERR_INPUT);
		assert_int_equal(out.n, 0);
		buf_done(&out);
	}
}

static void writes_utf8_addresses_when_asked(void **state)
{
	struct mime_letter l = plain;
	struct err e = { 0 };
	struct buf out;

	l.from = S("J\xc3\xb6 <j\xc3\xb6@example.com>");
	l.smtputf8 = true;
	buf_init(&out, 1 << 16);
	assert_true(mime_compose(&l, &out, &e));
	assert_true(
	    slice_starts(buf_slice(&out), S("From: J\xc3\xb6 <j\xc3\xb6@example.com>\r\n")));
	buf_done(&out);
	buf_init(&out, 100);
	assert_false(mime_compose(&l, &out, &e));
	assert_int_equal(e.kind, ERR_LATER);
	buf_done(&out);
}

int compose_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_a_plain_message),
		cmocka_unit_test(encodes),
		cmocka_unit_test(encodes_what_would_change),
		cmocka_unit_test(refuses_bad_values),
		cmocka_unit_test(writes_utf8_addresses_when_asked),
	};

	return cmocka_run_group_tests_name("mime compose", tests, NULL, NULL);
}
