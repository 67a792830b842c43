/* keyring/keyring.h -- the master key, and the sealing of secrets at rest.
 *
 * The master key lives in a file of its own (mode 0600, owned by the user who runs Signet) and,
 * while open, in guarded memory that is locked when RLIMIT_MEMLOCK allows. It never leaves this
 * room. A keyring may be used by any number of threads at once.
 *
 * File: "signet-master-key 1\n" "key <number 1..255> <43 base64url characters>\n".
 * Sealed blob: key number (1 byte), nonce (24), ciphertext and tag (16), XChaCha20-Poly1305; the
 * associated data is the key number and the purpose. */
#ifndef KEYRING_KEYRING_H
#define KEYRING_KEYRING_H

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"

#define KEYRING_OVERHEAD 41

struct keyring;

/* Makes the file with a fresh key, synced with its directory. ERR_CONFLICT: it exists (kept). */
bool keyring_create(struct slice path, struct err *e);
/* ERR_ABSENT: no file. ERR_DENIED: owner or mode let others read it; the text says what to do.
 * ERR_DAMAGED: not a key file. NULL on failure. */
struct keyring *keyring_open(struct slice path, struct err *e);
void keyring_close(struct keyring *); /* NULL is fine; wipes */

/* Appends the sealed form of plain to out. purpose: what the secret is and whose, for example
 * "dkim:42:s1"; a blob opens under the very same purpose only. ERR_LATER: out is full. */
bool keyring_seal(const struct keyring *, struct slice purpose, struct secret plain,
		  struct buf *out, struct err *e);
/* Appends the secret to out, which the caller wipes (buf_wipe). ERR_DAMAGED: altered, cut, other
 * purpose, or sealed with another key. */
bool keyring_unseal(const struct keyring *, struct slice purpose, struct slice blob,
		    struct buf *out, struct err *e);

/* n unguessable bytes from getrandom(2); aborts when the kernel has none. */
void keyring_random(void *p, size_t n);

#endif
