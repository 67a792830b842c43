/* loop/loop.h -- one event loop, run by one thread.
 *
 * Everything here is called by the loop's own thread, except loop_post() and loop_stop(), which
 * any thread may call. Times are milliseconds of the monotonic clock. */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "base/err.h"
#include "base/heap.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;

/* Something to do on a loop's thread. Embedded in what it is about; it is out of the queue before
 * run() is called, which may post it again. Posted once at a time. */
struct loop_task {
	void (*run)(struct loop_task *);
	struct loop_task *_Atomic next;
};

/* NULL on failure. */
struct loop *loop_new(struct err *e);
void loop_free(struct loop *);
/* Until loop_stop(). Tasks posted before it are run. */
void loop_run(struct loop *);
void loop_stop(struct loop *);
/* From any thread. Tasks of one poster run in the order posted. */
void loop_post(struct loop *, struct loop_task *);
/* Several at once: one wake, and none of them runs before all are posted. They run in the order
 * added. A chain starts as { 0 } and is empty again afterwards; posting an empty one does nothing.
 */
struct loop_chain {
	struct loop_task *newest, *oldest;
};
void loop_chain_add(struct loop_chain *, struct loop_task *);
void loop_post_chain(struct loop *, struct loop_chain *);
/* The time, read once a turn. */
/* Runs once, before the loop waits for events again; at once when it does not run. One at a time:
 * another one makes the first run now. On the loop's thread. */
void loop_before_wait(struct loop *, void (*run)(void *arg), void *arg);

uint64_t loop_now(const struct loop *);

/* A deadline. Moving it later costs nothing but a store: it is looked at again when the old time
 * comes. Embedded; cancelled before its storage goes. */
struct loop_timer {
	struct heap_node node; /* key: when it is looked at */
	struct loop *loop;
	void (*fire)(void *arg);
	void *arg;
	uint64_t due; /* UINT64_MAX: off */
};

void loop_timer_init(struct loop_timer *, struct loop *, void (*fire)(void *arg), void *arg);
/* From now. Replaces what was set. 0: in the next turn; what is set while timers fire never fires
 * in the same turn. */
void loop_timer_set(struct loop_timer *, uint64_t ms);
void loop_timer_cancel(struct loop_timer *);

/* A place in the queue for work that is dear (a TLS handshake): of all that ask, a few are served a
 * turn, in order, and between the turns whoever is ready is. So a flood of strangers costs those
 * who are at work a few handshakes' time and no more. Those who are first come before all others;
 * those who are last behind them, but for one in LOOP_DEAR_LAST, so that they do not wait for ever.
 * Embedded, zeroed, cancelled before its storage goes. */
#define LOOP_DEAR_LAST 4
enum loop_dear_rank {
	LOOP_DEAR_OTHERS,
	LOOP_DEAR_IS_FIRST,
	LOOP_DEAR_IS_LAST,
	LOOP_DEAR_RANKS,
};
struct loop_dear {
	struct loop_dear *next, **at; /* at: NULL while not queued */
	enum loop_dear_rank rank;     /* not changed while it is queued */
	void (*run)(struct loop_dear *);
};
/* true: go on at once. Else d->run() comes in this turn or a later one; asking again changes
 * nothing. A loop that is not run has no turns: always true. */
bool loop_dear_ask(struct loop *, struct loop_dear *);
void loop_dear_cancel(struct loop *, struct loop_dear *);

/* Readiness of a descriptor. The callback may end the watch (loop_io_done) or free its owner. */
struct event;
struct loop_io {
	struct loop *loop;
	struct event *in, *out;
	int fd;
	bool want_in, want_out;
	bool watched; /* `in` is registered: it may be so for longer than want_in */
	bool again;
	void (*ready)(void *arg);
	void *arg;
};

bool loop_io_init(struct loop_io *, struct loop *, int fd, void (*ready)(void *arg), void *arg);
/* Level-triggered. Not to want `in` for a while costs nothing: the descriptor stays registered
 * until it becomes readable in vain. So a peer that waits for our answer costs no system call here.
 */
void loop_io_want(struct loop_io *, bool in, bool out);
/* Calls ready() once more in this turn or the next, though nothing may have changed. */
void loop_io_again(struct loop_io *);
void loop_io_done(struct loop_io *);

/* SIGTERM, SIGINT and SIGHUP for one loop of the process: the handler runs on the loop. SIGPIPE is
 * ignored from here on. */
bool loop_signals(struct loop *, void (*handler)(void *arg, int signo), void *arg, struct err *e);

#endif
