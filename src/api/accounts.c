/* api/accounts.c -- accounts, keys, domains. */
#include "api/api_impl.h"

#include "account/key.h"
#include "sender/domain.h"

#define PAGE 1000

static void show_account(struct json_out *j, const struct account *a)
{
	json_open(j);
	json_kstr(j, "name", slice_str(a->name));
	json_knum(j, "id", a->id);
	json_kstr(j, "state", slice_str(account_state_name(a->state)));
	json_kstr(j, "queued", slice_str(queued_name(account_queued(a))));
	json_ktime(j, "since", a->state_ms);
	json_ktime(j, "created", a->created_ms);
	json_close(j);
}

bool api_account_add(struct api_run *r, struct err *e)
{
	struct slice name = S("");
	struct account a;

	if (!r->body)
		return err_set(e, ERR_INPUT, "a body is needed");
	if (!json_want_text(r->body, "name", true, &name, e) ||
	    !account_add(r->call->ctx->store, &r->actor, name, &a, e))
		return false;
	r->status = 201;
	show_account(&r->out, &a);
	return true;
}

bool api_account_list(struct api_run *r, struct err *e)
{
	struct account *a;
	size_t n;

	if (!account_list(r->call->ctx->store, api_query(r, S("after")), PAGE, &r->arena, &a, &n,
			  e))
		return false;
	json_open(&r->out);
	json_key(&r->out, "accounts");
	json_open_list(&r->out);
	for (size_t i = 0; i < n; i++)
		show_account(&r->out, &a[i]);
	json_close_list(&r->out);
	json_close(&r->out);
	return true;
}

/* "queued" of the body: what becomes of queued mail. */
static bool read_queued(struct api_run *r, enum queued *ret, struct err *e)
{
	struct slice text = S("");

	*ret = QUEUED_AS_STATE;
	return !r->body || (json_want_text(r->body, "queued", false, &text, e) &&
			    (!text.n || queued_parse(text, ret, e)));
}

/* The spool is told before what must not go out, and after what may: never the other way round. */
static bool set_state(struct api_run *r, enum account_state state, struct err *e)
{
	struct operate o = api_operate(r);
	struct account a;
	enum queued queued;

	if (!account_find(r->call->ctx->store, r->arg, &a, e) || !read_queued(r, &queued, e))
		return false;
	a.state = state;
	a.queued = queued;
	if ((account_queued(&a) != QUEUED_KEEP && !operate_account(&o, &a, e)) ||
	    !account_set_state(r->call->ctx->store, &r->actor, a.id, state, queued, e) ||
	    !account_get(r->call->ctx->store, a.id, &a, e) || !operate_account(&o, &a, e))
		return false;
	api_wake(r);
	show_account(&r->out, &a);
	return true;
}

bool api_account_hold(struct api_run *r, struct err *e)
{
	return set_state(r, ACCOUNT_HELD, e);
}

bool api_account_close(struct api_run *r, struct err *e)
{
	return set_state(r, ACCOUNT_CLOSED, e);
}

bool api_account_release(struct api_run *r, struct err *e)
{
	return set_state(r, ACCOUNT_ACTIVE, e);
}

/* -- keys -- */

/* Those of a list that begin with the prefix, without it; or those that do not. */
static void show_identities(struct json_out *j, const char *name, struct slice list, bool tokens)
{
	struct slice one, prefix = S("token:");
	struct buf out;

	buf_init(&out, KEY_IDENTITIES_MAX * (KEY_IDENTITY_MAX + 1));
	while (list.n) {
		slice_cut(list, ' ', &one, &list);
		if (slice_starts(one, prefix) != tokens)
			continue;
		if (out.n)
			buf_addc(&out, ' ');
		buf_add(&out, tokens ? slice_from(one, prefix.n) : one);
	}
	if (out.n)
		json_kstr(j, name, buf_slice(&out));
	buf_done(&out);
}

static void show_key(struct api_run *r, const struct key *k, struct slice text,
		     struct slice identities)
{
	struct json_out *j = &r->out;
	struct buf scopes, mechanisms, networks;

	buf_init(&scopes, 4096);
	buf_init(&mechanisms, 256);
	buf_init(&networks, NETWORKS_TEXT);
	scopes_text(k->scopes, &scopes);
	mechanisms_text(k->mechanisms, &mechanisms);
	networks_text(&k->networks, &networks);
	json_open(j);
	json_kstr(j, "id", slice_str(k->id));
	if (text.n)
		json_kstr(j, "key", text); /* the one time it is seen */
	json_knum(j, "account", k->account);
	json_kstr(j, "name", slice_str(k->name));
	json_kstr(j, "state", slice_str(key_rule(key_standing(k, r->actor.now_ms))->state));
	json_kstr(j, "queued", slice_str(queued_name(key_queued(k, r->actor.now_ms))));
	json_kstr(j, "scopes", buf_slice(&scopes));
	json_kstr(j, "mechanisms", buf_slice(&mechanisms)); /* empty: any */
	json_kstr(j, "networks", buf_slice(&networks));     /* the same */
	json_kbool(j, "cram_md5", k->cram_md5);
	json_kbool(j, "imported", k->imported);
	json_ktime(j, "created", k->created_ms);
	json_ktime(j, "expires", k->expires_ms);
	json_ktime(j, "revoked", k->revoked_ms);
	show_identities(j, "certificates", identities, false);
	show_identities(j, "tokens", identities, true);
	json_close(j);
	buf_done(&scopes);
	buf_done(&mechanisms);
	buf_done(&networks);
}

/* One key, with what stands for it. */
static bool show_one(struct api_run *r, const struct key *k, struct slice text, struct err *e)
{
	struct buf identities;
	bool ok;

	buf_init(&identities, KEY_IDENTITIES_MAX * (KEY_IDENTITY_MAX + 1));
	ok = key_identities(r->call->ctx->store, k->account, slice_str(k->id), &identities, e);
	if (ok)
		show_key(r, k, text, buf_slice(&identities));
	buf_done(&identities);
	return ok;
}

/* A list of texts, or nothing of that name; NULL: it is something else. Never taken for an empty
 * list, which lifts a limit. */
static const struct slice *texts(struct api_run *r, const char *name, size_t *ret_n, struct err *e)
{
	const struct json *list = NULL;
	struct slice *at;
	size_t n;

	if (!json_want_list(r->body, name, false, &list, e))
		return NULL;
	n = json_length(list);
	at = ARENA_ARRAY(&r->arena, struct slice, n + 1);
	if (!at) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	for (size_t i = 0; i < n; i++)
		if (!json_as_text(json_at(list, i), &at[i])) {
			err_set(e, ERR_INPUT, "\"%s\" is not a list of texts", name);
			return NULL;
		}
	*ret_n = n;
	return at;
}

/* Certificates as they are, tokens with the prefix that tells them apart. */
static bool read_identities(struct api_run *r, struct key_spec *spec, struct err *e)
{
	size_t n_certificates, n_tokens;
	const struct slice *certificates = texts(r, "certificates", &n_certificates, e);
	const struct slice *tokens = certificates ? texts(r, "tokens", &n_tokens, e) : NULL;
	struct slice *all;

	if (!tokens)
		return false;
	all = ARENA_ARRAY(&r->arena, struct slice, n_certificates + n_tokens + 1);
	for (size_t i = 0; all && i < n_certificates; i++) {
		if (slice_starts(certificates[i], S("token:")))
			return err_set(e, ERR_INPUT, "a token is no certificate: see \"tokens\"");
		all[i] = certificates[i];
	}
	for (size_t i = 0; all && i < n_tokens; i++) {
		char *at = arena_alloc(&r->arena, 6 + tokens[i].n);

		if (!at)
			return err_set(e, ERR_LATER, "out of memory");
		memcpy(at, "token:", 6);
		if (tokens[i].n)
			memcpy(at + 6, tokens[i].p, tokens[i].n);
		all[n_certificates + i] = slice(at, 6 + tokens[i].n);
	}
	spec->identities = all;
	spec->n_identities = n_certificates + n_tokens;
	return all || err_set(e, ERR_LATER, "out of memory");
}

/* What the key is limited to. */
static bool read_limits(struct api_run *r, struct mechanisms *mechanisms, struct networks *networks,
			struct err *e)
{
	size_t n_names, n_nets;
	const struct slice *names = texts(r, "mechanisms", &n_names, e);
	const struct slice *nets = names ? texts(r, "networks", &n_nets, e) : NULL;

	if (!nets)
		return false;
	for (size_t i = 0; i < n_names; i++)
		if (!mechanisms_add(mechanisms, names[i], e))
			return false;
	for (size_t i = 0; i < n_nets; i++)
		if (!networks_add(networks, nets[i], e))
			return false;
	return true;
}

/* How the key may log in. */
static bool read_means(struct api_run *r, struct key_spec *spec, struct err *e)
{
	spec->keyring = r->call->ctx->keyring;
	return read_limits(r, &spec->mechanisms, &spec->networks, e) &&
	       read_identities(r, spec, e) &&
	       json_want_bool(r->body, "cram_md5", &spec->cram_md5, e);
}

static bool read_spec(struct api_run *r, struct key_spec *spec, struct err *e)
{
	const struct slice *scopes;
	uint64_t seconds = 0;
	size_t n;

	if (!json_want_text(r->body, "name", false, &spec->name, e) ||
	    !json_want_number(r->body, "expires", false, &seconds, e))
		return false;
	if (seconds > 100ull * 365 * 86400)
		return err_set(e, ERR_INPUT, "\"expires\" is more than a hundred years");
	if (seconds)
		spec->expires_ms = r->actor.now_ms + seconds * 1000;
	scopes = texts(r, "scopes", &n, e);
	if (!scopes)
		return false;
	if (!n)
		spec->scopes = scopes_default();
	for (size_t i = 0; i < n; i++)
		if (!scopes_add(&spec->scopes, scopes[i], e))
			return false;
	return read_means(r, spec, e);
}

/* What is misspelled must not make a key without its limit. */
static bool knows_all(struct api_run *r, struct err *e)
{
	static const char *const names[] = { "account",  "name",       "expires",  "scopes",
					     "cram_md5", "mechanisms", "networks", "certificates",
					     "tokens",   "import" };

	return !r->body || json_only(r->body, names, sizeof names / sizeof *names, e);
}

bool api_key_create(struct api_run *r, struct err *e)
{
	struct account a;
	struct key_spec spec = { 0 };
	struct slice import = S("");
	struct key k;
	struct buf text;
	bool ok;

	if (!knows_all(r, e) || !api_account(r, true, &a, e) || !read_spec(r, &spec, e) ||
	    !json_want_text(r->body, "import", false, &import, e))
		return false;
	buf_init(&text, 256);
	if (json_get(r->body, "import"))
		ok = key_import(r->call->ctx->store, &r->actor, a.id, &spec, secret(import), &k, e);
	else
		ok = key_create(r->call->ctx->store, &r->actor, a.id, &spec, &text, &k, e);
	if (ok) {
		r->status = 201;
		ok = show_one(r, &k, buf_slice(&text), e);
	}
	buf_wipe(&text);
	return ok;
}

bool api_key_list(struct api_run *r, struct err *e)
{
	struct account a;
	struct key *k;
	size_t n;

	if (!api_account(r, false, &a, e) ||
	    !key_list(r->call->ctx->store, a.id, api_query(r, S("after")), PAGE, &r->arena, &k, &n,
		      e))
		return false;
	json_open(&r->out);
	json_key(&r->out, "keys");
	json_open_list(&r->out);
	for (size_t i = 0; i < n; i++)
		show_key(r, &k[i], S(""), S(""));
	json_close_list(&r->out);
	json_close(&r->out);
	return true;
}

bool api_key_show(struct api_run *r, struct err *e)
{
	struct key k;

	return key_find(r->call->ctx->store, r->arg, &k, e) && show_one(r, &k, S(""), e);
}

/* An empty list lifts the limit; what is not there stays as it is. */
bool api_key_limit(struct api_run *r, struct err *e)
{
	static const char *const names[] = { "mechanisms", "networks" };
	struct mechanisms mechanisms = { 0 };
	struct networks networks = { 0 };
	bool has_names = r->body && json_get(r->body, "mechanisms");
	bool has_nets = r->body && json_get(r->body, "networks");

	if (!has_names && !has_nets)
		return err_set(e, ERR_INPUT, "\"networks\" or \"mechanisms\" is needed");
	return json_only(r->body, names, 2, e) && read_limits(r, &mechanisms, &networks, e) &&
	       key_set_limits(r->call->ctx->store, &r->actor, r->arg,
			      has_names ? &mechanisms : NULL, has_nets ? &networks : NULL, e) &&
	       api_key_show(r, e);
}

bool api_key_revoke(struct api_run *r, struct err *e)
{
	struct operate o = api_operate(r);
	struct key k;
	enum queued queued;

	if (!key_find(r->call->ctx->store, r->arg, &k, e) || !read_queued(r, &queued, e))
		return false;
	k.state = KEY_REVOKED;
	k.queued = queued;
	if ((key_queued(&k, r->actor.now_ms) != QUEUED_KEEP && !operate_key(&o, &k, e)) ||
	    !key_revoke(r->call->ctx->store, &r->actor, r->arg, queued, e) ||
	    !operate_key(&o, &k, e))
		return false;
	api_wake(r);
	return api_key_show(r, e);
}

/* -- domains -- */

static void show_domain(struct json_out *j, const struct domain *d)
{
	json_open(j);
	json_kstr(j, "name", slice_str(d->name));
	json_kbool(j, "subdomains", d->subdomains);
	json_ktime(j, "added", d->added_ms);
	json_ktime(j, "verified", d->verified_ms);
	json_close(j);
}

bool api_domain_add(struct api_run *r, struct err *e)
{
	struct account a;
	struct slice name = S("");
	bool verified = false, subdomains = false;
	struct domain d;

	if (!api_account(r, true, &a, e) || !json_want_text(r->body, "name", true, &name, e) ||
	    !json_want_bool(r->body, "verified", &verified, e) ||
	    !json_want_bool(r->body, "subdomains", &subdomains, e))
		return false;
	if (!verified)
		return err_set(
		    e, ERR_INPUT,
		    "checking a domain by DNS is not there; add --verified when you vouch for it");
	if (!domain_add_verified(r->call->ctx->store, &r->actor, a.id, name, subdomains, &d, e))
		return false;
	r->status = 201;
	show_domain(&r->out, &d);
	return true;
}

bool api_domain_list(struct api_run *r, struct err *e)
{
	struct account a;
	struct domain *d;
	size_t n;

	if (!api_account(r, false, &a, e) ||
	    !domain_list(r->call->ctx->store, a.id, api_query(r, S("after")), PAGE, &r->arena, &d,
			 &n, e))
		return false;
	json_open(&r->out);
	json_key(&r->out, "domains");
	json_open_list(&r->out);
	for (size_t i = 0; i < n; i++)
		show_domain(&r->out, &d[i]);
	json_close_list(&r->out);
	json_close(&r->out);
	return true;
}

bool api_domain_remove(struct api_run *r, struct err *e)
{
	struct account a;

	if (!api_account(r, false, &a, e) ||
	    !domain_remove(r->call->ctx->store, &r->actor, a.id, r->arg, e))
		return false;
	json_open(&r->out);
	json_kstr(&r->out, "removed", r->arg);
	json_close(&r->out);
	return true;
}
