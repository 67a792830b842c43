/* token/signature.h -- public keys, and whether one of them has signed a token.
 *
 * RS, PS and ES by cjose, Ed25519 by OpenSSL. There is no symmetric algorithm here and no "none":
 * what a server could have made itself proves nothing about an issuer. The only file that knows
 * the libraries is signature.c. */
#ifndef TOKEN_SIGNATURE_H
#define TOKEN_SIGNATURE_H

#include "base/err.h"
#include "base/slice.h"
#include "json/json.h"

/* RFC 7518 3.1, RFC 8037 3.1. */
enum token_alg {
	TOKEN_RS256,
	TOKEN_RS384,
	TOKEN_RS512,
	TOKEN_PS256,
	TOKEN_PS384,
	TOKEN_PS512,
	TOKEN_ES256,
	TOKEN_ES384,
	TOKEN_ES512,
	TOKEN_EDDSA, /* Ed25519 */
	TOKEN_ALGS
};

/* A set of algorithms. */
#define TOKEN_ALG(a) (UINT32_C(1) << (a))

/* By its registered name, letter by letter. */
bool token_alg_find(struct slice name, enum token_alg *ret);
const char *token_alg_name(enum token_alg);

#define RSA_BITS_MIN 2048 /* RFC 7518 3.3 */
#define RSA_BITS_MAX 8192

struct public_key;

/* From a JWK (RFC 7517, RFC 7518 6, RFC 8037 2) of type RSA, EC or OKP, of which only the public
 * members are looked at. *ret_algs: the algorithms that fit its type. NULL: ERR_INPUT says what is
 * wrong with it (a type that we do not have, too short, not on its curve). */
struct public_key *public_key_read(const struct json *jwk, uint32_t *ret_algs, struct err *e);
void public_key_free(struct public_key *); /* NULL is fine */

/* Whether this key has signed the token (RFC 7515 7.1: three parts of canonical base64url, whose
 * header names alg and nothing that changes how it is read: jwt.c has seen to that). alg: one that
 * fits the key. Any thread. */
bool public_key_signed(const struct public_key *, enum token_alg alg, struct slice token);

#endif
