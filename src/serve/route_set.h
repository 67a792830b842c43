/* serve/route_set.h -- the routes of the configuration as relay/ wants them: their domains spelled
 * as destinations are, their passwords read, their TLS made. Made at start, read by all. */
#ifndef SERVE_ROUTE_SET_H
#define SERVE_ROUTE_SET_H

#include "base/err.h"
#include "ops/conf.h"
#include "relay/route.h"

struct route_set;

/* NULL: *e names the route and what is wrong with it. conf stays valid for its lifetime. */
struct route_set *route_set_new(const struct conf *, struct err *e);
struct routes route_set_routes(const struct route_set *);
void route_set_free(struct route_set *); /* NULL is fine; wipes the passwords */

#endif
