/* spool/commit.c -- a batch is built, written, synced once, and then believed. */
#include "spool/log_impl.h"

#include "base/fault.h"
#include "ops/clock.h"
#include "ops/metrics.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#define IOV_STEP 1024
/* Compaction copies along with a batch twice what the batch brings, and at least this. */
#define MOVE_LEAST (256ull << 10)
#define RETIRE_MAX 4
/* The next segment is wanted when this share of the one in use is full. When that took less than so
 * long, commits are large, the syncs of new blocks few, and the zeros would cost more than they
 * save. */
#define AHEAD_AFTER    4
#define AHEAD_LEAST_MS 300

/* -- writing -- */

static int fill_iov(const struct spool *s, size_t i, size_t skip, struct iovec *iov)
{
	int n = 0;

	for (; i < s->n_parts && n < IOV_STEP; i++, n++, skip = 0) {
		const struct part *p = &s->parts[i];
		union {
			const char *from;
			void *base;
		} u = { .from = (p->p ? p->p : s->meta.p + p->at) + skip };

		iov[n] = (struct iovec){ u.base, p->n - skip };
	}
	return n;
}

bool log_append(struct spool *s)
{
	struct segment *seg = log_active(s);
	uint64_t at = seg->end;
	size_t i = 0, skip = 0; /* bytes of part i that are written */

	while (i < s->n_parts) {
		struct iovec iov[IOV_STEP];
		int n = fill_iov(s, i, skip, iov);
		ssize_t put = pwritev(seg->fd, iov, n, (off_t)at);

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

/* The names of bodies in files, before any record speaks of them: a crash may leave a name without
 * a record, which is dropped at the next start, and never the other way round. */
static bool sync_names(struct spool *s)
{
	if (!s->large_changed || FAULT("spool_no_sync"))
		return true;
	return fsync(s->large) == 0;
}

bool log_sync(struct spool *s)
{
	uint64_t began = clock_mono_ns();
	bool ok;

	if (FAULT("spool_no_sync"))
		return true;
	if (FAULT("spool_sync_fails")) {
		errno = EIO;
		return false;
	}
	ok = fdatasync(log_active(s)->fd) == 0;
	metrics_observe(M_SYNC_TIME, clock_mono_ns() - began);
	return ok;
}

/* -- believing -- */

static void unlive(struct spool *s, struct place put)
{
	struct segment *seg = log_segment(s, put.segment);

	if (seg)
		seg->live--;
}

static void believe_put(struct spool *s, const struct pending *p)
{
	struct segment *seg = log_active(s);
	struct entry *e = index_find(s->index, p->id);

	if (!e)
		return; /* copied, and set aside meanwhile */
	if (p->op) {
		index_publish(s->index, e);
	} else {
		unlive(s, e->put);
		e->put = place_of(seg, p->at);
	}
	seg->live++;
}

/* True: the message is gone, and its body's file, too. */
static bool believe_state(struct spool *s, const struct pending *p)
{
	struct entry *e = index_find(s->index, p->id);
	struct delivery *dl = e ? index_delivery(s->index, e, p->delivery) : NULL;
	bool file;

	if (!dl)
		return false;
	dl->state = place_of(log_active(s), p->at);
	if (!p->op)
		return false;
	dl->flags &= (uint8_t)~DELIVERY_BUSY;
	if (!index_settle(s->index, e, p->delivery,
			  &(struct index_outcome){ .next_ms = p->next_ms,
						   .attempts = p->attempts,
						   .pending = p->left,
						   .failed = p->failed,
						   .held = p->held,
						   .by_hand = p->op->by_hand,
						   .retry = p->op->by_hand && p->op->next_ms }))
		return false;
	file = entry_in_file(s->index, e);
	unlive(s, e->put);
	index_remove(s->index, e);
	return file;
}

/* Bodies that came in files of their own take space as well as what the segment grew by. */
static uint64_t file_bytes(const struct spool *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->n_pending; i++) {
		const struct spool_op *op = s->pending[i].op;

		if (op && op->kind == SPOOL_PUT && op->content->fd >= 0)
			sum += op->content->fd_bytes;
	}
	return sum;
}

static void believe(struct spool *s, uint64_t end)
{
	struct segment *seg = log_active(s);

	buf_add(&s->facts, buf_slice(&s->new_facts));
	s->facts.failed |= s->new_facts.failed;
	pthread_mutex_lock(&s->lock);
	s->bytes_since_look += end - seg->end + file_bytes(s);
	seg->end = end;
	if (end > seg->size)
		seg->size = end;
	for (size_t i = 0; i < s->n_pending; i++) {
		struct pending *p = &s->pending[i];

		switch (p->type) {
		case RECORD_PUT:
			believe_put(s, p);
			p->named = false;
			break;
		case RECORD_STATE: p->named = believe_state(s, p); break;
		case RECORD_CLOSED: break;
		}
	}
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < s->n_pending; i++)
		if (s->pending[i].named)
			log_unname(s, s->pending[i].id);
	s->wrote = true;
}

/* -- commit -- */

/* Builds records of ops until one has to wait for them; returns how many ops were dealt with. */
static size_t build(struct spool *s, struct spool_op *const *ops, size_t n, bool with_puts,
		    uint64_t *at)
{
	for (size_t i = 0; i < n; i++) {
		struct spool_op *op = ops[i];
		struct batch_mark m = log_mark(s, *at);

		switch (op->kind) {
		case SPOOL_PUT: op->result = with_puts ? log_add_put(s, op, at) : SPOOL_FULL; break;
		case SPOOL_SETTLE:
			if (!log_add_settle(s, op, at)) {
				op->result = SPOOL_FAILED;
				return i;
			}
			break;
		}
		if (op->result != SPOOL_OK)
			log_undo(s, &m, at);
	}
	return n;
}

/* Takes back what a failed write may have left, so that nothing refused is found again. */
static bool take_back(struct spool *s)
{
	struct segment *seg = log_active(s);
	bool ok = !ftruncate(seg->fd, (off_t)seg->end) && !fsync(seg->fd);

	if (ok) {
		pthread_mutex_lock(&s->lock);
		seg->size = seg->end;
		pthread_mutex_unlock(&s->lock);
	}
	return ok;
}

static bool is_full(int why)
{
	return why == ENOSPC || why == EDQUOT || why == EFBIG;
}

static uint64_t batch_bytes(struct spool_op *const *ops, size_t n)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		if (ops[i]->kind == SPOOL_PUT)
			bytes += 512 + ops[i]->content->head.n +
				 (ops[i]->content->fd < 0 ? ops[i]->content->body.n : 0);
		else
			bytes += 256;
	return bytes;
}

static bool break_down(struct spool *s, struct spool_op *const *ops, size_t n,
		       const struct batch_mark *m, int why, struct err *e)
{
	uint64_t at;

	s->broken = true;
	for (size_t i = 0; i < n; i++)
		ops[i]->result = SPOOL_FAILED;
	log_undo(s, m, &at);
	log_clear_batch(s);
	return err_set(e, ERR_LATER, "spool: write or sync failed: %s", strerror(why));
}

static void look_ahead(struct spool *s)
{
	if (s->asked_ahead || log_active(s)->end < s->segment_bytes / AHEAD_AFTER)
		return;
	s->asked_ahead = true;
	if (clock_mono_ms() >= s->rotated_ms + AHEAD_LEAST_MS)
		ahead_spare(s->ahead);
}

/* One write and one sync; *ret_done: ops that have their result. */
static bool commit_some(struct spool *s, struct spool_op *const *ops, size_t n, size_t *ret_done,
			struct err *e)
{
	uint64_t bytes = batch_bytes(ops, n), move = 0, end;
	struct err ignored;
	struct batch_mark m;

	log_look_at_space(s);
	log_clear_batch(s);
	if (log_too_long(s))
		move = 2 * bytes > MOVE_LEAST ? 2 * bytes : MOVE_LEAST;
	if (log_active(s)->end + bytes + move > s->segment_bytes &&
	    log_active(s)->end > SEGMENT_DATA && !log_rotate(s, &ignored))
		s->short_of_space = true; /* the segment in use grows instead, for outcomes */
	end = log_active(s)->end;
	s->first = s->sequence;
	m = log_mark(s, end);
	/* Copies come before outcomes, which then stand behind both copies of their message. */
	if (move && !s->short_of_space) {
		log_move_some(s, move, &end);
		FAULT_DIE("spool_moving");
	}
	*ret_done = build(s, ops, n, !s->short_of_space, &end);
	if (s->n_pending && !sync_names(s))
		return break_down(s, ops, n, &m, errno, e);
	if (s->n_pending && !log_append(s)) {
		int why = errno;

		if (!take_back(s) || !is_full(why))
			return break_down(s, ops, n, &m, why, e);
		/* The disk is full: outcomes alone, which the reserve is there for. */
		s->short_of_space = true;
		s->look_ms = clock_mono_ms();
		log_undo(s, &m, &end);
		log_clear_batch(s);
		s->moved_to = 0;
		*ret_done = build(s, ops, n, false, &end);
		if (s->n_pending && !log_append(s)) {
			why = errno;
			if (!take_back(s) || !is_full(why))
				return break_down(s, ops, n, &m, why, e);
			/* Not even those: nothing was kept, and nothing is lost by coming again. */
			for (size_t i = 0; i < *ret_done; i++)
				if (ops[i]->result == SPOOL_OK)
					ops[i]->result = SPOOL_FULL;
			log_undo(s, &m, &end);
			log_clear_batch(s);
			return true;
		}
	}
	FAULT_DIE("spool_written");
	if (s->n_pending && !log_sync(s)) {
		int why = errno;

		take_back(s);
		return break_down(s, ops, n, &m, why, e);
	}
	FAULT_DIE("spool_synced");
	if (s->n_pending)
		believe(s, end);
	log_clear_batch(s);
	log_retire_empty(s, RETIRE_MAX);
	look_ahead(s);
	return true;
}

bool log_commit(struct spool *s, struct spool_op *const *ops, size_t n, struct err *e)
{
	size_t done = 0, some = 0;

	for (size_t i = 0; i < n; i++)
		ops[i]->result = SPOOL_FAILED;
	if (s->broken)
		return err_set(e, ERR_LATER, "spool: broken by an earlier failure");
	for (; done < n; done += some)
		if (!commit_some(s, ops + done, n - done, &some, e))
			return false;
	return true;
}

bool log_commit_copies(struct spool *s, uint64_t end)
{
	if (!sync_names(s) || !log_append(s) || !log_sync(s))
		return false;
	believe(s, end);
	log_clear_batch(s);
	return true;
}

void log_mark_closed(struct spool *s)
{
	uint64_t end;

	if (s->broken || !s->wrote)
		return;
	log_clear_batch(s);
	end = log_active(s)->end;
	s->first = s->sequence;
	if (log_add_closed(s, &end) && log_append(s))
		(void)log_sync(s);
	log_clear_batch(s);
}
