/* serve/smtp_in.h -- where an SMTP client meets the relay: the driver of smtp/session.
 *
 * Glue only: it moves bytes between stream and session, turns questions into calls and jobs, and
 * verdicts into answers. It owns every deadline. */
#ifndef SERVE_SMTP_IN_H
#define SERVE_SMTP_IN_H

#include "base/net.h"
#include "loop/stream.h"
#include "loop/tls.h"
#include "ops/conf.h"
#include "smtp/session.h"

struct home;
struct generation;

#define SMTP_DOOR_PROXIES 64

/* One listener of the configuration, shared by the loops. */
struct smtp_door {
	struct generation *generation; /* it belongs to */
	struct slice name;
	struct smtp_config session;
	bool asks_certificate;  /* of clients, for EXTERNAL */
	bool bind_end_point;    /* SCRAM-SHA-256-PLUS may bind to our certificate */
	struct tls_server *tls; /* NULL: no TLS could be set up (sessions answer 454) */
	/* Whose connections must begin with a PROXY header. */
	struct net proxies[SMTP_DOOR_PROXIES];
	size_t n_proxies;
};

/* Fills them from the configuration, which was checked. */
void smtp_door_proxies(struct smtp_door *, const struct conf_list *);

/* The connections of one loop thread. */
struct smtp_in_home;
struct smtp_in_home *smtp_in_home_new(struct home *);
void smtp_in_home_free(struct smtp_in_home *);

/* Somebody of this loop was called to give up the place; for places_new(). */
void smtp_in_call(void *server, unsigned home);
/* Takes over an accepted socket, or closes it with 421 when a limit is reached. peer: its address
 * as text, for this call. */
void smtp_in_accept(struct home *, const struct smtp_door *, int fd, const char *peer);

/* No new transactions: each connection says 421 4.3.2 as soon as it legally can; now: at once. */
void smtp_in_shutdown(struct smtp_in_home *, bool now);
/* Closes what is left. */
void smtp_in_abort(struct smtp_in_home *);
size_t smtp_in_open(const struct smtp_in_home *);

#endif
