#include "smtp/client.h"

#include "base/b64.h"
#include "base/must.h"
#include "smtp/client_impl.h"

#include <stdlib.h>

struct smtp_client *smtp_client_new(const struct smtp_client_config *cfg)
{
	struct smtp_client *c = calloc(1, sizeof *c);

	if (c) {
		c->cfg = cfg;
		c->tls = cfg->tls_up;
	}
	return c;
}

void smtp_client_free(struct smtp_client *c)
{
	if (!c)
		return;
	explicit_bzero(c, sizeof *c);
	free(c);
}

static enum smtp_client_phase envelope_phase(const struct smtp_client *c)
{
	if (c->next_reply == 0)
		return CLIENT_AT_MAIL;
	return c->next_reply <= c->n_try ? CLIENT_AT_RCPT : CLIENT_AT_DATA;
}

bool smtp_client_offers_dsn(const struct smtp_client *c)
{
	return c->caps.dsn;
}

enum smtp_client_phase smtp_client_phase(const struct smtp_client *c)
{
	switch (c->state) {
	case AT_GREETING: return CLIENT_AT_GREETING;
	case AT_HELLO:
	case AT_EHLO:
	case AT_HELO: return CLIENT_AT_EHLO;
	case AT_STARTTLS:
	case AT_SHAKE: return CLIENT_AT_TLS;
	case AT_AUTH: return CLIENT_AT_AUTH;
	case AT_IDLE: return CLIENT_AT_IDLE;
	case AT_RSET_DUE:
	case AT_RSET: return CLIENT_AT_MAIL;
	case AT_ENVELOPE: return envelope_phase(c);
	case AT_BODY: return CLIENT_AT_BODY;
	case AT_DOT:
	case AT_EMPTY_DOT: return CLIENT_AT_DOT;
	case AT_FAILED: return c->failure.phase;
	case AT_QUIT:
	case AT_CLOSED: break;
	}
	return CLIENT_AT_QUIT;
}

const char *smtp_client_phase_name(enum smtp_client_phase p)
{
	switch (p) {
	case CLIENT_AT_GREETING: return "greeting";
	case CLIENT_AT_EHLO: return "ehlo";
	case CLIENT_AT_TLS: return "tls";
	case CLIENT_AT_AUTH: return "auth";
	case CLIENT_AT_IDLE: return "idle";
	case CLIENT_AT_MAIL: return "mail";
	case CLIENT_AT_RCPT: return "rcpt";
	case CLIENT_AT_DATA: return "data";
	case CLIENT_AT_BODY: return "body";
	case CLIENT_AT_DOT: return "dot";
	case CLIENT_AT_QUIT: return "quit";
	}
	return "";
}

/* -- how it ends -- */

void client_own_words(struct smtp_client_event *ev, int code, const char *enhanced,
		      struct slice text, enum smtp_client_phase phase)
{
	size_t n = strlen(enhanced);

	MUST(n < sizeof ev->reply.enhanced);
	*ev = (struct smtp_client_event){ .phase = phase, .reply.code = code };
	memcpy(ev->reply.enhanced, enhanced, n);
	ev->reply.n = text.n < REPLY_TEXT ? text.n : REPLY_TEXT;
	if (ev->reply.n)
		memcpy(ev->reply.text, text.p, ev->reply.n);
}

static void keep_failure_as_verdict(struct smtp_client *c)
{
	if (!c->mail)
		return;
	/* A refusal of MAIL stands; one of a recipient was told, and is no word on the others. */
	if (!c->mail_refused || !c->have_verdict) {
		c->verdict = c->failure;
		c->have_verdict = true;
	}
	c->told = c->mail->n_rcpts;
}

void client_fail(struct smtp_client *c, struct slice text)
{
	client_own_words(&c->failure, 0, "", text, smtp_client_phase(c));
	keep_failure_as_verdict(c);
	c->state = AT_FAILED;
}

static void fail_by_reply(struct smtp_client *c, const struct reply *r)
{
	c->failure = (struct smtp_client_event){ .reply = *r,
						 .remote = true,
						 .phase = smtp_client_phase(c) };
	c->state = AT_FAILED;
}

void smtp_client_lost(struct smtp_client *c, struct slice why)
{
	if (c->state == AT_CLOSED || c->state == AT_FAILED)
		return;
	if (c->state == AT_QUIT || c->state == AT_IDLE) {
		/* Between messages: a verdict that is not told yet stands. */
		c->state = AT_CLOSED;
		return;
	}
	client_own_words(&c->failure, 0, "", why, smtp_client_phase(c));
	c->failure.maybe_taken = c->state == AT_DOT;
	keep_failure_as_verdict(c);
	c->state = c->mail ? AT_CLOSED : AT_FAILED;
}

void smtp_client_quit(struct smtp_client *c, struct buf *out)
{
	MUST(c->state == AT_IDLE);
	buf_add(out, S("QUIT\r\n"));
	c->state = AT_QUIT;
}

/* -- EHLO -- */

static void learn_limits(struct client_caps *caps, struct slice list)
{
	struct slice one, name, value;
	uint64_t n;

	while (list.n) {
		slice_cut(list, ' ', &one, &list);
		if (!slice_cut(one, '=', &name, &value) || !slice_u64(value, &n) || !n ||
		    n > UINT32_MAX)
			continue;
		if (slice_ieq(name, S("RCPTMAX")))
			caps->rcpt_max = (uint32_t)n;
		else if (slice_ieq(name, S("MAILMAX")))
			caps->mail_max = (uint32_t)n;
	}
}

static void learn_auth(struct client_caps *caps, struct slice list)
{
	/* The mechanisms that we know stand early in any list that is one. */
	caps->auth_n = list.n < sizeof caps->auth ? list.n : sizeof caps->auth;
	if (caps->auth_n)
		memcpy(caps->auth, list.p, caps->auth_n);
}

/* True the first time. */
static bool once(bool *said)
{
	bool first = !*said;

	*said = true;
	return first;
}

/* A keyword of the EHLO reply (RFC 5321 4.1.1.1). What is said twice counts as first said. */
static void learn(struct client_caps *caps, struct slice line)
{
	struct slice word, rest;

	slice_cut(line, ' ', &word, &rest);
	if (slice_ieq(word, S("PIPELINING")))
		caps->pipelining = true;
	else if (slice_ieq(word, S("8BITMIME")))
		caps->eightbit = true;
	else if (slice_ieq(word, S("SMTPUTF8")))
		caps->smtputf8 = true;
	else if (slice_ieq(word, S("STARTTLS")))
		caps->starttls = true;
	else if (slice_ieq(word, S("DSN")))
		caps->dsn = true;
	else if (slice_ieq(word, S("SIZE")) && once(&caps->size_said))
		(void)slice_u64(slice_trim(rest), &caps->size);
	else if (slice_ieq(word, S("LIMITS")) && once(&caps->limits_said))
		learn_limits(caps, rest);
	else if (slice_ieq(word, S("AUTH")) && once(&caps->auth_said))
		learn_auth(caps, rest);
}

/* -- AUTH (RFC 4954) -- */

static void send_b64(struct buf *out, struct slice raw)
{
	b64_encode(out, raw);
	buf_add(out, S("\r\n"));
}

static void no_auth(struct smtp_client *c, struct slice why)
{
	if (c->cfg->auth_optional)
		c->state = AT_IDLE;
	else
		client_fail(c, why);
}

static void say_auth(struct smtp_client *c, struct slice first, bool wait, struct buf *out)
{
	buf_add(out, S("AUTH "));
	buf_add(out, sasl_client_name(&c->sasl));
	if (!wait)
		buf_addc(out, ' ');
	if (!wait && !first.n)
		buf_addc(out, '=');
	send_b64(out, first);
	c->state = AT_AUTH;
}

static void begin_auth(struct smtp_client *c, struct buf *out)
{
	bool private = c->tls || c->cfg->allow_plain_auth;
	struct buf first;

	if (!sasl_client_pick(&c->sasl, slice(c->caps.auth, c->caps.auth_n), private, c->cfg->user,
			      c->cfg->password)) {
		no_auth(c, private ? S("AUTH is needed and no mechanism of ours is offered")
				   : S("AUTH is needed and there is no TLS"));
		return;
	}
	buf_init(&first, COMMAND_ROOM / 2);
	switch (sasl_client_step(&c->sasl, NULL, &first)) {
	case SASL_CLIENT_SEND: say_auth(c, buf_slice(&first), false, out); break;
	case SASL_CLIENT_WAIT: say_auth(c, S(""), true, out); break;
	case SASL_CLIENT_FAIL: client_fail(c, S("AUTH: user or password is too long")); break;
	}
	buf_wipe(&first);
}

static void go_on_auth(struct smtp_client *c, struct slice text, struct buf *out)
{
	struct buf challenge, answer;
	bool ok;

	buf_init(&challenge, REPLY_LINE);
	buf_init(&answer, COMMAND_ROOM / 2);
	ok = b64_decode(&challenge, text);
	if (ok) {
		struct slice decoded = buf_slice(&challenge);

		ok = sasl_client_step(&c->sasl, &decoded, &answer) == SASL_CLIENT_SEND;
	}
	if (ok) {
		send_b64(out, buf_slice(&answer));
	} else {
		buf_add(out, S("*\r\n"));
		c->auth_cancelled = true;
	}
	buf_wipe(&answer);
	buf_done(&challenge);
}

static void auth_reply(struct smtp_client *c, const struct reply *r, struct slice line,
		       struct buf *out)
{
	if (r->code == 235 && !c->auth_cancelled)
		c->state = AT_IDLE;
	else if (r->code == 334 && !c->auth_cancelled)
		go_on_auth(c, line, out);
	else
		fail_by_reply(c, r);
}

/* -- from the greeting to the first message -- */

static void say_hello(struct smtp_client *c, const char *verb, enum client_state next,
		      struct buf *out)
{
	c->caps = (struct client_caps){ 0 };
	buf_add(out, slice_str(verb));
	buf_add(out, c->cfg->hostname);
	buf_add(out, S("\r\n"));
	c->state = next;
}

/* TLS is there, or is not to be. */
static void after_tls(struct smtp_client *c, struct buf *out)
{
	if (c->cfg->user.n)
		begin_auth(c, out);
	else
		c->state = AT_IDLE;
}

static void ehlo_reply(struct smtp_client *c, const struct reply *r, struct buf *out)
{
	bool esmtp_needed = (c->cfg->user.n && !c->cfg->auth_optional) ||
			    (!c->tls && c->cfg->tls == CLIENT_TLS_MUST);

	if (r->code == 250 && !c->tls && c->caps.starttls && c->cfg->tls != CLIENT_TLS_NEVER) {
		buf_add(out, S("STARTTLS\r\n"));
		c->state = AT_STARTTLS;
	} else if (r->code == 250 && !c->tls && c->cfg->tls == CLIENT_TLS_MUST) {
		client_fail(c, S("TLS is demanded and STARTTLS is not offered"));
	} else if (r->code == 250) {
		after_tls(c, out);
	} else if (r->code / 100 == 5 && !esmtp_needed) {
		say_hello(c, "HELO ", AT_HELO, out); /* RFC 5321 3.2 */
	} else {
		fail_by_reply(c, r);
	}
}

static void starttls_reply(struct smtp_client *c, const struct reply *r, struct buf *out)
{
	bool no = r->code / 100 == 4 || r->code / 100 == 5;

	if (r->code == 220)
		c->state = AT_SHAKE;
	else if (no && c->cfg->tls == CLIENT_TLS_MAY)
		after_tls(c, out);
	else
		fail_by_reply(c, r);
}

void smtp_client_tls_up(struct smtp_client *c)
{
	MUST(c->state == AT_SHAKE);
	/* RFC 3207 4.2: what was said in the clear never happened. */
	c->tls = true;
	c->caps = (struct client_caps){ 0 };
	c->state = AT_HELLO;
}

/* -- the machine -- */

/* RFC 5321 3.8: the remote ends the conversation, whatever was asked. */
static void closing_reply(struct smtp_client *c, const struct reply *r)
{
	if (c->mail)
		client_closing_reply(c, r);
	else if (c->state == AT_IDLE || c->state == AT_QUIT)
		c->state = AT_CLOSED; /* it has waited long enough for a next message: no trouble */
	else
		fail_by_reply(c, r);
}

/* A complete reply. True: *ev reports a recipient. */
static bool on_reply(struct smtp_client *c, struct slice last_line, struct buf *out,
		     struct smtp_client_event *ev)
{
	const struct reply *r = &c->reader.reply;

	if (r->code == 421) {
		closing_reply(c, r);
		return false;
	}
	switch (c->state) {
	case AT_GREETING:
		if (r->code == 220)
			c->state = AT_HELLO;
		else
			fail_by_reply(c, r);
		break;
	case AT_EHLO: ehlo_reply(c, r, out); break;
	case AT_HELO:
		if (r->code == 250)
			after_tls(c, out);
		else
			fail_by_reply(c, r);
		break;
	case AT_STARTTLS: starttls_reply(c, r, out); break;
	case AT_AUTH: auth_reply(c, r, last_line, out); break;
	case AT_RSET:
		/* RFC 5321 4.1.1.5: nothing but 250. It is no word on the message. */
		if (r->code == 250) {
			c->dirty = false;
			c->state = AT_ENVELOPE;
		} else {
			client_fail(c, S("RSET was refused"));
		}
		break;
	case AT_ENVELOPE: return client_envelope_reply(c, r, out, ev);
	case AT_BODY: client_body_reply(c, r); break;
	case AT_DOT: client_dot_reply(c, r); break;
	case AT_EMPTY_DOT: client_empty_dot_reply(c); break;
	case AT_IDLE: client_fail(c, S("a reply that nobody waited for")); break;
	case AT_QUIT: c->state = AT_CLOSED; break;
	case AT_HELLO:
	case AT_RSET_DUE:
	case AT_SHAKE:
	case AT_FAILED:
	case AT_CLOSED: MUST(false); break; /* no reply is read there */
	}
	return false;
}

/* More bytes came than replies are due, and the reply they stand behind lets the conversation go on
 * with a command that was not sent yet. (Bytes behind the 220 to STARTTLS, and those behind a
 * verdict on the message, are met where they stand.) */
static bool out_of_step(const struct smtp_client *c, struct slice in)
{
	int class = c->reader.reply.code / 100;

	if (!in.n)
		return false;
	switch (c->state) {
	case AT_GREETING:
	case AT_HELO:
	case AT_AUTH:
	case AT_RSET: return class <= 3;
	case AT_EHLO: return class <= 3 || class == 5;
	case AT_STARTTLS: return c->reader.reply.code != 220;
	case AT_HELLO:
	case AT_SHAKE:
	case AT_IDLE:
	case AT_RSET_DUE:
	case AT_ENVELOPE:
	case AT_BODY:
	case AT_DOT:
	case AT_EMPTY_DOT:
	case AT_QUIT:
	case AT_FAILED:
	case AT_CLOSED: break;
	}
	return false;
}

enum got { GOT_NOTHING, GOT_SOMETHING, GOT_RCPT };

/* Reads one line of a reply, if it is there. */
static enum got read_reply(struct smtp_client *c, struct slice *in, struct buf *out,
			   struct smtp_client_event *ev)
{
	enum reply_got what;
	struct slice line;
	bool rcpt = false;

	what = reply_next(&c->reader, in, &line);
	switch (what) {
	case REPLY_MORE: return GOT_NOTHING;
	case REPLY_LINE_READ:
	case REPLY_DONE: break;
	case REPLY_BAD:
		if (c->state == AT_IDLE)
			client_fail(c, S("bytes that nobody waited for"));
		else
			smtp_client_lost(c, S("the remote's reply is malformed"));
		return GOT_SOMETHING;
	}
	/* The first line of an EHLO reply is a greeting. */
	if (c->state == AT_EHLO && c->reader.lines > 1 && c->reader.reply.code == 250)
		learn(&c->caps, line);
	if (what == REPLY_LINE_READ)
		return GOT_SOMETHING;
	if (out_of_step(c, *in))
		client_fail(c, S("more replies than were waited for"));
	else
		rcpt = on_reply(c, line, out, ev);
	if (c->state == AT_ENVELOPE && c->next_reply == c->next_command && c->next_reply && in->n)
		client_fail(c, S("more replies than were waited for"));
	c->reader = (struct reply_reader){ 0 };
	return rcpt ? GOT_RCPT : GOT_SOMETHING;
}

/* Says what is due, and sees to the room that the next reply may need. False: there is none. */
static bool say(struct smtp_client *c, struct buf *out)
{
	bool room = buf_left(out) >= COMMAND_ROOM;

	switch (c->state) {
	case AT_HELLO:
		if (room)
			say_hello(c, "EHLO ", AT_EHLO, out);
		return room && buf_left(out) >= COMMAND_ROOM;
	case AT_RSET_DUE:
		if (room) {
			buf_add(out, S("RSET\r\n"));
			c->state = AT_RSET;
		}
		return room;
	case AT_EHLO:
	case AT_STARTTLS:
	case AT_AUTH: return room;
	case AT_ENVELOPE: return client_say_envelope(c, out);
	case AT_GREETING:
	case AT_HELO:
	case AT_SHAKE:
	case AT_IDLE:
	case AT_RSET:
	case AT_BODY:
	case AT_DOT:
	case AT_EMPTY_DOT:
	case AT_QUIT:
	case AT_FAILED:
	case AT_CLOSED: break;
	}
	return true;
}

/* What the driver is to do when no reply stands in `in`. */
static enum smtp_client_want waiting(const struct smtp_client *c, struct slice in)
{
	if (c->state == AT_BODY && !in.n && !c->reader.more)
		return CLIENT_SEND_BODY;
	if (c->state == AT_IDLE && !in.n && !c->reader.more)
		return CLIENT_READY;
	return CLIENT_WANT_INPUT;
}

enum smtp_client_want smtp_client_step(struct smtp_client *c, struct slice *in, struct buf *out,
				       struct smtp_client_event *ev)
{
	enum smtp_client_want want;

	*ev = (struct smtp_client_event){ 0 };
	for (;;) {
		if (out->failed)
			smtp_client_lost(c, S("out of memory"));
		if (client_report(c, ev, &want))
			return want;
		if (c->state == AT_FAILED) {
			*ev = c->failure;
			c->state = AT_CLOSED;
			return CLIENT_FAILED;
		}
		if (c->state == AT_CLOSED) {
			slice_take(in, in->n);
			return CLIENT_DO_CLOSE;
		}
		/* RFC 3207 6, and CVE-2021-38371: nothing may come between the 220 and TLS. */
		if (c->state == AT_SHAKE && !in->n)
			return CLIENT_DO_STARTTLS;
		if (c->state == AT_SHAKE) {
			client_fail(c, S("bytes behind the reply to STARTTLS"));
			continue;
		}
		/* RFC 9422 3.1: it takes no more messages here. */
		if (c->state == AT_IDLE && c->caps.mail_max && c->mails >= c->caps.mail_max)
			smtp_client_quit(c, out);
		if (!say(c, out))
			return CLIENT_WANT_FLUSH;
		switch (read_reply(c, in, out, ev)) {
		case GOT_NOTHING: return waiting(c, *in);
		case GOT_RCPT: return CLIENT_RCPT;
		case GOT_SOMETHING: break;
		}
	}
}
