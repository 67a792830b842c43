/* store/sqlite.c -- the store on one machine. SQLite is known here and in sqlite_copy.c.
 *
 * Write-ahead log with a sync at each commit, so that what was acknowledged survives power loss
 * and readers never wait for the writer. Each handle is a connection of its own with its prepared
 * statements. SQL is built from descriptors only; every value is bound. */
#include "store/store.h"

#include "base/auto.h"
#include "base/buf.h"
#include "base/must.h"
#include "store/sql_impl.h"
#include "store/sqlite_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define APPLICATION_ID 0x5369676e /* "Sign": whose file this is */
#define SQL_MAX        8192
#define STMTS_MAX      512

struct stmt {
	const struct table *table;
	enum sql_op op;
	size_t n_prefix;
	sqlite3_stmt *s;
};

struct lite_handle {
	struct store_handle base;
	sqlite3 *db;
	sqlite3_stmt *begin_read, *begin_write, *commit, *rollback;
	struct stmt *stmts;
	size_t n, cap;
};

bool lite_err(sqlite3 *db, int rc, const char *doing, struct err *e)
{
	enum err_kind kind;

	switch (rc & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FORMAT: kind = ERR_DAMAGED; break;
	case SQLITE_TOOBIG: kind = ERR_INPUT; break;
	case SQLITE_ERROR:
	case SQLITE_MISUSE:
	case SQLITE_RANGE:
	case SQLITE_MISMATCH:
	case SQLITE_CONSTRAINT:
	case SQLITE_INTERNAL: kind = ERR_BUG; break;
	default: kind = ERR_LATER; break; /* busy, full, read-only, I/O, memory */
	}
	return err_set(e, kind, "database: %s: %s", doing,
		       db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

/* ---- statements ---- */

static bool prepare(sqlite3 *db, struct buf *sql, sqlite3_stmt **ret, struct err *e)
{
	int rc;

	buf_addc(sql, 0);
	if (sql->failed)
		return err_set(e, ERR_LATER, "database: no memory");
	rc = sqlite3_prepare_v3(db, sql->p, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
	return rc == SQLITE_OK || lite_err(db, rc, "prepare", e);
}

static bool prepare_text(sqlite3 *db, const char *text, sqlite3_stmt **ret, struct err *e)
{
	struct buf sql;
	bool ok;

	buf_init(&sql, SQL_MAX);
	buf_add(&sql, slice_str(text));
	ok = prepare(db, &sql, ret, e);
	buf_done(&sql);
	return ok;
}

static void forget_statements(struct lite_handle *h)
{
	for (size_t i = 0; i < h->n; i++)
		sqlite3_finalize(h->stmts[i].s);
	h->n = 0;
}

/* The statement for this operation, prepared once per handle; NULL on failure. */
static sqlite3_stmt *statement(struct lite_handle *h, const struct table *t, enum sql_op op,
			       size_t n_prefix, struct err *e)
{
	struct stmt *new;
	struct buf sql;
	bool ok;

	for (size_t i = 0; i < h->n; i++)
		if (h->stmts[i].table == t && h->stmts[i].op == op &&
		    h->stmts[i].n_prefix == n_prefix)
			return h->stmts[i].s;
	if (h->n == STMTS_MAX)
		forget_statements(h);
	if (h->n == h->cap) {
		struct stmt *more = realloc(h->stmts, (h->cap * 2 + 16) * sizeof(*more));

		if (!more) {
			err_set(e, ERR_LATER, "database: no memory");
			return NULL;
		}
		h->stmts = more;
		h->cap = h->cap * 2 + 16;
	}
	new = &h->stmts[h->n];
	*new = (struct stmt){ .table = t, .op = op, .n_prefix = n_prefix };
	buf_init(&sql, SQL_MAX);
	sql_operation(&sql, t, op, n_prefix);
	ok = prepare(h->db, &sql, &new->s, e);
	buf_done(&sql);
	if (!ok)
		return NULL;
	h->n++;
	return new->s;
}

/* Binds v[0..n) to the marks from `first` on. Bytes are not copied: they stay until done(). */
static int bind(sqlite3_stmt *s, int first, const struct val *v, size_t n)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; i < n && rc == SQLITE_OK; i++) {
		int at = first + (int)i;
		const char *p = v[i].s.n ? v[i].s.p : "";

		switch (v[i].type) {
		case VAL_NULL: rc = sqlite3_bind_null(s, at); break;
		case VAL_INT: rc = sqlite3_bind_int64(s, at, v[i].i); break;
		case VAL_TEXT:
			rc = sqlite3_bind_text(s, at, p, (int)v[i].s.n, SQLITE_STATIC);
			break;
		case VAL_BLOB:
			rc = sqlite3_bind_blob(s, at, p, (int)v[i].s.n, SQLITE_STATIC);
			break;
		}
	}
	return rc;
}

static void done(sqlite3_stmt *s)
{
	sqlite3_reset(s); /* its result repeats that of the last step */
	sqlite3_clear_bindings(s);
}

/* One value of the row that `s` stands on. STRICT tables hold the declared types; anything else
 * is damage. */
static bool column(sqlite3_stmt *s, const struct table *t, size_t i, struct arena *a,
		   struct val *ret, struct err *e)
{
	int at = (int)i;
	struct val v = { .type = t->columns[i].type };
	const void *p;

	switch (sqlite3_column_type(s, at)) {
	case SQLITE_NULL: v.type = VAL_NULL; break;
	case SQLITE_INTEGER:
		v.type = VAL_INT;
		v.i = sqlite3_column_int64(s, at);
		break;
	case SQLITE_TEXT: v.type = VAL_TEXT; break;
	case SQLITE_BLOB: v.type = VAL_BLOB; break;
	default: v.type = VAL_NULL; break; /* a float: refused below, key and value alike */
	}
	if (v.type != t->columns[i].type && !(v.type == VAL_NULL && t->columns[i].null_ok &&
					      sqlite3_column_type(s, at) == SQLITE_NULL))
		return err_set(e, ERR_DAMAGED, "database: %s.%s has a wrong type", t->name,
			       t->columns[i].name);
	if (v.type == VAL_TEXT || v.type == VAL_BLOB) {
		p = v.type == VAL_TEXT ? (const void *)sqlite3_column_text(s, at)
				       : sqlite3_column_blob(s, at);
		v.s = slice(p, p ? (size_t)sqlite3_column_bytes(s, at) : 0);
	}
	return store_val_dup(a, &v, ret, e);
}

static bool row(sqlite3_stmt *s, const struct table *t, struct arena *a, struct val *ret,
		struct err *e)
{
	for (size_t i = 0; i < t->n; i++)
		if (!column(s, t, i, a, &ret[i], e))
			return false;
	return true;
}

/* ---- connections ---- */

bool lite_run(sqlite3 *db, const char *sql, int64_t *ret_int, struct err *e)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
	bool seen = false;

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(s);
		if (rc == SQLITE_ROW && ret_int && !seen)
			*ret_int = sqlite3_column_int64(s, 0);
		seen = seen || rc == SQLITE_ROW;
	}
	if (rc != SQLITE_DONE) {
		lite_err(db, rc, "open", e);
		sqlite3_finalize(s);
		return false;
	}
	sqlite3_finalize(s);
	return true;
}

static bool set_wal(sqlite3 *db, struct err *e)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(db, "PRAGMA journal_mode=WAL", -1, &s, NULL);
	bool ok;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(s);
	if (rc != SQLITE_ROW)
		ok = lite_err(db, rc, "open", e);
	else
		/* Some file systems cannot: then SQLite stays with its old mode and says so. */
		ok = strcmp((const char *)sqlite3_column_text(s, 0), "wal") == 0 ||
		     err_set(e, ERR_LATER, "database: no write-ahead log on this file system");
	sqlite3_finalize(s);
	return ok;
}

bool lite_path(char ret[PATH_MAX], struct slice path, struct err *e)
{
	size_t at = 0;

	if (!path.n || path.n + 3 > PATH_MAX || memchr(path.p, 0, path.n))
		return err_set(e, ERR_INPUT, "database: not a path");
	if (path.p[0] != '/') {
		memcpy(ret, "./", 2);
		at = 2;
	}
	memcpy(ret + at, path.p, path.n);
	ret[at + path.n] = 0;
	return true;
}

sqlite3 *lite_connect(const struct lite *l, struct err *e)
{
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(
	    l->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
	    NULL);
	bool ok = rc == SQLITE_OK;

	if (!ok)
		lite_err(db, rc, "open", e);
	if (ok) {
		sqlite3_busy_timeout(db, (int)l->busy_ms);
		sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
		sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
		ok = set_wal(db, e) && lite_run(db, "PRAGMA synchronous=FULL", NULL, e) &&
		     lite_run(db, "PRAGMA cell_size_check=ON", NULL, e) &&
		     lite_run(db, "PRAGMA mmap_size=0", NULL, e) &&
		     lite_run(db, "PRAGMA temp_store=MEMORY", NULL, e);
	}
	if (!ok) {
		sqlite3_close(db);
		return NULL;
	}
	return db;
}

/* Makes the file with its mode before SQLite sees it (which gives the log the same one), or
 * judges the one that is there. lstat(), not open(): closing a descriptor of our own would drop
 * the locks that another connection of this process holds on the file. */
bool lite_file_ready(const char *path, struct err *e)
{
	struct stat st;
	AUTO_FD fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fchmod(fd, 0600) == 0 ||
		       err_set(e, ERR_LATER, "%s: %s", path, strerror(errno));
	if (errno != EEXIST || lstat(path, &st) < 0)
		return err_set(e, ERR_LATER, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_DENIED, "%s: not a regular file", path);
	if (st.st_uid != geteuid())
		return err_set(e, ERR_DENIED,
			       "%s: owned by user %u, but Signet runs as user %u: chown it", path,
			       (unsigned)st.st_uid, (unsigned)geteuid());
	if (st.st_mode & 0177)
		return err_set(e, ERR_DENIED, "%s: mode %04o lets others in: chmod 600 it", path,
			       (unsigned)st.st_mode & 07777);
	return true;
}

/* ---- schemas ---- */

static bool apply(sqlite3 *db, const struct change *c, struct err *e)
{
	struct buf sql;
	bool ok;

	buf_init(&sql, SQL_MAX);
	sql_change(&sql, c);
	buf_addc(&sql, 0);
	ok = sql.failed ? err_set(e, ERR_LATER, "database: no memory")
			: lite_run(db, sql.p, NULL, e);
	buf_done(&sql);
	return ok;
}

static const struct column version_columns[] = {
	{ "part", VAL_TEXT, false },
	{ "version", VAL_INT, false },
};
static const struct table version_table = { "schema_version", version_columns, 2, 1 };

static bool migrate_one(sqlite3 *db, const struct schema *s, size_t have, struct err *e)
{
	sqlite3_stmt *put = NULL;
	int rc;

	for (size_t v = have; v < s->n; v++)
		for (size_t c = 0; c < s->versions[v].n; c++)
			if (!apply(db, &s->versions[v].changes[c], e))
				return err_in(e, s->name);
	if (!prepare_text(db, "INSERT OR REPLACE INTO schema_version VALUES(?,?)", &put, e))
		return false;
	sqlite3_bind_text(put, 1, s->name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(put, 2, (int64_t)s->n);
	rc = sqlite3_step(put);
	sqlite3_finalize(put);
	return rc == SQLITE_DONE || lite_err(db, rc, "migrate", e);
}

/* Fills have[i] with the version that schemas[i] has in the file. A version beyond ours, or a
 * part that we do not know, was written by a program that knows more. */
static bool versions(sqlite3 *db, const struct schema *const *schemas, size_t n, size_t *have,
		     struct err *e)
{
	sqlite3_stmt *s = NULL;
	bool ok = prepare_text(db, "SELECT part,version FROM schema_version", &s, e);
	int rc = SQLITE_DONE;

	while (ok && (rc = sqlite3_step(s)) == SQLITE_ROW) {
		const char *part = (const char *)sqlite3_column_text(s, 0);
		int64_t version = sqlite3_column_int64(s, 1);
		size_t i = 0;

		while (i < n && part && strcmp(schemas[i]->name, part) != 0)
			i++;
		if (!part || i == n || version < 0 || (uint64_t)version > schemas[i]->n)
			ok = err_set(e, ERR_CONFLICT,
				     "database: its schema \"%s\" has version %lld, this Signet "
				     "knows %zu: it was written by a newer one",
				     part ? part : "", (long long)version,
				     i < n ? schemas[i]->n : (size_t)0);
		else
			have[i] = (size_t)version;
	}
	if (ok && rc != SQLITE_DONE)
		ok = lite_err(db, rc, "open", e);
	sqlite3_finalize(s);
	return ok;
}

/* In one write transaction, so that two programs cannot both begin. */
static bool migrate(sqlite3 *db, const struct schema *const *schemas, size_t n, struct err *e)
{
	int64_t id = 0, objects = 0;
	size_t *have = calloc(n + 1, sizeof(*have));
	bool ok;

	if (!have)
		return err_set(e, ERR_LATER, "database: no memory");
	ok = lite_run(db, "BEGIN IMMEDIATE", NULL, e) &&
	     lite_run(db, "PRAGMA application_id", &id, e) &&
	     lite_run(db, "SELECT count(*) FROM sqlite_schema", &objects, e);
	if (ok && id == 0 && objects == 0) {
		struct change first = { CHANGE_CREATE_TABLE, &version_table, { 0 } };
		char set_id[64];

		snprintf(set_id, sizeof(set_id), "PRAGMA application_id=%d", APPLICATION_ID);
		ok = lite_run(db, set_id, NULL, e) && apply(db, &first, e);
	} else if (ok && id != APPLICATION_ID) {
		ok = err_set(e, ERR_DAMAGED, "database: the file belongs to another program");
	}
	ok = ok && versions(db, schemas, n, have, e);
	for (size_t i = 0; i < n && ok; i++)
		if (have[i] < schemas[i]->n)
			ok = migrate_one(db, schemas[i], have[i], e);
	ok = ok && lite_run(db, "COMMIT", NULL, e);
	free(have);
	return ok;
}

/* ---- the contract ---- */

static struct store *lite_open(const struct store_conf *conf, const struct schema *const *schemas,
			       size_t n, struct err *e)
{
	struct lite *l = calloc(1, sizeof(*l));
	sqlite3 *db;
	bool ok;

	if (!l) {
		err_set(e, ERR_LATER, "database: no memory");
		return NULL;
	}
	l->busy_ms = store_busy_ms(conf);
	if (l->busy_ms > INT_MAX)
		l->busy_ms = INT_MAX;
	if (!lite_path(l->path, conf->path, e)) {
		free(l);
		return NULL;
	}
	db = lite_file_ready(l->path, e) ? lite_connect(l, e) : NULL;
	ok = db && migrate(db, schemas, n, e);
	if (db && !ok)
		err_in(e, l->path);
	if (sqlite3_close(db) != SQLITE_OK || !ok) {
		free(l);
		return NULL;
	}
	return &l->base;
}

static void lite_close(struct store *s)
{
	free(s);
}

static void lite_detach(struct store_handle *base)
{
	struct lite_handle *h = (struct lite_handle *)base;

	forget_statements(h);
	free(h->stmts);
	sqlite3_finalize(h->begin_read);
	sqlite3_finalize(h->begin_write);
	sqlite3_finalize(h->commit);
	sqlite3_finalize(h->rollback);
	MUST(sqlite3_close(h->db) == SQLITE_OK);
	free(h);
}

static struct store_handle *lite_attach(struct store *s, struct err *e)
{
	struct lite_handle *h = calloc(1, sizeof(*h));

	if (!h) {
		err_set(e, ERR_LATER, "database: no memory");
		return NULL;
	}
	h->db = lite_connect((struct lite *)s, e);
	if (h->db && prepare_text(h->db, "BEGIN", &h->begin_read, e) &&
	    prepare_text(h->db, "BEGIN IMMEDIATE", &h->begin_write, e) &&
	    prepare_text(h->db, "COMMIT", &h->commit, e) &&
	    prepare_text(h->db, "ROLLBACK", &h->rollback, e))
		return &h->base;
	lite_detach(&h->base);
	return NULL;
}

static bool once(struct lite_handle *h, sqlite3_stmt *s, const char *doing, struct err *e)
{
	int rc = sqlite3_step(s);
	bool ok = rc == SQLITE_DONE || lite_err(h->db, rc, doing, e);

	sqlite3_reset(s);
	return ok;
}

static bool lite_begin(struct store_handle *base, enum store_mode mode, struct err *e)
{
	struct lite_handle *h = (struct lite_handle *)base;

	return once(h, mode == STORE_WRITE ? h->begin_write : h->begin_read, "begin", e);
}

static void lite_rollback(struct store_handle *base)
{
	struct lite_handle *h = (struct lite_handle *)base;

	/* After some errors SQLite has rolled back by itself. */
	if (!sqlite3_get_autocommit(h->db))
		once(h, h->rollback, "rollback", NULL);
}

static bool lite_commit(struct store_handle *base, struct err *e)
{
	struct lite_handle *h = (struct lite_handle *)base;

	if (once(h, h->commit, "commit", e))
		return true;
	lite_rollback(base);
	return false;
}

static bool lite_insert(struct store_handle *base, const struct table *t, const struct val *row_in,
			struct err *e)
{
	struct lite_handle *h = (struct lite_handle *)base;
	sqlite3_stmt *s = statement(h, t, OP_INSERT, 0, e);
	bool ok;
	int rc;

	if (!s)
		return false;
	rc = bind(s, 1, row_in, t->n);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(s);
	if (rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_UNIQUE)
		ok = err_set(e, ERR_CONFLICT, "%s: exists already", t->name);
	else
		ok = rc == SQLITE_DONE || lite_err(h->db, rc, "insert", e);
	done(s);
	return ok;
}

/* The end of update and remove: one row changed, or none was there. */
static bool changed(struct lite_handle *h, sqlite3_stmt *s, int rc, const struct table *t,
		    struct err *e)
{
	bool ok;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(s);
	if (rc != SQLITE_DONE)
		ok = lite_err(h->db, rc, "write", e);
	else
		ok = sqlite3_changes(h->db) == 1 ||
		     err_set(e, ERR_ABSENT, "%s: no such row", t->name);
	done(s);
	return ok;
}

static bool lite_update(struct store_handle *base, const struct table *t, const struct val *row_in,
			struct err *e)
{
	struct lite_handle *h = (struct lite_handle *)base;
	sqlite3_stmt *s = statement(h, t, OP_UPDATE, 0, e);
	int rc;

	if (!s)
		return false;
	rc = bind(s, 1, row_in + t->key_n, t->n - t->key_n);
	if (rc == SQLITE_OK)
		rc = bind(s, 1 + (int)(t->n - t->key_n), row_in, t->key_n);
	return changed(h, s, rc, t, e);
}

static bool lite_remove(struct store_handle *base, const struct table *t, const struct val *key,
			struct err *e)
{
	struct lite_handle *h = (struct lite_handle *)base;
	sqlite3_stmt *s = statement(h, t, OP_REMOVE, 0, e);

	return s && changed(h, s, bind(s, 1, key, t->key_n), t, e);
}

static bool lite_get(struct store_handle *base, const struct table *t, const struct val *key,
		     struct arena *a, struct val *ret_row, struct err *e)
{
	struct lite_handle *h = (struct lite_handle *)base;
	sqlite3_stmt *s = statement(h, t, OP_GET, 0, e);
	bool ok;
	int rc;

	if (!s)
		return false;
	rc = bind(s, 1, key, t->key_n);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(s);
	if (rc == SQLITE_ROW)
		ok = row(s, t, a, ret_row, e);
	else if (rc == SQLITE_DONE)
		ok = err_set(e, ERR_ABSENT, "%s: no such row", t->name);
	else
		ok = lite_err(h->db, rc, "read", e);
	done(s);
	return ok;
}

/* Collects rows in an array that doubles: how many there are is known at the end only. */
static bool collect(struct lite_handle *h, sqlite3_stmt *s, const struct table *t, struct arena *a,
		    struct rows *ret, struct err *e)
{
	struct rows r = { .columns = t->n };
	size_t cap = 0;
	int rc;

	while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
		if (r.n == cap) {
			size_t more = cap ? cap * 2 : 16;
			struct val *at = ARENA_ARRAY(a, struct val, more * t->n);

			if (!at)
				return err_set(e, ERR_LATER, "store: no memory for rows");
			if (r.n)
				memcpy(at, r.at, r.n * t->n * sizeof(*at));
			r.at = at;
			cap = more;
		}
		if (!row(s, t, a, r.at + r.n * t->n, e))
			return false;
		r.n++;
	}
	if (rc != SQLITE_DONE)
		return lite_err(h->db, rc, "read", e);
	*ret = r;
	return true;
}

static bool lite_scan(struct store_handle *base, const struct table *t, const struct val *prefix,
		      size_t n_prefix, const struct val *after, size_t limit, struct arena *a,
		      struct rows *ret, struct err *e)
{
	struct lite_handle *h = (struct lite_handle *)base;
	sqlite3_stmt *s = statement(h, t, after ? OP_SCAN_AFTER : OP_SCAN, n_prefix, e);
	struct val most = val_int((int64_t)limit);
	int next = 1 + (int)n_prefix;
	bool ok;
	int rc;

	if (!s)
		return false;
	rc = bind(s, 1, prefix, n_prefix);
	if (rc == SQLITE_OK && after) {
		rc = bind(s, next, after + n_prefix, t->key_n - n_prefix);
		next += (int)(t->key_n - n_prefix);
	}
	if (rc == SQLITE_OK)
		rc = bind(s, next, &most, 1);
	ok = rc == SQLITE_OK ? collect(h, s, t, a, ret, e) : lite_err(h->db, rc, "bind", e);
	done(s);
	return ok;
}

const struct store_backend store_sqlite = {
	.name = "sqlite",
	.open = lite_open,
	.close = lite_close,
	.attach = lite_attach,
	.detach = lite_detach,
	.begin = lite_begin,
	.commit = lite_commit,
	.rollback = lite_rollback,
	.insert = lite_insert,
	.update = lite_update,
	.remove = lite_remove,
	.get = lite_get,
	.scan = lite_scan,
	.copy = lite_copy,
};
