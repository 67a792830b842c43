/* ops/readable.h -- whether a file can be read by who we are now, and what to do when it cannot. */
#ifndef OPS_READABLE_H
#define OPS_READABLE_H

#include "base/err.h"

/* False: ERR_DENIED names the user, the directory or file that is in the way (also behind symbolic
 * links), and what to do; ERR_INPUT: it is not there, or no file. */
bool readable_check(const char *path, struct err *e);

#endif
