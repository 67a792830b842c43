/* api/queue.c -- the queue, and what the server does. */
#include "api/api_impl.h"

#include <unistd.h>

#define ROWS_MAX 10000

bool api_status_show(struct api_run *r, struct err *e)
{
	const struct api_status *s = r->call->ctx->status;
	struct spool_count c = { 0 };
	struct json_out *j = &r->out;

	(void)e;
	r->call->ctx->spool_backend->count(r->call->ctx->spool, &c);
	json_open(j);
	json_kstr(j, "state",
		  s->spool_broken ? S("spool failed")
		  : s->stopping   ? S("stopping")
				  : S("running"));
	json_ktime(j, "started", s->started_ms);
	json_knum(j, "pid", (uint64_t)getpid());
	json_knum(j, "connections", s->connections);
	json_knum(j, "accepted", s->accepted);
	json_knum(j, "body_memory", s->memory);
	json_knum(j, "log_lines_dropped", s->log_dropped);
	json_knum(j, "queued", c.messages);
	json_knum(j, "failed_recipients", c.failed_rcpts);
	json_knum(j, "damaged", c.damaged);
	json_knum(j, "disk_free", c.disk_free);
	api_reload_show(j, &s->reload);
	json_kstr(j, "dnssec", s->dnssec);
	json_close(j);
	return true;
}

bool api_queue_count(struct api_run *r, struct err *e)
{
	struct spool_count c = { 0 };
	struct json_out *j = &r->out;

	(void)e;
	r->call->ctx->spool_backend->count(r->call->ctx->spool, &c);
	json_open(j);
	json_knum(j, "messages", c.messages);
	json_knum(j, "pending_deliveries", c.pending_deliveries);
	json_knum(j, "under_way", c.leased);
	json_knum(j, "failed_recipients", c.failed_rcpts);
	json_knum(j, "destinations", c.destinations);
	json_knum(j, "bytes", c.bytes_live);
	json_knum(j, "disk_bytes", c.bytes_disk);
	json_knum(j, "disk_free", c.disk_free);
	json_knum(j, "damaged", c.damaged);
	json_close(j);
	return true;
}

static bool read_filter(struct api_run *r, struct spool_filter *f, struct err *e)
{
	struct slice state = api_query(r, S("state"));
	struct account a;

	f->dest = api_query(r, S("destination"));
	if (!state.n || slice_eq(state, S("all")))
		f->state = LIST_ALL;
	else if (slice_eq(state, S("pending")))
		f->state = LIST_PENDING;
	else if (slice_eq(state, S("failed")))
		f->state = LIST_FAILED;
	else
		return err_set(e, ERR_INPUT, "state is none of: all, pending, failed");
	if (!api_query(r, S("account")).n)
		return true;
	if (!api_account(r, false, &a, e))
		return false;
	f->account = a.id;
	return true;
}

bool api_queue_list(struct api_run *r, struct err *e)
{
	struct spool_filter f = { 0 };
	struct slice after_text = api_query(r, S("after"));
	struct id after;
	struct spool_row *rows;
	uint64_t limit;
	size_t n;

	if (!read_filter(r, &f, e) || !api_query_number(r, S("limit"), 100, &limit, e))
		return false;
	if (!limit || limit > ROWS_MAX)
		return err_set(e, ERR_INPUT, "limit is not between 1 and %d", ROWS_MAX);
	if (after_text.n && !id_parse(after_text, &after))
		return err_set(e, ERR_INPUT, "after is not a message id");
	rows = ARENA_ARRAY(&r->arena, struct spool_row, limit);
	if (!rows)
		return err_set(e, ERR_LATER, "out of memory");
	n = spool_list(r->call->ctx->spool_backend, r->call->ctx->spool, &f,
		       after_text.n ? &after : NULL, rows, limit);
	json_open(&r->out);
	json_key(&r->out, "messages");
	json_open_list(&r->out);
	for (size_t i = 0; i < n; i++) {
		json_open(&r->out);
		json_kid(&r->out, "id", rows[i].id);
		json_knum(&r->out, "account", rows[i].account);
		json_ktime(&r->out, "accepted", rows[i].accepted_ms);
		json_knum(&r->out, "size", rows[i].size);
		json_knum(&r->out, "recipients", rows[i].n_rcpts);
		json_knum(&r->out, "pending", rows[i].pending);
		json_knum(&r->out, "failed", rows[i].failed);
		json_knum(&r->out, "attempts", rows[i].attempts);
		json_ktime(&r->out, "next", rows[i].next_ms == UINT64_MAX ? 0 : rows[i].next_ms);
		json_kbool(&r->out, "under_way", rows[i].leased);
		json_close(&r->out);
	}
	json_close_list(&r->out);
	json_close(&r->out);
	return true;
}

static struct slice state_name(enum spool_rcpt_state s)
{
	switch (s) {
	case RCPT_PENDING: return S("pending");
	case RCPT_DELIVERED: return S("delivered");
	case RCPT_FAILED: return S("failed");
	case RCPT_CANCELLED: return S("cancelled");
	case RCPT_BOUNCED: return S("bounced");
	}
	return S("");
}

static void show_message(struct json_out *j, const struct spool_message *m)
{
	const struct spool_envelope *env = &m->envelope;

	json_open(j);
	json_kid(j, "id", env->id);
	json_knum(j, "account", env->account);
	json_kstr(j, "key", env->key_id);
	json_ktime(j, "accepted", env->accepted_ms);
	json_kstr(j, "reverse_path", env->reverse_path);
	json_knum(j, "size", env->size);
	json_kstr(j, "envid", env->envid);
	json_key(j, "recipients");
	json_open_list(j);
	for (uint32_t i = 0; i < env->n_rcpts; i++) {
		const struct spool_rcpt *r = &env->rcpts[i];
		uint64_t next = m->next_ms[r->delivery];

		json_open(j);
		json_kstr(j, "to", r->path);
		json_kstr(j, "state", state_name(r->state));
		json_kstr(j, "reply", r->reply);
		json_knum(j, "attempts", m->attempts[r->delivery]);
		json_ktime(j, "next", r->state != RCPT_PENDING || next == UINT64_MAX ? 0 : next);
		json_close(j);
	}
	json_close_list(j);
	json_close(j);
}

bool api_queue_show(struct api_run *r, struct err *e)
{
	struct spool_message m;
	struct arena big;
	struct id id;
	bool ok;

	if (!id_parse(r->arg, &id))
		return err_set(e, ERR_INPUT, "not a message id");
	arena_init(&big, 160u << 20);
	ok = r->call->ctx->spool_backend->load(r->call->ctx->spool, id, &big, &m, e);
	if (ok) {
		show_message(&r->out, &m);
		if (m.content.fd >= 0)
			close(m.content.fd);
	}
	arena_done(&big);
	return ok;
}

bool api_queue_damaged(struct api_run *r, struct err *e)
{
	struct spool_damage d[64];
	size_t from = 0, n;

	(void)e;
	json_open(&r->out);
	json_key(&r->out, "damaged");
	json_open_list(&r->out);
	do {
		n = r->call->ctx->spool_backend->damaged(r->call->ctx->spool, from, d, 64);
		for (size_t i = 0; i < n; i++) {
			static const struct id none;

			json_open(&r->out);
			json_kstr(&r->out, "where", slice_str(d[i].where));
			json_kstr(&r->out, "reason", slice_str(d[i].reason));
			if (!id_eq(d[i].id, none))
				json_kid(&r->out, "id", d[i].id);
			json_ktime(&r->out, "found", d[i].found_ms);
			json_close(&r->out);
		}
		from += n;
	} while (n == 64);
	json_close_list(&r->out);
	json_close(&r->out);
	return true;
}
