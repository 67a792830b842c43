#include "spool/index_impl.h"

#include "base/must.h"

#include <stdlib.h>

struct delivery *index_delivery(const struct index *x, struct entry *e, uint32_t number)
{
	if (number >= e->n_deliveries)
		return NULL;
	return e->n_deliveries == 1 ? &e->u.one : &multi_at(x, e->u.many->at[number])->d;
}

/* -- by id -- */

/* Ten of an id's bytes are random, so this needs no secret; it only has to use all of them. */
static size_t home_of(const struct index *x, struct id id)
{
	uint64_t low, high;

	memcpy(&low, id.b, sizeof low);
	memcpy(&high, id.b + 8, sizeof high);
	low = (low ^ high * 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u;
	return (size_t)(low ^ low >> 32) & (x->by_id_cap - 1);
}

static bool by_id_resize(struct index *x, size_t cap)
{
	uint32_t *old = x->by_id, *at = malloc(cap * sizeof *at);
	size_t old_cap = x->by_id_cap;

	if (!at)
		return false;
	memset(at, 0xff, cap * sizeof *at);
	x->by_id = at;
	x->by_id_cap = cap;
	for (size_t i = 0; i < old_cap; i++) {
		size_t to;

		if (old[i] == NONE)
			continue;
		for (to = home_of(x, entry_at(x, old[i])->id); at[to] != NONE;)
			to = (to + 1) & (cap - 1);
		at[to] = old[i];
	}
	free(old);
	return true;
}

/* The slot of the id, or the free one where it would go. */
static size_t slot_of(const struct index *x, struct id id)
{
	size_t i = home_of(x, id);

	while (x->by_id[i] != NONE && !id_eq(entry_at(x, x->by_id[i])->id, id))
		i = (i + 1) & (x->by_id_cap - 1);
	return i;
}

static void by_id_remove(struct index *x, size_t hole)
{
	size_t mask = x->by_id_cap - 1;

	for (size_t i = (hole + 1) & mask; x->by_id[i] != NONE; i = (i + 1) & mask) {
		size_t home = home_of(x, entry_at(x, x->by_id[i])->id);

		if (((i - home) & mask) >= ((i - hole) & mask)) {
			x->by_id[hole] = x->by_id[i];
			hole = i;
		}
	}
	x->by_id[hole] = NONE;
	/* Room taken by a backlog is given back; not being able to is no harm. */
	if (--x->n < x->by_id_cap / 8 && x->by_id_cap > BY_ID_LEAST)
		(void)by_id_resize(x, x->by_id_cap / 2);
}

struct entry *index_find(const struct index *x, struct id id)
{
	size_t i;

	if (!x->n)
		return NULL;
	i = slot_of(x, id);
	return x->by_id[i] == NONE ? NULL : entry_at(x, x->by_id[i]);
}

/* -- what is due in a flow -- */

static void due_put_at(struct index *x, struct flow *f, uint32_t at, uint32_t ref)
{
	f->due[at] = ref;
	delivery_at(x, ref)->at = at;
}

static void due_up(struct index *x, struct flow *f, uint32_t at, uint32_t ref)
{
	uint64_t key = delivery_at(x, ref)->next_ms;

	while (at && delivery_at(x, f->due[(at - 1) / 2])->next_ms > key) {
		due_put_at(x, f, at, f->due[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	due_put_at(x, f, at, ref);
}

static void due_down(struct index *x, struct flow *f, uint32_t at, uint32_t ref)
{
	uint64_t key = delivery_at(x, ref)->next_ms;

	for (;;) {
		uint32_t child = at * 2 + 1;

		if (child >= f->n)
			break;
		if (child + 1 < f->n && delivery_at(x, f->due[child + 1])->next_ms <
					    delivery_at(x, f->due[child])->next_ms)
			child++;
		if (delivery_at(x, f->due[child])->next_ms >= key)
			break;
		due_put_at(x, f, at, f->due[child]);
		at = child;
	}
	due_put_at(x, f, at, ref);
}

static void due_add(struct index *x, struct flow *f, uint32_t ref)
{
	MUST(f->n < f->cap);
	due_up(x, f, f->n++, ref);
}

void index_due_remove(struct index *x, struct flow *f, uint32_t at)
{
	uint32_t gone = f->due[at], last = f->due[--f->n];

	delivery_at(x, gone)->at = NONE;
	if (at == f->n)
		return;
	due_up(x, f, at, last);
	due_down(x, f, delivery_at(x, last)->at, last);
}

/* Room for every delivery that is or may become due exists before it is added: so a lease can end
 * without memory. */
static bool due_reserve(struct flow *f)
{
	uint32_t cap = f->cap + f->cap / 2 + 1;
	uint32_t *due;

	if (f->refs < f->cap)
		return true;
	due = realloc(f->due, cap * sizeof *due);
	if (!due)
		return false;
	f->due = due;
	f->cap = cap;
	return true;
}

static void due_shrink(struct flow *f)
{
	uint32_t *due;

	if (f->cap < 64 || f->refs >= f->cap / 4)
		return;
	due = realloc(f->due, f->cap / 2 * sizeof *due);
	if (!due)
		return;
	f->due = due;
	f->cap /= 2;
}

/* Nobody has it in hand, and it may be taken when its time has come. */
static bool may_be_due(const struct delivery *dl)
{
	return dl->pending && !(dl->flags & (DELIVERY_LEASED | DELIVERY_BUSY | DELIVERY_HELD));
}

/* -- messages -- */

struct index *index_new(const uint64_t hash_key[2])
{
	struct index *x = calloc(1, sizeof *x);

	if (!x)
		return NULL;
	slab_init(&x->entries, sizeof(struct entry));
	slab_init(&x->multi, sizeof(struct multi));
	map_init(&x->dests, hash_key);
	map_init(&x->origins, hash_key);
	map_init(&x->pairs, hash_key);
	map_init(&x->holds, hash_key);
	x->line_end = &x->line;
	return x;
}

void index_free(struct index *x)
{
	struct entry *e;
	size_t at = 0;

	if (!x)
		return;
	while ((e = index_each(x, &at)))
		if (e->n_deliveries > 1)
			free(e->u.many);
	index_flows_done(x);
	slab_done(&x->entries);
	slab_done(&x->multi);
	free(x->by_id);
	free(x);
}

static uint8_t *flags_of(const struct index *x, struct entry *e)
{
	return &index_delivery(x, e, 0)->entry_flags;
}

/* Ends what a delivery takes part in, lease, heap and counts. */
static void delivery_out(struct index *x, struct delivery *dl)
{
	struct flow *f = x->flow[dl->flow];

	if (dl->flags & DELIVERY_LEASED)
		x->count.leased--;
	if (dl->at != NONE)
		index_due_remove(x, f, dl->at);
	f->refs--;
	due_shrink(f);
	index_flow_place(x, f);
}

static bool add_delivery(struct index *x, struct delivery *dl, const struct index_message *m,
			 uint32_t number)
{
	struct flow *f = index_flow(x, m->account, m->key_id, m->dests[number]);

	if (!f || !due_reserve(f)) {
		if (f)
			index_flow_place(x, f);
		return false;
	}
	*dl = (struct delivery){ .next_ms = m->due_ms,
				 .flow = f->number,
				 .at = NONE,
				 .pending = (uint16_t)m->rcpts[number] };
	f->refs++;
	return true;
}

static bool add_many(struct index *x, struct entry *e, uint32_t entry,
		     const struct index_message *m)
{
	struct delivery_list *l = malloc(sizeof *l + m->n_deliveries * sizeof l->at[0]);
	uint32_t n = 0;

	if (!l)
		return false;
	for (; n < m->n_deliveries; n++) {
		if (!slab_add(&x->multi, &l->at[n]))
			break;
		*multi_at(x, l->at[n]) = (struct multi){ .entry = entry, .number = n };
		if (!add_delivery(x, &multi_at(x, l->at[n])->d, m, n)) {
			slab_drop(&x->multi, l->at[n]);
			break;
		}
	}
	if (n < m->n_deliveries) {
		while (n--) {
			delivery_out(x, &multi_at(x, l->at[n])->d);
			slab_drop(&x->multi, l->at[n]);
		}
		free(l);
		return false;
	}
	l->open = m->n_deliveries;
	e->u.many = l;
	return true;
}

struct entry *index_add(struct index *x, const struct index_message *m)
{
	struct entry *e;
	uint32_t entry;

	if (m->n_rcpts > INDEX_RCPTS_MAX || !m->n_deliveries || m->n_deliveries > m->n_rcpts)
		return NULL;
	if ((x->n + 1) * 4 > x->by_id_cap * 3 &&
	    !by_id_resize(x, x->by_id_cap ? x->by_id_cap * 2 : BY_ID_LEAST))
		return NULL;
	if (!slab_add(&x->entries, &entry))
		return NULL;
	e = entry_at(x, entry);
	*e = (struct entry){ .id = m->id,
			     .put = m->put,
			     .size_low = (uint32_t)m->size,
			     .size_high = (uint16_t)(m->size >> 32),
			     .accepted_low = (uint32_t)m->accepted_ms,
			     .accepted_high = (uint16_t)(m->accepted_ms >> 32),
			     .n_rcpts = (uint16_t)m->n_rcpts,
			     .n_deliveries = (uint16_t)m->n_deliveries };
	if (m->n_deliveries == 1 ? !add_delivery(x, &e->u.one, m, 0) : !add_many(x, e, entry, m)) {
		e->n_deliveries = 0;
		slab_drop(&x->entries, entry);
		return NULL;
	}
	*flags_of(x, e) = m->file ? ENTRY_FILE : 0;
	x->by_id[slot_of(x, m->id)] = entry;
	x->n++;
	return e;
}

bool entry_in_file(const struct index *x, struct entry *e)
{
	return *flags_of(x, e) & ENTRY_FILE;
}

bool index_published(const struct index *x, struct entry *e)
{
	return *flags_of(x, e) & ENTRY_PUBLISHED;
}

/* The number by which the heaps know a delivery. */
static uint32_t ref_of(const struct index *x, const struct entry *e, uint32_t number)
{
	return e->n_deliveries == 1 ? x->by_id[slot_of(x, e->id)] : e->u.many->at[number] | MULTI;
}

void index_publish(struct index *x, struct entry *e)
{
	*flags_of(x, e) |= ENTRY_PUBLISHED;
	x->count.messages++;
	x->count.bytes_live += entry_size(e);
	if (entry_in_file(x, e))
		x->file_bytes += entry_size(e);
	for (uint32_t i = 0; i < e->n_deliveries; i++) {
		struct flow *f = x->flow[index_delivery(x, e, i)->flow];

		index_flow_pending(x, f, 1);
		due_add(x, f, ref_of(x, e, i));
		index_flow_place(x, f);
	}
}

void index_remove(struct index *x, struct entry *e)
{
	size_t slot = slot_of(x, e->id);
	uint32_t entry = x->by_id[slot];
	bool published = index_published(x, e);

	MUST(entry != NONE);
	if (published) {
		x->count.messages--;
		x->count.bytes_live -= entry_size(e);
		if (entry_in_file(x, e))
			x->file_bytes -= entry_size(e);
	}
	for (uint32_t i = e->n_deliveries; i-- > 0;) {
		struct delivery *dl = index_delivery(x, e, i);

		if (published) {
			x->count.failed_rcpts -= dl->failed;
			if (dl->flags & DELIVERY_HELD && dl->pending)
				x->count.held--;
			if (dl->pending)
				index_flow_pending(x, x->flow[dl->flow], -1);
		}
		delivery_out(x, dl);
		if (e->n_deliveries > 1)
			slab_drop(&x->multi, e->u.many->at[i]);
	}
	if (e->n_deliveries > 1)
		free(e->u.many);
	by_id_remove(x, slot);
	e->n_deliveries = 0; /* a walk passes it over */
	slab_drop(&x->entries, entry);
}

static bool complete(const struct index *x, struct entry *e)
{
	if (e->n_deliveries > 1 && e->u.many->open)
		return false;
	for (uint32_t i = 0; i < e->n_deliveries; i++) {
		const struct delivery *dl = index_delivery(x, e, i);

		if (dl->pending || dl->failed)
			return false;
	}
	return true;
}

static bool counts_as_held(const struct delivery *dl)
{
	return dl->flags & DELIVERY_HELD && dl->pending;
}

/* Puts a delivery where it belongs after something about it has changed. */
static void delivery_place(struct index *x, struct entry *e, uint32_t number, struct delivery *dl)
{
	struct flow *f = x->flow[dl->flow];

	if (dl->at != NONE)
		index_due_remove(x, f, dl->at);
	if (may_be_due(dl))
		due_add(x, f, ref_of(x, e, number));
	index_flow_place(x, f);
}

void index_busy(struct index *x, struct entry *e, uint32_t number, bool on)
{
	struct delivery *dl = index_delivery(x, e, number);

	dl->flags = (uint8_t)(on ? dl->flags | DELIVERY_BUSY : dl->flags & ~DELIVERY_BUSY);
	/* One that is leased is in no heap, before and after. */
	if (!(dl->flags & DELIVERY_LEASED))
		delivery_place(x, e, number, dl);
}

bool index_settle(struct index *x, struct entry *e, uint32_t number, const struct index_outcome *o)
{
	struct delivery *dl = index_delivery(x, e, number);
	struct flow *f = x->flow[dl->flow];

	if (dl->flags & DELIVERY_LEASED && !o->by_hand) {
		x->count.leased--;
		dl->flags &= (uint8_t)~DELIVERY_LEASED;
	}
	if (!dl->pending != !o->pending) {
		index_flow_pending(x, f, o->pending ? 1 : -1);
		if (e->n_deliveries > 1)
			e->u.many->open += o->pending ? 1 : UINT32_MAX;
	}
	if (o->retry && !f->out)
		f->not_before_ms = 0;
	x->count.held -= counts_as_held(dl);
	x->count.failed_rcpts += o->failed;
	x->count.failed_rcpts -= dl->failed;
	dl->failed = (uint16_t)o->failed;
	dl->attempts = (uint16_t)(o->attempts < UINT16_MAX ? o->attempts : UINT16_MAX);
	dl->pending = (uint16_t)o->pending;
	dl->next_ms = o->pending ? o->next_ms : UINT64_MAX;
	dl->flags = (uint8_t)(o->held ? dl->flags | DELIVERY_HELD : dl->flags & ~DELIVERY_HELD);
	x->count.held += counts_as_held(dl);
	/* Its place goes by what was changed here. */
	if (dl->at != NONE || may_be_due(dl))
		delivery_place(x, e, number, dl);
	else
		index_flow_place(x, f);
	return complete(x, e);
}

/* -- figures -- */

void index_count(const struct index *x, struct spool_count *ret)
{
	*ret = x->count;
}

size_t index_messages(const struct index *x)
{
	return x->n;
}

uint64_t index_file_bytes(const struct index *x)
{
	return x->file_bytes;
}

uint64_t index_memory(const struct index *x)
{
	uint64_t n = x->entries.bytes + x->multi.bytes + x->by_id_cap * sizeof *x->by_id;

	for (uint32_t i = 0; i < x->n_flow; i++)
		if (x->flow[i])
			n += sizeof *x->flow[i] + x->flow[i]->dest->name_n +
			     x->flow[i]->cap * sizeof(uint32_t);
	return n;
}

struct entry *index_each(const struct index *x, size_t *at)
{
	while (*at < x->by_id_cap) {
		uint32_t i = x->by_id[(*at)++];

		if (i != NONE)
			return entry_at(x, i);
	}
	return NULL;
}
