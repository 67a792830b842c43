/* mime/dsn.h -- the notice that tells a sender what became of a message (RFC 3461, 3464, 6522,
 * 6533).
 *
 * dsn_compose() writes a whole message: a head addressed to the reverse-path, and a
 * multipart/report of three parts: words for people, fields for programs, and the head or all of
 * the message it is about. Pure: time and token are parameters.
 *
 * What remote servers said is data: bytes that do not print become '?', what exceeds DSN_TEXT is
 * cut, long lines are folded, and none of it begins a line. Recipients and ORCPT come from whoever
 * submitted the message and are treated the same. The boundary does not occur anywhere in the
 * parts.
 *
 * Seven bits suffice unless an address or the returned message holds more: then dsn_made says what
 * the notice needs on its way. */
#ifndef MIME_DSN_H
#define MIME_DSN_H

#include "base/buf.h"
#include "base/err.h"

#define DSN_TEXT 512u        /* bytes of a reply that are quoted */
#define DSN_HEAD (64u << 10) /* of the returned head; whole fields only */

enum dsn_action {
	DSN_FAILED,
	DSN_DELAYED,
	DSN_DELIVERED, /* into a mailbox of this machine */
	DSN_RELAYED,   /* to a server that sends no notices of its own */
};

struct dsn_rcpt {
	struct slice path;  /* mailbox as it went on the wire */
	struct slice orcpt; /* "type;address" as ORCPT spelled it, or empty */
	enum dsn_action action;
	bool expired;      /* failed because its time was over */
	bool remote;       /* text is what a remote server said; else our own words */
	int code;          /* of that reply; 0: there was none */
	struct slice text; /* the reply without its code, or why there was none */
	struct slice mta;  /* name of the remote server; empty: none was reached */
};

struct dsn {
	struct slice hostname; /* ours: a domain */
	struct slice from;     /* mailbox, RFC 5322 form: "Mail <x@example.com>" */
	struct slice to;       /* the reverse-path, not empty */
	struct slice token;    /* left side of the Message-ID: a dot-atom nobody guesses, at most
				  50 characters */
	struct slice id;       /* of the message in our queue */
	uint64_t now_ms, arrival_ms;
	uint64_t lifetime_ms; /* from the arrival until it is given up */
	struct slice envid;   /* ENVID in xtext, or empty */
	/* At least one; all failed, or all delayed, or each delivered or relayed. */
	const struct dsn_rcpt *rcpts;
	size_t n_rcpts;
	/* The message it is about. */
	struct slice head; /* with its empty line */
	struct slice body; /* looked at only when full */
	bool full;         /* all of it goes back, not only the head */
};

struct dsn_made {
	bool smtputf8; /* its envelope and head hold UTF-8 */
	bool eightbit; /* a part holds bytes above 0x7f */
};

/* Appends the notice to out, which holds nothing else. ERR_INPUT: from or to cannot stand in a
 * header; ERR_LATER: memory or ceiling. */
bool dsn_compose(const struct dsn *, struct buf *out, struct dsn_made *ret, struct err *e);

/* The enhanced code (RFC 3463) that stands for what became of a recipient: the remote's when it is
 * well-formed and fits, else one that says as much as is known. */
struct dsn_status {
	char text[12];
};
struct dsn_status dsn_status(const struct dsn_rcpt *);

#endif
