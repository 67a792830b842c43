#include "policy/fair.h"

#include "policy/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MANY 64

static struct fair_item items[MANY];
static size_t n_items;

static struct fair begin(size_t at_once, size_t per_source, size_t waiting)
{
	memset(items, 0, sizeof items);
	n_items = 0;
	return (struct fair){ .at_once = at_once,
			      .per_source = per_source,
			      .waiting = waiting,
			      .waiting_per_source = waiting };
}

/* Of a source, towards a target. */
static struct fair_item *item(char source, const char *target, unsigned rank)
{
	struct fair_item *i = &items[n_items++];

	assert_true(n_items <= MANY);
	i->source[0] = (unsigned char)source;
	i->target = target;
	i->target_max = MANY;
	i->rank = rank;
	return i;
}

static struct fair_item *add(struct fair *f, char source, unsigned rank)
{
	struct fair_item *evicted, *i = item(source, "", rank);

	fair_add(f, i, &evicted);
	assert_null(evicted);
	return i;
}

/* The sources of all that can be served one after the other. */
static const char *served(struct fair *f)
{
	static char names[MANY + 1];
	struct fair_item *i;
	size_t n = 0;

	while ((i = fair_next(f))) {
		names[n++] = (char)i->source[0];
		fair_leave(f, i);
	}
	names[n] = '\0';
	assert_int_equal(f->waits.n + f->under_way.n, 0);
	return names;
}

/* The fourth of each four is the oldest one, whoever that is. */
static void test_one_in_each_round(void **state)
{
	struct fair f = begin(1, 1, MANY);

	(void)state;
	for (int k = 0; k < 6; k++)
		add(&f, 'a', 0);
	add(&f, 'b', 0);
	add(&f, 'b', 0);
	add(&f, 'c', 0);
	assert_string_equal(served(&f), "abcabaaaa");
	/* Who has waited with many does not keep a newcomer waiting. */
	f = begin(1, 1, MANY);
	for (int k = 0; k < 6; k++)
		add(&f, 'a', 0);
	fair_leave(&f, fair_next(&f));
	fair_leave(&f, fair_next(&f));
	add(&f, 'b', 0);
	assert_string_equal(served(&f), "baaaa");
}

/* Who comes anew does not go before those who have waited for their round. */
static void test_the_round_goes_on(void **state)
{
	struct fair f = begin(1, 1, MANY);

	(void)state;
	for (int k = 0; k < 3; k++) {
		add(&f, 'x', 1);
		add(&f, 'y', 1);
	}
	for (int k = 0; k < 5; k++)
		fair_leave(&f, fair_next(&f));
	add(&f, 'z', 1);
	assert_string_equal(served(&f), "yz");
}

static void test_ranks(void **state)
{
	struct fair f = begin(1, 1, MANY);

	(void)state;
	add(&f, 'x', 2);
	add(&f, 'y', 1);
	add(&f, 'k', 0);
	add(&f, 'k', 0);
	add(&f, 'l', 0);
	/* Both rounds of the known, and then the oldest for once. */
	assert_string_equal(served(&f), "klkxy");
	f = begin(1, 1, MANY);
	add(&f, 'x', 2);
	for (char c = 'a'; c < 'g'; c++)
		add(&f, c, 0);
	assert_string_equal(served(&f), "abcxdef");
}

static void test_ceilings(void **state)
{
	struct fair f = begin(3, 2, MANY);
	struct fair_item *a, *b, *evicted;

	(void)state;
	a = add(&f, 'a', 0);
	b = add(&f, 'a', 0);
	add(&f, 'a', 0);
	assert_ptr_equal(fair_next(&f), a);
	assert_ptr_equal(fair_next(&f), b);
	assert_int_equal(b->state, FAIR_UNDER_WAY);
	assert_null(fair_next(&f)); /* two of one source */
	add(&f, 'b', 0);
	assert_non_null(fair_next(&f));
	add(&f, 'c', 0);
	assert_null(fair_next(&f)); /* three at once */
	fair_leave(&f, a);
	assert_int_equal(a->state, FAIR_OUT);
	assert_int_equal(fair_next(&f)->source[0], 'a'); /* the fourth pick: the oldest */
	assert_null(fair_next(&f));
	fair_leave(&f, b);
	assert_int_equal(fair_next(&f)->source[0], 'c');

	/* One target that hangs, another that does not. */
	f = begin(4, 4, MANY);
	for (char c = 'a'; c < 'f'; c++) {
		struct fair_item *i = item(c, "hangs", 0);

		i->target_max = 2;
		fair_add(&f, i, &evicted);
	}
	add(&f, 'z', 0);
	assert_int_equal(fair_next(&f)->source[0], 'a');
	assert_int_equal(fair_next(&f)->source[0], 'b');
	assert_int_equal(fair_next(&f)->source[0], 'z');
	assert_null(fair_next(&f));
}

static struct fair_item *evicted_by(struct fair *f, struct fair_item *i)
{
	struct fair_item *evicted;

	fair_add(f, i, &evicted);
	return evicted;
}

static void test_full(void **state)
{
	struct fair f = begin(1, 1, 3);
	struct fair_item *a[3], *i;

	(void)state;
	for (int k = 0; k < 3; k++)
		a[k] = add(&f, 'a', 1);
	/* A fourth of the same has no place; another source takes its last. */
	i = item('a', "", 1);
	assert_ptr_equal(evicted_by(&f, i), i);
	assert_int_equal(i->state, FAIR_OUT);
	assert_ptr_equal(evicted_by(&f, item('b', "", 1)), a[2]);
	assert_ptr_equal(evicted_by(&f, item('c', "", 1)), a[1]);
	/* All are of one round: the last one goes. */
	i = item('d', "", 1);
	assert_ptr_equal(evicted_by(&f, i), i);
	/* Those who failed before have no place beside others; the known have one beside all. */
	i = item('e', "", 2);
	assert_ptr_equal(evicted_by(&f, i), i);
	assert_int_equal(evicted_by(&f, item('k', "", 0))->source[0], 'c');
	assert_int_equal(evicted_by(&f, item('k', "", 0))->source[0], 'b');
	assert_string_equal(served(&f), "kka");
}

/* A flood of strangers, each from an address of its own, and a burst of one that is known. */
static void test_a_burst_beside_a_flood(void **state)
{
	struct fair f = begin(4, 2, 32);
	struct fair_item *evicted;
	size_t n = 0;

	(void)state;
	for (char c = 1; c <= 32; c++)
		add(&f, c, 1);
	for (int k = 0; k < 10; k++) {
		fair_add(&f, item('k', "", 0), &evicted);
		assert_int_equal(evicted->rank, 1);
	}
	for (int k = 0; k < 15; k++) {
		struct fair_item *i = fair_next(&f);

		n += i->rank == 0;
		fair_leave(&f, i);
	}
	assert_int_equal(n, 10);
}

/* One source does not fill the room, known or not. */
static void test_room_of_a_source(void **state)
{
	struct fair f = begin(1, 1, 10);
	struct fair_item *i;

	(void)state;
	f.waiting_per_source = 2;
	add(&f, 'x', 2);
	add(&f, 'k', 0);
	add(&f, 'k', 0);
	i = item('k', "", 0);
	assert_ptr_equal(evicted_by(&f, i), i);
	i = item('k', "", 1);
	assert_ptr_equal(evicted_by(&f, i), i);
	add(&f, 'l', 2);
	assert_string_equal(served(&f), "kkxl");
}

static void test_leaving(void **state)
{
	struct fair f = begin(1, 1, MANY);
	struct fair_item *a, *b, *c;

	(void)state;
	a = add(&f, 'a', 0);
	b = add(&f, 'b', 0);
	c = add(&f, 'c', 0);
	fair_leave(&f, b);
	fair_leave(&f, b);
	assert_ptr_equal(fair_next(&f), a);
	assert_null(fair_next(&f));
	fair_leave(&f, a);
	fair_leave(&f, c);
	assert_null(fair_next(&f));
	assert_null(f.waits.first);
	assert_null(f.waits.last);
	assert_null(f.under_way.first);
}

int fair_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_in_each_round),
		cmocka_unit_test(test_the_round_goes_on),
		cmocka_unit_test(test_ranks),
		cmocka_unit_test(test_ceilings),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_a_burst_beside_a_flood),
		cmocka_unit_test(test_room_of_a_source),
		cmocka_unit_test(test_leaving),
	};

	return cmocka_run_group_tests_name("fair", tests, NULL, NULL);
}
