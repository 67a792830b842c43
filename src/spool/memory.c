/* spool/memory.c -- the twin for tests: the same index, contents on the heap. */
#include "base/map.h"
#include "spool/fact.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* What the index does not know of a delivery. */
struct standing {
	uint64_t tried_ms, held_ms;
	struct slice remote, held_by;
};

struct kept {
	struct arena arena;
	struct standing *standing; /* of each delivery */
	struct spool_envelope envelope;
	struct slice head, body;
	int fd;
	uint64_t fd_offset, fd_bytes;
};

struct spool {
	pthread_mutex_t lock;
	struct index *index;
	struct map kept; /* by id */
	uint64_t messages_max;
};

static struct spool *mem_open(const struct spool_conf *conf, struct err *e)
{
	struct spool *s = calloc(1, sizeof *s);

	if (s)
		s->index = index_new(conf->hash_key);
	if (!s || !s->index) {
		free(s);
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	s->messages_max = conf->messages_max;
	map_init(&s->kept, conf->hash_key);
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

static void drop(struct kept *k)
{
	if (!k)
		return;
	if (k->fd >= 0)
		close(k->fd);
	arena_done(&k->arena);
	free(k);
}

static void mem_close(struct spool *s)
{
	struct slice key;
	struct kept *k;
	size_t at = 0;

	if (!s)
		return;
	while ((k = map_each(&s->kept, &at, &key)))
		drop(k);
	map_done(&s->kept);
	index_free(s->index);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static bool copy_envelope(struct arena *a, const struct spool_envelope *from,
			  struct spool_envelope *to)
{
	struct slice *dests = ARENA_ARRAY(a, struct slice, from->n_deliveries);

	*to = *from;
	to->key_id = arena_dup(a, from->key_id);
	to->reverse_path = arena_dup(a, from->reverse_path);
	to->envid = arena_dup(a, from->envid);
	to->rcpts = ARENA_ARRAY(a, struct spool_rcpt, from->n_rcpts);
	if (!dests || !to->rcpts)
		return false;
	to->dests = dests;
	for (uint32_t i = 0; i < from->n_deliveries; i++)
		dests[i] = arena_dup(a, from->dests[i]);
	for (uint32_t i = 0; i < from->n_rcpts; i++) {
		to->rcpts[i] = from->rcpts[i];
		to->rcpts[i].path = arena_dup(a, from->rcpts[i].path);
		to->rcpts[i].orcpt = arena_dup(a, from->rcpts[i].orcpt);
		to->rcpts[i].reply = arena_dup(a, from->rcpts[i].reply);
	}
	return !a->failed;
}

static struct slice key_of(const struct id *id)
{
	return slice(id->b, sizeof id->b);
}

static bool fits(const struct spool_envelope *e, const uint32_t *rcpts)
{
	for (uint32_t i = 0; rcpts && i < e->n_deliveries; i++)
		if (!rcpts[i] || !e->dests[i].n || e->dests[i].n > 255)
			return false;
	return rcpts;
}

static bool keep(struct spool *s, const struct spool_op *op, struct kept *k)
{
	const struct spool_envelope *env = op->envelope;
	struct index_message m = { .id = env->id,
				   .account = env->account,
				   .key_id = env->key_id,
				   .accepted_ms = env->accepted_ms,
				   .size = env->size,
				   .due_ms = op->due_ms,
				   .n_rcpts = env->n_rcpts,
				   .n_deliveries = env->n_deliveries,
				   .dests = env->dests };
	uint32_t *rcpts = fact_rcpts(env, &k->arena);
	struct entry *e;

	m.rcpts = rcpts;
	k->standing = ARENA_ARRAY(&k->arena, struct standing, env->n_deliveries);
	if (!k->standing || !fits(env, rcpts) || !copy_envelope(&k->arena, env, &k->envelope))
		return false;
	e = index_add(s->index, &m);
	if (!e)
		return false;
	if (!map_put(&s->kept, key_of(&env->id), k)) {
		index_remove(s->index, e);
		return false;
	}
	index_publish(s->index, e);
	for (uint32_t i = 0; i < k->envelope.n_rcpts; i++) {
		k->envelope.rcpts[i].state = RCPT_PENDING;
		k->envelope.rcpts[i].told_delay = false;
		k->envelope.rcpts[i].reply = S("");
	}
	return true;
}

static enum spool_result put(struct spool *s, struct spool_op *op)
{
	struct spool_content *c = op->content;
	struct kept *k;

	op->envelope->size = c->head.n + (c->fd >= 0 ? c->fd_bytes : c->body.n);
	if ((s->messages_max && index_messages(s->index) >= s->messages_max) ||
	    index_find(s->index, op->envelope->id))
		return SPOOL_FULL;
	k = calloc(1, sizeof *k);
	if (!k)
		return SPOOL_FULL;
	k->fd = -1;
	arena_init(&k->arena, SIZE_MAX / 4);
	k->head = arena_dup(&k->arena, c->head);
	k->body = arena_dup(&k->arena, c->fd >= 0 ? S("") : c->body);
	if (c->fd >= 0) {
		k->fd = dup(c->fd);
		k->fd_offset = c->fd_offset;
		k->fd_bytes = c->fd_bytes;
	}
	if (!keep(s, op, k)) {
		drop(k);
		return SPOOL_FULL;
	}
	return SPOOL_OK;
}

static struct slice cut(struct kept *k, struct slice text, size_t max)
{
	return arena_dup(&k->arena, slice(text.p, text.n < max ? text.n : max));
}

/* What the operation says of attempt and hold. */
static void stand(struct kept *k, const struct spool_op *op, bool over)
{
	struct standing *st = &k->standing[op->delivery];

	if (op->attempted) {
		st->tried_ms = op->at_ms;
		st->remote = cut(k, op->remote, 128);
	}
	if (op->hold == HOLD_SET && !st->held_ms) {
		st->held_ms = op->at_ms ? op->at_ms : 1;
		st->held_by = cut(k, op->by, 128);
	} else if (op->hold == HOLD_CLEAR) {
		st->held_ms = 0;
		st->held_by = S("");
	}
	if (over) /* nobody will ask */
		*st = (struct standing){ 0 };
}

static bool changes(const struct kept *k, const struct spool_op *op, const struct delivery *dl)
{
	bool held = k->standing[op->delivery].held_ms;

	if (op->hold == HOLD_SET ? !held && (dl->pending || dl->failed)
				 : op->hold == HOLD_CLEAR && held)
		return true;
	if (op->by_hand ? op->next_ms && dl->pending : dl->pending)
		return true;
	for (uint32_t i = 0; i < op->n_verdicts; i++) {
		enum spool_rcpt_state was = k->envelope.rcpts[op->verdicts[i].rcpt].state;

		if (rcpt_may_change(was) && was != op->verdicts[i].state)
			return true;
	}
	return false;
}

static void judge(struct kept *k, const struct spool_op *op, uint32_t *pending, uint32_t *failed)
{
	for (uint32_t i = 0; i < op->n_verdicts; i++) {
		const struct spool_verdict *v = &op->verdicts[i];
		struct spool_rcpt *r = &k->envelope.rcpts[v->rcpt];

		if (!rcpt_may_change(r->state) || (op->by_hand && r->state == v->state))
			continue;
		if (r->state == RCPT_PENDING && v->state != RCPT_PENDING && *pending)
			--*pending;
		if (r->state != RCPT_PENDING && v->state == RCPT_PENDING)
			++*pending;
		*failed += v->state == RCPT_FAILED;
		*failed -= r->state == RCPT_FAILED;
		r->state = v->state;
		r->told_delay |= v->told_delay;
		r->reply = cut(k, v->reply, 512);
	}
}

static enum spool_result settle(struct spool *s, struct spool_op *op)
{
	struct entry *e = index_find(s->index, op->id);
	struct delivery *dl = e ? index_delivery(s->index, e, op->delivery) : NULL;
	struct kept *k = e ? map_get(&s->kept, key_of(&op->id)) : NULL;
	struct index_outcome o;

	if (!dl || !k)
		return SPOOL_GONE;
	for (uint32_t i = 0; i < op->n_verdicts; i++)
		if (op->verdicts[i].rcpt >= e->n_rcpts)
			return SPOOL_GONE;
	if (op->by_hand && dl->flags & DELIVERY_LEASED && (op->n_verdicts || op->next_ms))
		return SPOOL_BUSY;
	o = (struct index_outcome){ .next_ms =
					op->by_hand && !op->next_ms ? dl->next_ms : op->next_ms,
				    .attempts = dl->attempts + op->attempted,
				    .pending = dl->pending,
				    .failed = dl->failed,
				    .by_hand = op->by_hand,
				    .retry = op->by_hand && op->next_ms };
	if (!changes(k, op, dl))
		return SPOOL_GONE;
	judge(k, op, &o.pending, &o.failed);
	stand(k, op, !o.pending && !o.failed);
	o.held = k->standing[op->delivery].held_ms;
	if (index_settle(s->index, e, op->delivery, &o)) {
		map_remove(&s->kept, key_of(&op->id));
		drop(k);
		index_remove(s->index, e);
	}
	return SPOOL_OK;
}

static bool mem_commit(struct spool *s, struct spool_op *const *ops, size_t n, struct err *e)
{
	(void)e;
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < n; i++)
		switch (ops[i]->kind) {
		case SPOOL_PUT: ops[i]->result = put(s, ops[i]); break;
		case SPOOL_SETTLE: ops[i]->result = settle(s, ops[i]); break;
		}
	pthread_mutex_unlock(&s->lock);
	return true;
}

static size_t mem_next(struct spool *s, uint64_t now_ms, struct spool_dest *out, size_t max,
		       uint64_t *ret_wait_ms)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = index_next(s->index, now_ms, out, max, ret_wait_ms);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static size_t mem_take(struct spool *s, uint32_t flow, uint64_t now_ms, struct spool_ticket *out,
		       size_t max, bool *ret_more)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = index_take(s->index, flow, now_ms, out, max, ret_more);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void mem_park(struct spool *s, uint32_t flow, uint64_t not_before_ms)
{
	pthread_mutex_lock(&s->lock);
	index_park(s->index, flow, not_before_ms);
	pthread_mutex_unlock(&s->lock);
}

static void mem_release(struct spool *s, const struct spool_ticket *t, uint64_t due_ms)
{
	pthread_mutex_lock(&s->lock);
	index_release(s->index, t, due_ms);
	pthread_mutex_unlock(&s->lock);
}

static bool load(struct spool *s, struct id id, bool content, struct arena *a,
		 struct spool_message *m, struct err *e)
{
	struct entry *en = index_find(s->index, id);
	struct kept *k = en ? map_get(&s->kept, key_of(&id)) : NULL;

	if (!k)
		return err_set(e, ERR_ABSENT, "no such message");
	m->next_ms = ARENA_ARRAY(a, uint64_t, en->n_deliveries);
	m->attempts = ARENA_ARRAY(a, uint32_t, en->n_deliveries);
	m->standing = ARENA_ARRAY(a, struct spool_standing, en->n_deliveries);
	m->content = (struct spool_content){ .fd = -1 };
	if (content)
		m->content = (struct spool_content){ .head = arena_dup(a, k->head),
						     .body = arena_dup(a, k->body),
						     .fd = k->fd >= 0 ? dup(k->fd) : -1,
						     .fd_offset = k->fd_offset,
						     .fd_bytes = k->fd_bytes };
	if (!m->next_ms || !m->attempts || !m->standing ||
	    !copy_envelope(a, &k->envelope, &m->envelope)) {
		if (m->content.fd >= 0)
			close(m->content.fd);
		return err_set(e, ERR_LATER, "out of memory");
	}
	for (uint32_t i = 0; i < en->n_deliveries; i++) {
		const struct delivery *dl = index_delivery(s->index, en, i);

		m->next_ms[i] = dl->pending ? dl->next_ms : UINT64_MAX;
		m->attempts[i] = dl->attempts;
		index_standing(s->index, dl, &m->standing[i]);
		m->standing[i].tried_ms = k->standing[i].tried_ms;
		m->standing[i].held_ms = k->standing[i].held_ms;
		m->standing[i].remote = arena_dup(a, k->standing[i].remote);
		m->standing[i].held_by = arena_dup(a, k->standing[i].held_by);
	}
	return true;
}

static bool mem_load(struct spool *s, struct id id, struct arena *a, struct spool_message *ret,
		     struct err *e)
{
	bool ok;

	pthread_mutex_lock(&s->lock);
	ok = load(s, id, true, a, ret, e);
	pthread_mutex_unlock(&s->lock);
	return ok;
}

static bool mem_look(struct spool *s, struct id id, struct arena *a, struct spool_message *ret,
		     struct err *e)
{
	bool ok;

	pthread_mutex_lock(&s->lock);
	ok = load(s, id, false, a, ret, e);
	pthread_mutex_unlock(&s->lock);
	return ok;
}

static bool mem_hold(struct spool *s, uint64_t account, struct slice key_id, bool on)
{
	bool ok;

	pthread_mutex_lock(&s->lock);
	ok = index_hold(s->index, account, key_id, on);
	pthread_mutex_unlock(&s->lock);
	return ok;
}

static size_t mem_walk(struct spool *s, const struct spool_filter *f, uint64_t *at,
		       struct spool_row *out, size_t max)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = index_walk(s->index, f, at, out, max);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static size_t mem_flows(struct spool *s, uint64_t *at, struct spool_flow *out, size_t max)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = index_flows(s->index, at, out, max);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void mem_count(struct spool *s, struct spool_count *ret)
{
	pthread_mutex_lock(&s->lock);
	index_count(s->index, ret);
	pthread_mutex_unlock(&s->lock);
}

static size_t mem_damaged(struct spool *s, size_t from, struct spool_damage *out, size_t max)
{
	(void)s, (void)from, (void)out, (void)max;
	return 0;
}

static bool mem_cut(struct spool *s, struct spool_cut *ret, struct err *e)
{
	(void)s, (void)ret;
	return err_set(e, ERR_INPUT, "spool: it is in memory only");
}

static void mem_uncut(struct spool *s)
{
	(void)s;
}

const struct spool_backend spool_memory = {
	.name = "memory",
	.format = 1,
	.open = mem_open,
	.close = mem_close,
	.commit = mem_commit,
	.next = mem_next,
	.take = mem_take,
	.park = mem_park,
	.release = mem_release,
	.hold = mem_hold,
	.load = mem_load,
	.look = mem_look,
	.walk = mem_walk,
	.flows = mem_flows,
	.count = mem_count,
	.damaged = mem_damaged,
	.cut = mem_cut,
	.uncut = mem_uncut,
};
