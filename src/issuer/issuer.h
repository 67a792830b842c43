/* issuer/issuer.h -- the issuers of tokens that the configuration names: what they publish, kept
 * for a while, and what they answer.
 *
 * issuers_judge() answers from what is held; when an issuer has to be asked first it says which,
 * and the caller does it again where waiting harms nobody, with leave to ask that one. Keys are
 * held for `fresh`; a kid that is not among them has them fetched again, at most once in
 * ISSUER_REFRESH_MS; an answer about an opaque token counts for ISSUER_ANSWER_MS and never beyond
 * the token's end. An issuer that did not answer, or does not know us, is not asked again for
 * ISSUER_DOWN_MS: it is down, which is no verdict on anybody. One that does answer, but with no
 * verdict (403, 429, 5xx, a page, more than ISSUER_ANSWER_MAX), may mean this token alone: that one
 * is not asked about again for ISSUER_DOWN_MS, the others are, so that no token that it dislikes
 * makes it "down" for all.
 *
 * Nothing of a token goes anywhere but to the issuer that it names or, when it names none, to those
 * of kind opaque, in their order. Any thread. */
#ifndef ISSUER_ISSUER_H
#define ISSUER_ISSUER_H

#include "ops/conf.h"
#include "token/jwt.h"

#define ISSUER_REFRESH_MS 30000
#define ISSUER_ANSWER_MS  60000
#define ISSUER_DOWN_MS    5000
#define ISSUER_ANSWERS    4096 /* held, of each issuer; 8 MiB together */
#define ISSUER_ANSWER_MAX (64u << 10)

struct issuers;

/* Of a configuration, which it holds. before: the ones in use, or NULL; an issuer that is the same
 * as one of theirs goes on with what that one holds. Reads the secrets' files. */
struct issuers *issuers_new(const struct conf *, const struct issuers *before, struct err *e);
struct issuers *issuers_hold(struct issuers *);
void issuers_free(struct issuers *); /* one hold; NULL is fine */
size_t issuers_count(const struct issuers *);
/* The issuer with this id is among them: the same name and URL, whatever else was changed. */
bool issuers_have(const struct issuers *, uint64_t id);

enum issuer_says {
	ISSUER_GOOD, /* *ret_token, *ret_issuer */
	ISSUER_BAD,  /* *ret_fault */
	ISSUER_ASK,  /* *ret_ask has to be asked first */
	ISSUER_DOWN, /* not to be known now */
};

struct issuer;

struct issuer_verdict {
	enum token_fault fault;
	struct token *token;              /* ISSUER_GOOD: the caller's to free; else NULL */
	const struct conf_issuer *issuer; /* ISSUER_GOOD: valid as long as the issuers */
	uint64_t id;              /* ISSUER_GOOD: of that issuer, see issuers_have(); not 0 */
	const struct issuer *ask; /* ISSUER_ASK: the same */
	unsigned at_once;         /* ISSUER_ASK: so many may ask it at the same time */
};

/* may_ask: the one that may be waited for, for its `timeout` at most; NULL: none. After each
 * ISSUER_ASK it is asked again with that one: once for every issuer, unless what they said was
 * forgotten meanwhile. now_ms: Unix time. */
enum issuer_says issuers_judge(struct issuers *, struct slice token, uint64_t now_ms,
			       const struct issuer *may_ask, struct issuer_verdict *ret);

/* Fetches the keys that are not there yet, so that the first login need not wait. Waits. */
void issuers_warm(struct issuers *);

/* One of them, for `signet doctor`: what it publishes can be had and used. *ret_keys: of kind jwt,
 * how many keys can be used. Waits. */
bool issuers_check(struct issuers *, size_t i, size_t *ret_keys, struct err *e);

#endif
