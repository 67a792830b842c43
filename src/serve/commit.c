#include "serve/commit.h"

#include "base/fault.h"
#include "ops/log.h"
#include "serve/server.h"

/* Large enough that a batch is never split by it at any load seen; a longer queue goes in turns. */
#define BATCH_MAX 1024

static struct commit *commit_of(struct job *j)
{
	return (struct commit *)(void *)((char *)j - offsetof(struct commit, job));
}

static void run(struct server *s, struct job **jobs, size_t n)
{
	struct spool_op *ops[BATCH_MAX];
	struct err e = { 0 };

	for (size_t i = 0; i < n; i++) {
		ops[i] = &commit_of(jobs[i])->op;
		ops[i]->result = SPOOL_FAILED;
	}
	/* A sync that failed is never retried as if nothing had happened: what the kernel dropped
	 * is gone. From here on nothing is accepted, and the process ends for its supervisor to
	 * start it afresh, which reads the spool as it is on disk. */
	if (!s->spool_backend->commit(s->spool, ops, n, &e) &&
	    !atomic_exchange(&s->spool_broken, true))
		log_event(LOG_SPOOL_FAILED, F_CSTR("reason", e.text));
	FAULT_DIE("before_answer");
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
