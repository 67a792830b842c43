#include "serve/smtp_in.h"

#include "auth/login.h"
#include "base/fault.h"
#include "base/must.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "serve/deliver.h"
#include "serve/server.h"
#include "serve/tx.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Read at most this much before the session has looked at it. */
#define READ_MAX 65536
#define OUT_MAX  16384
/* A connection that was silent so long gives its buffers back. */
#define IDLE_MS 2000

enum phase {
	PHASE_TALK,      /* bytes go to the session */
	PHASE_STARTTLS,  /* the 220 is on its way out; then the handshake */
	PHASE_HANDSHAKE, /* TLS is being set up */
	PHASE_CLOSING,   /* what is in `out` is written, then the socket closes */
};

struct conn {
	struct home *home;
	const struct smtp_door *door;
	struct ref ref;
	struct stream stream;
	struct smtp_session *session;
	struct buf in, out;
	enum phase phase;
	bool peer_gone; /* nothing more comes from there */
	bool waiting;   /* for a job: nothing is read */
	bool counted_account;
	struct slice address; /* of the peer, as text; in address_text */
	char address_text[64];
	struct loop_timer timer;
	uint64_t opened_ms, body_began_ms, progress_ms;

	struct principal who; /* once authenticated */
	struct tx *tx;
	uint64_t messages;
};

struct smtp_in_home {
	struct home *home;
	struct slots conns;
	size_t open;
	bool stopping;
};

/* -- answers -- */

static void answer(struct conn *c, uint32_t question, int code, const char *enh, struct slice text)
{
	struct smtp_answer a = { .code = code, .enh = enh, .text = text };

	smtp_session_answer(c->session, question, &a, &c->out);
}

static void answer_close(struct conn *c, uint32_t question, int code, const char *enh,
			 struct slice text)
{
	struct smtp_answer a = { .code = code, .enh = enh, .text = text, .close = true };

	smtp_session_answer(c->session, question, &a, &c->out);
}

static void pump(struct conn *c);

static struct conn *conn_of(struct home *home, struct ref ref)
{
	return slots_get(&home->smtp_in->conns, ref);
}

/* -- transactions -- */

/* The connection lets go of its transaction; a job that holds it will free it. */
static void tx_drop(struct conn *c)
{
	if (c->tx && !c->tx->busy)
		tx_free(c->tx);
	c->tx = NULL;
}

/* A job of a transaction is back: the connection it belongs to, or NULL (and the transaction is
 * freed) when that has gone or moved on. */
static struct conn *tx_back(struct tx *tx)
{
	struct conn *c = conn_of(tx->home, tx->conn);

	tx->busy = false;
	if (c && c->tx == tx)
		return c;
	tx_free(tx);
	return NULL;
}

static void tx_answer(struct conn *c, int code, const char *enh, struct slice text)
{
	uint32_t question = c->tx->question;

	tx_drop(c);
	answer(c, question, code, enh, text);
}

static void log_refused(struct conn *c, int code, const char *reason)
{
	log_event(LOG_MESSAGE_REFUSED, F_ID("id", c->tx->envelope.id),
		  F_U64("account", c->who.account), F_CSTR("key", c->who.key_id),
		  F_STR("client", c->address), F_STR("reverse_path", c->tx->envelope.reverse_path),
		  F_U64("code", (uint64_t)code), F_CSTR("reason", reason));
}

static void commit_done(struct job *job)
{
	struct commit *commit =
	    (struct commit *)(void *)((char *)job - offsetof(struct commit, job));
	struct tx *tx = (struct tx *)(void *)((char *)commit - offsetof(struct tx, commit));
	struct server *s = tx->home->server;
	char id_text[ID_TEXT + 16];
	struct buf text = { .p = id_text, .cap = sizeof id_text, .max = sizeof id_text };
	struct conn *c;

	/* The client may have gone before hearing 250: what is durable is delivered all the same.
	 */
	if (tx->commit.op.result == SPOOL_OK) {
		atomic_fetch_add_explicit(&s->accepted, 1, memory_order_relaxed);
		log_event(LOG_MESSAGE_ACCEPTED, F_ID("id", tx->envelope.id),
			  F_U64("account", tx->envelope.account), F_STR("key", tx->envelope.key_id),
			  F_STR("from", tx->result.from),
			  F_STR("reverse_path", tx->envelope.reverse_path),
			  F_U64("recipients", tx->envelope.n_rcpts),
			  F_U64("size", tx->envelope.size),
			  F_STR("client", tx->submission.origin.address),
			  F_BOOL("smtpapi_removed", tx->result.smtpapi_removed));
		deliver_wake(s->deliver);
	}
	c = tx_back(tx);
	if (!c)
		return;
	switch (tx->commit.op.result) {
	case SPOOL_OK:
		c->messages++;
		buf_add(&text, SMTP_TEXT_QUEUED);
		id_add(&text, tx->envelope.id);
		tx_answer(c, 250, "2.0.0", buf_slice(&text));
		break;
	case SPOOL_FULL:
		log_refused(c, 452, "spool_full");
		tx_answer(c, 452, "4.3.1", S("Insufficient system storage, try again later"));
		break;
	case SPOOL_GONE:
	case SPOOL_FAILED:
		log_refused(c, 451, "spool_failed");
		tx_answer(c, 451, "4.3.0", S("Cannot store the message now, try again later"));
		break;
	}
	pump(c);
}

static void commit(struct conn *c)
{
	struct tx *tx = c->tx;

	tx->content = (struct spool_content){ .head = tx->result.head, .fd = -1 };
	body_content(&tx->body, tx->result.head_bytes, &tx->content);
	tx->commit.op = (struct spool_op){
		.kind = SPOOL_PUT,
		.envelope = &tx->envelope,
		.content = &tx->content,
		.due_ms = clock_steady_ms(),
	};
	tx->commit.job.home = c->home->loop;
	tx->commit.job.done = commit_done;
	tx->busy = true;
	/* A test build can be told to break the promise, so that the tests are seen to notice. */
	if (FAULT("answer_before_commit")) {
		answer(c, tx->question, 250, "2.0.0", S("Ok: queued as a lie"));
		c->tx = NULL;
	}
	if (batch_post(c->home->server->committer, &tx->commit.job))
		return;
	tx->busy = false;
	log_refused(c, 451, "committer_full");
	tx_answer(c, 451, "4.3.2", S("Too busy, try again later"));
}

static void judge(struct conn *c, const struct submit_question *answers);

static void learn_run(struct job *job, void *store)
{
	struct tx *tx = (struct tx *)(void *)((char *)job - offsetof(struct tx, job));

	submit_learn(store, tx->envelope.account, &tx->ask);
}

static void learn_done(struct job *job)
{
	struct tx *tx = (struct tx *)(void *)((char *)job - offsetof(struct tx, job));
	struct submit_question answers = tx->ask;
	struct conn *c = tx_back(tx);

	if (!c)
		return;
	submit_remember(c->home->senders, c->who.account, &answers);
	judge(c, &answers);
	pump(c);
}

/* At the end of data: may it be sent, and as what? */
static void judge(struct conn *c, const struct submit_question *answers)
{
	struct server *s = c->home->server;
	struct tx *tx = c->tx;

	if (!answers)
		tx->generation = store_generation(s->store);
	switch (submit_check(&s->submit, &tx->submission, c->home->senders, tx->generation, answers,
			     &tx->arena, &tx->result, &tx->ask)) {
	case SUBMIT_READY: commit(c); break;
	case SUBMIT_REFUSED:
		log_refused(c, tx->result.code, tx->result.reason);
		tx_answer(c, tx->result.code, tx->result.enhanced, tx->result.text);
		break;
	case SUBMIT_ASK:
		tx->job =
		    (struct job){ .run = learn_run, .done = learn_done, .home = c->home->loop };
		tx->busy = true;
		if (lane_post(s->work, &tx->job))
			break;
		tx->busy = false;
		log_refused(c, 451, "busy");
		tx_answer(c, 451, "4.3.2", S("Too busy, try again later"));
		break;
	}
}

static struct slice tls_word(const struct conn *c)
{
	return stream_tls_info(&c->stream).cipher;
}

static void submit(struct conn *c)
{
	struct tx *tx = c->tx;
	unsigned char random[12];
	struct buf token;

	if (tx->body.failed) {
		log_refused(c, 452, tx->body.error.text);
		tx_answer(c, 452, "4.3.1", S("Insufficient system storage, try again later"));
		return;
	}
	keyring_random(random, sizeof random);
	buf_init(&token, 64);
	buf_addhex(&token, slice(random, sizeof random));
	tx->submission = (struct submission){
		.account = c->who.account,
		.envelope = &tx->envelope,
		.reverse_domain = tx->reverse_domain,
		.origin = {
			.helo = arena_dup(&tx->arena, smtp_session_helo(c->session)),
			.address = arena_dup(&tx->arena, c->address),
			.protocol = tx->envelope.smtputf8 ? S("UTF8SMTPSA") : S("ESMTPSA"),
			.tls = arena_dup(&tx->arena, tls_word(c)),
		},
		.token = arena_dup(&tx->arena, buf_slice(&token)),
		.message = buf_slice(&tx->body.front),
		.whole = tx->body.fd < 0,
	};
	buf_done(&token);
	judge(c, NULL);
}

static void write_run(struct job *job, void *ctx)
{
	struct tx *tx = (struct tx *)(void *)((char *)job - offsetof(struct tx, job));

	(void)ctx;
	body_write(&tx->body, tx->last);
}

static void write_done(struct job *job)
{
	struct tx *tx = (struct tx *)(void *)((char *)job - offsetof(struct tx, job));
	struct conn *c = tx_back(tx);

	if (!c)
		return;
	if (tx->last)
		submit(c);
	pump(c);
}

/* Sends what has collected to the body's file; the connection neither reads nor steps until the
 * job is back. */
static void body_flush(struct conn *c, bool last)
{
	struct tx *tx = c->tx;

	tx->last = last;
	tx->job = (struct job){ .run = write_run, .done = write_done, .home = c->home->loop };
	tx->busy = true;
	if (lane_post(c->home->server->files, &tx->job))
		return;
	tx->busy = false;
	tx->body.failed = true;
	err_set(&tx->body.error, ERR_LATER, "files lane full");
	if (last)
		submit(c);
}

/* -- questions -- */

static bool spool_closed(const struct server *s)
{
	return atomic_load_explicit(&s->spool_broken, memory_order_relaxed);
}

static void mail_yes(struct conn *c, uint32_t question, const struct smtp_path *path,
		     const struct smtp_mail_params *params)
{
	tx_drop(c);
	c->tx = tx_new(c->home, c->who.account, slice_str(c->who.key_id));
	if (!c->tx || !tx_mail(c->tx, path, params)) {
		tx_drop(c);
		answer(c, question, 451, "4.3.0", S("Out of memory, try again later"));
		return;
	}
	c->tx->conn = c->ref;
	answer(c, question, 250, "2.1.0", SMTP_TEXT_MAIL);
}

/* The store has changed since this principal was looked up: is the key still what it was? The
 * path under question stays valid in the session until the question is closed. */
struct recheck {
	struct job job;
	struct home *home;
	struct ref conn;
	uint32_t question;
	struct principal who, now;
	struct auth_finding finding;
	bool ok;
	uint64_t now_ms;
	struct smtp_path path;
	struct smtp_mail_params params;
};

static void recheck_run(struct job *job, void *store)
{
	struct recheck *r = (struct recheck *)(void *)job;

	r->ok = auth_recheck(store, &r->who, r->now_ms, &r->now, &r->finding, NULL);
}

/* The reply for an answer of auth/: its text, with our link where it has one. */
static void answer_auth(struct conn *c, uint32_t question, enum auth_answer a, bool close)
{
	const struct auth_text *t = auth_text(a);
	struct smtp_answer reply = { .code = (int)t->code, .enh = t->enhanced.p, .close = close };
	struct buf text;

	buf_init(&text, SMTP_TEXT_MAX);
	auth_add_text(a, c->home->server->conf->links.basic_auth, &text);
	reply.text = buf_slice(&text);
	smtp_session_answer(c->session, question, &reply, &c->out);
	buf_done(&text);
}

static void recheck_done(struct job *job)
{
	struct recheck *r = (struct recheck *)(void *)job;
	struct conn *c = conn_of(r->home, r->conn);

	if (c && r->ok) {
		c->who = r->now;
		mail_yes(c, r->question, &r->path, &r->params);
		pump(c);
	} else if (c) {
		enum auth_answer a = auth_answer(r->finding.reason);

		log_event(LOG_AUTHENTICATION, F_STR("client", c->address),
			  F_CSTR("key", r->who.key_id), F_U64("account", r->who.account),
			  F_CSTR("result", "withdrawn"),
			  F_CSTR("reason", auth_reason_name(r->finding.reason)));
		answer_auth(c, r->question, a, a != AUTH_LATER);
		pump(c);
	}
	free(r);
}

static void ask_mail(struct conn *c, const struct smtp_event *ev)
{
	struct server *s = c->home->server;
	struct recheck *r;

	if (spool_closed(s)) {
		answer(c, ev->question, 451, "4.3.0",
		       S("Cannot store messages now, try again later"));
		return;
	}
	if (!auth_stale(&c->who, store_generation(s->store), clock_wall_ms())) {
		mail_yes(c, ev->question, ev->path, ev->mail);
		return;
	}
	r = calloc(1, sizeof *r);
	if (r) {
		*r = (struct recheck){
			.job = { .run = recheck_run, .done = recheck_done, .home = c->home->loop },
			.home = c->home,
			.conn = c->ref,
			.question = ev->question,
			.who = c->who,
			.now_ms = clock_wall_ms(),
			.path = *ev->path,
			.params = *ev->mail
		};
		if (lane_post(s->work, &r->job))
			return;
		free(r);
	}
	answer(c, ev->question, 451, "4.3.2", S("Too busy, try again later"));
}

static void ask_rcpt(struct conn *c, const struct smtp_event *ev)
{
	struct server *s = c->home->server;
	struct arena scratch;
	struct slice dest;

	/* RFC 5321 4.5.1: <Postmaster> is the one address without a domain, and there are no
	 * mailboxes here to deliver it to. */
	if (!ev->path->domain.n) {
		answer(c, ev->question, 550, "5.1.1",
		       S("No local mailboxes here; write postmaster@domain"));
		return;
	}
	arena_init(&scratch, 8192);
	dest = submit_destination(&scratch, ev->path->domain);
	if (!dest.n)
		answer(c, ev->question, 553, "5.1.2", S("Recipient domain is not valid"));
	else if (!route_for(&s->routes, dest))
		answer(c, ev->question, 550, "5.4.4", S("No route to this domain"));
	else if (!tx_rcpt(c->tx, ev->path, ev->rcpt, dest))
		answer(c, ev->question, 452, "4.3.1", S("Out of memory, try again later"));
	else
		answer(c, ev->question, 250, "2.1.5", SMTP_TEXT_RCPT);
	arena_done(&scratch);
}

static void ask_body(struct conn *c, const struct smtp_event *ev)
{
	if (spool_closed(c->home->server)) {
		answer(c, ev->question, 451, "4.3.0",
		       S("Cannot store messages now, try again later"));
		return;
	}
	c->body_began_ms = loop_now(c->home->loop);
	answer(c, ev->question, 354, NULL, SMTP_TEXT_DATA);
}

static void ask_commit(struct conn *c, const struct smtp_event *ev)
{
	c->tx->question = ev->question;
	if (body_wants_file(&c->tx->body))
		body_flush(c, true);
	else
		submit(c);
}

struct login {
	struct job job;
	struct home *home;
	struct ref conn;
	uint32_t question;
	struct slice mechanism; /* static */
	char text[2 * SASL_FIELD_MAX];
	size_t user_n, password_n;
	char client[64];
	uint64_t now_ms;
	bool ok;
	struct principal who;
	struct auth_finding finding;
};

static void login_run(struct job *job, void *store)
{
	struct login *l = (struct login *)(void *)job;
	struct auth_attempt a = {
		.mechanism = l->mechanism,
		.username = slice(l->text, l->user_n),
		.password = secret(slice(l->text + SASL_FIELD_MAX, l->password_n)),
		.client = slice_str(l->client),
		.now_ms = l->now_ms,
	};

	l->ok = auth_login(store, &a, &l->who, &l->finding, NULL);
}

static void login_free(struct login *l)
{
	explicit_bzero(l, sizeof *l);
	free(l);
}

static void log_login(struct conn *c, const struct login *l)
{
	struct stream_tls tls = stream_tls_info(&c->stream);

	log_event(LOG_AUTHENTICATION, F_STR("client", c->address), F_STR("listener", c->door->name),
		  F_STR("mechanism", l->mechanism), F_CSTR("key", l->finding.key_id),
		  F_U64("account", l->finding.account), F_STR("tls", tls.version),
		  F_STR("cipher", tls.cipher), F_CSTR("result", l->ok ? "ok" : "failed"),
		  F_CSTR("reason", auth_reason_name(l->finding.reason)));
}

static void login_done(struct job *job)
{
	struct login *l = (struct login *)(void *)job;
	struct conn *c = conn_of(l->home, l->conn);
	struct server *s = l->home->server;

	if (!c) {
		login_free(l);
		return;
	}
	log_login(c, l);
	if (!l->ok) {
		answer_auth(c, l->question, auth_answer(l->finding.reason), false);
	} else if (!tally_add(s->accounts, slice(&l->who.account, sizeof l->who.account),
			      s->conf->limits.connections_per_account)) {
		answer_close(c, l->question, 454, "4.7.0",
			     S("Too many connections of this account"));
	} else {
		c->counted_account = true;
		c->who = l->who;
		answer_auth(c, l->question, AUTH_OK, false);
	}
	login_free(l);
	pump(c);
}

static void ask_auth(struct conn *c, const struct smtp_event *ev)
{
	const struct sasl_request *q = ev->auth;
	struct login *l = calloc(1, sizeof *l);

	if (l) {
		MUST(q->authcid.n <= SASL_FIELD_MAX && q->password.bytes.n <= SASL_FIELD_MAX);
		l->job =
		    (struct job){ .run = login_run, .done = login_done, .home = c->home->loop };
		l->home = c->home;
		l->conn = c->ref;
		l->question = ev->question;
		l->mechanism = q->mechanism;
		l->user_n = q->authcid.n;
		l->password_n = q->password.bytes.n;
		memcpy(l->text, q->authcid.p, l->user_n);
		memcpy(l->text + SASL_FIELD_MAX, q->password.bytes.p, l->password_n);
		memcpy(l->client, c->address_text, sizeof l->client);
		l->now_ms = clock_wall_ms();
		if (lane_post(c->home->server->work, &l->job))
			return;
		login_free(l);
	}
	answer(c, ev->question, 454, "4.7.0", S("Temporary authentication failure"));
}

/* -- the loop -- */

/* When the client is late, on the loop's clock; UINT64_MAX: it is not its turn. */
static uint64_t deadline(const struct conn *c)
{
	const struct conf *conf = c->home->server->conf;
	uint64_t due = UINT64_MAX, slow;

	if (c->phase == PHASE_HANDSHAKE || c->phase == PHASE_STARTTLS) {
		due = c->progress_ms + conf->limits.time_tls;
	} else if (c->out.n) {
		due = c->progress_ms + conf->limits.time_write;
	} else {
		switch (smtp_session_clock(c->session)) {
		case SMTP_CLOCK_LOGIN: due = c->progress_ms + conf->limits.time_login; break;
		case SMTP_CLOCK_COMMAND: due = c->progress_ms + conf->limits.time_command; break;
		case SMTP_CLOCK_BODY:
			due = c->progress_ms + conf->limits.time_body;
			/* A minimum rate over the whole body: what came buys time. */
			if (conf->limits.body_min_rate && c->tx) {
				slow = c->body_began_ms + conf->limits.body_grace +
				       body_bytes(&c->tx->body) * 1000 / conf->limits.body_min_rate;
				due = slow < due ? slow : due;
			}
			break;
		case SMTP_CLOCK_NONE: break;
		}
	}
	if (conf->limits.time_session && c->opened_ms + conf->limits.time_session < due)
		due = c->opened_ms + conf->limits.time_session;
	return due;
}

static bool has_spare(const struct conn *c)
{
	return !c->in.n && !c->out.n && !c->tx && (c->in.cap || c->out.cap);
}

static void set_deadline(struct conn *c)
{
	uint64_t now = loop_now(c->home->loop), due = deadline(c);

	if (has_spare(c) && c->progress_ms + IDLE_MS < due)
		due = c->progress_ms + IDLE_MS;
	if (due == UINT64_MAX)
		loop_timer_cancel(&c->timer);
	else
		loop_timer_set(&c->timer, due > now ? due - now : 0);
}

/* Closes the socket and forgets the connection; jobs under way find it gone. */
static void finish(struct conn *c)
{
	struct server *s = c->home->server;

	log_event(LOG_CONNECTION_CLOSED, F_STR("client", c->address),
		  F_STR("listener", c->door->name), F_U64("messages", c->messages),
		  F_U64("ms", loop_now(c->home->loop) - c->opened_ms));
	tx_drop(c);
	loop_timer_cancel(&c->timer);
	stream_close(&c->stream);
	slots_remove(&c->home->smtp_in->conns, c->ref);
	c->home->smtp_in->open--;
	atomic_fetch_sub(&s->connections, 1);
	tally_drop(s->addresses, c->address);
	if (c->counted_account)
		tally_drop(s->accounts, slice(&c->who.account, sizeof c->who.account));
	smtp_session_free(c->session);
	buf_wipe(&c->in);
	buf_wipe(&c->out);
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
	body_flush(c, false);
	return false;
}

enum talk {
	TALK_INPUT, /* more bytes are needed */
	TALK_FLUSH, /* `out` has to be written before the session goes on */
	TALK_WAIT,  /* a question or a body write is with a worker */
	TALK_OVER,  /* the phase has changed */
};

/* Steps the session as far as the bytes at hand go. */
static enum talk talk(struct conn *c)
{
	struct slice in = buf_slice(&c->in);
	enum talk end = TALK_INPUT;
	bool more = true;

	while (more) {
		struct smtp_event ev;

		switch (smtp_session_step(c->session, &in, &c->out, &ev)) {
		case SMTP_ASK_AUTH: ask_auth(c, &ev); break;
		case SMTP_ASK_MAIL: ask_mail(c, &ev); break;
		case SMTP_ASK_RCPT: ask_rcpt(c, &ev); break;
		case SMTP_ASK_BODY: ask_body(c, &ev); break;
		case SMTP_ASK_COMMIT: ask_commit(c, &ev); break;
		case SMTP_GOT_BODY:
			more = got_body(c, ev.body);
			end = TALK_WAIT;
			break;
		case SMTP_GOT_RESET: tx_drop(c); break;
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
	/* What was consumed may have held a password. */
	if (!smtp_session_user(c->session) && in.n < c->in.n)
		explicit_bzero(c->in.p, c->in.n - in.n);
	buf_shift(&c->in, c->in.n - in.n);
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

/* True when TLS stands. */
static bool shake(struct conn *c)
{
	struct err e = { 0 };

	switch (stream_handshake(&c->stream, &e)) {
	case STREAM_OK:
		if (!c->door->session.implicit_tls)
			smtp_session_tls_up(c->session);
		c->phase = PHASE_TALK;
		c->progress_ms = loop_now(c->home->loop);
		return true;
	case STREAM_AGAIN: return false;
	case STREAM_EOF:
	case STREAM_CUT:
	case STREAM_ERROR: break;
	}
	log_event(LOG_TLS_FAILED, F_STR("client", c->address), F_STR("listener", c->door->name),
		  F_CSTR("reason", e.text));
	c->phase = PHASE_CLOSING;
	buf_clear(&c->out);
	return false;
}

/* Writes what there is. False: the peer cannot be written to any more. */
static bool flush(struct conn *c)
{
	size_t before = c->out.n;

	if (!c->out.n)
		return true;
	switch (stream_write(&c->stream, &c->out)) {
	case STREAM_OK:
	case STREAM_AGAIN:
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
	if (c->in.n > before)
		c->progress_ms = loop_now(c->home->loop);
	return c->in.n > before;
}

static bool busy(const struct conn *c)
{
	return c->tx && c->tx->busy;
}

/* One turn: what is there is understood, answers leave, more is read. True: turn again. */
static bool turn(struct conn *c)
{
	enum talk t = TALK_OVER;

	if (c->phase == PHASE_HANDSHAKE && !shake(c) && c->phase == PHASE_HANDSHAKE)
		return false;
	if (c->phase == PHASE_TALK)
		t = busy(c) ? TALK_WAIT : talk(c);
	c->waiting = t == TALK_WAIT;
	if (!flush(c)) {
		c->phase = PHASE_CLOSING;
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

static void pump(struct conn *c)
{
	while (turn(c))
		;
	if (c->phase == PHASE_CLOSING && (!c->out.n || c->peer_gone)) {
		finish(c);
		return;
	}
	/* Nothing is read while a question is open or a reply is unread: that is all of the
	 * backpressure, TCP does the rest. */
	stream_want(&c->stream, !c->waiting && !c->out.n && c->phase != PHASE_CLOSING,
		    c->out.n > 0 ||
			(c->phase == PHASE_HANDSHAKE && stream_wants_write(&c->stream)));
	set_deadline(c);
}

static void on_ready(void *arg)
{
	pump(arg);
}

static void on_timer(void *arg)
{
	struct conn *c = arg;
	uint64_t now = loop_now(c->home->loop);

	if (now < deadline(c)) {
		if (has_spare(c)) {
			buf_done(&c->in);
			buf_done(&c->out);
			smtp_session_shrink(c->session);
		}
		set_deadline(c);
		return;
	}
	/* A handshake that hangs, or replies that nobody reads: there is nothing to say any more.
	 */
	if (c->phase != PHASE_TALK || c->out.n) {
		finish(c);
		return;
	}
	smtp_session_expire(c->session);
	c->progress_ms = now;
	pump(c);
}

/* One line and out, before there is a session. Best effort: it fits an empty socket buffer. */
static void send_away(struct home *home, const struct smtp_door *door, int fd, const char *address,
		      struct slice line, const char *reason)
{
	(void)home;
	log_event(LOG_CONNECTION_REFUSED, F_CSTR("client", address), F_STR("listener", door->name),
		  F_CSTR("reason", reason));
	/* Inside TLS nobody would understand it. */
	if (!door->session.implicit_tls && write(fd, line.p, line.n) < 0)
		line.n = 0;
	close(fd);
}

static struct conn *make(struct home *home, const struct smtp_door *door, int fd,
			 const char *address)
{
	struct conn *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->home = home;
	c->door = door;
	snprintf(c->address_text, sizeof c->address_text, "%s", address);
	c->address = slice_str(c->address_text);
	buf_init(&c->in, READ_MAX + 16384);
	buf_init(&c->out, OUT_MAX);
	c->opened_ms = c->progress_ms = loop_now(home->loop);
	c->session = smtp_session_new(&door->session);
	loop_timer_init(&c->timer, home->loop, on_timer, c);
	if (c->session && slots_add(&home->smtp_in->conns, c, &c->ref)) {
		if (stream_init(&c->stream, home->loop, fd, on_ready, c))
			return c;
		slots_remove(&home->smtp_in->conns, c->ref);
	}
	smtp_session_free(c->session);
	free(c);
	return NULL;
}

void smtp_in_accept(struct home *home, const struct smtp_door *door, int fd)
{
	struct server *s = home->server;
	const struct conf *conf = s->conf;
	char address[64];
	struct slice key;
	struct conn *c;
	struct err e;

	stream_peer(fd, address, sizeof address);
	key = slice_str(address);
	if (home->smtp_in->stopping || atomic_load(&s->connections) >= conf->limits.connections) {
		send_away(home, door, fd, address,
			  S("421 4.7.0 Too many connections, try again later\r\n"), "connections");
		return;
	}
	if (atomic_load(&s->memory) > conf->limits.memory + conf->limits.memory / 4) {
		send_away(home, door, fd, address,
			  S("421 4.3.2 Short of memory, try again later\r\n"), "memory");
		return;
	}
	if (!tally_add(s->addresses, key, conf->limits.connections_per_address)) {
		send_away(home, door, fd, address,
			  S("421 4.7.0 Too many connections from your address\r\n"),
			  "connections_per_address");
		return;
	}
	c = make(home, door, fd, address);
	if (!c) {
		tally_drop(s->addresses, key);
		send_away(home, door, fd, address,
			  S("421 4.3.2 Short of memory, try again later\r\n"), "memory");
		return;
	}
	home->smtp_in->open++;
	atomic_fetch_add(&s->connections, 1);
	log_event(LOG_CONNECTION, F_STR("client", c->address), F_STR("listener", door->name));
	if (door->session.implicit_tls) {
		c->phase = PHASE_HANDSHAKE;
		if (!door->tls || !stream_start_server(&c->stream, door->tls, &e)) {
			finish(c);
			return;
		}
	}
	pump(c);
}

struct smtp_in_home *smtp_in_home_new(struct home *home)
{
	struct smtp_in_home *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->home = home;
	slots_init(&h->conns, UINT32_MAX - 1);
	return h;
}

void smtp_in_home_free(struct smtp_in_home *h)
{
	if (!h)
		return;
	smtp_in_abort(h);
	slots_done(&h->conns);
	free(h);
}

void smtp_in_shutdown(struct smtp_in_home *h, bool now)
{
	size_t at = 0;
	struct conn *c;

	h->stopping = true;
	while ((c = slots_each(&h->conns, &at))) {
		smtp_session_shutdown(c->session, now);
		if (c->phase == PHASE_TALK)
			pump(c);
		else
			finish(c);
	}
}

void smtp_in_abort(struct smtp_in_home *h)
{
	size_t at = 0;
	struct conn *c;

	while ((c = slots_each(&h->conns, &at)))
		finish(c);
}

size_t smtp_in_open(const struct smtp_in_home *h)
{
	return h->open;
}
