/* base/timetext.h -- time as text, always UTC. Input: Unix time in milliseconds. */
#ifndef BASE_TIMETEXT_H
#define BASE_TIMETEXT_H

#include "base/buf.h"

/* RFC 5322 3.3: "Mon, 23 Nov 2026 22:43:16 +0000". */
void time_add_rfc5322(struct buf *out, uint64_t unix_ms);
/* RFC 3339: "2026-11-23T22:43:16.042Z". */
void time_add_rfc3339(struct buf *out, uint64_t unix_ms);
/* Of the day: "22:43:16". */
void time_add_clock(struct buf *out, uint64_t unix_ms);

/* How long, in the largest unit of which it is two or more: "5 days", "90 minutes", "1 second". */
void time_add_span(struct buf *out, uint64_t ms);

#endif
