/* token/jwk.h -- the keys that an issuer signs with (a JWK Set, RFC 7517 5).
 *
 * Kept are keys that are for signatures and for verifying them (use, key_ops, alg), of a type that
 * signature.h knows; the rest is passed over, as section 5 asks, and so is a key that tells its
 * private part: who published that does not sign alone any more. */
#ifndef TOKEN_JWK_H
#define TOKEN_JWK_H

#include "token/signature.h"

#define JWKS_KEYS  100 /* in a set; more are not looked at */
#define JWK_ID_MAX 255 /* bytes of a kid */

struct jwks;

/* ERR_INPUT: not a set, or none of its keys can be used; the text says why not the last of them.
 * The caller limits the text's size. */
struct jwks *jwks_read(struct slice text, struct err *e);
void jwks_free(struct jwks *); /* NULL is fine */

size_t jwks_count(const struct jwks *); /* of the keys that are kept */
size_t jwks_passed_over(const struct jwks *);

/* The key of that id for that algorithm. kid.p == NULL, for a token that names none: the only one
 * for that algorithm. NULL: there is none, or more than one without a name. Valid as long as the
 * set. */
const struct public_key *jwks_find(const struct jwks *, struct slice kid, enum token_alg alg);

#endif
