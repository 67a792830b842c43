/* ctl/authlog.h -- the command that may go on: signet authlog --follow. */
#ifndef CTL_AUTHLOG_H
#define CTL_AUTHLOG_H

#include "ctl/ctl.h"

/* Prints rows as they are asked for; returns the exit code. */
int ctl_authlog(const struct ctl_args *, struct slice socket);
/* "90", "90s", "15m", "6h", "30d": seconds. */
bool ctl_span(struct slice text, uint64_t *ret);

#endif
