/* base/mdoc.h -- text for manual pages in mdoc(7), made from tables. */
#ifndef BASE_MDOC_H
#define BASE_MDOC_H

#include "base/buf.h"

/* A text line: backslashes escaped, and no line of ours is taken for a request. Line end
 * included. */
void mdoc_line(struct buf *out, struct slice text);
/* One argument of a macro, in quotes: blanks and quotes stay what they are. */
void mdoc_word(struct buf *out, struct slice word);

#endif
