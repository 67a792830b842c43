/* auth/store_impl.h -- the tables of this room, in a store of their own. */
#ifndef AUTH_STORE_IMPL_H
#define AUTH_STORE_IMPL_H

#include "store/store.h"

extern const struct table authlog_table, ban_table;

/* What was read into a field of `size` bytes: cut, with a zero behind it. */
static inline void copy(char *field, size_t size, struct slice s)
{
	size_t n = s.n < size ? s.n : size - 1;

	memcpy(field, s.p, n);
	field[n] = '\0';
}

#endif
