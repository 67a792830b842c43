/* serve/tally.h -- how many connections each address and each account has open.
 *
 * Counts are shared by all loop threads: one short lock, taken when a connection opens,
 * authenticates and closes, never for a message. */
#ifndef SERVE_TALLY_H
#define SERVE_TALLY_H

#include "base/slice.h"

struct tally;

/* hash_key: random, so that nobody chooses addresses that collide. */
struct tally *tally_new(const uint64_t hash_key[2]);
void tally_free(struct tally *);
/* Counts one more under key unless max are counted already (max 0: no limit). False: full, or
 * memory is out. */
bool tally_add(struct tally *, struct slice key, uint64_t max);
void tally_drop(struct tally *, struct slice key);

/* The same for a client's address as text: of IPv6, a network of 64 bits is one client. */
bool tally_add_client(struct tally *, struct slice address, uint64_t max);
void tally_drop_client(struct tally *, struct slice address);

#endif
