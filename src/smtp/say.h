/* smtp/say.h -- everything the server session says of its own accord, in one table.
 *
 * Whole reply lines, so that saying one is one copy. Replies in the words of SendGrid where they
 * break no RFC; enhanced codes (RFC 2034, 3463) in each but the 3xx and the greeting kind. */
#ifndef SMTP_SAY_H
#define SMTP_SAY_H

#include "base/buf.h"

enum say {
	SAY_NOTHING,
	/* 2xx, 3xx */
	SAY_HELP,
	SAY_OK,
	SAY_TLS_READY,
	SAY_BYE,
	SAY_CANNOT_VERIFY,
	/* the session ends */
	SAY_TIMEOUT,
	SAY_SHUTDOWN,
	SAY_CLOSING,
	SAY_TOO_MANY_ERRORS,
	SAY_TOO_MANY_COMMANDS,
	SAY_TOO_MANY_LOGINS,
	SAY_TOO_MANY_MESSAGES,
	SAY_TOO_MUCH_REFUSED,
	/* refusals of a command */
	SAY_NO_MEMORY,
	SAY_TOO_MANY_RCPT,
	SAY_TLS_BROKEN,
	SAY_AUTH_BROKEN,
	SAY_UNKNOWN_COMMAND,
	SAY_LONG_LINE,
	SAY_LONG_AUTH,
	SAY_BARE_LINE_END,
	SAY_BAD_ARGUMENT,
	SAY_NO_ARGUMENT,
	SAY_BAD_SENDER,
	SAY_BAD_RCPT,
	SAY_BAD_BASE64,
	SAY_BAD_SASL,
	SAY_BAD_PARAM,
	SAY_BAD_CHUNK_SIZE,
	SAY_AUTH_ABORTED,
	SAY_SERVER_FIRST,
	SAY_NOT_IMPLEMENTED,
	SAY_NEED_HELO,
	SAY_NEED_EHLO,
	SAY_NEED_MAIL,
	SAY_NEED_RCPT,
	SAY_MAIL_TWICE,
	SAY_IN_BDAT,
	SAY_IN_TX,
	SAY_AUTH_TWICE,
	SAY_TLS_TWICE,
	SAY_UNKNOWN_MECHANISM,
	SAY_NEED_TLS,
	SAY_NEED_AUTH,
	SAY_NEED_TLS_FOR_AUTH,
	SAY_TOO_BIG,
	SAY_NEED_SMTPUTF8,
	SAY_BEHIND_STARTTLS,
	SAY_BEHIND_DATA,
	SAY_HTTP,
	SAY_NO_VALID_RCPT,
	SAY_SENDER_NOT_FQDN,
	SAY_RCPT_NOT_FQDN,
	SAY_UNKNOWN_PARAM,
	/* refusals of content */
	SAY_BARE_CR_LF,
	SAY_LONG_CONTENT_LINE,
	/* the reply that the driver gave, kept in the session */
	SAY_KEPT,
};

void say(struct buf *out, enum say what);
/* A reply in somebody else's words: '\n' begins a further line; what is not printable ASCII
 * becomes '?'; at most SMTP_TEXT_MAX octets of text and SAY_LINES_MAX lines, the rest is cut. enh
 * "" or NULL: none. */
void say_text(struct buf *out, int code, const char *enh, struct slice text);

#define SAY_LINES_MAX 16
/* No command and no answer adds more than this to `out`. */
#define SAY_ROOM 2048

#endif
