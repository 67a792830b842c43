/* spool/flow.c -- whose mail for where: origins, destinations, and a flow for each pair of them.
 *
 * An origin keeps its flows by time, and the index keeps the origins: so to hold what an account
 * or a key has queued is to take an origin out of its heap, however much there is. */
#include "spool/index_impl.h"

#include "base/must.h"

#include <stdlib.h>

static struct flow *flow_of(struct heap_node *n)
{
	return (struct flow *)(void *)((char *)n - offsetof(struct flow, node));
}

/* Room for a node more than there will be, so that putting one in cannot fail. */
static bool heap_room(struct heap *h, size_t n)
{
	size_t cap = h->cap ? h->cap * 2 : 4;
	struct heap_node **nodes;

	if (n <= h->cap)
		return true;
	nodes = realloc(h->nodes, cap * sizeof(struct heap_node *));
	if (!nodes)
		return false;
	h->nodes = nodes;
	h->cap = cap;
	return true;
}

/* -- origins -- */

#define KEY_ROOM 128

/* An account and a key as a key of the maps; in `room` when it fits, else allocated. */
static char *origin_key(uint64_t account, struct slice key_id, char room[KEY_ROOM], size_t *ret_n)
{
	size_t n = sizeof account + key_id.n;
	char *p = n <= KEY_ROOM ? room : malloc(n);

	if (!p)
		return NULL;
	memcpy(p, &account, sizeof account);
	if (key_id.n)
		memcpy(p + sizeof account, key_id.p, key_id.n);
	*ret_n = n;
	return p;
}

static bool is_held(const struct index *x, const struct origin *o)
{
	return x->holds.n && (map_get(&x->holds, slice(o->key, sizeof o->account)) ||
			      map_get(&x->holds, slice(o->key, o->key_n)));
}

static struct origin *origin_new(struct index *x, uint64_t account, const char *key, size_t n)
{
	struct origin *o =
	    heap_room(&x->waiting, x->origins.n + 1) ? calloc(1, sizeof *o + n) : NULL;

	if (!o)
		return NULL;
	o->node.at = HEAP_OUT;
	o->account = account;
	o->key_n = (uint32_t)n;
	memcpy(o->key, key, n);
	o->held = is_held(x, o);
	if (map_put(&x->origins, slice(key, n), o))
		return o;
	free(o);
	return NULL;
}

static struct origin *origin_make(struct index *x, uint64_t account, struct slice key_id)
{
	struct origin *o;
	char room[KEY_ROOM];
	size_t n;
	char *key = origin_key(account, key_id, room, &n);

	if (!key)
		return NULL;
	o = map_get(&x->origins, slice(key, n));
	if (!o)
		o = origin_new(x, account, key, n);
	if (key != room)
		free(key);
	return o;
}

static void origin_place(struct index *x, struct origin *o)
{
	struct heap_node *first = heap_min(&o->flows);

	/* In the line it is placed, or freed, when its turn comes. */
	if (o->in_line)
		return;
	if (!o->refs) {
		heap_remove(&x->waiting, &o->node);
		map_remove(&x->origins, slice(o->key, o->key_n));
		heap_done(&o->flows);
		free(o);
	} else if (o->held || !first) {
		heap_remove(&x->waiting, &o->node);
	} else {
		MUST(heap_set(&x->waiting, &o->node, first->key));
	}
}

static void line_up(struct index *x, struct origin *o)
{
	o->in_line = true;
	o->next = NULL;
	*x->line_end = o;
	x->line_end = &o->next;
}

static struct origin *line_pop(struct index *x)
{
	struct origin *o = x->line;

	x->line = o->next;
	if (!x->line)
		x->line_end = &x->line;
	o->in_line = false;
	return o;
}

/* What of it is due; NULL: nothing, or it is held. */
static struct flow *due_flow(const struct origin *o, uint64_t now_ms)
{
	struct heap_node *first = o->held ? NULL : heap_min(&o->flows);

	return first && first->key <= now_ms ? flow_of(first) : NULL;
}

size_t index_next(struct index *x, uint64_t now_ms, struct spool_dest *out, size_t max,
		  uint64_t *ret_wait_ms)
{
	struct heap_node *first;
	struct flow *f = NULL;
	size_t n = 0;

	while ((first = heap_min(&x->waiting)) && first->key <= now_ms) {
		heap_remove(&x->waiting, first);
		line_up(x,
			(struct origin *)(void *)((char *)first - offsetof(struct origin, node)));
	}
	while (x->line) {
		struct origin *o = x->line;

		f = due_flow(o, now_ms);
		if (f && n == max)
			break;
		line_pop(x);
		if (!f) {
			origin_place(x, o);
			continue;
		}
		f->out = true;
		heap_remove(&o->flows, &f->node);
		memcpy(out[n].name, f->dest->name, f->dest->name_n);
		out[n].n = f->dest->name_n;
		out[n].account = o->account;
		out[n++].flow = f->number;
		line_up(x, o);
	}
	*ret_wait_ms = UINT64_MAX;
	if (x->line)
		*ret_wait_ms = f->node.key;
	else if ((first = heap_min(&x->waiting)))
		*ret_wait_ms = first->key;
	return n;
}

static void origin_hold(struct index *x, struct origin *o)
{
	bool held = is_held(x, o);

	if (held == o->held)
		return;
	o->held = held;
	if (held)
		x->count.stopped += o->pending;
	else
		x->count.stopped -= o->pending;
	origin_place(x, o);
}

bool index_hold(struct index *x, uint64_t account, struct slice key_id, bool on)
{
	char room[KEY_ROOM];
	struct slice key;
	struct origin *o;
	size_t n, at = 0;
	char *name = origin_key(account, key_id, room, &n);

	if (!name || (on && !map_put(&x->holds, slice(name, n), x))) {
		if (name != room)
			free(name);
		return false;
	}
	if (!on)
		(void)map_remove(&x->holds, slice(name, n));
	/* One that is held or let go stays in the map: the walk goes on undisturbed. */
	while ((o = map_each(&x->origins, &at, &key)))
		if (o->account == account)
			origin_hold(x, o);
	if (name != room)
		free(name);
	return true;
}

/* -- destinations -- */

static struct dest *dest_make(struct index *x, struct slice name)
{
	struct dest *d = map_get(&x->dests, name);

	if (d)
		return d;
	d = calloc(1, sizeof *d + name.n);
	if (!d)
		return NULL;
	d->name_n = (uint16_t)name.n;
	if (name.n)
		memcpy(d->name, name.p, name.n);
	if (map_put(&x->dests, name, d))
		return d;
	free(d);
	return NULL;
}

static void dest_place(struct index *x, struct dest *d)
{
	if (d->refs)
		return;
	map_remove(&x->dests, slice(d->name, d->name_n));
	free(d);
}

/* -- flows -- */

struct pair {
	const struct origin *origin;
	const struct dest *dest;
};

static struct slice pair_key(const struct pair *p)
{
	return slice((const char *)p, sizeof *p);
}

static bool flow_room(struct index *x)
{
	uint32_t cap = x->cap_flow ? x->cap_flow * 2 : 64;
	struct flow **flow;
	uint32_t *free_flow;

	if (x->n_free_flow || x->n_flow < x->cap_flow)
		return true;
	flow = realloc(x->flow, cap * sizeof(struct flow *));
	if (!flow)
		return false;
	x->flow = flow;
	free_flow = realloc(x->free_flow, cap * sizeof *free_flow);
	if (!free_flow)
		return false;
	x->free_flow = free_flow;
	x->cap_flow = cap;
	return true;
}

static struct flow *flow_new(struct index *x, struct origin *o, struct dest *d)
{
	struct pair p = { o, d };
	struct flow *f =
	    flow_room(x) && heap_room(&o->flows, o->refs + 1u) ? calloc(1, sizeof *f) : NULL;

	if (!f)
		return NULL;
	if (!map_put(&x->pairs, pair_key(&p), f)) {
		free(f);
		return NULL;
	}
	f->node.at = HEAP_OUT;
	f->origin = o;
	f->dest = d;
	o->refs++;
	d->refs++;
	f->number = x->n_free_flow ? x->free_flow[--x->n_free_flow] : x->n_flow++;
	x->flow[f->number] = f;
	return f;
}

/* Often it is the one of the message before. */
static bool is_last(const struct index *x, uint64_t account, struct slice key_id, struct slice dest)
{
	const struct origin *o = x->last ? x->last->origin : NULL;

	return o && o->account == account &&
	       slice_eq(slice(x->last->dest->name, x->last->dest->name_n), dest) &&
	       slice_eq(slice_from(slice(o->key, o->key_n), sizeof o->account), key_id);
}

static struct flow *find_or_make(struct index *x, uint64_t account, struct slice key_id,
				 struct slice dest)
{
	struct origin *o = origin_make(x, account, key_id);
	struct dest *d = o ? dest_make(x, dest) : NULL;
	struct pair p = { o, d };
	struct flow *f = d ? map_get(&x->pairs, pair_key(&p)) : NULL;

	if (d && !f)
		f = flow_new(x, o, d);
	if (!f && d)
		dest_place(x, d);
	if (!f && o)
		origin_place(x, o);
	return f;
}

struct flow *index_flow(struct index *x, uint64_t account, struct slice key_id, struct slice dest)
{
	if (!is_last(x, account, key_id, dest))
		x->last = find_or_make(x, account, key_id, dest);
	return x->last;
}

static void flow_free(struct index *x, struct flow *f)
{
	struct pair p = { f->origin, f->dest };

	if (x->last == f)
		x->last = NULL;
	heap_remove(&f->origin->flows, &f->node);
	map_remove(&x->pairs, pair_key(&p));
	x->flow[f->number] = NULL;
	x->free_flow[x->n_free_flow++] = f->number;
	f->origin->refs--;
	f->dest->refs--;
	origin_place(x, f->origin);
	dest_place(x, f->dest);
	free(f->due);
	free(f);
}

/* It takes the place of the one that has rested longest. */
static void flow_rest(struct index *x, struct flow *f)
{
	struct flow **at = &x->resting[x->rest_at++ % RESTING], *before = *at;

	f->resting = true;
	*at = f;
	if (!before)
		return;
	before->resting = false;
	if (!before->refs && !before->out)
		flow_free(x, before);
}

void index_flow_place(struct index *x, struct flow *f)
{
	uint64_t due;

	if (!f->refs && !f->out) {
		heap_remove(&f->origin->flows, &f->node);
		f->not_before_ms = 0;
		origin_place(x, f->origin);
		if (!f->resting)
			flow_rest(x, f);
		return;
	}
	if (f->out || !f->n) {
		heap_remove(&f->origin->flows, &f->node);
	} else {
		due = delivery_at(x, f->due[0])->next_ms;
		/* Room was made for it with the flow. */
		MUST(heap_set(&f->origin->flows, &f->node,
			      due > f->not_before_ms ? due : f->not_before_ms));
	}
	origin_place(x, f->origin);
}

void index_flow_pending(struct index *x, struct flow *f, int by)
{
	uint64_t n = by > 0 ? 1 : UINT64_MAX; /* modulo */

	x->count.pending_deliveries += n;
	if (f->origin->held)
		x->count.stopped += n;
	f->origin->pending += n;
	f->pending += (uint32_t)n;
	if (by > 0 && f->dest->pending++ == 0)
		x->count.destinations++;
	else if (by < 0 && --f->dest->pending == 0)
		x->count.destinations--;
}

void index_flows_done(struct index *x)
{
	struct slice key;
	size_t at = 0;
	struct origin *o;
	struct dest *d;

	while ((o = map_each(&x->origins, &at, &key))) {
		heap_done(&o->flows);
		free(o);
	}
	for (uint32_t i = 0; i < x->n_flow; i++)
		if (x->flow[i]) {
			free(x->flow[i]->due);
			free(x->flow[i]);
		}
	at = 0;
	while ((d = map_each(&x->dests, &at, &key)))
		free(d);
	free(x->waiting.nodes);
	map_done(&x->origins);
	map_done(&x->dests);
	map_done(&x->pairs);
	map_done(&x->holds);
	free(x->flow);
	free(x->free_flow);
}

#define FLOWS_AT_ONCE 4096

size_t index_flows(const struct index *x, uint64_t *at, struct spool_flow *out, size_t max)
{
	uint64_t stop = *at + FLOWS_AT_ONCE;
	size_t n = 0;

	for (; *at < x->n_flow && *at < stop && n < max; ++*at) {
		const struct flow *f = x->flow[*at];
		struct spool_flow *to = &out[n];
		size_t key_n;

		if (!f || !f->refs)
			continue;
		key_n = f->origin->key_n - sizeof f->origin->account;
		to->account = f->origin->account;
		to->key_n = key_n < sizeof to->key_id ? key_n : sizeof to->key_id;
		to->dest_n = f->dest->name_n;
		memcpy(to->key_id, f->origin->key + sizeof f->origin->account, to->key_n);
		memcpy(to->dest, f->dest->name, to->dest_n);
		to->pending = f->pending;
		to->stopped = f->origin->held;
		n++;
	}
	if (*at >= x->n_flow)
		*at = WALK_END;
	return n;
}
