/* dns/dns_test.c -- questions to a real resolver that asks a name server of the test's own. */
#include "dns/dns.h"

#include "dns/rdata.h"
#include "dns/room_test.h"
#include "ops/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define LEN(a)   (sizeof(a) / sizeof *(a))
#define TIMEOUT  1500
#define A_RECORD S("\177\0\1\1")

static const struct served zone[] = {
	{ .name = "two.test",
	  .type = DNS_MX,
	  .n = 2,
	  .data = { S("\0\024\2mx\3two\4test\0"), S("\0\012\1a\3two\4test\0") } },
	{ .name = "alias.test",
	  .type = DNS_MX,
	  .cname = "other.test",
	  .n = 1,
	  .data = { S("\0\1\1m\4test\0") } },
	{ .name = "other.test", .type = DNS_MX, .n = 1, .data = { S("\0\1\1m\4test\0") } },
	{ .name = "empty.test", .type = DNS_MX },
	{ .name = "empty.test", .type = DNS_A, .n = 1, .data = { A_RECORD } },
	{ .name = "proven.test", .type = DNS_MX, .begins = "test" },
	{ .name = "both.test", .type = DNS_MX, .begins = "test", .sends_on = "test" },
	{ .name = "referred.test", .type = DNS_MX, .sends_on = "referred.test" },
	{ .name = "referred-up.test", .type = DNS_MX, .sends_on = "test" },
	{ .name = "referred-alias.test",
	  .type = DNS_MX,
	  .cname = "referred.test",
	  .sends_on = "referred.test" },
	{ .name = "broken.test", .type = DNS_MX, .rcode = 2 },
	{ .name = "refused.test", .type = DNS_MX, .rcode = 5 },
	{ .name = "silent.test", .type = DNS_MX, .rcode = -1 },
	{ .name = "cut.test", .type = DNS_MX, .n = 1, .data = { S("\0\1\5m") } },
};

struct ask {
	struct dns_query q;
	struct fix *fix;
	const char *name;
	enum dns_type type;
	struct ask *then;      /* asked when this one is answered */
	struct dns_answer got; /* without slices */
	char canonical[300], why[300], first[300];
	size_t first_n;
	unsigned nth; /* in the order of the answers, from 1; 0: none yet */
};

/* A loop runs once: a test asks all it has to, then run(). */
struct fix {
	struct loop *loop;
	struct name_server *server;
	struct dns *dns;
	size_t waiting;
	unsigned answers, asked;
};

static bool put(struct ask *ask)
{
	ask->fix->waiting++;
	if (dns_ask(ask->fix->dns, &ask->q, slice_str(ask->name), ask->type))
		return true;
	ask->fix->waiting--;
	return false;
}

static void on_done(struct dns_query *q, const struct dns_answer *a)
{
	struct ask *ask = (struct ask *)(void *)q;
	struct fix *f = ask->fix;

	assert_int_equal(ask->nth, 0);
	ask->nth = ++f->answers;
	ask->got = *a;
	snprintf(ask->canonical, sizeof ask->canonical, "%.*s", SLICE_ARG(a->canonical));
	snprintf(ask->why, sizeof ask->why, "%.*s", SLICE_ARG(a->why));
	if (a->n) {
		ask->first_n = a->records[0].n;
		memcpy(ask->first, a->records[0].p, ask->first_n);
	}
	if (ask->then) {
		f->asked = name_server_asked(f->server);
		assert_true(put(ask->then));
	}
	if (!--f->waiting)
		loop_stop(f->loop);
}

static struct ask asking(struct fix *f, const char *name, enum dns_type type)
{
	return (struct ask){ .q.done = on_done, .fix = f, .name = name, .type = type };
}

static void ask(struct fix *f, struct ask *ask, const char *name, enum dns_type type)
{
	*ask = asking(f, name, type);
	assert_true(put(ask));
}

static void run(struct fix *f)
{
	loop_run(f->loop);
	assert_int_equal(f->waiting, 0);
}

static int begin(void **state)
{
	static const struct slice insecure[] = { S("test.") };
	static struct fix f;
	char forward[40];
	struct slice servers[1];
	struct dns_conf c = { .forward = servers,
			      .n_forward = 1,
			      .insecure = insecure,
			      .n_insecure = 1,
			      .timeout_ms = TIMEOUT };

	f = (struct fix){ .loop = loop_new(NULL), .server = name_server_start(zone, LEN(zone)) };
	snprintf(forward, sizeof forward, "127.0.0.1:%u", name_server_port(f.server));
	servers[0] = slice_str(forward);
	f.dns = dns_new(f.loop, &c, NULL);
	*state = &f;
	return f.dns ? 0 : -1;
}

static int end(void **state)
{
	struct fix *f = *state;

	dns_free(f->dns);
	name_server_stop(f->server);
	loop_free(f->loop);
	return 0;
}

static void test_records(void **state)
{
	struct ask mx, a;
	struct dns_mx first;

	ask(*state, &mx, "two.test", DNS_MX);
	ask(*state, &a, "empty.test", DNS_A);
	run(*state);
	assert_int_equal(mx.got.state, DNS_FOUND);
	assert_int_equal(mx.got.n, 2);
	assert_int_equal(dns_mx_read(slice(mx.first, mx.first_n), &first), RDATA_OK);
	assert_true(!strcmp(first.host, "mx.two.test") || !strcmp(first.host, "a.two.test"));
	assert_in_range(mx.got.ttl, 1, 300);
	assert_false(mx.got.secure);
	assert_int_equal(a.got.n, 1);
	assert_memory_equal(a.first, A_RECORD.p, 4);
}

static void test_alias(void **state)
{
	struct ask a;

	ask(*state, &a, "alias.test", DNS_MX);
	run(*state);
	assert_int_equal(a.got.state, DNS_FOUND);
	assert_int_equal(a.got.n, 1);
	assert_true(slice_istarts(slice_str(a.canonical), S("other.test")));
}

static void test_states(void **state)
{
	static const struct {
		const char *name;
		enum dns_state is;
		const char *why;
	} rows[] = {
		{ "empty.test", DNS_NODATA, "" },
		{ "proven.test", DNS_NODATA, "" },
		{ "both.test", DNS_NODATA, "" },
		{ "referred.test", DNS_TROUBLE, "a referral in place of an answer" },
		{ "referred-up.test", DNS_TROUBLE, "a referral in place of an answer" },
		{ "referred-alias.test", DNS_TROUBLE, "a referral in place of an answer" },
		{ "nowhere.test", DNS_NXDOMAIN, "" },
		{ "broken.test", DNS_TROUBLE, "SERVFAIL" },
		{ "refused.test", DNS_TROUBLE, "SERVFAIL" }, /* the resolver's word for it */
		{ "silent.test", DNS_TROUBLE, "no answer in time" },
		{ "not a name.test", DNS_NXDOMAIN, "" },
		{ "192.0.2.1", DNS_NXDOMAIN, "" },
		{ "", DNS_NXDOMAIN, "" },
		/* A record that ends in the middle never comes through as one. */
		{ "cut.test", DNS_TROUBLE, NULL },
	};
	struct ask a[LEN(rows)];

	for (size_t i = 0; i < LEN(rows); i++)
		ask(*state, &a[i], rows[i].name, DNS_MX);
	run(*state);
	for (size_t i = 0; i < LEN(rows); i++)
		if (a[i].got.state != rows[i].is || a[i].got.n ||
		    (rows[i].why && strcmp(a[i].why, rows[i].why)))
			fail_msg("%s: %d %s", rows[i].name, a[i].got.state, a[i].why);
}

/* The second time it is remembered. */
static void test_cache(void **state)
{
	struct fix *f = *state;
	struct ask first, second = asking(f, "two.test", DNS_MX);

	first = second;
	first.then = &second;
	assert_true(put(&first));
	run(f);
	assert_int_equal(second.got.state, DNS_FOUND);
	assert_int_equal(name_server_asked(f->server), f->asked);
}

/* One that hangs holds up no other; one that is cancelled is never heard of. */
static void test_side_by_side(void **state)
{
	struct fix *f = *state;
	struct ask slow, fast, gone;
	uint64_t began = clock_mono_ms();

	ask(f, &slow, "silent.test", DNS_MX);
	ask(f, &gone, "empty.test", DNS_MX);
	dns_cancel(&gone.q);
	dns_cancel(&gone.q);
	f->waiting--;
	ask(f, &fast, "two.test", DNS_MX);
	run(f);
	assert_int_equal(fast.nth, 1);
	assert_int_equal(slow.nth, 2);
	assert_int_equal(gone.nth, 0);
	assert_true(clock_mono_ms() - began >= TIMEOUT);
}

static void test_bound(void **state)
{
	struct fix *f = *state;
	struct ask *many = calloc(DNS_OPEN + 2, sizeof *many);

	for (size_t i = 0; i < DNS_OPEN; i++)
		ask(f, &many[i], "silent.test", DNS_MX);
	many[DNS_OPEN] = asking(f, "two.test", DNS_MX);
	assert_false(put(&many[DNS_OPEN]));
	dns_cancel(&many[0].q);
	f->waiting--;
	assert_true(put(&many[DNS_OPEN]));
	run(f);
	for (size_t i = 1; i <= DNS_OPEN; i++)
		assert_int_not_equal(many[i].nth, 0);
	/* Those that are open when it ends are forgotten. */
	ask(f, &many[DNS_OPEN + 1], "silent.test", DNS_MX);
	dns_free(f->dns);
	f->dns = NULL;
	assert_int_equal(many[DNS_OPEN + 1].nth, 0);
	free(many);
}

static void test_options(void **state)
{
	static const struct slice bad_zone[] = { S("a b") };
	struct loop *loop = loop_new(NULL);
	struct dns_conf c = { .recursive = true, .timeout_ms = 1000 };
	struct dns *d;
	struct err e = { 0 };

	d = dns_new(loop, &c, &e);
	assert_non_null(d);
	assert_string_equal(dns_unvalidated(d), "no trust_anchor is set");
	dns_free(d);
	c.trust_anchor = S("/nonexistent/root.key");
	d = dns_new(loop, &c, &e);
	assert_non_null(strstr(dns_unvalidated(d), "No such file"));
	dns_free(d);
	c.trust_anchor = S("/usr/share/dns/root.key");
	d = dns_new(loop, &c, &e);
	assert_non_null(d);
	assert_null(dns_unvalidated(d));
	dns_free(d);
	c.insecure = bad_zone;
	c.n_insecure = 1;
	assert_null(dns_new(loop, &c, &e));
	assert_int_equal(e.kind, ERR_INPUT);
	assert_string_equal(e.text, "dns: insecure: a b is not a domain");
	loop_free(loop);
}

int dns_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_records, begin, end),
		cmocka_unit_test_setup_teardown(test_alias, begin, end),
		cmocka_unit_test_setup_teardown(test_states, begin, end),
		cmocka_unit_test_setup_teardown(test_cache, begin, end),
		cmocka_unit_test_setup_teardown(test_side_by_side, begin, end),
		cmocka_unit_test_setup_teardown(test_bound, begin, end),
		cmocka_unit_test(test_options),
	};

	return cmocka_run_group_tests_name("dns", tests, NULL, NULL);
}
