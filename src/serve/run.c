/* serve/run.c -- a server at work. */
#include "loop/listener.h"
#include "ops/log.h"
#include "serve/deliver.h"
#include "serve/running.h"

#include <signal.h>
#include <stdlib.h>

static void accepted(void *arg, int fd)
{
	struct opened *o = arg;

	if (o->door)
		smtp_in_accept(o->home, o->door, fd);
	else
		http_in_accept(o->home, o->http, fd);
}

bool start_listeners(struct running *r, struct err *e)
{
	for (size_t i = 0; i < r->n_opened; i++) {
		struct opened *o = &r->opened[i];

		if (!listener_start(o->listener, o->home->loop, accepted, o))
			return err_set(e, ERR_LATER, "listener: out of memory");
		if (o->door && o->home->index == 0)
			log_event(
			    LOG_LISTENING, F_STR("listener", o->door->name),
			    F_U64("port", listener_port(o->listener)),
			    F_CSTR("tls", o->door->session.implicit_tls ? "implicit" : "starttls"));
		if (!o->door && o->http == HTTP_METRICS)
			log_event(LOG_LISTENING, F_CSTR("listener", "metrics"),
				  F_U64("port", listener_port(o->listener)), F_CSTR("tls", "none"));
	}
	return true;
}

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

void run_to_the_end(struct running *r)
{
	struct server *s = &r->server;

	log_damage(s);
	deliver_wake(s->deliver);
	loop_run(s->homes[0].loop);
	for (unsigned i = 1; i < s->n_homes; i++)
		pthread_join(r->threads[i], NULL);
}
