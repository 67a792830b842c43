/* digest/digest.h -- SHA-256 and what is built from it.
 *
 * Pure: bytes in, bytes out. The only file that knows the library is digest.c. A failure inside
 * the library (no memory, no provider) cannot be answered by any caller and aborts. */
#ifndef DIGEST_DIGEST_H
#define DIGEST_DIGEST_H

#include "base/slice.h"

#define DIGEST_SHA256 32

/* FIPS 180-4. */
void digest_sha256(struct slice in, unsigned char ret[DIGEST_SHA256]);

/* The same in pieces. sha256_end() gives the digest and begins anew. */
struct sha256;
struct sha256 *sha256_new(void);
void sha256_free(struct sha256 *); /* NULL is fine */
void sha256_add(struct sha256 *, struct slice in);
void sha256_end(struct sha256 *, unsigned char ret[DIGEST_SHA256]);

/* RFC 2104. The key may have any length. */
void digest_hmac_sha256(struct slice key, struct slice text, unsigned char ret[DIGEST_SHA256]);
/* RFC 8018 5.2, 32 bytes; Hi() of RFC 5802 2.2. rounds >= 1. */
void digest_pbkdf2_sha256(struct slice password, struct slice salt, uint32_t rounds,
			  unsigned char ret[DIGEST_SHA256]);

/* Equal, in a time that depends on the lengths only. */
bool digest_equal(struct slice a, struct slice b);
/* Overwrites; never optimised away. */
void digest_wipe(void *p, size_t n);

#endif
