#include "smtp/session_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define RIG_CFG                                                                                    \
	.hostname = S("mx.test"), .message_max = 1000, .discard_max = 4000, .rcpt_max = 3,         \
	.line_max = 600, .auth_line_max = 12288, .body_line_max = 78, .bad_max = 20,               \
	.command_max = 20, .auth_max = 3, .mechanisms = SASL_PASSWORDS, .tls_available = true

const struct smtp_config rig_cfg = { RIG_CFG };
const struct smtp_config rig_cfg_tls = { RIG_CFG, .implicit_tls = true };

/* Of the password "good". */
static const struct sasl_verifier rig_verifier = {
	.salt = { "rig salt, 16 oct", 16 },
	.rounds = 4096,
	.stored_key = { 0x53, 0x5c, 0xf1, 0x4c, 0x6b, 0xc4, 0x9a, 0xc5, 0xea, 0xd6, 0x50,
			0x8b, 0x1a, 0x11, 0x88, 0xb0, 0xf5, 0x6a, 0x92, 0x67, 0x26, 0xb2,
			0x21, 0xeb, 0x78, 0x2f, 0xef, 0xdf, 0x85, 0x3e, 0xf2, 0x30 },
	.server_key = { 0x09, 0xba, 0x58, 0xfe, 0x81, 0x56, 0x91, 0x3c, 0x3e, 0xfa, 0xb3,
			0xb1, 0x33, 0x0b, 0x1d, 0xe7, 0xae, 0xf2, 0xbc, 0x48, 0x70, 0xdd,
			0x4f, 0xd8, 0xad, 0x7d, 0xe2, 0x5d, 0x29, 0x01, 0x45, 0x9e },
};

void rig_init(struct rig *r, const struct smtp_config *cfg)
{
	*r = (struct rig){ .s = smtp_session_new(cfg) };
	assert_non_null(r->s);
	buf_init(&r->held, 1 << 20);
	buf_init(&r->out, SMTP_OUT_MIN);
	buf_init(&r->wire, 1 << 24);
	buf_init(&r->trace, 1 << 24);
	buf_init(&r->body, 1 << 20);
}

void rig_done(struct rig *r)
{
	smtp_session_free(r->s);
	buf_done(&r->held);
	buf_done(&r->out);
	buf_done(&r->wire);
	buf_done(&r->trace);
	buf_done(&r->body);
}

static void take_out(struct rig *r)
{
	assert_false(r->out.failed);
	buf_add(&r->wire, buf_slice(&r->out));
	buf_clear(&r->out);
}

static void note(struct rig *r, const char *what, struct slice more)
{
	buf_add(&r->trace, S("["));
	buf_add(&r->trace, slice_str(what));
	if (more.n)
		buf_add(&r->trace, S(" "));
	buf_add(&r->trace, more);
	buf_add(&r->trace, S("]"));
}

static void answer(struct rig *r, uint32_t question, int code, const char *enh, struct slice text)
{
	struct smtp_answer a = { code, enh, text, false };

	assert_true(smtp_session_answer(r->s, question, &a, &r->out));
	assert_false(smtp_session_answer(r->s, question, &a, &r->out));
}

static void supply(struct rig *r, const struct smtp_event *ev)
{
	struct sasl_supply s = { .nonce = S("SRV"),
				 .now_ms = 7,
				 .hostname = S("mx.test"),
				 .verifier = &rig_verifier,
				 .exporter = S("rig exporter"),
				 .plus_offered =
				     smtp_session_offer(r->s) & SASL_BIT(SASL_SCRAM_SHA_256_PLUS) };

	note(r, "sasl", ev->auth->authcid);
	assert_true(!r->user && !r->mail && smtp_session_tls(r->s));
	assert_false(smtp_session_supply(r->s, ev->question + 1, &s, &r->out));
	if (slice_eq(ev->auth->authcid, S("later"))) {
		answer(r, ev->question, 454, "4.7.0", S("Later"));
		return;
	}
	assert_true(smtp_session_supply(r->s, ev->question, &s, &r->out));
	assert_false(smtp_session_supply(r->s, ev->question, &s, &r->out));
}

/* Whether the rig lets it in. */
static bool proven(const struct sasl_request *q)
{
	switch (q->by) {
	case SASL_BY_PASSWORD:
	case SASL_BY_TOKEN: return slice_eq(q->password.bytes, S("good"));
	case SASL_BY_PROOF: return q->fault == SASL_FAULT_NONE;
	case SASL_BY_HMAC: return slice_eq(q->authcid, S("good"));
	case SASL_BY_TLS: return !slice_eq(q->authzid, S("bad"));
	}
	return false;
}

static void answer_auth(struct rig *r, const struct smtp_event *ev)
{
	struct slice pass = ev->auth->password.bytes;
	struct smtp_answer close = { 535, "5.7.8", S("No"), true };

	assert_true(ev->auth->mechanism.n > 0);
	buf_add(&r->trace, S("[auth "));
	buf_add(&r->trace, ev->auth->authzid);
	buf_add(&r->trace, S("/"));
	buf_add(&r->trace, ev->auth->authcid);
	buf_add(&r->trace, S("/"));
	buf_add(&r->trace, pass);
	buf_add(&r->trace, S("]"));
	assert_true(!r->user && !r->mail && smtp_session_tls(r->s));
	r->user = proven(ev->auth);
	if (r->user)
		answer(r, ev->question, 235, "2.7.0", SMTP_TEXT_AUTH);
	else if (slice_eq(pass, S("later")))
		answer(r, ev->question, 454, "4.7.0", S("Later"));
	else if (slice_eq(pass, S("close")))
		assert_true(smtp_session_answer(r->s, ev->question, &close, &r->out));
	else
		answer(r, ev->question, 535, "5.7.8", S("Authentication failed"));
}

static bool answer_path(struct rig *r, const struct smtp_event *ev, const char *what,
			const char *enh, struct slice yes)
{
	struct slice local = ev->path->local;

	note(r, what, ev->path->whole);
	if (slice_eq(local, S("no")))
		answer(r, ev->question, 550, "5.7.1", S("No"));
	else if (slice_eq(local, S("later")))
		answer(r, ev->question, 450, "4.2.1", S("Later"));
	else if (slice_eq(local, S("close")))
		answer(r, ev->question, 421, "4.7.0", S("Go away"));
	else {
		answer(r, ev->question, 250, enh, yes);
		return true;
	}
	return false;
}

static void answer_mail(struct rig *r, const struct smtp_event *ev)
{
	assert_non_null(ev->mail);
	assert_true(r->user && !r->mail);
	r->full = slice_eq(ev->path->local, S("full"));
	r->mail = answer_path(r, ev, "mail", "2.1.0", SMTP_TEXT_MAIL);
}

static void answer_rcpt(struct rig *r, const struct smtp_event *ev)
{
	assert_non_null(ev->rcpt);
	assert_true(r->mail && !r->body_open && r->rcpts < rig_cfg.rcpt_max);
	r->rcpts += answer_path(r, ev, "rcpt", "2.1.5", SMTP_TEXT_RCPT);
}

static void answer_body(struct rig *r, uint32_t question)
{
	assert_true(r->mail && r->rcpts > 0 && !r->body_open);
	note(r, "body", S(""));
	r->body_open = !r->full;
	if (r->full)
		answer(r, question, 452, "4.3.1", S("Disk full"));
	else
		answer(r, question, 354, NULL, SMTP_TEXT_DATA);
}

static void tx_over(struct rig *r)
{
	assert_true(r->mail);
	r->mail = r->body_open = false;
	r->rcpts = 0;
	buf_clear(&r->body);
}

static void answer_commit(struct rig *r, uint32_t question)
{
	struct slice body = buf_slice(&r->body);

	assert_true(r->user && r->body_open && body.n <= rig_cfg.message_max);
	note(r, "commit", body);
	if (body.n && memmem(body.p, body.n, "REJECT", 6))
		answer(r, question, 550, "5.7.1", S("Not\nthis one"));
	else
		answer(r, question, 250, "2.0.0", S("Ok: queued as id"));
	r->commits++;
	tx_over(r);
}

static void got_body(struct rig *r, struct slice in, struct slice all, struct slice body)
{
	assert_true(body.n > 0 && r->body_open);
	assert_true(body.p >= all.p && body.p + body.n <= in.p);
	buf_add(&r->body, body);
}

/* Steps over *in until the session wants something. */
static void drive(struct rig *r, struct slice *in)
{
	struct slice all = *in;
	struct smtp_event ev = { 0 };

	while (!r->closed) {
		switch (smtp_session_step(r->s, in, &r->out, &ev)) {
		case SMTP_WANT_INPUT: take_out(r); return;
		case SMTP_WANT_FLUSH:
			assert_true(r->out.n > 0);
			take_out(r);
			r->flushes++;
			break;
		case SMTP_WANT_ANSWER: fail_msg("a question nobody asked"); break;
		case SMTP_ASK_SASL: supply(r, &ev); break;
		case SMTP_ASK_AUTH: answer_auth(r, &ev); break;
		case SMTP_ASK_MAIL: answer_mail(r, &ev); break;
		case SMTP_ASK_RCPT: answer_rcpt(r, &ev); break;
		case SMTP_ASK_BODY: answer_body(r, ev.question); break;
		case SMTP_ASK_COMMIT: answer_commit(r, ev.question); break;
		case SMTP_GOT_BODY: got_body(r, *in, all, ev.body); break;
		case SMTP_GOT_RESET:
			note(r, "reset", S(""));
			tx_over(r);
			break;
		case SMTP_DO_STARTTLS:
			take_out(r);
			note(r, "tls", S(""));
			assert_int_equal(in->n, 0);
			if (r->hold_tls)
				return;
			assert_false(r->user);
			smtp_session_tls_up(r->s);
			if (r->peer)
				smtp_session_peer(r->s, r->peer);
			break;
		case SMTP_DO_CLOSE:
			take_out(r);
			note(r, "close", S(""));
			r->closed = true;
			break;
		}
	}
}

/* Exactly as many bytes as are held, on the heap: ASan sees one too far. */
void rig_pump(struct rig *r)
{
	char *exact = malloc(r->held.n ? r->held.n : 1);
	struct slice in = slice(exact, r->held.n);

	assert_non_null(exact);
	if (r->held.n)
		memcpy(exact, r->held.p, r->held.n);
	drive(r, &in);
	buf_shift(&r->held, r->held.n - in.n);
	free(exact);
}

void rig_feed(struct rig *r, struct slice bytes, size_t chunk)
{
	while (bytes.n && !r->closed) {
		size_t n = chunk && chunk < bytes.n ? chunk : bytes.n;

		buf_add(&r->held, slice_take(&bytes, n));
		rig_pump(r);
	}
}

void rig_script(struct rig *r, struct slice script, size_t chunk)
{
	struct slice turn;

	while (script.n && !r->closed) {
		slice_cut(script, '\f', &turn, &script);
		rig_feed(r, turn, chunk);
	}
}

void rig_start(struct rig *r, enum rig_from from)
{
	static const struct slice says[] = {
		[FROM_CONNECT] = S(""),
		[FROM_CLEAR] = S("EHLO cl.test\r\n"),
		[FROM_TLS] = S("STARTTLS\r\n"),
		[FROM_HELLO] = S("EHLO cl.test\r\n"),
		[FROM_USER] = S("AUTH PLAIN AHUAZ29vZA==\r\n"),
		[FROM_MAIL] = S("MAIL FROM:<a@from.test>\r\n"),
		[FROM_RCPT] = S("RCPT TO:<b@to.test>\r\n"),
	};

	rig_pump(r);
	for (enum rig_from at = FROM_CLEAR; at <= from; at++)
		if (!smtp_session_tls(r->s) || at > FROM_TLS)
			rig_feed(r, says[at], 0);
	assert_false(r->closed);
	if (from > FROM_CONNECT) {
		buf_clear(&r->wire);
		buf_clear(&r->trace);
	}
}

struct slice rig_wire(const struct rig *r)
{
	return buf_slice(&r->wire);
}

struct slice rig_trace(const struct rig *r)
{
	return buf_slice(&r->trace);
}
