/* auth/login.c -- see login.h. */
#include "auth/login.h"

#include "auth/login_impl.h"
#include "base/must.h"

bool auth_refuse(struct auth_finding *f, enum auth_reason r, struct err *e)
{
	f->reason = r;
	return err_set(e, ERR_DENIED, "login: %s", auth_reason_name(r));
}

bool auth_down(struct auth_finding *f)
{
	f->reason = REASON_STORE_DOWN;
	return false;
}

bool auth_there(bool got, const struct err *why, bool *ret_there, struct err *e)
{
	*ret_there = got;
	if (got || why->kind == ERR_ABSENT)
		return true;
	if (e)
		*e = *why;
	return false;
}

/* A key that may still be used: the part that a login and an open session share. */
static enum auth_reason judge(const struct auth_rows *f, uint64_t now_ms)
{
	switch (key_standing(&f->key, now_ms)) {
	case STANDING_ACTIVE: break;
	case STANDING_REVOKED: return REASON_REVOKED;
	case STANDING_EXPIRED: return REASON_EXPIRED;
	}
	/* An account that is not there owns nothing: no better than one that is held. */
	if (!f->account_there || !account_rule(f->account.state)->login)
		return f->account_there && f->account.state == ACCOUNT_CLOSED
			   ? REASON_ACCOUNT_CLOSED
			   : REASON_ACCOUNT_HELD;
	if (!scopes_have(f->key.scopes, SCOPE_MAIL_SEND))
		return REASON_SCOPE_MISSING;
	return f->from_there ? REASON_OK : REASON_ADDRESS;
}

static void fill(const struct key *k, uint64_t generation, struct principal *ret)
{
	*ret = (struct principal){ .account = k->account,
				   .scopes = k->scopes,
				   .expires_ms = k->expires_ms,
				   .generation = generation };
	memcpy(ret->key_id, k->id, sizeof(ret->key_id));
}

bool auth_look_up(struct store_handle *h, struct slice id, struct slice client, struct auth_rows *f,
		  struct err *e)
{
	struct err why = { 0 };
	bool ok = key_find_evenly(h, id, &f->key, &f->key_there, e) &&
		  auth_there(account_get(h, f->key.account, &f->account, &why), &why,
			     &f->account_there, e);

	/* For all, though it counts for the right secret alone: it takes time. */
	f->from_there = networks_allow(&f->key.networks, client);
	return ok;
}

static bool look_up(struct store_handle *h, struct slice id, struct slice client,
		    struct auth_rows *f, struct err *e)
{
	return store_begin(h, STORE_READ, e) &&
	       store_finish(h, auth_look_up(h, id, client, f, e), e);
}

bool auth_admit(const struct auth_attempt *at, const struct auth_rows *rows, uint64_t generation,
		struct principal *ret, struct auth_finding *f, struct err *e)
{
	enum auth_reason r;

	/* RFC 4616 2: a key acts for itself; under any other name it must not seem to. */
	if (at->authzid.n && !slice_eq(at->authzid, S("apikey")) &&
	    !slice_eq(at->authzid, slice_str(rows->key.id)))
		return auth_refuse(f, REASON_OTHER_IDENTITY, e);
	r = judge(rows, at->now_ms);
	if (r == REASON_OK && !mechanisms_allow(rows->key.mechanisms, at->mechanism))
		r = REASON_MECHANISM;
	if (r != REASON_OK)
		return auth_refuse(f, r, e);
	f->reason = REASON_OK;
	fill(&rows->key, generation, ret);
	return true;
}

void auth_rests_on(struct principal *p, uint64_t issuer, uint64_t ends_ms)
{
	p->issuer = issuer;
	p->ends_ms = ends_ms;
	if (ends_ms && (!p->expires_ms || ends_ms < p->expires_ms))
		p->expires_ms = ends_ms;
}

/* What the user name alone says; REASON_OK when the key decides. */
static enum auth_reason judge_username(struct slice name)
{
	if (name.n && memchr(name.p, '@', name.n))
		return REASON_BASIC_AUTH;
	return slice_eq(name, S("apikey")) || key_id_shape(name) ? REASON_OK : REASON_BAD_USERNAME;
}

static bool by_password(struct store_handle *h, const struct auth_attempt *at,
			struct principal *ret, struct auth_finding *f, struct err *e)
{
	uint64_t generation = store_generation(store_of(h));
	unsigned char hash[DIGEST_SHA256];
	struct auth_rows found = { 0 };
	enum key_verdict verdict;
	struct key_text key;
	enum auth_reason r;
	bool shaped, same;

	shaped = key_parse(at->password, &key);
	if (shaped)
		memcpy(f->key_id, key.id.p, key.id.n);
	r = judge_username(at->username);
	if (r == REASON_OK && !shaped)
		r = REASON_BAD_KEY_SHAPE;
	if (r != REASON_OK)
		return auth_refuse(f, r, e);
	if (!look_up(h, key.id, at->client, &found, e))
		return auth_down(f);

	/* Without a key the comparison is with zeros; with one, the verdict on its id is not asked:
	 * the same work for all. */
	verdict = key_id_verdict(key.id);
	key_hash(key.secret, hash);
	same =
	    digest_equal(slice(hash, sizeof(hash)), slice(found.key.hash, sizeof(found.key.hash)));
	digest_wipe(hash, sizeof(hash));
	f->account = found.key_there ? found.key.account : 0;
	if (!found.key_there)
		return auth_refuse(
		    f, verdict == KEY_PLAUSIBLE ? REASON_UNKNOWN_KEY : REASON_MISTYPED_KEY, e);
	if (!same)
		return auth_refuse(f, REASON_WRONG_SECRET, e);
	if (key_id_shape(at->username) && !slice_eq(at->username, key.id))
		return auth_refuse(f, REASON_USERNAME_KEY_MISMATCH, e);
	return auth_admit(at, &found, generation, ret, f, e);
}

bool auth_login(struct store_handle *h, const struct auth_attempt *at, struct principal *ret,
		struct auth_finding *f, struct err *e)
{
	*f = (struct auth_finding){ .reason = REASON_STORE_DOWN };
	switch (at->by) {
	case AUTH_BY_PASSWORD: return by_password(h, at, ret, f, e);
	case AUTH_BY_PROOF:
	case AUTH_BY_CRAM_MD5: return auth_by_exchange(h, at, ret, f, e);
	case AUTH_BY_CERTIFICATE: return auth_by_certificate(h, at, ret, f, e);
	case AUTH_BY_TOKEN: return auth_by_token(h, at, ret, f, e);
	}
	return auth_refuse(f, REASON_BAD_USERNAME, e);
}

bool auth_recheck(struct store_handle *h, const struct principal *old, struct slice client,
		  uint64_t now_ms, struct principal *ret, struct auth_finding *f, struct err *e)
{
	uint64_t generation = store_generation(store_of(h));
	struct slice id = slice(old->key_id, KEY_ID_LEN);
	struct auth_rows found = { 0 };
	struct err why = { 0 };
	enum auth_reason r;
	uint64_t ends_ms = old->ends_ms, issuer = old->issuer; /* ret may be old */
	bool ok;

	*f = (struct auth_finding){ .reason = REASON_STORE_DOWN, .account = old->account };
	memcpy(f->key_id, old->key_id, sizeof(f->key_id));
	if (!store_begin(h, STORE_READ, e))
		return auth_down(f);
	ok =
	    auth_there(key_get(h, old->account, id, &found.key, &why), &why, &found.key_there, e) &&
	    auth_there(account_get(h, old->account, &found.account, &why), &why,
		       &found.account_there, e);
	if (!store_finish(h, ok, e))
		return auth_down(f);
	found.from_there = networks_allow(&found.key.networks, client);
	r = found.key_there ? judge(&found, now_ms) : REASON_UNKNOWN_KEY;
	if (r == REASON_OK && ends_ms && now_ms >= ends_ms)
		r = REASON_TOKEN_EXPIRED;
	if (r != REASON_OK)
		return auth_refuse(f, r, e);
	f->reason = REASON_OK;
	fill(&found.key, generation, ret);
	auth_rests_on(ret, issuer, ends_ms);
	return true;
}
