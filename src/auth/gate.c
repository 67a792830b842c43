/* auth/gate.c -- see gate.h. */
#include "auth/gate.h"

#include "base/map.h"
#include "base/must.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define WRITE_BATCH 500
#define PRUNE_BATCH 500
#define LOOK_MAX    200000
#define COUNT_STEP  500

/* A ban that is to be written, or to be forgotten. */
struct saved {
	struct ban ban;
	struct saved *next;
};

struct gate {
	/* Guards everything but what stands behind store_lock; held for microseconds. */
	pthread_mutex_t lock;
	struct gate_conf conf;
	struct limiter *limiter;
	struct bans *bans;
	struct authlog_fold *fold;
	uint64_t key[2];
	struct authlog_entry *queue; /* a ring of queue_max */
	size_t first, n, cap;
	uint64_t dropped, dropped_told;
	struct saved *saved, **saved_end;

	/* Guards the handle; held while the disk is waited for. Taken before `lock`. */
	pthread_mutex_t store_lock;
	struct store_handle *store;
	struct authlog_entry batch[WRITE_BATCH];
	uint64_t rows; /* about */
};

void gate_free(struct gate *g)
{
	if (!g)
		return;
	while (g->saved) {
		struct saved *next = g->saved->next;

		free(g->saved);
		g->saved = next;
	}
	store_detach(g->store);
	limiter_free(g->limiter);
	bans_free(g->bans);
	authlog_fold_free(g->fold);
	free(g->queue);
	pthread_mutex_destroy(&g->store_lock);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

struct gate *gate_new(const struct gate_conf *conf, struct store *store, const uint64_t hash_key[2],
		      uint64_t now_ms, struct err *e)
{
	struct gate *g = calloc(1, sizeof *g);

	if (!g) {
		err_set(e, ERR_LATER, "gate: out of memory");
		return NULL;
	}
	pthread_mutex_init(&g->lock, NULL);
	pthread_mutex_init(&g->store_lock, NULL);
	g->conf = *conf;
	g->cap = conf->queue_max;
	g->key[0] = hash_key[0];
	g->key[1] = hash_key[1];
	g->saved_end = &g->saved;
	g->limiter = limiter_new(&conf->limiter, hash_key);
	g->bans = bans_new(conf->bans_max, hash_key);
	g->fold = authlog_fold_new(conf->queue_max, hash_key);
	g->queue = calloc(g->cap, sizeof *g->queue);
	if (!g->limiter || !g->bans || !g->fold || !g->queue) {
		err_set(e, ERR_LATER, "gate: out of memory");
		gate_free(g);
		return NULL;
	}
	g->store = store_attach(store, e);
	if (!g->store || !ban_load(g->store, now_ms, g->bans, e)) {
		gate_free(g);
		return NULL;
	}
	return g;
}

void gate_configure(struct gate *g, const struct gate_conf *conf)
{
	pthread_mutex_lock(&g->lock);
	g->conf = *conf;
	limiter_configure(g->limiter, &conf->limiter);
	pthread_mutex_unlock(&g->lock);
}

/* -- deciding -- */

bool gate_holds(struct gate *g, const unsigned char address[16], uint64_t now_ms, struct ban *ret)
{
	const struct ban *b;
	bool held;

	pthread_mutex_lock(&g->lock);
	b = bans_hold(g->bans, address, now_ms);
	/* A person who bans an address means it, also when a stolen key has just worked from there;
	 * what is allowed in the configuration stays reachable. */
	held = b && !(b->by_hand ? limiter_allows(g->limiter, address)
				 : limiter_trusts(g->limiter, address, now_ms));
	if (held)
		*ret = *b;
	pthread_mutex_unlock(&g->lock);
	return held;
}

enum limiter_standing gate_standing(struct gate *g, const unsigned char address[16],
				    uint64_t now_ms)
{
	enum limiter_standing s;

	pthread_mutex_lock(&g->lock);
	s = limiter_standing(g->limiter, address, now_ms);
	pthread_mutex_unlock(&g->lock);
	return s;
}

static void push(struct gate *g, const struct authlog_entry *e)
{
	if (g->n == g->cap) {
		g->dropped++;
		return;
	}
	g->queue[(g->first + g->n++) % g->cap] = *e;
}

/* Failures that are alike are one row. */
static void push_folded(struct gate *g, struct authlog_entry *e)
{
	if (g->conf.keep_ms && authlog_fold_add(g->fold, e))
		push(g, e);
}

static void push_saved(struct gate *g, const struct ban *b)
{
	struct saved *s = malloc(sizeof *s);

	/* Without memory it holds as long as the process. */
	if (!s)
		return;
	*s = (struct saved){ .ban = *b };
	*g->saved_end = s;
	g->saved_end = &s->next;
}

static uint64_t digest_of(const struct gate *g, const struct gate_attempt *a)
{
	uint64_t key[2] = { g->key[0], siphash(g->key, a->who.identity) };

	return siphash(key, a->secret);
}

static void ban(struct gate *g, const struct limiter_verdict *v, uint64_t now_ms,
		struct gate_verdict *ret)
{
	struct ban *b = &ret->ban;

	*b = (struct ban){ .prefix = v->ban, .began_ms = now_ms, .until_ms = v->ban_until_ms };
	snprintf(b->reason, sizeof b->reason, "too many wrong logins from this %s",
		 limiter_cause_name(v->ban_cause));
	snprintf(b->by, sizeof b->by, "limiter");
	if (!bans_add(g->bans, b))
		return;
	ret->banned = true;
	push_saved(g, b);
}

struct gate_verdict gate_decided(struct gate *g, const struct gate_attempt *a, uint64_t now_ms)
{
	struct authlog_entry e = *a->entry;
	struct gate_verdict ret = { 0 };
	struct limiter_verdict v;

	e.count = 1;
	e.at_ms = e.last_ms = now_ms;
	snprintf(e.result, sizeof e.result, "%s", a->reason == REASON_OK ? "ok" : "failed");
	snprintf(e.reason, sizeof e.reason, "%s", auth_reason_name(a->reason));
	pthread_mutex_lock(&g->lock);
	if (auth_is_guess(a->reason) && !a->spared)
		v = limiter_failed(g->limiter, &a->who, digest_of(g, a), now_ms);
	else
		v = limiter_look(g->limiter, &a->who, now_ms);
	if (a->reason == REASON_OK && !a->spared)
		limiter_good(g->limiter, &a->who, now_ms);
	ret.delay_ms = v.delay_ms;
	ret.cause = v.cause;
	push_folded(g, &e);
	if (v.ban.bits) {
		ban(g, &v, now_ms, &ret);
		if (ret.banned) {
			snprintf(e.result, sizeof e.result, "banned");
			push_folded(g, &e);
		}
	}
	pthread_mutex_unlock(&g->lock);
	return ret;
}

void gate_note(struct gate *g, const struct authlog_entry *entry)
{
	struct authlog_entry e = *entry;

	e.count = 1;
	pthread_mutex_lock(&g->lock);
	push_folded(g, &e);
	pthread_mutex_unlock(&g->lock);
}

/* -- writing -- */

/* Up to a batch of the queue's first rows; they stay there until they are written. */
static size_t peek(struct gate *g, bool all, uint64_t now_ms)
{
	size_t n = 0;

	pthread_mutex_lock(&g->lock);
	while (g->n < g->cap) {
		struct authlog_entry e;

		if (!authlog_fold_due(g->fold, all ? UINT64_MAX : now_ms, &e))
			break;
		push(g, &e);
	}
	while (n < g->n && n < WRITE_BATCH) {
		g->batch[n] = g->queue[(g->first + n) % g->cap];
		n++;
	}
	pthread_mutex_unlock(&g->lock);
	return n;
}

static void taken(struct gate *g, size_t n)
{
	pthread_mutex_lock(&g->lock);
	g->first = (g->first + n) % g->cap;
	g->n -= n;
	pthread_mutex_unlock(&g->lock);
}

static struct saved *first_saved(struct gate *g)
{
	struct saved *s;

	pthread_mutex_lock(&g->lock);
	s = g->saved;
	pthread_mutex_unlock(&g->lock);
	return s;
}

static void saved_is_written(struct gate *g)
{
	struct saved *s;

	pthread_mutex_lock(&g->lock);
	s = g->saved;
	g->saved = s->next;
	if (!g->saved)
		g->saved_end = &g->saved;
	pthread_mutex_unlock(&g->lock);
	free(s);
}

/* With the store's lock. */
static bool write_all(struct gate *g, bool all, uint64_t now_ms, struct err *e)
{
	struct saved *s;
	size_t n;

	while ((s = first_saved(g))) {
		if (!ban_save(g->store, &s->ban, e))
			return false;
		saved_is_written(g);
	}
	while ((n = peek(g, all, now_ms))) {
		if (!authlog_add(g->store, g->batch, n, e))
			return false;
		g->rows += n;
		taken(g, n);
	}
	return true;
}

bool gate_write(struct gate *g, bool all, uint64_t now_ms, struct err *e)
{
	bool ok;

	pthread_mutex_lock(&g->store_lock);
	ok = write_all(g, all, now_ms, e);
	pthread_mutex_unlock(&g->store_lock);
	pthread_mutex_lock(&g->lock);
	bans_expire(g->bans, now_ms);
	pthread_mutex_unlock(&g->lock);
	return ok;
}

bool gate_count_rows(struct gate *g, struct err *e)
{
	struct authlog_filter nobody = { .address = S("*") };
	struct authlog_at at = { 0 };
	bool more = true, ok = true;

	for (bool first = true; ok && more; first = false) {
		struct authlog_entry *none;
		struct arena a;
		size_t n;

		arena_init(&a, 1u << 20);
		pthread_mutex_lock(&g->store_lock);
		ok = authlog_list(g->store, &nobody, first ? NULL : &at, 1, COUNT_STEP, &a, &none,
				  &n, &at, &more, e);
		/* The last step is counted as a whole: about is good enough. */
		g->rows += ok ? COUNT_STEP : 0;
		pthread_mutex_unlock(&g->store_lock);
		arena_done(&a);
	}
	return ok;
}

bool gate_prune(struct gate *g, uint64_t now_ms)
{
	uint64_t keep_ms, rows_max, before;
	size_t n = 0;
	bool ok;

	pthread_mutex_lock(&g->lock);
	keep_ms = g->conf.keep_ms;
	rows_max = g->conf.rows_max;
	pthread_mutex_unlock(&g->lock);
	before = now_ms > keep_ms ? now_ms - keep_ms : 0;
	pthread_mutex_lock(&g->store_lock);
	if (g->rows > rows_max)
		before = UINT64_MAX;
	ok = authlog_prune(g->store, before, PRUNE_BATCH, &n, NULL);
	g->rows -= n < g->rows ? n : g->rows;
	pthread_mutex_unlock(&g->store_lock);
	return ok && n == PRUNE_BATCH;
}

/* -- by hand -- */

bool gate_ban(struct gate *g, const struct ban *b, struct err *e)
{
	bool ok;

	MUST(b->by_hand);
	pthread_mutex_lock(&g->store_lock);
	/* What is still to be written of it is written first, lest it take this one's place. */
	ok = write_all(g, false, 0, e) && ban_save(g->store, b, e);
	if (ok) {
		pthread_mutex_lock(&g->lock);
		ok = bans_add(g->bans, b) || err_set(e, ERR_LATER, "no room for more bans");
		pthread_mutex_unlock(&g->lock);
	}
	pthread_mutex_unlock(&g->store_lock);
	return ok;
}

bool gate_lift(struct gate *g, const struct net *n, struct err *e)
{
	bool there, ok;

	pthread_mutex_lock(&g->store_lock);
	/* What is still to be written of it is written first, lest it come back. */
	ok = write_all(g, false, 0, e) && ban_forget(g->store, n, e);
	pthread_mutex_lock(&g->lock);
	there = ok && bans_lift(g->bans, n);
	pthread_mutex_unlock(&g->lock);
	pthread_mutex_unlock(&g->store_lock);
	return ok && (there || err_set(e, ERR_ABSENT, "no such ban"));
}

static int by_prefix(const void *a, const void *b)
{
	const struct ban *x = a, *y = b;
	int c = memcmp(x->prefix.at, y->prefix.at, sizeof x->prefix.at);

	return c ? c : (x->prefix.bits > y->prefix.bits) - (x->prefix.bits < y->prefix.bits);
}

bool gate_bans(struct gate *g, uint64_t now_ms, struct arena *a, struct ban **ret, size_t *ret_n,
	       struct err *e)
{
	const struct ban *b;
	size_t at = 0, n = 0;
	struct ban *list;

	pthread_mutex_lock(&g->lock);
	list = ARENA_ARRAY(a, struct ban, bans_count(g->bans) + 1);
	while (list && (b = bans_each(g->bans, &at)))
		if (b->until_ms > now_ms)
			list[n++] = *b;
	pthread_mutex_unlock(&g->lock);
	if (!list)
		return err_set(e, ERR_LATER, "out of memory");
	qsort(list, n, sizeof *list, by_prefix);
	*ret = list;
	*ret_n = n;
	return true;
}

bool gate_list(struct gate *g, const struct authlog_filter *f, const struct authlog_at *after,
	       size_t limit, uint64_t now_ms, struct arena *a, struct authlog_entry **ret,
	       size_t *ret_n, struct authlog_at *ret_last, bool *ret_more, struct err *e)
{
	bool ok;

	pthread_mutex_lock(&g->store_lock);
	ok = write_all(g, false, now_ms, e) && authlog_list(g->store, f, after, limit, LOOK_MAX, a,
							    ret, ret_n, ret_last, ret_more, e);
	pthread_mutex_unlock(&g->store_lock);
	return ok;
}

struct gate_count gate_count(struct gate *g)
{
	struct gate_count c;

	pthread_mutex_lock(&g->lock);
	c = (struct gate_count){ .bans = bans_count(g->bans),
				 .waiting = g->n,
				 .dropped = g->dropped,
				 .limiter = limiter_count(g->limiter) };
	pthread_mutex_unlock(&g->lock);
	return c;
}
