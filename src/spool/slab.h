/* spool/slab.h -- many small objects of one size, numbered, that never move.
 *
 * Numbers are used again. A chunk of them without a live one goes back to the kernel, but for one.
 */
#ifndef SPOOL_SLAB_H
#define SPOOL_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLAB_NONE UINT32_MAX
#define SLAB_MAX  0x7fffffffu /* numbers below this */

struct slab_chunk;

struct slab {
	struct slab_chunk **chunks; /* NULL: given back */
	size_t size;
	uint32_t n_chunks, cap_chunks;
	uint32_t *free_chunks; /* numbers of chunks that were given back */
	uint32_t n_free_chunks;
	uint32_t open; /* chunks with room, as a list; SLAB_NONE: none */
	uint64_t bytes;
};

/* size: at least 4. */
void slab_init(struct slab *, size_t size);
void slab_done(struct slab *);
/* Zeroed. False: memory is out. */
bool slab_add(struct slab *, uint32_t *ret);
void slab_drop(struct slab *, uint32_t i);
void *slab_at(const struct slab *, uint32_t i);
/* The object with number *i, handed out or not, or the next in number (then *i is its); NULL: there
 * is none. */
void *slab_from(const struct slab *, uint32_t *i);

#endif
