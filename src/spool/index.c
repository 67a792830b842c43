#include "spool/index.h"

#include "base/heap.h"
#include "base/map.h"
#include "base/must.h"

#include <stdlib.h>

#define NONE  UINT32_MAX
#define CHUNK 4096u

/* Records of one size in chunks, so that none ever moves, with a list of free ones. */
struct slab {
	char **chunks;
	size_t size;
	uint32_t n, n_chunks, free_head, live;
};

struct dest {
	struct heap_node node; /* in index.dests while it has work and is not held */
	uint64_t not_before_ms;
	uint32_t *due; /* heap of deliveries by next_ms */
	uint32_t n, cap;
	uint32_t leased, number;
	uint16_t name_n;
	bool held;
	char name[];
};

struct index {
	struct slab entries, deliveries;
	uint32_t *by_id; /* open addressing: entry number or NONE */
	size_t by_id_cap;
	struct map names; /* of struct dest */
	struct dest **dest; /* by number; free ones NULL */
	uint32_t n_dest, cap_dest;
	uint32_t *free_dest, n_free_dest;
	struct heap dests;
	struct spool_count count;
};

/* -- slabs -- */

static void *slab_at(const struct slab *s, uint32_t i)
{
	return s->chunks[i / CHUNK] + (size_t)(i % CHUNK) * s->size;
}

static bool slab_add(struct slab *s, uint32_t *ret)
{
	if (s->free_head != NONE) {
		*ret = s->free_head;
		memcpy(&s->free_head, slab_at(s, *ret), sizeof s->free_head);
	} else {
		if (s->n == s->n_chunks * CHUNK) {
			char **chunks = realloc(s->chunks, (s->n_chunks + 1) * sizeof *chunks);

			if (!chunks)
				return false;
			s->chunks = chunks;
			chunks[s->n_chunks] = malloc(CHUNK * s->size);
			if (!chunks[s->n_chunks])
				return false;
			s->n_chunks++;
		}
		*ret = s->n++;
	}
	memset(slab_at(s, *ret), 0, s->size);
	s->live++;
	return true;
}

static void slab_reset(struct slab *s)
{
	for (uint32_t i = 0; i < s->n_chunks; i++)
		free(s->chunks[i]);
	free(s->chunks);
	*s = (struct slab){ .size = s->size, .free_head = NONE };
}

static void slab_drop(struct slab *s, uint32_t i)
{
	memcpy(slab_at(s, i), &s->free_head, sizeof s->free_head);
	s->free_head = i;
	/* Drained: what a backlog took is given back. */
	if (--s->live == 0)
		slab_reset(s);
}

static struct entry *entry_at(const struct index *x, uint32_t i)
{
	return slab_at(&x->entries, i);
}

static struct delivery *delivery_at(const struct index *x, uint32_t i)
{
	return slab_at(&x->deliveries, i);
}

/* -- by id -- */

/* The random half of an id is as good as a hash of it. */
static size_t home_of(const struct index *x, struct id id)
{
	uint64_t v;

	memcpy(&v, id.b + 8, sizeof v);
	return (size_t)v & (x->by_id_cap - 1);
}

static bool by_id_grow(struct index *x)
{
	size_t cap = x->by_id_cap ? x->by_id_cap * 2 : 1024;
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

static void by_id_remove(struct index *x, struct id id)
{
	size_t mask = x->by_id_cap - 1, hole = slot_of(x, id);

	for (size_t i = (hole + 1) & mask; x->by_id[i] != NONE; i = (i + 1) & mask) {
		size_t home = home_of(x, entry_at(x, x->by_id[i])->id);

		if (((i - home) & mask) >= ((i - hole) & mask)) {
			x->by_id[hole] = x->by_id[i];
			hole = i;
		}
	}
	x->by_id[hole] = NONE;
}

struct entry *index_find(const struct index *x, struct id id)
{
	size_t i;

	if (!x->count.messages)
		return NULL;
	i = slot_of(x, id);
	return x->by_id[i] == NONE ? NULL : entry_at(x, x->by_id[i]);
}

/* -- destinations -- */

static struct dest *dest_find(const struct index *x, struct slice name)
{
	return map_get(&x->names, name);
}

static bool dest_number(struct index *x, struct dest *d)
{
	if (x->n_free_dest) {
		d->number = x->free_dest[--x->n_free_dest];
	} else {
		if (x->n_dest == x->cap_dest) {
			uint32_t cap = x->cap_dest ? x->cap_dest * 2 : 64;
			struct dest **dest = realloc(x->dest, cap * sizeof(struct dest *));
			uint32_t *free_dest;

			if (!dest)
				return false;
			x->dest = dest;
			free_dest = realloc(x->free_dest, cap * sizeof *free_dest);
			if (!free_dest)
				return false;
			x->free_dest = free_dest;
			x->cap_dest = cap;
		}
		d->number = x->n_dest++;
	}
	x->dest[d->number] = d;
	return true;
}

static struct dest *dest_make(struct index *x, struct slice name)
{
	struct dest *d = dest_find(x, name);

	if (d)
		return d;
	d = calloc(1, sizeof *d + name.n);
	if (!d)
		return NULL;
	d->node.at = HEAP_OUT;
	d->name_n = (uint16_t)name.n;
	memcpy(d->name, name.p, name.n);
	if (!map_put(&x->names, name, d)) {
		free(d);
		return NULL;
	}
	if (!dest_number(x, d)) {
		map_remove(&x->names, name);
		free(d);
		return NULL;
	}
	return d;
}

static void dest_tidy(struct index *x, struct dest *d)
{
	if (d->n || d->leased || d->held)
		return;
	heap_remove(&x->dests, &d->node);
	map_remove(&x->names, slice(d->name, d->name_n));
	x->dest[d->number] = NULL;
	x->free_dest[x->n_free_dest++] = d->number;
	free(d->due);
	free(d);
}

/* Where the destination belongs among those that wait for their time. */
static void dest_place(struct index *x, struct dest *d)
{
	uint64_t due;

	if (d->held || !d->n) {
		heap_remove(&x->dests, &d->node);
		return;
	}
	due = delivery_at(x, d->due[0])->next_ms;
	/* Room in this heap is normally there since the destination was made: see add_delivery(). */
	MUST(heap_set(&x->dests, &d->node, due > d->not_before_ms ? due : d->not_before_ms));
}

static void due_put_at(struct index *x, struct dest *d, uint32_t at, uint32_t i)
{
	d->due[at] = i;
	delivery_at(x, i)->at = at;
}

static void due_up(struct index *x, struct dest *d, uint32_t at, uint32_t i)
{
	uint64_t key = delivery_at(x, i)->next_ms;

	while (at && delivery_at(x, d->due[(at - 1) / 2])->next_ms > key) {
		due_put_at(x, d, at, d->due[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	due_put_at(x, d, at, i);
}

static void due_down(struct index *x, struct dest *d, uint32_t at, uint32_t i)
{
	uint64_t key = delivery_at(x, i)->next_ms;

	for (;;) {
		uint32_t child = at * 2 + 1;

		if (child >= d->n)
			break;
		if (child + 1 < d->n &&
		    delivery_at(x, d->due[child + 1])->next_ms < delivery_at(x, d->due[child])->next_ms)
			child++;
		if (delivery_at(x, d->due[child])->next_ms >= key)
			break;
		due_put_at(x, d, at, d->due[child]);
		at = child;
	}
	due_put_at(x, d, at, i);
}

/* Room for every delivery of a destination, waiting or leased, exists before it is added: so a
 * lease can end without memory. */
static bool due_reserve(struct dest *d)
{
	uint32_t need = d->n + d->leased + 1, cap = d->cap ? d->cap : 4;
	uint32_t *due;

	if (need <= d->cap)
		return true;
	while (cap < need)
		cap *= 2;
	due = realloc(d->due, cap * sizeof *due);
	if (!due)
		return false;
	d->due = due;
	d->cap = cap;
	return true;
}

static void due_add(struct index *x, struct dest *d, uint32_t i)
{
	due_up(x, d, d->n++, i);
}

static void due_remove(struct index *x, struct dest *d, uint32_t at)
{
	uint32_t gone = d->due[at], last = d->due[--d->n];

	delivery_at(x, gone)->at = NONE;
	if (at == d->n)
		return;
	due_up(x, d, at, last);
	due_down(x, d, delivery_at(x, last)->at, last);
}

/* -- messages -- */

struct index *index_new(const uint64_t hash_key[2])
{
	struct index *x = calloc(1, sizeof *x);

	if (!x)
		return NULL;
	x->entries = (struct slab){ .size = sizeof(struct entry), .free_head = NONE };
	x->deliveries = (struct slab){ .size = sizeof(struct delivery), .free_head = NONE };
	map_init(&x->names, hash_key);
	return x;
}

void index_free(struct index *x)
{
	if (!x)
		return;
	heap_done(&x->dests);
	for (uint32_t i = 0; i < x->n_dest; i++)
		if (x->dest[i]) {
			free(x->dest[i]->due);
			free(x->dest[i]);
		}
	map_done(&x->names);
	slab_reset(&x->entries);
	slab_reset(&x->deliveries);
	free(x->by_id);
	free(x->dest);
	free(x->free_dest);
	free(x);
}

/* Takes apart what index_put() began. */
static void drop_deliveries(struct index *x, struct entry *e)
{
	uint32_t i = e->first;

	while (i != NONE) {
		struct delivery *dl = delivery_at(x, i);
		struct dest *d = x->dest[dl->dest];
		uint32_t next = dl->next;

		if (dl->leased) {
			d->leased--;
			x->count.leased--;
		}
		if (dl->at != NONE)
			due_remove(x, d, dl->at);
		if (dl->pending)
			x->count.pending_deliveries--;
		dest_place(x, d);
		dest_tidy(x, d);
		slab_drop(&x->deliveries, i);
		i = next;
	}
	e->first = NONE;
}

static bool add_delivery(struct index *x, struct entry *e, uint32_t entry, struct slice name,
    uint64_t due_ms)
{
	struct dest *d = dest_make(x, name);
	struct delivery *dl;
	uint32_t i;

	if (!d)
		return false;
	/* Its place among the destinations, made while failing is still possible. */
	if (!due_reserve(d) || (d->node.at == HEAP_OUT && !d->held &&
	                           !heap_set(&x->dests, &d->node, UINT64_MAX)) ||
	    !slab_add(&x->deliveries, &i)) {
		dest_tidy(x, d);
		return false;
	}
	dl = delivery_at(x, i);
	*dl = (struct delivery){ .next_ms = due_ms, .entry = entry, .dest = d->number, .next = e->first };
	e->first = i;
	due_add(x, d, i);
	dest_place(x, d);
	return true;
}

struct entry *index_put(struct index *x, const struct spool_envelope *env, uint64_t due_ms,
    struct place place)
{
	struct entry *e;
	uint32_t entry;

	if ((x->count.messages + 1) * 4 > x->by_id_cap * 3 && !by_id_grow(x))
		return NULL;
	if (!slab_add(&x->entries, &entry))
		return NULL;
	e = entry_at(x, entry);
	*e = (struct entry){ .id = env->id,
		.account = env->account,
		.accepted_ms = env->accepted_ms,
		.size = env->size,
		.put = place,
		.n_rcpts = env->n_rcpts,
		.n_deliveries = env->n_deliveries,
		.open = env->n_deliveries,
		.first = NONE };
	/* Backwards, so that the chain runs forwards. */
	for (uint32_t i = env->n_deliveries; i-- > 0;)
		if (!add_delivery(x, e, entry, env->dests[i], due_ms)) {
			drop_deliveries(x, e);
			slab_drop(&x->entries, entry);
			return NULL;
		}
	for (uint32_t i = 0; i < env->n_rcpts; i++)
		index_delivery(x, e, env->rcpts[i].delivery)->pending++;
	x->by_id[slot_of(x, env->id)] = entry;
	x->count.messages++;
	x->count.pending_deliveries += env->n_deliveries;
	x->count.bytes_live += e->size;
	return e;
}

struct delivery *index_delivery(const struct index *x, const struct entry *e, uint32_t number)
{
	uint32_t i = e->first;

	if (number >= e->n_deliveries)
		return NULL;
	while (number--)
		i = delivery_at(x, i)->next;
	return delivery_at(x, i);
}

bool index_settle(struct index *x, struct entry *e, struct delivery *dl, uint32_t attempts,
    uint64_t next_ms, uint32_t pending, uint32_t failed)
{
	struct dest *d = x->dest[dl->dest];
	uint32_t number = dl->at != NONE ? d->due[dl->at] : NONE;

	if (dl->leased) {
		dl->leased = false;
		d->leased--;
		x->count.leased--;
	}
	if (number != NONE)
		due_remove(x, d, dl->at);
	if (dl->pending && !pending) {
		e->open--;
		x->count.pending_deliveries--;
	}
	x->count.failed_rcpts += failed - dl->failed;
	e->failed += failed - dl->failed;
	dl->failed = failed;
	dl->attempts = attempts;
	dl->pending = pending;
	dl->next_ms = pending ? next_ms : UINT64_MAX;
	if (pending) {
		if (number == NONE) {
			number = e->first;
			while (delivery_at(x, number) != dl)
				number = delivery_at(x, number)->next;
		}
		due_add(x, d, number);
	}
	dest_place(x, d);
	dest_tidy(x, d);
	return e->open == 0 && e->failed == 0;
}

void index_remove(struct index *x, struct entry *e)
{
	size_t slot = slot_of(x, e->id);
	uint32_t entry = x->by_id[slot];

	MUST(entry != NONE);
	x->count.messages--;
	x->count.bytes_live -= e->size;
	x->count.failed_rcpts -= e->failed;
	/* A delivery that is settled may have outlived its destination's record. */
	for (uint32_t i = e->first; i != NONE;) {
		struct delivery *dl = delivery_at(x, i);
		uint32_t next = dl->next;

		if (dl->pending || dl->leased) {
			struct dest *d = x->dest[dl->dest];

			if (dl->leased) {
				d->leased--;
				x->count.leased--;
			}
			if (dl->at != NONE)
				due_remove(x, d, dl->at);
			x->count.pending_deliveries -= dl->pending > 0;
			dest_place(x, d);
			dest_tidy(x, d);
		}
		slab_drop(&x->deliveries, i);
		i = next;
	}
	by_id_remove(x, e->id);
	slab_drop(&x->entries, entry);
	if (!x->count.messages) {
		free(x->by_id);
		x->by_id = NULL;
		x->by_id_cap = 0;
	}
}

/* -- the queue's slots -- */

size_t index_next(struct index *x, uint64_t now_ms, struct spool_dest *out, size_t max,
    uint64_t *ret_wait_ms)
{
	struct heap_node *first;
	size_t n = 0;

	while (n < max && (first = heap_min(&x->dests)) && first->key <= now_ms) {
		struct dest *d = (struct dest *)(void *)((char *)first - offsetof(struct dest, node));

		heap_remove(&x->dests, first);
		d->held = true;
		memcpy(out[n].name, d->name, d->name_n);
		out[n++].n = d->name_n;
	}
	first = heap_min(&x->dests);
	*ret_wait_ms = first ? first->key : UINT64_MAX;
	return n;
}

size_t index_take(struct index *x, const struct spool_dest *name, uint64_t now_ms,
    struct spool_ticket *out, size_t max)
{
	struct dest *d = dest_find(x, slice(name->name, name->n));
	size_t n = 0;

	while (d && n < max && d->n && delivery_at(x, d->due[0])->next_ms <= now_ms) {
		struct delivery *dl = delivery_at(x, d->due[0]);
		struct entry *e = entry_at(x, dl->entry);
		uint32_t number = 0;

		for (uint32_t i = e->first; delivery_at(x, i) != dl; i = delivery_at(x, i)->next)
			number++;
		due_remove(x, d, 0);
		dl->leased = true;
		d->leased++;
		x->count.leased++;
		out[n++] = (struct spool_ticket){ .id = e->id,
			.delivery = number,
			.attempts = dl->attempts,
			.accepted_ms = e->accepted_ms,
			.account = e->account };
	}
	return n;
}

void index_park(struct index *x, const struct spool_dest *name, uint64_t not_before_ms)
{
	struct dest *d = dest_find(x, slice(name->name, name->n));

	if (!d || !d->held)
		return;
	d->held = false;
	d->not_before_ms = not_before_ms;
	dest_place(x, d);
	dest_tidy(x, d);
}

void index_release(struct index *x, const struct spool_ticket *t, uint64_t due_ms)
{
	struct entry *e = index_find(x, t->id);
	struct delivery *dl = e ? index_delivery(x, e, t->delivery) : NULL;

	if (dl && dl->leased)
		index_settle(x, e, dl, dl->attempts, due_ms, dl->pending, dl->failed);
}

static bool fits(const struct index *x, const struct entry *e, const struct spool_filter *f)
{
	bool to = f->dest.n == 0;

	if (f->account && e->account != f->account)
		return false;
	if (f->state == LIST_FAILED && !e->failed)
		return false;
	if (f->state == LIST_PENDING && !e->open)
		return false;
	for (uint32_t i = e->first; !to && i != NONE; i = delivery_at(x, i)->next) {
		const struct delivery *dl = delivery_at(x, i);

		/* A settled delivery no longer knows its destination. */
		if (dl->pending || dl->leased) {
			const struct dest *d = x->dest[dl->dest];

			to = slice_eq(slice(d->name, d->name_n), f->dest);
		}
	}
	return to;
}

static struct spool_row row_of(const struct index *x, const struct entry *e)
{
	struct spool_row r = { .id = e->id, .account = e->account, .accepted_ms = e->accepted_ms,
		.size = e->size, .next_ms = UINT64_MAX, .n_rcpts = e->n_rcpts, .failed = e->failed };

	for (uint32_t i = e->first; i != NONE; i = delivery_at(x, i)->next) {
		const struct delivery *dl = delivery_at(x, i);

		r.pending += dl->pending;
		r.leased |= dl->leased;
		r.attempts = dl->attempts > r.attempts ? dl->attempts : r.attempts;
		if (dl->pending && dl->next_ms < r.next_ms)
			r.next_ms = dl->next_ms;
	}
	return r;
}

static void sift(struct spool_row *rows, size_t n, size_t at)
{
	for (;;) {
		size_t child = at * 2 + 1;
		struct spool_row swap;

		if (child >= n)
			return;
		if (child + 1 < n && id_cmp(rows[child + 1].id, rows[child].id) > 0)
			child++;
		if (id_cmp(rows[child].id, rows[at].id) <= 0)
			return;
		swap = rows[at];
		rows[at] = rows[child];
		rows[child] = swap;
		at = child;
	}
}

/* One walk that keeps the max smallest in a heap with the largest on top: a page of a million
 * messages costs one look at each, and no memory. */
size_t index_list(const struct index *x, const struct spool_filter *f, const struct id *after,
    struct spool_row *out, size_t max)
{
	struct entry *e;
	size_t at = 0, n = 0;

	while (max && (e = index_each(x, &at))) {
		if ((after && id_cmp(e->id, *after) <= 0) || (n == max && id_cmp(e->id, out[0].id) > 0) ||
		    !fits(x, e, f))
			continue;
		if (n < max) {
			out[n++] = row_of(x, e);
			if (n == max)
				for (size_t i = n / 2; i-- > 0;)
					sift(out, n, i);
		} else {
			out[0] = row_of(x, e);
			sift(out, n, 0);
		}
	}
	if (n < max)
		for (size_t i = n / 2; i-- > 0;)
			sift(out, n, i);
	for (size_t left = n; left > 1;) {
		struct spool_row top = out[0];

		out[0] = out[--left];
		out[left] = top;
		sift(out, left, 0);
	}
	return n;
}

void index_count(const struct index *x, struct spool_count *ret)
{
	*ret = x->count;
	ret->destinations = x->names.n;
}

size_t index_messages(const struct index *x)
{
	return x->count.messages;
}

uint64_t index_memory(const struct index *x)
{
	uint64_t n = (uint64_t)x->entries.n_chunks * CHUNK * x->entries.size +
	    (uint64_t)x->deliveries.n_chunks * CHUNK * x->deliveries.size + x->by_id_cap * sizeof *x->by_id;

	for (uint32_t i = 0; i < x->n_dest; i++)
		if (x->dest[i])
			n += sizeof *x->dest[i] + x->dest[i]->name_n + x->dest[i]->cap * sizeof(uint32_t);
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
