/* dns/room_test.c -- main() of the room's tests. */
#include "dns/room_test.h"

int main(void)
{
	return rdata_tests() + dns_tests();
}
