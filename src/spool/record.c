#include "spool/record.h"

#include "base/map.h"
#include "spool/wire.h"

/* -- header -- */

enum { HEADER_MOVED = 1 };

uint64_t record_tag(struct slice s, const uint64_t key[2], uint64_t place)
{
	const uint64_t here[2] = { key[0], key[1] ^ place };

	return siphash(here, s);
}

void record_header_write(const struct record_header *h, const uint64_t key[2], uint64_t place,
			 char ret[RECORD_HEADER])
{
	struct buf b = { .p = ret, .cap = RECORD_HEADER, .max = RECORD_HEADER };

	put_int(&b, RECORD_MAGIC, 4);
	put_int(&b, (uint64_t)h->type, 1);
	put_int(&b, h->moved ? HEADER_MOVED : 0, 3);
	put_int(&b, h->meta_bytes, 4);
	put_int(&b, h->meta_crc, 4);
	put_int(&b, h->body_bytes, 8);
	put_int(&b, h->sequence, 8);
	put_int(&b, h->body_crc, 4);
	put_int(&b, h->back, 4);
	put_int(&b, record_tag(buf_slice(&b), key, place), 8);
}

bool record_header_read(const char at[RECORD_HEADER], const uint64_t key[2], uint64_t place,
			struct record_header *ret)
{
	struct slice in = slice(at, RECORD_HEADER);
	struct record_header h = { 0 };
	uint64_t type, flags, tag;
	uint32_t magic;

	if (!get_u32(&in, &magic) || magic != RECORD_MAGIC || !get_int(&in, 1, &type) ||
	    !get_int(&in, 3, &flags) || !get_u32(&in, &h.meta_bytes) ||
	    !get_u32(&in, &h.meta_crc) || !get_int(&in, 8, &h.body_bytes) ||
	    !get_int(&in, 8, &h.sequence) || !get_u32(&in, &h.body_crc) || !get_u32(&in, &h.back) ||
	    !get_int(&in, 8, &tag))
		return false;
	if (type < RECORD_PUT || type > RECORD_CLOSED || h.meta_bytes > RECORD_META_MAX ||
	    h.body_bytes > RECORD_BODY_MAX ||
	    tag != record_tag(slice(at, RECORD_HEADER - 8), key, place))
		return false;
	h.type = (enum record_type)type;
	h.moved = flags & HEADER_MOVED;
	*ret = h;
	return true;
}

uint64_t record_bytes(const struct record_header *h)
{
	uint64_t n = RECORD_HEADER + (uint64_t)h->meta_bytes + h->body_bytes;

	return (n + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
}

/* -- put -- */

enum { FLAG_8BIT = 1, FLAG_SMTPUTF8 = 2, FLAG_FILE = 4 };

void record_put_write(struct buf *b, const struct record_put *p)
{
	const struct spool_envelope *e = &p->envelope;
	unsigned flags = (e->body_8bit ? FLAG_8BIT : 0u) | (e->smtputf8 ? FLAG_SMTPUTF8 : 0u) |
			 (p->body_in_file ? FLAG_FILE : 0u);

	buf_add(b, slice(e->id.b, sizeof e->id.b));
	put_int(b, e->account, 8);
	put_int(b, e->accepted_ms, 8);
	put_int(b, p->due_ms, 8);
	put_int(b, flags, 1);
	put_int(b, (uint64_t)e->ret, 1);
	put_int(b, p->head_bytes, 8);
	put_int(b, p->file_at, 8);
	put_int(b, p->file_bytes, 8);
	put_int(b, p->file_crc, 4);
	put_text(b, e->key_id);
	put_text(b, e->reverse_path);
	put_text(b, e->envid);
	put_int(b, e->n_deliveries, 4);
	for (uint32_t i = 0; i < e->n_deliveries; i++)
		put_text(b, e->dests[i]);
	put_int(b, e->n_rcpts, 4);
	for (uint32_t i = 0; i < e->n_rcpts; i++) {
		const struct spool_rcpt *r = &e->rcpts[i];

		put_text(b, r->path);
		put_text(b, r->orcpt);
		put_int(b, r->notify, 1);
		put_int(b, r->delivery, 4);
	}
}

static bool read_dests(struct slice *in, struct arena *a, struct spool_envelope *e)
{
	struct slice *dests;

	/* Each takes two bytes at least: a count that cannot be true allocates nothing. */
	if (!get_u32(in, &e->n_deliveries) || !e->n_deliveries || e->n_deliveries > in->n / 2)
		return false;
	dests = ARENA_ARRAY(a, struct slice, e->n_deliveries);
	for (uint32_t i = 0; i < e->n_deliveries; i++)
		if (!dests || !get_text(in, &dests[i]) || !dests[i].n || dests[i].n > 255)
			return false;
	e->dests = dests;
	return true;
}

static bool read_rcpts(struct slice *in, struct arena *a, struct spool_envelope *e)
{
	if (!get_u32(in, &e->n_rcpts) || e->n_rcpts < e->n_deliveries || e->n_rcpts > in->n / 9)
		return false;
	e->rcpts = ARENA_ARRAY(a, struct spool_rcpt, e->n_rcpts);
	for (uint32_t i = 0; i < e->n_rcpts; i++) {
		uint64_t notify;

		if (!e->rcpts || !get_text(in, &e->rcpts[i].path) ||
		    !get_text(in, &e->rcpts[i].orcpt) || !get_int(in, 1, &notify) ||
		    !get_u32(in, &e->rcpts[i].delivery) || e->rcpts[i].delivery >= e->n_deliveries)
			return false;
		e->rcpts[i].notify = (unsigned)notify;
	}
	return true;
}

bool record_put_read(struct slice in, struct arena *a, struct record_put *ret)
{
	struct record_put p = { 0 };
	struct spool_envelope *e = &p.envelope;
	uint64_t flags, dsn;

	if (!get_id(&in, &e->id) || !get_int(&in, 8, &e->account) ||
	    !get_int(&in, 8, &e->accepted_ms) || !get_int(&in, 8, &p.due_ms) ||
	    !get_int(&in, 1, &flags) || !get_int(&in, 1, &dsn) || dsn > RET_HDRS ||
	    !get_int(&in, 8, &p.head_bytes) || !get_int(&in, 8, &p.file_at) ||
	    !get_int(&in, 8, &p.file_bytes) || !get_u32(&in, &p.file_crc) ||
	    !get_text(&in, &e->key_id) || !get_text(&in, &e->reverse_path) ||
	    !get_text(&in, &e->envid) || !read_dests(&in, a, e) || !read_rcpts(&in, a, e) || in.n)
		return false;
	e->body_8bit = flags & FLAG_8BIT;
	e->smtputf8 = flags & FLAG_SMTPUTF8;
	e->ret = (enum dsn_ret)dsn;
	p.body_in_file = flags & FLAG_FILE;
	*ret = p;
	return true;
}

/* -- state -- */

/* A recipient's state is one byte; the bit above the states says that the sender knows of a delay.
 */
enum { STATE_TOLD_DELAY = 0x80 };

static bool read_verdict(struct slice *in, struct spool_verdict *v)
{
	uint64_t state;

	if (!get_u32(in, &v->rcpt) || !get_int(in, 1, &state) || !get_text(in, &v->reply))
		return false;
	v->told_delay = state & STATE_TOLD_DELAY;
	v->state = (enum spool_rcpt_state)(state & ~(uint64_t)STATE_TOLD_DELAY);
	return v->state <= RCPT_BOUNCED;
}

void record_state_write(struct buf *b, const struct record_state *s)
{
	buf_add(b, slice(s->id.b, sizeof s->id.b));
	put_int(b, s->delivery, 4);
	put_int(b, s->attempts, 4);
	put_int(b, s->next_ms, 8);
	put_int(b, s->pending, 4);
	put_int(b, s->n_verdicts, 4);
	for (uint32_t i = 0; i < s->n_verdicts; i++) {
		put_int(b, s->verdicts[i].rcpt, 4);
		put_int(b,
			(uint64_t)s->verdicts[i].state |
			    (s->verdicts[i].told_delay ? STATE_TOLD_DELAY : 0u),
			1);
		put_text(b, s->verdicts[i].reply);
	}
	if (!s->tried_ms && !s->held_ms)
		return;
	put_int(b, s->tried_ms, 8);
	put_text(b, s->remote);
	put_int(b, s->held_ms, 8);
	put_text(b, s->held_by);
}

bool record_state_read(struct slice in, struct arena *a, struct record_state *ret)
{
	struct record_state s = { 0 };

	if (!get_id(&in, &s.id) || !get_u32(&in, &s.delivery) || !get_u32(&in, &s.attempts) ||
	    !get_int(&in, 8, &s.next_ms) || !get_u32(&in, &s.pending) ||
	    !get_u32(&in, &s.n_verdicts) || s.n_verdicts > in.n / 7)
		return false;
	s.verdicts = ARENA_ARRAY(a, struct spool_verdict, s.n_verdicts ? s.n_verdicts : 1);
	for (uint32_t i = 0; i < s.n_verdicts; i++)
		if (!s.verdicts || !read_verdict(&in, &s.verdicts[i]))
			return false;
	/* Absent in what was written before there was such a thing. */
	if (in.n && (!get_int(&in, 8, &s.tried_ms) || !get_text(&in, &s.remote) ||
		     !get_int(&in, 8, &s.held_ms) || !get_text(&in, &s.held_by) || in.n))
		return false;
	*ret = s;
	return true;
}
