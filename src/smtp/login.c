/* AUTH (RFC 4954): a SASL exchange in base64, one object for each command. */
#include "base/b64.h"
#include "base/must.h"
#include "smtp/session_impl.h"

#include <stdlib.h>

void auth_end(struct smtp_session *s)
{
	if (!s->sasl)
		return;
	sasl_server_done(s->sasl);
	free(s->sasl);
	s->sasl = NULL;
	if (s->input == IN_AUTH)
		s->input = IN_LINE;
}

/* A failure that says nothing about a password, but counts like a guess. */
static bool auth_fail(struct smtp_session *s, struct call *c, enum say what)
{
	auth_end(s);
	refuse(s, c, what);
	if (++s->logins_failed == s->cfg->auth_max)
		close_saying(s, c->out, SAY_TOO_MANY_LOGINS);
	return false;
}

/* RFC 4954 section 4: "334", a space even before nothing, base64. */
static void say_challenge(struct buf *out, struct slice challenge)
{
	buf_add(out, S("334 "));
	b64_encode(out, challenge);
	buf_add(out, S("\r\n"));
}

static bool auth_step(struct smtp_session *s, struct call *c, const struct slice *response)
{
	struct buf challenge;
	enum sasl_got got;

	buf_init(&challenge, SAY_ROOM / 2);
	got = sasl_server_step(s->sasl, response, &challenge);
	if (got == SASL_CHALLENGE)
		say_challenge(c->out, buf_slice(&challenge));
	buf_wipe(&challenge);

	switch (got) {
	case SASL_CHALLENGE: s->input = IN_AUTH; break;
	case SASL_VERIFY:
		s->input = IN_LINE;
		c->ev->auth = &s->sasl->request;
		return ask(s, c, SMTP_ASK_AUTH);
	case SASL_BAD: return auth_fail(s, c, SAY_BAD_SASL);
	}
	return false;
}

/* One decode, one allocation, wiped: b64_decode() makes all its room at once. */
static bool auth_decoded(struct smtp_session *s, struct call *c, struct slice text)
{
	struct buf plain;
	bool done;

	buf_init(&plain, s->cfg->auth_line_max);
	if (b64_decode(&plain, text)) {
		struct slice response = buf_slice(&plain);

		done = auth_step(s, c, &response);
	} else {
		done = auth_fail(s, c, SAY_BAD_BASE64);
	}
	buf_wipe(&plain);
	return done;
}

bool auth_response(struct smtp_session *s, struct call *c, struct slice line)
{
	if (slice_eq(line, S("*"))) {
		auth_end(s);
		return refuse(s, c, SAY_AUTH_ABORTED);
	}
	return auth_decoded(s, c, line);
}

bool cmd_auth(struct smtp_session *s, struct call *c, struct slice arg)
{
	struct slice name, initial;
	bool has_initial = slice_cut(arg, ' ', &name, &initial);
	const struct sasl_mech *mech;

	if (s->hello != HELLO_EHLO)
		return refuse(s, c, s->hello == HELLO_NONE ? SAY_NEED_HELO : SAY_NEED_EHLO);
	if (s->user)
		return refuse(s, c, SAY_AUTH_TWICE);
	if (s->tx != TX_NONE)
		return refuse(s, c, SAY_IN_TX);
	if (!s->tls)
		return refuse(s, c, SAY_NEED_TLS_FOR_AUTH);
	if (!name.n)
		return refuse(s, c, SAY_BAD_ARGUMENT);
	mech = sasl_mech_find(name);
	if (!mech)
		return refuse(s, c, SAY_UNKNOWN_MECHANISM);
	if (has_initial && (mech->flags & SASL_SERVER_FIRST))
		return refuse(s, c, SAY_SERVER_FIRST);
	MUST(!s->sasl); /* one object for each AUTH, never two */
	s->sasl = malloc(sizeof *s->sasl);
	if (!s->sasl)
		return refuse(s, c, SAY_AUTH_BROKEN);
	sasl_server_init(s->sasl, mech);
	if (!has_initial)
		return auth_step(s, c, NULL);
	/* "=" is a response of no bytes; none at all would be a line without it. */
	return auth_decoded(s, c, slice_eq(initial, S("=")) ? S("") : initial);
}
