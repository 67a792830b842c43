/* serve/notice.c -- the sender is told, and what they are told of is recorded after that.
 *
 * A worker reads the message and writes the notices, the committer puts them into the queue, and
 * when they are durable the outcome goes to the committer: a crash in between tells somebody
 * twice at worst, and never not at all. */
#include "base/b64.h"
#include "base/fault.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/deliver_impl.h"
#include "serve/generation.h"

#include <stdlib.h>
#include <unistd.h>

#define LOAD_MAX (160u << 20)
/* Outcomes that wait for room, at most: beyond, success is recorded and not told. */
#define UNTOLD_MAX 256

enum stage {
	NOTICE_NONE,   /* nobody is told so */
	NOTICE_DUE,    /* to be written, or to be written again */
	NOTICE_PUT,    /* with the committer */
	NOTICE_DONE,   /* durable */
	NOTICE_DROPPED /* it cannot be told */
};

struct notice {
	struct commit commit;
	struct notices *all;
	enum stage stage;
	struct spool_envelope envelope;
	struct spool_content content;
	uint32_t n_rcpts;
	const char *why; /* when it is dropped */
};

struct notices {
	struct job job;
	struct settle *settle;
	/* Of the attempt, in the settle's arena */
	struct outcome_answer *answers;
	enum bounce_kind *kinds; /* of each answer */
	struct spool_rcpt *rcpts;
	struct slice reverse_path;
	struct deliver_facts facts;
	enum bounce_hop hop;
	size_t n;
	/* Of one try */
	struct arena arena;
	struct spool_message message;
	struct err error;
	bool loaded;
	struct notice at[BOUNCE_KINDS]; /* by kind */
	unsigned under_way;             /* with the committer, and one for whoever posts */
};

/* -- who is told -- */

static enum bounce_hop hop_of(const struct deliver_facts *f)
{
	if (f->route->type == ROUTE_CAPTURE)
		return HOP_FINAL;
	return f->dsn ? HOP_DSN : HOP_SILENT;
}

static void count_notice(enum bounce_kind kind, const char *result)
{
	metrics_add(M_NOTICES, metrics_word(LABEL_NOTICE, slice_str(bounce_kind_name(kind))),
		    metrics_word(LABEL_TOLD, slice_str(result)), 1);
}

static void log_silence(const struct spool_ticket *t, struct slice reverse_path,
			enum bounce_kind kind, uint32_t n_rcpts, const char *why)
{
	count_notice(kind, "none");
	log_event(LOG_NOTICE, F_ID("id", t->id), F_U64("account", t->account),
		  F_STR("to", reverse_path), F_CSTR("kind", bounce_kind_name(kind)),
		  F_U64("recipients", n_rcpts), F_CSTR("result", "none"), F_CSTR("reason", why));
}

/* Notices of each kind count once against the rate, however many recipients they are about. */
static void keep_to_the_rate(struct settle *s, struct notices *ns, uint64_t now_ms)
{
	struct deliver *d = s->deliver;

	for (unsigned k = 0; k < BOUNCE_KINDS; k++) {
		struct notice *one = &ns->at[k];

		if (one->stage == NOTICE_DUE &&
		    !bounce_rate_take(&d->rate, ns->reverse_path, now_ms,
				      s->rules->conf->bounce.per_hour)) {
			one->stage = NOTICE_DROPPED;
			one->why = "rate";
		}
	}
}

/* Copies all that is needed later: the caller's is gone then. */
static struct notices *keep_attempt(struct settle *s, const struct spool_envelope *env,
				    const struct outcome_answer *answers, size_t n,
				    const struct deliver_facts *f, enum bounce_hop hop)
{
	struct arena *a = &s->arena;
	struct notices *ns = ARENA_NEW(a, struct notices);
	struct route *route = ARENA_NEW(a, struct route);

	if (!ns || !route)
		return NULL;
	ns->settle = s;
	ns->n = n;
	ns->hop = hop;
	ns->answers = ARENA_ARRAY(a, struct outcome_answer, n);
	ns->kinds = ARENA_ARRAY(a, enum bounce_kind, n);
	ns->rcpts = ARENA_ARRAY(a, struct spool_rcpt, env->n_rcpts);
	ns->reverse_path = arena_dup(a, env->reverse_path);
	/* The configuration may be another one by then. */
	*route = *f->route;
	route->name = arena_dup(a, f->route->name);
	ns->facts = (struct deliver_facts){ .route = route,
					    .remote = arena_dup(a, f->remote),
					    .tls = arena_dup(a, f->tls),
					    .mta = arena_dup(a, f->mta),
					    .dsn = f->dsn,
					    .waiting = f->waiting };
	for (size_t i = 0; !a->failed && i < n; i++) {
		ns->answers[i] = answers[i];
		ns->answers[i].text = arena_dup(
		    a, slice(answers[i].text.p,
			     answers[i].text.n < OUTCOME_TEXT ? answers[i].text.n : OUTCOME_TEXT));
		ns->rcpts[answers[i].rcpt].path = arena_dup(a, env->rcpts[answers[i].rcpt].path);
	}
	return a->failed ? NULL : ns;
}

struct notices *notices_judge(struct settle *s, const struct spool_envelope *env,
			      const struct outcome_answer *answers, size_t n,
			      const struct deliver_facts *f, uint64_t now_ms,
			      uint64_t *ret_notice_ms, bool *ret_ok)
{
	const struct bounce_conf *c = &s->rules->bounce;
	enum bounce_hop hop = hop_of(f);
	struct notices *ns = NULL;
	const char *silent = NULL;
	uint32_t n_silent = 0;

	*ret_notice_ms = UINT64_MAX;
	*ret_ok = true;
	for (size_t i = 0; i < n; i++) {
		struct spool_verdict *v = &s->verdicts[i];
		const struct spool_rcpt *r = &env->rcpts[v->rcpt];
		const char *why;
		enum bounce_kind kind = bounce_judge(c, env->reverse_path, r, hop,
						     s->ticket.accepted_ms, now_ms, v, &why);

		if (v->state == RCPT_PENDING && kind == BOUNCE_NONE) {
			uint64_t at =
			    bounce_delay_at(c, env->reverse_path, r, s->ticket.accepted_ms);

			*ret_notice_ms = at < *ret_notice_ms ? at : *ret_notice_ms;
		}
		if (why) {
			silent = why;
			n_silent++;
		}
		if (kind == BOUNCE_NONE)
			continue;
		if (!ns)
			ns = keep_attempt(s, env, answers, n, f, hop);
		if (!ns) {
			*ret_ok = false;
			return NULL;
		}
		ns->kinds[i] = kind;
		ns->at[kind].stage = NOTICE_DUE;
		ns->at[kind].n_rcpts++;
	}
	if (silent)
		log_silence(&s->ticket, env->reverse_path, BOUNCE_FAILED, n_silent, silent);
	if (ns)
		keep_to_the_rate(s, ns, now_ms);
	return ns;
}

/* -- the end -- */

/* Whoever was to hear of it has not: what can be tried again is. */
static void take_back(struct notices *ns, enum bounce_kind kind)
{
	struct settle *s = ns->settle;

	for (size_t i = 0; i < ns->n; i++) {
		if (ns->kinds[i] != kind)
			continue;
		if (kind == BOUNCE_DELAYED)
			s->verdicts[i].told_delay = false;
		if (kind == BOUNCE_FAILED) {
			uint64_t next = clock_steady_ms() +
					retry_delay_ms(0, &s->deliver->retry, deliver_random32());

			s->verdicts[i].state = RCPT_PENDING;
			if (!s->commit.op.next_ms || s->commit.op.next_ms > next)
				s->commit.op.next_ms = next;
		}
	}
	ns->at[kind].stage = NOTICE_NONE;
}

static void log_notices(const struct notices *ns)
{
	const struct spool_ticket *t = &ns->settle->ticket;

	for (unsigned k = 0; k < BOUNCE_KINDS; k++) {
		const struct notice *one = &ns->at[k];

		if (one->stage == NOTICE_DROPPED)
			log_silence(t, ns->reverse_path, (enum bounce_kind)k, one->n_rcpts,
				    one->why);
		if (one->stage != NOTICE_DONE)
			continue;
		count_notice((enum bounce_kind)k, "queued");
		log_event(LOG_NOTICE, F_ID("id", t->id), F_U64("account", t->account),
			  F_STR("to", ns->reverse_path),
			  F_CSTR("kind", bounce_kind_name((enum bounce_kind)k)),
			  F_U64("recipients", one->n_rcpts), F_CSTR("result", "queued"),
			  F_ID("notice", one->envelope.id));
	}
}

/* A success that nobody could be told of waits; its recipient must not get it again. */
static bool wait_for_room(struct notices *ns)
{
	struct deliver *d = ns->settle->deliver;

	if (ns->at[BOUNCE_SUCCESS].stage != NOTICE_DUE)
		return false;
	if (d->n_untold >= UNTOLD_MAX) {
		ns->at[BOUNCE_SUCCESS].stage = NOTICE_DROPPED;
		ns->at[BOUNCE_SUCCESS].why = "no_room";
		return false;
	}
	ns->settle->next = d->untold;
	d->untold = ns->settle;
	d->n_untold++;
	loop_timer_set(&d->again, DELIVER_AGAIN_MS);
	return true;
}

/* Every notice has come as far as it can now. */
static void conclude(struct notices *ns)
{
	struct settle *s = ns->settle;

	arena_done(&ns->arena);
	if (ns->at[BOUNCE_FAILED].stage == NOTICE_DUE)
		take_back(ns, BOUNCE_FAILED);
	if (ns->at[BOUNCE_DELAYED].stage == NOTICE_DUE)
		take_back(ns, BOUNCE_DELAYED);
	if (wait_for_room(ns))
		return;
	log_notices(ns);
	settle_log(&s->ticket, ns->rcpts, ns->answers, s->verdicts, ns->n, &ns->facts);
	FAULT_DIE("before_settle");
	deliver_wake(s->deliver); /* the notices are mail, and due */
	settle_post(s);
}

/* -- into the queue -- */

static void put_done(struct job *job)
{
	struct notice *one = (struct notice *)(void *)job;
	struct notices *ns = one->all;

	one->stage = one->commit.op.result == SPOOL_OK ? NOTICE_DONE : NOTICE_DUE;
	if (!--ns->under_way)
		conclude(ns);
}

static void put(struct notices *ns, struct notice *one)
{
	struct home *home = ns->settle->deliver->home;

	one->all = ns;
	one->commit.op = (struct spool_op){ .kind = SPOOL_PUT,
					    .envelope = &one->envelope,
					    .content = &one->content,
					    .due_ms = clock_steady_ms() };
	one->commit.job.home = home->loop;
	one->commit.job.done = put_done;
	if (!batch_post(home->server->committer, &one->commit.job)) {
		one->stage = NOTICE_DUE;
		return;
	}
	ns->under_way++;
}

/* As mail of clients is refused where no route leads, so is ours: it would wait for good. */
static void put_or_drop(struct notices *ns, struct notice *one)
{
	if (route_for(&ns->settle->deliver->home->now->routes, one->envelope.dests[0])) {
		put(ns, one);
		return;
	}
	one->stage = NOTICE_DROPPED;
	one->why = "no_route";
}

static void written(struct job *job)
{
	struct notices *ns = (struct notices *)(void *)job;

	if (ns->loaded && ns->message.content.fd >= 0)
		close(ns->message.content.fd);
	ns->under_way = 1;
	for (unsigned k = 0; k < BOUNCE_KINDS; k++)
		if (ns->at[k].stage == NOTICE_PUT)
			put_or_drop(ns, &ns->at[k]);
	if (!--ns->under_way)
		conclude(ns);
}

/* -- on a worker -- */

static bool write_one(struct notices *ns, enum bounce_kind kind, struct err *e)
{
	struct settle *s = ns->settle;
	struct notice *one = &ns->at[kind];
	unsigned char random[10];
	char token[32];
	struct buf token_text = { .p = token, .cap = sizeof token, .max = sizeof token };
	struct bounce_about about = { .kind = kind,
				      .message = &ns->message,
				      .answers = ns->answers,
				      .verdicts = s->verdicts,
				      .kinds = ns->kinds,
				      .n = ns->n,
				      .hop = ns->hop,
				      .mta = ns->facts.mta,
				      .now_ms = clock_wall_ms() };

	keyring_random(random, sizeof random);
	about.id = id_make(about.now_ms, random);
	keyring_random(random, sizeof random);
	b64url_encode(&token_text, slice(random, sizeof random));
	about.token = buf_slice(&token_text);
	return bounce_compose(&s->rules->bounce, &about, &ns->arena, &one->envelope, &one->content,
			      e);
}

static void write_notices(struct job *job, void *ctx)
{
	struct notices *ns = (struct notices *)(void *)job;
	struct server *server = ns->settle->deliver->home->server;

	(void)ctx;
	arena_init(&ns->arena, LOAD_MAX);
	ns->error = (struct err){ 0 };
	ns->loaded = server->spool_backend->load(server->spool, ns->settle->ticket.id, &ns->arena,
						 &ns->message, &ns->error);
	for (unsigned k = 0; k < BOUNCE_KINDS; k++) {
		struct notice *one = &ns->at[k];
		struct err e = ns->error;

		if (one->stage != NOTICE_DUE)
			continue;
		if (ns->loaded && write_one(ns, (enum bounce_kind)k, &e)) {
			one->stage = NOTICE_PUT;
		} else if (e.kind != ERR_LATER) {
			one->stage = NOTICE_DROPPED;
			one->why = ns->loaded ? "no_address" : "unreadable";
		}
	}
}

void notices_begin(struct settle *s)
{
	struct notices *ns = s->notices;
	struct home *home = s->deliver->home;
	bool due = false;

	for (unsigned k = 0; k < BOUNCE_KINDS; k++)
		due |= ns->at[k].stage == NOTICE_DUE;
	ns->job = (struct job){ .run = write_notices, .done = written, .home = home->loop };
	if (!due || !lane_post(home->server->files, &ns->job))
		conclude(ns);
}
