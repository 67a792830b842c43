/* spool/queue.c -- the slots of spool_backend that only ask the index. */
#include "spool/index_impl.h"

#include "base/must.h"

size_t index_take(struct index *x, uint32_t flow, uint64_t now_ms, struct spool_ticket *out,
		  size_t max, bool *ret_more)
{
	struct flow *f = flow < x->n_flow ? x->flow[flow] : NULL;
	size_t n = 0;

	MUST(f && f->out);
	*ret_more = false;
	if (f->origin->held)
		return 0;
	while (n < max && f->n && delivery_at(x, f->due[0])->next_ms <= now_ms) {
		uint32_t ref = f->due[0];
		struct delivery *dl = delivery_at(x, ref);
		const struct multi *m = ref & MULTI ? multi_at(x, ref & ~MULTI) : NULL;
		const struct entry *e = entry_at(x, m ? m->entry : ref);

		index_due_remove(x, f, 0);
		dl->flags |= DELIVERY_LEASED;
		x->count.leased++;
		out[n++] = (struct spool_ticket){ .id = e->id,
						  .delivery = m ? m->number : 0,
						  .attempts = dl->attempts,
						  .accepted_ms = entry_accepted_ms(e),
						  .account = f->origin->account };
	}
	*ret_more = f->n && delivery_at(x, f->due[0])->next_ms <= now_ms;
	return n;
}

void index_park(struct index *x, uint32_t flow, uint64_t not_before_ms)
{
	struct flow *f = flow < x->n_flow ? x->flow[flow] : NULL;

	MUST(f && f->out);
	f->out = false;
	f->not_before_ms = not_before_ms;
	index_flow_place(x, f);
}

void index_release(struct index *x, const struct spool_ticket *t, uint64_t due_ms)
{
	struct entry *e = index_find(x, t->id);
	struct delivery *dl = e ? index_delivery(x, e, t->delivery) : NULL;

	if (dl && dl->flags & DELIVERY_LEASED)
		(void)index_settle(x, e, t->delivery,
				   &(struct index_outcome){ .next_ms = due_ms,
							    .attempts = dl->attempts,
							    .pending = dl->pending,
							    .failed = dl->failed,
							    .held = dl->flags & DELIVERY_HELD });
}

void index_standing(const struct index *x, const struct delivery *dl, struct spool_standing *ret)
{
	const struct flow *f = x->flow[dl->flow];

	ret->leased = dl->flags & DELIVERY_LEASED;
	ret->stopped = f->origin->held;
	ret->parked_ms = f->not_before_ms;
}

/* -- looking through all of it -- */

/* A filter with its names looked up. */
struct sieve {
	const struct spool_filter *f;
	const struct dest *dest;
};

static struct slice key_of(const struct origin *o)
{
	return slice_from(slice(o->key, o->key_n), sizeof o->account);
}

static bool delivery_fits(const struct index *x, const struct sieve *v, const struct delivery *dl)
{
	const struct flow *f = x->flow[dl->flow];

	if (v->f->dest.n && f->dest != v->dest)
		return false;
	if (v->f->dests && !map_get(v->f->dests, slice(f->dest->name, f->dest->name_n)))
		return false;
	switch (v->f->state) {
	case LIST_ALL: break;
	case LIST_PENDING: return dl->pending;
	case LIST_DEFERRED: return dl->pending && dl->attempts;
	case LIST_LEASED: return dl->flags & DELIVERY_LEASED;
	case LIST_HELD: return dl->pending && (dl->flags & DELIVERY_HELD || f->origin->held);
	case LIST_FAILED: return dl->failed;
	}
	return true;
}

static bool fits(const struct index *x, const struct sieve *v, struct entry *e)
{
	const struct spool_filter *f = v->f;
	const struct origin *o;

	if (!e->n_deliveries || !index_published(x, e) ||
	    (f->before_ms && entry_accepted_ms(e) >= f->before_ms))
		return false;
	o = x->flow[index_delivery(x, e, 0)->flow]->origin;
	if ((f->account && o->account != f->account) ||
	    (f->key_id.n && !slice_eq(key_of(o), f->key_id)))
		return false;
	for (uint32_t i = 0; i < e->n_deliveries; i++)
		if (delivery_fits(x, v, index_delivery(x, e, i)))
			return true;
	return false;
}

static struct spool_row row_of(const struct index *x, struct entry *e)
{
	const struct origin *o = x->flow[index_delivery(x, e, 0)->flow]->origin;
	struct slice key = key_of(o);
	struct spool_row r = { .id = e->id,
			       .account = o->account,
			       .accepted_ms = entry_accepted_ms(e),
			       .size = entry_size(e),
			       .next_ms = UINT64_MAX,
			       .n_rcpts = e->n_rcpts,
			       .n_deliveries = e->n_deliveries,
			       .stopped = o->held };

	memcpy(r.key_id, key.p, key.n < sizeof r.key_id ? key.n : sizeof r.key_id - 1);
	for (uint32_t i = 0; i < e->n_deliveries; i++) {
		const struct delivery *dl = index_delivery(x, e, i);

		r.pending += dl->pending;
		r.failed += dl->failed;
		r.leased |= (dl->flags & DELIVERY_LEASED) != 0;
		r.held |= dl->pending && dl->flags & DELIVERY_HELD;
		r.attempts = dl->attempts > r.attempts ? dl->attempts : r.attempts;
		if (dl->pending && dl->next_ms < r.next_ms)
			r.next_ms = dl->next_ms;
	}
	return r;
}

/* Looked at in one call, so that whoever waits for the lock does not wait long. */
#define WALK_AT_ONCE 8192

size_t index_walk(const struct index *x, const struct spool_filter *f, uint64_t *at,
		  struct spool_row *out, size_t max)
{
	struct sieve v = { .f = f, .dest = f->dest.n ? map_get(&x->dests, f->dest) : NULL };
	uint32_t i = (uint32_t)*at;
	struct entry *e = NULL;
	size_t n = 0;

	for (unsigned seen = 0; n < max && seen < WALK_AT_ONCE; seen++, i++) {
		e = slab_from(&x->entries, &i);
		if (!e)
			break;
		if (fits(x, &v, e))
			out[n++] = row_of(x, e);
	}
	*at = e || n == max ? i : WALK_END;
	return n;
}
