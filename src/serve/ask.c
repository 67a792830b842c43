#include "serve/ask.h"

#include "history/history.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "relay/operate.h"
#include "serve/commit.h"
#include "serve/deliver.h"
#include "serve/generation.h"
#include "serve/server.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A loop that does not answer for so long is at its end. */
#define WAIT_S 2

/* -- questions to the loop that owns the schedule -- */

/* Belongs to both sides: whoever lets go last frees it. */
struct question {
	struct loop_task task;
	struct server *server;
	pthread_mutex_t lock;
	pthread_cond_t answered;
	unsigned owners;
	bool done;
	size_t n;
	struct api_site *sites; /* the question's own */
	struct spool_dest *dests;
	bool wake; /* forget their trouble; else: tell of it */
};

static void let_go(struct question *q)
{
	bool last;

	pthread_mutex_lock(&q->lock);
	last = --q->owners == 0;
	pthread_mutex_unlock(&q->lock);
	if (!last)
		return;
	pthread_cond_destroy(&q->answered);
	pthread_mutex_destroy(&q->lock);
	free(q->sites);
	free(q->dests);
	free(q);
}

static void tell(struct question *q, struct schedule *s, size_t i, uint64_t now)
{
	const struct site *site = schedule_site_of(s, slice(q->dests[i].name, q->dests[i].n), now);
	struct api_site *to = &q->sites[i];

	if (!site)
		return;
	snprintf(to->name, sizeof to->name, "%.*s", SLICE_ARG(site->name));
	snprintf(to->reason, sizeof to->reason, "%s", site->reason);
	to->not_before_ms = site->not_before_ms;
	to->failures = site->failures;
	to->connections = site->active;
}

static void on_question(struct loop_task *t)
{
	struct question *q =
	    (struct question *)(void *)((char *)t - offsetof(struct question, task));
	struct schedule *s = deliver_schedule(q->server->deliver);
	uint64_t now = clock_steady_ms();

	for (size_t i = 0; i < q->n; i++)
		if (q->wake)
			schedule_try_again(s, slice(q->dests[i].name, q->dests[i].n), now);
		else
			tell(q, s, i, now);
	if (q->wake) {
		deliver_wake(q->server->deliver);
		keeper_kick(q->server->keeper);
	}
	pthread_mutex_lock(&q->lock);
	q->done = true;
	pthread_cond_signal(&q->answered);
	pthread_mutex_unlock(&q->lock);
	let_go(q);
}

static struct question *question_new(struct server *s, const struct slice *dests, size_t n)
{
	pthread_condattr_t steady;
	struct question *q = calloc(1, sizeof *q);

	if (!q)
		return NULL;
	q->server = s;
	q->n = n;
	q->owners = 2;
	q->task.run = on_question;
	q->sites = calloc(n + 1, sizeof *q->sites);
	q->dests = calloc(n + 1, sizeof *q->dests);
	if (!q->sites || !q->dests) {
		free(q->sites);
		free(q->dests);
		free(q);
		return NULL;
	}
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&steady);
	pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
	pthread_cond_init(&q->answered, &steady);
	pthread_condattr_destroy(&steady);
	for (size_t i = 0; i < n; i++) {
		q->dests[i].n =
		    dests[i].n < sizeof q->dests[i].name ? dests[i].n : sizeof q->dests[i].name;
		memcpy(q->dests[i].name, dests[i].p, q->dests[i].n);
	}
	return q;
}

static bool wait_for(struct question *q)
{
	struct timespec until;
	bool done;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&q->lock);
	while (!q->done && !pthread_cond_timedwait(&q->answered, &q->lock, &until))
		;
	done = q->done;
	pthread_mutex_unlock(&q->lock);
	return done;
}

static bool ask_sites(void *server, const struct slice *dests, size_t n, struct api_site *ret)
{
	struct server *s = server;
	struct question *q = question_new(s, dests, n);
	bool ok;

	if (!q)
		return false;
	loop_post(s->homes[0].loop, &q->task);
	ok = wait_for(q);
	if (ok)
		memcpy(ret, q->sites, n * sizeof *ret);
	let_go(q);
	return ok;
}

static void ask_wake(void *server, const struct slice *dests, size_t n)
{
	struct server *s = server;
	struct question *q = question_new(s, dests, n);

	if (!q) {
		deliver_wake(s->deliver);
		return;
	}
	q->wake = true;
	q->owners = 1; /* nobody waits */
	loop_post(s->homes[0].loop, &q->task);
}

/* -- history -- */

static void note_cancelled(void *server, const struct spool_envelope *env, uint32_t rcpt,
			   const struct actor *by, struct slice note)
{
	struct server *s = server;

	history_add(s->history, &(struct history_event){ .id = env->id,
							 .at_ms = by->now_ms,
							 .account = env->account,
							 .accepted_ms = env->accepted_ms,
							 .outcome = S("cancelled"),
							 .key_id = env->key_id,
							 .from = env->reverse_path,
							 .to = env->rcpts[rcpt].path,
							 .reply = note });
}

struct api_doors ask_doors(struct server *s)
{
	return (struct api_doors){ s, commit_wait, note_cancelled, ask_sites, ask_wake };
}

/* -- states -- */

static struct operate operator(struct server *s, struct store_handle *h)
{
	return (struct operate){ .store = h,
				 .backend = s->spool_backend,
				 .spool = s->spool,
				 .commit = commit_wait,
				 .cancelled = note_cancelled,
				 .arg = s,
				 .by = { S("signet"), clock_wall_ms() },
				 .due_ms = clock_steady_ms() };
}

bool ask_states(struct server *s, struct err *e)
{
	struct store_handle *h = store_attach(s->store, e);
	struct operate o = operator(s, h);
	bool ok = h && operate_states(&o, e);

	store_detach(h);
	return ok;
}

/* -- what is to be cancelled -- */

#define KEEPER_MS 60000
#define SOON_MS   50

struct keeper {
	struct job job;
	struct server *server;
	struct loop_timer timer;
	struct operate_result done;
	struct err error;
	uint64_t closed_keep_ms; /* as the configuration that counts has it */
	bool more, out;
};

static void keeper_run(struct job *job, void *store)
{
	struct keeper *k = (struct keeper *)(void *)job;
	struct operate o = operator(k->server, store);

	k->error = (struct err){ 0 };
	k->done = (struct operate_result){ 0 };
	k->more = false;
	(void)operate_expire(&o, k->closed_keep_ms, &k->done, &k->more, &k->error);
}

/* Nobody's mail is kept for much longer than was said. */
static uint64_t interval(const struct keeper *k)
{
	uint64_t keep = k->closed_keep_ms;

	return keep < 1000 ? 1000 : keep < KEEPER_MS ? keep : KEEPER_MS;
}

static void keeper_done(struct job *job)
{
	struct keeper *k = (struct keeper *)(void *)job;

	k->out = false;
	if (k->error.kind != ERR_NONE)
		log_event(LOG_WARNING, F_CSTR("about", "queued mail that is to be cancelled"),
			  F_CSTR("reason", k->error.text));
	if (k->done.messages)
		log_event(LOG_CANCELLED, F_U64("messages", k->done.messages),
			  F_U64("deliveries", k->done.deliveries));
	loop_timer_set(&k->timer, k->more ? SOON_MS : interval(k));
}

static void keeper_look(void *arg)
{
	struct keeper *k = arg;

	if (k->out || atomic_load(&k->server->stopping))
		return;
	k->closed_keep_ms = k->server->homes[0].now->conf->queue.closed_keep;
	k->out = lane_post(k->server->work, &k->job);
	if (!k->out)
		loop_timer_set(&k->timer, KEEPER_MS);
}

void keeper_kick(struct keeper *k)
{
	loop_timer_set(&k->timer, SOON_MS);
}

struct keeper *keeper_new(struct server *s, struct err *e)
{
	struct keeper *k = calloc(1, sizeof *k);

	if (!k) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	k->server = s;
	k->job = (struct job){ .run = keeper_run, .done = keeper_done, .home = s->homes[0].loop };
	loop_timer_init(&k->timer, s->homes[0].loop, keeper_look, k);
	loop_timer_set(&k->timer, SOON_MS);
	return k;
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	loop_timer_cancel(&k->timer);
	free(k);
}
