/* sasl/client.h -- the client side of SASL (RFC 4422): what we say to a smart host.
 *
 * An exchange of decoded bytes; base64 and the SMTP lines around it belong to the caller.
 * The object borrows user and password and keeps no copy: they outlive it, and whoever owns them
 * wipes them. Nothing to free. What step() appends to `out` is secret: the caller wipes it.
 *
 * Use: sasl_client_pick(); then sasl_client_step(x, NULL, out) for the initial response, then once
 * per 334 with its decoded challenge, until the server says 235 or an error. */
#ifndef SASL_CLIENT_H
#define SASL_CLIENT_H

#include "base/buf.h"
#include "base/secret.h"

struct sasl_client_mech;

struct sasl_client {
	const struct sasl_client_mech *mech;
	struct slice user;
	struct secret password;
	unsigned round;
};

enum sasl_client_got {
	SASL_CLIENT_SEND, /* out holds the response; an empty one is a response, too */
	SASL_CLIENT_WAIT, /* no initial response: "AUTH name" alone, the server speaks first */
	SASL_CLIENT_FAIL, /* not a challenge this mechanism knows: send "*" and give up */
};

/* Chooses the best mechanism that both sides know. `offered` is the list behind AUTH in the EHLO
 * reply: names in any case between spaces. A mechanism that reveals the password is taken only if
 * `private` (the line is encrypted). False if there is none. */
bool sasl_client_pick(struct sasl_client *x, struct slice offered, bool private, struct slice user,
		      struct secret password);
/* The name to send behind AUTH. */
struct slice sasl_client_name(const struct sasl_client *x);
/* challenge NULL: nothing has come from the server yet. Appends to out on SEND only. */
enum sasl_client_got sasl_client_step(struct sasl_client *x, const struct slice *challenge,
				      struct buf *out);

#endif
