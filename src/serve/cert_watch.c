/* serve/cert_watch.c -- certificates that change by themselves, as an ACME client renews them.
 *
 * The files are looked at every so often. A change counts when two looks in a row see the same: who
 * writes may be half done. As long as what is on disk is not what is in use, each look asks for a
 * reload of the certificates; one that fails keeps the old ones. */
#include "serve/reload.h"
#include "serve/running.h"

#include <stdlib.h>

struct cert_watch {
	struct running *running;
	struct loop_timer timer;
	struct job job;
	bool busy;
	const struct conf *conf; /* held, while a job looks at its files */
	uint64_t seen, before;   /* stamps */
};

static const struct generation *now_of(const struct cert_watch *w)
{
	return w->running->server.homes[0].now;
}

void cert_watch_again(struct cert_watch *w)
{
	uint64_t every = w ? now_of(w)->conf->tls.watch : 0;

	if (every && !w->running->stop_asked)
		loop_timer_set(&w->timer, every);
	else if (w)
		loop_timer_cancel(&w->timer);
}

static void look_run(struct job *job, void *ctx)
{
	struct cert_watch *w =
	    (struct cert_watch *)(void *)((char *)job - offsetof(struct cert_watch, job));

	(void)ctx;
	w->seen = generation_stamp(w->conf);
}

static void look_done(struct job *job)
{
	struct cert_watch *w =
	    (struct cert_watch *)(void *)((char *)job - offsetof(struct cert_watch, job));
	/* A reload meanwhile may have brought other files. */
	bool same_files = w->conf == now_of(w)->conf;
	bool changed = same_files && w->seen == w->before && w->seen != now_of(w)->stamp;

	w->busy = false;
	w->before = w->seen;
	conf_free(w->conf);
	w->conf = NULL;
	cert_watch_again(w);
	if (changed && !w->running->stop_asked)
		reload_ask(w->running->reload, RELOAD_CERTIFICATES, NULL);
}

static void on_timer(void *arg)
{
	struct cert_watch *w = arg;

	if (w->busy)
		return;
	w->conf = conf_hold(now_of(w)->conf);
	w->job = (struct job){ .run = look_run,
			       .done = look_done,
			       .home = w->running->server.homes[0].loop };
	w->busy = lane_post(w->running->server.files, &w->job);
	if (w->busy)
		return;
	conf_free(w->conf);
	w->conf = NULL;
	cert_watch_again(w);
}

struct cert_watch *cert_watch_new(struct running *r, struct err *e)
{
	struct cert_watch *w = calloc(1, sizeof *w);

	if (!w) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	w->running = r;
	loop_timer_init(&w->timer, r->server.homes[0].loop, on_timer, w);
	cert_watch_again(w);
	return w;
}

void cert_watch_free(struct cert_watch *w)
{
	if (!w)
		return;
	loop_timer_cancel(&w->timer);
	conf_free(w->conf);
	free(w);
}
