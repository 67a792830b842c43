/* loop/work.h -- what may block: worker lanes, and the batch that commits.
 *
 * A job runs on a worker and comes back to its home loop. It is embedded in what it is about, and
 * whoever posts it owns it again when done() is called. */
#ifndef LOOP_WORK_H
#define LOOP_WORK_H

#include "base/err.h"
#include "loop/loop.h"

struct job {
	void (*run)(struct job *, void *ctx); /* on a worker; not used by batches */
	void (*done)(struct job *);           /* on the home loop */
	struct loop *home; /* batches: NULL: done() is called on the batch's own thread */
	struct loop_task back;
	struct job *next;
};

/* Sends it back to its home as it is: done() is called there. Any thread. */
void job_return(struct job *);

/* A lane: some threads, one bounded queue. */
struct lane;

struct lane_conf {
	const char *name; /* at most 15 characters, shown as the thread's name */
	unsigned threads;
	size_t queue_max;
	/* Each worker's own context, or NULL. */
	void *(*open)(void *arg, struct err *e);
	void (*close)(void *ctx);
	void *arg;
};

/* NULL when a thread or its context could not be made. */
struct lane *lane_new(const struct lane_conf *, struct err *e);
/* Runs what is queued, then ends the threads. NULL is fine. */
void lane_free(struct lane *);
/* False: the queue is full. */
bool lane_post(struct lane *, struct job *);

/* The batch: one thread that takes everything that is waiting and does it at once; what arrives
 * meanwhile waits for the next round. The done()s of a round reach each home loop in one wake. */
struct batch;
struct batch *batch_new(const char *name, size_t queue_max,
			void (*run)(struct job **jobs, size_t n, void *ctx), void *ctx,
			struct err *e);
void batch_free(struct batch *);
/* On the thread of the job's home, or before that runs; on any thread when it has none. False: the
 * queue is full. A batch that sleeps is woken at the end of the loop's turn, so that what a turn
 * posts is one round. */
bool batch_post(struct batch *, struct job *);

#endif
