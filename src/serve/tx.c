#include "serve/tx.h"

#include "ops/clock.h"
#include "serve/generation.h"
#include "serve/server.h"

#include <stdlib.h>

/* Addresses of the most recipients the limit allows, at their longest, and the finished head. */
static size_t arena_max(const struct conf *c)
{
	return c->limits.recipients * 2048 + c->limits.header_size * 3 + (64 << 10);
}

struct tx *tx_new(struct home *home, struct generation *rules, uint64_t account,
		  struct slice key_id)
{
	struct tx *tx = calloc(1, sizeof *tx);
	unsigned char random[10];

	if (!tx)
		return NULL;
	tx->home = home;
	arena_init(&tx->arena, arena_max(rules->conf));
	tx->rules = generation_hold(rules, home);
	body_init(&tx->body, home->server, rules->conf);
	home_random(home, random, sizeof random);
	tx->envelope.accepted_ms = clock_wall_ms();
	tx->envelope.id = id_make(tx->envelope.accepted_ms, random);
	tx->envelope.account = account;
	tx->envelope.key_id = arena_dup(&tx->arena, key_id);
	if (tx->arena.failed) {
		tx_free(tx);
		return NULL;
	}
	return tx;
}

void tx_free(struct tx *tx)
{
	if (!tx)
		return;
	body_done(&tx->body);
	arena_done(&tx->arena);
	generation_drop(tx->rules, tx->home);
	free(tx);
}

static enum dsn_ret ret_of(enum smtp_ret ret)
{
	switch (ret) {
	case SMTP_RET_UNSAID: return RET_NONE;
	case SMTP_RET_FULL: return RET_FULL;
	case SMTP_RET_HDRS: return RET_HDRS;
	}
	return RET_NONE;
}

bool tx_mail(struct tx *tx, const struct smtp_path *path, const struct smtp_mail_params *p)
{
	tx->envelope.reverse_path = arena_dup(&tx->arena, path->whole);
	tx->reverse_domain = arena_dup(&tx->arena, path->domain);
	tx->envelope.body_8bit = p->body == SMTP_BODY_8BITMIME;
	tx->envelope.smtputf8 = p->smtputf8;
	tx->envelope.ret = ret_of(p->ret);
	tx->envelope.envid = arena_dup(&tx->arena, p->envid);
	return !tx->arena.failed;
}

/* The recipient array doubles in the arena: what the old one took is at most what the new one
 * takes, and the arena goes with the transaction. */
static bool grow(struct tx *tx)
{
	uint32_t n = tx->envelope.n_rcpts, cap = tx->rcpt_cap ? tx->rcpt_cap * 2 : 4;
	struct spool_rcpt *rcpts = ARENA_ARRAY(&tx->arena, struct spool_rcpt, cap);
	struct slice *dests = ARENA_ARRAY(&tx->arena, struct slice, cap);

	if (!rcpts || !dests)
		return false;
	if (n) {
		memcpy(rcpts, tx->envelope.rcpts, n * sizeof *rcpts);
		memcpy(dests, tx->dests, tx->envelope.n_deliveries * sizeof *dests);
	}
	tx->envelope.rcpts = rcpts;
	tx->dests = dests;
	tx->rcpt_cap = cap;
	return true;
}

/* Most messages have one destination, most of the others few: a walk is the cheapest search. */
static bool delivery_of(struct tx *tx, struct slice dest, uint32_t *ret)
{
	uint32_t n = tx->envelope.n_deliveries;

	for (uint32_t i = n; i-- > 0;)
		if (slice_eq(tx->dests[i], dest)) {
			*ret = i;
			return true;
		}
	tx->dests[n] = arena_dup(&tx->arena, dest);
	if (!tx->dests[n].p)
		return false;
	tx->envelope.n_deliveries++;
	*ret = n;
	return true;
}

bool tx_rcpt(struct tx *tx, const struct smtp_path *path, const struct smtp_rcpt_params *p,
	     struct slice dest)
{
	uint32_t n = tx->envelope.n_rcpts;
	struct spool_rcpt *r;

	if (n == tx->rcpt_cap && !grow(tx))
		return false;
	r = &tx->envelope.rcpts[n];
	*r = (struct spool_rcpt){ .path = arena_dup(&tx->arena, path->whole),
				  .orcpt = arena_dup(&tx->arena, p->orcpt),
				  .notify = p->notify,
				  .state = RCPT_PENDING };
	if (tx->arena.failed || !delivery_of(tx, dest, &r->delivery))
		return false;
	tx->envelope.dests = tx->dests;
	tx->envelope.n_rcpts++;
	return true;
}
