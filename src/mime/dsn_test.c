#include "mime/dsn.h"

#include "base/utf8.h"
#include "mime/room_test.h"

#include <stdio.h>

static const struct slice head = S("From: jo@shop.example\r\n"
				   "Subject: Hello\r\n"
				   "\r\n");

static const struct dsn_rcpt refused = {
	.path = S("bob@to.example"),
	.orcpt = S("rfc822;Bob+2BOld@to.example"),
	.action = DSN_FAILED,
	.remote = true,
	.code = 550,
	.text = S("5.1.1 no such user"),
	.mta = S("mx.to.example"),
};

static struct dsn sample(const struct dsn_rcpt *rcpts, size_t n)
{
	return (struct dsn){
		.hostname = S("relay.example"),
		.from = S("Mail Delivery System <mailer-daemon@relay.example>"),
		.to = S("jo@shop.example"),
		.token = S("abc.def"),
		.id = S("AZq0123456789012345678"),
		.now_ms = 1700000060000,
		.arrival_ms = 1700000000000,
		.lifetime_ms = 432000000,
		.envid = S("Q+2BX1"),
		.rcpts = rcpts,
		.n_rcpts = n,
		.head = head,
		.body = S("hi\r\n"),
	};
}

static struct buf made(const struct dsn *d, struct dsn_made *ret)
{
	struct err e = { 0 };
	struct buf out;

	buf_init(&out, 1 << 20);
	if (!dsn_compose(d, &out, ret, &e))
		fail_msg("%s", e.text);
	return out;
}

static bool has(const struct buf *b, const char *what)
{
	return memmem(b->p, b->n, what, strlen(what));
}

#define assert_has(b, what)                                                                        \
	do {                                                                                       \
		if (!has((b), (what)))                                                             \
			fail_msg("no \"%s\" in:\n%.*s", (what), SLICE_ARG(buf_slice(b)));          \
	} while (0)
#define assert_has_not(b, what)                                                                    \
	do {                                                                                       \
		if (has((b), (what)))                                                              \
			fail_msg("a \"%s\" in:\n%.*s", (what), SLICE_ARG(buf_slice(b)));           \
	} while (0)

static void failed_as_a_whole(void **state)
{
	struct dsn d = sample(&refused, 1);
	struct dsn_made m;
	struct buf b = made(&d, &m);

	(void)state;
	assert_slice(
	    buf_slice(&b),
	    S("Date: Tue, 14 Nov 2023 22:14:20 +0000\r\n"
	      "From: Mail Delivery System <mailer-daemon@relay.example>\r\n"
	      "To: jo@shop.example\r\n"
	      "Subject: Your message could not be delivered\r\n"
	      "Message-ID: <abc.def@relay.example>\r\n"
	      "Auto-Submitted: auto-replied\r\n"
	      "MIME-Version: 1.0\r\n"
	      "Content-Type: multipart/report; report-type=delivery-status;\r\n"
	      "\tboundary=\"=_abc.def_0\"\r\n"
	      "\r\n"
	      "This is a notice about mail delivery, in MIME form.\r\n"
	      "\r\n--=_abc.def_0\r\n"
	      "Content-Type: text/plain; charset=us-ascii\r\n"
	      "Content-Transfer-Encoding: 7bit\r\n"
	      "Content-Description: What happened\r\n"
	      "\r\n"
	      "This is the mail server relay.example.\r\n"
	      "\r\n"
	      "Your message of Tue, 14 Nov 2023 22:13:20 +0000 could not be delivered to\r\n"
	      "the following recipients, and it will not be tried again. If you still want\r\n"
	      "them to have it, you must act.\r\n"
	      "\r\n"
	      "<bob@to.example>\r\n"
	      "    The mail server mx.to.example answered:\r\n"
	      "    550 5.1.1 no such user\r\n"
	      "  What you can do:\r\n"
	      "    Check the address for typing errors. If it is right, ask the recipient\r\n"
	      "    by other means.\r\n"
	      "\r\n"
	      "The same for programs, and the header of your message, follow.\r\n"
	      "\r\n--=_abc.def_0\r\n"
	      "Content-Type: message/delivery-status\r\n"
	      "Content-Transfer-Encoding: 7bit\r\n"
	      "Content-Description: The same for programs\r\n"
	      "\r\n"
	      "Reporting-MTA: dns; relay.example\r\n"
	      "Original-Envelope-Id: Q+X1\r\n"
	      "Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
	      "\r\n"
	      "Original-Recipient: rfc822; Bob+Old@to.example\r\n"
	      "Final-Recipient: rfc822; bob@to.example\r\n"
	      "Action: failed\r\n"
	      "Status: 5.1.1\r\n"
	      "Remote-MTA: dns; mx.to.example\r\n"
	      "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
	      "Last-Attempt-Date: Tue, 14 Nov 2023 22:14:20 +0000\r\n"
	      "Final-Log-ID: AZq0123456789012345678\r\n"
	      "\r\n--=_abc.def_0\r\n"
	      "Content-Type: text/rfc822-headers\r\n"
	      "Content-Transfer-Encoding: 7bit\r\n"
	      "Content-Description: Header of the message\r\n"
	      "\r\n"
	      "From: jo@shop.example\r\n"
	      "Subject: Hello\r\n"
	      "\r\n--=_abc.def_0--\r\n"));
	assert_false(m.smtputf8 || m.eightbit);
	buf_done(&b);
}

static void statuses(void **state)
{
	static const struct {
		struct dsn_rcpt r;
		const char *want;
	} cases[] = {
		{ { .action = DSN_FAILED, .code = 550, .text = S("5.1.1 no") }, "5.1.1" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("5.1.1") }, "5.1.1" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("5.123.456 no") }, "5.123.456" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("5.1234.1 no") }, "5.0.0" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("5.1.1234 no") }, "5.0.0" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("5.1.1.1 no") }, "5.0.0" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("5.1. no") }, "5.0.0" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("5..1 no") }, "5.0.0" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("5.1 no") }, "5.0.0" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("55.1.1 no") }, "5.0.0" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("5.1.1no") }, "5.0.0" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("4.1.1 no") }, "5.0.0" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("2.0.0 ok?") }, "5.0.0" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("") }, "5.0.0" },
		{ { .action = DSN_FAILED, .code = 550, .text = S("5") }, "5.0.0" },
		{ { .action = DSN_FAILED, .expired = true, .text = S("5.1.1 no") }, "4.4.7" },
		{ { .action = DSN_FAILED, .expired = true, .text = S("") }, "4.4.7" },
		{ { .action = DSN_DELAYED, .code = 451, .text = S("4.2.1 later") }, "4.2.1" },
		{ { .action = DSN_DELAYED, .code = 451, .text = S("5.2.1 later") }, "4.0.0" },
		{ { .action = DSN_DELAYED, .code = 451, .text = S("later") }, "4.0.0" },
		{ { .action = DSN_DELAYED, .text = S("connect: refused") }, "4.4.1" },
		{ { .action = DSN_RELAYED, .code = 250, .text = S("2.6.0 ok") }, "2.6.0" },
		{ { .action = DSN_RELAYED, .code = 250, .text = S("5.6.0 ok") }, "2.0.0" },
		{ { .action = DSN_DELIVERED, .code = 250, .text = S("captured") }, "2.0.0" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_string_equal(dsn_status(&cases[i].r).text, cases[i].want);
}

/* What is in the fields, by what became of the recipient. */
static void fields(void **state)
{
	static const struct {
		struct dsn_rcpt r;
		const char *want[6], *not [3];
	} cases[] = {
		{ { .path = S("a@b.example"),
		    .action = DSN_FAILED,
		    .expired = true,
		    .remote = true,
		    .code = 451,
		    .text = S("4.2.0 busy"),
		    .mta = S("mx.example") },
		  { "Action: failed\r\nStatus: 4.4.7\r\n",
		    "Diagnostic-Code: smtp; 451 4.2.0 busy\r\n",
		    "It could not be delivered within 5 days. The last attempt ended with:\r\n"
		    "    451 4.2.0 busy\r\n" },
		  { "Original-Recipient", "Will-Retry-Until" } },
		{ { .path = S("a@b.example"),
		    .action = DSN_FAILED,
		    .expired = true,
		    .text = S("connect: Connection refused") },
		  { "Status: 4.4.7\r\n",
		    "Diagnostic-Code: X-Signet; expired after 5 days; last answer: connect:\r\n"
		    " Connection refused\r\n" },
		  { "Remote-MTA" } },
		{ { .path = S("a@b.example"),
		    .action = DSN_FAILED,
		    .code = 550,
		    .text = S("5.6.7 the next hop does not support SMTPUTF8"),
		    .mta = S("mx.example") },
		  { "Status: 5.6.7\r\n", "Diagnostic-Code: X-Signet; 5.6.7 the next hop",
		    "    The reason:\r\n    5.6.7 the next hop", "as simple text." },
		  { "smtp;" } },
		{ { .path = S("a@b.example"),
		    .action = DSN_DELAYED,
		    .text = S("connect: timed out") },
		  { "Subject: Your message is delayed; it is still being tried\r\n",
		    "Action: delayed\r\nStatus: 4.4.1\r\n",
		    "Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 +0000\r\n",
		    "is being tried until Sun, 19 Nov 2023 22:13:20 +0000.\r\n" },
		  { "What you can do" } },
		{ { .path = S("a@b.example"),
		    .action = DSN_RELAYED,
		    .remote = true,
		    .code = 250,
		    .text = S("2.0.0 ok"),
		    .mta = S("mx.example") },
		  { "Subject: Your message was delivered or handed on\r\n",
		    "Action: relayed\r\nStatus: 2.0.0\r\n", "Remote-MTA: dns; mx.example\r\n",
		    "mail server mx.example, which will not confirm" },
		  { "Will-Retry-Until" } },
		{ { .path = S("a@b.example"),
		    .action = DSN_DELIVERED,
		    .code = 250,
		    .text = S("captured") },
		  { "Action: delivered\r\nStatus: 2.0.0\r\n", "It was delivered." },
		  { "Remote-MTA" } },
		/* A next hop that has no name. */
		{ { .path = S("a@b.example"), .action = DSN_FAILED, .mta = S("192.0.2.1") },
		  { "Remote-MTA: dns; [192.0.2.1]\r\n" } },
		{ { .path = S("a@b.example"), .action = DSN_FAILED, .mta = S("2001:db8::1") },
		  { "Remote-MTA: dns; [2001:db8::1]\r\n" } },
		/* A reply without words. */
		{ { .path = S("a@b.example"), .action = DSN_FAILED, .remote = true, .code = 550 },
		  { "Diagnostic-Code: smtp; 550\r\n",
		    "The other mail server answered:\r\n    550\r\n" },
		  { "Remote-MTA" } },
		/* ORCPT that is none, or of another type. */
		{ { .path = S("a@b.example"), .orcpt = S("rfc822"), .action = DSN_FAILED },
		  { "Final-Recipient: rfc822; a@b.example\r\n" },
		  { "Original-Recipient", "Diagnostic-Code" } },
		{ { .path = S("a@b.example"), .orcpt = S("rfc822;a+"), .action = DSN_FAILED },
		  { "    (nothing)\r\n" },
		  { "Original-Recipient" } },
		{ { .path = S("a@b.example"),
		    .orcpt = S("x400;/c+3Dde+2Bx/"),
		    .action = DSN_FAILED },
		  { "Original-Recipient: x400; /c=de+x/\r\n" } },
		{ { .path = S("a@b.example"),
		    .orcpt = S("utf-8;j\\x{FC}@b.example"),
		    .action = DSN_FAILED },
		  { "Original-Recipient: utf-8; j\\x{FC}@b.example\r\n",
		    "Content-Type: message/delivery-status\r\n" } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct dsn d = sample(&cases[i].r, 1);
		struct dsn_made m;
		struct buf b = made(&d, &m);

		for (size_t k = 0; k < 6 && cases[i].want[k]; k++)
			assert_has(&b, cases[i].want[k]);
		for (size_t k = 0; k < 3 && cases[i].not [k]; k++)
			assert_has_not(&b, cases[i].not [k]);
		assert_false(m.smtputf8 || m.eightbit);
		buf_done(&b);
	}
}

static void one_group_for_each(void **state)
{
	struct dsn_rcpt two[] = { refused, refused };
	struct dsn d = sample(two, 2);
	struct dsn_made m;
	struct buf b;

	(void)state;
	two[1].path = S("eve@to.example");
	two[1].orcpt = S("");
	d.envid = S("");
	b = made(&d, &m);
	assert_has(&b, "+0000\r\n\r\nOriginal-Recipient: rfc822; Bob+Old@to.example\r\n");
	assert_has(&b, "\r\n\r\nFinal-Recipient: rfc822; eve@to.example\r\nAction: failed\r\n");
	assert_has(&b, "<bob@to.example>\r\n");
	assert_has(&b, "<eve@to.example>\r\n");
	assert_has_not(&b, "Original-Envelope-Id");
	buf_done(&b);
}

/* No line of a part for programs begins with what somebody else said. */
static void lines_are_ours(struct slice all)
{
	static const char *const names[] = {
		"Reporting-MTA: dns; ",
		"Original-Envelope-Id: ",
		"Arrival-Date: ",
		"Original-Recipient: ",
		"Final-Recipient: ",
		"Action: ",
		"Status: ",
		"Remote-MTA: dns; ",
		"Diagnostic-Code: ",
		"Last-Attempt-Date: ",
		"Final-Log-ID: ",
		"Will-Retry-Until: ",
		"Content-Transfer-Encoding: ",
		"Content-Description: ",
		"--=_",
	};
	const char *at = memmem(all.p, all.n, "delivery-status\r\n", 17);
	struct slice line, rest;

	assert_non_null(at);
	rest = slice_from(all, (size_t)(at - all.p) + 17);
	while (slice_cut(rest, '\n', &line, &rest) && !slice_starts(line, S("--=_"))) {
		bool ours = line.n == 1 || line.p[0] == ' ';

		assert_true(line.n && line.n <= 999 && line.p[line.n - 1] == '\r');
		assert_false(has_control(slice(line.p, line.n - 1)));
		assert_false(line.p[0] == ' ' && !slice_trim(slice(line.p, line.n - 1)).n);
		for (size_t i = 0; i < sizeof names / sizeof *names; i++)
			ours |= slice_starts(line, slice_str(names[i]));
		if (!ours)
			fail_msg("not ours: %.*s", SLICE_ARG(line));
	}
}

static void hostile_text(void **state)
{
	char long_word[2000], blanks[600];
	struct dsn_rcpt r = refused;
	struct dsn d = sample(&r, 1);
	const struct slice texts[] = {
		S("x\r\nAction: delivered\r\n\r\n--=_abc.def_0\r\nStatus: 2.0.0"),
		S("\x1b[31m\0\x7f\t\xff\xc3\xbc\x85"),
		slice(long_word, sizeof long_word),
		slice(blanks, sizeof blanks),
		S("   leading and trailing   "),
	};

	(void)state;
	memset(long_word, 'x', sizeof long_word);
	memset(blanks, ' ', sizeof blanks);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct dsn_made m;
		struct buf b;

		r.text = texts[i];
		r.mta = texts[i];
		r.path = texts[i];
		d.id = texts[i];
		b = made(&d, &m);
		lines_are_ours(buf_slice(&b));
		assert_true(ascii_only(buf_slice(&b)));
		assert_has(&b, "Status: 5.0.0\r\n");
		buf_done(&b);
	}
	/* xtext that decodes to a line of its own: our door refuses it, a spool may hold it. */
	r = refused;
	r.orcpt = S("rfc822;a+0D+0AAction:+20delivered");
	d.envid = S("x+0D+0AStatus:+202.0.0+C3+BC");
	d.id = S("i");
	{
		struct dsn_made m;
		struct buf b = made(&d, &m);

		lines_are_ours(buf_slice(&b));
		assert_has(&b, "Original-Recipient: rfc822; a??Action: delivered\r\n");
		assert_has(&b, "Original-Envelope-Id: x??Status: 2.0.0??\r\n");
		buf_done(&b);
	}
}

static void text_is_cut(void **state)
{
	char text[DSN_TEXT + 1];
	struct dsn_rcpt r = refused;
	struct dsn d = sample(&r, 1);
	struct dsn_made m;
	struct buf b;

	(void)state;
	memset(text, 'y', sizeof text);
	r.text = slice(text, sizeof text);
	b = made(&d, &m);
	text[DSN_TEXT] = '\0';
	assert_has(&b, text);
	assert_has_not(&b, "yyy\r\n yyy");
	for (size_t i = 0, run = 0; i < b.n; i++) {
		run = b.p[i] == 'y' ? run + 1 : 0;
		assert_true(run <= DSN_TEXT);
	}
	buf_done(&b);
}

/* A message that quotes our own notice, even one with the very same token. */
static void boundary_is_nowhere_else(void **state)
{
	struct dsn d = sample(&refused, 1);
	struct dsn_made m;
	struct buf b;

	(void)state;
	d.full = true;
	d.body = S("--=_abc.def_0\r\n--=_abc.def_1--\r\n");
	b = made(&d, &m);
	assert_has(&b, "boundary=\"=_abc.def_2\"");
	assert_has(&b, "\r\n--=_abc.def_2--\r\n");
	buf_done(&b);
	d.full = false;
	b = made(&d, &m);
	assert_has(&b, "boundary=\"=_abc.def_0\"");
	buf_done(&b);
}

static void what_is_returned(void **state)
{
	static const struct {
		struct slice head, body;
		bool full, utf8_rcpt, eightbit;
		const char *type, *want, *not ;
	} cases[] = {
		{ S("A: b\r\n\r\n"), S("x\r\n"), false, false, false,
		  "text/rfc822-headers\r\n"
		  "Content-Transfer-Encoding: 7bit\r\n",
		  "\r\n\r\nA: b\r\n\r\n--=_", "x\r\n" },
		{ S("A: b\r\n\r\n"), S("no end"), true, false, false,
		  "message/rfc822\r\n"
		  "Content-Transfer-Encoding: 7bit\r\n",
		  "\r\n\r\nA: b\r\n\r\nno end\r\n--=_", NULL },
		/* What is not returned needs no room for its bits. */
		{ S("A: b\r\n\r\n"), S("\xfc\r\n"), false, false, false, "text/rfc822-headers\r\n",
		  "A: b\r\n", "8bit" },
		{ S("A: b\r\n\r\n"), S("\xfc\r\n"), true, false, true,
		  "message/rfc822\r\n"
		  "Content-Transfer-Encoding: 8bit\r\n",
		  "A: b\r\n\r\n\xfc\r\n", NULL },
		{ S("A: \xfc=\r\n\r\n"), S(""), false, false, false,
		  "text/rfc822-headers\r\n"
		  "Content-Transfer-Encoding: quoted-printable\r\n",
		  "A: =FC=3D\r\n", "\xfc" },
		{ S("A: \xc3\xbc\r\n\r\n"), S(""), false, true, true,
		  "message/global-headers\r\n"
		  "Content-Transfer-Encoding: 8bit\r\n",
		  "A: \xc3\xbc\r\n", "rfc822-headers" },
		{ S("A: \xc3\xbc\r\n\r\n"), S("x\r\n"), true, true, true,
		  "message/global\r\n"
		  "Content-Transfer-Encoding: 8bit\r\n",
		  "A: \xc3\xbc\r\n\r\nx\r\n", "message/rfc822" },
		{ S("A: b\r\n\r\n"), S("x\r\n"), true, true, true,
		  "message/rfc822\r\n"
		  "Content-Transfer-Encoding: 7bit\r\n",
		  "A: b\r\n\r\nx\r\n", NULL },
		/* A head that is all there is, and one that is broken. */
		{ S("A: b\r\n"), S(""), false, false, false, "text/rfc822-headers\r\n",
		  "\r\n\r\nA: b\r\n\r\n--=_", NULL },
		{ S("A: \xfc\r\n\r\n"), S(""), false, true, true,
		  "text/rfc822-headers\r\n"
		  "Content-Transfer-Encoding: quoted-printable\r\n",
		  "A: =FC\r\n", "global-headers" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct dsn_rcpt r = refused;
		struct dsn d = sample(&r, 1);
		struct dsn_made m;
		struct buf b;

		d.head = cases[i].head;
		d.body = cases[i].body;
		d.full = cases[i].full;
		if (cases[i].utf8_rcpt)
			r.path = S("j\xc3\xbc@to.example");
		b = made(&d, &m);
		assert_has(&b, cases[i].type);
		assert_has(&b, cases[i].want);
		if (cases[i].not )
			assert_has_not(&b, cases[i].not );
		assert_int_equal(m.eightbit, cases[i].eightbit);
		assert_false(m.smtputf8);
		assert_true(m.eightbit || ascii_only(buf_slice(&b)));
		buf_done(&b);
	}
}

static void addresses_in_utf8(void **state)
{
	struct dsn_rcpt r = refused;
	struct dsn d = sample(&r, 1);
	struct dsn_made m;
	struct buf b;

	(void)state;
	r.path = S("j\xc3\xbc@to.example");
	r.orcpt = S("utf-8;j\\x{FC}\\x{1F600}@to.example");
	b = made(&d, &m);
	assert_has(&b, "Content-Type: message/global-delivery-status\r\n"
		       "Content-Transfer-Encoding: 8bit\r\n");
	assert_has(&b, "Content-Type: text/plain; charset=utf-8\r\n");
	assert_has(&b, "Original-Recipient: utf-8; j\xc3\xbc\xf0\x9f\x98\x80@to.example\r\n");
	assert_has(&b, "Final-Recipient: utf-8; j\xc3\xbc@to.example\r\n");
	assert_has(&b, "\r\nContent-Transfer-Encoding: 8bit\r\n\r\nThis is a notice");
	assert_true(m.eightbit);
	assert_false(m.smtputf8);
	buf_done(&b);
	/* The sender's own. */
	r = refused;
	d.to = S("j\xc3\xb6@shop.example");
	b = made(&d, &m);
	assert_has(&b, "To: j\xc3\xb6@shop.example\r\n");
	assert_true(m.smtputf8 && m.eightbit);
	buf_done(&b);
	/* Bytes that are no UTF-8 are shown as what they are not. */
	d.to = S("jo@shop.example");
	r.path = S("j\xfc@to.example");
	b = made(&d, &m);
	assert_has(&b, "Final-Recipient: utf-8; j?@to.example\r\n");
	assert_has(&b, "<j?@to.example>\r\n");
	assert_false(m.eightbit);
	buf_done(&b);
}

/* A head over the limit ends with a whole field, wherever the limit falls. */
static void long_head(void **state)
{
	static char big[DSN_HEAD + 5000];

	(void)state;
	for (int first = 1; first < 30; first++) {
		struct dsn d = sample(&refused, 1);
		size_t n = (size_t)snprintf(big, sizeof big, "P: %0*d\r\n", first, 0);
		struct dsn_made m;
		struct buf b;

		while (n + 120 < sizeof big)
			n += (size_t)snprintf(big + n, sizeof big - n, "F: one\r\n two\r\n");
		n += (size_t)snprintf(big + n, sizeof big - n, "\r\n");
		d.head = slice(big, n);
		b = made(&d, &m);
		assert_has(&b, "0\r\nF: one\r\n two\r\n");
		assert_has(&b, " two\r\n\r\n--=_abc.def_0--\r\n");
		assert_true(b.n > DSN_HEAD && b.n < DSN_HEAD + 3000);
		buf_done(&b);
	}
}

static void refuses_what_cannot_be_written(void **state)
{
	char big[1000];
	const struct slice to[] = { S(""), S("a@b\r\nBcc: x@y"), S("a\0@b"), S("\xfc@b.example"),
				    slice(big, sizeof big) };

	(void)state;
	memset(big, 'a', sizeof big);
	for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
		struct dsn d = sample(&refused, 1);
		struct dsn_made m;
		struct err e = { 0 };
		struct buf b;

		d.to = to[i];
		buf_init(&b, 1 << 20);
		assert_false(dsn_compose(&d, &b, &m, &e));
		assert_int_equal(e.kind, ERR_INPUT);
		d = sample(&refused, 1);
		d.from = to[i];
		assert_false(dsn_compose(&d, &b, &m, &e));
		assert_int_equal(e.kind, ERR_INPUT);
		buf_done(&b);
	}
	/* At every ceiling it is written whole or not at all. */
	for (size_t max = 0; max < 3000; max += 7) {
		struct dsn d = sample(&refused, 1);
		struct dsn_made m;
		struct err e = { 0 };
		struct buf b;

		buf_init(&b, max);
		if (dsn_compose(&d, &b, &m, &e))
			assert_true(slice_ends(buf_slice(&b), S("--=_abc.def_0--\r\n")));
		else
			assert_int_equal(e.kind, ERR_LATER);
		buf_done(&b);
	}
}

int dsn_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failed_as_a_whole),
		cmocka_unit_test(statuses),
		cmocka_unit_test(fields),
		cmocka_unit_test(one_group_for_each),
		cmocka_unit_test(hostile_text),
		cmocka_unit_test(text_is_cut),
		cmocka_unit_test(boundary_is_nowhere_else),
		cmocka_unit_test(what_is_returned),
		cmocka_unit_test(addresses_in_utf8),
		cmocka_unit_test(long_head),
		cmocka_unit_test(refuses_what_cannot_be_written),
	};

	return cmocka_run_group_tests_name("dsn", tests, NULL, NULL);
}
