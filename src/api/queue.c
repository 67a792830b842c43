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

#define BATCH 256

/* What fits a filter, counted row by row. */
static bool count_some(struct api_run *r, const struct spool_filter *f, struct err *e)
{
	const struct api_context *c = r->call->ctx;
	struct spool_row *rows = ARENA_ARRAY(&r->arena, struct spool_row, BATCH);
	uint64_t at = 0, n = 0, pending = 0, failed = 0, under_way = 0, held = 0, bytes = 0;
	struct json_out *j = &r->out;

	if (!rows)
		return err_set(e, ERR_LATER, "out of memory");
	while (at != WALK_END) {
		size_t some = c->spool_backend->walk(c->spool, f, &at, rows, BATCH);

		n += some;
		for (size_t i = 0; i < some; i++) {
			pending += rows[i].pending;
			failed += rows[i].failed;
			under_way += rows[i].leased;
			held += rows[i].held || rows[i].stopped;
			bytes += rows[i].size;
		}
	}
	json_open(j);
	json_knum(j, "messages", n);
	json_knum(j, "pending_recipients", pending);
	json_knum(j, "failed_recipients", failed);
	json_knum(j, "under_way", under_way);
	json_knum(j, "held", held);
	json_knum(j, "bytes", bytes);
	json_close(j);
	return true;
}

static void count_all(struct api_run *r)
{
	struct spool_count c = { 0 };
	struct json_out *j = &r->out;

	r->call->ctx->spool_backend->count(r->call->ctx->spool, &c);
	json_open(j);
	json_knum(j, "messages", c.messages);
	json_knum(j, "pending_deliveries", c.pending_deliveries);
	json_knum(j, "under_way", c.leased);
	json_knum(j, "held", c.held);
	json_knum(j, "stopped", c.stopped);
	json_knum(j, "failed_recipients", c.failed_rcpts);
	json_knum(j, "destinations", c.destinations);
	json_knum(j, "bytes", c.bytes_live);
	json_knum(j, "disk_bytes", c.bytes_disk);
	json_knum(j, "disk_free", c.disk_free);
	json_knum(j, "damaged", c.damaged);
	json_close(j);
}

bool api_queue_count(struct api_run *r, struct err *e)
{
	struct api_filter f;
	bool ok = api_filter_read(r, false, &f, e);

	if (ok && slice_eq(f.what, S("all")))
		count_all(r);
	else
		ok = ok && count_some(r, &f.spool, e);
	api_filter_done(&f);
	return ok;
}

static void show_row(struct json_out *j, const struct spool_row *row)
{
	json_open(j);
	json_kid(j, "id", row->id);
	json_knum(j, "account", row->account);
	json_kstr(j, "key", slice_str(row->key_id));
	json_ktime(j, "accepted", row->accepted_ms);
	json_knum(j, "size", row->size);
	json_knum(j, "recipients", row->n_rcpts);
	json_knum(j, "pending", row->pending);
	json_knum(j, "failed", row->failed);
	json_knum(j, "attempts", row->attempts);
	json_ktime(j, "next", row->next_ms == UINT64_MAX ? 0 : row->next_ms);
	json_kbool(j, "under_way", row->leased);
	json_kbool(j, "held", row->held || (row->stopped && row->pending));
	json_close(j);
}

static bool list(struct api_run *r, const struct api_filter *f, struct err *e)
{
	struct slice after_text = api_query(r, S("after"));
	struct id after;
	struct spool_row *rows;
	uint64_t limit;
	size_t n;

	if (!api_query_number(r, S("limit"), 100, &limit, e))
		return false;
	if (!limit || limit > ROWS_MAX)
		return err_set(e, ERR_INPUT, "limit is not between 1 and %d", ROWS_MAX);
	if (after_text.n && !id_parse(after_text, &after))
		return err_set(e, ERR_INPUT, "after is not a message id");
	rows = ARENA_ARRAY(&r->arena, struct spool_row, limit);
	if (!rows)
		return err_set(e, ERR_LATER, "out of memory");
	n = spool_list(r->call->ctx->spool_backend, r->call->ctx->spool, &f->spool,
		       after_text.n ? &after : NULL, rows, limit);
	json_open(&r->out);
	json_key(&r->out, "messages");
	json_open_list(&r->out);
	for (size_t i = 0; i < n; i++)
		show_row(&r->out, &rows[i]);
	json_close_list(&r->out);
	json_close(&r->out);
	return true;
}

bool api_queue_list(struct api_run *r, struct err *e)
{
	struct api_filter f;
	bool ok = api_filter_read(r, false, &f, e) && list(r, &f, e);

	api_filter_done(&f);
	return ok;
}

const char *api_rcpt_state(enum spool_rcpt_state s)
{
	switch (s) {
	case RCPT_PENDING: return "pending";
	case RCPT_DELIVERED: return "delivered";
	case RCPT_FAILED: return "failed";
	case RCPT_CANCELLED: return "cancelled";
	case RCPT_BOUNCED: return "bounced";
	}
	return "";
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
		json_kstr(j, "state", slice_str(api_rcpt_state(r->state)));
		json_kstr(j, "reply", r->reply);
		json_knum(j, "attempts", m->attempts[r->delivery]);
		json_ktime(j, "next", r->state != RCPT_PENDING || next == UINT64_MAX ? 0 : next);
		json_ktime(j, "tried", m->standing[r->delivery].tried_ms);
		json_kstr(j, "remote", m->standing[r->delivery].remote);
		json_ktime(j, "held",
			   r->state == RCPT_PENDING ? m->standing[r->delivery].held_ms : 0);
		json_close(j);
	}
	json_close_list(j);
	json_close(j);
}

bool api_queue_show(struct api_run *r, struct err *e)
{
	struct spool_message m;
	struct id id;

	if (!id_parse(r->arg, &id))
		return err_set(e, ERR_INPUT, "not a message id");
	if (!r->call->ctx->spool_backend->look(r->call->ctx->spool, id, &r->arena, &m, e))
		return false;
	show_message(&r->out, &m);
	return true;
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
