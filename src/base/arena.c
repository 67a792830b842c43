#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

/* With its header, the largest piece that glibc keeps at hand for each thread. */
#define BLOCK_MIN 1000

struct arena_block {
	struct arena_block *next;
	size_t n, cap;
	max_align_t data[];
};

void arena_init(struct arena *a, size_t max)
{
	*a = (struct arena){ .max = max };
}

void arena_done(struct arena *a)
{
	struct arena_block *b = a->blocks;

	while (b) {
		struct arena_block *next = b->next;

		free(b);
		b = next;
	}
	arena_init(a, a->max);
}

/* Not zeroed. */
static void *take(struct arena *a, size_t n)
{
	const size_t align = _Alignof(max_align_t);
	struct arena_block *b = a->blocks;
	size_t cap;
	char *at;

	/* used may pass max by the rounding of the last piece; n beyond half of the address space
	 * would wrap below. */
	if (a->failed || a->used > a->max || n > a->max - a->used || n > SIZE_MAX / 2) {
		a->failed = true;
		return NULL;
	}
	n = (n + align - 1) / align * align;
	if (!b || b->cap - b->n < n) {
		cap = n > BLOCK_MIN ? n : BLOCK_MIN;
		b = malloc(sizeof *b + cap);
		if (!b) {
			a->failed = true;
			return NULL;
		}
		b->n = 0;
		b->cap = cap;
		if (cap > BLOCK_MIN && a->blocks) {
			/* It is full: behind the first, which may have room. */
			b->next = a->blocks->next;
			a->blocks->next = b;
		} else {
			b->next = a->blocks;
			a->blocks = b;
		}
	}
	at = (char *)b->data + b->n;
	b->n += n;
	a->used += n;
	return at;
}

void *arena_alloc(struct arena *a, size_t n)
{
	void *p = take(a, n);

	if (p)
		memset(p, 0, n);
	return p;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
	size_t n;

	if (__builtin_mul_overflow(count, size, &n)) {
		a->failed = true;
		return NULL;
	}
	return arena_alloc(a, n);
}

struct slice arena_dup(struct arena *a, struct slice s)
{
	char *p = take(a, s.n + 1);

	if (!p)
		return slice(NULL, 0);
	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return slice(p, s.n);
}
