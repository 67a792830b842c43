/* relay/operate_test.c -- acts on queued mail, over the twins of store and spool. */
#include "relay/operate.h"

#include "relay/room_test.h"

#include <stdio.h>
#include <stdlib.h>

#define T0 1700000000000

static const struct spool_backend *const b = &spool_memory;

struct fix {
	struct store *store;
	struct store_handle *h;
	struct spool *spool;
	struct operate o;
	struct account shop, other;
	struct key key;
	struct err e;
	unsigned puts;
	bool stuck;     /* commits do not get through */
	char told[200]; /* recipients that were cancelled */
};

#define OK(call)                                                                                   \
	do {                                                                                       \
		if (!(call))                                                                       \
			fail_msg(#call ": %s", f->e.text);                                         \
	} while (0)

static bool commit(void *arg, struct spool_op *const *ops, size_t n)
{
	struct fix *f = arg;

	return !f->stuck && b->commit(f->spool, ops, n, NULL);
}

static void cancelled(void *arg, const struct spool_envelope *env, uint32_t rcpt,
		      const struct actor *by, struct slice note)
{
	struct fix *f = arg;
	size_t n = strlen(f->told);

	assert_slice(by->who, S("uid:0 pid:7"));
	assert_slice(note, S("cancelled by uid:0 pid:7"));
	snprintf(f->told + n, sizeof f->told - n, "%.*s ", SLICE_ARG(env->rcpts[rcpt].path));
}

static int begin(void **state)
{
	static const struct schema *const schemas[] = { &account_schema };
	static const struct store_conf store_conf = { .busy_ms = 50 };
	static const struct spool_conf spool_conf = { .hash_key = { 1, 2 } };
	struct fix *f = calloc(1, sizeof *f);
	struct key_spec spec = { .scopes = scopes_default() };
	struct actor by = { S("test"), T0 };
	struct buf text;

	if (!f)
		return -1;
	*state = f;
	f->store = store_open(&store_memory, &store_conf, schemas, 1, &f->e);
	f->h = store_attach(f->store, &f->e);
	f->spool = b->open(&spool_conf, &f->e);
	f->o = (struct operate){ f->h, b, f->spool, commit, cancelled, f, { S("uid:0 pid:7"), T0 },
				 T0 };
	OK(account_add(f->h, &by, S("shop"), &f->shop, &f->e));
	OK(account_add(f->h, &by, S("other"), &f->other, &f->e));
	buf_init(&text, 256);
	OK(key_create(f->h, &by, f->shop.id, &spec, &text, &f->key, &f->e));
	buf_wipe(&text);
	return 0;
}

static int end(void **state)
{
	struct fix *f = *state;

	b->close(f->spool);
	store_detach(f->h);
	store_close(f->store);
	free(f);
	return 0;
}

static struct id id_of(unsigned n)
{
	const unsigned char random[10] = { [8] = (unsigned char)(n >> 8), [9] = (unsigned char)n };

	return id_make(T0, random);
}

/* Recipients 0 and 1; one delivery, or one each. */
static struct id put(struct fix *f, uint64_t account, const char *key, const char *dest,
		     const char *dest2)
{
	struct spool_rcpt rcpts[] = { { .path = S("x@y.test") },
				      { .path = S("z@y.test"), .delivery = dest2 != NULL } };
	struct slice dests[] = { slice_str(dest), dest2 ? slice_str(dest2) : S("") };
	struct spool_envelope env = { .id = id_of(++f->puts),
				      .account = account,
				      .key_id = slice_str(key),
				      .accepted_ms = T0,
				      .rcpts = rcpts,
				      .n_rcpts = 2,
				      .dests = dests,
				      .n_deliveries = dest2 ? 2 : 1 };
	struct spool_content content = { .head = S("X: y\r\n\r\n"), .fd = -1 };
	struct spool_op op = {
		.kind = SPOOL_PUT, .envelope = &env, .content = &content, .due_ms = T0 + 5000
	};
	struct spool_op *ops[] = { &op };

	assert_true(b->commit(f->spool, ops, 1, NULL));
	assert_int_equal(op.result, SPOOL_OK);
	return env.id;
}

static void refuse(struct fix *f, struct id id, uint32_t delivery, uint32_t rcpt)
{
	struct spool_verdict v = { .rcpt = rcpt, .state = RCPT_FAILED, .reply = S("550 no") };
	struct spool_op op = { .kind = SPOOL_SETTLE,
			       .id = id,
			       .delivery = delivery,
			       .verdicts = &v,
			       .n_verdicts = 1,
			       .next_ms = T0 + 5000,
			       .attempted = true };
	struct spool_op *ops[] = { &op };

	assert_true(b->commit(f->spool, ops, 1, NULL));
}

static struct spool_count counts(struct fix *f)
{
	struct spool_count c;

	b->count(f->spool, &c);
	return c;
}

/* Acts in the trail of an account, with their objects. */
static void assert_trail(struct fix *f, uint64_t account, const char *wanted)
{
	struct trail_row *rows;
	struct buf text;
	struct arena a;
	size_t n;

	arena_init(&a, 1 << 20);
	buf_init(&text, 4096);
	OK(trail_list(f->h, account, NULL, 100, &a, &rows, &n, &f->e));
	for (size_t i = 0; i < n; i++) {
		if (!slice_starts(rows[i].act, S("queue.")))
			continue;
		assert_slice(rows[i].who, S("uid:0 pid:7"));
		buf_add(&text, rows[i].act);
		buf_addc(&text, ' ');
		buf_add(&text, rows[i].object);
		buf_addc(&text, ';');
	}
	assert_slice(buf_slice(&text), slice_str(wanted));
	buf_done(&text);
	arena_done(&a);
}

static void act(struct fix *f, enum operate_act what, struct id id, uint64_t messages,
		uint64_t deliveries)
{
	struct operate_result r = { 0 };

	OK(operate_ids(&f->o, what, &id, 1, &r, &f->e));
	assert_int_equal(r.messages, messages);
	assert_int_equal(r.deliveries, deliveries);
	assert_int_equal(r.under_way, 0);
}

static void by_id(void **state)
{
	struct fix *f = *state;
	struct id id = put(f, f->shop.id, "k", "a.test", "b.test");
	struct operate_result r = { 0 };
	char trail[200], text[ID_TEXT + 1] = "";
	struct buf name = { .p = text, .cap = ID_TEXT, .max = ID_TEXT };

	act(f, OPERATE_HOLD, id, 1, 2);
	assert_int_equal(counts(f).held, 2);
	act(f, OPERATE_HOLD, id, 0, 0);
	act(f, OPERATE_RELEASE, id, 1, 2);
	assert_int_equal(counts(f).held, 0);
	refuse(f, id, 0, 0);
	assert_int_equal(counts(f).failed_rcpts, 1);
	act(f, OPERATE_RETRY, id, 1, 2);
	assert_int_equal(counts(f).failed_rcpts, 0);
	act(f, OPERATE_CANCEL, id, 1, 2);
	assert_string_equal(f->told, "x@y.test z@y.test ");
	assert_int_equal(counts(f).messages, 0);
	assert_false(operate_ids(&f->o, OPERATE_CANCEL, &id, 1, &r, &f->e));
	assert_int_equal(f->e.kind, ERR_ABSENT);
	id_add(&name, id);
	snprintf(trail, sizeof trail,
		 "queue.hold %s;queue.release %s;queue.retry %s;queue.cancel %s;", text, text, text,
		 text);
	assert_trail(f, f->shop.id, trail);
}

/* Only the deliveries that the filter is about. */
static void by_filter(void **state)
{
	struct fix *f = *state;
	struct id id = put(f, f->shop.id, "k", "a.test", "b.test");
	struct spool_filter to_b = { .dest = S("b.test") };
	struct spool_message m;
	struct operate_result r = { 0 };
	struct arena a;
	uint64_t at = 0;

	put(f, f->shop.id, "k", "a.test", NULL);
	put(f, f->other.id, "k", "b.test", NULL);
	OK(operate_step(&f->o, OPERATE_CANCEL, &to_b, S("domain=b.test"), &at, &r, &f->e));
	assert_true(at == WALK_END);
	assert_int_equal(r.messages, 2);
	assert_string_equal(f->told, "z@y.test x@y.test z@y.test ");
	assert_int_equal(counts(f).messages, 2);
	arena_init(&a, 1 << 20);
	OK(b->look(f->spool, id, &a, &m, &f->e));
	assert_int_equal(m.envelope.rcpts[0].state, RCPT_PENDING);
	assert_int_equal(m.envelope.rcpts[1].state, RCPT_CANCELLED);
	assert_slice(m.envelope.rcpts[1].reply, S("cancelled by uid:0 pid:7"));
	arena_done(&a);
	assert_trail(f, 0, "queue.cancel domain=b.test;");
	/* Nothing fits: nothing is written down. */
	at = 0;
	OK(operate_step(&f->o, OPERATE_CANCEL, &to_b, S("domain=b.test"), &at, &r, &f->e));
	assert_trail(f, 0, "queue.cancel domain=b.test;");
}

static void in_steps(void **state)
{
	struct fix *f = *state;
	struct operate_result r = { 0 };
	struct spool_filter all = { .account = f->shop.id };
	uint64_t at = 0;
	unsigned steps = 0;

	for (unsigned i = 0; i < 2500; i++)
		put(f, i % 5 ? f->shop.id : f->other.id, "k", "a.test", i % 2 ? "b.test" : NULL);
	for (; at != WALK_END; steps++)
		OK(operate_step(&f->o, OPERATE_HOLD, &all, S("account=shop"), &at, &r, &f->e));
	assert_in_range(steps, 2, 4);
	assert_int_equal(r.messages, 2000);
	assert_int_equal(r.deliveries, 3000);
	assert_int_equal(counts(f).held, 3000);
	f->stuck = true;
	at = 0;
	assert_false(operate_step(&f->o, OPERATE_RELEASE, &all, S("account=shop"), &at, &r, &f->e));
	assert_int_equal(f->e.kind, ERR_LATER);
	assert_int_equal(counts(f).held, 3000);
}

static void an_attempt_goes_on(void **state)
{
	struct fix *f = *state;
	struct id id = put(f, f->shop.id, "k", "a.test", "b.test");
	struct operate_result r = { 0 };
	struct spool_ticket t;
	struct spool_dest d;
	uint64_t wait;
	bool more;

	assert_int_equal(b->next(f->spool, T0 + 5000, &d, 1, &wait), 1);
	assert_int_equal(b->take(f->spool, d.flow, T0 + 5000, &t, 1, &more), 1);
	OK(operate_ids(&f->o, OPERATE_CANCEL, &id, 1, &r, &f->e));
	assert_int_equal(r.deliveries, 1);
	assert_int_equal(r.under_way, 1);
	assert_int_equal(counts(f).leased, 1);
}

static uint64_t stopped(struct fix *f)
{
	return counts(f).stopped;
}

/* What the database says is so in the spool, also after it was opened anew. */
static void states(void **state)
{
	struct fix *f = *state;
	struct actor *by = &f->o.by;

	put(f, f->shop.id, f->key.id, "a.test", NULL);
	put(f, f->shop.id, "another", "a.test", NULL);
	put(f, f->other.id, "k", "a.test", NULL);
	put(f, 4711, "k", "a.test", NULL); /* of nobody any more */
	OK(operate_states(&f->o, &f->e));
	assert_int_equal(stopped(f), 0);
	OK(key_revoke(f->h, by, slice_str(f->key.id), QUEUED_AS_STATE, &f->e));
	OK(operate_states(&f->o, &f->e));
	assert_int_equal(stopped(f), 1);
	OK(key_set_queued(f->h, by, slice_str(f->key.id), QUEUED_KEEP, &f->e));
	OK(operate_states(&f->o, &f->e));
	assert_int_equal(stopped(f), 0);
	OK(account_set_state(f->h, by, f->shop.id, ACCOUNT_HELD, QUEUED_AS_STATE, &f->e));
	OK(operate_states(&f->o, &f->e));
	assert_int_equal(stopped(f), 2);
	OK(account_set_queued(f->h, by, f->shop.id, QUEUED_KEEP, &f->e));
	OK(account_get(f->h, f->shop.id, &f->shop, &f->e));
	OK(operate_account(&f->o, &f->shop, &f->e));
	assert_int_equal(stopped(f), 0);
}

static void what_is_to_be_cancelled(void **state)
{
	struct fix *f = *state;
	struct actor *by = &f->o.by;
	struct operate_result r = { 0 };
	bool more = true;

	for (unsigned i = 0; i < 1500; i++)
		put(f, f->shop.id, i % 3 ? f->key.id : "another", "a.test", NULL);
	put(f, f->other.id, "k", "a.test", NULL);
	OK(operate_expire(&f->o, 1000, &r, &more, &f->e));
	assert_false(more);
	OK(key_revoke(f->h, by, slice_str(f->key.id), QUEUED_CANCEL, &f->e));
	OK(operate_expire(&f->o, 1000, &r, &more, &f->e));
	while (more)
		OK(operate_expire(&f->o, 1000, &r, &more, &f->e));
	assert_int_equal(r.messages, 1000);
	assert_int_equal(counts(f).messages, 501);
	OK(account_set_state(f->h, by, f->other.id, ACCOUNT_CLOSED, QUEUED_AS_STATE, &f->e));
	OK(account_set_state(f->h, by, f->shop.id, ACCOUNT_CLOSED, QUEUED_KEEP, &f->e));
	by->now_ms += 999;
	OK(operate_expire(&f->o, 1000, &r, &more, &f->e));
	assert_int_equal(counts(f).messages, 501);
	by->now_ms++;
	OK(operate_expire(&f->o, 1000, &r, &more, &f->e));
	assert_int_equal(counts(f).messages, 500);
	assert_trail(f, f->other.id, "queue.cancel account closed;");
}

int operate_tests(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(by_id),    T(by_filter),
		T(in_steps), T(an_attempt_goes_on),
		T(states),   T(what_is_to_be_cancelled),
	};

	return cmocka_run_group_tests_name("relay operate", tests, NULL, NULL);
}
