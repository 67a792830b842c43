/* relay/schedule_test.c -- who gets the next connection, and what it carries. */
#include "relay/schedule_rig_test.h"

static void nothing_is_due(void **state)
{
	struct fix *f = *state;

	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX);
	assert_null(schedule_wants(f->s, T0));
	assert_null(schedule_site(f->s, NULL));
	rig_put(f, "a.test", T0 + 500);
	assert_int_equal(schedule_refill(f->s, T0 + 499), T0 + 500);
	assert_null(schedule_wants(f->s, T0 + 499));
	schedule_free(NULL);
}

static void one_message(void **state)
{
	struct fix *f = *state;
	struct site *site;
	struct id id;

	rig_put(f, "a.test", T0);
	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX); /* held, so nothing else waits */
	site = schedule_wants(f->s, T0);
	assert_non_null(site);
	assert_ptr_equal(site, rig_site_named(f, "a"));
	assert_ptr_equal(site->route, &rig_table[0]);
	assert_true(schedule_has(site, T0));
	assert_int_equal(rig_take(f, site, T0, &id), 1);
	/* Its only delivery is in hand: nobody opens a connection for it any more. */
	assert_false(schedule_has(site, T0));
	assert_null(schedule_wants(f->s, T0));
	assert_int_equal(rig_take(f, site, T0, NULL), 0);

	rig_settle(f, id, T0 + 5000);
	assert_int_equal(schedule_refill(f->s, T0 + 4999), T0 + 5000);
	assert_null(schedule_wants(f->s, T0 + 4999));
	assert_int_equal(schedule_refill(f->s, T0 + 5000), UINT64_MAX);
	assert_ptr_equal(schedule_wants(f->s, T0 + 5000), site);
	assert_int_equal(rig_take(f, site, T0 + 5000, &id), 1);
	rig_settle(f, id, 0);
	assert_int_equal(schedule_refill(f->s, T0 + 999999), UINT64_MAX);
	assert_null(schedule_wants(f->s, T0 + 999999));
}

static void the_last_one_in_hand_wants_no_more(void **state)
{
	struct fix *f = *state;
	struct site *site;

	rig_put_many(f, "a.test", 2);
	schedule_refill(f->s, T0);
	site = schedule_wants(f->s, T0);
	assert_non_null(site);
	assert_int_not_equal(rig_take(f, site, T0, NULL), 0);
	assert_ptr_equal(schedule_wants(f->s, T0), site);
	assert_int_not_equal(rig_take(f, site, T0, NULL), 0);
	assert_null(schedule_wants(f->s, T0));
}

/* Somebody else took it out of the queue while it hung here. */
static void what_is_gone_wants_nothing(void **state)
{
	struct fix *f = *state;
	struct site *site;
	struct spool_row row;
	struct spool_filter any = { .state = LIST_ALL };

	rig_put(f, "a.test", T0);
	schedule_refill(f->s, T0);
	site = schedule_wants(f->s, T0);
	assert_int_equal(spool_list(rig_backend, f->spool, &any, NULL, &row, 1), 1);
	rig_settle(f, row.id, 0);
	assert_int_equal(rig_take(f, site, T0, NULL), 0);
	assert_false(schedule_has(site, T0));
	assert_null(schedule_wants(f->s, T0));
	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX);
}

static void connections_are_opened_one_by_one(void **state)
{
	struct fix *f = *state;
	struct site *site;

	rig_put_many(f, "a.test", 10);
	schedule_refill(f->s, T0);
	for (unsigned n = 0; n < 3; n++) {
		site = schedule_wants(f->s, T0);
		assert_non_null(site);
		site->active++;
		site->unproven++;
		assert_null(schedule_wants(f->s, T0)); /* until this one is known to work */
		site->unproven--;
	}
	assert_null(schedule_wants(f->s, T0)); /* as many as the route may have */
	assert_true(schedule_has(site, T0));
	site->active--;
	assert_ptr_equal(schedule_wants(f->s, T0), site);
}

static void sites_take_turns(void **state)
{
	struct fix *f = *state;
	unsigned seen[3] = { 0 };
	struct site *last = NULL;

	rig_put_many(f, "a.test", 5);
	rig_put_many(f, "b.test", 5);
	rig_put_many(f, "c.test", 5);
	schedule_refill(f->s, T0);
	for (int i = 0; i < 30; i++) {
		struct site *site = schedule_wants(f->s, T0);

		assert_non_null(site);
		assert_ptr_not_equal(site, last);
		seen[site->route - rig_table]++;
		last = site;
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(seen[i], 10);
	/* One that wants nothing is passed over. */
	rig_site_named(f, "b")->active = 1;
	for (int i = 0; i < 4; i++) {
		struct site *site = schedule_wants(f->s, T0);

		assert_non_null(site);
		assert_ptr_not_equal(site, rig_site_named(f, "b"));
	}
}

/* A long queue to one destination lets the others of its site in between. */
static void destinations_take_turns(void **state)
{
	struct fix *f = *state;
	struct site *site;
	char order[256] = "";
	size_t n = 0, run = 0, turns = 0;

	rig_put_many(f, "x.a.test", 200); /* numbers 1 to 200 */
	rig_put_many(f, "y.a.test", 1);   /* 201 */
	rig_put_many(f, "z.a.test", 50);  /* to 251 */
	schedule_refill(f->s, T0);
	site = rig_site_named(f, "a");
	for (unsigned m; (m = rig_take(f, site, T0, NULL)) && n < 251;)
		order[n++] = m <= 200 ? 'x' : m == 201 ? 'y' : 'z';
	assert_int_equal(n, 251);
	assert_null(schedule_wants(f->s, T0));
	for (const char *c = order; c <= strrchr(order, 'z'); c++) {
		run = c > order && *c == c[-1] ? run + 1 : 1;
		assert_true(run <= 16);
		turns += run == 16;
	}
	assert_true(turns >= 3 + 3); /* z's whole ones, and x's between them */
	/* Nobody waits longer than a turn of each of the others. */
	assert_non_null(memchr(order, 'x', 18));
	assert_non_null(memchr(order, 'y', 33));
	assert_non_null(memchr(order, 'z', 18));
}

/* A destination that has been alone does not have its turn used up for that. */
static void a_newcomer_waits_for_no_long_run(void **state)
{
	struct fix *f = *state;
	struct site *site;

	rig_put_many(f, "x.a.test", 100);
	schedule_refill(f->s, T0);
	site = rig_site_named(f, "a");
	for (unsigned i = 0; i < 40; i++)
		assert_int_not_equal(rig_take(f, site, T0, NULL), 0);
	rig_put(f, "y.a.test", T0); /* number 101 */
	schedule_refill(f->s, T0);
	assert_true(rig_take(f, site, T0, NULL) <= 100);
	assert_int_equal(rig_take(f, site, T0, NULL), 101);
	assert_true(rig_take(f, site, T0, NULL) <= 100);
}

static void a_failed_site_is_left_alone(void **state)
{
	struct fix *f = *state;
	struct site *a, *bb;

	rig_put_many(f, "a.test", 3);
	rig_put(f, "x.more.test", T0);
	rig_put(f, "b.test", T0);
	schedule_refill(f->s, T0);
	a = rig_site_named(f, "a");
	bb = rig_site_named(f, "b");
	/* Three connections, one cause. */
	schedule_site_failed(f->s, a, T0, 0, S("connection refused"));
	schedule_site_failed(f->s, a, T0 + 10, 0, S("connection refused"));
	schedule_site_failed(f->s, a, T0 + 999, 0, S("no route to host"));
	assert_int_equal(a->failures, 1);
	assert_int_equal(a->not_before_ms, T0 + 1000);
	assert_string_equal(a->reason, "no route to host");
	assert_int_equal(a->n_held, 0);
	assert_false(schedule_has(a, T0 + 999));
	assert_int_equal(rig_take(f, a, T0 + 999, NULL), 0);
	/* The others do not notice. */
	assert_ptr_equal(schedule_wants(f->s, T0 + 1), bb);
	assert_int_equal(rig_take(f, bb, T0 + 1, NULL), 5);
	assert_null(schedule_wants(f->s, T0 + 1));

	/* New mail for it waits with the old; nothing looks at it before. */
	rig_put(f, "new.a.test", T0);
	assert_int_equal(schedule_refill(f->s, T0 + 500), T0 + 1000);
	assert_int_equal(a->n_held, 0);
	assert_null(schedule_wants(f->s, T0 + 999));
	assert_int_equal(schedule_refill(f->s, T0 + 999), T0 + 1000);
	assert_int_equal(schedule_refill(f->s, T0 + 1000), UINT64_MAX);
	assert_int_equal(a->n_held, 3);
	assert_ptr_equal(schedule_wants(f->s, T0 + 1000), a);
}

static void back_off_grows_and_ends(void **state)
{
	static const uint64_t delays[] = { 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000 };
	struct fix *f = *state;
	uint64_t now = T0;
	struct site *a;

	rig_put(f, "a.test", T0);
	schedule_refill(f->s, T0);
	a = rig_site_named(f, "a");
	for (unsigned i = 0; i < LEN(delays); i++) {
		assert_ptr_equal(schedule_wants(f->s, now), a);
		schedule_site_failed(f->s, a, now, 0, S("down"));
		assert_int_equal(a->failures, i + 1);
		assert_int_equal(schedule_refill(f->s, now), now + delays[i]);
		now += delays[i];
		assert_int_equal(schedule_refill(f->s, now), UINT64_MAX);
	}
	schedule_site_ok(a);
	assert_int_equal(a->failures, 0);
	assert_string_equal(a->reason, "");
	schedule_site_failed(f->s, a, now, 0, S("down"));
	assert_int_equal(a->not_before_ms, now + 1000); /* from the beginning */
	schedule_site_ok(a); /* a connection that was open still: no need to wait */
	assert_int_equal(a->not_before_ms, 0);
}

static void randomness_and_long_reasons(void **state)
{
	static const struct schedule_conf jittered = { .retry = { 1000, 2000, 60000, 250, 1 } };
	struct fix *f = *state;
	char longer[400];
	struct site *a;

	schedule_free(f->s);
	f->s = schedule_new(rig_backend, f->spool, &rig_routes, &jittered);
	rig_put(f, "a.test", T0);
	schedule_refill(f->s, T0);
	a = rig_site_named(f, "a");
	memset(longer, 'r', sizeof longer);
	schedule_site_failed(f->s, a, T0, 0, slice(longer, sizeof longer));
	assert_int_equal(a->not_before_ms, T0 + 750);
	assert_int_equal(strlen(a->reason), sizeof a->reason - 1);
	schedule_site_ok(a);
	schedule_site_failed(f->s, a, T0, UINT32_MAX, S(""));
	assert_int_equal(a->not_before_ms, T0 + 1250);
	assert_string_equal(a->reason, "");
}

/* What hangs at a site is never taken inside its back-off, whatever the clock does. */
static void the_clock_goes_back(void **state)
{
	struct fix *f = *state;
	struct site *a;

	rig_put(f, "a.test", T0);
	schedule_refill(f->s, T0);
	a = rig_site_named(f, "a");
	schedule_site_failed(f->s, a, T0, 0, S("down"));
	schedule_refill(f->s, T0 + 1000);
	assert_true(schedule_has(a, T0 + 1000));
	assert_false(schedule_has(a, T0 + 500));
	assert_null(schedule_wants(f->s, T0 + 500));
	assert_int_equal(rig_take(f, a, T0 + 500, NULL), 0);
	assert_int_equal(schedule_refill(f->s, T0 + 500), T0 + 1000);
	assert_int_equal(schedule_refill(f->s, T0 + 1000), UINT64_MAX);
	assert_int_equal(rig_take(f, a, T0 + 1000, NULL), 1);
}

/* A minute later at the latest: a reload may have brought one. */
static void no_route_is_looked_at_again(void **state)
{
	struct fix *f = *state;
	struct site *nowhere;

	rig_put(f, "nowhere.test", T0);
	rig_put(f, "no.where.test", T0);
	rig_put(f, "a.test", T0);
	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX);
	nowhere = rig_site_named(f, "(none)");
	assert_int_equal(nowhere->kind, SITE_NOWHERE);
	assert_ptr_equal(schedule_wants(f->s, T0), nowhere);
	assert_null(schedule_site_of(f->s, S("nowhere.test"), T0));
	for (unsigned i = 0; i < 4; i++)
		schedule_site_failed(f->s, nowhere, T0 + i * 1000, 0, S("no route"));
	assert_int_equal(schedule_refill(f->s, T0 + 3999), T0 + 4000);
	assert_false(schedule_has(nowhere, T0 + 3999));
	schedule_try_again(f->s, S("a.test"), T0);
	assert_int_equal(schedule_refill(f->s, T0 + 3999), T0 + 4000);
	schedule_try_again(f->s, S("nowhere.test"), T0);
	assert_int_equal(schedule_refill(f->s, T0 + 4000), UINT64_MAX);
	assert_int_equal(rig_take(f, rig_site_named(f, "(none)"), T0 + 4000, NULL), 1);
}

/* A route may come with any reload: a minute is the most, however slow the retries are. */
static void no_route_is_no_long_wait(void **state)
{
	struct schedule_conf slow = rig_conf;
	struct fix *f = *state;
	struct site *nowhere;

	slow.retry.base_ms = slow.retry.max_ms = 3600000;
	schedule_free(f->s);
	f->s = schedule_new(rig_backend, f->spool, &rig_routes, &slow);
	assert_non_null(f->s);
	rig_put(f, "nowhere.test", T0);
	schedule_refill(f->s, T0);
	nowhere = rig_site_named(f, "(none)");
	schedule_site_failed(f->s, nowhere, T0, 0, S("no route"));
	assert_int_equal(nowhere->not_before_ms, T0 + 60000);
}

/* A second later, not when a route may have been configured. */
static void without_memory_it_waits_a_moment(void **state)
{
	struct fix *f = *state;
	size_t at;

	/* The site, and the way to it twice; the account with its flow. */
	for (at = 1; at <= 4; at++) {
		uint64_t now = T0 + at * 10000;

		rig_put(f, "a.test", now);
		memory_fails_at(at);
		assert_int_equal(schedule_refill(f->s, now), now + 1000);
		assert_true(memory_failed());
		assert_null(schedule_wants(f->s, now));
		assert_int_equal(schedule_site(f->s, NULL) != NULL, at >= 4);
		assert_int_equal(schedule_refill(f->s, now + 999), now + 1000);
		if (at == 4)
			break;
		schedule_free(f->s);
		f->s = schedule_new(rig_backend, f->spool, &rig_routes, &rig_conf);
		assert_non_null(f->s);
	}
	memory_fails_at(0);
	assert_int_equal(schedule_refill(f->s, T0 + 41000), UINT64_MAX);
	assert_int_equal(rig_take(f, rig_site_named(f, "a"), T0 + 41000, NULL) != 0, true);
	for (at = 1; at <= 3; at++) {
		memory_fails_at(at);
		assert_null(schedule_new(rig_backend, f->spool, &rig_routes, &rig_conf));
	}
}

/* The next one finds all of it; nothing was left held. */
static void an_end_gives_everything_back(void **state)
{
	struct fix *f = *state;
	unsigned first;

	rig_put_many(f, "a.test", 3);
	rig_put_many(f, "b.test", 3);
	schedule_refill(f->s, T0);
	first = rig_take(f, rig_site_named(f, "a"), T0, NULL); /* and stays in somebody's hand */
	assert_in_range(first, 1, 3);
	schedule_free(f->s);
	f->s = schedule_new(rig_backend, f->spool, &rig_routes, &rig_conf);
	assert_non_null(f->s);
	assert_null(schedule_wants(f->s, T0));
	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX);
	for (unsigned i = 0; i < 2; i++) {
		unsigned n = rig_take(f, rig_site_named(f, "a"), T0, NULL);

		assert_in_range(n, 1, 3);
		assert_int_not_equal(n, first);
	}
	assert_int_equal(rig_take(f, rig_site_named(f, "a"), T0, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_in_range(rig_take(f, rig_site_named(f, "b"), T0, NULL), 4, 6);
	assert_null(schedule_wants(f->s, T0));
}

/* A long list is pulled in parts, so that the loop goes on breathing. */
static void a_refill_has_an_end(void **state)
{
	struct fix *f = *state;
	const unsigned all = 4096 + 100;
	char dest[32];

	for (unsigned i = 0; i < all; i++) {
		snprintf(dest, sizeof dest, "d%u.a.test", i);
		rig_put(f, dest, T0);
	}
	assert_int_equal(schedule_refill(f->s, T0), T0); /* at once again: more is due */
	assert_int_equal(rig_site_named(f, "a")->n_held, 4096);
	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX);
	assert_int_equal(rig_site_named(f, "a")->n_held, all);
	/* One destination behind a full batch is not forgotten either. */
	schedule_site_failed(f->s, rig_site_named(f, "a"), T0, 0, S("down"));
	assert_int_equal(rig_site_named(f, "a")->n_held, 0);
	for (unsigned i = 0; i < 65; i++) {
		snprintf(dest, sizeof dest, "d%u.b.test", i);
		rig_put(f, dest, T0);
	}
	assert_int_equal(schedule_refill(f->s, T0), T0 + 1000);
	assert_int_equal(rig_site_named(f, "b")->n_held, 65);
}

int schedule_tests(void)
{
	const struct CMUnitTest tests[] = {
		T(nothing_is_due),
		T(one_message),
		T(the_last_one_in_hand_wants_no_more),
		T(what_is_gone_wants_nothing),
		T(connections_are_opened_one_by_one),
		T(sites_take_turns),
		T(destinations_take_turns),
		T(a_newcomer_waits_for_no_long_run),
		T(a_failed_site_is_left_alone),
		T(back_off_grows_and_ends),
		T(randomness_and_long_reasons),
		T(the_clock_goes_back),
		T(no_route_is_looked_at_again),
		T(no_route_is_no_long_wait),
		T(without_memory_it_waits_a_moment),
		T(an_end_gives_everything_back),
		T(a_refill_has_an_end),
	};

	return cmocka_run_group_tests_name("relay schedule", tests, NULL, NULL);
}
