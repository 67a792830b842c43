/* relay/site_test.c -- sites are found again, remembered, and freed. */
#include "relay/site.h"

#include "relay/room_test.h"

#include <stdio.h>

#define T0 1700000000000

static const struct route world = { .name = S("world"), .type = ROUTE_MX };
static const struct route other = { .name = S("other"), .type = ROUTE_MX };
static const uint64_t hash_key[2] = { 1, 2 };

static int begin(void **state)
{
	*state = sites_new(hash_key, 100);
	return *state ? 0 : -1;
}

static int end(void **state)
{
	memory_fails_at(0);
	sites_free(*state);
	return 0;
}

static struct site *hosts(struct sites *s, const char *name, uint16_t preference)
{
	struct mx_host h = { slice_str(name), preference };

	return sites_hosts(s, &world, &h, 1);
}

static void found_again(void **state)
{
	struct sites *s = *state;
	struct site *all[] = { sites_fixed(s, &world),
			       sites_fixed(s, &other),
			       sites_unresolved(s, &world, S("x.test")),
			       sites_unresolved(s, &other, S("x.test")),
			       sites_literal(s, &world, S("[192.0.2.1]")),
			       hosts(s, "x.test", 0),
			       hosts(s, "y.test", 0) };

	assert_int_equal(sites_count(s), LEN(all));
	for (size_t i = 0; i < LEN(all); i++) {
		assert_non_null(all[i]);
		for (size_t k = 0; k < i; k++)
			assert_ptr_not_equal(all[i], all[k]);
	}
	assert_ptr_equal(sites_fixed(s, &world), all[0]);
	assert_ptr_equal(sites_unresolved(s, &other, S("x.test")), all[3]);
	assert_ptr_equal(sites_literal(s, &world, S("[192.0.2.1]")), all[4]);
	assert_ptr_equal(hosts(s, "y.test", 256), all[6]);
	assert_int_equal(sites_count(s), LEN(all));
}

/* The slices it was made from may go. */
static void keeps_its_own_names(void **state)
{
	char a[] = "a.test", b[] = "b.test", dest[] = "dest.test";
	struct mx_host list[] = { { slice_str(a), 7 }, { slice_str(b), 8 } };
	struct site *site = sites_hosts(*state, &world, list, 2);
	struct site *un = sites_unresolved(*state, &world, slice_str(dest));

	memset(a, 'x', sizeof a);
	memset(b, 'x', sizeof b);
	memset(dest, 'x', sizeof dest);
	assert_slice(site->hosts[0].name, S("a.test"));
	assert_slice(site->hosts[1].name, S("b.test"));
	assert_int_equal(site->hosts[0].preference, 0);
	assert_int_equal(site->hosts[1].preference, 1);
	assert_slice(un->name, S("dest.test"));
}

/* Numbers are each domain's own; what they say is the order, and who is equal. */
static void the_order_of_preference(void **state)
{
	static const struct {
		uint16_t at[3];
		size_t as;
	} rows[] = { { { 10, 20, 30 }, 0 }, { { 0, 1, 65535 }, 0 }, { { 5, 5, 6 }, 2 },
		     { { 1, 1, 2 }, 2 },    { { 7, 7, 7 }, 4 },     { { 7, 8, 8 }, 5 } };
	struct site *sites[LEN(rows)];

	for (size_t i = 0; i < LEN(rows); i++) {
		struct mx_host list[] = { { S("a.test"), rows[i].at[0] },
					  { S("b.test"), rows[i].at[1] },
					  { S("c.test"), rows[i].at[2] } };

		sites[i] = sites_hosts(*state, &world, list, 3);
		assert_ptr_equal(sites[i], sites[rows[i].as]);
	}
	assert_int_equal(sites_count(*state), 4);
	assert_int_equal(sites[5]->hosts[2].preference, 1);
}

/* As many hosts as can be, with the longest names. */
static void the_largest(void **state)
{
	static char names[MX_HOSTS][MX_NAME];
	struct mx_host list[MX_HOSTS];
	struct site *site;

	for (size_t i = 0; i < MX_HOSTS; i++) {
		memset(names[i], 'a' + (int)i, MX_NAME);
		list[i] = (struct mx_host){ slice(names[i], MX_NAME), 65535 };
	}
	site = sites_hosts(*state, &world, list, MX_HOSTS);
	assert_non_null(site);
	assert_slice(site->hosts[MX_HOSTS - 1].name, list[MX_HOSTS - 1].name);
	assert_ptr_equal(sites_hosts(*state, &world, list, MX_HOSTS), site);
}

static void known_for_its_time(void **state)
{
	static const struct {
		uint64_t ttl, good;
	} rows[] = { { 0, SITE_KNOWN_LEAST_MS },
		     { 60000, 60000 },
		     { 86400000, SITE_KNOWN_MOST_MS } };
	struct sites *s = *state;
	struct site *site = hosts(s, "mx.test", 10);

	assert_null(sites_known(s, &world, S("x.test"), T0));
	for (size_t i = 0; i < LEN(rows); i++) {
		sites_learn(s, S("x.test"), site, rows[i].ttl, T0);
		assert_ptr_equal(sites_known(s, &world, S("x.test"), T0 + rows[i].good - 1), site);
		assert_null(sites_known(s, &world, S("y.test"), T0));
		assert_null(sites_known(s, &world, S("x.test"), T0 + rows[i].good));
		assert_null(sites_known(s, &world, S("x.test"), T0));
	}
	sites_learn(s, S("x.test"), site, 60000, T0);
	assert_null(sites_known(s, &other, S("x.test"), T0)); /* its route is another one now */
	sites_learn(s, S("x.test"), site, 60000, T0);
	sites_doubt(site);
	assert_null(sites_known(s, &world, S("x.test"), T0));
	sites_learn(s, S("x.test"), site, 60000, T0);
	assert_ptr_equal(sites_known(s, &world, S("x.test"), T0), site);
}

/* The oldest go when there are too many. */
static void known_is_bounded(void **state)
{
	struct sites *s = *state;
	struct site *site = hosts(s, "mx.test", 10);
	char dest[32];

	for (unsigned i = 0; i < SITES_KNOWN + 10; i++) {
		snprintf(dest, sizeof dest, "d%u.test", i);
		sites_learn(s, slice_str(dest), site, 60000, T0);
	}
	assert_int_equal(site->n_known, SITES_KNOWN);
	assert_null(sites_known(s, &world, S("d9.test"), T0));
	assert_non_null(sites_known(s, &world, S("d10.test"), T0));
}

static void freed_when_nothing_needs_it(void **state)
{
	struct sites *s = *state;
	struct site *site = hosts(s, "mx.test", 10);

	sites_fixed(s, &other);
	site->active = 1;
	sites_sweep(s, T0);
	assert_int_equal(sites_count(s), 2);
	site->active = 0;
	site->charged = 1;
	sites_sweep(s, T0);
	assert_int_equal(sites_count(s), 2);
	site->charged = 0;
	sites_learn(s, S("x.test"), site, 60000, T0);
	sites_sweep(s, T0 + 59999);
	assert_int_equal(sites_count(s), 2);
	site->failures = 1;
	site->not_before_ms = T0 + 60000;
	sites_sweep(s, T0 + 60000); /* what it knew has aged; its failure has not */
	assert_int_equal(site->n_known, 0);
	assert_int_equal(sites_count(s), 2);
	sites_sweep(s, T0 + 60000 + 3600000);
	assert_int_equal(sites_count(s), 1);
	/* What the route itself says stays. */
	assert_int_equal(sites_next(s, NULL)->kind, SITE_FIXED);
}

/* Every site has its turn in the sweeps, and there are never more than are allowed. */
static void bounded(void **state)
{
	struct sites *s = *state;
	char name[32];

	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "m%u.test", i);
		assert_non_null(hosts(s, name, 10));
	}
	assert_null(hosts(s, "one-more.test", 10));
	assert_non_null(hosts(s, "m7.test", 10));
	hosts(s, "m7.test", 10)->active = 1;
	for (int i = 0; i < 4; i++)
		sites_sweep(s, T0);
	assert_int_equal(sites_count(s), 1);
	assert_int_equal(hosts(s, "m7.test", 10)->active, 1);
	assert_non_null(hosts(s, "one-more.test", 10));
}

/* Whatever allocation fails, there is a site or there is none, and nothing is lost. */
static void without_memory(void **state)
{
	struct sites *s = *state;
	bool failed = true;

	for (size_t at = 1; failed; at++) {
		struct site *site;

		memory_fails_at(at);
		site = hosts(s, "mx.test", 10);
		if (site)
			sites_learn(s, S("x.test"), site, 60000, T0);
		failed = memory_failed();
		memory_fails_at(0);
		assert_true(failed || site);
		assert_int_equal(sites_count(s), site ? 1 : 0);
		sites_sweep(s, T0 + 60000);
		sites_sweep(s, T0 + 60000);
	}
	for (size_t at = 1; at <= 1; at++) {
		memory_fails_at(at);
		assert_null(sites_new(hash_key, 1));
	}
}

int site_tests(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(found_again),
		T(keeps_its_own_names),
		T(the_order_of_preference),
		T(the_largest),
		T(known_for_its_time),
		T(known_is_bounded),
		T(freed_when_nothing_needs_it),
		T(bounded),
		T(without_memory),
	};

	return cmocka_run_group_tests_name("relay site", tests, NULL, NULL);
}
