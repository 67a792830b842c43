/* relay/schedule.h -- what is attempted next, and where.
 *
 * The schedule pulls flows with work due from the spool, hangs each on its site (relay/site.h), and
 * hands deliveries one by one to whoever has a connection to that site. A site that fails is left
 * alone for a growing time, and with it all its flows: they go back into the spool parked, so a
 * dead site's backlog costs a live site nothing.
 *
 * Inside a site the accounts take turns, one delivery each; and inside an account its flows, some
 * deliveries each. So a delivery of an account that has one waits for at most one of each other
 * account that has work there, however much that is.
 *
 * What no route leads to waits at a site of its own (SITE_NOWHERE), which fails whenever it is
 * wanted: so it ends when its lifetime does.
 *
 * A destination of an MX route waits at a site of its own until its hosts are known: the driver
 * looks them up and says schedule_resolved(), or what it says of a site that failed.
 *
 * Invariants: every flow the schedule holds (spool next) is parked again; it holds no tickets.
 * Flows held are bounded, all together and for each site, but for one of each account: the others
 * come again soon. One thread owns it. Times are Unix milliseconds and a parameter. */
#ifndef RELAY_SCHEDULE_H
#define RELAY_SCHEDULE_H

#include "policy/retry.h"
#include "relay/route.h"
#include "relay/site.h"
#include "spool/spool.h"

struct schedule;

struct schedule_conf {
	struct retry_config retry; /* of sites */
	uint64_t hash_key[2];      /* random */
	/* At most; 0: the standard */
	size_t lookups;   /* at once: 256 */
	size_t sites;     /* 20,000 */
	size_t held;      /* flows taken out of the spool: 65,536 */
	size_t site_held; /* of one site: 16,384 */
};

struct schedule *schedule_new(const struct spool_backend *, struct spool *, const struct routes *,
			      const struct schedule_conf *);
/* Parks everything it holds. */
void schedule_free(struct schedule *);

/* Takes what is due out of the spool. Returns when to call again, Unix ms, at the latest (a put or
 * an outcome may make it sooner: call after those, too); UINT64_MAX: nothing is waiting. */
uint64_t schedule_refill(struct schedule *, uint64_t now_ms);

/* A site that should get one more connection now (or a lookup: no more than so many at once), or
 * NULL. The caller starts it, and says so; until it is ready for a delivery it counts in
 * site->unproven, too. */
struct site *schedule_wants(struct schedule *, uint64_t now_ms);
void schedule_began(struct schedule *, struct site *);
/* A retired site is freed with the last of them. */
void schedule_ended(struct schedule *, struct site *);
/* What is charged there has become less: the same. */
void schedule_look(struct schedule *, struct site *);
/* schedule_wants() would name one. */
bool schedule_wanting(const struct schedule *, uint64_t now_ms);
/* As many lookups are under way as may be. */
bool schedule_lookups_full(const struct schedule *);

/* Something is due there now: a connection at rest should take it. */
bool schedule_has(const struct site *, uint64_t now_ms);

/* The next delivery for a connection of this site. False: nothing is due there. */
bool schedule_take(struct schedule *, struct site *, uint64_t now_ms, struct spool_ticket *ret);

/* The hosts of a destination (an unresolved site) were found, and hold for ttl_ms: what waited
 * there waits at their site now, and at the old one nothing does. */
void schedule_resolved(struct schedule *, struct site *unresolved, const struct mx_host *, size_t n,
		       uint64_t ttl_ms, uint64_t now_ms);

/* The site took a delivery, or was at least ready for one. */
void schedule_site_ok(struct site *);
/* The site could not be reached or would not talk: nothing goes there until the back-off ends. */
void schedule_site_failed(struct schedule *, struct site *, uint64_t now_ms, uint32_t random,
			  struct slice reason);

/* The routes are others now: those of index i are index map[i] of the new ones and unchanged, or
 * SITES_GONE. The sites of unchanged routes go on; the others are retired: what waited there is
 * looked at afresh, nothing more is taken there, and they are freed when all that is under way has
 * ended (schedule_ended). False: memory is out, and nothing has changed. */
bool schedule_reroute(struct schedule *, const struct routes *now, const size_t *map,
		      const struct retry_config *site_retry);
/* Where mail for a destination goes, if that is known; NULL: it is not, or no route leads there. */
const struct site *schedule_site_of(const struct schedule *, struct slice dest, uint64_t now_ms);
/* Its site is not left alone any longer: somebody asked for another try. */
void schedule_try_again(struct schedule *, struct slice dest, uint64_t now_ms);

/* Every site with its state: NULL begins, NULL ends. */
struct site *schedule_site(const struct schedule *, const struct site *after);
/* The sites where something is held. Whoever takes from one asks for the next first. */
struct site *schedule_busy(const struct schedule *, const struct site *after);

#endif
