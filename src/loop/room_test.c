#include "loop/room_test.h"

#include <signal.h>

int main(void)
{
	/* As loop_signals() does for the server. */
	signal(SIGPIPE, SIG_IGN);
	return test_loop() + test_work() + test_listener() + test_stream() + test_tls() +
		       test_tls_peer() + test_tls_sni()
		   ? 1
		   : 0;
}
