/* serve/settle.c -- what came out of an attempt becomes durable. */
#include "base/fault.h"
#include "history/history.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/deliver_impl.h"
#include "serve/generation.h"

#include <stdlib.h>

uint32_t deliver_random32(void)
{
	uint32_t r;

	keyring_random(&r, sizeof r);
	return r;
}

void settle_free(struct settle *s)
{
	arena_done(&s->arena);
	generation_drop(s->rules, s->deliver->home);
	free(s);
}

/* It may have been delivered; sending it again is the lesser harm. */
static void unsettled(struct deliver *d, const struct spool_ticket *t)
{
	d->home->server->spool_backend->release(d->home->server->spool, t,
						clock_steady_ms() + 60000);
}

static void keep(struct deliver *d, struct settle *s)
{
	if (!d->n_unrecorded)
		log_event(LOG_WARNING, F_CSTR("about", "the disk has no room for outcomes: nothing "
						       "is handed on until it has"));
	d->n_unrecorded += !s->unrecorded;
	s->unrecorded = true;
	s->next = d->unrecorded;
	d->unrecorded = s;
	loop_timer_set(&d->again, DELIVER_AGAIN_MS);
}

static void record_again(struct deliver *d)
{
	struct settle *s;

	while ((s = d->unrecorded)) {
		if (!batch_post(d->home->server->committer, &s->commit.job)) {
			loop_timer_set(&d->again, DELIVER_AGAIN_MS);
			return;
		}
		d->unrecorded = s->next;
	}
}

void settle_again(void *deliver)
{
	struct deliver *d = deliver;
	struct settle *untold = d->untold;

	record_again(d);
	d->untold = NULL;
	d->n_untold = 0;
	while (untold) {
		struct settle *s = untold;

		untold = s->next;
		notices_begin(s);
	}
}

void settle_forget(struct deliver *d)
{
	struct settle *s;

	while ((s = d->unrecorded)) {
		d->unrecorded = s->next;
		settle_free(s);
	}
	while ((s = d->untold)) {
		d->untold = s->next;
		settle_free(s);
	}
}

static void settle_done(struct job *job)
{
	struct settle *s = (struct settle *)(void *)job;
	struct deliver *d = s->deliver;

	if (s->commit.op.result == SPOOL_FULL) {
		keep(d, s);
		return;
	}
	d->n_unrecorded -= s->unrecorded;
	/* SPOOL_FAILED: the spool is broken and the process about to end, or it was short of memory
	 * for this one. What was delivered and could not be recorded will be sent once more: the
	 * window of RFC 1047. */
	if (s->commit.op.result == SPOOL_FAILED)
		unsettled(d, &s->ticket);
	d->settling--;
	settle_free(s);
	deliver_wake(d);
}

void settle_post(struct settle *s)
{
	struct deliver *d = s->deliver;

	s->commit.job.home = d->home->loop;
	s->commit.job.done = settle_done;
	if (batch_post(d->home->server->committer, &s->commit.job))
		return;
	d->settling--;
	unsettled(d, &s->ticket);
	settle_free(s);
}

static const char *outcome_name(enum spool_rcpt_state state)
{
	switch (state) {
	case RCPT_PENDING: return "deferred";
	case RCPT_DELIVERED: return "delivered";
	case RCPT_FAILED:
	case RCPT_BOUNCED: return "failed";
	case RCPT_CANCELLED: return "cancelled";
	}
	return "";
}

static void count_outcome(const struct spool_ticket *t, enum spool_rcpt_state state)
{
	uint64_t now = clock_steady_ms();

	metrics_add(M_OUTCOMES, metrics_word(LABEL_OUTCOME, slice_str(outcome_name(state))), 0, 1);
	if (state == RCPT_DELIVERED)
		metrics_observe(M_DELIVERY_TIME, now > t->accepted_ms ? now - t->accepted_ms : 0);
}

void settle_log(const struct spool_ticket *t, const struct spool_rcpt *rcpts,
		const struct outcome_answer *answers, const struct spool_verdict *verdicts,
		size_t n, const struct deliver_facts *f)
{
	for (size_t i = 0; i < n && !f->waiting; i++) {
		count_outcome(t, verdicts[i].state);
		log_event(LOG_OUTCOME, F_ID("id", t->id), F_U64("account", t->account),
			  F_STR("to", rcpts[verdicts[i].rcpt].path),
			  F_CSTR("outcome", outcome_name(verdicts[i].state)),
			  F_STR("route", f->route->name), F_STR("remote", f->remote),
			  F_STR("tls", f->tls), F_U64("attempt", t->attempts + 1),
			  F_U64("code", (uint64_t)answers[i].code),
			  F_STR("reply", verdicts[i].reply));
	}
}

/* The same for whoever asks later. The envelope may be gone by then. */
static void remember(struct settle *s, const struct spool_envelope *env,
		     const struct outcome_answer *answers, size_t n, const struct deliver_facts *f)
{
	struct history *h = s->deliver->home->server->history;
	const struct spool_ticket *t = &s->ticket;

	for (size_t i = 0; h && i < n && !f->waiting; i++)
		history_add(h, &(struct history_event){
				   .id = t->id,
				   .at_ms = s->commit.op.at_ms,
				   .account = t->account,
				   .accepted_ms = t->accepted_ms,
				   .attempt = t->attempts + 1,
				   .code = answers[i].code > 0 ? (unsigned)answers[i].code : 0,
				   .outcome = slice_str(outcome_name(s->verdicts[i].state)),
				   .key_id = env->key_id,
				   .from = env->reverse_path,
				   .to = env->rcpts[s->verdicts[i].rcpt].path,
				   .route = f->route->name,
				   .remote = f->remote,
				   .tls = f->tls,
				   .reply = s->verdicts[i].reply });
}

/* Nearly always: all of them have it, and nobody asked to hear of that. */
static bool nothing_to_tell(const struct settle *s, const struct spool_envelope *env, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s->verdicts[i].state != RCPT_DELIVERED ||
		    (env->rcpts[s->verdicts[i].rcpt].notify & NOTIFY_SUCCESS))
			return false;
	return true;
}

/* Judges, and fills what is to be committed. False: memory is out. */
static bool prepare(struct settle *s, const struct spool_envelope *env,
		    const struct outcome_answer *answers, size_t n, const struct deliver_facts *f)
{
	struct deliver *d = s->deliver;
	struct spool_ticket *t = &s->ticket;
	uint64_t now = clock_steady_ms(), notice_ms = UINT64_MAX;
	uint32_t pending;
	bool ok = true, said;

	s->verdicts = ARENA_ARRAY(&s->arena, struct spool_verdict, n);
	if (!s->verdicts)
		return false;
	pending = outcome_judge(answers, n, t->accepted_ms, now, &d->retry, &s->arena, s->verdicts);
	said = !nothing_to_tell(s, env, n);
	if (said) {
		s->notices = notices_judge(s, env, answers, n, f, now, &notice_ms, &ok);
		if (!ok)
			return false;
	}
	for (size_t i = 0; i < n; i++)
		s->verdicts[i].reply = arena_dup(&s->arena, s->verdicts[i].reply);
	s->commit.op = (struct spool_op){
		.kind = SPOOL_SETTLE,
		.id = t->id,
		.delivery = t->delivery,
		.verdicts = s->verdicts,
		.n_verdicts = (uint32_t)n,
		.next_ms = pending ? outcome_next_ms(t->accepted_ms, now, notice_ms, t->attempts,
						     &d->retry, deliver_random32())
				   : 0,
		.attempted = !f->waiting,
		.at_ms = clock_wall_ms(),
		/* Nobody asks once all of them have it. */
		.remote = said ? arena_dup(&s->arena, f->remote) : S(""),
	};
	if (f->waiting)
		s->commit.op.next_ms = now;
	return true;
}

void deliver_settle(struct deliver *d, const struct spool_ticket *t,
		    const struct spool_envelope *env, const struct outcome_answer *answers,
		    size_t n, const struct deliver_facts *f)
{
	struct settle *s = calloc(1, sizeof *s);

	FAULT_DIE("before_outcome");
	if (!s) {
		unsettled(d, t);
		return;
	}
	arena_init(&s->arena, n * (sizeof(struct spool_verdict) + 4096) +
				  env->n_rcpts * sizeof(struct spool_rcpt) + 16384);
	s->deliver = d;
	s->rules = generation_hold(d->home->now, d->home);
	s->ticket = *t;
	if (!prepare(s, env, answers, n, f)) {
		unsettled(d, t);
		settle_free(s);
		return;
	}
	remember(s, env, answers, n, f);
	d->settling++;
	if (s->notices) {
		notices_begin(s);
		return;
	}
	settle_log(t, env->rcpts, answers, s->verdicts, n, f);
	settle_post(s);
}
