/* sender/may_send.c -- see may_send.h. */
#include "sender/may_send.h"

#include "base/map.h"
#include "base/must.h"
#include "sender/domain_impl.h"

#include <stdlib.h>

/* Who has verified this very name. */
struct claim {
	bool there, subdomains;
	uint64_t account;
};

static bool claim_of(struct store_handle *h, struct slice name, struct claim *ret, struct err *e)
{
	struct val key = val_text(name), row[DINDEX_COLUMNS];
	struct err why = { 0 };
	struct arena a;
	bool ok = true;

	arena_init(&a, DOMAIN_ROW_ARENA);
	*ret = (struct claim){ 0 };
	if (store_get(h, &domain_index_table, &key, &a, row, &why)) {
		ret->there = true;
		ret->account = (uint64_t)row[DINDEX_ACCOUNT].i;
		ret->subdomains = row[DINDEX_SUBDOMAINS].i != 0;
	} else if (why.kind != ERR_ABSENT) {
		ok = false;
		if (e)
			*e = why;
	}
	arena_done(&a);
	return ok;
}

/* From the name itself upwards, as far as names have two labels. */
static enum sender_verdict walk(struct store_handle *h, uint64_t account, struct slice name,
				struct err *e)
{
	struct slice whole = name, label, parent;
	struct claim c;

	while (slice_cut(name, '.', &label, &parent)) {
		if (!claim_of(h, name, &c, e))
			return SENDER_UNKNOWN;
		/* Whoever else has proved a name speaks for all below it, or nobody does. */
		if (c.there && c.account != account)
			return SENDER_NO;
		if (c.there && (c.subdomains || name.n == whole.n))
			return SENDER_YES;
		name = parent;
	}
	return SENDER_NO;
}

enum sender_verdict sender_may_use(struct store_handle *h, uint64_t account, struct slice domain,
				   uint64_t *ret_generation, struct err *e)
{
	/* Before the rows are read: an answer is never newer than it says. */
	uint64_t generation = store_generation(store_of(h));
	char name[DOMAIN_NAME_MAX + 1];
	enum sender_verdict v;
	struct err why = { 0 };
	size_t n;

	if (!domain_canonical(domain, name, &n, &why)) {
		if (why.kind != ERR_INPUT)
			return err_set(e, why.kind, "%s", why.text), SENDER_UNKNOWN;
		v = SENDER_NO;
	} else {
		if (!store_begin(h, STORE_READ, e))
			return SENDER_UNKNOWN;
		v = walk(h, account, slice(name, n), e);
		if (!store_finish(h, v != SENDER_UNKNOWN, e))
			return SENDER_UNKNOWN;
	}
	if (ret_generation)
		*ret_generation = generation;
	return v;
}

/* ---- the cache ---- */

#define CACHE_KEY_MAX (sizeof(uint64_t) + 255)

struct sender_cache {
	struct map map; /* account and domain -> &yes or &no */
	uint64_t generation;
	uint64_t hash_key[2];
	size_t max;
};

static const char yes, no;

struct sender_cache *sender_cache_new(size_t max, const uint64_t hash_key[2])
{
	struct sender_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->max = max;
	c->hash_key[0] = hash_key[0];
	c->hash_key[1] = hash_key[1];
	map_init(&c->map, c->hash_key);
	return c;
}

void sender_cache_free(struct sender_cache *c)
{
	if (!c)
		return;
	map_done(&c->map);
	free(c);
}

static void forget(struct sender_cache *c)
{
	map_done(&c->map);
	map_init(&c->map, c->hash_key);
}

/* False: too long to be kept. */
static bool cache_key(uint64_t account, struct slice domain, char at[CACHE_KEY_MAX],
		      struct slice *ret)
{
	if (domain.n > CACHE_KEY_MAX - sizeof(account))
		return false;
	memcpy(at, &account, sizeof(account));
	for (size_t i = 0; i < domain.n; i++)
		at[sizeof(account) + i] = ascii_lower(domain.p[i]);
	*ret = slice(at, sizeof(account) + domain.n);
	return true;
}

enum sender_verdict sender_cache_get(struct sender_cache *c, uint64_t generation, uint64_t account,
				     struct slice domain)
{
	char at[CACHE_KEY_MAX];
	struct slice key;
	const void *v;

	if (generation != c->generation) {
		forget(c);
		c->generation = generation;
	}
	if (!cache_key(account, domain, at, &key))
		return SENDER_UNKNOWN;
	v = map_get(&c->map, key);
	if (!v)
		return SENDER_UNKNOWN;
	return v == &yes ? SENDER_YES : SENDER_NO;
}

void sender_cache_put(struct sender_cache *c, uint64_t generation, uint64_t account,
		      struct slice domain, enum sender_verdict v)
{
	char at[CACHE_KEY_MAX];
	struct slice key;

	if (v == SENDER_UNKNOWN || generation < c->generation ||
	    !cache_key(account, domain, at, &key))
		return;
	if (generation > c->generation || c->map.n >= c->max) {
		forget(c);
		c->generation = generation;
	}
	/* Without memory it is simply not kept. The map never writes through its values. */
	map_put(&c->map, key, (void *)(uintptr_t)(v == SENDER_YES ? &yes : &no));
}

/* ---- the refusal ---- */

const struct sender_refusal sender_refusal = { 550, { "5.7.1", 5 } };

void sender_refusal_text(struct slice link, struct buf *out)
{
	buf_add(out, S("The from address does not match a verified Sender Identity. Mail cannot be "
		       "sent until this error is resolved. Visit "));
	buf_add(out, link);
	buf_add(out, S(" to see the Sender Identity requirements"));
}
