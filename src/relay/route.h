/* relay/route.h -- where mail for a destination is handed on.
 *
 * A table made once from the configuration and then only read. The first route that names the
 * destination, or a parent of it, most labels first, wins; "*" names every destination. */
#ifndef RELAY_ROUTE_H
#define RELAY_ROUTE_H

#include "base/net.h"
#include "base/secret.h"
#include "base/slice.h"

enum route_type {
	ROUTE_CAPTURE,   /* a Maildir on this machine */
	ROUTE_SMARTHOST, /* a mail server that takes everything */
	ROUTE_MX,        /* the mail exchangers of each destination */
};

enum route_tls {
	ROUTE_TLS_NONE,            /* never */
	ROUTE_TLS_MAY,             /* STARTTLS when offered, any certificate */
	ROUTE_TLS_MUST,            /* STARTTLS or no delivery, any certificate */
	ROUTE_TLS_MUST_VERIFY,     /* STARTTLS and a certificate that names the host */
	ROUTE_TLS_IMPLICIT,        /* TLS from the first byte, any certificate */
	ROUTE_TLS_IMPLICIT_VERIFY, /* the same with a certificate that names the host */
};

struct route {
	struct slice name;
	enum route_type type;
	const struct slice *domains; /* "*", "example.com" (and names below it) */
	size_t n_domains;
	unsigned connections; /* at once to one site, at least 1 */
	struct slice path;    /* capture: the Maildir */
	struct slice host;    /* smart host: name or address literal without brackets */
	uint16_t port;
	enum route_tls tls;
	struct slice user; /* AUTH; empty: none */
	struct secret password;
	uint32_t messages_per_connection; /* 0: no limit */
	/* MX: addresses that are connected to though they are special (policy/guard.h) or ours */
	const struct net *allow;
	size_t n_allow;
	void *tls_context; /* the driver's, made at start; NULL when tls is none */
};

struct routes {
	const struct route *at;
	size_t n;
};

/* NULL: no route. dest: lower case, as the spool keys deliveries. */
const struct route *route_for(const struct routes *, struct slice dest);

#endif
