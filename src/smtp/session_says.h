/* smtp/session_says.h -- what the tests of the session expect to read, and to say. */
#ifndef SMTP_SESSION_SAYS_H
#define SMTP_SESSION_SAYS_H

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

#endif
