/* sender/domain_impl.h -- the tables of this room, for its own files. */
#ifndef SENDER_DOMAIN_IMPL_H
#define SENDER_DOMAIN_IMPL_H

#include "store/store.h"

enum {
	DOMAIN_ACCOUNT,
	DOMAIN_NAME,
	DOMAIN_SUBDOMAINS,
	DOMAIN_ADDED,
	DOMAIN_VERIFIED,
	DOMAIN_COLUMNS
};
/* Verified domains only: who has one has it alone, who merely claims one keeps nobody out. */
enum { DINDEX_NAME, DINDEX_ACCOUNT, DINDEX_SUBDOMAINS, DINDEX_COLUMNS };

extern const struct table domain_table, domain_index_table;

#define DOMAIN_ROW_ARENA (16u << 10) /* more than any one row of this room */

#endif
