/* serve/smtp_in_impl.h -- a connection, for the files of the SMTP door.
 *
 *   smtp_in.c       its life: bytes, phases, deadlines, closing
 *   smtp_in_open.c  its beginning: limits, the PROXY header, the greeting or TLS
 *   smtp_in_sasl.c  what an exchange needs before that can be said
 *   smtp_in_turn.c  whose job a worker does next, while many log in
 *   smtp_in_auth.c  who it is: logins, and whether a key is still what it was
 *   smtp_in_tx.c    what it sends: recipients, the body, the verdict, the commit */
#ifndef SERVE_SMTP_IN_IMPL_H
#define SERVE_SMTP_IN_IMPL_H

#include "auth/login.h"
#include "serve/places.h"
#include "serve/server.h"
#include "serve/smtp_in.h"
#include "serve/tx.h"

enum phase {
	PHASE_PROXY,     /* the balancer says whom it speaks for */
	PHASE_TALK,      /* bytes go to the session */
	PHASE_STARTTLS,  /* the 220 is on its way out; then the handshake */
	PHASE_HANDSHAKE, /* TLS is being set up */
	PHASE_CLOSING,   /* what is in `out` is written, then the socket closes */
	PHASE_LINGER,    /* our side is closed; what still comes is thrown away */
};

/* A job of a connection that is not known; part of the job, valid until it is done. */
struct turn {
	struct job *job;
	struct conn *of;          /* while it waits */
	struct turn_queue *queue; /* while it waits */
	struct turn *before, *next;
	bool under_way;
};

struct turn_queue {
	struct turn *first, *last;
};

struct turns {
	struct home *home;
	unsigned at_once, under_way;
	unsigned long begun;
	struct turn_queue fresh, failed; /* waiting; never more than connections */
	struct loop_timer again;
};

struct conn {
	struct home *home;
	const struct smtp_door *door;
	struct ref ref;
	struct stream stream;
	struct smtp_session *session;
	struct buf in, out;
	size_t out_seen;   /* bytes of `out` that were counted */
	unsigned listener; /* the door's word, for counting */
	enum phase phase;
	bool peer_gone; /* nothing more comes from there */
	bool waiting;   /* for a job: nothing is read */
	bool counted_account, counted_address;
	bool trusted; /* its address has logged in well recently: it goes before strangers */
	bool failed;  /* a login has failed here, or did from its address a short time ago */
	bool spared;  /* a balancer's own connection: what goes wrong there is not counted */
	struct slice address; /* of the client, as text; in address_text */
	struct slice via;     /* of the balancer that speaks for it, or empty; in via_text */
	char address_text[64], via_text[64];
	struct loop_timer timer;
	uint64_t opened_ms, progress_ms;
	uint64_t
	    body_began_ms;    /* of this message, or of a chunk that belongs to none; 0: not yet */
	uint64_t body_before; /* content of the session before it */
	bool stray;           /* it belongs to none */

	struct place place;
	struct principal who; /* once authenticated */
	struct turn *turn;    /* waits for a worker; see smtp_in_turn.c */
	struct login *late;   /* decided, and the answer waits; see smtp_in_auth.c */
	struct login *asks;   /* its token's issuer is asked, or will be; the same */
	struct tx *tx;
	uint64_t messages;
	size_t discarded; /* bytes, while lingering */
	bool holds;       /* counted in the home's `holding` */
};

struct smtp_in_home {
	struct home *home;
	struct slots conns;
	struct loop_task put_out; /* whose places are given up; see serve/places.h */
	size_t open;
	uint64_t logins; /* begun, since the start */
	size_t holding;  /* connections whose TLS has its buffers */
	bool stopping;
	struct turns turns;
};

/* -- smtp_in.c -- */

/* Answers the session's open question; a stale answer is dropped there. */
void smtp_in_answer(struct conn *, uint32_t question, int code, const char *enh, struct slice text);
/* Closes the socket and forgets the connection; jobs under way find it gone. */
void smtp_in_finish(struct conn *);
/* Of its stream and its timer. */
void smtp_in_ready(void *conn);
void smtp_in_timer(void *conn);
/* Goes on with the connection, after anything has changed. It may be gone afterwards. */
void smtp_in_pump(struct conn *);
/* NULL: it has gone. */
struct conn *smtp_in_conn(struct home *, struct ref);

/* A message, or a stray chunk, begins: from now on it has a minimum rate. */
void smtp_in_body_begins(struct conn *, uint64_t before, bool stray);

/* Read at most this much before the session has looked at it. */
#define SMTP_IN_READ_MAX 65536

/* -- smtp_in_open.c -- */

/* Phase PROXY: reads the header as far as it is there, and then welcomes whom it names. */
void smtp_in_read_proxy(struct conn *);
/* It will not come, or is none. word: how it is counted. */
void smtp_in_refuse_proxy(struct conn *, const char *word, const char *why);
/* Puts out those of a loop who were called to give up their places. */
void smtp_in_put_out(struct loop_task *);

/* -- smtp_in_sasl.c -- */

/* Behind the handshake: what TLS knows of the client decides about what is offered. */
void smtp_in_peer(struct conn *);
/* A question: what the exchange needs. */
void smtp_in_ask_sasl(struct conn *, const struct smtp_event *);

/* -- smtp_in_turn.c -- */

void smtp_in_turns_init(struct turns *, struct home *);
/* Every connection is gone. */
void smtp_in_turns_done(struct turns *);
/* Posts a job about a login to the workers: at once, if the connection's address is known, else
 * when it is its turn. False: too busy, and the job is not taken. */
bool smtp_in_post(struct conn *, struct turn *, struct job *);
/* First thing in the job's `done`: its place is free for the next. */
void smtp_in_turn_over(struct home *, struct turn *);
/* The connection ends: if its job has not begun, `done` is called without `run`. */
void smtp_in_leave_turns(struct conn *);

/* -- smtp_in_auth.c: questions -- */

void smtp_in_ask_auth(struct conn *, const struct smtp_event *);
void smtp_in_ask_mail(struct conn *, const struct smtp_event *);
/* The connection ends: a login that waits for its turn or its answer is forgotten. */
void smtp_in_forget_login(struct conn *);

/* -- smtp_in_tx.c -- */

/* The spool has failed: nothing is accepted. */
bool smtp_in_closed(const struct server *);
/* The connection lets go of its transaction; a job that holds it will free it. */
void smtp_in_drop(struct conn *);
void smtp_in_ask_rcpt(struct conn *, const struct smtp_event *);
void smtp_in_ask_body(struct conn *, const struct smtp_event *);
void smtp_in_ask_commit(struct conn *, const struct smtp_event *);
/* Sends what has collected to the body's file; the connection neither reads nor steps until the
 * job is back. last: then it is judged. */
void smtp_in_flush_body(struct conn *, bool last);

#endif
