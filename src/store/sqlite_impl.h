/* store/sqlite_impl.h -- what the files of the SQLite engine share. */
#ifndef STORE_SQLITE_IMPL_H
#define STORE_SQLITE_IMPL_H

#include "store/store_impl.h"

#include <sqlite3.h>

#include <limits.h>

struct lite {
	struct store base;
	char path[PATH_MAX];
	uint32_t busy_ms;
};

/* Which kind an SQLite result is. Its message may quote SQL of ours, never a value. */
bool lite_err(sqlite3 *, int rc, const char *doing, struct err *e);
/* Runs a pragma or definition; *ret_int (may be NULL) gets the first column of its row. */
bool lite_run(sqlite3 *, const char *sql, int64_t *ret_int, struct err *e);
/* SQLite gives names like ":memory:" and "file:x" a meaning; a path never has one. */
bool lite_path(char ret[PATH_MAX], struct slice path, struct err *e);
/* The file is there and fit to be used; see sqlite.c. */
bool lite_file_ready(const char *path, struct err *e);
/* A connection to l->path; NULL on failure. */
sqlite3 *lite_connect(const struct lite *, struct err *e);

bool lite_copy(struct store_handle *, struct slice to, struct err *e);

#endif
