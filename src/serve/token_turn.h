/* serve/token_turn.h -- whose token's issuer is asked next.
 *
 * The workers that may wait for issuers are few (TOKEN_WORKERS), and an issuer may be slow or hang:
 * who has logged in well from there goes before strangers, every address has its turn, and no
 * issuer takes all workers (policy/fair.h). One for all loops; any thread. */
#ifndef SERVE_TOKEN_TURN_H
#define SERVE_TOKEN_TURN_H

#include "loop/work.h"
#include "policy/fair.h"

#define TOKEN_WORKERS 4

struct token_turns;

/* Part of the job, or of what that is part of; zeros at first. item.source, rank, target and
 * target_max are the caller's to fill before each post. */
struct token_turn {
	struct fair_item item;
	struct job *job;
};

/* lane: its workers are TOKEN_WORKERS. NULL: memory is out. */
struct token_turns *token_turns_new(struct lane *);
/* Nothing is under way any more; what waits is nobody's. NULL is fine. */
void token_turns_free(struct token_turns *);

/* The job will come back to its home; when there is no room for it, without having run. */
void token_turn_post(struct token_turns *, struct token_turn *, struct job *);
/* It has come back: its place is free. Harmless when it was never posted. */
void token_turn_over(struct token_turns *, struct token_turn *);
/* True: it had not begun, and does not come back. */
bool token_turn_leave(struct token_turns *, struct token_turn *);

#endif
