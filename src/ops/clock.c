#include "ops/clock.h"

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

uint64_t clock_wall_ms(void)
{
	return now_ms(CLOCK_REALTIME);
}
