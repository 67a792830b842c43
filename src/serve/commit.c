#include "serve/commit.h"

#include "base/fault.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/server.h"

#include <pthread.h>
#include <stdlib.h>

/* Large enough that a batch is never split by it at any load seen; a longer queue goes in turns. */
#define BATCH_MAX 1024

static struct commit *commit_of(struct job *j)
{
	return (struct commit *)(void *)((char *)j - offsetof(struct commit, job));
}

static void probe(struct server *s, struct commit *c)
{
	c->probe_ok = spool_probe(c->probe, &c->probe_error);
	if (c->probe_ok)
		atomic_store(&s->commit_ended_ms, clock_mono_ms());
}

static void commit(struct server *s, struct spool_op **ops, size_t n)
{
	struct err e = { 0 };
	uint64_t began = clock_mono_ns();
	bool ok;

	if (!n)
		return;
	/* A sync that failed is never retried as if nothing had happened: what the kernel dropped
	 * is gone. From here on nothing is accepted, and the process ends for its supervisor to
	 * start it afresh, which reads the spool as it is on disk. */
	ok = s->spool_backend->commit(s->spool, ops, n, &e);
	metrics_observe(M_COMMIT_SIZE, n);
	metrics_observe(M_COMMIT_TIME, clock_mono_ns() - began);
	if (ok) {
		atomic_store(&s->commit_ended_ms, clock_mono_ms());
	} else {
		metrics_add(M_COMMIT_FAILED, 0, 0, 1);
		if (!atomic_exchange(&s->spool_broken, true))
			log_event(LOG_SPOOL_FAILED, F_CSTR("reason", e.text));
	}
	FAULT_DIE("before_answer");
}

static void run(struct server *s, struct job **jobs, size_t n)
{
	struct spool_op *ops[BATCH_MAX];
	struct commit *asks = NULL;
	size_t n_ops = 0;

	atomic_store(&s->commit_began_ms, clock_mono_ms());
	for (size_t i = 0; i < n; i++) {
		struct commit *c = commit_of(jobs[i]);

		if (c->probe.n) {
			asks = c; /* one at a time: see health.c */
			continue;
		}
		c->op.result = SPOOL_FAILED;
		ops[n_ops++] = &c->op;
	}
	commit(s, ops, n_ops);
	if (asks)
		probe(s, asks);
	atomic_store(&s->commit_began_ms, 0);
}

void commit_run(struct job **jobs, size_t n, void *server)
{
	while (n) {
		size_t some = n < BATCH_MAX ? n : BATCH_MAX;

		run(server, jobs, some);
		jobs += some;
		n -= some;
	}
}

/* -- from a worker -- */

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t over;
	size_t left;
};

struct waiting {
	struct commit commit;
	struct waiter *waiter;
};

static void one_over(struct job *job)
{
	struct waiter *w = ((struct waiting *)(void *)commit_of(job))->waiter;

	pthread_mutex_lock(&w->lock);
	if (--w->left == 0)
		pthread_cond_signal(&w->over);
	pthread_mutex_unlock(&w->lock);
}

bool commit_wait(void *server, struct spool_op *const *ops, size_t n)
{
	struct server *s = server;
	struct waiting *all = calloc(n ? n : 1, sizeof *all);
	struct waiter w = { .lock = PTHREAD_MUTEX_INITIALIZER, .over = PTHREAD_COND_INITIALIZER };
	bool ok = all;

	for (size_t i = 0; ok && i < n; i++) {
		all[i].commit.op = *ops[i];
		all[i].commit.job = (struct job){ .done = one_over };
		all[i].waiter = &w;
		pthread_mutex_lock(&w.lock);
		w.left++;
		pthread_mutex_unlock(&w.lock);
		ok = batch_post(s->committer, &all[i].commit.job);
		if (!ok) {
			pthread_mutex_lock(&w.lock);
			w.left--;
			pthread_mutex_unlock(&w.lock);
		}
	}
	pthread_mutex_lock(&w.lock);
	while (w.left)
		pthread_cond_wait(&w.over, &w.lock);
	pthread_mutex_unlock(&w.lock);
	for (size_t i = 0; ok && i < n; i++)
		ops[i]->result = all[i].commit.op.result;
	free(all);
	return ok;
}
