/* smtp/session_impl.h -- the inside of the server session: for session.c, command.c, login.c,
 * envelope.c and content.c alone.
 *
 * Three orthogonal pieces: where input goes (enum input), how far the transaction is (enum tx),
 * the open question. Whatever ends a transaction calls tx_end(). */
#ifndef SMTP_SESSION_IMPL_H
#define SMTP_SESSION_IMPL_H

#include "smtp/dot.h"
#include "smtp/say.h"
#include "smtp/session.h"

enum input {
	IN_GREETING, /* ours is still to be said */
	IN_LINE,
	IN_LONG_LINE, /* skipping to the end of a line that is refused */
	IN_AUTH,      /* the next line is a response */
	IN_DATA,
	IN_BDAT,
	IN_TLS, /* the driver shakes hands */
	IN_CLOSING,
};

enum tx {
	TX_NONE,
	TX_MAIL,    /* a sender, no recipient accepted */
	TX_RCPT,    /* one at least */
	TX_BDAT,    /* chunks are coming: only BDAT goes on */
	TX_SPOILED, /* a chunk was refused: only RSET, EHLO or BDAT LAST end it */
};

enum hello { HELLO_NONE, HELLO_HELO, HELLO_EHLO };

struct smtp_session {
	const struct smtp_config *cfg;
	enum input input;
	enum tx tx;
	enum hello hello;
	enum smtp_want asked; /* the open question, or SMTP_WANT_INPUT */
	uint32_t question;    /* its number */
	bool tls, user;  /* what the client has proved: any mix is legal but user without tls */
	bool quit;       /* the client has said so */
	bool drop;       /* SMTP_GOT_RESET is to be reported before going on */
	bool stopping;   /* 421 4.3.2 as soon as it is legal */
	bool skipped_cr; /* IN_LONG_LINE: the last byte skipped was CR */
	bool last;       /* this BDAT chunk is the last */
	bool rcpt_refused;
	bool smtputf8;
	enum say why;        /* a chunk or the rest of a message is refused; or SAY_NOTHING */
	enum say long_line;  /* to be said at the end of IN_LONG_LINE */
	enum say last_words; /* to be said when IN_CLOSING is stepped */
	uint32_t rcpts;      /* accepted in this transaction */
	uint32_t bad, commands, logins_failed, mails;
	uint32_t offered; /* mechanisms */
	uint64_t size;    /* octets of content so far */
	uint64_t chunk_left;
	uint64_t discarded; /* octets of refused content in this session */
	uint64_t content;   /* octets of content in this session, refused or not */
	struct dot dot;     /* dot.lines serves BDAT, too */
	struct buf line;    /* the argument under question, or the reply that SAY_KEPT means, or the
			     * one behind the last words of an exchange */
	struct buf helo;
	struct sasl_server *sasl; /* only during an AUTH */
	struct smtp_path path;    /* with params: into line, for the open question */
	union {
		struct smtp_mail_params mail;
		struct smtp_rcpt_params rcpt;
	} params;
};

/* One call of step(). */
struct call {
	struct slice *in;
	struct buf *out;
	struct smtp_event *ev;
	enum smtp_want want;
};

/* What handles a command or a mode of input. True: c->want goes to the driver. False: something
 * was eaten or changed, go on. */
typedef bool command_fn(struct smtp_session *s, struct call *c, struct slice arg);

/* session.c */
bool ask(struct smtp_session *s, struct call *c, enum smtp_want question);
bool want(struct call *c, enum smtp_want what);
/* Says it and counts it as an error of the client's. Returns false. */
bool refuse(struct smtp_session *s, struct call *c, enum say what);
/* Says `what`, a 421 behind it, and closes. Returns false. */
bool abuse(struct smtp_session *s, struct call *c, enum say what);
/* Says a 421 and closes; once. */
void close_saying(struct smtp_session *s, struct buf *out, enum say what);
/* The one reset of a transaction. settled: the driver knows its end, no GOT_RESET. */
void tx_end(struct smtp_session *s, bool settled);
/* Takes the copy of an argument that a question may refer to. */
bool keep_line(struct smtp_session *s, struct slice arg);

/* command.c */
bool run_command(struct smtp_session *s, struct call *c, struct slice line);
/* Why somebody who is not authenticated is refused. */
enum say login_needed(const struct smtp_session *s);

/* login.c */
command_fn cmd_auth, auth_response;
void auth_end(struct smtp_session *s);
/* A login that failed; the last one that is allowed ends the session. */
void count_failure(struct smtp_session *s, struct buf *out);
void answer_auth(struct smtp_session *s, const struct smtp_answer *a, struct buf *out);

/* envelope.c */
command_fn cmd_mail, cmd_rcpt;

/* content.c */
command_fn cmd_data, cmd_bdat;
bool step_data(struct smtp_session *s, struct call *c);
bool step_bdat(struct smtp_session *s, struct call *c);

#endif
