/* serve/mx.h -- looks up where mail for a destination goes: the questions behind relay/mx.
 *
 * Belongs to the first loop. */
#ifndef SERVE_MX_H
#define SERVE_MX_H

#include <stdbool.h>

struct deliver;
struct mx;
struct site;

/* NULL without memory. */
struct mx *mx_new(struct deliver *);
/* Lookups under way are forgotten. NULL is fine. */
void mx_free(struct mx *);

/* Looks up the hosts of an unresolved site; then they are known, or it failed, or its mail has.
 * False: it could not begin now. */
bool mx_start(struct mx *, struct site *);
/* Others wait for a turn: lookups that have taken long are given up, as if their time was over. */
void mx_hurry(struct mx *);
/* The server stops: lookups under way end. */
/* Lookups for sites that are retired end. */
void mx_rerouted(struct mx *);
void mx_shutdown(struct mx *);

#endif
