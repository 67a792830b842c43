#include "mime/encode.h"

bool mime_text_line(struct slice *text, struct slice *ret)
{
	if (!text->n)
		return false;
	slice_cut(*text, '\n', ret, text);
	if (ret->n && ret->p[ret->n - 1] == '\r')
		ret->n--;
	return true;
}

void mime_quoted_printable(struct buf *out, struct slice line)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t column = 0;

	for (size_t i = 0; i < line.n; i++) {
		unsigned char c = (unsigned char)line.p[i];
		bool last = i + 1 == line.n;
		bool plain =
		    (c > ' ' && c <= '~' && c != '=') || ((c == ' ' || c == '\t') && !last);
		size_t n = plain ? 1 : 3;

		if (column + n > (last ? 76 : 75)) {
			buf_add(out, S("=\r\n"));
			column = 0;
		}
		if (plain) {
			buf_addc(out, (char)c);
		} else {
			char three[3] = { '=', hex[c >> 4], hex[c & 15] };

			buf_add(out, slice(three, 3));
		}
		column += n;
	}
}
