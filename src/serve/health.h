/* serve/health.h -- can messages be taken now? The answer of /healthz.
 *
 * No when the server is ending, when the spool has failed, when a commit does not end, when the
 * disk or the queue is full, or when something written beside the queue cannot be synced. A commit
 * that went well in the last seconds is proof enough; without one, one is made (spool_probe).
 * However many ask, one probe is under way, and each gets an answer within HEALTH_BOUND_MS,
 * whatever hangs.
 *
 * Lives on the first loop, and so do all who ask. */
#ifndef SERVE_HEALTH_H
#define SERVE_HEALTH_H

#include "base/err.h"

#include <stdint.h>

#define HEALTH_BOUND_MS 5000u

struct health;
struct home;

struct health_state {
	const char *reason; /* "ok", or one word: see docs/operations.md */
	char detail[256];
};

/* One who asks. Embedded, zeroed at first. */
struct health_asker {
	struct health_asker *next, **at; /* at: NULL while not asking */
	uint64_t asked_ms;
	void (*told)(struct health_asker *, const struct health_state *);
};

struct health *health_new(struct home *, struct err *e);
/* After the lanes and the committer have ended. */
void health_free(struct health *);

/* told() comes once, perhaps before this returns. */
void health_ask(struct health *, struct health_asker *);
/* It does not come any more. */
void health_forget(struct health_asker *);

bool health_is_ok(const struct health_state *);

#endif
