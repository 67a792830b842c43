/* serve/commit.h -- the way into the spool: one batch, one sync, then everybody's answer.
 *
 * A commit is posted from a loop thread and comes back there. What its operation points to stays
 * alive and unchanged in between: it belongs to the job, not to a connection that may go. */
#ifndef SERVE_COMMIT_H
#define SERVE_COMMIT_H

#include "loop/work.h"
#include "spool/spool.h"

struct server;

struct commit {
	struct job job; /* job.home and job.done are the caller's to set */
	struct spool_op op;
	/* Not empty: instead of op, is a file written and synced in this spool's directory? Nothing
	 * acknowledged depends on it, so its failure breaks nothing. */
	struct slice probe;
	bool probe_ok;
	struct err probe_error;
};

/* From a worker: commits and waits. The operations may point anywhere. False: the queue is full. */
bool commit_wait(void *server, struct spool_op *const *ops, size_t n);

/* The committer's batch function; its context is the server. */
void commit_run(struct job **jobs, size_t n, void *server);

#endif
