/* The token room's test program: each file exports one function that runs its group. */
#include "token/room_test.h"

int main(void)
{
	int failed = 0;

	failed += run_signature_tests();
	failed += run_jwt_tests();
	return failed != 0;
}
