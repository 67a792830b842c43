/* spool/batch.c -- the records of a commit, built in memory, and taken out of it again. */
#include "spool/log_impl.h"

#include "base/crc32c.h"
#include "base/fault.h"
#include "base/must.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REPLY_MAX 512
#define WHO_MAX   128

static const char zeros[RECORD_ALIGN];

bool log_grow(void **at, size_t *cap, size_t need, size_t size)
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

/* -- the batch under construction -- */

static bool add_part(struct spool *s, struct part part)
{
	void *at = s->parts;

	if (!part.n)
		return true;
	if (!log_grow(&at, &s->cap_parts, s->n_parts + 1, sizeof *s->parts))
		return false;
	s->parts = at;
	s->parts[s->n_parts++] = part;
	return true;
}

/* It counts once s->n_pending does. */
static struct pending *add_pending(struct spool *s)
{
	void *at = s->pending;

	if (!log_grow(&at, &s->cap_pending, s->n_pending + 1, sizeof *s->pending))
		return NULL;
	s->pending = at;
	s->pending[s->n_pending] = (struct pending){ 0 };
	return &s->pending[s->n_pending];
}

struct batch_mark log_mark(const struct spool *s, uint64_t at)
{
	return (struct batch_mark){ s->meta.n,      s->n_parts, s->n_pending,
				    s->new_facts.n, at,         s->sequence };
}

void log_unname(struct spool *s, struct id id)
{
	char name[32];

	log_large_name(id, name);
	log_cut_keep(s, name);
	unlinkat(s->large, name, 0);
}

/* What building it did to the index and to large/. */
static void forget(struct spool *s, const struct pending *p)
{
	struct entry *e;

	if (!p->op)
		return;
	pthread_mutex_lock(&s->lock);
	e = index_find(s->index, p->id);
	if (p->type == RECORD_PUT) {
		MUST(e);
		index_remove(s->index, e);
	} else if (e) {
		index_busy(s->index, e, p->delivery, false);
	}
	pthread_mutex_unlock(&s->lock);
	if (p->named)
		log_unname(s, p->id);
}

void log_undo(struct spool *s, const struct batch_mark *m, uint64_t *at)
{
	while (s->n_pending > m->pending)
		forget(s, &s->pending[--s->n_pending]);
	s->meta.n = m->meta;
	s->meta.failed = false;
	s->new_facts.n = m->facts;
	s->n_parts = m->parts;
	s->sequence = m->sequence;
	*at = m->at;
}

void log_clear_batch(struct spool *s)
{
	buf_clear(&s->meta);
	buf_clear(&s->new_facts);
	s->n_pending = s->n_parts = 0;
	s->large_changed = false;
	arena_done(&s->scratch);
	if (s->meta.cap > (4u << 20))
		buf_done(&s->meta);
}

static size_t begin_record(struct spool *s)
{
	static const char room[RECORD_HEADER];
	size_t from = s->meta.n;

	buf_add(&s->meta, slice(room, sizeof room));
	return from;
}

/* One record at *at: room for the header, and the meta, stand in s->meta from `from` on; the rest
 * follows. */
static bool end_record(struct spool *s, enum record_type type, bool moved, size_t from,
		       struct slice head, struct slice body, uint64_t *at)
{
	struct slice meta = slice_from(buf_slice(&s->meta), from + RECORD_HEADER);
	struct record_header h = { .type = type,
				   .moved = moved,
				   .meta_bytes = (uint32_t)meta.n,
				   .meta_crc = crc32c(0, meta),
				   .sequence = s->sequence,
				   .body_bytes = head.n + body.n,
				   .body_crc = crc32c(crc32c(0, head), body),
				   .back = (uint32_t)(s->sequence - s->first) };
	size_t pad;

	if (s->meta.failed || meta.n > RECORD_META_MAX || h.body_bytes > RECORD_BODY_MAX)
		return false;
	record_header_write(&h, log_active(s)->key, *at, s->meta.p + from);
	pad = (size_t)(record_bytes(&h) - RECORD_HEADER - meta.n - h.body_bytes);
	if (!add_part(s, (struct part){ NULL, from, RECORD_HEADER + meta.n }) ||
	    !add_part(s, (struct part){ head.p, 0, head.n }) ||
	    !add_part(s, (struct part){ body.p, 0, body.n }) ||
	    !add_part(s, (struct part){ zeros, 0, pad }))
		return false;
	s->sequence++;
	*at += record_bytes(&h);
	return true;
}

/* -- put -- */

/* The caller's promises, and what the format can hold. */
static bool fits(const struct spool_envelope *e, const uint32_t *rcpts)
{
	if (!rcpts || e->n_rcpts > INDEX_RCPTS_MAX)
		return false;
	for (uint32_t i = 0; i < e->n_deliveries; i++)
		if (!rcpts[i] || !e->dests[i].n || e->dests[i].n > 255)
			return false;
	return true;
}

/* Gives the body's file its name. The caller has synced its content. The checksum is taken here,
 * from the page cache: what is on disk later is then compared with what was there at the commit. */
static bool name_file(struct spool *s, const struct spool_content *c, struct id id,
		      uint32_t *ret_crc)
{
	char from[64], to[32];
	int tries = 0;

	if (!segment_crc(c->fd, c->fd_offset, c->fd_bytes, ret_crc))
		return false;
	log_large_name(id, to);
	snprintf(from, sizeof from, "/proc/self/fd/%d", c->fd);
	while (linkat(AT_FDCWD, from, s->large, to, AT_SYMLINK_FOLLOW)) {
		/* Left by a crash: no message has this id. */
		if (errno != EEXIST || tries++ || unlinkat(s->large, to, 0))
			return false;
	}
	s->large_changed = true;
	FAULT_DIE("spool_named");
	return true;
}

static bool reserve_entry(struct spool *s, const struct index_message *m)
{
	bool ok;

	pthread_mutex_lock(&s->lock);
	ok = !index_find(s->index, m->id) &&
	     (!s->messages_max || index_messages(s->index) < s->messages_max) &&
	     index_add(s->index, m);
	pthread_mutex_unlock(&s->lock);
	return ok;
}

enum spool_result log_add_put(struct spool *s, struct spool_op *op, uint64_t *at)
{
	struct spool_envelope *e = op->envelope;
	struct spool_content *c = op->content;
	bool in_file = c->fd >= 0;
	struct record_put p = { .due_ms = op->due_ms,
				.head_bytes = c->head.n,
				.body_in_file = in_file };
	struct fact f = { .type = RECORD_PUT, .at = *at };
	struct pending *pend;
	size_t from;

	MUST(e->n_rcpts && e->n_deliveries && e->n_deliveries <= e->n_rcpts);
	for (uint32_t i = 0; i < e->n_rcpts; i++)
		MUST(e->rcpts[i].delivery < e->n_deliveries);
	e->size = c->head.n + (in_file ? c->fd_bytes : c->body.n);
	f.message = (struct index_message){ .id = e->id,
					    .account = e->account,
					    .key_id = e->key_id,
					    .accepted_ms = e->accepted_ms,
					    .size = e->size,
					    .due_ms = op->due_ms,
					    .put = place_of(log_active(s), *at),
					    .file = in_file,
					    .n_rcpts = e->n_rcpts,
					    .n_deliveries = e->n_deliveries,
					    .dests = e->dests,
					    .rcpts = fact_rcpts(e, &s->scratch) };
	pend = add_pending(s);
	if (!pend || !fits(e, f.message.rcpts) || !reserve_entry(s, &f.message))
		return SPOOL_FULL;
	*pend = (struct pending){ .op = op, .type = RECORD_PUT, .id = e->id, .at = *at };
	s->n_pending++;
	if (in_file) {
		if (!name_file(s, c, e->id, &p.file_crc))
			return errno == ENOSPC || errno == EDQUOT ? SPOOL_FULL : SPOOL_FAILED;
		s->pending[s->n_pending - 1].named = true;
		p.file_at = c->fd_offset;
		p.file_bytes = c->fd_bytes;
	}
	p.envelope = *e;
	from = begin_record(s);
	record_put_write(&s->meta, &p);
	fact_write(&s->new_facts, &f);
	if (!end_record(s, RECORD_PUT, false, from, c->head, in_file ? S("") : c->body, at))
		return SPOOL_FULL;
	return SPOOL_OK;
}

/* -- settle -- */

/* What is new replaces what was known of a recipient; the rest stays. */
static bool merge(struct spool *s, const struct spool_op *op, uint32_t n_rcpts,
		  struct record_state *st, bool *ret_changed)
{
	uint32_t n = st->n_verdicts;
	struct spool_verdict *all =
	    ARENA_ARRAY(&s->scratch, struct spool_verdict, (size_t)n + op->n_verdicts + 1);
	uint32_t *where = ARENA_ARRAY(&s->scratch, uint32_t, n_rcpts); /* in all, from 1 */

	if (!all || !where)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		all[i] = st->verdicts[i];
		if (all[i].rcpt < n_rcpts)
			where[all[i].rcpt] = i + 1;
	}
	for (uint32_t i = 0; i < op->n_verdicts; i++) {
		struct spool_verdict v = op->verdicts[i];
		struct spool_verdict *old = where[v.rcpt] ? &all[where[v.rcpt] - 1] : NULL;
		enum spool_rcpt_state was = old ? old->state : RCPT_PENDING;

		if (!rcpt_may_change(was))
			continue; /* what is settled stays settled */
		if (op->by_hand && v.state == was)
			continue; /* and what was said of it */
		v.reply.n = v.reply.n < REPLY_MAX ? v.reply.n : REPLY_MAX;
		v.told_delay |= old && old->told_delay;
		*ret_changed |= v.state != was;
		if (was == RCPT_PENDING && v.state != RCPT_PENDING && st->pending)
			st->pending--;
		if (was != RCPT_PENDING && v.state == RCPT_PENDING)
			st->pending++;
		if (!old) {
			where[v.rcpt] = n + 1;
			old = &all[n++];
		}
		*old = v;
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
	struct fact f = { .type = RECORD_STATE,
			  .moved = !op,
			  .at = *at,
			  .id = st->id,
			  .delivery = st->delivery,
			  .attempts = st->attempts,
			  .pending = st->pending,
			  .next_ms = st->next_ms,
			  .held = st->held_ms };

	if (!pend)
		return false;
	for (uint32_t i = 0; i < st->n_verdicts; i++)
		f.failed += st->verdicts[i].state == RCPT_FAILED;
	*pend = (struct pending){ .op = op,
				  .type = RECORD_STATE,
				  .id = st->id,
				  .at = *at,
				  .delivery = st->delivery,
				  .attempts = st->attempts,
				  .left = st->pending,
				  .failed = f.failed,
				  .next_ms = st->next_ms,
				  .held = st->held_ms };
	record_state_write(&s->meta, st);
	fact_write(&s->new_facts, &f);
	if (!end_record(s, RECORD_STATE, !op, from, S(""), S(""), at))
		return false;
	s->n_pending++;
	return true;
}

bool log_add_copy(struct spool *s, const struct record_header *h, struct slice meta,
		  struct slice body, const struct record_state *states, uint32_t n, uint64_t *at)
{
	struct pending *pend = add_pending(s);
	size_t from = begin_record(s);
	struct fact f;

	if (!pend || !fact_of_record(h, *at, meta, &s->scratch, &f))
		return false;
	f.moved = true;
	*pend = (struct pending){ .type = RECORD_PUT, .id = f.message.id, .at = *at };
	buf_add(&s->meta, meta);
	fact_write(&s->new_facts, &f);
	if (!end_record(s, RECORD_PUT, true, from, body, S(""), at))
		return false;
	s->n_pending++;
	for (uint32_t i = 0; i < n; i++)
		if (!add_state(s, NULL, &states[i], at))
			return false;
	return true;
}

/* What the index knows of the delivery; one that can be settled now is from here on busy. */
static bool settle_begin(struct spool *s, struct spool_op *op, struct delivery *ret,
			 uint32_t *ret_rcpts)
{
	struct delivery *dl = NULL;
	struct entry *e;
	bool wait = false;

	op->result = SPOOL_GONE;
	pthread_mutex_lock(&s->lock);
	e = index_find(s->index, op->id);
	if (e && (dl = index_delivery(s->index, e, op->delivery))) {
		wait = !index_published(s->index, e) || dl->flags & DELIVERY_BUSY;
		op->result = SPOOL_FAILED;
		*ret = *dl;
		*ret_rcpts = e->n_rcpts;
	}
	/* Whoever attempts it decides about it; only to hold it goes beside that. */
	if (dl && !wait && op->by_hand && dl->flags & DELIVERY_LEASED &&
	    (op->n_verdicts || op->next_ms))
		op->result = SPOOL_BUSY;
	if (op->result == SPOOL_FAILED && !wait)
		index_busy(s->index, e, op->delivery, true);
	pthread_mutex_unlock(&s->lock);
	return !wait;
}

static void settle_not(struct spool *s, const struct spool_op *op)
{
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	e = index_find(s->index, op->id);
	if (e)
		index_busy(s->index, e, op->delivery, false);
	pthread_mutex_unlock(&s->lock);
}

/* False: result says why. Its earlier state is in st, or nothing when there is none. */
static bool read_before(struct spool *s, struct spool_op *op, const struct delivery *known,
			struct record_state *st)
{
	struct err why = { .kind = ERR_DAMAGED };
	const struct segment *seg;

	if (!known->state.segment)
		return true;
	/* Without its earlier outcomes nobody could tell who has the message already. */
	seg = log_segment(s, known->state.segment);
	if (seg && log_read_state(seg, place_at(known->state), &s->scratch, st, &why))
		return true;
	op->result = SPOOL_FAILED;
	if (why.kind == ERR_LATER)
		return false;
	op->result = SPOOL_GONE;
	log_condemn(s, op->id, "an outcome that was recorded cannot be read");
	return false;
}

static struct slice cut(struct slice text)
{
	return slice(text.p, text.n < WHO_MAX ? text.n : WHO_MAX);
}

/* What the operation says of attempt and hold. True: it changes the hold. */
static bool stand(const struct spool_op *op, struct record_state *st, bool over)
{
	bool was = st->held_ms;

	if (op->attempted) {
		st->tried_ms = op->at_ms;
		st->remote = cut(op->remote);
	}
	if (op->hold == HOLD_SET && !was) {
		st->held_ms = op->at_ms ? op->at_ms : 1;
		st->held_by = cut(op->by);
	} else if (op->hold == HOLD_CLEAR) {
		st->held_ms = 0;
	}
	if (!st->held_ms)
		st->held_by = S("");
	if (over) { /* nobody will ask */
		st->tried_ms = st->held_ms = 0;
		st->remote = st->held_by = S("");
	}
	return was != (st->held_ms != 0);
}

static enum spool_result settle(struct spool *s, struct spool_op *op, const struct delivery *known,
				uint32_t n_rcpts, uint64_t *at)
{
	struct record_state st = { 0 };
	bool changed = false, over;

	for (uint32_t i = 0; i < op->n_verdicts; i++)
		if (op->verdicts[i].rcpt >= n_rcpts)
			return SPOOL_GONE;
	if (!read_before(s, op, known, &st))
		return op->result;
	st.id = op->id;
	st.delivery = op->delivery;
	st.pending = known->pending;
	st.attempts = known->attempts + op->attempted;
	st.next_ms = op->by_hand && !op->next_ms ? known->next_ms : op->next_ms;
	if (!merge(s, op, n_rcpts, &st, &changed))
		return SPOOL_FAILED;
	over = !st.pending;
	for (uint32_t i = 0; over && i < st.n_verdicts; i++)
		over = st.verdicts[i].state != RCPT_FAILED;
	changed |= stand(op, &st, over);
	/* By hand, something must be different then: a new time, or what was counted above. */
	if (!changed && (op->by_hand ? !op->next_ms || !st.pending : !known->pending))
		return SPOOL_GONE;
	return add_state(s, op, &st, at) ? SPOOL_OK : SPOOL_FAILED;
}

bool log_add_settle(struct spool *s, struct spool_op *op, uint64_t *at)
{
	struct delivery known = { 0 };
	uint32_t n_rcpts = 0;

	if (!settle_begin(s, op, &known, &n_rcpts))
		return false;
	if (op->result != SPOOL_FAILED)
		return true;
	op->result = settle(s, op, &known, n_rcpts, at);
	if (op->result != SPOOL_OK)
		settle_not(s, op);
	return true;
}

bool log_add_closed(struct spool *s, uint64_t *at)
{
	return end_record(s, RECORD_CLOSED, false, begin_record(s), S(""), S(""), at);
}
