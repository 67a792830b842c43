/* ops/conf_use_test.c -- what is asked of a configuration besides its values: what waits for a
 * restart, which routes are the same, and where the control socket is. */
#include "ops/conf_rig_test.h"

#include "ops/room_test.h"

#include <stdio.h>

/* Which options wait for a restart is told option by option: everything at once, and one of each
 * kind alone. */
static void test_waiting(void **state)
{
	static const struct {
		const char *more, *want;
	} cases[] = {
		{ "", "" },
		{ "hostname = x limits { line = 1K } log { format = json } retry { max = 1h }",
		  "" },
		{ "threads = 2", "threads" },
		{ "user = x", "user" },
		{ "log { format = text }", "log.format" },
		{ "spool { path = q segment = 2M reserve = 1M messages_max = 1 body_memory = 1M }\n"
		  "data_dir = x\ncontrol_socket = y",
		  "data_dir, control_socket, spool.path, spool.segment, spool.reserve, "
		  "spool.messages_max" },
	};
	const struct conf *c = read_text(SMALLEST);

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[400];
		const struct conf *now;
		struct buf got;

		snprintf(text, sizeof text, "%s%s\n", SMALLEST, cases[i].more);
		now = read_text(text);
		buf_init(&got, 1000);
		conf_waiting(c, now, &got);
		assert_slice(buf_slice(&got), cases[i].want);
		buf_done(&got);
		conf_free(now);
	}
	conf_free(c);
}

static void test_same_route(void **state)
{
	static const char route[] =
	    "route \"a\" { domains = { \"x\", \"y\" } host = h port = 25 }\n";
	static const char *const others[] = {
		"route \"b\" { domains = { \"x\", \"y\" } host = h port = 25 }\n",
		"route \"a\" { domains = { \"x\", \"z\" } host = h port = 25 }\n",
		"route \"a\" { domains = { \"x\" } host = h port = 25 }\n",
		"route \"a\" { domains = { \"x\", \"y\" } host = h port = 26 }\n",
		"route \"a\" { domains = { \"x\", \"y\" } host = i port = 25 }\n",
		"route \"a\" { domains = { \"x\", \"y\" } host = h port = 25 tls = may }\n",
	};
	char text[400];
	const struct conf *c, *d;

	snprintf(text, sizeof text, "%s%s", SMALLEST, route);
	c = read_text(text);
	d = read_text(text);
	assert_true(conf_route_same(&c->routes[0], &d->routes[0]));
	conf_free(d);
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		snprintf(text, sizeof text, "%s%s", SMALLEST, others[i]);
		d = read_text(text);
		assert_false(conf_route_same(&c->routes[0], &d->routes[0]));
		conf_free(d);
	}
	/* Owners are counted. */
	assert_ptr_equal(conf_hold(c), c);
	conf_free(c);
	assert_slice(c->routes[0].host, "h");
	conf_free(c);
}

/* The socket is found as far as the file can be read. */
static void test_peek(void **state)
{
	static const struct {
		const char *text,
		    *want; /* want: below the directory when it does not begin with "/" */
	} cases[] = {
		{ SMALLEST, "/run/signet/control" },
		{ "control_socket = \"/x/y\"\n" SMALLEST, "/x/y" },
		{ "control_socket = c.sock\n" SMALLEST, "c.sock" },
		{ "control_socket = c.sock\nlimits {\n", "c.sock" },
		{ "control_socket = c.sock\nnonsense = 1\n", "c.sock" },
		{ "control_socket = c.sock\ntls { key = none.pem }\n", "c.sock" },
		{ "nonsense = 1\ncontrol_socket = c.sock\n", "/run/signet/control" },
	};
	char path[80], want[120];
	struct buf got;

	snprintf(path, sizeof path, "%s/c", conf_dir);
	buf_init(&got, 4096);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		conf_file("c", cases[i].text);
		snprintf(want, sizeof want, "%s%s%s", cases[i].want[0] == '/' ? "" : conf_dir,
			 cases[i].want[0] == '/' ? "" : "/", cases[i].want);
		buf_clear(&got);
		conf_peek_socket(path, &got);
		assert_slice(buf_slice(&got), want);
	}
	conf_gone("c");
	buf_clear(&got);
	conf_peek_socket(path, &got);
	assert_slice(buf_slice(&got), "/run/signet/control");
	buf_done(&got);
}

int test_conf_use(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waiting),
		cmocka_unit_test(test_same_route),
		cmocka_unit_test(test_peek),
	};

	return cmocka_run_group_tests_name("conf use", tests, conf_set_up, conf_tear_down);
}
