/* serve/room_test.h -- the groups of this room's test program; each returns its failures. */
#ifndef SERVE_ROOM_TEST_H
#define SERVE_ROOM_TEST_H

int test_generation(void);
int test_places(void);
int test_rights(void);

#endif
