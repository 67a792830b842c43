/* Preloaded by a scenario: a disk that takes the milliseconds in the file named by SLOW_DISK_FILE,
 * which is mapped, so that the test sets them by writing, for each fdatasync() and pwrite(). */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static const volatile int64_t *wait_ms;

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("SLOW_DISK_FILE");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);

	if (p != MAP_FAILED)
		wait_ms = p;
	if (fd >= 0)
		close(fd);
}

static void be_slow(void)
{
	if (wait_ms && *wait_ms)
		usleep((useconds_t)(*wait_ms * 1000));
}

int fdatasync(int fd)
{
	be_slow();
	return (int)syscall(SYS_fdatasync, fd);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off_t at)
{
	be_slow();
	return syscall(SYS_pwrite64, fd, p, n, at);
}
