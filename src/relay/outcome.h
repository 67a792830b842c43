/* relay/outcome.h -- what a remote answer means for a recipient.
 *
 * One home for the rule: 2yz delivered, 5yz failed, everything else (4yz, silence, trouble of the
 * network, a reply that makes no sense) pending until its lifetime is over. Who is told of it is
 * relay/bounce.h. */
#ifndef RELAY_OUTCOME_H
#define RELAY_OUTCOME_H

#include "policy/retry.h"
#include "spool/spool.h"

#define OUTCOME_TEXT 512 /* bytes of a reply that are kept; what is longer is cut */

/* The answer to one recipient. code 0: there was none (text says why). */
struct outcome_answer {
	uint32_t rcpt;
	int code;
	struct slice text;
	bool remote; /* text is what the remote said, else our own words */
};

/* Fills verdicts[n] and returns how many recipients stay pending. When the lifetime of a message
 * is over, what would stay pending has failed, and its text says so ("expired after 5 days; last
 * answer: ..."; it lives in the arena). The other texts are parts of the answers'. */
uint32_t outcome_judge(const struct outcome_answer *, size_t n, uint64_t accepted_ms,
		       uint64_t now_ms, const struct retry_config *, struct arena *,
		       struct spool_verdict *verdicts);

/* A recipient that failed because its time was over, not because it was refused. */
bool outcome_expired(const struct outcome_answer *, const struct spool_verdict *);

/* When what stays pending is tried again: after the delay that policy/retry.h says, but not later
 * than the end of its lifetime nor than notice_ms (UINT64_MAX: none), the Unix time when somebody
 * is to be told that it takes long. */
uint64_t outcome_next_ms(uint64_t accepted_ms, uint64_t now_ms, uint64_t notice_ms,
			 uint32_t attempts, const struct retry_config *, uint32_t random);

#endif
