/* account/mechanism.h -- the SASL mechanisms a key may be limited to.
 *
 * Stored and shown as names, held as a set; an empty set is no limit. A name that is not known here
 * is refused when a key is made. */
#ifndef ACCOUNT_MECHANISM_H
#define ACCOUNT_MECHANISM_H

#include "base/buf.h"
#include "base/err.h"

struct mechanisms {
	uint32_t bits;
};

/* Adds the mechanism of that name, in any case. ERR_INPUT: not known. */
bool mechanisms_add(struct mechanisms *, struct slice name, struct err *e);
/* Names with spaces between; an empty list is an empty set. */
bool mechanisms_parse(struct slice list, struct mechanisms *ret, struct err *e);
/* The names, one space between. */
void mechanisms_text(struct mechanisms, struct buf *out);
/* Whether the set lets that one be used: always when it is empty. */
bool mechanisms_allow(struct mechanisms, struct slice name);

#endif
