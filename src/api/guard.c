/* api/guard.c -- bans, and the authentication log. */
#include "api/api_impl.h"
#include "auth/gate.h"
#include "base/utf8.h"

#include <stdio.h>

#define ROWS_MAX   1000
#define BAN_MS_MAX (3650ull * 86400 * 1000)

static bool guarded(struct api_run *r, struct err *e)
{
	return r->call->ctx->gate || err_set(e, ERR_LATER, "nobody guards the doors");
}

/* -- bans -- */

static void show_ban(struct json_out *j, const struct ban *b)
{
	char room[64];
	struct buf text = { .p = room, .cap = sizeof room, .max = sizeof room };

	bans_add_net(&text, &b->prefix);
	json_open(j);
	json_kstr(j, "network", buf_slice(&text));
	json_ktime(j, "since", b->began_ms);
	json_ktime(j, "until", b->until_ms >= BAN_FOR_EVER ? 0 : b->until_ms);
	json_kstr(j, "by", slice_str(b->by));
	json_kstr(j, "reason", slice_str(b->reason));
	json_close(j);
}

bool api_ban_list(struct api_run *r, struct err *e)
{
	struct ban *bans;
	size_t n;

	if (!guarded(r, e) ||
	    !gate_bans(r->call->ctx->gate, r->call->now_ms, &r->arena, &bans, &n, e))
		return false;
	json_open(&r->out);
	json_key(&r->out, "bans");
	json_open_list(&r->out);
	for (size_t i = 0; i < n; i++)
		show_ban(&r->out, &bans[i]);
	json_close_list(&r->out);
	json_close(&r->out);
	return true;
}

static bool read_net(struct slice text, struct net *ret, struct err *e)
{
	return net_parse(text, ret) ||
	       err_set(e, ERR_INPUT,
		       "\"%.*s\" is not ADDRESS or ADDRESS/BITS with no bit set behind BITS",
		       SLICE_ARG(text));
}

static bool copy_text(const char *what, struct slice text, char *to, size_t size, struct err *e)
{
	if (text.n >= size || has_control(text))
		return err_set(e, ERR_INPUT, "%s is longer than %zu bytes, or has control bytes",
			       what, size - 1);
	memcpy(to, text.p, text.n);
	to[text.n] = '\0';
	return true;
}

/* {"network": "192.0.2.0/24", "seconds": 3600, "reason": "..."}; without seconds: for ever. */
bool api_ban_add(struct api_run *r, struct err *e)
{
	static const char *const names[] = { "network", "seconds", "reason" };
	struct ban b = { .began_ms = r->call->now_ms, .until_ms = BAN_FOR_EVER, .by_hand = true };
	struct slice network = S(""), reason = S("by hand");
	uint64_t seconds = 0;

	if (!guarded(r, e))
		return false;
	if (!r->body)
		return err_set(e, ERR_INPUT, "a body is needed");
	if (!json_only(r->body, names, 3, e) ||
	    !json_want_text(r->body, "network", true, &network, e) ||
	    !json_want_between(r->body, "seconds", false, 1, BAN_MS_MAX / 1000, &seconds, e) ||
	    !json_want_text(r->body, "reason", false, &reason, e) ||
	    !read_net(network, &b.prefix, e) ||
	    !copy_text("reason", reason, b.reason, sizeof b.reason, e) ||
	    !copy_text("who acts", r->actor.who, b.by, sizeof b.by, e))
		return false;
	if (seconds)
		b.until_ms = r->call->now_ms + seconds * 1000;
	if (!gate_ban(r->call->ctx->gate, &b, e))
		return false;
	r->status = 201;
	show_ban(&r->out, &b);
	return true;
}

bool api_ban_lift(struct api_run *r, struct err *e)
{
	struct net net;

	if (!guarded(r, e) || !read_net(r->arg, &net, e) || !gate_lift(r->call->ctx->gate, &net, e))
		return false;
	json_open(&r->out);
	json_kstr(&r->out, "lifted", r->arg);
	json_close(&r->out);
	return true;
}

/* -- the authentication log -- */

static void show_entry(struct json_out *j, const struct authlog_entry *x)
{
	json_open(j);
	json_ktime(j, "time", x->at_ms);
	json_ktime(j, "last", x->count > 1 ? x->last_ms : 0);
	json_knum(j, "count", x->count);
	json_kstr(j, "result", slice_str(x->result));
	json_kstr(j, "reason", slice_str(x->reason));
	json_kstr(j, "address", slice_str(x->address));
	json_knum(j, "port", x->port);
	json_kstr(j, "door", slice_str(x->door));
	json_knum(j, "account", x->account);
	json_kstr(j, "key", slice_str(x->key_id));
	json_kstr(j, "identity", slice_str(x->identity));
	json_kstr(j, "mechanism", slice_str(x->mechanism));
	json_kstr(j, "tls", slice_str(x->tls));
	json_kstr(j, "cipher", slice_str(x->cipher));
	json_kstr(j, "name", slice_str(x->name));
	json_close(j);
}

static bool read_filter(struct api_run *r, struct authlog_filter *f, struct err *e)
{
	struct slice account = api_query(r, S("account"));
	struct account a;

	*f = (struct authlog_filter){ .address = api_query(r, S("address")),
				      .identity = api_query(r, S("identity")),
				      .key_id = api_query(r, S("key")),
				      .result = api_query(r, S("result")),
				      .reason = api_query(r, S("reason")) };
	if (account.n) {
		if (!account_find(r->call->ctx->store, account, &a, e))
			return false;
		f->account = a.id;
	}
	return api_query_number(r, S("since"), 0, &f->since_ms, e) &&
	       api_query_number(r, S("until"), 0, &f->until_ms, e);
}

/* Oldest first. "next" is where to go on ("after"), and "more" whether there is something there
 * now. */
bool api_authlog_list(struct api_run *r, struct err *e)
{
	struct slice after = api_query(r, S("after")), ms, n_text;
	struct authlog_entry *list;
	struct authlog_filter f;
	struct authlog_at at = { 0 };
	uint64_t limit;
	char next[64];
	size_t n;
	bool more;

	if (!guarded(r, e) || !read_filter(r, &f, e) ||
	    !api_query_number(r, S("limit"), 100, &limit, e))
		return false;
	if (!limit || limit > ROWS_MAX)
		return err_set(e, ERR_INPUT, "limit is not between 1 and %d", ROWS_MAX);
	if (after.n && (!slice_cut(after, '-', &ms, &n_text) || !slice_u64(ms, &at.at_ms) ||
			!slice_u64(n_text, &at.n) || at.at_ms > INT64_MAX || at.n > INT64_MAX))
		return err_set(e, ERR_INPUT, "after is not what \"next\" said");
	if (!gate_list(r->call->ctx->gate, &f, after.n ? &at : NULL, limit, r->call->now_ms,
		       &r->arena, &list, &n, &at, &more, e))
		return false;
	json_open(&r->out);
	json_key(&r->out, "entries");
	json_open_list(&r->out);
	for (size_t i = 0; i < n; i++)
		show_entry(&r->out, &list[i]);
	json_close_list(&r->out);
	snprintf(next, sizeof next, "%llu-%llu", (unsigned long long)at.at_ms,
		 (unsigned long long)at.n);
	json_kstr(&r->out, "next", slice_str(next));
	json_kbool(&r->out, "more", more);
	json_close(&r->out);
	return true;
}
