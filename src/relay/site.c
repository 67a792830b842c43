#include "relay/site.h"

#include "base/buf.h"
#include "base/map.h"
#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>

/* Looked at in one sweep. */
#define SWEEP 32
/* A site that failed is remembered for so long after its back-off ended. */
#define GRUDGE_MS 3600000
/* Route, and up to MX_HOSTS of a preference and a name. */
#define KEY_MAX (64 + MX_HOSTS * (MX_NAME + 8))

struct known {
	struct known *next, *before; /* in the order learned */
	struct site *site;
	uint64_t until_ms;
	unsigned troubles; /* the site's, when it was learned */
	size_t n;
	char dest[];
};

/* Stands where a route is named and there is none. */
static const struct route nowhere = { .name = S("(none)"), .connections = 1 };

struct sites {
	struct map by_key;
	struct site *first, *last;
	size_t n, max;
	struct map known; /* by destination */
	struct known *oldest, *newest;
};

struct sites *sites_new(const uint64_t hash_key[2], size_t max)
{
	struct sites *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	map_init(&s->by_key, hash_key);
	map_init(&s->known, hash_key);
	s->max = max;
	return s;
}

static void append(struct sites *s, struct site *site)
{
	site->next = NULL;
	site->before = s->last;
	*(s->last ? &s->last->next : &s->first) = site;
	s->last = site;
}

static void take_out(struct sites *s, struct site *site)
{
	*(site->before ? &site->before->next : &s->first) = site->next;
	*(site->next ? &site->next->before : &s->last) = site->before;
}

/* -- what is remembered -- */

static void forget(struct sites *s, struct known *k)
{
	map_remove(&s->known, slice(k->dest, k->n));
	*(k->before ? &k->before->next : &s->oldest) = k->next;
	*(k->next ? &k->next->before : &s->newest) = k->before;
	k->site->n_known--;
	free(k);
}

struct site *sites_known(struct sites *s, const struct route *route, struct slice dest,
			 uint64_t now_ms)
{
	struct known *k = map_get(&s->known, dest);

	if (!k)
		return NULL;
	if (k->until_ms > now_ms && k->troubles == k->site->troubles && k->site->route == route)
		return k->site;
	forget(s, k);
	return NULL;
}

void sites_learn(struct sites *s, struct slice dest, struct site *site, uint64_t ttl_ms,
		 uint64_t now_ms)
{
	struct known *k = map_get(&s->known, dest);

	if (k)
		forget(s, k);
	if (s->known.n >= SITES_KNOWN)
		forget(s, s->oldest);
	k = malloc(sizeof *k + dest.n);
	if (!k)
		return;
	if (ttl_ms < SITE_KNOWN_LEAST_MS)
		ttl_ms = SITE_KNOWN_LEAST_MS;
	*k =
	    (struct known){ .before = s->newest,
			    .site = site,
			    .until_ms = now_ms +
					(ttl_ms < SITE_KNOWN_MOST_MS ? ttl_ms : SITE_KNOWN_MOST_MS),
			    .troubles = site->troubles,
			    .n = dest.n };
	memcpy(k->dest, dest.p, dest.n);
	if (!map_put(&s->known, dest, k)) {
		free(k);
		return;
	}
	*(s->newest ? &s->newest->next : &s->oldest) = k;
	s->newest = k;
	site->n_known++;
}

void sites_doubt(struct site *site)
{
	site->troubles++;
}

/* -- sites by what they are -- */

/* A site has its key, and copies of its hosts, behind it. */
static char *key_of(const struct site *site)
{
	union {
		const struct site *site;
		char *bytes;
	} u = { .site = site };

	return u.bytes + sizeof *site + site->n_hosts * sizeof *site->hosts;
}

static void begin_key(struct buf *key, char kind, const struct route *route)
{
	buf_addc(key, kind);
	buf_add(key, route->name);
	buf_addc(key, '\n');
}

/* What counts of a preference is whether it is better: its place among those of the list. */
static uint16_t rank(const struct mx_host *hosts, size_t i)
{
	uint16_t n = 0;

	while (i--)
		if (hosts[i].preference != hosts[i + 1].preference)
			n++;
	return n;
}

/* The hosts' names stand in the key; that they are found there again makes them the site's own. */
static void copy_hosts(struct site *site, const struct mx_host *from, size_t n, size_t at)
{
	struct mx_host *to = (struct mx_host *)(void *)(site + 1);

	site->hosts = to;
	for (size_t i = 0; i < n; i++) {
		to[i].preference = rank(from, i);
		at += 1;
		to[i].name = slice(key_of(site) + at, from[i].name.n);
		at += from[i].name.n + 1;
	}
}

static struct site *add(struct sites *s, struct slice key, enum site_kind kind,
			const struct route *route, size_t n_hosts)
{
	struct site *site;

	if (s->n >= s->max)
		return NULL;
	site = calloc(1, sizeof *site + n_hosts * sizeof *site->hosts + key.n + 1);
	if (!site)
		return NULL;
	site->kind = kind;
	site->route = route;
	site->n_hosts = n_hosts;
	site->key_n = key.n;
	memcpy(key_of(site), key.p, key.n);
	if (!map_put(&s->by_key, key, site)) {
		free(site);
		return NULL;
	}
	append(s, site);
	s->n++;
	return site;
}

/* Finds or makes the site that is known by the bytes behind the head of its key. */
static struct site *by_name(struct sites *s, char letter, enum site_kind kind,
			    const struct route *route, struct slice name)
{
	char bytes[KEY_MAX];
	struct buf key = { .p = bytes, .cap = sizeof bytes, .max = sizeof bytes };
	struct site *site;
	size_t at;

	begin_key(&key, letter, route);
	at = key.n;
	buf_add(&key, name);
	if (key.failed)
		return NULL;
	site = map_get(&s->by_key, buf_slice(&key));
	if (!site) {
		site = add(s, buf_slice(&key), kind, route, letter == 'L');
		if (site)
			site->name = slice(key_of(site) + at, name.n);
	}
	return site;
}

struct site *sites_fixed(struct sites *s, const struct route *route)
{
	struct site *site = by_name(s, 'F', SITE_FIXED, route, S(""));

	if (site)
		site->name = route->name;
	return site;
}

struct site *sites_nowhere(struct sites *s)
{
	struct site *site = by_name(s, 'N', SITE_NOWHERE, &nowhere, S(""));

	if (site)
		site->name = nowhere.name;
	return site;
}

struct site *sites_unresolved(struct sites *s, const struct route *route, struct slice dest)
{
	return by_name(s, 'U', SITE_UNRESOLVED, route, dest);
}

struct site *sites_literal(struct sites *s, const struct route *route, struct slice dest)
{
	struct site *site = by_name(s, 'L', SITE_HOSTS, route, dest);

	if (site && !site->hosts) {
		struct mx_host *host = (struct mx_host *)(void *)(site + 1);

		*host = (struct mx_host){ site->name, 0 };
		site->hosts = host;
		site->literal = true;
	}
	return site;
}

struct site *sites_hosts(struct sites *s, const struct route *route, const struct mx_host *hosts,
			 size_t n)
{
	char bytes[KEY_MAX];
	struct buf key = { .p = bytes, .cap = sizeof bytes, .max = sizeof bytes };
	struct site *site;
	size_t at;

	MUST(n >= 1 && n <= MX_HOSTS);
	begin_key(&key, 'H', route);
	at = key.n;
	for (size_t i = 0; i < n; i++) {
		buf_addc(&key, (char)rank(hosts, i));
		buf_add(&key, hosts[i].name);
		buf_addc(&key, '\n');
	}
	if (key.failed)
		return NULL;
	site = map_get(&s->by_key, buf_slice(&key));
	if (site)
		return site;
	site = add(s, buf_slice(&key), SITE_HOSTS, route, n);
	if (site) {
		copy_hosts(site, hosts, n, at);
		site->name = site->hosts[0].name;
	}
	return site;
}

/* -- the end of a site -- */

static bool needed(const struct site *site, uint64_t now_ms)
{
	if (site->retired)
		return site->active || site->charged;
	return site->kind == SITE_FIXED || site->first || site->active || site->charged ||
	       site->n_known || site->busy ||
	       (site->failures && site->not_before_ms + GRUDGE_MS > now_ms);
}

static void drop(struct sites *s, struct site *site)
{
	if (!site->retired)
		map_remove(&s->by_key, slice(key_of(site), site->key_n));
	take_out(s, site);
	s->n--;
	free(site);
}

void sites_sweep(struct sites *s, uint64_t now_ms)
{
	for (unsigned i = 0; i < SWEEP && s->oldest && s->oldest->until_ms <= now_ms; i++)
		forget(s, s->oldest);
	for (size_t i = 0, n = s->n < SWEEP ? s->n : SWEEP; i < n; i++) {
		struct site *site = s->first;

		if (!needed(site, now_ms)) {
			drop(s, site);
			continue;
		}
		take_out(s, site);
		append(s, site);
	}
}

void sites_ended(struct sites *s, struct site *site)
{
	if (site->retired && !needed(site, 0))
		drop(s, site);
}

static void retire(struct sites *s, struct site *site)
{
	struct known *next;

	MUST(!site->first);
	for (struct known *k = s->oldest; k && site->n_known; k = next) {
		next = k->next;
		if (k->site == site)
			forget(s, k);
	}
	/* Another site may have its key from now on. */
	map_remove(&s->by_key, slice(key_of(site), site->key_n));
	site->retired = true;
	sites_ended(s, site);
}

void sites_reroute(struct sites *s, const struct routes *before, const struct routes *now,
		   const size_t *map)
{
	struct site *next;

	for (struct site *site = s->first; site; site = next) {
		size_t to;

		next = site->next;
		if (site->retired || site->kind == SITE_NOWHERE)
			continue;
		to = map[site->route - before->at];
		if (to == SITES_GONE) {
			retire(s, site);
			continue;
		}
		site->route = &now->at[to];
		if (site->kind == SITE_FIXED)
			site->name = site->route->name;
	}
}

void sites_free(struct sites *s)
{
	if (!s)
		return;
	while (s->oldest)
		forget(s, s->oldest);
	while (s->first)
		drop(s, s->first);
	map_done(&s->known);
	map_done(&s->by_key);
	free(s);
}

struct site *sites_next(const struct sites *s, const struct site *after)
{
	return after ? after->next : s->first;
}

size_t sites_count(const struct sites *s)
{
	return s->n;
}
