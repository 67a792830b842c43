/* relay/schedule.h -- what is attempted next, and where.
 *
 * A site is where deliveries of a route go: one Maildir, one smart host. The schedule pulls flows
 * with work due from the spool, hangs each on its site, and hands deliveries one by one to whoever
 * has a connection to that site. A site that fails is left alone for a growing time, and with it
 * all its flows: they go back into the spool parked, so a dead site's backlog costs a live site
 * nothing.
 *
 * Inside a site the accounts take turns, one delivery each; and inside an account its flows, some
 * deliveries each. So a delivery of an account that has one waits for at most one of each other
 * account that has work there, however much that is. What hangs at a site is a few dozen bytes for
 * each flow, less than the spool's own index has for it.
 *
 * Invariants: every flow the schedule holds (spool next) is parked again; it holds no tickets.
 * One thread owns it. Times are Unix milliseconds and a parameter. */
#ifndef RELAY_SCHEDULE_H
#define RELAY_SCHEDULE_H

#include "base/map.h"
#include "policy/retry.h"
#include "relay/route.h"
#include "spool/spool.h"

struct schedule;
struct share;
struct out; /* a connection, of whoever drives it */

struct site {
	const struct route *route;
	unsigned active;                  /* connections or jobs under way */
	unsigned unproven;                /* of these, not yet ready for a delivery */
	unsigned failures;                /* in a row; 0: healthy */
	uint64_t not_before_ms;           /* back-off */
	char reason[240];                 /* of the last failure */
	struct out *first_out, *last_out; /* the driver's list of its connections */
	size_t n_held;                    /* flows */
	/* insiders */
	struct share *first, *last; /* the accounts with work here, whose turn it is first */
	struct map shares;          /* by account */
	struct site *next;
};

struct schedule *schedule_new(const struct spool_backend *, struct spool *, const struct routes *,
			      const struct retry_config *site_retry);
/* Parks everything it holds. */
void schedule_free(struct schedule *);

/* Takes what is due out of the spool. Returns when to call again, Unix ms, at the latest (a put or
 * an outcome may make it sooner: call after those, too); UINT64_MAX: nothing is waiting. */
uint64_t schedule_refill(struct schedule *, uint64_t now_ms);

/* A site that should get one more connection now, or NULL. The caller starts it and counts it in
 * site->active and site->unproven. */
struct site *schedule_wants(struct schedule *, uint64_t now_ms);

/* Something is due there now: a connection at rest should take it. */
bool schedule_has(const struct site *, uint64_t now_ms);

/* The next delivery for a connection of this site. False: nothing is due there. */
bool schedule_take(struct schedule *, struct site *, uint64_t now_ms, struct spool_ticket *ret);

/* The site took a delivery, or was at least ready for one. */
void schedule_site_ok(struct site *);
/* The site could not be reached or would not talk: nothing goes there until the back-off ends. */
void schedule_site_failed(struct schedule *, struct site *, uint64_t now_ms, uint32_t random,
			  struct slice reason);

/* Every site with its state, for `status`: NULL begins, NULL ends. */
struct site *schedule_site(const struct schedule *, const struct site *after);

#endif
