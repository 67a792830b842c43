/* base/slice.h -- bytes that are only looked at.
 *
 * A slice never owns and is never NUL-terminated; it is valid as long as the storage it
 * points into. Passed by value. An empty slice may have p == NULL. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const char *p;
	size_t n;
};

/* A slice over a string literal. */
#define S(lit) ((struct slice){ "" lit, sizeof(lit) - 1 })
/* printf("%.*s", SLICE_ARG(s)): only for text that is already known to be harmless. */
#define SLICE_ARG(s) (int)(s).n, (s).p

static inline struct slice slice(const void *p, size_t n)
{
	return (struct slice){ p, n };
}

static inline struct slice slice_str(const char *s)
{
	return (struct slice){ s, s ? strlen(s) : 0 };
}

/* Cuts the first n bytes off *s and returns them. n <= s->n. */
static inline struct slice slice_take(struct slice *s, size_t n)
{
	struct slice head = { s->p, n };

	if (n) {
		s->p += n;
		s->n -= n;
	}
	return head;
}

static inline struct slice slice_from(struct slice s, size_t at)
{
	slice_take(&s, at < s.n ? at : s.n);
	return s;
}

static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static inline bool ascii_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool ascii_alpha(char c)
{
	c = ascii_lower(c);
	return c >= 'a' && c <= 'z';
}

bool slice_eq(struct slice a, struct slice b);
/* ASCII letters compare without case; every other byte exactly. */
bool slice_ieq(struct slice a, struct slice b);
bool slice_starts(struct slice s, struct slice prefix);
bool slice_istarts(struct slice s, struct slice prefix);
bool slice_ends(struct slice s, struct slice suffix);
/* memcmp order, the shorter first among equals: <0, 0, >0. */
int slice_cmp(struct slice a, struct slice b);

/* Splits s at the first `at`: head before it, tail behind it. False (head = s, tail empty) when
 * `at` does not occur. */
bool slice_cut(struct slice s, char at, struct slice *ret_head, struct slice *ret_tail);
/* The same at the last `at`. */
bool slice_rcut(struct slice s, char at, struct slice *ret_head, struct slice *ret_tail);
/* Without spaces and tabs at either end. */
struct slice slice_trim(struct slice s);

/* The whole of s as an unsigned decimal: 1 to 20 digits, no sign, no blank, no overflow. */
bool slice_u64(struct slice s, uint64_t *ret);

#endif
