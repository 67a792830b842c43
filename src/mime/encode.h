/* mime/encode.h -- lines of text, and how they are made safe for any path. */
#ifndef MIME_ENCODE_H
#define MIME_ENCODE_H

#include "base/buf.h"

/* The next line of *text, without its end (LF or CRLF); false at the end of the text. */
bool mime_text_line(struct slice *text, struct slice *ret);
/* One line in quoted-printable (RFC 2045 6.7), without its end: lines of at most 76 characters, a
 * blank at the end of the line encoded. */
void mime_quoted_printable(struct buf *out, struct slice line);

#endif
