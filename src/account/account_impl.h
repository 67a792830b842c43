/* account/account_impl.h -- the tables of this room, for its own files. */
#ifndef ACCOUNT_ACCOUNT_IMPL_H
#define ACCOUNT_ACCOUNT_IMPL_H

#include "store/store.h"

/* Column numbers; schema.c has the columns in this order. */
enum {
	ACCOUNT_ID,
	ACCOUNT_NAME,
	ACCOUNT_STATE,
	ACCOUNT_CREATED,
	ACCOUNT_STATE_SINCE, /* from version 2 on */
	ACCOUNT_QUEUED,
	ACCOUNT_COLUMNS
};
enum { NAME_NAME, NAME_ACCOUNT, NAME_COLUMNS };
enum {
	KEY_ACCOUNT,
	KEY_ID,
	KEY_NAME,
	KEY_STATE,
	KEY_IMPORTED,
	KEY_SCOPES,
	KEY_CREATED,
	KEY_EXPIRES,
	KEY_REVOKED_AT,
	KEY_HASH,
	KEY_SCRAM_SALT,
	KEY_SCRAM_ROUNDS,
	KEY_SCRAM_STORED,
	KEY_SCRAM_SERVER,
	KEY_QUEUED,     /* from version 2 on */
	KEY_MECHANISMS, /* from version 3 on */
	KEY_CRAM_MD5,
	KEY_CERTIFICATES,
	KEY_NETWORKS, /* from version 4 on */
	KEY_COLUMNS
};
enum { CERTIFICATE_IDENTITY, CERTIFICATE_ACCOUNT, CERTIFICATE_KEY, CERTIFICATE_COLUMNS };
enum { INDEX_KEY, INDEX_ACCOUNT, INDEX_COLUMNS };
enum { TRAIL_ACCOUNT, TRAIL_AT, TRAIL_N, TRAIL_WHO, TRAIL_ACT, TRAIL_OBJECT, TRAIL_COLUMNS };

extern const struct table account_table, account_name_table, key_table, key_index_table,
    key_certificate_table, trail_table;

#define ROW_ARENA (64u << 10) /* more than any one row of this room */

#endif
