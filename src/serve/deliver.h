/* serve/deliver.h -- handing on: drives the schedule, starts what it wants, commits what came out.
 *
 * Lives on the first loop thread. Everything but deliver_wake() is called there. */
#ifndef SERVE_DELIVER_H
#define SERVE_DELIVER_H

#include "relay/outcome.h"
#include "relay/schedule.h"
#include "serve/commit.h"

struct deliver;
struct generation;
struct home;
struct server;

struct deliver *deliver_new(struct home *, struct err *e);
void deliver_free(struct deliver *);

/* From any thread: something may have fallen due. Cheap when a wake is under way already. */
void deliver_wake(struct deliver *);
/* Sites there are, and those that are left alone after a failure. */
void deliver_sites(const struct deliver *, uint64_t *ret_n, uint64_t *ret_failing);
/* Begins no more attempts. */
void deliver_shutdown(struct deliver *);
/* now takes the place of home->now, which is still there: routes and retry times are its own from
 * here on. Connections to sites whose routes have changed end with what they have in hand. False:
 * memory is out, and nothing has changed. */
bool deliver_reroute(struct deliver *, const struct generation *now);
/* Attempts and outcomes still under way. */
size_t deliver_busy(const struct deliver *);

/* -- for those who attempt: serve/capture and serve/smtp_out -- */

struct home *deliver_home(struct deliver *);
struct schedule *deliver_schedule(struct deliver *);
/* No new attempt is to begin: it ends, or outcomes cannot be recorded now. */
bool deliver_stopping(const struct deliver *);

/* Where an attempt went and when, for the log. */
struct deliver_facts {
	const struct route *route;
	struct slice dest;
	struct slice remote; /* "127.0.0.1:25", "mx.example.com (192.0.2.1:25)", a path */
	struct slice tls;    /* cipher, or empty */
	struct slice mta;    /* name of the next hop; empty: none was reached */
	bool dsn;            /* it offers DSN: what was asked for went along */
	bool waiting;        /* nothing was attempted: it is due as before, and not logged */
};

/* Settles a taken delivery: judges the answers, logs attempt and outcome, posts the commit that
 * ends the lease. Everything passed is copied. envelope: of the message, for the addresses. */
void deliver_settle(struct deliver *, const struct spool_ticket *, const struct spool_envelope *,
		    const struct outcome_answer *, size_t n, const struct deliver_facts *);
/* The site could not be reached, or takes no mail: backs it off, and charges one waiting delivery
 * (and those whose lifetime is over) with the reason, so that the queue shows it and ends. Senders
 * who are to know that it takes long are told. The others wait untouched. */
void deliver_site_failed(struct deliver *, struct site *, struct slice remote, struct slice reason);
/* Mail to the site fails for good, for a reason of its own: as many of the waiting deliveries as
 * one call may, with this code and text; it is called again for the others. */
void deliver_site_refused(struct deliver *, struct site *, int code, struct slice text);
/* The site is left alone for a while; nothing is charged with it. */
void deliver_site_rests(struct deliver *, struct site *, struct slice reason);
/* The message's record is damaged or gone: the lease stays, so that nothing tries it again before
 * the next start; it is listed by queue damaged. */
void deliver_unreadable(struct deliver *, const struct spool_ticket *, const struct err *);

/* A connection or job of the site has ended. */
void deliver_ended(struct deliver *, struct site *);

#endif
