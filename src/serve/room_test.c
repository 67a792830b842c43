#include "serve/room_test.h"

int main(void)
{
	return test_generation() + test_places() + test_rights() ? 1 : 0;
}
