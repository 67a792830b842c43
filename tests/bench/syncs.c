/* tests/bench/syncs.c -- preloaded into a server under test: how many fdatasync() it makes and how
 * long they take, in a file that the bench reads while it runs (SYNCS_FILE). */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { RING = 1 << 16 };

static struct shared {
	_Atomic uint64_t n;
	uint32_t us[RING]; /* of the last ones */
} * shared;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("SYNCS_FILE");
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd < 0)
		return;
	if (!ftruncate(fd, sizeof *shared)) {
		void *at = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		shared = at == MAP_FAILED ? NULL : at;
	}
	close(fd);
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int fdatasync(int fd)
{
	static int (*real)(int);
	uint64_t began;
	int rc;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
	began = now_us();
	rc = real(fd);
	if (shared) {
		uint64_t at = atomic_fetch_add(&shared->n, 1);

		shared->us[at % RING] = (uint32_t)(now_us() - began);
	}
	return rc;
}
