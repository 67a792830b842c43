/* relay/bounce.h -- who is told what became of a message, and the message that tells it.
 *
 * RFC 3461 sections 5 and 6, RFC 5321 section 6.1. Nobody is told about a message with the null
 * reverse-path: its end is an event of the log. Else the sender is told
 *  - of a failure, unless NOTIFY was given without FAILURE;
 *  - once, that it takes long, when NOTIFY=DELAY asks for it; without NOTIFY when the
 *    configuration says so;
 *  - of a success, when NOTIFY=SUCCESS asks for it and nobody behind us will say it: a next hop
 *    that knows DSN gets the request passed on and answers it itself.
 *
 * A recipient that failed is RCPT_BOUNCED once that is settled, so that its message may leave the
 * queue. With notices switched off it stays RCPT_FAILED for the operator. */
#ifndef RELAY_BOUNCE_H
#define RELAY_BOUNCE_H

#include "relay/outcome.h"

struct bounce_conf {
	bool enabled;
	bool delay_warning;    /* tell of a delay, too, when NOTIFY was not given */
	struct slice hostname; /* ours */
	struct slice from;     /* mailbox, RFC 5322 form */
	uint64_t delay_ms;     /* after which a sender is told that it takes long */
	uint64_t lifetime_ms;  /* of a message */
	uint64_t full_max;     /* RET=FULL: bytes of a message that goes back whole */
};

/* Who reports a success. */
enum bounce_hop {
	HOP_SILENT, /* we: the next hop knows no DSN */
	HOP_DSN,    /* the next hop */
	HOP_FINAL,  /* we: it is in a mailbox now */
};

enum bounce_kind { BOUNCE_NONE, BOUNCE_FAILED, BOUNCE_DELAYED, BOUNCE_SUCCESS };
#define BOUNCE_KINDS 4
const char *bounce_kind_name(enum bounce_kind);

/* Unix time from which the sender is to be told that a recipient takes long; UINT64_MAX: never, or
 * they know. */
uint64_t bounce_delay_at(const struct bounce_conf *, struct slice reverse_path,
			 const struct spool_rcpt *, uint64_t accepted_ms);

/* What is to be told of one recipient. A verdict RCPT_FAILED becomes RCPT_BOUNCED, one that is told
 * of a delay notes it: it is true when the notice is durable. *ret_why, when nothing is told of a
 * failure: the reason, a word for the log; else NULL. */
enum bounce_kind bounce_judge(const struct bounce_conf *, struct slice reverse_path,
			      const struct spool_rcpt *, enum bounce_hop, uint64_t accepted_ms,
			      uint64_t now_ms, struct spool_verdict *, const char **ret_why);

/* -- how many -- */

#define BOUNCE_RATE_SLOTS 1024

/* Notices of one hour to each reverse-path. When more reverse-paths than it has room for are active
 * in an hour, those that were told least are forgotten first. Zeroed but for the key at first. */
struct bounce_rate {
	uint64_t key[2]; /* random */
	struct {
		uint64_t hash;
		uint32_t hour, n;
	} at[BOUNCE_RATE_SLOTS];
};

/* Counts one more. False: that would be more than max in this hour. max 0: no limit. */
bool bounce_rate_take(struct bounce_rate *, struct slice reverse_path, uint64_t now_ms,
		      uint64_t max);

/* -- the notice -- */

struct bounce_about {
	enum bounce_kind kind;
	const struct spool_message *message;
	const struct outcome_answer *answers;
	const struct spool_verdict *verdicts; /* of each answer */
	const enum bounce_kind *kinds;        /* of each answer: who of them it is about */
	size_t n;
	enum bounce_hop hop;
	struct slice mta;   /* the next hop's name, or empty */
	struct id id;       /* of the notice in our queue */
	struct slice token; /* for its Message-ID: a dot-atom nobody guesses */
	uint64_t now_ms;
};

/* A message ready to be put: from the null reverse-path to that of the message, of its account.
 * May read the message's file: for workers. Everything lives in the arena. ERR_INPUT: nobody can
 * be told at that reverse-path; ERR_LATER: memory, or the file cannot be read now. */
bool bounce_compose(const struct bounce_conf *, const struct bounce_about *, struct arena *,
		    struct spool_envelope *ret_envelope, struct spool_content *ret_content,
		    struct err *e);

#endif
