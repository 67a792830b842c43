/* mime/header.h -- the head of a message, split into its fields (RFC 5322 section 2.2).
 *
 * Strict, because what one parser forgives and the next does not is how forged senders get
 * through: only CRLF ends a line; a name is one or more printable ASCII characters and the colon
 * follows at once (the blank of obs-syntax is refused); the first line is a field; a line has at
 * most line_max octets. A line of blanks only continues the field above it, it ends nothing.
 * Values may hold bytes above 0x7f: what they mean is decided by mime/submit.h.
 *
 * All slices point into the bytes given; the array of fields lives in the arena. */
#ifndef MIME_HEADER_H
#define MIME_HEADER_H

#include "mime/refusal.h"

struct mime_limits {
	size_t header_max;    /* bytes of the head, empty line included */
	size_t fields_max;    /* fields */
	size_t line_max;      /* octets of one header line, CRLF not counted */
	size_t received_max;  /* Received fields at which a message is in a loop */
	size_t addresses_max; /* mailboxes in From, and in the Resent fields together */
};

/* 256 KiB, 1000, 998, 100, 100. */
extern const struct mime_limits mime_limits_default;

/* The names somebody here asks for; every other is MIME_OTHER. */
enum mime_name {
	MIME_OTHER,
	MIME_FROM,
	MIME_SENDER,
	MIME_REPLY_TO,
	MIME_TO,
	MIME_CC,
	MIME_BCC,
	MIME_DATE,
	MIME_MESSAGE_ID,
	MIME_SUBJECT,
	MIME_RECEIVED,
	MIME_RETURN_PATH,
	MIME_AUTHENTICATION_RESULTS,
	MIME_RESENT_FROM,
	MIME_RESENT_SENDER,
	MIME_RESENT_TO,
	MIME_RESENT_CC,
	MIME_RESENT_BCC,
	MIME_X_SMTPAPI,
};

struct mime_field {
	struct slice name;  /* as written */
	struct slice value; /* behind the colon, still folded, without the last CRLF */
	struct slice raw;   /* all of it: name to last CRLF */
	enum mime_name id;
	bool high; /* value holds a byte above 0x7f */
};

struct mime_header {
	struct mime_field *fields; /* in order */
	size_t n;
	size_t bytes; /* length of the head, empty line included: the body begins there */
	bool ended;   /* by an empty line; false: all of the message is head, the body is empty */
};

/* in: the first bytes of a message. whole: they are all of it; if not, at least header_max bytes
 * must be there (a head that does not end in them is MIME_HEADER_TOO_LARGE). MIME_FINE, or the
 * problem, and *ret is untouched then. */
enum mime_problem mime_header_split(struct slice in, bool whole, const struct mime_limits *limits,
				    struct arena *a, struct mime_header *ret);

enum mime_name mime_name_of(struct slice name);
/* A value without its folding (RFC 5322 2.2.3) and without blanks at either end. It is copied
 * only when it is folded; empty when the memory is out (a->failed). */
struct slice mime_unfold(struct slice value, struct arena *a);

#endif
