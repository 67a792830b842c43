/* digest/md5.h -- HMAC-MD5 (RFC 2104, 1321) from a kept state: for CRAM-MD5 and nothing else.
 *
 * MD5 is broken as a hash; under HMAC, with a random secret and inside TLS, it still serves clients
 * that know nothing better. What is kept of a secret is the state behind the first block of both
 * hashes (RFC 2195 section 5): enough to answer challenges, not the secret itself. */
#ifndef DIGEST_MD5_H
#define DIGEST_MD5_H

#include "base/slice.h"

#define DIGEST_MD5     16
#define HMAC_MD5_STATE 32 /* inner, then outer */

/* The key may have any length. */
void digest_hmac_md5_state(struct slice key, unsigned char ret[HMAC_MD5_STATE]);
/* HMAC of text from there. */
void digest_hmac_md5_finish(const unsigned char state[HMAC_MD5_STATE], struct slice text,
			    unsigned char ret[DIGEST_MD5]);

#endif
