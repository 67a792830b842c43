#include "spool/segment.h"

#include "base/auto.h"
#include "base/fault.h"
#include "spool/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>

#define FORMAT 1
#define BLOCK  (1u << 20)

static const char magic[8] = { 'S', 'I', 'G', 'N', 'E', 'T', 'S', 'G' };
static const char spare[] = "spare.log";
static const char fresh[] = "new.log";

struct file_header {
	char magic[8];
	uint32_t format, number;
	uint64_t epoch, first_sequence;
	char zero[28];
	uint32_t crc;
};

_Static_assert(sizeof(struct file_header) == SEGMENT_HEADER, "segment header");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the segment header is written as it lies");

void segment_name(uint32_t number, char ret[32])
{
	snprintf(ret, 32, "seg-%08x.log", number);
}

bool segment_number(const char *name, uint32_t *ret)
{
	uint32_t v = 0;

	if (strlen(name) != 16 || strncmp(name, "seg-", 4) || strcmp(name + 12, ".log"))
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

bool segment_read(int fd, uint64_t at, void *to, size_t n)
{
	char *p = to;

	while (n) {
		ssize_t got = pread(fd, p, n, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		p += got;
		at += (uint64_t)got;
		n -= (size_t)got;
	}
	return true;
}

static bool write_all(int fd, uint64_t at, const void *from, size_t n)
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

/* Overwriting blocks that exist needs no journal commit for each sync: that is half the time of
 * one (docs/spool.md). */
static bool fill_zeros(int fd, uint64_t size)
{
	char *zeros = calloc(1, BLOCK);
	bool ok = zeros;

	for (uint64_t at = 0; ok && at < size; at += BLOCK)
		ok = write_all(fd, at, zeros, size - at < BLOCK ? (size_t)(size - at) : BLOCK);
	free(zeros);
	return ok;
}

static bool failed(struct err *e, const char *what)
{
	return err_set(e, ERR_LATER, "spool: %s: %s", what, strerror(errno));
}

bool segment_create(int dir, uint32_t number, uint64_t first_sequence, uint64_t size, bool zero,
    struct segment *ret, struct err *e)
{
	struct file_header h = { .format = FORMAT, .number = number, .first_sequence = first_sequence };
	bool recycled = renameat(dir, spare, dir, fresh) == 0;
	AUTO_FD fd = openat(dir, fresh,
	    O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (recycled ? 0 : O_TRUNC), 0600);
	char name[32];
	struct stat st;

	if (fd < 0)
		return failed(e, "new segment");
	memcpy(h.magic, magic, sizeof magic);
	if (getrandom(&h.epoch, sizeof h.epoch, 0) != sizeof h.epoch)
		return failed(e, "random");
	h.crc = crc32c(0, slice(&h, offsetof(struct file_header, crc)));
	/* Without room for all of it the segment simply grows: slower, and the log goes on. */
	if (!recycled && zero && !fill_zeros(fd, size))
		zero = false;
	if (!recycled && !zero && posix_fallocate(fd, 0, (off_t)size) && ftruncate(fd, 0))
		return failed(e, "new segment");
	segment_name(number, name);
	if (!write_all(fd, 0, &h, sizeof h) || fsync(fd) || renameat(dir, fresh, dir, name) ||
	    fsync(dir) || fstat(fd, &st)) {
		failed(e, "new segment");
		unlinkat(dir, fresh, 0);
		return false;
	}
	*ret = (struct segment){ .number = number, .epoch = h.epoch, .first_sequence = first_sequence,
		.end = SEGMENT_HEADER, .size = (uint64_t)st.st_size, .fd = fd_steal(&fd) };
	return true;
}

bool segment_open(int dir, uint32_t number, struct segment *ret, struct err *e)
{
	struct file_header h;
	char name[32];
	struct stat st;
	AUTO_FD fd = -1;

	segment_name(number, name);
	fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st))
		return failed(e, name);
	if (!segment_read(fd, 0, &h, sizeof h) || memcmp(h.magic, magic, sizeof magic) ||
	    h.crc != crc32c(0, slice(&h, offsetof(struct file_header, crc))) || h.format != FORMAT ||
	    h.number != number)
		return err_set(e, ERR_DAMAGED,
		    "spool: %s: the segment's header is unsound; try: signet spool salvage", name);
	*ret = (struct segment){ .number = number, .epoch = h.epoch, .first_sequence = h.first_sequence,
		.end = SEGMENT_HEADER, .size = (uint64_t)st.st_size, .fd = fd_steal(&fd) };
	return true;
}

void segment_close(struct segment *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

void segment_retire(int dir, struct segment *s)
{
	char name[32];
	struct stat st;

	segment_name(s->number, name);
	if (fstatat(dir, spare, &st, AT_SYMLINK_NOFOLLOW) && s->size >= (1u << 20))
		renameat(dir, name, dir, spare);
	else
		unlinkat(dir, name, 0);
	/* In order, so that no crash leaves a gap in the numbers, or a recycled file its old name. */
	fsync(dir);
	segment_close(s);
}

bool segment_record(const struct segment *s, uint64_t at, struct record_header *ret, struct buf *meta)
{
	char raw[RECORD_HEADER];
	char *to;

	buf_clear(meta);
	if (at + RECORD_HEADER > s->size || !segment_read(s->fd, at, raw, sizeof raw) ||
	    !record_header_read(raw, ret) || at + record_bytes(ret) > s->size + RECORD_ALIGN)
		return false;
	to = buf_room_for(meta, ret->meta_bytes);
	if (!to || !segment_read(s->fd, at + RECORD_HEADER, to, ret->meta_bytes))
		return false;
	buf_grew(meta, ret->meta_bytes);
	return record_sound(ret, s->epoch, buf_slice(meta));
}

bool segment_body_sound(const struct segment *s, uint64_t at, const struct record_header *h)
{
	uint64_t from = at + RECORD_HEADER + h->meta_bytes, left = h->body_bytes;
	char block[16384];
	uint32_t crc = 0;

	while (left) {
		size_t n = left < sizeof block ? (size_t)left : sizeof block;

		if (!segment_read(s->fd, from, block, n))
			return false;
		crc = crc32c(crc, slice(block, n));
		from += n;
		left -= n;
	}
	return crc == h->body_crc;
}

uint64_t segment_seek(const struct segment *s, uint64_t at, uint64_t after, struct buf *meta)
{
	AUTO_FREE char *block = malloc(BLOCK);

	at = (at + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
	while (block && at + RECORD_HEADER <= s->size) {
		size_t n = s->size - at < BLOCK ? (size_t)(s->size - at) : BLOCK;

		if (!segment_read(s->fd, at, block, n))
			break;
		for (size_t i = 0; i + 4 <= n; i += RECORD_ALIGN) {
			struct record_header h;
			uint32_t m;

			memcpy(&m, block + i, 4);
			if (m == RECORD_MAGIC && segment_record(s, at + i, &h, meta) && h.sequence > after)
				return at + i;
		}
		at += n / RECORD_ALIGN * RECORD_ALIGN;
		if (n < RECORD_ALIGN)
			break;
	}
	return UINT64_MAX;
}
