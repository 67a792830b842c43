#include "policy/room_test.h"

int main(void)
{
	return retry_tests() + guard_tests() + limiter_tests() + bans_tests() + fair_tests();
}
