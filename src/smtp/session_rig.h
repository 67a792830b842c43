/* smtp/session_rig.h -- a driver for tests of the server session: feeds bytes cut anyhow, answers
 * by what it sees, and keeps all that is observable.
 *
 * Answers: AUTH with the password "good" 235, "later" 454, "close" 535 and close, else 535. The
 * same with tokens and SCRAM; CRAM-MD5 by the user "good", EXTERNAL unless it is "bad".
 * A sender's or recipient's local part: "no" 550, "later" 450, "close" 421; the sender "full"
 * makes ASK_BODY 452. A message that holds "REJECT" is 550 in two lines at COMMIT. */
#ifndef SMTP_SESSION_RIG_H
#define SMTP_SESSION_RIG_H

#include "smtp/session.h"

struct rig {
	struct smtp_session *s;
	struct buf held; /* what the driver has read and the session not eaten */
	struct buf out;
	struct buf wire;  /* all replies */
	struct buf trace; /* all events, each in brackets; bodies with their commit only */
	struct buf body;
	int flushes;
	bool closed, hold_tls;        /* hold_tls: stop at DO_STARTTLS */
	const struct smtp_peer *peer; /* told behind the handshake, unless NULL */
	/* The driver's own account of what it allowed; asserted at each question. */
	bool user, mail, full, body_open;
	unsigned rcpts;
	size_t commits;
};

/* How far a conversation has come when a test begins. */
enum rig_from { FROM_CONNECT, FROM_CLEAR, FROM_TLS, FROM_HELLO, FROM_USER, FROM_MAIL, FROM_RCPT };

extern const struct smtp_config rig_cfg;     /* STARTTLS */
extern const struct smtp_config rig_cfg_tls; /* implicit TLS, else the same */

void rig_init(struct rig *r, const struct smtp_config *cfg);
void rig_done(struct rig *r);
/* Brings a fresh rig there and forgets what was said on the way. */
void rig_start(struct rig *r, enum rig_from from);
/* One turn of the client in pieces of `chunk` bytes (0: whole). */
void rig_feed(struct rig *r, struct slice bytes, size_t chunk);
/* The same with '\f' between turns. */
void rig_script(struct rig *r, struct slice script, size_t chunk);
/* Steps with what is held until the session wants something. */
void rig_pump(struct rig *r);
/* The events and replies so far. */
struct slice rig_wire(const struct rig *r);
struct slice rig_trace(const struct rig *r);

#endif
