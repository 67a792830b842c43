#include "smtp/session_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

// clang-format off
const struct model_cmd cmds[CMDS] = {
	[EHLO]            = { "EHLO", "EHLO c\r\n", 8 },
	[HELO]            = { "HELO", "HELO c\r\n", 1 },
	[EHLO_BAD]        = { "EHLO_BAD", "EHLO a b\r\n", 1 },
	[STARTTLS]        = { "STARTTLS", "STARTTLS\r\n", 6 },
	[STARTTLS_ARG]    = { "STARTTLS_ARG", "STARTTLS x\r\n", 1 },
	[STARTTLS_INJECT] = { "STARTTLS_INJECT", "STARTTLS\r\nMAIL FROM:<a@b.c>\r\n", 1 },
	[AUTH_GOOD]       = { "AUTH_GOOD", "AUTH PLAIN AHUAZ29vZA==\r\n", 12 },
	[AUTH_BAD]        = { "AUTH_BAD", "AUTH LOGIN dQ==\r\nYmFk\r\n", 1 },
	[AUTH_LATER]      = { "AUTH_LATER", "AUTH PLAIN AHUAbGF0ZXI=\r\n", 1 },
	[AUTH_CANCEL]     = { "AUTH_CANCEL", "AUTH PLAIN\r\n*\r\n", 1 },
	[AUTH_GARBLED]    = { "AUTH_GARBLED", "AUTH PLAIN AHU\r\n", 1 },
	[AUTH_UNKNOWN]    = { "AUTH_UNKNOWN", "AUTH X-NO\r\n", 1 },
	[AUTH_LONG]       = { "AUTH_LONG", "AUTH PLAIN \2\r\n", 1 },
	[STEP_GARBLED]    = { "STEP_GARBLED", "AUTH LOGIN\r\n!\r\n", 1 },
	[STEP_LONG]       = { "STEP_LONG", "AUTH PLAIN\r\n\2\r\n", 1 },
	[STEP_BARE]       = { "STEP_BARE", "AUTH PLAIN\r\nAA==\n", 1 },
	[MAIL_GOOD]       = { "MAIL_GOOD", "MAIL FROM:<a@b.c> SIZE=10\r\n", 16 },
	[MAIL_PLAIN]      = { "MAIL_PLAIN", "MAIL FROM:<a@b.c>\r\n", 3 },
	[MAIL_FULL]       = { "MAIL_FULL", "MAIL FROM:<full@b.c>\r\n", 1 },
	[MAIL_NO]         = { "MAIL_NO", "MAIL FROM:<no@b.c>\r\n", 1 },
	[MAIL_SYNTAX]     = { "MAIL_SYNTAX", "MAIL FROM:<a@b..c>\r\n", 1 },
	[MAIL_BIG]        = { "MAIL_BIG", "MAIL FROM:<a@b.c> SIZE=1001\r\n", 1 },
	[MAIL_UTF8]       = { "MAIL_UTF8", "MAIL FROM:<\xc3\xbc@b.c>\r\n", 1 },
	[MAIL_PARAM]      = { "MAIL_PARAM", "MAIL FROM:<a@b.c> X=1\r\n", 1 },
	[RCPT_GOOD]       = { "RCPT_GOOD", "RCPT TO:<a@b.c>\r\n", 20 },
	[RCPT_NO]         = { "RCPT_NO", "RCPT TO:<no@b.c>\r\n", 3 },
	[RCPT_SYNTAX]     = { "RCPT_SYNTAX", "RCPT TO:<>\r\n", 1 },
	[RCPT_PARAM]      = { "RCPT_PARAM", "RCPT TO:<a@b.c> X=1\r\n", 1 },
	[DATA_GOOD]       = { "DATA_GOOD", "DATA\r\n\fx\r\n..\r\n.\r\n", 6 },
	[DATA_REJECT]     = { "DATA_REJECT", "DATA\r\n\fREJECT\r\n.\r\n", 1 },
	[DATA_BARE]       = { "DATA_BARE", "DATA\r\n\fx\n.\r\nMAIL FROM:<e@b.c>\r\n.\r\n", 2 },
	[DATA_BIG]        = { "DATA_BIG", "DATA\r\n\f\1\r\n.\r\n", 1 },
	[DATA_LONG]       = { "DATA_LONG", "DATA\r\n\fx123456789x123456789x123456789x123456789x123456789x123456789x123456789x12345678\r\n.\r\n", 1 },
	[DATA_ARG]        = { "DATA_ARG", "DATA x\r\n", 1 },
	[DATA_INJECT]     = { "DATA_INJECT", "DATA\r\nx\r\n.\r\n", 1 },
	[BDAT_GOOD]       = { "BDAT_GOOD", "BDAT 6\r\nRSET\r\n", 8 },
	[BDAT_BARE]       = { "BDAT_BARE", "BDAT 7\r\nQUIT\n\r\n", 3 },
	[BDAT_BIG]        = { "BDAT_BIG", "BDAT 1001\r\n\1", 1 },
	[BDAT_LONG]       = { "BDAT_LONG", "BDAT 81\r\nx123456789x123456789x123456789x123456789x123456789x123456789x123456789x12345678\r\n", 1 },
	[BDAT_ZERO]       = { "BDAT_ZERO", "BDAT 0\r\n", 1 },
	[LAST_GOOD]       = { "LAST_GOOD", "BDAT 6 LAST\r\nQUIT\r\n", 6 },
	[LAST_REJECT]     = { "LAST_REJECT", "BDAT 6 LAST\r\nREJECT", 1 },
	[LAST_BARE]       = { "LAST_BARE", "BDAT 1 LAST\r\n\r", 2 },
	[LAST_ZERO]       = { "LAST_ZERO", "BDAT 0 LAST\r\n", 3 },
	[BDAT_GARBLED]    = { "BDAT_GARBLED", "BDAT 1x\r\n", 1 },
	[RSET]            = { "RSET", "RSET\r\n", 3 },
	[RSET_ARG]        = { "RSET_ARG", "RSET x\r\n", 1 },
	[NOOP]            = { "NOOP", "NOOP\r\n", 1 },
	[VRFY]            = { "VRFY", "VRFY a\r\n", 1 },
	[HELP]            = { "HELP", "HELP\r\n", 1 },
	[EXPN]            = { "EXPN", "EXPN a\r\n", 1 },
	[UNKNOWN]         = { "UNKNOWN", "XYZZY\r\n", 1 },
	[LONG_LINE]       = { "LONG_LINE", "NOOP \2\r\n", 1 },
	[BARE_LINE]       = { "BARE_LINE", "NOOP\n", 1 },
	[HTTP]            = { "HTTP", "GET / HTTP/1.1\r\n", 1 },
	[QUIT]            = { "QUIT", "QUIT\r\n", 1 },
};

#define CLEAR EHLO
#define TLS   EHLO, STARTTLS
#define USER  TLS, EHLO, AUTH_GOOD
#define OLD   USER, HELO        /* fell back to HELO */

const struct model_state states[STATES] = {
	{ "clear",                  { CMDS } },
	{ "clear, HELO",            { HELO, CMDS } },
	{ "clear, EHLO",            { CLEAR, CMDS } },
	{ "TLS",                    { TLS, CMDS } },
	{ "TLS, HELO",              { TLS, HELO, CMDS } },
	{ "TLS, EHLO",              { TLS, EHLO, CMDS } },
	{ "user",                   { USER, CMDS } },
	{ "user, sender",           { USER, MAIL_GOOD, CMDS } },
	{ "user, no valid rcpt",    { USER, MAIL_GOOD, RCPT_NO, CMDS } },
	{ "user, recipients",       { USER, MAIL_GOOD, RCPT_GOOD, CMDS } },
	{ "user, recipients, full", { USER, MAIL_FULL, RCPT_GOOD, CMDS } },
	{ "user, chunks",           { USER, MAIL_GOOD, RCPT_GOOD, BDAT_GOOD, CMDS } },
	{ "user, ruined",           { USER, MAIL_GOOD, RCPT_GOOD, BDAT_BARE, CMDS } },
	{ "user, ruined, full",     { USER, MAIL_FULL, RCPT_GOOD, BDAT_GOOD, CMDS } },
	{ "user, HELO",             { OLD, CMDS } },
	{ "user, HELO, sender",     { OLD, MAIL_PLAIN, CMDS } },
	{ "user, HELO, recipients", { OLD, MAIL_PLAIN, RCPT_GOOD, CMDS } },
	{ "user, HELO, chunks",     { OLD, MAIL_PLAIN, RCPT_GOOD, BDAT_GOOD, CMDS } },
	{ "user, HELO, ruined",     { OLD, MAIL_PLAIN, RCPT_GOOD, BDAT_LONG, CMDS } },
};
// clang-format on

void model_add(char *to, const char *what)
{
	size_t n = strlen(to);

	assert_true(n + strlen(what) + 2 < 64);
	snprintf(to + n, 64 - n, "%s ", what);
}

static void over(struct model *m, bool told)
{
	if (m->phase != IDLE && !told)
		model_add(m->events, "reset");
	m->phase = IDLE;
	m->accepted = m->size = 0;
	m->refused_one = m->full = false;
}

static void hang_up(struct model *m, const char *code)
{
	if (m->closed)
		return;
	model_add(m->codes, code);
	over(m, false);
	model_add(m->events, "close");
	m->closed = true;
}

static void wrong(struct model *m, const char *code)
{
	model_add(m->codes, code);
	if (++m->bad == m->cfg->bad_max)
		hang_up(m, "421");
}

static void failed_login(struct model *m)
{
	if (++m->failed_logins == m->cfg->auth_max)
		hang_up(m, "421");
}

static bool gated(struct model *m)
{
	if (m->hello && m->user)
		return false;
	wrong(m, m->hello ? "530" : "503");
	return true;
}

static bool counted(struct model *m)
{
	if (!m->cfg->command_max || ++m->idle <= m->cfg->command_max)
		return false;
	hang_up(m, "421");
	return true;
}

static void model_hello(struct model *m, int how, bool good)
{
	if (!good) {
		wrong(m, "501");
		return;
	}
	over(m, false);
	m->hello = how;
	model_add(m->codes, "250");
}

static void model_starttls(struct model *m, enum cmd c)
{
	if (!m->hello) {
		wrong(m, "503");
		if (c == STARTTLS_INJECT && !m->closed && !counted(m))
			gated(m); /* the MAIL behind it is a command like others */
	} else if (c == STARTTLS_INJECT) {
		model_add(m->codes, "554");
		hang_up(m, "421");
	} else if (c == STARTTLS_ARG) {
		wrong(m, "501");
	} else if (m->tls) {
		wrong(m, "503");
	} else {
		model_add(m->codes, "220");
		model_add(m->events, "tls");
		m->tls = true;
		m->hello = 0;
	}
}

static void model_auth(struct model *m, enum cmd c)
{
	if (c == AUTH_LONG) { /* seen before any rule */
		wrong(m, "500");
		return;
	}
	if (m->hello < 2 || m->user || !m->tls) {
		wrong(m, m->hello < 2 || m->user ? "503" : "538");
		/* The lines of the exchange that never began are unknown commands. */
		if ((c == AUTH_BAD || c == AUTH_CANCEL || c >= STEP_GARBLED) && !m->closed)
			wrong(m, "500");
		if (c == STEP_BARE)
			hang_up(m, "421");
		return;
	}
	if (c >= STEP_GARBLED) {
		model_add(m->codes, "334");
		if (c != STEP_BARE) {
			wrong(m, c == STEP_LONG ? "500" : "501");
			if (c == STEP_GARBLED)
				failed_login(m);
			return;
		}
		model_add(m->codes, "500");
		hang_up(m, "421");
		return;
	}
	switch ((int)c) {
	case AUTH_UNKNOWN: wrong(m, "504"); return;
	case AUTH_GARBLED:
		wrong(m, "501");
		failed_login(m);
		return;
	case AUTH_CANCEL:
		model_add(m->codes, "334");
		wrong(m, "501");
		return;
	case AUTH_BAD: model_add(m->codes, "334"); break;
	}
	model_add(m->events, "auth");
	model_add(m->codes, c == AUTH_GOOD ? "235" : c == AUTH_LATER ? "454" : "535");
	m->user = c == AUTH_GOOD;
	if (c == AUTH_BAD)
		failed_login(m);
}

static void model_mail(struct model *m, enum cmd c)
{
	if (gated(m))
		return;
	if (m->phase != IDLE) {
		wrong(m, "503");
		return;
	}
	if (m->cfg->tx_max && ++m->mails > m->cfg->tx_max) {
		hang_up(m, "421");
		return;
	}
	switch ((int)c) {
	case MAIL_SYNTAX: wrong(m, "501"); return;
	case MAIL_PARAM: wrong(m, "555"); return;
	case MAIL_UTF8: wrong(m, "553"); return;
	case MAIL_BIG:
		if (m->hello == 1)
			wrong(m, "555");
		else
			model_add(m->codes, "552");
		return;
	case MAIL_GOOD:
		if (m->hello == 1) { /* its SIZE is an extension's */
			wrong(m, "555");
			return;
		}
		break;
	}
	model_add(m->events, "mail");
	model_add(m->codes, c == MAIL_NO ? "550" : "250");
	if (c != MAIL_NO)
		m->phase = SENDER;
	m->full = c == MAIL_FULL;
}

static void model_rcpt(struct model *m, enum cmd c)
{
	if (gated(m))
		return;
	if (m->phase != SENDER && m->phase != RECIPIENTS) {
		wrong(m, "503");
	} else if (m->accepted == m->cfg->rcpt_max) {
		model_add(m->codes, "452");
	} else if (c == RCPT_SYNTAX || c == RCPT_PARAM) {
		m->refused_one = true;
		wrong(m, c == RCPT_SYNTAX ? "501" : "555");
	} else {
		model_add(m->events, "rcpt");
		model_add(m->codes, c == RCPT_NO ? "550" : "250");
		if (c == RCPT_NO) {
			m->refused_one = true;
		} else {
			m->accepted++;
			m->phase = RECIPIENTS;
		}
	}
}

static void accepted_message(struct model *m, bool yes)
{
	model_add(m->events, "commit");
	model_add(m->codes, yes ? "250" : "550");
	if (yes)
		m->idle = 0;
	over(m, true);
}

static void model_data(struct model *m, enum cmd c)
{
	if (gated(m)) {
		/* What stood behind it is two more commands; the gate is before the order. */
		for (int i = 0; c == DATA_INJECT && i < 2 && !m->closed; i++)
			wrong(m, "500");
		return;
	}
	if (c == DATA_INJECT) {
		model_add(m->codes, "554");
		hang_up(m, "421");
	} else if (c == DATA_ARG) {
		wrong(m, "501");
	} else if (m->phase != RECIPIENTS) {
		wrong(m, m->phase == SENDER && m->refused_one ? "554" : "503");
	} else {
		model_add(m->events, "body");
		if (m->full) {
			model_add(m->codes, "452");
			over(m, false);
			return;
		}
		model_add(m->codes, "354");
		if (c == DATA_GOOD || c == DATA_REJECT) {
			accepted_message(m, c == DATA_GOOD);
			return;
		}
		model_add(m->codes, c == DATA_BIG ? "552" : "554");
		over(m, false);
	}
}

static void model_chunk(struct model *m, enum cmd c)
{
	bool last = c >= LAST_GOOD, ruins = c == BDAT_BARE || c == BDAT_LONG || c == LAST_BARE;
	unsigned n = c == BDAT_BIG    ? 1001
		     : c == BDAT_BARE ? 7
		     : c == BDAT_LONG ? 81
		     : c == LAST_BARE ? 1
				      : 6;

	if (c == BDAT_ZERO && counted(m))
		return;
	if (c == BDAT_ZERO || c == LAST_ZERO)
		n = 0;
	if (gated(m))
		return;
	if (m->phase == IDLE || m->phase == SENDER) {
		wrong(m, m->phase == SENDER && m->refused_one ? "554" : "503");
		return;
	}
	if (m->phase == RECIPIENTS) {
		model_add(m->events, "body");
		m->phase = CHUNKS;
		if (m->full) {
			m->phase = RUINED;
			m->ruined_code = "452";
		}
	}
	if (m->phase == CHUNKS) {
		m->size += n;
		if (m->size > m->cfg->message_max || ruins) {
			m->phase = RUINED;
			m->ruined_code = m->size > m->cfg->message_max ? "552" : "554";
		}
	}
	if (m->phase == RUINED) {
		model_add(m->codes, m->ruined_code);
		if (last)
			over(m, false);
	} else if (last) {
		accepted_message(m, c != LAST_REJECT);
	} else {
		model_add(m->codes, "250");
	}
}

static void model_rest(struct model *m, enum cmd c)
{
	switch ((int)c) {
	case RSET:
		over(m, false);
		model_add(m->codes, "250");
		break;
	case RSET_ARG: wrong(m, "501"); break;
	case NOOP: model_add(m->codes, "250"); break;
	case HELP: model_add(m->codes, "214"); break;
	case EXPN: wrong(m, "502"); break;
	case UNKNOWN:
	case LONG_LINE: wrong(m, "500"); break;
	case VRFY:
		if (!gated(m))
			model_add(m->codes, "252");
		break;
	case QUIT: hang_up(m, "221"); break;
	case BARE_LINE:
		model_add(m->codes, "500");
		hang_up(m, "421");
		break;
	case BDAT_GARBLED:
		model_add(m->codes, "501");
		hang_up(m, "421");
		break;
	case HTTP:
		model_add(m->codes, "554");
		hang_up(m, "421");
		break;
	}
}

void model_run(struct model *m, enum cmd c)
{
	bool idle =
	    c <= STARTTLS_INJECT || (c >= MAIL_GOOD && c <= MAIL_PARAM) || (c >= RSET && c <= HELP);

	m->codes[0] = m->events[0] = '\0';
	if (idle && counted(m))
		return;
	if (c <= EHLO_BAD)
		model_hello(m, c == HELO ? 1 : 2, c != EHLO_BAD);
	else if (c <= STARTTLS_INJECT)
		model_starttls(m, c);
	else if (c <= STEP_BARE)
		model_auth(m, c);
	else if (c <= MAIL_PARAM)
		model_mail(m, c);
	else if (c <= RCPT_PARAM)
		model_rcpt(m, c);
	else if (c <= DATA_INJECT)
		model_data(m, c);
	else if (c <= LAST_ZERO)
		model_chunk(m, c);
	else
		model_rest(m, c);
}
