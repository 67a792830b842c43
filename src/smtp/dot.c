#include "smtp/dot.h"

/* Eats lines from the front of p until a dot opens one or n is used up. */
static size_t text(struct dot *d, const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && (d->lines.mid || p[i] != '.'))
		i += lines_one(&d->lines, p + i, n - i);
	if (i && memchr(p, '\0', i))
		d->lines.malformed = true;
	return i;
}

enum dot_got dot_next(struct dot *d, struct slice *in, struct slice *ret_span)
{
	while (in->n) {
		size_t n;

		switch (d->at) {
		case DOT_TEXT:
			n = text(d, in->p, in->n);
			if (n < in->n) { /* it stopped at a dot that is not content */
				*ret_span = slice_take(in, n);
				slice_take(in, 1);
				d->at = DOT_DOT;
			} else {
				*ret_span = slice_take(in, n);
			}
			if (n)
				return DOT_SPAN;
			break;
		case DOT_DOT:
			if (in->p[0] == '\r') {
				slice_take(in, 1);
				d->at = DOT_DOT_CR;
				break;
			}
			/* Whatever it is, it does not open the line any more. */
			d->lines.mid = true;
			d->at = DOT_TEXT;
			break;
		case DOT_DOT_CR:
			if (in->p[0] == '\n') {
				slice_take(in, 1);
				*d = (struct dot){ .lines = d->lines };
				return DOT_END;
			}
			/* The CR is lost, and so is the message. */
			d->lines.malformed = d->lines.mid = true;
			d->at = DOT_TEXT;
			break;
		}
	}
	return DOT_MORE;
}
