/* serve/places_test.c -- who goes, in which order, and how many there are then. */
#include "serve/places.h"

#include "serve/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static unsigned woken[3];

static void wake(void *arg, unsigned home)
{
	assert_ptr_equal(arg, woken);
	woken[home]++;
}

static struct places *start(void)
{
	struct places *p = places_new(3, wake, woken);

	assert_non_null(p);
	woken[0] = woken[1] = woken[2] = 0;
	return p;
}

static void come(struct places *p, struct place *c, unsigned home, uint64_t max)
{
	*c = (struct place){ 0 };
	assert_true(places_take(p, max));
	places_stand(p, c, home);
}

/* Those of this home that were called, in their order; each leaves. */
static void goes(struct places *p, unsigned home, struct place *want)
{
	struct place *c = places_called(p, home);

	assert_ptr_equal(c, want);
	if (c)
		places_leave(p, c);
}

static void test_the_oldest_of_all_homes(void **state)
{
	struct places *p = start();
	struct place c[8];

	/* Home 0: 0 and 3, 1: 1, 2: 2. The calls come in a burst: no home has looked yet. */
	for (unsigned i = 0; i < 4; i++)
		come(p, &c[i], i % 3, 4);
	for (unsigned i = 4; i < 7; i++)
		come(p, &c[i], 0, 4);
	assert_int_equal(woken[0] * 100 + woken[1] * 10 + woken[2], 111);
	for (unsigned i = 0; i < 3; i++) {
		goes(p, i, &c[i]);
		goes(p, i, NULL);
	}
	/* The next is of home 0, which is woken again since it has looked; only once for two. */
	come(p, &c[0], 1, 4);
	come(p, &c[1], 1, 4);
	assert_int_equal(woken[0], 2);
	goes(p, 0, &c[3]);
	goes(p, 0, &c[4]);
	goes(p, 0, NULL);
	places_leave(p, &c[0]);
	places_leave(p, &c[1]);
	places_leave(p, &c[5]);
	places_leave(p, &c[6]);
	places_free(p);
}

static void test_who_has_logged_in_stays(void **state)
{
	struct places *p = start();
	struct place c[5];

	come(p, &c[0], 0, 2);
	places_keep(p, &c[0]);
	come(p, &c[1], 0, 2);
	come(p, &c[2], 1, 2);
	goes(p, 0, &c[1]);
	goes(p, 0, NULL);
	places_keep(p, &c[2]);
	assert_false(places_take(p, 2));
	places_leave(p, &c[0]);
	/* Called, and logged in before it went: there is one too many until somebody leaves. */
	come(p, &c[3], 2, 2);
	come(p, &c[4], 2, 2);
	places_keep(p, &c[3]);
	goes(p, 2, NULL);
	come(p, &c[0], 0, 2);
	goes(p, 2, &c[4]);
	places_keep(p, &c[0]);
	assert_false(places_take(p, 3));
	places_leave(p, &c[2]);
	assert_true(places_take(p, 3));
	places_return(p);
	assert_false(places_take(p, 2));
	places_leave(p, &c[0]);
	places_leave(p, &c[3]);
	places_free(p);
}

static void test_an_excess_goes(void **state)
{
	enum { N = 40, MAX = 4 };
	struct places *p = start();
	struct place c[N], late[4];
	for (unsigned i = 0; i < N; i++)
		come(p, &c[i], 0, N);
	/* So many at once, then what is left of the excess, then one for one. */
	for (unsigned i = 0; i < 4; i++) {
		unsigned called = 0;

		come(p, &late[i], 1, MAX);
		for (struct place *x; (x = places_called(p, 0)); called++)
			places_leave(p, x);
		assert_int_equal(called, ((unsigned[]){ PLACES_AT_ONCE, PLACES_AT_ONCE, 7, 1 })[i]);
	}
	assert_null(places_called(p, 1));
	for (unsigned i = 0; i < 4; i++)
		places_keep(p, &late[i]);
	assert_false(places_take(p, MAX));
	for (unsigned i = 0; i < 4; i++)
		places_leave(p, &late[i]);
	places_free(p);
}

/* More than there are places, all but one of whom keep theirs: one comes for one who goes. */
static void test_one_for_one_above_the_limit(void **state)
{
	struct places *p = start();
	struct place c[5];

	for (unsigned i = 0; i < 5; i++)
		come(p, &c[i], 0, 5);
	for (unsigned i = 0; i < 4; i++)
		places_keep(p, &c[i]);
	assert_true(places_take(p, 2));
	goes(p, 0, &c[4]);
	places_return(p);
	assert_false(places_take(p, 2));
	for (unsigned i = 0; i < 4; i++)
		places_leave(p, &c[i]);
	places_free(p);
}

int test_places(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_oldest_of_all_homes),
		cmocka_unit_test(test_who_has_logged_in_stays),
		cmocka_unit_test(test_an_excess_goes),
		cmocka_unit_test(test_one_for_one_above_the_limit),
	};

	return cmocka_run_group_tests_name("places", tests, NULL, NULL);
}
