/* serve/rights_test.c -- what cannot be done any more. */
#include "serve/running.h"

#include "serve/room_test.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Runs in a child, since there is no way back. */
static int in_child(int (*what)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(what());
	assert_true(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static bool give_up(void)
{
	static const struct conf conf;
	struct err e = { 0 };

	return give_up_rights(&conf, NULL, &e);
}

static char *const argv[] = { (char[]){ "true" }, NULL }, *const env[] = { NULL };

static int no_program(void)
{
	int fd = open("/bin/true", O_PATH | O_CLOEXEC);

	if (!give_up())
		return 1;
	if (execve("/bin/true", argv, env) != -1 || errno != EPERM)
		return 2;
	if (syscall(SYS_execveat, fd, "", argv, env, AT_EMPTY_PATH) != -1 || errno != EPERM)
		return 3;
	/* A call that is none of these. */
	return getppid() > 0 ? 0 : 4;
}

static int a_program(void)
{
	execve("/bin/true", argv, env);
	return 9;
}

static int of_x32(void)
{
	/* The number of x32's execve. */
	if (!give_up())
		return 1;
	return syscall(0x40000000 | 520, "/bin/true", argv, env) == -1 && errno == EPERM ? 0 : 2;
}

static int no_new_privileges(void)
{
	return give_up() && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 &&
		       prctl(PR_GET_DUMPABLE) == 0
		   ? 0
		   : 1;
}

static void test_no_program(void **state)
{
	(void)state;
	assert_int_equal(in_child(a_program), 0);
	assert_int_equal(in_child(no_program), 0);
}

static void test_no_other_numbers(void **state)
{
	(void)state;
#ifdef __x86_64__
	assert_int_equal(in_child(of_x32), 0);
#else
	(void)of_x32;
	skip();
#endif
}

static void test_no_new_privileges(void **state)
{
	(void)state;
	assert_int_equal(in_child(no_new_privileges), 0);
}

int test_rights(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_program),
		cmocka_unit_test(test_no_other_numbers),
		cmocka_unit_test(test_no_new_privileges),
	};

	return cmocka_run_group_tests_name("rights", tests, NULL, NULL);
}
