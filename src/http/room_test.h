/* http/room_test.h -- the groups of the room's test program; each says how many tests failed. */
#ifndef HTTP_ROOM_TEST_H
#define HTTP_ROOM_TEST_H

int run_head_tests(void);
int run_conn_tests(void);
int run_reply_tests(void);

#endif
