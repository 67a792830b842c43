#include "policy/retry.h"

uint64_t retry_delay_ms(uint32_t attempt, const struct retry_config *c, uint32_t random)
{
	uint64_t delay = c->base_ms < c->max_ms ? c->base_ms : c->max_ms;
	uint32_t permille = c->jitter_permille < 1000 ? c->jitter_permille : 1000;
	uint64_t span, twice, share, d;

	for (uint32_t i = 0; i < attempt && delay < c->max_ms && c->factor_permille > 1000; i++) {
		uint64_t grown;

		if (__builtin_mul_overflow(delay, (uint64_t)c->factor_permille, &grown)) {
			delay = c->max_ms;
			break;
		}
		grown /= 1000;
		/* A delay of a few milliseconds times 1.001 would stand still. */
		delay = grown > delay ? grown : delay + 1;
	}
	if (delay > c->max_ms)
		delay = c->max_ms;
	span = delay / 1000 * permille + delay % 1000 * permille / 1000;
	/* Uniform in delay - span .. delay + span: the share twice * (random + 1) / 2^32 of the
	 * width, in two halves, since the product has 97 bits. */
	twice = span <= UINT64_MAX / 2 ? 2 * span : UINT64_MAX;
	share = (uint64_t)random + 1;
	share = (twice >> 32) * share + ((twice & UINT32_MAX) * share >> 32);
	if (__builtin_add_overflow(delay - span, share, &d))
		d = UINT64_MAX;
	return d ? d : 1;
}

bool retry_expired(uint64_t accepted_ms, uint64_t now_ms, const struct retry_config *c)
{
	return now_ms > accepted_ms && now_ms - accepted_ms >= c->lifetime_ms;
}
