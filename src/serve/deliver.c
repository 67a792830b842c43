#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/capture.h"
#include "serve/deliver_impl.h"
#include "serve/from_conf.h"
#include "serve/mx.h"
#include "serve/smtp_out.h"

#include <stdlib.h>
#include <unistd.h>

/* A message in memory, at most; and deliveries looked at when a site fails. */
#define LOAD_MAX (160u << 20)
#define CHARGED  16
/* While lookups are short, so often those that take long are looked at. */
#define HURRY_MS 250

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

void deliver_sites(const struct deliver *d, uint64_t *ret_n, uint64_t *ret_failing)
{
	*ret_n = *ret_failing = 0;
	for (struct site *site = NULL; (site = schedule_site(d->schedule, site));) {
		++*ret_n;
		*ret_failing += site->failures > 0;
	}
}

static void start(struct deliver *d, struct site *site)
{
	bool ok = false;

	schedule_began(d->schedule, site);
	d->attempts++;
	d->connections++;
	if (site->kind == SITE_UNRESOLVED)
		ok = mx_start(d->mx, site);
	else if (site->route->type == ROUTE_CAPTURE)
		ok = capture_start(d, site);
	else
		ok = smtp_out_start(d, site);
	if (!ok) {
		schedule_ended(d->schedule, site);
		d->attempts--;
		d->connections--;
	}
}

static void turn(struct deliver *d)
{
	uint64_t now = clock_steady_ms(), wait;
	struct site *site, *next;

	if (deliver_stopping(d))
		return;
	wait = schedule_refill(d->schedule, now);
	/* Connections at rest come first: new ones are for what they cannot carry. */
	for (site = schedule_busy(d->schedule, NULL); site; site = next) {
		next = schedule_busy(d->schedule, site);
		while (schedule_has(site, now) && smtp_out_resume(site))
			;
	}
	while (d->connections < d->home->server->conf->delivery.connections &&
	       (site = schedule_wants(d->schedule, now))) {
		unsigned active = site->active;

		start(d, site);
		/* It could not be started now, for want of memory or of a worker: soon again, the
		 * others with it. */
		if (site->active == active) {
			wait = now + 100;
			break;
		}
	}
	if (schedule_lookups_full(d->schedule)) {
		mx_hurry(d->mx);
		wait = wait < now + HURRY_MS ? wait : now + HURRY_MS;
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
	mx_shutdown(d->mx);
}

void deliver_ended(struct deliver *d, struct site *site)
{
	schedule_ended(d->schedule, site);
	d->attempts--;
	d->connections--;
	deliver_wake(d);
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
	struct site *site;
	int code;
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
	struct deliver_facts f = { .route = c->site->route, .remote = c->remote };
	size_t n = 0;

	d->attempts--;
	c->site->charged--;
	for (uint32_t i = 0; answers && i < env->n_rcpts; i++)
		if (env->rcpts[i].delivery == c->ticket.delivery &&
		    env->rcpts[i].state == RCPT_PENDING)
			answers[n++] = (struct outcome_answer){ .rcpt = i,
								.code = c->code,
								.text = c->reason };
	if (!c->loaded && c->error.kind != ERR_LATER)
		deliver_unreadable(d, &c->ticket, &c->error);
	else if (!n)
		d->home->server->spool_backend->release(d->home->server->spool, &c->ticket,
							clock_steady_ms() + 60000);
	else
		deliver_settle(d, &c->ticket, env, answers, n, &f);
	arena_done(&c->arena);
	free(c);
	deliver_wake(d);
}

static void charge(struct deliver *d, struct site *site, const struct spool_ticket *t,
		   struct slice remote, int code, struct slice reason)
{
	struct server *s = d->home->server;
	struct charge *c = calloc(1, sizeof *c);

	if (c) {
		c->job =
		    (struct job){ .run = charge_run, .done = charge_done, .home = d->home->loop };
		c->deliver = d;
		c->site = site;
		c->code = code;
		c->ticket = *t;
		arena_init(&c->arena, LOAD_MAX);
		c->reason = arena_dup(&c->arena, reason);
		c->remote = arena_dup(&c->arena, remote);
		d->attempts++;
		site->charged++;
		if (lane_post(s->files, &c->job))
			return;
		site->charged--;
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

	metrics_add(M_ATTEMPTS, metrics_word(LABEL_ATTEMPT, S("site_failed")), 0, 1);
	while (n < CHARGED && schedule_take(d->schedule, site, now, &taken[n]))
		n++;
	for (size_t i = 0; i < n; i++)
		if (i == 0 || retry_expired(taken[i].accepted_ms, now, &d->retry))
			charge(d, site, &taken[i], remote, 0, reason);
		else
			s->spool_backend->release(s->spool, &taken[i], now);
	schedule_site_failed(d->schedule, site, now, deliver_random32(), reason);
}

void deliver_site_refused(struct deliver *d, struct site *site, int code, struct slice text)
{
	struct spool_ticket t;

	for (size_t n = 0; n < CHARGED && schedule_take(d->schedule, site, clock_steady_ms(), &t);
	     n++)
		charge(d, site, &t, site->name, code, text);
}

void deliver_site_rests(struct deliver *d, struct site *site, struct slice reason)
{
	schedule_site_failed(d->schedule, site, clock_steady_ms(), deliver_random32(), reason);
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
	arena_init(&d->strings, 64 << 10);
	if (!bounce_conf(s->conf, &d->strings, &d->bounce, e)) {
		arena_done(&d->strings);
		free(d);
		return NULL;
	}
	d->notices_per_hour = s->conf->bounce.per_hour;
	keyring_random(d->rate.key, sizeof d->rate.key);
	d->retry = retry_of(s->conf);
	sc.retry = d->retry;
	/* A site that is down is looked at more often than a message that was refused is retried.
	 */
	if (sc.retry.max_ms > 15 * 60 * 1000)
		sc.retry.max_ms = 15 * 60 * 1000;
	keyring_random(sc.hash_key, sizeof sc.hash_key);
	d->schedule = schedule_new(s->spool_backend, s->spool, &s->routes, &sc);
	d->mx = mx_new(d);
	if (!d->schedule || !d->mx) {
		schedule_free(d->schedule);
		mx_free(d->mx);
		arena_done(&d->strings);
		free(d);
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	d->wake.run = on_wake;
	loop_timer_init(&d->timer, home->loop, on_timer, d);
	loop_timer_init(&d->again, home->loop, settle_again, d);
	return d;
}

void deliver_free(struct deliver *d)
{
	if (!d)
		return;
	for (struct site *site = NULL; (site = schedule_site(d->schedule, site));)
		smtp_out_abort(site);
	mx_free(d->mx);
	loop_timer_cancel(&d->timer);
	loop_timer_cancel(&d->again);
	settle_forget(d);
	schedule_free(d->schedule);
	arena_done(&d->strings);
	free(d);
}
