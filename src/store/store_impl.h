/* store/store_impl.h -- what the engines of this room share. Each puts these first in its own
 * struct; nobody outside the room includes this file. */
#ifndef STORE_STORE_IMPL_H
#define STORE_STORE_IMPL_H

#include "store/store.h"

#include <stdatomic.h>

enum store_tx { TX_NONE, TX_READ, TX_WRITE };

struct store {
	const struct store_backend *backend;
	_Atomic uint64_t generation;
};

struct store_handle {
	struct store *store;
	enum store_tx tx;
	bool wrote;  /* something since begin */
	bool broken; /* an operation failed in a way that only a rollback answers */
	uint64_t lookups;
};

static inline uint32_t store_busy_ms(const struct store_conf *c)
{
	return c->busy_ms ? c->busy_ms : 5000;
}

/* Key order over the first n values. */
int store_key_cmp(const struct val *a, const struct val *b, size_t n);
/* Copies the bytes of a value into the arena. ERR_LATER: the arena is full. */
bool store_val_dup(struct arena *, const struct val *v, struct val *ret, struct err *e);
/* ERR_BUG unless every schema of the list is well formed. */
bool store_check_schemas(const struct schema *const *schemas, size_t n, struct err *e);

#endif
