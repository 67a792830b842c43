#include "relay/bounce.h"

#include "relay/room_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ACCEPTED 1700000000000
#define DELAY    14400000

static const struct bounce_conf on = {
	.enabled = true,
	.hostname = S("relay.example"),
	.from = S("Mail <m@relay.example>"),
	.delay_ms = DELAY,
	.lifetime_ms = 432000000,
	.full_max = 1000,
};

/* -- the rules -- */

static void who_is_told(void **state)
{
	enum { BEFORE = ACCEPTED + DELAY - 1, AFTER = ACCEPTED + DELAY };
	static const struct bounce_conf off = { .delay_ms = DELAY }, warns = {
		.enabled = true, .delay_warning = true, .delay_ms = DELAY
	};
	static const struct slice jo = S("jo@shop.example"), nobody = S("");
	static const struct {
		const struct bounce_conf *c;
		const struct slice *from;
		unsigned notify;
		bool told;
		enum bounce_hop hop;
		uint64_t now;
		enum spool_rcpt_state state;
		/* expected */
		enum bounce_kind kind;
		enum spool_rcpt_state then;
		const char *why;
	} cases[] = {
		/* failures */
		{ &on, &jo, 0, false, HOP_DSN, BEFORE, RCPT_FAILED, BOUNCE_FAILED, RCPT_BOUNCED,
		  NULL },
		{ &on, &jo, NOTIFY_FAILURE, false, HOP_SILENT, BEFORE, RCPT_FAILED, BOUNCE_FAILED,
		  RCPT_BOUNCED, NULL },
		{ &on, &jo, NOTIFY_FAILURE | NOTIFY_DELAY | NOTIFY_SUCCESS, false, HOP_SILENT,
		  AFTER, RCPT_FAILED, BOUNCE_FAILED, RCPT_BOUNCED, NULL },
		{ &on, &jo, NOTIFY_NEVER, false, HOP_SILENT, AFTER, RCPT_FAILED, BOUNCE_NONE,
		  RCPT_BOUNCED, "not_wanted" },
		{ &on, &jo, NOTIFY_SUCCESS | NOTIFY_DELAY, false, HOP_SILENT, AFTER, RCPT_FAILED,
		  BOUNCE_NONE, RCPT_BOUNCED, "not_wanted" },
		{ &on, &nobody, 0, false, HOP_SILENT, AFTER, RCPT_FAILED, BOUNCE_NONE, RCPT_BOUNCED,
		  "null_sender" },
		{ &on, &nobody, NOTIFY_FAILURE, false, HOP_SILENT, AFTER, RCPT_FAILED, BOUNCE_NONE,
		  RCPT_BOUNCED, "null_sender" },
		{ &off, &jo, 0, false, HOP_SILENT, AFTER, RCPT_FAILED, BOUNCE_NONE, RCPT_FAILED,
		  NULL },
		{ &off, &nobody, NOTIFY_FAILURE, false, HOP_SILENT, AFTER, RCPT_FAILED, BOUNCE_NONE,
		  RCPT_FAILED, NULL },
		/* successes */
		{ &on, &jo, NOTIFY_SUCCESS, false, HOP_SILENT, AFTER, RCPT_DELIVERED,
		  BOUNCE_SUCCESS, RCPT_DELIVERED, NULL },
		{ &on, &jo, NOTIFY_SUCCESS, false, HOP_FINAL, AFTER, RCPT_DELIVERED, BOUNCE_SUCCESS,
		  RCPT_DELIVERED, NULL },
		{ &on, &jo, NOTIFY_SUCCESS, false, HOP_DSN, AFTER, RCPT_DELIVERED, BOUNCE_NONE,
		  RCPT_DELIVERED, NULL },
		{ &on, &jo, 0, false, HOP_SILENT, AFTER, RCPT_DELIVERED, BOUNCE_NONE,
		  RCPT_DELIVERED, NULL },
		{ &on, &jo, NOTIFY_FAILURE | NOTIFY_DELAY, false, HOP_FINAL, AFTER, RCPT_DELIVERED,
		  BOUNCE_NONE, RCPT_DELIVERED, NULL },
		{ &on, &nobody, NOTIFY_SUCCESS, false, HOP_SILENT, AFTER, RCPT_DELIVERED,
		  BOUNCE_NONE, RCPT_DELIVERED, NULL },
		{ &off, &jo, NOTIFY_SUCCESS, false, HOP_SILENT, AFTER, RCPT_DELIVERED, BOUNCE_NONE,
		  RCPT_DELIVERED, NULL },
		/* delays */
		{ &on, &jo, NOTIFY_DELAY, false, HOP_SILENT, BEFORE, RCPT_PENDING, BOUNCE_NONE,
		  RCPT_PENDING, NULL },
		{ &on, &jo, NOTIFY_DELAY, false, HOP_SILENT, AFTER, RCPT_PENDING, BOUNCE_DELAYED,
		  RCPT_PENDING, NULL },
		{ &on, &jo, NOTIFY_DELAY, true, HOP_SILENT, AFTER, RCPT_PENDING, BOUNCE_NONE,
		  RCPT_PENDING, NULL },
		{ &on, &jo, 0, false, HOP_SILENT, AFTER, RCPT_PENDING, BOUNCE_NONE, RCPT_PENDING,
		  NULL },
		{ &warns, &jo, 0, false, HOP_SILENT, AFTER, RCPT_PENDING, BOUNCE_DELAYED,
		  RCPT_PENDING, NULL },
		{ &warns, &jo, NOTIFY_FAILURE, false, HOP_SILENT, AFTER, RCPT_PENDING, BOUNCE_NONE,
		  RCPT_PENDING, NULL },
		{ &warns, &jo, NOTIFY_NEVER, false, HOP_SILENT, AFTER, RCPT_PENDING, BOUNCE_NONE,
		  RCPT_PENDING, NULL },
		{ &warns, &nobody, 0, false, HOP_SILENT, AFTER, RCPT_PENDING, BOUNCE_NONE,
		  RCPT_PENDING, NULL },
		{ &off, &jo, NOTIFY_DELAY, false, HOP_SILENT, AFTER, RCPT_PENDING, BOUNCE_NONE,
		  RCPT_PENDING, NULL },
		/* what others decided */
		{ &on, &jo, NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY, false, HOP_SILENT,
		  AFTER, RCPT_CANCELLED, BOUNCE_NONE, RCPT_CANCELLED, NULL },
		{ &on, &jo, NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY, false, HOP_SILENT,
		  AFTER, RCPT_BOUNCED, BOUNCE_NONE, RCPT_BOUNCED, NULL },
	};

	(void)state;
	for (size_t i = 0; i < LEN(cases); i++) {
		struct spool_rcpt r = { .notify = cases[i].notify, .told_delay = cases[i].told };
		struct spool_verdict v = { .state = cases[i].state };
		const char *why = "unset";
		enum bounce_kind kind = bounce_judge(cases[i].c, *cases[i].from, &r, cases[i].hop,
						     ACCEPTED, cases[i].now, &v, &why);

		if (kind != cases[i].kind || v.state != cases[i].then)
			fail_msg("case %zu: %s, state %d", i, bounce_kind_name(kind), (int)v.state);
		assert_int_equal(v.told_delay, kind == BOUNCE_DELAYED);
		if (cases[i].why)
			assert_string_equal(why, cases[i].why);
		else
			assert_null(why);
	}
}

/* -- how many -- */

static void rate(void **state)
{
	struct bounce_rate *r = calloc(1, sizeof *r);
	unsigned refused = 0;

	(void)state;
	assert_non_null(r);
	r->key[0] = 7;
	for (int i = 0; i < 3; i++)
		assert_true(bounce_rate_take(r, S("a@b.example"), ACCEPTED, 3));
	assert_false(bounce_rate_take(r, S("a@b.example"), ACCEPTED, 3));
	assert_true(bounce_rate_take(r, S("c@b.example"), ACCEPTED, 3));
	assert_true(bounce_rate_take(r, S("a@b.example"), ACCEPTED, 4));
	assert_true(bounce_rate_take(r, S("a@b.example"), ACCEPTED, 0));
	assert_true(bounce_rate_take(r, S("a@b.example"), ACCEPTED + 3600000, 3));
	/* Many others do not make it forget whoever is told most. */
	for (int i = 0; i < 100; i++)
		(void)bounce_rate_take(r, S("loud@b.example"), ACCEPTED, 100);
	for (int i = 0; i < 100000; i++) {
		char name[32];

		snprintf(name, sizeof name, "n%d@b.example", i);
		assert_true(bounce_rate_take(r, slice_str(name), ACCEPTED, 100));
		refused += !bounce_rate_take(r, S("loud@b.example"), ACCEPTED, 100);
	}
	assert_int_equal(refused, 100000);
	free(r);
}

/* -- the notice -- */

struct about {
	struct spool_rcpt rcpts[3];
	struct spool_message m;
	struct outcome_answer answers[3];
	struct spool_verdict verdicts[3];
	enum bounce_kind kinds[3];
	struct bounce_about b;
};

static void make(struct about *x)
{
	static const struct slice dests[] = { S("to.example") };

	*x = (struct about){
		.rcpts = { { .path = S("one@to.example"), .orcpt = S("rfc822;One@to.example") },
			   { .path = S("two@to.example") },
			   { .path = S("three@to.example") } },
		.answers = { { 2, 550, S("5.1.1 no"), true },
			     { 0, 451, S("4.2.0 busy"), true },
			     { 1, 250, S("2.0.0 ok"), true } },
		.verdicts = { { 2, RCPT_BOUNCED, S("5.1.1 no") },
			      { 0, RCPT_PENDING, S("4.2.0 busy"), true },
			      { 1, RCPT_DELIVERED, S("2.0.0 ok") } },
		.kinds = { BOUNCE_FAILED, BOUNCE_DELAYED, BOUNCE_SUCCESS },
		.b = { .kind = BOUNCE_FAILED,
		       .n = 3,
		       .mta = S("mx.to.example"),
		       .token = S("tok"),
		       .now_ms = ACCEPTED + 5000 },
	};
	x->m.envelope = (struct spool_envelope){ .account = 7,
						 .key_id = S("key"),
						 .accepted_ms = ACCEPTED,
						 .reverse_path = S("Jo@Shop.Example"),
						 .envid = S("E1"),
						 .rcpts = x->rcpts,
						 .n_rcpts = 3,
						 .dests = dests,
						 .n_deliveries = 1,
						 .size = 20 };
	x->m.content =
	    (struct spool_content){ .head = S("A: b\r\n\r\n"), .body = S("body\r\n"), .fd = -1 };
	x->b.message = &x->m;
	x->b.answers = x->answers;
	x->b.verdicts = x->verdicts;
	x->b.kinds = x->kinds;
	x->b.id = id_make(ACCEPTED, (const unsigned char *)"0123456789");
}

struct notice {
	struct arena arena;
	struct spool_envelope env;
	struct spool_content content;
	char text[20000];
};

static struct notice *compose(const struct bounce_conf *c, const struct bounce_about *b)
{
	struct notice *n = calloc(1, sizeof *n);
	struct err e = { 0 };

	assert_non_null(n);
	arena_init(&n->arena, 1 << 20);
	if (!bounce_compose(c, b, &n->arena, &n->env, &n->content, &e))
		fail_msg("%s", e.text);
	assert_true(slice_ends(n->content.head, S("\r\n\r\n")));
	snprintf(n->text, sizeof n->text, "%.*s%.*s", SLICE_ARG(n->content.head),
		 SLICE_ARG(n->content.body));
	return n;
}

static void drop(struct notice *n)
{
	arena_done(&n->arena);
	free(n);
}

#define assert_has(text, what)     assert_non_null(strstr((text), (what)))
#define assert_has_not(text, what) assert_null(strstr((text), (what)))

static void goes_to_the_sender(void **state)
{
	struct about x;
	struct notice *n;

	(void)state;
	make(&x);
	n = compose(&on, &x.b);
	assert_int_equal(n->env.account, 7);
	assert_int_equal(n->env.accepted_ms, ACCEPTED + 5000);
	assert_slice(n->env.reverse_path, S(""));
	assert_slice(n->env.key_id, S(""));
	assert_int_equal(n->env.n_rcpts, 1);
	assert_slice(n->env.rcpts[0].path, S("Jo@Shop.Example"));
	assert_int_equal(n->env.rcpts[0].notify, NOTIFY_NEVER);
	assert_int_equal(n->env.ret, RET_NONE);
	assert_int_equal(n->env.n_deliveries, 1);
	assert_slice(n->env.dests[0], S("shop.example"));
	assert_true(id_eq(n->env.id, x.b.id));
	assert_true(n->content.fd < 0);
	assert_has(n->text, "To: Jo@Shop.Example\r\n");
	assert_has(n->text, "Original-Envelope-Id: E1\r\n");
	drop(n);
}

/* Each notice speaks of those it is about, and of nobody else. */
static void each_kind(void **state)
{
	static const struct {
		enum bounce_kind kind;
		enum bounce_hop hop;
		const char *want[3], *not [2];
	} cases[] = {
		{ BOUNCE_FAILED,
		  HOP_SILENT,
		  { "Final-Recipient: rfc822; three@to.example\r\nAction: failed\r\nStatus: "
		    "5.1.1\r\n",
		    "Diagnostic-Code: smtp; 550 5.1.1 no\r\n",
		    "Remote-MTA: dns; mx.to.example\r\n" },
		  { "one@to.example", "two@to.example" } },
		{ BOUNCE_DELAYED,
		  HOP_SILENT,
		  { "Original-Recipient: rfc822; One@to.example\r\nFinal-Recipient: rfc822; "
		    "one@to.example\r\nAction: delayed\r\nStatus: 4.2.0\r\n" },
		  { "two@to.example", "three@to.example" } },
		{ BOUNCE_SUCCESS,
		  HOP_SILENT,
		  { "two@to.example\r\nAction: relayed\r\nStatus: 2.0.0\r\n" },
		  { "one@to.example", "three@to.example" } },
		{ BOUNCE_SUCCESS,
		  HOP_FINAL,
		  { "two@to.example\r\nAction: delivered\r\n" },
		  { "one@to.example", "three@to.example" } },
	};

	(void)state;
	for (size_t i = 0; i < LEN(cases); i++) {
		struct about x;
		struct notice *n;

		make(&x);
		x.b.kind = cases[i].kind;
		x.b.hop = cases[i].hop;
		n = compose(&on, &x.b);
		for (size_t k = 0; k < 3 && cases[i].want[k]; k++)
			assert_has(n->text, cases[i].want[k]);
		for (size_t k = 0; k < 2; k++)
			assert_has_not(n->text, cases[i].not [k]);
		drop(n);
	}
	/* One whose time was over. */
	{
		struct about x;
		struct notice *n;

		make(&x);
		x.kinds[1] = BOUNCE_FAILED;
		x.verdicts[1].state = RCPT_BOUNCED;
		n = compose(&on, &x.b);
		assert_has(n->text, "one@to.example\r\nAction: failed\r\nStatus: 4.4.7\r\n");
		assert_has(n->text, "three@to.example\r\nAction: failed\r\nStatus: 5.1.1\r\n");
		drop(n);
	}
}

/* RFC 3461 4.3: whole only when asked for, of a failure, and not too large. */
static void ret_decides(void **state)
{
	static const struct {
		enum dsn_ret ret;
		enum bounce_kind kind;
		uint64_t size;
		bool full;
	} cases[] = {
		{ RET_NONE, BOUNCE_FAILED, 20, false },   { RET_HDRS, BOUNCE_FAILED, 20, false },
		{ RET_FULL, BOUNCE_FAILED, 20, true },    { RET_FULL, BOUNCE_FAILED, 1000, true },
		{ RET_FULL, BOUNCE_FAILED, 1001, false }, { RET_FULL, BOUNCE_DELAYED, 20, false },
		{ RET_FULL, BOUNCE_SUCCESS, 20, false },
	};
	char name[] = "/tmp/signet-bounce-XXXXXX";
	int fd = mkstemp(name);

	(void)state;
	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(write(fd, "....body\r\n", 10), 10);
	for (size_t i = 0; i < 2 * LEN(cases); i++) {
		struct about x;
		struct notice *n;

		make(&x);
		x.m.envelope.ret = cases[i / 2].ret;
		x.m.envelope.size = cases[i / 2].size;
		x.b.kind = cases[i / 2].kind;
		if (i % 2)
			x.m.content = (struct spool_content){
				.head = S("A: b\r\n\r\n"), .fd = fd, .fd_offset = 4, .fd_bytes = 6
			};
		n = compose(&on, &x.b);
		assert_has(n->text, "A: b\r\n");
		if (cases[i / 2].full)
			assert_has(n->text, "message/rfc822\r\n");
		else
			assert_has(n->text, "text/rfc822-headers\r\n");
		assert_int_equal(strstr(n->text, "\r\n\r\nbody\r\n") != NULL, cases[i / 2].full);
		drop(n);
	}
	close(fd);
}

static void utf8_and_eight_bits(void **state)
{
	struct about x;
	struct notice *n;

	(void)state;
	make(&x);
	x.m.envelope.reverse_path = S("j\xc3\xb6@shop.example");
	n = compose(&on, &x.b);
	assert_true(n->env.smtputf8 && n->env.body_8bit);
	drop(n);
	make(&x);
	x.m.envelope.ret = RET_FULL;
	x.m.content.body = S("\xfc\r\n");
	n = compose(&on, &x.b);
	assert_true(!n->env.smtputf8 && n->env.body_8bit);
	drop(n);
	make(&x);
	n = compose(&on, &x.b);
	assert_true(!n->env.smtputf8 && !n->env.body_8bit);
	drop(n);
}

static void nobody_to_tell(void **state)
{
	static const struct slice paths[] = { S(""), S("postmaster"), S("a@"), S("a@b..c"),
					      S("a@\xff") };

	(void)state;
	for (size_t i = 0; i < LEN(paths); i++) {
		struct spool_envelope env;
		struct spool_content content;
		struct err e = { 0 };
		struct about x;
		struct arena a;

		make(&x);
		x.m.envelope.reverse_path = paths[i];
		arena_init(&a, 1 << 20);
		assert_false(bounce_compose(&on, &x.b, &a, &env, &content, &e));
		assert_int_equal(e.kind, ERR_INPUT);
		arena_done(&a);
	}
}

static void without_memory(void **state)
{
	unsigned failures = 0;

	(void)state;
	for (size_t at = 1;; at++) {
		struct spool_envelope env;
		struct spool_content content;
		struct err e = { 0 };
		struct about x;
		struct arena a;
		bool ok;

		make(&x);
		x.m.envelope.ret = RET_FULL;
		arena_init(&a, 1 << 20);
		memory_fails_at(at);
		ok = bounce_compose(&on, &x.b, &a, &env, &content, &e);
		if (!memory_failed()) {
			assert_true(ok);
			arena_done(&a);
			break;
		}
		memory_fails_at(0);
		if (!ok) {
			assert_int_equal(e.kind, ERR_LATER);
			failures++;
		}
		arena_done(&a);
	}
	memory_fails_at(0);
	assert_true(failures > 0);
}

int bounce_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_told),        cmocka_unit_test(rate),
		cmocka_unit_test(goes_to_the_sender), cmocka_unit_test(each_kind),
		cmocka_unit_test(ret_decides),        cmocka_unit_test(utf8_and_eight_bits),
		cmocka_unit_test(nobody_to_tell),     cmocka_unit_test(without_memory),
	};

	return cmocka_run_group_tests_name("relay bounce", tests, NULL, NULL);
}
