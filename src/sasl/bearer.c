/* XOAUTH2 (as Google documents it) and OAUTHBEARER (RFC 7628). Both end in a bearer token and, when
 * it is said, the user that it is for. */
#include "sasl/server_impl.h"

#define SEP '\x01'

/* RFC 6750 section 2.1: "Bearer" 1*SP b64token; the scheme in any case (RFC 9110 11.1). */
static bool take_token(struct slice value, struct slice *ret)
{
	size_t pad;

	if (!slice_istarts(value, S("Bearer ")))
		return false;
	value = slice_from(value, 7);
	while (value.n && value.p[0] == ' ')
		slice_take(&value, 1);
	*ret = value;
	for (pad = value.n; pad && value.p[pad - 1] == '='; pad--)
		;
	for (size_t i = 0; i < pad; i++)
		if (!ascii_alpha(value.p[i]) && !ascii_digit(value.p[i]) &&
		    !memchr("-._~+/", value.p[i], 6))
			return false;
	return pad > 0;
}

/* "user=" name SEP "auth=Bearer " token SEP SEP */
enum sasl_got xoauth2_step(struct sasl_server *x, const struct slice *in, struct buf *out)
{
	struct sasl_request *r = &x->request;
	struct slice all, user, auth;

	(void)out;
	if (!in)
		return x->round++ == 0 ? SASL_CHALLENGE : SASL_BAD;
	if (in->n > SASL_TOKEN_MAX || !sasl_hold(x, *in, &all) ||
	    !slice_cut(all, SEP, &user, &auth) || !slice_starts(user, S("user=")) ||
	    !slice_ends(auth, S("\x01\x01")) || !slice_starts(auth, S("auth=")))
		return SASL_BAD;
	r->authcid = slice_from(user, 5);
	auth.n -= 2;
	return sasl_field_ok(r->authcid) && take_token(slice_from(auth, 5), &r->password.bytes)
		   ? SASL_VERIFY
		   : SASL_BAD;
}

/* RFC 7628 section 3.1: value = *(VCHAR / SP / HTAB / CR / LF) */
static bool value_ok(struct slice v)
{
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] > '~' || (v.p[i] < ' ' && !memchr("\t\r\n", v.p[i], 3)))
			return false;
	return true;
}

static bool key_ok(struct slice k)
{
	for (size_t i = 0; i < k.n; i++)
		if (!ascii_alpha(k.p[i]))
			return false;
	return k.n > 0;
}

static bool port_ok(struct slice text)
{
	uint64_t port;

	return slice_u64(text, &port) && port > 0 && port <= 65535;
}

/* One pair. What we do not know is ignored; what we know stands once. */
static bool pair(struct sasl_request *r, bool *had_auth, struct slice one)
{
	struct slice key, value;

	if (!slice_cut(one, '=', &key, &value) || !key_ok(key) || !value_ok(value))
		return false;
	if (slice_eq(key, S("host"))) {
		if (r->host.n || !value.n || value.n > SASL_FIELD_MAX)
			return false;
		r->host = value;
	} else if (slice_eq(key, S("port"))) {
		if (r->port.n || !port_ok(value))
			return false;
		r->port = value;
	} else if (slice_eq(key, S("auth"))) {
		/* RFC 7628 section 4.3: without a token the client asks what it would need. */
		if (*had_auth || (value.n && !take_token(value, &r->password.bytes)))
			return false;
		*had_auth = true;
	}
	return true;
}

/* gs2-header SEP *(key "=" value SEP) SEP; the flag n or y, nothing can be bound. */
enum sasl_got oauthbearer_step(struct sasl_server *x, const struct slice *in, struct buf *out)
{
	struct sasl_request *r = &x->request;
	struct slice all, one;
	bool had_auth = false, ended;

	(void)out;
	if (!in)
		return x->round++ == 0 ? SASL_CHALLENGE : SASL_BAD;
	if (in->n > SASL_TOKEN_MAX || !sasl_hold(x, *in, &all) ||
	    !(slice_starts(all, S("n,")) || slice_starts(all, S("y,"))))
		return SASL_BAD;
	slice_take(&all, 2);
	if (!sasl_authzid(x, &all, &r->authcid) || !slice_starts(all, S("\x01")))
		return SASL_BAD;
	slice_take(&all, 1);
	while ((ended = slice_cut(all, SEP, &one, &all)) && one.n)
		if (!pair(r, &had_auth, one))
			return SASL_BAD;
	/* An empty pair is the end, and nothing comes behind it. */
	return had_auth && ended && !all.n ? SASL_VERIFY : SASL_BAD;
}

/* RFC 7628 section 3.2.2 and Google's form. The client answers with anything (AQ==, nothing), and
 * then it is told. */
enum sasl_got bearer_refused(struct sasl_server *x, struct buf *out)
{
	if (sasl_mech_id(x->mech) == SASL_XOAUTH2)
		buf_add(out,
			S("{\"status\":\"401\",\"schemes\":\"bearer\",\"scope\":\"mail.send\"}"));
	else
		buf_add(out, S("{\"status\":\"invalid_token\",\"scope\":\"mail.send\"}"));
	return out->failed ? SASL_BAD : SASL_CHALLENGE;
}
