/* MAIL and RCPT (RFC 5321 sections 4.1.1.2 and 4.1.1.3, RFC 6409). */
#include "smtp/session_impl.h"

/* "FROM:" or "TO:" and the path; what follows stays in *arg. SP behind the colon is against the
 * grammar (RFC 5321 section 3.3), but old clients write it, and it means nothing else. */
static bool path_argument(struct slice *arg, struct slice prefix, struct slice *ret_path)
{
	if (!slice_istarts(*arg, prefix))
		return false;
	slice_take(arg, prefix.n);
	while (arg->n && arg->p[0] == ' ')
		slice_take(arg, 1);
	*ret_path = *arg;
	return arg->n && arg->p[0] == '<';
}

static enum say param_say(enum smtp_param_got got)
{
	switch (got) {
	case SMTP_PARAM_OK: break;
	case SMTP_PARAM_BAD: return SAY_BAD_PARAM;
	case SMTP_PARAM_UNKNOWN: return SAY_UNKNOWN_PARAM;
	}
	return SAY_NOTHING;
}

/* What is wrong with the argument of MAIL, or SAY_NOTHING. Works on the kept copy. */
static enum say mail_check(struct smtp_session *s)
{
	struct slice arg = buf_slice(&s->line), rest;
	enum say bad;

	if (!path_argument(&arg, S("FROM:"), &rest))
		return SAY_BAD_ARGUMENT;
	if (!smtp_path_parse(&rest, SMTP_REVERSE_PATH, &s->path))
		return SAY_BAD_SENDER;
	if (rest.n && s->hello != HELLO_EHLO) /* parameters are an extension's */
		return SAY_UNKNOWN_PARAM;
	bad = param_say(smtp_mail_params_parse(rest, &s->params.mail));
	if (bad != SAY_NOTHING)
		return bad;
	if (s->path.utf8 && !s->params.mail.smtputf8)
		return SAY_NEED_SMTPUTF8;
	if (!smtp_path_qualified(&s->path))
		return SAY_SENDER_NOT_FQDN;
	if (s->params.mail.size > s->cfg->message_max)
		return SAY_TOO_BIG;
	return SAY_NOTHING;
}

static enum say rcpt_check(struct smtp_session *s)
{
	struct slice arg = buf_slice(&s->line), rest;
	enum say bad;

	if (!path_argument(&arg, S("TO:"), &rest))
		return SAY_BAD_ARGUMENT;
	if (!smtp_path_parse(&rest, SMTP_FORWARD_PATH, &s->path))
		return SAY_BAD_RCPT;
	if (rest.n && s->hello != HELLO_EHLO)
		return SAY_UNKNOWN_PARAM;
	bad = param_say(smtp_rcpt_params_parse(rest, s->smtputf8, &s->params.rcpt));
	if (bad != SAY_NOTHING)
		return bad;
	if (s->path.utf8 && !s->smtputf8)
		return SAY_NEED_SMTPUTF8;
	if (!smtp_path_qualified(&s->path))
		return SAY_RCPT_NOT_FQDN;
	return SAY_NOTHING;
}

bool cmd_mail(struct smtp_session *s, struct call *c, struct slice arg)
{
	enum say bad;

	if (s->tx != TX_NONE)
		return refuse(s, c, SAY_MAIL_TWICE);
	/* RFC 9422 counts MAIL commands, whatever became of them. */
	if (s->cfg->tx_max && ++s->mails > s->cfg->tx_max) {
		close_saying(s, c->out, SAY_TOO_MANY_MESSAGES);
		return false;
	}
	if (!keep_line(s, arg))
		return refuse(s, c, SAY_NO_MEMORY);
	bad = mail_check(s);
	if (bad == SAY_TOO_BIG) {
		say(c->out, bad);
		return false;
	}
	if (bad != SAY_NOTHING)
		return refuse(s, c, bad);
	c->ev->path = &s->path;
	c->ev->mail = &s->params.mail;
	return ask(s, c, SMTP_ASK_MAIL);
}

bool cmd_rcpt(struct smtp_session *s, struct call *c, struct slice arg)
{
	enum say bad;

	switch (s->tx) {
	case TX_NONE: return refuse(s, c, SAY_NEED_MAIL);
	case TX_MAIL:
	case TX_RCPT: break;
	case TX_BDAT:
	case TX_SPOILED: return refuse(s, c, SAY_IN_BDAT);
	}
	if (s->rcpts >= s->cfg->rcpt_max) {
		/* Not an error: clients with many recipients send the rest another time. */
		say(c->out, SAY_TOO_MANY_RCPT);
		return false;
	}
	if (!keep_line(s, arg))
		return refuse(s, c, SAY_NO_MEMORY);
	bad = rcpt_check(s);
	if (bad != SAY_NOTHING) {
		s->rcpt_refused = true;
		return refuse(s, c, bad);
	}
	c->ev->path = &s->path;
	c->ev->rcpt = &s->params.rcpt;
	return ask(s, c, SMTP_ASK_RCPT);
}
