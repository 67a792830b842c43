/* serve/smtp_out_impl.h -- what the files of the outbound door share. */
#ifndef SERVE_SMTP_OUT_IMPL_H
#define SERVE_SMTP_OUT_IMPL_H

#include "loop/stream.h"
#include "relay/mx.h"
#include "serve/deliver.h"
#include "serve/dial.h"
#include "serve/server.h"
#include "serve/smtp_out.h"
#include "smtp/client.h"

/* Content fed to the machine at once, bytes; stuffed it can double. */
#define SMTP_OUT_RUN 16384u

enum stage {
	STAGE_DIAL,
	STAGE_HANDSHAKE, /* TLS, implicit or after STARTTLS */
	STAGE_TALK,
	STAGE_LOAD,  /* a job reads the message, or the next block of its body */
	STAGE_AGAIN, /* this host is done with: the next one, or the same in another way */
	STAGE_OVER,
};

struct out {
	struct deliver *deliver;
	struct home *home;
	struct site *site;
	struct out *before, *after;    /* of this site; those at rest stand first */
	bool resting;                  /* ready, and nothing was due */
	struct generation *generation; /* held: what it began with, its route too */
	const struct route *route;
	enum stage stage;
	struct job job;
	bool job_out; /* with a worker */
	struct err error;

	/* The hosts of the site in the order they are tried; a smart host is the only one */
	uint8_t order[MX_HOSTS];
	size_t n_hosts, host;
	bool in_clear;     /* TLS failed with this host, and may do without */
	bool hopeless;     /* no host so far had an address */
	uint64_t began_ms; /* with this host; clock_mono_ms() */
	struct dial dial;
	char remote[DIAL_REMOTE];
	struct stream stream;
	struct loop_timer timer;
	int timed;  /* what the timer runs for; see clock_of() */
	bool moved; /* something was understood, or taken by the peer, since it was set */
	struct smtp_client_config config;
	struct smtp_client *client;
	struct buf in, out;
	bool proven;              /* the site was ready for a delivery */
	uint32_t messages, taken; /* handed over; of these, by somebody's yes */
	bool closing;             /* the remote broke off before it had taken anything */
	char trouble[240];        /* in these words */

	/* The delivery in hand */
	bool busy;
	struct spool_ticket ticket;
	struct arena arena;
	struct spool_message message;
	bool loaded;
	struct smtp_client_mail mail;
	struct smtp_client_rcpt *rcpts;
	struct outcome_answer *answers; /* of rcpts, in that order */
	uint32_t n_rcpts;
	struct slice head_left, body_left;
	uint64_t file_at, file_left;
	char *block;
	size_t block_n;
};

/* -- smtp_out.c -- */

/* Goes on with the connection, after anything has changed. It may be gone afterwards. */
void smtp_out_pump(struct out *);
/* The host that is being tried, or talked to: its name, or its address. */
struct slice smtp_out_host(const struct out *);

/* -- smtp_out_mail.c: the delivery in hand -- */

/* The machine waits for a message. False: there is none for it now. */
bool smtp_out_next(struct out *);
/* It has carried as many messages as one connection of this route may, or its route is no more. */
bool smtp_out_spent(const struct out *);
/* Feeds content. False: a job fetches the next block. */
bool smtp_out_feed(struct out *);
/* Keeps the machine's verdict on one recipient; on whoever has none of their own. */
void smtp_out_note(struct out *, uint32_t rcpt, const struct smtp_client_event *);
void smtp_out_note_rest(struct out *, const struct smtp_client_event *);
/* Every recipient has a verdict: they are made durable. */
void smtp_out_settle(struct out *);
/* The delivery goes back as it was. */
void smtp_out_give_back(struct out *);

#endif
