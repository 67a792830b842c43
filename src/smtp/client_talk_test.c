/* Whole talks of the client session with a server: what it says, turn by turn, and what it reports.
 */
#include "smtp/client_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

int run_client_talk_tests(void);

#define ME   .hostname = S("cl.test")
#define USER ME, .user = S("u"), .password = { S("pw") }

static const struct smtp_client_config clear = { ME, .tls = CLIENT_TLS_NEVER };
static const struct smtp_client_config may = { ME, .tls = CLIENT_TLS_MAY };
static const struct smtp_client_config must = { ME, .tls = CLIENT_TLS_MUST };
static const struct smtp_client_config inside = { ME, .tls = CLIENT_TLS_MUST, .tls_up = true };
static const struct smtp_client_config user_may = { USER, .tls = CLIENT_TLS_MAY };
static const struct smtp_client_config user_in = { USER, .tls = CLIENT_TLS_MUST, .tls_up = true };
static const struct smtp_client_config user_opt = { USER, .auth_optional = true };
static const struct smtp_client_config user_plain = { USER, .allow_plain_auth = true };

static const struct smtp_client_rcpt one[] = { { S("b@to.test"), 0, S("") } };
static const struct smtp_client_rcpt three[] = { { S("b@to.test"), 0, S("") },
						 { S("c@to.test"), 0, S("") },
						 { S("d@to.test"), 0, S("") } };
static const struct smtp_client_rcpt dsn[] = {
	{ S("b@to.test"), SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_DELAY, S("rfc822;b+2Bx@to.test") },
	{ S("c@to.test"), SMTP_NOTIFY_NEVER, S("") },
};
static const struct smtp_client_rcpt utf8_rcpt[] = { { S("\xc3\xa4@to.test"), 0, S("") } };
static const struct smtp_client_rcpt evil[] = { { S("b@to.test>\r\nRSET"), 0, S("") } };

#define END                                                                                        \
	{                                                                                          \
		.mail.n_rcpts = 0                                                                  \
	}
#define FROM .reverse_path = S("a@from.test")
#define ONE  .rcpts = one, .n_rcpts = 1
#define HI   .size = 4, ONE

static const struct client_mail_case none[] = { END };
static const struct client_mail_case hi[] = { { { FROM, HI }, S("hi\r\n") }, END };
static const struct client_mail_case hi2[] = { { { FROM, HI }, S("hi\r\n") },
					       { { HI }, S(".\r\n") },
					       END };
static const struct client_mail_case to3[] = {
	{ { FROM, .size = 4, .rcpts = three, .n_rcpts = 3 }, S("hi\r\n") }, END
};
static const struct client_mail_case with_dsn[] = { { { FROM, .size = 2, .ret = SMTP_RET_HDRS,
							.envid = S("Q+2B1"), .rcpts = dsn,
							.n_rcpts = 2 },
						      S("x") },
						    END };
static const struct client_mail_case eight[] = {
	{ { FROM, .size = 3, .body_8bit = true, .high = true, ONE }, S("\xe4\r\n") }, END
};
/* Said to be 8-bit, but is not: it may go anywhere. */
static const struct client_mail_case said_eight[] = {
	{ { FROM, HI, .body_8bit = true }, S("hi\r\n") }, END
};
static const struct client_mail_case utf8[] = { { { FROM, HI, .smtputf8 = true }, S("hi\r\n") },
						END };
static const struct client_mail_case utf8_path[] = {
	{ { FROM, .size = 4, .rcpts = utf8_rcpt, .n_rcpts = 1 }, S("hi\r\n") }, END
};
static const struct client_mail_case large[] = { { { FROM, .size = 1001, ONE }, S("hi\r\n") },
						 { { FROM, .size = 1000, ONE }, S("hi\r\n") },
						 END };
static const struct client_mail_case evil_rcpt[] = {
	{ { FROM, .size = 4, .rcpts = evil, .n_rcpts = 1 }, S("hi\r\n") }, END
};
static const struct client_mail_case empty[] = { { { FROM, ONE }, S("") }, END };
static const struct client_mail_case no_crlf[] = { { { FROM, .size = 4, ONE }, S("a\r\n.") }, END };

struct talk {
	const char *name;
	const struct smtp_client_config *cfg;
	const struct client_mail_case *mails;
	const char *script, *trace;
};

/* What most begin with: no extension, PIPELINING, TLS inside. */
#define HELLO   "S:220 mx\nC:EHLO cl.test\nS:250 mx\n"
#define HELLO_P "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 PIPELINING\n"
#define MAIL    "C:MAIL FROM:<a@from.test>\n"
#define MAIL_1  MAIL "S:250 ok\nC:RCPT TO:<b@to.test>\n"
#define DATA_1  MAIL_1 "S:250 ok\nC:DATA\nS:354 go\nC:hi\nC:.\n"
#define GROUP_3 MAIL "C:RCPT TO:<b@to.test>\nC:RCPT TO:<c@to.test>\nC:RCPT TO:<d@to.test>\nC:DATA\n"
#define BYE     "S:221 bye\n"

// clang-format off
static const struct talk talks[] = {
	{ "nothing to send", &clear, none, HELLO "C:QUIT\n" BYE, "[close]" },
	{ "one message", &clear, hi, HELLO DATA_1 "S:250 2.0.0 taken\nC:QUIT\n" BYE,
	  "[done dot 250 2.0.0 taken][close]" },
	{ "two messages, no RSET, null reverse-path", &clear, hi2,
	  HELLO DATA_1 "S:250 ok\nC:MAIL FROM:<>\nS:250 ok\nC:RCPT TO:<b@to.test>\nS:250 ok\nC:DATA\n"
	  "S:354 go\nC:..\nC:.\nS:250 ok\nC:QUIT\n" BYE, "[done dot 250 ok][done dot 250 ok][close]" },
	{ "multi-line replies", &clear, hi,
	  "S:220-mx\nS:220 ready\nC:EHLO cl.test\nS:250-mx\nS:250-X-FOO\nS:250 HELP\n" MAIL
	  "S:250-2.1.0 a\nS:250 2.1.0 b\nC:RCPT TO:<b@to.test>\nS:550-5.1.1 no\nS:550-5.1.1 such\nS:550 user\nC:QUIT\n" BYE,
	  "[rcpt 0 550 5.1.1 no 5.1.1 such user][done rcpt 550 5.1.1 no 5.1.1 such user][close]" },
	{ "greeted by 554", &clear, hi, "S:554 5.7.1 go away\n", "[failed greeting 554 5.7.1 go away][close]" },
	{ "greeted by 421", &clear, hi, "S:421 busy\n", "[failed greeting 421 busy][close]" },
	{ "greeted by 250", &clear, hi, "S:250 mx\n", "[failed greeting 250 mx][close]" },
	{ "HELO", &clear, hi, "S:220 mx\nC:EHLO cl.test\nS:502 what\nC:HELO cl.test\n"
	  "S:250 mx\n" DATA_1 "S:250 ok\nC:QUIT\n" BYE, "[done dot 250 ok][close]" },
	{ "HELO refused", &clear, hi, "S:220 mx\nC:EHLO cl.test\nS:502 what\nC:HELO cl.test\nS:550 no\n",
	  "[failed ehlo 550 no][close]" },
	{ "EHLO not now", &clear, hi, "S:220 mx\nC:EHLO cl.test\nS:451 later\n", "[failed ehlo 451 later][close]" },
	{ "EHLO answered by 220", &clear, hi, "S:220 mx\nC:EHLO cl.test\nS:220 mx\n", "[failed ehlo 220 mx][close]" },
	{ "HELO cannot do STARTTLS", &must, hi, "S:220 mx\nC:EHLO cl.test\nS:502 what\n", "[failed ehlo 502 what][close]" },
	{ "HELO inside TLS is as good", &inside, none, "S:220 mx\nC:EHLO cl.test\nS:502 what\n"
	  "C:HELO cl.test\nS:250 mx\nC:QUIT\n" BYE, "[close]" },
	{ "HELO cannot do AUTH", &user_in, hi, "S:220 mx\nC:EHLO cl.test\nS:502 what\n", "[failed ehlo 502 what][close]" },
	{ "AUTH optional: HELO will do", &user_opt, none, "S:220 mx\nC:EHLO cl.test\nS:502 what\n"
	  "C:HELO cl.test\nS:250 mx\nC:QUIT\n" BYE, "[close]" },

	/* STARTTLS */
	{ "STARTTLS forgets what was said", &may, eight,
	  "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250-8BITMIME\nS:250 starttls\nC:STARTTLS\nS:220 go\nC:EHLO cl.test\n"
	  "S:250-mx\nS:250 STARTTLS\nC:QUIT\n" BYE, "[tls][!done mail 550 5.6.3 the next hop does not support 8BITMIME][close]" },
	{ "STARTTLS offered, not wanted", &clear, none, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 STARTTLS\nC:QUIT\n" BYE, "[close]" },
	{ "STARTTLS in the greeting line of EHLO is none", &must, none, "S:220 mx\nC:EHLO cl.test\nS:250 STARTTLS\n",
	  "[!failed ehlo 0 TLS is demanded and STARTTLS is not offered][close]" },
	{ "STARTTLS demanded, refused", &must, hi, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:454 not now\n",
	  "[failed tls 454 not now][close]" },
	{ "STARTTLS wished, refused", &may, none, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:454 not now\n"
	  "C:QUIT\n" BYE, "[close]" },
	{ "STARTTLS answered by 250", &may, hi, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:250 ok\n",
	  "[failed tls 250 ok][close]" },

	/* AUTH */
	{ "AUTH PLAIN after STARTTLS", &user_may, none, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 STARTTLS\nC:STARTTLS\n"
	  "S:220 go\nC:EHLO cl.test\nS:250-mx\nS:250 AUTH LOGIN PLAIN\nC:AUTH PLAIN AHUAcHc=\nS:235 in\nC:QUIT\n" BYE, "[tls][close]" },
	{ "AUTH LOGIN", &user_in, none, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 auth LOGIN\nC:AUTH LOGIN\nS:334 VXNlcm5hbWU6\n"
	  "C:dQ==\nS:334 UGFzc3dvcmQ6\nC:cHc=\nS:235 in\nC:QUIT\n" BYE, "[close]" },
	{ "AUTH counts as first said", &user_in, none, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250-AUTH LOGIN\nS:250 AUTH PLAIN\n"
	  "C:AUTH LOGIN\nS:535 no\n", "[failed auth 535 no][close]" },
	{ "AUTH offered in the clear", &user_may, hi, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 AUTH PLAIN\n",
	  "[!failed ehlo 0 AUTH is needed and there is no TLS][close]" },
	{ "AUTH, and STARTTLS refused", &user_may, hi, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250-AUTH PLAIN\nS:250 STARTTLS\n"
	  "C:STARTTLS\nS:454 no\n", "[!failed tls 0 AUTH is needed and there is no TLS][close]" },
	{ "AUTH in the clear when allowed", &user_plain, none, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 AUTH PLAIN\n"
	  "C:AUTH PLAIN AHUAcHc=\nS:235 in\nC:QUIT\n" BYE, "[close]" },
	{ "AUTH optional in the clear", &user_opt, none, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 AUTH PLAIN\nC:QUIT\n" BYE, "[close]" },
	{ "AUTH not offered", &user_in, hi, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 AUTH CRAM-MD5\n",
	  "[!failed ehlo 0 AUTH is needed and no mechanism of ours is offered][close]" },
	{ "AUTH asked once more", &user_in, hi, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 AUTH PLAIN\nC:AUTH PLAIN AHUAcHc=\n"
	  "S:334 \nC:*\nS:501 cancelled\n", "[failed auth 501 cancelled][close]" },
	{ "AUTH asked for ever", &user_in, hi, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 AUTH PLAIN\nC:AUTH PLAIN AHUAcHc=\n"
	  "S:334 \nC:*\nS:334 \n", "[failed auth 334 ][close]" },
	{ "AUTH cancelled is no login", &user_in, hi, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 AUTH LOGIN\nC:AUTH LOGIN\n"
	  "S:334 User:\nC:*\nS:235 in\n", "[failed auth 235 in][close]" },
	{ "AUTH answered by 250", &user_in, hi, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 AUTH PLAIN\nC:AUTH PLAIN AHUAcHc=\n"
	  "S:250 ok\n", "[failed auth 250 ok][close]" },

	/* What the remote cannot take */
	{ "SMTPUTF8 not offered", &clear, utf8, HELLO "C:QUIT\n" BYE, "[!done mail 550 5.6.7 the next hop does not support SMTPUTF8][close]" },
	{ "a UTF-8 path needs it, too", &clear, utf8_path, HELLO "C:QUIT\n" BYE,
	  "[!done mail 550 5.6.7 the next hop does not support SMTPUTF8][close]" },
	{ "SMTPUTF8", &clear, utf8_path, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 SMTPUTF8\nC:MAIL FROM:<a@from.test> SMTPUTF8\n"
	  "S:550 no\nC:QUIT\n" BYE, "[done mail 550 no][close]" },
	{ "8BITMIME not offered", &clear, eight, HELLO "C:QUIT\n" BYE, "[!done mail 550 5.6.3 the next hop does not support 8BITMIME][close]" },
	{ "7-bit content goes anywhere", &clear, said_eight, HELLO DATA_1 "S:250 ok\nC:QUIT\n" BYE, "[done dot 250 ok][close]" },
	{ "8BITMIME", &clear, eight, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 8bitmime\nC:MAIL FROM:<a@from.test> BODY=8BITMIME\n"
	  "S:550 no\nC:QUIT\n" BYE, "[done mail 550 no][close]" },
	{ "SIZE", &clear, large, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250-SIZE 1000\nS:250 SIZE 5\nC:MAIL FROM:<a@from.test> SIZE=1000\n"
	  "S:452 full\nC:QUIT\n" BYE, "[!done mail 552 5.3.4 the message is larger than the next hop takes][done mail 452 full][close]" },
	{ "SIZE 0 and SIZE alone limit nothing", &clear, hi, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 SIZE 0\n"
	  "C:MAIL FROM:<a@from.test> SIZE=4\nS:550 no\nC:QUIT\n" BYE, "[done mail 550 no][close]" },
	{ "an envelope that would be commands", &clear, evil_rcpt, HELLO "C:QUIT\n" BYE,
	  "[!done mail 554 5.5.4 the envelope cannot be sent][close]" },
	{ "DSN", &clear, with_dsn, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 DSN\nC:MAIL FROM:<a@from.test> RET=HDRS ENVID=Q+2B1\n"
	  "S:250 ok\nC:RCPT TO:<b@to.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bx@to.test\nS:250 ok\nC:RCPT TO:<c@to.test> NOTIFY=NEVER\n"
	  "S:250 ok\nC:DATA\nS:354 go\nC:x\nC:.\nS:250 ok\nC:QUIT\n" BYE, "[done dot 250 ok][close]" },
	{ "DSN not offered", &clear, with_dsn, HELLO MAIL "S:250 ok\nC:RCPT TO:<b@to.test>\nS:250 ok\nC:RCPT TO:<c@to.test>\n"
	  "S:250 ok\nC:DATA\nS:451 later\nC:QUIT\n" BYE, "[done data 451 later][close]" },

	/* Verdicts, one command at a time */
	{ "MAIL refused", &clear, hi2, HELLO MAIL "S:550 5.7.1 no\nC:MAIL FROM:<>\nS:451 hm\nC:QUIT\n" BYE,
	  "[done mail 550 5.7.1 no][done mail 451 hm][close]" },
	{ "MAIL answered by 354", &clear, hi, HELLO MAIL "S:354 go\n",
	  "[!done mail 0 a reply that does not fit the command][!failed mail 0 a reply that does not fit the command][close]" },
	{ "all recipients refused, then RSET", &clear, hi2, HELLO MAIL_1 "S:550 5.1.1 no\nC:RSET\nS:250 ok\nC:MAIL FROM:<>\nS:250 ok\n"
	  "C:RCPT TO:<b@to.test>\nS:450 hm\nC:QUIT\n" BYE,
	  "[rcpt 0 550 5.1.1 no][done rcpt 550 5.1.1 no][rcpt 0 450 hm][done rcpt 450 hm][close]" },
	{ "RSET refused is no word on the message", &clear, hi2, HELLO MAIL_1 "S:550 no\nC:RSET\nS:500 what\n",
	  "[rcpt 0 550 no][done rcpt 550 no][!done mail 0 RSET was refused][!failed mail 0 RSET was refused][close]" },
	{ "one of three refused", &clear, to3, HELLO MAIL_1 "S:250 ok\nC:RCPT TO:<c@to.test>\nS:550 no\nC:RCPT TO:<d@to.test>\n"
	  "S:251 forward\nC:DATA\nS:354 go\nC:hi\nC:.\nS:554 spam\nC:QUIT\n" BYE, "[rcpt 1 550 no][done dot 554 spam][close]" },
	{ "DATA refused, RSET before the next", &clear, hi2, HELLO MAIL_1 "S:250 ok\nC:DATA\nS:451 no\nC:RSET\nS:250 ok\nC:MAIL FROM:<>\n"
	  "S:550 no\nC:QUIT\n" BYE, "[done data 451 no][done mail 550 no][close]" },
	{ "DATA answered by 250 is not delivered", &clear, hi, HELLO MAIL_1 "S:250 ok\nC:DATA\nS:250 ok\n",
	  "[!done data 0 a reply that does not fit the command][!failed data 0 a reply that does not fit the command][close]" },
	{ "the dot answered by 354", &clear, hi, HELLO DATA_1 "S:354 go on\n",
	  "[!done dot 0 a reply that does not fit the end of data?][close]" },
	{ "452 4.5.3: the rest waits", &clear, to3, HELLO MAIL_1 "S:250 ok\nC:RCPT TO:<c@to.test>\nS:452 4.5.3 enough\nC:DATA\nS:354 go\n"
	  "C:hi\nC:.\nS:250 ok\nC:QUIT\n" BYE,
	  "[rcpt 1 452 4.5.3 enough][!rcpt 2 0 4.5.3 left for another transaction][done dot 250 ok][close]" },
	{ "552 for too many is 452", &clear, to3, HELLO MAIL_1 "S:250 ok\nC:RCPT TO:<c@to.test>\nS:552 enough\nC:DATA\nS:354 go\n"
	  "C:hi\nC:.\nS:250 ok\nC:QUIT\n" BYE,
	  "[rcpt 1 452 enough][!rcpt 2 0 4.5.3 left for another transaction][done dot 250 ok][close]" },
	{ "552 5.2.2 is a full mailbox", &clear, to3, HELLO MAIL_1 "S:250 ok\nC:RCPT TO:<c@to.test>\nS:552 5.2.2 full\n"
	  "C:RCPT TO:<d@to.test>\nS:452 4.2.2 full\nC:DATA\nS:354 go\nC:hi\nC:.\nS:250 ok\nC:QUIT\n" BYE,
	  "[rcpt 1 552 5.2.2 full][rcpt 2 452 4.2.2 full][done dot 250 ok][close]" },
	{ "452 to the first holds up nobody", &clear, to3, HELLO MAIL_1 "S:452 hm\nC:RCPT TO:<c@to.test>\nS:250 ok\n"
	  "C:RCPT TO:<d@to.test>\nS:250 ok\nC:DATA\nS:354 go\nC:hi\nC:.\nS:250 ok\nC:QUIT\n" BYE, "[rcpt 0 452 hm][done dot 250 ok][close]" },
	{ "RCPTMAX", &clear, to3, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 LIMITS FOO=1 RCPTMAX=2\n" MAIL_1 "S:250 ok\n"
	  "C:RCPT TO:<c@to.test>\nS:250 ok\nC:DATA\nS:354 go\nC:hi\nC:.\nS:554 spam\nC:QUIT\n" BYE,
	  "[!rcpt 2 0 4.5.3 left for another transaction][done dot 554 spam][close]" },
	{ "RCPTMAX, and those refused", &clear, to3, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 LIMITS RCPTMAX=1\n" MAIL_1 "S:550 no\nC:QUIT\n" BYE,
	  "[rcpt 0 550 no][!rcpt 1 0 4.5.3 left for another transaction][!rcpt 2 0 4.5.3 left for another transaction]"
	  "[done rcpt 550 no][close]" },
	{ "MAIL's refusal is for those beyond RCPTMAX, too", &clear, to3, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 LIMITS RCPTMAX=1\n"
	  MAIL "S:550 no\nC:QUIT\n" BYE, "[done mail 550 no][close]" },
	{ "MAILMAX", &clear, hi2, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 LIMITS MAILMAX=1\n" DATA_1 "S:250 ok\nC:QUIT\n" BYE,
	  "[done dot 250 ok][close]" },

	/* PIPELINING */
	{ "a group", &clear, to3, HELLO_P GROUP_3 "S:250 ok\nS:250 ok\nS:550 no\nS:250 ok\nS:354 go\nC:hi\nC:.\nS:250 ok\nC:QUIT\n" BYE,
	  "[rcpt 1 550 no][done dot 250 ok][close]" },
	{ "a group, MAIL refused", &clear, to3, HELLO_P GROUP_3 "S:550 no\nS:503 a\nS:503 b\nS:503 c\nS:503 d\nC:QUIT\n" BYE,
	  "[done mail 550 no][close]" },
	{ "a group, MAIL refused, yet DATA", &clear, to3, HELLO_P GROUP_3 "S:550 no\nS:250 a\nS:250 b\nS:250 c\nS:354 d\nC:.\nS:250 ok\nC:QUIT\n" BYE,
	  "[done mail 550 no][close]" },
	{ "a group, all refused, DATA too", &clear, to3, HELLO_P GROUP_3 "S:250 ok\nS:550 a\nS:450 b\nS:550 c\nS:554 none\nC:QUIT\n" BYE,
	  "[rcpt 0 550 a][rcpt 1 450 b][rcpt 2 550 c][done rcpt 550 c][close]" },
	{ "a group, all refused, DATA not: the empty dot", &clear, to3, HELLO_P GROUP_3
	  "S:250 ok\nS:550 a\nS:450 b\nS:550 c\nS:354 go\nC:.\nS:250 ok\nC:QUIT\n" BYE,
	  "[rcpt 0 550 a][rcpt 1 450 b][rcpt 2 550 c][done rcpt 550 c][close]" },
	{ "a group, DATA refused", &clear, to3, HELLO_P GROUP_3 "S:250 ok\nS:550 a\nS:250 b\nS:250 c\nS:451 d\nC:QUIT\n" BYE,
	  "[rcpt 0 550 a][done data 451 d][close]" },
	{ "a group, one accepted, DATA answered by 250", &clear, to3, HELLO_P GROUP_3 "S:250 ok\nS:550 a\nS:250 b\nS:250 c\nS:250 d\n",
	  "[rcpt 0 550 a][!done data 0 a reply that does not fit the command][!failed data 0 a reply that does not fit the command][close]" },
	{ "421 inside a group ends it at once", &clear, to3, HELLO_P GROUP_3 "S:250 ok\nS:250 a\nS:550 b\nS:421 c\n",
	  "[rcpt 1 550 b][done rcpt 421 c][close]" },
	{ "RCPTMAX, all refused, the empty dot refused", &clear, to3,
	  "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250-PIPELINING\nS:250 LIMITS RCPTMAX=1\n" MAIL "C:RCPT TO:<b@to.test>\nC:DATA\n"
	  "S:250 ok\nS:550 no\nS:354 go\nC:.\nS:554 nobody\nC:QUIT\n" BYE,
	  "[rcpt 0 550 no][!rcpt 1 0 4.5.3 left for another transaction][!rcpt 2 0 4.5.3 left for another transaction]"
	  "[done rcpt 550 no][close]" },

	/* 421 */
	{ "421 to EHLO", &clear, hi, "S:220 mx\nC:EHLO cl.test\nS:421 bye\n", "[failed ehlo 421 bye][close]" },
	{ "421 to MAIL", &clear, hi2, HELLO MAIL "S:421 bye\n", "[done mail 421 bye][close]" },
	{ "421 to RCPT", &clear, to3, HELLO MAIL_1 "S:421 bye\n", "[done rcpt 421 bye][close]" },
	{ "421 to the dot", &clear, hi2, HELLO DATA_1 "S:421 bye\n", "[done dot 421 bye][close]" },
	{ "421 to RSET", &clear, hi2, HELLO MAIL_1 "S:550 no\nC:RSET\nS:421 bye\n", "[rcpt 0 550 no][done rcpt 550 no][done mail 421 bye][close]" },
	{ "421 to QUIT", &clear, none, HELLO "C:QUIT\nS:421 bye\n", "[close]" },

	/* Content */
	{ "empty content", &clear, empty, HELLO MAIL_1 "S:250 ok\nC:DATA\nS:354 go\nC:.\nS:250 ok\nC:QUIT\n" BYE, "[done dot 250 ok][close]" },
	{ "content without an end of line", &clear, no_crlf, HELLO MAIL_1 "S:250 ok\nC:DATA\nS:354 go\nC:a\nC:..\nC:.\nS:250 ok\nC:QUIT\n" BYE,
	  "[done dot 250 ok][close]" },

	/* Text is data */
	{ "control bytes, 8-bit and ESC become ?", &clear, hi, HELLO MAIL "S:550 a\x1b[2J\t\xc3\xa4\x7f.\nC:QUIT\n" BYE,
	  "[done mail 550 a?[2J????.][close]" },
	{ "a bare code", &clear, hi, "S:220\nC:EHLO cl.test\nS:250\n" MAIL "S:550\nC:QUIT\n" BYE, "[done mail 550 ][close]" },
};

/* The server says more than it was asked: what comes together is told apart. */
static const struct talk excess[] = {
	{ "bytes behind 220 to STARTTLS", &may, none, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:220 go\nS:250 mx\n",
	  "[!failed tls 0 bytes behind the reply to STARTTLS][close]" },
	{ "two greetings", &clear, hi, "S:220 mx\nS:220 mx\n", "[!failed greeting 0 more replies than were waited for][close]" },
	{ "EHLO answered twice", &clear, hi, "S:220 mx\nC:EHLO cl.test\nS:502 a\nS:250 b\n", "[!failed ehlo 0 more replies than were waited for][close]" },
	{ "behind the refused STARTTLS", &may, hi, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:454 no\nS:250 x\n",
	  "[!failed tls 0 more replies than were waited for][close]" },
	{ "MAIL answered twice", &clear, hi, HELLO MAIL "S:250 ok\nS:250 ok\n",
	  "[!done rcpt 0 more replies than were waited for][!failed rcpt 0 more replies than were waited for][close]" },
	{ "a refusal and then some", &clear, hi, HELLO MAIL "S:550 no\nS:550 no\n",
	  "[done mail 550 no][!failed idle 0 a reply that nobody waited for][close]" },
	{ "behind the verdict", &clear, hi, HELLO DATA_1 "S:250 ok\nS:250 ok\n",
	  "[done dot 250 ok][!failed idle 0 a reply that nobody waited for][close]" },
	{ "421 behind the verdict", &clear, hi2, HELLO DATA_1 "S:250 ok\nS:421 bye\n", "[done dot 250 ok][close]" },
	{ "no reply behind the verdict", &clear, hi, HELLO DATA_1 "S:250 ok\nS:HTTP/1.1 200\n",
	  "[done dot 250 ok][!failed idle 0 bytes that nobody waited for][close]" },
	{ "an answer before the content", &clear, hi, HELLO MAIL_1 "S:250 ok\nC:DATA\nS:354 go\nS:250 ok\n",
	  "[!done body 0 a reply before the end of data][close]" },
	{ "a refusal before the content", &clear, hi, HELLO MAIL_1 "S:250 ok\nC:DATA\nS:354 go\nS:552 no\n", "[done body 552 no][close]" },
	{ "AUTH answered twice", &user_in, hi, "S:220 mx\nC:EHLO cl.test\nS:250-mx\nS:250 AUTH LOGIN\nC:AUTH LOGIN\nS:334 VXNlcm5hbWU6\nS:235 in\n",
	  "[!failed auth 0 more replies than were waited for][close]" },
};
// clang-format on

static void test_talks(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof talks / sizeof *talks; i++)
		client_rig_play(talks[i].name, talks[i].cfg, talks[i].mails, talks[i].script,
				talks[i].trace);
}

static void test_excess(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof excess / sizeof *excess; i++)
		client_rig_once(excess[i].name, excess[i].cfg, excess[i].mails, excess[i].script,
				excess[i].trace);
}

int run_client_talk_tests(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_talks),
					    cmocka_unit_test(test_excess) };

	return cmocka_run_group_tests_name("client talks", tests, NULL, NULL);
}
