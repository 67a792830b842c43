#include "serve/deliver.h"

#include "base/fault.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "serve/capture.h"
#include "serve/server.h"
#include "serve/smtp_out.h"

#include <stdlib.h>
#include <unistd.h>

/* A message in memory, at most; and deliveries looked at when a site fails. */
#define LOAD_MAX (160u << 20)
#define CHARGED  16
/* How often outcomes without room are tried again. */
#define AGAIN_MS 1000

struct deliver {
	struct home *home;
	struct schedule *schedule;
	struct retry_config retry;
	struct loop_task wake;
	atomic_bool woken;
	struct loop_timer timer;
	bool stopping;
	size_t attempts, settling;
	/* Outcomes for which the disk has no room. While there are any, nothing is handed on that
	 * could not be recorded either: each would be sent again after a crash. */
	struct settle *unrecorded;
	size_t n_unrecorded; /* those under way again, too */
	struct loop_timer again;
};

struct settle {
	struct commit commit;
	struct settle *next;
	bool unrecorded;
	struct deliver *deliver;
	struct spool_ticket ticket;
	struct arena arena;
};

struct home *deliver_home(struct deliver *d)
{
	return d->home;
}

struct schedule *deliver_schedule(struct deliver *d)
{
	return d->schedule;
}

bool deliver_stopping(const struct deliver *d)
{
	return d->stopping || d->n_unrecorded;
}

size_t deliver_busy(const struct deliver *d)
{
	return d->attempts + d->settling;
}

static void start(struct deliver *d, struct site *site)
{
	bool ok = false;

	site->active++;
	d->attempts++;
	switch (site->route->type) {
	case ROUTE_CAPTURE: ok = capture_start(d, site); break;
	case ROUTE_SMARTHOST:
	case ROUTE_MX: ok = smtp_out_start(d, site); break;
	}
	if (!ok) {
		site->active--;
		d->attempts--;
	}
}

static void turn(struct deliver *d)
{
	uint64_t now = clock_steady_ms(), wait;
	struct site *site;

	if (deliver_stopping(d))
		return;
	wait = schedule_refill(d->schedule, now);
	/* Connections at rest come first: new ones are for what they cannot carry. */
	for (site = NULL; (site = schedule_site(d->schedule, site));)
		while (schedule_has(site, now) && smtp_out_resume(site))
			;
	while ((site = schedule_wants(d->schedule, now))) {
		unsigned active = site->active;

		start(d, site);
		/* It could not be started now, for want of memory or of a worker: soon again, the
		 * others with it. */
		if (site->active == active) {
			wait = now + 100;
			break;
		}
	}
	wait = wait > now ? wait - now : 0;
	loop_timer_set(&d->timer, wait < 5000 ? wait : 5000);
}

static void on_wake(struct loop_task *task)
{
	struct deliver *d =
	    (struct deliver *)(void *)((char *)task - offsetof(struct deliver, wake));

	atomic_store(&d->woken, false);
	turn(d);
}

static void on_timer(void *arg)
{
	turn(arg);
}

void deliver_wake(struct deliver *d)
{
	if (!atomic_exchange(&d->woken, true))
		loop_post(d->home->loop, &d->wake);
}

void deliver_shutdown(struct deliver *d)
{
	d->stopping = true;
	loop_timer_cancel(&d->timer);
	for (struct site *site = NULL; (site = schedule_site(d->schedule, site));)
		smtp_out_shutdown(site);
}

void deliver_ended(struct deliver *d, struct site *site)
{
	site->active--;
	d->attempts--;
	deliver_wake(d);
}

/* -- outcomes -- */

static void keep(struct deliver *d, struct settle *s)
{
	if (!d->n_unrecorded)
		log_event(LOG_WARNING, F_CSTR("about", "the disk has no room for outcomes: nothing "
						       "is handed on until it has"));
	d->n_unrecorded += !s->unrecorded;
	s->unrecorded = true;
	s->next = d->unrecorded;
	d->unrecorded = s;
	loop_timer_set(&d->again, AGAIN_MS);
}

static void on_again(void *arg)
{
	struct deliver *d = arg;
	struct settle *s;

	while ((s = d->unrecorded)) {
		if (!batch_post(d->home->server->committer, &s->commit.job)) {
			loop_timer_set(&d->again, AGAIN_MS);
			return;
		}
		d->unrecorded = s->next;
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
		d->home->server->spool_backend->release(d->home->server->spool, &s->ticket,
							clock_steady_ms() + 60000);
	d->settling--;
	arena_done(&s->arena);
	free(s);
	deliver_wake(d);
}

static const char *outcome_name(enum spool_rcpt_state state)
{
	switch (state) {
	case RCPT_PENDING: return "deferred";
	case RCPT_DELIVERED: return "delivered";
	case RCPT_FAILED: return "failed";
	case RCPT_CANCELLED: return "cancelled";
	case RCPT_BOUNCED: return "bounced";
	}
	return "";
}

static void log_outcomes(const struct spool_ticket *t, const struct spool_envelope *env,
			 const struct outcome_answer *answers, const struct spool_verdict *verdicts,
			 size_t n, const struct deliver_facts *f)
{
	for (size_t i = 0; i < n; i++)
		log_event(LOG_OUTCOME, F_ID("id", t->id), F_U64("account", t->account),
			  F_STR("to", env->rcpts[verdicts[i].rcpt].path),
			  F_CSTR("outcome", outcome_name(verdicts[i].state)),
			  F_STR("route", f->route->name), F_STR("remote", f->remote),
			  F_STR("tls", f->tls), F_U64("attempt", t->attempts + 1),
			  F_U64("code", (uint64_t)answers[i].code),
			  F_STR("reply", verdicts[i].reply));
}

static uint32_t random32(void)
{
	uint32_t r;

	keyring_random(&r, sizeof r);
	return r;
}

void deliver_settle(struct deliver *d, const struct spool_ticket *t,
		    const struct spool_envelope *env, const struct outcome_answer *answers,
		    size_t n, const struct deliver_facts *f)
{
	uint64_t now = clock_steady_ms();
	struct settle *s = calloc(1, sizeof *s);
	struct spool_verdict *verdicts;
	uint32_t pending;

	FAULT_DIE("before_outcome");
	if (!s)
		goto unsettled;
	arena_init(&s->arena, n * (sizeof *verdicts + 1024) + 4096);
	verdicts = ARENA_ARRAY(&s->arena, struct spool_verdict, n);
	if (!verdicts)
		goto unsettled;
	pending = outcome_judge(answers, n, t->accepted_ms, now, &d->retry, verdicts);
	for (size_t i = 0; i < n; i++)
		verdicts[i].reply = arena_dup(&s->arena, verdicts[i].reply);
	log_outcomes(t, env, answers, verdicts, n, f);
	s->deliver = d;
	s->ticket = *t;
	s->commit.op = (struct spool_op){
		.kind = SPOOL_SETTLE,
		.id = t->id,
		.delivery = t->delivery,
		.verdicts = verdicts,
		.n_verdicts = (uint32_t)n,
		.next_ms = pending ? now + retry_delay_ms(t->attempts, &d->retry, random32()) : 0,
		.attempted = true,
	};
	s->commit.job.home = d->home->loop;
	s->commit.job.done = settle_done;
	d->settling++;
	if (batch_post(d->home->server->committer, &s->commit.job))
		return;
	d->settling--;
unsettled:
	/* It may have been delivered; sending it again is the lesser harm. */
	if (s)
		arena_done(&s->arena);
	free(s);
	d->home->server->spool_backend->release(d->home->server->spool, t, now + 60000);
}

void deliver_unreadable(struct deliver *d, const struct spool_ticket *t, const struct err *e)
{
	(void)d;
	log_event(e->kind == ERR_DAMAGED ? LOG_SPOOL_DAMAGED : LOG_MESSAGE_UNREADABLE,
		  F_ID("id", t->id), F_U64("account", t->account), F_CSTR("reason", e->text));
}

/* A delivery that is charged with its site's failure. */
struct charge {
	struct job job;
	struct deliver *deliver;
	const struct route *route;
	struct spool_ticket ticket;
	struct arena arena;
	struct spool_message message;
	struct err error;
	bool loaded;
	struct slice reason, remote;
};

static void charge_run(struct job *job, void *ctx)
{
	struct charge *c = (struct charge *)(void *)job;
	struct server *s = c->deliver->home->server;

	(void)ctx;
	c->loaded =
	    s->spool_backend->load(s->spool, c->ticket.id, &c->arena, &c->message, &c->error);
	if (c->loaded && c->message.content.fd >= 0)
		close(c->message.content.fd);
}

static void charge_done(struct job *job)
{
	struct charge *c = (struct charge *)(void *)job;
	struct deliver *d = c->deliver;
	struct spool_envelope *env = &c->message.envelope;
	struct outcome_answer *answers =
	    c->loaded ? ARENA_ARRAY(&c->arena, struct outcome_answer, env->n_rcpts) : NULL;
	struct deliver_facts f = { .route = c->route, .remote = c->remote };
	size_t n = 0;

	d->attempts--;
	for (uint32_t i = 0; answers && i < env->n_rcpts; i++)
		if (env->rcpts[i].delivery == c->ticket.delivery &&
		    env->rcpts[i].state == RCPT_PENDING)
			answers[n++] = (struct outcome_answer){ .rcpt = i, .text = c->reason };
	if (!c->loaded && c->error.kind != ERR_LATER)
		deliver_unreadable(d, &c->ticket, &c->error);
	else if (!n)
		d->home->server->spool_backend->release(d->home->server->spool, &c->ticket,
							clock_steady_ms() + 60000);
	else
		deliver_settle(d, &c->ticket, env, answers, n, &f);
	arena_done(&c->arena);
	free(c);
}

static void charge(struct deliver *d, const struct route *route, const struct spool_ticket *t,
		   struct slice remote, struct slice reason)
{
	struct server *s = d->home->server;
	struct charge *c = calloc(1, sizeof *c);

	if (c) {
		c->job =
		    (struct job){ .run = charge_run, .done = charge_done, .home = d->home->loop };
		c->deliver = d;
		c->route = route;
		c->ticket = *t;
		arena_init(&c->arena, LOAD_MAX);
		c->reason = arena_dup(&c->arena, reason);
		c->remote = arena_dup(&c->arena, remote);
		d->attempts++;
		if (lane_post(s->files, &c->job))
			return;
		d->attempts--;
		arena_done(&c->arena);
		free(c);
	}
	s->spool_backend->release(s->spool, t, clock_steady_ms() + 60000);
}

void deliver_site_failed(struct deliver *d, struct site *site, struct slice remote,
			 struct slice reason)
{
	struct server *s = d->home->server;
	uint64_t now = clock_steady_ms();
	struct spool_ticket taken[CHARGED];
	size_t n = 0;

	while (n < CHARGED && schedule_take(d->schedule, site, now, &taken[n]))
		n++;
	for (size_t i = 0; i < n; i++)
		if (i == 0 || retry_expired(taken[i].accepted_ms, now, &d->retry))
			charge(d, site->route, &taken[i], remote, reason);
		else
			s->spool_backend->release(s->spool, &taken[i], now);
	schedule_site_failed(d->schedule, site, now, random32(), reason);
}

static struct retry_config retry_of(const struct conf *c)
{
	return (struct retry_config){
		.base_ms = c->retry.first,
		.factor_permille = (uint32_t)c->retry.factor,
		.max_ms = c->retry.max,
		.jitter_permille = (uint32_t)c->retry.jitter,
		.lifetime_ms = c->retry.lifetime,
	};
}

struct deliver *deliver_new(struct home *home, struct err *e)
{
	struct deliver *d = calloc(1, sizeof *d);
	struct server *s = home->server;
	struct schedule_conf sc = { 0 };

	if (!d) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	d->home = home;
	d->retry = retry_of(s->conf);
	sc.retry = d->retry;
	/* A site that is down is looked at more often than a message that was refused is retried.
	 */
	if (sc.retry.max_ms > 15 * 60 * 1000)
		sc.retry.max_ms = 15 * 60 * 1000;
	keyring_random(sc.hash_key, sizeof sc.hash_key);
	d->schedule = schedule_new(s->spool_backend, s->spool, &s->routes, &sc);
	if (!d->schedule) {
		free(d);
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	d->wake.run = on_wake;
	loop_timer_init(&d->timer, home->loop, on_timer, d);
	loop_timer_init(&d->again, home->loop, on_again, d);
	return d;
}

void deliver_free(struct deliver *d)
{
	struct settle *s;

	if (!d)
		return;
	for (struct site *site = NULL; (site = schedule_site(d->schedule, site));)
		smtp_out_abort(site);
	loop_timer_cancel(&d->timer);
	loop_timer_cancel(&d->again);
	while ((s = d->unrecorded)) {
		d->unrecorded = s->next;
		arena_done(&s->arena);
		free(s);
	}
	schedule_free(d->schedule);
	free(d);
}
