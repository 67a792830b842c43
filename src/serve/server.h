/* serve/server.h -- everything the drivers share. Made by start.c, read by all; what changes
 * while it runs says so and how it is guarded. */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H

#include "account/key.h"
#include "keyring/keyring.h"
#include "loop/loop.h"
#include "loop/tls.h"
#include "loop/work.h"
#include "ops/conf.h"
#include "relay/route.h"
#include "relay/submit.h"
#include "serve/tally.h"
#include "spool/spool.h"
#include "store/store.h"

#include <stdatomic.h>

struct auth_known;
struct dns;
struct validation;
struct deliver;
struct gate;
struct gatekeeper;
struct generation;
struct history;
struct keeper;
struct places;
struct health;
struct reload;

/* A loop thread and what belongs to it alone. */
struct home {
	struct loop *loop;
	struct server *server;
	struct sender_cache *senders;
	struct auth_known *logins;
	struct smtp_in_home *smtp_in;
	struct loop_timer lag; /* see watch.c */
	uint64_t lag_due_ms;
	atomic_uint_fast64_t beat_ms; /* when it last looked; see run.c */
	unsigned watchers;            /* connections of the metrics port */
	struct generation *now;       /* what counts for all that begins here */
	unsigned index;
	unsigned char random[512]; /* taken from its end; see home_random() */
	size_t random_left;
};

/* n unguessable bytes, at most 64, for the names of things: the kernel is asked once for many of
 * them. What was handed out is wiped. Of the home's own thread. */
void home_random(struct home *, void *ret, size_t n);

struct server {
	/* As it was at the start: for the options that a reload leaves alone. Everything else is in
	 * home->now, or in the generation that whatever is under way began with. */
	const struct conf *boot;
	struct keyring *keyring;
	unsigned char
	    nobodys[KEYRING_DERIVED]; /* what SCRAM tells about unknown names comes of it */
	struct store *store;
	const struct spool_backend *spool_backend;
	struct spool *spool;

	struct home *homes;
	unsigned n_homes;
	struct lane *work;    /* SQL; context: struct store_handle */
	struct lane *files;   /* body files, queued messages, the capture Maildir */
	struct lane *names;   /* name service: may hang without harm to the others */
	struct lane *issuers; /* tokens whose issuer is asked: it may hang; context: store_handle */
	struct token_turns *token_turns; /* who uses that lane next */
	bool warming, warm_again;        /* keys are fetched for all; home 0's */
	struct lane *watch;      /* scrapes and health: work even when everything else hangs */
	struct batch *committer; /* jobs: struct commit */

	struct deliver *deliver; /* belongs to home 0 */
	struct keeper *keeper;   /* the same */
	struct history *history; /* NULL: none is kept */
	struct health *health;   /* the same */
	struct dns *dns;         /* the same */
	struct reload *reload;   /* so does this */
	struct validation *validation;

	struct gatekeeper *gatekeeper;
	struct gate *gate;     /* the gatekeeper's; any thread. NULL: nobody guards (tests) */
	struct places *places; /* of connections */
	struct tally *addresses, *accounts;
	atomic_uint_fast64_t memory;      /* bytes of bodies held in memory */
	atomic_uint_fast64_t connections; /* SMTP connections open */
	atomic_uint_fast64_t accepted;    /* messages since the start */
	/* Of commits, on the monotonic clock: when the one under way began (0: none is), when the
	 * last one that went well ended. */
	atomic_uint_fast64_t commit_began_ms, commit_ended_ms;
	atomic_bool spool_broken; /* a commit failed: nothing is accepted until restart */
	atomic_bool stopping;
	uint64_t started_ms;
};

#endif
