/* sender/domain.h -- domains that accounts have proved to be theirs.
 *
 * A domain belongs to one account. Names are kept as A-labels in lower case without a final dot.
 * Functions that change something run one write transaction of their own (none may be open) and
 * leave a row in the trail. */
#ifndef SENDER_DOMAIN_H
#define SENDER_DOMAIN_H

#include "account/trail.h"

#define DOMAIN_NAME_MAX 253 /* RFC 1035 2.3.4 without the final dot */

/* The tables of this room, for store_open(). */
extern const struct schema sender_schema;

struct domain {
	uint64_t account;
	char name[DOMAIN_NAME_MAX + 1];
	bool subdomains; /* names below it, too */
	uint64_t added_ms;
	uint64_t verified_ms; /* 0: not yet */
};

/* Any spelling of a domain (U-labels or A-labels, any case, a final dot) as the one that is
 * compared: A-labels, lower case, letters, digits and hyphens, at least two labels. ERR_INPUT:
 * no such name; ERR_LATER: no memory; *ret_n may be NULL. ret is NUL-terminated. */
bool domain_canonical(struct slice spelled, char ret[DOMAIN_NAME_MAX + 1], size_t *ret_n,
		      struct err *e);

/* Adds a domain that the operator vouches for (--verified). ERR_CONFLICT: this or another account
 * has that very name. ERR_ABSENT: no such account. */
bool domain_add_verified(struct store_handle *, const struct actor *, uint64_t account,
			 struct slice name, bool subdomains, struct domain *ret, struct err *e);
bool domain_remove(struct store_handle *, const struct actor *, uint64_t account, struct slice name,
		   struct err *e); /* ERR_ABSENT: not of this account */
/* Of one account, by name. after: the last name seen, or empty. The array lives in the arena. */
bool domain_list(struct store_handle *, uint64_t account, struct slice after, size_t limit,
		 struct arena *, struct domain **ret, size_t *ret_n, struct err *e);

#endif
