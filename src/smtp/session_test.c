/* The session under cutting, smuggling and whatever comes from outside the bytes. */
#include "smtp/session_rig.h"
#include "smtp/session_says.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

int run_session_tests(void);

/* A script built piece by piece. */
static void repeat(struct buf *b, struct slice s, size_t times)
{
	while (times--)
		buf_add(b, s);
}

/* -- every split --------------------------------------------------------------------------------
 */

static const struct slice long_script[] = {
	S("EHLO a\r\n"),
	S("STARTTLS\r\n"),
	S("EHLO a\r\nAUTH LOGIN\r\ndQ==\r\nYmFk\r\nAUTH PLAIN\r\n*\r\nAUTH PLAIN AHUAZ29vZA==\r\n"
	  "MAIL FROM:<a@b.c> SIZE=3\r\nRCPT TO:<c@d.e>\r\nRCPT TO:<no@f.g>\r\nDATA\r\n"),
	S("Subject: x\r\n\r\n..dot\r\n.x\r\n...\r\nbye\r\n.\r\n"),
	S("MAIL FROM:<a@b.c>\r\nRCPT TO:<c@d.e>\r\nBDAT 5\r\n.\r\n.\rBDAT 4 LAST\r\n\nxyzRSET\r\n"
	  "MAIL FROM:<a@b.c>\r\nRCPT TO:<c@d.e>\r\nBDAT 2\r\n\n\nBDAT 1 LAST\r\nxNOOP\r\nQUIT\r\n"),
};
#define TURNS (sizeof long_script / sizeof *long_script)

/* Plays it cut at a and b, counted over all turns, or in chunks; returns wire and trace. */
static void play(size_t a, size_t b, size_t chunk, struct buf *ret)
{
	size_t pos = 0;
	struct rig r;

	rig_init(&r, &rig_cfg);
	rig_pump(&r);
	for (size_t t = 0; t < TURNS; t++) {
		struct slice left = long_script[t];

		while (left.n) {
			size_t n = left.n;

			if (pos < a && a < pos + n)
				n = a - pos;
			else if (pos < b && b < pos + n)
				n = b - pos;
			pos += n;
			rig_feed(&r, slice_take(&left, n), chunk);
		}
	}
	buf_clear(ret);
	buf_add(ret, rig_wire(&r));
	buf_add(ret, rig_trace(&r));
	rig_done(&r);
}

static void every_split(void **state)
{
	static const char end[] = BYE
	    "[tls][auth /u/bad][auth /u/good][mail a@b.c][rcpt c@d.e][rcpt no@f.g][body]"
	    "[commit Subject: x\r\n\r\n.dot\r\nx\r\n..\r\nbye\r\n][mail a@b.c][rcpt c@d.e][body]"
	    "[commit .\r\n.\r\nxyz][mail a@b.c][rcpt c@d.e][body][reset][close]";
	struct buf whole, cut;
	size_t total = 0;

	(void)state;
	buf_init(&whole, 1 << 16);
	buf_init(&cut, 1 << 16);
	for (size_t t = 0; t < TURNS; t++)
		total += long_script[t].n;
	play(0, 0, 0, &whole);
	if (!slice_ends(buf_slice(&whole), slice_str(end)))
		fail_msg("got:\n%.*s", SLICE_ARG(buf_slice(&whole)));
	for (size_t a = 0; a <= total; a++) {
		/* every two-way split, and a sample of the three-way ones */
		for (size_t b = a; b <= total; b += b > a ? 37 : 1) {
			play(a, b, 0, &cut);
			if (!slice_eq(buf_slice(&cut), buf_slice(&whole)))
				fail_msg("cut at %zu and %zu:\n%.*s", a, b,
					 SLICE_ARG(buf_slice(&cut)));
		}
	}
	for (size_t chunk = 1; chunk < 40; chunk++) {
		play(0, 0, chunk, &cut);
		assert_true(slice_eq(buf_slice(&cut), buf_slice(&whole)));
	}
	buf_done(&whole);
	buf_done(&cut);
}

/* -- smuggling ------------------------------------------------------------------------------------
 */

static void look_alikes(void **state)
{
	static const struct slice ends[] = {
		S("\n.\r\n"),     S("\r\n.\n"),     S("\n.\n"),       S("\r.\r\n"),
		S("\r\n.\r"),     S("\r.\r"),       S("\r\n\0.\r\n"), S("\r\n.\0\r\n"),
		S("\r\r\n.\r\r"), S("\r\n.\r\r\n"), S("\n\n.\r\n"),   S("\r\n\n.\r\n"),
		S("\r\n.\n\r\n"), S("\n.\r"),
	};
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		for (size_t chunk = 0; chunk < 9; chunk++) {
			struct rig r;

			buf_clear(&b);
			buf_add(&b, S("hi"));
			buf_add(&b, ends[i]);
			buf_add(&b, S("MAIL FROM:<evil@x.y>\r\nok\r\n.\r\nNOOP\r\n"));
			rig_init(&r, &rig_cfg);
			rig_start(&r, FROM_RCPT);
			rig_feed(&r, S("DATA\r\n"), 0);
			rig_feed(&r, buf_slice(&b), chunk);
			assert_true(slice_eq(rig_wire(&r), S(GO BARE OK)));
			assert_true(slice_eq(rig_trace(&r), S("[body][reset]")));
			rig_done(&r);
		}
	}
	buf_done(&b);
}

/* -- what comes from outside the bytes ------------------------------------------------------------
 */

static void replies_are_bounded(void **state)
{
	struct smtp_config cfg = rig_cfg;
	struct buf flood;
	struct rig r;

	(void)state;
	cfg.command_max = 0;
	buf_init(&flood, 1 << 20);
	repeat(&flood, S("NOOP\r\n"), 100000);
	rig_init(&r, &cfg);
	rig_start(&r, FROM_HELLO);
	rig_feed(&r, buf_slice(&flood), 0);
	assert_int_equal(r.wire.n, 100000 * 14);
	assert_true(r.flushes > 300 && r.out.cap <= SMTP_OUT_MIN);
	rig_done(&r);
	buf_done(&flood);
}

/* One step on a slice that stays where it is. */
static enum smtp_want step(struct rig *r, struct slice *in, struct smtp_event *ev)
{
	return smtp_session_step(r->s, in, &r->out, ev);
}

static void late_answers(void **state)
{
	struct smtp_answer yes = { 235, "2.7.0", S("Ok"), false },
			   fine = { 250, "2.0.0", S("Ok"), false };
	struct slice in = S("AUTH PLAIN AHUAZ29vZA==\r\nMAIL FROM:<x@y.z>\r\n");
	struct smtp_event ev = { 0 };
	uint32_t first;
	struct rig r;

	(void)state;
	rig_init(&r, &rig_cfg);
	rig_start(&r, FROM_HELLO);
	assert_false(smtp_session_answer(r.s, 0, &yes, &r.out));
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_AUTH);
	first = ev.question;
	assert_true(first != 0);
	/* Nothing is read past an open question. */
	assert_int_equal(step(&r, &in, &ev), SMTP_WANT_ANSWER);
	assert_int_equal(in.n, S("MAIL FROM:<x@y.z>\r\n").n);
	assert_int_equal(smtp_session_clock(r.s), SMTP_CLOCK_NONE);
	assert_false(smtp_session_answer(r.s, first + 1, &yes, &r.out));
	assert_false(smtp_session_user(r.s));
	assert_true(smtp_session_answer(r.s, first, &yes, &r.out));
	assert_true(smtp_session_user(r.s));
	/* The old number does not close the new question. */
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_MAIL);
	assert_false(smtp_session_answer(r.s, first, &fine, &r.out));
	assert_false(smtp_session_in_tx(r.s));
	/* The client left. */
	smtp_session_eof(r.s);
	assert_false(smtp_session_answer(r.s, ev.question, &fine, &r.out));
	assert_int_equal(step(&r, &in, &ev), SMTP_DO_CLOSE);
	assert_int_equal(step(&r, &in, &ev), SMTP_DO_CLOSE);
	rig_done(&r);
}

/* The client vanishes while the commit is under way: cancel if you still can. */
static void gone_during_commit(void **state)
{
	struct smtp_answer fine = { 250, "2.0.0", S("Ok"), false };
	struct slice in = S("BDAT 1 LAST\r\nx");
	struct smtp_event ev = { 0 };
	uint32_t q;
	struct rig r;

	(void)state;
	rig_init(&r, &rig_cfg);
	rig_start(&r, FROM_RCPT);
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_BODY);
	assert_true(smtp_session_answer(r.s, ev.question, &fine, &r.out));
	assert_int_equal(step(&r, &in, &ev), SMTP_GOT_BODY);
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_COMMIT);
	q = ev.question;
	smtp_session_eof(r.s);
	assert_int_equal(step(&r, &in, &ev), SMTP_GOT_RESET);
	assert_int_equal(step(&r, &in, &ev), SMTP_DO_CLOSE);
	assert_false(smtp_session_answer(r.s, q, &fine, &r.out));
	rig_done(&r);
}

static void cut_off_is_no_message(void **state)
{
	static const struct slice cuts[] = { S("DATA\r\n\fa\r\n"), S("DATA\r\n\fa\r\n."),
					     S("DATA\r\n\fa\r\n.\r"), S("BDAT 3 LAST\r\nab"),
					     S("BDAT 2\r\nab") };

	(void)state;
	for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
		struct rig r;

		rig_init(&r, &rig_cfg);
		rig_start(&r, FROM_RCPT);
		rig_script(&r, cuts[i], 0);
		smtp_session_eof(r.s);
		rig_pump(&r);
		assert_true(slice_eq(rig_trace(&r), S("[body][reset][close]")));
		rig_done(&r);
	}
}

static void expires(void **state)
{
	static const struct {
		enum rig_from from;
		struct slice say;
		enum smtp_clock clock;
		const char *events;
	} cases[] = {
		{ FROM_CONNECT, S(""), SMTP_CLOCK_LOGIN, "[close]" },
		{ FROM_HELLO, S("NOO"), SMTP_CLOCK_LOGIN, "[close]" },
		{ FROM_HELLO, S("AUTH LOGIN\r\n"), SMTP_CLOCK_LOGIN, "[close]" },
		{ FROM_USER, S(""), SMTP_CLOCK_COMMAND, "[close]" },
		{ FROM_RCPT, S(""), SMTP_CLOCK_COMMAND, "[reset][close]" },
		{ FROM_RCPT, S("DATA\r\n"), SMTP_CLOCK_BODY, "[body][reset][close]" },
		{ FROM_RCPT, S("BDAT 2\r\na"), SMTP_CLOCK_BODY, "[body][reset][close]" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rig r;

		rig_init(&r, &rig_cfg);
		rig_start(&r, cases[i].from);
		rig_feed(&r, cases[i].say, 0);
		assert_int_equal(smtp_session_clock(r.s), cases[i].clock);
		smtp_session_expire(r.s);
		rig_pump(&r);
		assert_true(
		    slice_ends(rig_wire(&r), S("421 4.4.2 Timeout, closing connection\r\n")));
		assert_true(slice_eq(rig_trace(&r), slice_str(cases[i].events)));
		assert_int_equal(smtp_session_clock(r.s), SMTP_CLOCK_NONE);
		rig_done(&r);
	}
}

/* A peer whose replies are not read any more, and a handshake: nothing is said. */
static void expires_without_room(void **state)
{
	struct slice none = S("");
	struct smtp_event ev = { 0 };
	struct rig r;

	(void)state;
	rig_init(&r, &rig_cfg);
	rig_start(&r, FROM_HELLO);
	while (buf_left(&r.out) >= 2048)
		buf_addc(&r.out, 'x');
	assert_int_equal(step(&r, &none, &ev), SMTP_WANT_FLUSH);
	smtp_session_expire(r.s);
	assert_int_equal(step(&r, &none, &ev), SMTP_DO_CLOSE);
	assert_true(!r.out.failed && buf_left(&r.out) == 2047);
	rig_done(&r);

	rig_init(&r, &rig_cfg);
	r.hold_tls = true;
	rig_pump(&r);
	rig_feed(&r, S("EHLO x\r\n"), 0);
	rig_feed(&r, S("STARTTLS\r\n"), 0);
	assert_int_equal(smtp_session_clock(r.s), SMTP_CLOCK_LOGIN);
	buf_clear(&r.wire);
	smtp_session_expire(r.s);
	rig_pump(&r);
	assert_true(r.closed && r.wire.n == 0);
	rig_done(&r);
}

#define DOWN "421 4.3.2 Service shutting down, closing connection\r\n"

static void shuts_down(void **state)
{
	static const struct {
		enum rig_from from;
		const char *before; /* said, then the shutdown comes */
		const char *at_once;
		const char *after;
		const char *then;
	} cases[] = {
		{ FROM_CONNECT, "", "220 mx.test ESMTP service ready\r\n" DOWN, "", "" },
		{ FROM_HELLO, "", DOWN, "", "" },
		{ FROM_HELLO, "AUTH LOGIN\r\n", "334 VXNlcm5hbWU6\r\n" DOWN, "", "" },
		{ FROM_USER, "", DOWN, "", "" },
		{ FROM_MAIL, "", "", "RCPT TO:<a@b.c>\r\nRSET\r\nMAIL FROM:<a@b.c>\r\n",
		  RCPT_OK OK DOWN },
		{ FROM_RCPT, "DATA\r\n", GO, "x\r\n.\r\nMAIL FROM:<a@b.c>\r\n", QUEUED DOWN },
		{ FROM_RCPT, "BDAT 1\r\nx", OK, "BDAT 1 LAST\r\nx", QUEUED DOWN },
		{ FROM_USER, "BDAT 2\r\nx", "", "x", MAIL_1ST DOWN },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rig r;

		rig_init(&r, &rig_cfg);
		rig_start(&r, cases[i].from);
		rig_feed(&r, slice_str(cases[i].before), 0);
		smtp_session_shutdown(r.s, false);
		rig_pump(&r);
		assert_true(slice_eq(rig_wire(&r), slice_str(cases[i].at_once)));
		buf_clear(&r.wire);
		rig_feed(&r, slice_str(cases[i].after), 0);
		assert_true(slice_eq(rig_wire(&r), slice_str(cases[i].then)));
		assert_true(r.closed);
		rig_done(&r);

		rig_init(&r, &rig_cfg);
		rig_start(&r, cases[i].from);
		rig_feed(&r, slice_str(cases[i].before), 0);
		smtp_session_shutdown(r.s, true);
		rig_pump(&r);
		assert_true(slice_ends(rig_wire(&r), S(DOWN)) && r.closed);
		rig_done(&r);
	}
}

/* What the driver says may come from anywhere: it stays one reply, bounded. */
/* Does answering so end the program? It is a bug of ours, so it must. */
static bool aborts(int code, const char *enh)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		const struct smtp_answer a = { code, enh, S("x"), false };
		struct slice in = S("MAIL FROM:<a@b.c>\r\n");
		struct smtp_event ev = { 0 };
		struct rig r;

		signal(SIGABRT, SIG_DFL);
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		rig_init(&r, &rig_cfg);
		rig_start(&r, FROM_USER);
		step(&r, &in, &ev);
		smtp_session_answer(r.s, ev.question, &a, &r.out);
		_exit(0);
	}
	assert_true(child > 0 && waitpid(child, &status, 0) == child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* RFC 2034: no reply without its enhanced code, none with another class's, none behind a 3xx. */
static void answers_have_their_code(void **state)
{
	(void)state;
	assert_false(aborts(250, "2.1.0"));
	assert_false(aborts(354, NULL));
	assert_false(aborts(354, ""));
	assert_true(aborts(250, NULL));
	assert_true(aborts(250, ""));
	assert_true(aborts(451, "5.1.0"));
	assert_true(aborts(354, "3.0.0"));
	assert_true(aborts(100, "1.0.0"));
	assert_true(aborts(600, "6.0.0"));
}

static void answers_are_tamed(void **state)
{
	struct slice in = S("MAIL FROM:<a@b.c>\r\n");
	struct smtp_answer a = { 550, "5.7.1", S("a\r\nb\0c\xc3\xbc\n250 Ok\x1b[0m"), false };
	struct smtp_event ev = { 0 };
	struct buf big;
	struct rig r;

	(void)state;
	rig_init(&r, &rig_cfg);
	rig_start(&r, FROM_USER);
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_MAIL);
	assert_true(smtp_session_answer(r.s, ev.question, &a, &r.out));
	assert_true(slice_eq(buf_slice(&r.out),
			     S("550-5.7.1 a?\r\n550-5.7.1 b?c??\r\n550 5.7.1 250 Ok?[0m\r\n")));

	buf_init(&big, 1 << 16);
	for (int kind = 0; kind < 2; kind++) {
		struct slice left, line;
		size_t lines = 0;

		buf_clear(&big);
		repeat(&big, kind ? S("\n") : S("x"), 1 << 16);
		buf_clear(&r.out);
		in = S("MAIL FROM:<a@b.c>\r\n");
		assert_int_equal(step(&r, &in, &ev), SMTP_ASK_MAIL);
		a.text = buf_slice(&big);
		a.close = kind;
		assert_true(smtp_session_answer(r.s, ev.question, &a, &r.out));
		assert_true(r.out.n <= 2048);
		left = buf_slice(&r.out);
		while (left.n) {
			slice_cut(left, '\n', &line, &left);
			assert_true(line.n < 512);
			lines++;
		}
		assert_int_equal(lines, kind ? 17 : 3);
	}
	assert_true(slice_ends(buf_slice(&r.out), S("550 5.7.1\r\n" CLOSING)));
	buf_done(&big);
	rig_done(&r);
}

static void parameters_arrive(void **state)
{
	struct slice in = S("MAIL FROM:<a@b.c> SIZE=7 BODY=8BITMIME ENVID=e RET=FULL\r\n"
			    "RCPT TO:<a@b.c> NOTIFY=NEVER ORCPT=rfc822;q\r\n");
	struct smtp_answer fine = { 250, "2.0.0", S("Ok"), false };
	struct smtp_event ev = { 0 };
	struct rig r;

	(void)state;
	rig_init(&r, &rig_cfg);
	rig_start(&r, FROM_USER);
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_MAIL);
	assert_true(ev.mail->size == 7 && ev.mail->body == SMTP_BODY_8BITMIME &&
		    ev.mail->ret == SMTP_RET_FULL && slice_eq(ev.mail->envid, S("e")));
	assert_true(smtp_session_answer(r.s, ev.question, &fine, &r.out));
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_RCPT);
	assert_true(ev.rcpt->notify == SMTP_NOTIFY_NEVER &&
		    slice_eq(ev.rcpt->orcpt, S("rfc822;q")));
	/* The slices are the session's own copy: the driver's bytes may move now. */
	assert_true(ev.path->whole.p < in.p - 100 || ev.path->whole.p > in.p);
	assert_true(smtp_session_in_tx(r.s));
	assert_true(smtp_session_answer(r.s, ev.question, &fine, &r.out));
	smtp_session_shrink(r.s);
	r.mail = true; /* the rig was not asked */
	rig_feed(&r, S("RCPT TO:<b@b.c>\r\n"), 0);
	assert_true(slice_eq(rig_trace(&r), S("[rcpt b@b.c]")));
	rig_done(&r);
}

int run_session_tests(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_split),
		cmocka_unit_test(look_alikes),
		cmocka_unit_test(replies_are_bounded),
		cmocka_unit_test(late_answers),
		cmocka_unit_test(gone_during_commit),
		cmocka_unit_test(cut_off_is_no_message),
		cmocka_unit_test(expires),
		cmocka_unit_test(expires_without_room),
		cmocka_unit_test(shuts_down),
		cmocka_unit_test(answers_are_tamed),
		cmocka_unit_test(answers_have_their_code),
		cmocka_unit_test(parameters_arrive),
	};

	return cmocka_run_group_tests_name("smtp session", tests, NULL, NULL);
}
