/* One message: what the remote must be able to take, the envelope, the content, the verdicts. */
#include "base/must.h"
#include "base/utf8.h"
#include "smtp/client_impl.h"

/* Longest path, ENVID and ORCPT that are sent; beyond, and with control bytes, none was ever
 * accepted by our own door. They keep a command under COMMAND_ROOM. */
#define PATH_SENT  1024
#define PARAM_SENT 512

static void verdict_by_reply(struct smtp_client *c, const struct reply *r,
			     enum smtp_client_phase phase)
{
	c->verdict = (struct smtp_client_event){ .reply = *r, .remote = true, .phase = phase };
	c->have_verdict = true;
}

static void own_verdict(struct smtp_client *c, int code, const char *enhanced, struct slice text,
			enum smtp_client_phase phase)
{
	client_own_words(&c->verdict, code, enhanced, text, phase);
	c->have_verdict = true;
}

/* The message's verdict is for the recipients, too, that were not tried. */
static void for_all(struct smtp_client *c)
{
	c->told = c->mail->n_rcpts;
}

static bool sendable(struct slice s, size_t max)
{
	return s.n <= max && !has_control(s);
}

static bool envelope_sendable(const struct smtp_client_mail *m)
{
	bool ok = sendable(m->reverse_path, PATH_SENT) && sendable(m->envid, PARAM_SENT);

	for (uint32_t i = 0; ok && i < m->n_rcpts; i++)
		ok = sendable(m->rcpts[i].path, PATH_SENT) &&
		     sendable(m->rcpts[i].orcpt, PARAM_SENT);
	return ok;
}

static bool needs_utf8(const struct smtp_client_mail *m)
{
	bool need = m->smtputf8 || !ascii_only(m->reverse_path);

	for (uint32_t i = 0; !need && i < m->n_rcpts; i++)
		need = !ascii_only(m->rcpts[i].path);
	return need;
}

/* What the remote cannot take is said before it is asked. False: the verdict is there. */
static bool fits(struct smtp_client *c)
{
	const struct smtp_client_mail *m = c->mail;

	if (!envelope_sendable(m))
		own_verdict(c, 554, "5.5.4", S("5.5.4 the envelope cannot be sent"),
			    CLIENT_AT_MAIL);
	else if (c->utf8 && !c->caps.smtputf8)
		own_verdict(c, 550, "5.6.7", S("5.6.7 the next hop does not support SMTPUTF8"),
			    CLIENT_AT_MAIL);
	else if (m->high && !c->caps.eightbit)
		own_verdict(c, 550, "5.6.3", S("5.6.3 the next hop does not support 8BITMIME"),
			    CLIENT_AT_MAIL);
	else if (c->caps.size && m->size > c->caps.size)
		own_verdict(c, 552, "5.3.4",
			    S("5.3.4 the message is larger than the next hop takes"),
			    CLIENT_AT_MAIL);
	else
		return true;
	for_all(c);
	return false;
}

void smtp_client_send(struct smtp_client *c, const struct smtp_client_mail *m)
{
	uint32_t max = c->caps.rcpt_max;

	MUST(c->state == AT_IDLE && !c->mail && m->n_rcpts);
	c->mail = m;
	c->n_try = max && max < m->n_rcpts ? max : m->n_rcpts;
	c->told = c->n_try;
	c->next_command = c->next_reply = c->accepted = 0;
	c->mail_refused = c->have_verdict = c->held_cr = false;
	c->lines = (struct lines){ 0 };
	c->utf8 = needs_utf8(m);
	if (fits(c))
		c->state = c->dirty ? AT_RSET_DUE : AT_ENVELOPE;
}

/* -- the envelope -- */

static void say_mail(struct smtp_client *c, struct buf *out)
{
	const struct smtp_client_mail *m = c->mail;

	buf_add(out, S("MAIL FROM:<"));
	buf_add(out, m->reverse_path);
	buf_addc(out, '>');
	if (c->caps.size_said) {
		buf_add(out, S(" SIZE="));
		buf_addu(out, m->size);
	}
	if (c->caps.eightbit && (m->body_8bit || m->high))
		buf_add(out, S(" BODY=8BITMIME"));
	if (c->utf8)
		buf_add(out, S(" SMTPUTF8"));
	if (c->caps.dsn && m->ret != SMTP_RET_UNSAID)
		buf_add(out, m->ret == SMTP_RET_FULL ? S(" RET=FULL") : S(" RET=HDRS"));
	if (c->caps.dsn && m->envid.n) {
		buf_add(out, S(" ENVID="));
		buf_add(out, m->envid);
	}
	buf_add(out, S("\r\n"));
	c->mails++;
}

static void say_notify(unsigned notify, struct buf *out)
{
	static const struct {
		unsigned bit;
		struct slice name;
	} names[] = {
		{ SMTP_NOTIFY_NEVER, S("NEVER") },
		{ SMTP_NOTIFY_SUCCESS, S("SUCCESS") },
		{ SMTP_NOTIFY_FAILURE, S("FAILURE") },
		{ SMTP_NOTIFY_DELAY, S("DELAY") },
	};
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

/* Is there a command to be said, and now? With PIPELINING up to a window of them, DATA last; else
 * one for each reply. No DATA when it is known that nobody is left to get it. */
static bool may_say(const struct smtp_client *c)
{
	uint32_t unanswered = c->next_command - c->next_reply;

	if (unanswered >= (c->caps.pipelining ? WINDOW : 1) || c->mail_refused)
		return false;
	if (c->next_command == c->n_try + 1)
		return c->accepted || unanswered;
	return c->next_command <= c->n_try;
}

bool client_say_envelope(struct smtp_client *c, struct buf *out)
{
	while (may_say(c)) {
		/* RFC 2920 3.1: replies on their way are read first, else each side could wait for
		 * the other to make room. */
		if (buf_left(out) < COMMAND_ROOM + DOT_ROOM)
			return c->next_reply < c->next_command && buf_left(out) >= DOT_ROOM;
		if (c->next_command == 0)
			say_mail(c, out);
		else if (c->next_command <= c->n_try)
			say_rcpt(c, &c->mail->rcpts[c->next_command - 1], out);
		else
			buf_add(out, S("DATA\r\n"));
		c->next_command++;
	}
	return buf_left(out) >= DOT_ROOM;
}

static void mail_reply(struct smtp_client *c, const struct reply *r)
{
	if (r->code / 100 == 2) {
		c->dirty = true;
		return;
	}
	c->mail_refused = true;
	verdict_by_reply(c, r, CLIENT_AT_MAIL);
	for_all(c);
}

/* RFC 5321 4.5.3.1.10: the remote has enough recipients, which says nothing of this one. (RFC 821
 * had 552 for it.) A mailbox that is full is something else: X.2.2. */
static bool too_many(const struct smtp_client *c, const struct reply *r)
{
	struct slice detail = slice_from(slice_str(r->enhanced), 1);

	if (!c->accepted || (r->code != 452 && r->code != 552))
		return false;
	return !detail.n || slice_eq(detail, S(".5.3")) ||
	       (r->code == 452 && slice_eq(detail, S(".3.1")));
}

static bool rcpt_reply(struct smtp_client *c, uint32_t which, const struct reply *r,
		       struct smtp_client_event *ev)
{
	if (c->mail_refused) /* nothing counts any more, not even a yes */
		return false;
	if (r->code / 100 == 2) {
		c->accepted++;
		return false;
	}
	*ev = (struct smtp_client_event){
		.rcpt = which, .reply = *r, .remote = true, .phase = CLIENT_AT_RCPT
	};
	if (too_many(c, r)) {
		ev->reply.code = 452;
		if (ev->reply.enhanced[0])
			ev->reply.enhanced[0] = '4';
		/* Those not yet named wait for another transaction. */
		if (c->next_command <= c->n_try)
			c->n_try = c->told = c->next_command - 1;
	}
	/* Should all be refused so, DONE says the last one's words. */
	if (!c->accepted) {
		c->verdict = *ev;
		c->have_verdict = true;
	} else {
		c->have_verdict = false;
	}
	return true;
}

static void data_reply(struct smtp_client *c, const struct reply *r, struct buf *out)
{
	if (r->code == 354 && c->accepted) {
		c->have_verdict = false;
		c->state = AT_BODY;
	} else if (r->code == 354) {
		/* RFC 2920 3.1: it must be given something, and that is nothing. */
		buf_add(out, S(".\r\n"));
		c->state = AT_EMPTY_DOT;
	} else {
		if (!c->have_verdict || (c->accepted && !c->mail_refused))
			verdict_by_reply(c, r, CLIENT_AT_DATA);
		c->state = AT_IDLE;
	}
}

bool client_envelope_reply(struct smtp_client *c, const struct reply *r, struct buf *out,
			   struct smtp_client_event *ev)
{
	uint32_t which = c->next_reply;
	int class = r->code / 100;
	bool told = false;

	/* 3yz is for DATA alone, and DATA has no 2yz: believing one would lose the message. */
	if (which <= c->n_try ? class == 3 : class == 2 || (class == 3 && r->code != 354)) {
		client_fail(c, S("a reply that does not fit the command"));
		return false;
	}
	c->next_reply++;
	if (which == 0)
		mail_reply(c, r);
	else if (which <= c->n_try)
		told = rcpt_reply(c, which - 1, r, ev);
	else
		data_reply(c, r, out);
	if (c->state == AT_ENVELOPE && c->next_reply == c->next_command && !may_say(c))
		c->state = AT_IDLE;
	return told;
}

/* -- the content -- */

/* A dot before each dot that opens a line; the rest in runs as long as can be. */
static void stuff(struct smtp_client *c, struct slice run, struct buf *out)
{
	size_t from = 0, at = 0;

	if (c->held_cr)
		buf_addc(out, '\r');
	while (at < run.n) {
		if (run.p[at] == '.' && !c->lines.mid) {
			buf_add(out, slice(run.p + from, at - from));
			buf_addc(out, '.');
			from = at;
		}
		at += lines_one(&c->lines, run.p + at, run.n - at);
	}
	c->held_cr = c->lines.cr;
	buf_add(out, slice(run.p + from, run.n - from - c->held_cr));
}

bool smtp_client_body(struct smtp_client *c, struct slice run, bool last, struct buf *out)
{
	size_t before = out->n;

	MUST(c->state == AT_BODY);
	if (run.n) {
		c->lines.malformed |= memchr(run.p, '\0', run.n) != NULL;
		stuff(c, run, out);
	}
	if (last && !c->held_cr)
		buf_add(out, c->lines.mid ? S("\r\n.\r\n") : S(".\r\n"));
	if (c->lines.malformed || (last && c->held_cr)) {
		/* Without its end of data the remote drops what it has. The content will not be
		 * better next time. */
		out->n = before;
		own_verdict(c, 554, "5.6.0", S("5.6.0 the content holds a bare CR or LF, or a NUL"),
			    CLIENT_AT_BODY);
		c->state = AT_CLOSED;
		return false;
	}
	if (out->failed) {
		smtp_client_lost(c, S("out of memory"));
		return false;
	}
	if (last)
		c->state = AT_DOT;
	return true;
}

/* An answer before the end of data: the remote gives up on it, or is out of step. */
void client_body_reply(struct smtp_client *c, const struct reply *r)
{
	if (r->code / 100 == 4 || r->code / 100 == 5)
		verdict_by_reply(c, r, CLIENT_AT_BODY);
	else
		own_verdict(c, 0, "", S("a reply before the end of data"), CLIENT_AT_BODY);
	c->state = AT_CLOSED;
}

void client_dot_reply(struct smtp_client *c, const struct reply *r)
{
	if (r->code / 100 == 3) {
		smtp_client_lost(c, S("a reply that does not fit the end of data"));
		return;
	}
	c->dirty = false;
	verdict_by_reply(c, r, CLIENT_AT_DOT);
	c->state = AT_IDLE;
}

void client_empty_dot_reply(struct smtp_client *c)
{
	/* Whatever it says: every recipient was refused, and why was told. */
	c->dirty = false;
	c->state = AT_IDLE;
}

/* -- verdicts -- */

void client_closing_reply(struct smtp_client *c, const struct reply *r)
{
	/* A refusal of MAIL stands. One of a recipient was told and is no word on the others. */
	if (!c->mail_refused)
		verdict_by_reply(c, r, smtp_client_phase(c));
	for_all(c);
	c->state = AT_CLOSED;
}

bool client_report(struct smtp_client *c, struct smtp_client_event *ev, enum smtp_client_want *ret)
{
	bool over = c->state == AT_IDLE || c->state == AT_QUIT || c->state == AT_CLOSED ||
		    c->state == AT_FAILED;

	if (!c->mail || !over)
		return false;
	if (c->told < c->mail->n_rcpts) {
		/* More than it takes at once (RFC 9422, or 452): another transaction is for them.
		 */
		client_own_words(ev, 0, "4.5.3", S("4.5.3 left for another transaction"),
				 CLIENT_AT_RCPT);
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
