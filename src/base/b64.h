/* base/b64.h -- base64 (RFC 4648 section 4) and base64url without padding (section 5).
 *
 * Decoding is canonical: foreign characters, missing or misplaced padding, and non-zero bits
 * behind the last byte are refused, so that one byte string has exactly one spelling. */
#ifndef BASE_B64_H
#define BASE_B64_H

#include "base/buf.h"

#define B64_LEN(n)    (((n) + 2) / 3 * 4)
#define B64URL_LEN(n) (((n)*4 + 2) / 3)

void b64_encode(struct buf *out, struct slice in);
/* Appends the decoded bytes to out; false leaves out as it was (and may set out->failed). */
bool b64_decode(struct buf *out, struct slice in);
void b64url_encode(struct buf *out, struct slice in);
/* Exactly n bytes from exactly B64URL_LEN(n) characters. */
bool b64url_decode(void *ret, size_t n, struct slice in);

#endif
