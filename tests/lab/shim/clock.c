/* Preloaded by a scenario: shifts the wall clock, and only it, by the seconds in the file named by
 * CLOCK_SHIFT_FILE, which is mapped, so that the test moves it by writing. Monotonic clocks are
 * untouched, as they are when an administrator sets the time. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift;

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("CLOCK_SHIFT_FILE");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);

	if (p != MAP_FAILED)
		shift = p;
	if (fd >= 0)
		close(fd);
}

static int64_t by(clockid_t id)
{
	return shift && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) ? *shift : 0;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	long r = syscall(SYS_clock_gettime, id, ts);

	if (r == 0)
		ts->tv_sec += by(id);
	return (int)r;
}

time_t time(time_t *t)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (t)
		*t = ts.tv_sec;
	return ts.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	(void)tz;
	return 0;
}
