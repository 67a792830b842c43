/* api/message.c -- all that is known of a message, in the queue or after it has left. */
#include "api/api_impl.h"

#include "base/must.h"
#include "history/history.h"

#define EVENTS_MAX 10000

static void show_event(struct json_out *j, const struct history_event *v)
{
	json_open(j);
	json_ktime(j, "at", v->at_ms);
	json_kstr(j, "to", v->to);
	json_kstr(j, "outcome", v->outcome);
	json_knum(j, "attempt", v->attempt);
	json_kstr(j, "route", v->route);
	json_kstr(j, "remote", v->remote);
	json_kstr(j, "tls", v->tls);
	json_knum(j, "code", v->code);
	json_kstr(j, "reply", v->reply);
	json_close(j);
}

/* What the queue has of it; else what the history remembers. */
static void show_head(struct json_out *j, struct id id, const struct spool_message *m,
		      const struct history_event *first)
{
	MUST(m || first);
	json_kid(j, "id", id);
	json_kbool(j, "queued", m);
	json_knum(j, "account", m ? m->envelope.account : first->account);
	json_kstr(j, "key", m ? m->envelope.key_id : first->key_id);
	json_ktime(j, "accepted", m ? m->envelope.accepted_ms : first->accepted_ms);
	json_kstr(j, "reverse_path", m ? m->envelope.reverse_path : first->from);
}

static void show_waiting(struct json_out *j, const struct spool_message *m)
{
	json_key(j, "waiting");
	json_open_list(j);
	for (uint32_t i = 0; m && i < m->envelope.n_rcpts; i++) {
		const struct spool_rcpt *r = &m->envelope.rcpts[i];

		if (r->state != RCPT_PENDING && r->state != RCPT_FAILED)
			continue;
		json_open(j);
		json_kstr(j, "to", r->path);
		json_kstr(j, "state", slice_str(api_rcpt_state(r->state)));
		json_knum(j, "attempts", m->attempts[r->delivery]);
		json_ktime(j, "next", r->state == RCPT_PENDING ? m->next_ms[r->delivery] : 0);
		json_close(j);
	}
	json_close_list(j);
}

bool api_message_show(struct api_run *r, struct err *e)
{
	const struct api_context *c = r->call->ctx;
	struct history_event *events;
	struct spool_message m;
	struct err why = { 0 };
	struct id id;
	bool queued;
	size_t n;

	if (!id_parse(r->arg, &id))
		return err_set(e, ERR_INPUT, "not a message id");
	queued = c->spool_backend->look(c->spool, id, &r->arena, &m, &why);
	if (!queued && why.kind != ERR_ABSENT) {
		*e = why;
		return false;
	}
	if (!history_find(c->history, id, &r->arena, EVENTS_MAX, &events, &n, e))
		return false;
	if (!queued && !n)
		return err_set(e, ERR_ABSENT,
			       c->history ? "no such message, or not any more"
					  : "not in the queue, and no history is kept");
	json_open(&r->out);
	show_head(&r->out, id, queued ? &m : NULL, n ? &events[0] : NULL);
	show_waiting(&r->out, queued ? &m : NULL);
	json_key(&r->out, "events");
	json_open_list(&r->out);
	for (size_t i = 0; i < n; i++)
		show_event(&r->out, &events[i]);
	json_close_list(&r->out);
	json_close(&r->out);
	return true;
}
