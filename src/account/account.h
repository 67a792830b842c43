/* account/account.h -- accounts: who owns keys, domains and mail.
 *
 * Functions that change something run one write transaction of their own (none may be open) and
 * leave a row in the trail. Time comes with the actor. */
#ifndef ACCOUNT_ACCOUNT_H
#define ACCOUNT_ACCOUNT_H

#include "account/state.h"
#include "account/trail.h"

#define ACCOUNT_NAME_MAX 64

/* The tables of this room, for store_open(). */
extern const struct schema account_schema;

struct account {
	uint64_t id;                     /* random, 1 .. 2^53 - 1, never used twice; 0 is nobody */
	char name[ACCOUNT_NAME_MAX + 1]; /* unique; [a-z0-9] with single . or - inside */
	enum account_state state;
	uint64_t created_ms;
	uint64_t state_ms;  /* since when it is in this state; 0: not known */
	enum queued queued; /* what an operator said of its queued mail */
};

const char *account_state_name(enum account_state);

/* ERR_INPUT: bad name. ERR_CONFLICT: the name is taken. */
bool account_add(struct store_handle *, const struct actor *, struct slice name,
		 struct account *ret, struct err *e);
/* queued: what becomes of its queued mail; QUEUED_AS_STATE: what the state's rule says. Setting
 * what it has already is fine and leaves no trail. ERR_ABSENT: no such account. */
bool account_set_state(struct store_handle *, const struct actor *, uint64_t id, enum account_state,
		       enum queued, struct err *e);
/* The queued mail alone, in whatever state it is. */
bool account_set_queued(struct store_handle *, const struct actor *, uint64_t id, enum queued,
			struct err *e);
/* What becomes of its queued mail: never QUEUED_AS_STATE. */
enum queued account_queued(const struct account *);

bool account_get(struct store_handle *, uint64_t id, struct account *ret, struct err *e);
bool account_find(struct store_handle *, struct slice name, struct account *ret, struct err *e);
/* By name; after: the last name seen, or empty. The array lives in the arena. */
bool account_list(struct store_handle *, struct slice after, size_t limit, struct arena *,
		  struct account **ret, size_t *ret_n, struct err *e);

#endif
