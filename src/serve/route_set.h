/* serve/route_set.h -- the routes of the configuration as relay/ wants them: their domains spelled
 * as destinations are, their passwords read, their TLS made. Immutable; owners are counted. */
#ifndef SERVE_ROUTE_SET_H
#define SERVE_ROUTE_SET_H

#include "base/err.h"
#include "ops/conf.h"
#include "relay/route.h"

struct route_set;

/* NULL: *e names the route and what is wrong with it. Holds conf. */
struct route_set *route_set_new(const struct conf *, struct err *e);
struct route_set *route_set_hold(struct route_set *); /* one more owner; from any thread */
struct routes route_set_routes(const struct route_set *);
void route_set_free(struct route_set *); /* NULL is fine; the last owner wipes the passwords */

/* The same routes in the same order, with what their files say. */
bool route_set_same(const struct route_set *, const struct route_set *);
/* For each route of before, the index of the same one in now, or SITES_GONE. */
void route_set_map(const struct route_set *before, const struct route_set *now, size_t *ret);
size_t route_set_count(const struct route_set *);

#endif
