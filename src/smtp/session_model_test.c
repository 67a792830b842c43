/* The session against the model: random commands, and from every state every two commands; after
 * each the replies, the questions and the ends of transactions must be the model's. The rig asserts
 * besides that no question comes before those it rests on were answered yes. */
#include "smtp/session_model.h"
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
			model_add(ret, code);
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
		model_add(ret, word);
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
static void send(struct rig *r, enum cmd c, bool whole)
{
	struct slice now, then;
	struct buf line;

	buf_init(&line, 1 << 16);
	expand(&line, cmds[c].line);
	slice_cut(buf_slice(&line), '\f', &now, &then);
	/* What must stand in one segment is not cut. */
	whole = whole || c == STARTTLS_INJECT || c == DATA_INJECT;
	rig_feed(r, now, whole || chance(4) ? 0 : 1 + chance(20));
	if (slice_ends(rig_wire(r), S("354 Continue\r\n")))
		rig_feed(r, then, whole || chance(4) ? 0 : 1 + chance(20));
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
		send(&r, c, false);
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

/* Runs one command by both; false when they differ, and then it has been said. */
static void both(struct rig *r, struct model *m, enum cmd c, const char *state, const char *before)
{
	char codes[64], events[64];

	buf_clear(&r->wire);
	buf_clear(&r->trace);
	model_run(m, c);
	send(r, c, true);
	codes_of(rig_wire(r), codes);
	events_of(rig_trace(r), events);
	if (strcmp(codes, m->codes) != 0 || strcmp(events, m->events) != 0)
		fail_msg("%s, %s, %s\ngot    %s| %s\nwanted %s| %s", state, before, cmds[c].name,
			 codes, events, m->codes, m->events);
	assert_int_equal(r->closed, m->closed);
	assert_int_equal(smtp_session_user(r->s), m->user);
	assert_int_equal(smtp_session_tls(r->s), m->tls);
	assert_int_equal(smtp_session_is_esmtp(r->s), m->hello == 2);
	if (!m->closed)
		assert_int_equal(smtp_session_in_tx(r->s), m->phase != IDLE);
}

/* False when the first ended the session. */
static bool two_commands(const struct model_state *state, enum cmd first, enum cmd second)
{
	struct smtp_config cfg = rig_cfg;
	struct model m = { .cfg = &cfg };
	struct rig r;
	bool open;

	cfg.bad_max = cfg.command_max = cfg.auth_max = cfg.tx_max = 0;
	cfg.discard_max = 1 << 20;
	rig_init(&r, &cfg);
	rig_start(&r, FROM_CONNECT);
	for (const enum cmd *c = state->way; *c != CMDS; c++)
		both(&r, &m, *c, state->name, "on the way");
	both(&r, &m, first, state->name, "first");
	open = !m.closed;
	if (open)
		both(&r, &m, second, state->name, cmds[first].name);
	rig_done(&r);
	return open;
}

/* From every state, after every command and every kind of error: what the next command may do. */
static void every_state_and_two_commands(void **state)
{
	(void)state;
	for (size_t i = 0; i < STATES; i++)
		for (enum cmd a = 0; a < CMDS; a++)
			for (enum cmd b = 0; b < CMDS && two_commands(&states[i], a, b); b++)
				;
}

int run_session_model_tests(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_commands),
		cmocka_unit_test(every_state_and_two_commands),
	};

	return cmocka_run_group_tests_name("smtp session model", tests, NULL, NULL);
}
