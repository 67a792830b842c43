/* relay/site.h -- the places where deliveries go.
 *
 * A route to a Maildir or a smart host is one site. A site of an MX route is a set of hosts in
 * their order of preference, not a domain: domains that name the same hosts share connections,
 * limits and trouble. A destination whose hosts are not known is a site of its own until they are:
 * looking them up is what "connecting" means there.
 *
 * Bounds: at most so many sites as sites_new() is told, at most SITES_KNOWN remembered answers. A
 * site that nothing needs is freed, some time. One thread owns all this. */
#ifndef RELAY_SITE_H
#define RELAY_SITE_H

#include "relay/mx.h"
#include "relay/route.h"

#define SITES_KNOWN   16384
#define SITE_NAME_MAX 255
/* An answer is good for its time to live, but at least and at most for this long. */
#define SITE_KNOWN_LEAST_MS 10000
#define SITE_KNOWN_MOST_MS  3600000

struct share;
struct out; /* a connection, of whoever drives it */

enum site_kind {
	SITE_FIXED,      /* the route says it all */
	SITE_UNRESOLVED, /* a destination of an MX route: its hosts are to be looked up */
	SITE_HOSTS,      /* hosts of an MX route */
	SITE_NOWHERE,    /* no route leads to the destinations whose mail waits here */
};

struct site {
	enum site_kind kind;
	const struct route *route;   /* SITE_NOWHERE: one of no table, whose name alone counts */
	struct slice name;           /* the route's, the destination, or the best hosts */
	const struct mx_host *hosts; /* SITE_HOSTS: sorted; preferences are 0, 1, ... */
	size_t n_hosts;
	bool literal;                     /* its only host is an address in brackets */
	bool retired;                     /* its route is no more: it ends with what is under way */
	unsigned active;                  /* connections or jobs under way */
	unsigned unproven;                /* of these, not yet ready for a delivery */
	unsigned charged;                 /* deliveries that are being charged with its trouble */
	unsigned failures;                /* in a row; 0: healthy */
	uint64_t not_before_ms;           /* back-off */
	char reason[240];                 /* of the last failure */
	struct out *first_out, *last_out; /* the driver's list of its connections */
	/* insiders */
	struct share *first, *last; /* the accounts with work here; whose turn it is first */
	struct share *few[4];       /* of these, some; the others are found by a table */
	size_t n_mapped;            /* the others */
	size_t n_held, n_overflow;  /* flows */
	bool busy;                  /* stands in the schedule's list of those that hold something */
	struct site *busy_next, *busy_before;
	struct site *next, *before; /* of all */
	size_t n_known;             /* remembered answers that lead here */
	unsigned troubles;          /* those learned before the last failure count no more */
	size_t key_n;
};

struct sites;

struct sites *sites_new(const uint64_t hash_key[2], size_t max);
/* Those that hold something are the caller's to empty first. */
void sites_free(struct sites *);

/* NULL: too many, or memory is out. Found again by the route's name and what follows. */
struct site *sites_fixed(struct sites *, const struct route *);
/* There is one. */
struct site *sites_nowhere(struct sites *);
struct site *sites_unresolved(struct sites *, const struct route *, struct slice dest);
struct site *sites_hosts(struct sites *, const struct route *, const struct mx_host *, size_t n);
/* A destination that is an address in brackets: it is its own host. */
struct site *sites_literal(struct sites *, const struct route *, struct slice dest);

/* Where mail for dest went last; NULL: that is to be looked up (again). */
struct site *sites_known(struct sites *, const struct route *, struct slice dest, uint64_t now_ms);
/* It goes there for ttl_ms. Without memory nothing is remembered. */
void sites_learn(struct sites *, struct slice dest, struct site *, uint64_t ttl_ms,
		 uint64_t now_ms);
/* What is remembered of it counts no more. */
void sites_doubt(struct site *);

/* Frees a few of those that nothing needs; call often. */
void sites_sweep(struct sites *, uint64_t now_ms);

/* The routes are others now: the sites of before->at[i] belong to now->at[map[i]], or, with
 * SITES_GONE, are retired: not found any more, and freed once nothing is under way there. Those
 * that hold something are the caller's to empty first. */
#define SITES_GONE SIZE_MAX
void sites_reroute(struct sites *, const struct routes *before, const struct routes *now,
		   const size_t *map);
/* Something that was under way at a site has ended: frees it if that was the last of a retired one.
 */
void sites_ended(struct sites *, struct site *);

struct site *sites_next(const struct sites *, const struct site *after);
size_t sites_count(const struct sites *);

#endif
