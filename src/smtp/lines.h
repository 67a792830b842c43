/* smtp/lines.h -- are these content bytes lines that end in CRLF, and how long are they?
 *
 * Fed the content of one message in runs of any size. Only CRLF ends a line: a lone CR, a lone LF
 * or a NUL makes the message malformed, and it is refused, never repaired. Every byte of a message
 * passes here, so it runs at the speed of memchr. */
#ifndef SMTP_LINES_H
#define SMTP_LINES_H

#include "base/slice.h"

struct lines {
	uint64_t length;  /* of the line under way, without its CRLF */
	uint64_t longest; /* of the lines that ended */
	bool cr;          /* the last byte was a CR, its LF may still come */
	bool mid;         /* something of the line under way has been seen */
	bool malformed;
};

void lines_feed(struct lines *l, struct slice run);
/* The content ends here: false if it was malformed or ends in a lone CR. */
bool lines_end(const struct lines *l);
/* Longest line in octets without CRLF, the unfinished one included. */
uint64_t lines_longest(const struct lines *l);

/* For the DATA decoder: at most one line, up to and with its LF. Returns the bytes eaten, > 0 if
 * n > 0. Leaves the search for NUL to the caller. */
size_t lines_one(struct lines *l, const char *p, size_t n);

#endif
