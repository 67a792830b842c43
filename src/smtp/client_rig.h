/* smtp/client_rig.h -- a driver for tests of the client session, played against a script.
 *
 * A script is lines: "S:" bytes of the server, "C:" what the client must have said by then; each
 * gets a CRLF. Neighbouring S lines arrive together. The rig sends the queued messages at READY and
 * QUIT behind the last, feeds content in runs of `chunk`, and keeps all events as text:
 * [tls] [rcpt 1 550 5.1.1 no] [done dot 250 ok] [failed ehlo 0 why] [close]; a '!' stands before
 * our own words, a '?' behind what may have been delivered twice. */
#ifndef SMTP_CLIENT_RIG_H
#define SMTP_CLIENT_RIG_H

#include "smtp/client.h"

struct client_mail_case {
	struct smtp_client_mail mail;
	struct slice content;
};

struct client_rig {
	struct smtp_client *c;
	const struct client_mail_case *mails; /* the next one; ends with mail.n_rcpts == 0 */
	struct buf held, out, wire, trace;
	struct slice body_left;
	size_t chunk; /* 0: whole */
	bool closed, busy, hold_ready;
	uint32_t given; /* verdicts on the message in hand */
	uint64_t given_bits;
	int flushes;
};

void client_rig_init(struct client_rig *r, const struct smtp_client_config *cfg,
		     const struct client_mail_case *mails, size_t out_max);
void client_rig_done(struct client_rig *r);
/* Feeds the bytes and steps until the client wants more, or is gone. */
void client_rig_feed(struct client_rig *r, struct slice bytes);
void client_rig_pump(struct client_rig *r);

/* Plays the script whole, byte by byte, and with each turn cut in two at each place, and asserts
 * what the client says, turn by turn, and the events. */
void client_rig_play(const char *name, const struct smtp_client_config *cfg,
		     const struct client_mail_case *mails, const char *script, const char *trace);
/* The same, whole only: for servers that say more than was asked, where it matters what has come.
 */
void client_rig_once(const char *name, const struct smtp_client_config *cfg,
		     const struct client_mail_case *mails, const char *script, const char *trace);

#endif
