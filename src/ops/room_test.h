/* ops/room_test.h -- the groups of this room's test program; each returns its failures. */
#ifndef OPS_ROOM_TEST_H
#define OPS_ROOM_TEST_H

int test_conf(void);
int test_conf_doc(void);
int test_conf_errors(void);
int test_conf_use(void);
int test_log(void);
int test_metrics(void);
int test_readable_room(void);

#endif
