/* store/memory.c -- the store as tables in memory, for tests.
 *
 * Committed state is a snapshot that nobody changes: a reader holds the one it began with, a
 * writer copies the tables it touches and puts its own snapshot in place. Counts of references
 * are kept under one lock. */
#include "store/store.h"

#include "base/must.h"
#include "store/store_impl.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct mrow {
	size_t refs;
	struct val vals[]; /* their bytes follow */
};

struct mtable {
	size_t refs;
	const char *name;
	struct mrow **rows; /* in key order */
	size_t n, cap;
};

struct msnap {
	size_t refs;
	struct mtable **tables;
	size_t n;
};

struct memory {
	struct store base;
	pthread_mutex_t lock;
	pthread_cond_t idle;
	bool writer;
	struct msnap *now;
	uint32_t busy_ms;
	uint64_t fail_at; /* 1: every call fails; above: calls until then; 0: no fault */
};

struct memory_handle {
	struct store_handle base;
	struct msnap *snap; /* of the open transaction */
	bool *own;          /* writer: tables[i] is ours to change */
};

static struct memory *memory_of(struct store_handle *h)
{
	return (struct memory *)h->store;
}

static bool oom(struct err *e)
{
	return err_set(e, ERR_LATER, "store: no memory");
}

void store_memory_fail(struct store *s, uint64_t n)
{
	struct memory *m = (struct memory *)s;

	MUST(s->backend == &store_memory);
	pthread_mutex_lock(&m->lock);
	m->fail_at = n;
	pthread_mutex_unlock(&m->lock);
}

static bool alive(struct memory *m, struct err *e)
{
	bool dead;

	pthread_mutex_lock(&m->lock);
	dead = m->fail_at == 1; /* and stays 1: all that follow fail, too */
	if (m->fail_at > 1)
		m->fail_at--;
	pthread_mutex_unlock(&m->lock);
	return !dead || err_set(e, ERR_LATER, "store: fault");
}

/* Below: reference counts; the caller holds the lock, or is alone. */

static void row_unref(struct mrow *r)
{
	if (--r->refs == 0)
		free(r);
}

static void table_unref(struct mtable *t)
{
	if (--t->refs)
		return;
	for (size_t i = 0; i < t->n; i++)
		row_unref(t->rows[i]);
	free(t->rows);
	free(t);
}

static void snap_unref(struct msnap *s)
{
	if (!s || --s->refs)
		return;
	for (size_t i = 0; i < s->n; i++)
		table_unref(s->tables[i]);
	free(s->tables);
	free(s);
}

static struct msnap *snap_copy(const struct msnap *from)
{
	struct msnap *s = calloc(1, sizeof(*s));

	if (!s || !(s->tables = calloc(from->n + 1, sizeof(struct mtable *)))) {
		free(s);
		return NULL;
	}
	s->refs = 1;
	s->n = from->n;
	for (size_t i = 0; i < s->n; i++) {
		s->tables[i] = from->tables[i];
		s->tables[i]->refs++;
	}
	return s;
}

static bool table_add(struct msnap *s, const char *name)
{
	struct mtable **more = realloc(s->tables, (s->n + 2) * sizeof(*more));
	struct mtable *t;

	if (!more)
		return false;
	s->tables = more;
	t = calloc(1, sizeof(*t));
	if (!t)
		return false;
	t->refs = 1;
	t->name = name;
	s->tables[s->n++] = t;
	return true;
}

static size_t table_at(const struct msnap *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->tables[i]->name, name) == 0)
			return i;
	return SIZE_MAX;
}

static bool apply(struct msnap *s, const struct change *c, struct err *e)
{
	size_t at = table_at(s, c->table->name);

	switch (c->kind) {
	case CHANGE_CREATE_TABLE:
		if (at != SIZE_MAX)
			return err_set(e, ERR_BUG, "table %s is there twice", c->table->name);
		return table_add(s, c->table->name) || oom(e);
	case CHANGE_DROP_TABLE:
		if (at == SIZE_MAX)
			return err_set(e, ERR_BUG, "no table %s to drop", c->table->name);
		table_unref(s->tables[at]);
		s->tables[at] = s->tables[--s->n];
		return true;
	case CHANGE_ADD_COLUMN: return true; /* there are no old rows */
	}
	return false;
}

static void memory_close(struct store *s)
{
	struct memory *m = (struct memory *)s;

	snap_unref(m->now);
	pthread_cond_destroy(&m->idle);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static struct store *memory_open(const struct store_conf *conf, const struct schema *const *schemas,
				 size_t n, struct err *e)
{
	struct memory *m = calloc(1, sizeof(*m));
	pthread_condattr_t attr;

	if (!m || !(m->now = calloc(1, sizeof(*m->now)))) {
		free(m);
		oom(e);
		return NULL;
	}
	m->now->refs = 1;
	m->busy_ms = store_busy_ms(conf);
	MUST(pthread_mutex_init(&m->lock, NULL) == 0);
	MUST(pthread_condattr_init(&attr) == 0);
	MUST(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
	MUST(pthread_cond_init(&m->idle, &attr) == 0);
	pthread_condattr_destroy(&attr);
	for (size_t i = 0; i < n; i++)
		for (size_t v = 0; v < schemas[i]->n; v++)
			for (size_t c = 0; c < schemas[i]->versions[v].n; c++)
				if (!apply(m->now, &schemas[i]->versions[v].changes[c], e)) {
					memory_close(&m->base);
					return NULL;
				}
	return &m->base;
}

static struct store_handle *memory_attach(struct store *s, struct err *e)
{
	struct memory_handle *h;

	if (!alive((struct memory *)s, e))
		return NULL;
	h = calloc(1, sizeof(*h));
	if (!h) {
		oom(e);
		return NULL;
	}
	return &h->base;
}

static void memory_detach(struct store_handle *h)
{
	free(h);
}

/* With the lock held: waits until no other writer is at work. */
static bool wait_idle(struct memory *m)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += m->busy_ms / 1000;
	until.tv_nsec += (long)(m->busy_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (m->writer)
		if (pthread_cond_timedwait(&m->idle, &m->lock, &until) != 0)
			return !m->writer;
	return true;
}

static bool memory_begin(struct store_handle *base, enum store_mode mode, struct err *e)
{
	struct memory_handle *h = (struct memory_handle *)base;
	struct memory *m = memory_of(base);
	bool ok = true;

	if (!alive(m, e))
		return false;
	pthread_mutex_lock(&m->lock);
	if (mode == STORE_READ) {
		h->snap = m->now;
		h->snap->refs++;
	} else if (!wait_idle(m)) {
		ok = err_set(e, ERR_LATER, "store: busy");
	} else {
		h->snap = snap_copy(m->now);
		h->own = calloc(m->now->n + 1, sizeof(*h->own));
		ok = (h->snap && h->own) || oom(e);
		m->writer = ok;
	}
	if (!ok) {
		snap_unref(h->snap);
		free(h->own);
		h->snap = NULL;
		h->own = NULL;
	}
	pthread_mutex_unlock(&m->lock);
	return ok;
}

static void end(struct store_handle *base, bool keep)
{
	struct memory_handle *h = (struct memory_handle *)base;
	struct memory *m = memory_of(base);

	pthread_mutex_lock(&m->lock);
	if (keep && base->tx == TX_WRITE) {
		snap_unref(m->now);
		m->now = h->snap;
	} else {
		snap_unref(h->snap);
	}
	if (base->tx == TX_WRITE) {
		m->writer = false;
		pthread_cond_signal(&m->idle);
	}
	pthread_mutex_unlock(&m->lock);
	free(h->own);
	h->own = NULL;
	h->snap = NULL;
}

static bool memory_commit(struct store_handle *base, struct err *e)
{
	bool ok = alive(memory_of(base), e);

	end(base, ok);
	return ok;
}

static void memory_rollback(struct store_handle *base)
{
	end(base, false);
}

/* The first row whose key is not below `key`. */
static size_t lower_bound(const struct mtable *m, const struct val *key, size_t n)
{
	size_t lo = 0, hi = m->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (store_key_cmp(m->rows[mid]->vals, key, n) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool holds(const struct mtable *m, size_t at, const struct val *key, size_t n)
{
	return at < m->n && store_key_cmp(m->rows[at]->vals, key, n) == 0;
}

static bool no_table(const struct table *t, struct err *e)
{
	return err_set(e, ERR_BUG, "no table %s", t->name);
}

/* The table as this writer may change it: copied at the first touch. */
static struct mtable *writable(struct memory_handle *h, const struct table *t, struct err *e)
{
	size_t at = table_at(h->snap, t->name);
	struct mtable *old, *copy;

	if (at == SIZE_MAX) {
		no_table(t, e);
		return NULL;
	}
	old = h->snap->tables[at];
	if (h->own[at])
		return old;
	copy = calloc(1, sizeof(*copy));
	if (!copy || !(copy->rows = calloc(old->n + 1, sizeof(struct mrow *)))) {
		free(copy);
		oom(e);
		return NULL;
	}
	copy->refs = 1;
	copy->name = old->name;
	copy->n = old->n;
	copy->cap = old->n + 1;
	pthread_mutex_lock(&memory_of(&h->base)->lock);
	for (size_t i = 0; i < old->n; i++) {
		copy->rows[i] = old->rows[i];
		copy->rows[i]->refs++;
	}
	table_unref(old);
	pthread_mutex_unlock(&memory_of(&h->base)->lock);
	h->snap->tables[at] = copy;
	h->own[at] = true;
	return copy;
}

static struct mrow *row_new(const struct table *t, const struct val *row)
{
	size_t bytes = 0;
	struct mrow *r;
	char *at;

	for (size_t i = 0; i < t->n; i++)
		if (row[i].type == VAL_TEXT || row[i].type == VAL_BLOB)
			bytes += row[i].s.n;
	r = calloc(1, sizeof(*r) + t->n * sizeof(struct val) + bytes + 1);
	if (!r)
		return NULL;
	r->refs = 1;
	at = (char *)&r->vals[t->n];
	for (size_t i = 0; i < t->n; i++) {
		r->vals[i] = row[i];
		if (row[i].type != VAL_TEXT && row[i].type != VAL_BLOB)
			continue;
		if (row[i].s.n)
			memcpy(at, row[i].s.p, row[i].s.n);
		r->vals[i].s.p = at;
		at += row[i].s.n;
	}
	return r;
}

static void drop_row(struct memory_handle *h, struct mrow *r)
{
	pthread_mutex_lock(&memory_of(&h->base)->lock);
	row_unref(r);
	pthread_mutex_unlock(&memory_of(&h->base)->lock);
}

static bool memory_insert(struct store_handle *base, const struct table *t, const struct val *row,
			  struct err *e)
{
	struct memory_handle *h = (struct memory_handle *)base;
	struct mtable *m = alive(memory_of(base), e) ? writable(h, t, e) : NULL;
	struct mrow *r;
	size_t at;

	if (!m)
		return false;
	at = lower_bound(m, row, t->key_n);
	if (holds(m, at, row, t->key_n))
		return err_set(e, ERR_CONFLICT, "%s: exists already", t->name);
	if (m->n == m->cap) {
		struct mrow **more = realloc(m->rows, (m->cap * 2 + 8) * sizeof(*more));

		if (!more)
			return oom(e);
		m->rows = more;
		m->cap = m->cap * 2 + 8;
	}
	r = row_new(t, row);
	if (!r)
		return oom(e);
	memmove(m->rows + at + 1, m->rows + at, (m->n - at) * sizeof(*m->rows));
	m->rows[at] = r;
	m->n++;
	return true;
}

static bool memory_update(struct store_handle *base, const struct table *t, const struct val *row,
			  struct err *e)
{
	struct memory_handle *h = (struct memory_handle *)base;
	struct mtable *m = alive(memory_of(base), e) ? writable(h, t, e) : NULL;
	struct mrow *r;
	size_t at;

	if (!m)
		return false;
	at = lower_bound(m, row, t->key_n);
	if (!holds(m, at, row, t->key_n))
		return err_set(e, ERR_ABSENT, "%s: no such row", t->name);
	r = row_new(t, row);
	if (!r)
		return oom(e);
	drop_row(h, m->rows[at]);
	m->rows[at] = r;
	return true;
}

static bool memory_remove(struct store_handle *base, const struct table *t, const struct val *key,
			  struct err *e)
{
	struct memory_handle *h = (struct memory_handle *)base;
	struct mtable *m = alive(memory_of(base), e) ? writable(h, t, e) : NULL;
	size_t at;

	if (!m)
		return false;
	at = lower_bound(m, key, t->key_n);
	if (!holds(m, at, key, t->key_n))
		return err_set(e, ERR_ABSENT, "%s: no such row", t->name);
	drop_row(h, m->rows[at]);
	m->n--;
	memmove(m->rows + at, m->rows + at + 1, (m->n - at) * sizeof(*m->rows));
	return true;
}

/* The state to read: the transaction's, or, outside of one, the newest. */
static struct msnap *snap_hold(struct memory_handle *h)
{
	struct memory *m = memory_of(&h->base);
	struct msnap *s;

	pthread_mutex_lock(&m->lock);
	s = h->snap ? h->snap : m->now;
	s->refs++;
	pthread_mutex_unlock(&m->lock);
	return s;
}

static void snap_release(struct memory_handle *h, struct msnap *s)
{
	struct memory *m = memory_of(&h->base);

	pthread_mutex_lock(&m->lock);
	snap_unref(s);
	pthread_mutex_unlock(&m->lock);
}

static bool row_dup(const struct table *t, const struct mrow *r, struct arena *a, struct val *ret,
		    struct err *e)
{
	for (size_t i = 0; i < t->n; i++)
		if (!store_val_dup(a, &r->vals[i], &ret[i], e))
			return false;
	return true;
}

static bool memory_get(struct store_handle *base, const struct table *t, const struct val *key,
		       struct arena *a, struct val *ret_row, struct err *e)
{
	struct memory_handle *h = (struct memory_handle *)base;
	struct msnap *s;
	size_t which, at;
	bool ok;

	if (!alive(memory_of(base), e))
		return false;
	s = snap_hold(h);
	which = table_at(s, t->name);
	if (which == SIZE_MAX) {
		ok = no_table(t, e);
	} else {
		at = lower_bound(s->tables[which], key, t->key_n);
		if (holds(s->tables[which], at, key, t->key_n))
			ok = row_dup(t, s->tables[which]->rows[at], a, ret_row, e);
		else
			ok = err_set(e, ERR_ABSENT, "%s: no such row", t->name);
	}
	snap_release(h, s);
	return ok;
}

static bool scan(const struct mtable *m, const struct table *t, const struct val *prefix,
		 size_t n_prefix, const struct val *after, size_t limit, struct arena *a,
		 struct rows *ret, struct err *e)
{
	size_t at = after ? lower_bound(m, after, t->key_n) : lower_bound(m, prefix, n_prefix);
	struct rows r = { .columns = t->n };
	size_t end_at;

	if (after && holds(m, at, after, t->key_n))
		at++;
	for (end_at = at; end_at < m->n && end_at - at < limit; end_at++)
		if (store_key_cmp(m->rows[end_at]->vals, prefix, n_prefix) != 0)
			break;
	if (end_at > at && !(r.at = ARENA_ARRAY(a, struct val, (end_at - at) * t->n)))
		return oom(e);
	for (; at < end_at; at++, r.n++)
		if (!row_dup(t, m->rows[at], a, r.at + r.n * t->n, e))
			return false;
	*ret = r;
	return true;
}

static bool memory_scan(struct store_handle *base, const struct table *t, const struct val *prefix,
			size_t n_prefix, const struct val *after, size_t limit, struct arena *a,
			struct rows *ret, struct err *e)
{
	struct memory_handle *h = (struct memory_handle *)base;
	struct msnap *s;
	size_t which;
	bool ok;

	if (!alive(memory_of(base), e))
		return false;
	s = snap_hold(h);
	which = table_at(s, t->name);
	if (which == SIZE_MAX)
		ok = no_table(t, e);
	else
		ok = scan(s->tables[which], t, prefix, n_prefix, after, limit, a, ret, e);
	snap_release(h, s);
	return ok;
}

static bool memory_copy(struct store_handle *h, struct slice to, struct err *e)
{
	(void)h, (void)to;
	return err_set(e, ERR_INPUT, "store: it is in memory only");
}

const struct store_backend store_memory = {
	.name = "memory",
	.open = memory_open,
	.close = memory_close,
	.attach = memory_attach,
	.detach = memory_detach,
	.begin = memory_begin,
	.commit = memory_commit,
	.rollback = memory_rollback,
	.insert = memory_insert,
	.update = memory_update,
	.remove = memory_remove,
	.get = memory_get,
	.scan = memory_scan,
	.copy = memory_copy,
};
