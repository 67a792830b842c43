/* spool/spool_hold_test.c -- the contract: what is held, cancelled and tried again by hand. */
#include "spool/spool_contract_test.h"

static void holds(void **state)
{
	struct spool_dest d[4];
	struct spool_ticket t;
	uint64_t wait;
	bool more;

	(void)state;
	put_from(1, 1, "k", 100);
	put_from(2, 1, "l", 100);
	put_from(3, 2, "k", 100);
	assert_true(rig.b->hold(rig.s, 1, S("k"), true));
	assert_true(rig.b->hold(rig.s, 3, S(""), true)); /* who has nothing yet */
	assert_int_equal(due_at(100), 2);
	assert_true(rig.b->hold(rig.s, 1, S(""), true));
	assert_int_equal(due_at(100), 1);
	/* Both must be let go. */
	assert_true(rig.b->hold(rig.s, 1, S(""), false));
	assert_int_equal(due_at(100), 2);
	assert_true(rig.b->hold(rig.s, 1, S(""), true));
	assert_true(rig.b->hold(rig.s, 1, S("k"), false));
	assert_int_equal(due_at(100), 1);
	assert_true(rig.b->hold(rig.s, 1, S(""), false));
	assert_true(rig.b->hold(rig.s, 1, S(""), false)); /* twice is fine */
	assert_int_equal(due_at(100), 3);

	/* What was handed out is not taken; what was taken is settled. */
	assert_int_equal(rig.b->next(rig.s, 100, d, 4, &wait), 3);
	assert_int_equal(rig.b->take(rig.s, d[0].flow, 100, &t, 1, &more), 1);
	assert_true(rig.b->hold(rig.s, d[1].account, S(""), true));
	assert_int_equal(rig.b->take(rig.s, d[1].flow, 100, &t + 0, 0, &more), 0);
	assert_false(more);
	for (unsigned i = 0; i < 3; i++)
		rig.b->park(rig.s, d[i].flow, 0);
	assert_true(rig.b->hold(rig.s, d[1].account, S(""), false));
	rig.b->release(rig.s, &t, 100);
	assert_int_equal(due_at(100), 3);
}

/* It holds for what comes later, too, and is counted. */
static void holds_are_counted(void **state)
{
	struct spool_row rows[8];
	struct spool_flow flows[8];
	struct spool_count c;
	uint64_t wait, at = 0;
	struct spool_dest d;

	(void)state;
	put_from(1, 1, "k", 100);
	assert_true(rig.b->hold(rig.s, 1, S("k"), true));
	assert_true(rig.b->hold(rig.s, 2, S(""), true));
	put_from(2, 1, "k", 100);
	put_from(3, 2, "l", 100);
	put_from(4, 2, "", 100);
	put_from(5, 3, "k", 100);
	assert_int_equal(due_at(100), 1);
	rig.b->count(rig.s, &c);
	assert_int_equal(c.stopped, 4);
	assert_int_equal(c.pending_deliveries, 5);
	assert_int_equal(
	    spool_list(rig.b, rig.s, &(struct spool_filter){ .state = LIST_HELD }, NULL, rows, 8),
	    4);
	assert_true(rows[0].stopped);
	assert_int_equal(rig_deliver(&rig, sample_id(1)), SPOOL_OK);
	rig.b->count(rig.s, &c);
	assert_int_equal(c.stopped, 3);
	assert_int_equal(rig_deliver(&rig, sample_id(5)), SPOOL_OK);
	assert_int_equal(rig.b->next(rig.s, 100, &d, 1, &wait), 0);
	assert_int_equal(wait, UINT64_MAX);
	assert_int_equal(rig.b->flows(rig.s, &at, flows, 8), 3);
	assert_true(at == WALK_END);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(flows[i].stopped);
		assert_int_equal(flows[i].pending, 1);
		assert_true(slice_eq(slice(flows[i].dest, flows[i].dest_n), S("d1.test")));
	}
	assert_true(rig.b->hold(rig.s, 2, S(""), false));
	rig.b->count(rig.s, &c);
	assert_int_equal(c.stopped, 1);
	assert_int_equal(due_at(100), 2);
	/* When the last message of an origin is gone, what was said of it is not forgotten. */
	assert_int_equal(rig_deliver(&rig, sample_id(2)), SPOOL_OK);
	put_from(6, 1, "k", 100);
	assert_int_equal(due_at(100), 2);
}

/* By hand: held until let go, whatever happens in between. */
static enum spool_result by_hand(struct id id, uint32_t delivery, enum spool_hold hold,
				 uint64_t next_ms, const struct spool_verdict *v, uint32_t n)
{
	struct spool_op op = { .kind = SPOOL_SETTLE,
			       .id = id,
			       .delivery = delivery,
			       .verdicts = v,
			       .n_verdicts = n,
			       .next_ms = next_ms,
			       .by_hand = true,
			       .hold = hold,
			       .at_ms = 777,
			       .by = S("uid:0 pid:1") };
	struct spool_op *ops[] = { &op };

	rig_bounce(&rig);
	(void)rig.b->commit(rig.s, ops, 1, NULL);
	rig_bounce(&rig);
	return op.result;
}

static void held_by_hand(void **state)
{
	struct spool_verdict later = { 0, RCPT_PENDING, S("451 later") };
	struct spool_op op = { .kind = SPOOL_SETTLE,
			       .id = sample_id(1),
			       .verdicts = &later,
			       .n_verdicts = 1,
			       .next_ms = 500,
			       .attempted = true,
			       .at_ms = 400,
			       .remote = S("127.0.0.9:25") };
	struct spool_op *ops[] = { &op };
	struct spool_standing *st;
	struct spool_message got;
	struct sample m;
	struct arena a;

	(void)state;
	sample_make(&m, 1, 3, 2, 1, 100); /* d1: recipients 0 and 2; d2: 1 */
	assert_int_equal(rig_put(&rig, &m, 100), SPOOL_OK);
	assert_int_equal(due_at(100), 2);
	assert_int_equal(by_hand(m.id, 0, HOLD_SET, 0, NULL, 0), SPOOL_OK);
	assert_int_equal(by_hand(m.id, 0, HOLD_SET, 0, NULL, 0), SPOOL_GONE);
	assert_int_equal(by_hand(m.id, 1, HOLD_CLEAR, 0, NULL, 0), SPOOL_GONE);
	assert_int_equal(by_hand(m.id, 2, HOLD_SET, 0, NULL, 0), SPOOL_GONE);
	assert_int_equal(due_at(100), 1);
	assert_int_equal(rig_count(&rig).held, 1);
	assert_int_equal(rig_count(&rig).pending_deliveries, 2);

	/* An attempt that was under way leaves the hold as it is, and is remembered. */
	assert_true(rig.b->commit(rig.s, ops, 1, NULL));
	assert_int_equal(op.result, SPOOL_OK);
	rig_load_same(&rig, &m, &a, &got);
	st = got.standing;
	assert_int_equal(st[0].held_ms, 777);
	assert_true(slice_eq(st[0].held_by, S("uid:0 pid:1")));
	assert_int_equal(st[0].tried_ms, 400);
	assert_true(slice_eq(st[0].remote, S("127.0.0.9:25")));
	assert_int_equal(st[1].held_ms, 0);
	assert_int_equal(got.next_ms[0], 500);
	assert_int_equal(got.attempts[0], 1);
	assert_true(slice_eq(got.envelope.rcpts[0].reply, S("451 later")));
	arena_done(&a);
	assert_int_equal(due_at(600), 1);

	/* A new time changes nothing about the hold; its end, nothing about the time. */
	assert_int_equal(by_hand(m.id, 0, HOLD_AS_IT_IS, 300, NULL, 0), SPOOL_OK);
	assert_int_equal(due_at(600), 1);
	assert_int_equal(by_hand(m.id, 0, HOLD_CLEAR, 0, NULL, 0), SPOOL_OK);
	rig_load_same(&rig, &m, &a, &got);
	assert_int_equal(got.next_ms[0], 300);
	assert_int_equal(got.standing[0].held_ms, 0);
	assert_int_equal(got.standing[0].tried_ms, 400);
	assert_true(slice_eq(got.envelope.rcpts[0].reply, S("451 later")));
	arena_done(&a);
	assert_int_equal(rig_count(&rig).held, 0);
	assert_int_equal(due_at(600), 2);
	sample_free(&m);
}

static void cancelled_and_retried_by_hand(void **state)
{
	struct spool_verdict no = { 0, RCPT_FAILED, S("550 no") };
	struct spool_verdict all[] = { { 0, RCPT_CANCELLED, S("by uid:0") },
				       { 2, RCPT_CANCELLED, S("by uid:0") } };
	struct spool_verdict again[] = { { 0, RCPT_PENDING, S("") }, { 2, RCPT_PENDING, S("") } };
	struct spool_message got;
	struct sample m;
	struct arena a;

	(void)state;
	sample_make(&m, 1, 3, 2, 1, 100); /* d1: recipients 0 and 2; d2: 1 */
	assert_int_equal(rig_put(&rig, &m, 100), SPOOL_OK);
	assert_int_equal(rig_settle(&rig, m.id, 0, &no, 1, 900), SPOOL_OK);
	assert_int_equal(by_hand(m.id, 0, HOLD_SET, 0, NULL, 0), SPOOL_OK);
	/* What failed is tried again; what is pending keeps what was said of it. */
	assert_int_equal(by_hand(m.id, 0, HOLD_AS_IT_IS, 200, again, 2), SPOOL_OK);
	rig_load_same(&rig, &m, &a, &got);
	assert_int_equal(got.envelope.rcpts[0].state, RCPT_PENDING);
	assert_int_equal(got.envelope.rcpts[2].state, RCPT_PENDING);
	assert_int_equal(got.attempts[0], 1);
	assert_int_equal(got.next_ms[0], 200);
	arena_done(&a);
	assert_int_equal(by_hand(m.id, 0, HOLD_AS_IT_IS, 0, all, 2), SPOOL_OK);
	assert_int_equal(rig_count(&rig).held, 0); /* of nothing */
	assert_int_equal(by_hand(m.id, 0, HOLD_AS_IT_IS, 0, all, 2), SPOOL_GONE);
	assert_int_equal(by_hand(m.id, 0, HOLD_AS_IT_IS, 200, again, 2), SPOOL_GONE);
	assert_int_equal(by_hand(m.id, 0, HOLD_SET, 0, NULL, 0), SPOOL_GONE);
	assert_int_equal(rig_count(&rig).pending_deliveries, 1);
	all[0].rcpt = 1;
	assert_int_equal(by_hand(m.id, 1, HOLD_AS_IT_IS, 0, all, 1), SPOOL_OK);
	assert_false(rig_has(&rig, m.id));
	sample_free(&m);
}

/* Beside an attempt: its outcome stands, the hand's act waits or goes beside it. */
static void by_hand_beside_an_attempt(void **state)
{
	struct spool_verdict cancel = { 0, RCPT_CANCELLED, S("by uid:0") };
	struct spool_filter leased = { .state = LIST_LEASED };
	struct spool_row row;
	struct spool_dest d;
	struct spool_ticket t;
	uint64_t wait;
	bool more;

	(void)state;
	if (rig.bounce != STAY) /* which ends every lease */
		return;
	put_from(1, 1, "k", 100);
	assert_int_equal(rig.b->next(rig.s, 100, &d, 1, &wait), 1);
	assert_int_equal(rig.b->take(rig.s, d.flow, 100, &t, 1, &more), 1);
	rig.b->park(rig.s, d.flow, 0);
	assert_int_equal(by_hand(t.id, 0, HOLD_AS_IT_IS, 0, &cancel, 1), SPOOL_BUSY);
	assert_int_equal(by_hand(t.id, 0, HOLD_AS_IT_IS, 50, NULL, 0), SPOOL_BUSY);
	assert_int_equal(by_hand(t.id, 0, HOLD_SET, 0, NULL, 0), SPOOL_OK);
	assert_int_equal(rig_count(&rig).leased, 1);
	assert_int_equal(due_at(9999), 0);
	assert_int_equal(spool_list(rig.b, rig.s, &leased, NULL, &row, 1), 1);
	assert_true(row.leased && row.held && !row.stopped);
	assert_string_equal(row.key_id, "k");
	rig.b->release(rig.s, &t, 200);
	assert_int_equal(rig_count(&rig).leased, 0);
	assert_int_equal(due_at(9999), 0);
	assert_int_equal(by_hand(t.id, 0, HOLD_CLEAR, 0, NULL, 0), SPOOL_OK);
	assert_int_equal(due_at(199), 0);
	assert_int_equal(due_at(200), 1);
	assert_int_equal(by_hand(t.id, 0, HOLD_AS_IT_IS, 0, &cancel, 1), SPOOL_OK);
	assert_int_equal(rig_count(&rig).messages, 0);
}

#define OVER(begin)                                                                                \
	cmocka_unit_test_setup_teardown(held_by_hand, begin, contract_end),                        \
	    cmocka_unit_test_setup_teardown(cancelled_and_retried_by_hand, begin, contract_end),   \
	    cmocka_unit_test_setup_teardown(by_hand_beside_an_attempt, begin, contract_end)

int spool_hold_cases(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(holds, contract_memory, contract_end),
		cmocka_unit_test_setup_teardown(holds, contract_segments, contract_end),
		cmocka_unit_test_setup_teardown(holds_are_counted, contract_memory, contract_end),
		cmocka_unit_test_setup_teardown(holds_are_counted, contract_segments, contract_end),
		OVER_EACH
	};

	return cmocka_run_group_tests_name("spool holds", tests, NULL, NULL);
}
