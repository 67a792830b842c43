/* relay/outcome.h -- what a remote answer means for a recipient.
 *
 * One home for the rule: 2yz delivered, 5yz failed, everything else (4yz, silence, trouble of the
 * network, a reply that makes no sense) pending until its lifetime is over. */
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
};

/* Fills verdicts[n] and returns how many recipients stay pending. When the lifetime of a message
 * is over, what would stay pending has failed. The verdicts' texts are parts of the answers'. */
uint32_t outcome_judge(const struct outcome_answer *, size_t n, uint64_t accepted_ms,
		       uint64_t now_ms, const struct retry_config *,
		       struct spool_verdict *verdicts);

#endif
