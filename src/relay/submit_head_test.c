/* relay/submit_head_test.c -- what the header says besides its senders, and where the message goes.
 */
#include "relay/submit_rig_test.h"

#include <stdio.h>
#include <stdlib.h>

static void finishes_the_head(void **state)
{
	struct fix *f = *state;
	struct mail m = { "From: Jo <jo@own.test>, b@tree.test\r\nbcc: x@hidden.test\r\n"
			  "Return-Path: <z@z>\r\nTo: mary@to.test\r\n" DATED "\r\nbody",
			  "own.test",
			  0,
			  0,
			  0,
			  0 };

	assert_ready(f, run(f, &m));
	assert_slice(f->result.head,
		     S("Received: from client.test ([192.0.2.1])\r\n"
		       "\tby relay.example with ESMTPSA id AYvP5WgAAAAAAAAAAAAAAA\r\n"
		       "\tfor <mary@to.test>\r\n"
		       "\ttls TLS_AES_256_GCM_SHA384;\r\n"
		       "\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
		       "From: Jo <jo@own.test>, b@tree.test\r\nTo: mary@to.test\r\n" DATED "\r\n"));
	assert_int_equal(f->result.head_bytes, strlen(m.message) - 4);
	assert_slice(f->result.from, S("jo@own.test")); /* for the log: the address, no name */
	assert_false(f->result.smtpapi_removed);
}

/* The others would read who got it. */
static void several_recipients_are_not_named(void **state)
{
	struct fix *f = *state;
	struct mail m = {
		"From: jo@own.test\r\nBcc: bcc@to.test\r\n\r\nbody", "own.test", 0, 0, 2, 0
	};

	assert_ready(f, run(f, &m));
	assert_null(memmem(f->result.head.p, f->result.head.n, "to.test", 7));
	assert_null(memmem(f->result.head.p, f->result.head.n, "for <", 5));
	assert_non_null(memmem(f->result.head.p, f->result.head.n, "Message-ID: <token@", 19));
	assert_non_null(memmem(f->result.head.p, f->result.head.n, "Date: Tue, 14 Nov", 17));
}

static void refuses_bad_heads(void **state)
{
	static const struct {
		struct mail m;
		int code;
		const char *enhanced, *text, *reason;
	} cases[] = {
		{ { .message = "Subject: x\r\n\r\n" },
		  554,
		  "5.6.0",
		  "Message has no From field",
		  "no_from" },
		{ { .message = "From: a@own.test\r\nFrom: a@own.test\r\n\r\n" },
		  554,
		  "5.6.0",
		  "Message has more than one From field",
		  "two_from" },
		{ { .message = "From: G: a@own.test;\r\n\r\n" },
		  554,
		  "5.6.0",
		  "From field holds a group",
		  "group_in_from" },
		{ { .message = "From: a@own.test\r\nX-SMTPAPI: {\"to\":[\"x@y\"]}\r\n\r\n" },
		  554,
		  "5.6.0",
		  "X-SMTPAPI \"to\" is not supported yet: message refused",
		  "smtpapi" },
		/* refused for itself, before anybody is asked whose it is */
		{ { .message = "From: a@foreign.test\nX: y\r\n\r\n" },
		  554,
		  "5.6.0",
		  "Message header has a line that does not end in CRLF",
		  "bad_line_end" },
		/* a head that does not end in what was kept of the message */
		{ { .message = "From: a@own.test\r\nX: y\r\n", .cut = true },
		  552,
		  "5.3.4",
		  "Message header is too large",
		  "header_too_large" },
	};
	struct fix *f = *state;

	for (size_t i = 0; i < LEN(cases); i++) {
		print_message("  case %zu\n", i);
		assert_refused(f, run(f, &cases[i].m), cases[i].code, cases[i].enhanced,
			       cases[i].text, cases[i].reason);
		assert_int_equal(f->rounds, 0);
	}
}

static void keeps_the_configured_limits(void **state)
{
	struct fix *f = *state;
	struct mail m = { "From: a@own.test\r\nX: 1\r\nReceived: x\r\n\r\n", "", 0, 0, 0, 0 };

	f->conf.mime.fields_max = 3;
	f->conf.mime.received_max = 2;
	f->conf.mime.header_max = strlen(m.message);
	assert_ready(f, run(f, &m));
	f->conf.mime.received_max = 1;
	assert_refused(f, run(f, &m), 554, "5.4.6", "Too many hops: message is in a loop", "loop");
	f->conf.mime.fields_max = 2;
	assert_refused(f, run(f, &m), 554, "5.6.0", "Message header has too many fields",
		       "too_many_fields");
	f->conf.mime.fields_max = 3;
	f->conf.mime.header_max--;
	assert_refused(f, run(f, &m), 552, "5.3.4", "Message header is too large",
		       "header_too_large");
}

static void smtpapi_is_stripped_and_told(void **state)
{
	struct fix *f = *state;
	struct mail m = { "From: a@own.test\r\nX-SMTPAPI: {\"category\":\"x\"}\r\n" DATED "\r\n",
			  "own.test",
			  0,
			  0,
			  0,
			  0 };

	assert_ready(f, run(f, &m));
	assert_true(f->result.smtpapi_removed);
	assert_null(memmem(f->result.head.p, f->result.head.n, "SMTPAPI", 7));
	/* Of a foreign sender nothing is said but that. */
	m.message = "From: a@foreign.test\r\nX-SMTPAPI: {\"category\":\"x\"}\r\n\r\n";
	assert_foreign(f, run(f, &m));
	assert_false(f->result.smtpapi_removed);
}

static void destinations(void **state)
{
	static const struct {
		const char *domain, *want;
	} cases[] = {
		{ "to.test", "to.test" },
		{ "TO.Test.", "to.test" },
		{ "B\xc3\x9c"
		  "cher.test",
		  "xn--bcher-kva.test" },
		{ "[192.0.2.1]", "[192.0.2.1]" },
		{ "[IPv6:2001:DB8::1]", "[IPv6:2001:DB8::1]" },
		{ "", "" },
		{ "localhost", "" },
		{ "192.0.2.1", "" },
		{ "a_b.test", "" },
		{ "-a.test", "" },
		{ "b\xfc"
		  "cher.test",
		  "" },
	};
	char longest[300];
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 16);
	for (size_t i = 0; i < LEN(cases); i++) {
		assert_slice(submit_destination(&a, slice_str(cases[i].domain)),
			     slice_str(cases[i].want));
		assert_false(a.failed); /* what is no name is no lack of memory */
	}
	memset(longest, '1', sizeof longest);
	longest[0] = '[';
	assert_int_equal(submit_destination(&a, slice(longest, 255)).n, 255);
	assert_int_equal(submit_destination(&a, slice(longest, 256)).n, 0);
	assert_false(a.failed);
	arena_done(&a);
	arena_init(&a, 0);
	assert_int_equal(submit_destination(&a, S("to.test")).n, 0);
	assert_true(a.failed);
	arena_done(&a);
	arena_init(&a, 0);
	assert_int_equal(submit_destination(&a, S("[192.0.2.1]")).n, 0);
	assert_true(a.failed);
	arena_done(&a);
}

int submit_head_tests(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, submit_begin, submit_end)
	const struct CMUnitTest tests[] = {
		T(finishes_the_head),
		T(several_recipients_are_not_named),
		T(refuses_bad_heads),
		T(keeps_the_configured_limits),
		T(smtpapi_is_stripped_and_told),
		cmocka_unit_test(destinations),
	};

	return cmocka_run_group_tests_name("relay submit head", tests, NULL, NULL);
}
