/* serve/generation.h -- one reading of the configuration, and all that was made from it: doors,
 * certificates, routes. Nothing in it changes; a reload makes a new one and puts it in place of the
 * old.
 *
 * Every home has the one that counts for what begins now (home->now). A connection, a transaction,
 * a delivery holds the one it began with, and ends with it. Holders of a home are counted there, by
 * its own thread, so that nothing shared is touched on a message's way; the last user of the last
 * home frees it. */
#ifndef SERVE_GENERATION_H
#define SERVE_GENERATION_H

#include "loop/tls.h"
#include "ops/conf.h"
#include "relay/bounce.h"
#include "relay/route.h"
#include "relay/submit.h"
#include "serve/smtp_in.h"

struct generation_home;
struct home;
struct issuers;
struct route_set;
struct server;

struct generation {
	const struct conf *conf;
	struct tls_certs *certs;
	struct route_set *route_set;
	struct routes routes;
	struct issuers *issuers; /* of tokens */
	struct submit_conf submit;
	struct bounce_conf bounce;
	struct smtp_door *doors; /* one for each listener of conf, in its order */
	uint64_t stamp;          /* generation_stamp() of conf before the certificates were read */
	uint64_t number;         /* of the start: 1 */
	/* insiders */
	struct arena strings; /* of bounce */
	atomic_uint holders;  /* homes with users, and who made it */
	unsigned n_homes;
	struct generation_home *homes;
};

/* Reads everything and checks it. conf: becomes its own, also on failure. before: the one in use,
 * or NULL; what has not changed is shared with it: certificates (and with them the tickets of a
 * listener), routes. Blocks on files. NULL: *e says what is wrong and with which file. */
struct generation *generation_new(struct server *, const struct conf *conf,
				  const struct generation *before, struct err *e);
/* Lets go of one that was made and never put in place, or of the maker's hold. NULL is fine. */
void generation_free(struct generation *);

/* It becomes home->now, in place of what is there; NULL: nothing is. On the home's thread, or
 * before and after that runs. */
void generation_enter(struct generation *, struct home *);
/* Of the home's thread. What holds it began while it was home->now, or belongs to a holder. */
struct generation *generation_hold(struct generation *, struct home *);
void generation_drop(struct generation *, struct home *);

/* Changes with the files of certificates (client_ca, too) and keys that conf names. Blocks on them.
 */
uint64_t generation_stamp(const struct conf *);

/* A certificate that is not good today: the i-th such warning, from 0. False: there are no more. */
bool generation_warning(const struct generation *, size_t i, uint64_t now_ms, struct err *ret);

#endif
