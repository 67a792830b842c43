/* history/history.h -- what became of messages, for a while after they have left the queue.
 *
 * Append-only files of its own, written in batches by a thread of its own, off the path of the
 * mail: whoever adds an event copies a few hundred bytes into memory and goes on. When the thread
 * falls behind, events are dropped and counted; nothing waits. Nothing is synced: a crash costs the
 * last second. Pruned by age and size, a file at a time, the oldest first.
 *
 * Threads: any thread may add and find. */
#ifndef HISTORY_HISTORY_H
#define HISTORY_HISTORY_H

#include "base/arena.h"
#include "base/err.h"
#include "base/id.h"

struct history;

struct history_conf {
	struct slice path; /* directory, mode 0700; made when absent */
	uint64_t keep_ms;  /* at least */
	uint64_t max_size; /* bytes of all files, about */
};

/* What an attempt, or an operator, meant for one recipient. */
struct history_event {
	struct id id;
	uint64_t at_ms, account, accepted_ms; /* Unix time */
	uint32_t attempt;
	unsigned code;        /* SMTP reply code; 0: none */
	struct slice outcome; /* "delivered", "deferred", "failed", "cancelled" */
	struct slice key_id, from, to, route, remote, tls, reply;
};

/* NULL on failure. */
struct history *history_open(const struct history_conf *, struct err *e);
/* Writes what is left. NULL is fine. */
void history_close(struct history *);

/* Texts are copied, up to 512 bytes each. NULL is fine: nothing is kept then. */
void history_add(struct history *, const struct history_event *);
/* Events that were dropped. */
uint64_t history_dropped(struct history *);
/* What is kept of a message, oldest first, at most max events; all of it lives in the arena. Reads
 * files. *ret_n 0: nothing is known. False: it cannot be read. */
bool history_find(struct history *, struct id id, struct arena *, size_t max,
		  struct history_event **ret, size_t *ret_n, struct err *e);

#endif
