#include "base/slice.h"

bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool slice_ieq(struct slice a, struct slice b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
			return false;
	return true;
}

bool slice_starts(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n && slice_eq(slice(s.p, prefix.n), prefix);
}

bool slice_istarts(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n && slice_ieq(slice(s.p, prefix.n), prefix);
}

bool slice_ends(struct slice s, struct slice suffix)
{
	return s.n >= suffix.n && slice_eq(slice_from(s, s.n - suffix.n), suffix);
}

int slice_cmp(struct slice a, struct slice b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	if (c)
		return c;
	return a.n < b.n ? -1 : a.n > b.n;
}

bool slice_cut(struct slice s, char at, struct slice *ret_head, struct slice *ret_tail)
{
	const char *hit = s.n ? memchr(s.p, at, s.n) : NULL;
	size_t n = hit ? (size_t)(hit - s.p) : s.n;

	*ret_head = slice(s.p, n);
	*ret_tail = hit ? slice(hit + 1, s.n - n - 1) : slice(s.n ? s.p + s.n : s.p, 0);
	return hit;
}

bool slice_rcut(struct slice s, char at, struct slice *ret_head, struct slice *ret_tail)
{
	const char *hit = s.n ? memrchr(s.p, at, s.n) : NULL;
	size_t n = hit ? (size_t)(hit - s.p) : s.n;

	*ret_head = slice(s.p, n);
	*ret_tail = hit ? slice(hit + 1, s.n - n - 1) : slice(s.n ? s.p + s.n : s.p, 0);
	return hit;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
	while (s.n && blank(s.p[0]))
		slice_take(&s, 1);
	while (s.n && blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

bool slice_u64(struct slice s, uint64_t *ret)
{
	uint64_t v = 0;

	if (!s.n || s.n > 20)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (!ascii_digit(s.p[i]))
			return false;
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
			return false;
	}
	*ret = v;
	return true;
}
