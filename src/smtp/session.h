/* smtp/session.h -- one SMTP submission conversation, server side, as a pure state machine.
 *
 * RFC 5321, 6409, 4954 (AUTH), 3207 (STARTTLS), 2920, 1870, 3030, 6152, 6531, 3461, 2034, 9422.
 *
 * The caller holds the bytes: `in` is shortened by what was understood, replies are appended to
 * `out`. The session keeps no input beyond the command under question, knows no time, does no I/O.
 *
 * At most one question is open at a time, and nothing is read past it. That is why replies are in
 * order without a queue, and why a pipelining client needs no special case.
 *
 * The driver: calls step() until it says WANT_*, in a switch over every value. Its `in` can hold
 * SMTP_IN_MIN(cfg) bytes, its `out` has a ceiling of SMTP_OUT_MIN or more. After an AUTH it wipes
 * what step() consumed: the password was there. What is left of `in` may move between calls. */
#ifndef SMTP_SESSION_H
#define SMTP_SESSION_H

#include "base/buf.h"
#include "sasl/server.h"
#include "smtp/param.h"
#include "smtp/path.h"

struct smtp_session;

/* Lives longer than its sessions. Where 0 is not described, it is not allowed. */
struct smtp_config {
	struct slice hostname;  /* begins the greeting and the EHLO reply; at most 255 octets */
	uint64_t message_max;   /* octets of content, announced as SIZE: 552 5.3.4 */
	uint64_t discard_max;   /* octets of refused content swallowed in a session, then 421 4.7.0;
				 * 0: eight times message_max */
	uint32_t rcpt_max;      /* accepted recipients of a transaction, then 452 4.5.3 */
	uint32_t line_max;      /* command line, CRLF included: 500 5.5.2 */
	uint32_t auth_line_max; /* AUTH command and each response, CRLF included: 500 5.5.6 */
	uint32_t body_line_max; /* content line, CRLF not included: 554 5.6.0; 0: none */
	uint32_t bad_max;     /* the bad_max-th refused command is followed by 421 4.7.0; 0: none */
	uint32_t command_max; /* EHLO, RSET, NOOP, VRFY, empty BDAT ... since the last accepted
			       * message; the next gets 421 4.7.0; 0: none */
	uint32_t auth_max;    /* the auth_max-th failed AUTH is followed by 421 4.7.0; 0: none */
	uint32_t mechanisms;  /* SASL_BIT() of those that may be offered: the others are 504 */
	uint32_t tx_max;      /* MAIL commands in a session, the next gets 421 4.7.0; 0: none */
	bool tls_available;   /* STARTTLS is offered */
	bool tls_broken;      /* ... and answered 454 4.7.0: the certificate cannot be read */
	bool implicit_tls;    /* the session begins inside TLS */
};

#define SMTP_OUT_MIN 4096
#define SMTP_IN_MIN(cfg)                                                                           \
	((cfg)->line_max > (cfg)->auth_line_max ? (cfg)->line_max : (cfg)->auth_line_max)

enum smtp_want {
	/* the driver must do something before the next step can get anywhere */
	SMTP_WANT_INPUT,  /* `in` holds nothing complete: read more */
	SMTP_WANT_FLUSH,  /* `out` is nearly full: write it first */
	SMTP_WANT_ANSWER, /* a question is still open */

	/* questions: each is closed by smtp_session_answer() */
	SMTP_ASK_SASL,   /* ev->auth: what its exchange needs: smtp_session_supply(), or 454 */
	SMTP_ASK_AUTH,   /* ev->auth: may this identity log in? 235, 535, 454 ... */
	SMTP_ASK_MAIL,   /* ev->path, ev->mail: may it send from here? A yes opens a transaction */
	SMTP_ASK_RCPT,   /* ev->path, ev->rcpt: may it send to there? */
	SMTP_ASK_BODY,   /* will you take the content? 354, or 4xx/5xx */
	SMTP_ASK_COMMIT, /* make it durable: answering 250 is our promise */

	/* facts */
	SMTP_GOT_BODY,  /* ev->body: a run of content, a part of `in`, not empty */
	SMTP_GOT_RESET, /* the transaction that ASK_MAIL opened is over without an answered COMMIT:
			 * forget it; cancel a commit in flight if that is still possible */

	/* orders */
	SMTP_DO_STARTTLS, /* `in` is empty: flush `out` to the last byte, shake hands, then
			   * smtp_session_tls_up(); no step() before that, but eof() and expire() */
	SMTP_DO_CLOSE,    /* flush `out`, close; said again if asked again */
};

struct smtp_event {
	uint32_t question; /* for SMTP_ASK_*: never 0, never used twice in a session */
	/* valid until the question is closed */
	const struct smtp_path *path;
	const struct smtp_mail_params *mail;
	const struct smtp_rcpt_params *rcpt;
	const struct sasl_request *auth;
	/* valid until the driver moves the storage of `in` */
	struct slice body;
};

struct smtp_answer {
	int code;          /* 2xx or 354 is a yes; 421 closes */
	const char *enh;   /* "2.1.0": its class is that of the code; NULL or "" with a 3xx alone */
	struct slice text; /* '\n' begins a further reply line; control bytes and bytes above 0x7e
			    * become '?'; what exceeds SMTP_TEXT_MAX is cut */
	bool close;        /* say 421 4.7.0 behind it (unless it is one) and close */
};

#define SMTP_TEXT_MAX 1200

/* What a driver usually answers, in SendGrid's words (the queue id goes behind QUEUED). */
#define SMTP_TEXT_AUTH   S("Authentication successful")  /* 235 2.7.0 */
#define SMTP_TEXT_MAIL   S("Sender address accepted")    /* 250 2.1.0 */
#define SMTP_TEXT_RCPT   S("Recipient address accepted") /* 250 2.1.5 */
#define SMTP_TEXT_DATA   S("Continue")                   /* 354 */
#define SMTP_TEXT_QUEUED S("Ok: queued as ")             /* 250 2.0.0 */

/* Which of the driver's deadlines runs. */
enum smtp_clock {
	SMTP_CLOCK_LOGIN,   /* not yet authenticated, the handshake included */
	SMTP_CLOCK_COMMAND, /* authenticated, waiting for a command */
	SMTP_CLOCK_BODY,    /* inside DATA or a BDAT chunk */
	SMTP_CLOCK_NONE,    /* a question is open or the session is over: the client is not late */
};

/* NULL without memory. */
struct smtp_session *smtp_session_new(const struct smtp_config *cfg);
/* Wipes and frees; NULL is fine. */
void smtp_session_free(struct smtp_session *s);

enum smtp_want smtp_session_step(struct smtp_session *s, struct slice *in, struct buf *out,
				 struct smtp_event *ev);
/* False, and nothing happens, if `question` is not the open one: the client left or moved on, and
 * a late answer is none. Then step() again. */
bool smtp_session_answer(struct smtp_session *s, uint32_t question, const struct smtp_answer *a,
			 struct buf *out);

/* The answer to SMTP_ASK_SASL that lets the exchange go on. False: as smtp_session_answer(). */
bool smtp_session_supply(struct smtp_session *s, uint32_t question, const struct sasl_supply *,
			 struct buf *out);

/* What TLS knows of the client, right behind the handshake (and behind tls_up()): mechanisms that
 * rest on it are not offered before. */
struct smtp_peer {
	bool binds;       /* there is data for a channel binding */
	bool certificate; /* the client has shown one */
};
void smtp_session_peer(struct smtp_session *s, const struct smtp_peer *);
/* SASL_BIT() of what is offered. */
uint32_t smtp_session_offer(const struct smtp_session *s);

/* The handshake is done: everything said in the clear is forgotten (RFC 3207 section 4.2). */
void smtp_session_tls_up(struct smtp_session *s);
/* The client is gone. An open question is closed; the next steps are GOT_RESET and DO_CLOSE. */
void smtp_session_eof(struct smtp_session *s);
/* The deadline of smtp_session_clock() passed: the next step says 421 4.4.2 and closes. */
void smtp_session_expire(struct smtp_session *s);
/* The server stops: the next step outside a transaction and without an open question says
 * 421 4.3.2 and closes; a transaction that is open may end first. With `now` the next step does,
 * and an open question is closed: for those who took too long. */
void smtp_session_shutdown(struct smtp_session *s, bool now);
/* The connection idles: gives back what a next command would allocate again. */
void smtp_session_shrink(struct smtp_session *s);

enum smtp_clock smtp_session_clock(const struct smtp_session *s);
/* Octets of content so far, of all messages and refused chunks: what a minimum rate is about. */
uint64_t smtp_session_content(const struct smtp_session *s);
/* The name of the last EHLO or HELO, "" before it: printable ASCII without blanks or the specials
 * ( ) < > @ , ; \ " of a header. */
struct slice smtp_session_helo(const struct smtp_session *s);
bool smtp_session_is_esmtp(const struct smtp_session *s); /* EHLO, not HELO */
bool smtp_session_tls(const struct smtp_session *s);
bool smtp_session_user(const struct smtp_session *s); /* authenticated */
/* The session ended at the client's word: nothing more is on its way. */
bool smtp_session_quit(const struct smtp_session *s);
bool smtp_session_in_tx(const struct smtp_session *s); /* MAIL was accepted, its end not seen */

#endif
