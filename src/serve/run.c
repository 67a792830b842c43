/* serve/run.c -- a server at work. */
#include "ops/clock.h"
#include "ops/log.h"
#include "serve/deliver.h"
#include "serve/running.h"

#include <signal.h>
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

static void log_warnings(const struct generation *g)
{
	struct err w;

	for (size_t i = 0; generation_warning(g, i, clock_wall_ms(), &w); i++)
		log_event(LOG_WARNING, F_CSTR("about", w.text));
}

void run_to_the_end(struct running *r)
{
	struct server *s = &r->server;

	log_damage(s);
	log_warnings(s->homes[0].now);
	deliver_wake(s->deliver);
	loop_run(s->homes[0].loop);
	for (unsigned i = 1; i < s->n_homes; i++)
		pthread_join(r->threads[i], NULL);
}
