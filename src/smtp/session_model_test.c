/* The session against a small model of what RFC 5321, 3207, 4954 and 3030 allow: random commands,
 * and after each the replies, the questions and the ends of transactions must be the model's. The
 * model is written from the rules, command by command, and shares nothing with the session. The
 * rig asserts besides that no question comes before those it rests on were answered yes. */
#include "smtp/session_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

int run_session_model_tests(void);

#define SESSIONS 4000
#define STEPS    40

// clang-format off
enum cmd {
	EHLO, HELO, EHLO_BAD, STARTTLS, STARTTLS_ARG, STARTTLS_INJECT,
	AUTH_GOOD, AUTH_BAD, AUTH_LATER, AUTH_CANCEL, AUTH_GARBLED, AUTH_UNKNOWN, AUTH_LONG,
	MAIL_GOOD, MAIL_FULL, MAIL_NO, MAIL_SYNTAX, MAIL_BIG, MAIL_UTF8, MAIL_PARAM,
	RCPT_GOOD, RCPT_NO, RCPT_SYNTAX, RCPT_PARAM,
	DATA_GOOD, DATA_REJECT, DATA_BARE, DATA_BIG, DATA_LONG, DATA_ARG, DATA_INJECT,
	BDAT_GOOD, BDAT_BARE, BDAT_BIG, BDAT_LONG, BDAT_ZERO,
	LAST_GOOD, LAST_REJECT, LAST_BARE, LAST_ZERO, BDAT_GARBLED,
	RSET, RSET_ARG, NOOP, VRFY, HELP, EXPN, UNKNOWN, LONG_LINE, BARE_LINE, HTTP, QUIT,
	CMDS
};

/* \f: content follows if 354 came; \1: 1001 octets of lines; \2: 13000 octets without a line end */
static const struct {
	const char *name, *line;
	unsigned weight;
} cmds[CMDS] = {
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
	[MAIL_GOOD]       = { "MAIL_GOOD", "MAIL FROM:<a@b.c> SIZE=10\r\n", 16 },
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
// clang-format on

/* -- the model ------------------------------------------------------------------------------- */

enum phase { IDLE, SENDER, RECIPIENTS, CHUNKS, RUINED };

struct model {
	const struct smtp_config *cfg;
	int hello; /* 0, 1 HELO, 2 EHLO */
	bool tls, user, closed, full, refused_one;
	enum phase phase;
	unsigned accepted, bad, idle, failed_logins, mails;
	unsigned size;           /* of the chunks so far */
	const char *ruined_code; /* the code every further chunk gets */
	/* what is expected of this command */
	char codes[64], events[64];
};

static void add(char *to, const char *what)
{
	size_t n = strlen(to);

	assert_true(n + strlen(what) + 2 < 64);
	snprintf(to + n, 64 - n, "%s ", what);
}

static void over(struct model *m, bool told)
{
	if (m->phase != IDLE && !told)
		add(m->events, "reset");
	m->phase = IDLE;
	m->accepted = m->size = 0;
	m->refused_one = m->full = false;
}

static void hang_up(struct model *m, const char *code)
{
	if (m->closed)
		return;
	add(m->codes, code);
	over(m, false);
	add(m->events, "close");
	m->closed = true;
}

static void wrong(struct model *m, const char *code)
{
	add(m->codes, code);
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
	add(m->codes, "250");
}

static void model_starttls(struct model *m, enum cmd c)
{
	if (!m->hello) {
		wrong(m, "503");
		if (c == STARTTLS_INJECT && !m->closed && !counted(m))
			gated(m); /* the MAIL behind it is a command like others */
	} else if (c == STARTTLS_INJECT) {
		add(m->codes, "554");
		hang_up(m, "421");
	} else if (c == STARTTLS_ARG) {
		wrong(m, "501");
	} else if (m->tls) {
		wrong(m, "503");
	} else {
		add(m->codes, "220");
		add(m->events, "tls");
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
		if ((c == AUTH_BAD || c == AUTH_CANCEL) && !m->closed)
			wrong(m, "500");
		return;
	}
	switch ((int)c) {
	case AUTH_UNKNOWN: wrong(m, "504"); return;
	case AUTH_GARBLED:
		wrong(m, "501");
		failed_login(m);
		return;
	case AUTH_CANCEL:
		add(m->codes, "334");
		wrong(m, "501");
		return;
	case AUTH_BAD: add(m->codes, "334"); break;
	}
	add(m->events, "auth");
	add(m->codes, c == AUTH_GOOD ? "235" : c == AUTH_LATER ? "454" : "535");
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
			add(m->codes, "552");
		return;
	case MAIL_GOOD:
		if (m->hello == 1) { /* its SIZE is an extension's */
			wrong(m, "555");
			return;
		}
		break;
	}
	add(m->events, "mail");
	add(m->codes, c == MAIL_NO ? "550" : "250");
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
		add(m->codes, "452");
	} else if (c == RCPT_SYNTAX || c == RCPT_PARAM) {
		m->refused_one = true;
		wrong(m, c == RCPT_SYNTAX ? "501" : "555");
	} else {
		add(m->events, "rcpt");
		add(m->codes, c == RCPT_NO ? "550" : "250");
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
	add(m->events, "commit");
	add(m->codes, yes ? "250" : "550");
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
		add(m->codes, "554");
		hang_up(m, "421");
	} else if (c == DATA_ARG) {
		wrong(m, "501");
	} else if (m->phase != RECIPIENTS) {
		wrong(m, m->phase == SENDER && m->refused_one ? "554" : "503");
	} else {
		add(m->events, "body");
		if (m->full) {
			add(m->codes, "452");
			over(m, false);
			return;
		}
		add(m->codes, "354");
		if (c == DATA_GOOD || c == DATA_REJECT) {
			accepted_message(m, c == DATA_GOOD);
			return;
		}
		add(m->codes, c == DATA_BIG ? "552" : "554");
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
		add(m->events, "body");
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
		add(m->codes, m->ruined_code);
		if (last)
			over(m, false);
	} else if (last) {
		accepted_message(m, c != LAST_REJECT);
	} else {
		add(m->codes, "250");
	}
}

static void model_rest(struct model *m, enum cmd c)
{
	switch ((int)c) {
	case RSET:
		over(m, false);
		add(m->codes, "250");
		break;
	case RSET_ARG: wrong(m, "501"); break;
	case NOOP: add(m->codes, "250"); break;
	case HELP: add(m->codes, "214"); break;
	case EXPN: wrong(m, "502"); break;
	case UNKNOWN:
	case LONG_LINE: wrong(m, "500"); break;
	case VRFY:
		if (!gated(m))
			add(m->codes, "252");
		break;
	case QUIT: hang_up(m, "221"); break;
	case BARE_LINE:
		add(m->codes, "500");
		hang_up(m, "421");
		break;
	case BDAT_GARBLED:
		add(m->codes, "501");
		hang_up(m, "421");
		break;
	case HTTP:
		add(m->codes, "554");
		hang_up(m, "421");
		break;
	}
}

static void model_run(struct model *m, enum cmd c)
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
	else if (c <= AUTH_LONG)
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

/* -- the comparison ---------------------------------------------------------------------------- */

/* The code of each reply; every line well-formed, and with an enhanced code of its class. */
static void codes_of(struct slice wire, char *ret)
{
	struct slice line;
	bool hello = false;

	ret[0] = '\0';
	while (wire.n) {
		char code[4] = "";

		assert_true(slice_cut(wire, '\n', &line, &wire));
		assert_true(line.n >= 5 && line.n <= 511 && line.p[line.n - 1] == '\r');
		memcpy(code, line.p, 3);
		for (int i = 0; i < 3; i++)
			assert_true(ascii_digit(code[i]));
		assert_true(line.p[3] == ' ' || line.p[3] == '-');
		hello |= slice_eq(slice_from(line, 4), S("mx.test\r"));
		if (!hello && code[0] != '3')
			assert_true(line.p[4] == code[0] && line.p[5] == '.' &&
				    ascii_digit(line.p[6]));
		if (line.p[3] == ' ') {
			add(ret, code);
			hello = false;
		}
	}
}

static void events_of(struct slice trace, char *ret)
{
	struct slice before, event, name, rest;

	ret[0] = '\0';
	while (slice_cut(trace, '[', &before, &trace)) {
		char word[16] = "";

		assert_true(slice_cut(trace, ']', &event, &trace));
		slice_cut(event, ' ', &name, &rest);
		assert_true(name.n < sizeof word);
		memcpy(word, name.p, name.n);
		add(ret, word);
	}
}

static void expand(struct buf *out, const char *line)
{
	for (; *line; line++) {
		if (*line == '\1') {
			for (int i = 0; i < 14; i++)
				buf_add(out, S("x123456789x123456789x123456789x123456789"
					       "x123456789x123456789x12345678\r\n"));
			buf_add(out, S("1234567"));
		} else if (*line == '\2') {
			for (int i = 0; i < 13000; i++)
				buf_addc(out, 'A');
		} else {
			buf_addc(out, *line);
		}
	}
}

static uint64_t state_of_chance;

static unsigned chance(unsigned below)
{
	state_of_chance = state_of_chance * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state_of_chance >> 33) % below;
}

/* Half the time what leads on, so that the deep states are met as often as the first ones. */
static enum cmd pick(const struct model *m)
{
	unsigned sum = 0, at;
	enum cmd c = 0;

	if (chance(2)) {
		if (m->hello < 2)
			return EHLO;
		if (!m->tls)
			return STARTTLS;
		if (!m->user)
			return AUTH_GOOD;
		if (m->phase == IDLE || m->phase == SENDER)
			return m->phase == IDLE ? MAIL_GOOD : RCPT_GOOD;
	}
	for (int i = 0; i < CMDS; i++)
		sum += cmds[i].weight;
	for (at = chance(sum); at >= cmds[c].weight; c++)
		at -= cmds[c].weight;
	return c;
}

/* Sends one command as its rule says: content behind DATA only after 354. */
static void send(struct rig *r, enum cmd c)
{
	/* What must stand in one segment is not cut. */
	bool whole = c == STARTTLS_INJECT || c == DATA_INJECT;
	struct slice now, then;
	struct buf line;

	buf_init(&line, 1 << 16);
	expand(&line, cmds[c].line);
	slice_cut(buf_slice(&line), '\f', &now, &then);
	rig_feed(r, now, whole ? 0 : chance(4) ? 0 : 1 + chance(20));
	if (slice_ends(rig_wire(r), S("354 Continue\r\n")))
		rig_feed(r, then, chance(4) ? 0 : 1 + chance(20));
	buf_done(&line);
}

static void session(uint64_t seed, size_t *ret_steps, size_t *ret_commits, unsigned seen[CMDS][5])
{
	struct smtp_config cfg = chance(3) ? rig_cfg : rig_cfg_tls;
	struct model m = { .cfg = &cfg };
	struct buf story;
	struct rig r;

	cfg.bad_max = chance(2) ? 0 : 1 + chance(9);
	cfg.command_max = chance(2) ? 0 : 6 + chance(9);
	cfg.auth_max = chance(2) ? 0 : 1 + chance(3);
	cfg.tx_max = chance(2) ? 0 : 1 + chance(5);
	cfg.discard_max = 1 << 20;
	m.tls = cfg.implicit_tls;
	rig_init(&r, &cfg);
	rig_start(&r, FROM_CONNECT);
	buf_init(&story, 1 << 16);
	for (int i = 0; i < STEPS && !m.closed; i++) {
		enum cmd c = pick(&m);
		char codes[64], events[64];

		seen[c][m.phase]++;
		buf_clear(&r.wire);
		buf_clear(&r.trace);
		buf_add(&story, slice_str(cmds[c].name));
		buf_add(&story, S(" "));
		model_run(&m, c);
		send(&r, c);
		codes_of(rig_wire(&r), codes);
		events_of(rig_trace(&r), events);
		if (strcmp(codes, m.codes) != 0 || strcmp(events, m.events) != 0)
			fail_msg("seed %llu: %.*s\ngot    %s| %s\nwanted %s| %s",
				 (unsigned long long)seed, SLICE_ARG(buf_slice(&story)), codes,
				 events, m.codes, m.events);
		assert_int_equal(r.closed, m.closed);
		assert_int_equal(smtp_session_user(r.s), m.user);
		assert_int_equal(smtp_session_tls(r.s), m.tls);
		assert_int_equal(smtp_session_is_esmtp(r.s), m.hello == 2);
		if (!m.closed) {
			assert_int_equal(smtp_session_in_tx(r.s), m.phase != IDLE);
			assert_int_equal(r.held.n, 0);
		}
		++*ret_steps;
	}
	*ret_commits += r.commits;
	buf_done(&story);
	rig_done(&r);
}

static void random_commands(void **state)
{
	static unsigned seen[CMDS][5];
	size_t steps = 0, commits = 0;
	const char *more = getenv("SIGNET_MODEL_SESSIONS");
	unsigned long sessions = more ? strtoul(more, NULL, 10) : SESSIONS;

	(void)state;
	for (uint64_t seed = 0; seed < sessions; seed++) {
		state_of_chance = seed * 0x9e3779b97f4a7c15u;
		session(seed, &steps, &commits, seen);
	}
	/* It has been everywhere: each command in each phase of a transaction, and mail went
	 * through. */
	assert_true(steps > sessions * 5 && commits > sessions / 4);
	if (sessions < SESSIONS)
		return;
	for (int c = 0; c < CMDS; c++)
		for (int phase = 0; phase < 5; phase++)
			if (!seen[c][phase])
				fail_msg("%s never met phase %d", cmds[c].name, phase);
}

int run_session_model_tests(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(random_commands) };

	return cmocka_run_group_tests_name("smtp session model", tests, NULL, NULL);
}
