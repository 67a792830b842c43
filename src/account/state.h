/* account/state.h -- what the state of an account or a key means: one table, for the code and for
 * docs/operations.md.
 *
 * The state says who may log in and send; and what becomes of the mail that is queued already,
 * unless an operator said otherwise (the row's `queued`). Queued mail goes out when both its
 * account and its key let it. */
#ifndef ACCOUNT_STATE_H
#define ACCOUNT_STATE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

enum account_state { ACCOUNT_ACTIVE, ACCOUNT_HELD, ACCOUNT_CLOSED };
enum key_state { KEY_ACTIVE, KEY_REVOKED };
/* A key's state at a moment. */
enum key_standing { STANDING_ACTIVE, STANDING_REVOKED, STANDING_EXPIRED };

enum queued {
	QUEUED_AS_STATE, /* nobody said otherwise */
	QUEUED_KEEP,     /* goes out */
	QUEUED_HOLD,     /* waits until it is released or cancelled */
	QUEUED_CANCEL,   /* is cancelled */
};

struct state_rule {
	const char *of, *state;
	bool login, mail;   /* mail: new messages, at the next MAIL of sessions that are open */
	enum queued queued; /* never QUEUED_AS_STATE */
	const char *about;  /* the queued mail, and how the state ends: for the table */
	const char *ends;
};

const struct state_rule *account_rule(enum account_state);
const struct state_rule *key_rule(enum key_standing);

/* "keep", "hold", "cancel"; "" for QUEUED_AS_STATE. */
const char *queued_name(enum queued);
/* ERR_INPUT: none of keep, hold, cancel. */
bool queued_parse(struct slice text, enum queued *ret, struct err *e);

/* The table as Markdown. */
void state_table(struct buf *out);

#endif
