/* serve/deliver_impl.h -- what the files of handing on share.
 *
 *     deliver.c  what begins when
 *     charge.c   a site that cannot be used
 *     settle.c   an outcome becomes durable
 *     notice.c   the sender is told of it, before */
#ifndef SERVE_DELIVER_IMPL_H
#define SERVE_DELIVER_IMPL_H

#include "relay/bounce.h"
#include "serve/deliver.h"
#include "serve/server.h"

struct deliver {
	struct home *home;
	struct schedule *schedule;
	struct mx *mx;
	struct retry_config retry;
	struct loop_task wake;
	atomic_bool woken;
	struct loop_timer timer;
	bool stopping;
	size_t attempts, settling;
	size_t connections;  /* of the attempts; jobs and lookups count, too */
	uint64_t hurried_ms; /* when those that hold one for nothing were last looked for */
	/* Outcomes for which the disk has no room. While there are any, nothing is handed on that
	 * could not be recorded either: each would be sent again after a crash. */
	struct settle *unrecorded;
	size_t n_unrecorded; /* those under way again, too */
	/* Outcomes of which a sender is to be told and cannot be, for want of room. The others go
	 * on. */
	struct settle *untold;
	size_t n_untold;
	struct loop_timer again;
	struct bounce_rate rate;
};

struct notices;

struct settle {
	struct commit commit;
	struct settle *next;
	bool unrecorded;
	struct deliver *deliver;
	struct generation *rules; /* held: what it is judged by */
	struct spool_ticket ticket;
	struct spool_verdict *verdicts; /* those of the commit */
	struct arena arena;
	struct notices *notices; /* NULL: nobody is told anything, as nearly always */
};

/* -- settle.c -- */

/* How often what found no room is tried again. */
#define DELIVER_AGAIN_MS 1000

uint32_t deliver_random32(void);
/* Makes the outcome durable, and is done with it. */
void settle_post(struct settle *);
void settle_free(struct settle *);
void settle_again(void *deliver);
/* At the end: forgets what found no room. */
void settle_forget(struct deliver *);
/* rcpts: of the envelope; only the paths of those in verdicts are looked at. */
void settle_log(const struct spool_ticket *, const struct spool_rcpt *rcpts,
		const struct outcome_answer *, const struct spool_verdict *, size_t n,
		const struct deliver_facts *);

/* -- notice.c -- */

/* Decides who is to be told of what, and marks the verdicts so. *ret_notice_ms: when one that stays
 * pending is to be told that it takes long. *ret_ok: memory sufficed. Returns NULL when nobody is
 * told anything, else what notices_begin() makes: everything passed is copied. */
struct notices *notices_judge(struct settle *, const struct spool_envelope *,
			      const struct outcome_answer *, size_t n, const struct deliver_facts *,
			      uint64_t now_ms, uint64_t *ret_notice_ms, bool *ret_ok);
/* Writes the notices, puts them into the queue, and then posts the outcome. */
void notices_begin(struct settle *);

#endif
