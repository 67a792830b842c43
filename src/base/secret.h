/* base/secret.h -- bytes that must not be printed.
 *
 * A secret is its own type so that no log field, error text or format takes it by accident.
 * Whoever holds the storage wipes it. Comparison is digest_equal(), in constant time. */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/slice.h"

struct secret {
	struct slice bytes;
};

static inline struct secret secret(struct slice bytes)
{
	return (struct secret){ bytes };
}

#endif
