#include "sasl/server.h"

#include "base/must.h"
#include "base/utf8.h"

/* PLAIN: two NULs and three full fields; LOGIN: two fields. */
#define HELD_MAX (3 * SASL_FIELD_MAX + 2)

static enum sasl_got plain_step(struct sasl_server *x, const struct slice *in, struct buf *out);
static enum sasl_got login_step(struct sasl_server *x, const struct slice *in, struct buf *out);

/* Best first. */
// clang-format off
static const struct sasl_mech mechs[] = {
	{ S("PLAIN"), SASL_REVEALS, plain_step },
	{ S("LOGIN"), SASL_REVEALS, login_step },       /* an initial response is common, so allowed */
};
// clang-format on
#define MECHS (sizeof mechs / sizeof *mechs)

const struct sasl_mech *sasl_mech_find(struct slice name)
{
	for (size_t i = 0; i < MECHS; i++)
		if (slice_ieq(name, mechs[i].name))
			return &mechs[i];
	return NULL;
}

void sasl_mech_list(struct buf *out, bool private)
{
	const char *between = "";

	for (size_t i = 0; i < MECHS; i++) {
		if ((mechs[i].flags & SASL_REVEALS) && !private)
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
	buf_init(&x->held, HELD_MAX);
}

enum sasl_got sasl_server_step(struct sasl_server *x, const struct slice *in, struct buf *out)
{
	MUST(x->mech);
	return x->mech->step(x, in, out);
}

void sasl_server_done(struct sasl_server *x)
{
	buf_wipe(&x->held);
	explicit_bzero(x, sizeof *x);
}

/* Takes all the room an exchange can need at once: a buffer that grew later would leave what it
 * held behind, unwiped. */
static bool hold(struct sasl_server *x, struct slice in)
{
	if (!x->held.p && !buf_room_for(&x->held, HELD_MAX))
		return false;
	buf_add(&x->held, in);
	return !x->held.failed;
}

static bool field_ok(struct slice f)
{
	return f.n <= SASL_FIELD_MAX && (f.n == 0 || !memchr(f.p, '\0', f.n)) && utf8_valid(f);
}

/* RFC 4616 section 2: message = [authzid] NUL authcid NUL passwd. */
static enum sasl_got plain_step(struct sasl_server *x, const struct slice *in, struct buf *out)
{
	struct sasl_request *r = &x->request;
	struct slice rest;

	(void)out;
	if (!in) /* an empty challenge asks for it */
		return x->round++ == 0 ? SASL_CHALLENGE : SASL_BAD;
	if (!hold(x, *in) || !slice_cut(buf_slice(&x->held), '\0', &r->authzid, &rest) ||
	    !slice_cut(rest, '\0', &r->authcid, &r->password.bytes))
		return SASL_BAD;
	/* A third NUL would be inside the password, where field_ok() sees it. */
	return field_ok(r->authzid) && field_ok(r->authcid) && field_ok(r->password.bytes)
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
	if (!field_ok(*in) || !hold(x, *in))
		return SASL_BAD;
	if (x->round < 2) {
		x->round = 2;
		r->authcid = buf_slice(&x->held);
		buf_add(out, S("Password:"));
		return SASL_CHALLENGE;
	}
	r->password.bytes = slice_from(buf_slice(&x->held), r->authcid.n);
	return SASL_VERIFY;
}
