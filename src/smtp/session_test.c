#include "smtp/session_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

int run_session_tests(void);

#define EHLO_LINES                                                                                 \
	"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"       \
	"250-CHUNKING\r\n250-DSN\r\n250-LIMITS RCPTMAX=3\r\n"
#define EHLO_CLEAR EHLO_LINES "250-STARTTLS\r\n250 ENHANCEDSTATUSCODES\r\n"
#define EHLO_TLS                                                                                   \
	EHLO_LINES "250-AUTH PLAIN LOGIN\r\n250-AUTH=PLAIN LOGIN\r\n250 ENHANCEDSTATUSCODES\r\n"
#define EHLO_USER EHLO_LINES "250 ENHANCEDSTATUSCODES\r\n"

#define OK        "250 2.0.0 Ok\r\n"
#define MAIL_OK   "250 2.1.0 Sender address accepted\r\n"
#define RCPT_OK   "250 2.1.5 Recipient address accepted\r\n"
#define GO        "354 Continue\r\n"
#define QUEUED    "250 2.0.0 Ok: queued as id\r\n"
#define AUTH_OK   "235 2.7.0 Authentication successful\r\n"
#define AUTH_NO   "535 5.7.8 Authentication failed\r\n"
#define BYE       "221 2.0.0 See you later\r\n"
#define CLOSING   "421 4.7.0 Closing connection\r\n"
#define EHLO_1ST  "503 5.5.1 Send EHLO first\r\n"
#define MAIL_1ST  "503 5.5.1 Send MAIL first\r\n"
#define RCPT_1ST  "503 5.5.1 Send RCPT first\r\n"
#define NO_RCPT   "554 5.5.1 No valid recipients\r\n"
#define IN_BDAT   "503 5.5.1 The message is being sent by BDAT\r\n"
#define NEED_AUTH "530 5.7.0 Authentication required\r\n"
#define NEED_TLS  "530 5.7.0 Must issue a STARTTLS command first\r\n"
#define SYNTAX    "501 5.5.2 Syntax error in parameters or arguments\r\n"
#define NO_ARG    "501 5.5.4 No parameters allowed\r\n"
#define BAD_PARAM "501 5.5.4 Syntax error in MAIL or RCPT parameters\r\n"
#define UNKNOWN   "500 5.5.2 Command not recognized\r\n"
#define ABSENT    "502 5.5.1 Command not implemented\r\n"
#define NO_PARAM  "555 5.5.4 Parameter not recognized or not implemented\r\n"
#define BAD_FROM  "501 5.1.7 Bad sender address syntax\r\n"
#define BAD_TO    "501 5.1.3 Bad recipient address syntax\r\n"
#define BARE      "554 5.6.0 Message has a bare CR, a bare LF or a NUL\r\n"
#define TOO_BIG   "552 5.3.4 Message size exceeds fixed maximum message size\r\n"
#define TOO_LONG  "554 5.6.0 Message has a line that is too long\r\n"
#define BARE_CMD  "500 5.5.2 Lines end in CRLF\r\n" CLOSING
#define TWICE     "503 5.5.1 A transaction is open already\r\n"
#define BAD_B64   "501 5.5.2 Cannot decode base64\r\n"
#define BAD_SASL  "501 5.5.2 Malformed authentication response\r\n"
#define BAD_BDAT  "501 5.5.4 Syntax: BDAT size [LAST]\r\n" CLOSING

#define SUBMIT "MAIL FROM:<a@from.test>\r\nRCPT TO:<b@to.test>\r\n"
#define X10    "xxxxxxxxxx"
#define X70    X10 X10 X10 X10 X10 X10 X10

struct row {
	enum rig_from from;
	const char *client; /* '\f' between turns */
	const char *server;
	const char *events; /* NULL: not looked at */
};

static const struct row rows[] = {
	/* -- greeting, EHLO, HELO (RFC 5321 4.1.1.1, 4.3.1) -- */
	{ FROM_CONNECT, "", "220 mx.test ESMTP service ready\r\n", "" },
	{ FROM_CONNECT, "EHLO x\r\n", "220 mx.test ESMTP service ready\r\n" EHLO_CLEAR, "" },
	{ FROM_CLEAR, "ehlo [127.0.0.1]\r\n", EHLO_CLEAR, "" },
	{ FROM_TLS, "EHLO x\r\n", EHLO_TLS, "" },
	{ FROM_USER, "EHLO x\r\n", EHLO_USER, "" },
	{ FROM_HELLO, "HELO x\r\n", "250 mx.test\r\n", "" },
	{ FROM_TLS,
	  "EHLO\r\nEHLO \r\nHELO\r\nEHLO a b\r\nEHLO \xc3\xbc\r\nEHLO a(b)\r\nEHLO a\tb\r\n",
	  SYNTAX SYNTAX SYNTAX SYNTAX SYNTAX SYNTAX SYNTAX, "" },
	{ FROM_TLS, "EHLO my_host  \r\n", EHLO_TLS, "" },

	/* -- before EHLO: only what needs none -- */
	{ FROM_TLS, "MAIL FROM:<a@b.c>\r\nRCPT TO:<a@b.c>\r\nAUTH PLAIN AHUAZ29vZA==\r\nVRFY a\r\n",
	  EHLO_1ST EHLO_1ST EHLO_1ST EHLO_1ST, "" },
	{ FROM_TLS, "DATA\r\n", EHLO_1ST, "" },
	{ FROM_TLS, "BDAT 3\r\nabcNOOP\r\n", EHLO_1ST OK, "" },
	{ FROM_TLS, "NOOP\r\nRSET\r\nHELP\r\nnoop with words\r\nQUIT\r\n",
	  OK OK "214 2.0.0 See RFC 5321 and RFC 6409\r\n" OK BYE, "[close]" },

	/* -- before AUTH: 530, and nothing is asked -- */
	{ FROM_HELLO, "MAIL FROM:<a@b.c>\r\nRCPT TO:<a@b.c>\r\nVRFY a\r\n",
	  NEED_AUTH NEED_AUTH NEED_AUTH, "" },
	{ FROM_HELLO, "DATA\r\n", NEED_AUTH, "" },
	{ FROM_HELLO, "BDAT 3 LAST\r\nabcNOOP\r\n", NEED_AUTH OK, "" },
	{ FROM_CLEAR, "MAIL FROM:<a@b.c>\r\nBDAT 2\r\nabNOOP\r\n", NEED_TLS NEED_TLS OK, "" },

	/* -- syntax -- */
	{ FROM_HELLO, "\r\n FOO\r\nFOO\r\nFOO bar\r\nMAILFROM:<a@b.c>\r\nSTARTTLSX\r\n",
	  UNKNOWN UNKNOWN UNKNOWN UNKNOWN UNKNOWN UNKNOWN, "" },
	{ FROM_HELLO, "RSET x\r\nQUIT now\r\nNOOP\r\n", NO_ARG NO_ARG OK, "" },
	{ FROM_RCPT, "DATA x\r\n\fNOOP\r\n", NO_ARG OK, "" },
	{ FROM_USER, "EXPN a\r\nETRN a\r\nTURN\r\nATRN\r\n", ABSENT ABSENT ABSENT ABSENT, "" },
	{ FROM_USER, "VRFY a@b.c\r\nVRFY\r\n",
	  "252 2.5.2 Cannot verify, send mail to find out\r\n" SYNTAX, "" },
	{ FROM_USER, "noop \t \r\nNoOp\r\n", OK OK, "" },

	/* -- AUTH (RFC 4954) -- */
	{ FROM_HELLO, "AUTH PLAIN AHUAZ29vZA==\r\n", AUTH_OK, "[auth /u/good]" },
	{ FROM_HELLO, "auth plain AHUAZ29vZA==\r\nNOOP\r\n", AUTH_OK OK, "[auth /u/good]" },
	{ FROM_HELLO, "AUTH PLAIN\r\nAHUAZ29vZA==\r\n", "334 \r\n" AUTH_OK, "[auth /u/good]" },
	{ FROM_HELLO, "AUTH PLAIN egB1AGdvb2Q=\r\n", AUTH_OK, "[auth z/u/good]" },
	{ FROM_HELLO, "AUTH LOGIN\r\ndQ==\r\nZ29vZA==\r\n",
	  "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n" AUTH_OK, "[auth /u/good]" },
	{ FROM_HELLO, "AUTH LOGIN dQ==\r\nZ29vZA==\r\n", "334 UGFzc3dvcmQ6\r\n" AUTH_OK,
	  "[auth /u/good]" },
	{ FROM_HELLO, "AUTH LOGIN =\r\nZ29vZA==\r\n", "334 UGFzc3dvcmQ6\r\n" AUTH_OK,
	  "[auth //good]" },
	{ FROM_HELLO, "AUTH LOGIN\r\n\r\n\r\n", "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n" AUTH_NO,
	  "[auth //]" },
	{ FROM_HELLO, "AUTH PLAIN =\r\nNOOP\r\n", BAD_SASL OK, "" },
	{ FROM_HELLO, "AUTH PLAIN\r\n=\r\nNOOP\r\n", "334 \r\n" BAD_B64 OK, "" },
	{ FROM_HELLO, "AUTH PLAIN\r\n*\r\nNOOP\r\n",
	  "334 \r\n501 5.7.0 Authentication aborted\r\n" OK, "" },
	{ FROM_HELLO, "AUTH LOGIN\r\n*\r\nAUTH LOGIN\r\ndQ==\r\n*\r\nAUTH PLAIN AHUAZ29vZA==\r\n",
	  "334 VXNlcm5hbWU6\r\n501 5.7.0 Authentication aborted\r\n"
	  "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n501 5.7.0 Authentication aborted\r\n" AUTH_OK,
	  "[auth /u/good]" },
	{ FROM_HELLO, "AUTH PLAIN *\r\nAUTH PLAIN AHUAZ29v ZA==\r\n", BAD_B64 BAD_B64, "" },
	{ FROM_HELLO, "AUTH PLAIN AHUAZ29vZA=\r\nAUTH PLAIN AHUAZ29vZA\r\n", BAD_B64 BAD_B64, "" },
	{ FROM_HELLO, "AUTH PLAIN AH=AZ29vZA==\r\nAUTH PLAIN AHUAZ29vZB==\r\n", BAD_B64 BAD_B64,
	  "" },
	{ FROM_HELLO, "AUTH PLAIN\r\nAHUA Z29vZA==\r\nNOOP\r\n", "334 \r\n" BAD_B64 OK, "" },
	{ FROM_HELLO, "AUTH PLAIN AHUAAHAAcQ==\r\nNOOP\r\n", BAD_SASL OK, "" },
	{ FROM_HELLO, "AUTH LOGIN dQ==\r\n/w==\r\nNOOP\r\n", "334 UGFzc3dvcmQ6\r\n" BAD_SASL OK,
	  "" },
	{ FROM_HELLO,
	  "AUTH\r\nAUTH \r\nAUTH FOO\r\nAUTH CRAM-MD5 abc\r\nAUTH PLAI AHUAZ29vZA==\r\n",
	  SYNTAX SYNTAX "504 5.5.4 Unrecognized authentication mechanism\r\n"
			"504 5.5.4 Unrecognized authentication mechanism\r\n"
			"504 5.5.4 Unrecognized authentication mechanism\r\n",
	  "" },
	{ FROM_CLEAR, "AUTH PLAIN AHUAZ29vZA==\r\nAUTH LOGIN\r\nMAIL FROM:<a@b.c>\r\n",
	  "538 5.7.11 Encryption required for requested authentication mechanism\r\n"
	  "538 5.7.11 Encryption required for requested authentication mechanism\r\n" NEED_TLS,
	  "" },
	{ FROM_USER, "AUTH PLAIN AHUAZ29vZA==\r\nNOOP\r\n",
	  "503 5.5.1 Already authenticated\r\n" OK, "" },
	{ FROM_MAIL, "AUTH PLAIN AHUAZ29vZA==\r\n", "503 5.5.1 Already authenticated\r\n", "" },
	{ FROM_TLS, "HELO x\r\nAUTH PLAIN AHUAZ29vZA==\r\n",
	  "250 mx.test\r\n503 5.5.1 AUTH needs EHLO\r\n", "" },
	{ FROM_HELLO,
	  "AUTH PLAIN AHUAYmFk\r\nMAIL FROM:<a@b.c>\r\nAUTH PLAIN AHUAZ29vZA==\r\n" SUBMIT,
	  AUTH_NO NEED_AUTH AUTH_OK MAIL_OK RCPT_OK,
	  "[auth /u/bad][auth /u/good][mail a@from.test][rcpt b@to.test]" },
	/* The store is down: nobody's failure, however often. */
	{ FROM_HELLO,
	  "AUTH PLAIN AHUAbGF0ZXI=\r\nAUTH PLAIN AHUAbGF0ZXI=\r\nAUTH PLAIN AHUAbGF0ZXI=\r\n"
	  "AUTH PLAIN AHUAbGF0ZXI=\r\nMAIL FROM:<a@b.c>\r\n",
	  "454 4.7.0 Later\r\n454 4.7.0 Later\r\n454 4.7.0 Later\r\n454 4.7.0 Later\r\n" NEED_AUTH,
	  NULL },
	/* auth_max 3: failures of all kinds count, an aborted exchange does not */
	{ FROM_HELLO, "AUTH PLAIN AHUAYmFk\r\nAUTH PLAIN !\r\nAUTH PLAIN AHUAYmFk\r\nNOOP\r\n",
	  AUTH_NO BAD_B64 AUTH_NO "421 4.7.0 Too many failed logins, closing connection\r\n",
	  "[auth /u/bad][auth /u/bad][close]" },
	{ FROM_HELLO, "AUTH PLAIN =\r\nAUTH LOGIN\r\n?\r\nAUTH PLAIN AA==\r\nNOOP\r\n",
	  BAD_SASL "334 VXNlcm5hbWU6\r\n" BAD_B64 BAD_SASL
		   "421 4.7.0 Too many failed logins, closing connection\r\n",
	  "[close]" },
	{ FROM_HELLO, "AUTH PLAIN AHUAY2xvc2U=\r\nNOOP\r\n", "535 5.7.8 No\r\n" CLOSING, NULL },
	/* EHLO and RSET keep the identity. */
	{ FROM_USER, "RSET\r\nEHLO x\r\nMAIL FROM:<a@b.c>\r\n", OK EHLO_USER MAIL_OK, NULL },

	/* -- STARTTLS (RFC 3207) -- */
	{ FROM_CONNECT, "STARTTLS\r\n", "220 mx.test ESMTP service ready\r\n" EHLO_1ST, "" },
	{ FROM_CLEAR, "STARTTLS\r\n\fMAIL FROM:<a@b.c>\r\nEHLO x\r\nSTARTTLS\r\n",
	  "220 2.0.0 Begin TLS negotiation now\r\n" EHLO_1ST EHLO_TLS
	  "503 5.5.1 TLS is active already\r\n",
	  "[tls]" },
	{ FROM_CLEAR, "STARTTLS now\r\n\fNOOP\r\n", NO_ARG OK, "" },
	{ FROM_TLS, "HELO x\r\nSTARTTLS\r\n", "250 mx.test\r\n503 5.5.1 TLS is active already\r\n",
	  "" },

	/* -- MAIL -- */
	{ FROM_USER, "MAIL FROM:<>\r\n", MAIL_OK, "[mail]" },
	{ FROM_USER, "mail from:<\"a b\"@[1.2.3.4]>\r\n", MAIL_OK, "[mail \"a b\"@[1.2.3.4]]" },
	{ FROM_USER, "MAIL FROM: <a@b.c>\r\n", MAIL_OK, "[mail a@b.c]" },
	{ FROM_USER, "MAIL FROM:<@r.s:a@b.c> SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=x AUTH=<>\r\n",
	  MAIL_OK, "[mail a@b.c]" },
	{ FROM_USER, "MAIL FROM:<\xc3\xbc@b.c> SMTPUTF8\r\nRCPT TO:<\xc3\xbc@b.c>\r\n",
	  MAIL_OK RCPT_OK, "[mail \xc3\xbc@b.c][rcpt \xc3\xbc@b.c]" },
	{ FROM_USER,
	  "MAIL\r\nMAIL a@b.c\r\nMAIL FROM\r\nMAIL FROM:\r\nMAIL FROM:a@b.c\r\nMAIL TO:<a@b.c>\r\n",
	  SYNTAX SYNTAX SYNTAX SYNTAX SYNTAX SYNTAX, "" },
	{ FROM_USER,
	  "MAIL FROM:<a>\r\nMAIL FROM:<a@b.c\r\nMAIL FROM:<a@b..c>\r\nMAIL FROM:<postmaster>\r\n",
	  BAD_FROM BAD_FROM BAD_FROM BAD_FROM, "" },
	{ FROM_USER, "MAIL FROM:<\xc3\xbc@b.c>\r\n", "553 5.6.7 Address needs SMTPUTF8\r\n", "" },
	{ FROM_USER, "MAIL FROM:<\xff@b.c> SMTPUTF8\r\n", BAD_FROM, "" },
	{ FROM_USER, "MAIL FROM:<a@localhost>\r\n",
	  "554 5.1.8 Sender domain is not fully qualified\r\n", "" },
	{ FROM_USER,
	  "MAIL FROM:<a@b.c> SIZE=1001\r\nMAIL FROM:<a@b.c> SIZE=99999999999999999999\r\n",
	  TOO_BIG TOO_BIG, "" },
	{ FROM_USER,
	  "MAIL FROM:<a@b.c> SIZE=x\r\nMAIL FROM:<a@b.c>SIZE=1\r\nMAIL FROM:<a@b.c> RET=FULL "
	  "RET=FULL\r\n",
	  BAD_PARAM BAD_PARAM BAD_PARAM, "" },
	{ FROM_USER,
	  "MAIL FROM:<a@b.c> FOO=1\r\nMAIL FROM:<a@b.c> BODY=BINARYMIME\r\nMAIL FROM:<a@b.c> "
	  "NOTIFY=NEVER\r\n",
	  NO_PARAM NO_PARAM NO_PARAM, "" },
	{ FROM_MAIL, "MAIL FROM:<x@y.z>\r\nRCPT TO:<b@to.test>\r\nMAIL FROM:<x@y.z>\r\n",
	  TWICE RCPT_OK TWICE, "[rcpt b@to.test]" },
	/* A refused MAIL opens nothing. */
	{ FROM_USER,
	  "MAIL FROM:<no@b.c>\r\nRCPT TO:<b@c.d>\r\nMAIL FROM:<later@b.c>\r\nRCPT TO:<b@c.d>\r\n",
	  "550 5.7.1 No\r\n" MAIL_1ST "450 4.2.1 Later\r\n" MAIL_1ST,
	  "[mail no@b.c][mail later@b.c]" },
	{ FROM_USER, "MAIL FROM:<close@b.c>\r\nNOOP\r\n", "421 4.7.0 Go away\r\n",
	  "[mail close@b.c][close]" },
	{ FROM_USER,
	  "HELO x\r\nMAIL FROM:<a@b.c> SIZE=1\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<b@c.d> "
	  "NOTIFY=NEVER\r\nRCPT TO:<b@c.d>\r\n",
	  "250 mx.test\r\n" NO_PARAM MAIL_OK NO_PARAM RCPT_OK, "[mail a@b.c][rcpt b@c.d]" },

	/* -- RCPT -- */
	{ FROM_USER, "RCPT TO:<a@b.c>\r\n", MAIL_1ST, "" },
	{ FROM_MAIL,
	  "RCPT TO:<Postmaster>\r\nrcpt to: <A@B.c> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x\r\n",
	  RCPT_OK RCPT_OK, "[rcpt Postmaster][rcpt A@B.c]" },
	{ FROM_MAIL, "RCPT\r\nRCPT TO\r\nRCPT TO:a@b.c\r\nRCPT FROM:<a@b.c>\r\n",
	  SYNTAX SYNTAX SYNTAX SYNTAX, "" },
	{ FROM_MAIL, "RCPT TO:<>\r\nRCPT TO:<a@b@c>\r\nRCPT TO:<root>\r\n", BAD_TO BAD_TO BAD_TO,
	  "" },
	{ FROM_MAIL, "RCPT TO:<\xc3\xbc@b.c>\r\n", "553 5.6.7 Address needs SMTPUTF8\r\n", "" },
	{ FROM_MAIL, "RCPT TO:<a@b>\r\n", "554 5.1.2 Recipient domain is not fully qualified\r\n",
	  "" },
	{ FROM_MAIL, "RCPT TO:<a@b.c> SIZE=1\r\nRCPT TO:<a@b.c> NOTIFY=NEVER,DELAY\r\n",
	  NO_PARAM BAD_PARAM, "" },
	/* rcpt_max 3; the earlier ones stay valid, refused ones take no room */
	{ FROM_MAIL,
	  "RCPT TO:<no@b.c>\r\nRCPT TO:<a@b.c>\r\nRCPT TO:<b@b.c>\r\nRCPT TO:<c@b.c>\r\n"
	  "RCPT TO:<d@b.c>\r\nDATA\r\n\fx\r\n.\r\n",
	  "550 5.7.1 No\r\n" RCPT_OK RCPT_OK RCPT_OK "452 4.5.3 Too many recipients\r\n" GO QUEUED,
	  NULL },
	/* ... and the count begins anew */
	{ FROM_RCPT,
	  "RCPT TO:<a@b.c>\r\nRCPT TO:<b@b.c>\r\nRSET\r\n" SUBMIT
	  "RCPT TO:<a@b.c>\r\nRCPT TO:<b@b.c>\r\nRCPT TO:<c@b.c>\r\n",
	  RCPT_OK RCPT_OK OK MAIL_OK RCPT_OK RCPT_OK RCPT_OK "452 4.5.3 Too many recipients\r\n",
	  NULL },

	/* -- DATA -- */
	{ FROM_RCPT, "DATA\r\n\fhi\r\n..\r\n.x\r\n.\r\n", GO QUEUED,
	  "[body][commit hi\r\n.\r\nx\r\n]" },
	{ FROM_RCPT, "DATA\r\n\f.\r\nNOOP\r\n", GO QUEUED OK, "[body][commit]" },
	{ FROM_USER, "DATA\r\n", MAIL_1ST, "" },
	{ FROM_MAIL, "DATA\r\n\fRCPT TO:<a@b.c>\r\n", RCPT_1ST RCPT_OK, "[rcpt a@b.c]" },
	{ FROM_MAIL, "RCPT TO:<no@b.c>\r\nDATA\r\n\fRCPT TO:<bad>\r\nDATA\r\n",
	  "550 5.7.1 No\r\n" NO_RCPT BAD_TO NO_RCPT, "[rcpt no@b.c]" },
	/* After the message, its end is the end: no RCPT, no DATA, no second copy. */
	{ FROM_RCPT, "DATA\r\n\fx\r\n.\r\nRCPT TO:<a@b.c>\r\nDATA\r\n\fBDAT 1 LAST\r\nx" SUBMIT,
	  GO QUEUED MAIL_1ST MAIL_1ST MAIL_1ST MAIL_OK RCPT_OK,
	  "[body][commit x\r\n][mail a@from.test][rcpt b@to.test]" },
	/* ... also when it was refused, by the driver or here */
	{ FROM_RCPT, "DATA\r\n\fREJECT\r\n.\r\nRCPT TO:<a@b.c>\r\nDATA\r\n\fMAIL FROM:<a@b.c>\r\n",
	  GO "550-5.7.1 Not\r\n550 5.7.1 this one\r\n" MAIL_1ST MAIL_1ST MAIL_OK,
	  "[body][commit REJECT\r\n][mail a@b.c]" },
	{ FROM_RCPT,
	  "DATA\r\n\fa\nb\r\n.\r\nRCPT TO:<a@b.c>\r\nDATA\r\n\fBDAT 1 LAST\r\nxMAIL "
	  "FROM:<a@b.c>\r\n",
	  GO BARE MAIL_1ST MAIL_1ST MAIL_1ST MAIL_OK, "[body][reset][mail a@b.c]" },
	{ FROM_USER,
	  "MAIL FROM:<full@b.c>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n\fRCPT TO:<a@b.c>\r\nMAIL "
	  "FROM:<a@b.c>\r\n",
	  MAIL_OK RCPT_OK "452 4.3.1 Disk full\r\n" MAIL_1ST MAIL_OK,
	  "[mail full@b.c][rcpt a@b.c][body][reset][mail a@b.c]" },
	{ FROM_RCPT, "DATA\r\n\fa\rb\r\n.\r\n", GO BARE, "[body][reset]" },
	{ FROM_RCPT, "DATA\r\n\fa\r\n..\r\n\r\r\n.\r\n", GO BARE, "[body][reset]" },
	/* body_line_max 78 */
	{ FROM_RCPT, "DATA\r\n\f" X70 "12345678\r\n.\r\n", GO QUEUED, NULL },
	{ FROM_RCPT, "DATA\r\n\f." X70 "12345678\r\n.\r\n", GO QUEUED, NULL },
	{ FROM_RCPT, "DATA\r\n\fa\r\n" X70 "123456789\r\na\r\n.\r\nNOOP\r\n", GO TOO_LONG OK,
	  "[body][reset]" },
	/* Nothing carries over into the next message. */
	{ FROM_RCPT, "DATA\r\n\f\nx\r\n.\r\n" SUBMIT "DATA\r\n\fx\r\n.\r\n",
	  GO BARE MAIL_OK RCPT_OK GO QUEUED, NULL },
	{ FROM_RCPT, "DATA\r\n\f" X70 X10 "\r\n.\r\n" SUBMIT "DATA\r\n\fx\r\n.\r\n",
	  GO TOO_LONG MAIL_OK RCPT_OK GO QUEUED, NULL },

	/* -- BDAT (RFC 3030) -- */
	{ FROM_RCPT, "BDAT 4\r\nab\r\nBDAT 3 LAST\r\ncdeNOOP\r\n", OK QUEUED OK,
	  "[body][commit ab\r\ncde]" },
	{ FROM_RCPT, "bdat 3 last\r\n.\r\nNOOP\r\n", QUEUED OK, "[body][commit .\r\n]" },
	{ FROM_RCPT, "BDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\n", OK QUEUED, "[body][commit QUIT\r\n]" },
	{ FROM_RCPT, "BDAT 0\r\nBDAT 0 LAST\r\n", OK QUEUED, "[body][commit]" },
	{ FROM_RCPT, "BDAT 1\r\n\rBDAT 1\r\n\nBDAT 0 LAST\r\n", OK OK QUEUED,
	  "[body][commit \r\n]" },
	{ FROM_USER, "BDAT 2 LAST\r\nabNOOP\r\n", MAIL_1ST OK, "" },
	/* A chunk that came too early leaves no trace in what follows. */
	{ FROM_USER, "BDAT 2\r\n\n\n" SUBMIT "BDAT 1 LAST\r\nx", MAIL_1ST MAIL_OK RCPT_OK QUEUED,
	  NULL },
	{ FROM_MAIL, "BDAT 2\r\nabRCPT TO:<a@b.c>\r\nBDAT 1 LAST\r\nx", RCPT_1ST RCPT_OK QUEUED,
	  "[rcpt a@b.c][body][commit x]" },
	{ FROM_MAIL, "RCPT TO:<no@b.c>\r\nBDAT 2\r\nabBDAT 1 LAST\r\nxRSET\r\n",
	  "550 5.7.1 No\r\n" NO_RCPT NO_RCPT OK, "[rcpt no@b.c][reset]" },
	{ FROM_RCPT, "BDAT 1 LAST\r\nxBDAT 1 LAST\r\nyBDAT 0 LAST\r\n", QUEUED MAIL_1ST MAIL_1ST,
	  "[body][commit x]" },
	/* While chunks come, and after one failed: only BDAT and what ends the transaction. */
	{ FROM_RCPT,
	  "BDAT 1\r\nxMAIL FROM:<a@b.c>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n\fBDAT 1 LAST\r\ny",
	  OK TWICE IN_BDAT IN_BDAT QUEUED, "[body][commit xy]" },
	{ FROM_RCPT,
	  "BDAT 1\r\n\nRCPT TO:<a@b.c>\r\nMAIL FROM:<a@b.c>\r\nDATA\r\n\fBDAT 2\r\nabBDAT 1 "
	  "LAST\r\nxBDAT 1 LAST\r\nxRCPT TO:<a@b.c>\r\nMAIL FROM:<a@b.c>\r\n",
	  BARE IN_BDAT TWICE IN_BDAT BARE BARE MAIL_1ST MAIL_1ST MAIL_OK,
	  "[body][reset][mail a@b.c]" },
	{ FROM_RCPT, "BDAT 1\r\n\nRSET\r\nRCPT TO:<a@b.c>\r\n" SUBMIT "BDAT 1 LAST\r\nx",
	  BARE OK MAIL_1ST MAIL_OK RCPT_OK QUEUED, NULL },
	{ FROM_RCPT, "BDAT 1\r\n\nEHLO x\r\nBDAT 1 LAST\r\nx", BARE EHLO_USER MAIL_1ST,
	  "[body][reset]" },
	{ FROM_RCPT, "BDAT 3 LAST\r\na\r\r", BARE, "[body][reset]" },
	{ FROM_RCPT, "BDAT 2 LAST\r\na\rNOOP\r\n", BARE OK, "[body][reset]" },
	{ FROM_RCPT, "BDAT 2\r\na\rBDAT 1 LAST\r\nb", OK BARE, "[body][reset]" },
	{ FROM_RCPT, "BDAT 79 LAST\r\n" X70 "123456789", TOO_LONG, "[body][reset]" },
	{ FROM_USER,
	  "MAIL FROM:<full@b.c>\r\nRCPT TO:<a@b.c>\r\nBDAT 2\r\nabNOOP\r\nBDAT 1 LAST\r\nxMAIL "
	  "FROM:<a@b.c>\r\n",
	  MAIL_OK RCPT_OK "452 4.3.1 Disk full\r\n" OK "452 4.3.1 Disk full\r\n" MAIL_OK,
	  "[mail full@b.c][rcpt a@b.c][body][reset][mail a@b.c]" },
	/* A line over the limit in between changes nothing (and wipes no reason). */
	{ FROM_RCPT, "BDAT 1\r\n\nEXPN x\r\nBDAT 1\r\nxRSET\r\n", BARE ABSENT BARE OK, NULL },
	/* A size that cannot be read: what follows cannot be told from commands. */
	{ FROM_RCPT, "BDAT\r\nNOOP\r\n", BAD_BDAT, "[reset][close]" },
	{ FROM_RCPT, "BDAT x\r\n", BAD_BDAT, NULL },
	{ FROM_RCPT, "BDAT -1\r\n", BAD_BDAT, NULL },
	{ FROM_RCPT, "BDAT 99999999999999999999\r\n", BAD_BDAT, NULL },
	{ FROM_RCPT, "BDAT 1 LASTX\r\n", BAD_BDAT, NULL },
	{ FROM_RCPT, "BDAT 1  LAST\r\n", BAD_BDAT, NULL },
	{ FROM_CONNECT, "BDAT LAST\r\n", "220 mx.test ESMTP service ready\r\n" BAD_BDAT, NULL },

	/* -- RSET, EHLO: the transaction, and nothing else -- */
	{ FROM_RCPT, "RSET\r\nRCPT TO:<a@b.c>\r\nMAIL FROM:<a@b.c>\r\n", OK MAIL_1ST MAIL_OK,
	  "[reset][mail a@b.c]" },
	{ FROM_RCPT, "EHLO x\r\nDATA\r\n\fMAIL FROM:<a@b.c>\r\n", EHLO_USER MAIL_1ST MAIL_OK,
	  "[reset][mail a@b.c]" },
	{ FROM_RCPT, "HELO x\r\nDATA\r\n", "250 mx.test\r\n" MAIL_1ST, "[reset]" },
	{ FROM_RCPT, "EHLO\r\nNOOP\r\nDATA\r\n\f.\r\n", SYNTAX OK GO QUEUED, "[body][commit]" },
	{ FROM_RCPT, "QUIT\r\nNOOP\r\n", BYE, "[reset][close]" },

	/* -- pipelining (RFC 2920): replies in order, one each -- */
	{ FROM_HELLO,
	  "AUTH PLAIN AHUAZ29vZA==\r\nNOOP\r\nMAIL FROM:<a@b.c>\r\nFOO\r\nRCPT TO:<no@b.c>\r\nRCPT "
	  "TO:<d@e.f>\r\nDATA\r\n\f.\r\nRSET\r\nMAIL FROM:<>\r\nQUIT\r\n",
	  AUTH_OK OK MAIL_OK UNKNOWN "550 5.7.1 No\r\n" RCPT_OK GO QUEUED OK MAIL_OK BYE, NULL },

	/* -- HTTP: a browser was talked into this -- */
	{ FROM_CONNECT, "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	  "220 mx.test ESMTP service ready\r\n554 5.5.0 This is not an HTTP server\r\n" CLOSING,
	  "[close]" },
	{ FROM_TLS, "POST / HTTP/1.1\r\n", "554 5.5.0 This is not an HTTP server\r\n" CLOSING,
	  "[close]" },
	{ FROM_TLS, "Host: x\r\n", "554 5.5.0 This is not an HTTP server\r\n" CLOSING, "[close]" },

	/* -- line ends: only CRLF; else the session ends -- */
	{ FROM_HELLO, "NOOP\nNOOP\r\n", BARE_CMD, "[close]" },
	{ FROM_HELLO, "\n", BARE_CMD, "[close]" },
	{ FROM_HELLO, "NO\rOP\r\nNOOP\r\n", BARE_CMD, "[close]" },
	{ FROM_HELLO, "NOOP\r\r\n", BARE_CMD, "[close]" },
	{ FROM_HELLO, "AUTH LOGIN\r\ndQ==\nZ29vZA==\r\n", "334 VXNlcm5hbWU6\r\n" BARE_CMD,
	  "[close]" },
	{ FROM_RCPT, "NOOP\rMAIL FROM:<a@b.c>\r\n", BARE_CMD, "[reset][close]" },
};

static void check_row(const struct row *row, const struct smtp_config *cfg, size_t chunk)
{
	struct slice wire, trace;
	struct rig r;

	rig_init(&r, cfg);
	rig_start(&r, row->from);
	rig_script(&r, slice_str(row->client), chunk);
	wire = rig_wire(&r);
	trace = rig_trace(&r);
	if (!slice_eq(wire, slice_str(row->server)))
		fail_msg("client:\n%s\nchunk %zu, replies:\n%.*s\nwanted:\n%s", row->client, chunk,
			 SLICE_ARG(wire), row->server);
	if (row->events && !slice_eq(trace, slice_str(row->events)))
		fail_msg("client:\n%s\nchunk %zu, events:\n%.*s\nwanted:\n%s", row->client, chunk,
			 SLICE_ARG(trace), row->events);
	rig_done(&r);
}

static void exact_replies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		/* Starting the connection inside TLS must make no difference. */
		if (rows[i].from >= FROM_TLS)
			check_row(&rows[i], &rig_cfg_tls, 0);
		check_row(&rows[i], &rig_cfg, 0);
		check_row(&rows[i], &rig_cfg, 1);
		check_row(&rows[i], &rig_cfg, 3);
	}
}

/* -- what depends on a segment: bytes behind STARTTLS and DATA ----------------------------------
 */

static void behind_starttls(void **state)
{
	static const struct row injections[] = {
		{ FROM_CLEAR, "STARTTLS\r\nMAIL FROM:<evil@x.y>\r\n",
		  "554 5.5.0 Bytes behind STARTTLS\r\n" CLOSING, "[close]" },
		{ FROM_CLEAR, "STARTTLS\r\nx", "554 5.5.0 Bytes behind STARTTLS\r\n" CLOSING,
		  "[close]" },
		{ FROM_CLEAR, "STARTTLS x\r\nx", "554 5.5.0 Bytes behind STARTTLS\r\n" CLOSING,
		  "[close]" },
		{ FROM_RCPT, "DATA\r\nSubject: x\r\n.\r\n",
		  "554 5.5.0 Bytes behind DATA\r\n" CLOSING, "[reset][close]" },
		{ FROM_USER, "DATA\r\nMAIL FROM:<evil@x.y>\r\n",
		  "554 5.5.0 Bytes behind DATA\r\n" CLOSING, "[close]" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof injections / sizeof *injections; i++)
		check_row(&injections[i], &rig_cfg, 0);
}

static void tls_forgets(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, &rig_cfg);
	rig_start(&r, FROM_CLEAR);
	assert_true(slice_eq(smtp_session_helo(r.s), S("cl.test")));
	assert_true(smtp_session_is_esmtp(r.s) && !smtp_session_tls(r.s));
	rig_feed(&r, S("STARTTLS\r\n"), 0);
	assert_int_equal(smtp_session_helo(r.s).n, 0);
	assert_true(!smtp_session_is_esmtp(r.s) && smtp_session_tls(r.s) &&
		    !smtp_session_user(r.s));
	rig_done(&r);
}

static void tls_variants(void **state)
{
	struct smtp_config broken = rig_cfg, none = rig_cfg, both = rig_cfg;
	const struct row broken_rows[] = {
		{ FROM_CLEAR, "STARTTLS\r\n\fEHLO x\r\nMAIL FROM:<a@b.c>\r\n",
		  "454 4.7.0 TLS not available due to temporary reason\r\n" EHLO_CLEAR NEED_TLS,
		  "" },
	};
	const struct row none_rows[] = {
		{ FROM_CLEAR, "STARTTLS\r\n\fEHLO x\r\nMAIL FROM:<a@b.c>\r\n",
		  ABSENT EHLO_USER NEED_AUTH, "" },
	};

	(void)state;
	broken.tls_available = false;
	both.tls_broken = broken.tls_broken = true;
	none.tls_available = false;
	check_row(broken_rows, &broken, 0);
	check_row(broken_rows, &both, 0);
	check_row(none_rows, &none, 0);
}

/* -- limits ---------------------------------------------------------------------------------------
 */

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

/* -- every split --------------------------------------------------------------------------------
 */

static const struct slice long_script[] = {
	S("EHLO a\r\n"),
	S("STARTTLS\r\n"),
	S("EHLO a\r\nAUTH LOGIN\r\ndQ==\r\nYmFk\r\nAUTH PLAIN\r\n*\r\nAUTH PLAIN AHUAZ29vZA==\r\n"
	  "MAIL FROM:<a@b.c> SIZE=3\r\nRCPT TO:<c@d.e>\r\nRCPT TO:<no@f.g>\r\nDATA\r\n"),
	S("Subject: x\r\n\r\n..dot\r\n.x\r\n...\r\nbye\r\n.\r\n"),
	S("MAIL FROM:<a@b.c>\r\nRCPT TO:<c@d.e>\r\nBDAT 5\r\n.\r\n.\rBDAT 4 LAST\r\n\nxyzRSET\r\n"
	  "MAIL FROM:<a@b.c>\r\nRCPT TO:<c@d.e>\r\nBDAT 2\r\n\n\nBDAT 1 LAST\r\nxNOOP\r\nQUIT\r\n"),
};
#define TURNS (sizeof long_script / sizeof *long_script)

/* Plays it cut at a and b, counted over all turns, or in chunks; returns wire and trace. */
static void play(size_t a, size_t b, size_t chunk, struct buf *ret)
{
	size_t pos = 0;
	struct rig r;

	rig_init(&r, &rig_cfg);
	rig_pump(&r);
	for (size_t t = 0; t < TURNS; t++) {
		struct slice left = long_script[t];

		while (left.n) {
			size_t n = left.n;

			if (pos < a && a < pos + n)
				n = a - pos;
			else if (pos < b && b < pos + n)
				n = b - pos;
			pos += n;
			rig_feed(&r, slice_take(&left, n), chunk);
		}
	}
	buf_clear(ret);
	buf_add(ret, rig_wire(&r));
	buf_add(ret, rig_trace(&r));
	rig_done(&r);
}

static void every_split(void **state)
{
	static const char end[] = BYE
	    "[tls][auth /u/bad][auth /u/good][mail a@b.c][rcpt c@d.e][rcpt no@f.g][body]"
	    "[commit Subject: x\r\n\r\n.dot\r\nx\r\n..\r\nbye\r\n][mail a@b.c][rcpt c@d.e][body]"
	    "[commit .\r\n.\r\nxyz][mail a@b.c][rcpt c@d.e][body][reset][close]";
	struct buf whole, cut;
	size_t total = 0;

	(void)state;
	buf_init(&whole, 1 << 16);
	buf_init(&cut, 1 << 16);
	for (size_t t = 0; t < TURNS; t++)
		total += long_script[t].n;
	play(0, 0, 0, &whole);
	if (!slice_ends(buf_slice(&whole), slice_str(end)))
		fail_msg("got:\n%.*s", SLICE_ARG(buf_slice(&whole)));
	for (size_t a = 0; a <= total; a++) {
		/* every two-way split, and a sample of the three-way ones */
		for (size_t b = a; b <= total; b += b > a ? 37 : 1) {
			play(a, b, 0, &cut);
			if (!slice_eq(buf_slice(&cut), buf_slice(&whole)))
				fail_msg("cut at %zu and %zu:\n%.*s", a, b,
					 SLICE_ARG(buf_slice(&cut)));
		}
	}
	for (size_t chunk = 1; chunk < 40; chunk++) {
		play(0, 0, chunk, &cut);
		assert_true(slice_eq(buf_slice(&cut), buf_slice(&whole)));
	}
	buf_done(&whole);
	buf_done(&cut);
}

/* -- smuggling ------------------------------------------------------------------------------------
 */

static void look_alikes(void **state)
{
	static const struct slice ends[] = {
		S("\n.\r\n"),     S("\r\n.\n"),     S("\n.\n"),       S("\r.\r\n"),
		S("\r\n.\r"),     S("\r.\r"),       S("\r\n\0.\r\n"), S("\r\n.\0\r\n"),
		S("\r\r\n.\r\r"), S("\r\n.\r\r\n"), S("\n\n.\r\n"),   S("\r\n\n.\r\n"),
		S("\r\n.\n\r\n"), S("\n.\r"),
	};
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		for (size_t chunk = 0; chunk < 9; chunk++) {
			struct rig r;

			buf_clear(&b);
			buf_add(&b, S("hi"));
			buf_add(&b, ends[i]);
			buf_add(&b, S("MAIL FROM:<evil@x.y>\r\nok\r\n.\r\nNOOP\r\n"));
			rig_init(&r, &rig_cfg);
			rig_start(&r, FROM_RCPT);
			rig_feed(&r, S("DATA\r\n"), 0);
			rig_feed(&r, buf_slice(&b), chunk);
			assert_true(slice_eq(rig_wire(&r), S(GO BARE OK)));
			assert_true(slice_eq(rig_trace(&r), S("[body][reset]")));
			rig_done(&r);
		}
	}
	buf_done(&b);
}

/* -- what comes from outside the bytes ------------------------------------------------------------
 */

static void replies_are_bounded(void **state)
{
	struct smtp_config cfg = rig_cfg;
	struct buf flood;
	struct rig r;

	(void)state;
	cfg.command_max = 0;
	buf_init(&flood, 1 << 20);
	repeat(&flood, S("NOOP\r\n"), 100000);
	rig_init(&r, &cfg);
	rig_start(&r, FROM_HELLO);
	rig_feed(&r, buf_slice(&flood), 0);
	assert_int_equal(r.wire.n, 100000 * 14);
	assert_true(r.flushes > 300 && r.out.cap <= SMTP_OUT_MIN);
	rig_done(&r);
	buf_done(&flood);
}

/* One step on a slice that stays where it is. */
static enum smtp_want step(struct rig *r, struct slice *in, struct smtp_event *ev)
{
	return smtp_session_step(r->s, in, &r->out, ev);
}

static void late_answers(void **state)
{
	struct smtp_answer yes = { 235, "2.7.0", S("Ok"), false },
			   fine = { 250, "2.0.0", S("Ok"), false };
	struct slice in = S("AUTH PLAIN AHUAZ29vZA==\r\nMAIL FROM:<x@y.z>\r\n");
	struct smtp_event ev;
	uint32_t first;
	struct rig r;

	(void)state;
	rig_init(&r, &rig_cfg);
	rig_start(&r, FROM_HELLO);
	assert_false(smtp_session_answer(r.s, 0, &yes, &r.out));
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_AUTH);
	first = ev.question;
	assert_true(first != 0);
	/* Nothing is read past an open question. */
	assert_int_equal(step(&r, &in, &ev), SMTP_WANT_ANSWER);
	assert_int_equal(in.n, S("MAIL FROM:<x@y.z>\r\n").n);
	assert_int_equal(smtp_session_clock(r.s), SMTP_CLOCK_NONE);
	assert_false(smtp_session_answer(r.s, first + 1, &yes, &r.out));
	assert_false(smtp_session_user(r.s));
	assert_true(smtp_session_answer(r.s, first, &yes, &r.out));
	assert_true(smtp_session_user(r.s));
	/* The old number does not close the new question. */
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_MAIL);
	assert_false(smtp_session_answer(r.s, first, &fine, &r.out));
	assert_false(smtp_session_in_tx(r.s));
	/* The client left. */
	smtp_session_eof(r.s);
	assert_false(smtp_session_answer(r.s, ev.question, &fine, &r.out));
	assert_int_equal(step(&r, &in, &ev), SMTP_DO_CLOSE);
	assert_int_equal(step(&r, &in, &ev), SMTP_DO_CLOSE);
	rig_done(&r);
}

/* The client vanishes while the commit is under way: cancel if you still can. */
static void gone_during_commit(void **state)
{
	struct smtp_answer fine = { 250, "2.0.0", S("Ok"), false };
	struct slice in = S("BDAT 1 LAST\r\nx");
	struct smtp_event ev;
	uint32_t q;
	struct rig r;

	(void)state;
	rig_init(&r, &rig_cfg);
	rig_start(&r, FROM_RCPT);
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_BODY);
	assert_true(smtp_session_answer(r.s, ev.question, &fine, &r.out));
	assert_int_equal(step(&r, &in, &ev), SMTP_GOT_BODY);
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_COMMIT);
	q = ev.question;
	smtp_session_eof(r.s);
	assert_int_equal(step(&r, &in, &ev), SMTP_GOT_RESET);
	assert_int_equal(step(&r, &in, &ev), SMTP_DO_CLOSE);
	assert_false(smtp_session_answer(r.s, q, &fine, &r.out));
	rig_done(&r);
}

static void cut_off_is_no_message(void **state)
{
	static const struct slice cuts[] = { S("DATA\r\n\fa\r\n"), S("DATA\r\n\fa\r\n."),
					     S("DATA\r\n\fa\r\n.\r"), S("BDAT 3 LAST\r\nab"),
					     S("BDAT 2\r\nab") };

	(void)state;
	for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
		struct rig r;

		rig_init(&r, &rig_cfg);
		rig_start(&r, FROM_RCPT);
		rig_script(&r, cuts[i], 0);
		smtp_session_eof(r.s);
		rig_pump(&r);
		assert_true(slice_eq(rig_trace(&r), S("[body][reset][close]")));
		rig_done(&r);
	}
}

static void expires(void **state)
{
	static const struct {
		enum rig_from from;
		struct slice say;
		enum smtp_clock clock;
		const char *events;
	} cases[] = {
		{ FROM_CONNECT, S(""), SMTP_CLOCK_LOGIN, "[close]" },
		{ FROM_HELLO, S("NOO"), SMTP_CLOCK_LOGIN, "[close]" },
		{ FROM_HELLO, S("AUTH LOGIN\r\n"), SMTP_CLOCK_LOGIN, "[close]" },
		{ FROM_USER, S(""), SMTP_CLOCK_COMMAND, "[close]" },
		{ FROM_RCPT, S(""), SMTP_CLOCK_COMMAND, "[reset][close]" },
		{ FROM_RCPT, S("DATA\r\n"), SMTP_CLOCK_BODY, "[body][reset][close]" },
		{ FROM_RCPT, S("BDAT 2\r\na"), SMTP_CLOCK_BODY, "[body][reset][close]" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rig r;

		rig_init(&r, &rig_cfg);
		rig_start(&r, cases[i].from);
		rig_feed(&r, cases[i].say, 0);
		assert_int_equal(smtp_session_clock(r.s), cases[i].clock);
		smtp_session_expire(r.s);
		rig_pump(&r);
		assert_true(
		    slice_ends(rig_wire(&r), S("421 4.4.2 Timeout, closing connection\r\n")));
		assert_true(slice_eq(rig_trace(&r), slice_str(cases[i].events)));
		assert_int_equal(smtp_session_clock(r.s), SMTP_CLOCK_NONE);
		rig_done(&r);
	}
}

/* A peer whose replies are not read any more, and a handshake: nothing is said. */
static void expires_without_room(void **state)
{
	struct slice none = S("");
	struct smtp_event ev;
	struct rig r;

	(void)state;
	rig_init(&r, &rig_cfg);
	rig_start(&r, FROM_HELLO);
	while (buf_left(&r.out) >= 2048)
		buf_addc(&r.out, 'x');
	assert_int_equal(step(&r, &none, &ev), SMTP_WANT_FLUSH);
	smtp_session_expire(r.s);
	assert_int_equal(step(&r, &none, &ev), SMTP_DO_CLOSE);
	assert_true(!r.out.failed && buf_left(&r.out) == 2047);
	rig_done(&r);

	rig_init(&r, &rig_cfg);
	r.hold_tls = true;
	rig_pump(&r);
	rig_feed(&r, S("EHLO x\r\n"), 0);
	rig_feed(&r, S("STARTTLS\r\n"), 0);
	assert_int_equal(smtp_session_clock(r.s), SMTP_CLOCK_LOGIN);
	buf_clear(&r.wire);
	smtp_session_expire(r.s);
	rig_pump(&r);
	assert_true(r.closed && r.wire.n == 0);
	rig_done(&r);
}

#define DOWN "421 4.3.2 Service shutting down, closing connection\r\n"

static void shuts_down(void **state)
{
	static const struct {
		enum rig_from from;
		const char *before; /* said, then the shutdown comes */
		const char *at_once;
		const char *after;
		const char *then;
	} cases[] = {
		{ FROM_CONNECT, "", "220 mx.test ESMTP service ready\r\n" DOWN, "", "" },
		{ FROM_HELLO, "", DOWN, "", "" },
		{ FROM_HELLO, "AUTH LOGIN\r\n", "334 VXNlcm5hbWU6\r\n" DOWN, "", "" },
		{ FROM_USER, "", DOWN, "", "" },
		{ FROM_MAIL, "", "", "RCPT TO:<a@b.c>\r\nRSET\r\nMAIL FROM:<a@b.c>\r\n",
		  RCPT_OK OK DOWN },
		{ FROM_RCPT, "DATA\r\n", GO, "x\r\n.\r\nMAIL FROM:<a@b.c>\r\n", QUEUED DOWN },
		{ FROM_RCPT, "BDAT 1\r\nx", OK, "BDAT 1 LAST\r\nx", QUEUED DOWN },
		{ FROM_USER, "BDAT 2\r\nx", "", "x", MAIL_1ST DOWN },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rig r;

		rig_init(&r, &rig_cfg);
		rig_start(&r, cases[i].from);
		rig_feed(&r, slice_str(cases[i].before), 0);
		smtp_session_shutdown(r.s, false);
		rig_pump(&r);
		assert_true(slice_eq(rig_wire(&r), slice_str(cases[i].at_once)));
		buf_clear(&r.wire);
		rig_feed(&r, slice_str(cases[i].after), 0);
		assert_true(slice_eq(rig_wire(&r), slice_str(cases[i].then)));
		assert_true(r.closed);
		rig_done(&r);

		rig_init(&r, &rig_cfg);
		rig_start(&r, cases[i].from);
		rig_feed(&r, slice_str(cases[i].before), 0);
		smtp_session_shutdown(r.s, true);
		rig_pump(&r);
		assert_true(slice_ends(rig_wire(&r), S(DOWN)) && r.closed);
		rig_done(&r);
	}
}

/* What the driver says may come from anywhere: it stays one reply, bounded. */
static void answers_are_tamed(void **state)
{
	struct slice in = S("MAIL FROM:<a@b.c>\r\n");
	struct smtp_answer a = { 550, "5.7.1", S("a\r\nb\0c\xc3\xbc\n250 Ok\x1b[0m"), false };
	struct smtp_event ev;
	struct buf big;
	struct rig r;

	(void)state;
	rig_init(&r, &rig_cfg);
	rig_start(&r, FROM_USER);
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_MAIL);
	assert_true(smtp_session_answer(r.s, ev.question, &a, &r.out));
	assert_true(slice_eq(buf_slice(&r.out),
			     S("550-5.7.1 a?\r\n550-5.7.1 b?c??\r\n550 5.7.1 250 Ok?[0m\r\n")));

	buf_init(&big, 1 << 16);
	for (int kind = 0; kind < 2; kind++) {
		struct slice left, line;
		size_t lines = 0;

		buf_clear(&big);
		repeat(&big, kind ? S("\n") : S("x"), 1 << 16);
		buf_clear(&r.out);
		in = S("MAIL FROM:<a@b.c>\r\n");
		assert_int_equal(step(&r, &in, &ev), SMTP_ASK_MAIL);
		a.text = buf_slice(&big);
		a.close = kind;
		assert_true(smtp_session_answer(r.s, ev.question, &a, &r.out));
		assert_true(r.out.n <= 2048);
		left = buf_slice(&r.out);
		while (left.n) {
			slice_cut(left, '\n', &line, &left);
			assert_true(line.n < 512);
			lines++;
		}
		assert_int_equal(lines, kind ? 17 : 3);
	}
	assert_true(slice_ends(buf_slice(&r.out), S("550 5.7.1\r\n" CLOSING)));
	buf_done(&big);
	rig_done(&r);
}

static void parameters_arrive(void **state)
{
	struct slice in = S("MAIL FROM:<a@b.c> SIZE=7 BODY=8BITMIME ENVID=e RET=FULL\r\n"
			    "RCPT TO:<a@b.c> NOTIFY=NEVER ORCPT=rfc822;q\r\n");
	struct smtp_answer fine = { 250, "2.0.0", S("Ok"), false };
	struct smtp_event ev;
	struct rig r;

	(void)state;
	rig_init(&r, &rig_cfg);
	rig_start(&r, FROM_USER);
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_MAIL);
	assert_true(ev.mail->size == 7 && ev.mail->body == SMTP_BODY_8BITMIME &&
		    ev.mail->ret == SMTP_RET_FULL && slice_eq(ev.mail->envid, S("e")));
	assert_true(smtp_session_answer(r.s, ev.question, &fine, &r.out));
	assert_int_equal(step(&r, &in, &ev), SMTP_ASK_RCPT);
	assert_true(ev.rcpt->notify == SMTP_NOTIFY_NEVER &&
		    slice_eq(ev.rcpt->orcpt, S("rfc822;q")));
	/* The slices are the session's own copy: the driver's bytes may move now. */
	assert_true(ev.path->whole.p < in.p - 100 || ev.path->whole.p > in.p);
	assert_true(smtp_session_in_tx(r.s));
	assert_true(smtp_session_answer(r.s, ev.question, &fine, &r.out));
	smtp_session_shrink(r.s);
	r.mail = true; /* the rig was not asked */
	rig_feed(&r, S("RCPT TO:<b@b.c>\r\n"), 0);
	assert_true(slice_eq(rig_trace(&r), S("[rcpt b@b.c]")));
	rig_done(&r);
}

int run_session_tests(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(exact_replies),
		cmocka_unit_test(behind_starttls),
		cmocka_unit_test(tls_forgets),
		cmocka_unit_test(tls_variants),
		cmocka_unit_test(line_limits),
		cmocka_unit_test(nul_ends_it),
		cmocka_unit_test(size_limit),
		cmocka_unit_test(discard_limit),
		cmocka_unit_test(error_limit),
		cmocka_unit_test(command_limit),
		cmocka_unit_test(message_limit),
		cmocka_unit_test(every_split),
		cmocka_unit_test(look_alikes),
		cmocka_unit_test(replies_are_bounded),
		cmocka_unit_test(late_answers),
		cmocka_unit_test(gone_during_commit),
		cmocka_unit_test(cut_off_is_no_message),
		cmocka_unit_test(expires),
		cmocka_unit_test(expires_without_room),
		cmocka_unit_test(shuts_down),
		cmocka_unit_test(answers_are_tamed),
		cmocka_unit_test(parameters_arrive),
	};

	return cmocka_run_group_tests_name("smtp session", tests, NULL, NULL);
}
