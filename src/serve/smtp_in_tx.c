/* serve/smtp_in_tx.c -- from RCPT to the verdict. */
#include "base/fault.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/deliver.h"
#include "serve/generation.h"
#include "serve/smtp_in_impl.h"

#include <stdlib.h>

bool smtp_in_closed(const struct server *s)
{
	return atomic_load_explicit(&s->spool_broken, memory_order_relaxed);
}

void smtp_in_drop(struct conn *c)
{
	if (c->tx && !c->tx->busy)
		tx_free(c->tx);
	c->tx = NULL;
	c->body_began_ms = 0;
	c->stray = false;
}

/* A job of a transaction is back: the connection it belongs to, or NULL (and the transaction is
 * freed) when that has gone or moved on. */
static struct conn *tx_back(struct tx *tx)
{
	struct conn *c = smtp_in_conn(tx->home, tx->conn);

	tx->busy = false;
	if (c && c->tx == tx)
		return c;
	tx_free(tx);
	return NULL;
}

static void tx_answer(struct conn *c, int code, const char *enh, struct slice text)
{
	/* First: the text may be in the transaction's memory. */
	smtp_in_answer(c, c->tx->question, code, enh, text);
	smtp_in_drop(c);
}

/* word: one of few, for counting; the reason may be any text. */
static void log_refused_as(struct conn *c, int code, const char *word, const char *reason)
{
	metrics_add(M_REFUSED, metrics_word(LABEL_REFUSED, slice_str(word)), 0, 1);
	log_event(LOG_MESSAGE_REFUSED, F_ID("id", c->tx->envelope.id),
		  F_U64("account", c->who.account), F_CSTR("key", c->who.key_id),
		  F_STR("client", c->address), F_STR("reverse_path", c->tx->envelope.reverse_path),
		  F_U64("code", (uint64_t)code), F_CSTR("reason", reason));
}

static void log_refused(struct conn *c, int code, const char *reason)
{
	log_refused_as(c, code, reason, reason);
}

static void count_accepted(const struct tx *tx)
{
	metrics_add(M_ACCEPTED, tx->listener, 0, 1);
	metrics_add(M_ACCEPTED_BYTES, tx->listener, 0, tx->envelope.size);
	metrics_add(M_ACCEPTED_RCPTS, tx->listener, 0, tx->envelope.n_rcpts);
	metrics_observe(M_ACCEPT_TIME, clock_mono_ns() - tx->ended_ns);
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
		count_accepted(tx);
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
	case SPOOL_BUSY:
	case SPOOL_FAILED:
		log_refused(c, 451, "spool_failed");
		tx_answer(c, 451, "4.3.0", S("Cannot store the message now, try again later"));
		break;
	}
	smtp_in_pump(c);
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
		smtp_in_answer(c, tx->question, 250, "2.0.0", S("Ok: queued as a lie"));
		c->tx = NULL;
	}
	tx->committing = true;
	if (batch_post(c->home->server->committer, &tx->commit.job))
		return;
	tx->busy = tx->committing = false;
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
	smtp_in_pump(c);
}

/* At the end of data: may it be sent, and as what? */
static void judge(struct conn *c, const struct submit_question *answers)
{
	struct server *s = c->home->server;
	struct tx *tx = c->tx;

	if (!answers)
		tx->generation = store_generation(s->store);
	switch (submit_check(&c->door->generation->submit, &tx->submission, c->home->senders,
			     tx->generation, answers, &tx->arena, &tx->result, &tx->ask)) {
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

/* RFC 3848, RFC 6531 section 4.3. A client that fell back to HELO speaks SMTP. */
static struct slice protocol(const struct conn *c)
{
	if (!smtp_session_is_esmtp(c->session))
		return S("SMTP");
	return c->tx->envelope.smtputf8 ? S("UTF8SMTPSA") : S("ESMTPSA");
}

static void submit(struct conn *c)
{
	struct tx *tx = c->tx;
	unsigned char random[12];
	struct buf token;

	if (tx->body.failed) {
		log_refused_as(c, 452, "body_file", tx->body.error.text);
		tx_answer(c, 452, "4.3.1", S("Insufficient system storage, try again later"));
		return;
	}
	home_random(c->home, random, sizeof random);
	buf_init(&token, 64);
	buf_addhex(&token, slice(random, sizeof random));
	tx->submission = (struct submission){
		.account = c->who.account,
		.envelope = &tx->envelope,
		.reverse_domain = tx->reverse_domain,
		.origin = {
			.helo = arena_dup(&tx->arena, smtp_session_helo(c->session)),
			.address = arena_dup(&tx->arena, c->address),
			.protocol = protocol(c),
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
	c->progress_ms = loop_now(c->home->loop); /* its turn begins now */
	if (tx->last)
		submit(c);
	smtp_in_pump(c);
}

void smtp_in_flush_body(struct conn *c, bool last)
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

void smtp_in_ask_rcpt(struct conn *c, const struct smtp_event *ev)
{
	struct arena scratch;
	struct slice dest;

	/* RFC 5321 4.5.1: <Postmaster> is the one address without a domain, and there are no
	 * mailboxes here to deliver it to. */
	if (!ev->path->domain.n) {
		smtp_in_answer(c, ev->question, 550, "5.1.1",
			       S("No local mailboxes here; write postmaster@domain"));
		return;
	}
	arena_init(&scratch, 8192);
	dest = submit_destination(&scratch, ev->path->domain);
	if (scratch.failed)
		smtp_in_answer(c, ev->question, 452, "4.3.1", S("Out of memory, try again later"));
	else if (!dest.n)
		smtp_in_answer(c, ev->question, 553, "5.1.2", S("Recipient domain is not valid"));
	else if (!route_for(&c->door->generation->routes, dest))
		smtp_in_answer(c, ev->question, 550, "5.4.4", S("No route to this domain"));
	else if (!tx_rcpt(c->tx, ev->path, ev->rcpt, dest))
		smtp_in_answer(c, ev->question, 452, "4.3.1", S("Out of memory, try again later"));
	else
		smtp_in_answer(c, ev->question, 250, "2.1.5", SMTP_TEXT_RCPT);
	arena_done(&scratch);
}

void smtp_in_ask_body(struct conn *c, const struct smtp_event *ev)
{
	if (smtp_in_closed(c->home->server)) {
		smtp_in_answer(c, ev->question, 451, "4.3.0",
			       S("Cannot store messages now, try again later"));
		return;
	}
	smtp_in_body_begins(c, smtp_session_content(c->session), false);
	smtp_in_answer(c, ev->question, 354, NULL, SMTP_TEXT_DATA);
}

void smtp_in_ask_commit(struct conn *c, const struct smtp_event *ev)
{
	c->tx->question = ev->question;
	c->tx->ended_ns = clock_mono_ns();
	c->tx->listener = c->listener;
	if (body_wants_file(&c->tx->body))
		smtp_in_flush_body(c, true);
	else
		submit(c);
}
