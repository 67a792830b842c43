/* policy/retry.h -- when to try again (RFC 5321 section 4.5.4.1).
 *
 * Delays grow by a factor, are jittered so that what failed together does not come back together,
 * and have a ceiling. Randomness and time are parameters. */
#ifndef POLICY_RETRY_H
#define POLICY_RETRY_H

#include <stdbool.h>
#include <stdint.h>

struct retry_config {
	uint64_t base_ms;
	uint32_t factor_permille; /* 1000: constant */
	uint64_t max_ms;          /* of a delay, before jitter */
	uint32_t jitter_permille; /* up to this share is added or taken away; at most 1000 */
	uint64_t lifetime_ms;     /* of a message */
};

/* attempt: failures before this one, 0 for the first. Never 0 and at most twice max_ms. Does not
 * shrink when attempt or random grows. random: uniform. */
uint64_t retry_delay_ms(uint32_t attempt, const struct retry_config *, uint32_t random);
/* A clock that was set back makes nothing expire. */
bool retry_expired(uint64_t accepted_ms, uint64_t now_ms, const struct retry_config *);

#endif
