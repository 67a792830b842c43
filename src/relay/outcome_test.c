#include "relay/outcome.h"

#include "relay/room_test.h"

static const struct retry_config retry = { 60000, 2000, 3600000, 250, 432000000 };

#define ACCEPTED 1700000000000
#define LAST     (ACCEPTED + 432000000 - 1) /* the last moment of its life */

static enum spool_rcpt_state judge(int code, uint64_t now_ms)
{
	const struct outcome_answer answer = { 7, code, S("words") };
	struct spool_verdict v = { 0 };
	struct arena a;
	uint32_t pending;

	arena_init(&a, 4096);
	pending = outcome_judge(&answer, 1, ACCEPTED, now_ms, &retry, &a, &v);

	assert_int_equal(v.rcpt, 7);
	assert_int_equal(outcome_expired(&answer, &v),
			 v.state == RCPT_FAILED && (code < 500 || code > 599));
	if (outcome_expired(&answer, &v))
		assert_slice(v.reply, S("expired after 5 days; last answer: words"));
	else
		assert_slice(v.reply, S("words"));
	assert_int_equal(pending, v.state == RCPT_PENDING);
	arena_done(&a);
	return v.state;
}

/* Every number a reply could have, and those that stand for none. */
static void every_code_has_its_meaning(void **state)
{
	(void)state;
	for (int code = -1; code <= 1000; code++) {
		enum spool_rcpt_state now = judge(code, ACCEPTED), end = judge(code, LAST + 1);

		if (code >= 200 && code <= 299) {
			assert_int_equal(now, RCPT_DELIVERED);
			assert_int_equal(end, RCPT_DELIVERED); /* late, but there */
		} else if (code >= 500 && code <= 599) {
			assert_int_equal(now, RCPT_FAILED);
			assert_int_equal(end, RCPT_FAILED);
		} else {
			assert_int_equal(now, RCPT_PENDING);
			assert_int_equal(end, RCPT_FAILED);
		}
	}
}

static void a_life_has_an_end(void **state)
{
	(void)state;
	assert_int_equal(judge(451, LAST), RCPT_PENDING);
	assert_int_equal(judge(451, LAST + 1), RCPT_FAILED);
	assert_int_equal(judge(0, LAST), RCPT_PENDING); /* the network, not an answer */
	assert_int_equal(judge(0, LAST + 1), RCPT_FAILED);
	assert_int_equal(judge(0, UINT64_MAX), RCPT_FAILED);
	assert_int_equal(judge(0, ACCEPTED - 3600000), RCPT_PENDING); /* the clock was set back */
	assert_int_equal(judge(354, ACCEPTED), RCPT_PENDING);         /* no verdict on anything */
}

/* Each recipient has his own answer, and nobody else's. */
static void each_for_himself(void **state)
{
	static const struct outcome_answer answers[] = {
		{ 2, 250, S("2.1.5 ok") },       { 0, 550, S("5.1.1 no such user") },
		{ 5, 451, S("4.3.0 later") },    { 9, 0, S("connection lost") },
		{ 1, 552, S("5.2.2 full") },     { 3, 252, S("2.0.0 will try") },
		{ 4, 421, S("4.3.2 shutting") },
	};
	static const enum spool_rcpt_state want[] = {
		RCPT_DELIVERED, RCPT_FAILED,    RCPT_PENDING, RCPT_PENDING,
		RCPT_FAILED,    RCPT_DELIVERED, RCPT_PENDING,
	};
	struct spool_verdict v[LEN(answers)];
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	assert_int_equal(outcome_judge(answers, LEN(answers), ACCEPTED, LAST, &retry, &a, v), 3);
	for (size_t i = 0; i < LEN(answers); i++) {
		assert_int_equal(v[i].rcpt, answers[i].rcpt);
		assert_int_equal(v[i].state, want[i]);
		assert_slice(v[i].reply, answers[i].text);
	}
	assert_int_equal(outcome_judge(answers, LEN(answers), ACCEPTED, LAST + 1, &retry, &a, v),
			 0);
	for (size_t i = 0; i < LEN(answers); i++)
		assert_int_equal(v[i].state, want[i] == RCPT_PENDING ? RCPT_FAILED : want[i]);
	assert_int_equal(outcome_judge(NULL, 0, ACCEPTED, LAST, &retry, &a, NULL), 0);
	arena_done(&a);
}

static void long_words_are_cut(void **state)
{
	static char text[OUTCOME_TEXT + 2];
	struct outcome_answer answers[3];
	struct spool_verdict v[3];

	(void)state;
	memset(text, 'x', sizeof text);
	for (uint32_t i = 0; i < 3; i++)
		answers[i] = (struct outcome_answer){ i, 450, slice(text, OUTCOME_TEXT - 1 + i) };
	outcome_judge(answers, 3, ACCEPTED, LAST, &retry, NULL, v);
	assert_int_equal(v[0].reply.n, OUTCOME_TEXT - 1);
	assert_int_equal(v[1].reply.n, OUTCOME_TEXT);
	assert_int_equal(v[2].reply.n, OUTCOME_TEXT);
	answers[0].text = S("");
	outcome_judge(answers, 1, ACCEPTED, LAST, &retry, NULL, v);
	assert_int_equal(v[0].reply.n, 0);
}

/* What a life that is over says of itself, and how it is cut. */
static void expired_says_so(void **state)
{
	static char text[OUTCOME_TEXT];
	const struct outcome_answer answers[] = {
		{ 0, 451, S("4.2.0 busy"), true },
		{ 1, 0, S("connect: refused") },
		{ 2, 451, slice(text, sizeof text), true },
		{ 3, 354, S("odd") },
		{ 4, 550, S("5.1.1 no"), true },
	};
	struct spool_verdict v[LEN(answers)];
	struct arena a;

	(void)state;
	memset(text, 'x', sizeof text);
	arena_init(&a, 1 << 20);
	outcome_judge(answers, LEN(answers), ACCEPTED, LAST + 1, &retry, &a, v);
	assert_slice(v[0].reply, S("expired after 5 days; last answer: 451 4.2.0 busy"));
	assert_slice(v[1].reply, S("expired after 5 days; last answer: connect: refused"));
	assert_int_equal(v[2].reply.n, OUTCOME_TEXT);
	assert_true(slice_starts(v[2].reply, S("expired after 5 days; last answer: 451 xxx")));
	assert_slice(v[3].reply, S("expired after 5 days; last answer: odd"));
	assert_slice(v[4].reply, S("5.1.1 no"));
	assert_false(outcome_expired(&answers[4], &v[4]));
	arena_done(&a);
	/* Without memory it says less. */
	arena_init(&a, 0);
	outcome_judge(answers, 2, ACCEPTED, LAST + 1, &retry, &a, v);
	assert_slice(v[1].reply, S("connect: refused"));
	assert_true(outcome_expired(&answers[1], &v[1]));
	arena_done(&a);
}

/* The last attempt is made when the life ends, and one when somebody waits to hear. */
static void next_is_not_too_late(void **state)
{
	static const struct retry_config plain = { 60000, 2000, 3600000, 0, 432000000 };
	static const struct {
		uint64_t now, notice;
		uint32_t attempts;
		uint64_t want;
	} cases[] = {
		{ ACCEPTED, UINT64_MAX, 0, ACCEPTED + 60000 },
		{ ACCEPTED + 60000, UINT64_MAX, 1, ACCEPTED + 180000 },
		{ ACCEPTED, ACCEPTED + 1000, 0, ACCEPTED + 1000 },
		{ ACCEPTED, ACCEPTED + 60001, 0, ACCEPTED + 60000 },
		{ ACCEPTED + 1000, ACCEPTED + 1000, 0, ACCEPTED + 61000 },
		{ LAST - 9, UINT64_MAX, 9, LAST + 1 },
		{ LAST, UINT64_MAX, 9, LAST + 1 },
		{ LAST + 1, UINT64_MAX, 0, LAST + 1 + 60000 },
	};

	(void)state;
	for (size_t i = 0; i < LEN(cases); i++)
		assert_int_equal(outcome_next_ms(ACCEPTED, cases[i].now, cases[i].notice,
						 cases[i].attempts, &plain, 0),
				 cases[i].want);
}

static void commit(struct spool *s, struct spool_op *op)
{
	struct spool_op *ops[] = { op };

	assert_true(spool_memory.commit(s, ops, 1, NULL));
	assert_int_equal(op->result, SPOOL_OK);
}

/* Into the queue and out of it: what is settled stays as it is when the others come again. */
static void settled_is_settled(void **state)
{
	static const struct spool_conf conf = { .hash_key = { 1, 2 } };
	static const struct slice dests[] = { S("to.test") };
	static const struct outcome_answer first[] = {
		{ 0, 550, S("5.1.1 no such user") },
		{ 1, 451, S("4.7.1 grey") },
		{ 2, 250, S("2.1.5 ok") },
	};
	static const struct outcome_answer second[] = { { 1, 0, S("connection lost") } };
	struct spool_rcpt rcpts[3] = { { .path = S("a@to.test") },
				       { .path = S("b@to.test") },
				       { .path = S("c@to.test") } };
	struct spool_envelope env = { .id = id_make(ACCEPTED, (const unsigned char *)"0123456789"),
				      .account = 1,
				      .accepted_ms = ACCEPTED,
				      .rcpts = rcpts,
				      .n_rcpts = 3,
				      .dests = dests,
				      .n_deliveries = 1 };
	struct spool_content content = { .head = S("X: y\r\n\r\n"), .fd = -1 };
	struct spool_op put = {
		.kind = SPOOL_PUT, .envelope = &env, .content = &content, .due_ms = ACCEPTED
	};
	struct spool_op settle = { .kind = SPOOL_SETTLE, .id = env.id, .attempted = true };
	struct spool *s = spool_memory.open(&conf, NULL);
	struct spool_verdict v[3];
	struct spool_message m;
	struct arena a;

	(void)state;
	assert_non_null(s);
	commit(s, &put);
	for (int round = 0; round < 2; round++) {
		settle.n_verdicts = round ? 1 : 3;
		settle.verdicts = v;
		settle.next_ms = ACCEPTED + 60000;
		arena_init(&a, 1 << 20);
		assert_int_equal(outcome_judge(round ? second : first, settle.n_verdicts, ACCEPTED,
					       round ? LAST + 1 : LAST, &retry, &a, v),
				 !round);
		commit(s, &settle);
		assert_true(spool_memory.load(s, env.id, &a, &m, NULL));
		assert_int_equal(m.envelope.rcpts[0].state, RCPT_FAILED);
		assert_slice(m.envelope.rcpts[0].reply, first[0].text);
		assert_int_equal(m.envelope.rcpts[1].state, round ? RCPT_FAILED : RCPT_PENDING);
		assert_slice(m.envelope.rcpts[1].reply,
			     round ? S("expired after 5 days; last answer: connection lost")
				   : first[1].text);
		assert_int_equal(m.envelope.rcpts[2].state, RCPT_DELIVERED);
		assert_int_equal(m.attempts[0], round + 1);
		arena_done(&a);
	}
	spool_memory.close(s);
}

int outcome_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_has_its_meaning), cmocka_unit_test(a_life_has_an_end),
		cmocka_unit_test(each_for_himself),           cmocka_unit_test(long_words_are_cut),
		cmocka_unit_test(settled_is_settled),         cmocka_unit_test(expired_says_so),
		cmocka_unit_test(next_is_not_too_late),
	};

	return cmocka_run_group_tests_name("relay outcome", tests, NULL, NULL);
}
