/* spool/spool_queue_test.c -- the contract: whose turn it is at a destination, what is waiting, and
 * who may read beside the committer. */
#include "spool/spool_contract_test.h"

static void queue_order(void **state)
{
	struct spool_dest d[4];
	struct spool_ticket t[8];
	struct sample m;
	uint64_t wait;
	bool more;

	(void)state;
	/* d1 is due at 100, 300; d2 at 200. */
	for (unsigned i = 0; i < 3; i++) {
		sample_make(&m, 3 * i, 1, 1, i == 1 ? 2 : 1, 10); /* of one account */
		assert_int_equal(rig_put(&rig, &m, 100 + i * 100), SPOOL_OK);
		sample_free(&m);
	}
	assert_int_equal(rig.b->next(rig.s, 99, d, 4, &wait), 0);
	assert_int_equal(wait, 100);
	assert_int_equal(rig.b->next(rig.s, 250, d, 4, &wait), 2);
	assert_true(slice_eq(slice(d[0].name, d[0].n), S("d1.test")));
	assert_true(slice_eq(slice(d[1].name, d[1].n), S("d2.test")));
	assert_int_equal(wait, UINT64_MAX); /* both are handed out */
	assert_int_equal(rig.b->take(rig.s, d[0].flow, 250, t, 8, &more), 1);
	assert_false(more); /* not yet */
	assert_true(id_eq(t[0].id, sample_id(0)));
	assert_int_equal(t[0].accepted_ms, 1700000000000);
	assert_int_equal(t[0].account, 10);
	assert_int_equal(d[0].account, 10);
	assert_int_equal(rig.b->take(rig.s, d[0].flow, 250, t + 1, 8, &more),
			 0); /* leased; the other not due */
	rig.b->park(rig.s, d[0].flow, 400);
	rig.b->park(rig.s, d[1].flow, 0);
	assert_int_equal(rig.b->next(rig.s, 350, d, 1, &wait), 1);
	assert_true(slice_eq(slice(d[0].name, d[0].n), S("d2.test")));
	assert_int_equal(wait, 400); /* parked until then, although due at 300 */
	rig.b->release(rig.s, &t[0], 500);
	assert_int_equal(rig.b->next(rig.s, 450, d + 1, 1, &wait), 1);
	assert_int_equal(rig.b->take(rig.s, d[1].flow, 450, t, 8, &more), 1);
	assert_false(more);
	assert_true(id_eq(t[0].id, sample_id(6)));
	assert_int_equal(rig.b->take(rig.s, d[1].flow, 500, t + 1, 8, &more), 1);
	assert_true(id_eq(t[1].id, sample_id(0)));
	assert_int_equal(t[1].attempts, 0);
	{
		struct spool_count c;

		rig.b->count(rig.s, &c);
		assert_int_equal(c.leased, 2);
		assert_int_equal(c.destinations, 2);
		assert_int_equal(c.pending_deliveries, 3);
	}
	if (rig.bounce != STAY) {
		/* Leases, and who was handed what, live in memory only. */
		rig_bounce(&rig);
		assert_int_equal(rig.b->next(rig.s, 1000, d, 4, &wait), 2);
		assert_int_equal(rig.b->take(rig.s, d[0].flow, 1000, t, 1, &more), 1);
		assert_true(more);
		assert_int_equal(rig.b->take(rig.s, d[0].flow, 1000, t, 8, &more), 1);
		assert_false(more);
	}
}

static void lists(void **state)
{
	struct spool_verdict no = { 0, RCPT_FAILED, S("550") };
	struct spool_row rows[40];
	struct id after;
	size_t n = 0, pages = 0, got;

	(void)state;
	for (unsigned i = 30; i-- > 0;)
		rig_put_simple(&rig, i, i % 2 ? "1" : "2", i);
	assert_int_equal(rig_settle(&rig, sample_id(4), 0, &no, 1, 0), SPOOL_OK);
	assert_int_equal(rig_settle(&rig, sample_id(7), 0, &no, 1, 0), SPOOL_OK);
	do {
		got = spool_list(rig.b, rig.s, &(struct spool_filter){ 0 }, n ? &after : NULL,
				 rows + n, 7);
		n += got;
		after = rows[n - 1].id;
		pages++;
	} while (got == 7);
	assert_int_equal(n, 30);
	assert_int_equal(pages, 5);
	for (unsigned i = 0; i < 30; i++) {
		assert_true(id_eq(rows[i].id, sample_id(i)));
		assert_int_equal(rows[i].account, 10 + i % 3);
		assert_int_equal(rows[i].accepted_ms, 1700000000000 + i);
		assert_int_equal(rows[i].size, 33 + i);
		assert_int_equal(rows[i].n_rcpts, 1);
		assert_int_equal(rows[i].failed, i == 4 || i == 7);
		assert_int_equal(rows[i].pending, i != 4 && i != 7);
		assert_int_equal(rows[i].attempts, i == 4 || i == 7);
		assert_int_equal(rows[i].next_ms, i == 4 || i == 7 ? UINT64_MAX : 1000);
	}
	rig_bounce(&rig);
	assert_int_equal(spool_list(rig.b, rig.s, &(struct spool_filter){ .state = LIST_FAILED },
				    NULL, rows, 40),
			 2);
	assert_int_equal(spool_list(rig.b, rig.s, &(struct spool_filter){ .state = LIST_PENDING },
				    NULL, rows, 40),
			 28);
	assert_int_equal(
	    spool_list(rig.b, rig.s, &(struct spool_filter){ .account = 11 }, NULL, rows, 40), 10);
	assert_int_equal(spool_list(rig.b, rig.s, &(struct spool_filter){ .dest = S("d1.test") },
				    NULL, rows, 40),
			 15);
	assert_int_equal(
	    spool_list(rig.b, rig.s,
		       &(struct spool_filter){ .state = LIST_FAILED, .dest = S("d2.test") }, NULL,
		       rows, 40),
	    1);
	assert_int_equal(spool_list(rig.b, rig.s, &(struct spool_filter){ 0 }, NULL, rows, 0), 0);
	assert_int_equal(spool_list(rig.b, rig.s, &(struct spool_filter){ .state = LIST_DEFERRED },
				    NULL, rows, 40),
			 0);
	assert_int_equal(spool_list(rig.b, rig.s,
				    &(struct spool_filter){ .before_ms = 1700000000000 + 5 }, NULL,
				    rows, 40),
			 5);
	assert_int_equal(spool_list(rig.b, rig.s, &(struct spool_filter){ .key_id = S("key-id") },
				    NULL, rows, 40),
			 30);
	assert_string_equal(rows[0].key_id, "key-id");
	assert_int_equal(
	    spool_list(rig.b, rig.s, &(struct spool_filter){ .key_id = S("key") }, NULL, rows, 40),
	    0);
	assert_int_equal(spool_list(rig.b, rig.s,
				    &(struct spool_filter){ .dest = S("nowhere.test") }, NULL, rows,
				    40),
			 0);
	{
		const uint64_t key[2] = { 5, 6 };
		struct map dests;

		map_init(&dests, key);
		assert_int_equal(spool_list(rig.b, rig.s, &(struct spool_filter){ .dests = &dests },
					    NULL, rows, 40),
				 0);
		assert_true(map_put(&dests, S("d2.test"), &dests));
		assert_int_equal(spool_list(rig.b, rig.s, &(struct spool_filter){ .dests = &dests },
					    NULL, rows, 40),
				 15);
		map_done(&dests);
	}
}

static void origins_take_turns(void **state)
{
	struct spool_dest d[8];
	struct sample m;
	uint64_t wait;

	(void)state;
	/* Account 1 has four flows that are due long since, account 2 one that is due now. */
	for (unsigned i = 0; i < 4; i++) {
		sample_make(&m, i, 1, 1, i, 10);
		m.envelope.account = 1;
		assert_int_equal(rig_put(&rig, &m, 100 + i), SPOOL_OK);
		sample_free(&m);
	}
	put_from(9, 2, "other", 900);
	assert_int_equal(rig.b->next(rig.s, 1000, d, 3, &wait), 3);
	assert_int_equal(d[0].account, 1);
	assert_int_equal(d[1].account, 2);
	assert_int_equal(d[2].account, 1);
	assert_true(slice_eq(slice(d[2].name, d[2].n), S("d1.test"))); /* and by time */
	assert_true(wait <= 1000);
	assert_int_equal(rig.b->next(rig.s, 50, d + 3, 3, &wait), 0); /* the clock went back */
	assert_int_equal(wait, 102);
	assert_int_equal(rig.b->next(rig.s, 1000, d + 3, 3, &wait), 2);
	assert_int_equal(wait, UINT64_MAX);
	for (unsigned i = 0; i < 5; i++)
		rig.b->park(rig.s, d[i].flow, i < 2 ? 5000 : 6000);
	assert_int_equal(rig.b->next(rig.s, 4999, d, 8, &wait), 0);
	assert_int_equal(wait, 5000);
	assert_int_equal(rig.b->next(rig.s, 5000, d, 8, &wait), 2);
	assert_int_equal(wait, 6000);
}

/* As load, without the content. */
static void looks(void **state)
{
	struct spool_message got = { 0 };
	struct err e = { 0 };
	struct sample m;
	struct arena a;

	(void)state;
	sample_make(&m, 1, 3, 2, 1, 5000);
	assert_int_equal(rig_put(&rig, &m, 100), SPOOL_OK);
	arena_init(&a, 2048); /* which the body would not fit */
	assert_true(rig.b->look(rig.s, m.id, &a, &got, &e));
	assert_int_equal(got.envelope.n_rcpts, 3);
	assert_true(slice_eq(got.envelope.dests[1], S("d2.test")));
	assert_int_equal(got.next_ms[1], 100);
	assert_int_equal(got.envelope.size, 5033);
	assert_int_equal(got.content.head.n + got.content.body.n, 0);
	assert_int_equal(got.content.fd, -1);
	arena_done(&a);
	assert_false(rig.b->look(rig.s, sample_id(2), &a, &got, &e));
	assert_int_equal(e.kind, ERR_ABSENT);
	arena_done(&a);
	sample_free(&m);
}

struct readers {
	pthread_mutex_t lock;
	bool stop;
	unsigned low, high; /* messages that are certainly there */
	unsigned loads, wrong;
};

static struct readers readers;

static void *read_on(void *arg)
{
	struct spool_row rows[8];
	unsigned turn = 0;
	bool stop = false;

	(void)arg;
	while (!stop) {
		struct spool_message m = { .content.fd = -1 };
		struct err e = { 0 };
		struct arena a;
		unsigned n;
		bool ok;

		pthread_mutex_lock(&readers.lock);
		n = readers.low +
		    (readers.high > readers.low ? turn++ % (readers.high - readers.low) : 0);
		stop = readers.stop;
		pthread_mutex_unlock(&readers.lock);
		arena_init(&a, 1 << 20);
		ok = rig.b->load(rig.s, sample_id(n), &a, &m, &e);
		ok = ok && id_eq(m.envelope.id, sample_id(n)) && m.envelope.n_rcpts == 1;
		arena_done(&a);
		(void)spool_list(rig.b, rig.s, &(struct spool_filter){ 0 }, NULL, rows, 8);
		pthread_mutex_lock(&readers.lock);
		readers.loads++;
		/* Settled meanwhile is the only excuse. */
		readers.wrong += !ok && !(e.kind == ERR_ABSENT && n < readers.low);
		pthread_mutex_unlock(&readers.lock);
	}
	return NULL;
}

static bool loaded_enough(void)
{
	bool enough;

	pthread_mutex_lock(&readers.lock);
	enough = readers.loads > 1000;
	pthread_mutex_unlock(&readers.lock);
	return enough;
}

/* Loads beside commits, rotation, compaction and retirement. */
static void readers_beside_the_committer(void **state)
{
	pthread_t t[2];

	(void)state;
	rig_put_simple(&rig, 0, "1", 300);
	readers = (struct readers){ .low = 0, .high = 1 };
	pthread_mutex_init(&readers.lock, NULL);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, read_on, NULL), 0);
	/* On a busy machine the readers may get their turn late. */
	for (unsigned i = 1; i < 3000 || (i < 300000 && !loaded_enough()); i++) {
		rig_put_simple(&rig, i, i % 2 ? "1" : "2", 300);
		pthread_mutex_lock(&readers.lock);
		readers.high = i;
		if (i > 30)
			readers.low = i - 30;
		pthread_mutex_unlock(&readers.lock);
		if (i > 30 && i % 40)
			assert_int_equal(rig_deliver(&rig, sample_id(i - 31)), SPOOL_OK);
	}
	pthread_mutex_lock(&readers.lock);
	readers.stop = true;
	pthread_mutex_unlock(&readers.lock);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	assert_true(readers.loads > 1000);
	assert_int_equal(readers.wrong, 0);
	assert_int_equal(rig_count(&rig).damaged, 0);
	pthread_mutex_destroy(&readers.lock);
}

#define OVER(begin)                                                                                \
	cmocka_unit_test_setup_teardown(queue_order, begin, contract_end),                         \
	    cmocka_unit_test_setup_teardown(origins_take_turns, begin, contract_end),              \
	    cmocka_unit_test_setup_teardown(looks, begin, contract_end),                           \
	    cmocka_unit_test_setup_teardown(lists, begin, contract_end)

int spool_queue_cases(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(readers_beside_the_committer, contract_small,
						contract_end),
		cmocka_unit_test_setup_teardown(readers_beside_the_committer, contract_memory,
						contract_end),
		OVER_EACH
	};

	return cmocka_run_group_tests_name("spool queue", tests, NULL, NULL);
}
