/* serve/token.h -- a bearer token on its way to a verdict: whom it may ask, and what came of it, in
 * the words of a login (auth/login.h).
 *
 * Judged from what is known first, on the lane of all logins; a token whose issuer has to be asked
 * goes on in a lane of its own, where it may wait for that one (serve/token_turn.h). */
#ifndef SERVE_TOKEN_H
#define SERVE_TOKEN_H

#include "auth/login.h"
#include "base/buf.h"
#include "issuer/issuer.h"

struct generation;
struct server;

#define TOKEN_IDENTITIES 8 /* as many claims as an issuer may have */

struct token_case {
	struct issuers *issuers; /* held */
	unsigned times;          /* that somebody had to be asked */
	/* Who has to be asked, and how many may do so at once; who asks next leaves it set. */
	const struct issuer *ask;
	unsigned at_once;
	/* What came of it. */
	enum auth_reason fault;
	struct buf text;
	struct slice identities[TOKEN_IDENTITIES];
	size_t n_identities;
	uint64_t issuer;  /* which one: issuers_have() */
	uint64_t ends_ms; /* 0: it has no end */
};

void token_case_init(struct token_case *, const struct generation *);
/* False: `ask` has to be asked. Waits, at most for the one that it said the last time. */
bool token_case_judge(struct token_case *, struct secret token, uint64_t now_ms);
void token_case_done(struct token_case *); /* wipes; harmless on zeros */

/* OAUTHBEARER: what the client says that it talks to (RFC 7628 3.1) may be us: our name or one that
 * a certificate of ours bears, or an address; a port of ours or of the trade. Empty: unsaid. */
bool token_is_for_us(const struct generation *, struct slice host, struct slice port);

/* Fetches the keys of the issuers in use, so that the first login need not wait. On home 0, or
 * before it runs. */
void token_warm(struct server *, const struct generation *);

#endif
