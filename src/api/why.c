/* api/why.c -- why a message waits: one sentence for each of its deliveries. */
#include "api/api_impl.h"

#include "base/timetext.h"
#include "ops/clock.h"

/* What is asked for the sentence. */
struct why {
	const struct spool_message *m;
	uint32_t i; /* the delivery */
	const struct spool_standing *st;
	struct api_site site;
	bool account_there, key_there;
	struct account account;
	struct key key;
	uint64_t now_ms;    /* by the clock on the wall */
	uint64_t steady_ms; /* by that of deliveries */
};

/* A time of the deliveries' clock as one of the wall's. */
static void add_time(struct buf *out, const struct why *w, uint64_t steady_ms)
{
	uint64_t wall = steady_ms + w->now_ms - w->steady_ms;

	/* Within a day the time of day says it. */
	if (wall - w->now_ms + 43200000 < 86400000)
		time_add_clock(out, wall);
	else
		time_add_rfc3339(out, wall);
}

static void add_wall(struct buf *out, const struct why *w, uint64_t ms)
{
	add_time(out, w, ms - w->now_ms + w->steady_ms);
}

/* What the first recipient that is in this state was told. */
static struct slice reply_of(const struct why *w, enum spool_rcpt_state state)
{
	const struct spool_envelope *env = &w->m->envelope;

	for (uint32_t k = 0; k < env->n_rcpts; k++)
		if (env->rcpts[k].delivery == w->i && env->rcpts[k].state == state)
			return env->rcpts[k].reply;
	return S("");
}

static bool is_any(const struct why *w, enum spool_rcpt_state state)
{
	const struct spool_envelope *env = &w->m->envelope;

	for (uint32_t k = 0; k < env->n_rcpts; k++)
		if (env->rcpts[k].delivery == w->i && env->rcpts[k].state == state)
			return true;
	return false;
}

static void say_stopped(struct buf *out, const struct why *w)
{
	if (w->account_there && account_queued(&w->account) != QUEUED_KEEP) {
		buf_add(out, S("held: account "));
		buf_add(out, slice_str(w->account.name));
		if (w->account.state == ACCOUNT_ACTIVE) {
			buf_add(out, S("'s queued mail is held"));
			return;
		}
		buf_add(out, w->account.state == ACCOUNT_CLOSED ? S(" was closed") : S(" is held"));
		if (w->account.state_ms) {
			buf_add(out, w->account.state == ACCOUNT_CLOSED ? S(" at ") : S(" since "));
			add_wall(out, w, w->account.state_ms);
		}
	} else if (w->key_there && w->key.state == KEY_REVOKED) {
		buf_add(out, S("held: key "));
		buf_add(out, slice_str(w->key.id));
		buf_add(out, S(" was revoked at "));
		add_wall(out, w, w->key.revoked_ms);
	} else {
		buf_add(out, S("held: the key's queued mail is held"));
	}
}

static void say_site_down(struct buf *out, const struct why *w)
{
	buf_add(out, S("site "));
	buf_add(out, slice_str(w->site.name));
	buf_add(out, S(" does not answer ("));
	buf_add(out, slice_str(w->site.reason[0] ? w->site.reason : "no reason known"));
	buf_add(out, S("), next try at "));
	add_time(out, w, w->site.not_before_ms);
}

static void say_deferred(struct buf *out, const struct why *w)
{
	struct slice reply = reply_of(w, RCPT_PENDING);

	buf_add(out, S("waits for "));
	buf_add(out, w->m->envelope.dests[w->i]);
	buf_add(out, S(": "));
	buf_add(out, reply.n ? reply : S("deferred"));
	if (w->st->remote.n) {
		buf_add(out, S(" ("));
		buf_add(out, w->st->remote);
		buf_addc(out, ')');
	}
	if (w->st->tried_ms) {
		buf_add(out, S(" at "));
		add_wall(out, w, w->st->tried_ms);
	}
	buf_add(out, S("; attempt "));
	buf_addf(out, "%u", w->m->attempts[w->i]);
	buf_add(out, S(", next at "));
	add_time(out, w, w->m->next_ms[w->i]);
}

static void say_fresh(struct buf *out, const struct why *w)
{
	uint64_t next = w->m->next_ms[w->i];

	buf_add(out, S("waits for "));
	buf_add(out, w->m->envelope.dests[w->i]);
	if (!w->site.name[0]) {
		buf_add(out, S(": no route leads there, or its mail servers are not known yet"));
		return;
	}
	buf_add(out, S(": not tried yet; "));
	if (next > w->steady_ms) {
		buf_add(out, S("first try at "));
		add_time(out, w, next);
		return;
	}
	buf_add(out, S("its turn at site "));
	buf_add(out, slice_str(w->site.name));
	buf_addf(out, " will come (%u connections)", w->site.connections);
}

static void say(struct buf *out, const struct why *w)
{
	bool pending = is_any(w, RCPT_PENDING);

	if (w->st->leased) {
		buf_add(out, S("an attempt is under way"));
	} else if (pending && w->st->held_ms) {
		buf_add(out, S("held by "));
		buf_add(out, w->st->held_by.n ? w->st->held_by : S("an operator"));
		buf_add(out, S(" since "));
		add_wall(out, w, w->st->held_ms);
	} else if (pending && w->st->stopped) {
		say_stopped(out, w);
	} else if (pending && w->site.not_before_ms > w->steady_ms &&
		   w->m->next_ms[w->i] <= w->site.not_before_ms) {
		say_site_down(out, w);
	} else if (pending && w->m->attempts[w->i] && w->m->next_ms[w->i] > w->steady_ms) {
		say_deferred(out, w);
	} else if (pending) {
		say_fresh(out, w);
	} else if (is_any(w, RCPT_FAILED)) {
		buf_add(out, S("failed: "));
		buf_add(out, reply_of(w, RCPT_FAILED));
		buf_add(out, S("; kept until it is retried or cancelled"));
	} else {
		buf_add(out, S("done"));
	}
}

static void look_up(struct api_run *r, struct why *w)
{
	const struct spool_envelope *env = &w->m->envelope;
	struct err e = { 0 };

	w->account_there = account_get(r->call->ctx->store, env->account, &w->account, &e);
	w->key_there = key_id_shape(env->key_id) &&
		       key_get(r->call->ctx->store, env->account, env->key_id, &w->key, &e);
}

bool api_queue_why(struct api_run *r, struct err *e)
{
	const struct api_context *c = r->call->ctx;
	struct spool_message m;
	struct why w = { .m = &m, .now_ms = r->actor.now_ms, .steady_ms = clock_steady_ms() };
	struct id id;

	if (!id_parse(r->arg, &id))
		return err_set(e, ERR_INPUT, "not a message id");
	if (!c->spool_backend->look(c->spool, id, &r->arena, &m, e))
		return false;
	look_up(r, &w);
	json_open(&r->out);
	json_kid(&r->out, "id", id);
	json_key(&r->out, "deliveries");
	json_open_list(&r->out);
	for (w.i = 0; w.i < m.envelope.n_deliveries; w.i++) {
		struct buf text;

		w.st = &m.standing[w.i];
		w.site = (struct api_site){ 0 };
		(void)c->doors->sites(c->doors->arg, &m.envelope.dests[w.i], 1, &w.site);
		buf_init(&text, 4096);
		say(&text, &w);
		json_open(&r->out);
		json_kstr(&r->out, "domain", m.envelope.dests[w.i]);
		json_kstr(&r->out, "why", buf_slice(&text));
		json_close(&r->out);
		buf_done(&text);
	}
	json_close_list(&r->out);
	json_close(&r->out);
	return true;
}
