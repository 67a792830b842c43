#include "smtp/client.h"

#include "base/b64.h"
#include "base/must.h"
#include "sasl/client.h"
#include "smtp/lines.h"

#include <stdlib.h>

/* Room that the longest command may need: a path, NOTIFY and ORCPT of 500 octets. */
#define COMMAND_ROOM 2048

enum state {
	AT_GREETING,
	AT_EHLO,
	AT_HELO,
	AT_STARTTLS, /* waits for the 220 */
	AT_SHAKE,    /* the driver shakes hands */
	AT_AUTH,
	AT_IDLE,
	AT_RSET,
	AT_ENVELOPE, /* MAIL, RCPTs and DATA are on their way */
	AT_BODY,
	AT_DOT,
	AT_EMPTY_DOT, /* 354 though no recipient was taken: "." and its reply mean nothing */
	AT_QUIT,
	AT_FAILED, /* tell the driver, then close */
	AT_CLOSED,
};

struct caps {
	bool pipelining, eightbit, smtputf8, starttls, dsn, auth_seen;
	uint64_t size;     /* 0: none said */
	uint32_t rcpt_max; /* LIMITS RCPTMAX; 0: none said */
	char auth[256];
	size_t auth_n;
};

struct smtp_client {
	const struct smtp_client_config *cfg;
	enum state state;
	bool tls, done_auth, greeted;
	struct caps caps;
	struct reply_reader reader;
	struct sasl_client sasl;

	const struct smtp_client_mail *mail;
	uint32_t n_try;         /* recipients of this transaction */
	uint32_t told;          /* beyond n_try: told so far that they are for later */
	uint32_t next_command;  /* 0: MAIL, 1..n_try: RCPT, n_try+1: DATA */
	uint32_t next_reply;
	uint32_t accepted;
	bool mail_refused;
	bool dirty;             /* the remote may hold a transaction: RSET before the next MAIL */
	bool have_verdict;      /* of the message: `verdict` is to be reported */
	struct smtp_client_event verdict;
	struct lines lines;

	struct smtp_client_event failure;
	bool close_after; /* 421, or lost: nothing follows the verdict */
};

static void own_words(struct smtp_client_event *ev, int code, const char *enhanced, struct slice text,
    enum smtp_client_phase phase)
{
	*ev = (struct smtp_client_event){ .phase = phase, .reply.code = code };
	memcpy(ev->reply.enhanced, enhanced, strlen(enhanced) + 1);
	ev->reply.n = text.n < REPLY_TEXT ? text.n : REPLY_TEXT;
	memcpy(ev->reply.text, text.p, ev->reply.n);
}

static void fail(struct smtp_client *c, struct slice text)
{
	own_words(&c->failure, 0, "", text, smtp_client_phase(c));
	c->state = AT_FAILED;
}

static void fail_by_reply(struct smtp_client *c, const struct reply *r)
{
	c->failure = (struct smtp_client_event){ .reply = *r, .remote = true, .phase = smtp_client_phase(c) };
	c->state = AT_FAILED;
}

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

enum smtp_client_phase smtp_client_phase(const struct smtp_client *c)
{
	switch (c->state) {
	case AT_GREETING: return CLIENT_AT_GREETING;
	case AT_EHLO:
	case AT_HELO: return CLIENT_AT_EHLO;
	case AT_STARTTLS:
	case AT_SHAKE: return CLIENT_AT_TLS;
	case AT_AUTH: return CLIENT_AT_AUTH;
	case AT_IDLE: return CLIENT_AT_IDLE;
	case AT_RSET: return CLIENT_AT_MAIL;
	case AT_ENVELOPE:
		return c->next_reply == 0 ? CLIENT_AT_MAIL :
		    c->next_reply <= c->n_try ? CLIENT_AT_RCPT : CLIENT_AT_DATA;
	case AT_BODY: return CLIENT_AT_BODY;
	case AT_DOT:
	case AT_EMPTY_DOT: return CLIENT_AT_DOT;
	case AT_QUIT:
	case AT_CLOSED: return CLIENT_AT_QUIT;
	case AT_FAILED: return c->failure.phase;
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

/* -- greeting, EHLO, TLS, AUTH -- */

static void say_ehlo(struct smtp_client *c, struct buf *out)
{
	c->caps = (struct caps){ 0 };
	buf_add(out, S("EHLO "));
	buf_add(out, c->cfg->hostname);
	buf_add(out, S("\r\n"));
	c->state = AT_EHLO;
}

static void learn_limits(struct caps *caps, struct slice list)
{
	struct slice one, name, value;
	uint64_t n;

	while (list.n) {
		slice_cut(list, ' ', &one, &list);
		if (slice_cut(one, '=', &name, &value) && slice_ieq(name, S("RCPTMAX")) &&
		    slice_u64(value, &n) && n && n <= UINT32_MAX)
			caps->rcpt_max = (uint32_t)n;
	}
}

static void learn(struct caps *caps, struct slice line)
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
	else if (slice_ieq(word, S("LIMITS")))
		learn_limits(caps, rest);
	else if (slice_ieq(word, S("SIZE")))
		(void)slice_u64(rest, &caps->size);
	else if (slice_ieq(word, S("AUTH")) && !caps->auth_seen && rest.n <= sizeof caps->auth) {
		caps->auth_seen = true;
		memcpy(caps->auth, rest.p, rest.n);
		caps->auth_n = rest.n;
	}
}

static void send_b64(struct buf *out, struct slice raw)
{
	b64_encode(out, raw);
	buf_add(out, S("\r\n"));
}

static void begin_auth(struct smtp_client *c, struct buf *out)
{
	struct buf first;

	if (!c->tls) {
		fail(c, S("AUTH is needed and there is no TLS"));
		return;
	}
	if (!sasl_client_pick(&c->sasl, slice(c->caps.auth, c->caps.auth_n), c->tls, c->cfg->user,
	        c->cfg->password)) {
		fail(c, S("AUTH is needed and no mechanism of ours is offered"));
		return;
	}
	c->state = AT_AUTH;
	buf_init(&first, 2048);
	buf_add(out, S("AUTH "));
	buf_add(out, sasl_client_name(&c->sasl));
	switch (sasl_client_step(&c->sasl, NULL, &first)) {
	case SASL_CLIENT_SEND:
		buf_addc(out, ' ');
		if (first.n)
			send_b64(out, buf_slice(&first));
		else
			buf_add(out, S("=\r\n"));
		break;
	case SASL_CLIENT_WAIT: buf_add(out, S("\r\n")); break;
	case SASL_CLIENT_FAIL: fail(c, S("AUTH: nothing to say")); break;
	}
	buf_wipe(&first);
}

static void go_on_auth(struct smtp_client *c, struct slice text, struct buf *out)
{
	struct buf challenge, answer;
	struct slice decoded;

	buf_init(&challenge, 4096);
	buf_init(&answer, 4096);
	if (!b64_decode(&challenge, text)) {
		buf_add(out, S("*\r\n"));
	} else {
		decoded = buf_slice(&challenge);
		switch (sasl_client_step(&c->sasl, &decoded, &answer)) {
		case SASL_CLIENT_SEND: send_b64(out, buf_slice(&answer)); break;
		case SASL_CLIENT_WAIT:
		case SASL_CLIENT_FAIL: buf_add(out, S("*\r\n")); break;
		}
	}
	buf_wipe(&answer);
	buf_done(&challenge);
}

/* What stands between EHLO and the first message. */
static void after_ehlo(struct smtp_client *c, struct buf *out)
{
	if (!c->tls && c->caps.starttls && c->cfg->tls != CLIENT_TLS_NEVER) {
		buf_add(out, S("STARTTLS\r\n"));
		c->state = AT_STARTTLS;
	} else if (!c->tls && c->cfg->tls == CLIENT_TLS_MUST) {
		fail(c, S("TLS is demanded and STARTTLS is not offered"));
	} else if (c->cfg->user.n && !c->done_auth) {
		begin_auth(c, out);
	} else {
		c->state = AT_IDLE;
	}
}

/* -- a message -- */

static void verdict(struct smtp_client *c, const struct smtp_client_event *ev)
{
	c->verdict = *ev;
	c->have_verdict = true;
}

static void verdict_by_reply(struct smtp_client *c, const struct reply *r, enum smtp_client_phase phase)
{
	struct smtp_client_event ev = { .reply = *r, .remote = true, .phase = phase };

	verdict(c, &ev);
}

/* What the remote cannot take is said before it is asked. False: the verdict is there. */
static bool fits(struct smtp_client *c)
{
	const struct smtp_client_mail *m = c->mail;
	struct smtp_client_event ev;

	if (m->smtputf8 && !c->caps.smtputf8)
		own_words(&ev, 550, "5.6.7", S("5.6.7 the next hop does not support SMTPUTF8"), CLIENT_AT_MAIL);
	else if (m->high && !c->caps.eightbit)
		own_words(&ev, 550, "5.6.3", S("5.6.3 the next hop does not support 8BITMIME"), CLIENT_AT_MAIL);
	else if (c->caps.size && m->size > c->caps.size)
		own_words(&ev, 552, "5.3.4", S("5.3.4 the message is larger than the next hop takes"),
		    CLIENT_AT_MAIL);
	else
		return true;
	verdict(c, &ev);
	return false;
}

void smtp_client_send(struct smtp_client *c, const struct smtp_client_mail *m)
{
	MUST(c->state == AT_IDLE && !c->mail && m->n_rcpts);
	c->mail = m;
	c->n_try = c->caps.rcpt_max && c->caps.rcpt_max < m->n_rcpts ? c->caps.rcpt_max : m->n_rcpts;
	c->told = c->n_try;
	c->next_command = c->next_reply = c->accepted = 0;
	c->mail_refused = c->have_verdict = false;
	c->lines = (struct lines){ 0 };
	if (!fits(c)) {
		c->told = m->n_rcpts; /* the verdict speaks for all of them */
		return;
	}
	c->state = c->dirty ? AT_RSET : AT_ENVELOPE;
	if (c->state == AT_RSET)
		c->next_command = UINT32_MAX; /* RSET has to be said first */
}

static void say_mail(struct smtp_client *c, struct buf *out)
{
	const struct smtp_client_mail *m = c->mail;

	buf_add(out, S("MAIL FROM:<"));
	buf_add(out, m->reverse_path);
	buf_addc(out, '>');
	if (c->caps.size) {
		buf_add(out, S(" SIZE="));
		buf_addu(out, m->size);
	}
	if (c->caps.eightbit && (m->body_8bit || m->high))
		buf_add(out, S(" BODY=8BITMIME"));
	if (m->smtputf8)
		buf_add(out, S(" SMTPUTF8"));
	if (c->caps.dsn && m->ret != SMTP_RET_UNSAID)
		buf_add(out, m->ret == SMTP_RET_FULL ? S(" RET=FULL") : S(" RET=HDRS"));
	if (c->caps.dsn && m->envid.n) {
		buf_add(out, S(" ENVID="));
		buf_add(out, m->envid);
	}
	buf_add(out, S("\r\n"));
}

static void say_notify(unsigned notify, struct buf *out)
{
	static const struct {
		unsigned bit;
		struct slice name;
	} names[] = { { SMTP_NOTIFY_NEVER, { "NEVER", 5 } }, { SMTP_NOTIFY_SUCCESS, { "SUCCESS", 7 } },
		{ SMTP_NOTIFY_FAILURE, { "FAILURE", 7 } }, { SMTP_NOTIFY_DELAY, { "DELAY", 5 } } };
	bool comma = false;

	buf_add(out, S(" NOTIFY="));
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (notify & names[i].bit) {
			buf_add(out, comma ? S(",") : S(""));
			buf_add(out, names[i].name);
			comma = true;
		}
}

static void say_rcpt(struct smtp_client *c, const struct smtp_client_rcpt *r, struct buf *out)
{
	buf_add(out, S("RCPT TO:<"));
	buf_add(out, r->path);
	buf_addc(out, '>');
	if (c->caps.dsn && r->notify)
		say_notify(r->notify, out);
	if (c->caps.dsn && r->orcpt.n) {
		buf_add(out, S(" ORCPT="));
		buf_add(out, r->orcpt);
	}
	buf_add(out, S("\r\n"));
}

/* The commands that may be sent now. With PIPELINING all of them, as `out` has room; DATA last.
 * Without, one for each reply; and no DATA without a recipient. */
static void say_commands(struct smtp_client *c, struct buf *out)
{
	while (buf_left(out) >= COMMAND_ROOM && c->next_command <= c->n_try + 1) {
		if (!c->caps.pipelining && c->next_command != c->next_reply)
			return;
		if (c->next_command == 0)
			say_mail(c, out);
		else if (c->next_command <= c->n_try)
			say_rcpt(c, &c->mail->rcpts[c->next_command - 1], out);
		else
			buf_add(out, S("DATA\r\n"));
		c->next_command++;
		c->dirty = true;
	}
}

static void end_transaction(struct smtp_client *c)
{
	c->state = c->close_after ? AT_CLOSED : AT_IDLE;
}

/* A reply to MAIL, RCPT or DATA, in the order they were sent. True: *ev reports a recipient. */
static bool envelope_reply(struct smtp_client *c, const struct reply *r, struct smtp_client_event *ev,
    struct buf *out)
{
	uint32_t which = c->next_reply++;
	bool yes = r->code / 100 == 2;

	if (which == 0) {
		c->mail_refused = !yes;
		if (!yes)
			verdict_by_reply(c, r, CLIENT_AT_MAIL);
		/* Nothing more was sent: the transaction is over. */
		if (!yes && c->next_command == 1)
			end_transaction(c);
		return false;
	}
	if (which <= c->n_try) {
		c->accepted += yes;
		if (!c->caps.pipelining && which == c->n_try && !c->accepted) {
			/* Every recipient has its own verdict; the message needs none. */
			if (!c->have_verdict)
				verdict_by_reply(c, r, CLIENT_AT_RCPT);
			end_transaction(c);
		}
		if (yes || c->mail_refused)
			return false;
		*ev = (struct smtp_client_event){ .rcpt = which - 1, .reply = *r, .remote = true, .phase = CLIENT_AT_RCPT };
		return true;
	}
	if (r->code == 354 && c->accepted) {
		c->state = AT_BODY;
	} else if (r->code == 354) {
		/* RFC 2920 3.1: it must be given something, and that is nothing. */
		buf_add(out, S(".\r\n"));
		c->state = AT_EMPTY_DOT;
	} else {
		if (!c->have_verdict)
			verdict_by_reply(c, r, CLIENT_AT_DATA);
		end_transaction(c);
	}
	return false;
}

bool smtp_client_body(struct smtp_client *c, struct slice run, bool last, struct buf *out)
{
	MUST(c->state == AT_BODY);
	c->lines.malformed |= run.n && memchr(run.p, '\0', run.n);
	while (run.n) {
		bool begin = !c->lines.mid && !c->lines.cr;
		size_t n;

		if (begin && run.p[0] == '.')
			buf_addc(out, '.');
		n = lines_one(&c->lines, run.p, run.n);
		buf_add(out, slice_take(&run, n));
	}
	if (c->lines.malformed || out->failed || (last && c->lines.cr)) {
		fail(c, S("the content holds a bare CR or LF, or a NUL"));
		c->failure.phase = CLIENT_AT_BODY;
		return false;
	}
	if (last) {
		buf_add(out, c->lines.mid ? S("\r\n.\r\n") : S(".\r\n"));
		c->state = AT_DOT;
	}
	return true;
}

void smtp_client_quit(struct smtp_client *c, struct buf *out)
{
	MUST(c->state == AT_IDLE);
	buf_add(out, S("QUIT\r\n"));
	c->state = AT_QUIT;
}

void smtp_client_tls_up(struct smtp_client *c)
{
	MUST(c->state == AT_SHAKE);
	/* RFC 3207 4.2: what was said in the clear never happened. */
	c->tls = true;
	c->caps = (struct caps){ 0 };
	c->state = AT_EHLO;
	c->greeted = false; /* EHLO has to be said again: see step */
}

void smtp_client_lost(struct smtp_client *c, struct slice why)
{
	struct smtp_client_event ev;

	if (c->state == AT_CLOSED || c->state == AT_FAILED)
		return;
	if (c->state == AT_QUIT || (c->state == AT_IDLE && !c->mail)) {
		c->state = AT_CLOSED;
		return;
	}
	own_words(&ev, 0, "", why, smtp_client_phase(c));
	ev.maybe_taken = c->state == AT_DOT;
	c->close_after = true;
	if (c->mail) {
		if (!c->have_verdict)
			verdict(c, &ev);
		c->told = c->mail->n_rcpts;
		c->state = AT_CLOSED;
	} else {
		c->failure = ev;
		c->state = AT_FAILED;
	}
}

/* -- the machine -- */

static void reply_to_auth(struct smtp_client *c, const struct reply *r, struct slice line,
    struct buf *out)
{
	if (r->code == 235) {
		c->done_auth = true;
		c->state = AT_IDLE;
	} else if (r->code == 334) {
		go_on_auth(c, line, out);
	} else {
		fail_by_reply(c, r);
	}
}

/* A complete reply. True: *ev reports a recipient. */
static bool on_reply(struct smtp_client *c, struct slice last_line, struct buf *out,
    struct smtp_client_event *ev)
{
	const struct reply *r = &c->reader.reply;
	bool yes = r->code / 100 == 2;

	/* RFC 5321 3.8: the remote ends the conversation, whatever was asked. */
	if (r->code == 421 && !c->mail && c->state != AT_QUIT) {
		fail_by_reply(c, r);
		return false;
	}
	c->close_after |= r->code == 421;
	switch (c->state) {
	case AT_GREETING:
		if (r->code == 220)
			say_ehlo(c, out);
		else
			fail_by_reply(c, r);
		return false;
	case AT_EHLO:
		if (yes) {
			after_ehlo(c, out);
		} else if (r->code / 100 == 5 && !c->cfg->user.n &&
		    (c->tls || c->cfg->tls != CLIENT_TLS_MUST)) {
			buf_add(out, S("HELO "));
			buf_add(out, c->cfg->hostname);
			buf_add(out, S("\r\n"));
			c->caps = (struct caps){ 0 };
			c->state = AT_HELO;
		} else {
			fail_by_reply(c, r);
		}
		return false;
	case AT_HELO:
		if (yes)
			c->state = AT_IDLE;
		else
			fail_by_reply(c, r);
		return false;
	case AT_STARTTLS:
		if (r->code == 220)
			c->state = AT_SHAKE;
		else if (c->cfg->tls == CLIENT_TLS_MUST)
			fail_by_reply(c, r);
		else if (c->cfg->user.n && !c->done_auth)
			begin_auth(c, out);
		else
			c->state = AT_IDLE;
		return false;
	case AT_AUTH: reply_to_auth(c, r, last_line, out); return false;
	case AT_RSET:
		c->dirty = false;
		c->next_command = c->next_reply = 0;
		if (yes) {
			c->state = AT_ENVELOPE;
		} else {
			verdict_by_reply(c, r, CLIENT_AT_MAIL);
			c->close_after = true;
			c->state = AT_CLOSED;
		}
		return false;
	case AT_ENVELOPE: return envelope_reply(c, r, ev, out);
	case AT_DOT:
		c->dirty = false;
		verdict_by_reply(c, r, CLIENT_AT_DOT);
		end_transaction(c);
		return false;
	case AT_EMPTY_DOT:
		c->dirty = false;
		if (!c->have_verdict)
			verdict_by_reply(c, r, CLIENT_AT_DOT);
		end_transaction(c);
		return false;
	case AT_QUIT: c->state = AT_CLOSED; return false;
	case AT_BODY:
		/* An answer before the end of data: the remote gives up on it. Only hanging up keeps
		 * the two sides in step. */
		verdict_by_reply(c, r, CLIENT_AT_BODY);
		if (r->code / 100 == 2)
			own_words(&c->verdict, 0, "", S("a reply before the end of data"), CLIENT_AT_BODY);
		c->close_after = true;
		c->state = AT_CLOSED;
		return false;
	case AT_IDLE:
	case AT_SHAKE:
	case AT_FAILED:
	case AT_CLOSED: break;
	}
	return false;
}

/* Reports what is to be reported of the message. False: nothing is. */
static bool report(struct smtp_client *c, struct smtp_client_event *ev, enum smtp_client_want *ret)
{
	bool over = c->state == AT_IDLE || c->state == AT_CLOSED || c->state == AT_FAILED;

	if (!c->mail || !over)
		return false;
	if (c->state == AT_FAILED && !c->have_verdict)
		verdict(c, &c->failure);
	if (c->told < c->mail->n_rcpts && c->have_verdict && c->verdict.reply.code / 100 == 2) {
		/* RFC 9422: more than it takes at once; another transaction is for them. */
		own_words(ev, 0, "4.5.3", S("4.5.3 left for another transaction"), CLIENT_AT_RCPT);
		ev->rcpt = c->told++;
		*ret = CLIENT_RCPT;
		return true;
	}
	MUST(c->have_verdict);
	*ev = c->verdict;
	c->have_verdict = false;
	c->mail = NULL;
	*ret = CLIENT_DONE;
	return true;
}

/* Reads one reply as far as it is there. */
static enum smtp_client_want read_reply(struct smtp_client *c, struct slice *in, struct buf *out,
    struct smtp_client_event *ev, bool *progress)
{
	struct slice line;

	switch (reply_next(&c->reader, in, &line)) {
	case REPLY_MORE: return CLIENT_WANT_INPUT;
	case REPLY_LINE_READ:
		/* The first line of an EHLO reply is a greeting. */
		if (c->state == AT_EHLO && c->reader.lines > 1 && c->reader.reply.code == 250)
			learn(&c->caps, line);
		*progress = true;
		return CLIENT_WANT_INPUT;
	case REPLY_DONE:
		if (c->state == AT_EHLO && c->reader.lines > 1 && c->reader.reply.code == 250)
			learn(&c->caps, line);
		*progress = true;
		if (on_reply(c, line, out, ev)) {
			c->reader = (struct reply_reader){ 0 };
			return CLIENT_RCPT;
		}
		c->reader = (struct reply_reader){ 0 };
		return CLIENT_WANT_INPUT;
	case REPLY_BAD: break;
	}
	*progress = true;
	smtp_client_lost(c, S("the remote's reply is malformed"));
	return CLIENT_WANT_INPUT;
}

enum smtp_client_want smtp_client_step(struct smtp_client *c, struct slice *in, struct buf *out,
    struct smtp_client_event *ev)
{
	*ev = (struct smtp_client_event){ 0 };
	for (;;) {
		enum smtp_client_want want;
		bool progress = false;

		if (report(c, ev, &want))
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
		if (buf_left(out) < COMMAND_ROOM)
			return CLIENT_WANT_FLUSH;
		if (c->state == AT_SHAKE) {
			/* RFC 3207 6, and CVE-2021-38371: nothing may come between the 220 and TLS. */
			if (in->n) {
				fail(c, S("bytes behind the reply to STARTTLS"));
				continue;
			}
			return CLIENT_DO_STARTTLS;
		}
		if (c->state == AT_EHLO && c->tls && !c->greeted && !c->cfg->tls_up) {
			c->greeted = true;
			say_ehlo(c, out);
		}
		if (c->state == AT_RSET && c->next_command == UINT32_MAX) {
			buf_add(out, S("RSET\r\n"));
			c->next_command = 0;
		}
		if (c->state == AT_ENVELOPE)
			say_commands(c, out);
		if (c->state == AT_IDLE && !in->n)
			return CLIENT_READY;
		if (c->state == AT_IDLE) {
			/* RFC 5321 3.8: 421 may come unasked; anything else is out of step. */
			want = read_reply(c, in, out, ev, &progress);
			if (c->state == AT_IDLE && progress && !c->reader.more)
				fail(c, S("a reply nobody waited for"));
			if (!progress)
				return CLIENT_READY;
			continue;
		}
		if (c->state == AT_BODY && !in->n)
			return CLIENT_SEND_BODY;
		want = read_reply(c, in, out, ev, &progress);
		if (want == CLIENT_RCPT)
			return want;
		if (!progress)
			return c->state == AT_BODY ? CLIENT_SEND_BODY : CLIENT_WANT_INPUT;
	}
}
