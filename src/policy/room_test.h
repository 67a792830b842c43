/* policy/room_test.h -- the groups of this room's test program; each returns its failures. */
#ifndef POLICY_ROOM_TEST_H
#define POLICY_ROOM_TEST_H

int retry_tests(void);
int guard_tests(void);
int limiter_tests(void);
int bans_tests(void);
int fair_tests(void);

#endif
