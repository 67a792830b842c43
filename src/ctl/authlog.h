/* ctl/authlog.h -- the command that may go on: signet authlog --follow. */
#ifndef CTL_AUTHLOG_H
#define CTL_AUTHLOG_H

#include "ctl/ctl.h"
#include "json/json.h"

/* Prints rows as they are asked for; returns the exit code. */
int ctl_authlog(const struct ctl_args *, struct slice socket);
/* "90", "90s", "15m", "6h", "30d": seconds. */
bool ctl_span(struct slice text, uint64_t *ret);

/* What the server refused, on stderr (run.c); returns the exit code. NULL: an answer that cannot be
 * read. */
int ctl_refused(const struct json *);

#endif
