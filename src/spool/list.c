/* spool/list.c -- a page of the queue in id order, for every engine. */
#include "base/must.h"
#include "spool/spool.h"

#define ROWS 256

static void sift(struct spool_row *rows, size_t n, size_t at)
{
	for (;;) {
		size_t child = at * 2 + 1;
		struct spool_row swap;

		if (child >= n)
			return;
		if (child + 1 < n && id_cmp(rows[child + 1].id, rows[child].id) > 0)
			child++;
		if (id_cmp(rows[child].id, rows[at].id) <= 0)
			return;
		swap = rows[at];
		rows[at] = rows[child];
		rows[child] = swap;
		at = child;
	}
}

static void keep(struct spool_row *out, size_t *n, size_t max, const struct spool_row *row)
{
	if (*n == max) {
		if (id_cmp(row->id, out[0].id) >= 0)
			return;
		out[0] = *row;
		sift(out, max, 0);
		return;
	}
	out[(*n)++] = *row;
	if (*n == max)
		for (size_t i = max / 2; i-- > 0;)
			sift(out, max, i);
}

/* One walk that keeps the max smallest in a heap with the largest on top: a page of a million
 * messages costs one look at each, no memory, and the engine's lock for a moment at a time. */
size_t spool_list(const struct spool_backend *b, struct spool *s, const struct spool_filter *f,
		  const struct id *after, struct spool_row *out, size_t max)
{
	struct spool_row rows[ROWS];
	uint64_t at = 0;
	size_t n = 0;

	while (max && at != WALK_END) {
		size_t some = b->walk(s, f, &at, rows, ROWS);

		for (size_t i = 0; i < some; i++)
			if (!after || id_cmp(rows[i].id, *after) > 0)
				keep(out, &n, max, &rows[i]);
	}
	if (n < max)
		for (size_t i = n / 2; i-- > 0;)
			sift(out, n, i);
	for (size_t left = n; left > 1;) {
		struct spool_row top = out[0];

		out[0] = out[--left];
		out[left] = top;
		sift(out, left, 0);
	}
	return n;
}
