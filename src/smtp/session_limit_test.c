/* Each limit of the session, at it and one beyond it. */
#include "smtp/session_rig.h"
#include "smtp/session_says.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

int run_session_limit_tests(void);

/* A script built piece by piece. */
static void repeat(struct buf *b, struct slice s, size_t times)
{
	while (times--)
		buf_add(b, s);
}

static void expect_script(const struct smtp_config *cfg, enum rig_from from,
			  const struct buf *script, const char *server, size_t chunk)
{
	struct rig r;

	rig_init(&r, cfg);
	rig_start(&r, from);
	rig_script(&r, buf_slice(script), chunk);
	if (!slice_eq(rig_wire(&r), slice_str(server)))
		fail_msg("replies:\n%.*s\nwanted:\n%s", SLICE_ARG(rig_wire(&r)), server);
	rig_done(&r);
}

/* head, x to make the line n octets with CRLF, then NOOP. */
static void long_line(const struct smtp_config *cfg, enum rig_from from, struct slice head,
		      size_t n, struct slice end, const char *server)
{
	struct slice line = head;
	struct buf b;

	buf_init(&b, 1 << 20);
	buf_add(&b, head);
	/* What the last line of head holds already counts. */
	for (size_t i = 0; i < head.n; i++)
		if (head.p[i] == '\n')
			line = slice_from(head, i + 1);
	repeat(&b, S("A"), n - line.n - end.n);
	buf_add(&b, end);
	buf_add(&b, S("NOOP\r\n"));
	for (size_t chunk = 0; chunk < 4000; chunk = chunk * 3 + 7)
		expect_script(cfg, from, &b, server, chunk);
	buf_done(&b);
}

static void line_limits(void **state)
{
	(void)state;
	long_line(&rig_cfg, FROM_HELLO, S("NOOP "), 600, S("\r\n"), OK OK);
	long_line(&rig_cfg, FROM_HELLO, S("NOOP "), 601, S("\r\n"),
		  "500 5.5.2 Line too long\r\n" OK);
	long_line(&rig_cfg, FROM_HELLO, S("NOOP "), 100000, S("\r\n"),
		  "500 5.5.2 Line too long\r\n" OK);
	long_line(&rig_cfg, FROM_HELLO, S("FOO\r\n"), 601, S("\r\n"),
		  UNKNOWN "500 5.5.2 Line too long\r\n" OK);
	/* Commands may hide behind a lone LF. */
	long_line(&rig_cfg, FROM_HELLO, S("NOOP "), 601, S("\n"), BARE_CMD);
	long_line(&rig_cfg, FROM_HELLO, S("NOOP "), 5000, S("\n"), BARE_CMD);
	/* AUTH lines are longer. */
	long_line(&rig_cfg, FROM_HELLO, S("AUTH PLAIN "), 12288, S("\r\n"), BAD_B64 OK);
	long_line(&rig_cfg, FROM_HELLO, S("AUTH PLAIN "), 12289, S("\r\n"),
		  "500 5.5.6 Authentication exchange line is too long\r\n" OK);
	long_line(&rig_cfg, FROM_HELLO, S("AUTH PLAIN\r\n"), 12286, S("\r\n"),
		  "334 \r\n" BAD_SASL OK);
	long_line(&rig_cfg, FROM_HELLO, S("AUTH PLAIN\r\n"), 12289, S("\r\n"),
		  "334 \r\n500 5.5.6 Authentication exchange line is too long\r\n" OK);
	long_line(&rig_cfg, FROM_HELLO, S("AUTH PLAIN\r\n"), 40000, S("\r\n"),
		  "334 \r\n500 5.5.6 Authentication exchange line is too long\r\n" OK);
	long_line(&rig_cfg, FROM_HELLO, S("AUTH PLAIN\r\n"), 12400,
		  S("\r\nAUTH PLAIN AHUAZ29vZA==\r\n"),
		  "334 \r\n500 5.5.6 Authentication exchange line is too long\r\n" AUTH_OK OK);
	/* The transaction survives; the reason of a spoiled one, too. */
	long_line(&rig_cfg, FROM_RCPT, S("NOOP "), 700, S("\r\nBDAT 1 LAST\r\nx"),
		  "500 5.5.2 Line too long\r\n" QUEUED OK);
	long_line(&rig_cfg, FROM_RCPT, S("BDAT 1\r\n\nNOOP "), 700, S("\r\nBDAT 1 LAST\r\nx"),
		  BARE "500 5.5.2 Line too long\r\n" BARE OK);
}

static void nul_ends_it(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	buf_add(&b, S("NO\0OP\r\nNOOP\r\n"));
	for (size_t chunk = 0; chunk < 3; chunk++)
		expect_script(&rig_cfg, FROM_HELLO, &b, BARE_CMD, chunk);
	buf_clear(&b);
	buf_add(&b, S("DATA\r\n\fa\0b\r\n.\r\n"));
	for (size_t chunk = 0; chunk < 3; chunk++)
		expect_script(&rig_cfg, FROM_RCPT, &b, GO BARE, chunk);
	buf_clear(&b);
	buf_add(&b, S("BDAT 1 LAST\r\n\0"));
	expect_script(&rig_cfg, FROM_RCPT, &b, BARE, 0);
	buf_done(&b);
}

/* message_max 1000: counted without stuffing and the end, by DATA and by BDAT */
static void size_limit(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100000);
	buf_add(&b, S("DATA\r\n\f"));
	repeat(&b, S("..345678\r\n"), 111); /* 9 octets each: 999 */
	buf_add(&b, S("x"));                /* ... 1000, but the line must end */
	buf_add(&b, S("\r\n.\r\nNOOP\r\n"));
	for (size_t chunk = 0; chunk < 90; chunk = chunk * 2 + 1)
		expect_script(&rig_cfg, FROM_RCPT, &b, GO TOO_BIG OK, chunk);
	buf_clear(&b);
	buf_add(&b, S("DATA\r\n\f"));
	repeat(&b, S("12345678\r\n"), 100);
	buf_add(&b, S(".\r\nNOOP\r\n"));
	for (size_t chunk = 0; chunk < 90; chunk = chunk * 2 + 1)
		expect_script(&rig_cfg, FROM_RCPT, &b, GO QUEUED OK, chunk);
	buf_clear(&b);
	buf_add(&b, S("BDAT 1000 LAST\r\n"));
	repeat(&b, S("12345678\r\n"), 100);
	expect_script(&rig_cfg, FROM_RCPT, &b, QUEUED, 0);
	buf_clear(&b);
	buf_add(&b, S("BDAT 1000\r\n"));
	repeat(&b, S("12345678\r\n"), 100);
	buf_add(&b, S("BDAT 1\r\nxBDAT 1 LAST\r\nxRCPT TO:<a@b.c>\r\nMAIL FROM:<a@b.c>\r\n"));
	for (size_t chunk = 0; chunk < 90; chunk = chunk * 2 + 1)
		expect_script(&rig_cfg, FROM_RCPT, &b, OK TOO_BIG TOO_BIG MAIL_1ST MAIL_OK, chunk);
	buf_done(&b);
}

/* discard_max 4000 over the whole session */
static void discard_limit(void **state)
{
	static const char close_text[] =
	    "421 4.7.0 Too much refused content, closing connection\r\n";
	struct buf b, want;

	(void)state;
	buf_init(&b, 100000);
	buf_init(&want, 1000);
	buf_add(&b, S("BDAT 4000\r\n"));
	repeat(&b, S("x"), 4000);
	buf_add(&b, S("BDAT 1\r\nxNOOP\r\n"));
	buf_add(&want, S(NEED_AUTH));
	buf_add(&want, slice_str(close_text));
	buf_addc(&want, '\0');
	for (size_t chunk = 0; chunk < 90; chunk = chunk * 2 + 1)
		expect_script(&rig_cfg, FROM_HELLO, &b, want.p, chunk);
	buf_clear(&b);
	buf_clear(&want);
	buf_add(&b, S("DATA\r\n\f"));
	repeat(&b, S("12345678\r\n"), 501);
	buf_add(&want, S(GO));
	buf_add(&want, slice_str(close_text));
	buf_addc(&want, '\0');
	for (size_t chunk = 0; chunk < 90; chunk = chunk * 2 + 1)
		expect_script(&rig_cfg, FROM_RCPT, &b, want.p, chunk);
	buf_done(&b);
	buf_done(&want);
}

static void error_limit(void **state)
{
	struct smtp_config cfg = rig_cfg, none = rig_cfg;
	struct buf b;

	(void)state;
	cfg.bad_max = 3;
	none.bad_max = 0;
	buf_init(&b, 1000);
	buf_add(&b, S("FOO\r\nNOOP\r\nRCPT TO:<a@b.c>\r\nEXPN a\r\nNOOP\r\n"));
	expect_script(
	    &cfg, FROM_USER, &b,
	    UNKNOWN OK MAIL_1ST ABSENT "421 4.7.0 Too many errors, closing connection\r\n", 0);
	expect_script(&none, FROM_USER, &b, UNKNOWN OK MAIL_1ST ABSENT OK, 0);
	buf_clear(&b);
	buf_add(&b, S("BDAT 1\r\nxBDAT 1\r\nxBDAT 1\r\nxNOOP\r\n"));
	expect_script(
	    &cfg, FROM_USER, &b,
	    MAIL_1ST MAIL_1ST MAIL_1ST "421 4.7.0 Too many errors, closing connection\r\n", 0);
	/* Two limits reached at once say one 421. */
	cfg.bad_max = 1;
	cfg.auth_max = 1;
	buf_clear(&b);
	buf_add(&b, S("AUTH PLAIN !\r\n"));
	expect_script(&cfg, FROM_HELLO, &b,
		      BAD_B64 "421 4.7.0 Too many errors, closing connection\r\n", 0);
	buf_done(&b);
}

static void command_limit(void **state)
{
	static const char over[] =
	    "421 4.7.0 Too many commands without mail, closing connection\r\n";
	struct smtp_config cfg = rig_cfg_tls;
	struct buf b, want;

	(void)state;
	cfg.command_max = 4; /* EHLO is the first */
	buf_init(&b, 1000);
	buf_init(&want, 2000);
	buf_add(&b, S("NOOP\r\nRSET\r\nVRFY a\r\nNOOP\r\nQUIT\r\n"));
	buf_add(&want, S(OK OK "252 2.5.2 Cannot verify, send mail to find out\r\n"));
	buf_add(&want, slice_str(over));
	buf_addc(&want, '\0');
	expect_script(&cfg, FROM_USER, &b, want.p, 0);

	/* An accepted message begins the count anew, a refused one does not. */
	buf_clear(&b);
	buf_clear(&want);
	buf_add(&b, S(SUBMIT "BDAT 1 LAST\r\nxNOOP\r\nRSET\r\nNOOP\r\nNOOP\r\nNOOP\r\n"));
	buf_add(&want, S(MAIL_OK RCPT_OK QUEUED OK OK OK OK));
	buf_add(&want, slice_str(over));
	buf_addc(&want, '\0');
	expect_script(&cfg, FROM_USER, &b, want.p, 0);
	buf_clear(&b);
	buf_clear(&want);
	buf_add(&b, S(SUBMIT "BDAT 6 LAST\r\nREJECTNOOP\r\nNOOP\r\nNOOP\r\n"));
	buf_add(&want, S(MAIL_OK RCPT_OK "550-5.7.1 Not\r\n550 5.7.1 this one\r\n" OK OK));
	buf_add(&want, slice_str(over));
	buf_addc(&want, '\0');
	expect_script(&cfg, FROM_USER, &b, want.p, 0);

	/* Chunks of nothing are no progress, either. */
	buf_clear(&b);
	buf_clear(&want);
	buf_add(&b, S("BDAT 0\r\nBDAT 0\r\nBDAT 0\r\n"));
	buf_add(&want, S(OK OK));
	buf_add(&want, slice_str(over));
	buf_addc(&want, '\0');
	expect_script(&cfg, FROM_RCPT, &b, want.p, 0);
	buf_done(&b);
	buf_done(&want);
}

static void message_limit(void **state)
{
	struct smtp_config cfg = rig_cfg;
	struct buf b;

	(void)state;
	cfg.tx_max = 2;
	buf_init(&b, 1000);
	buf_add(&b, S("EHLO x\r\nMAIL FROM:<no@b.c>\r\n" SUBMIT
		      "RSET\r\nMAIL FROM:<a@b.c>\r\nNOOP\r\n"));
	expect_script(
	    &cfg, FROM_USER, &b,
	    "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
	    "250-CHUNKING\r\n250-DSN\r\n250-LIMITS RCPTMAX=3 MAILMAX=2\r\n"
	    "250 ENHANCEDSTATUSCODES\r\n"
	    "550 5.7.1 No\r\n" MAIL_OK RCPT_OK OK
	    "421 4.7.0 Too many messages, closing connection\r\n",
	    0);
	buf_done(&b);
}

int run_session_limit_tests(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(line_limits),   cmocka_unit_test(nul_ends_it),
		cmocka_unit_test(size_limit),    cmocka_unit_test(discard_limit),
		cmocka_unit_test(error_limit),   cmocka_unit_test(command_limit),
		cmocka_unit_test(message_limit),
	};

	return cmocka_run_group_tests_name("smtp session limits", tests, NULL, NULL);
}
