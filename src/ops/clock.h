/* ops/clock.h -- the two clocks, and the only place that reads them.
 *
 * Timeouts and intervals use the monotonic clock, which no step of the wall clock moves; dates in
 * messages, logs and the spool use the wall clock. Milliseconds. */
#ifndef OPS_CLOCK_H
#define OPS_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_ms(void);
/* Nanoseconds, for measuring. */
uint64_t clock_mono_ns(void);
uint64_t clock_wall_ms(void);
/* Unix time that no step of the wall clock moves: what the wall clock said when the process first
 * asked, and the monotonic time since. The queue's schedule uses it, so that setting the clock back
 * an hour makes nothing wait an hour, and setting it on makes nothing expire. */
uint64_t clock_steady_ms(void);

#endif
