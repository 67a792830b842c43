/* ops/tree.h -- a directory with all that it holds. */
#ifndef OPS_TREE_H
#define OPS_TREE_H

#include <stdbool.h>
#include <sys/types.h>

/* Removes the file or directory `name` below dir (a descriptor, or AT_FDCWD). No symbolic link is
 * followed. True: it is gone, or was not there. False: errno. */
bool tree_remove(int dir, const char *name);

/* Gives it to a user and group, and syncs every file and directory of it. False: errno. owner
 * (uid_t)-1: as it is. */
bool tree_settle(int dir, const char *name, uid_t owner, gid_t group);

#endif
