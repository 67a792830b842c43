#include "serve/health.h"

#include "ops/clock.h"
#include "ops/log.h"
#include "serve/commit.h"
#include "serve/server.h"

#include <stdio.h>
#include <stdlib.h>

/* A commit that ended so long ago at most is proof. */
#define FRESH_MS 10000
/* One that is under way for so long hangs. */
#define HANGS_MS 10000

struct health {
	struct home *home;
	struct health_asker *first;
	struct loop_timer timer; /* for who asked first */
	struct commit probe;
	struct job count; /* on the lane "watch" */
	struct spool_count found;
	bool probing, counting;
	const char *said; /* the last reason, for the log */
	struct slice spool_path;
};

bool health_is_ok(const struct health_state *s)
{
	return !strcmp(s->reason, "ok");
}

static void fill(struct health_state *s, const char *reason, const char *detail)
{
	s->reason = reason;
	snprintf(s->detail, sizeof s->detail, "%s", detail);
}

static void note(struct health *h, const struct health_state *s)
{
	if (strcmp(h->said, s->reason))
		log_event(LOG_HEALTH, F_CSTR("state", s->reason), F_CSTR("detail", s->detail));
	h->said = s->reason;
}

void health_forget(struct health_asker *a)
{
	if (!a->at)
		return;
	*a->at = a->next;
	if (a->next)
		a->next->at = a->at;
	a->at = NULL;
}

/* The list's end is found anew each time: few ask at once. */
static void enqueue(struct health *h, struct health_asker *a)
{
	struct health_asker **at = &h->first;

	while (*at)
		at = &(*at)->next;
	a->next = NULL;
	a->at = at;
	*at = a;
}

static void tell(struct health *h, struct health_asker *a, const struct health_state *s)
{
	health_forget(a);
	note(h, s);
	a->told(a, s);
}

static void tell_all(struct health *h, const struct health_state *s)
{
	loop_timer_cancel(&h->timer);
	while (h->first)
		tell(h, h->first, s);
}

/* What is known without asking anybody. */
static bool known_bad(const struct health *h, struct health_state *s)
{
	struct server *server = h->home->server;
	uint64_t began = atomic_load(&server->commit_began_ms), now = clock_mono_ms();

	if (atomic_load(&server->spool_broken))
		fill(s, "spool_failed", "a commit failed: the server ends");
	else if (atomic_load(&server->stopping))
		fill(s, "stopping", "the server is ending");
	else if (began && now > began + HANGS_MS)
		fill(s, "commit_hangs", "a commit does not end: is the disk at work?");
	else
		return false;
	return true;
}

/* -- the queue: is there room? -- */

static void count_run(struct job *job, void *ctx)
{
	struct health *h = (struct health *)(void *)((char *)job - offsetof(struct health, count));
	struct server *s = h->home->server;

	(void)ctx;
	h->found = (struct spool_count){ 0 };
	s->spool_backend->count(s->spool, &h->found);
}

static void count_done(struct job *job)
{
	struct health *h = (struct health *)(void *)((char *)job - offsetof(struct health, count));
	const struct conf *c = h->home->server->boot;
	struct health_state s;

	h->counting = false;
	fill(&s, "ok", "");
	if (h->found.disk_free < c->spool.reserve)
		fill(&s, "disk_full", "less is free than spool.reserve: new messages get 452");
	else if (c->spool.messages_max && h->found.messages >= c->spool.messages_max)
		fill(&s, "queue_full", "spool.messages_max is reached: new messages get 452");
	tell_all(h, &s);
}

static void count(struct health *h)
{
	struct health_state s;

	h->count = (struct job){ .run = count_run, .done = count_done, .home = h->home->loop };
	h->counting = lane_post(h->home->server->watch, &h->count);
	if (h->counting)
		return;
	fill(&s, "no_answer", "the server is too busy to look");
	tell_all(h, &s);
}

/* -- the disk: does it write? -- */

static void probe_done(struct job *job)
{
	struct health *h =
	    (struct health *)(void *)((char *)job - offsetof(struct health, probe.job));
	struct health_state s;

	h->probing = false;
	if (!h->first)
		return;
	if (h->probe.probe_ok) {
		count(h);
		return;
	}
	fill(&s, "probe_failed", h->probe.probe_error.text);
	tell_all(h, &s);
}

static void probe(struct health *h)
{
	struct health_state s;

	h->probe = (struct commit){ .job = { .done = probe_done, .home = h->home->loop },
				    .probe = h->spool_path };
	h->probing = batch_post(h->home->server->committer, &h->probe.job);
	if (h->probing)
		return;
	fill(&s, "commit_hangs", "no more fits into the queue of the committer");
	tell_all(h, &s);
}

/* Whoever asked first has waited long enough; those who came later wait for their own time. */
static void on_late(void *arg)
{
	struct health *h = arg;
	uint64_t now = loop_now(h->home->loop);
	struct health_state s;

	if (h->probing)
		fill(&s, "commit_hangs", "a write and its sync take more than five seconds");
	else
		fill(&s, "no_answer", "the queue cannot be looked at within five seconds");
	while (h->first && h->first->asked_ms + HEALTH_BOUND_MS <= now)
		tell(h, h->first, &s);
	if (h->first)
		loop_timer_set(&h->timer, h->first->asked_ms + HEALTH_BOUND_MS - now);
}

void health_ask(struct health *h, struct health_asker *a)
{
	struct server *server = h->home->server;
	uint64_t ended = atomic_load(&server->commit_ended_ms);
	struct health_state s;

	if (known_bad(h, &s)) {
		note(h, &s);
		a->told(a, &s);
		return;
	}
	a->asked_ms = loop_now(h->home->loop);
	if (!h->first)
		loop_timer_set(&h->timer, HEALTH_BOUND_MS);
	enqueue(h, a);
	if (h->probing || h->counting)
		return;
	if (ended && clock_mono_ms() < ended + FRESH_MS)
		count(h);
	else
		probe(h);
}

struct health *health_new(struct home *home, struct err *e)
{
	struct health *h = calloc(1, sizeof *h);

	if (!h) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	h->home = home;
	h->said = "ok";
	h->spool_path = home->server->boot->spool.path;
	loop_timer_init(&h->timer, home->loop, on_late, h);
	return h;
}

void health_free(struct health *h)
{
	if (!h)
		return;
	loop_timer_cancel(&h->timer);
	free(h);
}
