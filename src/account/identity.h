/* account/identity.h -- what stands for a key beside its secret: of a client's certificate, or of a
 * token.
 *
 * A certificate is one text: "spki:" and the SHA-256 of its public key (SubjectPublicKeyInfo, DER)
 * in 64 hexadecimal digits, which counts whoever issued the certificate; or a name that a trusted
 * CA has put into it (SubjectAltName): "dns:host.example", "email:a@b.example",
 * "uri:spiffe://domain/path". A token's is "token:ISSUER:CLAIM=VALUE": the name of an issuer in the
 * configuration, a claim that its section lists, and the text it has; visible ASCII.
 *
 * Hexadecimal and DNS names are kept in lower case; the rest is compared as it is. */
#ifndef ACCOUNT_IDENTITY_H
#define ACCOUNT_IDENTITY_H

#include "base/buf.h"
#include "store/store.h"

#define KEY_IDENTITY_MAX   512 /* bytes of one */
#define KEY_IDENTITIES_MAX 16  /* of one key */

/* Appends the kept form to out. ERR_INPUT: not such a text. */
bool key_identity(struct slice text, struct buf *out, struct err *e);

/* Which key an identity stands for. ERR_ABSENT: none. ret_id: KEY_ID_LEN + 1 bytes. */
bool key_of_identity(struct store_handle *, struct slice identity, uint64_t *ret_account,
		     char *ret_id, struct err *e);

#endif
