/* Our server session against our client session, through memory: what is sent is what arrives. */
#include "smtp/client.h"
#include "smtp/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

int run_pipe_tests(void);

#define MAILS   5
#define RCPTS   9
#define RCPTMAX 4

struct ends {
	struct smtp_session *s;
	struct smtp_client *c;
	struct buf c_in, c_out, s_in, s_out;
	uint32_t random;
	bool c_shakes, s_shakes, c_over, s_over;

	/* the client's */
	struct smtp_client_mail mail;
	struct smtp_client_rcpt rcpts[RCPTS];
	bool settled[RCPTS]; /* of the message in hand */
	unsigned at;         /* the message in hand */
	struct buf content[MAILS];
	struct slice left;

	/* the server's */
	struct buf body;
	struct buf to; /* recipients of the transaction, a comma behind each */
	unsigned logins, taken[MAILS][RCPTS], commits;
};

static uint32_t chance(struct ends *e, uint32_t n)
{
	e->random = e->random * 1664525u + 1013904223u;
	return (e->random >> 8) % n;
}

static void make_content(struct ends *e, unsigned i)
{
	static const struct slice atoms[] = { S("."),       S("\r\n"),     S("\r\n.\r\n"),
					      S("\r\n..x"), S("\xc3\xa4"), S("word"),
					      S(" \t") };

	buf_init(&e->content[i], 1 << 16);
	buf_addf(&e->content[i], "Subject: %u\r\n\r\n", i);
	for (uint32_t n = chance(e, 60); n--;)
		buf_add(&e->content[i], atoms[chance(e, sizeof atoms / sizeof *atoms)]);
	buf_add(&e->content[i], S("\r\n"));
}

/* -- the server's driver -- */

static void answer(struct ends *e, uint32_t question, int code, const char *enh)
{
	struct smtp_answer a = { code, enh, S("as asked\nand so on"), false };

	assert_true(smtp_session_answer(e->s, question, &a, &e->s_out));
}

static void server_commit(struct ends *e, uint32_t question)
{
	struct slice left = buf_slice(&e->to), one;
	unsigned i = 0;

	assert_true(slice_starts(buf_slice(&e->body), S("Subject: ")));
	i = (unsigned)(e->body.p[9] - '0');
	assert_true(i < MAILS && slice_eq(buf_slice(&e->body), buf_slice(&e->content[i])));
	while (slice_cut(left, ',', &one, &left))
		e->taken[i][one.p[1] - '0']++;
	e->commits++;
	buf_clear(&e->body);
	buf_clear(&e->to);
	answer(e, question, 250, "2.0.0");
}

static void server_rcpt(struct ends *e, const struct smtp_event *ev)
{
	/* r3 does not exist, r5 comes later. */
	if (slice_eq(ev->path->local, S("r3"))) {
		answer(e, ev->question, 550, "5.1.1");
	} else if (slice_eq(ev->path->local, S("r5"))) {
		answer(e, ev->question, 450, "4.2.1");
	} else {
		assert_int_equal(ev->rcpt->notify, SMTP_NOTIFY_FAILURE);
		buf_add(&e->to, ev->path->local);
		buf_addc(&e->to, ',');
		answer(e, ev->question, 250, "2.1.5");
	}
}

static void server_auth(struct ends *e, const struct smtp_event *ev)
{
	assert_true(smtp_session_tls(e->s));
	assert_true(slice_eq(ev->auth->authcid, S("relay")));
	assert_true(slice_eq(ev->auth->password.bytes, S("secret word")));
	e->logins++;
	answer(e, ev->question, 235, "2.7.0");
}

static void server_turn(struct ends *e, size_t n)
{
	struct slice in = slice(e->s_in.p, n);
	struct smtp_event ev;
	bool more = !e->s_shakes && !e->s_over;

	while (more) {
		switch (smtp_session_step(e->s, &in, &e->s_out, &ev)) {
		case SMTP_WANT_INPUT:
		case SMTP_WANT_FLUSH: more = false; break;
		case SMTP_WANT_ANSWER: fail_msg("no question is open"); break;
		case SMTP_ASK_SASL: fail_msg("PLAIN and LOGIN need nothing"); break;
		case SMTP_ASK_AUTH: server_auth(e, &ev); break;
		case SMTP_ASK_MAIL:
			assert_true(ev.mail->body == SMTP_BODY_8BITMIME &&
				    ev.mail->ret == SMTP_RET_FULL);
			assert_true(slice_eq(ev.mail->envid, S("e+2Bid")));
			answer(e, ev.question, 250, "2.1.0");
			break;
		case SMTP_ASK_RCPT: server_rcpt(e, &ev); break;
		case SMTP_ASK_BODY: answer(e, ev.question, 354, NULL); break;
		case SMTP_ASK_COMMIT: server_commit(e, ev.question); break;
		case SMTP_GOT_BODY: buf_add(&e->body, ev.body); break;
		case SMTP_GOT_RESET: buf_clear(&e->to); break;
		case SMTP_DO_STARTTLS:
			assert_int_equal(in.n, 0);
			e->s_shakes = true;
			more = false;
			break;
		case SMTP_DO_CLOSE:
			e->s_over = true;
			more = false;
			break;
		}
	}
	buf_shift(&e->s_in, n - in.n);
}

/* -- the client's driver -- */

/* Hands over those recipients of message `at` that are not settled; the next message after. */
static void client_ready(struct ends *e)
{
	static const char names[RCPTS][12] = { "r0@to.test", "r1@to.test", "r2@to.test",
					       "r3@to.test", "r4@to.test", "r5@to.test",
					       "r6@to.test", "r7@to.test", "r8@to.test" };
	uint32_t n = 0;

	while (e->at < MAILS && !n) {
		for (unsigned i = 0; i < RCPTS; i++)
			if (!e->settled[i])
				e->rcpts[n++] = (struct smtp_client_rcpt){ slice(names[i], 10),
									   SMTP_NOTIFY_FAILURE,
									   S("rfc822;x@y.test") };
		if (!n) {
			memset(e->settled, 0, sizeof e->settled);
			e->at++;
		}
	}
	if (e->at == MAILS) {
		smtp_client_quit(e->c, &e->c_out);
		return;
	}
	e->mail = (struct smtp_client_mail){ .reverse_path = S("a@from.test"),
					     .high = true,
					     .size = e->content[e->at].n,
					     .ret = SMTP_RET_FULL,
					     .envid = S("e+2Bid"),
					     .rcpts = e->rcpts,
					     .n_rcpts = n };
	e->left = buf_slice(&e->content[e->at]);
	smtp_client_send(e->c, &e->mail);
}

static unsigned index_of(const struct ends *e, uint32_t rcpt)
{
	assert_true(rcpt < e->mail.n_rcpts);
	return (unsigned)(e->rcpts[rcpt].path.p[1] - '0');
}

static void client_rcpt(struct ends *e, const struct smtp_client_event *ev)
{
	unsigned i = index_of(e, ev->rcpt);

	assert_false(e->settled[i]);
	if (!ev->remote) { /* left for another transaction */
		assert_string_equal(ev->reply.enhanced, "4.5.3");
		return;
	}
	assert_true(i == 3 ? ev->reply.code == 550 : i == 5 && ev->reply.code == 450);
	e->settled[i] = true;
}

static void client_done(struct ends *e, const struct smtp_client_event *ev)
{
	assert_true(ev->remote && !ev->maybe_taken && ev->phase == CLIENT_AT_DOT);
	assert_int_equal(ev->reply.code, 250);
	/* The first ones, RCPTMAX of them, were tried. */
	for (uint32_t i = 0; i < e->mail.n_rcpts && i < RCPTMAX; i++)
		e->settled[index_of(e, i)] = true;
}

static void client_turn(struct ends *e, size_t n)
{
	struct slice in = slice(e->c_in.p, n);
	struct smtp_client_event ev;
	bool more = !e->c_shakes && !e->c_over;

	while (more) {
		switch (smtp_client_step(e->c, &in, &e->c_out, &ev)) {
		case CLIENT_WANT_INPUT:
		case CLIENT_WANT_FLUSH: more = false; break;
		case CLIENT_DO_STARTTLS:
			e->c_shakes = true;
			more = false;
			break;
		case CLIENT_READY: client_ready(e); break;
		case CLIENT_SEND_BODY: {
			size_t run = chance(e, 30);

			if (buf_left(&e->c_out) < CLIENT_BODY_ROOM(30)) {
				more = false;
				break;
			}
			run = run < e->left.n ? run : e->left.n;
			assert_true(smtp_client_body(e->c, slice_take(&e->left, run), !e->left.n,
						     &e->c_out));
			break;
		}
		case CLIENT_RCPT: client_rcpt(e, &ev); break;
		case CLIENT_DONE: client_done(e, &ev); break;
		case CLIENT_FAILED:
			fail_msg("%s: %.*s", smtp_client_phase_name(ev.phase), (int)ev.reply.n,
				 ev.reply.text);
			break;
		case CLIENT_DO_CLOSE:
			e->c_over = true;
			more = false;
			break;
		}
	}
	buf_shift(&e->c_in, n - in.n);
}

/* -- the pipe -- */

/* Moves some bytes; those that arrive are seen in pieces. */
static void carry(struct ends *e, struct buf *from, struct buf *to)
{
	size_t n = from->n ? chance(e, (uint32_t)from->n) + 1 : 0;

	buf_add(to, slice(from->p, n));
	buf_shift(from, n);
}

static void turn(struct ends *e)
{
	carry(e, &e->c_out, &e->s_in);
	server_turn(e, e->s_in.n);
	carry(e, &e->s_out, &e->c_in);
	client_turn(e, e->c_in.n);
	/* Both hands are out, and nothing is on its way. */
	if (e->c_shakes && e->s_shakes && !e->c_out.n && !e->s_out.n) {
		assert_true(!e->c_in.n && !e->s_in.n);
		smtp_client_tls_up(e->c);
		smtp_session_tls_up(e->s);
		e->c_shakes = e->s_shakes = false;
	}
}

static void converse(uint32_t seed, bool implicit)
{
	const struct smtp_config scfg = { .hostname = S("mx.test"),
					  .message_max = 65536,
					  .rcpt_max = RCPTMAX,
					  .line_max = 2048,
					  .auth_line_max = 12288,
					  .mechanisms = SASL_PASSWORDS,
					  .tls_available = true,
					  .implicit_tls = implicit };
	const struct smtp_client_config ccfg = { .hostname = S("cl.test"),
						 .tls = CLIENT_TLS_MUST,
						 .tls_up = implicit,
						 .user = S("relay"),
						 .password = { S("secret word") } };
	struct ends e = { .s = smtp_session_new(&scfg),
			  .c = smtp_client_new(&ccfg),
			  .random = seed };
	unsigned turns = 0;

	assert_true(e.s && e.c);
	buf_init(&e.c_in, 65536);
	buf_init(&e.s_in, 1 << 20);
	buf_init(&e.c_out, CLIENT_OUT_MIN);
	buf_init(&e.s_out, SMTP_OUT_MIN);
	buf_init(&e.body, 1 << 17);
	buf_init(&e.to, 4096);
	for (unsigned i = 0; i < MAILS; i++)
		make_content(&e, i);
	while ((!e.c_over || !e.s_over) && turns++ < 100000)
		turn(&e);
	assert_true(e.c_over && e.s_over);
	assert_int_equal(e.logins, 1);
	assert_false(e.c_in.failed || e.s_in.failed || e.c_out.failed || e.s_out.failed);
	/* Each recipient got each message once, but for those that were refused. */
	for (unsigned i = 0; i < MAILS; i++)
		for (unsigned k = 0; k < RCPTS; k++)
			assert_int_equal(e.taken[i][k], k != 3 && k != 5);
	smtp_session_free(e.s);
	smtp_client_free(e.c);
	buf_done(&e.c_in);
	buf_done(&e.s_in);
	buf_done(&e.c_out);
	buf_done(&e.s_out);
	buf_done(&e.body);
	buf_done(&e.to);
	for (unsigned i = 0; i < MAILS; i++)
		buf_done(&e.content[i]);
}

static void test_starttls(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 300; seed++)
		converse(seed, false);
}

static void test_implicit_tls(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 300; seed++)
		converse(seed, true);
}

int run_pipe_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_starttls),
		cmocka_unit_test(test_implicit_tls),
	};

	return cmocka_run_group_tests_name("pipe", tests, NULL, NULL);
}
