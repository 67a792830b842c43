#include "ops/conf_rig_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

char conf_dir[32];

int conf_set_up(void **state)
{
	snprintf(conf_dir, sizeof conf_dir, "/tmp/conf.XXXXXX");
	return mkdtemp(conf_dir) ? 0 : -1;
}

void conf_file(const char *name, const char *text)
{
	char path[80];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", conf_dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
}

void conf_gone(const char *name)
{
	char path[80];

	snprintf(path, sizeof path, "%s/%s", conf_dir, name);
	unlink(path);
}

int conf_tear_down(void **state)
{
	conf_gone("a.pem"), conf_gone("b.pem"), conf_gone("c"), conf_gone("c.dump");
	return rmdir(conf_dir);
}

const struct conf *read_text(const char *text)
{
	struct err e = { 0 };
	char path[80];
	const struct conf *c;

	conf_file("a.pem", "");
	conf_file("b.pem", "");
	conf_file("c", text);
	snprintf(path, sizeof path, "%s/c", conf_dir);
	c = conf_read(path, &e);
	if (!c)
		fail_msg("%s", e.text);
	return c;
}

void assert_slice(struct slice got, const char *want)
{
	if (!slice_eq(got, slice_str(want)))
		fail_msg("\"%.*s\" is not \"%s\"", SLICE_ARG(got), want);
}
