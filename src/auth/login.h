/* auth/login.h -- the one decision "who is this, and may they send".
 *
 * Both doors ask here, whatever the mechanism was. The reason goes to the log and to the owner,
 * never to the client; the client gets an answer, of which there are five. An unknown id and a
 * wrong secret cost the same: the same lookups, one hash, one comparison. */
#ifndef AUTH_LOGIN_H
#define AUTH_LOGIN_H

#include "account/key.h"

enum auth_reason {
	REASON_OK,
	REASON_BAD_USERNAME,          /* neither "apikey" nor the shape of a key id */
	REASON_BAD_KEY_SHAPE,         /* the password is no key */
	REASON_BASIC_AUTH,            /* user name with an '@' */
	REASON_UNKNOWN_KEY,           /* no such id, though its checksum fits */
	REASON_MISTYPED_KEY,          /* no such id, and its checksum does not fit */
	REASON_WRONG_SECRET,          /* the id exists, the secret is another */
	REASON_USERNAME_KEY_MISMATCH, /* user name is a key id, but not this key's */
	REASON_OTHER_IDENTITY,        /* wants to act as somebody who is not this key */
	REASON_NOT_A_KEY_ID,          /* SCRAM, CRAM-MD5: the user name has to be one */
	REASON_BINDING,               /* SCRAM: another TLS connection than ours */
	REASON_BINDING_TYPE,          /* SCRAM: a channel binding that we do not have */
	REASON_DOWNGRADE,             /* SCRAM: the client was told that we cannot bind */
	REASON_BAD_NONCE,             /* SCRAM: not this exchange's */
	REASON_NO_CRAM_MD5,           /* the key was not made for it */
	REASON_NO_ISSUER,             /* nobody here can judge a token */
	REASON_TOKEN_MALFORMED,       /* from here on as token/jwt.h has them */
	REASON_TOKEN_HEADER,
	REASON_TOKEN_ALGORITHM,
	REASON_TOKEN_TYPE,
	REASON_TOKEN_UNKNOWN_KEY,
	REASON_TOKEN_SIGNATURE,
	REASON_TOKEN_ISSUER,
	REASON_TOKEN_AUDIENCE,
	REASON_TOKEN_EXPIRED,
	REASON_TOKEN_NOT_YET,
	REASON_TOKEN_SCOPE,
	REASON_TOKEN_CLAIMS,
	REASON_TOKEN_INACTIVE,
	REASON_TOKEN_TROUBLE,
	REASON_OTHER_HOST,            /* OAUTHBEARER: the client thinks it talks to somebody else */
	REASON_UNKNOWN_SUBJECT,       /* the token is good, and no key is known by what it says */
	REASON_AMBIGUOUS_SUBJECT,     /* several keys are, and none was named */
	REASON_ISSUER_DOWN,           /* what the token is worth cannot be known now */
	REASON_ISSUER_BUSY,           /* too many wait for an answer of the issuers */
	REASON_UNKNOWN_CERTIFICATE,   /* no key is known by it */
	REASON_AMBIGUOUS_CERTIFICATE, /* several keys are, and none was named */
	REASON_MECHANISM,             /* the key is limited to others */
	REASON_ADDRESS,               /* the key may not be used from there */
	REASON_REVOKED,
	REASON_EXPIRED,
	REASON_ACCOUNT_HELD,
	REASON_ACCOUNT_CLOSED,
	REASON_SCOPE_MISSING, /* the key lacks mail.send */
	REASON_STORE_DOWN,    /* nothing is known; err says why */
	REASON_COUNT
};

struct keyring;

/* What an attempt rests on. */
enum auth_by {
	AUTH_BY_PASSWORD, /* password: a whole key */
	AUTH_BY_PROOF,    /* an exchange over an auth_verifier(): fault says how it went */
	AUTH_BY_CRAM_MD5, /* digest: the answer to challenge */
	AUTH_BY_TOKEN,    /* identities; fault: what is wrong with it; username: whom it is claimed
			   * to be for, or empty */
	AUTH_BY_CERTIFICATE, /* identities */
};

struct auth_attempt {
	struct slice mechanism; /* "PLAIN": a key may be limited to some */
	struct slice username;  /* the authentication identity as sent */
	struct slice authzid;   /* RFC 4616 2: who to act as; empty: the same */
	enum auth_by by;
	struct secret password;
	enum auth_reason fault; /* of the proof, of the token; REASON_OK: the secret is there */
	struct slice challenge;
	const unsigned char *digest;   /* 16 bytes */
	const struct keyring *keyring; /* CRAM-MD5 */
	/* What the client's certificate or token is known by, as in account/identity.h. Names from
	 * a trusted CA only; claims of a token that was found good. */
	const struct slice *identities;
	size_t n_identities;
	uint64_t issuer;     /* of the token: a number by which the caller knows it again */
	uint64_t ends_ms;    /* of the token; 0: it has no end */
	struct slice client; /* address of the peer as text: a key may be limited to some */
	uint64_t now_ms;     /* Unix time */
};

/* Who a session speaks for. A plain value, copied freely. */
struct principal {
	uint64_t account;
	char key_id[KEY_ID_LEN + 1];
	struct scopes scopes;
	uint64_t expires_ms; /* of the key or of ends_ms, whatever is first; 0: never */
	uint64_t ends_ms;    /* of the token it logged in with; 0: none, or without an end */
	uint64_t issuer;     /* of that token; 0: it was none */
	uint64_t generation; /* of the store, read before the rows were */
};

/* What may be logged of an attempt, whatever came of it. */
struct auth_finding {
	enum auth_reason reason;
	uint64_t account;            /* 0: not known */
	char key_id[KEY_ID_LEN + 1]; /* as presented; empty when the password is no key */
};

/* "ok", "bad_username", ...: stable, for the log. */
const char *auth_reason_name(enum auth_reason);

/* True: *ret is filled. False: *e is set (ERR_DENIED, or the store's kind with
 * REASON_STORE_DOWN) and *ret is untouched. *ret_finding is filled either way. No transaction may
 * be open on the handle. */
bool auth_login(struct store_handle *, const struct auth_attempt *, struct principal *ret,
		struct auth_finding *ret_finding, struct err *e);

/* What SCRAM needs of the key that the user name is the id of. For every other name one is made up
 * from the name and a secret of the installation: always the same, and nothing proves it. Same
 * lookups and hashes for all. False: the store does not answer. */
#define AUTH_SECRET 32
struct auth_verifier {
	struct key_scram scram;
	bool nobodys;
};
bool auth_verifier(struct store_handle *, const unsigned char secret[AUTH_SECRET],
		   struct slice username, struct auth_verifier *ret, struct err *e);

/* Whether what is held of p may have changed: then auth_recheck() decides before the next
 * transaction begins. Cheap, for every MAIL. */
static inline bool auth_stale(const struct principal *p, uint64_t generation, uint64_t now_ms)
{
	return p->generation != generation || (p->expires_ms && now_ms >= p->expires_ms);
}

/* The same decision for a session that has logged in, without its secret. As auth_login(); ret
 * may be old. client: as in the attempt. */
bool auth_recheck(struct store_handle *, const struct principal *old, struct slice client,
		  uint64_t now_ms, struct principal *ret, struct auth_finding *ret_finding,
		  struct err *e);

/* What the client is told. */
enum auth_answer {
	AUTH_OK,       /* 235 2.7.0 */
	AUTH_BAD_PAIR, /* 535 5.7.8 Bad username / password */
	AUTH_BASIC,    /* 535 5.7.8 Basic authentication is not allowed ... see <link> */
	AUTH_INVALID,  /* 535 5.7.8 invalid, expired, or revoked: everything else */
	AUTH_LATER,    /* 454 4.7.0 */
};

enum auth_answer auth_answer(enum auth_reason);
/* Whether it may have been a guess: not when nobody could decide, nor when the secret was right (a
 * token: signed by its issuer) and something else was not. */
bool auth_is_guess(enum auth_reason);

struct auth_text {
	unsigned code;         /* SMTP reply code */
	struct slice enhanced; /* RFC 3463 */
	struct slice text;     /* the link, when there is one, goes behind it */
	bool link;
};

const struct auth_text *auth_text(enum auth_answer);
/* Appends the text without code and enhanced code. link: a URL from the config. */
void auth_add_text(enum auth_answer, struct slice link, struct buf *out);

#endif
