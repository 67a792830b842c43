/* relay/operate.c -- see operate.h. */
#include "relay/operate.h"

#include "base/map.h"

#include <stdio.h>

#define STEP_ROWS 1000
/* Of a step: messages with very many recipients make it end sooner. */
#define STEP_ARENA (64u << 20)
#define STEP_OPS   20000

const char *operate_name(enum operate_act a)
{
	switch (a) {
	case OPERATE_RETRY: return "retry";
	case OPERATE_HOLD: return "hold";
	case OPERATE_RELEASE: return "release";
	case OPERATE_CANCEL: return "cancel";
	}
	return "";
}

/* -- the operations of a step -- */

struct step {
	struct operate *o;
	enum operate_act act;
	const struct spool_filter *filter; /* of deliveries; NULL: all of the message */
	struct arena arena;
	struct spool_op **ops;
	const struct spool_message **of; /* what is known of each one's message, or NULL */
	size_t n, cap;
	struct slice note; /* the reply that cancelled recipients show */
};

static bool no_memory(struct err *e)
{
	return err_set(e, ERR_LATER, "out of memory");
}

static bool step_begin(struct step *s, struct operate *o, enum operate_act act,
		       const struct spool_filter *f, struct err *e)
{
	char note[160];

	*s = (struct step){ .o = o, .act = act, .filter = f };
	arena_init(&s->arena, STEP_ARENA);
	snprintf(note, sizeof note, "cancelled by %.*s", o->by.who.n < 100 ? (int)o->by.who.n : 100,
		 o->by.who.p);
	s->note = arena_dup(&s->arena, slice_str(note));
	s->cap = STEP_OPS;
	s->ops = ARENA_ARRAY(&s->arena, struct spool_op *, s->cap);
	s->of = ARENA_ARRAY(&s->arena, const struct spool_message *, s->cap);
	return (s->ops && s->of) || no_memory(e);
}

/* Verdicts for the recipients of a delivery; look NULL: the message has but one delivery. */
static bool add_verdicts(struct step *s, struct spool_op *op, uint32_t n_rcpts,
			 const struct spool_message *look, enum spool_rcpt_state to)
{
	struct spool_verdict *v = ARENA_ARRAY(&s->arena, struct spool_verdict, n_rcpts);

	for (uint32_t i = 0; v && i < n_rcpts; i++)
		if (!look || look->envelope.rcpts[i].delivery == op->delivery)
			v[op->n_verdicts++] = (struct spool_verdict){
				.rcpt = i,
				.state = to,
				.reply = to == RCPT_CANCELLED ? s->note : S(""),
			};
	op->verdicts = v;
	return v;
}

static bool add(struct step *s, struct id id, uint32_t delivery, uint32_t n_rcpts, bool failed,
		const struct spool_message *look)
{
	struct spool_op *op = ARENA_ARRAY(&s->arena, struct spool_op, 1);

	if (!op || s->n == s->cap)
		return false;
	*op = (struct spool_op){ .kind = SPOOL_SETTLE,
				 .id = id,
				 .delivery = delivery,
				 .by_hand = true,
				 .at_ms = s->o->by.now_ms,
				 .by = s->o->by.who };
	switch (s->act) {
	case OPERATE_HOLD: op->hold = HOLD_SET; break;
	case OPERATE_RELEASE: op->hold = HOLD_CLEAR; break;
	case OPERATE_RETRY:
		op->next_ms = s->o->due_ms;
		if (failed && !add_verdicts(s, op, n_rcpts, look, RCPT_PENDING))
			return false;
		break;
	case OPERATE_CANCEL:
		if (!add_verdicts(s, op, n_rcpts, look, RCPT_CANCELLED))
			return false;
		break;
	}
	s->of[s->n] = look;
	s->ops[s->n++] = op;
	return true;
}

static bool any(const struct spool_message *m, uint32_t delivery, enum spool_rcpt_state state)
{
	for (uint32_t i = 0; i < m->envelope.n_rcpts; i++)
		if (m->envelope.rcpts[i].delivery == delivery &&
		    m->envelope.rcpts[i].state == state)
			return true;
	return false;
}

/* The part of the filter that is about deliveries. */
static bool fits(const struct spool_filter *f, const struct spool_message *m, uint32_t i)
{
	bool pending = any(m, i, RCPT_PENDING), failed = any(m, i, RCPT_FAILED);
	const struct spool_standing *st = &m->standing[i];

	if (!f)
		return pending || failed;
	if ((f->dest.n && !slice_eq(m->envelope.dests[i], f->dest)) ||
	    (f->dests && !map_get(f->dests, m->envelope.dests[i])))
		return false;
	switch (f->state) {
	case LIST_ALL: break;
	case LIST_PENDING: return pending;
	case LIST_DEFERRED: return pending && m->attempts[i];
	case LIST_LEASED: return st->leased;
	case LIST_HELD: return pending && (st->held_ms || st->stopped);
	case LIST_FAILED: return failed;
	}
	return pending || failed;
}

/* A message with all that is known of it. False: no room; what was added of it stays. */
static bool add_looked(struct step *s, const struct spool_message *m)
{
	for (uint32_t i = 0; i < m->envelope.n_deliveries; i++)
		if (fits(s->filter, m, i) &&
		    !add(s, m->envelope.id, i, m->envelope.n_rcpts, any(m, i, RCPT_FAILED), m))
			return false;
	return true;
}

static bool add_row(struct step *s, const struct spool_row *row)
{
	struct spool_message *m;

	/* Who is cancelled is told by name. */
	if (row->n_deliveries == 1 && !(s->act == OPERATE_CANCEL && s->o->cancelled))
		return add(s, row->id, 0, row->n_rcpts, row->failed, NULL);
	m = ARENA_ARRAY(&s->arena, struct spool_message, 1);
	/* Gone meanwhile, or unsound: then it is nothing to act on. */
	return m &&
	       (!s->o->backend->look(s->o->spool, row->id, &s->arena, m, NULL) || add_looked(s, m));
}

static void tell_cancelled(const struct step *s, size_t i)
{
	const struct spool_message *m = s->of[i];
	const struct spool_op *op = s->ops[i];

	for (uint32_t k = 0; m && k < op->n_verdicts; k++) {
		uint32_t rcpt = op->verdicts[k].rcpt;
		enum spool_rcpt_state was = m->envelope.rcpts[rcpt].state;

		if (was == RCPT_PENDING || was == RCPT_FAILED)
			s->o->cancelled(s->o->arg, &m->envelope, rcpt, &s->o->by, s->note);
	}
}

static void count(const struct step *s, struct operate_result *ret)
{
	struct id last = { 0 };

	for (size_t i = 0; i < s->n; i++) {
		ret->under_way += s->ops[i]->result == SPOOL_BUSY;
		if (s->ops[i]->result != SPOOL_OK)
			continue;
		if (s->act == OPERATE_CANCEL && s->o->cancelled)
			tell_cancelled(s, i);
		ret->deliveries++;
		ret->messages += !id_eq(s->ops[i]->id, last);
		last = s->ops[i]->id;
	}
}

/* Commits, counts, and writes it down. what: empty, the id of the only message. */
static bool step_end(struct step *s, uint64_t account, struct slice what,
		     struct operate_result *ret, struct err *e)
{
	struct operate_result got = { 0 };
	char act[32];
	bool ok = true;

	if (s->n && !s->o->commit(s->o->arg, s->ops, s->n))
		ok = err_set(e, ERR_LATER, "the queue cannot be changed now");
	if (ok)
		count(s, &got);
	arena_done(&s->arena);
	ret->messages += got.messages;
	ret->deliveries += got.deliveries;
	ret->under_way += got.under_way;
	if (!ok || !got.messages)
		return ok;
	snprintf(act, sizeof act, "queue.%s", operate_name(s->act));
	return store_begin(s->o->store, STORE_WRITE, e) &&
	       store_finish(s->o->store,
			    trail_add(s->o->store, account, &s->o->by, slice_str(act), what, e), e);
}

/* -- acts -- */

bool operate_ids(struct operate *o, enum operate_act act, const struct id *ids, size_t n,
		 struct operate_result *ret, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		struct spool_message m = { 0 };
		char text[ID_TEXT + 1] = "";
		struct buf id = { .p = text, .cap = ID_TEXT, .max = ID_TEXT };
		struct step s;

		id_add(&id, ids[i]);
		if (!step_begin(&s, o, act, NULL, e) ||
		    !o->backend->look(o->spool, ids[i], &s.arena, &m, e)) {
			if (e && e->kind == ERR_ABSENT)
				err_set(e, ERR_ABSENT, "no message %s in the queue", text);
			arena_done(&s.arena);
			return false;
		}
		if (!add_looked(&s, &m)) {
			arena_done(&s.arena);
			return no_memory(e);
		}
		if (!step_end(&s, m.envelope.account, buf_slice(&id), ret, e))
			return false;
	}
	return true;
}

/* Adds a row; when there is no room for it, commits what is there first. */
static bool step_row(struct step *s, const struct spool_row *row, struct slice what,
		     struct operate_result *ret, struct err *e)
{
	size_t before = s->n;

	if (add_row(s, row))
		return true;
	s->n = before;
	if (before) {
		const struct spool_filter *f = s->filter;

		if (!step_end(s, f->account, what, ret, e) || !step_begin(s, s->o, s->act, f, e))
			return false;
		if (add_row(s, row))
			return true;
	}
	return no_memory(e);
}

bool operate_step(struct operate *o, enum operate_act act, const struct spool_filter *f,
		  struct slice what, uint64_t *at, struct operate_result *ret, struct err *e)
{
	struct spool_row *rows;
	struct arena a;
	struct step s;
	size_t n = 0;
	bool ok;

	arena_init(&a, STEP_ROWS * sizeof *rows + 4096);
	rows = ARENA_ARRAY(&a, struct spool_row, STEP_ROWS);
	while (rows && !n && *at != WALK_END)
		n = o->backend->walk(o->spool, f, at, rows, STEP_ROWS);
	ok = rows ? step_begin(&s, o, act, f, e) : no_memory(e);
	for (size_t i = 0; ok && i < n; i++)
		ok = step_row(&s, &rows[i], what, ret, e);
	if (ok)
		ok = step_end(&s, f->account, what, ret, e);
	else if (rows)
		arena_done(&s.arena);
	arena_done(&a);
	return ok;
}

/* -- states -- */

bool operate_account(struct operate *o, const struct account *a, struct err *e)
{
	return o->backend->hold(o->spool, a->id, S(""), account_queued(a) != QUEUED_KEEP) ||
	       no_memory(e);
}

bool operate_key(struct operate *o, const struct key *k, struct err *e)
{
	return o->backend->hold(o->spool, k->account, slice_str(k->id),
				key_queued(k, o->by.now_ms) != QUEUED_KEEP) ||
	       no_memory(e);
}

/* What the database says of a flow's account and key; one that is not there (any more) holds
 * nothing back: the mail was accepted. */
struct origin {
	bool account_there, key_there;
	struct account account;
	struct key key;
};

static bool there(bool got, const struct err *why, bool *ret, struct err *e)
{
	*ret = got;
	if (got || why->kind == ERR_ABSENT)
		return true;
	if (e)
		*e = *why;
	return false;
}

static bool read_origin(struct operate *o, const struct spool_flow *f, struct origin *ret,
			struct err *e)
{
	struct slice key = slice(f->key_id, f->key_n);
	struct err why = { 0 };

	*ret = (struct origin){ 0 };
	return there(account_get(o->store, f->account, &ret->account, &why), &why,
		     &ret->account_there, e) &&
	       (!key_id_shape(key) || there(key_get(o->store, f->account, key, &ret->key, &why),
					    &why, &ret->key_there, e));
}

#define FLOWS 256

/* Calls fn for each flow, those of one origin that stand beside each other once. */
static bool each_origin(struct operate *o,
			bool (*fn)(struct operate *, const struct origin *, void *, struct err *),
			void *arg, struct err *e)
{
	struct spool_flow *flows, last = { 0 };
	struct arena a;
	uint64_t at = 0;
	bool ok = true;

	arena_init(&a, FLOWS * sizeof *flows + 4096);
	flows = ARENA_ARRAY(&a, struct spool_flow, FLOWS);
	while (flows && ok && at != WALK_END) {
		size_t n = o->backend->flows(o->spool, &at, flows, FLOWS);

		for (size_t i = 0; ok && i < n; i++) {
			struct origin origin;

			if (flows[i].account == last.account && flows[i].key_n == last.key_n &&
			    !memcmp(flows[i].key_id, last.key_id, last.key_n) && last.account)
				continue;
			last = flows[i];
			ok = read_origin(o, &flows[i], &origin, e) && fn(o, &origin, arg, e);
		}
	}
	arena_done(&a);
	return flows ? ok : no_memory(e);
}

static bool apply(struct operate *o, const struct origin *at, void *arg, struct err *e)
{
	(void)arg;
	return (!at->account_there || operate_account(o, &at->account, e)) &&
	       (!at->key_there || operate_key(o, &at->key, e));
}

bool operate_states(struct operate *o, struct err *e)
{
	return each_origin(o, apply, NULL, e);
}

struct expiry {
	uint64_t closed_keep_ms;
	struct operate_result *result;
	bool more;
};

static bool cancel_all(struct operate *o, const struct spool_filter *f, const char *why,
		       struct expiry *x, struct err *e)
{
	struct operate_result got = { 0 };
	uint64_t at = 0;

	while (at != WALK_END && !got.messages)
		if (!operate_step(o, OPERATE_CANCEL, f, slice_str(why), &at, &got, e))
			return false;
	x->result->messages += got.messages;
	x->result->deliveries += got.deliveries;
	x->more |= got.messages > 0;
	return true;
}

static bool expire(struct operate *o, const struct origin *at, void *arg, struct err *e)
{
	struct expiry *x = arg;
	const struct account *a = &at->account;
	struct spool_filter f = { .account = at->account_there ? a->id : at->key.account };
	bool closed =
	    at->account_there && a->state == ACCOUNT_CLOSED && a->queued == QUEUED_AS_STATE &&
	    o->by.now_ms - a->state_ms >= x->closed_keep_ms && o->by.now_ms >= a->state_ms;

	if (closed || (at->account_there && account_queued(a) == QUEUED_CANCEL))
		return cancel_all(o, &f, closed ? "account closed" : "account", x, e);
	if (at->key_there && key_queued(&at->key, o->by.now_ms) == QUEUED_CANCEL) {
		f.key_id = slice_str(at->key.id);
		return cancel_all(o, &f, at->key.id, x, e);
	}
	return true;
}

bool operate_expire(struct operate *o, uint64_t closed_keep_ms, struct operate_result *ret,
		    bool *ret_more, struct err *e)
{
	struct expiry x = { .closed_keep_ms = closed_keep_ms, .result = ret };
	bool ok = each_origin(o, expire, &x, e);

	*ret_more = x.more;
	return ok;
}
