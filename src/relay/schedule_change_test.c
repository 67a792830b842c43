/* relay/schedule_change_test.c -- random work against a list of what is where; and other routes. */
#include "relay/schedule_rig_test.h"

/* ---- random work against a list of what is where ---- */

#define MODEL_MAX 600

enum where { WAITING, IN_HAND, DONE };

struct model {
	struct fix *f;
	uint32_t seed;
	uint64_t now;
	enum where at[MODEL_MAX + 1];
	const struct route *route[MODEL_MAX + 1];
	uint64_t due[MODEL_MAX + 1];
	uint8_t account[MODEL_MAX + 1];
	bool held[4]; /* accounts */
	struct spool_ticket ticket[MODEL_MAX + 1];
};

static uint32_t dice(struct model *m, uint32_t n)
{
	m->seed = m->seed * 1664525 + 1013904223;
	return (m->seed >> 12) % n;
}

static void model_put(struct model *m)
{
	static const char *const dests[] = { "a.test",   "x.a.test", "more.test", "b.test",
					     "x.b.test", "c.test",   "y.c.test" };
	const char *dest = dests[dice(m, LEN(dests))];
	uint64_t due = m->now + dice(m, 3) * 700;
	uint8_t account = (uint8_t)dice(m, 4);
	unsigned n = rig_put_from(m->f, account, dice(m, 2) ? "k" : "l", dest, due);

	m->account[n] = account;
	m->at[n] = WAITING;
	m->due[n] = due;
	m->route[n] = route_for(&rig_routes, slice_str(dest));
}

static void model_take(struct model *m, struct site *site)
{
	struct spool_ticket t;
	uint64_t not_before = site->not_before_ms;
	unsigned n;

	if (!schedule_take(m->f->s, site, m->now, &t))
		return;
	n = rig_number_of(t.id);
	assert_true(not_before <= m->now);
	assert_int_equal(m->at[n], WAITING);
	assert_ptr_equal(m->route[n], site->route);
	assert_true(m->due[n] <= m->now);
	assert_false(m->held[m->account[n]]);
	m->at[n] = IN_HAND;
	m->ticket[n] = t;
}

/* What is in hand is delivered, deferred or given back. */
static void model_end(struct model *m, unsigned n)
{
	uint32_t how = dice(m, 4);

	m->at[n] = how < 2 ? DONE : WAITING;
	m->due[n] = how == 2 ? m->now + 1500 : m->now;
	if (how < 2)
		rig_settle(m->f, m->ticket[n].id, 0);
	else if (how == 2)
		rig_settle(m->f, m->ticket[n].id, m->due[n]);
	else
		rig_backend->release(m->f->spool, &m->ticket[n], m->due[n]);
}

static void model_step(struct model *m)
{
	struct site *site = NULL;
	unsigned n;

	switch (dice(m, 9)) {
	case 0:
	case 1:
		if (m->f->puts < MODEL_MAX)
			model_put(m);
		break;
	case 2: schedule_refill(m->f->s, m->now); break;
	case 3:
		site = schedule_wants(m->f->s, m->now);
		if (site)
			assert_true(schedule_has(site, m->now));
		break;
	case 4:
		for (uint32_t k = dice(m, 3); (site = schedule_site(m->f->s, site)) && k;)
			k--;
		if (site)
			model_take(m, site);
		break;
	case 5:
		n = m->f->puts ? 1 + dice(m, m->f->puts) : 0;
		if (n && m->at[n] == IN_HAND)
			model_end(m, n);
		break;
	case 6: m->now += dice(m, 400); break;
	case 7:
		for (uint32_t k = dice(m, 12); (site = schedule_site(m->f->s, site)) && k;)
			k--;
		if (site && dice(m, 3))
			schedule_site_failed(m->f->s, site, m->now, m->seed, S("down"));
		else if (site)
			schedule_site_ok(site);
		break;
	case 8:
		n = dice(m, 4);
		m->held[n] = dice(m, 3) == 0;
		assert_true(rig_backend->hold(m->f->spool, n, S(""), m->held[n]));
		break;
	}
}

/* Now every site works: all of it gets there, following nothing but what refill says. */
static void model_drain(struct model *m)
{
	size_t left = 1;

	for (unsigned n = 0; n < 4; n++) {
		m->held[n] = false;
		assert_true(rig_backend->hold(m->f->spool, n, S(""), false));
	}
	for (unsigned round = 0; left; round++) {
		struct site *site = NULL;
		uint64_t next;

		assert_true(round < 10 * MODEL_MAX);
		for (unsigned n = 1; n <= m->f->puts; n++)
			if (m->at[n] == IN_HAND) {
				rig_settle(m->f, m->ticket[n].id, 0);
				m->at[n] = DONE;
			}
		next = schedule_refill(m->f->s, m->now);
		while ((site = schedule_site(m->f->s, site)))
			while (schedule_has(site, m->now))
				model_take(m, site);
		left = 0;
		for (unsigned n = 1; n <= m->f->puts; n++)
			left += m->at[n] != DONE;
		if (left && next != UINT64_MAX && next > m->now)
			m->now = next;
	}
}

static void nothing_is_lost_or_sent_twice(void **state)
{
	static struct model m;

	for (uint32_t seed = 1; seed <= 6; seed++) {
		struct spool_count count;

		assert_int_equal(rig_begin(state), 0);
		m = (struct model){ .f = *state, .seed = seed, .now = T0 };
		for (int i = 0; i < 4500; i++)
			model_step(&m);
		assert_int_equal(m.f->puts, MODEL_MAX);
		model_drain(&m);
		rig_backend->count(m.f->spool, &count);
		assert_int_equal(count.messages, 0);
		rig_end(state);
	}
}

/* -- other routes -- */

/* a goes elsewhere, b and world are the same, c is no more, d is new. */
static const struct slice to_d[] = { S("d.test"), S("nowhere.test") };
static const struct route other_table[] = {
	{ .name = { "world", 5 },
	  .type = ROUTE_MX,
	  .domains = rig_to_world,
	  .n_domains = 2,
	  .connections = 2 },
	{ .name = S("a"), .domains = rig_to_a, .n_domains = 2, .connections = 3 },
	{ .name = S("d"), .domains = to_d, .n_domains = 2, .connections = 1 },
	{ .name = S("b"), .domains = rig_to_b, .n_domains = 1, .connections = 1 },
};
static const struct routes other_routes = { other_table, LEN(other_table) };
static const size_t other_map[] = { SITES_GONE, 3, SITES_GONE, 0 };

static void what_waited_goes_where_the_new_routes_say(void **state)
{
	struct fix *f = *state;
	struct site *a, *b_site;

	rig_put(f, "a.test", T0);
	rig_put(f, "b.test", T0);
	rig_put(f, "c.test", T0);
	rig_put(f, "nowhere.test", T0);
	schedule_refill(f->s, T0);
	a = rig_site_named(f, "a");
	b_site = rig_site_named(f, "b");
	assert_true(schedule_reroute(f->s, &other_routes, other_map, &rig_conf.retry));
	/* Nothing was under way at a and c: they are gone. */
	for (a = NULL; (a = schedule_site(f->s, a));)
		assert_true(a == b_site || a->kind == SITE_NOWHERE);
	assert_ptr_equal(b_site->route, &other_table[3]);
	assert_true(slice_eq(b_site->name, S("b")));
	assert_int_equal(rig_take(f, b_site, T0, NULL), 2);
	/* What waited at a and nowhere is looked at afresh; c has no route now. */
	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX);
	a = rig_site_named(f, "a");
	assert_non_null(a);
	assert_ptr_equal(a->route, &other_table[1]);
	assert_int_equal(rig_take(f, a, T0, NULL), 1);
	assert_int_equal(rig_take(f, rig_site_named(f, "(none)"), T0, NULL), 3);
	assert_int_equal(rig_take(f, rig_site_named(f, "d"), T0, NULL), 4);
}

static void what_is_under_way_ends(void **state)
{
	struct fix *f = *state;
	struct site *a, *again;
	struct id id;

	rig_put_many(f, "a.test", 3);
	schedule_refill(f->s, T0);
	a = schedule_wants(f->s, T0);
	schedule_began(f->s, a);
	schedule_began(f->s, a);
	assert_int_not_equal(rig_take(f, a, T0, &id), 0);
	assert_true(schedule_reroute(f->s, &other_routes, other_map, &rig_conf.retry));
	assert_true(a->retired);
	assert_false(schedule_has(a, T0));
	assert_int_equal(rig_take(f, a, T0, NULL), 0);
	/* Its trouble is nobody's any more. */
	schedule_site_failed(f->s, a, T0, 0, S("lost"));
	schedule_refill(f->s, T0);
	again = schedule_wants(f->s, T0);
	assert_non_null(again);
	assert_ptr_not_equal(again, a);
	assert_ptr_equal(again->route, &other_table[1]);
	assert_int_not_equal(rig_take(f, again, T0, NULL), 0);
	rig_settle(f, id, 0);
	schedule_ended(f->s, a);
	assert_ptr_equal(schedule_site(f->s, NULL), a);
	/* Another time, and it is retired still. */
	assert_true(schedule_reroute(f->s, &rig_routes, (size_t[]){ 3, SITES_GONE, SITES_GONE, 1 },
				     &rig_conf.retry));
	assert_true(a->retired);
	a->charged = 1;
	schedule_ended(f->s, a);
	assert_true(a->retired);
	a->charged = 0;
	schedule_look(f->s, a);
	for (struct site *site = NULL; (site = schedule_site(f->s, site));)
		assert_ptr_not_equal(site, a);
}

static void an_answer_for_a_route_that_is_no_more(void **state)
{
	static const struct mx_host hosts[] = { { { "mx.test", 7 }, 10 } };
	static const size_t gone[] = { SITES_GONE, SITES_GONE, SITES_GONE, SITES_GONE };
	struct fix *f = *state;
	struct site *site;

	rig_put(f, "x.world", T0);
	schedule_refill(f->s, T0);
	site = schedule_wants(f->s, T0);
	assert_int_equal(site->kind, SITE_UNRESOLVED);
	schedule_began(f->s, site);
	assert_true(schedule_reroute(f->s, &other_routes, gone, &rig_conf.retry));
	schedule_resolved(f->s, site, hosts, 1, 60000, T0);
	schedule_refill(f->s, T0);
	schedule_ended(f->s, site);
	site = schedule_wants(f->s, T0);
	assert_int_equal(site->kind, SITE_UNRESOLVED);
	assert_ptr_equal(site->route, &other_table[0]);
}

/* What was learned of a route that is the same is still known. */
static void what_is_known_of_the_same_route_stays(void **state)
{
	static const struct mx_host hosts[] = { { { "mx.test", 7 }, 10 } };
	struct fix *f = *state;
	struct site *site;

	rig_put(f, "x.world", T0);
	schedule_refill(f->s, T0);
	schedule_resolved(f->s, schedule_wants(f->s, T0), hosts, 1, 600000, T0);
	site = schedule_wants(f->s, T0);
	assert_int_equal(site->kind, SITE_HOSTS);
	assert_true(schedule_reroute(f->s, &other_routes, other_map, &rig_conf.retry));
	assert_ptr_equal(schedule_wants(f->s, T0), site);
	assert_int_equal(rig_take(f, site, T0, NULL), 1);
	rig_put(f, "x.world", T0);
	schedule_refill(f->s, T0);
	assert_ptr_equal(schedule_wants(f->s, T0), site);
}

static void a_change_without_memory_is_none(void **state)
{
	struct fix *f = *state;
	struct site *a;

	rig_put(f, "a.test", T0);
	schedule_refill(f->s, T0);
	a = schedule_wants(f->s, T0);
	memory_fails_at(1);
	assert_false(schedule_reroute(f->s, &other_routes, other_map, &rig_conf.retry));
	memory_fails_at(0);
	assert_ptr_equal(schedule_wants(f->s, T0), a);
	assert_ptr_equal(a->route, &rig_table[0]);
	assert_int_equal(rig_take(f, a, T0, NULL), 1);
}

int schedule_change_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_or_sent_twice),
		T(what_waited_goes_where_the_new_routes_say),
		T(what_is_under_way_ends),
		T(an_answer_for_a_route_that_is_no_more),
		T(what_is_known_of_the_same_route_stays),
		T(a_change_without_memory_is_none),
	};

	return cmocka_run_group_tests_name("relay schedule, change", tests, NULL, NULL);
}
