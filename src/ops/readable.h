/* ops/readable.h -- whether a file can be read by who we are now, and what to do when it cannot. */
#ifndef OPS_READABLE_H
#define OPS_READABLE_H

#include "base/err.h"
#include "base/slice.h"

/* False: ERR_DENIED names the user, the directory or file that is in the way (also behind symbolic
 * links), and what to do; ERR_INPUT: it is not there, or no file. */
bool readable_check(const char *path, struct err *e);

/* The first line, without its end, of a file that only its owner may read: a password. NULL:
 * ERR_INPUT (not there, empty, longer than 500 bytes), ERR_DENIED (others may read it). To be wiped
 * and freed. */
char *readable_secret(struct slice path, struct err *e);

#endif
