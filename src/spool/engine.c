/* spool/engine.c -- the queue as a log of segments: one write and one sync for each batch.
 *
 * The log is a first-in-first-out of segments. Only the oldest is ever taken out of use, when no
 * message's put lies in it any more; what still lives there is first copied to the front, so an
 * outcome never outlives, or is outlived by, the record it speaks of. */
#include "spool/log_impl.h"

#include "base/auto.h"
#include "base/fault.h"
#include "base/must.h"
#include "ops/clock.h"
#include "spool/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#define SEGMENT_BYTES (64ull << 20)
#define META_MAX      (512u << 20) /* all records of a batch without their bodies */
#define IOV_STEP      512
/* How often the free space is looked at: a bound on how far below the reserve puts can reach. */
#define LOOK_BYTES (8ull << 20)
#define LOOK_MS    250
/* Compaction: what a batch copies along at most, and when it begins. */
#define MOVE_BYTES     (1ull << 20)
#define SLACK_SEGMENTS 4
#define REPLY_MAX      512

/* A record of the batch being written, until it may be believed. */
struct pending {
	struct spool_op *op;      /* NULL: a record moved by compaction */
	enum record_type type;
	struct id id;
	uint64_t at;              /* in the segment */
	uint32_t delivery, attempts, left, failed;
	uint64_t next_ms;
};

static const char zeros[RECORD_ALIGN];

/* -- the batch under construction -- */

static bool grow(void **at, size_t *cap, size_t need, size_t size)
{
	size_t n = *cap ? *cap : 64;
	void *p;

	if (need <= *cap)
		return true;
	while (n < need)
		n *= 2;
	p = realloc(*at, n * size);
	if (!p)
		return false;
	*at = p;
	*cap = n;
	return true;
}

/* The next bytes of the batch. s->meta may move while the batch grows, so what stands there is
 * named by its offset until all is there. */
struct part {
	const char *p; /* NULL: in s->meta, at `at` */
	size_t at, n;
};

static bool add_part(struct spool *s, struct part part)
{
	void *at = s->parts;

	if (!part.n)
		return true;
	if (!grow(&at, &s->cap_parts, s->n_parts + 1, sizeof *s->parts))
		return false;
	s->parts = at;
	s->parts[s->n_parts++] = part;
	return true;
}

static struct pending *add_pending(struct spool *s)
{
	void *at = s->pending;

	if (!grow(&at, &s->cap_pending, s->n_pending + 1, sizeof *s->pending))
		return NULL;
	s->pending = at;
	s->pending[s->n_pending] = (struct pending){ 0 };
	return &s->pending[s->n_pending];
}

struct batch_mark {
	size_t meta, parts, pending;
	uint64_t at, sequence;
};

static struct batch_mark mark(const struct spool *s, uint64_t at)
{
	return (struct batch_mark){ s->meta.n, s->n_parts, s->n_pending, at, s->sequence };
}

/* Takes out of the batch what was added since the mark. */
static void undo(struct spool *s, const struct batch_mark *m, uint64_t *at)
{
	s->meta.n = m->meta;
	s->meta.failed = false;
	s->n_parts = m->parts;
	s->n_pending = m->pending;
	s->sequence = m->sequence;
	*at = m->at;
}

static struct segment *active(struct spool *s)
{
	return &s->segments[s->n_segments - 1];
}

/* One record at *at: header and meta stand in s->meta from `from` on; bodies follow. */
static bool add_record(struct spool *s, enum record_type type, bool moved, size_t from,
    struct slice head, struct slice body, uint64_t *at)
{
	struct slice meta = slice_from(buf_slice(&s->meta), from + RECORD_HEADER);
	struct record_header h = { .type = type,
		.meta_bytes = (uint32_t)meta.n,
		.sequence = s->sequence,
		.body_bytes = head.n + body.n,
		.body_crc = crc32c(crc32c(0, head), body),
		.reserved = moved };
	uint64_t bytes;

	record_seal(&h, active(s)->epoch, meta);
	record_header_write(&h, s->meta.p + from);
	bytes = record_bytes(&h);
	if (!add_part(s, (struct part){ NULL, from, RECORD_HEADER + meta.n }) ||
	    !add_part(s, (struct part){ head.p, 0, head.n }) ||
	    !add_part(s, (struct part){ body.p, 0, body.n }) ||
	    !add_part(s, (struct part){ zeros, 0,
	                     (size_t)(bytes - RECORD_HEADER - meta.n - head.n - body.n) }))
		return false;
	s->sequence++;
	*at += bytes;
	return true;
}

static size_t begin_record(struct spool *s)
{
	static const char room[RECORD_HEADER];
	size_t from = s->meta.n;

	buf_add(&s->meta, slice(room, sizeof room));
	return from;
}

/* -- put -- */

static bool file_crc(int fd, uint64_t at, uint64_t bytes, uint32_t *ret)
{
	char block[65536];
	uint32_t crc = 0;

	while (bytes) {
		size_t n = bytes < sizeof block ? (size_t)bytes : sizeof block;

		if (!segment_read(fd, at, block, n))
			return false;
		crc = crc32c(crc, slice(block, n));
		at += n;
		bytes -= n;
	}
	*ret = crc;
	return true;
}

/* Gives the body's file its name. The caller has synced its content. */
static bool name_file(struct spool *s, const struct spool_op *op, uint32_t *ret_crc)
{
	char from[64], to[32];

	if (!file_crc(op->content->fd, op->content->fd_offset, op->content->fd_bytes, ret_crc))
		return false;
	large_name(op->envelope->id, to);
	snprintf(from, sizeof from, "/proc/self/fd/%d", op->content->fd);
	if (linkat(AT_FDCWD, from, s->large, to, AT_SYMLINK_FOLLOW) && errno != EEXIST)
		return false;
	s->large_changed = true;
	return true;
}

static enum spool_result add_put(struct spool *s, struct spool_op *op, uint64_t *at)
{
	struct spool_content *c = op->content;
	bool in_file = c->fd >= 0;
	struct record_put p = { .envelope = *op->envelope, .due_ms = op->due_ms, .head_bytes = c->head.n,
		.body_in_file = in_file };
	struct pending *pend = add_pending(s);
	size_t from;

	op->envelope->size = c->head.n + (in_file ? c->fd_bytes : c->body.n);
	if (in_file) {
		/* The file's first bytes are the head as it came; the record says where the body is. */
		p.file_bytes = c->fd_bytes;
		if (!name_file(s, op, &p.file_crc))
			return errno == ENOSPC || errno == EDQUOT ? SPOOL_FULL : SPOOL_FAILED;
	}
	if (!pend)
		return SPOOL_FULL;
	from = begin_record(s);
	record_put_write(&s->meta, &p);
	*pend = (struct pending){ .op = op, .type = RECORD_PUT, .id = op->envelope->id, .at = *at };
	if (s->meta.failed ||
	    !add_record(s, RECORD_PUT, false, from, c->head, in_file ? S("") : c->body, at))
		return SPOOL_FULL;
	s->n_pending++;
	return SPOOL_OK;
}

/* -- settle -- */

/* The state of a delivery as it is on disk. The verdicts live in s->scratch. */
static bool read_state(struct spool *s, const struct delivery *dl, struct record_state *ret)
{
	struct segment *seg = log_segment(s, dl->state.segment);
	struct record_header h;
	struct buf meta;
	struct slice kept;
	bool ok;

	buf_init(&meta, RECORD_MAX);
	ok = seg && segment_record(seg, place_at(dl->state), &h, &meta) && h.type == RECORD_STATE;
	kept = ok ? arena_dup(&s->scratch, buf_slice(&meta)) : S("");
	buf_done(&meta);
	return ok && kept.p && record_state_read(kept, &s->scratch, ret);
}

/* What is new replaces what was known of a recipient; the rest stays. */
static bool merge(struct spool *s, const struct spool_op *op, struct record_state *st)
{
	uint32_t n = st->n_verdicts;
	struct spool_verdict *all = ARENA_ARRAY(&s->scratch, struct spool_verdict, n + op->n_verdicts + 1);

	if (!all)
		return false;
	if (n)
		memcpy(all, st->verdicts, n * sizeof *all);
	for (uint32_t i = 0; i < op->n_verdicts; i++) {
		struct spool_verdict v = op->verdicts[i];
		uint32_t k = 0;

		v.reply.n = v.reply.n < REPLY_MAX ? v.reply.n : REPLY_MAX;
		while (k < n && all[k].rcpt != v.rcpt)
			k++;
		if (k < n && all[k].state != RCPT_PENDING && v.state == RCPT_PENDING)
			continue; /* what is settled stays settled */
		if (v.state != RCPT_PENDING && (k == n || all[k].state == RCPT_PENDING) && st->pending)
			st->pending--;
		all[k] = v;
		n += k == n;
	}
	st->verdicts = all;
	st->n_verdicts = n;
	return true;
}

static bool add_state(struct spool *s, struct spool_op *op, const struct record_state *st,
    uint64_t *at)
{
	struct pending *pend = add_pending(s);
	size_t from = begin_record(s);

	if (!pend)
		return false;
	record_state_write(&s->meta, st);
	*pend = (struct pending){ .op = op, .type = RECORD_STATE, .id = st->id, .at = *at,
		.delivery = st->delivery, .attempts = st->attempts, .left = st->pending,
		.next_ms = st->next_ms };
	for (uint32_t i = 0; i < st->n_verdicts; i++)
		pend->failed += st->verdicts[i].state == RCPT_FAILED;
	if (s->meta.failed || !add_record(s, RECORD_STATE, !op, from, S(""), S(""), at))
		return false;
	s->n_pending++;
	return true;
}

static enum spool_result add_settle(struct spool *s, struct spool_op *op, uint64_t *at)
{
	struct record_state st = { .id = op->id, .delivery = op->delivery };
	struct delivery *dl = NULL;
	struct delivery known = { 0 };
	uint32_t n_rcpts = 0;
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	e = index_find(s->index, op->id);
	if (e && (dl = index_delivery(s->index, e, op->delivery))) {
		known = *dl;
		n_rcpts = e->n_rcpts;
	}
	pthread_mutex_unlock(&s->lock);
	if (!dl || !known.pending)
		return SPOOL_GONE;
	for (uint32_t i = 0; i < op->n_verdicts; i++)
		if (op->verdicts[i].rcpt >= n_rcpts)
			return SPOOL_GONE;
	st.pending = known.pending;
	/* An earlier outcome that cannot be read must not make delivered recipients pending again:
	 * what is known is then kept as numbers only. */
	if (known.state.segment && !read_state(s, &known, &st))
		st = (struct record_state){ .id = op->id, .delivery = op->delivery, .pending = known.pending };
	st.attempts = known.attempts + op->attempted;
	st.next_ms = op->next_ms;
	if (!merge(s, op, &st) || !add_state(s, op, &st, at))
		return SPOOL_FAILED;
	return SPOOL_OK;
}

/* -- space -- */

static void look_at_space(struct spool *s)
{
	uint64_t now = clock_mono_ms();
	struct statvfs v;

	if (s->look_ms && now - s->look_ms < LOOK_MS && s->bytes_since_look < LOOK_BYTES)
		return;
	s->look_ms = now;
	s->bytes_since_look = 0;
	if (!fstatvfs(s->dir, &v))
		s->short_of_space = (uint64_t)v.f_bavail * v.f_frsize < s->reserve_bytes;
}

static uint64_t disk_bytes(const struct spool *s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->n_segments; i++)
		n += s->segments[i].size;
	return n;
}

/* Is the log long for what lives in it? */
static bool too_long(struct spool *s)
{
	struct spool_count c;

	if (s->n_segments < SLACK_SEGMENTS + 1)
		return false;
	pthread_mutex_lock(&s->lock);
	index_count(s->index, &c);
	pthread_mutex_unlock(&s->lock);
	return disk_bytes(s) > 2 * c.bytes_live + SLACK_SEGMENTS * s->segment_bytes;
}

static void retire_oldest(struct spool *s)
{
	struct segment old;

	/* Readers first: whoever holds `files` may be reading there. */
	pthread_rwlock_wrlock(&s->files);
	pthread_mutex_lock(&s->lock);
	old = s->segments[0];
	s->n_segments--;
	memmove(s->segments, s->segments + 1, s->n_segments * sizeof *s->segments);
	s->moved_to = 0;
	pthread_mutex_unlock(&s->lock);
	segment_retire(s->dir, &old);
	pthread_rwlock_unlock(&s->files);
}

/* Of a message that lives in the oldest segment: where the states of its deliveries stand. False:
 * the record there is not (any more) the message's. */
static bool lives_at(struct spool *s, const struct segment *seg, uint64_t from, struct id id,
    struct place **ret_states, uint32_t *ret_n)
{
	struct entry *e;
	bool ok = false;

	pthread_mutex_lock(&s->lock);
	e = index_find(s->index, id);
	if (e && e->put.segment == seg->number && place_at(e->put) == from) {
		*ret_n = e->n_deliveries;
		*ret_states = ARENA_ARRAY(&s->scratch, struct place, e->n_deliveries);
		ok = *ret_states;
		for (uint32_t i = 0; ok && i < e->n_deliveries; i++)
			(*ret_states)[i] = index_delivery(s->index, e, i)->state;
	}
	pthread_mutex_unlock(&s->lock);
	return ok;
}

/* Copies such a message to the front, with its states behind it. The body keeps the checksum it
 * was first written with. */
static bool move_one(struct spool *s, struct segment *seg, uint64_t from,
    const struct record_header *h, struct slice meta, struct id id, const struct place *states,
    uint32_t n, uint64_t *at)
{
	struct pending *pend = add_pending(s);
	char *body = arena_alloc(&s->scratch, h->body_bytes ? h->body_bytes : 1);
	size_t record = begin_record(s);
	uint64_t put_at = *at;

	if (!pend || !body ||
	    !segment_read(seg->fd, from + RECORD_HEADER + h->meta_bytes, body, h->body_bytes))
		return false;
	buf_add(&s->meta, meta);
	if (s->meta.failed ||
	    !add_record(s, RECORD_PUT, true, record, S(""), slice(body, h->body_bytes), at))
		return false;
	*pend = (struct pending){ .type = RECORD_PUT, .id = id, .at = put_at };
	s->n_pending++;
	for (uint32_t i = 0; i < n; i++) {
		struct delivery dl = { .state = states[i] };
		struct record_state st;

		if (states[i].segment && read_state(s, &dl, &st) && !add_state(s, NULL, &st, at))
			return false;
	}
	return true;
}

static void drop_unsound(struct spool *s, struct segment *seg, uint64_t from, uint64_t bytes,
    struct id id)
{
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	log_set_aside(s, seg, from, bytes, &id, "the body does not match its checksum");
	e = index_find(s->index, id);
	if (e) {
		seg->live--;
		index_remove(s->index, e);
	}
	pthread_mutex_unlock(&s->lock);
}

/* A step of compaction, written along with a batch. */
static void move_some(struct spool *s, uint64_t *at)
{
	struct segment *seg = &s->segments[0];
	uint64_t stop = s->moved_to + MOVE_BYTES;
	struct buf meta;

	if (!s->moved_to)
		s->moved_to = SEGMENT_HEADER;
	buf_init(&meta, RECORD_MAX);
	while (s->moved_to < seg->end && s->moved_to < stop) {
		struct batch_mark m = mark(s, *at);
		uint64_t from = s->moved_to;
		struct record_header h;
		struct record_put p;
		struct place *states;
		uint32_t n;

		if (!segment_record(seg, from, &h, &meta)) {
			/* Set aside at the start; step over it. */
			from = segment_seek(seg, from + RECORD_ALIGN, 0, &meta);
			s->moved_to = from == UINT64_MAX ? seg->end : from;
			continue;
		}
		if (h.type == RECORD_PUT && record_put_read(buf_slice(&meta), &s->scratch, &p) &&
		    lives_at(s, seg, from, p.envelope.id, &states, &n)) {
			struct id id = p.envelope.id;

			if (!segment_body_sound(seg, from, &h)) {
				drop_unsound(s, seg, from, record_bytes(&h), id);
			} else if (!move_one(s, seg, from, &h, buf_slice(&meta), id, states, n, at)) {
				/* No memory: nothing of it stays; the next batch tries again. */
				undo(s, &m, at);
				break;
			}
		}
		s->moved_to = from + record_bytes(&h);
	}
	buf_done(&meta);
}

/* -- writing -- */

static bool write_batch(struct spool *s)
{
	struct segment *seg = active(s);
	uint64_t at = seg->end;
	size_t i = 0, skip = 0; /* bytes of part i that are written */

	while (i < s->n_parts) {
		struct iovec iov[IOV_STEP];
		int n = 0;
		ssize_t put;

		for (size_t k = i; k < s->n_parts && n < IOV_STEP; k++, n++) {
			const struct part *p = &s->parts[k];
			union {
				const char *from;
				void *base;
			} u = { .from = (p->p ? p->p : s->meta.p + p->at) + (k == i ? skip : 0) };

			iov[n] = (struct iovec){ u.base, p->n - (k == i ? skip : 0) };
		}
		put = pwritev(seg->fd, iov, n, (off_t)at);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		at += (uint64_t)put;
		skip += (size_t)put;
		while (i < s->n_parts && skip >= s->parts[i].n)
			skip -= s->parts[i++].n;
	}
	return true;
}

static bool sync_batch(struct spool *s)
{
	if (FAULT("spool_no_sync"))
		return true;
	if (s->large_changed && fsync(s->large))
		return false;
	return fdatasync(active(s)->fd) == 0;
}

static bool rotate(struct spool *s, struct err *e)
{
	struct segment *seg = active(s), next;
	void *at;
	bool ok;

	if (!segment_create(s->dir, seg->number + 1, s->sequence, s->segment_bytes, false, &next, e))
		return false;
	pthread_rwlock_wrlock(&s->files);
	pthread_mutex_lock(&s->lock);
	at = s->segments;
	ok = grow(&at, &s->cap_segments, s->n_segments + 1, sizeof *s->segments);
	s->segments = at;
	if (ok)
		s->segments[s->n_segments++] = next;
	pthread_mutex_unlock(&s->lock);
	pthread_rwlock_unlock(&s->files);
	if (!ok) {
		segment_close(&next);
		return err_set(e, ERR_LATER, "spool: out of memory");
	}
	return true;
}

static void clear_batch(struct spool *s)
{
	buf_clear(&s->meta);
	s->n_pending = s->n_parts = 0;
	s->large_changed = false;
	arena_done(&s->scratch);
	if (s->meta.cap > (4u << 20))
		buf_done(&s->meta);
}

/* Bodies that got a name for messages that are not kept after all. */
static void unname_files(struct spool *s, struct spool_op *const *ops, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ops[i]->kind == SPOOL_PUT && ops[i]->result != SPOOL_OK && ops[i]->content->fd >= 0) {
			char name[32];

			large_name(ops[i]->envelope->id, name);
			unlinkat(s->large, name, 0);
		}
}

/* -- believing -- */

static void believe_put(struct spool *s, const struct pending *p)
{
	struct entry *e = index_find(s->index, p->id);

	if (!p->op) {
		/* Moved. It may have been settled in this very batch: then it is gone already. */
		if (e) {
			log_segment(s, e->put.segment)->live--;
			e->put = place_of(active(s), p->at);
			active(s)->live++;
		}
		return;
	}
	e = e ? NULL : index_put(s->index, p->op->envelope, p->op->due_ms, place_of(active(s), p->at));
	if (!e) {
		/* It is durable and will be found at the next start; without memory it cannot be
		 * delivered before. The client is told to try again, the lesser harm. */
		p->op->result = SPOOL_FAILED;
		return;
	}
	e->file = p->op->content->fd >= 0;
	active(s)->live++;
}

static void believe_state(struct spool *s, const struct pending *p)
{
	struct entry *e = index_find(s->index, p->id);
	struct delivery *dl = e ? index_delivery(s->index, e, p->delivery) : NULL;

	if (!dl)
		return;
	dl->state = place_of(active(s), p->at);
	if (!p->op || !dl->pending)
		return;
	if (!index_settle(s->index, e, dl, p->attempts, p->next_ms, p->left, p->failed))
		return;
	if (e->file) {
		char name[32];

		large_name(e->id, name);
		unlinkat(s->large, name, 0);
	}
	log_segment(s, e->put.segment)->live--;
	index_remove(s->index, e);
}

static void believe(struct spool *s, uint64_t end)
{
	pthread_mutex_lock(&s->lock);
	active(s)->end = end;
	if (end > active(s)->size)
		active(s)->size = end;
	for (size_t i = 0; i < s->n_pending; i++) {
		const struct pending *p = &s->pending[i];

		switch (p->type) {
		case RECORD_PUT: believe_put(s, p); break;
		case RECORD_STATE: believe_state(s, p); break;
		}
	}
	pthread_mutex_unlock(&s->lock);
}

/* -- commit -- */

/* Builds the batch's records. with_puts false: only outcomes, for when the disk is full. Two
 * outcomes of one delivery in a batch: the second is GONE, it would build on what is not durable. */
static uint64_t build(struct spool *s, struct spool_op *const *ops, size_t n, bool with_puts)
{
	uint64_t at = active(s)->end;
	size_t messages, puts = 0;

	pthread_mutex_lock(&s->lock);
	messages = index_messages(s->index);
	pthread_mutex_unlock(&s->lock);


	for (size_t i = 0; i < n; i++) {
		struct spool_op *op = ops[i];
		struct batch_mark m = mark(s, at);

		switch (op->kind) {
		case SPOOL_PUT:
			if (!with_puts || (s->messages_max && messages + puts >= s->messages_max))
				op->result = SPOOL_FULL;
			else
				op->result = add_put(s, op, &at);
			puts += op->result == SPOOL_OK;
			break;
		case SPOOL_SETTLE: op->result = add_settle(s, op, &at); break;
		}
		if (op->result != SPOOL_OK)
			undo(s, &m, &at);
	}
	return at;
}

/* Takes back what a failed write may have left, so that nothing refused is found again. */
static bool take_back(struct spool *s, uint64_t sequence)
{
	struct segment *seg = active(s);

	s->sequence = sequence;
	if (ftruncate(seg->fd, (off_t)seg->end) || fsync(seg->fd))
		return false;
	seg->size = seg->end;
	return true;
}

static uint64_t batch_bytes(struct spool_op *const *ops, size_t n)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		if (ops[i]->kind == SPOOL_PUT)
			bytes += 512 + ops[i]->content->head.n + (ops[i]->content->fd < 0 ? ops[i]->content->body.n : 0);
		else
			bytes += 256;
	return bytes;
}

static bool break_down(struct spool *s, struct spool_op *const *ops, size_t n, struct err *e)
{
	err_set(e, ERR_LATER, "spool: write or sync failed: %s", strerror(errno));
	s->broken = true;
	for (size_t i = 0; i < n; i++)
		if (ops[i]->result == SPOOL_OK)
			ops[i]->result = SPOOL_FAILED;
	unname_files(s, ops, n);
	clear_batch(s);
	return false;
}

static void tidy(struct spool *s)
{
	for (;;) {
		bool empty;

		pthread_mutex_lock(&s->lock);
		empty = s->n_segments > 1 && s->segments[0].live == 0;
		pthread_mutex_unlock(&s->lock);
		if (!empty)
			return;
		retire_oldest(s);
	}
}

static bool commit(struct spool *s, struct spool_op *const *ops, size_t n, struct err *e)
{
	uint64_t sequence = s->sequence, end;

	for (size_t i = 0; i < n; i++)
		ops[i]->result = SPOOL_FAILED;
	if (s->broken)
		return err_set(e, ERR_LATER, "spool: broken by an earlier failure");
	look_at_space(s);
	clear_batch(s);
	if (active(s)->end + batch_bytes(ops, n) > s->segment_bytes && active(s)->end > SEGMENT_HEADER &&
	    !rotate(s, e))
		s->short_of_space = true; /* the segment in use grows instead, for outcomes */
	end = build(s, ops, n, !s->short_of_space);
	if (too_long(s))
		move_some(s, &end);
	if (s->n_pending && !write_batch(s)) {
		bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;

		if (!take_back(s, sequence) || !full)
			return break_down(s, ops, n, e);
		/* The disk is full: outcomes alone, which the reserve is there for. */
		s->short_of_space = true;
		s->look_ms = clock_mono_ms();
		clear_batch(s);
		end = build(s, ops, n, false);
		if (s->n_pending && !write_batch(s)) {
			take_back(s, sequence);
			return break_down(s, ops, n, e);
		}
	}
	if (s->n_pending && !sync_batch(s)) {
		take_back(s, sequence);
		return break_down(s, ops, n, e);
	}
	s->bytes_since_look += end - active(s)->end;
	believe(s, end);
	unname_files(s, ops, n);
	clear_batch(s);
	tidy(s);
	return true;
}

/* -- the other slots -- */

static bool open_dirs(struct spool *s, struct slice path, struct err *e)
{
	char pid[32] = "";
	int n;

	if (path.n + 1 >= sizeof s->path)
		return err_set(e, ERR_INPUT, "spool: path too long");
	memcpy(s->path, path.p, path.n);
	if (mkdir(s->path, 0700) && errno != EEXIST)
		return err_set(e, ERR_LATER, "spool: %s: %s", s->path, strerror(errno));
	s->dir = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (s->dir < 0)
		return err_set(e, ERR_LATER, "spool: %s: %s", s->path, strerror(errno));
	s->lock_fd = openat(s->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return err_set(e, ERR_LATER, "spool: %s/lock: %s", s->path, strerror(errno));
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB)) {
		n = (int)read(s->lock_fd, pid, sizeof pid - 1);
		return err_set(e, ERR_CONFLICT, "spool: %s is in use by process %.*s", s->path, n > 0 ? n : 1,
		    n > 0 ? pid : "?");
	}
	n = snprintf(pid, sizeof pid, "%d", (int)getpid());
	if (ftruncate(s->lock_fd, 0) || pwrite(s->lock_fd, pid, (size_t)n, 0) != n)
		return err_set(e, ERR_LATER, "spool: %s/lock: %s", s->path, strerror(errno));
	if ((mkdirat(s->dir, "large", 0700) && errno != EEXIST) ||
	    (mkdirat(s->dir, "damaged", 0700) && errno != EEXIST))
		return err_set(e, ERR_LATER, "spool: %s: %s", s->path, strerror(errno));
	s->large = openat(s->dir, "large", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	s->damaged_dir = openat(s->dir, "damaged", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (s->large < 0 || s->damaged_dir < 0)
		return err_set(e, ERR_LATER, "spool: %s: %s", s->path, strerror(errno));
	return true;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void seg_close(struct spool *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_segments; i++)
		segment_close(&s->segments[i]);
	index_free(s->index);
	buf_done(&s->meta);
	arena_done(&s->scratch);
	free(s->segments);
	free(s->pending);
	free(s->parts);
	free(s->damage);
	close_fd(&s->large);
	close_fd(&s->damaged_dir);
	close_fd(&s->dir);
	close_fd(&s->lock_fd);
	pthread_mutex_destroy(&s->lock);
	pthread_rwlock_destroy(&s->files);
	free(s);
}

static struct spool *seg_open(const struct spool_conf *conf, struct err *e)
{
	struct spool *s = calloc(1, sizeof *s);

	if (!s) {
		err_set(e, ERR_LATER, "spool: out of memory");
		return NULL;
	}
	s->dir = s->large = s->damaged_dir = s->lock_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_rwlock_init(&s->files, NULL);
	s->segment_bytes = conf->segment_bytes ? conf->segment_bytes : SEGMENT_BYTES;
	s->reserve_bytes = conf->reserve_bytes;
	s->messages_max = conf->messages_max;
	s->sequence = 1;
	buf_init(&s->meta, META_MAX);
	arena_init(&s->scratch, META_MAX);
	s->index = index_new(conf->hash_key);
	if (!s->index || !open_dirs(s, conf->path, e) || !log_load_notes(s) || !log_recover(s, e))
		goto fail;
	if (!s->n_segments) {
		if (!segment_create(s->dir, 1, 1, s->segment_bytes, true, &s->segments[0], e))
			goto fail;
		s->n_segments = 1;
	}
	return s;
fail:
	if (e->kind == ERR_NONE)
		err_set(e, ERR_LATER, "spool: out of memory");
	seg_close(s);
	return NULL;
}

static size_t seg_next(struct spool *s, uint64_t now_ms, struct spool_dest *out, size_t max,
    uint64_t *ret_wait_ms)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = index_next(s->index, now_ms, out, max, ret_wait_ms);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static size_t seg_take(struct spool *s, const struct spool_dest *d, uint64_t now_ms,
    struct spool_ticket *out, size_t max)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = index_take(s->index, d, now_ms, out, max);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void seg_park(struct spool *s, const struct spool_dest *d, uint64_t not_before_ms)
{
	pthread_mutex_lock(&s->lock);
	index_park(s->index, d, not_before_ms);
	pthread_mutex_unlock(&s->lock);
}

static void seg_release(struct spool *s, const struct spool_ticket *t, uint64_t due_ms)
{
	pthread_mutex_lock(&s->lock);
	index_release(s->index, t, due_ms);
	pthread_mutex_unlock(&s->lock);
}

/* What the index knows of a message, copied out of the lock. */
struct known {
	struct place put;
	bool file;
	uint32_t n_deliveries;
	struct delivery *deliveries;
};

static bool look_up(struct spool *s, struct id id, struct arena *a, struct known *ret, struct err *e)
{
	struct entry *en;
	bool ok = false;

	pthread_mutex_lock(&s->lock);
	en = index_find(s->index, id);
	if (en) {
		*ret = (struct known){ en->put, en->file, en->n_deliveries,
			ARENA_ARRAY(a, struct delivery, en->n_deliveries) };
		ok = ret->deliveries;
		for (uint32_t i = 0; ok && i < en->n_deliveries; i++)
			ret->deliveries[i] = *index_delivery(s->index, en, i);
	}
	pthread_mutex_unlock(&s->lock);
	if (!en)
		return err_set(e, ERR_ABSENT, "no such message");
	return ok || err_set(e, ERR_LATER, "out of memory");
}

static bool load_states(struct spool *s, const struct known *k, struct arena *a,
    struct spool_message *m, struct err *e)
{
	m->next_ms = ARENA_ARRAY(a, uint64_t, k->n_deliveries);
	m->attempts = ARENA_ARRAY(a, uint32_t, k->n_deliveries);
	if (!m->next_ms || !m->attempts)
		return err_set(e, ERR_LATER, "out of memory");
	for (uint32_t i = 0; i < k->n_deliveries; i++) {
		const struct delivery *dl = &k->deliveries[i];
		struct record_header h;
		struct record_state st = { 0 };
		struct segment *seg = log_segment(s, dl->state.segment);
		struct buf meta;
		struct slice kept;

		m->next_ms[i] = dl->pending ? dl->next_ms : UINT64_MAX;
		m->attempts[i] = dl->attempts;
		if (!dl->state.segment)
			continue;
		buf_init(&meta, RECORD_MAX);
		kept = seg && segment_record(seg, place_at(dl->state), &h, &meta) ?
		    arena_dup(a, buf_slice(&meta)) : S("");
		buf_done(&meta);
		if (!kept.p || !record_state_read(kept, a, &st))
			return err_set(e, ERR_DAMAGED, "an outcome of this message cannot be read");
		for (uint32_t v = 0; v < st.n_verdicts; v++)
			if (st.verdicts[v].rcpt < m->envelope.n_rcpts) {
				m->envelope.rcpts[st.verdicts[v].rcpt].state = st.verdicts[v].state;
				m->envelope.rcpts[st.verdicts[v].rcpt].reply = st.verdicts[v].reply;
			}
	}
	return true;
}

static bool load_file(struct spool *s, const struct record_put *p, struct spool_message *m,
    struct err *e)
{
	AUTO_FD fd = -1;
	char name[32];
	struct stat st;
	uint32_t crc;
	uint64_t at;

	large_name(m->envelope.id, name);
	fd = openat(s->large, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno != ENOENT)
		return err_set(e, ERR_LATER, "%s: %s", name, strerror(errno));
	if (fd < 0 || fstat(fd, &st) || (uint64_t)st.st_size < p->file_bytes)
		return err_set(e, ERR_DAMAGED, "the body's file is gone or cut");
	/* The head as it came stands before the body. */
	at = (uint64_t)st.st_size - p->file_bytes;
	if (!file_crc(fd, at, p->file_bytes, &crc) || crc != p->file_crc)
		return err_set(e, ERR_DAMAGED, "the body's file does not match its checksum");
	m->content.fd_offset = at;
	m->content.fd_bytes = p->file_bytes;
	m->content.fd = fd_steal(&fd);
	return true;
}

static bool load_record(struct spool *s, struct id id, const struct known *k, struct arena *a,
    struct spool_message *m, struct err *e)
{
	struct segment *seg = log_segment(s, k->put.segment);
	uint64_t at = place_at(k->put);
	struct record_header h;
	struct record_put p;
	struct buf meta;
	struct slice kept;
	char *bytes;

	buf_init(&meta, RECORD_MAX);
	kept = seg && segment_record(seg, at, &h, &meta) && h.type == RECORD_PUT ?
	    arena_dup(a, buf_slice(&meta)) : S("");
	buf_done(&meta);
	if (a->failed)
		return err_set(e, ERR_LATER, "out of memory");
	if (!kept.p || !record_put_read(kept, a, &p) || !id_eq(p.envelope.id, id) ||
	    p.head_bytes > h.body_bytes || p.envelope.n_deliveries != k->n_deliveries)
		return a->failed ? err_set(e, ERR_LATER, "out of memory")
		                 : err_set(e, ERR_DAMAGED, "the record does not match its checksum");
	bytes = arena_alloc(a, h.body_bytes ? h.body_bytes : 1);
	if (!bytes)
		return err_set(e, ERR_LATER, "out of memory");
	if (!segment_read(seg->fd, at + RECORD_HEADER + h.meta_bytes, bytes, h.body_bytes) ||
	    crc32c(0, slice(bytes, h.body_bytes)) != h.body_crc)
		return err_set(e, ERR_DAMAGED, "the body does not match its checksum");
	m->envelope = p.envelope;
	m->envelope.size = p.body_in_file ? p.head_bytes + p.file_bytes : h.body_bytes;
	m->content = (struct spool_content){ .head = slice(bytes, p.head_bytes),
		.body = slice(bytes + p.head_bytes, h.body_bytes - p.head_bytes), .fd = -1 };
	return !p.body_in_file || load_file(s, &p, m, e);
}

/* Unsound: never delivered, set aside, and out of the queue. */
static void condemn(struct spool *s, struct id id, const char *reason)
{
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	e = index_find(s->index, id);
	if (e) {
		struct segment *seg = log_segment(s, e->put.segment);

		log_set_aside(s, seg, place_at(e->put), e->size + 4096 < seg->size - place_at(e->put) ?
		        e->size + 4096 : seg->size - place_at(e->put), &id, reason);
		seg->live--;
		index_remove(s->index, e);
	}
	pthread_mutex_unlock(&s->lock);
}

static bool seg_load(struct spool *s, struct id id, struct arena *a, struct spool_message *ret,
    struct err *e)
{
	struct spool_message m = { .content.fd = -1 };
	struct err why = { 0 };
	struct known k = { 0 };
	bool ok;

	/* Before the look-up: a place that was just looked up cannot be recycled meanwhile. */
	pthread_rwlock_rdlock(&s->files);
	ok = look_up(s, id, a, &k, &why) && load_record(s, id, &k, a, &m, &why) &&
	    load_states(s, &k, a, &m, &why);
	pthread_rwlock_unlock(&s->files);
	if (ok) {
		*ret = m;
		return true;
	}
	if (m.content.fd >= 0)
		close(m.content.fd);
	if (why.kind == ERR_DAMAGED)
		condemn(s, id, why.text);
	if (e)
		*e = why;
	return false;
}

static size_t seg_list(struct spool *s, const struct spool_filter *f, const struct id *after,
    struct spool_row *out, size_t max)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = index_list(s->index, f, after, out, max);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void seg_count(struct spool *s, struct spool_count *ret)
{
	struct statvfs v;

	pthread_mutex_lock(&s->lock);
	index_count(s->index, ret);
	ret->bytes_disk = disk_bytes(s);
	ret->damaged = s->n_damage;
	pthread_mutex_unlock(&s->lock);
	if (!fstatvfs(s->dir, &v))
		ret->disk_free = (uint64_t)v.f_bavail * v.f_frsize;
}

static size_t seg_damaged(struct spool *s, size_t from, struct spool_damage *out, size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	while (n < max && from + n < s->n_damage) {
		out[n] = s->damage[from + n];
		n++;
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

const struct spool_backend spool_segments = {
	.name = "segments",
	.open = seg_open,
	.close = seg_close,
	.commit = commit,
	.next = seg_next,
	.take = seg_take,
	.park = seg_park,
	.release = seg_release,
	.load = seg_load,
	.list = seg_list,
	.count = seg_count,
	.damaged = seg_damaged,
};

int spool_body_file(struct slice spool_path, struct err *e)
{
	char path[4000];
	int fd, n = snprintf(path, sizeof path, "%.*s/large", SLICE_ARG(spool_path));

	if (n < 0 || (size_t)n >= sizeof path) {
		err_set(e, ERR_INPUT, "spool: path too long");
		return -1;
	}
	/* Without a name: a body whose message never comes to be leaves nothing behind. */
	fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		err_set(e, ERR_LATER, "spool: body file: %s", strerror(errno));
	return fd;
}
