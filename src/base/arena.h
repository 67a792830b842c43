/* base/arena.h -- memory of one unit of work, freed whole.
 *
 * Everything allocated lives until arena_done(). There is a ceiling in bytes; beyond it, or when
 * memory is out, arena_alloc() returns NULL and `failed` stays set. Memory comes zeroed. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/slice.h"

struct arena_block;

struct arena {
	struct arena_block *blocks;
	size_t used, max;
	bool failed;
};

void arena_init(struct arena *a, size_t max);
void arena_done(struct arena *a);
void *arena_alloc(struct arena *a, size_t n);
/* A copy of s (with a NUL behind it that does not count); p == NULL when memory is out. */
struct slice arena_dup(struct arena *a, struct slice s);

#define ARENA_NEW(a, type)          ((type *)arena_alloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, count) ((type *)arena_array((a), (count), sizeof(type)))
void *arena_array(struct arena *a, size_t count, size_t size);

#endif
