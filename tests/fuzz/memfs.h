/* tests/fuzz/memfs.h -- a file system in memory under the spool, for fuzzing.
 *
 * The linker sends the calls the spool makes (memfs.c has the list; meson.build wraps them) here.
 * Paths that begin with MEMFS_ROOT live in memory, everything else goes to the real calls. Random
 * numbers repeat, no thread begins, and any one call can be made to fail. */
#ifndef FUZZ_MEMFS_H
#define FUZZ_MEMFS_H

#include <stdbool.h>
#include <stddef.h>

#define MEMFS_ROOT "/memfs/"

/* Everything gone; an open descriptor is a leak and aborts. The root directory is there. */
void memfs_reset(void);
void memfs_mkdir(const char *path);
/* Makes or replaces a file. */
void memfs_put(const char *path, const void *bytes, size_t n);
/* Bytes of a file, to look at and to spoil; NULL: there are none. */
char *memfs_at(const char *path, size_t *ret_n);
/* Gives a file a second name with bytes of its own. */
bool memfs_copy(const char *from, const char *to);

/* The nth call from now on, allocations among them, fails once with this errno; EINTR and 0 are
 * for reads and writes: 0 makes them short. n = 0: none does. */
void memfs_fail(unsigned n, int why);

#endif
