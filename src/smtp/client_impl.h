/* smtp/client_impl.h -- the inside of the client session, shared by client.c (the conversation)
 * and client_mail.c (one message). */
#ifndef SMTP_CLIENT_IMPL_H
#define SMTP_CLIENT_IMPL_H

#include "sasl/client.h"
#include "smtp/client.h"
#include "smtp/lines.h"

/* Room that the longest command may need: AUTH with a password of 2 KiB, or RCPT with ORCPT. */
#define COMMAND_ROOM 4096
/* Room for what a reply inside the envelope may make us say. */
#define DOT_ROOM 16
/* Commands without a reply, at most. */
#define WINDOW 64u

enum client_state {
	AT_GREETING,
	AT_HELLO, /* EHLO is to be said */
	AT_EHLO,
	AT_HELO,
	AT_STARTTLS, /* waits for the 220 */
	AT_SHAKE,    /* the driver shakes hands */
	AT_AUTH,
	AT_IDLE,
	AT_RSET_DUE, /* RSET is to be said */
	AT_RSET,
	AT_ENVELOPE, /* MAIL, RCPTs and DATA are on their way */
	AT_BODY,
	AT_DOT,
	AT_EMPTY_DOT, /* 354 though no recipient was taken: "." and its reply mean nothing */
	AT_QUIT,
	AT_FAILED, /* tell the driver, then close */
	AT_CLOSED,
};

/* What EHLO told; a keyword counts once. */
struct client_caps {
	bool pipelining, eightbit, smtputf8, starttls, dsn, size_said, limits_said, auth_said;
	uint64_t size;               /* 0: no limit */
	uint32_t rcpt_max, mail_max; /* LIMITS; 0: none */
	char auth[256];
	size_t auth_n;
};

struct smtp_client {
	const struct smtp_client_config *cfg;
	enum client_state state;
	bool tls;
	struct client_caps caps;
	struct reply_reader reader;
	struct sasl_client sasl;
	bool auth_cancelled;
	uint64_t mails; /* MAIL commands so far */

	const struct smtp_client_mail *mail; /* NULL: none in hand */
	uint32_t n_try;                      /* recipients of this transaction, the first ones */
	uint32_t told;                       /* those before it need no "left for later" */
	uint32_t next_command;               /* 0: MAIL, 1..n_try: RCPT, n_try+1: DATA */
	uint32_t next_reply;
	uint32_t accepted;
	bool utf8; /* the envelope or the content needs SMTPUTF8 */
	bool mail_refused;
	bool dirty;        /* the remote may hold a transaction: RSET before the next MAIL */
	bool have_verdict; /* of the message: `verdict` is to be reported */
	struct smtp_client_event verdict;
	struct lines lines;
	bool held_cr; /* a CR that is not in out yet: it goes with its LF */

	struct smtp_client_event failure;
};

void client_own_words(struct smtp_client_event *ev, int code, const char *enhanced,
		      struct slice text, enum smtp_client_phase phase);
/* The conversation is over, and a message in hand gets this as its verdict. */
void client_fail(struct smtp_client *c, struct slice text);

/* Says what may be said of the envelope. False: out needs room first. */
bool client_say_envelope(struct smtp_client *c, struct buf *out);
/* A reply to MAIL, RCPT or DATA, in the order they were sent. True: *ev reports a recipient. */
bool client_envelope_reply(struct smtp_client *c, const struct reply *r, struct buf *out,
			   struct smtp_client_event *ev);
void client_body_reply(struct smtp_client *c, const struct reply *r);
void client_dot_reply(struct smtp_client *c, const struct reply *r);
void client_empty_dot_reply(struct smtp_client *c);
/* 421 with a message in hand: it is over, for every recipient without a verdict. */
void client_closing_reply(struct smtp_client *c, const struct reply *r);
/* Reports what is to be reported of the message. False: nothing is. */
bool client_report(struct smtp_client *c, struct smtp_client_event *ev, enum smtp_client_want *ret);

#endif
