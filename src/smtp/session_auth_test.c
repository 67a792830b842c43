/* AUTH with mechanisms that take more than a word: what the client reads, whatever it says. */
#include "smtp/session_rig.h"
#include "smtp/session_says.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

int run_session_auth_tests(void);

#define ABORTED "501 5.7.0 Authentication aborted\r\n"
#define NO_MECH "504 5.5.4 Unrecognized authentication mechanism\r\n"
#define MANY    "421 4.7.0 Too many failed logins, closing connection\r\n"

/* SCRAM with the rig's verifier, the client's nonce "cl", ours "SRV". */
#define FIRST      "biwsbj11LHI9Y2w="     /* n,,n=u,r=cl */
#define FIRST_LATE "biwsbj1sYXRlcixyPWNs" /* n,,n=later,r=cl */
#define FIRST_Y    "eSwsbj11LHI9Y2w="
#define FIRST_P    "cD10bHMtZXhwb3J0ZXIsLG49dSxyPWNs"
#define SERVER     "334 cj1jbFNSVixzPWNtbG5JSE5oYkhRc0lERTJJRzlqZEE9PSxpPTQwOTY=\r\n"
#define FINAL      "Yz1iaXdzLHI9Y2xTUlYscD1CbTZYKzM3S1NBR0FYeDZHU3ZhNmRuN2Q1V2ZBc3lJRkp5bS9xS3ZsT2JjPQ=="
#define FINAL_BAD                                                                                  \
	"Yz1iaXdzLHI9Y2xTUlYscD1BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBPQ=="
#define FINAL_Y                                                                                    \
	"Yz1lU3dzLHI9Y2xTUlYscD1maEhnY3FjSGtEKzFSQ0RnMDQyUDNFamp6M0htM0xiTGZlayttcW84WkhjPQ=="
#define FINAL_P                                                                                    \
	"Yz1jRDEwYkhNdFpYaHdiM0owWlhJc0xISnBaeUJsZUhCdmNuUmxjZz09LHI9Y2xTUlYscD1QNk5VVXVqVzljeX"   \
	"FSenJMQ1REZ01wRG1QUDR0cE9pSTluTE53YUN0YzA4PQ=="
#define V       "334 dj04YW9NcExGc2R5YW5rY0lZOGdhMzRpeGtVWjJwekZ0WWR6UTAraFlnVmU4PQ==\r\n"
#define V_Y     "334 dj1XYkpxN2MyaE1Yak1jSHFHcHhvbFBZQmNBd1dhRG1qQ1h5Tmk5UzBLcVNJPQ==\r\n"
#define V_P     "334 dj0rN3hKenYrOE40clF2WDI0UFVtUWRVb01oU3BUbWZkWTF6WXBxVlF2NnlzPQ==\r\n"
#define E_PROOF "334 ZT1pbnZhbGlkLXByb29m\r\n"
#define E_PLUS  "334 ZT1zZXJ2ZXItZG9lcy1zdXBwb3J0LWNoYW5uZWwtYmluZGluZw==\r\n"
/* XOAUTH2 and OAUTHBEARER, tokens "good" and "bad". */
#define X_GOOD "dXNlcj11AWF1dGg9QmVhcmVyIGdvb2QBAQ=="
#define X_BAD  "dXNlcj11AWF1dGg9QmVhcmVyIGJhZAEB"
#define X_ERR  "334 eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIiwic2NvcGUiOiJtYWlsLnNlbmQifQ==\r\n"
#define O_GOOD "bixhPXUsAWF1dGg9QmVhcmVyIGdvb2QBAQ=="
#define O_BAD  "bixhPXUsAWF1dGg9QmVhcmVyIGJhZAEB"
#define O_ERR  "334 eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NvcGUiOiJtYWlsLnNlbmQifQ==\r\n"
#define CRAM   "334 PFNSVi43QG14LnRlc3Q+\r\n" /* <SRV.7@mx.test> */
#define C_GOOD "Z29vZCAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA=="
#define C_BAD  "YmFkIDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw"

struct auth_row {
	const char *client, *server, *events;
	bool binds, certificate;
};

// clang-format off
static const struct auth_row rows[] = {
	/* SCRAM: the last word of a success is answered with nothing, and then there is 235. */
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n\f" FINAL "\r\n\f\r\nNOOP\r\n", SERVER V AUTH_OK OK, "[sasl u][auth /u/]" },
	{ "AUTH SCRAM-SHA-256\r\n\f" FIRST "\r\n\f" FINAL "\r\n\f\r\n", "334 \r\n" SERVER V AUTH_OK, "[sasl u][auth /u/]" },
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n" FINAL "\r\n\r\n" SUBMIT, SERVER V AUTH_OK MAIL_OK RCPT_OK, NULL },
	{ "AUTH scram-sha-256 " FIRST_Y "\r\n\f" FINAL_Y "\r\n\f\r\n", SERVER V_Y AUTH_OK, NULL },
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n\f" FINAL "\r\n\f*\r\nMAIL FROM:<a@b.c>\r\n", SERVER V ABORTED NEED_AUTH, NULL },
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n\f" FINAL "\r\n\fAQ==\r\nMAIL FROM:<a@b.c>\r\n", SERVER V BAD_SASL NEED_AUTH, NULL },
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n\f" FINAL "\r\n\f=\r\nMAIL FROM:<a@b.c>\r\n", SERVER V BAD_B64 NEED_AUTH, NULL },
	/* ... and that of a failure with anything, and then there is 535. */
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n\f" FINAL_BAD "\r\n\f\r\nNOOP\r\n", SERVER E_PROOF AUTH_NO OK, "[sasl u][auth /u/]" },
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n\f" FINAL_BAD "\r\n\f*\r\nNOOP\r\n", SERVER E_PROOF AUTH_NO OK, NULL },
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n\f" FINAL_BAD "\r\n\f!\r\nMAIL FROM:<a@b.c>\r\n", SERVER E_PROOF AUTH_NO NEED_AUTH, NULL },
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n\f*\r\nNOOP\r\n", SERVER ABORTED OK, "[sasl u]" },
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n\fAAA=\r\nNOOP\r\n", SERVER BAD_SASL OK, "[sasl u]" },
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n\f\r\nNOOP\r\n", SERVER BAD_SASL OK, "[sasl u]" },
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n\f" FINAL "=\r\nNOOP\r\n", SERVER BAD_B64 OK, "[sasl u]" },
	{ "AUTH SCRAM-SHA-256 " FIRST_LATE "\r\nNOOP\r\n", "454 4.7.0 Later\r\n" OK, "[sasl later]" },
	{ "AUTH SCRAM-SHA-256 =\r\nNOOP\r\n", BAD_SASL OK, "" },
	{ "AUTH SCRAM-SHA-256\r\n\f\r\nNOOP\r\n", "334 \r\n" BAD_SASL OK, "" },
	{ "AUTH SCRAM-SHA-256-PLUS " FIRST_P "\r\nNOOP\r\n", NO_MECH OK, "" },
	{ "AUTH SCRAM-SHA-256 " FIRST_P "\r\nNOOP\r\n", BAD_SASL OK, "" },
	{ "AUTH SCRAM-SHA-256-PLUS " FIRST_P "\r\n\f" FINAL_P "\r\n\f\r\nNOOP\r\n", SERVER V_P AUTH_OK OK, "[sasl u][auth /u/]", true },
	{ "AUTH SCRAM-SHA-256-PLUS " FIRST "\r\nNOOP\r\n", BAD_SASL OK, "", true },
	{ "AUTH SCRAM-SHA-256 " FIRST_Y "\r\n\f" FINAL_Y "\r\n\f\r\nNOOP\r\n", SERVER E_PLUS AUTH_NO OK, NULL, true },
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n\f" FINAL "\r\n\f\r\nNOOP\r\n", SERVER V AUTH_OK OK, NULL, true },
	/* CRAM-MD5 */
	{ "AUTH CRAM-MD5\r\n\f" C_GOOD "\r\nNOOP\r\n", CRAM AUTH_OK OK, "[sasl][auth /good/]" },
	{ "AUTH CRAM-MD5\r\n\f" C_BAD "\r\nNOOP\r\n", CRAM AUTH_NO OK, "[sasl][auth /bad/]" },
	{ "AUTH CRAM-MD5 " C_GOOD "\r\nNOOP\r\n", "501 5.7.0 This mechanism has no initial response\r\n" OK, "" },
	{ "AUTH CRAM-MD5 =\r\nNOOP\r\n", "501 5.7.0 This mechanism has no initial response\r\n" OK, "" },
	{ "AUTH CRAM-MD5\r\n\f*\r\nNOOP\r\n", CRAM ABORTED OK, "[sasl]" },
	{ "AUTH CRAM-MD5\r\n\f\r\nNOOP\r\n", CRAM BAD_SASL OK, "[sasl]" },
	{ "AUTH CRAM-MD5\r\n\f" C_GOOD "=\r\nNOOP\r\n", CRAM BAD_B64 OK, "[sasl]" },
	/* tokens */
	{ "AUTH XOAUTH2 " X_GOOD "\r\nNOOP\r\n", AUTH_OK OK, "[auth /u/good]" },
	{ "AUTH XOAUTH2\r\n\f" X_GOOD "\r\nNOOP\r\n", "334 \r\n" AUTH_OK OK, "[auth /u/good]" },
	{ "AUTH XOAUTH2 " X_BAD "\r\n\f\r\nNOOP\r\n", X_ERR AUTH_NO OK, "[auth /u/bad]" },
	{ "AUTH XOAUTH2 " X_BAD "\r\n\f*\r\nNOOP\r\n", X_ERR AUTH_NO OK, NULL },
	{ "AUTH XOAUTH2 " X_BAD "\r\n\fAQ==\r\nMAIL FROM:<a@b.c>\r\n", X_ERR AUTH_NO NEED_AUTH, NULL },
	{ "AUTH XOAUTH2 =\r\nNOOP\r\n", BAD_SASL OK, "" },
	{ "AUTH OAUTHBEARER " O_GOOD "\r\nNOOP\r\n", AUTH_OK OK, "[auth /u/good]" },
	{ "AUTH OAUTHBEARER " O_BAD "\r\n\fAQ==\r\nNOOP\r\n", O_ERR AUTH_NO OK, "[auth /u/bad]" },
	{ "AUTH OAUTHBEARER " O_BAD "\r\n\f*\r\nNOOP\r\n", O_ERR AUTH_NO OK, NULL },
	{ "AUTH OAUTHBEARER " O_BAD "\r\n\f\r\nNOOP\r\n", O_ERR AUTH_NO OK, NULL },
	{ "AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIGxhdGVyAQE=\r\nNOOP\r\n", "454 4.7.0 Later\r\n" OK, "[auth /u/later]" },
	/* Failures count when they are told. */
	{ "AUTH XOAUTH2 " X_BAD "\r\n\r\nAUTH OAUTHBEARER " O_BAD "\r\n\r\nAUTH XOAUTH2 " X_BAD "\r\n\r\n",
	  X_ERR AUTH_NO O_ERR AUTH_NO X_ERR AUTH_NO MANY, NULL },
	/* EXTERNAL */
	{ "AUTH EXTERNAL =\r\nNOOP\r\n", NO_MECH OK, "" },
	{ "AUTH EXTERNAL =\r\nNOOP\r\n", AUTH_OK OK, "[auth //]", false, true },
	{ "AUTH EXTERNAL\r\n\f\r\nNOOP\r\n", "334 \r\n" AUTH_OK OK, "[auth //]", false, true },
	{ "AUTH EXTERNAL bWU=\r\nNOOP\r\n", AUTH_OK OK, "[auth me//]", false, true },
	{ "AUTH EXTERNAL YmFk\r\nNOOP\r\n", AUTH_NO OK, "[auth bad//]", false, true },
	{ "AUTH EXTERNAL /w==\r\nNOOP\r\n", BAD_SASL OK, "", false, true },
	{ "AUTH EXTERNAL\r\n\f*\r\nNOOP\r\n", "334 \r\n" ABORTED OK, "", false, true },
	/* One object for each AUTH: nothing of the last one is left. */
	{ "AUTH SCRAM-SHA-256 " FIRST "\r\n*\r\nAUTH CRAM-MD5\r\n*\r\nAUTH LOGIN\r\ndQ==\r\nZ29vZA==\r\n",
	  SERVER ABORTED CRAM ABORTED "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n" AUTH_OK, NULL },
	/* The offer */
	{ "EHLO a\r\n", EHLO_LINES "250-AUTH SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN CRAM-MD5\r\n"
	  "250-AUTH=PLAIN LOGIN\r\n250 ENHANCEDSTATUSCODES\r\n", NULL },
	{ "EHLO a\r\n", EHLO_LINES "250-AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 EXTERNAL OAUTHBEARER XOAUTH2 PLAIN LOGIN CRAM-MD5\r\n"
	  "250-AUTH=PLAIN LOGIN\r\n250 ENHANCEDSTATUSCODES\r\n", NULL, true, true },
};
// clang-format on

static void check(const struct auth_row *row, const struct smtp_config *cfg, size_t chunk)
{
	struct smtp_peer peer = { row->binds, row->certificate };
	struct rig r;

	rig_init(&r, cfg);
	r.peer = &peer;
	rig_start(&r, FROM_HELLO);
	rig_script(&r, slice_str(row->client), chunk);
	if (!slice_eq(rig_wire(&r), slice_str(row->server)))
		fail_msg("client:\n%s\nchunk %zu, replies:\n%.*s\nwanted:\n%s", row->client, chunk,
			 SLICE_ARG(rig_wire(&r)), row->server);
	if (row->events && !slice_eq(rig_trace(&r), slice_str(row->events)))
		fail_msg("client:\n%s\nevents:\n%.*s\nwanted:\n%s", row->client,
			 SLICE_ARG(rig_trace(&r)), row->events);
	rig_done(&r);
}

static struct smtp_config all(void)
{
	struct smtp_config cfg = rig_cfg;

	cfg.mechanisms = SASL_BIT(SASL_MECHS) - 1;
	return cfg;
}

static void exchanges(void **state)
{
	struct smtp_config cfg = all();

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		check(&rows[i], &cfg, 0);
		check(&rows[i], &cfg, 1);
		check(&rows[i], &cfg, 3);
		check(&rows[i], &cfg, 7);
	}
}

/* What is not offered is not there. */
static void what_is_offered(void **state)
{
	static const struct {
		uint32_t set;
		const char *client, *server;
	} tries[] = {
		{ SASL_PASSWORDS,
		  "EHLO a\r\nAUTH SCRAM-SHA-256 " FIRST "\r\nAUTH CRAM-MD5\r\nAUTH XOAUTH2 " X_GOOD
		  "\r\nAUTH OAUTHBEARER " O_GOOD "\r\nAUTH EXTERNAL =\r\n",
		  EHLO_TLS NO_MECH NO_MECH NO_MECH NO_MECH NO_MECH },
		{ SASL_BIT(SASL_LOGIN), "EHLO a\r\nAUTH PLAIN AHUAZ29vZA==\r\n",
		  EHLO_LINES
		  "250-AUTH LOGIN\r\n250-AUTH=LOGIN\r\n250 ENHANCEDSTATUSCODES\r\n" NO_MECH },
		{ SASL_BIT(SASL_SCRAM_SHA_256) | SASL_BIT(SASL_SCRAM_SHA_256_PLUS),
		  "EHLO a\r\nAUTH PLAIN AHUAZ29vZA==\r\nAUTH LOGIN\r\n",
		  EHLO_LINES
		  "250-AUTH SCRAM-SHA-256\r\n250 ENHANCEDSTATUSCODES\r\n" NO_MECH NO_MECH },
		{ SASL_BIT(SASL_EXTERNAL), "EHLO a\r\nAUTH EXTERNAL =\r\n", EHLO_USER NO_MECH },
	};

	(void)state;
	for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
		struct smtp_config cfg = rig_cfg;
		struct auth_row row = { tries[i].client, tries[i].server, "", false, false };

		cfg.mechanisms = tries[i].set;
		check(&row, &cfg, 0);
	}
}

/* What rests on TLS is not there before TLS has said what it knows. */
static void before_the_peer_is_known(void **state)
{
	struct smtp_config cfg = all();
	struct rig r;

	(void)state;
	cfg.implicit_tls = true;
	rig_init(&r, &cfg);
	rig_start(&r, FROM_TLS);
	rig_feed(&r, S("EHLO a\r\nAUTH EXTERNAL =\r\nAUTH SCRAM-SHA-256-PLUS " FIRST_P "\r\n"), 0);
	assert_true(slice_eq(
	    rig_wire(&r),
	    S(EHLO_LINES "250-AUTH SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN CRAM-MD5\r\n"
			 "250-AUTH=PLAIN LOGIN\r\n250 ENHANCEDSTATUSCODES\r\n" NO_MECH NO_MECH)));
	rig_done(&r);
}

/* Nothing is offered, nor runs, in the clear: not even what reveals nothing. */
static void never_in_the_clear(void **state)
{
	struct smtp_config cfg = all();
	struct rig r;

	(void)state;
	rig_init(&r, &cfg);
	rig_start(&r, FROM_CLEAR);
	rig_feed(&r,
		 S("EHLO a\r\nAUTH PLAIN AHUAZ29vZA==\r\nAUTH SCRAM-SHA-256 " FIRST
		   "\r\nAUTH CRAM-MD5\r\nAUTH NONE\r\n"),
		 0);
#define CLEAR "538 5.7.11 Encryption required for requested authentication mechanism\r\n"
	assert_true(slice_eq(rig_wire(&r), S(EHLO_CLEAR CLEAR CLEAR CLEAR CLEAR)));
	rig_done(&r);
}

/* A client that thinks about our last words for long still gets its reply. */
static void idle_before_the_verdict(void **state)
{
	struct smtp_config cfg = all();
	struct rig r;

	(void)state;
	rig_init(&r, &cfg);
	rig_start(&r, FROM_HELLO);
	rig_feed(&r, S("AUTH XOAUTH2 " X_BAD "\r\n"), 0);
	smtp_session_shrink(r.s);
	rig_feed(&r, S("\r\nNOOP\r\n"), 0);
	assert_true(slice_eq(rig_wire(&r), S(X_ERR AUTH_NO OK)));
	rig_done(&r);
}

/* What is said to the error is no way around the count, however long it is. */
static void too_long_for_the_error(void **state)
{
	struct smtp_config cfg = all();
	struct rig r;
	struct buf in;

	(void)state;
	buf_init(&in, 1u << 20);
	for (size_t i = 0; i < 3; i++) {
		buf_add(&in, S("AUTH XOAUTH2 " X_BAD "\r\n"));
		for (size_t k = 0; k < cfg.auth_line_max; k++)
			buf_addc(&in, 'x');
		buf_add(&in, S("\r\n"));
	}
	rig_init(&r, &cfg);
	rig_start(&r, FROM_HELLO);
	rig_feed(&r, buf_slice(&in), 0);
#define LONG "500 5.5.6 Authentication exchange line is too long\r\n"
	assert_true(slice_eq(rig_wire(&r), S(X_ERR LONG X_ERR LONG X_ERR MANY)));
	rig_done(&r);
	buf_done(&in);
}

/* A door that closes on the client has no exchange left to finish. */
static void closing_says_no_last_word(void **state)
{
	struct smtp_config cfg = all();
	struct smtp_answer a = { 535, "5.7.8", S("No"), true };
	struct smtp_event ev;
	struct buf out;
	struct slice in = S("AUTH XOAUTH2 " X_BAD "\r\n");
	struct rig r;

	(void)state;
	buf_init(&out, SMTP_OUT_MIN);
	rig_init(&r, &cfg);
	rig_start(&r, FROM_HELLO);
	assert_int_equal(smtp_session_step(r.s, &in, &out, &ev), SMTP_ASK_AUTH);
	assert_true(smtp_session_answer(r.s, ev.question, &a, &out));
	assert_true(slice_eq(buf_slice(&out), S("535 5.7.8 No\r\n" CLOSING)));
	assert_int_equal(smtp_session_step(r.s, &in, &out, &ev), SMTP_DO_CLOSE);
	rig_done(&r);
	buf_done(&out);
}

int run_session_auth_tests(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(exchanges),
		cmocka_unit_test(what_is_offered),
		cmocka_unit_test(before_the_peer_is_known),
		cmocka_unit_test(never_in_the_clear),
		cmocka_unit_test(idle_before_the_verdict),
		cmocka_unit_test(too_long_for_the_error),
		cmocka_unit_test(closing_says_no_last_word),
	};

	return cmocka_run_group_tests_name("smtp session auth", tests, NULL, NULL);
}
