#include "relay/schedule.h"

#include "base/map.h"
#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>

/* Standards: see schedule.h. */
#define LOOKUPS   256
#define SITES     20000
#define HELD      65536
#define SITE_HELD 16384

/* After so many deliveries of one flow the account's next one has its turn. */
#define TURN         16
#define REFILL_BATCH 64
/* Pulled out of the spool in one call at most, so that the loop goes on breathing. */
#define REFILL_MAX 4096
/* How long what no route leads to waits, at most: a reload may bring one. */
#define NO_ROUTE_MS 60000
/* How long a flow waits when there was no memory to hold it, or no room for its site. */
#define NO_MEMORY_MS 1000
/* Those that a site has no room for come again in portions: so many of them every so often. */
#define PORTION    4096
#define PORTION_MS 100

/* A flow that hangs at a site. */
struct held {
	struct held *next;
	uint32_t flow;
	unsigned taken;
};

/* What an account has at a site: never nothing. */
struct share {
	struct share *next;
	struct share_key {
		const struct site *site;
		uint64_t account;
	} key;
	struct held *first, *last;
	struct held own; /* the first of all: most have no other */
};

struct schedule {
	const struct spool_backend *backend;
	struct spool *spool;
	const struct routes *routes;
	struct retry_config retry;
	struct sites *sites;
	struct map shares;   /* by site and account */
	struct site **fixed; /* by route; NULL: not needed yet */
	struct site *first_busy, *last_busy;
	size_t n_held, n_homeless, n_lookups, held_max, site_held_max, lookups_max;
};

struct schedule *schedule_new(const struct spool_backend *backend, struct spool *spool,
			      const struct routes *routes, const struct schedule_conf *conf)
{
	struct schedule *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	*s = (struct schedule){ .backend = backend,
				.spool = spool,
				.routes = routes,
				.retry = conf->retry,
				.lookups_max = conf->lookups ? conf->lookups : LOOKUPS,
				.held_max = conf->held ? conf->held : HELD,
				.site_held_max = conf->site_held ? conf->site_held : SITE_HELD };
	map_init(&s->shares, conf->hash_key);
	s->sites = sites_new(conf->hash_key, conf->sites ? conf->sites : SITES);
	s->fixed = calloc(routes->n + 1, sizeof(struct site *));
	if (s->sites && s->fixed)
		return s;
	schedule_free(s);
	return NULL;
}

static void set_busy(struct schedule *s, struct site *site, bool busy)
{
	if (site->busy == busy)
		return;
	site->busy = busy;
	if (busy) {
		site->busy_next = NULL;
		site->busy_before = s->last_busy;
		*(s->last_busy ? &s->last_busy->busy_next : &s->first_busy) = site;
		s->last_busy = site;
	} else {
		*(site->busy_before ? &site->busy_before->busy_next : &s->first_busy) =
		    site->busy_next;
		*(site->busy_next ? &site->busy_next->busy_before : &s->last_busy) =
		    site->busy_before;
	}
}

static struct slice key_slice(const struct share_key *key)
{
	return slice((const char *)key, sizeof *key);
}

static void push_share(struct site *site, struct share *sh)
{
	sh->next = NULL;
	*(site->last ? &site->last->next : &site->first) = sh;
	site->last = sh;
}

static struct share *pop_share(struct site *site)
{
	struct share *sh = site->first;

	site->first = sh->next;
	if (!site->first)
		site->last = NULL;
	return sh;
}

static void push_flow(struct share *sh, struct held *h)
{
	h->next = NULL;
	*(sh->last ? &sh->last->next : &sh->first) = h;
	sh->last = h;
}

static struct held *pop_flow(struct share *sh)
{
	struct held *h = sh->first;

	sh->first = h->next;
	if (!sh->first)
		sh->last = NULL;
	return h;
}

#define FEW (sizeof((struct site *)0)->few / sizeof(struct share *))

static struct share *share_of(const struct schedule *s, const struct site *site, uint64_t account)
{
	for (size_t i = 0; i < FEW; i++)
		if (site->few[i] && site->few[i]->key.account == account)
			return site->few[i];
	return site->n_mapped ? map_get(&s->shares, key_slice(&(struct share_key){ site, account }))
			      : NULL;
}

/* Nearly always a few accounts have work at a site: they need no table. False: memory is out. */
static bool share_enter(struct schedule *s, struct site *site, struct share *sh)
{
	for (size_t i = 0; i < FEW; i++)
		if (!site->few[i]) {
			site->few[i] = sh;
			return true;
		}
	if (!map_put(&s->shares, key_slice(&sh->key), sh))
		return false;
	site->n_mapped++;
	return true;
}

static void share_leave(struct schedule *s, struct site *site, struct share *sh)
{
	for (size_t i = 0; i < FEW; i++)
		if (site->few[i] == sh) {
			site->few[i] = NULL;
			return;
		}
	(void)map_remove(&s->shares, key_slice(&sh->key));
	site->n_mapped--;
}

/* NULL: memory is out. */
static struct share *share_new(struct schedule *s, struct site *site, uint64_t account)
{
	struct share *sh = calloc(1, sizeof *sh);

	if (!sh)
		return NULL;
	sh->key = (struct share_key){ site, account };
	if (!share_enter(s, site, sh)) {
		free(sh);
		return NULL;
	}
	push_share(site, sh);
	return sh;
}

/* A flow begins to hang at the site. False: memory is out. */
static bool hold(struct schedule *s, struct site *site, uint64_t account, uint32_t flow)
{
	struct share *sh = share_of(s, site, account);
	struct held *h = sh ? malloc(sizeof *h) : NULL;

	if (!sh) {
		sh = share_new(s, site, account);
		h = sh ? &sh->own : NULL;
	}
	if (!h)
		return false;
	*h = (struct held){ .flow = flow };
	push_flow(sh, h);
	site->n_held++;
	s->n_held++;
	set_busy(s, site, true);
	return true;
}

/* The first flow of the account whose turn it is hangs there no more; with its last the account
 * has no share. */
static uint32_t let_go(struct schedule *s, struct site *site)
{
	struct share *sh = site->first;
	struct held *h = pop_flow(sh);
	uint32_t flow = h->flow;

	if (h != &sh->own)
		free(h);
	if (!sh->first) {
		pop_share(site);
		share_leave(s, site, sh);
		free(sh);
	}
	site->n_held--;
	s->n_held--;
	if (site->n_held < s->site_held_max / 2)
		site->n_overflow = 0;
	set_busy(s, site, site->first);
	return flow;
}

static void park_first(struct schedule *s, struct site *site, uint64_t not_before_ms)
{
	uint32_t flow = let_go(s, site);

	s->backend->park(s->spool, flow, not_before_ms);
}

static void park_all(struct schedule *s, struct site *site, uint64_t not_before_ms)
{
	while (site->first)
		park_first(s, site, not_before_ms);
}

bool schedule_reroute(struct schedule *s, const struct routes *now, const size_t *map,
		      const struct retry_config *site_retry)
{
	struct site **fixed = calloc(now->n + 1, sizeof(struct site *)), *next;

	if (!fixed)
		return false;
	for (struct site *site = s->first_busy; site; site = next) {
		next = site->busy_next;
		if (site->kind == SITE_NOWHERE || map[site->route - s->routes->at] == SITES_GONE)
			park_all(s, site, 0);
	}
	sites_reroute(s->sites, s->routes, now, map);
	free(s->fixed);
	s->fixed = fixed;
	s->routes = now;
	s->retry = *site_retry;
	return true;
}

void schedule_free(struct schedule *s)
{
	if (!s)
		return;
	while (s->first_busy)
		park_all(s, s->first_busy, 0);
	sites_free(s->sites);
	map_done(&s->shares);
	free(s->fixed);
	free(s);
}

static struct site *fixed_site(struct schedule *s, const struct route *route)
{
	struct site **at = &s->fixed[route - s->routes->at];

	if (!*at)
		*at = sites_fixed(s->sites, route);
	return *at;
}

static struct site *site_of(struct schedule *s, const struct route *route, struct slice dest,
			    uint64_t now_ms)
{
	struct site *site;

	/* The configuration changed under a queued message. */
	if (!route)
		return sites_nowhere(s->sites);
	if (route->type != ROUTE_MX)
		return fixed_site(s, route);
	if (slice_starts(dest, S("[")))
		return sites_literal(s->sites, route, dest);
	site = sites_known(s->sites, route, dest, now_ms);
	return site ? site : sites_unresolved(s->sites, route, dest);
}

static uint64_t park(struct schedule *s, const struct spool_dest *dest, uint64_t not_before_ms)
{
	s->backend->park(s->spool, dest->flow, not_before_ms);
	return not_before_ms;
}

static uint64_t portion_ms(size_t *n)
{
	return PORTION_MS * ((*n)++ / PORTION);
}

/* One flow of an account is always welcome: else those of another could keep it out for ever. */
static bool has_room(const struct schedule *s, const struct site *site, uint64_t account)
{
	return (site->n_held < s->site_held_max && s->n_held < s->held_max) ||
	       !share_of(s, site, account);
}

/* Returns when the spool has it again, UINT64_MAX: it hangs at its site. */
static uint64_t hang_up(struct schedule *s, const struct spool_dest *dest, uint64_t now_ms)
{
	struct slice name = slice(dest->name, dest->n);
	struct site *site = site_of(s, route_for(s->routes, name), name, now_ms);

	if (!site)
		return park(s, dest, now_ms + NO_MEMORY_MS + portion_ms(&s->n_homeless));
	s->n_homeless = 0;
	if (site->not_before_ms > now_ms)
		return park(s, dest, site->not_before_ms);
	if (!has_room(s, site, dest->account))
		return park(s, dest, now_ms + PORTION_MS + portion_ms(&site->n_overflow));
	if (!hold(s, site, dest->account, dest->flow))
		return park(s, dest, now_ms + NO_MEMORY_MS);
	return UINT64_MAX;
}

uint64_t schedule_refill(struct schedule *s, uint64_t now_ms)
{
	struct spool_dest due[REFILL_BATCH];
	uint64_t wait_ms = UINT64_MAX, parked_ms = UINT64_MAX;
	size_t n, all = 0;

	sites_sweep(s->sites, now_ms);
	do {
		n = s->backend->next(s->spool, now_ms, due, REFILL_BATCH, &wait_ms);
		for (size_t i = 0; i < n; i++) {
			uint64_t until_ms = hang_up(s, &due[i], now_ms);

			parked_ms = until_ms < parked_ms ? until_ms : parked_ms;
		}
		all += n;
	} while (n == REFILL_BATCH && all < REFILL_MAX);
	return parked_ms < wait_ms ? parked_ms : wait_ms;
}

bool schedule_lookups_full(const struct schedule *s)
{
	return s->n_lookups >= s->lookups_max;
}

/* Of a busy site. One connection at once proves it; from then on one more is opened whenever the
 * last one proved itself and work is still waiting. */
static bool wants(const struct schedule *s, const struct site *site, uint64_t now_ms)
{
	if (site->kind == SITE_UNRESOLVED && (site->active || schedule_lookups_full(s)))
		return false;
	return site->not_before_ms <= now_ms && site->unproven == 0 && site->charged == 0 &&
	       site->active < site->route->connections;
}

struct site *schedule_wants(struct schedule *s, uint64_t now_ms)
{
	for (struct site *site = s->first_busy; site; site = site->busy_next) {
		if (!wants(s, site, now_ms))
			continue;
		/* The next time it is another one's turn. */
		set_busy(s, site, false);
		set_busy(s, site, true);
		return site;
	}
	return NULL;
}

bool schedule_wanting(const struct schedule *s, uint64_t now_ms)
{
	for (const struct site *site = s->first_busy; site; site = site->busy_next)
		if (wants(s, site, now_ms))
			return true;
	return false;
}

void schedule_began(struct schedule *s, struct site *site)
{
	site->active++;
	s->n_lookups += site->kind == SITE_UNRESOLVED;
}

void schedule_ended(struct schedule *s, struct site *site)
{
	site->active--;
	s->n_lookups -= site->kind == SITE_UNRESOLVED;
	sites_ended(s->sites, site);
}

void schedule_look(struct schedule *s, struct site *site)
{
	sites_ended(s->sites, site);
}

bool schedule_has(const struct site *site, uint64_t now_ms)
{
	return site->first && site->not_before_ms <= now_ms;
}

bool schedule_take(struct schedule *s, struct site *site, uint64_t now_ms, struct spool_ticket *ret)
{
	if (site->not_before_ms > now_ms) {
		park_all(s, site, site->not_before_ms);
		return false;
	}
	while (site->first) {
		struct share *sh = site->first;
		struct held *h = sh->first;
		bool more, taken = s->backend->take(s->spool, h->flow, now_ms, ret, 1, &more) == 1;
		bool stays = more || h->next; /* the account */

		/* Nothing stands here that is not due: a connection opened for it had none to
		 * carry. What is held meanwhile goes when it is looked at. */
		if (!more) {
			park_first(s, site, 0);
		} else if (++h->taken >= TURN && h->next) {
			h->taken = 0;
			push_flow(sh, pop_flow(sh));
		}
		if (taken && stays)
			push_share(site, pop_share(site));
		if (taken)
			return true;
	}
	return false;
}

void schedule_site_ok(struct site *site)
{
	site->failures = 0;
	site->not_before_ms = 0;
	site->reason[0] = '\0';
}

static uint64_t back_off_ms(const struct schedule *s, const struct site *site, uint32_t random)
{
	bool nowhere = site->kind == SITE_NOWHERE;
	uint64_t ms = retry_delay_ms(nowhere ? 0 : site->failures, &s->retry, random);

	return nowhere && ms > NO_ROUTE_MS ? NO_ROUTE_MS : ms;
}

void schedule_site_failed(struct schedule *s, struct site *site, uint64_t now_ms, uint32_t random,
			  struct slice reason)
{
	/* Several connections may fail of one cause: that is one failure, not many. */
	if (site->not_before_ms <= now_ms) {
		site->not_before_ms = now_ms + back_off_ms(s, site, random);
		site->failures++;
	}
	sites_doubt(site);
	snprintf(site->reason, sizeof site->reason, "%.*s", SLICE_ARG(reason));
	park_all(s, site, site->not_before_ms);
}

void schedule_resolved(struct schedule *s, struct site *unresolved, const struct mx_host *hosts,
		       size_t n, uint64_t ttl_ms, uint64_t now_ms)
{
	struct site *site;

	/* What waited there has gone elsewhere. */
	if (unresolved->retired)
		return;
	site = sites_hosts(s->sites, unresolved->route, hosts, n);
	schedule_site_ok(unresolved);
	if (!site) {
		park_all(s, unresolved, now_ms + NO_MEMORY_MS);
		return;
	}
	sites_learn(s->sites, unresolved->name, site, ttl_ms, now_ms);
	if (site->not_before_ms > now_ms)
		park_all(s, unresolved, site->not_before_ms);
	while (unresolved->first) {
		uint64_t account = unresolved->first->key.account;
		uint32_t flow = let_go(s, unresolved);

		if (!hold(s, site, account, flow))
			s->backend->park(s->spool, flow, now_ms + NO_MEMORY_MS);
	}
}

static struct site *find_site(const struct schedule *s, struct slice dest, uint64_t now_ms)
{
	const struct route *route = route_for(s->routes, dest);
	struct site *site;

	if (!route)
		return NULL;
	if (route->type != ROUTE_MX)
		return s->fixed[route - s->routes->at];
	/* Nothing is made here: what is known, or what waits to be looked up. */
	site = sites_known(s->sites, route, dest, now_ms);
	if (site)
		return site;
	while ((site = sites_next(s->sites, site)))
		if (site->route == route && slice_eq(site->name, dest))
			return site;
	return NULL;
}

const struct site *schedule_site_of(const struct schedule *s, struct slice dest, uint64_t now_ms)
{
	return find_site(s, dest, now_ms);
}

void schedule_try_again(struct schedule *s, struct slice dest, uint64_t now_ms)
{
	struct site *site =
	    route_for(s->routes, dest) ? find_site(s, dest, now_ms) : sites_nowhere(s->sites);

	if (site)
		site->not_before_ms = 0;
}

struct site *schedule_site(const struct schedule *s, const struct site *after)
{
	return sites_next(s->sites, after);
}

struct site *schedule_busy(const struct schedule *s, const struct site *after)
{
	return after ? after->busy_next : s->first_busy;
}
