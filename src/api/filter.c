/* api/filter.c -- which messages a call is about. */
#include "api/api_impl.h"

#include <stdio.h>

/* A value of the query or of the body; empty when it is not there. */
static bool value(struct api_run *r, bool from_body, const char *name, struct slice *ret,
		  struct err *e)
{
	*ret = S("");
	if (from_body)
		return !r->body || json_want_text(r->body, name, false, ret, e);
	*ret = api_query(r, slice_str(name));
	return true;
}

/* "90", "90s", "15m", "2h", "3d". */
static bool age_parse(struct slice text, uint64_t *ret_ms, struct err *e)
{
	static const struct {
		char unit;
		uint64_t ms;
	} units[] = { { 's', 1000 }, { 'm', 60000 }, { 'h', 3600000 }, { 'd', 86400000 } };
	uint64_t times = 1000, n;

	for (size_t i = 0; text.n && i < sizeof units / sizeof *units; i++)
		if (text.p[text.n - 1] == units[i].unit) {
			times = units[i].ms;
			text.n--;
			break;
		}
	if (!slice_u64(text, &n) || n > 1000000000)
		return err_set(e, ERR_INPUT, "older-than is not a number of s, m, h or d: 90s, 2h");
	*ret_ms = n * times;
	return true;
}

static bool state_parse(struct slice text, enum spool_list_state *ret, struct err *e)
{
	static const struct {
		struct slice name;
		enum spool_list_state state;
	} states[] = {
		{ S("all"), LIST_ALL },           { S("pending"), LIST_PENDING },
		{ S("deferred"), LIST_DEFERRED }, { S("under-way"), LIST_LEASED },
		{ S("held"), LIST_HELD },         { S("failed"), LIST_FAILED },
	};

	for (size_t i = 0; i < sizeof states / sizeof *states; i++)
		if (slice_eq(text, states[i].name)) {
			*ret = states[i].state;
			return true;
		}
	return err_set(e, ERR_INPUT,
		       "state is none of: all, pending, deferred, under-way, held, failed");
}

#define ASK 64 /* destinations at once */

/* Those of `names` whose site is the one meant go into the set. */
static bool ask_sites(struct api_run *r, struct api_filter *f, struct slice site,
		      const struct slice *names, size_t n, struct err *e)
{
	const struct api_doors *d = r->call->ctx->doors;
	struct api_site sites[ASK];

	if (!n)
		return true;
	if (!d->sites(d->arg, names, n, sites))
		return err_set(e, ERR_LATER, "the sites cannot be asked now");
	for (size_t i = 0; i < n; i++)
		if (slice_ieq(slice_str(sites[i].name), site) && !map_put(&f->dests, names[i], f))
			return err_set(e, ERR_LATER, "out of memory");
	return true;
}

/* The destinations that have something queued and go to this site. */
static bool dests_of_site(struct api_run *r, struct api_filter *f, struct slice site, struct err *e)
{
	const uint64_t key[2] = { r->actor.now_ms, f->spool.account };
	struct spool_flow flows[ASK];
	struct slice names[ASK];
	uint64_t at = 0;
	struct map seen;
	bool ok = true;

	map_init(&seen, key);
	while (ok && at != WALK_END) {
		size_t n = r->call->ctx->spool_backend->flows(r->call->ctx->spool, &at, flows, ASK);
		size_t fresh = 0;

		for (size_t i = 0; ok && i < n; i++) {
			struct slice name = slice(flows[i].dest, flows[i].dest_n);

			if (map_get(&seen, name))
				continue;
			ok = map_put(&seen, name, r);
			names[fresh++] = name;
		}
		ok = ok ? ask_sites(r, f, site, names, fresh, e)
			: err_set(e, ERR_LATER, "out of memory");
	}
	map_done(&seen);
	f->spool.dests = &f->dests;
	return ok;
}

static void say(struct buf *what, const char *name, struct slice v)
{
	if (!v.n)
		return;
	if (what->n)
		buf_addc(what, ' ');
	buf_add(what, slice_str(name));
	buf_addc(what, '=');
	buf_add(what, v);
}

/* As the spool has it. */
static struct slice lower(struct arena *a, struct slice s)
{
	char *p = arena_alloc(a, s.n + 1);

	for (size_t i = 0; p && i < s.n; i++)
		p[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 0x20) : s.p[i];
	return p ? slice(p, s.n) : S("");
}

bool api_filter_read(struct api_run *r, bool from_body, struct api_filter *f, struct err *e)
{
	const uint64_t key[2] = { r->actor.now_ms, 1 };
	struct slice account, key_id, domain, site, older, state;
	uint64_t age_ms = 0;
	struct buf what;
	struct key k;

	*f = (struct api_filter){ 0 };
	map_init(&f->dests, key);
	if (!value(r, from_body, "account", &account, e) ||
	    !value(r, from_body, "key", &key_id, e) || !value(r, from_body, "domain", &domain, e) ||
	    !value(r, from_body, "site", &site, e) ||
	    !value(r, from_body, "older-than", &older, e) ||
	    !value(r, from_body, "state", &state, e))
		return false;
	if ((state.n && !state_parse(state, &f->spool.state, e)) ||
	    (older.n && !age_parse(older, &age_ms, e)) ||
	    (account.n && !api_account(r, from_body, &f->account, e)) ||
	    (key_id.n && !key_find(r->call->ctx->store, key_id, &k, e)))
		return false;
	f->spool.account = f->account.id;
	if (key_id.n && f->spool.account && k.account != f->spool.account)
		return err_set(e, ERR_ABSENT, "the key is not the account's");
	if (key_id.n)
		f->spool.account = k.account;
	f->spool.key_id = key_id;
	f->spool.dest = lower(&r->arena, domain);
	if (older.n)
		f->spool.before_ms = age_ms < r->actor.now_ms ? r->actor.now_ms - age_ms : 1;
	f->only_origin = (account.n || key_id.n) && !domain.n && !site.n && !older.n && !state.n;
	buf_init(&what, 1024);
	say(&what, "account", account);
	say(&what, "key", key_id);
	say(&what, "domain", domain);
	say(&what, "site", site);
	say(&what, "older-than", older);
	say(&what, "state", state);
	f->what = what.n ? arena_dup(&r->arena, buf_slice(&what)) : S("all");
	buf_done(&what);
	return !site.n || dests_of_site(r, f, site, e);
}

void api_filter_done(struct api_filter *f)
{
	map_done(&f->dests);
}
