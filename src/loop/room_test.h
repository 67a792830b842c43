/* loop/room_test.h -- the groups of this room's test program; each returns its failures. */
#ifndef LOOP_ROOM_TEST_H
#define LOOP_ROOM_TEST_H

int test_loop(void);
int test_work(void);
int test_listener(void);
int test_stream(void);
int test_tls(void);
int test_tls_peer(void);
int test_tls_sni(void);

#endif
