/* The smtp room's test program: each file exports one function that runs its group. */
#include <stddef.h>
#include <stdlib.h>

int run_client_talk_tests(void);
int run_client_tests(void);
int run_grammar_tests(void);
int run_pipe_tests(void);
int run_session_tests(void);
int run_session_auth_tests(void);
int run_session_limit_tests(void);
int run_session_model_tests(void);
int run_session_reply_tests(void);
int run_session_states_tests(void);

int main(void)
{
	static int (*const groups[])(void) = {
		run_grammar_tests,      run_session_reply_tests,  run_session_limit_tests,
		run_session_tests,      run_session_states_tests, run_session_model_tests,
		run_session_auth_tests, run_client_talk_tests,    run_client_tests,
		run_pipe_tests,
	};
	int failed = 0;

	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
		failed += groups[i]();
		/* Whether they can fail is all that tests/mutants asks. */
		if (failed && getenv("SIGNET_TESTS_STOP"))
			break;
	}
	return failed != 0;
}
