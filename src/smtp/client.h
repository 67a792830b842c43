/* smtp/client.h -- one SMTP conversation, client side, as a pure state machine.
 *
 * RFC 5321, 3207, 4954, 2920, 1870, 6152, 6531, 3461, 9422. Like the server's session: the driver
 * holds descriptor, TLS, buffers and clock; step() is told bytes and says what to do next. The
 * remote side is hostile: replies are bounded (smtp/reply.h), a reply nobody waits for ends the
 * conversation, and bytes behind the 220 to STARTTLS end it too (RFC 3207 section 6).
 *
 * The driver: steps until a WANT; at READY it may hand over a message; at SEND_BODY it feeds the
 * content; RCPT and DONE report verdicts. Its `in` holds REPLY_LINE bytes or more, its `out` has a
 * ceiling of CLIENT_OUT_MIN or more; it writes `out` whenever a step returns, and goes on reading
 * while it cannot. A secret goes out only inside TLS. */
#ifndef SMTP_CLIENT_H
#define SMTP_CLIENT_H

#include "base/buf.h"
#include "base/secret.h"
#include "smtp/param.h"
#include "smtp/reply.h"

struct smtp_client;

enum smtp_client_tls {
	CLIENT_TLS_NEVER,
	CLIENT_TLS_MAY,  /* STARTTLS when it is offered */
	CLIENT_TLS_MUST, /* STARTTLS, or no delivery */
};

struct smtp_client_config {
	struct slice hostname; /* for EHLO */
	enum smtp_client_tls tls;
	bool tls_up;       /* the conversation begins inside TLS */
	struct slice user; /* AUTH; empty: none. It is demanded then */
	struct secret password;
	bool auth_optional; /* where AUTH cannot be had, go on without; refused is still refused */
	bool allow_plain_auth; /* a password may cross the line in clear text */
};

struct smtp_client_rcpt {
	struct slice path;
	unsigned notify;    /* enum smtp_notify bits; 0: unsaid */
	struct slice orcpt; /* "type;xtext" as it was given to us, or empty */
};

/* Lives until CLIENT_DONE. NOTIFY, ORCPT, RET and ENVID go out where DSN is offered. */
struct smtp_client_mail {
	struct slice reverse_path; /* empty: null */
	bool body_8bit;            /* the client that gave it to us said 8BITMIME */
	bool high;                 /* the content holds a byte above 0x7f: needs 8BITMIME */
	bool smtputf8;             /* needs SMTPUTF8 */
	uint64_t size;             /* octets of the content */
	enum smtp_ret ret;
	struct slice envid; /* xtext as it was given to us, or empty */
	const struct smtp_client_rcpt *rcpts;
	uint32_t n_rcpts;
};

enum smtp_client_phase {
	CLIENT_AT_GREETING,
	CLIENT_AT_EHLO,
	CLIENT_AT_TLS,
	CLIENT_AT_AUTH,
	CLIENT_AT_IDLE,
	CLIENT_AT_MAIL,
	CLIENT_AT_RCPT,
	CLIENT_AT_DATA, /* the 354 */
	CLIENT_AT_BODY,
	CLIENT_AT_DOT,
	CLIENT_AT_QUIT,
};

enum smtp_client_want {
	CLIENT_WANT_INPUT,
	CLIENT_WANT_FLUSH,
	CLIENT_DO_STARTTLS, /* `in` is empty; flush, shake hands, smtp_client_tls_up() */
	CLIENT_READY,       /* smtp_client_mail() or smtp_client_quit() */
	CLIENT_SEND_BODY,   /* smtp_client_body() */
	CLIENT_RCPT,     /* ev->rcpt has its own verdict: ev->reply. Each recipient once at most */
	CLIENT_DONE,     /* ev->reply is the verdict on every recipient without one of its own */
	CLIENT_FAILED,   /* no message will be taken on this connection: ev->reply, ev->phase */
	CLIENT_DO_CLOSE, /* flush `out` (it may hold QUIT), close; said again if asked again */
};

struct smtp_client_event {
	uint32_t rcpt;
	/* A reply of the remote, or our own words (remote == false): code 0 is trouble that may
	 * pass (a reply out of place, a recipient left for another transaction), 5yz a refusal of
	 * ours because the remote cannot take it. 552 to RCPT for too many recipients reads 452
	 * (RFC 5321 4.5.3.1.10). */
	struct reply reply;
	bool remote;
	bool maybe_taken; /* lost after the final dot: it may have been delivered */
	enum smtp_client_phase phase;
};

#define CLIENT_OUT_MIN      8192
#define CLIENT_BODY_ROOM(n) (2 * (n) + 8)

/* NULL without memory. cfg outlives it. */
struct smtp_client *smtp_client_new(const struct smtp_client_config *cfg);
void smtp_client_free(struct smtp_client *);

enum smtp_client_want smtp_client_step(struct smtp_client *, struct slice *in, struct buf *out,
				       struct smtp_client_event *ev);

void smtp_client_tls_up(struct smtp_client *);
/* At READY. What the remote cannot take comes back as DONE at once. */
void smtp_client_send(struct smtp_client *, const struct smtp_client_mail *);
/* At SEND_BODY: the next run of the content, stuffed into out, which has room for
 * CLIENT_BODY_ROOM(run.n). last: nothing follows; the end of data is added, and a CRLF before it
 * when the content has none at its end: what came by BDAT may lack it, and DATA cannot say so.
 * False: the content holds a bare CR, a bare LF or a NUL, and no byte of this run is in out; or
 * out failed. The next step says DONE. */
bool smtp_client_body(struct smtp_client *, struct slice run, bool last, struct buf *out);
/* At READY. */
void smtp_client_quit(struct smtp_client *, struct buf *out);
/* The connection is gone, or the deadline of the phase passed: the next steps say what that means.
 * Between messages it means nothing, and a verdict that came before stands. */
void smtp_client_lost(struct smtp_client *, struct slice why);

/* The remote can tell senders what they want to know (RFC 3461): it was told what that is. */
bool smtp_client_offers_dsn(const struct smtp_client *);

/* What we wait for: which of the driver's deadlines runs, and for the log. */
enum smtp_client_phase smtp_client_phase(const struct smtp_client *);
const char *smtp_client_phase_name(enum smtp_client_phase);

#endif
