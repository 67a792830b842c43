/* serve/run.c -- a server at work. */
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/readable.h"
#include "serve/deliver.h"
#include "serve/running.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void *home_main(void *arg)
{
	struct home *h = arg;

	loop_run(h->loop);
	return NULL;
}

bool start_threads(struct running *r, struct err *e)
{
	struct server *s = &r->server;
	sigset_t all, old;
	bool ok = true;

	r->threads = calloc(s->n_homes, sizeof *r->threads);
	if (!r->threads)
		return err_set(e, ERR_LATER, "out of memory");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 1; ok && i < s->n_homes; i++)
		ok = !pthread_create(&r->threads[i], NULL, home_main, &s->homes[i]);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ok || err_set(e, ERR_LATER, "cannot start threads");
}

/* What is set aside is said at every start, until somebody looks. */

static void log_damage(const struct server *s)
{
	struct spool_damage d[16];
	size_t from = 0, n;

	do {
		n = s->spool_backend->damaged(s->spool, from, d, 16);
		for (size_t i = 0; i < n; i++)
			log_event(LOG_SPOOL_DAMAGED, F_CSTR("where", d[i].where),
				  F_CSTR("reason", d[i].reason), F_ID("id", d[i].id));
		from += n;
	} while (n == 16 && from < 1000);
}

/* Root has read it all; who we are now may not, and a reload is not root. */
static void log_unreadable(struct slice path)
{
	char name[4096], about[400];
	struct err why;

	snprintf(name, sizeof name, "%.*s", SLICE_ARG(path));
	if (!path.n || readable_check(name, &why))
		return;
	snprintf(about, sizeof about, "a reload could not read this: %s", why.text);
	log_event(LOG_WARNING, F_CSTR("about", about));
}

static void log_warnings(const struct generation *g, const char *config)
{
	const struct conf *c = g->conf;
	struct err w;

	log_unreadable(slice_str(config));
	for (size_t i = 0; i < c->tls.certificate.n; i++) {
		log_unreadable(c->tls.certificate.at[i]);
		log_unreadable(c->tls.key.at[i]);
	}
	for (size_t i = 0; i < c->n_routes; i++) {
		log_unreadable(c->routes[i].password_file);
		log_unreadable(c->routes[i].ca_file);
	}

	for (size_t i = 0; generation_warning(g, i, clock_wall_ms(), &w); i++)
		log_event(LOG_WARNING, F_CSTR("about", w.text));
}

/* The service manager hears of us as long as every loop goes round: one that hangs is the end of
 * all. A loop looks up once a second (watch.c). */
static void on_alive(void *arg)
{
	struct running *r = arg;
	uint64_t now = clock_mono_ms(), late = 2000 + r->notify.watchdog_ms / 2;
	bool alive = true;

	for (unsigned i = 0; i < r->server.n_homes; i++)
		if (now > atomic_load(&r->server.homes[i].beat_ms) + late)
			alive = false;
	if (alive)
		notify_alive(&r->notify);
	loop_timer_set(&r->alive, r->notify.watchdog_ms / 3);
}

void run_to_the_end(struct running *r)
{
	struct server *s = &r->server;

	log_damage(s);
	log_warnings(s->homes[0].now, r->config);
	deliver_wake(s->deliver);
	loop_timer_init(&r->alive, s->homes[0].loop, on_alive, r);
	if (r->notify.watchdog_ms)
		on_alive(r);
	notify_ready(&r->notify, S("at work"));
	loop_run(s->homes[0].loop);
	for (unsigned i = 1; i < s->n_homes; i++)
		pthread_join(r->threads[i], NULL);
}
