/* account/key.h -- API keys.
 *
 * Form: "SG." id "." secret. The id is 22 base64url characters: 12 random bytes and the first 4
 * of SHA-256("signet-key-id:" and those 12); the first bit is zero, so that no id begins with '-',
 * which command lines would take for an option. The secret is 43 characters: 32 random bytes. An
 * imported key has the same shape, chosen by somebody else, so its id need not fit its checksum:
 * the checksum explains a failure in the log, it admits and refuses nothing.
 *
 * Stored: SHA-256 over the 43 characters as text (they are never decoded, so one secret has one
 * spelling and an imported one needs no canonical base64), without a salt: 256 random bits cannot
 * be guessed from their hash. Also, made at creation while the key is known, a SCRAM-SHA-256
 * verifier (RFC 5802 3, RFC 7677) with the whole key text as the password; and, only when asked
 * for, what CRAM-MD5 takes (RFC 2195), sealed. The secret itself is shown once and kept nowhere.
 *
 * An id belongs to one account for ever: a revoked key keeps its row. */
#ifndef ACCOUNT_KEY_H
#define ACCOUNT_KEY_H

#include "account/account.h"
#include "account/identity.h"
#include "account/mechanism.h"
#include "account/network.h"
#include "account/scope.h"
#include "base/secret.h"
#include "digest/digest.h"

#define KEY_ID_LEN     22
#define KEY_SECRET_LEN 43
#define KEY_TEXT_LEN   69
#define KEY_NAME_MAX   100
#define SCRAM_SALT     16
#define SCRAM_ROUNDS   4096

/* A presented key, taken apart; slices into what was parsed. */
struct key_text {
	struct slice id;
	struct secret secret;
	struct secret whole;
};

enum key_verdict {
	KEY_MISTYPED, /* the id's checksum does not fit: a slip of the pen, or an imported key */
	KEY_PLAUSIBLE,
};

/* Whether text has a key's shape. */
bool key_parse(struct secret text, struct key_text *ret);
/* Whether id has the shape of a key id. */
bool key_id_shape(struct slice id);
enum key_verdict key_id_verdict(struct slice id);
/* What is stored of a secret and compared (digest_equal). */
void key_hash(struct secret secret_part, unsigned char ret[DIGEST_SHA256]);

struct key {
	uint64_t account;
	char id[KEY_ID_LEN + 1];
	char name[KEY_NAME_MAX + 1]; /* a label for people; UTF-8, may be empty */
	enum key_state state;
	bool imported;
	bool cram_md5; /* it can be used with CRAM-MD5 */
	struct scopes scopes;
	struct mechanisms mechanisms; /* it is limited to */
	struct networks networks;     /* the same */
	uint64_t created_ms;
	uint64_t expires_ms; /* Unix time from which it is refused; 0: never */
	uint64_t revoked_ms; /* 0: not */
	enum queued queued;  /* what an operator said of its queued mail */
	unsigned char hash[DIGEST_SHA256];
};

/* RFC 5802 3 */
struct key_scram {
	unsigned char salt[SCRAM_SALT];
	uint32_t rounds;
	unsigned char stored_key[DIGEST_SHA256], server_key[DIGEST_SHA256];
};

struct keyring;

const char *key_state_name(enum key_state);

struct key_spec {
	struct slice name; /* 0..KEY_NAME_MAX bytes, no control bytes */
	struct scopes scopes;
	uint64_t expires_ms; /* 0: never; else later than the actor's now_ms */
	struct mechanisms mechanisms;
	struct networks networks;
	bool cram_md5;
	const struct keyring *keyring;  /* needed with cram_md5 */
	const struct slice *identities; /* key_identity() texts that stand for the key */
	size_t n_identities;
};

/* Functions that change something run one write transaction of their own (none may be open). */

/* Appends the key's text to out: the only time it is seen. The caller wipes out (buf_wipe).
 * ERR_ABSENT: no such account. */
bool key_create(struct store_handle *, const struct actor *, uint64_t account,
		const struct key_spec *, struct buf *out, struct key *ret, struct err *e);
/* Takes over a key that exists elsewhere. ERR_INPUT: not the shape of a key. ERR_CONFLICT: its id
 * is here already. */
bool key_import(struct store_handle *, const struct actor *, uint64_t account,
		const struct key_spec *, struct secret text, struct key *ret, struct err *e);
/* queued: what becomes of its queued mail; QUEUED_AS_STATE: what the rule says. Revoking what is
 * revoked is fine and changes nothing but that. ERR_ABSENT: no such id. */
bool key_revoke(struct store_handle *, const struct actor *, struct slice id, enum queued,
		struct err *e);
/* The queued mail alone, in whatever state it is. */
bool key_set_queued(struct store_handle *, const struct actor *, struct slice id, enum queued,
		    struct err *e);
enum key_standing key_standing(const struct key *, uint64_t now_ms);
/* What becomes of its queued mail: never QUEUED_AS_STATE. */
enum queued key_queued(const struct key *, uint64_t now_ms);
/* All three also of a key that is revoked (it stays so). ERR_ABSENT: no such id. */
bool key_set_scopes(struct store_handle *, const struct actor *, struct slice id, struct scopes,
		    struct err *e);
bool key_set_expiry(struct store_handle *, const struct actor *, struct slice id,
		    uint64_t expires_ms, struct err *e);
/* What it is limited to; NULL: as it is. Open sessions notice the networks at their next MAIL. */
bool key_set_limits(struct store_handle *, const struct actor *, struct slice id,
		    const struct mechanisms *, const struct networks *, struct err *e);

/* By id alone: two lookups, found or not. */
bool key_find(struct store_handle *, struct slice id, struct key *ret, struct err *e);
/* For logins, id of the right shape: the same three lookups and the same work whether it is there
 * or not, because reading a row takes two microseconds longer than finding none, and that can be
 * measured (./dev timing). Not there: *ret is another key, its hash wiped, or zeros when there is
 * no key at all; it stands in where work has to be done, and is nobody's. */
bool key_find_evenly(struct store_handle *, struct slice id, struct key *ret, bool *ret_there,
		     struct err *e);
/* One lookup, when the account is known. */
bool key_get(struct store_handle *, uint64_t account, struct slice id, struct key *ret,
	     struct err *e);
bool key_scram(struct store_handle *, uint64_t account, struct slice id, struct key_scram *ret,
	       struct err *e);
/* Whether digest (16 bytes) is what CRAM-MD5 demands for the challenge; *ret_ok is false for a key
 * without it. False: the lookup failed. One lookup and one comparison, found or not. */
bool key_cram_md5(struct store_handle *, const struct keyring *, uint64_t account, struct slice id,
		  struct slice challenge, const unsigned char digest[16], bool *ret_ok,
		  struct err *e);
/* Appends the identities that stand for the key, one space between. */
bool key_identities(struct store_handle *, uint64_t account, struct slice id, struct buf *out,
		    struct err *e);
/* Of one account, by id. after: the last id seen, or empty. The array lives in the arena. */
bool key_list(struct store_handle *, uint64_t account, struct slice after, size_t limit,
	      struct arena *, struct key **ret, size_t *ret_n, struct err *e);

/* Seals with the newest master key what is sealed with an older one, of every key in one
 * transaction; *ret_n: how many were. After that the older ones may go (keyring_prune).
 * ERR_DAMAGED: one does not open, and nothing was changed. */
bool key_reseal(struct store_handle *, const struct keyring *, size_t *ret_n, struct err *e);

#endif
