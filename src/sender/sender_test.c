/* sender/sender_test.c -- names, domains, the sender rule and its cache. */
#include "sender/may_send.h"

#include "account/account.h"
#include "base/err_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define LEN(a)   (sizeof(a) / sizeof(*(a)))
#define ACCOUNTS 3

struct fix {
	struct store *s;
	struct store_handle *h;
	struct arena a;
	struct err e;
	uint64_t id[ACCOUNTS];
};

static const struct actor by = { { "uid:0", 5 }, 1000 };

static int begin(void **state)
{
	static const struct schema *const schemas[] = { &account_schema, &sender_schema };
	static const char *const names[ACCOUNTS] = { "a", "b", "c" };
	static const struct store_conf conf = { .busy_ms = 50 };
	struct fix *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->s = store_open(&store_memory, &conf, schemas, 2, &f->e);
	f->h = f->s ? store_attach(f->s, &f->e) : NULL;
	arena_init(&f->a, 8 << 20);
	*state = f;
	for (size_t i = 0; f->h && i < ACCOUNTS; i++) {
		struct account a = { 0 };

		OK(f, account_add(f->h, &by, slice_str(names[i]), &a, &f->e));
		f->id[i] = a.id;
	}
	return f->h ? 0 : -1;
}

static int end(void **state)
{
	struct fix *f = *state;

	store_detach(f->h);
	store_close(f->s);
	arena_done(&f->a);
	free(f);
	return 0;
}

#define LABEL63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// clang-format off
static const struct {
	const char *spelled, *canonical; /* NULL: refused */
} spellings[] = {
	{ "example.com", "example.com" },
	{ "EXAMPLE.Com", "example.com" },
	{ "example.com.", "example.com" },
	{ "a-b.3com.x1", "a-b.3com.x1" },
	{ "b\xc3\xbc" "cher.example", "xn--bcher-kva.example" },
	{ "B\xc3\x9c" "CHER.Example.", "xn--bcher-kva.example" },
	{ "bu\xcc\x88" "cher.example", "xn--bcher-kva.example" }, /* not composed */
	{ "xn--bcher-kva.example", "xn--bcher-kva.example" },
	{ "XN--BCHER-KVA.EXAMPLE", "xn--bcher-kva.example" },
	{ "fa\xc3\x9f.example", "xn--fa-hia.example" }, /* IDNA2008: not fass */
	{ "\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80.\xd1\x80\xd1\x84", "xn--e1afmkfd.xn--p1ai" },
	{ LABEL63 ".com", LABEL63 ".com" },
	{ LABEL63 "." LABEL63 "." LABEL63 "." "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.com",
	  LABEL63 "." LABEL63 "." LABEL63 "." "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.com" },

	{ "", NULL }, { ".", NULL }, { "com", NULL }, { "com.", NULL }, { "localhost", NULL },
	{ ".example.com", NULL }, { "example..com", NULL }, { "example.com..", NULL },
	{ "-example.com", NULL }, { "example-.com", NULL }, { "example.com-", NULL }, { "example.-com", NULL },
	{ "exa mple.com", NULL }, { "exa_mple.com", NULL }, { "example.com\n", NULL }, { "*.example.com", NULL },
	{ "[192.0.2.1]", NULL }, { "192.0.2.1", NULL }, { "example.1", NULL }, { "a@example.com", NULL },
	{ "b\xfc" "cher.example", NULL }, /* Latin-1 */
	{ "b\xc3\xbc" "cher", NULL },
	{ "b\xc3\xbc" "cher\xe3\x80\x82" "example", NULL }, /* an ideographic full stop */
	{ "b\xc3\xbc" "cher.example\xef\xbc\x8e", NULL },   /* a full-width one */
	{ "b\xc3\xbc..example", NULL },
	{ LABEL63 "a.com", NULL },
	{ LABEL63 "." LABEL63 "." LABEL63 "." "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.com", NULL },
};
// clang-format on

static void test_spelling(void **state)
{
	for (size_t i = 0; i < LEN(spellings); i++) {
		char got[DOMAIN_NAME_MAX + 1] = "untouched";
		struct err e = { 0 };
		size_t n = 0;
		bool ok = domain_canonical(slice_str(spellings[i].spelled), got, &n, &e);

		if (ok != !!spellings[i].canonical)
			fail_msg("\"%s\": %s %s", spellings[i].spelled, ok ? got : "refused",
				 e.text);
		assert_string_equal(got, ok ? spellings[i].canonical : "untouched");
		assert_int_equal(n, ok ? strlen(got) : 0);
		assert_int_equal(e.kind, ok ? ERR_NONE : ERR_INPUT);
	}
	struct err e;
	char got[DOMAIN_NAME_MAX + 1];
	static char huge[100000];

	assert_false(domain_canonical(S("b\xc3\xbc\0.example"), got, NULL, &e));
	assert_false(domain_canonical(S("a\0.example"), got, NULL, &e));
	assert_false(domain_canonical(S("b\xc3\xbc"
					"cher.example\0x"),
				      got, NULL, &e));
	memset(huge, '\xc3', sizeof(huge));
	assert_false(domain_canonical(slice(huge, sizeof(huge)), got, NULL, &e));
}

static bool add(struct fix *f, size_t who, const char *name, bool subdomains)
{
	struct domain d;

	return domain_add_verified(f->h, &by, f->id[who], slice_str(name), subdomains, &d, &f->e);
}

static void test_domains(void **state)
{
	struct fix *f = *state;
	struct domain d, *list;
	struct trail_row *trail;
	size_t n;

	OK(f, domain_add_verified(f->h, &by, f->id[0],
				  S("B\xc3\xbc"
				    "cher.Example."),
				  true, &d, &f->e));
	assert_string_equal(d.name, "xn--bcher-kva.example");
	assert_int_equal(d.verified_ms, 1000);
	assert_true(d.subdomains);
	FAILS(f, ERR_CONFLICT, add(f, 0, "xn--bcher-kva.example", false));
	FAILS(f, ERR_CONFLICT, add(f, 1, "xn--BCHER-kva.example", false));
	FAILS(f, ERR_INPUT, add(f, 1, "com", true));
	FAILS(f, ERR_ABSENT,
	      domain_add_verified(f->h, &by, f->id[0] ^ 1, S("x.example"), true, &d, &f->e));
	OK(f, add(f, 0, "b.example", false));
	OK(f, add(f, 0, "a.example", false));
	OK(f, add(f, 1, "x.b.example", false)); /* a name below is a name of its own */
	OK(f, domain_list(f->h, f->id[0], S(""), 2, &f->a, &list, &n, &f->e));
	assert_int_equal(n, 2);
	assert_string_equal(list[0].name, "a.example");
	assert_false(list[0].subdomains);
	OK(f, domain_list(f->h, f->id[0], slice_str(list[1].name), 9, &f->a, &list, &n, &f->e));
	assert_int_equal(n, 1);
	assert_true(list[0].subdomains);

	FAILS(f, ERR_ABSENT, domain_remove(f->h, &by, f->id[1], S("a.example"), &f->e));
	OK(f, domain_remove(f->h, &by, f->id[0], S("A.example."), &f->e));
	FAILS(f, ERR_ABSENT, domain_remove(f->h, &by, f->id[0], S("a.example"), &f->e));
	OK(f, add(f, 1, "a.example", false)); /* free again */
	OK(f, trail_list(f->h, f->id[0], NULL, 99, &f->a, &trail, &n, &f->e));
	assert_int_equal(n, 5);
	assert_true(slice_eq(trail[1].act, S("domain.add")));
	assert_true(slice_eq(trail[4].act, S("domain.remove")));
	assert_true(slice_eq(trail[4].object, S("a.example")));
}

// clang-format off
static const struct {
	int who;
	const char *domain;
	enum sender_verdict wanted;
} rules[] = {
	/* a: plain.example; tree.example with subdomains; own.tree.example without
	 * b: b.tree.example; deep.b2.tree.example and b2.tree.example with subdomains
	 * c: bu"cher.example with subdomains */
	{ 0, "plain.example", SENDER_YES },
	{ 0, "PLAIN.example.", SENDER_YES },
	{ 1, "plain.example", SENDER_NO },
	{ 0, "x.plain.example", SENDER_NO },
	{ 0, "xplain.example", SENDER_NO },
	{ 0, "example", SENDER_NO },
	{ 0, "example.plain", SENDER_NO },
	{ 0, "plain.example.evil", SENDER_NO },
	{ 0, "tree.example", SENDER_YES },
	{ 0, "x.tree.example", SENDER_YES },
	{ 0, "x.y.z.Tree.Example", SENDER_YES },
	{ 0, "xtree.example", SENDER_NO },
	{ 1, "x.tree.example", SENDER_NO },
	{ 0, "own.tree.example", SENDER_YES },
	{ 0, "x.own.tree.example", SENDER_YES }, /* below tree.example; nobody else in between */
	{ 0, "b.tree.example", SENDER_NO },
	{ 1, "b.tree.example", SENDER_YES },
	{ 0, "x.b.tree.example", SENDER_NO },  /* the closer domain is b's */
	{ 1, "x.b.tree.example", SENDER_NO },  /* and was added without subdomains */
	{ 1, "x.b2.tree.example", SENDER_YES },
	{ 0, "x.b2.tree.example", SENDER_NO },
	{ 1, "x.deep.b2.tree.example", SENDER_YES },
	{ 2, "b\xc3\xbc" "cher.example", SENDER_YES },
	{ 2, "xn--bcher-kva.example", SENDER_YES },
	{ 2, "M\xc3\xbcnchen.B\xc3\x9c" "CHER.example.", SENDER_YES },
	{ 2, "xn--mnchen-3ya.xn--bcher-kva.example", SENDER_YES },
	{ 2, "bucher.example", SENDER_NO },
	{ 2, "b\xc3\xbc" "cher\xe3\x80\x82" "example", SENDER_NO },
	{ 0, "", SENDER_NO },
	{ 0, "[192.0.2.1]", SENDER_NO },
	{ 0, "tree.example..", SENDER_NO },
	{ 0, ".tree.example", SENDER_NO },
	{ 0, "x..tree.example", SENDER_NO },
	{ 0, "tree.example\n", SENDER_NO },
	{ 0, "\xff.tree.example", SENDER_NO },
};
// clang-format on

static void test_rule(void **state)
{
	struct fix *f = *state;

	OK(f, add(f, 0, "plain.example", false));
	OK(f, add(f, 0, "tree.example", true));
	OK(f, add(f, 0, "own.tree.example", false));
	OK(f, add(f, 1, "b.tree.example", false));
	OK(f, add(f, 1, "b2.tree.example", true));
	OK(f, add(f, 1, "deep.b2.tree.example", true));
	OK(f, add(f, 2, "xn--bcher-kva.example", true));
	for (size_t i = 0; i < LEN(rules); i++) {
		uint64_t generation = 0;
		enum sender_verdict got = sender_may_use(
		    f->h, f->id[rules[i].who], slice_str(rules[i].domain), &generation, &f->e);

		if (got != rules[i].wanted)
			fail_msg("%c as \"%s\": %d", 'a' + rules[i].who, rules[i].domain, (int)got);
		assert_int_equal(generation, store_generation(f->s));
	}
	OK(f, domain_remove(f->h, &by, f->id[1], S("b.tree.example"), &f->e));
	assert_int_equal(sender_may_use(f->h, f->id[0], S("x.b.tree.example"), NULL, &f->e),
			 SENDER_YES);
	assert_int_equal(sender_may_use(f->h, 0, S("tree.example"), NULL, &f->e), SENDER_NO);
}

/* ---- against a naive reading of the rule ---- */

struct fact {
	const char *name;
	int who; /* -1: nobody */
	bool subdomains;
};

static bool below(const char *name, const char *above)
{
	size_t n = strlen(name), m = strlen(above);

	return n > m + 1 && name[n - m - 1] == '.' && strcmp(name + n - m, above) == 0;
}

static bool naive(const struct fact *facts, size_t n, int who, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (facts[i].who >= 0 && strcmp(facts[i].name, name) == 0)
			return facts[i].who == who;
	for (size_t i = 0; i < n; i++) {
		bool taken = false;

		if (facts[i].who != who || !facts[i].subdomains || !below(name, facts[i].name))
			continue;
		for (size_t k = 0; k < n; k++)
			taken |= facts[k].who >= 0 && facts[k].who != who &&
				 below(name, facts[k].name) && below(facts[k].name, facts[i].name);
		if (!taken)
			return true;
	}
	return false;
}

static void test_rule_against_model(void **state)
{
	struct fact facts[] = {
		{ "t.example", -1, false },       { "a.t.example", -1, false },
		{ "b.t.example", -1, false },     { "a.a.t.example", -1, false },
		{ "b.a.t.example", -1, false },   { "a.b.t.example", -1, false },
		{ "a.a.a.t.example", -1, false },
	};
	static const char *const more[] = { "c.t.example",     "c.a.t.example",
					    "c.a.a.t.example", "c.a.a.a.t.example",
					    "c.a.b.t.example", "u.example" };
	uint64_t zero[2] = { 1, 2 };
	struct sender_cache *cache = sender_cache_new(5, zero);
	struct fix *f = *state;
	uint32_t x = 99;
	size_t yes = 0, no = 0;

	assert_non_null(cache);
	for (int round = 0; round < 400; round++) {
		struct fact *change;

		x = x * 1664525 + 1013904223;
		change = &facts[(x >> 24) % LEN(facts)];
		if (change->who >= 0) {
			OK(f, domain_remove(f->h, &by, f->id[change->who], slice_str(change->name),
					    &f->e));
			change->who = -1;
		} else {
			change->who = (int)((x >> 16) % ACCOUNTS);
			change->subdomains = x >> 10 & 1;
			OK(f, add(f, (size_t)change->who, change->name, change->subdomains));
		}
		for (size_t i = 0; i < LEN(facts) + LEN(more); i++) {
			const char *name = i < LEN(facts) ? facts[i].name : more[i - LEN(facts)];

			for (int who = 0; who < ACCOUNTS; who++) {
				bool wanted = naive(facts, LEN(facts), who, name);
				uint64_t now = store_generation(f->s), g;
				enum sender_verdict cached, v;

				/* The cache, as a loop uses it, never says anything else. */
				cached = sender_cache_get(cache, now, f->id[who], slice_str(name));
				v = sender_may_use(f->h, f->id[who], slice_str(name), &g, &f->e);
				assert_int_equal(v, wanted ? SENDER_YES : SENDER_NO);
				assert_true(cached == SENDER_UNKNOWN || cached == v);
				sender_cache_put(cache, g, f->id[who], slice_str(name), v);
				assert_int_equal(
				    sender_cache_get(cache, now, f->id[who], slice_str(name)), v);
				yes += wanted;
				no += !wanted;
			}
		}
	}
	assert_true(yes > 500 && no > 500);
	sender_cache_free(cache);
}

static void test_store_down(void **state)
{
	struct fix *f = *state;
	enum sender_verdict v = SENDER_UNKNOWN;
	uint64_t at;

	OK(f, add(f, 0, "tree.example", true));
	for (at = 1; v == SENDER_UNKNOWN; at++) {
		uint64_t generation = 77;

		store_memory_fail(f->s, at);
		v = sender_may_use(f->h, f->id[0], S("x.y.tree.example"), &generation, &f->e);
		store_memory_fail(f->s, 0);
		if (v == SENDER_UNKNOWN) {
			assert_int_equal(f->e.kind, ERR_LATER);
			assert_int_equal(generation, 77);
		}
	}
	assert_int_equal(v, SENDER_YES);
	assert_int_equal(at, 1 + 6); /* begin, three names, end: five failed */
}

static void test_cache(void **state)
{
	static const uint64_t key[2] = { 3, 4 };
	struct sender_cache *c = sender_cache_new(3, key);
	static char longer[256];

	assert_non_null(c);
	assert_int_equal(sender_cache_get(c, 1, 7, S("a.example")), SENDER_UNKNOWN);
	sender_cache_put(c, 1, 7, S("a.example"), SENDER_YES);
	sender_cache_put(c, 1, 8, S("a.example"), SENDER_NO);
	assert_int_equal(sender_cache_get(c, 1, 7, S("A.Example")), SENDER_YES);
	assert_int_equal(sender_cache_get(c, 1, 8, S("a.example")), SENDER_NO);
	assert_int_equal(sender_cache_get(c, 1, 9, S("a.example")), SENDER_UNKNOWN);
	assert_int_equal(sender_cache_get(c, 1, 7, S("a.exampl")), SENDER_UNKNOWN);
	sender_cache_put(c, 1, 7, S("b.example"), SENDER_UNKNOWN);
	assert_int_equal(sender_cache_get(c, 1, 7, S("b.example")), SENDER_UNKNOWN);
	sender_cache_put(c, 1, 7, S("a.example"), SENDER_NO); /* the newer answer stands */
	assert_int_equal(sender_cache_get(c, 1, 7, S("a.example")), SENDER_NO);

	/* Full: dropped whole, then it goes on. */
	sender_cache_put(c, 1, 1, S("x"), SENDER_YES);
	sender_cache_put(c, 1, 2, S("x"), SENDER_YES);
	assert_int_equal(sender_cache_get(c, 1, 7, S("a.example")), SENDER_UNKNOWN);
	assert_int_equal(sender_cache_get(c, 1, 2, S("x")), SENDER_YES);

	/* Another generation: nothing of the old one, in either direction. */
	assert_int_equal(sender_cache_get(c, 2, 2, S("x")), SENDER_UNKNOWN);
	sender_cache_put(c, 1, 2, S("x"), SENDER_YES); /* a late answer */
	assert_int_equal(sender_cache_get(c, 2, 2, S("x")), SENDER_UNKNOWN);
	sender_cache_put(c, 2, 2, S("x"), SENDER_NO);
	sender_cache_put(c, 3, 2, S("y"), SENDER_NO);
	assert_int_equal(sender_cache_get(c, 3, 2, S("x")), SENDER_UNKNOWN);
	assert_int_equal(sender_cache_get(c, 3, 2, S("y")), SENDER_NO);

	memset(longer, 'l', sizeof(longer));
	sender_cache_put(c, 3, 2, slice(longer, 256), SENDER_YES);
	assert_int_equal(sender_cache_get(c, 3, 2, slice(longer, 256)), SENDER_UNKNOWN);
	sender_cache_put(c, 3, 2, slice(longer, 255), SENDER_YES);
	assert_int_equal(sender_cache_get(c, 3, 2, slice(longer, 255)), SENDER_YES);
	sender_cache_free(c);
	sender_cache_free(NULL);
}

static void test_refusal(void **state)
{
	struct buf b;

	buf_init(&b, 500);
	buf_addf(&b, "%u %.*s ", sender_refusal.code, SLICE_ARG(sender_refusal.enhanced));
	sender_refusal_text(S("https://relay.example/senders"), &b);
	buf_addc(&b, 0);
	assert_string_equal(b.p,
			    "550 5.7.1 The from address does not match a verified Sender "
			    "Identity. Mail cannot be sent until this error is resolved. Visit "
			    "https://relay.example/senders to see the Sender Identity "
			    "requirements");
	buf_done(&b);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spelling),
		T(test_domains),
		T(test_rule),
		T(test_rule_against_model),
		T(test_store_down),

		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_refusal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
