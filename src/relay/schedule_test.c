/* relay/schedule_test.c -- who gets the next connection, and what it carries. */
#include "relay/schedule.h"

#include "relay/room_test.h"

#include <stdio.h>

/* No jitter: 1 s, 2 s, 4 s, ... 60 s. */
static const struct schedule_conf conf = { .retry = { 1000, 2000, 60000, 0, 432000000 },
					   .hash_key = { 1, 2 } };
/* The same with little room. */
static const struct schedule_conf small = { .retry = { 1000, 2000, 60000, 0, 432000000 },
					    .hash_key = { 1, 2 },
					    .lookups = 3,
					    .sites = 60,
					    .held = 100,
					    .site_held = 80 };

static const struct slice to_a[] = { S("a.test"), S("more.test") };
static const struct slice to_b[] = { S("b.test") };
static const struct slice to_c[] = { S("c.test") };
static const struct slice to_world[] = { S("world"), S("[192.0.2.1]") };
static const struct route table[] = {
	{ .name = S("a"), .domains = to_a, .n_domains = 2, .connections = 3 },
	{ .name = S("b"), .domains = to_b, .n_domains = 1, .connections = 1 },
	{ .name = S("c"), .domains = to_c, .n_domains = 1, .connections = 2 },
	{ .name = { "world", 5 },
	  .type = ROUTE_MX,
	  .domains = to_world,
	  .n_domains = 2,
	  .connections = 2 },
};
static const struct routes routes = { table, LEN(table) };

#define T0 1700000000000 /* when every message is accepted and due, unless said */

struct fix {
	struct spool *spool;
	struct schedule *s;
	unsigned puts;
};

static const struct spool_backend *const b = &spool_memory;

static int begin(void **state)
{
	static const struct spool_conf sc = { .hash_key = { 1, 2 } };
	static struct fix f;

	f = (struct fix){ .spool = b->open(&sc, NULL) };
	f.s = f.spool ? schedule_new(b, f.spool, &routes, &conf) : NULL;
	*state = &f;
	return f.s ? 0 : -1;
}

static int end(void **state)
{
	struct fix *f = *state;

	memory_fails_at(0);
	schedule_free(f->s);
	b->close(f->spool);
	return 0;
}

/* A message of one recipient; its number, from 1, is in its id. */
static unsigned put_from(struct fix *f, uint64_t account, const char *key, const char *dest,
			 uint64_t due_ms)
{
	unsigned n = ++f->puts;
	/* The end of an id is what the spool's index takes for random. */
	const unsigned char random[10] = { [7] = (unsigned char)(n >> 16),
					   [8] = (unsigned char)(n >> 8),
					   [9] = (unsigned char)n };
	struct spool_rcpt rcpt = { .path = S("x@y.test") };
	struct slice dests[] = { slice_str(dest) };
	struct spool_envelope env = { .id = id_make(T0, random),
				      .account = account,
				      .key_id = slice_str(key),
				      .accepted_ms = T0,
				      .rcpts = &rcpt,
				      .n_rcpts = 1,
				      .dests = dests,
				      .n_deliveries = 1 };
	struct spool_content content = { .head = S("X: y\r\n\r\n"), .fd = -1 };
	struct spool_op op = {
		.kind = SPOOL_PUT, .envelope = &env, .content = &content, .due_ms = due_ms
	};
	struct spool_op *ops[] = { &op };

	assert_true(b->commit(f->spool, ops, 1, NULL));
	assert_int_equal(op.result, SPOOL_OK);
	return n;
}

static unsigned put(struct fix *f, const char *dest, uint64_t due_ms)
{
	return put_from(f, 7, "k", dest, due_ms);
}

static unsigned number_of(struct id id)
{
	return (unsigned)id.b[13] << 16 | (unsigned)id.b[14] << 8 | id.b[15];
}

static void put_many(struct fix *f, const char *dest, unsigned n)
{
	while (n--)
		put(f, dest, T0);
}

/* next_ms 0: delivered. */
static void settle(struct fix *f, struct id id, uint64_t next_ms)
{
	struct spool_verdict v = { 0, next_ms ? RCPT_PENDING : RCPT_DELIVERED, S("") };
	struct spool_op op = { .kind = SPOOL_SETTLE,
			       .id = id,
			       .verdicts = &v,
			       .n_verdicts = 1,
			       .next_ms = next_ms,
			       .attempted = true };
	struct spool_op *ops[] = { &op };

	assert_true(b->commit(f->spool, ops, 1, NULL));
	assert_int_equal(op.result, SPOOL_OK);
}

static struct site *site_named(struct fix *f, const char *name)
{
	struct site *site = NULL;

	while ((site = schedule_site(f->s, site)))
		if (slice_eq(site->route->name, slice_str(name)))
			return site;
	return NULL;
}

/* The number of the next message, 0: none. */
static unsigned take(struct fix *f, struct site *site, uint64_t now_ms, struct id *ret_id)
{
	struct spool_ticket t;

	if (!schedule_take(f->s, site, now_ms, &t))
		return 0;
	if (ret_id)
		*ret_id = t.id;
	return number_of(t.id);
}

static void nothing_is_due(void **state)
{
	struct fix *f = *state;

	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX);
	assert_null(schedule_wants(f->s, T0));
	assert_null(schedule_site(f->s, NULL));
	put(f, "a.test", T0 + 500);
	assert_int_equal(schedule_refill(f->s, T0 + 499), T0 + 500);
	assert_null(schedule_wants(f->s, T0 + 499));
	schedule_free(NULL);
}

static void one_message(void **state)
{
	struct fix *f = *state;
	struct site *site;
	struct id id;

	put(f, "a.test", T0);
	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX); /* held, so nothing else waits */
	site = schedule_wants(f->s, T0);
	assert_non_null(site);
	assert_ptr_equal(site, site_named(f, "a"));
	assert_ptr_equal(site->route, &table[0]);
	assert_true(schedule_has(site, T0));
	assert_int_equal(take(f, site, T0, &id), 1);
	/* Its only delivery is in hand: nobody opens a connection for it any more. */
	assert_false(schedule_has(site, T0));
	assert_null(schedule_wants(f->s, T0));
	assert_int_equal(take(f, site, T0, NULL), 0);

	settle(f, id, T0 + 5000);
	assert_int_equal(schedule_refill(f->s, T0 + 4999), T0 + 5000);
	assert_null(schedule_wants(f->s, T0 + 4999));
	assert_int_equal(schedule_refill(f->s, T0 + 5000), UINT64_MAX);
	assert_ptr_equal(schedule_wants(f->s, T0 + 5000), site);
	assert_int_equal(take(f, site, T0 + 5000, &id), 1);
	settle(f, id, 0);
	assert_int_equal(schedule_refill(f->s, T0 + 999999), UINT64_MAX);
	assert_null(schedule_wants(f->s, T0 + 999999));
}

static void the_last_one_in_hand_wants_no_more(void **state)
{
	struct fix *f = *state;
	struct site *site;

	put_many(f, "a.test", 2);
	schedule_refill(f->s, T0);
	site = schedule_wants(f->s, T0);
	assert_non_null(site);
	assert_int_not_equal(take(f, site, T0, NULL), 0);
	assert_ptr_equal(schedule_wants(f->s, T0), site);
	assert_int_not_equal(take(f, site, T0, NULL), 0);
	assert_null(schedule_wants(f->s, T0));
}

/* Somebody else took it out of the queue while it hung here. */
static void what_is_gone_wants_nothing(void **state)
{
	struct fix *f = *state;
	struct site *site;
	struct spool_row row;
	struct spool_filter any = { .state = LIST_ALL };

	put(f, "a.test", T0);
	schedule_refill(f->s, T0);
	site = schedule_wants(f->s, T0);
	assert_int_equal(spool_list(b, f->spool, &any, NULL, &row, 1), 1);
	settle(f, row.id, 0);
	assert_int_equal(take(f, site, T0, NULL), 0);
	assert_false(schedule_has(site, T0));
	assert_null(schedule_wants(f->s, T0));
	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX);
}

static void connections_are_opened_one_by_one(void **state)
{
	struct fix *f = *state;
	struct site *site;

	put_many(f, "a.test", 10);
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

	put_many(f, "a.test", 5);
	put_many(f, "b.test", 5);
	put_many(f, "c.test", 5);
	schedule_refill(f->s, T0);
	for (int i = 0; i < 30; i++) {
		struct site *site = schedule_wants(f->s, T0);

		assert_non_null(site);
		assert_ptr_not_equal(site, last);
		seen[site->route - table]++;
		last = site;
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(seen[i], 10);
	/* One that wants nothing is passed over. */
	site_named(f, "b")->active = 1;
	for (int i = 0; i < 4; i++) {
		struct site *site = schedule_wants(f->s, T0);

		assert_non_null(site);
		assert_ptr_not_equal(site, site_named(f, "b"));
	}
}

/* A long queue to one destination lets the others of its site in between. */
static void destinations_take_turns(void **state)
{
	struct fix *f = *state;
	struct site *site;
	char order[256] = "";
	size_t n = 0, run = 0, turns = 0;

	put_many(f, "x.a.test", 200); /* numbers 1 to 200 */
	put_many(f, "y.a.test", 1);   /* 201 */
	put_many(f, "z.a.test", 50);  /* to 251 */
	schedule_refill(f->s, T0);
	site = site_named(f, "a");
	for (unsigned m; (m = take(f, site, T0, NULL)) && n < 251;)
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

	put_many(f, "x.a.test", 100);
	schedule_refill(f->s, T0);
	site = site_named(f, "a");
	for (unsigned i = 0; i < 40; i++)
		assert_int_not_equal(take(f, site, T0, NULL), 0);
	put(f, "y.a.test", T0); /* number 101 */
	schedule_refill(f->s, T0);
	assert_true(take(f, site, T0, NULL) <= 100);
	assert_int_equal(take(f, site, T0, NULL), 101);
	assert_true(take(f, site, T0, NULL) <= 100);
}

static void a_failed_site_is_left_alone(void **state)
{
	struct fix *f = *state;
	struct site *a, *bb;

	put_many(f, "a.test", 3);
	put(f, "x.more.test", T0);
	put(f, "b.test", T0);
	schedule_refill(f->s, T0);
	a = site_named(f, "a");
	bb = site_named(f, "b");
	/* Three connections, one cause. */
	schedule_site_failed(f->s, a, T0, 0, S("connection refused"));
	schedule_site_failed(f->s, a, T0 + 10, 0, S("connection refused"));
	schedule_site_failed(f->s, a, T0 + 999, 0, S("no route to host"));
	assert_int_equal(a->failures, 1);
	assert_int_equal(a->not_before_ms, T0 + 1000);
	assert_string_equal(a->reason, "no route to host");
	assert_int_equal(a->n_held, 0);
	assert_false(schedule_has(a, T0 + 999));
	assert_int_equal(take(f, a, T0 + 999, NULL), 0);
	/* The others do not notice. */
	assert_ptr_equal(schedule_wants(f->s, T0 + 1), bb);
	assert_int_equal(take(f, bb, T0 + 1, NULL), 5);
	assert_null(schedule_wants(f->s, T0 + 1));

	/* New mail for it waits with the old; nothing looks at it before. */
	put(f, "new.a.test", T0);
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

	put(f, "a.test", T0);
	schedule_refill(f->s, T0);
	a = site_named(f, "a");
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
	f->s = schedule_new(b, f->spool, &routes, &jittered);
	put(f, "a.test", T0);
	schedule_refill(f->s, T0);
	a = site_named(f, "a");
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

	put(f, "a.test", T0);
	schedule_refill(f->s, T0);
	a = site_named(f, "a");
	schedule_site_failed(f->s, a, T0, 0, S("down"));
	schedule_refill(f->s, T0 + 1000);
	assert_true(schedule_has(a, T0 + 1000));
	assert_false(schedule_has(a, T0 + 500));
	assert_null(schedule_wants(f->s, T0 + 500));
	assert_int_equal(take(f, a, T0 + 500, NULL), 0);
	assert_int_equal(schedule_refill(f->s, T0 + 500), T0 + 1000);
	assert_int_equal(schedule_refill(f->s, T0 + 1000), UINT64_MAX);
	assert_int_equal(take(f, a, T0 + 1000, NULL), 1);
}

/* A minute later at the latest: a reload may have brought one. */
static void no_route_is_looked_at_again(void **state)
{
	struct fix *f = *state;
	struct site *nowhere;

	put(f, "nowhere.test", T0);
	put(f, "no.where.test", T0);
	put(f, "a.test", T0);
	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX);
	nowhere = site_named(f, "(none)");
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
	assert_int_equal(take(f, site_named(f, "(none)"), T0 + 4000, NULL), 1);
}

/* A second later, not when a route may have been configured. */
static void without_memory_it_waits_a_moment(void **state)
{
	struct fix *f = *state;
	size_t at;

	/* The site, and the way to it twice; the account with its flow. */
	for (at = 1; at <= 4; at++) {
		uint64_t now = T0 + at * 10000;

		put(f, "a.test", now);
		memory_fails_at(at);
		assert_int_equal(schedule_refill(f->s, now), now + 1000);
		assert_true(memory_failed());
		assert_null(schedule_wants(f->s, now));
		assert_int_equal(schedule_site(f->s, NULL) != NULL, at >= 4);
		assert_int_equal(schedule_refill(f->s, now + 999), now + 1000);
		if (at == 4)
			break;
		schedule_free(f->s);
		f->s = schedule_new(b, f->spool, &routes, &conf);
		assert_non_null(f->s);
	}
	memory_fails_at(0);
	assert_int_equal(schedule_refill(f->s, T0 + 41000), UINT64_MAX);
	assert_int_equal(take(f, site_named(f, "a"), T0 + 41000, NULL) != 0, true);
	for (at = 1; at <= 3; at++) {
		memory_fails_at(at);
		assert_null(schedule_new(b, f->spool, &routes, &conf));
	}
}

/* The next one finds all of it; nothing was left held. */
static void an_end_gives_everything_back(void **state)
{
	struct fix *f = *state;
	unsigned first;

	put_many(f, "a.test", 3);
	put_many(f, "b.test", 3);
	schedule_refill(f->s, T0);
	first = take(f, site_named(f, "a"), T0, NULL); /* and stays in somebody's hand */
	assert_in_range(first, 1, 3);
	schedule_free(f->s);
	f->s = schedule_new(b, f->spool, &routes, &conf);
	assert_non_null(f->s);
	assert_null(schedule_wants(f->s, T0));
	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX);
	for (unsigned i = 0; i < 2; i++) {
		unsigned n = take(f, site_named(f, "a"), T0, NULL);

		assert_in_range(n, 1, 3);
		assert_int_not_equal(n, first);
	}
	assert_int_equal(take(f, site_named(f, "a"), T0, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_in_range(take(f, site_named(f, "b"), T0, NULL), 4, 6);
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
		put(f, dest, T0);
	}
	assert_int_equal(schedule_refill(f->s, T0), T0); /* at once again: more is due */
	assert_int_equal(site_named(f, "a")->n_held, 4096);
	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX);
	assert_int_equal(site_named(f, "a")->n_held, all);
	/* One destination behind a full batch is not forgotten either. */
	schedule_site_failed(f->s, site_named(f, "a"), T0, 0, S("down"));
	assert_int_equal(site_named(f, "a")->n_held, 0);
	for (unsigned i = 0; i < 65; i++) {
		snprintf(dest, sizeof dest, "d%u.b.test", i);
		put(f, dest, T0);
	}
	assert_int_equal(schedule_refill(f->s, T0), T0 + 1000);
	assert_int_equal(site_named(f, "b")->n_held, 65);
}

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

	put(f, "x.world", T0);
	put(f, "y.world", T0);
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
	assert_int_not_equal(take(f, site, T0, NULL), 0);
	assert_int_not_equal(take(f, site, T0, NULL), 0);
	/* Now it is known where they go; not of a third one. */
	put(f, "x.world", T0);
	put(f, "z.world", T0);
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
		put(f, dest, T0);
		schedule_refill(f->s, T0);
		while ((site = schedule_wants(f->s, T0))->kind != SITE_UNRESOLVED)
			;
		resolve(f, site, lists[i], i ? 2 : 1, T0);
	}
	for (size_t i = 0; i < LEN(lists); i++) {
		struct site *site = schedule_wants(f->s, T0);

		assert_int_equal(site->kind, SITE_HOSTS);
		assert_int_equal(site->n_held, 1);
		assert_int_not_equal(take(f, site, T0, NULL), 0);
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
		put(f, "x.world", now);
		schedule_refill(f->s, now);
		resolve(f, schedule_wants(f->s, now), one, 1, now);
		site = schedule_wants(f->s, now);
		assert_int_equal(take(f, site, now, NULL) != 0, true);
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

	put(f, "x.world", T0);
	schedule_refill(f->s, T0);
	resolve(f, schedule_wants(f->s, T0), one, 1, T0);
	site = schedule_wants(f->s, T0);
	schedule_site_failed(f->s, site, T0, 0, S("down"));
	put(f, "y.world", T0);
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

	put(f, "[192.0.2.1]", T0);
	schedule_refill(f->s, T0);
	site = schedule_wants(f->s, T0);
	assert_int_equal(site->kind, SITE_HOSTS);
	assert_true(site->literal);
	assert_int_equal(site->n_hosts, 1);
	assert_slice(site->hosts[0].name, S("[192.0.2.1]"));
	assert_int_not_equal(take(f, site, T0, NULL), 0);
}

/* While deliveries are charged with its trouble, it is not looked up again. */
static void a_charged_site_wants_nothing(void **state)
{
	struct fix *f = *state;
	struct site *site;

	put(f, "x.world", T0);
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
	f->s = schedule_new(b, f->spool, &routes, &small);
	assert_non_null(f->s);
}

static void put_numbered(struct fix *f, const char *below, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char dest[32];

		snprintf(dest, sizeof dest, "d%u.%s", i, below);
		put(f, dest, T0);
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
	put(f, "b.test", T0);
	while (got < 300) {
		assert_int_equal(schedule_refill(f->s, now), got < 220 ? now + 100 : UINT64_MAX);
		assert_in_range(site_named(f, "a")->n_held, 1, 80);
		while (take(f, site_named(f, "a"), now, NULL))
			got++;
		assert_in_range(now - T0, 0, 1000);
		now += 100;
	}
	assert_int_not_equal(take(f, site_named(f, "b"), now, NULL), 0);
	/* All sites together. */
	put_numbered(f, "x.a.test", 90);
	put_numbered(f, "x.c.test", 90);
	assert_int_equal(schedule_refill(f->s, now), now + 100);
	assert_int_equal(site_named(f, "a")->n_held + site_named(f, "c")->n_held, 100);
}

/* Lookups are bounded, and hold up no site whose hosts are known. */
static void lookups_are_bounded(void **state)
{
	struct fix *f = *state;
	struct site *site, *first = NULL;

	begin_small(f);
	put_numbered(f, "world", 5);
	put(f, "a.test", T0);
	schedule_refill(f->s, T0);
	for (int i = 0; i < 4; i++) {
		site = schedule_wants(f->s, T0);
		assert_non_null(site);
		schedule_began(f->s, site);
		site->unproven++;
		if (site->kind == SITE_UNRESOLVED)
			first = site;
	}
	assert_int_equal(site_named(f, "a")->active, 1);
	assert_null(schedule_wants(f->s, T0));
	assert_false(schedule_wanting(f->s, T0));
	assert_true(schedule_lookups_full(f->s));
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
			while (take(f, site, now, NULL))
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
		put_from(f, 1, i % 2 ? "k" : "l", "a.test", T0 - 1000);
	for (unsigned i = 0; i < many / 2; i++) {
		snprintf(dest, sizeof dest, "d%u.a.test", i);
		put_from(f, 2, "k", dest, T0 - 1000);
	}
	put_from(f, 3, "k", "a.test", T0 - 1000);
	put_from(f, 3, "k", "b.a.test", T0 - 1000);
	schedule_refill(f->s, T0);
	site = site_named(f, "a");
	for (unsigned i = 0; i < 50; i++)
		assert_int_not_equal(take(f, site, T0, NULL), 0);
	mine = put_from(f, 4, "k", "z.a.test", T0);
	schedule_refill(f->s, T0);
	for (unsigned i = 0; i <= others; i++) {
		assert_true(schedule_take(f->s, site, T0, &t));
		if (number_of(t.id) == mine)
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
		put_from(f, 1, "k", dest, T0 - 1000);
	}
	put_from(f, 2, "k", "z.a.test", T0);
	assert_int_equal(schedule_refill(f->s, T0), T0 - 1000);
	site = site_named(f, "a");
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
		put_from(f, i % 50, i % 3 ? "k" : "l", "a.test", T0);
	schedule_refill(f->s, T0);
	site = site_named(f, "a");
	for (unsigned i = 0; i < 150; i++) {
		assert_true(schedule_take(f->s, site, T0, &t));
		assert_int_equal(seen[t.account]++, i / 50);
		if (i == 75) { /* one more in between */
			put_from(f, 49, "m", "a.test", T0);
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
		put_from(f, 1, "k", dest, T0 - 1000);
	}
	schedule_refill(f->s, T0);
	assert_int_equal(site_named(f, "a")->n_held, 80);
	put_from(f, 2, "k", "x.a.test", T0);
	put_from(f, 2, "k", "y.a.test", T0);
	schedule_refill(f->s, T0);
	assert_int_equal(site_named(f, "a")->n_held, 81);
	assert_true(schedule_take(f->s, site_named(f, "a"), T0, &t));
	assert_true(schedule_take(f->s, site_named(f, "a"), T0, &t));
	assert_int_equal(t.account, 2);
}

/* What is held while it hangs at its site is not handed out, and nobody else waits for it. */
static void held_at_the_site(void **state)
{
	struct fix *f = *state;
	struct spool_ticket t;
	struct site *site;
	unsigned n = 0;

	put_from(f, 1, "k", "a.test", T0);
	put_from(f, 1, "l", "a.test", T0);
	put_from(f, 1, "l", "b.a.test", T0);
	put_from(f, 2, "k", "a.test", T0);
	schedule_refill(f->s, T0);
	site = site_named(f, "a");
	assert_true(b->hold(f->spool, 1, S("l"), true));
	while (schedule_take(f->s, site, T0, &t))
		n += (unsigned)t.account;
	assert_int_equal(n, 3);
	assert_int_equal(site->n_held, 0);
	assert_int_equal(schedule_refill(f->s, T0 + 5000), UINT64_MAX);
	assert_null(schedule_wants(f->s, T0 + 5000));
	assert_true(b->hold(f->spool, 1, S("l"), false));
	assert_int_equal(schedule_refill(f->s, T0 + 5000), UINT64_MAX);
	assert_ptr_equal(schedule_wants(f->s, T0 + 5000), site);
	assert_true(schedule_take(f->s, site, T0 + 5000, &t));
	assert_true(schedule_take(f->s, site, T0 + 5000, &t));
	assert_false(schedule_take(f->s, site, T0 + 5000, &t));
}

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
	unsigned n = put_from(m->f, account, dice(m, 2) ? "k" : "l", dest, due);

	m->account[n] = account;
	m->at[n] = WAITING;
	m->due[n] = due;
	m->route[n] = route_for(&routes, slice_str(dest));
}

static void model_take(struct model *m, struct site *site)
{
	struct spool_ticket t;
	uint64_t not_before = site->not_before_ms;
	unsigned n;

	if (!schedule_take(m->f->s, site, m->now, &t))
		return;
	n = number_of(t.id);
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
		settle(m->f, m->ticket[n].id, 0);
	else if (how == 2)
		settle(m->f, m->ticket[n].id, m->due[n]);
	else
		b->release(m->f->spool, &m->ticket[n], m->due[n]);
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
		assert_true(b->hold(m->f->spool, n, S(""), m->held[n]));
		break;
	}
}

/* Now every site works: all of it gets there, following nothing but what refill says. */
static void model_drain(struct model *m)
{
	size_t left = 1;

	for (unsigned n = 0; n < 4; n++) {
		m->held[n] = false;
		assert_true(b->hold(m->f->spool, n, S(""), false));
	}
	for (unsigned round = 0; left; round++) {
		struct site *site = NULL;
		uint64_t next;

		assert_true(round < 10 * MODEL_MAX);
		for (unsigned n = 1; n <= m->f->puts; n++)
			if (m->at[n] == IN_HAND) {
				settle(m->f, m->ticket[n].id, 0);
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

		assert_int_equal(begin(state), 0);
		m = (struct model){ .f = *state, .seed = seed, .now = T0 };
		for (int i = 0; i < 4500; i++)
			model_step(&m);
		assert_int_equal(m.f->puts, MODEL_MAX);
		model_drain(&m);
		b->count(m.f->spool, &count);
		assert_int_equal(count.messages, 0);
		end(state);
	}
}

/* -- other routes -- */

/* a goes elsewhere, b and world are the same, c is no more, d is new. */
static const struct slice to_d[] = { S("d.test"), S("nowhere.test") };
static const struct route other_table[] = {
	{ .name = { "world", 5 },
	  .type = ROUTE_MX,
	  .domains = to_world,
	  .n_domains = 2,
	  .connections = 2 },
	{ .name = S("a"), .domains = to_a, .n_domains = 2, .connections = 3 },
	{ .name = S("d"), .domains = to_d, .n_domains = 2, .connections = 1 },
	{ .name = S("b"), .domains = to_b, .n_domains = 1, .connections = 1 },
};
static const struct routes other_routes = { other_table, LEN(other_table) };
static const size_t other_map[] = { SITES_GONE, 3, SITES_GONE, 0 };

static void what_waited_goes_where_the_new_routes_say(void **state)
{
	struct fix *f = *state;
	struct site *a, *b_site;

	put(f, "a.test", T0);
	put(f, "b.test", T0);
	put(f, "c.test", T0);
	put(f, "nowhere.test", T0);
	schedule_refill(f->s, T0);
	a = site_named(f, "a");
	b_site = site_named(f, "b");
	assert_true(schedule_reroute(f->s, &other_routes, other_map, &conf.retry));
	/* Nothing was under way at a and c: they are gone. */
	for (a = NULL; (a = schedule_site(f->s, a));)
		assert_true(a == b_site || a->kind == SITE_NOWHERE);
	assert_ptr_equal(b_site->route, &other_table[3]);
	assert_true(slice_eq(b_site->name, S("b")));
	assert_int_equal(take(f, b_site, T0, NULL), 2);
	/* What waited at a and nowhere is looked at afresh; c has no route now. */
	assert_int_equal(schedule_refill(f->s, T0), UINT64_MAX);
	a = site_named(f, "a");
	assert_non_null(a);
	assert_ptr_equal(a->route, &other_table[1]);
	assert_int_equal(take(f, a, T0, NULL), 1);
	assert_int_equal(take(f, site_named(f, "(none)"), T0, NULL), 3);
	assert_int_equal(take(f, site_named(f, "d"), T0, NULL), 4);
}

static void what_is_under_way_ends(void **state)
{
	struct fix *f = *state;
	struct site *a, *again;
	struct id id;

	put_many(f, "a.test", 3);
	schedule_refill(f->s, T0);
	a = schedule_wants(f->s, T0);
	schedule_began(f->s, a);
	schedule_began(f->s, a);
	assert_int_not_equal(take(f, a, T0, &id), 0);
	assert_true(schedule_reroute(f->s, &other_routes, other_map, &conf.retry));
	assert_true(a->retired);
	assert_false(schedule_has(a, T0));
	assert_int_equal(take(f, a, T0, NULL), 0);
	/* Its trouble is nobody's any more. */
	schedule_site_failed(f->s, a, T0, 0, S("lost"));
	schedule_refill(f->s, T0);
	again = schedule_wants(f->s, T0);
	assert_non_null(again);
	assert_ptr_not_equal(again, a);
	assert_ptr_equal(again->route, &other_table[1]);
	assert_int_not_equal(take(f, again, T0, NULL), 0);
	settle(f, id, 0);
	schedule_ended(f->s, a);
	assert_ptr_equal(schedule_site(f->s, NULL), a);
	/* Another time, and it is retired still. */
	assert_true(schedule_reroute(f->s, &routes, (size_t[]){ 3, SITES_GONE, SITES_GONE, 1 },
				     &conf.retry));
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

	put(f, "x.world", T0);
	schedule_refill(f->s, T0);
	site = schedule_wants(f->s, T0);
	assert_int_equal(site->kind, SITE_UNRESOLVED);
	schedule_began(f->s, site);
	assert_true(schedule_reroute(f->s, &other_routes, gone, &conf.retry));
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

	put(f, "x.world", T0);
	schedule_refill(f->s, T0);
	schedule_resolved(f->s, schedule_wants(f->s, T0), hosts, 1, 600000, T0);
	site = schedule_wants(f->s, T0);
	assert_int_equal(site->kind, SITE_HOSTS);
	assert_true(schedule_reroute(f->s, &other_routes, other_map, &conf.retry));
	assert_ptr_equal(schedule_wants(f->s, T0), site);
	assert_int_equal(take(f, site, T0, NULL), 1);
	put(f, "x.world", T0);
	schedule_refill(f->s, T0);
	assert_ptr_equal(schedule_wants(f->s, T0), site);
}

static void a_change_without_memory_is_none(void **state)
{
	struct fix *f = *state;
	struct site *a;

	put(f, "a.test", T0);
	schedule_refill(f->s, T0);
	a = schedule_wants(f->s, T0);
	memory_fails_at(1);
	assert_false(schedule_reroute(f->s, &other_routes, other_map, &conf.retry));
	memory_fails_at(0);
	assert_ptr_equal(schedule_wants(f->s, T0), a);
	assert_ptr_equal(a->route, &table[0]);
	assert_int_equal(take(f, a, T0, NULL), 1);
}

int schedule_tests(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
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
		T(without_memory_it_waits_a_moment),
		T(an_end_gives_everything_back),
		T(a_refill_has_an_end),
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
		T(a_newcomer_finds_room),
		T(many_accounts),
		T(held_at_the_site),
		T(what_waited_goes_where_the_new_routes_say),
		T(what_is_under_way_ends),
		T(an_answer_for_a_route_that_is_no_more),
		T(what_is_known_of_the_same_route_stays),
		T(a_change_without_memory_is_none),
		cmocka_unit_test(nothing_is_lost_or_sent_twice),
	};

	return cmocka_run_group_tests_name("relay schedule", tests, NULL, NULL);
}
