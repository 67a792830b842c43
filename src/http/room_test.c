/* The http room's test program: each file exports one function that runs its group. */
#include "http/room_test.h"

int main(void)
{
	int failed = 0;

	failed += run_head_tests();
	failed += run_conn_tests();
	failed += run_reply_tests();
	return failed != 0;
}
