/* spool/spool_message_test.c -- the contract: a message is put, loaded, and settled until it is
 * over. */
#include "spool/spool_contract_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void put_and_load(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 12; n++) {
		struct spool_message got;
		struct sample m;
		struct arena a;

		sample_make(&m, n, 1 + n % 8, 1 + n % 8 / 3, n, n * n * 100);
		assert_int_equal(rig_put(&rig, &m, 5000), SPOOL_OK);
		assert_int_equal(rig_put(&rig, &m, 5000), SPOOL_FULL); /* the same id again */
		rig_load_same(&rig, &m, &a, &got);
		for (uint32_t i = 0; i < m.envelope.n_rcpts; i++) {
			assert_int_equal(got.envelope.rcpts[i].state, RCPT_PENDING);
			assert_int_equal(got.envelope.rcpts[i].reply.n, 0);
		}
		for (uint32_t i = 0; i < m.envelope.n_deliveries; i++) {
			assert_int_equal(got.next_ms[i], 5000);
			assert_int_equal(got.attempts[i], 0);
		}
		arena_done(&a);
		sample_free(&m);
	}
	assert_int_equal(rig_count(&rig).messages, 12);
	assert_false(rig_has(&rig, sample_id(99)));
}

static void settle_states(void **state)
{
	struct spool_verdict first[] = { { 0, RCPT_DELIVERED, S("250 ok") },
					 { 2, RCPT_PENDING, S("450 later") } };
	struct spool_verdict again[] = { { 0, RCPT_PENDING, S("no") },
					 { 2, RCPT_FAILED, S("550 no such") } };
	struct spool_verdict rest[] = { { 1, RCPT_DELIVERED, S("") } };
	struct spool_verdict drop[] = { { 2, RCPT_CANCELLED, S("by the operator") } };
	struct spool_message got;
	struct sample m;
	struct arena a;

	(void)state;
	sample_make(&m, 1, 3, 2, 0, 100); /* recipients 0 and 2 in delivery 0, 1 in delivery 1 */
	assert_int_equal(rig_put(&rig, &m, 1000), SPOOL_OK);
	assert_int_equal(rig_settle(&rig, m.id, 0, first, 2, 9000), SPOOL_OK);
	rig_load_same(&rig, &m, &a, &got);
	assert_int_equal(got.envelope.rcpts[0].state, RCPT_DELIVERED);
	assert_int_equal(got.envelope.rcpts[1].state, RCPT_PENDING);
	assert_int_equal(got.envelope.rcpts[2].state, RCPT_PENDING);
	assert_true(slice_eq(got.envelope.rcpts[2].reply, S("450 later")));
	assert_int_equal(got.next_ms[0], 9000);
	assert_int_equal(got.next_ms[1], 1000);
	assert_int_equal(got.attempts[0], 1);
	assert_int_equal(got.attempts[1], 0);
	arena_done(&a);

	assert_int_equal(rig_settle(&rig, m.id, 0, again, 2, 0), SPOOL_OK);
	assert_int_equal(rig_settle(&rig, m.id, 0, again, 2, 0), SPOOL_GONE);
	assert_int_equal(rig_settle(&rig, m.id, 2, again, 2, 0), SPOOL_GONE); /* no such delivery */
	assert_int_equal(rig_count(&rig).failed_rcpts, 1);
	assert_int_equal(rig_count(&rig).pending_deliveries, 1);
	assert_int_equal(rig_settle(&rig, m.id, 1, rest, 1, 0), SPOOL_OK);
	rig_load_same(&rig, &m, &a, &got);
	assert_int_equal(got.envelope.rcpts[0].state, RCPT_DELIVERED);
	assert_true(slice_eq(got.envelope.rcpts[0].reply, S("250 ok")));
	assert_int_equal(got.envelope.rcpts[2].state, RCPT_FAILED);
	assert_int_equal(got.next_ms[0], UINT64_MAX);
	arena_done(&a);
	/* The one that failed keeps the message until somebody decides. */
	assert_int_equal(rig_settle(&rig, m.id, 0, drop, 1, 0), SPOOL_OK);
	assert_false(rig_has(&rig, m.id));
	assert_int_equal(rig_settle(&rig, m.id, 0, drop, 1, 0), SPOOL_GONE);
	assert_int_equal(rig_count(&rig).messages, 0);
	assert_int_equal(rig_count(&rig).failed_rcpts, 0);
	assert_int_equal(rig_count(&rig).bytes_live, 0);
	sample_free(&m);
}

static void failed_tried_again(void **state)
{
	struct spool_verdict no = { 0, RCPT_FAILED, S("550 no") },
			     again = { 0, RCPT_PENDING, S("asked") };
	struct spool_dest d;
	struct spool_ticket t;
	uint64_t wait;
	bool more;

	(void)state;
	rig_put_simple(&rig, 1, "1", 10);
	assert_int_equal(rig_settle(&rig, sample_id(1), 0, &no, 1, 0), SPOOL_OK);
	assert_int_equal(rig.b->next(rig.s, 99999, &d, 1, &wait), 0);
	assert_int_equal(rig_settle(&rig, sample_id(1), 0, &again, 1, 4000), SPOOL_OK);
	assert_int_equal(rig.b->next(rig.s, 3999, &d, 1, &wait), 0);
	assert_int_equal(wait, 4000);
	assert_int_equal(rig.b->next(rig.s, 4000, &d, 1, &wait), 1);
	assert_int_equal(rig.b->take(rig.s, d.flow, 4000, &t, 1, &more), 1);
	assert_int_equal(t.attempts, 2);
	assert_int_equal(rig_deliver(&rig, sample_id(1)), SPOOL_OK);
	assert_int_equal(rig_count(&rig).messages, 0);
}

/* What is bounced is over; that the sender knows of a delay is never forgotten. */
static void bounced_is_over(void **state)
{
	struct spool_verdict told[] = { { 0, RCPT_PENDING, S("451 later"), true } };
	struct spool_verdict later[] = { { 0, RCPT_PENDING, S("452 later still") },
					 { 1, RCPT_FAILED, S("550 no") } };
	struct spool_verdict no[] = { { 0, RCPT_BOUNCED, S("expired") } };
	struct spool_verdict end[] = { { 1, RCPT_BOUNCED, S("550 no") } };
	struct spool_message got;
	struct sample m;
	struct arena a;

	(void)state;
	sample_make(&m, 1, 2, 1, 0, 100);
	assert_int_equal(rig_put(&rig, &m, 1000), SPOOL_OK);
	assert_int_equal(rig_settle(&rig, m.id, 0, told, 1, 2000), SPOOL_OK);
	assert_int_equal(rig_settle(&rig, m.id, 0, later, 2, 3000), SPOOL_OK);
	rig_load_same(&rig, &m, &a, &got);
	assert_true(got.envelope.rcpts[0].told_delay);
	assert_int_equal(got.envelope.rcpts[0].state, RCPT_PENDING);
	assert_true(slice_eq(got.envelope.rcpts[0].reply, S("452 later still")));
	assert_false(got.envelope.rcpts[1].told_delay);
	arena_done(&a);
	assert_int_equal(rig_settle(&rig, m.id, 0, no, 1, 0), SPOOL_OK);
	rig_load_same(&rig, &m, &a, &got);
	assert_int_equal(got.envelope.rcpts[0].state, RCPT_BOUNCED);
	assert_true(got.envelope.rcpts[0].told_delay);
	assert_int_equal(got.next_ms[0], UINT64_MAX);
	arena_done(&a);
	assert_int_equal(rig_settle(&rig, m.id, 0, later, 1, 3000), SPOOL_GONE);
	assert_int_equal(rig_count(&rig).failed_rcpts, 1);
	assert_int_equal(rig_settle(&rig, m.id, 0, end, 1, 0), SPOOL_OK);
	assert_false(rig_has(&rig, m.id));
	assert_int_equal(rig_count(&rig).failed_rcpts, 0);
	sample_free(&m);
}

static void long_reply_cut(void **state)
{
	char reply[600];
	struct spool_verdict v = { 0, RCPT_FAILED, slice(reply, sizeof reply) };
	struct spool_message got;
	struct sample m;
	struct arena a;

	(void)state;
	memset(reply, 'x', sizeof reply);
	sample_make(&m, 3, 1, 1, 0, 5);
	assert_int_equal(rig_put(&rig, &m, 0), SPOOL_OK);
	assert_int_equal(rig_settle(&rig, m.id, 0, &v, 1, 0), SPOOL_OK);
	rig_load_same(&rig, &m, &a, &got);
	assert_int_equal(got.envelope.rcpts[0].reply.n, 512);
	arena_done(&a);
	sample_free(&m);
}

/* Everything in one commit sees what stands before it in the commit. */
static void one_batch(void **state)
{
	struct spool_verdict done = { 0, RCPT_DELIVERED, S("250") },
			     later = { 0, RCPT_PENDING, S("451") };
	struct sample m[3];
	struct spool_op op[8], *ops[8];
	struct err e = { 0 };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		sample_make(&m[i], i, 1, 1, i, 50);
		op[i] = (struct spool_op){ .kind = SPOOL_PUT,
					   .envelope = &m[i].envelope,
					   .content = &m[i].content,
					   .due_ms = 1 };
	}
	op[3] = op[0]; /* once more */
	op[4] = (struct spool_op){ .kind = SPOOL_SETTLE,
				   .id = m[0].id,
				   .verdicts = &later,
				   .n_verdicts = 1,
				   .next_ms = 77,
				   .attempted = true };
	op[5] = (struct spool_op){ .kind = SPOOL_SETTLE,
				   .id = m[1].id,
				   .verdicts = &done,
				   .n_verdicts = 1,
				   .attempted = true };
	op[6] = op[5];
	op[7] = op[4];
	for (size_t i = 0; i < 8; i++)
		ops[i] = &op[i];
	assert_true(rig.b->commit(rig.s, ops, 8, &e));
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(op[i].result, i == 3   ? SPOOL_FULL
					       : i == 6 ? SPOOL_GONE
							: SPOOL_OK);
	rig_bounce(&rig);
	assert_int_equal(rig_count(&rig).messages, 2);
	assert_false(rig_has(&rig, m[1].id));
	{
		struct spool_message got;
		struct arena a;

		rig_load_same(&rig, &m[0], &a, &got);
		assert_int_equal(got.attempts[0], 2);
		assert_int_equal(got.next_ms[0], 77);
		arena_done(&a);
	}
	for (size_t i = 0; i < 3; i++)
		sample_free(&m[i]);
}

static void messages_max(void **state)
{
	struct sample m;

	(void)state;
	rig_close(&rig);
	rig.conf.messages_max = 2;
	rig_open(&rig);
	rig_put_simple(&rig, 1, "1", 10);
	rig_put_simple(&rig, 2, "1", 10);
	sample_make(&m, 3, 1, 1, 1, 10);
	assert_int_equal(rig_put(&rig, &m, 0), SPOOL_FULL);
	assert_false(rig_has(&rig, m.id));
	assert_int_equal(rig_deliver(&rig, sample_id(1)), SPOOL_OK);
	assert_int_equal(rig_put(&rig, &m, 0), SPOOL_OK);
	sample_free(&m);
}

static void large_bodies(void **state)
{
	struct spool_message got;
	struct sample m[2];
	struct arena a;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct err e = { 0 };

		sample_make(&m[i], i, 1, 1, 1, (3 << 20) + i);
		if (i) {
			/* The head as it came stands before the body in the file. */
			int fd = spool_body_file(rig.conf.path, &e);

			if (fd < 0) { /* the memory engine has no such directory */
				fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
				assert_true(fd >= 0);
			}
			assert_true(segment_write(fd, 0, "0123456789", 10));
			assert_true(segment_write(fd, 10, m[i].body, m[i].body_bytes));
			assert_true(segment_write(fd, 10 + m[i].body_bytes, "tail", 4));
			m[i].content = (struct spool_content){ .head = m[i].content.head,
							       .fd = fd,
							       .fd_offset = 10,
							       .fd_bytes = m[i].body_bytes };
		}
		assert_int_equal(rig_put(&rig, &m[i], 5), SPOOL_OK);
		if (i)
			close(m[i].content.fd);
	}
	for (unsigned i = 0; i < 2; i++) {
		rig_load_same(&rig, &m[i], &a, &got);
		arena_done(&a);
	}
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rig_deliver(&rig, m[i].id), SPOOL_OK);
	assert_int_equal(rig_count(&rig).messages, 0);
	if (rig.b == &spool_segments) {
		char name[32], path[80];

		log_large_name(m[1].id, name);
		snprintf(path, sizeof path, "large/%s", name);
		assert_int_equal(access(rig_path(&rig, path), F_OK), -1);
	}
	sample_free(&m[0]);
	sample_free(&m[1]);
}

static void many_recipients(void **state)
{
	enum { N = 3000 };
	struct spool_envelope env = { .id = sample_id(5), .n_rcpts = N, .n_deliveries = N };
	struct spool_content c = { .head = S("Subject: x\r\n\r\n"), .body = S("x\r\n"), .fd = -1 };
	struct spool_op op = { .kind = SPOOL_PUT, .envelope = &env, .content = &c, .due_ms = 1 };
	struct spool_op *ops[] = { &op };
	struct spool_rcpt *rcpts = calloc(N, sizeof *rcpts);
	struct slice *dests = calloc(N, sizeof *dests);
	char(*names)[16] = calloc(N, sizeof *names);

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		snprintf(names[i], 16, "d%u.test", i);
		dests[i] = slice_str(names[i]);
		rcpts[i] = (struct spool_rcpt){ .path = dests[i], .delivery = i };
	}
	env.rcpts = rcpts;
	env.dests = dests;
	assert_true(rig.b->commit(rig.s, ops, 1, NULL));
	assert_int_equal(op.result, SPOOL_OK);
	assert_int_equal(rig_count(&rig).destinations, N);
	for (uint32_t i = 0; i < N; i++) {
		struct spool_verdict v = { i, RCPT_DELIVERED, S("250") };
		struct spool_op s = { .kind = SPOOL_SETTLE,
				      .id = env.id,
				      .delivery = i,
				      .verdicts = &v,
				      .n_verdicts = 1 };
		struct spool_op *one[] = { &s };

		assert_true(rig.b->commit(rig.s, one, 1, NULL));
		assert_int_equal(s.result, SPOOL_OK);
	}
	assert_int_equal(rig_count(&rig).messages, 0);
	assert_int_equal(rig_count(&rig).destinations, 0);
	free(rcpts);
	free(dests);
	free(names);
}

/* What cannot be kept is refused whole. */
static void refused(void **state)
{
	struct sample m;
	char *big = calloc(1, 70000);

	(void)state;
	sample_make(&m, 1, 1, 1, 1, 10);
	m.dests[0] = S("");
	assert_int_equal(rig_put(&rig, &m, 0), SPOOL_FULL);
	m.dests[0] = slice(big, 256);
	assert_int_equal(rig_put(&rig, &m, 0), SPOOL_FULL);
	assert_int_equal(rig_count(&rig).messages, 0);
	assert_int_equal(rig_count(&rig).destinations, 0);
	free(big);
	sample_free(&m);
}

#define OVER(begin)                                                                                \
	cmocka_unit_test_setup_teardown(put_and_load, begin, contract_end),                        \
	    cmocka_unit_test_setup_teardown(settle_states, begin, contract_end),                   \
	    cmocka_unit_test_setup_teardown(failed_tried_again, begin, contract_end),              \
	    cmocka_unit_test_setup_teardown(bounced_is_over, begin, contract_end),                 \
	    cmocka_unit_test_setup_teardown(long_reply_cut, begin, contract_end),                  \
	    cmocka_unit_test_setup_teardown(one_batch, begin, contract_end),                       \
	    cmocka_unit_test_setup_teardown(messages_max, begin, contract_end),                    \
	    cmocka_unit_test_setup_teardown(large_bodies, begin, contract_end),                    \
	    cmocka_unit_test_setup_teardown(many_recipients, begin, contract_end),                 \
	    cmocka_unit_test_setup_teardown(refused, begin, contract_end)

int spool_message_cases(void)
{
	const struct CMUnitTest tests[] = { OVER_EACH };

	return cmocka_run_group_tests_name("spool messages", tests, NULL, NULL);
}
