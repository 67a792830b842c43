/* spool/spool_test.c -- the contract, over every back end; the durable one also closed and
 * reopened, and killed and reopened, between any two calls. */
#include "base/crc32c.h"
#include "spool/spool_rig_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct rig rig;

static int begin_with(const struct spool_backend *b, enum bounce bounce)
{
	rig_begin(&rig, b, bounce, 64 << 10);
	return 0;
}

static int begin_memory(void **state)
{
	(void)state;
	return begin_with(&spool_memory, STAY);
}

static int begin_segments(void **state)
{
	(void)state;
	return begin_with(&spool_segments, STAY);
}

static int begin_small(void **state)
{
	(void)state;
	rig_begin(&rig, &spool_segments, STAY, 4 << 10);
	return 0;
}

static int begin_reopened(void **state)
{
	(void)state;
	return begin_with(&spool_segments, REOPEN);
}

static int begin_killed(void **state)
{
	(void)state;
	return begin_with(&spool_segments, KILL);
}

static int end(void **state)
{
	(void)state;
	rig_end(&rig);
	return 0;
}

static void crc_known(void **state)
{
	/* RFC 3720 B.4 */
	static const unsigned char read_10[48] = { 0x01, 0xc0, 0,    0, 0, 0, 0,    0,    0, 0,
						   0,    0,    0,    0, 0, 0, 0x14, 0,    0, 0,
						   0,    0,    0x04, 0, 0, 0, 0,    0x14, 0, 0,
						   0,    0x18, 0x28, 0, 0, 0, 0,    0,    0, 0,
						   0x02, 0,    0,    0, 0, 0, 0,    0 };
	unsigned char b[32];
	uint32_t (*const ways[])(uint32_t, struct slice) = { crc32c, crc32c_portable };

	(void)state;
	for (size_t w = 0; w < 2; w++) {
		memset(b, 0, sizeof b);
		assert_int_equal(ways[w](0, slice(b, sizeof b)), 0x8a9136aa);
		memset(b, 0xff, sizeof b);
		assert_int_equal(ways[w](0, slice(b, sizeof b)), 0x62a8ab43);
		for (size_t i = 0; i < sizeof b; i++)
			b[i] = (unsigned char)i;
		assert_int_equal(ways[w](0, slice(b, sizeof b)), 0x46dd794e);
		for (size_t i = 0; i < sizeof b; i++)
			b[i] = (unsigned char)(31 - i);
		assert_int_equal(ways[w](0, slice(b, sizeof b)), 0x113fdb5c);
		assert_int_equal(ways[w](0, slice(read_10, sizeof read_10)), 0xd9963a56);
		/* In two parts, at every place. */
		for (size_t cut = 0; cut <= sizeof b; cut++)
			assert_int_equal(
			    ways[w](ways[w](0, slice(b, cut)), slice(b + cut, sizeof b - cut)),
			    0x113fdb5c);
	}
}

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

/* A message of one recipient, for d1.test, of an account and a key. */
static void put_from(unsigned n, uint64_t account, const char *key, uint64_t due_ms)
{
	struct sample m;

	sample_make(&m, n, 1, 1, 1, 10);
	m.envelope.account = account;
	m.envelope.key_id = slice_str(key);
	assert_int_equal(rig_put(&rig, &m, due_ms), SPOOL_OK);
	sample_free(&m);
}

/* How many deliveries are handed out at this time; all are given back. */
static size_t due_at(uint64_t now_ms)
{
	struct spool_dest d[16];
	struct spool_ticket t[64];
	uint64_t wait;
	bool more;
	size_t flows = rig.b->next(rig.s, now_ms, d, 16, &wait), n = 0;

	for (size_t i = 0; i < flows; i++)
		n += rig.b->take(rig.s, d[i].flow, now_ms, t + n, 64 - n, &more);
	for (size_t i = 0; i < n; i++)
		rig.b->release(rig.s, &t[i], now_ms);
	for (size_t i = 0; i < flows; i++)
		rig.b->park(rig.s, d[i].flow, 0);
	return n;
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
	cmocka_unit_test_setup_teardown(put_and_load, begin, end),                                 \
	    cmocka_unit_test_setup_teardown(settle_states, begin, end),                            \
	    cmocka_unit_test_setup_teardown(failed_tried_again, begin, end),                       \
	    cmocka_unit_test_setup_teardown(bounced_is_over, begin, end),                          \
	    cmocka_unit_test_setup_teardown(long_reply_cut, begin, end),                           \
	    cmocka_unit_test_setup_teardown(one_batch, begin, end),                                \
	    cmocka_unit_test_setup_teardown(queue_order, begin, end),                              \
	    cmocka_unit_test_setup_teardown(origins_take_turns, begin, end),                       \
	    cmocka_unit_test_setup_teardown(held_by_hand, begin, end),                             \
	    cmocka_unit_test_setup_teardown(cancelled_and_retried_by_hand, begin, end),            \
	    cmocka_unit_test_setup_teardown(by_hand_beside_an_attempt, begin, end),                \
	    cmocka_unit_test_setup_teardown(looks, begin, end),                                    \
	    cmocka_unit_test_setup_teardown(lists, begin, end),                                    \
	    cmocka_unit_test_setup_teardown(messages_max, begin, end),                             \
	    cmocka_unit_test_setup_teardown(large_bodies, begin, end),                             \
	    cmocka_unit_test_setup_teardown(many_recipients, begin, end),                          \
	    cmocka_unit_test_setup_teardown(refused, begin, end)

int spool_conformance(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc_known),
		cmocka_unit_test_setup_teardown(readers_beside_the_committer, begin_small, end),
		cmocka_unit_test_setup_teardown(readers_beside_the_committer, begin_memory, end),
		cmocka_unit_test_setup_teardown(holds, begin_memory, end),
		cmocka_unit_test_setup_teardown(holds, begin_segments, end),
		cmocka_unit_test_setup_teardown(holds_are_counted, begin_memory, end),
		cmocka_unit_test_setup_teardown(holds_are_counted, begin_segments, end),
		OVER(begin_memory),
		OVER(begin_segments),
		OVER(begin_reopened),
		OVER(begin_killed)
	};

	return cmocka_run_group_tests_name("spool contract", tests, NULL, NULL);
}

int main(void)
{
	return spool_conformance() + spool_model() + spool_cut_cases() + spool_damage_cases() +
	       spool_ahead_cases();
}
