/* spool/spool_model_test.c -- random commits against a model that is nothing but an array, the
 * spool closed or killed and reopened in between, with segments so small that rotation, compaction
 * and retirement happen all the time. */
#include "spool/spool_rig_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MESSAGES = 60, RCPTS = 6, BATCH = 6, STEPS = 1500 };

struct model_message {
	bool exists;
	unsigned number; /* of the sample */
	uint32_t n_rcpts, n_dests;
	unsigned first_dest;
	size_t body_bytes;
	enum spool_rcpt_state state[RCPTS];
	bool told[RCPTS];
	uint32_t reply[RCPTS]; /* number in the reply's text; 0: none */
	uint32_t attempts[4];
	uint64_t next_ms[4];
	bool held[4];
};

struct model {
	struct model_message at[MESSAGES];
	unsigned next_number;
	uint32_t next_reply;
	bool stopped[3]; /* accounts 10, 11, 12: in memory only */
	uint32_t seed;
};

static uint32_t rnd(struct model *m, uint32_t below)
{
	m->seed = m->seed * 1664525u + 1013904223u;
	return (m->seed >> 8) % below;
}

static bool pending_in(const struct model_message *m, uint32_t delivery)
{
	for (uint32_t i = 0; i < m->n_rcpts; i++)
		if (i % m->n_dests == delivery && m->state[i] == RCPT_PENDING)
			return true;
	return false;
}

static bool complete(const struct model_message *m)
{
	for (uint32_t i = 0; i < m->n_rcpts; i++)
		if (m->state[i] == RCPT_PENDING || m->state[i] == RCPT_FAILED)
			return false;
	return true;
}

/* There is something left to do about it. */
static bool keeps(const struct model_message *m, uint32_t delivery)
{
	for (uint32_t i = delivery; i < m->n_rcpts; i += m->n_dests)
		if (m->state[i] == RCPT_PENDING || m->state[i] == RCPT_FAILED)
			return true;
	return false;
}

struct act {
	struct spool_op op;
	struct sample sample;
	struct spool_verdict verdicts[RCPTS];
	char replies[RCPTS][24];
	enum spool_result expect;
	struct model_message *target;
};

static void make_put(struct model *m, struct act *a, struct model_message *t)
{
	uint32_t n_rcpts = 1 + rnd(m, RCPTS), n_dests = 1 + rnd(m, n_rcpts < 4 ? n_rcpts : 4);
	unsigned first = rnd(m, 5), number = m->next_number++;
	size_t bytes = rnd(m, 40) ? rnd(m, 1500) : 20000;

	*t = (struct model_message){ .exists = true,
				     .number = number,
				     .n_rcpts = n_rcpts,
				     .n_dests = n_dests,
				     .first_dest = first,
				     .body_bytes = bytes };
	for (uint32_t i = 0; i < n_dests; i++)
		t->next_ms[i] = 100 + number;
	sample_make(&a->sample, number, n_rcpts, n_dests, first, bytes);
	a->op = (struct spool_op){ .kind = SPOOL_PUT,
				   .envelope = &a->sample.envelope,
				   .content = &a->sample.content,
				   .due_ms = 100 + number };
	a->expect = SPOOL_OK;
}

static void make_settle(struct model *m, struct act *a, struct model_message *t)
{
	uint32_t delivery = rnd(m, t->n_dests), n = 0;
	bool pending = pending_in(t, delivery), changed = false, forward = rnd(m, 3) > 0;
	uint32_t words[RCPTS];

	for (uint32_t i = delivery; i < t->n_rcpts; i += t->n_dests) {
		enum spool_rcpt_state to =
		    forward ? RCPT_DELIVERED : (enum spool_rcpt_state)rnd(m, RCPT_BOUNCED + 1);

		if (rnd(m, 4) == 0)
			continue;
		words[n] = ++m->next_reply;
		snprintf(a->replies[n], sizeof a->replies[n], "250 %u", words[n]);
		a->verdicts[n] =
		    (struct spool_verdict){ i, to, slice_str(a->replies[n]), rnd(m, 4) == 0 };
		if (t->state[i] == RCPT_PENDING || t->state[i] == RCPT_FAILED)
			changed |= t->state[i] != to;
		n++;
	}
	a->op = (struct spool_op){ .kind = SPOOL_SETTLE,
				   .id = sample_id(t->number),
				   .delivery = delivery,
				   .verdicts = a->verdicts,
				   .n_verdicts = n,
				   .next_ms = 200 + rnd(m, 1000),
				   .attempted = rnd(m, 2) };
	a->expect = t->exists && (pending || changed) ? SPOOL_OK : SPOOL_GONE;
	if (a->expect == SPOOL_GONE)
		return;
	for (uint32_t k = 0; k < n; k++) {
		uint32_t i = a->verdicts[k].rcpt;

		if (t->state[i] != RCPT_PENDING && t->state[i] != RCPT_FAILED)
			continue;
		t->state[i] = a->verdicts[k].state;
		t->told[i] |= a->verdicts[k].told_delay;
		t->reply[i] = words[k];
	}
	t->attempts[delivery] += a->op.attempted;
	t->next_ms[delivery] = a->op.next_ms;
	if (!keeps(t, delivery))
		t->held[delivery] = false;
	if (complete(t))
		t->exists = false;
}

/* By hand: held, let go, tried at another time, or all of it cancelled. */
static void make_by_hand(struct model *m, struct act *a, struct model_message *t)
{
	uint32_t delivery = rnd(m, t->n_dests), what = rnd(m, 6), n = 0;
	bool pending = pending_in(t, delivery), failed = false;

	a->op = (struct spool_op){ .kind = SPOOL_SETTLE,
				   .id = sample_id(t->number),
				   .delivery = delivery,
				   .verdicts = a->verdicts,
				   .by_hand = true,
				   .at_ms = 5,
				   .by = S("model") };
	for (uint32_t i = delivery; what == 5 && i < t->n_rcpts; i += t->n_dests) {
		a->verdicts[n++] = (struct spool_verdict){ i, RCPT_CANCELLED, S("") };
		failed |= t->state[i] == RCPT_FAILED;
	}
	a->op.n_verdicts = n;
	a->op.hold = what < 2 ? HOLD_SET : what < 4 ? HOLD_CLEAR : HOLD_AS_IT_IS;
	a->op.next_ms = what == 4 || what == 0 ? 200 + rnd(m, 1000) : 0;
	a->expect = SPOOL_GONE;
	if (!t->exists)
		return;
	if (what == 5 ? pending || failed
		      : (a->op.next_ms && pending) ||
			    (what < 2 && !t->held[delivery] && keeps(t, delivery)) ||
			    (what >= 2 && what < 4 && t->held[delivery]))
		a->expect = SPOOL_OK;
	if (a->expect != SPOOL_OK)
		return;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t r = a->verdicts[i].rcpt;

		if (t->state[r] == RCPT_PENDING || t->state[r] == RCPT_FAILED) {
			t->state[r] = RCPT_CANCELLED;
			t->reply[r] = 0;
		}
	}
	if (a->op.next_ms)
		t->next_ms[delivery] = a->op.next_ms;
	if (what < 4)
		t->held[delivery] = what < 2;
	if (!keeps(t, delivery))
		t->held[delivery] = false;
	if (complete(t))
		t->exists = false;
}

static void one_commit(struct rig *r, struct model *m)
{
	struct act *acts = calloc(BATCH, sizeof *acts);
	struct spool_op *ops[BATCH];
	struct err e = { 0 };
	uint32_t n = 1 + rnd(m, BATCH);

	assert_non_null(acts);
	for (uint32_t i = 0; i < n; i++) {
		struct model_message *t = &m->at[rnd(m, MESSAGES)];

		if (!t->exists && rnd(m, 10))
			make_put(m, &acts[i], t);
		else if (t->n_dests && rnd(m, 4) == 0)
			make_by_hand(m, &acts[i], t);
		else if (t->n_dests)
			make_settle(m, &acts[i], t);
		else
			make_put(m, &acts[i], t);
		ops[i] = &acts[i].op;
	}
	assert_true(r->b->commit(r->s, ops, n, &e));
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(acts[i].op.result, acts[i].expect);
		sample_free(&acts[i].sample);
	}
	free(acts);
}

static void check_message(struct rig *r, const struct model *m, const struct model_message *t)
{
	struct spool_message got;
	struct sample s;
	struct arena a;

	if (!t->exists) {
		assert_false(t->n_dests && rig_has(r, sample_id(t->number)));
		return;
	}
	sample_make(&s, t->number, t->n_rcpts, t->n_dests, t->first_dest, t->body_bytes);
	rig_load_same(r, &s, &a, &got);
	for (uint32_t i = 0; i < t->n_rcpts; i++) {
		char reply[24] = "";

		if (t->reply[i])
			snprintf(reply, sizeof reply, "250 %u", t->reply[i]);
		assert_int_equal(got.envelope.rcpts[i].state, t->state[i]);
		assert_int_equal(got.envelope.rcpts[i].told_delay, t->told[i]);
		assert_true(slice_eq(got.envelope.rcpts[i].reply, slice_str(reply)));
	}
	for (uint32_t i = 0; i < t->n_dests; i++) {
		assert_int_equal(got.standing[i].held_ms != 0, t->held[i]);
		assert_int_equal(got.standing[i].stopped, m->stopped[t->number % 3]);
		assert_int_equal(got.attempts[i], t->attempts[i]);
		assert_int_equal(got.next_ms[i], pending_in(t, i) ? t->next_ms[i] : UINT64_MAX);
	}
	arena_done(&a);
	sample_free(&s);
}

static void check_all(struct rig *r, struct model *m)
{
	struct spool_count c;
	struct spool_row rows[MESSAGES + 1];
	uint64_t messages = 0, pending = 0, failed = 0, bytes = 0, held = 0, stopped = 0;

	for (size_t i = 0; i < MESSAGES; i++) {
		const struct model_message *t = &m->at[i];

		check_message(r, m, t);
		messages += t->exists;
		bytes += t->exists ? 33 + t->body_bytes : 0;
		for (uint32_t d = 0; t->exists && d < t->n_dests; d++)
			if (pending_in(t, d)) {
				pending++;
				held += t->held[d];
				stopped += m->stopped[t->number % 3];
			}
		for (uint32_t k = 0; t->exists && k < t->n_rcpts; k++)
			failed += t->state[k] == RCPT_FAILED;
	}
	r->b->count(r->s, &c);
	assert_int_equal(c.messages, messages);
	assert_int_equal(c.pending_deliveries, pending);
	assert_int_equal(c.failed_rcpts, failed);
	assert_int_equal(c.held, held);
	assert_int_equal(c.stopped, stopped);
	assert_int_equal(c.bytes_live, bytes);
	assert_int_equal(c.damaged, 0);
	assert_int_equal(
	    spool_list(r->b, r->s, &(struct spool_filter){ 0 }, NULL, rows, MESSAGES + 1),
	    messages);
	for (uint64_t i = 1; i < messages; i++)
		assert_true(id_cmp(rows[i - 1].id, rows[i].id) < 0);
}

static bool may_go(const struct model *m, const struct model_message *t, uint32_t delivery)
{
	return pending_in(t, delivery) && !t->held[delivery] && !m->stopped[t->number % 3];
}

/* Every delivery that is due comes out once, to the destination it belongs to. */
static void check_due(struct rig *r, struct model *m, uint64_t now)
{
	uint64_t wait, due = 0, taken = 0, first = UINT64_MAX;
	struct spool_ticket t[8];
	struct spool_dest d;
	bool more;

	for (size_t i = 0; i < MESSAGES; i++)
		for (uint32_t k = 0; m->at[i].exists && k < m->at[i].n_dests; k++)
			if (may_go(m, &m->at[i], k)) {
				due += m->at[i].next_ms[k] <= now;
				if (m->at[i].next_ms[k] < first)
					first = m->at[i].next_ms[k];
			}
	(void)r->b->next(r->s, 0, &d, 1, &wait);
	assert_int_equal(wait, first);
	while (r->b->next(r->s, now, &d, 1, &wait)) {
		size_t n;

		while ((n = r->b->take(r->s, d.flow, now, t, 3, &more))) {
			taken += n;
			for (size_t i = 0; i < n; i++) {
				struct model_message *mm = NULL;
				char name[32];

				for (size_t k = 0; k < MESSAGES; k++)
					if (m->at[k].exists &&
					    id_eq(sample_id(m->at[k].number), t[i].id))
						mm = &m->at[k];
				assert_non_null(mm);
				assert_true(may_go(m, mm, t[i].delivery));
				assert_int_equal(d.account, mm->number % 3 + 10);
				assert_true(mm->next_ms[t[i].delivery] <= now);
				assert_int_equal(mm->attempts[t[i].delivery], t[i].attempts);
				snprintf(name, sizeof name, "d%u.test",
					 mm->first_dest + t[i].delivery);
				assert_true(slice_eq(slice_str(name), slice(d.name, d.n)));
				mm->next_ms[t[i].delivery] = now + 1;
				r->b->release(r->s, &t[i], now + 1);
			}
		}
		r->b->park(r->s, d.flow, 0);
	}
	assert_int_equal(taken, due);
}

static void run(const struct spool_backend *b, uint64_t segment_bytes, uint32_t seed)
{
	struct model *m = calloc(1, sizeof *m);
	struct rig r;

	assert_non_null(m);
	rig_begin(&r, b, STAY, segment_bytes);
	m->seed = seed;
	for (int step = 0; step < STEPS; step++) {
		one_commit(&r, m);
		if (b == &spool_segments && rnd(m, 8) == 0) {
			r.bounce = rnd(m, 2) ? KILL : REOPEN;
			rig_bounce(&r);
			r.bounce = STAY;
			memset(m->stopped, 0, sizeof m->stopped);
		}
		if (rnd(m, 6) == 0) {
			uint32_t account = rnd(m, 3);

			m->stopped[account] = rnd(m, 2);
			assert_true(b->hold(r.s, 10 + account, S(""), m->stopped[account]));
		}
		if (rnd(m, 20) == 0)
			check_all(&r, m);
	}
	check_all(&r, m);
	/* Release moves due times in memory only: the last thing to try. */
	check_due(&r, m, 700);
	check_due(&r, m, 5000);
	rig_end(&r);
	free(m);
}

static void memory_follows(void **state)
{
	(void)state;
	run(&spool_memory, 0, 1);
}

static void segments_follow(void **state)
{
	(void)state;
	run(&spool_segments, 8 << 10, 2);
	run(&spool_segments, 64 << 10, 3);
	run(&spool_segments, 1 << 20, 4);
}

int spool_model(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(memory_follows),
					    cmocka_unit_test(segments_follow) };

	return cmocka_run_group_tests_name("spool model", tests, NULL, NULL);
}
