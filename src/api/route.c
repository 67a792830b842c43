/* api/route.c -- the table of endpoints, and the way to them. */
#include "api/api_impl.h"

#include "base/b64.h"
#include "http/conn.h"

#define ARENA_MAX (8u << 20)

/* clang-format off */
static const struct endpoint {
	struct slice method, path; /* a segment of '*' is the argument */
	api_fn *run;
} endpoints[] = {
	{ { "GET", 3 },    { "/metrics", 8 },                     api_metrics },
	{ { "GET", 3 },    { "/control/status", 15 },             api_status_show },
	{ { "POST", 4 },   { "/control/reload", 15 },             api_reload_ask },
	{ { "GET", 3 },    { "/control/accounts", 17 },           api_account_list },
	{ { "POST", 4 },   { "/control/accounts", 17 },           api_account_add },
	{ { "POST", 4 },   { "/control/accounts/*/hold", 24 },    api_account_hold },
	{ { "POST", 4 },   { "/control/accounts/*/release", 27 }, api_account_release },
	{ { "POST", 4 },   { "/control/accounts/*/close", 25 },   api_account_close },
	{ { "GET", 3 },    { "/control/keys", 13 },               api_key_list },
	{ { "POST", 4 },   { "/control/keys", 13 },               api_key_create },
	{ { "GET", 3 },    { "/control/keys/*", 15 },             api_key_show },
	{ { "POST", 4 },   { "/control/keys/*/limit", 21 },       api_key_limit },
	{ { "POST", 4 },   { "/control/keys/*/revoke", 22 },      api_key_revoke },
	{ { "GET", 3 },    { "/control/domains", 16 },            api_domain_list },
	{ { "POST", 4 },   { "/control/domains", 16 },            api_domain_add },
	{ { "DELETE", 6 }, { "/control/domains/*", 18 },          api_domain_remove },
	{ { "POST", 4 },   { "/control/backup", 15 },             api_backup_begin },
	{ { "DELETE", 6 }, { "/control/backup", 15 },             api_backup_end },
	{ { "GET", 3 },    { "/control/bans", 13 },               api_ban_list },
	{ { "POST", 4 },   { "/control/bans", 13 },               api_ban_add },
	{ { "DELETE", 6 }, { "/control/bans/*", 15 },             api_ban_lift },
	{ { "GET", 3 },    { "/control/authlog", 16 },            api_authlog_list },
	{ { "GET", 3 },    { "/control/queue", 14 },              api_queue_list },
	{ { "GET", 3 },    { "/control/queue/count", 20 },        api_queue_count },
	{ { "GET", 3 },    { "/control/queue/damaged", 22 },      api_queue_damaged },
	{ { "POST", 4 },   { "/control/queue/retry", 20 },        api_queue_retry },
	{ { "POST", 4 },   { "/control/queue/hold", 19 },         api_queue_hold },
	{ { "POST", 4 },   { "/control/queue/release", 22 },      api_queue_release },
	{ { "POST", 4 },   { "/control/queue/cancel", 21 },       api_queue_cancel },
	{ { "GET", 3 },    { "/control/queue/*", 16 },            api_queue_show },
	{ { "GET", 3 },    { "/control/queue/*/why", 20 },        api_queue_why },
	{ { "GET", 3 },    { "/control/messages/*", 19 },         api_message_show },
};
/* clang-format on */

static bool matches(struct slice pattern, struct slice path, struct slice *ret_arg)
{
	struct slice p, s;

	*ret_arg = S("");
	while (pattern.n || path.n) {
		slice_cut(pattern, '/', &p, &pattern);
		slice_cut(path, '/', &s, &path);
		if (slice_eq(p, S("*")) && s.n)
			*ret_arg = s;
		else if (!slice_eq(p, s))
			return false;
	}
	return true;
}

static unsigned status_of(enum err_kind kind)
{
	switch (kind) {
	case ERR_NONE: return 200;
	case ERR_INPUT: return 400;
	case ERR_DENIED: return 403;
	case ERR_ABSENT: return 404;
	case ERR_CONFLICT: return 409;
	case ERR_LATER: return 503;
	case ERR_BUG:
	case ERR_DAMAGED: return 500;
	}
	return 500;
}

static void reply_error(struct api_call *c, unsigned status, const struct err *e)
{
	struct json_out j;

	c->status = status;
	c->content_type = S("application/json");
	buf_clear(&c->reply);
	json_begin(&j, &c->reply);
	json_open(&j);
	json_key(&j, "error");
	json_open(&j);
	json_kstr(&j, "kind", slice_str(err_kind_name(e->kind)));
	json_kstr(&j, "message", slice_str(e->text));
	json_close(&j);
	json_close(&j);
}

void api_health(struct api_call *c, const char *reason, struct slice detail)
{
	bool ok = !strcmp(reason, "ok");
	struct json_out j;

	c->status = ok ? 200 : 503;
	c->content_type = S("application/json");
	json_begin(&j, &c->reply);
	json_open(&j);
	json_kstr(&j, "status", ok ? S("ok") : S("failing"));
	if (!ok) {
		json_kstr(&j, "reason", slice_str(reason));
		json_kstr(&j, "detail", detail);
		/* As every error is told, for who knows only that form. */
		json_key(&j, "error");
		json_open(&j);
		json_kstr(&j, "kind", slice_str(err_kind_name(ERR_LATER)));
		json_kstr(&j, "message", detail);
		json_close(&j);
	}
	json_close(&j);
}

void api_reply_error(struct api_call *c, const struct err *e)
{
	reply_error(c, status_of(e->kind), e);
}

static bool run(const struct endpoint *at, struct slice arg, struct api_call *c, struct err *e)
{
	struct api_run r = { .call = c, .status = 200, .actor = { c->actor, c->now_ms } };
	struct buf decoded;
	bool ok;

	arena_init(&r.arena, ARENA_MAX);
	buf_init(&decoded, 1024);
	json_begin(&r.out, &c->reply);
	ok = http_decode(arg, &decoded) || err_set(e, ERR_INPUT, "the path is malformed");
	r.arg = arena_dup(&r.arena, buf_slice(&decoded));
	if (ok && c->body.n) {
		r.body = json_read(c->body, e);
		ok = r.body && (json_has_members(r.body) ||
				err_set(e, ERR_INPUT, "the body is not an object"));
	}
	ok = ok && at->run(&r, e);
	if (ok && c->reply.failed)
		ok = err_set(e, ERR_LATER, "the answer is too large; ask for fewer rows");
	c->status = r.status;
	json_free(r.body);
	buf_done(&decoded);
	arena_done(&r.arena);
	return ok;
}

void api_run(struct api_call *c)
{
	struct err e = { 0 };
	bool path_known = false;

	c->content_type = S("application/json");
	for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
		struct slice arg;

		if (!matches(endpoints[i].path, c->path, &arg))
			continue;
		path_known = true;
		if (!slice_eq(endpoints[i].method, c->method))
			continue;
		if (!run(&endpoints[i], arg, c, &e))
			reply_error(c, status_of(e.kind), &e);
		return;
	}
	err_set(&e, ERR_ABSENT, path_known ? "no such method here" : "no such endpoint");
	reply_error(c, path_known ? 405 : 404, &e);
}

struct slice api_query(struct api_run *r, struct slice name)
{
	struct buf value;
	struct slice ret = S("");

	buf_init(&value, 1024);
	if (http_query_get(r->call->query, name, 0, &value))
		ret = arena_dup(&r->arena, buf_slice(&value));
	buf_done(&value);
	return ret;
}

bool api_query_number(struct api_run *r, struct slice name, uint64_t standard, uint64_t *ret,
		      struct err *e)
{
	struct slice text = api_query(r, name);

	*ret = standard;
	return !text.n || slice_u64(text, ret) ||
	       err_set(e, ERR_INPUT, "%s is not a number", name.p);
}

bool api_account(struct api_run *r, bool from_body, struct account *ret, struct err *e)
{
	struct slice name = from_body ? S("") : api_query(r, S("account"));

	if (from_body && (!r->body || !json_want_text(r->body, "account", true, &name, e)))
		return r->body ? false : err_set(e, ERR_INPUT, "a body is needed");
	if (!name.n)
		return err_set(e, ERR_INPUT, "account is missing");
	if (account_find(r->call->ctx->store, name, ret, e))
		return true;
	if (e->kind == ERR_ABSENT)
		err_set(e, ERR_ABSENT, "no account %.*s; see: signet account list",
			SLICE_ARG(name));
	return false;
}
