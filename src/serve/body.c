#include "serve/body.h"

#include "serve/server.h"

#include <errno.h>
#include <unistd.h>

static uint64_t memory_max(const struct body *b)
{
	return b->conf->spool.body_memory;
}

void body_init(struct body *b, struct server *s, const struct conf *conf)
{
	*b = (struct body){ .server = s, .conf = conf, .fd = -1 };
	/* The ceilings leave room for one more read: fullness is looked at between reads. */
	buf_init(&b->front, conf->spool.body_memory * 2 + (64 << 10));
	buf_init(&b->back, conf->spool.body_memory * 2 + (64 << 10));
}

static void count(struct body *b)
{
	uint64_t now = b->front.cap + b->back.cap;

	if (now > b->counted)
		atomic_fetch_add(&b->server->memory, now - b->counted);
	else if (now < b->counted)
		atomic_fetch_sub(&b->server->memory, b->counted - now);
	b->counted = now;
}

void body_done(struct body *b)
{
	buf_done(&b->front);
	buf_done(&b->back);
	count(b);
	if (b->fd >= 0)
		close(b->fd);
	b->fd = -1;
}

bool body_add(struct body *b, struct slice s)
{
	struct buf *to = b->fd >= 0 || b->front.n >= memory_max(b) ? &b->back : &b->front;
	size_t cap = to->cap;

	buf_add(to, s);
	if (to->cap != cap)
		count(b);
	return !to->failed;
}

/* When all bodies together reach the limit, what is beyond this message's head goes to a file
 * at once instead of waiting for its own share to fill. */
static bool memory_short(const struct body *b)
{
	return atomic_load_explicit(&b->server->memory, memory_order_relaxed) >
	       b->conf->limits.memory;
}

bool body_full(const struct body *b)
{
	if (b->fd < 0 && b->front.n < memory_max(b))
		return memory_short(b) && b->front.n >= b->conf->limits.header_size;
	return b->back.n >= memory_max(b) || (b->fd < 0 && b->front.n >= memory_max(b)) ||
	       (memory_short(b) && b->back.n >= (64 << 10));
}

bool body_wants_file(const struct body *b)
{
	return b->fd >= 0 || b->back.n > 0;
}

static bool write_all(struct body *b, struct slice s)
{
	while (s.n) {
		ssize_t n = pwrite(b->fd, s.p, s.n, (off_t)b->file_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(&b->error, ERR_LATER, "body file: %s",
				       strerror(n < 0 ? errno : EIO));
		b->file_bytes += (uint64_t)n;
		slice_take(&s, (size_t)n);
	}
	return true;
}

void body_write(struct body *b, bool last)
{
	if (b->failed)
		return;
	if (b->fd < 0) {
		b->fd = spool_body_file(b->server->boot->spool.path, &b->error);
		b->failed = b->fd < 0 || !write_all(b, buf_slice(&b->front));
	}
	b->failed = b->failed || !write_all(b, buf_slice(&b->back));
	buf_clear(&b->back);
	if (!b->failed && last && fdatasync(b->fd)) {
		err_set(&b->error, ERR_LATER, "body file: %s", strerror(errno));
		b->failed = true;
	}
}

void body_content(const struct body *b, size_t head_bytes, struct spool_content *ret)
{
	ret->fd = b->fd;
	if (b->fd >= 0) {
		ret->fd_offset = head_bytes;
		ret->fd_bytes = b->file_bytes - head_bytes;
	} else {
		ret->body = slice_from(buf_slice(&b->front), head_bytes);
	}
}
