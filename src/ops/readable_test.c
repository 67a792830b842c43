/* ops/readable_test.c -- what is in the way is named, behind links too. */
#include "ops/readable.h"

#include "ops/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[32];

static const char *in(const char *name, char room[256])
{
	snprintf(room, 256, "%s/%s", dir, name);
	return room;
}

static int set_up(void **state)
{
	char a[256], b[256];
	FILE *f;

	(void)state;
	snprintf(dir, sizeof dir, "/tmp/readable.XXXXXX");
	if (!mkdtemp(dir) || chmod(dir, 0755) || mkdir(in("archive", a), 0755) ||
	    mkdir(in("live", a), 0755) || symlink("../archive/key.pem", in("live/key.pem", a)) ||
	    symlink(in("live", a), in("way", b)) || symlink("loop", in("loop", a)))
		return -1;
	f = fopen(in("archive/key.pem", a), "w");
	return f && !fclose(f) && !chmod(a, 0644) ? 0 : -1;
}

static int tear_down(void **state)
{
	static const char *const all[] = { "archive/key.pem", "live/key.pem", "way", "loop" };
	char a[256];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		unlink(in(all[i], a));
	rmdir(in("archive", a));
	rmdir(in("live", a));
	return rmdir(dir);
}

/* Root may read everything: whoever asks must be somebody else. Returns what was said. */
static enum err_kind ask(const char *path, char text[240])
{
	int ends[2], status;
	struct err e = { 0 };
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		bool ok = geteuid() != 0 || (!setgid(65534) && !setuid(65534));

		ok = ok && readable_check(path, &e);
		_exit(write(ends[1], &e, sizeof e) == sizeof e ? ok : 9);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &e, sizeof e), sizeof e);
	close(ends[0]);
	waitpid(pid, &status, 0);
	assert_int_equal(WEXITSTATUS(status), e.kind == ERR_NONE);
	memcpy(text, e.text, sizeof e.text);
	return e.kind;
}

static void test_readable(void **state)
{
	char a[256], text[240];

	(void)state;
	assert_int_equal(ask(in("archive/key.pem", a), text), ERR_NONE);
	assert_int_equal(ask(in("live/key.pem", a), text), ERR_NONE);
	assert_int_equal(ask(in("way/key.pem", a), text), ERR_NONE);
	assert_int_equal(ask(in("none", a), text), ERR_INPUT);
	assert_non_null(strstr(text, "No such file"));
	assert_int_equal(ask(in("loop", a), text), ERR_INPUT);
}

static void test_in_the_way(void **state)
{
	static const struct {
		const char *shut, *asked, *named, *todo;
	} cases[] = {
		{ "archive/key.pem", "archive/key.pem", "may not read that file", "chmod g+r" },
		{ "archive/key.pem", "live/key.pem", "archive/key.pem (", "chmod g+r" },
		{ "archive", "live/key.pem", "archive (", "chmod g+x" },
		{ "archive", "way/key.pem", "archive (", "chmod g+x" },
		{ "live", "live/key.pem", "live (", "chmod g+x" },
		{ "live", "way/key.pem", "live (", "chmod g+x" },
	};
	char a[256], text[240];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_int_equal(chmod(in(cases[i].shut, a), 0), 0);
		assert_int_equal(ask(in(cases[i].asked, a), text), ERR_DENIED);
		if (!strstr(text, cases[i].named) || !strstr(text, cases[i].todo) ||
		    !strstr(text, "chgrp "))
			fail_msg("%zu: %s", i, text);
		assert_int_equal(chmod(in(cases[i].shut, a), 0755), 0);
	}
}

int test_readable_room(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readable),
		cmocka_unit_test(test_in_the_way),
	};

	return cmocka_run_group_tests_name("readable", tests, set_up, tear_down);
}
