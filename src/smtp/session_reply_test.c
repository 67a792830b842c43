/* A client line and the exact reply, from every state a conversation can be in. */
#include "smtp/session_rig.h"
#include "smtp/session_says.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

int run_session_reply_tests(void);

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

int run_session_reply_tests(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(exact_replies),
		cmocka_unit_test(behind_starttls),
		cmocka_unit_test(tls_forgets),
		cmocka_unit_test(tls_variants),
	};

	return cmocka_run_group_tests_name("smtp session replies", tests, NULL, NULL);
}
