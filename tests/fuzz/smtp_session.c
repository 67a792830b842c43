/* The server session under any bytes, any cutting of them and any answers.
 *
 * Byte 0: bits 0-1 how the rest is cut (whole, by line, by byte, by seven), bit 2 implicit TLS,
 * bit 3 log in first, bits 4-5 the limits, bit 6 the server stops, bit 7 at once, after as many
 * pieces as byte 1 has in bits 4-7; byte 1 seeds the answers, 0 is always yes. Asserts:
 * content lies inside the input, replies are well-formed, nothing is asked before what it rests
 * on was answered yes, and every step gets somewhere. */
#include "base/utf8.h"
#include "smtp/session.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CFG                                                                                        \
	.hostname = S("h.test"), .message_max = 500, .discard_max = 2000, .rcpt_max = 3,           \
	.line_max = 128, .auth_line_max = 512, .mechanisms = SASL_BIT(SASL_MECHS) - 1

/* Two of each: in the clear, and inside TLS. */
static const struct smtp_config cfgs[4][2] = {
	{
	    { CFG, .body_line_max = 78, .tls_available = true },
	    { CFG, .body_line_max = 78, .tls_available = true, .implicit_tls = true },
	},
	{
	    { CFG, .bad_max = 5, .command_max = 9, .auth_max = 2, .tx_max = 3,
	      .tls_available = true },
	    { CFG, .bad_max = 5, .command_max = 9, .auth_max = 2, .tx_max = 3,
	      .implicit_tls = true },
	},
	{
	    { CFG, .tls_broken = true },
	    { CFG, .tls_broken = true, .implicit_tls = true, .auth_max = 1, .bad_max = 1 },
	},
	{
	    { .hostname = S("h"),
	      .message_max = UINT64_MAX / 2,
	      .rcpt_max = 1,
	      .line_max = 64,
	      .auth_line_max = 64,
	      .mechanisms = SASL_BIT(SASL_CRAM_MD5) },
	    { .hostname = S("h"),
	      .message_max = 20,
	      .rcpt_max = 1,
	      .line_max = 64,
	      .auth_line_max = 64,
	      .mechanisms = SASL_PASSWORDS,
	      .command_max = 2,
	      .implicit_tls = true },
	},
};

struct client {
	struct smtp_session *s;
	const struct smtp_config *cfg;
	struct buf out;
	uint32_t chance;
	bool closed, user, mail, body, no_handshake;
	bool let_in; /* once it has taken the last word */
	char wordy[SMTP_TEXT_MAX + 100];
	unsigned rcpts;
	size_t content;
};

static void check_replies(struct client *c)
{
	struct slice all = buf_slice(&c->out), line;

	assert(!c->out.failed);
	while (all.n) {
		bool whole = slice_cut(all, '\n', &line, &all);

		assert(whole && line.n >= 5 && line.n < 512 && line.p[line.n - 1] == '\r');
		for (size_t i = 0; i < 3; i++)
			assert(ascii_digit(line.p[i]));
		assert(line.p[0] >= '2' && line.p[0] <= '5');
		assert(line.p[3] == ' ' || line.p[3] == '-');
		for (size_t i = 4; i + 1 < line.n; i++)
			assert(line.p[i] >= ' ' && line.p[i] <= '~');
	}
	buf_clear(&c->out);
}

static bool chance_yes(struct client *c)
{
	if (!c->chance)
		return true;
	c->chance = c->chance * 1664525u + 1013904223u;
	return c->chance >> 30;
}

static void answer(struct client *c, uint32_t question, bool yes, int code, const char *enh)
{
	static const char many[] = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17";
	const struct smtp_answer no[8] = {
		{ 550, "5.7.1", S("No\nreally \x01\xff"), false },
		{ 451, "4.3.0", S(""), false },
		{ 421, "4.7.0", S("Bye"), false },
		{ 550, "5.7.1", S("No"), true },
		{ 550, "5.7.1", slice(c->wordy, sizeof c->wordy), false },
		{ 550, "5.7.1", slice(c->wordy, sizeof c->wordy - 900), false },
		{ 550, "5.7.1", slice(many, sizeof many - 1), false },
		{ 452, "4.3.1", S("No"), true },
	};
	struct smtp_answer a = { code, enh, S("Yes"), false };

	if (!yes)
		a = no[c->chance >> 8 & 7];
	assert(smtp_session_clock(c->s) == SMTP_CLOCK_NONE);
	assert(!smtp_session_answer(c->s, question + 1, &a, &c->out));
	assert(smtp_session_answer(c->s, question, &a, &c->out));
	assert(!smtp_session_answer(c->s, question, &a, &c->out));
}

static void supply(struct client *c, uint32_t question)
{
	static const struct sasl_verifier verifier = { .salt = { "salt", 4 },
						       .rounds = SASL_ROUNDS_MIN };
	const struct sasl_supply from = { .nonce = S("nonce"),
					  .hostname = S("h.test"),
					  .verifier = &verifier,
					  .exporter = S("exporter"),
					  .plus_offered = true };

	assert(!smtp_session_supply(c->s, question + 1, &from, &c->out));
	assert(smtp_session_supply(c->s, question, &from, &c->out));
	assert(!smtp_session_supply(c->s, question, &from, &c->out));
}

static void tx_over(struct client *c)
{
	assert(c->mail);
	c->mail = c->body = false;
	c->rcpts = 0;
	c->content = 0;
}

static void ask(struct client *c, enum smtp_want what, const struct smtp_event *ev)
{
	bool yes = chance_yes(c);
	struct smtp_event again;
	struct slice none = S("");

	/* Nothing moves while it is open, but eof and the like. */
	assert(smtp_session_step(c->s, &none, &c->out, &again) == SMTP_WANT_ANSWER);
	smtp_session_shrink(c->s);

	switch ((int)what) {
	case SMTP_ASK_SASL:
		assert(!c->user && smtp_session_tls(c->s) && smtp_session_is_esmtp(c->s));
		if (yes)
			supply(c, ev->question);
		else
			answer(c, ev->question, false, 250, "2.0.0");
		break;
	case SMTP_ASK_AUTH:
		assert(!c->user && smtp_session_tls(c->s) && smtp_session_is_esmtp(c->s));
		assert(ev->auth->authcid.n <= SASL_FIELD_MAX);
		yes = yes && ev->auth->fault == SASL_FAULT_NONE;
		/* Not before the client has taken the last word of a mechanism that has one. */
		c->user = yes && ev->auth->by != SASL_BY_PROOF;
		c->let_in = yes;
		answer(c, ev->question, yes, 235, "2.7.0");
		break;
	case SMTP_ASK_MAIL:
		assert(c->user && !c->mail && ev->mail->size <= c->cfg->message_max);
		assert(ev->path->whole.n <= SMTP_PATH_MAX);
		c->mail = yes;
		answer(c, ev->question, yes, 250, "2.1.0");
		break;
	case SMTP_ASK_RCPT:
		assert(c->mail && !c->body && c->rcpts < c->cfg->rcpt_max && ev->path->whole.n);
		c->rcpts += yes;
		answer(c, ev->question, yes, 250, "2.1.5");
		break;
	case SMTP_ASK_BODY:
		assert(c->user && c->rcpts && !c->body);
		c->body = yes;
		answer(c, ev->question, yes, 354, NULL);
		break;
	case SMTP_ASK_COMMIT:
		assert(c->user && c->body && c->content <= c->cfg->message_max);
		answer(c, ev->question, yes, 250, "2.0.0");
		tx_over(c);
		break;
	}
}

static void pump(struct client *c, struct slice *in)
{
	struct smtp_event ev;
	struct slice all = *in;

	while (!c->closed) {
		enum smtp_want what = smtp_session_step(c->s, in, &c->out, &ev);

		switch (what) {
		case SMTP_WANT_INPUT: check_replies(c); return;
		case SMTP_WANT_FLUSH:
			assert(c->out.n);
			check_replies(c);
			break;
		case SMTP_WANT_ANSWER: abort();
		case SMTP_ASK_SASL:
		case SMTP_ASK_AUTH:
		case SMTP_ASK_MAIL:
		case SMTP_ASK_RCPT:
		case SMTP_ASK_BODY:
		case SMTP_ASK_COMMIT: ask(c, what, &ev); break;
		case SMTP_GOT_BODY:
			assert(c->body && ev.body.n && ev.body.p >= all.p &&
			       ev.body.p + ev.body.n <= in->p);
			c->content += ev.body.n;
			break;
		case SMTP_GOT_RESET: tx_over(c); break;
		case SMTP_DO_STARTTLS:
			assert(in->n == 0 && !c->user);
			check_replies(c);
			if (c->no_handshake)
				smtp_session_expire(c->s);
			else
				smtp_session_tls_up(c->s);
			break;
		case SMTP_DO_CLOSE:
			check_replies(c);
			c->closed = true;
			break;
		}
	}
}

/* The driver's part: what is not eaten stays; the bytes lie exactly on the heap. */
static void feed(struct client *c, struct buf *held, struct slice bytes)
{
	struct slice in;
	char *exact;

	buf_add(held, bytes);
	exact = malloc(held->n ? held->n : 1);
	assert(exact && !held->failed);
	if (held->n)
		memcpy(exact, held->p, held->n);
	in = slice(exact, held->n);
	pump(c, &in);
	buf_shift(held, held->n - in.n);
	free(exact);
	smtp_session_shrink(c->s);
	c->user |= c->let_in && smtp_session_user(c->s);
	assert(c->user == smtp_session_user(c->s) && c->mail == smtp_session_in_tx(c->s));
	assert(c->closed == (smtp_session_clock(c->s) == SMTP_CLOCK_NONE));
	assert(smtp_session_helo(c->s).n <= 255 && !has_control(smtp_session_helo(c->s)));
	/* Nothing incomplete is longer than a line may be. */
	assert(c->closed || held->n <= 512);
}

static size_t piece(struct slice left, unsigned how)
{
	const char *lf = how == 1 ? memchr(left.p, '\n', left.n) : NULL;
	size_t n = how == 0   ? left.n
		   : how == 1 ? (lf ? (size_t)(lf - left.p) + 1 : left.n)
		   : how == 2 ? 1
			      : 7;

	return n < left.n ? n : left.n;
}

static void log_in(struct client *c, struct buf *held)
{
	if (!c->cfg->implicit_tls) {
		feed(c, held, S("EHLO a\r\n"));
		feed(c, held, S("STARTTLS\r\n"));
	}
	if (!c->closed)
		feed(c, held, S("EHLO a\r\nAUTH PLAIN AHUAcA==\r\n"));
}

static void hang_up(struct client *c, struct buf *held, bool late)
{
	if (!c->closed && late)
		smtp_session_expire(c->s);
	else
		smtp_session_eof(c->s);
	if (!c->closed)
		feed(c, held, S(""));
	assert(c->closed && !c->mail);
	/* And it stays so, whoever comes late. */
	smtp_session_expire(c->s);
	smtp_session_shutdown(c->s, true);
	feed(c, held, S("NOOP\r\n"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct smtp_peer peer = { true, true };
	struct client c = { 0 };
	struct slice left;
	struct buf held;
	unsigned flags, stop;

	if (size < 2)
		return 0;
	flags = data[0];
	stop = flags & 64 ? data[1] >> 4 : UINT32_MAX;
	c.no_handshake = flags & 64 && data[1] & 2;
	memset(c.wordy, 'w', sizeof c.wordy);
	left = slice(data + 2, size - 2);
	c.cfg = &cfgs[flags >> 4 & 3][flags >> 2 & 1];
	c.s = smtp_session_new(c.cfg);
	assert(c.s);
	smtp_session_peer(c.s, &peer);
	buf_init(&c.out, SMTP_OUT_MIN);
	buf_init(&held, size + 1024);
	if (stop == 15)
		smtp_session_shutdown(c.s, flags & 128);
	feed(&c, &held, S(""));
	if (flags & 8 && !c.closed)
		log_in(&c, &held);
	c.chance = data[1] * 2654435761u;
	for (unsigned i = 0; left.n && !c.closed; i++) {
		if (i == stop)
			smtp_session_shutdown(c.s, flags & 128);
		feed(&c, &held, slice_take(&left, piece(left, flags & 3)));
	}
	hang_up(&c, &held, data[1] & 1);
	smtp_session_free(c.s);
	buf_done(&c.out);
	buf_done(&held);
	return 0;
}
