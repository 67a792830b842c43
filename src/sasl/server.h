/* sasl/server.h -- the server side of SASL (RFC 4422) as an exchange of bytes.
 *
 * The machine knows the form of a mechanism and does its arithmetic; whether somebody may log in it
 * never knows: it ends in SASL_VERIFY with a request that the caller judges. Input and output are
 * decoded bytes; base64, "*" and line lengths belong to the protocol around it. Randomness, time
 * and what TLS knows come from the caller.
 *
 * One object is one AUTH command: initialised, stepped, judged, wiped; none is used twice.
 * What it holds is secret and gone after sasl_server_done().
 *
 *   sasl_server_step()    -> SASL_CHALLENGE   send it, step with the answer
 *                         -> SASL_ASK         sasl_server_supply(), which goes on like step()
 *                         -> SASL_VERIFY      judge, then sasl_server_verdict()
 *   sasl_server_verdict() -> SASL_DONE        nothing more to say
 *                         -> SASL_CHALLENGE   last words (SCRAM's v= or e=, the error of a token):
 *                                             send them; step with the answer says SASL_DONE, and
 *                                             only then the client hears the verdict
 *
 * A new mechanism is a step function and a line in server.c's table. */
#ifndef SASL_SERVER_H
#define SASL_SERVER_H

#include "base/buf.h"
#include "base/secret.h"
#include "digest/digest.h"

#define SASL_FIELD_MAX   255  /* octets of authzid, authcid, password (RFC 4616 section 2) */
#define SASL_TOKEN_MAX   9216 /* octets of a message that carries a token: 12,288 in base64 */
#define SASL_NONCE_MAX   256  /* octets of a SCRAM client's nonce */
#define SASL_BINDING_MAX 64   /* octets of channel binding data */
#define SASL_DIGEST_MD5  16
#define SASL_ROUNDS_MIN  4096 /* RFC 7677 section 4 */
#define SASL_OUT_MAX     640  /* no challenge is longer */

/* Best first: the order of the offer. */
enum sasl_id {
	SASL_SCRAM_SHA_256_PLUS,
	SASL_SCRAM_SHA_256,
	SASL_EXTERNAL,
	SASL_OAUTHBEARER,
	SASL_XOAUTH2,
	SASL_PLAIN,
	SASL_LOGIN,
	SASL_CRAM_MD5,
	SASL_MECHS
};

/* A set of mechanisms. */
#define SASL_BIT(id)   (UINT32_C(1) << (id))
#define SASL_PASSWORDS (SASL_BIT(SASL_PLAIN) | SASL_BIT(SASL_LOGIN))

enum sasl_flag {
	SASL_REVEALS = 1,      /* the server sees a reusable secret: run inside TLS only */
	SASL_SERVER_FIRST = 2, /* an initial response is an error (RFC 4954 section 4) */
	SASL_BINDS = 4,        /* makes sense only where TLS gives data to bind to */
	SASL_CERTIFICATE = 8,  /* ... where the client has shown a certificate */
	SASL_TOKEN = 16,       /* ... where somebody can judge a token */
};

/* What the request rests on. */
enum sasl_by {
	SASL_BY_PASSWORD, /* password: to be compared */
	SASL_BY_PROOF,    /* checked by the machine: `fault` */
	SASL_BY_HMAC,     /* digest: HMAC-MD5 of challenge under the secret */
	SASL_BY_TOKEN,    /* password: a bearer token */
	SASL_BY_TLS,      /* the client's certificate */
};

/* What a proof suffers from: for the log; the client learns no more than it can tell itself. */
enum sasl_fault {
	SASL_FAULT_NONE,         /* the client has the secret of the verifier */
	SASL_FAULT_PROOF,        /* it has not, or the verifier was nobody's */
	SASL_FAULT_BINDING,      /* it sees another TLS connection than we do */
	SASL_FAULT_BINDING_TYPE, /* it binds to something that we do not have */
	SASL_FAULT_DOWNGRADE,    /* it was told that we cannot bind */
	SASL_FAULT_NONCE,        /* not the nonce of this exchange */
};

/* What the client claims. No field is trimmed or changed (SCRAM's =2C and =3D are decoded);
 * authzid may be empty. Empty authcid and password pass: nobody has them, so they fail like any
 * other wrong pair. */
struct sasl_request {
	struct slice mechanism; /* upper case, static */
	enum sasl_by by;
	struct slice authzid, authcid;
	struct secret password;
	struct slice challenge;                /* SASL_BY_HMAC */
	unsigned char digest[SASL_DIGEST_MD5]; /* SASL_BY_HMAC */
	enum sasl_fault fault;                 /* SASL_BY_PROOF */
	struct slice host,
	    port; /* OAUTHBEARER: what the client thinks it talks to; empty: unsaid */
};

/* RFC 5802 section 3: what is kept of a SCRAM secret. */
struct sasl_verifier {
	struct slice salt; /* at most 64 octets */
	uint32_t rounds;   /* SASL_ROUNDS_MIN or more */
	unsigned char stored_key[DIGEST_SHA256], server_key[DIGEST_SHA256];
	bool nobodys; /* made up for a name that is not known: no proof fits it */
};

/* What an exchange needs and cannot know. Slices are copied as far as they are needed. */
struct sasl_supply {
	struct slice nonce;    /* printable ASCII without comma, unguessable, never used twice */
	struct slice hostname; /* for CRAM-MD5's challenge */
	uint64_t now_ms;       /* Unix time, for the same */
	const struct sasl_verifier *verifier; /* of request.authcid: SCRAM */
	struct slice exporter;                /* RFC 9266; empty: none */
	struct slice end_point;               /* RFC 5929 section 4; empty: none, or not allowed */
	bool plus_offered;                    /* SCRAM-SHA-256-PLUS was in the offer */
};

enum sasl_got {
	SASL_CHALLENGE, /* out holds it, perhaps empty: send it and step with the answer */
	SASL_ASK,       /* sasl_server_supply() is needed */
	SASL_VERIFY,    /* x->request is complete, valid until sasl_server_done() */
	SASL_DONE,      /* behind the verdict: the exchange is over */
	SASL_BAD,       /* malformed: the exchange is over */
};

struct sasl_server;
typedef enum sasl_got sasl_step_fn(struct sasl_server *x, const struct slice *in, struct buf *out);

struct sasl_mech {
	struct slice name;
	unsigned flags; /* enum sasl_flag */
	enum sasl_by by;
	size_t room; /* octets of `held` an exchange can need */
	sasl_step_fn *step;
};

/* SCRAM's own: parts of `held`. */
struct sasl_scram {
	struct slice gs2, first_bare, server_first, nonce;
	struct slice binding_type; /* behind "p="; empty: none */
	char gs2_flag;             /* n, y or p */
	unsigned char stored_key[DIGEST_SHA256], server_key[DIGEST_SHA256];
	unsigned char signature[DIGEST_SHA256]; /* ours */
	unsigned char binding[SASL_BINDING_MAX];
	size_t binding_n;
	bool nobodys;
};

struct sasl_server {
	const struct sasl_mech *mech;
	struct sasl_request request;
	struct buf held; /* the client's words so far, and ours */
	unsigned round;
	enum { SASL_OPEN, SASL_SAID_YES, SASL_SAID_NO } verdict;
	struct sasl_scram scram;
};

/* By name in any case; NULL if we do not have it. */
const struct sasl_mech *sasl_mech_find(struct slice name);
enum sasl_id sasl_mech_id(const struct sasl_mech *);
/* Those of a set without any of the flags. */
uint32_t sasl_without(uint32_t set, unsigned flags);
/* The names of a set, best first, with a space between. */
void sasl_mech_list(struct buf *out, uint32_t set);

void sasl_server_init(struct sasl_server *x, const struct sasl_mech *mech);
/* in NULL: the client sent no initial response. `in` is copied as far as it is needed. After
 * SASL_BAD and SASL_DONE only sasl_server_done() may follow. */
enum sasl_got sasl_server_step(struct sasl_server *x, const struct slice *in, struct buf *out);
/* After SASL_ASK. */
enum sasl_got sasl_server_supply(struct sasl_server *x, const struct sasl_supply *,
				 struct buf *out);
/* After SASL_VERIFY. yes: never with a fault. */
enum sasl_got sasl_server_verdict(struct sasl_server *x, bool yes, struct buf *out);
/* Wipes. Harmless on a zeroed or finished object. */
void sasl_server_done(struct sasl_server *x);

#endif
