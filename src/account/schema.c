/* account/schema.c -- the tables of this room, and how they came to be. */
#include "account/account.h"
#include "account/account_impl.h"

#define LEN(a) (sizeof(a) / sizeof(*(a)))

// clang-format off
static const struct column account_columns[ACCOUNT_COLUMNS] = {
	[ACCOUNT_ID]       = { "account",    VAL_INT,  false },
	[ACCOUNT_NAME]     = { "name",       VAL_TEXT, false },
	[ACCOUNT_STATE]    = { "state",      VAL_TEXT, false },
	[ACCOUNT_CREATED]  = { "created_ms", VAL_INT,  false },
	[ACCOUNT_STATE_SINCE] = { "state_ms", VAL_INT, true },
	[ACCOUNT_QUEUED]   = { "queued",     VAL_TEXT, true },
};
static const struct column name_columns[NAME_COLUMNS] = {
	[NAME_NAME]        = { "name",       VAL_TEXT, false },
	[NAME_ACCOUNT]     = { "account",    VAL_INT,  false },
};
static const struct column key_columns[KEY_COLUMNS] = {
	[KEY_ACCOUNT]      = { "account",      VAL_INT,  false },
	[KEY_ID]           = { "key_id",       VAL_TEXT, false },
	[KEY_NAME]         = { "name",         VAL_TEXT, false },
	[KEY_STATE]        = { "state",        VAL_TEXT, false },
	[KEY_IMPORTED]     = { "imported",     VAL_INT,  false },
	[KEY_SCOPES]       = { "scopes",       VAL_TEXT, false },
	[KEY_CREATED]      = { "created_ms",   VAL_INT,  false },
	[KEY_EXPIRES]      = { "expires_ms",   VAL_INT,  false },
	[KEY_REVOKED_AT]   = { "revoked_ms",   VAL_INT,  false },
	[KEY_HASH]         = { "hash",         VAL_BLOB, false },
	[KEY_SCRAM_SALT]   = { "scram_salt",   VAL_BLOB, false },
	[KEY_SCRAM_ROUNDS] = { "scram_rounds", VAL_INT,  false },
	[KEY_SCRAM_STORED] = { "scram_stored", VAL_BLOB, false },
	[KEY_SCRAM_SERVER] = { "scram_server", VAL_BLOB, false },
	[KEY_QUEUED]       = { "queued",       VAL_TEXT, true },
	[KEY_MECHANISMS]   = { "mechanisms",   VAL_TEXT, true },
	[KEY_CRAM_MD5]     = { "cram_md5",     VAL_BLOB, true },
	[KEY_CERTIFICATES] = { "certificates", VAL_TEXT, true },
	[KEY_NETWORKS]     = { "networks",     VAL_BLOB, true },
};
static const struct column certificate_columns[CERTIFICATE_COLUMNS] = {
	[CERTIFICATE_IDENTITY] = { "identity", VAL_TEXT, false },
	[CERTIFICATE_ACCOUNT]  = { "account",  VAL_INT,  false },
	[CERTIFICATE_KEY]      = { "key_id",   VAL_TEXT, false },
};
static const struct column index_columns[INDEX_COLUMNS] = {
	[INDEX_KEY]        = { "key_id",     VAL_TEXT, false },
	[INDEX_ACCOUNT]    = { "account",    VAL_INT,  false },
};
static const struct column trail_columns[TRAIL_COLUMNS] = {
	[TRAIL_ACCOUNT]    = { "account",    VAL_INT,  false },
	[TRAIL_AT]         = { "at_ms",      VAL_INT,  false },
	[TRAIL_N]          = { "n",          VAL_INT,  false },
	[TRAIL_WHO]        = { "who",        VAL_TEXT, false },
	[TRAIL_ACT]        = { "act",        VAL_TEXT, false },
	[TRAIL_OBJECT]     = { "object",     VAL_TEXT, false },
};

const struct table account_table      = { "account",      account_columns, ACCOUNT_COLUMNS, 1 };
const struct table account_name_table = { "account_name", name_columns,    NAME_COLUMNS,    1 };
const struct table key_table          = { "key",          key_columns,     KEY_COLUMNS,     2 };
const struct table key_index_table    = { "key_index",    index_columns,   INDEX_COLUMNS,   1 };
const struct table key_certificate_table = { "key_certificate", certificate_columns, CERTIFICATE_COLUMNS, 1 };
const struct table trail_table        = { "trail",        trail_columns,   TRAIL_COLUMNS,   3 };

/* As they were. */
static const struct table account_table_1 = { "account", account_columns, ACCOUNT_STATE_SINCE, 1 };
static const struct table key_table_1     = { "key",     key_columns,     KEY_QUEUED,          2 };

static const struct change version_1[] = {
	{ CHANGE_CREATE_TABLE, &account_table_1,    { 0 } },
	{ CHANGE_CREATE_TABLE, &account_name_table, { 0 } },
	{ CHANGE_CREATE_TABLE, &key_table_1,        { 0 } },
	{ CHANGE_CREATE_TABLE, &key_index_table,    { 0 } },
	{ CHANGE_CREATE_TABLE, &trail_table,        { 0 } },
};
/* What becomes of queued mail. A state "suspended" is read as "held". */
static const struct change version_2[] = {
	{ CHANGE_ADD_COLUMN, &account_table, { "state_ms", VAL_INT,  true } },
	{ CHANGE_ADD_COLUMN, &account_table, { "queued",   VAL_TEXT, true } },
	{ CHANGE_ADD_COLUMN, &key_table,     { "queued",   VAL_TEXT, true } },
};
/* How a key may log in, beside its secret. */
static const struct change version_3[] = {
	{ CHANGE_ADD_COLUMN, &key_table, { "mechanisms",   VAL_TEXT, true } },
	{ CHANGE_ADD_COLUMN, &key_table, { "cram_md5",     VAL_BLOB, true } },
	{ CHANGE_ADD_COLUMN, &key_table, { "certificates", VAL_TEXT, true } },
	{ CHANGE_CREATE_TABLE, &key_certificate_table, { 0 } },
};
/* Where a key may be used from. */
static const struct change version_4[] = {
	{ CHANGE_ADD_COLUMN, &key_table, { "networks", VAL_BLOB, true } },
};
// clang-format on

static const struct schema_version versions[] = { { version_1, LEN(version_1) },
						  { version_2, LEN(version_2) },
						  { version_3, LEN(version_3) },
						  { version_4, LEN(version_4) } };
const struct schema account_schema = { "account", versions, LEN(versions) };
