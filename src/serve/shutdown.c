/* serve/shutdown.c -- the end, asked for by a signal or come by itself. */
#include "account/account.h"
#include "auth/known.h"
#include "dns/dns.h"
#include "history/history.h"
#include "loop/listener.h"
#include "ops/log.h"
#include "sender/domain.h"
#include "serve/ask.h"
#include "serve/deliver.h"
#include "serve/gatekeeper.h"
#include "serve/health.h"
#include "serve/places.h"
#include "serve/reload.h"
#include "serve/running.h"
#include "serve/token_turn.h"
#include "serve/validation.h"

#include <signal.h>
#include <stdlib.h>

/* After the grace, so long for the last replies and for commits under way. */
#define LAST_WORDS_MS 5000

static size_t smtp_open(const struct server *s)
{
	return (size_t)atomic_load(&s->connections);
}

struct home_task {
	struct loop_task task;
	struct running *running;
	struct home *home;
	bool now;
};

static void on_home_shutdown(struct loop_task *t)
{
	struct home_task *ht = (struct home_task *)(void *)t;
	struct running *r = ht->running;

	for (struct opened *o = r->opened; o; o = o->next)
		if (o->home == ht->home && o->door && o->listener)
			listener_stop(o->listener);
	smtp_in_shutdown(ht->home->smtp_in, ht->now);
	free(ht);
}

static void tell_homes(struct running *r, bool now)
{
	for (unsigned i = 0; i < r->server.n_homes; i++) {
		struct home_task *t = calloc(1, sizeof *t);

		if (!t)
			continue;
		*t = (struct home_task){ .task.run = on_home_shutdown,
					 .running = r,
					 .home = &r->server.homes[i],
					 .now = now };
		loop_post(r->server.homes[i].loop, &t->task);
	}
}

static void stop_loops(struct running *r)
{
	for (unsigned i = 0; i < r->server.n_homes; i++)
		loop_stop(r->server.homes[i].loop);
}

/* Every so often while ending, and while running: is there still something to wait for? */
static void on_watch(void *arg)
{
	struct running *r = arg;

	if (atomic_load(&r->server.spool_broken) && !r->stop_asked) {
		/* What the disk holds is only known by reading it afresh: the supervisor starts us
		 * again. Nothing was acknowledged that is not there. */
		r->exit_code = EXIT_FAILED;
		stop_loops(r);
		return;
	}
	if (r->stop_asked && smtp_open(&r->server) == 0 &&
	    (r->grace_over || deliver_busy(r->server.deliver) == 0)) {
		stop_loops(r);
		return;
	}
	loop_timer_set(&r->watch, r->stop_asked ? 20 : 200);
}

static void on_grace(void *arg)
{
	struct running *r = arg;

	/* Whoever does not even read the 421, and a disk that does not end a commit, are left
	 * behind. */
	if (r->grace_over) {
		loop_timer_cancel(&r->watch);
		stop_loops(r);
		return;
	}
	r->grace_over = true;
	tell_homes(r, true);
	loop_timer_set(&r->grace, LAST_WORDS_MS);
	loop_timer_set(&r->watch, 20);
}

static void on_signal(void *arg, int signo)
{
	struct running *r = arg;

	if (signo == SIGHUP) {
		reload_ask(r->reload, RELOAD_SIGNAL, NULL);
		return;
	}
	if (r->stop_asked)
		return;
	r->stop_asked = true;
	atomic_store(&r->server.stopping, true);
	log_event(LOG_STOPPING, F_U64("signal", (uint64_t)signo),
		  F_U64("connections", smtp_open(&r->server)));
	notify_stopping(&r->notify, S("ending: no new mail is taken"));
	deliver_shutdown(r->server.deliver);
	tell_homes(r, false);
	loop_timer_set(&r->grace, r->server.homes[0].now->conf->limits.shutdown_grace);
	loop_timer_set(&r->watch, 20);
}

bool watch_for_the_end(struct running *r, struct err *e)
{
	struct loop *loop = r->server.homes[0].loop;

	loop_timer_init(&r->grace, loop, on_grace, r);
	loop_timer_init(&r->watch, loop, on_watch, r);
	loop_timer_set(&r->watch, 200);
	return loop_signals(loop, on_signal, r, e);
}

void close_all(struct running *r)
{
	struct server *s = &r->server;
	struct opened *o;

	for (unsigned i = 0; s->homes && i < s->n_homes; i++)
		if (s->homes[i].smtp_in)
			smtp_in_abort(s->homes[i].smtp_in);
	/* Jobs under way end first, then the commits they may have asked for. What they send back
	 * to the loops is not run any more: outcomes are durable, answers have nobody to go to. */
	lane_free(s->files);
	/* Only now: a reload under way looks at what is open. */
	for (o = r->opened; o; o = o->next)
		listener_close(o->listener);
	lane_free(s->names);
	lane_free(s->issuers);
	token_turns_free(s->token_turns);
	lane_free(s->watch);
	lane_free(s->work);
	batch_free(s->committer);
	health_free(s->health);
	cert_watch_free(r->cert_watch);
	reload_free(r->reload);
	keeper_free(s->keeper);
	history_close(s->history);
	deliver_free(s->deliver);
	validation_free(s->validation);
	dns_free(s->dns);
	if (s->spool)
		s->spool_backend->close(s->spool);
	gatekeeper_free(s->gatekeeper);
	store_close(s->store);
	keyring_close(s->keyring);
	for (unsigned i = 0; s->homes && i < s->n_homes; i++) {
		smtp_in_home_free(s->homes[i].smtp_in);
		sender_cache_free(s->homes[i].senders);
		auth_known_free(s->homes[i].logins);
		generation_enter(NULL, &s->homes[i]);
		loop_free(s->homes[i].loop);
	}
	places_free(s->places);
	tally_free(s->addresses);
	tally_free(s->accounts);
	free(s->homes);
	while ((o = r->opened)) {
		r->opened = o->next;
		free(o);
	}
	free(r->threads);
}
