#include "relay/schedule.h"

#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>

/* After so many deliveries of one flow the account's next one has its turn. */
#define TURN         16
#define REFILL_BATCH 64
/* Pulled out of the spool in one call at most, so that the loop goes on breathing. */
#define REFILL_MAX 4096
/* How long a flow waits when there was no memory to hold it. */
#define NO_MEMORY_MS 1000

/* A flow that hangs at a site. */
struct held {
	struct held *next;
	uint32_t flow;
	unsigned taken;
};

/* What an account has at a site: never nothing. */
struct share {
	struct share *next;
	uint64_t account;
	struct held *first, *last;
};

struct schedule {
	const struct spool_backend *backend;
	struct spool *spool;
	const struct routes *routes;
	struct retry_config retry;
	struct site *sites;
	struct site *turn; /* where schedule_wants() looks first */
};

struct schedule *schedule_new(const struct spool_backend *backend, struct spool *spool,
			      const struct routes *routes, const struct retry_config *site_retry)
{
	struct schedule *s = calloc(1, sizeof *s);

	if (s)
		*s = (struct schedule){
			.backend = backend, .spool = spool, .routes = routes, .retry = *site_retry
		};
	return s;
}

static struct slice account_key(const uint64_t *account)
{
	return slice((const char *)account, sizeof *account);
}

static void push_share(struct site *site, struct share *sh)
{
	sh->next = NULL;
	if (site->last)
		site->last->next = sh;
	else
		site->first = sh;
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

static void push(struct share *sh, struct held *h)
{
	h->next = NULL;
	if (sh->last)
		sh->last->next = h;
	else
		sh->first = h;
	sh->last = h;
}

static struct held *pop(struct share *sh)
{
	struct held *h = sh->first;

	sh->first = h->next;
	if (!sh->first)
		sh->last = NULL;
	return h;
}

/* The account's share, which hangs at the site from now on; NULL: memory is out. */
static struct share *share_of(struct site *site, uint64_t account)
{
	struct share *sh = map_get(&site->shares, account_key(&account));

	if (sh)
		return sh;
	sh = calloc(1, sizeof *sh);
	if (!sh)
		return NULL;
	sh->account = account;
	if (!map_put(&site->shares, account_key(&account), sh)) {
		free(sh);
		return NULL;
	}
	push_share(site, sh);
	return sh;
}

/* The first flow of the account whose turn it is goes back; with its last one the account does. */
static void park_first(struct schedule *s, struct site *site, uint64_t not_before_ms)
{
	struct share *sh = site->first;
	struct held *h = pop(sh);

	s->backend->park(s->spool, h->flow, not_before_ms);
	free(h);
	site->n_held--;
	if (sh->first)
		return;
	pop_share(site);
	(void)map_remove(&site->shares, account_key(&sh->account));
	free(sh);
}

static void park_all(struct schedule *s, struct site *site, uint64_t not_before_ms)
{
	while (site->first)
		park_first(s, site, not_before_ms);
}

void schedule_free(struct schedule *s)
{
	struct site *site = s ? s->sites : NULL;

	while (site) {
		struct site *next = site->next;

		park_all(s, site, 0);
		map_done(&site->shares);
		free(site);
		site = next;
	}
	free(s);
}

/* Accounts' numbers are random and our own: nobody chooses them. */
static const uint64_t account_hash[2] = { 1, 2 };

static struct site *site_of(struct schedule *s, const struct route *route)
{
	struct site *site;

	for (site = s->sites; site; site = site->next)
		if (site->route == route)
			return site;
	site = calloc(1, sizeof *site);
	if (!site)
		return NULL;
	site->route = route;
	map_init(&site->shares, account_hash);
	site->next = s->sites;
	s->sites = site;
	return site;
}

static uint64_t park(struct schedule *s, const struct spool_dest *dest, uint64_t not_before_ms)
{
	s->backend->park(s->spool, dest->flow, not_before_ms);
	return not_before_ms;
}

/* Returns when the spool has it again, UINT64_MAX: it hangs at its site. */
static uint64_t hang_up(struct schedule *s, const struct spool_dest *dest, uint64_t now_ms)
{
	const struct route *route = route_for(s->routes, slice(dest->name, dest->n));
	struct site *site = route ? site_of(s, route) : NULL;
	struct share *sh;
	struct held *h;

	/* No route: the configuration changed under a queued message. It stays in the spool and is
	 * looked at again. */
	if (!route)
		return park(s, dest, now_ms + s->retry.max_ms);
	if (site && site->not_before_ms > now_ms)
		return park(s, dest, site->not_before_ms);
	h = site ? malloc(sizeof *h) : NULL;
	sh = h ? share_of(site, dest->account) : NULL;
	if (!sh) {
		free(h);
		return park(s, dest, now_ms + NO_MEMORY_MS);
	}
	*h = (struct held){ .flow = dest->flow };
	push(sh, h);
	site->n_held++;
	return UINT64_MAX;
}

uint64_t schedule_refill(struct schedule *s, uint64_t now_ms)
{
	struct spool_dest due[REFILL_BATCH];
	uint64_t wait_ms = UINT64_MAX, parked_ms = UINT64_MAX;
	size_t n, all = 0;

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

/* One connection at once proves the site; from then on one more is opened whenever the last one
 * proved itself and work is still waiting. */
static bool wants(const struct site *site, uint64_t now_ms)
{
	return site->first && site->not_before_ms <= now_ms && site->unproven == 0 &&
	       site->active < site->route->connections;
}

struct site *schedule_wants(struct schedule *s, uint64_t now_ms)
{
	struct site *site = s->turn ? s->turn : s->sites;
	struct site *begin = site;

	if (!site)
		return NULL;
	do {
		struct site *next = site->next ? site->next : s->sites;

		if (wants(site, now_ms)) {
			s->turn = next;
			return site;
		}
		site = next;
	} while (site != begin);
	return NULL;
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
			push(sh, pop(sh));
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

void schedule_site_failed(struct schedule *s, struct site *site, uint64_t now_ms, uint32_t random,
			  struct slice reason)
{
	/* Several connections may fail of one cause: that is one failure, not many. */
	if (site->not_before_ms <= now_ms) {
		site->not_before_ms = now_ms + retry_delay_ms(site->failures, &s->retry, random);
		site->failures++;
	}
	snprintf(site->reason, sizeof site->reason, "%.*s", SLICE_ARG(reason));
	park_all(s, site, site->not_before_ms);
}

struct site *schedule_site(const struct schedule *s, const struct site *after)
{
	return after ? after->next : s->sites;
}
