/* mime/compose.h -- a simple message of our own: one text part in UTF-8.
 *
 * For `signet send`. Values are refused rather than repaired: no CR, LF, NUL or other control
 * byte gets into a field. */
#ifndef MIME_COMPOSE_H
#define MIME_COMPOSE_H

#include "base/buf.h"
#include "base/err.h"

struct mime_letter {
	struct slice from;     /* one mailbox, RFC 5322 form: "Jo <jo@example.com>" */
	struct slice to;       /* mailboxes */
	struct slice subject;  /* UTF-8; may be empty */
	struct slice text;     /* UTF-8, lines end in LF or CRLF; may be empty */
	uint64_t now_ms;       /* Unix time */
	struct slice token;    /* left side of the Message-ID: a dot-atom nobody guesses */
	struct slice hostname; /* its right side */
	bool smtputf8;         /* from and to may hold UTF-8 (RFC 6532) */
};

/* Appends the message to out, CRLF line ends, no line over 998 octets, 7-bit unless smtputf8 put
 * UTF-8 into an address. ERR_INPUT says which value is wrong; ERR_LATER: memory or ceiling. */
bool mime_compose(const struct mime_letter *l, struct buf *out, struct err *e);

#endif
