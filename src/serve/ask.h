/* serve/ask.h -- what a worker asks of the loop that delivers, and waits for. */
#ifndef SERVE_ASK_H
#define SERVE_ASK_H

#include "api/api.h"

struct server;

/* The doors of api_context. */
struct api_doors ask_doors(struct server *);

/* Applies what the database says of accounts and keys to the queue: before the first delivery. */
bool ask_states(struct server *, struct err *e);

/* Looks every so often for queued mail that is to be cancelled: of closed accounts, and of keys and
 * accounts that were told so. On the first home. */
struct keeper;
struct keeper *keeper_new(struct server *, struct err *e);
/* Looks soon: something may be to be cancelled. On the first home. */
void keeper_kick(struct keeper *);
void keeper_free(struct keeper *);

#endif
