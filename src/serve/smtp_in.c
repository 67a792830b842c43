/* serve/smtp_in.c -- the life of a connection. */
#include "base/must.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/generation.h"
#include "serve/smtp_in_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_MAX SMTP_IN_READ_MAX
/* After the last words to a client that has not said QUIT: so long, and so many bytes, for them to
 * be read before the socket closes. */
#define LINGER_MS  1000
#define LINGER_MAX (256u << 10)
/* A connection that was silent so long gives its buffers back. */
#define IDLE_MS 2000
/* Connections of a loop that keep their TLS buffers (34 KB each) between two reads; those beyond
 * give them back each time. */
#define HOLDING_MAX 1000

void smtp_in_answer(struct conn *c, uint32_t question, int code, const char *enh, struct slice text)
{
	struct smtp_answer a = { .code = code, .enh = enh, .text = text };

	smtp_session_answer(c->session, question, &a, &c->out);
}

struct conn *smtp_in_conn(struct home *home, struct ref ref)
{
	return slots_get(&home->smtp_in->conns, ref);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void smtp_in_body_begins(struct conn *c, uint64_t before, bool stray)
{
	c->body_began_ms = loop_now(c->home->loop);
	c->body_before = before;
	c->stray = stray;
}

/* A minimum rate over the whole message, the pauses between its chunks included: what came buys
 * time, also when it is thrown away. */
static uint64_t too_slow(const struct conn *c)
{
	const struct conf *conf = c->door->generation->conf;

	if (!conf->limits.body_min_rate || !c->body_began_ms)
		return UINT64_MAX;
	return c->body_began_ms + conf->limits.body_grace +
	       (smtp_session_content(c->session) - c->body_before) * 1000 /
		   conf->limits.body_min_rate;
}

/* When the client is late, on the loop's clock; UINT64_MAX: it is not its turn. */
static uint64_t deadline(const struct conn *c)
{
	const struct conf *conf = c->door->generation->conf;
	uint64_t due = UINT64_MAX;

	if (c->phase == PHASE_LINGER)
		return c->progress_ms + LINGER_MS;
	if (c->phase == PHASE_PROXY)
		return c->opened_ms + conf->limits.time_proxy;
	/* It is ours: a verdict that is under way is waited for, and so is a disk that takes its
	 * time. */
	if (c->phase == PHASE_TALK && c->waiting && !c->out.n)
		return UINT64_MAX;
	if (c->phase == PHASE_HANDSHAKE || c->phase == PHASE_STARTTLS) {
		due = c->progress_ms + conf->limits.time_tls;
	} else if (c->out.n) {
		due = c->progress_ms + conf->limits.time_write;
	} else {
		switch (smtp_session_clock(c->session)) {
		case SMTP_CLOCK_LOGIN: due = c->progress_ms + conf->limits.time_login; break;
		case SMTP_CLOCK_COMMAND:
			due = earlier(c->progress_ms + conf->limits.time_command, too_slow(c));
			break;
		case SMTP_CLOCK_BODY:
			due = earlier(c->progress_ms + conf->limits.time_body, too_slow(c));
			break;
		case SMTP_CLOCK_NONE: break;
		}
	}
	if (conf->limits.time_session)
		due = earlier(due, c->opened_ms + conf->limits.time_session);
	return due;
}

static bool has_spare(const struct conn *c)
{
	return !c->in.n && !c->out.n && !c->tx && (c->in.cap || c->out.cap);
}

static void hold(struct conn *c, bool holds)
{
	struct smtp_in_home *h = c->home->smtp_in;

	if (holds && !c->holds && h->holding >= HOLDING_MAX)
		holds = false;
	if (!holds)
		stream_relax(&c->stream);
	h->holding += (size_t)holds - (size_t)c->holds;
	c->holds = holds;
}

static void set_deadline(struct conn *c)
{
	uint64_t now = loop_now(c->home->loop), due = deadline(c);

	if ((has_spare(c) || c->holds) && c->progress_ms + IDLE_MS < due)
		due = c->progress_ms + IDLE_MS;
	if (due == UINT64_MAX)
		loop_timer_cancel(&c->timer);
	else
		loop_timer_set(&c->timer, due > now ? due - now : 0);
}

/* -- the end -- */

/* Closes the socket and forgets the connection; jobs under way find it gone. */
void smtp_in_finish(struct conn *c)
{
	struct server *s = c->home->server;

	if (c->counted_address)
		log_event(LOG_CONNECTION_CLOSED, F_STR("client", c->address), F_SOME("via", c->via),
			  F_STR("listener", c->door->name), F_U64("messages", c->messages),
			  F_U64("ms", loop_now(c->home->loop) - c->opened_ms));
	smtp_in_drop(c);
	smtp_in_forget_login(c);
	places_leave(s->places, &c->place);
	hold(c, false);
	loop_timer_cancel(&c->timer);
	stream_close(&c->stream);
	slots_remove(&c->home->smtp_in->conns, c->ref);
	smtp_in_leave_turns(c);
	metrics_sub(M_CONNECTIONS_OPEN, c->listener, 0, 1);
	c->home->smtp_in->open--;
	atomic_fetch_sub(&s->connections, 1);
	if (c->counted_address)
		tally_drop_client(s->addresses, c->address);
	if (c->counted_account)
		tally_drop(s->accounts, slice(&c->who.account, sizeof c->who.account));
	smtp_session_free(c->session);
	buf_wipe(&c->in);
	buf_wipe(&c->out);
	generation_drop(c->door->generation, c->home);
	free(c);
}

/* A run of content. False: the body must be written out before more is read. */
static bool got_body(struct conn *c, struct slice run)
{
	struct body *b = &c->tx->body;

	if (!b->failed && !body_add(b, run)) {
		b->failed = true;
		err_set(&b->error, ERR_LATER, "out of memory");
	}
	if (b->failed || !body_full(b))
		return true;
	smtp_in_flush_body(c, false);
	return !c->tx->busy;
}

enum talk {
	TALK_INPUT, /* more bytes are needed */
	TALK_FLUSH, /* `out` has to be written before the session goes on */
	TALK_WAIT,  /* a question or a body write is with a worker */
	TALK_OVER,  /* the phase has changed */
};

/* The first n bytes are done with. They, and what the others leave behind where they stood, may
 * hold a password. */
static void consume(struct conn *c, size_t n, bool secret)
{
	size_t before = c->in.n;

	buf_shift(&c->in, n);
	if (secret && n)
		explicit_bzero(c->in.p + c->in.n, before - c->in.n);
}

/* Steps the session as far as the bytes at hand go. */
static enum talk talk(struct conn *c)
{
	struct slice in = buf_slice(&c->in);
	enum talk end = TALK_INPUT;
	bool more = true, was_user = smtp_session_user(c->session);

	while (more) {
		struct smtp_event ev;

		switch (smtp_session_step(c->session, &in, &c->out, &ev)) {
		case SMTP_ASK_SASL: smtp_in_ask_sasl(c, &ev); break;
		case SMTP_ASK_AUTH: smtp_in_ask_auth(c, &ev); break;
		case SMTP_ASK_MAIL: smtp_in_ask_mail(c, &ev); break;
		case SMTP_ASK_RCPT: smtp_in_ask_rcpt(c, &ev); break;
		case SMTP_ASK_BODY: smtp_in_ask_body(c, &ev); break;
		case SMTP_ASK_COMMIT: smtp_in_ask_commit(c, &ev); break;
		case SMTP_GOT_BODY:
			more = got_body(c, ev.body);
			end = TALK_WAIT;
			break;
		case SMTP_GOT_RESET: smtp_in_drop(c); break;
		case SMTP_DO_STARTTLS:
			c->phase = PHASE_STARTTLS;
			end = TALK_OVER;
			more = false;
			break;
		case SMTP_DO_CLOSE:
			c->phase = PHASE_CLOSING;
			end = TALK_OVER;
			more = false;
			break;
		case SMTP_WANT_INPUT:
			end = TALK_INPUT;
			more = false;
			break;
		case SMTP_WANT_FLUSH:
			end = TALK_FLUSH;
			more = false;
			break;
		case SMTP_WANT_ANSWER:
			end = TALK_WAIT;
			more = false;
			break;
		}
	}
	consume(c, c->in.n - in.n, !was_user);
	return end;
}

/* Begins the handshake once the 220 has left. */
static void start_tls(struct conn *c)
{
	struct err e;

	MUST(!c->in.n && !c->out.n);
	c->phase = PHASE_HANDSHAKE;
	c->progress_ms = loop_now(c->home->loop);
	if (!stream_start_server(&c->stream, c->door->tls, &e))
		c->phase = PHASE_CLOSING;
}

static void count_handshake(const struct conn *c)
{
	metrics_add(M_TLS, metrics_word(LABEL_SIDE, S("server")),
		    metrics_word(LABEL_TLS, stream_tls_info(&c->stream).version), 1);
}

/* True when TLS stands. */
static bool shake(struct conn *c)
{
	struct err e = { 0 };

	switch (stream_handshake(&c->stream, &e)) {
	case STREAM_OK:
		count_handshake(c);
		if (!c->door->session.implicit_tls)
			smtp_session_tls_up(c->session);
		smtp_in_peer(c);
		c->phase = PHASE_TALK;
		c->progress_ms = loop_now(c->home->loop);
		return true;
	case STREAM_AGAIN: return false;
	case STREAM_EOF:
	case STREAM_CUT:
	case STREAM_ERROR: break;
	}
	metrics_add(M_TLS_FAILED, metrics_word(LABEL_SIDE, S("server")), 0, 1);
	log_event(LOG_TLS_FAILED, F_STR("client", c->address), F_SOME("via", c->via),
		  F_STR("listener", c->door->name), F_CSTR("reason", e.text));
	c->phase = PHASE_CLOSING;
	buf_clear(&c->out);
	return false;
}

/* Counts the refusals among the replies that were added since the last time. */
static void count_refusals(struct conn *c)
{
	struct slice left = slice_from(buf_slice(&c->out), c->out_seen), line;

	c->out_seen = c->out.n;
	while (left.n) {
		slice_cut(left, '\n', &line, &left);
		if (line.n > 3 && (line.p[0] == '4' || line.p[0] == '5') && line.p[3] == ' ')
			metrics_add(M_REFUSALS, metrics_word(LABEL_CODE, slice(line.p, 3)), 0, 1);
	}
}

/* Writes what there is. False: the peer cannot be written to any more. */
static bool flush(struct conn *c)
{
	size_t before = c->out.n;

	if (!c->out.n)
		return true;
	count_refusals(c);
	switch (stream_write(&c->stream, &c->out)) {
	case STREAM_OK:
	case STREAM_AGAIN:
		c->out_seen = c->out.n;
		if (c->out.n < before)
			c->progress_ms = loop_now(c->home->loop);
		return true;
	case STREAM_EOF:
	case STREAM_CUT:
	case STREAM_ERROR: break;
	}
	return false;
}

/* Reads once. A truncated TLS stream ends the session at once: what was cut is not a message. */
static bool fill(struct conn *c)
{
	size_t before = c->in.n;

	if (c->in.n >= READ_MAX || c->peer_gone)
		return false;
	switch (stream_read(&c->stream, &c->in, READ_MAX - c->in.n)) {
	case STREAM_OK: break;
	case STREAM_AGAIN: return false;
	case STREAM_EOF:
	case STREAM_CUT:
	case STREAM_ERROR:
		c->peer_gone = true;
		smtp_session_eof(c->session);
		return true;
	}
	/* Bytes of a body are progress; those of a line are when it is answered, and flush() sees
	 * that: who sends a command drop by drop is as late as who sends none. */
	if (c->in.n > before && smtp_session_clock(c->session) == SMTP_CLOCK_BODY)
		c->progress_ms = loop_now(c->home->loop);
	return c->in.n > before;
}

static bool busy(const struct conn *c)
{
	return c->tx && c->tx->busy;
}

/* Another state has its own time. */
static void clock_changed(struct conn *c, uint64_t content_before)
{
	bool body = smtp_session_clock(c->session) == SMTP_CLOCK_BODY;

	c->progress_ms = loop_now(c->home->loop);
	if (body && !c->body_began_ms)
		smtp_in_body_begins(c, content_before, true);
	if (body || !c->stray)
		return;
	c->body_began_ms = 0;
	c->stray = false;
}

/* One turn: what is there is understood, answers leave, more is read. True: turn again. */
static bool turn(struct conn *c)
{
	enum smtp_clock clock = smtp_session_clock(c->session);
	uint64_t content = smtp_session_content(c->session);
	enum talk t = TALK_OVER;

	if (c->phase == PHASE_PROXY)
		smtp_in_read_proxy(c);
	if (c->phase == PHASE_HANDSHAKE && !shake(c) && c->phase == PHASE_HANDSHAKE)
		return false;
	if (c->phase == PHASE_TALK)
		t = busy(c) ? TALK_WAIT : talk(c);
	if (smtp_session_clock(c->session) != clock)
		clock_changed(c, content);
	c->waiting = t == TALK_WAIT;
	if (!flush(c)) {
		c->phase = PHASE_CLOSING;
		c->peer_gone = true;
		buf_clear(&c->out);
		return false;
	}
	if (c->out.n)
		return false;
	if (c->phase == PHASE_STARTTLS) {
		start_tls(c);
		return true;
	}
	return t == TALK_FLUSH || (t == TALK_INPUT && fill(c));
}

/* True: the connection can be closed for good. */
static bool over(struct conn *c)
{
	size_t n;

	if (c->phase == PHASE_CLOSING && (!c->out.n || c->peer_gone)) {
		if (c->peer_gone || smtp_session_quit(c->session))
			return true;
		stream_half_close(&c->stream);
		c->phase = PHASE_LINGER;
		c->progress_ms = loop_now(c->home->loop);
	}
	if (c->phase != PHASE_LINGER)
		return false;
	switch (stream_discard(&c->stream, LINGER_MAX - c->discarded, &n)) {
	case STREAM_OK:
	case STREAM_AGAIN: c->discarded += n; return c->discarded >= LINGER_MAX;
	case STREAM_EOF:
	case STREAM_CUT:
	case STREAM_ERROR: break;
	}
	return true;
}

void smtp_in_pump(struct conn *c)
{
	while (turn(c))
		;
	if (over(c)) {
		smtp_in_finish(c);
		return;
	}
	/* Nothing is read while a question is open or a reply is unread: that is all of the
	 * backpressure, TCP does the rest. */
	hold(c, stream_holds(&c->stream));
	stream_want(&c->stream, !c->waiting && !c->out.n && c->phase != PHASE_CLOSING,
		    c->out.n > 0 ||
			(c->phase == PHASE_HANDSHAKE && stream_wants_write(&c->stream)));
	set_deadline(c);
}

void smtp_in_ready(void *arg)
{
	smtp_in_pump(arg);
}

void smtp_in_timer(void *arg)
{
	struct conn *c = arg;
	uint64_t now = loop_now(c->home->loop);

	if (now < deadline(c)) {
		if (has_spare(c)) {
			buf_wipe(&c->in);
			buf_done(&c->out);
			smtp_session_shrink(c->session);
		}
		hold(c, false);
		set_deadline(c);
		return;
	}
	if (c->phase == PHASE_PROXY)
		smtp_in_refuse_proxy(c, "late", "PROXY header: it did not come in time");
	/* A handshake that hangs, or replies that nobody reads: there is nothing to say any more.
	 */
	if (c->phase != PHASE_TALK || c->out.n) {
		smtp_in_finish(c);
		return;
	}
	smtp_session_expire(c->session);
	c->progress_ms = now;
	smtp_in_pump(c);
}

struct smtp_in_home *smtp_in_home_new(struct home *home)
{
	struct smtp_in_home *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->home = home;
	smtp_in_turns_init(&h->turns, home);
	h->put_out.run = smtp_in_put_out;
	slots_init(&h->conns, UINT32_MAX - 1);
	return h;
}

void smtp_in_home_free(struct smtp_in_home *h)
{
	if (!h)
		return;
	smtp_in_abort(h);
	smtp_in_turns_done(&h->turns);
	slots_done(&h->conns);
	free(h);
}

void smtp_in_shutdown(struct smtp_in_home *h, bool now)
{
	size_t at = 0;
	struct conn *c;

	h->stopping = true;
	while ((c = slots_each(&h->conns, &at))) {
		/* Its message may be durable already: 421 now, and it would come a second time. The
		 * answer is near, and the end comes behind it. */
		if (now && c->tx && c->tx->committing)
			continue;
		smtp_session_shutdown(c->session, now);
		if (c->phase == PHASE_TALK)
			smtp_in_pump(c);
		else
			smtp_in_finish(c);
	}
}

void smtp_in_abort(struct smtp_in_home *h)
{
	size_t at = 0;
	struct conn *c;

	while ((c = slots_each(&h->conns, &at)))
		smtp_in_finish(c);
}

size_t smtp_in_open(const struct smtp_in_home *h)
{
	return h->open;
}
