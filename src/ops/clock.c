#include "ops/clock.h"

#include <stdatomic.h>
#include <time.h>

static uint64_t now_ms(clockid_t which)
{
	struct timespec t;

	clock_gettime(which, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t clock_mono_ms(void)
{
	return now_ms(CLOCK_MONOTONIC);
}

uint64_t clock_mono_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t clock_wall_ms(void)
{
	return now_ms(CLOCK_REALTIME);
}

uint64_t clock_steady_ms(void)
{
	/* Set once, by whoever asks first; the same for everybody after that. */
	static atomic_uint_fast64_t offset;
	uint64_t mono = clock_mono_ms(), have = atomic_load_explicit(&offset, memory_order_relaxed);

	if (!have) {
		uint64_t mine = clock_wall_ms() - mono;

		have = atomic_compare_exchange_strong(&offset, &have, mine) ? mine : have;
	}
	return have + mono;
}
