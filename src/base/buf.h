/* base/buf.h -- a growing byte buffer that cannot grow without end.
 *
 * Invariants: n <= cap <= max; there is no buffer without a ceiling. Failure (ceiling or memory)
 * is sticky: the append that does not fit adds nothing and sets `failed`, later appends add
 * nothing, and whoever builds checks once at the end. The owner calls buf_done(). */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/slice.h"

struct buf {
	char *p;
	size_t n, cap, max;
	bool failed;
};

void buf_init(struct buf *b, size_t max);
/* Frees the storage; the buffer is as after buf_init() with the same ceiling. */
void buf_done(struct buf *b);
/* The same, overwriting the bytes first: for buffers that held a secret. */
void buf_wipe(struct buf *b);
/* Forgets content and failure, keeps the storage. */
void buf_clear(struct buf *b);

void buf_add_slow(struct buf *b, struct slice s);
void buf_addu(struct buf *b, uint64_t v);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Lower-case hexadecimal. */
void buf_addhex(struct buf *b, struct slice s);

/* Makes room for at least n more bytes and returns where they go, or NULL (and failed). What was
 * written there counts once buf_grew() says so. */
char *buf_room_for(struct buf *b, size_t n);
void buf_grew(struct buf *b, size_t n);
/* Drops the first n bytes; the rest moves to the front. n <= b->n. */
void buf_shift(struct buf *b, size_t n);

/* The append that fits, which nearly all do, costs no call. */
static inline void buf_add(struct buf *b, struct slice s)
{
	if (b->failed || s.n > b->cap - b->n || !s.n) {
		buf_add_slow(b, s);
		return;
	}
	memcpy(b->p + b->n, s.p, s.n);
	b->n += s.n;
}

static inline void buf_addc(struct buf *b, char c)
{
	buf_add(b, slice(&c, 1));
}

static inline size_t buf_left(const struct buf *b)
{
	return b->max - b->n;
}

static inline struct slice buf_slice(const struct buf *b)
{
	return slice(b->p, b->n);
}

#endif
