/* AUTH (RFC 4954): a SASL exchange in base64, one object for each command. */
#include "base/b64.h"
#include "base/must.h"
#include "smtp/session_impl.h"

#include <stdlib.h>

_Static_assert(B64_LEN(SASL_OUT_MAX) + 6 <= SAY_ROOM, "a challenge fits where a reply does");

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

void count_failure(struct smtp_session *s, struct buf *out)
{
	if (++s->logins_failed == s->cfg->auth_max)
		close_saying(s, out, SAY_TOO_MANY_LOGINS);
}

/* A failure that says nothing about a password, but counts like a guess. */
static bool auth_fail(struct smtp_session *s, struct call *c, enum say what)
{
	auth_end(s);
	refuse(s, c, what);
	count_failure(s, c->out);
	return false;
}

/* RFC 4954 section 4: "334", a space even before nothing, base64. */
static void say_challenge(struct smtp_session *s, struct buf *out, struct slice challenge)
{
	buf_add(out, S("334 "));
	b64_encode(out, challenge);
	buf_add(out, S("\r\n"));
	s->input = IN_AUTH;
}

/* The verdict is known and said. */
static void settle(struct smtp_session *s, bool yes, bool no, struct buf *out)
{
	auth_end(s);
	s->user = yes;
	/* Neither: we could not tell, which is nobody's failure. */
	if (no)
		count_failure(s, out);
}

static bool say_kept(struct smtp_session *s, struct call *c)
{
	bool yes = s->sasl->verdict == SASL_SAID_YES;

	buf_add(c->out, buf_slice(&s->line));
	settle(s, yes, !yes, c->out);
	return false;
}

static bool auth_step(struct smtp_session *s, struct call *c, const struct slice *response)
{
	struct buf challenge;
	enum sasl_got got;

	buf_init(&challenge, SASL_OUT_MAX);
	got = sasl_server_step(s->sasl, response, &challenge);
	if (got == SASL_CHALLENGE)
		say_challenge(s, c->out, buf_slice(&challenge));
	buf_wipe(&challenge);

	switch (got) {
	case SASL_CHALLENGE: return false;
	case SASL_ASK:
	case SASL_VERIFY:
		s->input = IN_LINE;
		c->ev->auth = &s->sasl->request;
		return ask(s, c, got == SASL_ASK ? SMTP_ASK_SASL : SMTP_ASK_AUTH);
	case SASL_DONE: return say_kept(s, c);
	case SASL_BAD: break;
	}
	return auth_fail(s, c, SAY_BAD_SASL);
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
	/* It has failed already, and what it says to the error ends it, be it "*". */
	if (s->sasl->verdict == SASL_SAID_NO)
		return say_kept(s, c);
	if (slice_eq(line, S("*"))) {
		auth_end(s);
		return refuse(s, c, SAY_AUTH_ABORTED);
	}
	return auth_decoded(s, c, line);
}

bool smtp_session_supply(struct smtp_session *s, uint32_t question, const struct sasl_supply *from,
			 struct buf *out)
{
	struct buf challenge;

	if (s->asked != SMTP_ASK_SASL || question != s->question)
		return false;
	s->asked = SMTP_WANT_INPUT;
	buf_init(&challenge, SASL_OUT_MAX);
	if (sasl_server_supply(s->sasl, from, &challenge) == SASL_CHALLENGE) {
		say_challenge(s, out, buf_slice(&challenge));
	} else {
		auth_end(s);
		say(out, SAY_AUTH_BROKEN);
	}
	buf_wipe(&challenge);
	return true;
}

/* Some mechanisms have a last word in their own language; the reply waits until the client has
 * answered that. */
static bool last_words(struct smtp_session *s, const struct smtp_answer *a, struct buf *out)
{
	struct buf challenge;
	bool more;

	if ((a->code >= 300 && a->code < 500) || a->close)
		return false;
	buf_init(&challenge, SASL_OUT_MAX);
	more = sasl_server_verdict(s->sasl, a->code < 300, &challenge) == SASL_CHALLENGE;
	if (more) {
		buf_clear(&s->line);
		say_text(&s->line, a->code, a->enh, a->text);
		more = !s->line.failed;
	}
	if (more)
		say_challenge(s, out, buf_slice(&challenge));
	buf_wipe(&challenge);
	return more;
}

void answer_auth(struct smtp_session *s, const struct smtp_answer *a, struct buf *out)
{
	if (last_words(s, a, out))
		return;
	say_text(out, a->code, a->enh, a->text);
	settle(s, a->code < 300, a->code >= 500, out);
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
	if (!mech || !(s->offered & SASL_BIT(sasl_mech_id(mech))))
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
