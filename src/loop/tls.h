/* loop/tls.h -- certificates and TLS policy: TLS 1.2 and 1.3, forward secrecy, AEAD only.
 *
 * Key exchange at a server: X25519, P-256, P-384 and nothing that costs much more, since the client
 * chooses.
 *
 * A server context belongs to one listener: session tickets are sealed with keys of its own that
 * rotate, so a session of one listener is not resumed at another. No renegotiation, no early data,
 * no compression; a client certificate only where it is asked for, and there no resumption: each
 * connection proves it anew. A peer that offers ALPN and not our protocol is
 * refused (ALPACA). Connections keep what they need alive: a context may be freed while they
 * live. */
#ifndef LOOP_TLS_H
#define LOOP_TLS_H

#include "base/err.h"
#include "base/slice.h"
#include "loop/tls_certs.h"

struct tls_server;
struct tls_client;

struct tls_server_conf {
	struct tls_certs *certs;   /* held */
	struct slice alpn;         /* "smtp"; empty: any offer is ignored */
	uint64_t ticket_rotate_ms; /* a ticket is good for one to two of these; 0: 12 hours */
	bool ask_certificate;      /* of the client; it may have none, or one that nobody trusts */
	struct slice client_ca;    /* PEM, whose certificates' names count; empty: nobody's */
};

struct tls_server *tls_server_new(const struct tls_server_conf *, struct err *e);
/* One more owner, who calls tls_server_free(). From any thread. */
struct tls_server *tls_server_hold(struct tls_server *);
void tls_server_free(struct tls_server *);

struct tls_client_conf {
	struct slice ca_file; /* PEM; empty: the system's */
};
struct tls_client *tls_client_new(const struct tls_client_conf *, struct err *e);
void tls_client_free(struct tls_client *);

/* Writes a self-signed ECDSA P-256 certificate for hostname and localhost, and its key (mode 0600).
 * ERR_CONFLICT: a file exists. */
bool tls_make_selfsigned(struct slice hostname, struct slice certificate, struct slice key,
			 struct err *e);

#endif
