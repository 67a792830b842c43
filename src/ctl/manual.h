/* ctl/manual.h -- the commands and options in other forms than help's: made from the same tables.
 */
#ifndef CTL_MANUAL_H
#define CTL_MANUAL_H

#include "base/buf.h"

/* The part of signet(8) that lists commands and options: mdoc. */
void ctl_manual(struct buf *out);
/* Completion for a shell: "bash", "zsh", "fish". False: there is none for it. */
bool ctl_completion(struct slice shell, struct buf *out);

/* -- args.c: its tables, row by row; false: there is no such row -- */

struct ctl_row {
	struct slice name; /* "account add"; an option without its dashes */
	const char *value; /* what follows: "NAME", "[FILE]"; "" or NULL: nothing */
	const char *help;
};

bool ctl_command_row(size_t i, struct ctl_row *ret);
bool ctl_option_row(size_t i, struct ctl_row *ret);

#endif
