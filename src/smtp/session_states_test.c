/* What comes from outside (the client has gone, is late, the server stops), in every state between
 * two commands and inside every mode of input. */
#include "smtp/session_model.h"
#include "smtp/session_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

int run_session_states_tests(void);

#define LATE "421 4.4.2 Timeout, closing connection\r\n"
#define DOWN "421 4.3.2 Service shutting down, closing connection\r\n"

enum outside { GONE, EXPIRED, STOPPED_NOW, STOPPED, OUTSIDES };

/* What has been said of the next command when it happens. rest: what ends it, and its reply; NULL:
 * it opens nothing that has to end. */
struct part {
	const char *said;
	bool content; /* inside the content of a message, or a chunk that nobody wants */
	const char *rest;
};

static const struct part everywhere[] = {
	{ "", false, NULL },
	{ "NOO", false, NULL },
	{ "AUTH PLAIN AHUA", false, NULL },
	{ "NOOP "
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "x",
	  false, NULL },
	{ "BDAT 3 LAST\r\nab", true, "c" },
};

static const struct part exchange[] = {
	{ "AUTH PLAIN\r\n", false, NULL },
	{ "AUTH LOGIN\r\n", false, NULL },
	{ "AUTH LOGIN dQ==\r\n", false, NULL },
	{ "AUTH LOGIN dQ==\r\nZ29v", false, NULL },
};

static const struct part content[] = {
	{ "DATA\r\n", true, ".\r\n" },
	{ "DATA\r\n\fx", true, "\r\n.\r\n" },
	{ "DATA\r\n\fx\r\n.", true, "\r\n" },
	{ "DATA\r\n\fx\n", true, "\r\n.\r\n" },
};

static void happen(struct rig *r, enum outside what)
{
	switch (what) {
	case GONE: smtp_session_eof(r->s); break;
	case EXPIRED: smtp_session_expire(r->s); break;
	case STOPPED_NOW: smtp_session_shutdown(r->s, true); break;
	case STOPPED: smtp_session_shutdown(r->s, false); break;
	case OUTSIDES: break;
	}
	rig_pump(r);
}

static void expect(const struct rig *r, const char *state, const struct part *part,
		   enum outside what, const char *wire, const char *events)
{
	struct slice got = rig_wire(r);

	if (slice_eq(got, slice_str(wire)) && slice_eq(rig_trace(r), slice_str(events)))
		return;
	fail_msg("%s, inside \"%.20s\", event %d:\ngot    %.*s| %.*s\nwanted %s| %s", state,
		 part->said, (int)what, SLICE_ARG(got), SLICE_ARG(rig_trace(r)), wire, events);
}

/* A server that stops lets a transaction end, and what is content with it. */
static void ends_first(struct rig *r, const char *state, const struct part *part)
{
	bool tx = smtp_session_in_tx(r->s);

	expect(r, state, part, STOPPED, "", "");
	if (part->rest)
		rig_feed(r, slice_str(part->rest), 0);
	else
		rig_feed(r, S("\r\n"), 0);
	if (!r->closed && smtp_session_in_tx(r->s))
		rig_feed(r, S("RSET\r\n"), 0);
	assert_true(tx || part->content);
	assert_true(r->closed && slice_ends(rig_wire(r), S(DOWN)));
}

static void one(const struct model_state *state, const struct part *part, enum outside what)
{
	static const char *const last_words[] = { "", LATE, DOWN, DOWN };
	struct smtp_config cfg = rig_cfg;
	struct slice none = S("NOOP\r\n");
	struct smtp_event ev;
	bool tx;
	struct rig r;

	cfg.bad_max = cfg.command_max = 0;
	rig_init(&r, &cfg);
	rig_start(&r, FROM_CONNECT);
	for (const enum cmd *c = state->way; *c != CMDS; c++)
		rig_script(&r, slice_str(cmds[*c].line), 0);
	rig_script(&r, slice_str(part->said), 0);
	assert_false(r.closed);
	tx = smtp_session_in_tx(r.s);
	buf_clear(&r.wire);
	buf_clear(&r.trace);
	happen(&r, what);
	if (what == STOPPED && (tx || part->content)) {
		ends_first(&r, state->name, part);
	} else {
		expect(&r, state->name, part, what, last_words[what],
		       tx ? "[reset][close]" : "[close]");
		assert_true(r.closed);
	}
	/* Over is over. */
	assert_int_equal(smtp_session_clock(r.s), SMTP_CLOCK_NONE);
	buf_clear(&r.out);
	assert_int_equal(smtp_session_step(r.s, &none, &r.out, &ev), SMTP_DO_CLOSE);
	smtp_session_expire(r.s);
	assert_int_equal(smtp_session_step(r.s, &none, &r.out, &ev), SMTP_DO_CLOSE);
	assert_int_equal(r.out.n, 0);
	rig_done(&r);
}

#define EACH(parts, state)                                                                         \
	for (size_t k = 0; k < sizeof(parts) / sizeof *(parts); k++)                               \
		for (enum outside o = 0; o < OUTSIDES; o++)                                        \
	one(state, &(parts)[k], o)

static const struct model_state *named(const char *name)
{
	for (size_t i = 0; i < STATES; i++)
		if (!strcmp(states[i].name, name))
			return &states[i];
	fail_msg("no state \"%s\"", name);
	return NULL;
}

static void from_outside(void **state)
{
	(void)state;
	for (size_t i = 0; i < STATES; i++)
		EACH(everywhere, &states[i]);
	EACH(exchange, named("TLS, EHLO"));
	EACH(content, named("user, recipients"));
	EACH(content, named("user, HELO, recipients"));
}

int run_session_states_tests(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(from_outside) };

	return cmocka_run_group_tests_name("smtp session from outside", tests, NULL, NULL);
}
