/* token/jwt.h -- what a bearer token is worth.
 *
 * A JWT access token (RFC 7519, RFC 7515 compact form, RFC 9068), or what an issuer says of an
 * opaque one (RFC 7662). Pure: the keys, the rules and the time come from the caller; nothing of a
 * token is believed before its signature has been seen, but for the name of its issuer, which
 * chooses whose keys are asked.
 *
 *   token_read()   the form and the header; what could change how the rest is read is refused
 *   token_judge()  signature, then claims, against the rules of one issuer
 *   token_text()   a claim, for whom the token speaks */
#ifndef TOKEN_JWT_H
#define TOKEN_JWT_H

#include "token/jwk.h"

#define TOKEN_MAX     9216  /* bytes: what a SASL message can carry */
#define TOKEN_SKEW_MS 60000 /* clocks may differ so much */

/* auth/login.h has a reason for each, in this order. */
enum token_fault {
	TOKEN_GOOD,
	TOKEN_MALFORMED, /* not three parts, not canonical base64url, not JSON, a name twice */
	TOKEN_HEADER,    /* crit, jwk, jku, x5c, x5u, zip, enc: how to read it is not its to say */
	TOKEN_ALGORITHM, /* "none", HS*, or one that the issuer's rules do not list */
	TOKEN_TYPE,      /* typ is none that the rules list */
	TOKEN_UNKNOWN_KEY, /* the set has no such kid for that algorithm */
	TOKEN_SIGNATURE,
	TOKEN_ISSUER,   /* iss is another's */
	TOKEN_AUDIENCE, /* aud does not name us */
	TOKEN_EXPIRED,
	TOKEN_NOT_YET,  /* nbf or iat lies ahead */
	TOKEN_SCOPE,    /* the scope that is needed is not in it */
	TOKEN_CLAIMS,   /* one is missing or has the wrong type */
	TOKEN_INACTIVE, /* the issuer does not know it (any more) */
	TOKEN_TROUBLE,  /* memory is out */
};

/* Of one issuer. Slices live as long as the rules. */
struct token_rules {
	struct slice issuer;   /* iss, byte for byte */
	struct slice audience; /* one of aud; empty: an opaque token need not have one */
	struct slice scope;    /* one word of scope (or scp); empty: none is needed */
	uint32_t algorithms;   /* TOKEN_ALG() */
	const struct slice
	    *types; /* typ, in any case, without "application/"; "-": there is none */
	size_t n_types;
};

struct token;

/* text: copied. TOKEN_GOOD: *ret is made, to be freed. */
enum token_fault token_read(struct slice text, struct token **ret);
/* Whether it looks like a JWT at all: else it is opaque. */
bool token_is_jwt(struct slice text);
void token_free(struct token *); /* NULL is fine; wipes */

/* Of the header. p == NULL: it has none. */
struct slice token_kid(const struct token *);
/* Of the payload, not verified yet; empty: none. */
struct slice token_claimed_issuer(const struct token *);

/* rules.audience must not be empty. After TOKEN_GOOD token_text() and token_ends_ms() may be
 * asked. */
enum token_fault token_judge(struct token *, const struct token_rules *, const struct jwks *,
			     uint64_t now_ms);

/* An introspection answer (RFC 7662 2.2), judged at once. */
enum token_fault token_answer(struct slice body, const struct token_rules *, uint64_t now_ms,
			      struct token **ret);

/* A claim that is a text of 1 to 255 bytes without control bytes. Valid as long as the token. */
bool token_text(const struct token *, const char *name, struct slice *ret);
/* From when on it is not good any more, the skew included; UINT64_MAX: the issuer's answer does
 * not say. */
uint64_t token_ends_ms(const struct token *);

#endif
