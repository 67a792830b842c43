/* serve/charge.c -- a site that cannot be used, and the deliveries that wait there.
 *
 * One of them is charged with the reason, so that the queue shows it. So is everyone whose lifetime
 * is over: it ends now, however long the others wait. Those whose sender may be told that it takes
 * long are looked at, and left where they are. The others are not touched: when the site is back,
 * they are due at once. */
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/deliver_impl.h"
#include "serve/generation.h"

#include <stdlib.h>
#include <unistd.h>

#define LOAD_MAX (160u << 20)
/* Of one failure: deliveries that are charged with it, that are looked at, that are passed over
 * before the rest is believed to be like them; and jobs at once. */
#define CHARGED_MAX  4096
#define LOOKED_MAX   256
#define PASSED_MAX   16
#define JOBS_AT_ONCE 8

struct charged {
	struct spool_ticket ticket;
	bool look; /* nothing was attempted */
};

struct backlog {
	struct deliver *deliver;
	struct site *site;         /* stays while site->charged says so */
	struct generation *rules;  /* held: what it is judged by */
	const struct route *route; /* the site may get another one */
	int code;
	struct slice reason, remote;
	struct arena arena;
	struct charged *at;
	size_t n, cap, next;
	unsigned jobs;
};

struct charge {
	struct job job;
	struct backlog *backlog;
	struct charged what;
	struct arena arena;
	struct spool_message message;
	struct err error;
	bool loaded;
};

static void release(struct deliver *d, const struct spool_ticket *t, uint64_t due_ms)
{
	struct server *s = d->home->server;

	s->spool_backend->release(s->spool, t, due_ms);
}

static struct backlog *backlog_new(struct deliver *d, struct site *site, struct slice remote,
				   int code, struct slice reason)
{
	struct backlog *b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->deliver = d;
	b->site = site;
	b->rules = generation_hold(d->home->now, d->home);
	b->route = site->route;
	b->code = code;
	arena_init(&b->arena, 4096);
	b->reason = arena_dup(&b->arena, reason);
	b->remote = arena_dup(&b->arena, remote);
	d->attempts++;
	site->charged++;
	return b;
}

/* Without memory it waits a minute. */
static void add(struct backlog *b, const struct spool_ticket *t, bool look)
{
	size_t cap = b->cap ? b->cap * 2 : 16;
	struct charged *at = b->n < b->cap ? b->at : realloc(b->at, cap * sizeof *at);

	if (!at) {
		release(b->deliver, t, clock_steady_ms() + 60000);
		return;
	}
	b->cap = b->n < b->cap ? b->cap : cap;
	b->at = at;
	b->at[b->n++] = (struct charged){ *t, look };
}

/* -- one delivery -- */

static void run(struct job *job, void *ctx)
{
	struct charge *c = (struct charge *)(void *)job;
	struct server *s = c->backlog->deliver->home->server;

	(void)ctx;
	c->loaded =
	    s->spool_backend->load(s->spool, c->what.ticket.id, &c->arena, &c->message, &c->error);
	if (c->loaded && c->message.content.fd >= 0)
		close(c->message.content.fd);
}

/* The recipients it is about: all that are pending; of one that is looked at, those whose sender is
 * to be told now. */
static size_t answer(const struct charge *c, struct outcome_answer *answers)
{
	const struct spool_envelope *env = &c->message.envelope;
	const struct spool_ticket *t = &c->what.ticket;
	const struct bounce_conf *bounce = &c->backlog->rules->bounce;
	size_t n = 0;

	for (uint32_t i = 0; i < env->n_rcpts; i++) {
		const struct spool_rcpt *r = &env->rcpts[i];

		if (r->delivery != t->delivery || r->state != RCPT_PENDING)
			continue;
		if (c->what.look && bounce_delay_at(bounce, env->reverse_path, r, t->accepted_ms) >
					clock_steady_ms())
			continue;
		answers[n++] = (struct outcome_answer){ .rcpt = i,
							.code = c->backlog->code,
							.text = c->backlog->reason };
	}
	return n;
}

static void go_on(struct backlog *b);

static void done(struct job *job)
{
	struct charge *c = (struct charge *)(void *)job;
	struct backlog *b = c->backlog;
	struct deliver *d = b->deliver;
	struct spool_envelope *env = &c->message.envelope;
	struct outcome_answer *answers =
	    c->loaded ? ARENA_ARRAY(&c->arena, struct outcome_answer, env->n_rcpts) : NULL;
	struct deliver_facts f = { .route = b->route,
				   .remote = b->remote,
				   .waiting = c->what.look };
	size_t n = answers ? answer(c, answers) : 0;

	if (!c->loaded && c->error.kind != ERR_LATER)
		deliver_unreadable(d, &c->what.ticket, &c->error);
	else if (!n)
		release(d, &c->what.ticket,
			clock_steady_ms() + (answers && c->what.look ? 0 : 60000));
	else
		deliver_settle(d, &c->what.ticket, env, answers, n, &f);
	arena_done(&c->arena);
	free(c);
	b->jobs--;
	go_on(b);
}

static bool begin(struct backlog *b, const struct charged *what)
{
	struct charge *c = calloc(1, sizeof *c);
	struct home *home = b->deliver->home;

	if (!c)
		return false;
	c->job = (struct job){ .run = run, .done = done, .home = home->loop };
	c->backlog = b;
	c->what = *what;
	arena_init(&c->arena, LOAD_MAX);
	if (lane_post(home->server->files, &c->job))
		return true;
	free(c);
	return false;
}

/* -- all of them -- */

static void go_on(struct backlog *b)
{
	struct deliver *d = b->deliver;

	/* At the end of the server leases end by themselves. */
	while (b->jobs < JOBS_AT_ONCE && b->next < b->n && !d->stopping) {
		const struct charged *what = &b->at[b->next++];

		if (begin(b, what))
			b->jobs++;
		else
			release(d, &what->ticket, clock_steady_ms() + 60000);
	}
	if (b->jobs)
		return;
	b->site->charged--;
	d->attempts--;
	schedule_look(d->schedule, b->site);
	generation_drop(b->rules, d->home);
	arena_done(&b->arena);
	free(b->at);
	free(b);
	deliver_wake(d);
}

static bool takes_long(const struct backlog *b, const struct spool_ticket *t, uint64_t now_ms)
{
	const struct bounce_conf *c = &b->rules->bounce;

	return c->enabled && now_ms >= t->accepted_ms + c->delay_ms;
}

/* Takes what is to be charged or looked at out of what waits at the site. */
static void gather(struct backlog *b, uint64_t now_ms)
{
	struct deliver *d = b->deliver;
	struct spool_ticket t, passed[PASSED_MAX];
	size_t n_passed = 0, looked = 0;

	while (n_passed < PASSED_MAX && b->n < CHARGED_MAX &&
	       schedule_take(d->schedule, b->site, now_ms, &t)) {
		bool over = retry_expired(t.accepted_ms, now_ms, &d->retry);

		if (!b->n || over)
			add(b, &t, false);
		else if (takes_long(b, &t, now_ms) && looked++ < LOOKED_MAX)
			add(b, &t, true);
		else
			passed[n_passed++] = t;
	}
	/* Only now: they would have been taken again. */
	while (n_passed)
		release(d, &passed[--n_passed], now_ms);
}

void deliver_site_failed(struct deliver *d, struct site *site, struct slice remote,
			 struct slice reason)
{
	uint64_t now = clock_steady_ms();
	struct backlog *b = backlog_new(d, site, remote, 0, reason);

	metrics_add(M_ATTEMPTS, metrics_word(LABEL_ATTEMPT, S("site_failed")), 0, 1);
	if (b)
		gather(b, now);
	schedule_site_failed(d->schedule, site, now, deliver_random32(), reason);
	if (b)
		go_on(b);
}

void deliver_site_refused(struct deliver *d, struct site *site, int code, struct slice text)
{
	struct backlog *b = backlog_new(d, site, site->name, code, text);
	struct spool_ticket t;

	while (b && b->n < CHARGED_MAX && schedule_take(d->schedule, site, clock_steady_ms(), &t))
		add(b, &t, false);
	if (b)
		go_on(b);
}

void deliver_site_rests(struct deliver *d, struct site *site, struct slice reason)
{
	schedule_site_failed(d->schedule, site, clock_steady_ms(), deliver_random32(), reason);
}
