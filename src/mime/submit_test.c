#include "mime/submit.h"

#include "mime/room_test.h"

#include <stdlib.h>

static const struct mime_finish usual = {
	.hostname = S("relay.example"),
	.origin = {
		.helo = S("client.example"),
		.address = S("192.0.2.1"),
		.protocol = S("ESMTPSA"),
		.tls = S("TLS_AES_256_GCM_SHA384"),
	},
	.id = S("AZAAAAAAAAAAAAAAAAAAAA"),
	.recipient = S("mary@example.org"),
	.now_ms = 1700000000000,
	.token = S("abc.def"),
};

#define RECEIVED                                                                                   \
	"Received: from client.example ([192.0.2.1])\r\n"                                          \
	"\tby relay.example with ESMTPSA id AZAAAAAAAAAAAAAAAAAAAA\r\n"                            \
	"\tfor <mary@example.org>\r\n"                                                             \
	"\ttls TLS_AES_256_GCM_SHA384;\r\n"                                                        \
	"\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
#define DATE  "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
#define MSGID "Message-ID: <abc.def@relay.example>\r\n"
#define HAS   "Date: x\r\nMessage-ID: <1@x>\r\n"

struct done {
	struct arena a;
	struct buf out;
	struct mime_facts facts;
	struct mime_refusal refusal;
	bool ok;
};

static void run(struct done *d, const struct mime_finish *f, struct slice in)
{
	*d = (struct done){ 0 };
	arena_init(&d->a, 4 << 20);
	buf_init(&d->out, 1 << 20);
	d->ok =
	    mime_finish(f, &mime_limits_default, in, true, &d->a, &d->out, &d->facts, &d->refusal);
}

static void drop(struct done *d)
{
	arena_done(&d->a);
	buf_done(&d->out);
}

static void writes_the_new_head(void **state)
{
	static const struct {
		struct slice in, want; /* want: behind the Received field */
	} cases[] = {
		{ S("From: a@b\r\n\r\nbody"), S("From: a@b\r\n" DATE MSGID "\r\n") },
		{ S("From: a@b\r\n" HAS "\r\n"), S("From: a@b\r\n" HAS "\r\n") },
		{ S("from: a@b\r\ndate:\r\n\r\n"), S("from: a@b\r\ndate:\r\n" MSGID "\r\n") },
		{ S("From: a@b\r\nMESSAGE-id:\r\n <x@y>\r\n\r\n"),
		  S("From: a@b\r\nMESSAGE-id:\r\n <x@y>\r\n" DATE "\r\n") },
		/* no body: the head gets its empty line */
		{ S(HAS "From: a@b\r\n"), S(HAS "From: a@b\r\n\r\n") },
		/* what goes, in all places and cases, folded or not */
		{ S("Bcc: x@y\r\nFrom: a@b\r\nbcc: z@y,\r\n q@y\r\nX: 1\r\nBCC:\r\n" HAS "\r\n"),
		  S("From: a@b\r\nX: 1\r\n" HAS "\r\n") },
		{ S("Resent-Bcc: x@y\r\n" HAS "Return-Path: <x@y>\r\nFrom: a@b\r\n\r\n"),
		  S(HAS "From: a@b\r\n\r\n") },
		{ S("Bcc: j\xf6@y\r\nFrom: a@b\r\n" HAS "\r\n"), S("From: a@b\r\n" HAS "\r\n") },
		/* names that only look like it stay */
		{ S("Bccc: x\r\nX-Bcc: y\r\nFrom: a@b\r\n" HAS "\r\n"),
		  S("Bccc: x\r\nX-Bcc: y\r\nFrom: a@b\r\n" HAS "\r\n") },
		/* duplicates that decide nothing, odd folding and raw Latin-1: byte for byte */
		{ S("To: [x] <<\r\nTo:\r\nSubject: \xfc\r\n \t \r\nSubject: 2\r\nFrom:\r\n "
		    "a@b\r\n" HAS "Date: 2\r\n\r\n"),
		  S("To: [x] <<\r\nTo:\r\nSubject: \xfc\r\n \t \r\nSubject: 2\r\nFrom:\r\n "
		    "a@b\r\n" HAS "Date: 2\r\n\r\n") },
		{ S("Received: from x\r\nFrom: a@b\r\nReceived: y\r\n" HAS "\r\n"),
		  S("Received: from x\r\nFrom: a@b\r\nReceived: y\r\n" HAS "\r\n") },
		{ S("X-SMTPAPI: {\"category\":\r\n \"a b\"}\r\nFrom: a@b\r\n" HAS "\r\n"),
		  S("From: a@b\r\n" HAS "\r\n") },
		{ S("From: a@b\r\nx-smtpapi: {\"unique_args\":{\"a\":\"1\"}}\r\n" HAS "\r\n"),
		  S("From: a@b\r\n" HAS "\r\n") },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct done d;

		print_message("  case %zu\n", i);
		run(&d, &usual, cases[i].in);
		if (!d.ok)
			fail_msg("%s", d.refusal.reason);
		assert_true(slice_starts(buf_slice(&d.out), S(RECEIVED)));
		assert_slice(slice_from(buf_slice(&d.out), sizeof RECEIVED - 1), cases[i].want);
		assert_int_equal(d.facts.smtpapi_removed, i >= 11);
		assert_int_equal(d.facts.high, i == 9);
		drop(&d);
	}
}

static void takes_out_forged_results(void **state)
{
	static const struct {
		struct slice value;
		bool stays;
	} cases[] = {
		{ S(" relay.example; spf=pass"), false },
		{ S("relay.example;dkim=pass"), false },
		{ S(" RELAY.Example 1; none"), false },
		{ S(" (c) (n(e)st\\)) relay.example (c); none"), false },
		{ S(" (\\)other.example) relay.example; none"), false },
		{ S(" (\\)relay.example) other.example; none"), true },
		{ S("\r\n relay.example; none"), false },
		{ S(" \"relay.example\"; none"), false },
		{ S(" \"re\\lay.example\"; none"), false },
		{ S(" relay.example"), false },
		{ S(" relay.example/1; none"), false },
		{ S(""), false },
		{ S(" ; none"), false },
		{ S(" (unclosed relay.example; none"), false },
		{ S(" \"relay.example; none"), false },
		{ S(" \"relay.exampl\\"), false },
		{ S(" \"\"; none"), false },
		{ S(" other.example; spf=pass"), true },
		{ S(" relay.example.org; spf=pass"), true },
		{ S(" relay.exampl; spf=pass"), true },
		{ S(" x.relay.example; spf=pass"), true },
		{ S(" (relay.example) other.example; spf=pass"), true },
		{ S(" \"other.example\"; spf=pass"), true },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct done d;
		struct buf in;

		buf_init(&in, 1000);
		buf_add(&in, S("From: a@b\r\nAuthentication-RESULTS:"));
		buf_add(&in, cases[i].value);
		buf_add(&in, S("\r\n\r\n"));
		print_message("  case %zu\n", i);
		run(&d, &usual, buf_slice(&in));
		assert_true(d.ok);
		assert_int_equal(memmem(d.out.p, d.out.n, "RESULTS", 7) != NULL, cases[i].stays);
		drop(&d);
		buf_done(&in);
	}
}

static void takes_out_results_of_another_name(void **state)
{
	struct mime_finish f = usual;
	struct done d;

	f.authserv_id = S("mx.example");
	run(&d, &f,
	    S("From: a@b\r\nAuthentication-Results: mx.example; none\r\n"
	      "Authentication-Results: relay.example; none\r\n\r\n"));
	assert_true(d.ok);
	assert_null(memmem(d.out.p, d.out.n, "mx.example", 10));
	assert_non_null(memmem(d.out.p, d.out.n, "Results: relay.example", 22));
	drop(&d);
}

/* What the client says of itself gets into our field only when it fits. */
static void writes_received(void **state)
{
	static const struct {
		struct mime_origin origin;
		struct slice recipient;
		const char *want; /* up to the date */
	} cases[] = {
		{ { S("[192.0.2.9]"), S("2001:db8::1"), S("ESMTPA"), S("") },
		  S(""),
		  "from [192.0.2.9] ([IPv6:2001:db8::1])\r\n\tby relay.example with ESMTPA id "
		  "I;\r\n\t" },
		{ { S("[IPv6:2001:db8::1]"), S(""), S("HTTP"), S("") },
		  S(""),
		  "from [IPv6:2001:db8::1]\r\n\tby relay.example with HTTP id I;\r\n\t" },
		{ { S("a b"), S("192.0.2.1\r\n"), S("X Y"), S("A;B") },
		  S("x>@y"),
		  "from unknown\r\n\tby relay.example id I;\r\n\t" },
		{ { S("x\r\nBcc: y"), S("1"), S("ESMTPSA"), S("TLS_AES_128_GCM_SHA256") },
		  S("x\r\n@y"),
		  "from unknown ([1])\r\n\tby relay.example with ESMTPSA id I\r\n"
		  "\ttls TLS_AES_128_GCM_SHA256;\r\n\t" },
		{ { S(""), S("x.y.z.1"), S("ESMTPSA"), S("") },
		  S("no-at-sign"),
		  "from unknown ([x.y.z.1])\r\n\tby relay.example with ESMTPSA id I;\r\n\t" },
		{ { S("(x)"), S("1"), S("P"), S("") },
		  S("j\xc3\xb6@y"),
		  "from unknown ([1])\r\n\tby relay.example with P id I;\r\n\t" },
		{ { S("x;y"), S("1"), S("P"), S("") },
		  S("a b@y"),
		  "from unknown ([1])\r\n\tby relay.example with P id I;\r\n\t" },
		{ { S(".x"), S("1"), S("P"), S("") },
		  S("a+b=c!d%e@y"),
		  "from unknown ([1])\r\n\tby relay.example with P id I\r\n\tfor "
		  "<a+b=c!d%e@y>;\r\n\t" },
		{ { S("under_score-9"), S("1"), S("P"), S("") },
		  S("@y\x7f"),
		  "from under_score-9 ([1])\r\n\tby relay.example with P id I;\r\n\t" },
		{ { S("[]"), S("1"), S("P"), S("") },
		  S(""),
		  "from unknown ([1])\r\n\tby relay.example with P id I;\r\n\t" },
		{ { S("[1(]"), S("1"), S("P"), S("") },
		  S(""),
		  "from unknown ([1])\r\n\tby relay.example with P id I;\r\n\t" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mime_finish f = usual;
		struct done d;
		struct slice got;

		f.origin = cases[i].origin;
		f.recipient = cases[i].recipient;
		f.id = S("I");
		print_message("  case %zu\n", i);
		run(&d, &f, S("From: a@b\r\n\r\n"));
		assert_true(d.ok);
		got = slice_from(buf_slice(&d.out), 10);
		got.n = strlen(cases[i].want);
		assert_slice(got, slice_str(cases[i].want));
		drop(&d);
	}
}

static void refuses(void **state)
{
	static const struct {
		struct slice in;
		bool smtputf8;
		int code;
		const char *enhanced, *text;
	} cases[] = {
		{ S(""), 0, 554, "5.6.0", "Message has no From field" },
		{ S("\r\nFrom: a@b\r\n"), 0, 554, "5.6.0", "Message has no From field" },
		{ S("Froms: a@b\r\nX-From: a@b\r\n\r\n"), 0, 554, "5.6.0",
		  "Message has no From field" },
		{ S("From: a@b\r\nFROM: a@b\r\n\r\n"), 0, 554, "5.6.0",
		  "Message has more than one From field" },
		{ S("From: G: a@b;\r\n\r\n"), 0, 554, "5.6.0", "From field holds a group" },
		{ S("From: a@b, G:;\r\n\r\n"), 0, 554, "5.6.0", "From field holds a group" },
		{ S("From: G:;\r\n\r\n"), 0, 554, "5.6.0", "From field holds a group" },
		{ S("From: Jo\r\n\r\n"), 0, 554, "5.6.0",
		  "Address field cannot be read: From: a name stands without an address" },
		{ S("From:\r\n\r\n"), 0, 554, "5.6.0",
		  "Address field cannot be read: From: an address is missing" },
		{ S("From: a@b\r\nSENDER: x\r\n\r\n"), 0, 554, "5.6.0",
		  "Address field cannot be read: SENDER: a name stands without an address" },
		{ S("From: a@b\r\nResent-From: a@\r\n\r\n"), 0, 554, "5.6.0",
		  "Address field cannot be read: Resent-From: an address has no domain" },
		{ S("From: a@b\r\nSender: a@b\r\nSender: a@b\r\n\r\n"), 0, 554, "5.6.0",
		  "Message has more than one Sender field" },
		{ S("From: a@b\r\nSender: a@b, c@d\r\n\r\n"), 0, 554, "5.6.0",
		  "Sender field does not hold exactly one mailbox" },
		{ S("From: a@b\r\nSender: G: c@d;\r\n\r\n"), 0, 554, "5.6.0",
		  "Sender field does not hold exactly one mailbox" },
		{ S("From: j\xc3\xb6@b\r\n\r\n"), 0, 554, "5.6.7",
		  "Non-ASCII address field in a message sent without SMTPUTF8" },
		{ S("From: a@b\r\nTo: J\xf6 <j@b>\r\n\r\n"), 0, 554, "5.6.7",
		  "Non-ASCII address field in a message sent without SMTPUTF8" },
		{ S("From: a@b\r\nResent-Cc: j@b,\r\n J\xf6 <j@b>\r\n\r\n"), 0, 554, "5.6.7",
		  "Non-ASCII address field in a message sent without SMTPUTF8" },
		{ S("From: a@b\r\nSubject: \xf6\r\n\r\n"), 1, 554, "5.6.0",
		  "Message header is not valid UTF-8" },
		{ S("From: j\xf6@b\r\n\r\n"), 1, 554, "5.6.0",
		  "Message header is not valid UTF-8" },
		{ S("From a@b\r\nFrom: a@b\r\n\r\n"), 0, 554, "5.6.0",
		  "Message header begins with an mbox From line" },
		{ S("From: a@b\r\nX\r\n\r\n"), 0, 554, "5.6.0",
		  "Message header has a line that is not a header field" },
		{ S("From: a@b\nX: y\r\n\r\n"), 0, 554, "5.6.0",
		  "Message header has a line that does not end in CRLF" },
		{ S("From: a@b\0\r\n\r\n"), 0, 554, "5.6.0", "Message header has a NUL byte" },
		{ S("From: a@b\r\nX-SMTPAPI: {\"filters\":{}}\r\n\r\n"), 0, 554, "5.6.0",
		  "X-SMTPAPI \"filters\" is not supported yet: message refused" },
		{ S("From: a@b\r\nX-SMTPAPI: {\"to\":[],\"category\":1,\"sub\":1}\r\n\r\n"), 0, 554,
		  "5.6.0", "X-SMTPAPI \"to\", \"sub\" are not supported yet: message refused" },
		{ S("From: a@b\r\nX-SMTPAPI: {\"\\r\\n\xf6\\u00e9\\\"\\\\x\":1}\r\n\r\n"), 0, 554,
		  "5.6.0", "X-SMTPAPI cannot be read: message refused" },
		{ S("From: a@b\r\nX-SMTPAPI: {\"\\r\\n\xc3\xb6\\u00e9\\\"\\\\x\":1}\r\n\r\n"), 0,
		  554, "5.6.0", "X-SMTPAPI \"???????x\" is not supported yet: message refused" },
		{ S("From: a@b\r\nX-SMTPAPI: {\"0123456789012345678901234567890\":1,"
		    "\"1123456789012345678901234567890\":1,\"2123456789012345678901234567890\":1,"
		    "\"3123456789012345678901234567890\":1,\"4\":1}\r\n\r\n"),
		  0, 554, "5.6.0",
		  "X-SMTPAPI \"012345678901234567890123\", \"112345678901234567890123\", "
		  "\"212345678901234567890123\", \"312345678901234567890123\" and others "
		  "are not supported yet: message refused" },
		{ S("From: a@b\r\nX-SMTPAPI:\r\n\r\n"), 0, 554, "5.6.0",
		  "X-SMTPAPI cannot be read: message refused" },
		{ S("From: a@b\r\nX-SMTPAPI: {}\r\nX-SMTPAPI: {}\r\n\r\n"), 0, 554, "5.6.0",
		  "More than one X-SMTPAPI field: message refused" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mime_finish f = usual;
		struct done d;

		f.smtputf8 = cases[i].smtputf8;
		print_message("  case %zu\n", i);
		run(&d, &f, cases[i].in);
		assert_false(d.ok);
		assert_int_equal(d.refusal.code, cases[i].code);
		assert_string_equal(d.refusal.enhanced, cases[i].enhanced);
		assert_slice(d.refusal.text, slice_str(cases[i].text));
		assert_true(d.refusal.text.n <= MIME_REFUSAL_TEXT);
		drop(&d);
	}
}

static void every_refusal_is_a_whole_row(void **state)
{
	for (int p = MIME_BAD_FIELD; p <= MIME_NO_MEMORY; p++) {
		struct mime_refusal r = mime_refusal((enum mime_problem)p);

		assert_int_equal(r.problem, p);
		assert_true(r.code == 554 || r.code == 552 || r.code == 451);
		assert_int_equal(r.enhanced[0] - '0', r.code / 100);
		assert_true(r.text.n && r.text.n < MIME_REFUSAL_TEXT && *r.reason);
	}
}

static void tells_who_it_is_from(void **state)
{
	struct mime_finish f = usual;
	struct done d;

	f.smtputf8 = true;
	run(&d, &f,
	    S("Resent-From: r1@x, r2@x\r\nFrom: Jo <jo@example.com>,\r\n \"a b\"@[192.0.2.1]\r\n"
	      "Received: 1\r\nResent-Sender: r3@x\r\nSender: S\xc3\xb6 <s@d>\r\nResent-From: "
	      "r4@x\r\n"
	      "Received: 2\r\nMessage-ID:\r\n <1@x> \r\nMessage-ID: <2@x>\r\n\r\nbody"));
	assert_true(d.ok);
	assert_int_equal(d.facts.from.n, 2);
	assert_slice(d.facts.from.at[0].whole, S("jo@example.com"));
	assert_slice(d.facts.from.at[1].local, S("\"a b\""));
	assert_true(d.facts.from.at[1].literal);
	assert_int_equal(d.facts.sender.n, 1);
	assert_slice(d.facts.sender.at[0].domain, S("d"));
	assert_int_equal(d.facts.resent.n, 4);
	assert_slice(d.facts.resent.at[0].whole, S("r1@x"));
	assert_slice(d.facts.resent.at[2].whole, S("r3@x"));
	assert_slice(d.facts.resent.at[3].whole, S("r4@x"));
	assert_int_equal(d.facts.received, 2);
	assert_slice(d.facts.message_id, S("<1@x>"));
	assert_false(d.facts.message_id_added);
	assert_true(d.facts.date_added && d.facts.high);
	drop(&d);
	run(&d, &usual, S("From: a@b\r\nDate: x\r\n\r\nbody"));
	assert_true(d.ok && d.facts.message_id_added && !d.facts.date_added && !d.facts.high);
	assert_int_equal(d.facts.head_bytes, 22);
	assert_slice(d.facts.message_id, S("<abc.def@relay.example>"));
	assert_int_equal(d.facts.sender.n, 0);
	drop(&d);
}

/* n times one unit, then the end. */
static struct slice many(struct buf *b, struct slice unit, size_t n, struct slice end)
{
	for (size_t i = 0; i < n; i++)
		buf_add(b, unit);
	buf_add(b, end);
	assert_false(b->failed);
	return buf_slice(b);
}

static void keeps_its_limits(void **state)
{
	static const struct {
		struct slice unit;
		size_t n;
		struct slice end;
		enum mime_problem want;
	} cases[] = {
		{ S("Received: x\r\n"), 99, S("From: a@b\r\n\r\n"), MIME_FINE },
		{ S("Received: x\r\n"), 100, S("From: a@b\r\n\r\n"), MIME_LOOP },
		{ S("x:\r\n"), 999, S("From: a@b\r\n\r\n"), MIME_FINE },
		{ S("x:\r\n"), 1000, S("From: a@b\r\n\r\n"), MIME_TOO_MANY_FIELDS },
		{ S("x:\r\n"), 100000, S("From: a@b\r\n\r\n"), MIME_TOO_MANY_FIELDS },
		{ S("Resent-From: a@b\r\n"), 100, S("From: a@b\r\n\r\n"), MIME_FINE },
		{ S("Resent-From: a@b\r\n"), 101, S("From: a@b\r\n\r\n"), MIME_BAD_ADDRESS },
		{ S("Bcc: a@b\r\nX: y\r\n"), 400, S("From: a@b\r\n\r\n"), MIME_FINE },
		{ S("F:\r\n"), 1, S("From: a@b\r\n (((((((((((((((((((((((((((((((((((\r\n\r\n"),
		  MIME_BAD_ADDRESS },
		{ S("X: 0123456789\r\n 0123456789\r\n"), 9361, S("From: a@b\r\n\r\n"), MIME_FINE },
		{ S("X: 0123456789\r\n 0123456789\r\n"), 9362, S("From: a@b\r\n\r\n"),
		  MIME_HEADER_TOO_LARGE },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mime_limits limits = mime_limits_default;
		struct mime_facts facts;
		struct mime_refusal r = { 0 };
		struct buf in, out;
		struct arena a;

		if (i >= 9)
			limits.fields_max = 100000;
		buf_init(&in, 1 << 20);
		buf_init(&out, 1 << 20);
		arena_init(&a, 16 << 20);
		print_message("  case %zu\n", i);
		mime_finish(&usual, &limits, many(&in, cases[i].unit, cases[i].n, cases[i].end),
			    true, &a, &out, &facts, &r);
		assert_int_equal(r.problem, cases[i].want);
		arena_done(&a);
		buf_done(&out);
		buf_done(&in);
	}
}

/* Each ceiling of arena and output ends in the refusal that asks for another try. */
static void bears_the_end_of_memory(void **state)
{
	struct slice in = S("From: a@b\r\nX-SMTPAPI: {\"category\":\r\n 1}\r\nMessage-ID:\r\n x\r\n"
			    "Resent-From: a @ b, c@d\r\nAuthentication-Results: x\r\n\r\n");
	bool ok = false;

	for (size_t max = 0; !ok; max += 16) {
		struct mime_facts facts;
		struct mime_refusal r = { 0 };
		struct arena a;
		struct buf out;

		arena_init(&a, max);
		buf_init(&out, 1 << 16);
		ok = mime_finish(&usual, &mime_limits_default, in, true, &a, &out, &facts, &r);
		assert_int_equal(r.problem, ok ? MIME_FINE : MIME_NO_MEMORY);
		arena_done(&a);
		buf_done(&out);
	}
	ok = false;
	for (size_t max = 0; !ok; max++) {
		struct done d = { 0 };

		arena_init(&d.a, 1 << 16);
		buf_init(&d.out, max);
		ok = mime_finish(&usual, &mime_limits_default, S("From: a@b\r\n\r\n"), true, &d.a,
				 &d.out, &d.facts, &d.refusal);
		assert_int_equal(d.refusal.problem, ok ? MIME_FINE : MIME_NO_MEMORY);
		assert_int_equal(d.out.n == sizeof RECEIVED DATE MSGID "From: a@b\r\n\r\n" - 1, ok);
		drop(&d);
	}
}

/* Heads put together at random: read again, the new one holds one Received field more, then what
 * was kept, in order and byte for byte, then what was missing; and it is finished already. */
static void the_new_head_holds_the_old(void **state)
{
	static const struct {
		struct slice raw;
		bool keep;
	} fields[] = {
		{ S("X: 1\r\n"), true },
		{ S("Bcc: a@b\r\n"), false },
		{ S("Subject:\r\n \r\n\tx\r\n"), true },
		{ S("resent-bcc:\r\n a@b\r\n"), false },
		{ S("Received: from a\r\n\tby b; date\r\n"), true },
		{ S("Return-Path: <>\r\n"), false },
		{ S("To: \r\n"), true },
		{ S("Authentication-Results: relay.example; none\r\n"), false },
		{ S("Authentication-Results: other; none\r\n"), true },
		{ S("DKIM-Signature: a=b;\r\n\tb=c\r\n"), true },
	};
	const size_t kinds = sizeof fields / sizeof *fields;
	uint32_t seed = 1;

	for (int round = 0; round < 2000; round++) {
		struct slice kept[24];
		struct mime_header h = { 0 };
		struct buf in;
		struct done d;
		size_t n, nkept = 0, from_at;

		buf_init(&in, 1 << 16);
		seed = seed * 1664525 + 1013904223;
		n = (seed >> 16) % 20;
		from_at = n ? (seed >> 8) % n : 0;
		for (size_t i = 0; i <= n; i++) {
			size_t k;

			seed = seed * 1664525 + 1013904223;
			k = (seed >> 16) % kinds;
			if (i == from_at)
				buf_add(&in, kept[nkept++] = S("From: a@b\r\n"));
			buf_add(&in, fields[k].raw);
			if (fields[k].keep)
				kept[nkept++] = fields[k].raw;
		}
		buf_add(&in, S("\r\nbody\r\n"));
		run(&d, &usual, buf_slice(&in));
		assert_true(d.ok);
		assert_int_equal(d.facts.head_bytes, in.n - 6);
		assert_int_equal(
		    mime_header_split(buf_slice(&d.out), true, &mime_limits_default, &d.a, &h),
		    MIME_FINE);
		assert_int_equal(h.n, nkept + 3);
		assert_int_equal(h.bytes, d.out.n);
		for (size_t i = 0; i < nkept; i++)
			assert_slice(h.fields[i + 1].raw, kept[i]);
		assert_slice(h.fields[0].raw, S(RECEIVED));
		assert_slice(h.fields[nkept + 1].raw, S(DATE));
		assert_slice(h.fields[nkept + 2].raw, S(MSGID));
		drop(&d);
		buf_done(&in);
	}
}

int submit_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_the_new_head),
		cmocka_unit_test(takes_out_forged_results),
		cmocka_unit_test(takes_out_results_of_another_name),
		cmocka_unit_test(writes_received),
		cmocka_unit_test(refuses),
		cmocka_unit_test(every_refusal_is_a_whole_row),
		cmocka_unit_test(tells_who_it_is_from),
		cmocka_unit_test(keeps_its_limits),
		cmocka_unit_test(bears_the_end_of_memory),
		cmocka_unit_test(the_new_head_holds_the_old),
	};

	return cmocka_run_group_tests_name("mime submit", tests, NULL, NULL);
}
