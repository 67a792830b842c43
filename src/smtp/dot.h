/* smtp/dot.h -- the content of DATA: dot-unstuffing and the one end of data (RFC 5321 4.5.2).
 *
 * Unstuffing only removes bytes, and the one byte it removes, a dot that opens a line, is never
 * content. So nothing is held back between reads, and content is handed out as parts of the input,
 * without a copy. Only CRLF.CRLF ends the data (and .CRLF at its start). A lone CR or LF or a NUL
 * is remembered in lines.malformed; the message is to be refused at its end. */
#ifndef SMTP_DOT_H
#define SMTP_DOT_H

#include "smtp/lines.h"

enum dot_at { DOT_TEXT, DOT_DOT, DOT_DOT_CR };

struct dot {
	enum dot_at at;
	struct lines lines; /* what lines_end() and lines_longest() are asked about after DOT_END */
};

enum dot_got {
	DOT_MORE, /* in is empty: feed more */
	DOT_SPAN, /* *ret_span is content, a part of *in, not empty */
	DOT_END,  /* the terminator was eaten; what is left of *in is not content */
};

/* Begins zeroed. *in is shortened by what was eaten. */
enum dot_got dot_next(struct dot *d, struct slice *in, struct slice *ret_span);

#endif
