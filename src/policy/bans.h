/* policy/bans.h -- who is not let in, and until when.
 *
 * A set of address prefixes, each with a reason and an end. The longest lasting of those that cover
 * an address speaks for it. Bounded: a ban made by hand finds room by ending the automatic one
 * that would end first. Not thread-safe; addresses are 16 octets, IPv4 mapped; times are Unix
 * milliseconds. */
#ifndef POLICY_BANS_H
#define POLICY_BANS_H

#include "base/buf.h"
#include "base/net.h"

#define BAN_REASON_MAX 120
#define BAN_BY_MAX     64
#define BAN_FOR_EVER   INT64_MAX

struct ban {
	struct net prefix;           /* the bits behind it are zero */
	uint64_t began_ms, until_ms; /* until: not any more then */
	bool by_hand;
	char reason[BAN_REASON_MAX + 1]; /* UTF-8 for people, no control bytes */
	char by[BAN_BY_MAX + 1];         /* who: "limiter", a person */
};

struct bans;

/* max: bans kept, at least 1. NULL: memory is out. */
struct bans *bans_new(size_t max, const uint64_t hash_key[2]);
void bans_free(struct bans *);

/* Adds, or puts in the place of the one for the same prefix; but an automatic one never in that of
 * one made by hand, and never to end it sooner. False: it was not added (that; or the set is full
 * of bans made by hand; or memory is out). */
bool bans_add(struct bans *, const struct ban *);
/* False: there is none for this very prefix. */
bool bans_lift(struct bans *, const struct net *);
/* The one that holds the address now, or NULL. Valid until the next call that changes the set. */
const struct ban *bans_hold(const struct bans *, const unsigned char address[16], uint64_t now_ms);
/* Drops those that are over; returns how many. */
size_t bans_expire(struct bans *, uint64_t now_ms);
/* In no order: *at starts at 0; NULL ends. */
const struct ban *bans_each(const struct bans *, size_t *at);
size_t bans_count(const struct bans *);

/* Appends "192.0.2.1", "192.0.2.0/24", "2001:db8::/64", as net_parse() reads it. */
void bans_add_net(struct buf *, const struct net *);

#endif
