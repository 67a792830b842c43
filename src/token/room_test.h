/* token/room_test.h -- the groups of the room's test program; each says how many tests failed. */
#ifndef TOKEN_ROOM_TEST_H
#define TOKEN_ROOM_TEST_H

int run_signature_tests(void);
int run_jwt_tests(void);

#endif
