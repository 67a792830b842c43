#include "relay/route.h"

#include "relay/room_test.h"

static const struct slice all[] = { S("*") };
static const struct slice example[] = { S("Example.com"), S("other.test") };
static const struct slice deep[] = { S("b.example.com") };
static const struct slice again[] = { S("example.com"), S("a.example.com") };
static const struct slice literal[] = { S("[192.0.2.1]") };

enum { ALL, EXAMPLE, DEEP, AGAIN, LITERAL, NOBODY };

static const struct route table[] = {
	[ALL] = { .domains = all, .n_domains = 1 },
	[EXAMPLE] = { .domains = example, .n_domains = 2 },
	[DEEP] = { .domains = deep, .n_domains = 1 },
	[AGAIN] = { .domains = again, .n_domains = 2 },
	[LITERAL] = { .domains = literal, .n_domains = 1 },
};

static const struct {
	const char *dest;
	int with_all, without; /* the route, when the table begins at ALL, or behind it */
} cases[] = {
	{ "example.com", EXAMPLE, EXAMPLE }, /* the first of two that say the same */
	{ "EXAMPLE.COM", EXAMPLE, EXAMPLE },
	{ "x.example.com", EXAMPLE, EXAMPLE },
	{ "x.y.example.com", EXAMPLE, EXAMPLE },
	{ "b.example.com", DEEP, DEEP },
	{ "x.b.example.com", DEEP, DEEP },
	{ "a.example.com", AGAIN, AGAIN },
	{ "other.test", EXAMPLE, EXAMPLE },
	{ "xexample.com", ALL, NOBODY }, /* a label is whole or not at all */
	{ "xb.example.com", EXAMPLE, EXAMPLE },
	{ "example.com.evil", ALL, NOBODY },
	{ "com", ALL, NOBODY },
	{ "", ALL, NOBODY },
	{ ".example.com", EXAMPLE, EXAMPLE },
	{ "*", ALL, NOBODY },
	{ "[192.0.2.1]", LITERAL, LITERAL },
	{ "[192.0.2.2]", ALL, NOBODY },
};

static void closest_name_wins(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEN(cases); i++) {
		struct routes with = { table, LEN(table) }, without = { table + 1, LEN(table) - 1 };
		const struct route *r = route_for(&with, slice_str(cases[i].dest));

		if (r != &table[cases[i].with_all])
			fail_msg("%s: route %zd", cases[i].dest, r ? r - table : (ptrdiff_t)-1);
		r = route_for(&without, slice_str(cases[i].dest));
		if (r != (cases[i].without == NOBODY ? NULL : &table[cases[i].without]))
			fail_msg("%s: route %zd", cases[i].dest, r ? r - table : (ptrdiff_t)-1);
	}
}

/* In whichever order they stand. */
static void order_matters_among_equals_only(void **state)
{
	struct route turned[LEN(table)];
	struct routes routes = { turned, LEN(turned) };

	(void)state;
	for (size_t i = 0; i < LEN(table); i++)
		turned[i] = table[LEN(table) - 1 - i];
	for (size_t i = 0; i < LEN(cases); i++) {
		const struct route *r = route_for(&routes, slice_str(cases[i].dest));
		int want = cases[i].with_all;

		assert_non_null(r);
		if (want == EXAMPLE && !slice_eq(slice_str(cases[i].dest), S("other.test")))
			want = AGAIN;
		assert_ptr_equal(r->domains, table[want].domains);
	}
}

static void no_routes_no_route(void **state)
{
	struct routes none = { NULL, 0 };

	(void)state;
	assert_null(route_for(&none, S("example.com")));
}

int route_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(closest_name_wins),
		cmocka_unit_test(order_matters_among_equals_only),
		cmocka_unit_test(no_routes_no_route),
	};

	return cmocka_run_group_tests_name("relay route", tests, NULL, NULL);
}
