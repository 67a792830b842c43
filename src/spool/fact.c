#include "spool/fact.h"

#include "base/auto.h"
#include "base/crc32c.h"
#include "base/fault.h"
#include "base/map.h"
#include "spool/wire.h"

#include <fcntl.h>
#include <sys/stat.h>

#define FORMAT         2 /* 1: without keys; such a summary is made anew */
#define SUMMARY_HEADER 56

enum { FACT_MOVED = 1, FACT_FILE = 2, FACT_HELD = 4 };

uint32_t *fact_rcpts(const struct spool_envelope *e, struct arena *a)
{
	uint32_t *n = ARENA_ARRAY(a, uint32_t, e->n_deliveries);

	for (uint32_t i = 0; n && i < e->n_rcpts; i++)
		n[e->rcpts[i].delivery]++;
	return n;
}

static bool put_of_record(const struct record_header *h, struct slice meta, struct arena *a,
			  struct index_message *m)
{
	struct record_put p;
	uint32_t *rcpts;

	if (!record_put_read(meta, a, &p) || p.head_bytes > h->body_bytes ||
	    p.envelope.n_rcpts > INDEX_RCPTS_MAX)
		return false;
	rcpts = fact_rcpts(&p.envelope, a);
	if (!rcpts)
		return false;
	for (uint32_t i = 0; i < p.envelope.n_deliveries; i++)
		if (!rcpts[i])
			return false;
	*m = (struct index_message){ .id = p.envelope.id,
				     .account = p.envelope.account,
				     .key_id = p.envelope.key_id,
				     .accepted_ms = p.envelope.accepted_ms,
				     .due_ms = p.due_ms,
				     .size = p.body_in_file ? p.head_bytes + p.file_bytes
							    : h->body_bytes,
				     .file = p.body_in_file,
				     .n_rcpts = p.envelope.n_rcpts,
				     .n_deliveries = p.envelope.n_deliveries,
				     .dests = p.envelope.dests,
				     .rcpts = rcpts };
	return true;
}

static bool state_of_record(struct slice meta, struct arena *a, struct fact *f)
{
	struct record_state st;

	if (!record_state_read(meta, a, &st))
		return false;
	f->id = st.id;
	f->delivery = st.delivery;
	f->attempts = st.attempts;
	f->pending = st.pending;
	f->next_ms = st.next_ms;
	f->held = st.held_ms;
	f->failed = 0;
	for (uint32_t i = 0; i < st.n_verdicts; i++)
		f->failed += st.verdicts[i].state == RCPT_FAILED;
	return f->pending <= INDEX_RCPTS_MAX && f->failed <= INDEX_RCPTS_MAX;
}

bool fact_of_record(const struct record_header *h, uint64_t at, struct slice meta, struct arena *a,
		    struct fact *ret)
{
	struct fact f = { .type = h->type, .moved = h->moved, .at = at };
	bool ok = false;

	switch (h->type) {
	case RECORD_PUT: ok = put_of_record(h, meta, a, &f.message); break;
	case RECORD_STATE: ok = state_of_record(meta, a, &f); break;
	case RECORD_CLOSED: break;
	}
	*ret = f;
	return ok;
}

void fact_write(struct buf *b, const struct fact *f)
{
	const struct index_message *m = &f->message;

	put_int(b, (uint64_t)f->type, 1);
	put_int(b,
		(f->moved ? FACT_MOVED : 0u) | (m->file ? FACT_FILE : 0u) |
		    (f->held ? FACT_HELD : 0u),
		1);
	put_int(b, f->at, 8);
	if (f->type == RECORD_STATE) {
		buf_add(b, slice(f->id.b, sizeof f->id.b));
		put_int(b, f->delivery, 4);
		put_int(b, f->attempts, 4);
		put_int(b, f->pending, 4);
		put_int(b, f->failed, 4);
		put_int(b, f->next_ms, 8);
		return;
	}
	buf_add(b, slice(m->id.b, sizeof m->id.b));
	put_int(b, m->account, 8);
	put_text(b, m->key_id);
	put_int(b, m->accepted_ms, 8);
	put_int(b, m->due_ms, 8);
	put_int(b, m->size, 8);
	put_int(b, m->n_rcpts, 4);
	put_int(b, m->n_deliveries, 4);
	for (uint32_t i = 0; i < m->n_deliveries; i++) {
		put_text(b, m->dests[i]);
		put_int(b, m->rcpts[i], 4);
	}
}

static bool read_put(struct slice *in, struct arena *a, struct index_message *m)
{
	struct slice *dests;
	uint32_t *rcpts;
	uint64_t all = 0;

	if (!get_id(in, &m->id) || !get_int(in, 8, &m->account) || !get_text(in, &m->key_id) ||
	    !get_int(in, 8, &m->accepted_ms) || !get_int(in, 8, &m->due_ms) ||
	    !get_int(in, 8, &m->size) || !get_u32(in, &m->n_rcpts) ||
	    !get_u32(in, &m->n_deliveries) || m->n_deliveries > in->n / 6)
		return false;
	m->dests = dests = ARENA_ARRAY(a, struct slice, m->n_deliveries);
	m->rcpts = rcpts = ARENA_ARRAY(a, uint32_t, m->n_deliveries);
	for (uint32_t i = 0; i < m->n_deliveries; i++) {
		if (!dests || !rcpts || !get_text(in, &dests[i]) || !dests[i].n ||
		    dests[i].n > 255 || !get_u32(in, &rcpts[i]) || !rcpts[i])
			return false;
		all += rcpts[i];
	}
	return all == m->n_rcpts && all <= INDEX_RCPTS_MAX;
}

bool fact_read(struct slice *in, struct arena *a, struct fact *ret)
{
	struct fact f = { 0 };
	uint64_t type, flags;

	if (!get_int(in, 1, &type) || !get_int(in, 1, &flags) || !get_int(in, 8, &f.at) ||
	    (type != RECORD_PUT && type != RECORD_STATE))
		return false;
	f.type = (enum record_type)type;
	f.moved = flags & FACT_MOVED;
	f.message.file = flags & FACT_FILE;
	f.held = flags & FACT_HELD;
	if (f.type == RECORD_PUT ? !read_put(in, a, &f.message)
				 : !get_id(in, &f.id) || !get_u32(in, &f.delivery) ||
				       !get_u32(in, &f.attempts) || !get_u32(in, &f.pending) ||
				       !get_u32(in, &f.failed) || !get_int(in, 8, &f.next_ms) ||
				       f.pending > INDEX_RCPTS_MAX || f.failed > INDEX_RCPTS_MAX)
		return false;
	*ret = f;
	return true;
}

/* -- the file -- */

static uint64_t bind_to(const struct segment *s)
{
	return siphash(s->key, S("summary"));
}

void summary_write(int dir, const struct segment *s, uint64_t next_sequence,
		   const struct buf *facts)
{
	char name[32], raw[SUMMARY_HEADER];
	struct buf b = { .p = raw, .cap = sizeof raw, .max = sizeof raw };
	AUTO_FD fd = -1;
	bool ok;

	if (facts->failed)
		return;
	segment_name(s->number, "sum", name);
	buf_add(&b, S("SIGNETSM"));
	put_int(&b, FORMAT, 4);
	put_int(&b, s->number, 4);
	put_int(&b, bind_to(s), 8);
	put_int(&b, s->end, 8);
	put_int(&b, next_sequence, 8);
	put_int(&b, facts->n, 8);
	put_int(&b, crc32c(0, buf_slice(facts)), 4);
	put_int(&b, crc32c(0, buf_slice(&b)), 4);
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	/* Not synced: what a crash leaves of it is found unsound, and the segment is read. */
	ok = fd >= 0 && segment_write(fd, 0, raw, sizeof raw);
	FAULT_DIE("spool_summary");
	ok = ok && segment_write(fd, sizeof raw, facts->p, facts->n);
	if (fd >= 0 && !ok)
		unlinkat(dir, name, 0);
}

bool summary_read(int dir, struct segment *s, struct buf *facts, uint64_t *ret_next_sequence)
{
	char name[32], raw[SUMMARY_HEADER];
	struct slice in = slice(raw, sizeof raw);
	uint64_t number, format, bound, end, next, bytes;
	uint32_t crc, own;
	AUTO_FD fd = -1;
	struct stat st;
	char *to;

	buf_clear(facts);
	segment_name(s->number, "sum", name);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    !segment_read(fd, 0, raw, sizeof raw) || !slice_eq(slice_take(&in, 8), S("SIGNETSM")) ||
	    !get_int(&in, 4, &format) || !get_int(&in, 4, &number) || !get_int(&in, 8, &bound) ||
	    !get_int(&in, 8, &end) || !get_int(&in, 8, &next) || !get_int(&in, 8, &bytes) ||
	    !get_u32(&in, &crc) || !get_u32(&in, &own))
		return false;
	if (own != crc32c(0, slice(raw, sizeof raw - 4)) || format != FORMAT ||
	    number != s->number || bound != bind_to(s) || end > s->size ||
	    bytes != (uint64_t)st.st_size - sizeof raw)
		return false;
	to = buf_room_for(facts, bytes ? (size_t)bytes : 1);
	if (!to || !segment_read(fd, sizeof raw, to, (size_t)bytes) ||
	    crc32c(0, slice(to, (size_t)bytes)) != crc)
		return false;
	buf_grew(facts, (size_t)bytes);
	s->end = end;
	*ret_next_sequence = next;
	return true;
}
