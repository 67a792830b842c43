#include "serve/reload.h"

#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/deliver.h"
#include "serve/gatekeeper.h"
#include "serve/running.h"
#include "serve/token.h"

#include <stdio.h>
#include <stdlib.h>

/* A home's part. */
struct swap {
	struct loop_task task;
	struct reload *reload;
	struct home *home;
};

struct reload {
	struct running *running;
	struct reload_waiter *asked, *waiting; /* for the next run; for the one under way */
	bool wanted, whole, busy;              /* another run; of the file, too; one is under way */
	enum reload_cause wanted_by;

	/* The run under way */
	enum reload_cause cause;
	bool with_file;
	struct job job;
	struct generation *next;
	struct listener_plan plan;
	struct err error;
	bool joined;        /* the homes are told, and what was opened is the server's */
	struct swap *swaps; /* by home */
	unsigned swapped;

	struct api_reload last;
};

static void begin(struct reload *);

static const char *cause_name(enum reload_cause c)
{
	switch (c) {
	case RELOAD_CERTIFICATES: return "certificates";
	case RELOAD_SIGNAL: return "signal";
	case RELOAD_CONTROL: return "control";
	}
	return "";
}

/* -- the verdict -- */

static void log_verdict(const struct reload *r)
{
	const struct api_reload *v = &r->last;

	if (!v->ok) {
		log_event(LOG_RELOAD_REFUSED, F_CSTR("cause", v->cause),
			  F_CSTR("reason", v->error));
		return;
	}
	log_event(LOG_RELOADED, F_CSTR("cause", v->cause), F_U64("generation", v->generation),
		  F_U64("opened", v->opened), F_U64("closed", v->closed),
		  F_CSTR("restart_needed_for", v->waiting));
	for (unsigned i = 0; i < v->n_warnings; i++)
		log_event(LOG_WARNING, F_CSTR("about", v->warnings[i]));
}

static void tell(struct reload *r)
{
	struct reload_waiter *w = r->waiting, *next;

	r->waiting = NULL;
	for (; w; w = next) {
		next = w->next;
		w->told(w, &r->last);
	}
}

static void notify(const struct reload *r)
{
	const struct api_reload *v = &r->last;
	char room[sizeof v->error + sizeof v->waiting + 80];
	struct buf text = { .p = room, .cap = sizeof room, .max = sizeof room };

	buf_add(&text, v->ok ? S("at work, as it was reloaded") : S("at work; reload refused: "));
	buf_add(&text, slice_str(v->error));
	if (v->ok && v->waiting[0])
		buf_add(&text, S("; waits for a restart: "));
	buf_add(&text, v->ok ? slice_str(v->waiting) : S(""));
	notify_ready(&r->running->notify, buf_slice(&text));
}

static void end(struct reload *r, bool ok)
{
	/* The same complaint again and again (a watched file that stays wrong) is one. */
	bool news = ok || r->cause != RELOAD_CERTIFICATES || r->last.ok || !r->last.at_ms ||
		    strcmp(r->last.error, r->error.text);

	r->last.at_ms = clock_wall_ms();
	r->last.cause = cause_name(r->cause);
	r->last.ok = ok;
	r->last.kind = ok ? ERR_NONE : r->error.kind;
	snprintf(r->last.error, sizeof r->last.error, "%s", ok ? "" : r->error.text);
	r->busy = false;
	metrics_set(M_RELOAD_OK, ok);
	if (ok)
		metrics_set(M_RELOAD_TIME, r->last.at_ms / 1000);
	if (news)
		log_verdict(r);
	if (!r->running->stop_asked)
		notify(r);
	cert_watch_again(r->running->cert_watch);
	tell(r);
	if (r->wanted)
		begin(r);
}

/* What is to be known about a generation that has entered. */
static void note(struct reload *r)
{
	struct api_reload *v = &r->last;
	struct buf waiting = { .p = v->waiting,
			       .cap = sizeof v->waiting - 1,
			       .max = sizeof v->waiting - 1 };
	struct err warning;

	v->generation = r->next->number;
	v->opened = r->plan.opening;
	v->closed = r->plan.closing;
	conf_waiting(r->running->server.boot, r->next->conf, &waiting);
	v->waiting[waiting.n] = '\0';
	v->n_warnings = 0;
	while (v->n_warnings < API_RELOAD_WARNINGS &&
	       generation_warning(r->next, v->n_warnings, clock_wall_ms(), &warning))
		memcpy(v->warnings[v->n_warnings++], warning.text, sizeof warning.text);
}

static void refuse(struct reload *r)
{
	listeners_give_up(&r->plan);
	generation_free(r->next);
	r->next = NULL;
	end(r, false);
}

/* -- the change, home by home -- */

static void all_swapped(struct reload *r)
{
	note(r);
	/* At the end the homes walk the list: then it stays as it is. */
	if (r->running->stop_asked) {
		free(r->plan.at);
		r->plan = (struct listener_plan){ 0 };
	} else {
		listeners_leave(r->running, &r->plan);
	}
	generation_free(r->next);
	r->next = NULL;
	end(r, true);
}

static void on_swapped(struct loop_task *t)
{
	struct reload *r = ((struct swap *)(void *)t)->reload;

	if (++r->swapped == r->running->server.n_homes)
		all_swapped(r);
}

static void on_swap(struct loop_task *t)
{
	struct swap *s = (struct swap *)(void *)t;
	struct reload *r = s->reload;

	listeners_change(&r->plan, s->home);
	generation_enter(r->next, s->home);
	s->task.run = on_swapped;
	loop_post(r->running->server.homes[0].loop, &s->task);
}

static void swap_all(struct reload *r)
{
	struct server *s = &r->running->server;

	listeners_join(r->running, &r->plan);
	r->joined = true;
	gatekeeper_configure(s->gatekeeper, r->next->conf);
	token_warm(s, r->next);
	r->swapped = 0;
	for (unsigned i = 0; i < s->n_homes; i++) {
		r->swaps[i] =
		    (struct swap){ .task.run = on_swap, .reload = r, .home = &s->homes[i] };
		/* Deliveries have changed over already: theirs is the first home. */
		if (i == 0)
			on_swap(&r->swaps[i].task);
		else
			loop_post(s->homes[i].loop, &r->swaps[i].task);
	}
}

/* -- reading, on a worker -- */

static void read_run(struct job *job, void *ctx)
{
	struct reload *r = (struct reload *)(void *)((char *)job - offsetof(struct reload, job));
	struct running *running = r->running;
	/* It stays: only we replace it. */
	const struct generation *now = running->server.homes[0].now;
	const struct conf *conf =
	    r->with_file ? conf_read(running->config, &r->error) : conf_hold(now->conf);

	(void)ctx;
	r->next = conf ? generation_new(&running->server, conf, now, &r->error) : NULL;
	if (r->next && !listeners_plan(running, r->next, &r->plan, &r->error)) {
		generation_free(r->next);
		r->next = NULL;
	}
}

static void read_done(struct job *job)
{
	struct reload *r = (struct reload *)(void *)((char *)job - offsetof(struct reload, job));
	struct deliver *deliver = r->running->server.deliver;

	if (r->next && r->running->stop_asked)
		err_set(&r->error, ERR_CONFLICT, "the server is ending");
	else if (r->next && !deliver_reroute(deliver, r->next))
		err_set(&r->error, ERR_LATER, "out of memory");
	if (!r->next || r->error.kind) {
		refuse(r);
		return;
	}
	swap_all(r);
}

static void begin(struct reload *r)
{
	r->cause = r->wanted_by;
	r->with_file = r->whole;
	r->wanted = r->whole = false;
	r->waiting = r->asked;
	r->asked = NULL;
	r->busy = true;
	r->joined = false;
	r->error = (struct err){ 0 };
	r->job = (struct job){ .run = read_run,
			       .done = read_done,
			       .home = r->running->server.homes[0].loop };
	if (r->cause != RELOAD_CERTIFICATES && !r->running->stop_asked)
		notify_reloading(&r->running->notify);
	if (r->running->stop_asked)
		err_set(&r->error, ERR_CONFLICT, "the server is ending");
	else if (lane_post(r->running->server.files, &r->job))
		return;
	else
		err_set(&r->error, ERR_LATER, "too busy, try again later");
	end(r, false);
}

void reload_ask(struct reload *r, enum reload_cause cause, struct reload_waiter *waiter)
{
	if (waiter) {
		waiter->next = r->asked;
		r->asked = waiter;
	}
	if (!r->wanted || cause > r->wanted_by)
		r->wanted_by = cause;
	r->wanted = true;
	r->whole |= cause != RELOAD_CERTIFICATES;
	if (!r->busy)
		begin(r);
}

const struct api_reload *reload_last(const struct reload *r)
{
	return &r->last;
}

struct reload *reload_new(struct running *running, struct err *e)
{
	struct reload *r = calloc(1, sizeof *r);

	if (r)
		r->swaps = calloc(running->server.n_homes, sizeof *r->swaps);
	if (!r || !r->swaps) {
		free(r);
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	r->running = running;
	r->last.generation = 1;
	return r;
}

void reload_free(struct reload *r)
{
	if (!r)
		return;
	/* The end came between reading and the change. */
	if (!r->joined)
		listeners_give_up(&r->plan);
	free(r->plan.at);
	generation_free(r->next);
	free(r->swaps);
	free(r);
}
