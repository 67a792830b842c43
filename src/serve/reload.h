/* serve/reload.h -- another configuration takes the place of the one in use, as a whole.
 *
 * A worker reads and checks everything: the file, certificates and keys, routes with their
 * passwords; and opens what addresses are new. Anything wrong, and nothing has changed. Else each
 * home puts the new generation in the old one's place, on its own thread, and the verdict is told
 * when all have. One at a time; who asks meanwhile is told of the next one, which reads afresh.
 *
 * Belongs to the first home's thread. */
#ifndef SERVE_RELOAD_H
#define SERVE_RELOAD_H

#include "api/api.h"

struct reload;
struct running;

enum reload_cause {
	RELOAD_CERTIFICATES, /* they have changed: they alone are read again */
	RELOAD_SIGNAL,
	RELOAD_CONTROL,
};

/* Whoever waits for a verdict; embedded. */
struct reload_waiter {
	struct reload_waiter *next;
	void (*told)(struct reload_waiter *, const struct api_reload *);
};

struct reload *reload_new(struct running *, struct err *e);
void reload_free(struct reload *); /* NULL is fine; who still waits is told nothing */

/* waiter may be NULL. It is told at once when there is none any more: the server ends. */
void reload_ask(struct reload *, enum reload_cause, struct reload_waiter *);
/* The last verdict; at_ms 0: none yet. */
const struct api_reload *reload_last(const struct reload *);

#endif
