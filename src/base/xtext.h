/* base/xtext.h -- addresses and names as ESMTP parameters spell them.
 *
 * xtext (RFC 3461 section 4): printable ASCII but "+" and "=", and any byte as "+2B". For addresses
 * of the type utf-8, RFC 6533 section 3 has another form: UTF-8 with "\x{2B}" for any character. */
#ifndef BASE_XTEXT_H
#define BASE_XTEXT_H

#include "base/buf.h"

/* One character of xtext at the front of *in; false at its end or if it is none. */
bool xtext_next(struct slice *in, unsigned char *ret);
/* Appends what xtext stands for. False if it is not xtext: out is as before. The result may hold
 * any byte. */
bool xtext_decode(struct buf *out, struct slice in);

/* "\x{HEXPOINT}" at the front of *in: a character, and no control. False: it is none. */
bool xtext_hexpoint(struct slice *in, uint32_t *ret);
/* Appends the UTF-8 of an address of the type utf-8. What is not an escape stands for itself. */
void xtext_utf8_decode(struct buf *out, struct slice in);

#endif
