/* loop/tls_peer.h -- what TLS knows of the other side: data to bind a login to, and the client's
 * certificate. Of a server's stream whose handshake is done; everywhere else there is nothing. */
#ifndef LOOP_TLS_PEER_H
#define LOOP_TLS_PEER_H

#include "loop/stream.h"

#define TLS_EXPORTER      32
#define TLS_END_POINT_MAX 64

/* RFC 9266: "tls-exporter", on TLS 1.3 alone (in 1.2 it is sound only with an extension). */
bool tls_exporter(const struct stream *, unsigned char ret[TLS_EXPORTER]);
/* RFC 5929 4: "tls-server-end-point", the hash of the certificate that the server has shown. Not of
 * a session that was resumed: none was shown. */
bool tls_end_point(const struct stream *, unsigned char ret[TLS_END_POINT_MAX], size_t *ret_n);

/* The client has shown a certificate and holds its key. */
bool tls_has_certificate(const struct stream *);
/* What it is known by, one space between: "spki:" and the SHA-256 of its public key in hexadecimal;
 * and, when a trusted CA vouches for it, its SubjectAltNames: "dns:" (in lower case), "email:",
 * "uri:". Names that hold anything but printable ASCII without blanks are left out. */
void tls_identities(const struct stream *, struct buf *out);

#endif
