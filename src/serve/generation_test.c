/* serve/generation_test.c -- what is shared, what is new, and who frees it. That nothing is freed
 * too early or never is the sanitizer's to see. */
#include "serve/generation.h"

#include "serve/room_test.h"
#include "serve/route_set.h"
#include "serve/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[32], config[64];
static struct home homes[2];
static struct server server = { .homes = homes, .n_homes = 2 };

static struct slice in(const char *name, char room[64])
{
	snprintf(room, 64, "%s/%s", dir, name);
	return slice_str(room);
}

static void put(const char *name, const char *text)
{
	char path[64];
	FILE *f;

	in(name, path);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

static void make_pair(const char *cert, const char *key)
{
	char c[64], k[64];
	struct err e;

	in(cert, c), in(key, k);
	unlink(c), unlink(k);
	if (!tls_make_selfsigned(S("mail.example"), slice_str(c), slice_str(k), &e))
		fail_msg("%s", e.text);
}

#define CONF                                                                                       \
	"tls { certificate = c.pem key = c.key }\n"                                                \
	"listener \"a\" { address = 127.0.0.1:1 }\nlistener \"b\" { address = 127.0.0.1:2 }\n"     \
	"route \"r\" { host = h user = u password_file = pw }\n"

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/generation.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	in("conf", config);
	homes[1].index = 1;
	homes[0].server = homes[1].server = &server;
	make_pair("c.pem", "c.key");
	put("pw", "secret\n");
	return 0;
}

static int tear_down(void **state)
{
	static const char *const all[] = { "conf", "c.pem", "c.key", "d.pem", "d.key", "pw" };
	char path[64];

	(void)state;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		in(all[i], path);
		unlink(path);
	}
	return rmdir(dir);
}

static struct generation *make(const char *text, const struct generation *before, struct err *e)
{
	const struct conf *conf;

	put("conf", text);
	conf = conf_read(config, e);
	return conf ? generation_new(&server, conf, before, e) : NULL;
}

static struct generation *must_make(const char *text, const struct generation *before)
{
	struct err e = { 0 };
	struct generation *g = make(text, before, &e);

	if (!g)
		fail_msg("%s", e.text);
	return g;
}

static void test_what_is_shared(void **state)
{
	struct generation *one = must_make(CONF, NULL), *two, *three;

	(void)state;
	assert_int_equal(one->number, 1);
	assert_int_equal(one->doors[1].name.n, 1);
	assert_ptr_equal(one->doors[1].generation, one);
	assert_ptr_not_equal(one->doors[0].tls, one->doors[1].tls);
	two = must_make(CONF "hostname = other.example\n", one);
	assert_int_equal(two->number, 2);
	assert_ptr_equal(two->certs, one->certs);
	assert_ptr_equal(two->doors[0].tls, one->doors[0].tls);
	assert_ptr_equal(two->doors[1].tls, one->doors[1].tls);
	assert_ptr_equal(two->route_set, one->route_set);
	assert_true(slice_eq(two->doors[0].session.hostname, S("other.example")));
	assert_true(slice_eq(one->doors[0].session.hostname, S("localhost")));
	/* The one it shares with goes first. */
	generation_free(one);
	make_pair("c.pem", "c.key");
	put("pw", "another\n");
	three = must_make(CONF, two);
	assert_ptr_not_equal(three->certs, two->certs);
	assert_ptr_not_equal(three->doors[0].tls, two->doors[0].tls);
	assert_ptr_not_equal(three->route_set, two->route_set);
	assert_true(slice_eq(two->routes.at[0].password.bytes, S("secret")));
	assert_true(slice_eq(three->routes.at[0].password.bytes, S("another")));
	generation_free(two);
	generation_free(three);
	put("pw", "secret\n");
}

static void test_routes_are_mapped(void **state)
{
	struct generation *one =
	    must_make(CONF "route \"s\" { host = s domains = s.example }\n", NULL);
	struct generation *two = must_make("route \"t\" { host = t domains = t.example }\n" CONF
					   "route \"s\" { host = x domains = s.example }\n",
					   one);
	size_t map[2];

	(void)state;
	assert_false(route_set_same(one->route_set, two->route_set));
	route_set_map(one->route_set, two->route_set, map);
	assert_int_equal(map[0], 1);
	assert_int_equal(map[1], SIZE_MAX);
	generation_free(one);
	generation_free(two);
}

static void test_wrong_ones(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "tls { certificate = c.pem key = d.key }\nlistener \"a\" { address = 127.0.0.1:1 "
		  "}\n",
		  "key values mismatch" },
		{ "tls { certificate = pw key = c.key }\nlistener \"a\" { address = 127.0.0.1:1 "
		  "}\n",
		  "no start line" },
		{ CONF "route \"s\" { host = h domains = x user = u password_file = none }\n",
		  "none: No such file" },
		{ CONF "route \"s\" { host = h domains = x ca_file = pw }\n", "pw: " },
		{ CONF "route \"s\" { host = h domains = \"a b\" }\n", "route s: domains" },
		{ CONF "bounce { from = \"a@b.example, c@d.example\" }\n", "bounce.from" },
	};
	struct generation *one = must_make(CONF, NULL);

	(void)state;
	make_pair("d.pem", "d.key");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct err e = { 0 };

		assert_null(make(cases[i].text, one, &e));
		if (!strstr(e.text, cases[i].why))
			fail_msg("%zu: %s", i, e.text);
	}
	generation_free(one);
}

/* A home that has moved on keeps the old one for whoever is under way there; the last frees it. */
static void test_users(void **state)
{
	struct generation *one = must_make(CONF, NULL), *two;
	const struct conf *conf;

	(void)state;
	generation_enter(one, &homes[0]);
	generation_enter(one, &homes[1]);
	generation_free(one);
	assert_ptr_equal(homes[0].now, one);
	assert_ptr_equal(generation_hold(one, &homes[0]), one);
	generation_hold(one, &homes[1]);
	generation_hold(one, &homes[1]);
	two = must_make(CONF, one);
	generation_enter(two, &homes[0]);
	assert_int_equal(atomic_load(&one->holders), 2);
	generation_drop(one, &homes[0]);
	assert_int_equal(atomic_load(&one->holders), 1);
	generation_enter(two, &homes[1]);
	generation_free(two);
	assert_int_equal(atomic_load(&one->holders), 1);
	/* What it is made of goes on longer than it. */
	conf = conf_hold(one->conf);
	generation_drop(one, &homes[1]);
	assert_int_equal(atomic_load(&one->holders), 1);
	generation_drop(one, &homes[1]);
	assert_int_equal(conf->n_listeners, 2);
	conf_free(conf);
	generation_enter(NULL, &homes[0]);
	assert_null(homes[0].now);
	generation_enter(NULL, &homes[1]);
}

static void test_stamp(void **state)
{
	struct generation *g = must_make(CONF, NULL);
	char path[64];

	(void)state;
	assert_true(generation_stamp(g->conf) == g->stamp);
	make_pair("c.pem", "c.key");
	assert_false(generation_stamp(g->conf) == g->stamp);
	g->stamp = generation_stamp(g->conf);
	/* Rights are part of it: they may be what was wrong. */
	usleep(20000);
	in("c.key", path);
	assert_int_equal(chmod(path, 0640), 0);
	assert_false(generation_stamp(g->conf) == g->stamp);
	g->stamp = generation_stamp(g->conf);
	unlink(path);
	assert_false(generation_stamp(g->conf) == g->stamp);
	generation_free(g);
	make_pair("c.pem", "c.key");
}

static void test_warnings(void **state)
{
	struct generation *g = must_make(CONF, NULL);
	struct tls_cert_facts f;
	struct err e;

	(void)state;
	assert_true(tls_certs_facts(g->certs, 0, &f));
	assert_false(generation_warning(g, 0, f.from_ms, &e));
	assert_false(generation_warning(g, 0, f.until_ms - 1, &e));
	assert_true(generation_warning(g, 0, f.until_ms, &e));
	assert_non_null(strstr(e.text, "c.pem (mail.example): expired 20"));
	assert_true(generation_warning(g, 0, f.from_ms - 1, &e));
	assert_non_null(strstr(e.text, "not valid before 20"));
	assert_false(generation_warning(g, 1, f.until_ms, &e));
	generation_free(g);
}

int test_generation(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_shared), cmocka_unit_test(test_routes_are_mapped),
		cmocka_unit_test(test_wrong_ones),     cmocka_unit_test(test_users),
		cmocka_unit_test(test_stamp),          cmocka_unit_test(test_warnings),
	};

	return cmocka_run_group_tests_name("generation", tests, set_up, tear_down);
}
