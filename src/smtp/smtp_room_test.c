/* The smtp room's test program: each file exports one function that runs its group. */
int run_client_tests(void);
int run_grammar_tests(void);
int run_pipe_tests(void);
int run_session_tests(void);
int run_session_limit_tests(void);
int run_session_model_tests(void);
int run_session_reply_tests(void);
int run_session_states_tests(void);

int main(void)
{
	int failed = 0;

	failed += run_grammar_tests();
	failed += run_session_reply_tests();
	failed += run_session_limit_tests();
	failed += run_session_tests();
	failed += run_session_states_tests();
	failed += run_session_model_tests();
	failed += run_client_tests();
	failed += run_pipe_tests();
	return failed != 0;
}
