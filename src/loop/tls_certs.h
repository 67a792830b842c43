/* loop/tls_certs.h -- certificates and their keys, read together, and which of them a client gets.
 *
 * A set is read whole or not at all, and is immutable: contexts of several listeners share it, and
 * every handshake chooses from it. By the name the client asks for (SNI): the pairs that bear it
 * among their DNS names; then those with a wildcard for it, which stands for one label. Pairs with
 * keys of different kinds stand side by side. Everybody else, and whoever asks for a name that is
 * not here, gets the first pair, with those of other kinds that share a name with it. What a client
 * cannot use (a key of a kind that it does not know) is as if it were not there. */
#ifndef LOOP_TLS_CERTS_H
#define LOOP_TLS_CERTS_H

#include "base/err.h"
#include "base/slice.h"

struct tls_certs;

/* As many keys as certificates, in the same order; at least one. NULL: the text names the file.
 * Each key is checked to be its certificate's. */
struct tls_certs *tls_certs_read(const struct slice *certificates, const struct slice *keys,
				 size_t n, struct err *e);
/* One more owner. From any thread. */
struct tls_certs *tls_certs_hold(struct tls_certs *);
void tls_certs_free(struct tls_certs *); /* NULL is fine */

/* The same certificates, chains and keys in the same order. */
bool tls_certs_same(const struct tls_certs *, const struct tls_certs *);

/* One of them bears that DNS name. */
bool tls_certs_bear(const struct tls_certs *, struct slice name);

struct tls_cert_facts {
	struct slice path, name;    /* name: the first, empty when it bears none */
	uint64_t from_ms, until_ms; /* Unix time */
};
/* False: there is no i-th. Slices live as long as the set. */
bool tls_certs_facts(const struct tls_certs *, size_t i, struct tls_cert_facts *ret);

#endif
