/* relay/schedule_mx_test.c -- sites that are sets of hosts; bounds; accounts that share a site. */
#include "relay/schedule_rig_test.h"

/* The same with little room. */
static const struct schedule_conf small = { .retry = { 1000, 2000, 60000, 0, 432000000 },
					    .hash_key = { 1, 2 },
					    .lookups = 3,
					    .sites = 60,
					    .held = 100,
					    .site_held = 80 };

/* ---- MX routes: sites are sets of hosts ---- */

static const struct mx_host one[] = { { S("mx.test"), 10 } };
static const struct mx_host two[] = { { S("mx.test"), 10 }, { S("spare.test"), 20 } };

static void resolve(struct fix *f, struct site *site, const struct mx_host *hosts, size_t n,
		    uint64_t now_ms)
{
	assert_non_null(site);
	assert_int_equal(site->kind, SITE_UNRESOLVED);
	schedule_resolved(f->s, site, hosts, n, 60000, now_ms);
	assert_false(schedule_has(site, now_ms));
}

/* The site that is wanted next; two destinations are looked up at the same time. */
static void domains_with_the_same_hosts_share_a_site(void **state)
{
	struct fix *f = *state;
	struct site *x, *y, *site;

	rig_put(f, "x.world", T0);
	rig_put(f, "y.world", T0);
	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX);
	x = schedule_wants(f->s, T0);
	assert_int_equal(x->kind, SITE_UNRESOLVED);
	x->active = x->unproven = 1;
	y = schedule_wants(f->s, T0);
	assert_ptr_not_equal(x, y);
	assert_slice(x->name, S("x.world"));
	y->active = y->unproven = 1;
	assert_null(schedule_wants(f->s, T0));
	resolve(f, x, two, 2, T0);
	x->active = x->unproven = 0;
	site = schedule_wants(f->s, T0);
	assert_int_equal(site->kind, SITE_HOSTS);
	assert_int_equal(site->n_hosts, 2);
	assert_slice(site->name, S("mx.test"));
	assert_slice(site->hosts[1].name, S("spare.test"));
	assert_int_equal(site->hosts[1].preference, 1);
	assert_int_equal(site->n_held, 1);
	resolve(f, y, two, 2, T0);
	y->active = y->unproven = 0;
	assert_int_equal(site->n_held, 2);
	assert_int_not_equal(rig_take(f, site, T0, NULL), 0);
	assert_int_not_equal(rig_take(f, site, T0, NULL), 0);
	/* Now it is known where they go; not of a third one. */
	rig_put(f, "x.world", T0);
	rig_put(f, "z.world", T0);
	schedule_refill(f->s, T0 + 59999);
	assert_int_equal(site->n_held, 1);
	assert_ptr_equal(schedule_wants(f->s, T0), site);
	assert_slice(schedule_wants(f->s, T0)->name, S("z.world"));
}

/* Other preferences, other hosts, another route: another site. */
static void other_hosts_are_another_site(void **state)
{
	struct fix *f = *state;
	const struct mx_host other[] = { { S("mx.test"), 10 }, { S("spare.test"), 10 } };
	const struct mx_host *lists[] = { one, two, other };

	for (size_t i = 0; i < LEN(lists); i++) {
		char dest[32];
		struct site *site;

		snprintf(dest, sizeof dest, "x%zu.world", i);
		rig_put(f, dest, T0);
		schedule_refill(f->s, T0);
		while ((site = schedule_wants(f->s, T0))->kind != SITE_UNRESOLVED)
			;
		resolve(f, site, lists[i], i ? 2 : 1, T0);
	}
	for (size_t i = 0; i < LEN(lists); i++) {
		struct site *site = schedule_wants(f->s, T0);

		assert_int_equal(site->kind, SITE_HOSTS);
		assert_int_equal(site->n_held, 1);
		assert_int_not_equal(rig_take(f, site, T0, NULL), 0);
	}
	assert_null(schedule_wants(f->s, T0));
}

/* After its time to live, and after a failure, the hosts are looked up again. */
static void what_is_known_ages(void **state)
{
	struct fix *f = *state;
	struct site *site;
	uint64_t now = T0;

	for (int i = 0; i < 3; i++) {
		rig_put(f, "x.world", now);
		schedule_refill(f->s, now);
		resolve(f, schedule_wants(f->s, now), one, 1, now);
		site = schedule_wants(f->s, now);
		assert_int_equal(rig_take(f, site, now, NULL) != 0, true);
		if (i == 1)
			schedule_site_failed(f->s, site, now, 0, S("down"));
		now += i == 0 ? 60000 : 1000;
	}
}

/* It was down when its next destination was resolved: that waits, too. */
static void a_site_that_is_down_takes_no_newcomer(void **state)
{
	struct fix *f = *state;
	struct site *site;

	rig_put(f, "x.world", T0);
	schedule_refill(f->s, T0);
	resolve(f, schedule_wants(f->s, T0), one, 1, T0);
	site = schedule_wants(f->s, T0);
	schedule_site_failed(f->s, site, T0, 0, S("down"));
	rig_put(f, "y.world", T0);
	schedule_refill(f->s, T0);
	resolve(f, schedule_wants(f->s, T0), one, 1, T0);
	assert_null(schedule_wants(f->s, T0));
	assert_int_equal(site->n_held, 0);
	assert_int_equal(schedule_refill(f->s, T0), T0 + 1000);
}

static void a_literal_is_its_own_host(void **state)
{
	struct fix *f = *state;
	struct site *site;

	rig_put(f, "[192.0.2.1]", T0);
	schedule_refill(f->s, T0);
	site = schedule_wants(f->s, T0);
	assert_int_equal(site->kind, SITE_HOSTS);
	assert_true(site->literal);
	assert_int_equal(site->n_hosts, 1);
	assert_slice(site->hosts[0].name, S("[192.0.2.1]"));
	assert_int_not_equal(rig_take(f, site, T0, NULL), 0);
}

/* While deliveries are charged with its trouble, it is not looked up again. */
static void a_charged_site_wants_nothing(void **state)
{
	struct fix *f = *state;
	struct site *site;

	rig_put(f, "x.world", T0);
	schedule_refill(f->s, T0);
	site = schedule_wants(f->s, T0);
	site->charged = 1;
	assert_null(schedule_wants(f->s, T0));
	site->charged = 0;
	assert_ptr_equal(schedule_wants(f->s, T0), site);
}

/* Another one, with little room. */
static void begin_small(struct fix *f)
{
	schedule_free(f->s);
	f->s = schedule_new(rig_backend, f->spool, &rig_routes, &small);
	assert_non_null(f->s);
}

static void put_numbered(struct fix *f, const char *below, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char dest[32];

		snprintf(dest, sizeof dest, "d%u.%s", i, below);
		rig_put(f, dest, T0);
	}
}

/* Those that found no room come again soon, and nothing is lost; other sites have room. */
static void what_is_held_is_bounded(void **state)
{
	struct fix *f = *state;
	unsigned got = 0;
	uint64_t now = T0;

	begin_small(f);
	put_numbered(f, "a.test", 300);
	rig_put(f, "b.test", T0);
	while (got < 300) {
		assert_int_equal(schedule_refill(f->s, now), got < 220 ? now + 100 : UINT64_MAX);
		assert_in_range(rig_site_named(f, "a")->n_held, 1, 80);
		while (rig_take(f, rig_site_named(f, "a"), now, NULL))
			got++;
		assert_in_range(now - T0, 0, 1000);
		now += 100;
	}
	assert_int_not_equal(rig_take(f, rig_site_named(f, "b"), now, NULL), 0);
	/* All sites together. */
	put_numbered(f, "x.a.test", 90);
	put_numbered(f, "x.c.test", 90);
	assert_int_equal(schedule_refill(f->s, now), now + 100);
	assert_int_equal(rig_site_named(f, "a")->n_held + rig_site_named(f, "c")->n_held, 100);
}

/* Lookups are bounded, and hold up no site whose hosts are known. */
static void lookups_are_bounded(void **state)
{
	struct fix *f = *state;
	struct site *site, *first = NULL;

	begin_small(f);
	put_numbered(f, "world", 5);
	rig_put(f, "a.test", T0);
	schedule_refill(f->s, T0);
	for (int i = 0; i < 4; i++) {
		site = schedule_wants(f->s, T0);
		assert_non_null(site);
		schedule_began(f->s, site);
		site->unproven++;
		if (site->kind == SITE_UNRESOLVED)
			first = site;
	}
	assert_int_equal(rig_site_named(f, "a")->active, 1);
	assert_null(schedule_wants(f->s, T0));
	assert_false(schedule_wanting(f->s, T0));
	assert_true(schedule_lookups_full(f->s));
	assert_non_null(first);
	first->unproven--;
	schedule_ended(f->s, first);
	assert_false(schedule_lookups_full(f->s));
	assert_true(schedule_wanting(f->s, T0));
	assert_non_null(schedule_wants(f->s, T0));
}

/* Sites are bounded, and those that are done with make room. */
static void sites_are_bounded(void **state)
{
	struct fix *f = *state;
	struct site *site = NULL;
	unsigned n = 0, got = 0;
	uint64_t now = T0;

	begin_small(f);
	put_numbered(f, "world", 200);
	assert_int_equal(schedule_refill(f->s, now), now + 1000);
	while ((site = schedule_site(f->s, site)))
		n++;
	assert_int_equal(n, 60);
	while (got < 200) {
		while ((site = schedule_wants(f->s, now)))
			while (rig_take(f, site, now, NULL))
				got++;
		schedule_refill(f->s, now += 200);
		assert_in_range(now - T0, 0, 20000);
	}
	for (int i = 0; i < 10; i++)
		schedule_refill(f->s, now);
	assert_null(schedule_site(f->s, NULL));
}

/* The bound of the header: an account with one message waits for one of each other account. */
static void accounts_take_turns(void **state)
{
	const unsigned many = 5000, others = 3;
	struct fix *f = *state;
	unsigned mine, turn[8] = { 0 };
	struct spool_ticket t;
	struct site *site;
	char dest[32];

	/* One account has a long queue to one destination, with two keys; another has one message
	 * each to many destinations; a third has few. All of it is older. */
	for (unsigned i = 0; i < many; i++)
		rig_put_from(f, 1, i % 2 ? "k" : "l", "a.test", T0 - 1000);
	for (unsigned i = 0; i < many / 2; i++) {
		snprintf(dest, sizeof dest, "d%u.a.test", i);
		rig_put_from(f, 2, "k", dest, T0 - 1000);
	}
	rig_put_from(f, 3, "k", "a.test", T0 - 1000);
	rig_put_from(f, 3, "k", "b.a.test", T0 - 1000);
	schedule_refill(f->s, T0);
	site = rig_site_named(f, "a");
	for (unsigned i = 0; i < 50; i++)
		assert_int_not_equal(rig_take(f, site, T0, NULL), 0);
	mine = rig_put_from(f, 4, "k", "z.a.test", T0);
	schedule_refill(f->s, T0);
	for (unsigned i = 0; i <= others; i++) {
		assert_true(schedule_take(f->s, site, T0, &t));
		if (rig_number_of(t.id) == mine)
			break;
		assert_int_not_equal(i, others); /* its turn has come by now */
	}
	/* And then those that have work share evenly. */
	for (unsigned i = 0; i < 1000; i++) { /* account 3 may have one left */
		assert_true(schedule_take(f->s, site, T0, &t));
		turn[t.account]++;
	}
	assert_in_range(turn[1], 499, 500);
	assert_in_range(turn[2], 499, 500);
}

/* As many flows as you like of one account are pulled beside, not before, another's. */
static void flows_do_not_crowd_out(void **state)
{
	const unsigned many = 3 * 4096;
	struct fix *f = *state;
	struct spool_ticket t;
	struct site *site;
	char dest[32];

	for (unsigned i = 0; i < many; i++) {
		snprintf(dest, sizeof dest, "d%u.a.test", i);
		rig_put_from(f, 1, "k", dest, T0 - 1000);
	}
	rig_put_from(f, 2, "k", "z.a.test", T0);
	assert_int_equal(schedule_refill(f->s, T0), T0 - 1000);
	site = rig_site_named(f, "a");
	assert_true(schedule_take(f->s, site, T0, &t));
	assert_int_equal(t.account, 1);
	assert_true(schedule_take(f->s, site, T0, &t));
	assert_int_equal(t.account, 2);
}

/* More accounts than a site knows by heart: each has its turn, and leaves with its last. */
static void many_accounts(void **state)
{
	struct fix *f = *state;
	unsigned seen[50] = { 0 };
	struct spool_ticket t;
	struct site *site;

	for (unsigned i = 0; i < 150; i++)
		rig_put_from(f, i % 50, i % 3 ? "k" : "l", "a.test", T0);
	schedule_refill(f->s, T0);
	site = rig_site_named(f, "a");
	for (unsigned i = 0; i < 150; i++) {
		assert_true(schedule_take(f->s, site, T0, &t));
		assert_int_equal(seen[t.account]++, i / 50);
		if (i == 75) { /* one more in between */
			rig_put_from(f, 49, "m", "a.test", T0);
			schedule_refill(f->s, T0);
		}
	}
	assert_true(schedule_take(f->s, site, T0, &t));
	assert_int_equal(t.account, 49);
	assert_false(schedule_take(f->s, site, T0, &t));
	assert_int_equal(site->n_held, 0);
}

/* Nor do they keep another's out when there is no room for more. */
static void a_newcomer_finds_room(void **state)
{
	struct fix *f = *state;
	struct spool_ticket t;
	char dest[32];

	begin_small(f);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(dest, sizeof dest, "d%u.a.test", i);
		rig_put_from(f, 1, "k", dest, T0 - 1000);
	}
	schedule_refill(f->s, T0);
	assert_int_equal(rig_site_named(f, "a")->n_held, 80);
	rig_put_from(f, 2, "k", "x.a.test", T0);
	rig_put_from(f, 2, "k", "y.a.test", T0);
	schedule_refill(f->s, T0);
	assert_int_equal(rig_site_named(f, "a")->n_held, 81);
	assert_true(schedule_take(f->s, rig_site_named(f, "a"), T0, &t));
	assert_true(schedule_take(f->s, rig_site_named(f, "a"), T0, &t));
	assert_int_equal(t.account, 2);
}

/* What is held while it hangs at its site is not handed out, and nobody else waits for it. */
static void held_at_the_site(void **state)
{
	struct fix *f = *state;
	struct spool_ticket t;
	struct site *site;
	unsigned n = 0;

	rig_put_from(f, 1, "k", "a.test", T0);
	rig_put_from(f, 1, "l", "a.test", T0);
	rig_put_from(f, 1, "l", "b.a.test", T0);
	rig_put_from(f, 2, "k", "a.test", T0);
	schedule_refill(f->s, T0);
	site = rig_site_named(f, "a");
	assert_true(rig_backend->hold(f->spool, 1, S("l"), true));
	while (schedule_take(f->s, site, T0, &t))
		n += (unsigned)t.account;
	assert_int_equal(n, 3);
	assert_int_equal(site->n_held, 0);
	assert_int_equal(schedule_refill(f->s, T0 + 5000), UINT64_MAX);
	assert_null(schedule_wants(f->s, T0 + 5000));
	assert_true(rig_backend->hold(f->spool, 1, S("l"), false));
	assert_int_equal(schedule_refill(f->s, T0 + 5000), UINT64_MAX);
	assert_ptr_equal(schedule_wants(f->s, T0 + 5000), site);
	assert_true(schedule_take(f->s, site, T0 + 5000, &t));
	assert_true(schedule_take(f->s, site, T0 + 5000, &t));
	assert_false(schedule_take(f->s, site, T0 + 5000, &t));
}

int schedule_mx_tests(void)
{
	const struct CMUnitTest tests[] = {
		T(domains_with_the_same_hosts_share_a_site),
		T(other_hosts_are_another_site),
		T(what_is_known_ages),
		T(a_site_that_is_down_takes_no_newcomer),
		T(a_literal_is_its_own_host),
		T(a_charged_site_wants_nothing),
		T(what_is_held_is_bounded),
		T(lookups_are_bounded),
		T(sites_are_bounded),
		T(accounts_take_turns),
		T(flows_do_not_crowd_out),
		T(many_accounts),
		T(a_newcomer_finds_room),
		T(held_at_the_site),
	};

	return cmocka_run_group_tests_name("relay schedule, mx", tests, NULL, NULL);
}
