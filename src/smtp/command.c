#include "smtp/session_impl.h"

static command_fn cmd_ehlo, cmd_helo, cmd_starttls, cmd_rset, cmd_noop, cmd_vrfy, cmd_help,
    cmd_quit, cmd_absent, cmd_http;

enum flag {
	NEED_HELO = 1,
	NEED_USER = 2,
	ALONE = 4, /* takes no argument: 501 */
	IDLE = 8,  /* does not advance mail by itself: command_max counts it */
};

/* The frequent ones first. */
// clang-format off
static const struct command {
	struct slice verb;
	unsigned flags;
	command_fn *run;
} commands[] = {
	{ S("RCPT"),     NEED_HELO | NEED_USER,        cmd_rcpt },
	{ S("MAIL"),     NEED_HELO | NEED_USER | IDLE, cmd_mail },
	{ S("DATA"),     NEED_HELO | NEED_USER,        cmd_data },
	{ S("BDAT"),     0,                            cmd_bdat },      /* checks behind its octets */
	{ S("RSET"),     ALONE | IDLE,                 cmd_rset },
	{ S("EHLO"),     IDLE,                         cmd_ehlo },
	{ S("HELO"),     IDLE,                         cmd_helo },
	{ S("AUTH"),     0,                            cmd_auth },
	{ S("STARTTLS"), NEED_HELO | IDLE,             cmd_starttls },
	{ S("NOOP"),     IDLE,                         cmd_noop },
	{ S("QUIT"),     ALONE,                        cmd_quit },
	{ S("VRFY"),     NEED_HELO | NEED_USER | IDLE, cmd_vrfy },
	{ S("HELP"),     IDLE,                         cmd_help },
	/* not on a submission server */
	{ S("EXPN"),     0,                            cmd_absent },
	{ S("ETRN"),     0,                            cmd_absent },
	{ S("TURN"),     0,                            cmd_absent },
	{ S("ATRN"),     0,                            cmd_absent },
	/* a browser that was talked into posting here (cross-protocol attacks) */
	{ S("GET"),      0,                            cmd_http },
	{ S("POST"),     0,                            cmd_http },
	{ S("PUT"),      0,                            cmd_http },
	{ S("HEAD"),     0,                            cmd_http },
	{ S("OPTIONS"),  0,                            cmd_http },
	{ S("DELETE"),   0,                            cmd_http },
	{ S("PATCH"),    0,                            cmd_http },
	{ S("CONNECT"),  0,                            cmd_http },
	{ S("TRACE"),    0,                            cmd_http },
	{ S("PRI"),      0,                            cmd_http },
	{ S("Host:"),    0,                            cmd_http },
};
// clang-format on

enum say login_needed(const struct smtp_session *s)
{
	bool offered = s->cfg->tls_available || s->cfg->tls_broken;

	return !s->tls && offered ? SAY_NEED_TLS : SAY_NEED_AUTH;
}

bool run_command(struct smtp_session *s, struct call *c, struct slice line)
{
	const struct command *cmd = commands, *end = commands + sizeof commands / sizeof *commands;
	struct slice verb, arg;

	slice_cut(line, ' ', &verb, &arg);
	while (cmd < end && !slice_ieq(verb, cmd->verb))
		cmd++;
	if (cmd == end)
		return refuse(s, c, SAY_UNKNOWN_COMMAND);
	if ((cmd->flags & IDLE) && s->cfg->command_max && ++s->commands > s->cfg->command_max) {
		close_saying(s, c->out, SAY_TOO_MANY_COMMANDS);
		return false;
	}
	if ((cmd->flags & NEED_HELO) && s->hello == HELLO_NONE)
		return refuse(s, c, SAY_NEED_HELO);
	if ((cmd->flags & NEED_USER) && !s->user)
		return refuse(s, c, login_needed(s));
	if ((cmd->flags & ALONE) && arg.n)
		return refuse(s, c, SAY_NO_ARGUMENT);
	return cmd->run(s, c, arg);
}

/* The name goes into the Received field, so nothing that means something else there. Whether it
 * is a domain is not asked: too many clients say something else, and RFC 5321 section 4.1.4
 * forbids to refuse mail for what it resolves to. */
static bool helo_name_ok(struct slice name)
{
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || name.p[i] > '~' || strchr("()<>@,;\\\"", name.p[i]))
			return false;
	return name.n > 0;
}

static bool hello(struct smtp_session *s, struct call *c, struct slice name, enum hello how)
{
	if (!helo_name_ok(name) || name.n > s->helo.max) {
		refuse(s, c, SAY_BAD_ARGUMENT);
		return false;
	}
	buf_clear(&s->helo);
	buf_add(&s->helo, name);
	if (s->helo.failed) {
		refuse(s, c, SAY_NO_MEMORY);
		return false;
	}
	/* RFC 5321 section 4.1.4: a second one clears the transaction; RFC 4954: not the identity.
	 */
	tx_end(s, false);
	s->hello = how;
	return true;
}

static bool cmd_helo(struct smtp_session *s, struct call *c, struct slice arg)
{
	if (!hello(s, c, arg, HELLO_HELO))
		return false;
	buf_add(c->out, S("250 "));
	buf_add(c->out, s->cfg->hostname);
	buf_add(c->out, S("\r\n"));
	return false;
}

/* RFC 9422: values of one to six digits, no zero in front. */
static void add_limit(struct buf *out, struct slice name, uint32_t value)
{
	buf_add(out, name);
	buf_addu(out, value > 999999 ? 999999 : value);
}

static void add_auth(const struct smtp_session *s, struct buf *out)
{
	if (!s->offered)
		return;
	buf_add(out, S("250-AUTH "));
	sasl_mech_list(out, s->offered);
	if (s->offered & SASL_PASSWORDS) {
		/* For clients older than RFC 2554. */
		buf_add(out, S("\r\n250-AUTH="));
		sasl_mech_list(out, s->offered & SASL_PASSWORDS);
	}
	buf_add(out, S("\r\n"));
}

static bool cmd_ehlo(struct smtp_session *s, struct call *c, struct slice arg)
{
	const struct smtp_config *cfg = s->cfg;
	struct buf *out = c->out;

	if (!hello(s, c, arg, HELLO_EHLO))
		return false;
	buf_add(out, S("250-"));
	buf_add(out, cfg->hostname);
	buf_add(out, S("\r\n250-PIPELINING\r\n250-SIZE "));
	buf_addu(out, cfg->message_max);
	buf_add(out, S("\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-DSN\r\n"));
	add_limit(out, S("250-LIMITS RCPTMAX="), cfg->rcpt_max);
	if (cfg->tx_max)
		add_limit(out, S(" MAILMAX="), cfg->tx_max);
	buf_add(out, S("\r\n"));
	if (!s->tls && (cfg->tls_available || cfg->tls_broken))
		buf_add(out, S("250-STARTTLS\r\n"));
	if (s->tls && !s->user)
		add_auth(s, out);
	buf_add(out, S("250 ENHANCEDSTATUSCODES\r\n"));
	return false;
}

/* RFC 3207. What stands behind the command in clear text must never be read inside TLS. */
static bool cmd_starttls(struct smtp_session *s, struct call *c, struct slice arg)
{
	if (c->in->n)
		return abuse(s, c, SAY_BEHIND_STARTTLS);
	if (arg.n)
		return refuse(s, c, SAY_NO_ARGUMENT);
	if (s->tls)
		return refuse(s, c, SAY_TLS_TWICE);
	if (s->cfg->tls_broken)
		return refuse(s, c, SAY_TLS_BROKEN);
	if (!s->cfg->tls_available)
		return refuse(s, c, SAY_NOT_IMPLEMENTED);
	say(c->out, SAY_TLS_READY);
	s->input = IN_TLS;
	return want(c, SMTP_DO_STARTTLS);
}

static bool cmd_rset(struct smtp_session *s, struct call *c, struct slice arg)
{
	(void)arg;
	tx_end(s, false);
	say(c->out, SAY_OK);
	return false;
}

static bool cmd_noop(struct smtp_session *s, struct call *c, struct slice arg)
{
	(void)s;
	(void)arg;
	say(c->out, SAY_OK);
	return false;
}

/* RFC 5321 section 3.5.3: 250 would claim that somebody looked. */
static bool cmd_vrfy(struct smtp_session *s, struct call *c, struct slice arg)
{
	if (!arg.n)
		return refuse(s, c, SAY_BAD_ARGUMENT);
	say(c->out, SAY_CANNOT_VERIFY);
	return false;
}

static bool cmd_help(struct smtp_session *s, struct call *c, struct slice arg)
{
	(void)s;
	(void)arg;
	say(c->out, SAY_HELP);
	return false;
}

static bool cmd_quit(struct smtp_session *s, struct call *c, struct slice arg)
{
	(void)arg;
	s->quit = true;
	close_saying(s, c->out, SAY_BYE);
	return false;
}

static bool cmd_absent(struct smtp_session *s, struct call *c, struct slice arg)
{
	(void)arg;
	return refuse(s, c, SAY_NOT_IMPLEMENTED);
}

static bool cmd_http(struct smtp_session *s, struct call *c, struct slice arg)
{
	(void)arg;
	return abuse(s, c, SAY_HTTP);
}
