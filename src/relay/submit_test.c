/* relay/submit_test.c -- may this message be sent, and as what? */
#include "relay/submit_rig_test.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the sender rule ---- */

// clang-format off
static const struct {
	const char *fields, *reverse_domain;
	bool smtputf8, ready;
} rules[] = {
	{ "From: a@own.test\r\n", "own.test", 0, true },
	{ "From: a@OWN.Test\r\n", "oWn.tEST", 0, true },
	{ "From: \"x@foreign.test\" <a@own.test>\r\n", "own.test", 0, true },
	{ "From: a@foreign.test\r\n", "own.test", 0, false },
	{ "From: \"a@own.test\" <a@foreign.test>\r\n", "own.test", 0, false },
	{ "From: a@foreign.test (a@own.test)\r\n", "own.test", 0, false },
	{ "From: a@own.test\r\n", "foreign.test", 0, false },
	{ "From: a@own.test\r\n", "", 0, true }, /* a bounce of an on-premise server */
	{ "From: a@foreign.test\r\n", "", 0, false },
	{ "From: a@unheard-of.test\r\n", "own.test", 0, false },
	/* every address in it */
	{ "From: a@own.test, b@tree.test\r\n", "own.test", 0, true },
	{ "From: a@own.test, b@foreign.test\r\n", "own.test", 0, false },
	{ "From: b@foreign.test,\r\n a@own.test\r\n", "own.test", 0, false },
	{ "From: a@own.test, a@own.test, a@own.test, c@foreign.test\r\n", "own.test", 0, false },
	/* Sender */
	{ "From: a@own.test\r\nSender: s@tree.test\r\n", "own.test", 0, true },
	{ "From: a@own.test\r\nSender: s@foreign.test\r\n", "own.test", 0, false },
	{ "Sender: a@own.test\r\nFrom: s@foreign.test\r\n", "own.test", 0, false },
	/* names above and below */
	{ "From: a@x.own.test\r\n", "own.test", 0, false },
	{ "From: a@test\r\n", "own.test", 0, false },
	{ "From: a@xown.test\r\n", "own.test", 0, false },
	{ "From: a@own.test.evil\r\n", "own.test", 0, false },
	{ "From: a@x.tree.test\r\n", "x.y.tree.test", 0, true },
	{ "From: a@taken.tree.test\r\n", "own.test", 0, false },
	{ "From: a@x.taken.tree.test\r\n", "own.test", 0, false },
	{ "From: a@own.test\r\n", "x.own.test", 0, false },
	{ "From: a@own.test\r\n", "x.taken.tree.test", 0, false },
	/* no names at all */
	{ "From: a@[192.0.2.1]\r\n", "own.test", 0, false },
	{ "From: a@own.test\r\n", "[192.0.2.1]", 0, false },
	{ "From: a@own_.test\r\n", "own.test", 0, false },
	/* in another script */
	{ "From: a@b\xc3\xbc" "cher.test\r\n", "B\xc3\x9c" "CHER.test", 1, true },
	{ "From: a@xn--bcher-kva.test\r\n", "own.test", 0, true },
	{ "From: a@bucher.test\r\n", "own.test", 1, false },
	/* what others wrote decides nothing */
	{ "From: a@own.test\r\nTo: b@foreign.test\r\nReply-To: c@foreign.test\r\n"
	  "Resent-From: d@foreign.test\r\nX-Sender: e@foreign.test\r\n", "own.test", 0, true },
};
// clang-format on

static void every_sender_is_looked_at(void **state)
{
	struct fix *f = *state;

	for (size_t i = 0; i < LEN(rules); i++) {
		char message[1000];
		struct mail m = { message, rules[i].reverse_domain, rules[i].smtputf8, 0, 0, 0 };
		enum submit_verdict v;

		/* The second time from the cache, with the same result. */
		for (int again = 0; again < 2; again++) {
			print_message("  case %zu.%d\n", i, again);
			snprintf(message, sizeof message, "%s\r\nbody", rules[i].fields);
			v = run(f, &m);
			if (rules[i].ready)
				assert_ready(f, v);
			else
				assert_foreign(f, v);
			if (again) {
				assert_int_equal(f->rounds, 0);
				assert_int_equal(f->lookups, 0);
			}
		}
	}
}

static void an_account_has_its_own_rights_only(void **state)
{
	struct fix *f = *state;
	struct mail m = { "From: a@own.test\r\n\r\n", "own.test", 0, 0, 0, 0 };

	assert_ready(f, run(f, &m));
	m.account = f->other;
	assert_foreign(f, run(f, &m));
	m.account = 4711;
	assert_foreign(f, run(f, &m));
	m = (struct mail){ "From: a@foreign.test\r\n\r\n", "x.foreign.test", 0, 0, 0, f->other };
	assert_ready(f, run(f, &m));
	m.account = 0;
	assert_foreign(f, run(f, &m));
}

/* The cache knows nothing any more once the store has changed. */
static void a_lost_domain_is_lost_at_once(void **state)
{
	struct fix *f = *state;
	struct mail m = { "From: a@own.test\r\n\r\n", "own.test", 0, 0, 0, 0 };

	assert_ready(f, run(f, &m));
	assert_int_equal(f->rounds, 1);
	take_away(f, "own.test");
	assert_foreign(f, run(f, &m));
	add(f, f->account, "own.test", false);
	assert_ready(f, run(f, &m));
}

/* ---- how often the store is asked ---- */

/* A message from domains first .. first + n - 1, one of them in Sender, one in the envelope. */
static const struct mail *from_many(unsigned first, unsigned n, char *message, size_t max,
				    char reverse[32])
{
	static struct mail m;
	size_t at = 0;

	at += (size_t)snprintf(message, max, "Sender: s@d%u.test\r\nFrom:", first);
	for (unsigned i = first + 1; i < first + n - 1; i++)
		at += (size_t)snprintf(message + at, max - at, "%s a@D%u.test",
				       i > first + 1 ? ",\r\n" : "", i);
	snprintf(message + at, max - at, "\r\n\r\n");
	snprintf(reverse, 32, "d%u.test", first + n - 1);
	m = (struct mail){ message, reverse, 0, 0, 0, 0 };
	return &m;
}

static void add_many(struct fix *f, unsigned first, unsigned n)
{
	for (unsigned i = first; i < first + n; i++) {
		char name[32];

		snprintf(name, sizeof name, "d%u.test", i);
		add(f, f->account, name, false);
	}
}

static void sixteen_domains_cost_one_round(void **state)
{
	struct fix *f = *state;
	char text[4000], reverse[32];
	const struct mail *m;

	add_many(f, 0, 20);
	m = from_many(0, SUBMIT_DOMAINS, text, sizeof text, reverse);
	assert_ready(f, run(f, m));
	assert_int_equal(f->rounds, 1);
	assert_int_equal(f->lookups, SUBMIT_DOMAINS); /* two labels, so one lookup each */
	assert_ready(f, run(f, m));
	assert_int_equal(f->rounds, 0);
	/* What is known is not asked for again. */
	m = from_many(2, SUBMIT_DOMAINS, text, sizeof text, reverse);
	assert_ready(f, run(f, m));
	assert_int_equal(f->rounds, 1);
	assert_int_equal(f->lookups, 2);
	/* The last of them counts like the first. */
	take_away(f, reverse);
	assert_foreign(f, run(f, m));
	assert_int_equal(f->rounds, 1);
}

static void seventeen_are_refused(void **state)
{
	struct fix *f = *state;
	char text[4000], reverse[32];
	const struct mail *m;

	add_many(f, 0, 20);
	for (unsigned round = 0; round < 2; round++) {
		m = from_many(0, SUBMIT_DOMAINS + 1, text, sizeof text, reverse);
		assert_refused(f, run(f, m), 554, "5.6.0",
			       "Message names more than 16 different sender domains",
			       "sender_domains");
		assert_int_equal(f->rounds + f->lookups, 0);
		/* Whatever the cache knows. */
		assert_ready(f, run(f, from_many(0, 10, text, sizeof text, reverse)));
		assert_ready(f, run(f, from_many(9, 10, text, sizeof text, reverse)));
	}
	/* The envelope's would be the 17th; the null reverse-path is none. */
	m = from_many(0, SUBMIT_DOMAINS + 1, text, sizeof text, reverse);
	reverse[0] = '\0';
	assert_ready(f, run(f, m));
}

/* A hundred addresses of one domain, and of it in other letters. */
static void one_domain_is_one_question(void **state)
{
	struct fix *f = *state;
	char text[4000];
	struct mail m = { text, "OWN.TEST", 0, 0, 0, 0 };
	int at = snprintf(text, sizeof text, "From: a@own.test");

	for (size_t i = 1; i < 100; i++)
		at += snprintf(text + at, sizeof text - (size_t)at, ",\r\n a@%s",
			       i % 2 ? "Own.test" : "own.TEST");
	snprintf(text + at, sizeof text - (size_t)at, "\r\n\r\n");
	assert_ready(f, run(f, &m));
	assert_int_equal(f->rounds, 1);
	assert_int_equal(f->question.n, 1);
	assert_int_equal(f->lookups, 1);
}

static void the_store_moves_on(struct fix *f)
{
	add(f, f->account, "new.test", false);
}

/* A cache that keeps nothing, a store that changes while it is asked: one round all the same, and
 * the answers are those that were given. */
static void one_round_whatever_happens_meanwhile(void **state)
{
	static const uint64_t key[2] = { 1, 2 };
	struct fix *f = *state;
	char text[4000], reverse[32];

	sender_cache_free(f->cache);
	f->cache = sender_cache_new(1, key);
	assert_non_null(f->cache);
	add_many(f, 0, SUBMIT_DOMAINS);
	assert_ready(f, run_between(f, from_many(0, SUBMIT_DOMAINS, text, sizeof text, reverse),
				    the_store_moves_on));
	assert_int_equal(f->rounds, 1);
	take_away(f, "d7.test");
	take_away(f, "new.test");
	assert_foreign(f, run_between(f, from_many(0, SUBMIT_DOMAINS, text, sizeof text, reverse),
				      the_store_moves_on));
	assert_int_equal(f->rounds, 1);
}

/* Whichever call of the store fails: come again, and never READY. */
static void the_store_is_down(void **state)
{
	struct fix *f = *state;
	struct mail m = {
		"From: a@x.tree.test\r\nSender: b@own.test\r\n\r\n", "tree.test", 0, 0, 0, 0
	};
	uint64_t at;

	for (at = 1;; at++) {
		enum submit_verdict v;

		store_memory_fail(f->store, at);
		v = run(f, &m);
		store_memory_fail(f->store, 0);
		if (v == SUBMIT_READY)
			break;
		assert_refused(f, v, 451, "4.3.0", "Temporary failure, try again later",
			       "store_down");
	}
	/* Begin and end of three questions, four names: each was seen to fail, less what the
	 * rounds before had put into the cache. */
	assert_in_range(at, 5, 11);
	/* One that is known to be foreign does not wait for the store. */
	m = (struct mail){ "From: a@foreign.test, b@nobody.test\r\n\r\n", "", 0, 0, 0, 0 };
	store_memory_fail(f->store, 3 + 1); /* the first question is three calls */
	assert_foreign(f, run(f, &m));
	store_memory_fail(f->store, 0);
}

/* ---- memory ---- */

static void bears_a_small_arena(void **state)
{
	struct fix *f = *state;
	struct mail own = { "From: a@own.test\r\n\r\n", "own.test", 0, 0, 0, 0 };
	struct mail foreign = { "From: a@foreign.test\r\n\r\n", "", 0, 0, 0, 0 };
	bool ok = false;

	for (size_t max = 0; !ok; max += 8) {
		enum submit_verdict v;

		arena_done(&f->a);
		arena_init(&f->a, max);
		v = run(f, &own);
		ok = v == SUBMIT_READY;
		if (!ok) {
			assert_int_equal(v, SUBMIT_REFUSED);
			assert_int_equal(f->result.code, 451);
			assert_slice(f->result.text, S("Out of memory, try again later"));
		}
		assert_int_not_equal(f->a.failed, ok);
		v = run(f, &foreign);
		assert_int_equal(v, SUBMIT_REFUSED);
		assert_true(f->result.code == 550 || f->result.code == 451);
		if (f->result.code == 550)
			assert_true(slice_starts(f->result.text, S(RULE)));
	}
}

/* Whichever allocation fails, of the store's and the cache's, too. */
static void bears_the_end_of_memory(void **state)
{
	struct fix *f = *state;
	struct mail own = {
		"From: a@own.test\r\nSender: b@tree.test\r\n\r\n", "own.test", 0, 0, 0, 0
	};
	struct mail foreign = {
		"From: a@own.test, a@foreign.test\r\n\r\n", "own.test", 0, 0, 0, 0
	};
	size_t refused = 0;

	for (size_t at = 1;; at++) {
		enum submit_verdict v;

		add(f, f->account, "more.test", false); /* so that nothing is in the cache */
		take_away(f, "more.test");
		memory_fails_at(at);
		v = run(f, &own);
		if (!memory_failed())
			break;
		if (v == SUBMIT_READY) { /* it was not kept in the cache, no more */
			assert_true(slice_starts(f->result.head, S("Received: ")));
			assert_true(slice_ends(f->result.head, S("\r\n\r\n")));
		} else {
			assert_int_equal(v, SUBMIT_REFUSED);
			assert_int_equal(f->result.code, 451);
			refused++;
		}
		memory_fails_at(0);
		add(f, f->account, "more.test", false);
		take_away(f, "more.test");
		memory_fails_at(at);
		v = run(f, &foreign);
		memory_fails_at(0);
		assert_int_equal(v, SUBMIT_REFUSED);
		assert_true(f->result.code == 550 || f->result.code == 451);
	}
	memory_fails_at(0);
	assert_true(refused >= 5);
}

int submit_tests(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, submit_begin, submit_end)
	const struct CMUnitTest tests[] = {
		T(every_sender_is_looked_at),
		T(an_account_has_its_own_rights_only),
		T(a_lost_domain_is_lost_at_once),
		T(sixteen_domains_cost_one_round),
		T(seventeen_are_refused),
		T(one_domain_is_one_question),
		T(one_round_whatever_happens_meanwhile),
		T(the_store_is_down),
		T(bears_a_small_arena),
		T(bears_the_end_of_memory),
	};

	return cmocka_run_group_tests_name("relay submit", tests, NULL, NULL);
}
