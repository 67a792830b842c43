/* keyring/keyring.h -- the master key, and the sealing of secrets at rest.
 *
 * The master key lives in a file of its own (mode 0600, owned by the user who runs Signet) and,
 * while open, in guarded memory that is locked when RLIMIT_MEMLOCK allows. It never leaves this
 * room. A keyring may be used by any number of threads at once.
 *
 * File: "signet-master-key 1\n", then 1 to KEYRING_KEYS lines "key <number 1..255> <43 base64url
 * characters>\n", no number twice. The first key seals; the others are older and still open what
 * they sealed.
 * Sealed blob: key number (1 byte), nonce (24), ciphertext and tag (16), XChaCha20-Poly1305; the
 * associated data is the key number and the purpose. */
#ifndef KEYRING_KEYRING_H
#define KEYRING_KEYRING_H

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"

#define KEYRING_OVERHEAD 41
#define KEYRING_KEYS     8

struct keyring;

/* Makes the file with a fresh key, synced with its directory. ERR_CONFLICT: it exists (kept). */
bool keyring_create(struct slice path, struct err *e);
/* ERR_ABSENT: no file. ERR_DENIED: owner or mode let others read it; the text says what to do.
 * ERR_DAMAGED: not a key file. NULL on failure. */
struct keyring *keyring_open(struct slice path, struct err *e);
/* Puts a fresh key first; the older ones stay behind it. The file is replaced as a whole: a crash
 * at any moment leaves the old one or the new one, both of which open everything. A keyring that is
 * open does not change. ERR_CONFLICT: the file is full of keys. */
bool keyring_rotate(struct slice path, struct err *e);
/* Drops all keys but the first. What they sealed is lost: it is sealed anew before (key_reseal). */
bool keyring_prune(struct slice path, struct err *e);
/* How many keys, and the number of the one that seals. */
unsigned keyring_keys(const struct keyring *);
unsigned keyring_number(const struct keyring *);
/* The number of the key that a blob was sealed with; 0: it is no blob. */
unsigned keyring_key_of(struct slice blob);
void keyring_close(struct keyring *); /* NULL is fine; wipes */

/* Appends the sealed form of plain to out. purpose: what the secret is and whose, for example
 * "dkim:42:s1"; a blob opens under the very same purpose only. ERR_LATER: out is full. */
bool keyring_seal(const struct keyring *, struct slice purpose, struct secret plain,
		  struct buf *out, struct err *e);
/* Appends the secret to out, which the caller wipes (buf_wipe). ERR_DAMAGED: altered, cut, other
 * purpose, or sealed with a key that is not in the file. */
bool keyring_unseal(const struct keyring *, struct slice purpose, struct slice blob,
		    struct buf *out, struct err *e);

/* 32 bytes that nobody can tell without the master key, the same ones at each start, as long as the
 * oldest key is in the file: for what must be stable and unguessable. ERR_INPUT: as keyring_seal()
 * of its purpose. */
#define KEYRING_DERIVED 32
bool keyring_derive(const struct keyring *, struct slice purpose,
		    unsigned char ret[KEYRING_DERIVED], struct err *e);

/* CRAM-MD5 (RFC 2195): the state of HMAC-MD5 under a secret, sealed; opened, it answers every
 * challenge like the secret itself, so it is opened here and nowhere else. */
#define KEYRING_CRAM_MD5 (KEYRING_OVERHEAD + 32) /* bytes of the blob */
bool keyring_cram_md5_seal(const struct keyring *, struct slice purpose, struct secret plain,
			   struct buf *out, struct err *e);
/* Whether digest (16 bytes) answers the challenge. A blob that does not open answers none, in the
 * same time. */
bool keyring_cram_md5_check(const struct keyring *, struct slice purpose, struct slice blob,
			    struct slice challenge, const unsigned char digest[16]);

/* n unguessable bytes from getrandom(2); aborts when the kernel has none. */
void keyring_random(void *p, size_t n);

#endif
