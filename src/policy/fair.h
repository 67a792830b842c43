/* policy/fair.h -- who is served next, of those who wait for something slow and scarce.
 *
 * Lower ranks go first; but one pick in FAIR_OLDEST takes whoever came first at all, so that nobody
 * waits for ever. Within a rank it is start-time fair queueing (Goyal, Vin and Cheng, 1996) of
 * items that cost the same: each source has one item in each round, so whoever brings a hundred
 * waits a hundred rounds, and who brings one is served in this one.
 *
 * At most at_once items are under way, per_source of one source, and target_max towards the same
 * target: one that hangs does not take all places. At most `waiting` wait, and waiting_per_source
 * of one source: beyond that the last item of the highest rank's latest round goes (of that
 * source), be it the newcomer.
 *
 * Items are embedded in what they are about, and stay valid until they are out. Not thread-safe. */
#ifndef POLICY_FAIR_H
#define POLICY_FAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAIR_OLDEST 4
#define FAIR_RANKS  3

enum fair_state {
	FAIR_OUT,
	FAIR_WAITS,
	FAIR_UNDER_WAY,
};

struct fair_item {
	unsigned char source[16];
	const void *target;  /* compared, never looked into */
	unsigned target_max; /* at least 1 */
	unsigned rank;       /* below FAIR_RANKS */
	/* The queue's own. */
	enum fair_state state;
	uint64_t round;
	struct fair_item *before, *next;
};

struct fair_list {
	struct fair_item *first, *last;
	size_t n;
};

struct fair {
	size_t at_once, per_source, waiting, waiting_per_source; /* at least 1 each */
	/* The queue's own; zeros at first. */
	struct fair_list waits, under_way; /* in the order they came, and were begun */
	uint64_t round[FAIR_RANKS];        /* of the latest one begun */
	uint64_t begun;
};

/* Takes the item, which is out, or not: *ret_evicted has lost its place, the new one or another;
 * NULL: nobody has. */
void fair_add(struct fair *, struct fair_item *, struct fair_item **ret_evicted);
/* The next one, from now on under way; NULL: none may begin now. */
struct fair_item *fair_next(struct fair *);
/* It is out, whatever it was. */
void fair_leave(struct fair *, struct fair_item *);

#endif
