/* Preloaded by the fault run: counts the calls of each function below and makes one of them fail.
 *
 *     TORTURE_STATE=FILE            struct state, mapped and shared: counts, and where it hit
 *     TORTURE_FAULT=NAME:N:WHAT     the N-th call of NAME (from 1) fails with the errno WHAT, or
 *                                   does half of its work when WHAT is "short"
 *     TORTURE_FAULT=NAME:N:WHAT:M   so do the M-1 calls after it
 *     TORTURE_FAULT=NAME@SITE:...   only calls from that place count: SITE is a hash of the
 *                                   innermost frames in the program itself
 *     TORTURE_SITES=1               the places of allocations are collected in the state
 *
 * Calls that a C library makes inside itself are not seen; those that OpenSSL, SQLite, libevent
 * and the others make into it are. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The order is the layout of state.counts: tests/torture/faults.py has the same list. */
enum call {
	WRITE,
	PWRITE,
	PWRITEV,
	WRITEV,
	READ,
	PREAD,
	FSYNC,
	FDATASYNC,
	OPEN,
	OPENAT,
	RENAME,
	LINK,
	UNLINK,
	MKDIR,
	MMAP,
	FALLOCATE,
	FTRUNCATE,
	SOCKET,
	BIND,
	LISTEN,
	ACCEPT,
	CONNECT,
	SEND,
	RECV,
	GETRANDOM,
	EPOLL_CREATE,
	EPOLL_CTL,
	EPOLL_WAIT,
	EVENTFD,
	THREAD,
	MALLOC,
	CALLOC,
	REALLOC,
	CALLS
};

static const char *const names[CALLS] = {
	"write",     "pwrite",       "pwritev",   "writev",     "read",      "pread",
	"fsync",     "fdatasync",    "open",      "openat",     "rename",    "link",
	"unlink",    "mkdir",        "mmap",      "fallocate",  "ftruncate", "socket",
	"bind",      "listen",       "accept",    "connect",    "send",      "recv",
	"getrandom", "epoll_create", "epoll_ctl", "epoll_wait", "eventfd",   "thread",
	"malloc",    "calloc",       "realloc"
};

#define FRAMES 8
#define SITES  8192

struct site {
	_Atomic uint64_t hash;
	_Atomic uint32_t count[3]; /* malloc, calloc, realloc */
	uint32_t frames[FRAMES];
};

struct state {
	_Atomic uint64_t counts[64];
	_Atomic uint64_t hits;
	uint32_t frames[FRAMES]; /* of the first hit, offsets in the program */
	struct site sites[SITES];
};

static struct state *state;
static struct {
	bool on, short_;
	enum call call;
	uint64_t n, many, site;
	int error;
} fault;
static bool sites;
static _Atomic uint64_t at_site;
static uintptr_t program, program_end;
static __thread int inside;

static int error_of(const char *name)
{
	static const struct {
		const char *name;
		int error;
	} all[] = { { "EIO", EIO },
		    { "ENOSPC", ENOSPC },
		    { "EINTR", EINTR },
		    { "EMFILE", EMFILE },
		    { "ENOMEM", ENOMEM },
		    { "EAGAIN", EAGAIN },
		    { "ENOBUFS", ENOBUFS },
		    { "ECONNREFUSED", ECONNREFUSED },
		    { "ECONNRESET", ECONNRESET },
		    { "EROFS", EROFS },
		    { "EACCES", EACCES },
		    { "ECONNABORTED", ECONNABORTED },
		    { "EADDRINUSE", EADDRINUSE } };

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (!strcmp(all[i].name, name))
			return all[i].error;
	return 0;
}

static int see_program(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type == PT_LOAD && info->dlpi_addr + p->p_vaddr + p->p_memsz > program_end)
			program_end = info->dlpi_addr + p->p_vaddr + p->p_memsz;
	}
	program = info->dlpi_addr;
	return 1; /* the first one is the program */
}

static void parse(const char *text)
{
	char buf[128], *p = buf, *field[4] = { 0 }, *at;

	strncpy(buf, text, sizeof buf - 1);
	buf[sizeof buf - 1] = '\0';
	for (int i = 0; i < 4 && p; i++)
		field[i] = strsep(&p, ":");
	if (!field[2])
		abort();
	at = strchr(field[0], '@');
	if (at) {
		*at = '\0';
		fault.site = strtoull(at + 1, NULL, 16);
	}
	for (fault.call = 0; fault.call < CALLS && strcmp(names[fault.call], field[0]);
	     fault.call++)
		;
	fault.n = strtoull(field[1], NULL, 10);
	fault.short_ = !strcmp(field[2], "short");
	fault.error = error_of(field[2]);
	fault.many = field[3] ? strtoull(field[3], NULL, 10) : 1;
	if (fault.call == CALLS || (!fault.short_ && !fault.error))
		abort();
	fault.on = true;
}

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("TORTURE_STATE"), *f = getenv("TORTURE_FAULT");
	int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
	void *p = MAP_FAILED, *warm[2];

	if (fd < 0)
		return;
	p = (void *)syscall(SYS_mmap, NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    0);
	syscall(SYS_close, fd);
	if (p == MAP_FAILED)
		abort();
	dl_iterate_phdr(see_program, NULL);
	backtrace(warm, 2); /* it loads a library the first time */
	if (f && *f)
		parse(f);
	sites = getenv("TORTURE_SITES");
	state = p;
}

/* The innermost frames in the program, as offsets, and their hash. */
static uint64_t where(uint32_t ret[FRAMES])
{
	void *stack[40];
	int n = backtrace(stack, 40), k = 0;
	uint64_t h = 0xcbf29ce484222325u;

	memset(ret, 0, FRAMES * sizeof *ret);
	for (int i = 0; i < n && k < FRAMES; i++) {
		uintptr_t a = (uintptr_t)stack[i];

		if (a < program || a >= program_end)
			continue;
		ret[k] = (uint32_t)(a - program);
		if (k < 4)
			h = (h ^ ret[k]) * 0x100000001b3u;
		k++;
	}
	return h ? h : 1;
}

static void note_site(int which)
{
	uint32_t frames[FRAMES];
	uint64_t h = where(frames);

	for (size_t i = h % SITES, tries = 0; tries < SITES; i = (i + 1) % SITES, tries++) {
		uint64_t none = 0;

		if (atomic_compare_exchange_strong(&state->sites[i].hash, &none, h))
			memcpy(state->sites[i].frames, frames, sizeof frames);
		else if (none != h)
			continue;
		atomic_fetch_add(&state->sites[i].count[which], 1);
		return;
	}
}

/* The process's own counters and pipes know no error of a disk and no half of a few bytes. */
static _Atomic uint64_t own[64];

static void is_own(int fd)
{
	if (fd >= 0 && fd < 4096)
		atomic_fetch_or(&own[fd / 64], 1ull << (fd % 64));
}

static bool spared(int fd)
{
	return fd >= 0 && fd < 4096 && (atomic_load(&own[fd / 64]) >> (fd % 64) & 1) &&
	       fault.error != EINTR;
}

/* True: this call is to fail. Sets errno then, unless it is to be short. */
static bool strikes(enum call c)
{
	uint64_t n;
	bool hit;

	if (!state || inside)
		return false;
	n = atomic_fetch_add(&state->counts[c], 1) + 1;
	inside++;
	if (sites && c >= MALLOC)
		note_site((int)(c - MALLOC));
	hit = fault.on && fault.call == c;
	if (hit && fault.site) {
		uint32_t frames[FRAMES];

		hit = where(frames) == fault.site;
		if (hit)
			n = atomic_fetch_add(&at_site, 1) + 1;
	}
	hit = hit && n >= fault.n && n < fault.n + fault.many;
	if (hit && !atomic_fetch_add(&state->hits, 1))
		where(state->frames);
	inside--;
	if (hit)
		errno = fault.error;
	return hit;
}

static size_t half(size_t n)
{
	return n > 1 ? n / 2 : n;
}

#define REAL(name)                                                                                 \
	static __typeof__(name) *real;                                                             \
	if (!real) {                                                                               \
		inside++;                                                                          \
		real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);                                \
		inside--;                                                                          \
	}
/* A call whose length can be cut. */
#define CUT(which, n)                                                                              \
	if (strikes(which)) {                                                                      \
		if (!fault.short_)                                                                 \
			return -1;                                                                 \
		(n) = half(n);                                                                     \
	}
#define FAIL(which)                                                                                \
	if (strikes(which))                                                                        \
		return -1;

/* -- writing and reading -- */

ssize_t write(int fd, const void *p, size_t n)
{
	REAL(write)
	if (!spared(fd)) {
		CUT(WRITE, n)
	}
	return real(fd, p, n);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
	REAL(pwrite64)
	CUT(PWRITE, n)
	return real(fd, p, n, at);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	return pwrite64(fd, p, n, at);
}

static ssize_t short_vector(int fd, const struct iovec *v, int n, off64_t at, bool has_at)
{
	/* Half of the first part that is not empty. */
	for (int i = 0; i < n; i++)
		if (v[i].iov_len)
			return has_at ? syscall(SYS_pwrite64, fd, v[i].iov_base, half(v[i].iov_len),
						at)
				      : syscall(SYS_write, fd, v[i].iov_base, half(v[i].iov_len));
	return 0;
}

ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at)
{
	REAL(pwritev64)
	if (strikes(PWRITEV))
		return fault.short_ ? short_vector(fd, v, n, at, true) : -1;
	return real(fd, v, n, at);
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	return pwritev64(fd, v, n, at);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	REAL(writev)
	if (strikes(WRITEV))
		return fault.short_ ? short_vector(fd, v, n, 0, false) : -1;
	return real(fd, v, n);
}

ssize_t read(int fd, void *p, size_t n)
{
	REAL(read)
	if (!spared(fd)) {
		CUT(READ, n)
	}
	return real(fd, p, n);
}

ssize_t __read_chk(int fd, void *p, size_t n, size_t room);
ssize_t __read_chk(int fd, void *p, size_t n, size_t room)
{
	(void)room;
	return read(fd, p, n);
}

ssize_t pread64(int fd, void *p, size_t n, off64_t at)
{
	REAL(pread64)
	CUT(PREAD, n)
	return real(fd, p, n, at);
}

ssize_t pread(int fd, void *p, size_t n, off_t at)
{
	return pread64(fd, p, n, at);
}

ssize_t __pread64_chk(int fd, void *p, size_t n, off64_t at, size_t room);
ssize_t __pread64_chk(int fd, void *p, size_t n, off64_t at, size_t room)
{
	(void)room;
	return pread64(fd, p, n, at);
}

int fsync(int fd)
{
	REAL(fsync)
	FAIL(FSYNC)
	return real(fd);
}

int fdatasync(int fd)
{
	REAL(fdatasync)
	FAIL(FDATASYNC)
	return real(fd);
}

/* -- names -- */

static mode_t mode_of(int flags, va_list ap)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

int open64(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	FAIL(OPEN)
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return open64(path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	FAIL(OPENAT)
	return (int)syscall(SYS_openat, dir, path, flags | O_LARGEFILE, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return openat64(dir, path, flags, mode);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	REAL(renameat)
	FAIL(RENAME)
	return real(from_dir, from, to_dir, to);
}

int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	REAL(linkat)
	FAIL(LINK)
	return real(from_dir, from, to_dir, to, flags);
}

int unlinkat(int dir, const char *path, int flags)
{
	REAL(unlinkat)
	FAIL(UNLINK)
	return real(dir, path, flags);
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
	REAL(mkdirat)
	FAIL(MKDIR)
	return real(dir, path, mode);
}

int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

/* -- space -- */

void *mmap64(void *addr, size_t n, int prot, int flags, int fd, off64_t at)
{
	if (strikes(MMAP))
		return MAP_FAILED;
	return (void *)syscall(SYS_mmap, addr, n, prot, flags, fd, at);
}

void *mmap(void *addr, size_t n, int prot, int flags, int fd, off_t at)
{
	return mmap64(addr, n, prot, flags, fd, at);
}

int posix_fallocate64(int fd, off64_t at, off64_t n)
{
	REAL(posix_fallocate64)
	if (strikes(FALLOCATE))
		return errno;
	return real(fd, at, n);
}

int posix_fallocate(int fd, off_t at, off_t n)
{
	return posix_fallocate64(fd, at, n);
}

int ftruncate64(int fd, off64_t n)
{
	REAL(ftruncate64)
	FAIL(FTRUNCATE)
	return real(fd, n);
}

int ftruncate(int fd, off_t n)
{
	return ftruncate64(fd, n);
}

/* -- sockets -- */

int socket(int a, int b, int c)
{
	REAL(socket)
	FAIL(SOCKET)
	return real(a, b, c);
}

int bind(int fd, const struct sockaddr *a, socklen_t n)
{
	REAL(bind)
	FAIL(BIND)
	return real(fd, a, n);
}

int listen(int fd, int n)
{
	REAL(listen)
	FAIL(LISTEN)
	return real(fd, n);
}

int accept4(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
	REAL(accept4)
	FAIL(ACCEPT)
	return real(fd, a, n, flags);
}

int accept(int fd, struct sockaddr *a, socklen_t *n)
{
	return accept4(fd, a, n, 0);
}

int connect(int fd, const struct sockaddr *a, socklen_t n)
{
	REAL(connect)
	FAIL(CONNECT)
	return real(fd, a, n);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	REAL(send)
	CUT(SEND, n)
	return real(fd, p, n, flags);
}

ssize_t sendto(int fd, const void *p, size_t n, int flags, const struct sockaddr *a, socklen_t an)
{
	REAL(sendto)
	CUT(SEND, n)
	return real(fd, p, n, flags, a, an);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	REAL(sendmsg)
	FAIL(SEND)
	return real(fd, m, flags);
}

ssize_t recv(int fd, void *p, size_t n, int flags)
{
	REAL(recv)
	CUT(RECV, n)
	return real(fd, p, n, flags);
}

ssize_t __recv_chk(int fd, void *p, size_t n, size_t room, int flags);
ssize_t __recv_chk(int fd, void *p, size_t n, size_t room, int flags)
{
	(void)room;
	return recv(fd, p, n, flags);
}

ssize_t recvfrom(int fd, void *restrict p, size_t n, int flags, struct sockaddr *restrict a,
		 socklen_t *restrict an)
{
	REAL(recvfrom)
	CUT(RECV, n)
	return real(fd, p, n, flags, a, an);
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	REAL(recvmsg)
	FAIL(RECV)
	return real(fd, m, flags);
}

/* -- the rest -- */

ssize_t getrandom(void *p, size_t n, unsigned flags)
{
	CUT(GETRANDOM, n)
	return syscall(SYS_getrandom, p, n, flags);
}

/* All or nothing, as its manual says. */
int getentropy(void *p, size_t n)
{
	if (strikes(GETRANDOM)) {
		if (fault.short_)
			errno = EIO;
		return -1;
	}
	return syscall(SYS_getrandom, p, n, 0) == (long)n ? 0 : -1;
}

int epoll_create1(int flags)
{
	REAL(epoll_create1)
	FAIL(EPOLL_CREATE)
	return real(flags);
}

int epoll_ctl(int fd, int op, int on, struct epoll_event *e)
{
	REAL(epoll_ctl)
	FAIL(EPOLL_CTL)
	return real(fd, op, on, e);
}

int epoll_wait(int fd, struct epoll_event *e, int n, int ms)
{
	REAL(epoll_wait)
	FAIL(EPOLL_WAIT)
	return real(fd, e, n, ms);
}

/* A library's own pipe, by which a signal's handler speaks to its loop. */
int pipe2(int fds[2], int flags)
{
	int rc;

	REAL(pipe2)
	FAIL(EVENTFD)
	rc = real(fds, flags);
	if (rc == 0) {
		is_own(fds[0]);
		is_own(fds[1]);
	}
	return rc;
}

int eventfd(unsigned n, int flags)
{
	int fd;

	REAL(eventfd)
	FAIL(EVENTFD)
	fd = real(n, flags);
	is_own(fd);
	return fd;
}

int pthread_create(pthread_t *restrict t, const pthread_attr_t *restrict a, void *(*f)(void *),
		   void *restrict arg)
{
	REAL(pthread_create)
	if (strikes(THREAD))
		return errno;
	return real(t, a, f, arg);
}

/* -- memory -- */

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n)
{
	return strikes(MALLOC) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return strikes(CALLOC) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	return strikes(REALLOC) ? NULL : __libc_realloc(p, n);
}
