/* relay/operate.h -- what an operator does to queued mail, and what states do to it.
 *
 * Straight-line code for a worker, in bounded steps: a step looks at a few thousand messages and is
 * one commit, so that a million are changed without anybody else waiting for it. Every act leaves a
 * row in the trail.
 *
 * Two kinds of hold. What an account or a key has queued is held by its row in the database (one
 * flag, for what comes later, too); a message, or what a filter finds now, by a record of each
 * delivery in the spool. Both survive a restart; who opens a spool calls operate_states() before
 * the first delivery. */
#ifndef RELAY_OPERATE_H
#define RELAY_OPERATE_H

#include "account/key.h"
#include "spool/spool.h"

enum operate_act { OPERATE_RETRY, OPERATE_HOLD, OPERATE_RELEASE, OPERATE_CANCEL };

struct operate {
	struct store_handle *store;
	const struct spool_backend *backend;
	struct spool *spool;
	/* Commits and waits until that is done. False: nothing is known of the operations. */
	bool (*commit)(void *arg, struct spool_op *const *ops, size_t n);
	/* A recipient was cancelled; may be NULL. */
	void (*cancelled)(void *arg, const struct spool_envelope *, uint32_t rcpt,
			  const struct actor *, struct slice note);
	void *arg;
	struct actor by;
	uint64_t due_ms; /* the time that deliveries go by: now */
};

struct operate_result {
	uint64_t messages, deliveries; /* changed */
	uint64_t under_way;            /* deliveries left as they are: an attempt is under way */
};

/* "retry", "hold", "release", "cancel". */
const char *operate_name(enum operate_act);

/* The messages named; ERR_ABSENT names the first that is not there, and nothing was done. what: for
 * the trail. */
bool operate_ids(struct operate *, enum operate_act, const struct id *, size_t n,
		 struct operate_result *ret, struct err *e);
/* One step through what fits the filter; *at begins at 0 and is WALK_END after the last. what: the
 * filter in words, for the trail. */
bool operate_step(struct operate *, enum operate_act, const struct spool_filter *,
		  struct slice what, uint64_t *at, struct operate_result *ret, struct err *e);

/* Says to the spool what the database says of accounts and keys that have something queued: at
 * start. */
bool operate_states(struct operate *, struct err *e);
/* The same for one account, after its row has changed; or one key. */
bool operate_account(struct operate *, const struct account *, struct err *e);
bool operate_key(struct operate *, const struct key *, struct err *e);
/* One step of cancelling what a row says is to be cancelled, and what closed accounts have had
 * queued for longer than closed_keep_ms. *ret_more: call again soon. */
bool operate_expire(struct operate *, uint64_t closed_keep_ms, struct operate_result *ret,
		    bool *ret_more, struct err *e);

#endif
