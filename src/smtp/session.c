#include "smtp/session.h"

#include "base/must.h"
#include "smtp/session_impl.h"

#include <stdlib.h>

#define HELO_MAX 255

struct smtp_session *smtp_session_new(const struct smtp_config *cfg)
{
	struct smtp_session *s = calloc(1, sizeof *s);

	MUST(cfg->hostname.n && cfg->hostname.n <= HELO_MAX && cfg->message_max && cfg->rcpt_max);
	MUST(cfg->line_max && cfg->auth_line_max >= cfg->line_max);
	if (!s)
		return NULL;
	s->cfg = cfg;
	s->asked = SMTP_WANT_INPUT;
	s->tls = cfg->implicit_tls;
	s->offered = sasl_without(cfg->mechanisms, SASL_BINDS | SASL_CERTIFICATE);
	buf_init(&s->line, cfg->line_max > SAY_ROOM ? cfg->line_max : SAY_ROOM);
	buf_init(&s->helo, HELO_MAX);
	return s;
}

void smtp_session_free(struct smtp_session *s)
{
	if (!s)
		return;
	auth_end(s);
	buf_done(&s->line);
	buf_done(&s->helo);
	free(s);
}

bool want(struct call *c, enum smtp_want what)
{
	c->want = what;
	return true;
}

bool ask(struct smtp_session *s, struct call *c, enum smtp_want question)
{
	s->asked = question;
	if (++s->question == 0)
		s->question = 1;
	c->ev->question = s->question;
	return want(c, question);
}

void close_saying(struct smtp_session *s, struct buf *out, enum say what)
{
	if (s->input == IN_CLOSING)
		return;
	say(out, what);
	s->input = IN_CLOSING;
}

bool refuse(struct smtp_session *s, struct call *c, enum say what)
{
	say(c->out, what);
	if (++s->bad == s->cfg->bad_max)
		close_saying(s, c->out, SAY_TOO_MANY_ERRORS);
	return false;
}

bool abuse(struct smtp_session *s, struct call *c, enum say what)
{
	say(c->out, what);
	close_saying(s, c->out, SAY_CLOSING);
	return false;
}

void tx_end(struct smtp_session *s, bool settled)
{
	s->drop |= s->tx != TX_NONE && !settled;
	s->tx = TX_NONE;
	s->rcpts = 0;
	s->rcpt_refused = s->smtputf8 = s->last = false;
	s->why = SAY_NOTHING;
	s->size = 0;
	s->dot = (struct dot){ 0 };
}

bool keep_line(struct smtp_session *s, struct slice arg)
{
	buf_clear(&s->line);
	buf_add(&s->line, arg);
	return !s->line.failed;
}

/* -- input, one function per mode ---------------------------------------------------------- */

enum got_line { LINE_MORE, LINE_WHOLE, LINE_BARE, LINE_LONG };

/* Only CRLF ends a line; the line is returned without it. A lone CR or LF or a NUL inside is
 * LINE_BARE. *in is untouched on MORE and LONG. */
static enum got_line take_line(struct slice *in, size_t max, struct slice *ret)
{
	const char *lf = in->n ? memchr(in->p, '\n', in->n) : NULL;
	size_t n = lf ? (size_t)(lf - in->p) + 1 : in->n;
	struct slice line;

	if (n > max)
		return LINE_LONG;
	if (!lf)
		return LINE_MORE;
	line = slice_take(in, n);
	if (n < 2 || memchr(line.p, '\r', n - 1) != line.p + n - 2 || memchr(line.p, '\0', n - 2))
		return LINE_BARE;
	*ret = slice(line.p, n - 2);
	return LINE_WHOLE;
}

static bool skip_line(struct smtp_session *s, enum say why)
{
	s->input = IN_LONG_LINE;
	s->skipped_cr = false;
	s->long_line = why;
	return false;
}

static bool step_line(struct smtp_session *s, struct call *c)
{
	bool auth = slice_istarts(*c->in, S("AUTH "));
	struct slice line;

	switch (take_line(c->in, auth ? s->cfg->auth_line_max : s->cfg->line_max, &line)) {
	case LINE_MORE: return want(c, SMTP_WANT_INPUT);
	case LINE_BARE: return abuse(s, c, SAY_BARE_LINE_END);
	case LINE_LONG: return skip_line(s, auth ? SAY_LONG_AUTH : SAY_LONG_LINE);
	case LINE_WHOLE: break;
	}
	/* RFC 5321 section 4.1.1: blanks before the CRLF are tolerated. */
	while (line.n && (line.p[line.n - 1] == ' ' || line.p[line.n - 1] == '\t'))
		line.n--;
	return run_command(s, c, line);
}

static bool step_auth(struct smtp_session *s, struct call *c)
{
	struct slice line;

	switch (take_line(c->in, s->cfg->auth_line_max, &line)) {
	case LINE_MORE: return want(c, SMTP_WANT_INPUT);
	case LINE_BARE: return abuse(s, c, SAY_BARE_LINE_END);
	case LINE_LONG:
		/* What it says to the error changes nothing: that login has failed, and counts. */
		if (s->sasl->verdict == SASL_SAID_NO)
			count_failure(s, c->out);
		auth_end(s);
		return s->input != IN_CLOSING && skip_line(s, SAY_LONG_AUTH);
	case LINE_WHOLE: break;
	}
	return auth_response(s, c, line);
}

/* Up to the LF, with one reply then; where that is a lone LF, commands may hide behind it. */
static bool step_long_line(struct smtp_session *s, struct call *c)
{
	const char *lf = c->in->n ? memchr(c->in->p, '\n', c->in->n) : NULL;
	struct slice skipped = slice_take(c->in, lf ? (size_t)(lf - c->in->p) + 1 : c->in->n);
	bool cr;

	if (!skipped.n)
		return want(c, SMTP_WANT_INPUT);
	if (!lf) {
		s->skipped_cr = skipped.p[skipped.n - 1] == '\r';
		return false;
	}
	cr = skipped.n > 1 ? skipped.p[skipped.n - 2] == '\r' : s->skipped_cr;
	s->input = IN_LINE;
	return cr ? refuse(s, c, s->long_line) : abuse(s, c, SAY_BARE_LINE_END);
}

static bool step_greeting(struct smtp_session *s, struct call *c)
{
	buf_add(c->out, S("220 "));
	buf_add(c->out, s->cfg->hostname);
	buf_add(c->out, S(" ESMTP service ready\r\n"));
	s->input = IN_LINE;
	return false;
}

static bool step_closing(struct smtp_session *s, struct call *c)
{
	slice_take(c->in, c->in->n);
	auth_end(s);
	tx_end(s, false);
	if (s->drop)
		return false;
	/* A client that reads nothing does not get to read this, either. */
	if (s->last_words != SAY_NOTHING && !c->out->failed && buf_left(c->out) >= SAY_ROOM)
		say(c->out, s->last_words);
	s->last_words = SAY_NOTHING;
	return want(c, SMTP_DO_CLOSE);
}

static bool between_transactions(const struct smtp_session *s)
{
	switch (s->input) {
	case IN_GREETING:
	case IN_LINE:
	case IN_LONG_LINE:
	case IN_AUTH: return s->tx == TX_NONE;
	case IN_DATA:
	case IN_BDAT:
	case IN_TLS:
	case IN_CLOSING: break;
	}
	return false;
}

static bool step_once(struct smtp_session *s, struct call *c)
{
	if (s->asked != SMTP_WANT_INPUT)
		return want(c, SMTP_WANT_ANSWER);
	if (s->drop) {
		s->drop = false;
		return want(c, SMTP_GOT_RESET);
	}
	if (c->out->failed) /* replies were lost, so nothing after them can be right */
		s->input = IN_CLOSING;
	else if (s->input != IN_CLOSING && buf_left(c->out) < SAY_ROOM)
		return want(c, SMTP_WANT_FLUSH);
	if (s->stopping && between_transactions(s))
		close_saying(s, c->out, SAY_SHUTDOWN);

	switch (s->input) {
	case IN_GREETING: return step_greeting(s, c);
	case IN_LINE: return step_line(s, c);
	case IN_LONG_LINE: return step_long_line(s, c);
	case IN_AUTH: return step_auth(s, c);
	case IN_DATA: return step_data(s, c);
	case IN_BDAT: return step_bdat(s, c);
	case IN_CLOSING: return step_closing(s, c);
	case IN_TLS: break;
	}
	MUST(s->input != IN_TLS); /* no step during the handshake */
	return false;
}

enum smtp_want smtp_session_step(struct smtp_session *s, struct slice *in, struct buf *out,
				 struct smtp_event *ev)
{
	struct call c = { in, out, ev, SMTP_WANT_INPUT };

	MUST(out->max >= SMTP_OUT_MIN);
	*ev = (struct smtp_event){ 0 };
	while (!step_once(s, &c))
		;
	return c.want;
}

/* -- answers ------------------------------------------------------------------------------- */

static void answer_body(struct smtp_session *s, const struct smtp_answer *a, struct buf *out)
{
	bool yes = a->code < 400;

	if (s->input == IN_DATA || a->close || a->code == 421) {
		say_text(out, a->code, a->enh, a->text);
		if (!yes && s->input == IN_DATA) {
			s->input = IN_LINE;
			tx_end(s, false);
		}
	} else if (!yes) {
		/* The octets of the chunk come all the same; the reply stands behind them. */
		buf_clear(&s->line);
		say_text(&s->line, a->code, a->enh, a->text);
		s->why = s->line.failed ? SAY_NO_MEMORY : SAY_KEPT;
	}
}

bool smtp_session_answer(struct smtp_session *s, uint32_t question, const struct smtp_answer *a,
			 struct buf *out)
{
	enum smtp_want asked = s->asked;
	bool yes = a->code < 400;

	if (asked == SMTP_WANT_INPUT || question != s->question)
		return false;
	MUST(a->code >= (asked == SMTP_ASK_SASL ? 400 : 200) && a->code < 600);
	/* RFC 2034: a 3xx has none, every other reply has one of its class. */
	MUST(a->code / 100 == 3 ? !a->enh || !*a->enh : a->enh && a->enh[0] == '0' + a->code / 100);
	s->asked = SMTP_WANT_INPUT;
	if (asked != SMTP_ASK_BODY && asked != SMTP_ASK_AUTH)
		say_text(out, a->code, a->enh, a->text);

	switch (asked) {
	case SMTP_ASK_SASL: auth_end(s); break;
	case SMTP_ASK_AUTH: answer_auth(s, a, out); break;
	case SMTP_ASK_MAIL:
		if (yes) {
			s->tx = TX_MAIL;
			s->smtputf8 = s->params.mail.smtputf8;
		}
		break;
	case SMTP_ASK_RCPT:
		if (yes) {
			s->tx = TX_RCPT;
			s->rcpts++;
		} else {
			s->rcpt_refused = true;
		}
		break;
	case SMTP_ASK_BODY: answer_body(s, a, out); break;
	case SMTP_ASK_COMMIT:
		if (yes)
			s->commands = 0;
		tx_end(s, true);
		break;
	case SMTP_WANT_INPUT:
	case SMTP_WANT_FLUSH:
	case SMTP_WANT_ANSWER:
	case SMTP_GOT_BODY:
	case SMTP_GOT_RESET:
	case SMTP_DO_STARTTLS:
	case SMTP_DO_CLOSE: break; /* ask() never asks these */
	}
	if (a->code == 421)
		s->input = IN_CLOSING;
	else if (a->close)
		close_saying(s, out, SAY_CLOSING);
	return true;
}

/* -- what happens to the session from outside ---------------------------------------------- */

void smtp_session_tls_up(struct smtp_session *s)
{
	MUST(s->input == IN_TLS);
	/* RFC 3207 section 4.2: what was said in the clear never happened. */
	tx_end(s, false);
	s->hello = HELLO_NONE;
	s->user = false;
	buf_clear(&s->helo);
	buf_clear(&s->line);
	s->tls = true;
	s->input = IN_LINE;
}

void smtp_session_peer(struct smtp_session *s, const struct smtp_peer *peer)
{
	s->offered =
	    sasl_without(s->cfg->mechanisms, (peer->binds ? 0u : SASL_BINDS) |
						 (peer->certificate ? 0u : SASL_CERTIFICATE));
}

uint32_t smtp_session_offer(const struct smtp_session *s)
{
	return s->offered;
}

void smtp_session_eof(struct smtp_session *s)
{
	s->asked = SMTP_WANT_INPUT;
	s->input = IN_CLOSING;
}

void smtp_session_expire(struct smtp_session *s)
{
	if (s->input != IN_CLOSING && s->input != IN_TLS)
		s->last_words = SAY_TIMEOUT;
	smtp_session_eof(s);
}

void smtp_session_shutdown(struct smtp_session *s, bool now)
{
	s->stopping = true;
	if (!now)
		return;
	if (s->input != IN_CLOSING && s->input != IN_TLS)
		s->last_words = SAY_SHUTDOWN;
	smtp_session_eof(s);
}

void smtp_session_shrink(struct smtp_session *s)
{
	if (s->asked == SMTP_WANT_INPUT && s->why != SAY_KEPT && !s->sasl)
		buf_done(&s->line);
}

enum smtp_clock smtp_session_clock(const struct smtp_session *s)
{
	if (s->asked != SMTP_WANT_INPUT || s->input == IN_CLOSING)
		return SMTP_CLOCK_NONE;
	if (s->input == IN_DATA || s->input == IN_BDAT)
		return SMTP_CLOCK_BODY;
	return s->user ? SMTP_CLOCK_COMMAND : SMTP_CLOCK_LOGIN;
}

uint64_t smtp_session_content(const struct smtp_session *s)
{
	return s->content;
}

struct slice smtp_session_helo(const struct smtp_session *s)
{
	return buf_slice(&s->helo);
}

bool smtp_session_is_esmtp(const struct smtp_session *s)
{
	return s->hello == HELLO_EHLO;
}

bool smtp_session_tls(const struct smtp_session *s)
{
	return s->tls;
}

bool smtp_session_user(const struct smtp_session *s)
{
	return s->user;
}

bool smtp_session_quit(const struct smtp_session *s)
{
	return s->quit;
}

bool smtp_session_in_tx(const struct smtp_session *s)
{
	return s->tx != TX_NONE;
}
