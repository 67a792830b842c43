/* store/store.c -- what holds for every engine: arguments are checked and transactions counted
 * here, so that an engine only stores. */
#include "store/store.h"

#include "base/must.h"
#include "base/utf8.h"
#include "store/store_impl.h"

static bool name_ok(const char *s)
{
	size_t n = 0;

	if (!s || *s < 'a' || *s > 'z')
		return false;
	for (; s[n]; n++)
		if (!(s[n] >= 'a' && s[n] <= 'z') && !ascii_digit(s[n]) && s[n] != '_')
			return false;
	return n <= 48;
}

static bool column_ok(const struct column *c)
{
	return name_ok(c->name) && c->type != VAL_NULL;
}

static bool table_ok(const struct table *t)
{
	if (!t || !name_ok(t->name) || !t->n || t->n > STORE_COLUMNS_MAX || !t->key_n ||
	    t->key_n > t->n)
		return false;
	for (size_t i = 0; i < t->n; i++)
		if (!column_ok(&t->columns[i]) || (i < t->key_n && t->columns[i].null_ok))
			return false;
	return true;
}

static bool change_ok(const struct change *c)
{
	switch (c->kind) {
	case CHANGE_CREATE_TABLE:
	case CHANGE_DROP_TABLE: return table_ok(c->table);
	case CHANGE_ADD_COLUMN:
		return table_ok(c->table) && column_ok(&c->column) && c->column.null_ok;
	}
	return false;
}

bool store_check_schemas(const struct schema *const *schemas, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		const struct schema *s = schemas[i];

		if (!name_ok(s->name))
			return err_set(e, ERR_BUG, "schema %zu has no proper name", i);
		for (size_t k = 0; k < i; k++)
			if (strcmp(schemas[k]->name, s->name) == 0)
				return err_set(e, ERR_BUG, "schema %s is there twice", s->name);
		for (size_t v = 0; v < s->n; v++)
			for (size_t c = 0; c < s->versions[v].n; c++)
				if (!change_ok(&s->versions[v].changes[c]))
					return err_set(e, ERR_BUG,
						       "schema %s: change %zu of version %zu",
						       s->name, c + 1, v + 1);
	}
	return true;
}

int store_key_cmp(const struct val *a, const struct val *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int d;

		if (a[i].type == VAL_INT)
			d = a[i].i < b[i].i ? -1 : a[i].i > b[i].i;
		else
			d = slice_cmp(a[i].s, b[i].s);
		if (d)
			return d;
	}
	return 0;
}

bool store_val_dup(struct arena *a, const struct val *v, struct val *ret, struct err *e)
{
	*ret = *v;
	if (v->type != VAL_TEXT && v->type != VAL_BLOB)
		return true;
	ret->s = arena_dup(a, v->s);
	return ret->s.p || err_set(e, ERR_LATER, "store: no memory for a row");
}

/* A wrong type or a missing value is our bug; what a value holds may come from outside. */
static bool values_ok(const struct table *t, const struct val *v, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		const struct column *c = &t->columns[i];

		MUST(v[i].type == c->type || (v[i].type == VAL_NULL && c->null_ok));
		if (v[i].type != VAL_TEXT && v[i].type != VAL_BLOB)
			continue;
		if (v[i].s.n > STORE_VALUE_MAX)
			return err_set(e, ERR_INPUT, "%s.%s: longer than %u bytes", t->name,
				       c->name, STORE_VALUE_MAX);
		if (v[i].type == VAL_TEXT && v[i].s.n &&
		    (!utf8_valid(v[i].s) || memchr(v[i].s.p, 0, v[i].s.n)))
			return err_set(e, ERR_INPUT, "%s.%s: not UTF-8 text", t->name, c->name);
	}
	return true;
}

struct store *store_open(const struct store_backend *b, const struct store_conf *conf,
			 const struct schema *const *schemas, size_t n, struct err *e)
{
	struct store *s;

	if (!store_check_schemas(schemas, n, e))
		return NULL;
	s = b->open(conf, schemas, n, e);
	if (!s)
		return NULL;
	s->backend = b;
	atomic_store_explicit(&s->generation, 1, memory_order_release);
	return s;
}

void store_close(struct store *s)
{
	if (s)
		s->backend->close(s);
}

struct store_handle *store_attach(struct store *s, struct err *e)
{
	struct store_handle *h = s->backend->attach(s, e);

	if (h)
		h->store = s;
	return h;
}

void store_detach(struct store_handle *h)
{
	if (!h)
		return;
	store_rollback(h);
	h->store->backend->detach(h);
}

struct store *store_of(const struct store_handle *h)
{
	return h->store;
}

uint64_t store_generation(const struct store *s)
{
	return atomic_load_explicit(&s->generation, memory_order_acquire);
}

uint64_t store_lookups(const struct store_handle *h)
{
	return h->lookups;
}

bool store_begin(struct store_handle *h, enum store_mode mode, struct err *e)
{
	MUST(h->tx == TX_NONE);
	if (!h->store->backend->begin(h, mode, e))
		return false;
	h->tx = mode == STORE_WRITE ? TX_WRITE : TX_READ;
	h->wrote = h->broken = false;
	return true;
}

bool store_commit(struct store_handle *h, struct err *e)
{
	MUST(h->tx != TX_NONE);
	if (h->broken) {
		store_rollback(h);
		return err_set(e, ERR_LATER, "store: the transaction had failed already");
	}
	if (!h->store->backend->commit(h, e)) {
		h->tx = TX_NONE;
		return false;
	}
	h->tx = TX_NONE;
	/* After the commit: whoever reads the new number reads the new rows. */
	if (h->wrote)
		atomic_fetch_add_explicit(&h->store->generation, 1, memory_order_acq_rel);
	return true;
}

void store_rollback(struct store_handle *h)
{
	if (h->tx == TX_NONE)
		return;
	h->store->backend->rollback(h);
	h->tx = TX_NONE;
}

bool store_finish(struct store_handle *h, bool ok, struct err *e)
{
	if (ok)
		return store_commit(h, e);
	store_rollback(h);
	return false;
}

/* Judges the result of one operation: what is more than a plain answer ends the transaction. */
static bool answered(struct store_handle *h, bool ok, const struct err *got, struct err *e)
{
	if (ok)
		return true;
	if (got->kind != ERR_ABSENT && got->kind != ERR_CONFLICT && got->kind != ERR_INPUT)
		h->broken = true;
	if (e)
		*e = *got;
	return false;
}

static bool ready(struct store_handle *h, bool write, const struct table *t, struct err *e)
{
	MUST(table_ok(t));
	MUST(!write || h->tx == TX_WRITE);
	if (h->tx != TX_NONE && h->broken)
		return err_set(e, ERR_LATER, "store: the transaction had failed already");
	return true;
}

bool store_insert(struct store_handle *h, const struct table *t, const struct val *row,
		  struct err *e)
{
	struct err got = { 0 };

	if (!ready(h, true, t, e) || !values_ok(t, row, t->n, e))
		return false;
	h->wrote = true;
	return answered(h, h->store->backend->insert(h, t, row, &got), &got, e);
}

bool store_update(struct store_handle *h, const struct table *t, const struct val *row,
		  struct err *e)
{
	struct err got = { 0 };

	MUST(t->n > t->key_n);
	if (!ready(h, true, t, e) || !values_ok(t, row, t->n, e))
		return false;
	h->wrote = true;
	return answered(h, h->store->backend->update(h, t, row, &got), &got, e);
}

bool store_remove(struct store_handle *h, const struct table *t, const struct val *key,
		  struct err *e)
{
	struct err got = { 0 };

	if (!ready(h, true, t, e) || !values_ok(t, key, t->key_n, e))
		return false;
	h->wrote = true;
	return answered(h, h->store->backend->remove(h, t, key, &got), &got, e);
}

bool store_get(struct store_handle *h, const struct table *t, const struct val *key,
	       struct arena *a, struct val *ret_row, struct err *e)
{
	struct err got = { 0 };

	h->lookups++;
	if (!ready(h, false, t, e) || !values_ok(t, key, t->key_n, e))
		return false;
	return answered(h, h->store->backend->get(h, t, key, a, ret_row, &got), &got, e);
}

bool store_scan(struct store_handle *h, const struct table *t, const struct val *prefix,
		size_t n_prefix, const struct val *after, size_t limit, struct arena *a,
		struct rows *ret, struct err *e)
{
	struct err got = { 0 };

	h->lookups++;
	MUST(n_prefix <= t->key_n);
	MUST(!after || store_key_cmp(prefix, after, n_prefix) == 0);
	if (!ready(h, false, t, e) || !values_ok(t, prefix, n_prefix, e) ||
	    (after && !values_ok(t, after, t->key_n, e)))
		return false;
	if (limit > INT32_MAX)
		limit = INT32_MAX;
	return answered(h,
			h->store->backend->scan(h, t, prefix, n_prefix, after, limit, a, ret, &got),
			&got, e);
}

bool store_copy(struct store_handle *h, struct slice to, struct err *e)
{
	MUST(h->tx == TX_NONE);
	return h->store->backend->copy(h, to, e);
}
