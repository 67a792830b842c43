#include "base/buf.h"

#include "base/must.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

void buf_done(struct buf *b)
{
	free(b->p);
	buf_init(b, b->max);
}

void buf_wipe(struct buf *b)
{
	if (b->p)
		explicit_bzero(b->p, b->cap);
	buf_done(b);
}

void buf_clear(struct buf *b)
{
	b->n = 0;
	b->failed = false;
}

char *buf_room_for(struct buf *b, size_t n)
{
	size_t cap = b->cap ? b->cap : 64;
	char *p;

	if (b->failed || n > b->max - b->n) {
		b->failed = true;
		return NULL;
	}
	if (b->p && n <= b->cap - b->n)
		return b->p + b->n;
	while (cap - b->n < n)
		cap = cap > b->max / 2 ? b->max : cap * 2;
	if (cap > b->max)
		cap = b->max;
	p = realloc(b->p, cap);
	if (!p) {
		b->failed = true;
		return NULL;
	}
	b->p = p;
	b->cap = cap;
	return b->p + b->n;
}

void buf_grew(struct buf *b, size_t n)
{
	MUST(n <= b->cap - b->n);
	b->n += n;
}

void buf_shift(struct buf *b, size_t n)
{
	MUST(n <= b->n);
	if (!n)
		return;
	b->n -= n;
	memmove(b->p, b->p + n, b->n);
}

void buf_add_slow(struct buf *b, struct slice s)
{
	char *at;

	if (!s.n)
		return;
	at = buf_room_for(b, s.n);
	if (!at)
		return;
	memcpy(at, s.p, s.n);
	b->n += s.n;
}

void buf_addu(struct buf *b, uint64_t v)
{
	char digits[20];
	size_t at = sizeof digits;

	do
		digits[--at] = (char)('0' + v % 10);
	while (v /= 10);
	buf_add(b, slice(digits + at, sizeof digits - at));
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	int n;
	char *at;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	/* vsnprintf writes a NUL behind the text, so one byte more is needed than kept. */
	at = n < 0 ? NULL : buf_room_for(b, (size_t)n + 1);
	if (at) {
		vsnprintf(at, (size_t)n + 1, fmt, again);
		b->n += (size_t)n;
	} else {
		b->failed = true;
	}
	va_end(again);
}

void buf_addhex(struct buf *b, struct slice s)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		char two[2] = { digits[c >> 4], digits[c & 15] };

		buf_add(b, slice(two, 2));
	}
}
