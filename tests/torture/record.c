/* Preloaded by the power cut: writes down what the process does to files, in one order.
 *
 *     TORTURE_LOG=FILE   mapped and shared; a header (struct head), then records one behind the
 *                        other, each a struct record and its bytes, padded to 8
 *     TORTURE_DIE=N      the process is killed between the first pwritev behind N bytes of log and
 *                        its record
 *
 * A write is noted after it was done, a sync when it begins and when it has ended well: what stands
 * before the beginning of a sync in this log is on the disk once its end stands there, too. Files
 * are named by inode; one that is made begins a new life of its number. A process that is killed
 * may have done a thing and not noted it: whoever reads the log compares it with the files then. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum op { MADE = 1, NAMED, UNNAMED, RENAMED, DIRECTORY, WRITTEN, CUT, GROWN, SYNCING, SYNCED };

struct head {
	uint64_t bytes;        /* of the file */
	_Atomic uint64_t used; /* up to here it is whole */
	uint64_t sync;         /* number of the last one */
	pthread_mutex_t lock;
};

#define FIRST 4096

/* MADE      ino; dir and name unless it has none
 * NAMED     ino, dir, name
 * UNNAMED   dir, name
 * RENAMED   dir, name; to_dir, second name behind the first one's zero
 * DIRECTORY ino, dir, name
 * WRITTEN   ino, at, bytes
 * CUT       ino, at: the new size
 * GROWN     ino, at: the new size, not smaller
 * SYNCING   ino, at: number; SYNCED the same */
struct record {
	uint32_t op, n;
	uint64_t ino, dir, to_dir, at;
};

static struct head *head;
static uint64_t die; /* bytes of log; 0: never */

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("TORTURE_LOG");
	int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
	struct stat st;
	void *p;

	if (fd < 0)
		return;
	if (fstat(fd, &st))
		abort();
	p = (void *)syscall(SYS_mmap, NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    fd, 0);
	syscall(SYS_close, fd);
	if (p == MAP_FAILED)
		abort();
	head = p;
	if (getenv("TORTURE_DIE"))
		die = strtoull(getenv("TORTURE_DIE"), NULL, 10);
	if (!head->used) {
		pthread_mutexattr_t a;

		/* A killed process may have held it. */
		pthread_mutexattr_init(&a);
		pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
		pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
		pthread_mutex_init(&head->lock, &a);
		head->bytes = (uint64_t)st.st_size;
		head->used = FIRST;
	}
}

static void lock(void)
{
	if (pthread_mutex_lock(&head->lock) == EOWNERDEAD)
		pthread_mutex_consistent(&head->lock);
}

static void note_v(struct record r, const struct iovec *v, int n, size_t bytes)
{
	char *to;
	size_t left = bytes, size = (sizeof r + bytes + 7) / 8 * 8;
	int saved = errno;

	if (!head)
		return;
	r.n = (uint32_t)bytes;
	lock();
	if (die && r.op == WRITTEN && n > 1 && head->used > die)
		kill(getpid(), SIGKILL);
	if (head->used + size > head->bytes) {
		fprintf(stderr, "record: the log is full\n");
		abort();
	}
	to = (char *)head + head->used;
	memcpy(to, &r, sizeof r);
	to += sizeof r;
	for (int i = 0; i < n && left; i++) {
		size_t some = v[i].iov_len < left ? v[i].iov_len : left;

		memcpy(to, v[i].iov_base, some);
		to += some;
		left -= some;
	}
	head->used += size; /* the last thing: a kill leaves no half record */
	pthread_mutex_unlock(&head->lock);
	errno = saved;
}

static void note(struct record r, const void *p, size_t n)
{
	struct iovec v = { (void *)p, n };

	note_v(r, &v, 1, n);
}

/* The inode of a regular file or directory; 0: something else. */
static uint64_t ino_of(int fd)
{
	struct stat st;
	int saved = errno;
	uint64_t r = 0;

	if (head && !fstat(fd, &st) && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
		r = st.st_ino;
	errno = saved;
	return r;
}

/* The directory that holds a name, and the name in it. */
static uint64_t parent(int dir, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char up[4096];
	struct stat st;
	int saved = errno;
	uint64_t r = 0;

	*ret_name = slash ? slash + 1 : path;
	snprintf(up, sizeof up, "%.*s", slash ? (int)(slash - path) + (slash == path) : 1,
		 slash ? path : ".");
	if (!fstatat(dir, up, &st, 0))
		r = st.st_ino;
	errno = saved;
	return r;
}

#define REAL(name)                                                                                 \
	static __typeof__(name) *real;                                                             \
	if (!real)                                                                                 \
		real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);

/* -- names -- */

static int opened(int dir, const char *path, int flags, mode_t mode)
{
	bool made = false;
	int fd;

	if ((flags & O_TMPFILE) == O_TMPFILE) {
		fd = (int)syscall(SYS_openat, dir, path, flags | O_LARGEFILE, mode);
		if (fd >= 0)
			note((struct record){ .op = MADE, .ino = ino_of(fd) }, "", 0);
		return fd;
	}
	if (flags & O_CREAT) {
		fd = flags & O_EXCL ? -1
				    : (int)syscall(SYS_openat, dir, path,
						   (flags & ~O_CREAT) | O_LARGEFILE, mode);
		if (fd < 0 && (flags & O_EXCL || errno == ENOENT)) {
			fd = (int)syscall(SYS_openat, dir, path, flags | O_LARGEFILE, mode);
			made = fd >= 0;
		}
	} else {
		fd = (int)syscall(SYS_openat, dir, path, flags | O_LARGEFILE, mode);
	}
	/* One that was there, too: a process that was killed may have made it and not said so. */
	if (fd >= 0 && head && flags & O_CREAT) {
		const char *name;
		uint64_t up = parent(dir, path, &name);

		note((struct record){ .op = MADE, .ino = ino_of(fd), .dir = up, .at = !made }, name,
		     strlen(name));
	}
	if (fd >= 0 && head && !made && flags & O_TRUNC)
		note((struct record){ .op = CUT, .ino = ino_of(fd) }, "", 0);
	return fd;
}

#define WITH_MODE                                                                                  \
	mode_t mode = 0;                                                                           \
	if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) {                                 \
		va_list ap;                                                                        \
		va_start(ap, flags);                                                               \
		mode = va_arg(ap, mode_t);                                                         \
		va_end(ap);                                                                        \
	}

int open64(const char *path, int flags, ...)
{
	WITH_MODE
	return opened(AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	WITH_MODE
	return opened(AT_FDCWD, path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...)
{
	WITH_MODE
	return opened(dir, path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	WITH_MODE
	return opened(dir, path, flags, mode);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	char names[1024];
	const char *a, *b;
	struct record r = { .op = RENAMED };
	int rc, n;

	REAL(renameat)
	if (head) {
		r.dir = parent(from_dir, from, &a);
		r.to_dir = parent(to_dir, to, &b);
	}
	rc = real(from_dir, from, to_dir, to);
	if (head && rc == 0) {
		n = snprintf(names, sizeof names, "%s%c%s", a, 0, b);
		note(r, names, (size_t)n);
	}
	return rc;
}

int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	int rc;

	REAL(linkat)
	rc = real(from_dir, from, to_dir, to, flags);
	if (head && rc == 0) {
		const char *name;
		struct stat st;
		struct record r = { .op = NAMED, .dir = parent(to_dir, to, &name) };

		if (!fstatat(to_dir, to, &st, AT_SYMLINK_NOFOLLOW))
			r.ino = st.st_ino;
		note(r, name, strlen(name));
	}
	return rc;
}

int unlinkat(int dir, const char *path, int flags)
{
	int rc;

	REAL(unlinkat)
	rc = real(dir, path, flags);
	if (head && rc == 0) {
		const char *name;
		uint64_t up = parent(dir, path, &name);

		note((struct record){ .op = UNNAMED, .dir = up }, name, strlen(name));
	}
	return rc;
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
	int rc;

	REAL(mkdirat)
	rc = real(dir, path, mode);
	if (head && rc == 0) {
		const char *name;
		struct stat st;
		struct record r = { .op = DIRECTORY, .dir = parent(dir, path, &name) };

		if (!fstatat(dir, path, &st, 0))
			r.ino = st.st_ino;
		note(r, name, strlen(name));
	}
	return rc;
}

int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

/* -- contents -- */

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
	ssize_t put;
	uint64_t ino;

	REAL(pwrite64)
	put = real(fd, p, n, at);
	if (put > 0 && (ino = ino_of(fd)))
		note((struct record){ .op = WRITTEN, .ino = ino, .at = (uint64_t)at }, p,
		     (size_t)put);
	return put;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	return pwrite64(fd, p, n, at);
}

ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at)
{
	ssize_t put;
	uint64_t ino;

	REAL(pwritev64)
	put = real(fd, v, n, at);
	if (put > 0 && (ino = ino_of(fd)))
		note_v((struct record){ .op = WRITTEN, .ino = ino, .at = (uint64_t)at }, v, n,
		       (size_t)put);
	return put;
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	return pwritev64(fd, v, n, at);
}

ssize_t write(int fd, const void *p, size_t n)
{
	ssize_t put;
	uint64_t ino;

	REAL(write)
	put = real(fd, p, n);
	if (put > 0 && (ino = ino_of(fd)))
		note((struct record){ .op = WRITTEN,
				      .ino = ino,
				      .at = (uint64_t)(lseek(fd, 0, SEEK_CUR) - put) },
		     p, (size_t)put);
	return put;
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	ssize_t put;
	uint64_t ino;

	REAL(writev)
	put = real(fd, v, n);
	if (put > 0 && (ino = ino_of(fd)))
		note_v((struct record){ .op = WRITTEN,
					.ino = ino,
					.at = (uint64_t)(lseek(fd, 0, SEEK_CUR) - put) },
		       v, n, (size_t)put);
	return put;
}

int ftruncate64(int fd, off64_t n)
{
	int rc;

	REAL(ftruncate64)
	rc = real(fd, n);
	if (rc == 0 && head)
		note((struct record){ .op = CUT, .ino = ino_of(fd), .at = (uint64_t)n }, "", 0);
	return rc;
}

int ftruncate(int fd, off_t n)
{
	return ftruncate64(fd, n);
}

int posix_fallocate64(int fd, off64_t at, off64_t n)
{
	int rc;

	REAL(posix_fallocate64)
	rc = real(fd, at, n);
	if (rc == 0 && head)
		note((struct record){ .op = GROWN, .ino = ino_of(fd), .at = (uint64_t)(at + n) },
		     "", 0);
	return rc;
}

int posix_fallocate(int fd, off_t at, off_t n)
{
	return posix_fallocate64(fd, at, n);
}

/* What cannot be told from outside is not recorded half: nobody maps a file for writing but
 * SQLite its index (-shm), which it makes anew after a crash. */

static int synced(int fd, int (*real)(int))
{
	struct record r = { .op = SYNCING, .ino = ino_of(fd) };
	int rc;

	if (r.ino) {
		lock();
		r.at = ++head->sync;
		pthread_mutex_unlock(&head->lock);
		note(r, "", 0);
	}
	rc = real(fd);
	r.op = SYNCED;
	if (r.ino && rc == 0)
		note(r, "", 0);
	return rc;
}

int fsync(int fd)
{
	REAL(fsync)
	return synced(fd, real);
}

int fdatasync(int fd)
{
	REAL(fdatasync)
	return synced(fd, real);
}
