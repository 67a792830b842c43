#include "ops/room_test.h"

int main(void)
{
	return test_conf() + test_conf_doc() + test_conf_errors() + test_conf_use() + test_log() +
		       test_metrics() + test_readable_room()
		   ? 1
		   : 0;
}
