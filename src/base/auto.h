/* base/auto.h -- locals that clean themselves up; ownership leaves by an explicit steal. */
#ifndef BASE_AUTO_H
#define BASE_AUTO_H

#include <stdlib.h>
#include <unistd.h>

static inline void auto_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void auto_free(void *p)
{
	free(*(void **)p);
}

static inline int fd_steal(int *fd)
{
	int kept = *fd;

	*fd = -1;
	return kept;
}

#define AUTO_FD   __attribute__((cleanup(auto_close))) int
#define AUTO_FREE __attribute__((cleanup(auto_free)))

#endif
