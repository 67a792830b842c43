/* The base room's test program: each file exports one function that runs its group. */
#include "base/room_test.h"

int main(void)
{
	int failed = 0;

	failed += run_bytes_tests();
	failed += run_net_tests();
	failed += run_text_tests();
	failed += run_tables_tests();
	return failed != 0;
}
