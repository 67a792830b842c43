#include "backup/sink.h"

#include "base/buf.h"
#include "ops/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TAR_BLOCK    512
#define TAR_NAME_MAX 100
#define TAR_SIZE_MAX 077777777777ull /* eleven octal digits */

struct sink {
	int dir;  /* of a directory: the new one */
	int file; /* the file being written; of a stream: the stream */
	bool tar, finished;
	uint64_t left;    /* of the file being written */
	uint64_t written; /* of the stream */
	uint64_t now_s;
	char to[PATH_MAX], partial[PATH_MAX];
};

static bool sink_error(struct err *e, const char *what)
{
	return err_set(e, errno == EEXIST ? ERR_CONFLICT : ERR_LATER, "%s: %s", what,
		       strerror(errno));
}

static bool write_all(int fd, struct slice s)
{
	while (s.n) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		slice_take(&s, (size_t)n);
	}
	return true;
}

/* -- a directory -- */

struct sink *sink_to_directory(const char *to, struct err *e)
{
	struct sink *s = calloc(1, sizeof *s);
	struct stat st;
	size_t n = strlen(to);

	while (n > 1 && to[n - 1] == '/')
		n--;
	if (!s || n + sizeof ".partial" > sizeof s->partial) {
		err_set(e, ERR_INPUT, "%s", s ? "the path is too long" : "out of memory");
		free(s);
		return NULL;
	}
	snprintf(s->to, sizeof s->to, "%.*s", (int)n, to);
	snprintf(s->partial, sizeof s->partial, "%.*s.partial", (int)n, to);
	s->dir = s->file = -1;
	if (!lstat(s->to, &st)) {
		err_set(e, ERR_CONFLICT, "%s: exists already", s->to);
	} else if (mkdir(s->partial, 0700)) {
		sink_error(e, s->partial);
		if (e && e->kind == ERR_CONFLICT)
			err_set(e, ERR_CONFLICT,
				"%s exists: a backup is under way there, or was cut short; remove "
				"it if it was",
				s->partial);
	} else {
		s->dir = open(s->partial, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (s->dir >= 0)
			return s;
		sink_error(e, s->partial);
		(void)rmdir(s->partial);
	}
	free(s);
	return NULL;
}

/* Makes the directories that lead to name. */
static bool make_way(struct sink *s, const char *name)
{
	char part[PATH_MAX];

	for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof part, "%.*s", (int)(slash - name), name);
		if (mkdirat(s->dir, part, 0700) && errno != EEXIST)
			return false;
	}
	return true;
}

static bool begin_file(struct sink *s, const char *name, struct err *e)
{
	s->file =
	    make_way(s, name)
		? openat(s->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)
		: -1;
	return s->file >= 0 || sink_error(e, name);
}

static bool end_file(struct sink *s, struct err *e)
{
	int fd = s->file;
	bool ok = !fsync(fd);

	s->file = -1;
	/* Written and on disk: it need not push anybody else's pages out of memory. */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return (!close(fd) && ok) || sink_error(e, s->partial);
}

/* The name is durable, too. */
static bool sync_parent(const char *path, struct err *e)
{
	char dir[PATH_MAX];
	char *slash;
	int fd;
	bool ok;

	snprintf(dir, sizeof dir, "%s", path);
	slash = strrchr(dir, '/');
	if (slash == dir)
		slash[1] = '\0';
	else if (slash)
		*slash = '\0';
	else
		snprintf(dir, sizeof dir, ".");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ok = fd >= 0 && !fsync(fd);
	if (!ok)
		sink_error(e, dir);
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool finish_directory(struct sink *s, struct err *e)
{
	struct stat st;

	if (!tree_settle(AT_FDCWD, s->partial, (uid_t)-1, (gid_t)-1))
		return sink_error(e, s->partial);
	if (!lstat(s->to, &st))
		return err_set(e, ERR_CONFLICT, "%s: exists already", s->to);
	if (rename(s->partial, s->to))
		return sink_error(e, s->to);
	s->finished = true;
	return sync_parent(s->to, e);
}

/* -- a tar stream (POSIX.1-2017 pax, "ustar Interchange Format") -- */

struct sink *sink_to_tar(int fd, uint64_t now_s, struct err *e)
{
	struct sink *s = calloc(1, sizeof *s);

	if (!s) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	s->tar = true;
	s->dir = -1;
	s->file = fd;
	s->now_s = now_s;
	return s;
}

static bool put(struct sink *s, struct slice bytes, struct err *e)
{
	s->written += bytes.n;
	return write_all(s->file, bytes) || sink_error(e, "standard output");
}

static bool pad(struct sink *s, uint64_t to, struct err *e)
{
	static const char zeros[TAR_BLOCK];
	size_t over = (size_t)(s->written % to);

	while (over) {
		size_t n = (size_t)to - over < TAR_BLOCK ? (size_t)to - over : TAR_BLOCK;

		if (!put(s, slice(zeros, n), e))
			return false;
		over = (size_t)(s->written % to);
	}
	return true;
}

static void octal(char *to, size_t digits, uint64_t v)
{
	for (to[digits] = '\0'; digits--; v >>= 3)
		to[digits] = (char)('0' + (v & 7));
}

static bool header(struct sink *s, struct slice name, uint64_t size, char type, struct err *e)
{
	struct {
		char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type,
		    link[100], magic[6], version[2], user[32], group[32], major[8], minor[8],
		    prefix[155], rest[12];
	} h = { .type = type, .magic = "ustar", .version = { '0', '0' } };
	const unsigned char *at = (const unsigned char *)&h;
	uint64_t sum = 0;

	_Static_assert(sizeof h == TAR_BLOCK, "a tar header");
	memcpy(h.name, name.p, name.n < TAR_NAME_MAX ? name.n : TAR_NAME_MAX);
	octal(h.mode, 7, 0600);
	octal(h.uid, 7, 0);
	octal(h.gid, 7, 0);
	octal(h.size, 11, size <= TAR_SIZE_MAX ? size : 0);
	octal(h.mtime, 11, s->now_s);
	memset(h.sum, ' ', sizeof h.sum);
	for (size_t i = 0; i < sizeof h; i++)
		sum += at[i];
	octal(h.sum, 6, sum);
	return put(s, slice(&h, sizeof h), e);
}

/* "LENGTH KEY=VALUE\n", where LENGTH counts itself. */
static void pax_record(struct buf *out, const char *key, struct slice value)
{
	size_t rest = strlen(key) + value.n + 3, n = rest + 1;

	while (n != rest + (size_t)snprintf(NULL, 0, "%zu", n))
		n++;
	buf_addu(out, n);
	buf_addc(out, ' ');
	buf_add(out, slice_str(key));
	buf_addc(out, '=');
	buf_add(out, value);
	buf_addc(out, '\n');
}

static bool begin_entry(struct sink *s, const char *name, uint64_t bytes, struct err *e)
{
	struct slice n = slice_str(name);
	struct buf pax, size;
	bool ok = true;

	buf_init(&pax, 8192);
	buf_init(&size, 32);
	buf_addu(&size, bytes);
	if (n.n > TAR_NAME_MAX)
		pax_record(&pax, "path", n);
	if (bytes > TAR_SIZE_MAX)
		pax_record(&pax, "size", buf_slice(&size));
	if (pax.n)
		ok = !pax.failed && header(s, S("pax"), pax.n, 'x', e) &&
		     put(s, buf_slice(&pax), e) && pad(s, TAR_BLOCK, e);
	ok = ok && header(s, n, bytes, '0', e);
	buf_done(&pax);
	buf_done(&size);
	return ok;
}

/* Two blocks of zeros, filled up to the twenty that tapes wanted. */
static bool finish_tar(struct sink *s, struct err *e)
{
	static const char zeros[2 * TAR_BLOCK];

	s->finished = put(s, slice(zeros, sizeof zeros), e) && pad(s, 20 * TAR_BLOCK, e);
	return s->finished;
}

/* -- both -- */

uint64_t sink_room(const struct sink *s)
{
	struct statvfs v;

	if (s->tar || fstatvfs(s->dir, &v))
		return UINT64_MAX;
	return (uint64_t)v.f_bavail * v.f_frsize;
}

bool sink_begin(struct sink *s, const char *name, uint64_t bytes, struct err *e)
{
	s->left = bytes;
	return s->tar ? begin_entry(s, name, bytes, e) : begin_file(s, name, e);
}

bool sink_write(struct sink *s, struct slice bytes, struct err *e)
{
	if (bytes.n > s->left)
		return err_set(e, ERR_BUG, "a file grew while it was copied");
	s->left -= bytes.n;
	if (s->tar)
		return put(s, bytes, e);
	return write_all(s->file, bytes) || sink_error(e, s->partial);
}

bool sink_end(struct sink *s, struct err *e)
{
	if (s->left)
		return err_set(e, ERR_LATER, "a file got shorter while it was copied");
	return s->tar ? pad(s, TAR_BLOCK, e) : end_file(s, e);
}

bool sink_sync(struct sink *s, struct err *e)
{
	return s->tar || !fdatasync(s->file) || sink_error(e, s->partial);
}

bool sink_finish(struct sink *s, struct err *e)
{
	return s->tar ? finish_tar(s, e) : finish_directory(s, e);
}

void sink_free(struct sink *s)
{
	if (!s)
		return;
	if (!s->tar) {
		if (s->file >= 0)
			close(s->file);
		close(s->dir);
		if (!s->finished)
			(void)tree_remove(AT_FDCWD, s->partial);
	}
	free(s);
}
