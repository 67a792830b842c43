/* sasl/server.h -- the server side of SASL (RFC 4422) as an exchange of bytes.
 *
 * The machine knows the form of a mechanism, never whether a password is right: it ends in
 * SASL_VERIFY with a request that the caller judges. Input and output are decoded bytes; base64,
 * "*" and line lengths belong to the protocol around it.
 *
 * One object is one AUTH command: initialised, stepped, judged, wiped; none is used twice.
 * What it holds is secret and gone after sasl_server_done().
 *
 * A new mechanism is a step function and a line in server.c's table. One that answers after the
 * verdict (SCRAM's v=, the error text of OAUTHBEARER) gets its further rounds from its own step. */
#ifndef SASL_SERVER_H
#define SASL_SERVER_H

#include "base/buf.h"
#include "base/secret.h"

#define SASL_FIELD_MAX 255 /* octets in each of authzid, authcid, password (RFC 4616 section 2) */

enum sasl_flag {
	SASL_REVEALS = 1,      /* the server sees a reusable secret: run inside TLS only */
	SASL_SERVER_FIRST = 2, /* an initial response is an error (RFC 4954 section 4) */
};

/* What the client claims. No field is trimmed or changed; authzid may be empty. Empty authcid and
 * password pass: nobody has them, so they fail like any other wrong pair. */
struct sasl_request {
	struct slice mechanism; /* upper case, static */
	struct slice authzid, authcid;
	struct secret password;
};

enum sasl_got {
	SASL_CHALLENGE, /* out holds the challenge, perhaps empty: send it and step with the answer
			 */
	SASL_VERIFY,    /* x->request is complete, valid until sasl_server_done() */
	SASL_BAD,       /* malformed: the exchange is over */
};

struct sasl_server;
typedef enum sasl_got sasl_step_fn(struct sasl_server *x, const struct slice *in, struct buf *out);

struct sasl_mech {
	struct slice name;
	unsigned flags; /* enum sasl_flag */
	sasl_step_fn *step;
};

struct sasl_server {
	const struct sasl_mech *mech;
	struct sasl_request request;
	struct buf held; /* the client's words so far */
	unsigned round;
};

/* By name in any case; NULL if we do not have it. */
const struct sasl_mech *sasl_mech_find(struct slice name);
/* The names, best first, with a space between; without those that reveal a secret unless
 * `private`. */
void sasl_mech_list(struct buf *out, bool private);

void sasl_server_init(struct sasl_server *x, const struct sasl_mech *mech);
/* in NULL: the client sent no initial response. `in` is copied as far as it is needed. After
 * SASL_VERIFY or SASL_BAD only sasl_server_done() may follow. */
enum sasl_got sasl_server_step(struct sasl_server *x, const struct slice *in, struct buf *out);
/* Wipes. Harmless on a zeroed or finished object. */
void sasl_server_done(struct sasl_server *x);

#endif
