/* store/store_rig_test.h -- a store of two tables, with each engine, for the tests of this room. */
#ifndef STORE_STORE_RIG_TEST_H
#define STORE_STORE_RIG_TEST_H

#include "base/err_test.h"
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof(*(a)))

/* The schema's parts, for those who make a later version of it. */
extern const struct column key_columns[5], name_columns[2];
extern const struct table keyed; /* account, key, n; data, select */
extern const struct table names; /* name; id */
extern const struct change changes[2];
extern const struct schema_version versions[1];
extern const struct schema schema;
extern const struct schema *const schemas[1];

extern char dir[];
extern char path[64]; /* of the file in it */

struct fix {
	const struct store_backend *backend;
	struct store *s;
	struct store_handle *h;
	struct arena a;
	struct err e;
};

int with_sqlite(void **state);
int with_memory(void **state);
int end_test(void **state);
void wipe_files(void);
struct store *open_at(const struct store_backend *, uint32_t busy_ms, struct err *);

/* A row of `keyed`. */
void key_row(struct val *, int64_t account, struct slice key, int64_t n, struct slice data);
bool put(struct fix *, int64_t account, struct slice key, int64_t n, struct slice data);
bool has(struct fix *, struct store_handle *, int64_t account, struct slice key, int64_t n);

int store_contract_cases(void);
int store_sqlite_cases(void);

#endif
