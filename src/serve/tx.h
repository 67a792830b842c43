/* serve/tx.h -- one mail transaction, from MAIL to its verdict.
 *
 * A transaction owns everything it says: addresses in its arena, the body, the finished head. It
 * outlives its connection when that goes while a job is under way: the job carries the
 * transaction, and whoever finds the connection gone frees it. A message that became durable
 * meanwhile is delivered all the same; the client may have left before hearing 250. */
#ifndef SERVE_TX_H
#define SERVE_TX_H

#include "base/slots.h"
#include "relay/submit.h"
#include "serve/body.h"
#include "serve/commit.h"
#include "smtp/param.h"
#include "smtp/path.h"

struct generation;
struct home;

struct tx {
	struct arena arena;
	struct home *home;
	struct generation *rules; /* held: what it began under */
	struct ref conn;          /* may be gone */
	uint32_t question;
	bool busy;         /* a job holds it */
	unsigned listener; /* the word it is counted under */
	uint64_t ended_ns; /* when its end of data came, monotonic */
	bool committing;   /* and that job is its commit: it may be durable already */

	struct spool_envelope envelope;
	struct slice reverse_domain;
	uint32_t rcpt_cap, dest_cap;
	struct slice *dests;

	struct body body;
	bool last; /* the write job is the one at the end of data */
	struct submission submission;
	struct submit_result result;
	struct submit_question ask;
	uint64_t generation;
	struct spool_content content;
	struct job job;       /* body writes, sender questions */
	struct commit commit; /* the put */
};

struct tx *tx_new(struct home *, struct generation *, uint64_t account, struct slice key_id);
void tx_free(struct tx *);
/* False: memory is out. */
bool tx_mail(struct tx *, const struct smtp_path *, const struct smtp_mail_params *);
/* *ret_dest: the destination it is queued by. False: memory is out, or (dest empty) the domain
 * cannot be a destination. */
bool tx_rcpt(struct tx *, const struct smtp_path *, const struct smtp_rcpt_params *,
	     struct slice dest);

#endif
