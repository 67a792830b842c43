/* relay/submit.h -- the one room both doors lead into: may this message be sent, and as what?
 *
 * submit_check() is straight-line and does not block: it parses the head once, applies the sender
 * rule, writes the finished head (RFC 6409 section 8) and groups the recipients into deliveries.
 * Whether an account may use a domain is asked of a cache; when the cache does not know all of
 * them, they come back as SUBMIT_ASK, the caller lets submit_learn() find out on a worker, and
 * calls again with the answers. The verdict is complete before anything is written anywhere.
 *
 * Bound: a message that names more than SUBMIT_DOMAINS different domains (From, Sender and envelope
 * together) is refused, whatever the cache knows, so the question holds all of them. The second
 * call decides by its answers alone and never asks: one round, at most SUBMIT_DOMAINS questions of
 * the store, each a lookup for every label but the last. */
#ifndef RELAY_SUBMIT_H
#define RELAY_SUBMIT_H

#include "mime/submit.h"
#include "relay/route.h"
#include "sender/may_send.h"
#include "spool/spool.h"

struct submit_conf {
	struct mime_limits mime;
	struct slice hostname;
	struct slice sender_help; /* link in the sender identity refusal */
	const struct routes *routes;
};

/* What a door gathered. Slices live until the submission has its verdict. */
struct submission {
	uint64_t account;
	struct spool_envelope
	    *envelope;               /* id, account, key_id, accepted_ms, reverse_path, rcpts set */
	struct slice reverse_domain; /* of the reverse-path; empty: null reverse-path */
	struct mime_origin origin;   /* for the Received field */
	struct slice token;          /* left side of a Message-ID of ours */
	struct slice message;        /* its first bytes; the whole head must be among them */
	bool whole;                  /* message is all there is */
};

#define SUBMIT_DOMAINS 16

/* Every domain that the message names as its sender, each once, and what is known of it. */
struct submit_question {
	struct slice domain[SUBMIT_DOMAINS];
	enum sender_verdict verdict[SUBMIT_DOMAINS]; /* UNKNOWN: to be found out; after that,
							the store is down */
	uint64_t generation[SUBMIT_DOMAINS];         /* of the store, each answer's */
	size_t n;
};

enum submit_verdict { SUBMIT_READY, SUBMIT_REFUSED, SUBMIT_ASK };

struct submit_result {
	/* READY */
	struct slice head; /* the finished head */
	size_t head_bytes; /* bytes of the message that the old head occupied */
	bool smtpapi_removed;
	struct slice from; /* the first From address, for the log */
	/* REFUSED */
	int code;
	const char *enhanced;
	struct slice text;
	const char *reason; /* for the log: a stable word */
};

/* answers: NULL at the first call; what submit_learn() filled at the second, which never returns
 * SUBMIT_ASK. Everything in *ret lives in the arena. On SUBMIT_ASK *ret_question is filled; its
 * slices live as long as the message and the arena. */
enum submit_verdict submit_check(const struct submit_conf *, const struct submission *,
				 struct sender_cache *, uint64_t generation,
				 const struct submit_question *answers, struct arena *,
				 struct submit_result *ret, struct submit_question *ret_question);

/* On a worker: answers every domain of the question that is not answered yet. */
void submit_learn(struct store_handle *, uint64_t account, struct submit_question *);
/* Back on the loop: puts the answers into its cache. */
void submit_remember(struct sender_cache *, uint64_t account, const struct submit_question *);

/* The destination a recipient's domain is queued by: lower case, A-labels. Empty: memory is out
 * (the arena has failed), or the domain cannot be written in A-labels. */
struct slice submit_destination(struct arena *, struct slice domain);

#endif
