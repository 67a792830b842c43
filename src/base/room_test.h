/* base/room_test.h -- the groups of the room's test program; each says how many tests failed. */
#ifndef BASE_ROOM_TEST_H
#define BASE_ROOM_TEST_H

int run_bytes_tests(void);
int run_net_tests(void);
int run_text_tests(void);
int run_tables_tests(void);

#endif
