#include "memfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#define N_FILES 4096
#define N_FDS   256
#define FD_BASE 0x100000 /* above what the kernel hands out */

struct file {
	bool used, dir;
	unsigned open, links;
	char *data;
	size_t n, cap;
};

struct name {
	int dir, file; /* of the directory it stands in, and what it names; -1: free */
	unsigned n;
	char text[200];
};

struct open_file {
	int file; /* -1: free */
	int flags;
	size_t at;
};

struct mem_dir {
	int fd;
	int at;
	struct dirent64 entry;
};

void *__real_realloc(void *p, size_t n);

static struct file files[N_FILES];
static struct name names[N_FILES];
static struct open_file fds[N_FDS];
static int n_files, n_names;
static bool ready; /* it has been laid out once: the first input is under way */
static uint64_t random_state;
static unsigned fail_in;
static int fail_why;

#define MUST_BE(x)                                                                                 \
	do {                                                                                       \
		if (!(x))                                                                          \
			abort();                                                                   \
	} while (0)

/* -- failing -- */

void memfs_fail(unsigned n, int why)
{
	fail_in = n;
	fail_why = why;
}

/* True: this call is the one that fails. */
static bool fails(void)
{
	if (!fail_in || --fail_in)
		return false;
	errno = fail_why == EINTR || !fail_why ? EIO : fail_why;
	return true;
}

/* Reads and writes: how many of n bytes, or -1. */
static ssize_t some(size_t n)
{
	if (!fails())
		return (ssize_t)n;
	if (!fail_why && n > 1)
		return (ssize_t)(n / 2);
	errno = fail_why == EINTR ? EINTR : errno;
	return -1;
}

/* -- names -- */

static int find(int dir, const char *text, unsigned n)
{
	for (int i = 0; i < n_names; i++)
		if (names[i].dir == dir && names[i].n == n && !memcmp(names[i].text, text, n))
			return i;
	return -1;
}

static int new_file(bool dir)
{
	int i = 0;

	while (i < n_files && files[i].used)
		i++;
	MUST_BE(i < N_FILES);
	if (i == n_files)
		n_files++;
	files[i].used = true;
	files[i].dir = dir;
	files[i].n = files[i].open = files[i].links = 0;
	return i;
}

static void drop_file(int i)
{
	struct file *f = &files[i];

	if (f->open || f->links)
		return;
	f->used = false; /* the memory is kept for the next one */
}

static int add_name(int dir, const char *text, unsigned n, int file)
{
	int i = 0;

	while (i < n_names && names[i].dir != -1)
		i++;
	MUST_BE(i < N_FILES && n < sizeof names[i].text);
	if (i == n_names)
		n_names++;
	names[i].dir = dir;
	names[i].file = file;
	names[i].n = n;
	memcpy(names[i].text, text, n);
	names[i].text[n] = '\0';
	files[file].links++;
	return i;
}

static void drop_name(int i)
{
	int file = names[i].file;

	names[i].dir = -1;
	files[file].links--;
	drop_file(file);
}

/* The directory that a path leads through, and its last part. -1: there is none. */
static int walk(int dir, const char *path, const char **ret_last)
{
	const char *slash;

	while ((slash = strchr(path, '/'))) {
		int i = find(dir, path, (unsigned)(slash - path));

		if (i < 0 || !files[names[i].file].dir)
			return -1;
		dir = names[i].file;
		path = slash + 1;
	}
	*ret_last = path;
	return dir;
}

static bool is_ours(const char *path)
{
	return !strncmp(path, MEMFS_ROOT, sizeof MEMFS_ROOT - 1) || !strcmp(path, "/memfs");
}

static int walk_abs(const char *path, const char **ret_last)
{
	if (!strcmp(path, "/memfs")) {
		*ret_last = ".";
		return 0;
	}
	return walk(0, path + sizeof MEMFS_ROOT - 1, ret_last);
}

static int file_of(int dir, const char *last)
{
	int i;

	if (dir < 0)
		return -1;
	if (!strcmp(last, "."))
		return dir;
	i = find(dir, last, (unsigned)strlen(last));
	return i < 0 ? -1 : names[i].file;
}

static int file_at(const char *path)
{
	const char *last;
	int dir = walk_abs(path, &last);

	return file_of(dir, last);
}

static int new_fd(int file, int flags)
{
	int i = 0;

	while (i < N_FDS && fds[i].file != -1)
		i++;
	MUST_BE(i < N_FDS);
	fds[i] = (struct open_file){ file, flags, 0 };
	files[file].open++;
	return FD_BASE + i;
}

static struct open_file *fd_at(int fd)
{
	if (fd < FD_BASE)
		return NULL;
	MUST_BE(fd < FD_BASE + N_FDS && fds[fd - FD_BASE].file != -1);
	return &fds[fd - FD_BASE];
}

/* What a descriptor that must be ours (the spool has no other) stands for. */
static int number_behind(int fd)
{
	struct open_file *o = fd_at(fd);

	MUST_BE(o);
	return o->file;
}

static struct file *file_behind(int fd)
{
	return &files[number_behind(fd)];
}

static void set_size(struct file *f, size_t n)
{
	if (n > f->cap) {
		f->cap = n + n / 2;
		f->data = __real_realloc(f->data, f->cap);
		MUST_BE(f->data);
	}
	if (n > f->n)
		memset(f->data + f->n, 0, n - f->n);
	f->n = n;
}

/* -- for the target -- */

void memfs_reset(void)
{
	memfs_fail(0, 0);
	for (int i = 0; i < N_FDS; i++) {
		MUST_BE(!ready || fds[i].file == -1);
		fds[i].file = -1;
	}
	ready = true;
	n_names = n_files = 0;
	random_state = 1;
	files[new_file(true)].links = 1; /* memory stays with its slot */
}

void memfs_mkdir(const char *path)
{
	const char *last;
	int dir = walk_abs(path, &last);

	MUST_BE(dir >= 0 && file_of(dir, last) < 0);
	add_name(dir, last, (unsigned)strlen(last), new_file(true));
}

void memfs_put(const char *path, const void *bytes, size_t n)
{
	const char *last;
	int dir = walk_abs(path, &last), file;

	MUST_BE(dir >= 0);
	file = file_of(dir, last);
	if (file < 0) {
		file = new_file(false);
		add_name(dir, last, (unsigned)strlen(last), file);
	}
	set_size(&files[file], 0);
	set_size(&files[file], n);
	if (n)
		memcpy(files[file].data, bytes, n);
}

char *memfs_at(const char *path, size_t *ret_n)
{
	int file = file_at(path);

	if (file < 0 || files[file].dir)
		return NULL;
	*ret_n = files[file].n;
	return files[file].data;
}

bool memfs_copy(const char *from, const char *to)
{
	size_t n;
	char *p = memfs_at(from, &n);

	if (p)
		memfs_put(to, p, n);
	return p;
}

/* -- the calls --
 * Each comes here instead of the C library's, by the linker's --wrap; __real_ is the library's. */

#define WRAP(type, name, ...)                                                                      \
	type __real_##name(__VA_ARGS__);                                                           \
	type __wrap_##name(__VA_ARGS__);                                                           \
	type __wrap_##name(__VA_ARGS__)

static int open_in(int dir, const char *last, int flags)
{
	int file;

	if (fails())
		return -1;
	if (dir < 0) {
		errno = ENOENT;
		return -1;
	}
	file = file_of(dir, last);
	if ((flags & O_TMPFILE) == O_TMPFILE && file >= 0)
		return new_fd(new_file(false), flags);
	if (file < 0 && flags & O_CREAT) {
		file = new_file(false);
		add_name(dir, last, (unsigned)strlen(last), file);
	} else if (file < 0 || (flags & O_CREAT && flags & O_EXCL)) {
		errno = file < 0 ? ENOENT : EEXIST;
		return -1;
	}
	if (flags & O_TRUNC)
		files[file].n = 0;
	return new_fd(file, flags);
}

static mode_t mode_of(int flags, va_list *ap)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? (mode_t)va_arg(*ap, int) : 0;
}

WRAP(int, open64, const char *path, int flags, ...)
{
	const char *last;
	unsigned fd;
	va_list ap;
	mode_t mode;
	int dir;

	va_start(ap, flags);
	mode = mode_of(flags, &ap);
	va_end(ap);
	/* The way to a second descriptor with a place of its own. */
	if (path[1] == 'p' && sscanf(path, "/proc/self/fd/%u", &fd) == 1 && fd >= FD_BASE)
		return fails() ? -1 : new_fd(fd_at((int)fd)->file, flags);
	if (!is_ours(path))
		return __real_open64(path, flags, mode);
	dir = walk_abs(path, &last);
	return open_in(dir, last, flags);
}

WRAP(int, openat64, int at, const char *path, int flags, ...)
{
	struct open_file *d = fd_at(at);
	const char *last;
	va_list ap;
	mode_t mode;
	int dir;

	va_start(ap, flags);
	mode = mode_of(flags, &ap);
	va_end(ap);
	if (!d)
		return __real_openat64(at, path, flags, mode);
	dir = walk(d->file, path, &last);
	return open_in(dir, last, flags);
}

WRAP(int, close, int fd)
{
	struct open_file *o = fd_at(fd);
	int file;

	if (!o)
		return __real_close(fd);
	file = o->file;
	o->file = -1;
	files[file].open--;
	drop_file(file);
	return 0;
}

static ssize_t read_at(const struct file *f, size_t at, void *to, size_t n)
{
	ssize_t got;

	n = at >= f->n ? 0 : n < f->n - at ? n : f->n - at;
	got = some(n);
	if (got > 0)
		memcpy(to, f->data + at, (size_t)got);
	return got;
}

WRAP(ssize_t, pread64, int fd, void *to, size_t n, off_t at)
{
	return read_at(file_behind(fd), (size_t)at, to, n);
}

WRAP(ssize_t, read, int fd, void *to, size_t n)
{
	struct open_file *o = fd_at(fd);
	ssize_t got;

	if (!o)
		return __real_read(fd, to, n);
	got = read_at(&files[o->file], o->at, to, n);
	o->at += got > 0 ? (size_t)got : 0;
	return got;
}

WRAP(ssize_t, pwritev64, int fd, const struct iovec *iov, int n_iov, off_t from)
{
	struct file *f = file_behind(fd);
	size_t n = 0, at = (size_t)from;
	ssize_t put;

	for (int i = 0; i < n_iov; i++)
		n += iov[i].iov_len;
	put = some(n);
	if (put < 0)
		return put;
	if (at + (size_t)put > f->n)
		set_size(f, at + (size_t)put);
	n = (size_t)put;
	for (int i = 0; n; i++) {
		size_t part = iov[i].iov_len < n ? iov[i].iov_len : n;

		if (part)
			memcpy(f->data + at, iov[i].iov_base, part);
		at += part;
		n -= part;
	}
	return put;
}

WRAP(ssize_t, pwrite64, int fd, const void *from, size_t n, off_t at)
{
	union {
		const void *from;
		void *base;
	} u = { .from = from };
	struct iovec iov = { u.base, n };

	return __wrap_pwritev64(fd, &iov, 1, at);
}

WRAP(int, fsync, int fd)
{
	(void)file_behind(fd);
	return fails() ? -1 : 0;
}

WRAP(int, fdatasync, int fd)
{
	return __wrap_fsync(fd);
}

WRAP(int, flock, int fd, int how)
{
	return how ? __wrap_fsync(fd) : 0;
}

WRAP(int, fchmod, int fd, mode_t mode)
{
	return mode ? __wrap_fsync(fd) : 0;
}

WRAP(int, posix_fadvise64, int fd, off_t at, off_t n, int how)
{
	return 0;
}

WRAP(int, ftruncate64, int fd, off_t n)
{
	if (fails())
		return -1;
	set_size(file_behind(fd), (size_t)n);
	return 0;
}

WRAP(int, posix_fallocate64, int fd, off_t at, off_t n)
{
	struct file *f = file_behind(fd);

	if (fails())
		return errno;
	if ((size_t)(at + n) > f->n)
		set_size(f, (size_t)(at + n));
	return 0;
}

static int tell(int file, struct stat *st)
{
	if (fails())
		return -1;
	if (file < 0) {
		errno = ENOENT;
		return -1;
	}
	memset(st, 0, sizeof *st);
	st->st_mode = files[file].dir ? S_IFDIR | 0700 : S_IFREG | 0600;
	st->st_size = (off_t)files[file].n;
	return 0;
}

WRAP(int, fstat64, int fd, struct stat *st)
{
	struct open_file *o = fd_at(fd);

	return o ? tell(o->file, st) : __real_fstat64(fd, st);
}

WRAP(int, fstatat64, int at, const char *name, struct stat *st, int flags)
{
	return tell(file_of(number_behind(at), name), st);
}

WRAP(int, fstatvfs64, int fd, struct statvfs *v)
{
	(void)file_behind(fd);
	if (fails())
		return -1;
	memset(v, 0, sizeof *v);
	v->f_frsize = 4096;
	v->f_bavail = 1 << 20;
	return 0;
}

WRAP(int, mkdirat, int at, const char *name, mode_t mode)
{
	int dir = number_behind(at);

	if (fails())
		return -1;
	if (file_of(dir, name) >= 0) {
		errno = EEXIST;
		return -1;
	}
	add_name(dir, name, (unsigned)strlen(name), new_file(true));
	return 0;
}

WRAP(int, mkdir, const char *path, mode_t mode)
{
	if (!is_ours(path))
		return __real_mkdir(path, mode);
	if (fails())
		return -1;
	if (file_at(path) >= 0) {
		errno = EEXIST;
		return -1;
	}
	memfs_mkdir(path);
	return 0;
}

WRAP(int, unlinkat, int at, const char *name, int flags)
{
	int i = find(number_behind(at), name, (unsigned)strlen(name));

	if (fails())
		return -1;
	if (i < 0) {
		errno = ENOENT;
		return -1;
	}
	drop_name(i);
	return 0;
}

WRAP(int, renameat, int from, const char *old, int to, const char *new)
{
	int dir = number_behind(to), i, j;

	if (fails())
		return -1;
	i = find(number_behind(from), old, (unsigned)strlen(old));
	if (i < 0) {
		errno = ENOENT;
		return -1;
	}
	j = find(dir, new, (unsigned)strlen(new));
	add_name(dir, new, (unsigned)strlen(new), names[i].file);
	drop_name(i);
	if (j >= 0)
		drop_name(j);
	return 0;
}

/* A name for what was opened without one: from is /proc/self/fd/N. */
WRAP(int, linkat, int at, const char *from, int to, const char *name, int flags)
{
	int dir = number_behind(to);
	unsigned fd;

	MUST_BE(sscanf(from, "/proc/self/fd/%u", &fd) == 1);
	if (fails())
		return -1;
	if (file_of(dir, name) >= 0) {
		errno = EEXIST;
		return -1;
	}
	add_name(dir, name, (unsigned)strlen(name), fd_at((int)fd)->file);
	return 0;
}

static struct mem_dir dirs[8];

WRAP(DIR *, fdopendir, int fd)
{
	int i = 0;

	if (!fd_at(fd))
		return __real_fdopendir(fd);
	if (fails())
		return NULL;
	while (dirs[i].fd)
		MUST_BE(++i < 8);
	dirs[i] = (struct mem_dir){ .fd = fd };
	return (DIR *)&dirs[i];
}

static struct mem_dir *mem_dir(DIR *d)
{
	struct mem_dir *m = (struct mem_dir *)d;

	return m >= dirs && m < dirs + 8 ? m : NULL;
}

WRAP(struct dirent64 *, readdir64, DIR *d)
{
	struct mem_dir *m = mem_dir(d);

	if (!m)
		return __real_readdir64(d);
	if (fails())
		return NULL;
	while (m->at < n_names && names[m->at].dir != number_behind(m->fd))
		m->at++;
	if (m->at >= n_names)
		return NULL;
	memcpy(m->entry.d_name, names[m->at].text, names[m->at].n + 1u);
	m->at++;
	return &m->entry;
}

WRAP(int, closedir, DIR *d)
{
	struct mem_dir *m = mem_dir(d);
	int fd;

	if (!m)
		return __real_closedir(d);
	fd = m->fd;
	m->fd = 0;
	return __wrap_close(fd);
}

WRAP(ssize_t, getrandom, void *to, size_t n, unsigned flags)
{
	if (fails())
		return -1;
	for (size_t i = 0; i < n; i++) {
		random_state = random_state * 6364136223846793005u + 1442695040888963407u;
		((unsigned char *)to)[i] = (unsigned char)(random_state >> 56);
	}
	return (ssize_t)n;
}

/* No thread of the spool's own: what happens follows from the input alone, and a finding comes back
 * when it is replayed. The fuzzer's begin before the first input. */
WRAP(int, pthread_create, pthread_t *t, const pthread_attr_t *how, void *(*run)(void *), void *arg)
{
	return ready ? EAGAIN : __real_pthread_create(t, how, run, arg);
}

/* Without a failure to come these are the library's: ASan sees what it always sees. */
WRAP(void *, malloc, size_t n)
{
	return fail_in && fails() ? NULL : __real_malloc(n);
}

WRAP(void *, calloc, size_t n, size_t size)
{
	return fail_in && fails() ? NULL : __real_calloc(n, size);
}

WRAP(void *, realloc, void *p, size_t n)
{
	return fail_in && fails() ? NULL : __real_realloc(p, n);
}
