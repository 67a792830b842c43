#include "smtp/lines.h"

/* The bytes before an LF that is not there yet. A CR may only be the last of them. */
static void partial(struct lines *l, const char *p, size_t n)
{
	const char *cr = memchr(p, '\r', n);

	l->malformed |= l->cr; /* the CR before this run was not followed by LF */
	l->malformed |= cr && cr != p + n - 1;
	l->cr = p[n - 1] == '\r';
	l->length += n - l->cr;
	l->mid = true;
}

size_t lines_one(struct lines *l, const char *p, size_t n)
{
	const char *lf = memchr(p, '\n', n);
	size_t text;

	if (!lf) {
		if (n)
			partial(l, p, n);
		return n;
	}
	text = (size_t)(lf - p);
	if (text) {
		/* Ordinary text: the first CR of the line stands before its LF. */
		l->malformed |= l->cr || memchr(p, '\r', text) != lf - 1;
		l->cr = lf[-1] == '\r';
		l->length += text - l->cr;
	}
	if (l->cr) {
		if (l->length > l->longest)
			l->longest = l->length;
		l->length = 0;
		l->mid = l->cr = false;
	} else {
		l->malformed = true; /* a lone LF ends nothing */
		l->length++;
		l->mid = true;
	}
	return text + 1;
}

void lines_feed(struct lines *l, struct slice run)
{
	size_t i = 0;

	if (!run.n)
		return;
	l->malformed |= memchr(run.p, '\0', run.n) != NULL;
	while (i < run.n)
		i += lines_one(l, run.p + i, run.n - i);
}

bool lines_end(const struct lines *l)
{
	return !l->malformed && !l->cr;
}

uint64_t lines_longest(const struct lines *l)
{
	return l->length > l->longest ? l->length : l->longest;
}
