/* account/scope.h -- what a key may do, named as SendGrid's keys name it.
 *
 * Stored and shown as names, held in memory as a set. A name that is not known here is refused
 * when a key is made, never ignored. */
#ifndef ACCOUNT_SCOPE_H
#define ACCOUNT_SCOPE_H

#include "base/buf.h"
#include "base/err.h"

enum scope {
	SCOPE_MAIL_SEND,
	SCOPE_API_KEYS_CREATE,
	SCOPE_API_KEYS_READ,
	SCOPE_API_KEYS_UPDATE,
	SCOPE_API_KEYS_DELETE,
	SCOPE_COUNT
};

struct scopes {
	uint64_t bits;
};

static inline struct scopes scopes_with(struct scopes s, enum scope which)
{
	s.bits |= UINT64_C(1) << which;
	return s;
}

static inline bool scopes_have(struct scopes s, enum scope which)
{
	return s.bits >> which & 1;
}

/* What a key gets unless told. */
static inline struct scopes scopes_default(void)
{
	return scopes_with((struct scopes){ 0 }, SCOPE_MAIL_SEND);
}

struct slice scope_name(enum scope);
/* Adds the scope of that name. ERR_INPUT: not known. */
bool scopes_add(struct scopes *, struct slice name, struct err *e);
/* A list of names with commas or spaces between; an empty list is an empty set. */
bool scopes_parse(struct slice list, struct scopes *ret, struct err *e);
/* The names, in the order of the table, one space between. */
void scopes_text(struct scopes, struct buf *out);

#endif
