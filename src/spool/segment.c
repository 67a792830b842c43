#include "spool/segment.h"

#include "base/auto.h"
#include "base/crc32c.h"
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>

#define BLOCK (256u << 10)
#define PAGE  4096
#define COPY  512 /* where the second header stands: another sector */

static const char magic[8] = { 'S', 'I', 'G', 'N', 'E', 'T', 'S', 'G' };
static const char fresh[] = "new.log";

struct file_header {
	char magic[8];
	uint32_t format, number;
	uint64_t key[2], first_sequence;
	struct spool_uuid uuid;
	uint32_t zero, crc;
};

_Static_assert(sizeof(struct file_header) == 64, "segment header");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the header is written as it lies");

void segment_name(uint32_t number, const char *suffix, char ret[32])
{
	snprintf(ret, 32, "seg-%08x.%s", number, suffix);
}

void segment_spare_name(unsigned i, char ret[32])
{
	snprintf(ret, 32, "spare-%u.log", i);
}

bool segment_number(const char *name, const char *suffix, uint32_t *ret)
{
	uint32_t v = 0;

	if (strlen(name) != 16 || strncmp(name, "seg-", 4) || name[12] != '.' ||
	    strcmp(name + 13, suffix))
		return false;
	for (int i = 4; i < 12; i++) {
		char c = name[i];

		if (!ascii_digit(c) && !(c >= 'a' && c <= 'f'))
			return false;
		v = v << 4 | (uint32_t)(ascii_digit(c) ? c - '0' : c - 'a' + 10);
	}
	*ret = v;
	return v > 0;
}

/* -- bytes -- */

bool segment_read(int fd, uint64_t at, void *to, size_t n)
{
	char *p = to;

	while (n) {
		ssize_t got = pread(fd, p, n, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			errno = ENODATA; /* the file is too short: not a matter of trying again */
		if (got <= 0)
			return false;
		p += got;
		at += (uint64_t)got;
		n -= (size_t)got;
	}
	return true;
}

bool segment_write(int fd, uint64_t at, const void *from, size_t n)
{
	const char *p = from;

	while (n) {
		ssize_t put = pwrite(fd, p, n, (off_t)at);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		p += put;
		at += (uint64_t)put;
		n -= (size_t)put;
	}
	return true;
}

bool segment_crc(int fd, uint64_t at, uint64_t bytes, uint32_t *ret)
{
	AUTO_FREE char *block = malloc(BLOCK);
	uint32_t crc = 0;

	while (block && bytes) {
		size_t n = bytes < BLOCK ? (size_t)bytes : BLOCK;

		if (!segment_read(fd, at, block, n))
			return false;
		crc = crc32c(crc, slice(block, n));
		at += n;
		bytes -= n;
	}
	*ret = crc;
	return block;
}

/* Overwriting blocks that were written before needs no journal commit for each sync: that is half
 * the time of one (docs/spool.md). */
static bool fill_zeros(int fd, uint64_t size)
{
	AUTO_FREE char *zeros = calloc(1, BLOCK);
	bool ok = zeros;

	for (uint64_t at = 0; ok && at < size; at += BLOCK)
		ok = segment_write(fd, at, zeros, size - at < BLOCK ? (size_t)(size - at) : BLOCK);
	return ok;
}

/* -- a segment's life -- */

static bool failed(struct err *e, const char *what)
{
	return err_set(e, ERR_LATER, "spool: %s: %s", what, strerror(errno));
}

static bool take_spare(int dir)
{
	for (unsigned i = SEGMENT_SPARES; i-- > 0;) {
		char name[32];

		segment_spare_name(i, name);
		if (!renameat(dir, name, dir, fresh))
			return true;
	}
	return false;
}

bool segment_create(int dir, struct segment *s, uint64_t size, bool zero, struct err *e)
{
	struct file_header h = { .format = SEGMENT_FORMAT,
				 .number = s->number,
				 .uuid = s->uuid,
				 .first_sequence = s->first_sequence };
	bool recycled = take_spare(dir);
	AUTO_FD fd = openat(
	    dir, fresh, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (recycled ? 0 : O_TRUNC), 0600);
	char name[32];
	struct stat st;

	if (fd < 0)
		return failed(e, "new segment");
	memcpy(h.magic, magic, sizeof magic);
	if (getrandom(h.key, sizeof h.key, 0) != sizeof h.key)
		return failed(e, "random");
	h.crc = crc32c(0, slice(&h, offsetof(struct file_header, crc)));
	/* Without room for all of it the segment simply grows: slower, and the log goes on. */
	if (!recycled && !(zero && fill_zeros(fd, size)) && posix_fallocate(fd, 0, (off_t)size) &&
	    ftruncate(fd, 0))
		return failed(e, "new segment");
	FAULT_DIE("spool_new_segment");
	segment_name(s->number, "log", name);
	if (!segment_write(fd, 0, &h, sizeof h) || !segment_write(fd, COPY, &h, sizeof h) ||
	    fsync(fd) || renameat(dir, fresh, dir, name) || fsync(dir) || fstat(fd, &st)) {
		failed(e, "new segment");
		unlinkat(dir, fresh, 0);
		return false;
	}
	s->key[0] = h.key[0];
	s->key[1] = h.key[1];
	s->end = SEGMENT_DATA;
	s->size = (uint64_t)st.st_size;
	s->fd = fd_steal(&fd);
	return true;
}

/* *error: why it could not be read. */
static bool header_sound(int fd, uint64_t at, struct file_header *h, int *error)
{
	if (!segment_read(fd, at, h, sizeof *h)) {
		*error = errno == ENODATA ? *error : errno;
		return false;
	}
	return !memcmp(h->magic, magic, sizeof magic) &&
	       h->crc == crc32c(0, slice(h, offsetof(struct file_header, crc))) &&
	       h->format == SEGMENT_FORMAT;
}

bool segment_open(int dir, uint32_t number, struct segment *ret, struct err *e)
{
	struct file_header h, second;
	char name[32];
	struct stat st;
	bool first, copy;
	AUTO_FD fd = -1;
	int error = 0;

	segment_name(number, "log", name);
	fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st))
		return failed(e, name);
	first = S_ISREG(st.st_mode) && header_sound(fd, 0, &h, &error);
	copy = S_ISREG(st.st_mode) && header_sound(fd, COPY, &second, &error);
	if (!first && !copy && error) {
		errno = error;
		return failed(e, name);
	}
	if (!first && !copy)
		return err_set(
		    e, ERR_DAMAGED,
		    "spool: %s: the segment's header is unsound; try: signet spool salvage", name);
	if (!first)
		h = second;
	*ret = (struct segment){ .number = h.number,
				 .key = { h.key[0], h.key[1] },
				 .uuid = h.uuid,
				 .first_sequence = h.first_sequence,
				 .end = SEGMENT_DATA,
				 .size = (uint64_t)st.st_size,
				 .half = !error && (!first || !copy),
				 .refs = 1,
				 .fd = fd_steal(&fd) };
	return true;
}

void segment_close(struct segment *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

void segment_retire(int dir, const struct segment *s, bool keep)
{
	char name[32], spare[32];
	struct stat st;
	bool kept = false;

	segment_name(s->number, "sum", name);
	unlinkat(dir, name, 0);
	segment_name(s->number, "log", name);
	for (unsigned i = 0; keep && !kept && i < SEGMENT_SPARES; i++) {
		segment_spare_name(i, spare);
		kept = fstatat(dir, spare, &st, AT_SYMLINK_NOFOLLOW) &&
		       !renameat(dir, name, dir, spare);
	}
	if (!kept)
		unlinkat(dir, name, 0);
	/* One at a time, so that no crash leaves a gap in the numbers. */
	fsync(dir);
}

bool segment_record(const struct segment *s, uint64_t at, struct record_header *ret,
		    struct buf *meta)
{
	char raw[RECORD_HEADER];
	char *to;

	buf_clear(meta);
	if (!segment_read(s->fd, at, raw, sizeof raw) || !record_header_read(raw, s->key, at, ret))
		return false;
	to = buf_room_for(meta, ret->meta_bytes ? ret->meta_bytes : 1);
	if (!to || !segment_read(s->fd, at + RECORD_HEADER, to, ret->meta_bytes))
		return false;
	buf_grew(meta, ret->meta_bytes);
	return crc32c(0, buf_slice(meta)) == ret->meta_crc;
}

/* -- in order -- */

void scan_init(struct scan *c, const struct segment *s)
{
	*c = (struct scan){ .segment = s };
}

void scan_done(struct scan *c)
{
	free(c->block);
	c->block = NULL;
}

/* The disk has places that do not answer: what stands around them is still there. */
static void read_around(int fd, uint64_t at, char *to, size_t n)
{
	for (size_t i = 0; i < n; i += PAGE) {
		size_t some = n - i < PAGE ? n - i : PAGE;

		if (!segment_read(fd, at + i, to + i, some))
			memset(to + i, 0, some);
	}
}

/* n bytes at `at`, in one piece; NULL: the file is shorter, or (c->error) cannot be read. */
static const char *bytes_at(struct scan *c, uint64_t at, size_t n)
{
	size_t want = n > BLOCK ? n : BLOCK;

	if (at >= c->from && at + n <= c->from + c->n)
		return c->block + (at - c->from);
	if (at + n > c->segment->size)
		return NULL;
	if (want > c->segment->size - at)
		want = (size_t)(c->segment->size - at);
	if (want > c->cap) {
		char *block = realloc(c->block, want);

		if (!block) {
			c->error = ENOMEM;
			return NULL;
		}
		c->block = block;
		c->cap = want;
	}
	c->n = 0;
	if (!segment_read(c->segment->fd, at, c->block, want)) {
		if (errno == ENODATA)
			return NULL;
		if (!c->patchy) {
			c->error = errno;
			return NULL;
		}
		read_around(c->segment->fd, at, c->block, want);
	}
	c->from = at;
	c->n = want;
	return c->block;
}

bool scan_record(struct scan *c, uint64_t at, struct record_header *ret, struct slice *ret_meta)
{
	const char *p = bytes_at(c, at, RECORD_HEADER);

	if (!p || !record_header_read(p, c->segment->key, at, ret) ||
	    at + RECORD_HEADER + ret->meta_bytes + ret->body_bytes > c->segment->size)
		return false;
	p = bytes_at(c, at, RECORD_HEADER + (size_t)ret->meta_bytes);
	if (!p)
		return false;
	*ret_meta = slice(p + RECORD_HEADER, ret->meta_bytes);
	return crc32c(0, *ret_meta) == ret->meta_crc;
}

bool scan_body_sound(struct scan *c, uint64_t at, const struct record_header *h)
{
	uint64_t from = at + RECORD_HEADER + h->meta_bytes, left = h->body_bytes;
	uint32_t crc = 0;

	while (left) {
		size_t n = left < BLOCK ? (size_t)left : BLOCK;
		const char *p = bytes_at(c, from, n);

		if (!p)
			return false;
		crc = crc32c(crc, slice(p, n));
		from += n;
		left -= n;
	}
	return crc == h->body_crc;
}

uint64_t scan_seek(struct scan *c, uint64_t at, uint64_t sequence, struct record_header *ret)
{
	static const uint32_t wanted = RECORD_MAGIC;
	struct slice meta;

	at = (at + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
	for (; at + RECORD_HEADER <= c->segment->size; at += RECORD_ALIGN) {
		const char *p = bytes_at(c, at, RECORD_HEADER);

		if (!p)
			return UINT64_MAX;
		if (!memcmp(p, &wanted, sizeof wanted) && scan_record(c, at, ret, &meta) &&
		    ret->sequence >= sequence)
			return at;
	}
	return UINT64_MAX;
}
