/* sender/idn_impl.h -- names in any script as A-labels, for this room. */
#ifndef SENDER_IDN_IMPL_H
#define SENDER_IDN_IMPL_H

#include "base/buf.h"
#include "base/err.h"

#define IDN_INPUT_MAX 1024 /* bytes; 253 characters in UTF-8 need fewer */

/* Appends the A-label form (IDNA2008, RFC 5891; mapped as UTS 46 says) of a UTF-8 name that has
 * bytes above 0x7f. ERR_INPUT: it has none. */
bool idn_to_ascii(struct slice name, struct buf *out, struct err *e);

#endif
