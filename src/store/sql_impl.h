/* store/sql_impl.h -- descriptors as SQL text, in SQLite's spelling.
 *
 * Only names from descriptors enter the text (store.c has checked them); every value is a mark. */
#ifndef STORE_SQL_IMPL_H
#define STORE_SQL_IMPL_H

#include "base/buf.h"
#include "store/store.h"

enum sql_op { OP_INSERT, OP_UPDATE, OP_REMOVE, OP_GET, OP_SCAN, OP_SCAN_AFTER };

/* Marks, in order: INSERT the row; UPDATE the columns behind the key, then the key; REMOVE and GET
 * the key; SCAN the prefix, then the limit; SCAN_AFTER the prefix, the rest of the key, the limit.
 */
void sql_operation(struct buf *, const struct table *, enum sql_op, size_t n_prefix);
void sql_change(struct buf *, const struct change *);

#endif
