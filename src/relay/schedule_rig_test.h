/* relay/schedule_rig_test.h -- a spool in memory and a schedule over it, for the files that test
 * the schedule. */
#ifndef RELAY_SCHEDULE_RIG_TEST_H
#define RELAY_SCHEDULE_RIG_TEST_H

#include "relay/room_test.h"
#include "relay/schedule.h"

#include <stdio.h>

#define T0 1700000000000 /* when every message is accepted and due, unless said */

struct fix {
	struct spool *spool;
	struct schedule *s;
	unsigned puts;
};

/* No jitter: 1 s, 2 s, 4 s, ... 60 s. */
extern const struct schedule_conf rig_conf;
extern const struct slice rig_to_a[2], rig_to_b[1], rig_to_world[2]; /* their domains */
/* a and b and c are smart hosts, world is by MX. */
#define RIG_ROUTES 4
extern const struct route rig_table[RIG_ROUTES];
extern const struct routes rig_routes;
extern const struct spool_backend *const rig_backend;

int rig_begin(void **state);
int rig_end(void **state);

/* A message of one recipient; its number, from 1, is in its id. */
unsigned rig_put_from(struct fix *, uint64_t account, const char *key, const char *dest,
		      uint64_t due_ms);
unsigned rig_put(struct fix *, const char *dest, uint64_t due_ms);
void rig_put_many(struct fix *, const char *dest, unsigned n);
unsigned rig_number_of(struct id);
/* next_ms 0: delivered. */
void rig_settle(struct fix *, struct id, uint64_t next_ms);
/* The first site of the route of that name; NULL. */
struct site *rig_site_named(struct fix *, const char *name);
/* The number of the next message, 0: none. */
unsigned rig_take(struct fix *, struct site *, uint64_t now_ms, struct id *ret_id);

#define T(test) cmocka_unit_test_setup_teardown(test, rig_begin, rig_end)

#endif
