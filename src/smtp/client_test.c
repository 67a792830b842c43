/* The client session against servers that are slow, hostile or gone, and every cut of its content.
 */
#include "smtp/client_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

int run_client_tests(void);

#define ME   .hostname = S("cl.test")
#define FROM .reverse_path = S("a@from.test")
#define END                                                                                        \
	{                                                                                          \
		.mail.n_rcpts = 0                                                                  \
	}

static const struct smtp_client_config clear = { ME, .tls = CLIENT_TLS_NEVER };
static const struct smtp_client_config may = { ME, .tls = CLIENT_TLS_MAY };

static const struct smtp_client_rcpt one[] = { { S("b@to.test"), 0, S("") } };
static const struct client_mail_case none[] = { END };
static const struct client_mail_case hi[] = {
	{ { FROM, .size = 4, .rcpts = one, .n_rcpts = 1 }, S("hi\r\n") }, END
};

/* What is still a part of a line between two messages is no part of the next reply. */
static void test_half_a_reply_between_messages(void **state)
{
	struct client_rig r;

	(void)state;
	client_rig_init(&r, &clear, hi, CLIENT_OUT_MIN);
	r.hold_ready = true;
	client_rig_feed(&r, S("220 mx\r\n"));
	client_rig_feed(&r, S("250 mx\r\n"));
	client_rig_feed(&r, S("25"));
	r.hold_ready = false;
	client_rig_pump(&r);
	assert_false(r.busy); /* it waits for the rest, and takes no message */
	client_rig_feed(&r, S("0 ok\r\n"));
	assert_true(slice_eq(buf_slice(&r.trace),
			     S("[!failed idle 0 a reply that nobody waited for][close]")));
	client_rig_done(&r);
}

static void test_bare_content_never_leaves(void **state)
{
	static const struct slice bad[] = { S("\n"),      S("a\nb\r\n"), S("\r"),     S("a\rb\r\n"),
					    S("a\r"),     S("\r\r\n"),   S("\r\n\n"), S("a\0\r\n"),
					    S("\r\n.\n"), S("\r\n.\r"),  S("\0") };
	struct client_mail_case mails[] = { hi[0], END };

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		for (size_t chunk = 0; chunk <= bad[i].n; chunk++) {
			struct client_rig r;
			const char *lf;
			struct slice said;

			mails[0].content = bad[i];
			client_rig_init(&r, &clear, mails, CLIENT_OUT_MIN);
			r.chunk = chunk;
			client_rig_feed(&r, S("220 mx\r\n"));
			for (int k = 0; k < 3; k++)
				client_rig_feed(&r, S("250 ok\r\n"));
			buf_clear(&r.wire);
			client_rig_feed(&r, S("354 go\r\n"));
			said = buf_slice(&r.trace);
			assert_true(
			    slice_eq(said, S("[!done body 554 5.6.0 the content holds a bare "
					     "CR or LF, or a NUL][close]")));
			/* What left before it was seen is whole lines and text. */
			said = buf_slice(&r.wire);
			assert_false(said.n && memchr(said.p, '\0', said.n));
			assert_false(slice_ends(said, S("\r")));
			while (said.n && (lf = memchr(said.p, '\n', said.n))) {
				assert_true(lf > said.p && lf[-1] == '\r');
				assert_ptr_equal(memchr(said.p, '\r', (size_t)(lf - said.p)),
						 lf - 1);
				slice_take(&said, (size_t)(lf - said.p) + 1);
			}
			assert_false(said.n && memchr(said.p, '\r', said.n));
			client_rig_done(&r);
		}
	}
}

/* -- dots -- */

/* RFC 5321 4.5.2 as its text has it, with nothing of ours: false if there is no end of data, or
 * bytes stand behind it. */
static bool unstuff(struct slice in, struct buf *ret)
{
	buf_clear(ret);
	while (in.n) {
		const char *lf = memmem(in.p, in.n, "\r\n", 2);
		struct slice line;

		if (!lf)
			return false;
		line = slice_take(&in, (size_t)(lf - in.p) + 2);
		if (line.n == 3 && line.p[0] == '.')
			return !in.n;
		buf_add(ret, line.p[0] == '.' ? slice_from(line, 1) : line);
	}
	return false;
}

/* Sends the content in runs of the sizes that next() gives; returns what went out. */
static void send_content(struct slice content, uint32_t *random, size_t cut, struct buf *ret)
{
	struct client_mail_case mails[] = { hi[0], END };
	struct client_rig r;
	struct slice in = S("");
	struct smtp_client_event ev;
	struct slice head = slice(content.p, cut), tail = slice_from(content, cut);

	client_rig_init(&r, &clear, mails, 1 << 20);
	client_rig_feed(&r, S("220 mx\r\n"));
	for (int k = 0; k < 3; k++)
		client_rig_feed(&r, S("250 ok\r\n"));
	r.hold_ready = true;
	in = S("354 go\r\n");
	assert_int_equal(smtp_client_step(r.c, &in, &r.out, &ev), CLIENT_SEND_BODY);
	buf_clear(&r.out);
	if (random) {
		while (tail.n) {
			size_t n;

			*random = *random * 1664525u + 1013904223u;
			n = (*random >> 24) % 7;
			n = n < tail.n ? n : tail.n;
			assert_true(smtp_client_body(r.c, slice_take(&tail, n), false, &r.out));
		}
	} else {
		assert_true(smtp_client_body(r.c, head, false, &r.out));
	}
	assert_true(smtp_client_body(r.c, tail, true, &r.out));
	assert_int_equal(smtp_client_phase(r.c), CLIENT_AT_DOT);
	buf_clear(ret);
	buf_add(ret, buf_slice(&r.out));
	client_rig_done(&r);
}

static void check_content(struct slice content, struct slice sent, struct buf *back)
{
	assert_true(unstuff(sent, back));
	if (content.n && !slice_ends(content, S("\r\n"))) {
		assert_true(slice_ends(buf_slice(back), S("\r\n")));
		back->n -= 2;
	}
	assert_true(slice_eq(buf_slice(back), content));
}

static void test_dots_at_every_cut(void **state)
{
	static const struct slice contents[] = {
		S(""),
		S("."),
		S(".."),
		S(".\r\n"),
		S("..\r\n"),
		S("\r\n"),
		S("\r\n.\r\n"),
		S("a.\r\n.b\r\n"),
		S("a\r\n.\r\n.\r\n..\r\n...\r\n\r\n.\r\nQUIT\r\n"),
		S(".\r\n."),
		S("a"),
		S("a\r\n..."),
		S("x.y\r\n.z.\r\n\r\n\r\n.\r\n.\r\n"),
	};
	struct buf sent, back;

	(void)state;
	buf_init(&sent, 1 << 20);
	buf_init(&back, 1 << 20);
	for (size_t i = 0; i < sizeof contents / sizeof *contents; i++)
		for (size_t cut = 0; cut <= contents[i].n; cut++) {
			send_content(contents[i], NULL, cut, &sent);
			check_content(contents[i], buf_slice(&sent), &back);
		}
	send_content(S(".\r\n..a\r\nb"), NULL, 0, &sent);
	assert_true(slice_eq(buf_slice(&sent), S("..\r\n...a\r\nb\r\n.\r\n")));
	buf_done(&sent);
	buf_done(&back);
}

static void test_dots_of_random_content(void **state)
{
	static const struct slice atoms[] = { S("."),     S(".."), S("\r\n"),
					      S("\r\n."), S("a"),  S("some text") };
	uint32_t random = 20261124;
	struct buf content, sent, back;

	(void)state;
	buf_init(&content, 1 << 16);
	buf_init(&sent, 1 << 20);
	buf_init(&back, 1 << 20);
	for (int round = 0; round < 3000; round++) {
		size_t n;

		buf_clear(&content);
		random = random * 1664525u + 1013904223u;
		n = (random >> 16) % 40;
		while (n--) {
			random = random * 1664525u + 1013904223u;
			buf_add(&content, atoms[(random >> 16) % (sizeof atoms / sizeof *atoms)]);
		}
		send_content(buf_slice(&content), &random, 0, &sent);
		check_content(buf_slice(&content), buf_slice(&sent), &back);
	}
	buf_done(&content);
	buf_done(&sent);
	buf_done(&back);
}

/* -- hostile servers -- */

static void hostile(const char *name, struct slice bytes, const char *trace)
{
	for (size_t chunk = 0; chunk < 3; chunk++) {
		struct slice left = bytes;
		struct client_rig r;

		client_rig_init(&r, &clear, hi, CLIENT_OUT_MIN);
		while (left.n && !r.closed) {
			size_t n = chunk ? chunk * 1000 - 999 : left.n;

			client_rig_feed(&r, slice_take(&left, n < left.n ? n : left.n));
			assert_true(r.closed || r.held.n < REPLY_LINE);
		}
		if (!slice_eq(buf_slice(&r.trace), slice_str(trace)))
			fail_msg("%s: %.*s", name, SLICE_ARG(r.trace));
		client_rig_done(&r);
	}
}

static void test_hostile_replies(void **state)
{
	static const char malformed[] =
	    "[!failed greeting 0 the remote's reply is malformed][close]";
	static const struct {
		const char *name;
		struct slice bytes;
	} bad[] = {
		{ "bare LF", S("220 mx\n") },
		{ "bare CR", S("220 m\rx\r\n") },
		{ "CR CR LF", S("220 mx\r\r\n") },
		{ "1yz", S("120 soon\r\n") },
		{ "6yz", S("620 mx\r\n") },
		{ "two digits", S("22 mx\r\n") },
		{ "four digits", S("2200 mx\r\n") },
		{ "letters", S("abc mx\r\n") },
		{ "no code", S("\r\n") },
		{ "HTTP", S("HTTP/1.1 400 Bad Request\r\n") },
		{ "a NUL for a digit", S("2\0000 mx\r\n") },
		{ "codes that differ", S("220-mx\r\n250 mx\r\n") },
		{ "a tab behind the code", S("220\tmx\r\n") },
	};
	struct buf b;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		hostile(bad[i].name, bad[i].bytes, malformed);
	buf_init(&b, 1 << 24);
	buf_add(&b, S("220 "));
	while (b.n < REPLY_LINE - 1)
		buf_addc(&b, 'x');
	buf_addc(&b, 'x');
	hostile("a line one too long", buf_slice(&b), malformed);
	for (int i = 0; i < 100000; i++)
		buf_addc(&b, 'x');
	hostile("an endless line", buf_slice(&b), malformed);
	buf_clear(&b);
	for (int i = 0; i < 1000000; i++)
		buf_add(&b, S("220-mx\r\n"));
	hostile("a million lines", buf_slice(&b), malformed);
	buf_done(&b);
}

/* The longest line and the most lines that are taken; the text is cut. */
static void test_longest_replies(void **state)
{
	struct client_rig r;
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 20);
	client_rig_init(&r, &clear, hi, CLIENT_OUT_MIN);
	buf_add(&b, S("554 "));
	while (b.n < REPLY_LINE - 2)
		buf_addc(&b, 'x');
	buf_add(&b, S("\r\n"));
	client_rig_feed(&r, buf_slice(&b));
	assert_true(r.closed);
	assert_int_equal(r.trace.n,
			 strlen("[failed greeting 554 ") + REPLY_TEXT + strlen("][close]"));
	client_rig_done(&r);

	client_rig_init(&r, &clear, none, CLIENT_OUT_MIN);
	buf_clear(&b);
	for (int i = 1; i < REPLY_LINES; i++)
		buf_add(&b, S("220-mx\r\n"));
	buf_add(&b, S("220 mx\r\n"));
	client_rig_feed(&r, buf_slice(&b));
	assert_true(slice_eq(buf_slice(&r.wire), S("EHLO cl.test\r\n")));
	client_rig_done(&r);
	buf_done(&b);
}

/* -- loss -- */

static void test_loss_in_each_phase(void **state)
{
	static const struct {
		const char *turns; /* of the server, '|' between */
		enum smtp_client_phase phase;
		const char *trace;
	} cases[] = {
		{ "", CLIENT_AT_GREETING, "[!failed greeting 0 gone][close]" },
		{ "220 mx\r\n", CLIENT_AT_EHLO, "[!failed ehlo 0 gone][close]" },
		{ "220 mx\r\n|250 mx\r\n", CLIENT_AT_MAIL, "[!done mail 0 gone][close]" },
		{ "220 mx\r\n|250 mx\r\n|250 ok\r\n", CLIENT_AT_RCPT,
		  "[!done rcpt 0 gone][close]" },
		{ "220 mx\r\n|250 mx\r\n|250 ok\r\n|250 ok\r\n", CLIENT_AT_DATA,
		  "[!done data 0 gone][close]" },
		{ "220 mx\r\n|250 mx\r\n|250 ok\r\n|250 ok\r\n|354 go\r\n", CLIENT_AT_DOT,
		  "[!done dot 0 gone?][close]" },
		{ "220 mx\r\n|250 mx\r\n|250 ok\r\n|250 ok\r\n|354 go\r\n|250 o", CLIENT_AT_DOT,
		  "[!done dot 0 gone?][close]" },
		{ "220 mx\r\n|250 mx\r\n|250 ok\r\n|250 ok\r\n|354 go\r\n|250 ok\r\n",
		  CLIENT_AT_QUIT, "[done dot 250 ok][close]" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct slice turns = slice_str(cases[i].turns), turn;
		struct client_rig r;

		client_rig_init(&r, &clear, hi, CLIENT_OUT_MIN);
		client_rig_pump(&r);
		while (turns.n) {
			slice_cut(turns, '|', &turn, &turns);
			client_rig_feed(&r, turn);
		}
		assert_int_equal(smtp_client_phase(r.c), cases[i].phase);
		smtp_client_lost(r.c, S("gone"));
		smtp_client_lost(r.c, S("twice"));
		client_rig_pump(&r);
		if (!slice_eq(buf_slice(&r.trace), slice_str(cases[i].trace)))
			fail_msg("%zu: %.*s", i, SLICE_ARG(r.trace));
		client_rig_done(&r);
	}
}

static void test_loss_in_handshake_and_between(void **state)
{
	struct smtp_client *c = smtp_client_new(&may);
	struct smtp_client_event ev;
	struct slice in;
	struct buf out;

	(void)state;
	buf_init(&out, CLIENT_OUT_MIN);
	in = S("220 mx\r\n");
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_WANT_INPUT);
	in = S("250-mx\r\n250 STARTTLS\r\n");
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_WANT_INPUT);
	assert_int_equal(smtp_client_phase(c), CLIENT_AT_TLS);
	in = S("220 go\r\n");
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_DO_STARTTLS);
	smtp_client_lost(c, S("gone"));
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_FAILED);
	assert_int_equal(ev.phase, CLIENT_AT_TLS);
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_DO_CLOSE);
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_DO_CLOSE);
	smtp_client_free(c);

	c = smtp_client_new(&clear);
	in = S("220 mx\r\n");
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_WANT_INPUT);
	in = S("250 mx\r\n");
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_READY);
	assert_int_equal(smtp_client_phase(c), CLIENT_AT_IDLE);
	in = S("421 too long\r\n");
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_DO_CLOSE);
	smtp_client_free(c);
	smtp_client_free(NULL);
	buf_done(&out);
}

/* -- many recipients, little room -- */

#define MANY 5000

static void test_many_recipients(void **state)
{
	static struct smtp_client_rcpt rcpts[MANY];
	static char paths[MANY][24];
	struct client_mail_case mails[] = {
		{ { FROM, .size = 4, .rcpts = rcpts, .n_rcpts = MANY }, S("hi\r\n") }, END
	};
	struct client_rig r;
	uint32_t seen = 0;
	struct slice line, all;

	(void)state;
	for (uint32_t i = 0; i < MANY; i++) {
		int n = snprintf(paths[i], sizeof paths[i], "r%u@to.test", i);

		rcpts[i] = (struct smtp_client_rcpt){ slice(paths[i], (size_t)n), 0, S("") };
	}
	client_rig_init(&r, &clear, mails, CLIENT_OUT_MIN);
	client_rig_feed(&r, S("220 mx\r\n"));
	buf_clear(&r.wire);
	client_rig_feed(&r, S("250-mx\r\n250 PIPELINING\r\n"));
	/* A server that reads a command only when it has answered the one before. */
	while (r.wire.n) {
		struct buf was = r.wire;
		uint32_t lines = 0;

		buf_init(&r.wire, 1 << 24);
		for (all = buf_slice(&was); all.n; lines++) {
			assert_true(slice_cut(all, '\n', &line, &all));
			assert_false(slice_starts(line, S("DATA")) && seen != MANY);
			if (slice_starts(line, S("RCPT"))) {
				assert_true(
				    slice_eq(slice(line.p + 9, line.n - 11), rcpts[seen].path));
				seen++;
			}
			client_rig_feed(&r, slice_starts(line, S("DATA"))   ? S("354 go\r\n")
					    : slice_eq(line, S(".\r"))      ? S("250 ok\r\n")
					    : slice_eq(line, S("hi\r"))     ? S("")
					    : slice_starts(line, S("QUIT")) ? S("221 bye\r\n")
									    : S("250 ok\r\n"));
		}
		assert_in_range(lines, 1, 64);
		buf_done(&was);
	}
	assert_int_equal(seen, MANY);
	assert_true(slice_eq(buf_slice(&r.trace), S("[done dot 250 ok][close]")));
	client_rig_done(&r);
}

/* `out` is never written: the client stops saying, never exceeds it, and reads on. */
static void test_full_output(void **state)
{
	static struct smtp_client_rcpt rcpts[100];
	struct client_mail_case mail = { { FROM, .size = 4, .rcpts = rcpts, .n_rcpts = 100 },
					 S("hi\r\n") };
	struct smtp_client *c = smtp_client_new(&clear);
	struct smtp_client_event ev;
	struct slice in;
	struct buf out;
	char orcpt[500];

	(void)state;
	memset(orcpt, 'x', sizeof orcpt);
	for (size_t i = 0; i < 100; i++)
		rcpts[i] = (struct smtp_client_rcpt){ S("b@to.test"), SMTP_NOTIFY_FAILURE,
						      slice(orcpt, 500) };
	buf_init(&out, CLIENT_OUT_MIN);
	in = S("220 mx\r\n");
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_WANT_INPUT);
	in = S("250-mx\r\n250-DSN\r\n250 PIPELINING\r\n");
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_READY);
	smtp_client_send(c, &mail.mail);
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_WANT_INPUT);
	in = S("250 ok\r\n550 no\r\n550 no\r\n");
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_RCPT);
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_RCPT);
	assert_int_equal(ev.rcpt, 1);
	for (int i = 0; i < 100 && smtp_client_step(c, &in, &out, &ev) != CLIENT_WANT_FLUSH; i++)
		in = S("550 no\r\n");
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_WANT_FLUSH);
	assert_false(out.failed);
	in = S("");
	buf_clear(&out);
	assert_int_equal(smtp_client_step(c, &in, &out, &ev), CLIENT_WANT_INPUT);
	assert_true(slice_starts(buf_slice(&out), S("RCPT TO:")));
	smtp_client_free(c);
	buf_done(&out);
}

/* -- replies alone -- */

static void test_enhanced_codes(void **state)
{
	static const struct {
		struct slice line;
		const char *enhanced;
	} cases[] = {
		{ S("550 5.1.1 no\r\n"), "5.1.1" },
		{ S("550 5.1.1\r\n"), "5.1.1" },
		{ S("550 5.123.456 x\r\n"), "5.123.456" },
		{ S("550 4.1.1 class\r\n"), "" },
		{ S("250 5.0.0 class\r\n"), "" },
		{ S("550 5.1 x\r\n"), "" },
		{ S("550 5.1.1.1 x\r\n"), "" },
		{ S("550 5..1 x\r\n"), "" },
		{ S("550 5.1. x\r\n"), "" },
		{ S("550 5.1234.1 x\r\n"), "" },
		{ S("550 5.1.1: x\r\n"), "" },
		{ S("550 5.1.a x\r\n"), "" },
		{ S("550 no 5.1.1\r\n"), "" },
		{ S("550\r\n"), "" },
		{ S("550  5.1.1 x\r\n"), "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct reply_reader r = { 0 };
		struct slice in = cases[i].line, line;

		for (size_t n = 0; n < in.n; n++) {
			struct slice part = slice(in.p, n);

			assert_int_equal(reply_next(&r, &part, &line), REPLY_MORE);
			assert_int_equal(part.n, n);
		}
		assert_int_equal(reply_next(&r, &in, &line), REPLY_DONE);
		assert_int_equal(in.n, 0);
		assert_string_equal(r.reply.enhanced, cases[i].enhanced);
	}
}

int run_client_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_enhanced_codes),
		cmocka_unit_test(test_half_a_reply_between_messages),
		cmocka_unit_test(test_bare_content_never_leaves),
		cmocka_unit_test(test_dots_at_every_cut),
		cmocka_unit_test(test_dots_of_random_content),
		cmocka_unit_test(test_hostile_replies),
		cmocka_unit_test(test_longest_replies),
		cmocka_unit_test(test_loss_in_each_phase),
		cmocka_unit_test(test_loss_in_handshake_and_between),
		cmocka_unit_test(test_many_recipients),
		cmocka_unit_test(test_full_output),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
