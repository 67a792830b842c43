/* loop/tls_impl.h -- what the files of TLS share. */
#ifndef LOOP_TLS_IMPL_H
#define LOOP_TLS_IMPL_H

#include "loop/tls.h"
#include "loop/tls_certs.h"

#include <openssl/ssl.h>

/* -- tls.c -- */

/* A new connection's state; NULL and *e on failure. */
SSL *tls_server_accept(struct tls_server *, int fd, struct err *e);
/* host: for SNI and, when verify, the name the certificate must bear. */
SSL *tls_client_connect(struct tls_client *, int fd, struct slice host, bool verify, struct err *e);
/* Puts the library's oldest error into *e and clears the rest. */
bool tls_error(struct err *e, const char *what);
/* A path for the library. */
bool tls_path(struct slice, char path[4096], struct err *e);

/* -- tls_peer.c -- */

/* Certificates are asked for, and taken whatever they are worth. */
bool tls_peer_ask(SSL_CTX *, struct slice client_ca, struct err *e);

/* -- tls_certs.c -- */

/* The name the client asks for; empty: none. */
struct slice tls_asked_name(const SSL *);
/* The library's question at each handshake (SSL_CTX_set_cert_cb). */
int tls_certs_choose(SSL *, void *certs);
/* The first pair becomes the context's own. */
bool tls_certs_into(const struct tls_certs *, SSL_CTX *, struct err *e);
size_t tls_certs_count(const struct tls_certs *);

#endif
