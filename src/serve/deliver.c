#include "ops/clock.h"
#include "ops/log.h"
#include "serve/capture.h"
#include "serve/deliver_impl.h"
#include "serve/generation.h"
#include "serve/mx.h"
#include "serve/route_set.h"
#include "serve/smtp_out.h"

#include <stdlib.h>

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

/* A retired site goes with its last connection. */
static void for_each_site(struct deliver *d, void (*fn)(struct site *))
{
	struct site *next;

	for (struct site *site = schedule_site(d->schedule, NULL); site; site = next) {
		next = schedule_site(d->schedule, site);
		fn(site);
	}
}

/* No connection is free and somebody wants one: those that hold one for nothing give way. */
static void hurry(struct deliver *d, uint64_t now)
{
	if (now < d->hurried_ms + HURRY_MS || !schedule_wanting(d->schedule, now))
		return;
	d->hurried_ms = now;
	for_each_site(d, smtp_out_hurry);
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
	while (d->connections < d->home->now->conf->delivery.connections &&
	       (site = schedule_wants(d->schedule, now))) {
		unsigned active = site->active;

		if (site->kind == SITE_NOWHERE) {
			deliver_site_failed(d, site, S(""), S("no route leads to its domain"));
			continue;
		}
		start(d, site);
		/* It could not be started now, for want of memory or of a worker: soon again, the
		 * others with it. */
		if (site->active == active) {
			wait = now + 100;
			break;
		}
	}
	if (d->connections >= d->home->now->conf->delivery.connections)
		hurry(d, now);
	if (schedule_lookups_full(d->schedule))
		mx_hurry(d->mx);
	if (schedule_lookups_full(d->schedule) ||
	    d->connections >= d->home->now->conf->delivery.connections)
		wait = wait < now + HURRY_MS ? wait : now + HURRY_MS;
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
	for_each_site(d, smtp_out_shutdown);
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

/* A site that is down is looked at more often than a message that was refused is retried. */
static struct retry_config site_retry_of(const struct conf *c)
{
	struct retry_config r = retry_of(c);

	if (r.max_ms > 15 * 60 * 1000)
		r.max_ms = 15 * 60 * 1000;
	return r;
}

static void end_retired(struct site *site)
{
	if (site->retired)
		smtp_out_shutdown(site);
}

bool deliver_reroute(struct deliver *d, const struct generation *now)
{
	const struct generation *before = d->home->now;
	size_t *map = calloc(before->routes.n + 1, sizeof *map);
	struct retry_config retry = site_retry_of(now->conf);
	bool ok = map;

	if (ok) {
		route_set_map(before->route_set, now->route_set, map);
		ok = schedule_reroute(d->schedule, &now->routes, map, &retry);
	}
	free(map);
	if (!ok)
		return false;
	d->retry = retry_of(now->conf);
	mx_rerouted(d->mx);
	for_each_site(d, end_retired);
	deliver_wake(d);
	return true;
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
	keyring_random(d->rate.key, sizeof d->rate.key);
	d->retry = retry_of(home->now->conf);
	sc.retry = site_retry_of(home->now->conf);
	keyring_random(sc.hash_key, sizeof sc.hash_key);
	d->schedule = schedule_new(s->spool_backend, s->spool, &home->now->routes, &sc);
	d->mx = mx_new(d);
	if (!d->schedule || !d->mx) {
		schedule_free(d->schedule);
		mx_free(d->mx);
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
	for_each_site(d, smtp_out_abort);
	mx_free(d->mx);
	loop_timer_cancel(&d->timer);
	loop_timer_cancel(&d->again);
	settle_forget(d);
	schedule_free(d->schedule);
	free(d);
}
