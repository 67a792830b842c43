/* mime/refusal.h -- why a message is refused for its header, and what the client is told.
 *
 * One row per problem: reply code, enhanced code (RFC 3463), a stable word for the log and the
 * text. RFC 6409 section 6.2 and RFC 5321 leave 554 for content that is refused after the dot;
 * every code here is an answer to the end of data. Texts are printable ASCII, at most
 * MIME_REFUSAL_TEXT bytes, without a line end. */
#ifndef MIME_REFUSAL_H
#define MIME_REFUSAL_H

#include "base/arena.h"
#include "base/slice.h"

#define MIME_REFUSAL_TEXT 200

enum mime_problem {
	MIME_FINE,
	/* the head as such */
	MIME_BAD_FIELD,    /* a line that is no field: no colon, no name, blank in the name */
	MIME_MBOX_LINE,    /* begins with an mbox "From " line */
	MIME_BAD_LINE_END, /* bare CR, bare LF, or a header line that does not end */
	MIME_NUL,          /* a NUL byte */
	MIME_LINE_TOO_LONG,
	MIME_HEADER_TOO_LARGE,
	MIME_TOO_MANY_FIELDS,
	MIME_BAD_UTF8,       /* SMTPUTF8 message with a field that is not UTF-8 */
	MIME_NEEDS_SMTPUTF8, /* non-ASCII in an address field, SMTPUTF8 not asked for */
	/* who it is from */
	MIME_NO_FROM,
	MIME_TWO_FROM,
	MIME_GROUP_IN_FROM,
	MIME_BAD_ADDRESS, /* From, Sender, Resent-From, Resent-Sender: syntax or count */
	MIME_TWO_SENDER,
	MIME_BAD_SENDER, /* not exactly one mailbox */
	/* the rest */
	MIME_LOOP,
	MIME_SMTPAPI,   /* X-SMTPAPI that cannot be honoured */
	MIME_NO_MEMORY, /* nobody did wrong; also: ceiling of arena or output too low */
};

struct mime_refusal {
	enum mime_problem problem;
	int code;
	const char *enhanced;
	const char *reason; /* for the log */
	struct slice text;
};

/* The row of a problem with its fixed text. problem is not MIME_FINE. */
struct mime_refusal mime_refusal(enum mime_problem problem);
/* The same with "text: detail", in the arena; bytes that are not printable ASCII become '?', what
 * is too long is cut. With the memory out the fixed text stays. */
struct mime_refusal mime_refusal_of(enum mime_problem problem, struct slice detail,
				    struct arena *a);

#endif
