/* api/queue_act.c -- retry, hold, release and cancel. */
#include "api/api_impl.h"

#include "ops/clock.h"

#define IDS_MAX 1000
#define STEPS   4 /* of a filter in one call: the caller comes again with `at` */

struct operate api_operate(struct api_run *r)
{
	const struct api_context *c = r->call->ctx;

	return (struct operate){ .store = c->store,
				 .backend = c->spool_backend,
				 .spool = c->spool,
				 .commit = c->doors->commit,
				 .cancelled = c->doors->cancelled,
				 .arg = c->doors->arg,
				 .by = r->actor,
				 .due_ms = clock_steady_ms() };
}

void api_wake(struct api_run *r)
{
	const struct api_doors *d = r->call->ctx->doors;

	d->wake(d->arg, NULL, 0);
}

static bool read_ids(struct api_run *r, const struct json *list, struct id **ret, size_t *ret_n,
		     struct err *e)
{
	size_t n = json_length(list);
	struct id *ids = ARENA_ARRAY(&r->arena, struct id, n + 1);

	if (n > IDS_MAX)
		return err_set(e, ERR_INPUT, "more than %d ids", IDS_MAX);
	for (size_t i = 0; ids && i < n; i++) {
		struct slice text;

		if (!json_as_text(json_at(list, i), &text) || !id_parse(text, &ids[i]))
			return err_set(e, ERR_INPUT, "not a message id");
	}
	*ret = ids;
	*ret_n = n;
	return ids || err_set(e, ERR_LATER, "out of memory");
}

#define DESTS 256

/* A site that is left alone would keep what is to be tried now waiting. */
static void wake_sites(struct api_run *r, const struct id *ids, size_t n, struct slice dest,
		       const struct map *dests)
{
	const struct api_context *c = r->call->ctx;
	struct slice *names = ARENA_ARRAY(&r->arena, struct slice, DESTS), name;
	size_t k = 0, at = 0;

	if (names && dest.n)
		names[k++] = dest;
	while (names && dests && k < DESTS && map_each(dests, &at, &name))
		names[k++] = name;
	for (size_t i = 0; names && i < n; i++) {
		struct spool_message m;

		if (!c->spool_backend->look(c->spool, ids[i], &r->arena, &m, NULL))
			continue;
		for (uint32_t d = 0; d < m.envelope.n_deliveries && k < DESTS; d++)
			names[k++] = m.envelope.dests[d];
	}
	c->doors->wake(c->doors->arg, names, k);
}

/* What an account or a key has queued is held by its row, for what comes later, too. */
static bool hold_origin(struct api_run *r, const struct api_filter *f, enum queued queued,
			struct err *e)
{
	struct store_handle *h = r->call->ctx->store;
	struct operate o = api_operate(r);
	struct account a = f->account;
	struct key k;

	if (f->spool.key_id.n) {
		if (!key_find(h, f->spool.key_id, &k, e))
			return false;
		k.queued = queued;
		return (queued == QUEUED_KEEP || operate_key(&o, &k, e)) &&
		       key_set_queued(h, &r->actor, f->spool.key_id, queued, e) &&
		       operate_key(&o, &k, e);
	}
	a.queued = queued;
	return (queued == QUEUED_KEEP || operate_account(&o, &a, e)) &&
	       account_set_queued(h, &r->actor, a.id, queued, e) && operate_account(&o, &a, e);
}

/* How many a flag is about. */
static void count_origin(struct api_run *r, const struct api_filter *f, struct operate_result *ret)
{
	const struct api_context *c = r->call->ctx;
	struct spool_flow flows[64];
	uint64_t at = 0;

	while (at != WALK_END) {
		size_t n = c->spool_backend->flows(c->spool, &at, flows, 64);

		for (size_t i = 0; i < n; i++)
			if (flows[i].account == f->spool.account &&
			    (!f->spool.key_id.n ||
			     slice_eq(slice(flows[i].key_id, flows[i].key_n), f->spool.key_id)))
				ret->deliveries += flows[i].pending;
	}
}

static bool by_filter(struct api_run *r, enum operate_act act, uint64_t *at,
		      struct operate_result *ret, struct err *e)
{
	struct operate o = api_operate(r);
	struct api_filter f;
	bool ok = api_filter_read(r, true, &f, e), first = *at == 0;

	if (ok && !f.spool.account && !f.spool.dest.n && !f.spool.dests && !f.spool.before_ms &&
	    f.spool.state == LIST_ALL && !json_as_true(json_get(r->body, "all")))
		ok = err_set(e, ERR_INPUT, "ids, a filter or --all is needed");
	if (ok && f.only_origin && act == OPERATE_HOLD) {
		ok = hold_origin(r, &f, QUEUED_HOLD, e);
		count_origin(r, &f, ret);
		*at = WALK_END;
	}
	if (ok && f.only_origin && act == OPERATE_RELEASE && first)
		ok = hold_origin(r, &f, QUEUED_KEEP, e);
	/* What is not held by hand has nothing to be released from: it is passed over. */
	if (act == OPERATE_RELEASE && f.spool.state == LIST_ALL)
		f.spool.state = LIST_HELD;
	for (int i = 0; ok && i < STEPS && *at != WALK_END; i++)
		ok = operate_step(&o, act, &f.spool, f.what, at, ret, e);
	if (ok && act == OPERATE_RETRY)
		wake_sites(r, NULL, 0, f.spool.dest, f.spool.dests);
	api_filter_done(&f);
	return ok;
}

static bool act_on(struct api_run *r, enum operate_act act, struct err *e)
{
	struct operate o = api_operate(r);
	struct operate_result done = { 0 };
	const struct json *list = NULL;
	uint64_t at = 0;
	struct id *ids;
	size_t n = 0;

	if (!r->body)
		return err_set(e, ERR_INPUT, "a body is needed");
	if (!json_want_list(r->body, "ids", false, &list, e) ||
	    !json_want_number(r->body, "at", false, &at, e))
		return false;
	if (json_length(list)) {
		if (!read_ids(r, list, &ids, &n, e) || !operate_ids(&o, act, ids, n, &done, e))
			return false;
		if (act == OPERATE_RETRY)
			wake_sites(r, ids, n, S(""), NULL);
		at = WALK_END;
	} else if (!by_filter(r, act, &at, &done, e)) {
		return false;
	}
	if (act == OPERATE_RELEASE)
		api_wake(r);
	json_open(&r->out);
	json_knum(&r->out, "messages", done.messages);
	json_knum(&r->out, "deliveries", done.deliveries);
	json_knum(&r->out, "under_way", done.under_way);
	json_kbool(&r->out, "more", at != WALK_END);
	json_knum(&r->out, "at", at == WALK_END ? 0 : at);
	json_close(&r->out);
	return true;
}

bool api_queue_retry(struct api_run *r, struct err *e)
{
	return act_on(r, OPERATE_RETRY, e);
}

bool api_queue_hold(struct api_run *r, struct err *e)
{
	return act_on(r, OPERATE_HOLD, e);
}

bool api_queue_release(struct api_run *r, struct err *e)
{
	return act_on(r, OPERATE_RELEASE, e);
}

bool api_queue_cancel(struct api_run *r, struct err *e)
{
	return act_on(r, OPERATE_CANCEL, e);
}
