#include "smtp/reply.h"

static void add_text(struct reply *r, struct slice line, bool first)
{
	if (!first && r->n < REPLY_TEXT)
		r->text[r->n++] = ' ';
	for (size_t i = 0; i < line.n && r->n < REPLY_TEXT; i++) {
		char c = line.p[i];

		r->text[r->n++] = c >= 0x20 && c < 0x7f ? c : '?';
	}
}

/* RFC 2034 4: class "." subject "." detail at the begin of the text; the class that of the code. */
static void read_enhanced(struct reply *r, struct slice line)
{
	struct slice word, rest;
	size_t dots = 0, digits = 0;

	slice_cut(line, ' ', &word, &rest);
	if (word.n < 5 || word.n >= sizeof r->enhanced || word.p[0] - '0' != r->code / 100 ||
	    word.p[1] != '.')
		return;
	for (size_t i = 1; i < word.n; i++) {
		if (word.p[i] == '.') {
			if (++dots > 2 || (dots == 2 && !digits))
				return;
			digits = 0;
		} else if (!ascii_digit(word.p[i]) || ++digits > 3) {
			return;
		}
	}
	if (dots != 2 || !digits)
		return;
	memcpy(r->enhanced, word.p, word.n);
	r->enhanced[word.n] = '\0';
}

static bool read_code(struct slice line, int *ret)
{
	if (line.n < 3 || line.p[0] < '2' || line.p[0] > '5' || !ascii_digit(line.p[1]) ||
	    !ascii_digit(line.p[2]) || (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-'))
		return false;
	*ret = (line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0');
	return true;
}

enum reply_got reply_next(struct reply_reader *r, struct slice *in, struct slice *ret_line)
{
	const char *lf =
	    in->n ? memchr(in->p, '\n', in->n < REPLY_LINE ? in->n : REPLY_LINE) : NULL;
	struct slice line;
	bool first = !r->more;
	int code;

	if (!lf)
		return in->n >= REPLY_LINE ? REPLY_BAD : REPLY_MORE;
	line = slice(in->p, (size_t)(lf - in->p));
	if (!line.n || line.p[line.n - 1] != '\r' || memchr(line.p, '\r', line.n - 1))
		return REPLY_BAD;
	line.n--;
	if (!read_code(line, &code) || (!first && code != r->reply.code) ||
	    ++r->lines > REPLY_LINES)
		return REPLY_BAD;
	slice_take(in, line.n + 2);
	if (first) {
		r->reply = (struct reply){ .code = code };
		r->lines = 1;
	}
	r->more = line.n > 3 && line.p[3] == '-';
	*ret_line = slice_from(line, 4);
	if (first)
		read_enhanced(&r->reply, *ret_line);
	add_text(&r->reply, *ret_line, first);
	return r->more ? REPLY_LINE_READ : REPLY_DONE;
}
