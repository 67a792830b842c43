/* ops/conf_doc_test.c -- the documentation has every option, and its examples are files that the
 * server would take. */
#include "ops/conf_rig_test.h"

#include "ops/paths.h"
#include "ops/room_test.h"

#include <stdio.h>

static void whole_file(const char *name, struct buf *ret)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", OPS_SOURCE_ROOT, name);
	f = fopen(path, "r");
	assert_non_null(f);
	buf_init(ret, 1 << 20);
	for (int c; (c = fgetc(f)) != EOF;)
		buf_addc(ret, (char)c);
	fclose(f);
	assert_false(ret->failed);
}

static struct slice between(struct slice text, struct slice from, struct slice to)
{
	while (text.n && !slice_starts(text, from))
		slice_take(&text, 1);
	assert_true(text.n);
	slice_take(&text, from.n);
	for (size_t n = 0; n < text.n; n++)
		if (slice_starts(slice_from(text, n), to))
			return slice(text.p, n);
	fail_msg("no %.*s", SLICE_ARG(to));
	return S("");
}

static void test_documentation(void **state)
{
	struct buf doc, table;
	struct slice block;

	whole_file("docs/configuration.md", &doc);
	buf_init(&table, 1 << 20);
	buf_addc(&table, '\n');
	conf_table(&table);
	assert_false(table.failed);
	block = between(buf_slice(&doc), S("<!-- options -->\n"), S("<!-- /options -->"));
	if (!slice_eq(block, buf_slice(&table)))
		fail_msg("docs/configuration.md does not have this table:\n%.*s",
			 SLICE_ARG(buf_slice(&table)));
	buf_done(&doc);
	buf_done(&table);
}

/* The examples are files the server would take, their certificates aside. */
static const struct conf *read_example(struct slice text)
{
	struct buf here;
	const struct conf *c;

	buf_init(&here, 1 << 16);
	for (size_t i = 0; i < text.n;) {
		struct slice rest = slice_from(text, i);
		bool cert =
		    slice_starts(rest, S("/etc/signet/tls/")) || slice_starts(rest, S("./tls/"));

		if (cert)
			while (rest.p[0] != '"')
				slice_take(&rest, 1);
		buf_add(&here, cert ? S("a.pem") : slice(rest.p, 1));
		i = text.n - rest.n + !cert;
	}
	buf_addc(&here, 0);
	assert_false(here.failed);
	c = read_text(here.p);
	buf_done(&here);
	return c;
}

static void assert_production(const struct conf *c)
{
	static const char *const ports[] = { "25", "587", "2525", "465" };

	assert_int_equal(c->n_listeners, 4);
	for (size_t i = 0; i < 4; i++) {
		char v4[20], v6[20];

		snprintf(v4, sizeof v4, "0.0.0.0:%s", ports[i]);
		snprintf(v6, sizeof v6, "[::]:%s", ports[i]);
		assert_int_equal(c->listeners[i].address.n, 2);
		assert_slice(c->listeners[i].address.at[0], v4);
		assert_slice(c->listeners[i].address.at[1], v6);
		assert_slice(c->listeners[i].tls, i == 3 ? "implicit" : "starttls");
	}
	assert_slice(c->user, "signet");
}

static void test_examples(void **state)
{
	const struct conf *c;
	struct buf doc, packaged;
	struct slice demo, production;

	whole_file("docs/configuration.md", &doc);
	demo = between(buf_slice(&doc), S("## A demo\n"), S("## "));
	c = read_example(between(demo, S("```\n"), S("```")));
	assert_slice(c->routes[0].type, "capture");
	conf_free(c);
	production = between(buf_slice(&doc), S("## Production\n"), S("## "));
	c = read_example(between(production, S("```\n"), S("```")));
	assert_production(c);
	conf_free(c);
	whole_file("packaging/signet.conf", &packaged);
	c = read_example(buf_slice(&packaged));
	assert_production(c);
	conf_free(c);
	buf_done(&doc);
	buf_done(&packaged);
}

int test_conf_doc(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_documentation),
		cmocka_unit_test(test_examples),
	};

	return cmocka_run_group_tests_name("conf documentation", tests, conf_set_up,
					   conf_tear_down);
}
