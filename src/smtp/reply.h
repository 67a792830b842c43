/* smtp/reply.h -- a server's reply (RFC 5321 section 4.2), read with every suspicion.
 *
 * Fed complete or in parts, line by line; no byte is kept and at most REPLY_LINE are looked at
 * again, so a slow sender costs no more than a fast one. Only CRLF ends a line: a bare LF or CR is
 * malformed here as it is where we are the server. The text is data: control bytes and bytes above
 * 0x7e become '?', lines are joined by a blank, what exceeds REPLY_TEXT is cut. A line over
 * REPLY_LINE octets, over REPLY_LINES lines, a code that is none, or codes that differ inside one
 * reply are malformed, and the conversation is over. */
#ifndef SMTP_REPLY_H
#define SMTP_REPLY_H

#include "base/slice.h"

#define REPLY_TEXT  512
#define REPLY_LINE  4096
#define REPLY_LINES 128

struct reply {
	int code;              /* 200..599 */
	char enhanced[12];     /* "5.1.1" when its class fits the code's first digit; else "" */
	char text[REPLY_TEXT]; /* without the code; with the enhanced code; n bytes */
	size_t n;
};

struct reply_reader {
	struct reply reply;
	unsigned lines;
	bool more; /* a line with '-' was seen */
};

enum reply_got {
	REPLY_MORE,      /* not complete: *in holds the begin of a line, or nothing */
	REPLY_LINE_READ, /* one line of several: *ret_line is it, without code and CRLF */
	REPLY_DONE,      /* the last line: *ret_line, and reader->reply is complete */
	REPLY_BAD,
};

/* Begins zeroed, and anew after REPLY_DONE. *in is shortened by what was eaten. */
enum reply_got reply_next(struct reply_reader *, struct slice *in, struct slice *ret_line);

#endif
