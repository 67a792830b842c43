/* tests/bench/path_twin.h -- the loop room, the clock and the next hop, in memory and in one
 * thread.
 *
 * Linked before the rooms, so that serve/ runs on it unchanged: a stream is a pair of buffers, TLS
 * a word, lanes and batches are lists that twin_work() empties, time is a number, and what is
 * random comes from a counter. The next hop reads each message and says yes. */
#ifndef PATH_TWIN_H
#define PATH_TWIN_H

#include "base/slice.h"

#define TWIN_PEERS 64

/* A client says this (the bytes stay valid until it is heard out), and the server is told. */
void twin_say(int peer, struct slice bytes);
/* What the server has said since it was asked last; valid until it speaks again. */
struct slice twin_heard(int peer);
/* Everything that is queued, and what that leads to, until nothing is left. Each batch does what
 * waits, at most `batch` jobs at once. */
void twin_work(unsigned batch);
/* A millisecond passes. */
void twin_tick(void);

#endif
