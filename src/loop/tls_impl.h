/* loop/tls_impl.h -- what stream.c needs of tls.c. */
#ifndef LOOP_TLS_IMPL_H
#define LOOP_TLS_IMPL_H

#include "loop/tls.h"

#include <openssl/ssl.h>

/* A new connection's state; NULL and *e on failure. */
/* One more owner, who calls tls_server_free(). */
struct tls_server *tls_server_hold(struct tls_server *);
SSL *tls_server_accept(struct tls_server *, int fd, struct err *e);
/* host: for SNI and, when verify, the name the certificate must bear. */
SSL *tls_client_connect(struct tls_client *, int fd, struct slice host, bool verify, struct err *e);
/* Puts the library's oldest error into *e and clears the rest. */
bool tls_error(struct err *e, const char *what);

#endif
