#include "loop/work.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* The queue of both: jobs in order, one lock held for a few instructions. */
struct queue {
	pthread_mutex_t lock;
	pthread_cond_t some;
	struct job *first, **last;
	size_t n, max;
	unsigned idle;
	bool stop;
};

static void queue_init(struct queue *q, size_t max)
{
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->some, NULL);
	q->last = &q->first;
	q->max = max;
}

static void queue_done(struct queue *q)
{
	pthread_cond_destroy(&q->some);
	pthread_mutex_destroy(&q->lock);
}

/* *ret_sleeping: somebody waits, and for so many jobs that they should be woken. */
static bool queue_put(struct queue *q, struct job *j, size_t many, bool *ret_sleeping)
{
	bool ok;

	j->next = NULL;
	pthread_mutex_lock(&q->lock);
	ok = q->n < q->max && !q->stop;
	if (ok) {
		*q->last = j;
		q->last = &j->next;
		q->n++;
	}
	*ret_sleeping = ok && q->idle > 0 && q->n >= many;
	pthread_mutex_unlock(&q->lock);
	if (*ret_sleeping)
		pthread_cond_signal(&q->some);
	return ok;
}

static void queue_wake(struct queue *q)
{
	bool wake;

	pthread_mutex_lock(&q->lock);
	wake = q->first && q->idle > 0;
	pthread_mutex_unlock(&q->lock);
	if (wake)
		pthread_cond_signal(&q->some);
}

/* Waits for work; false: the end. The caller holds the lock. */
static bool queue_wait(struct queue *q)
{
	while (!q->first && !q->stop) {
		q->idle++;
		pthread_cond_wait(&q->some, &q->lock);
		q->idle--;
	}
	return q->first;
}

static void queue_stop(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->stop = true;
	pthread_mutex_unlock(&q->lock);
	pthread_cond_broadcast(&q->some);
}

static void come_back(struct loop_task *t)
{
	struct job *j = (struct job *)(void *)((char *)t - offsetof(struct job, back));

	j->done(j);
}

void job_return(struct job *j)
{
	j->back.run = come_back;
	loop_post(j->home, &j->back);
}

/* Each home gets all of its jobs in one wake: woken by the first, it would answer that one alone,
 * and on a single core keep the others from being sent. A job that was posted is not ours any
 * more; its place in the array is emptied before. */
static void send_all_back(struct job **jobs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct loop *home = jobs[i] ? jobs[i]->home : NULL;
		struct loop_chain chain = { 0 };

		/* Whoever waits for it may be gone when this returns. */
		if (jobs[i] && !home) {
			jobs[i]->done(jobs[i]);
			jobs[i] = NULL;
		}
		for (size_t k = i; home && k < n; k++) {
			if (!jobs[k] || jobs[k]->home != home)
				continue;
			jobs[k]->back.run = come_back;
			loop_chain_add(&chain, &jobs[k]->back);
			jobs[k] = NULL;
		}
		if (home)
			loop_post_chain(home, &chain);
	}
}

/* Signals belong to the first loop. */
static bool start_thread(pthread_t *ret, void *(*main)(void *), void *arg, const char *name,
			 struct err *e)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(ret, NULL, main, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		return err_set(e, ERR_LATER, "thread %s: %s", name, strerror(rc));
	pthread_setname_np(*ret, name);
	return true;
}

struct worker {
	struct lane *lane;
	void *ctx;
	pthread_t thread;
	bool running;
};

struct lane {
	struct queue queue;
	struct lane_conf conf;
	struct worker *workers;
};

static void *lane_main(void *arg)
{
	struct worker *w = arg;
	struct queue *q = &w->lane->queue;

	pthread_mutex_lock(&q->lock);
	while (queue_wait(q)) {
		struct job *j = q->first;

		q->first = j->next;
		if (!q->first)
			q->last = &q->first;
		q->n--;
		pthread_mutex_unlock(&q->lock);
		j->run(j, w->ctx);
		job_return(j);
		pthread_mutex_lock(&q->lock);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

struct lane *lane_new(const struct lane_conf *conf, struct err *e)
{
	struct lane *l = calloc(1, sizeof *l);

	if (l)
		l->workers = calloc(conf->threads, sizeof *l->workers);
	if (!l || !l->workers) {
		free(l);
		err_set(e, ERR_LATER, "lane %s: out of memory", conf->name);
		return NULL;
	}
	l->conf = *conf;
	queue_init(&l->queue, conf->queue_max);
	for (unsigned i = 0; i < conf->threads; i++) {
		struct worker *w = &l->workers[i];

		w->lane = l;
		if (conf->open && !(w->ctx = conf->open(conf->arg, e))) {
			lane_free(l);
			return NULL;
		}
		w->running = start_thread(&w->thread, lane_main, w, conf->name, e);
		if (!w->running) {
			lane_free(l);
			return NULL;
		}
	}
	return l;
}

void lane_free(struct lane *l)
{
	if (!l)
		return;
	queue_stop(&l->queue);
	for (unsigned i = 0; i < l->conf.threads; i++) {
		struct worker *w = &l->workers[i];

		if (w->running)
			pthread_join(w->thread, NULL);
		if (w->ctx && l->conf.close)
			l->conf.close(w->ctx);
	}
	queue_done(&l->queue);
	free(l->workers);
	free(l);
}

bool lane_post(struct lane *l, struct job *j)
{
	bool woken;

	return queue_put(&l->queue, j, 1, &woken);
}

/* A sleeping batch is woken by so many jobs, or when the loop that posted some is through with its
 * turn: woken by the first it would take the core, on one core, and commit that one alone. */
#define WAKE_AT 16

struct batch {
	struct queue queue;
	void (*run)(struct job **jobs, size_t n, void *ctx);
	void *ctx;
	struct job **jobs; /* room for queue.max */
	pthread_t thread;
};

static void *batch_main(void *arg)
{
	struct batch *b = arg;
	struct queue *q = &b->queue;

	pthread_mutex_lock(&q->lock);
	while (queue_wait(q)) {
		size_t n = 0;

		for (struct job *j = q->first; j; j = j->next)
			b->jobs[n++] = j;
		q->first = NULL;
		q->last = &q->first;
		q->n = 0;
		pthread_mutex_unlock(&q->lock);
		b->run(b->jobs, n, b->ctx);
		send_all_back(b->jobs, n);
		pthread_mutex_lock(&q->lock);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

struct batch *batch_new(const char *name, size_t queue_max,
			void (*run)(struct job **jobs, size_t n, void *ctx), void *ctx,
			struct err *e)
{
	struct batch *b = calloc(1, sizeof *b);

	if (b)
		b->jobs = calloc(queue_max, sizeof(struct job *));
	if (!b || !b->jobs) {
		free(b);
		err_set(e, ERR_LATER, "%s: out of memory", name);
		return NULL;
	}
	b->run = run;
	b->ctx = ctx;
	queue_init(&b->queue, queue_max);
	if (!start_thread(&b->thread, batch_main, b, name, e)) {
		queue_done(&b->queue);
		free(b->jobs);
		free(b);
		return NULL;
	}
	return b;
}

void batch_free(struct batch *b)
{
	if (!b)
		return;
	queue_stop(&b->queue);
	pthread_join(b->thread, NULL);
	queue_done(&b->queue);
	free(b->jobs);
	free(b);
}

static void end_of_turn(void *batch)
{
	struct batch *b = batch;

	queue_wake(&b->queue);
}

bool batch_post(struct batch *b, struct job *j)
{
	struct loop *home = j->home;
	bool woken, ok = queue_put(&b->queue, j, home ? WAKE_AT : 1, &woken);

	if (ok && !woken && home)
		loop_before_wait(home, end_of_turn, b);
	return ok;
}
