#include "sasl/server.h"

#include "base/must.h"
#include "base/utf8.h"
#include "sasl/server_impl.h"

/* PLAIN: two NULs and three full fields; LOGIN: two fields. */
#define PLAIN_ROOM (3 * SASL_FIELD_MAX + 2)

static sasl_step_fn plain_step, login_step, external_step;

// clang-format off
static const struct sasl_mech mechs[SASL_MECHS] = {
	[SASL_SCRAM_SHA_256_PLUS] = { S("SCRAM-SHA-256-PLUS"), SASL_BINDS, SASL_BY_PROOF, SCRAM_ROOM, scram_step },
	[SASL_SCRAM_SHA_256] = { S("SCRAM-SHA-256"), 0, SASL_BY_PROOF, SCRAM_ROOM, scram_step },
	[SASL_EXTERNAL]    = { S("EXTERNAL"), SASL_CERTIFICATE, SASL_BY_TLS, SASL_FIELD_MAX, external_step },
	[SASL_OAUTHBEARER] = { S("OAUTHBEARER"), SASL_REVEALS | SASL_TOKEN, SASL_BY_TOKEN, SASL_TOKEN_MAX + SASL_FIELD_MAX, oauthbearer_step },
	[SASL_XOAUTH2]     = { S("XOAUTH2"), SASL_REVEALS | SASL_TOKEN, SASL_BY_TOKEN, SASL_TOKEN_MAX, xoauth2_step },
	[SASL_PLAIN]       = { S("PLAIN"), SASL_REVEALS, SASL_BY_PASSWORD, PLAIN_ROOM, plain_step },
	/* An initial response is common, so allowed. */
	[SASL_LOGIN]       = { S("LOGIN"), SASL_REVEALS, SASL_BY_PASSWORD, 2 * SASL_FIELD_MAX, login_step },
	[SASL_CRAM_MD5]    = { S("CRAM-MD5"), SASL_SERVER_FIRST, SASL_BY_HMAC, CRAM_ROOM, cram_step },
};
// clang-format on

const struct sasl_mech *sasl_mech_find(struct slice name)
{
	for (size_t i = 0; i < SASL_MECHS; i++)
		if (slice_ieq(name, mechs[i].name))
			return &mechs[i];
	return NULL;
}

enum sasl_id sasl_mech_id(const struct sasl_mech *m)
{
	return (enum sasl_id)(m - mechs);
}

uint32_t sasl_without(uint32_t set, unsigned flags)
{
	for (size_t i = 0; i < SASL_MECHS; i++)
		if (mechs[i].flags & flags)
			set &= ~SASL_BIT(i);
	return set;
}

void sasl_mech_list(struct buf *out, uint32_t set)
{
	const char *between = "";

	for (size_t i = 0; i < SASL_MECHS; i++) {
		if (!(set & SASL_BIT(i)))
			continue;
		buf_add(out, slice_str(between));
		buf_add(out, mechs[i].name);
		between = " ";
	}
}

void sasl_server_init(struct sasl_server *x, const struct sasl_mech *mech)
{
	*x = (struct sasl_server){ .mech = mech };
	x->request.mechanism = mech->name;
	x->request.by = mech->by;
	buf_init(&x->held, mech->room);
}

enum sasl_got sasl_server_step(struct sasl_server *x, const struct slice *in, struct buf *out)
{
	MUST(x->mech);
	switch (x->verdict) {
	case SASL_OPEN: return x->mech->step(x, in, out);
	/* RFC 4954 section 4: data that comes with success goes in a challenge that the client
	 * answers with nothing. */
	case SASL_SAID_YES: return in && !in->n ? SASL_DONE : SASL_BAD;
	/* Whatever it says to our last words, it has failed. */
	case SASL_SAID_NO: return SASL_DONE;
	}
	return SASL_BAD;
}

enum sasl_got sasl_server_supply(struct sasl_server *x, const struct sasl_supply *s,
				 struct buf *out)
{
	MUST(s->nonce.n && s->nonce.n <= 64);
	return x->mech->by == SASL_BY_HMAC ? cram_supply(x, s, out) : scram_supply(x, s, out);
}

enum sasl_got sasl_server_verdict(struct sasl_server *x, bool yes, struct buf *out)
{
	MUST(x->verdict == SASL_OPEN && !(yes && x->request.fault));
	x->verdict = yes ? SASL_SAID_YES : SASL_SAID_NO;
	switch (x->mech->by) {
	case SASL_BY_PROOF: return scram_verdict(x, out);
	case SASL_BY_TOKEN: return yes ? SASL_DONE : bearer_refused(x, out);
	case SASL_BY_PASSWORD:
	case SASL_BY_HMAC:
	case SASL_BY_TLS: break;
	}
	return SASL_DONE;
}

void sasl_server_done(struct sasl_server *x)
{
	buf_wipe(&x->held);
	explicit_bzero(x, sizeof *x);
}

/* Takes all the room an exchange can need at once: a buffer that grew later would leave what it
 * held behind, unwiped, and slices into it would point nowhere. */
bool sasl_hold(struct sasl_server *x, struct slice in, struct slice *ret)
{
	size_t at = x->held.n;

	if (!x->held.p && !buf_room_for(&x->held, x->held.max))
		return false;
	buf_add(&x->held, in);
	*ret = slice_from(buf_slice(&x->held), at);
	return !x->held.failed;
}

bool sasl_field_ok(struct slice f)
{
	return f.n <= SASL_FIELD_MAX && (f.n == 0 || !memchr(f.p, '\0', f.n)) && utf8_valid(f);
}

bool sasl_name(struct sasl_server *x, struct slice in, struct slice *ret)
{
	char name[SASL_FIELD_MAX];
	size_t n = 0;

	while (in.n && n < sizeof name) {
		char c = slice_take(&in, 1).p[0];

		if (c == '=') {
			if (slice_starts(in, S("2C")))
				c = ',';
			else if (!slice_starts(in, S("3D")))
				return false;
			slice_take(&in, 2);
		}
		name[n++] = c;
	}
	return n && !in.n && sasl_field_ok(slice(name, n)) && sasl_hold(x, slice(name, n), ret);
}

bool sasl_authzid(struct sasl_server *x, struct slice *in, struct slice *ret)
{
	struct slice field;

	if (!slice_cut(*in, ',', &field, in))
		return false;
	if (!field.n)
		return true;
	return slice_starts(field, S("a=")) && sasl_name(x, slice_from(field, 2), ret);
}

/* RFC 4616 section 2: message = [authzid] NUL authcid NUL passwd. */
static enum sasl_got plain_step(struct sasl_server *x, const struct slice *in, struct buf *out)
{
	struct sasl_request *r = &x->request;
	struct slice all, rest;

	(void)out;
	if (!in) /* an empty challenge asks for it */
		return x->round++ == 0 ? SASL_CHALLENGE : SASL_BAD;
	if (!sasl_hold(x, *in, &all) || !slice_cut(all, '\0', &r->authzid, &rest) ||
	    !slice_cut(rest, '\0', &r->authcid, &r->password.bytes))
		return SASL_BAD;
	/* A third NUL would be inside the password, where sasl_field_ok() sees it. */
	return sasl_field_ok(r->authzid) && sasl_field_ok(r->authcid) &&
		       sasl_field_ok(r->password.bytes)
		   ? SASL_VERIFY
		   : SASL_BAD;
}

/* draft-murchison-sasl-login: two prompts; clients do not read them, but some compare them. */
static enum sasl_got login_step(struct sasl_server *x, const struct slice *in, struct buf *out)
{
	struct sasl_request *r = &x->request;

	if (!in) {
		if (x->round != 0)
			return SASL_BAD;
		x->round = 1;
		buf_add(out, S("Username:"));
		return SASL_CHALLENGE;
	}
	if (!sasl_field_ok(*in) ||
	    !sasl_hold(x, *in, x->round < 2 ? &r->authcid : &r->password.bytes))
		return SASL_BAD;
	if (x->round == 2)
		return SASL_VERIFY;
	x->round = 2;
	buf_add(out, S("Password:"));
	return SASL_CHALLENGE;
}

/* RFC 4422 appendix A: who to act as, or nothing; the rest is TLS's word. */
static enum sasl_got external_step(struct sasl_server *x, const struct slice *in, struct buf *out)
{
	(void)out;
	if (!in)
		return x->round++ == 0 ? SASL_CHALLENGE : SASL_BAD;
	return sasl_field_ok(*in) && sasl_hold(x, *in, &x->request.authzid) ? SASL_VERIFY
									    : SASL_BAD;
}
