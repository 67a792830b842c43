/* spool/spool_space_test.c -- disk and memory: a full disk, and what is given back. */
#include "spool/spool_files_test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static void reserve_is_for_outcomes(void **state)
{
	struct sample m;
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	for (unsigned i = 0; i < 80; i++)
		rig_put_simple(&r, i, "1", 100);
	rig_close(&r);
	r.conf.reserve_bytes = UINT64_MAX / 2;
	rig_open(&r);
	sample_make(&m, 100, 1, 1, 1, 10);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_FULL);
	for (unsigned i = 0; i < 80; i++)
		assert_int_equal(rig_deliver(&r, sample_id(i)), SPOOL_OK);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_FULL);
	assert_int_equal(rig_count(&r).messages, 0);
	rig_close(&r);
	r.conf.reserve_bytes = 0;
	rig_open(&r);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_OK);
	sample_free(&m);
	rig_end(&r);
}

static void full_disk(void **state)
{
	struct rlimit old, small;
	struct sample big;
	struct rig r;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	rig_begin(&r, &spool_segments, STAY, 32 << 10);
	for (unsigned i = 0; i < 10; i++)
		rig_put_simple(&r, i, "1", 100);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = log_active(r.s)->end + 3000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	sample_make(&big, 50, 1, 1, 1, 20000);
	{
		/* A put that does not fit and an outcome in one commit: the outcome is kept. */
		struct spool_verdict v = { 0, RCPT_DELIVERED, S("250") };
		struct spool_op put = { .kind = SPOOL_PUT,
					.envelope = &big.envelope,
					.content = &big.content };
		struct spool_op done = {
			.kind = SPOOL_SETTLE, .id = sample_id(0), .verdicts = &v, .n_verdicts = 1
		};
		struct spool_op *ops[] = { &put, &done };

		assert_true(r.b->commit(r.s, ops, 2, NULL));
		assert_int_equal(put.result, SPOOL_FULL);
		assert_int_equal(done.result, SPOOL_OK);
	}
	assert_false(rig_has(&r, big.id));
	assert_int_equal(rig_deliver(&r, sample_id(1)), SPOOL_OK);
	/* Not a byte is left: the outcome comes again, and the spool is none the worse. */
	small.rlim_cur = log_active(r.s)->end;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(rig_deliver(&r, sample_id(2)), SPOOL_FULL);
	assert_int_equal(rig_deliver(&r, sample_id(2)), SPOOL_FULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(rig_deliver(&r, sample_id(2)), SPOOL_OK);
	rig_kill(&r);
	rig_open(&r);
	assert_int_equal(rig_count(&r).messages, 7);
	assert_int_equal(rig_count(&r).damaged, 0);
	assert_false(rig_has(&r, big.id));
	assert_int_equal(rig_put(&r, &big, 0), SPOOL_OK);
	sample_free(&big);
	rig_end(&r);
}

static void drained_leaves_nothing(void **state)
{
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 8 << 10);
	for (unsigned i = 0; i < 300; i++)
		rig_put_simple(&r, i, i % 2 ? "1" : "2", 400);
	assert_true(files_in(&r, ".", ".log") > 15);
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(rig_deliver(&r, sample_id(i)), SPOOL_OK);
	assert_true(files_in(&r, ".", ".log") <= 2 + SEGMENT_SPARES);
	assert_true(files_in(&r, ".", ".sum") <= 1);
	assert_true(rig_count(&r).bytes_disk <= 3 * (8 << 10));
	assert_int_equal(rig_count(&r).destinations, 0);
	assert_true(index_memory(r.s->index) < 600000); /* a chunk of each kind */
	rig_kill(&r);
	rig_open(&r);
	assert_int_equal(rig_count(&r).messages, 0);
	rig_end(&r);
}

/* 100 bytes a message while it waits, and given back: also while a few others stay. */
static void memory_of_the_index(void **state)
{
	enum { N = 200000 };
	static const uint64_t hash_key[2] = { 5, 6 };
	struct index *x = index_new(hash_key);
	struct slice dest = S("dead.test");
	uint32_t one = 1;

	(void)state;
	assert_non_null(x);
	for (unsigned i = 0; i < N; i++) {
		struct index_message m = { .id = sample_id(i),
					   .due_ms = i,
					   .n_rcpts = 1,
					   .n_deliveries = 1,
					   .dests = &dest,
					   .rcpts = &one };
		struct entry *e = index_add(x, &m);

		assert_non_null(e);
		index_publish(x, e);
	}
	assert_true(index_memory(x) / N <= 100);
	for (unsigned i = 10; i < N; i++)
		index_remove(x, index_find(x, sample_id(i)));
	assert_true(index_memory(x) < 1 << 20);
	assert_int_equal(index_messages(x), 10);
	for (unsigned i = 0; i < 10; i++)
		assert_non_null(index_find(x, sample_id(i)));
	index_free(x);
}

/* The few messages of a dead site do not pin what has long been delivered to others. */
static void compaction(void **state)
{
	struct spool_verdict later = { 0, RCPT_PENDING, S("451 dead") };
	struct rig r;
	uint64_t most = 0;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t disk;

		rig_put_simple(&r, i, i % 100 ? "2" : "1", 500);
		if (i % 100)
			assert_int_equal(rig_deliver(&r, sample_id(i)), SPOOL_OK);
		else
			assert_int_equal(rig_settle(&r, sample_id(i), 0, &later, 1, 7000 + i),
					 SPOOL_OK);
		disk = rig_count(&r).bytes_disk;
		most = disk > most ? disk : most;
		if (i % 333 == 0) {
			rig_kill(&r);
			rig_open(&r);
		}
	}
	assert_true(most < 9 * (16 << 10)); /* of 2,000 times 700 bytes */
	assert_true(log_active(r.s)->number > 50);
	for (unsigned i = 0; i < 2000; i += 100) {
		struct spool_message got;
		struct sample m;
		struct arena a;

		sample_make(&m, i, 1, 1, 1, 500);
		rig_load_same(&r, &m, &a, &got);
		assert_true(slice_eq(got.envelope.rcpts[0].reply, S("451 dead")));
		assert_int_equal(got.attempts[0], 1);
		assert_int_equal(got.next_ms[0], 7000 + i);
		arena_done(&a);
		sample_free(&m);
	}
	assert_int_equal(rig_count(&r).messages, 20);
	assert_int_equal(rig_count(&r).damaged, 0);
	rig_end(&r);
}

/* A caller that still reads a body's descriptor is not given another message's bytes. */
static void handed_out_is_not_recycled(void **state)
{
	struct spool_message got;
	struct sample m;
	struct arena a;
	struct rig r;
	char *now;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 2 << 20);
	sample_make(&m, 1, 1, 1, 1, (1 << 20) + 500);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_OK);
	arena_init(&a, 16 << 20);
	assert_true(r.b->load(r.s, m.id, &a, &got, NULL));
	assert_true(got.content.fd >= 0);
	assert_int_equal(rig_deliver(&r, m.id), SPOOL_OK);
	for (unsigned i = 2; i < 12; i++) {
		rig_put_simple(&r, i, "1", 1 << 20);
		assert_int_equal(rig_deliver(&r, sample_id(i)), SPOOL_OK);
	}
	assert_true(log_active(r.s)->number > 3);
	now = malloc(m.body_bytes);
	assert_non_null(now);
	assert_true(segment_read(got.content.fd, got.content.fd_offset, now, m.body_bytes));
	assert_memory_equal(now, m.body, m.body_bytes);
	free(now);
	close(got.content.fd);
	arena_done(&a);
	sample_free(&m);
	rig_end(&r);
}

int spool_space_cases(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(reserve_is_for_outcomes),
					    cmocka_unit_test(full_disk),
					    cmocka_unit_test(drained_leaves_nothing),
					    cmocka_unit_test(memory_of_the_index),
					    cmocka_unit_test(compaction),
					    cmocka_unit_test(handed_out_is_not_recycled) };

	return cmocka_run_group_tests_name("spool space", tests, NULL, NULL);
}
