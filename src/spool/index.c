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

/* -- destinations -- */

static bool dest_room(struct index *x)
{
	uint32_t cap = x->cap_dest ? x->cap_dest * 2 : 64;
	struct heap_node **nodes;
	struct dest **dest;
	uint32_t *free_dest;

	if (x->n_free_dest || x->n_dest < x->cap_dest)
		return true;
	dest = realloc(x->dest, cap * sizeof(struct dest *));
	if (!dest)
		return false;
	x->dest = dest;
	free_dest = realloc(x->free_dest, cap * sizeof *free_dest);
	if (!free_dest)
		return false;
	x->free_dest = free_dest;
	/* Putting a destination into the heap can then not fail. */
	if (x->dests.cap < cap) {
		nodes = realloc(x->dests.nodes, cap * sizeof(struct heap_node *));
		if (!nodes)
			return false;
		x->dests.nodes = nodes;
		x->dests.cap = cap;
	}
	x->cap_dest = cap;
	return true;
}

static struct dest *dest_make(struct index *x, struct slice name)
{
	struct dest *d = map_get(&x->names, name);

	if (d || !dest_room(x))
		return d;
	d = calloc(1, sizeof *d + name.n);
	if (!d)
		return NULL;
	d->node.at = HEAP_OUT;
	d->name_n = (uint16_t)name.n;
	if (name.n)
		memcpy(d->name, name.p, name.n);
	if (!map_put(&x->names, name, d)) {
		free(d);
		return NULL;
	}
	d->number = x->n_free_dest ? x->free_dest[--x->n_free_dest] : x->n_dest++;
	x->dest[d->number] = d;
	return d;
}

/* Where the destination belongs among those that wait for their time; and out, without use. */
void index_dest_place(struct index *x, struct dest *d)
{
	uint64_t due;

	if (!d->refs && !d->held) {
		heap_remove(&x->dests, &d->node);
		map_remove(&x->names, slice(d->name, d->name_n));
		x->dest[d->number] = NULL;
		x->free_dest[x->n_free_dest++] = d->number;
		free(d->due);
		free(d);
		return;
	}
	if (d->held || !d->n) {
		heap_remove(&x->dests, &d->node);
		return;
	}
	due = delivery_at(x, d->due[0])->next_ms;
	/* Room was made for it with the destination. */
	MUST(heap_set(&x->dests, &d->node, due > d->not_before_ms ? due : d->not_before_ms));
}

/* -- what is due at a destination -- */

static void due_put_at(struct index *x, struct dest *d, uint32_t at, uint32_t ref)
{
	d->due[at] = ref;
	delivery_at(x, ref)->at = at;
}

static void due_up(struct index *x, struct dest *d, uint32_t at, uint32_t ref)
{
	uint64_t key = delivery_at(x, ref)->next_ms;

	while (at && delivery_at(x, d->due[(at - 1) / 2])->next_ms > key) {
		due_put_at(x, d, at, d->due[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	due_put_at(x, d, at, ref);
}

static void due_down(struct index *x, struct dest *d, uint32_t at, uint32_t ref)
{
	uint64_t key = delivery_at(x, ref)->next_ms;

	for (;;) {
		uint32_t child = at * 2 + 1;

		if (child >= d->n)
			break;
		if (child + 1 < d->n && delivery_at(x, d->due[child + 1])->next_ms <
					    delivery_at(x, d->due[child])->next_ms)
			child++;
		if (delivery_at(x, d->due[child])->next_ms >= key)
			break;
		due_put_at(x, d, at, d->due[child]);
		at = child;
	}
	due_put_at(x, d, at, ref);
}

static void due_add(struct index *x, struct dest *d, uint32_t ref)
{
	MUST(d->n < d->cap);
	due_up(x, d, d->n++, ref);
}

void index_due_remove(struct index *x, struct dest *d, uint32_t at)
{
	uint32_t gone = d->due[at], last = d->due[--d->n];

	delivery_at(x, gone)->at = NONE;
	if (at == d->n)
		return;
	due_up(x, d, at, last);
	due_down(x, d, delivery_at(x, last)->at, last);
}

/* Room for every delivery that is or may become due exists before it is added: so a lease can end
 * without memory. */
static bool due_reserve(struct dest *d)
{
	uint32_t cap = d->cap + d->cap / 2 + 1;
	uint32_t *due;

	if (d->refs < d->cap)
		return true;
	due = realloc(d->due, cap * sizeof *due);
	if (!due)
		return false;
	d->due = due;
	d->cap = cap;
	return true;
}

static void due_shrink(struct dest *d)
{
	uint32_t *due;

	if (d->cap < 64 || d->refs >= d->cap / 4)
		return;
	due = realloc(d->due, d->cap / 2 * sizeof *due);
	if (!due)
		return;
	d->due = due;
	d->cap /= 2;
}

/* A delivery begins or ends to have pending recipients. */
static void now_pending(struct index *x, struct dest *d)
{
	x->count.pending_deliveries++;
	if (d->pending++ == 0)
		x->count.destinations++;
}

static void not_pending(struct index *x, struct dest *d)
{
	x->count.pending_deliveries--;
	if (--d->pending == 0)
		x->count.destinations--;
}

/* -- messages -- */

struct index *index_new(const uint64_t hash_key[2])
{
	struct index *x = calloc(1, sizeof *x);

	if (!x)
		return NULL;
	slab_init(&x->entries, sizeof(struct entry));
	slab_init(&x->multi, sizeof(struct multi));
	map_init(&x->names, hash_key);
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
	heap_done(&x->dests);
	for (uint32_t i = 0; i < x->n_dest; i++)
		if (x->dest[i]) {
			free(x->dest[i]->due);
			free(x->dest[i]);
		}
	map_done(&x->names);
	slab_done(&x->entries);
	slab_done(&x->multi);
	free(x->by_id);
	free(x->dest);
	free(x->free_dest);
	free(x);
}

static uint8_t *flags_of(const struct index *x, struct entry *e)
{
	return &index_delivery(x, e, 0)->entry_flags;
}

/* Ends what a delivery takes part in, lease, heap and counts. */
static void delivery_out(struct index *x, struct delivery *dl)
{
	struct dest *d = x->dest[dl->dest];

	if (dl->flags & DELIVERY_LEASED)
		x->count.leased--;
	if (dl->at != NONE)
		index_due_remove(x, d, dl->at);
	d->refs--;
	due_shrink(d);
	index_dest_place(x, d);
}

static bool add_delivery(struct index *x, struct delivery *dl, const struct index_message *m,
			 uint32_t number)
{
	struct dest *d = dest_make(x, m->dests[number]);

	if (!d || !due_reserve(d)) {
		if (d)
			index_dest_place(x, d);
		return false;
	}
	*dl = (struct delivery){ .next_ms = m->due_ms,
				 .dest = d->number,
				 .at = NONE,
				 .pending = (uint16_t)m->rcpts[number] };
	d->refs++;
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
			     .account = m->account,
			     .put = m->put,
			     .size_low = (uint32_t)m->size,
			     .size_high = (uint16_t)(m->size >> 32),
			     .accepted_low = (uint32_t)m->accepted_ms,
			     .accepted_high = (uint16_t)(m->accepted_ms >> 32),
			     .n_rcpts = (uint16_t)m->n_rcpts,
			     .n_deliveries = (uint16_t)m->n_deliveries };
	if (m->n_deliveries == 1 ? !add_delivery(x, &e->u.one, m, 0) : !add_many(x, e, entry, m)) {
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
		struct dest *d = x->dest[index_delivery(x, e, i)->dest];

		now_pending(x, d);
		due_add(x, d, ref_of(x, e, i));
		index_dest_place(x, d);
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
			if (dl->pending)
				not_pending(x, x->dest[dl->dest]);
		}
		delivery_out(x, dl);
		if (e->n_deliveries > 1)
			slab_drop(&x->multi, e->u.many->at[i]);
	}
	if (e->n_deliveries > 1)
		free(e->u.many);
	by_id_remove(x, slot);
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

bool index_settle(struct index *x, struct entry *e, uint32_t number, uint32_t attempts,
		  uint64_t next_ms, uint32_t pending, uint32_t failed)
{
	struct delivery *dl = index_delivery(x, e, number);
	struct dest *d = x->dest[dl->dest];

	if (dl->flags & DELIVERY_LEASED)
		x->count.leased--;
	dl->flags &= (uint8_t)~DELIVERY_LEASED;
	if (dl->at != NONE)
		index_due_remove(x, d, dl->at);
	if (dl->pending && !pending) {
		not_pending(x, d);
		if (e->n_deliveries > 1)
			e->u.many->open--;
	} else if (!dl->pending && pending) {
		now_pending(x, d);
		if (e->n_deliveries > 1)
			e->u.many->open++;
	}
	x->count.failed_rcpts += failed;
	x->count.failed_rcpts -= dl->failed;
	dl->failed = (uint16_t)failed;
	dl->attempts = (uint16_t)(attempts < UINT16_MAX ? attempts : UINT16_MAX);
	dl->pending = (uint16_t)pending;
	dl->next_ms = pending ? next_ms : UINT64_MAX;
	if (pending)
		due_add(x, d, ref_of(x, e, number));
	index_dest_place(x, d);
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

	for (uint32_t i = 0; i < x->n_dest; i++)
		if (x->dest[i])
			n += sizeof *x->dest[i] + x->dest[i]->name_n +
			     x->dest[i]->cap * sizeof(uint32_t);
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
