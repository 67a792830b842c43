/* mime/dsn_impl.h -- what the files of mime/dsn share.
 *
 *     dsn.c         the message, its parts, the boundary
 *     dsn_fields.c  the part for programs
 *     dsn_words.c   the part for people */
#ifndef MIME_DSN_IMPL_H
#define MIME_DSN_IMPL_H

#include "mime/dsn.h"

#define DSN_LINE 76u /* where lines are folded */

/* intl: UTF-8 may stand in addresses. */
void dsn_add_fields(struct buf *out, const struct dsn *d, bool intl);
void dsn_add_words(struct buf *out, const struct dsn *d, bool intl);
struct slice dsn_subject(const struct dsn *d);

/* Text of anybody, made harmless. */
void dsn_add_clean(struct buf *out, struct slice text, size_t max, bool utf8);
/* The same, folded before DSN_LINE where it has blanks; every further line begins with indent. The
 * first begins at the column given. */
void dsn_add_folded(struct buf *out, size_t column, struct slice text, struct slice indent);
/* "550 5.1.1 no such user", or our own words. */
void dsn_add_answer(struct buf *out, const struct dsn_rcpt *r);

#endif
