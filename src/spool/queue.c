/* spool/queue.c -- the slots of spool_backend that only ask the index. */
#include "spool/index_impl.h"

static struct dest *dest_find(const struct index *x, const struct spool_dest *name)
{
	return map_get(&x->names, slice(name->name, name->n));
}

size_t index_next(struct index *x, uint64_t now_ms, struct spool_dest *out, size_t max,
		  uint64_t *ret_wait_ms)
{
	struct heap_node *first;
	size_t n = 0;

	while (n < max && (first = heap_min(&x->dests)) && first->key <= now_ms) {
		struct dest *d =
		    (struct dest *)(void *)((char *)first - offsetof(struct dest, node));

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
		  struct spool_ticket *out, size_t max, bool *ret_more)
{
	struct dest *d = dest_find(x, name);
	size_t n = 0;

	while (d && n < max && d->n && delivery_at(x, d->due[0])->next_ms <= now_ms) {
		uint32_t ref = d->due[0];
		struct delivery *dl = delivery_at(x, ref);
		const struct multi *m = ref & MULTI ? multi_at(x, ref & ~MULTI) : NULL;
		const struct entry *e = entry_at(x, m ? m->entry : ref);

		index_due_remove(x, d, 0);
		dl->flags |= DELIVERY_LEASED;
		x->count.leased++;
		out[n++] = (struct spool_ticket){ .id = e->id,
						  .delivery = m ? m->number : 0,
						  .attempts = dl->attempts,
						  .accepted_ms = entry_accepted_ms(e),
						  .account = e->account };
	}
	*ret_more = d && d->n && delivery_at(x, d->due[0])->next_ms <= now_ms;
	if (d)
		index_dest_place(x, d);
	return n;
}

void index_park(struct index *x, const struct spool_dest *name, uint64_t not_before_ms)
{
	struct dest *d = dest_find(x, name);

	if (!d || !d->held)
		return;
	d->held = false;
	d->not_before_ms = not_before_ms;
	index_dest_place(x, d);
}

void index_release(struct index *x, const struct spool_ticket *t, uint64_t due_ms)
{
	struct entry *e = index_find(x, t->id);
	struct delivery *dl = e ? index_delivery(x, e, t->delivery) : NULL;

	if (dl && dl->flags & DELIVERY_LEASED)
		index_settle(x, e, t->delivery, dl->attempts, due_ms, dl->pending, dl->failed);
}

static bool fits(const struct index *x, struct entry *e, const struct spool_filter *f)
{
	bool pending = false, failed = false, to = f->dest.n == 0;

	if (!index_published(x, e) || (f->account && e->account != f->account))
		return false;
	for (uint32_t i = 0; i < e->n_deliveries; i++) {
		const struct delivery *dl = index_delivery(x, e, i);
		const struct dest *d = x->dest[dl->dest];

		if (f->dest.n && !slice_eq(slice(d->name, d->name_n), f->dest))
			continue;
		to = true;
		pending |= dl->pending > 0;
		failed |= dl->failed > 0;
	}
	switch (f->state) {
	case LIST_ALL: break;
	case LIST_PENDING: return to && pending;
	case LIST_FAILED: return to && failed;
	}
	return to;
}

static struct spool_row row_of(const struct index *x, struct entry *e)
{
	struct spool_row r = { .id = e->id,
			       .account = e->account,
			       .accepted_ms = entry_accepted_ms(e),
			       .size = entry_size(e),
			       .next_ms = UINT64_MAX,
			       .n_rcpts = e->n_rcpts };

	for (uint32_t i = 0; i < e->n_deliveries; i++) {
		const struct delivery *dl = index_delivery(x, e, i);

		r.pending += dl->pending;
		r.failed += dl->failed;
		r.leased |= (dl->flags & DELIVERY_LEASED) != 0;
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
		if ((after && id_cmp(e->id, *after) <= 0) ||
		    (n == max && id_cmp(e->id, out[0].id) > 0) || !fits(x, e, f))
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
