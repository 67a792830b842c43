#include "mime/room_test.h"

int main(void)
{
	return header_tests() + address_tests() + submit_tests() + smtpapi_tests() +
	       compose_tests() + dsn_tests();
}
