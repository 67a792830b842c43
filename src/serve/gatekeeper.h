/* serve/gatekeeper.h -- opens the guard's store, and is the thread that writes what it decided. */
#ifndef SERVE_GATEKEEPER_H
#define SERVE_GATEKEEPER_H

#include "auth/gate.h"
#include "ops/conf.h"

struct gatekeeper;

/* authlog.db in data_dir. NULL on failure. */
struct gatekeeper *gatekeeper_new(const struct conf *, const uint64_t hash_key[2], struct err *e);
struct gate *gatekeeper_gate(struct gatekeeper *);
/* What a reload says; on a lack of memory the last one stays. */
void gatekeeper_configure(struct gatekeeper *, const struct conf *);
/* Writes what waits. NULL is fine. */
void gatekeeper_free(struct gatekeeper *);

#endif
