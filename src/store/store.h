/* store/store.h -- the control database: accounts, keys, domains, and what else changes rarely.
 *
 * Other rooms describe their tables (struct schema) and read and write typed rows; no SQL leaves
 * this room. A store is opened once; each worker thread attaches a handle of its own.
 *
 * Invariants
 *  - A transaction whose store_commit() returned true survives kill -9 and power loss (the memory
 *    backend: until the process ends). One that was not committed leaves nothing.
 *  - A read transaction sees one state, at least as new as everything committed before its begin.
 *  - Write transactions run one after another; the state a writer reads stays true until it ends.
 *  - store_generation() grows after each committed transaction that wrote something.
 *
 * Errors: ERR_ABSENT, ERR_CONFLICT as said below; ERR_LATER: the store does not work now (busy,
 * full disk, unreadable file); ERR_DAMAGED: its bytes are not what we wrote; ERR_INPUT: a value is
 * too long, or a text is not UTF-8 or holds NUL. After ABSENT, CONFLICT and INPUT the transaction
 * goes on; after the others it can only be rolled back.
 *
 * Threads: a store is shared, a handle belongs to one thread at a time. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"

#define STORE_COLUMNS_MAX 32
#define STORE_VALUE_MAX   (1u << 20) /* bytes of one value */

struct store;
struct store_handle;

enum val_type { VAL_NULL, VAL_INT, VAL_TEXT, VAL_BLOB };

struct val {
	enum val_type type;
	int64_t i;      /* VAL_INT */
	struct slice s; /* VAL_TEXT (UTF-8 without NUL), VAL_BLOB */
};

static inline struct val val_int(int64_t i)
{
	return (struct val){ .type = VAL_INT, .i = i };
}

static inline struct val val_text(struct slice s)
{
	return (struct val){ .type = VAL_TEXT, .s = s };
}

static inline struct val val_blob(struct slice s)
{
	return (struct val){ .type = VAL_BLOB, .s = s };
}

struct column {
	const char *name; /* [a-z][a-z0-9_]* */
	enum val_type type;
	bool null_ok; /* never for a key column */
};

/* The first key_n columns are the primary key; the first of all is the account, so that an engine
 * can distribute the table (index tables excepted). Rows sort by key: integers by value, texts and
 * blobs as memcmp does. A descriptor is constant and lives as long as the store. */
struct table {
	const char *name; /* [a-z][a-z0-9_]* */
	const struct column *columns;
	size_t n;     /* 1 .. STORE_COLUMNS_MAX */
	size_t key_n; /* 1 .. n */
};

enum change_kind {
	CHANGE_CREATE_TABLE, /* the table as it was when this change was written */
	CHANGE_ADD_COLUMN,   /* appends to table->name; null_ok; old rows hold NULL */
	CHANGE_DROP_TABLE,
};

struct change {
	enum change_kind kind;
	const struct table *table;
	struct column column; /* CHANGE_ADD_COLUMN */
};

/* The tables of one room, as the list of changes that lead to them. Released versions are never
 * edited; versions[i] leads from version i to i + 1. Migration goes forward only. */
struct schema {
	const char *name; /* of the room */
	const struct schema_version {
		const struct change *changes;
		size_t n;
	} * versions;
	size_t n;
};

struct store_conf {
	struct slice path; /* sqlite: the file, mode 0600, made when absent; memory: ignored */
	uint32_t busy_ms;  /* how long begin waits for another writer; 0: 5000 */
};

/* Rows of one table: value c of row r is at[r * columns + c]. */
struct rows {
	struct val *at;
	size_t n, columns;
};

enum store_mode { STORE_READ, STORE_WRITE };

/* What an engine provides. Callers use the functions below, which check the arguments first; the
 * contracts stand there. */
struct store_backend {
	const char *name; /* as the config spells it */
	struct store *(*open)(const struct store_conf *, const struct schema *const *schemas,
			      size_t n, struct err *);
	void (*close)(struct store *);
	struct store_handle *(*attach)(struct store *, struct err *);
	void (*detach)(struct store_handle *);
	bool (*begin)(struct store_handle *, enum store_mode, struct err *);
	bool (*commit)(struct store_handle *, struct err *);
	void (*rollback)(struct store_handle *);
	bool (*insert)(struct store_handle *, const struct table *, const struct val *row,
		       struct err *);
	bool (*update)(struct store_handle *, const struct table *, const struct val *row,
		       struct err *);
	bool (*remove)(struct store_handle *, const struct table *, const struct val *key,
		       struct err *);
	bool (*get)(struct store_handle *, const struct table *, const struct val *key,
		    struct arena *, struct val *ret_row, struct err *);
	bool (*scan)(struct store_handle *, const struct table *, const struct val *prefix,
		     size_t n_prefix, const struct val *after, size_t limit, struct arena *,
		     struct rows *ret, struct err *);
	bool (*copy)(struct store_handle *, struct slice to, struct err *);
};

extern const struct store_backend store_sqlite;
extern const struct store_backend store_memory; /* for tests: lasts until it is closed */

/* For tests of callers: the n-th call of an operation of this memory store (1: the next one) and
 * all behind it fail with ERR_LATER, until 0 is set. */
void store_memory_fail(struct store *, uint64_t n);

/* Opens or makes a store and brings every schema to its newest version. ERR_CONFLICT: written by
 * a newer Signet. ERR_DENIED: the file's owner or mode let others in. NULL on failure. */
struct store *store_open(const struct store_backend *, const struct store_conf *,
			 const struct schema *const *schemas, size_t n, struct err *e);
/* Every handle was detached before. NULL is fine. */
void store_close(struct store *);

/* NULL on failure. */
struct store_handle *store_attach(struct store *, struct err *e);
/* Rolls back what is open. NULL is fine. */
void store_detach(struct store_handle *);
struct store *store_of(const struct store_handle *);

/* How many store_get() and store_scan() this handle has seen. */
uint64_t store_lookups(const struct store_handle *);

/* Counts committed writes of this process; starts at 1. Cheap, any thread. A cache that read it
 * before it read rows is stale once it differs. */
uint64_t store_generation(const struct store *);

/* One transaction at a time per handle. */
bool store_begin(struct store_handle *, enum store_mode, struct err *e);
/* Ends the transaction either way: false means nothing of it was kept. (ERR_LATER from a network
 * engine: not known; the caller reads before it writes again.) */
bool store_commit(struct store_handle *, struct err *e);
/* Ends the transaction, if one is open. Never fails. */
void store_rollback(struct store_handle *);

/* The last line of a function that ran a transaction: commits when ok, else rolls back (keeping
 * *e) and returns false. */
bool store_finish(struct store_handle *, bool ok, struct err *e);

/* Writing, in a write transaction only. A row has table->n values, a key table->key_n. */
bool store_insert(struct store_handle *, const struct table *, const struct val *row,
		  struct err *e); /* ERR_CONFLICT: the key exists */
/* Replaces every column behind the key. ERR_ABSENT: no such row. */
bool store_update(struct store_handle *, const struct table *, const struct val *row,
		  struct err *e);
bool store_remove(struct store_handle *, const struct table *, const struct val *key,
		  struct err *e); /* ERR_ABSENT: no such row */

/* Reading, inside any transaction or outside. Values live in the arena. */
bool store_get(struct store_handle *, const struct table *, const struct val *key, struct arena *,
	       struct val *ret_row, struct err *e); /* ERR_ABSENT: no such row */
/* Up to limit rows in key order whose first n_prefix key columns equal prefix, beginning behind
 * the key `after` (key_n values that begin with the prefix; NULL: from the first). */
bool store_scan(struct store_handle *, const struct table *, const struct val *prefix,
		size_t n_prefix, const struct val *after, size_t limit, struct arena *,
		struct rows *ret, struct err *e);

/* The whole database as it is now into a new file, mode 0600, synced; writers go on meanwhile.
 * Outside any transaction. ERR_CONFLICT: the file exists. ERR_INPUT: the engine has no file. */
bool store_copy(struct store_handle *, struct slice to, struct err *e);
/* The same of a file that no store of this process has open, in whatever version it is. */
bool store_copy_file(struct slice from, struct slice to, struct err *e);

/* The version of SQLite, for the eye. */
const char *store_version(void);

#endif
