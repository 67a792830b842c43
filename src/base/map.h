/* base/map.h -- bytes to pointer, with a keyed hash (SipHash-1-3).
 *
 * Keys are copied; values belong to the caller. The hash key is a parameter, so that nobody
 * outside can choose keys that collide. Names are only bytes: none is special. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/slice.h"

struct map_slot;

struct map {
	struct map_slot *at;
	size_t n, cap;
	uint64_t key[2];
};

uint64_t siphash(const uint64_t key[2], struct slice s);

void map_init(struct map *m, const uint64_t key[2]);
/* Frees the keys and the table, not the values: walk with map_each() first. */
void map_done(struct map *m);
void *map_get(const struct map *m, struct slice key);
/* Sets or replaces. value is not NULL. False when memory is out (map unchanged). */
bool map_put(struct map *m, struct slice key, void *value);
/* Takes the entry out and returns its value, NULL when there was none. */
void *map_remove(struct map *m, struct slice key);
/* Iterates in no order: *at starts at 0; NULL at the end. No put or remove in between. */
void *map_each(const struct map *m, size_t *at, struct slice *ret_key);

#endif
