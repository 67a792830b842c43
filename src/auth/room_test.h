/* auth/room_test.h -- the groups of this room's test program; each returns its failures. */
#ifndef AUTH_ROOM_TEST_H
#define AUTH_ROOM_TEST_H

int authlog_tests(void);
int gate_tests(void);
int means_tests(void);

#endif
