/* auth/login_test.c -- every reason, its answer, and what each costs. */
#include "auth/known.h"
#include "auth/room_test.h"
#include "base/err_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof(*(a)))

/* Keys taken in by import, so that the tests know them. */
#define SECRET       "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoM"
#define OTHER_SECRET "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoN"
#define GOOD_ID      "AAECAwQFBgcICQoLRMkjBA" /* with a checksum that fits */
#define OLD_ID       "1111111111111111111111"
#define REVOKED_ID   "2222222222222222222222"
#define EXPIRED_ID   "3333333333333333333333"
#define SUSPENDED_ID "4444444444444444444444"
#define READER_ID    "5555555555555555555555"
#define KEY(id)      "SG." id "." SECRET
#define NOW          10000

struct fix {
	struct store *s;
	struct store_handle *h;
	struct err e;
	uint64_t account, suspended;
};

static const struct actor by = { { "uid:0", 5 }, 1000 };

static void import(struct fix *f, uint64_t account, const char *text, struct scopes scopes,
		   uint64_t expires_ms)
{
	const struct key_spec spec = { S("test"), scopes, expires_ms };
	struct key k;

	OK(f, key_import(f->h, &by, account, &spec, secret(slice_str(text)), &k, &f->e));
}

static int begin(void **state)
{
	static const struct schema *const schemas[] = { &account_schema };
	static const struct store_conf conf = { .busy_ms = 50 };
	struct fix *f = calloc(1, sizeof(*f));
	struct scopes reader = scopes_with((struct scopes){ 0 }, SCOPE_API_KEYS_READ);
	struct account a = { 0 };

	if (!f)
		return -1;
	f->s = store_open(&store_memory, &conf, schemas, 1, &f->e);
	f->h = f->s ? store_attach(f->s, &f->e) : NULL;
	*state = f;
	if (!f->h)
		return -1;
	OK(f, account_add(f->h, &by, S("shop"), &a, &f->e));
	f->account = a.id;
	OK(f, account_add(f->h, &by, S("bad"), &a, &f->e));
	f->suspended = a.id;
	import(f, f->account, KEY(GOOD_ID), scopes_default(), 0);
	import(f, f->account, KEY(OLD_ID), scopes_default(), NOW + 1);
	import(f, f->account, KEY(REVOKED_ID), scopes_default(), 0);
	import(f, f->account, KEY(EXPIRED_ID), scopes_default(), NOW);
	import(f, f->account, KEY(READER_ID), reader, 0);
	import(f, f->suspended, KEY(SUSPENDED_ID), scopes_default(), 0);
	OK(f, key_revoke(f->h, &by, S(REVOKED_ID), QUEUED_AS_STATE, &f->e));
	OK(f, account_set_state(f->h, &by, f->suspended, ACCOUNT_HELD, QUEUED_AS_STATE, &f->e));
	return 0;
}

static int end(void **state)
{
	struct fix *f = *state;

	store_detach(f->h);
	store_close(f->s);
	free(f);
	return 0;
}

static bool login(struct fix *f, const char *user, const char *password, struct principal *ret,
		  struct auth_finding *found)
{
	const struct auth_attempt at = { .mechanism = S("PLAIN"),
					 .username = slice_str(user),
					 .password = secret(slice_str(password)),
					 .client = S("192.0.2.1"),
					 .now_ms = NOW };

	return auth_login(f->h, &at, ret, found, &f->e);
}

// clang-format off
static const struct {
	const char *user, *password;
	enum auth_reason reason;
	enum auth_answer answer;
	const char *key_id; /* in the finding */
} cases[] = {
	{ "apikey", KEY(GOOD_ID), REASON_OK, AUTH_OK, GOOD_ID },
	{ GOOD_ID, KEY(GOOD_ID), REASON_OK, AUTH_OK, GOOD_ID },
	{ "apikey", KEY(OLD_ID), REASON_OK, AUTH_OK, OLD_ID },

	{ "", KEY(GOOD_ID), REASON_BAD_USERNAME, AUTH_BAD_PAIR, GOOD_ID },
	{ "APIKEY", KEY(GOOD_ID), REASON_BAD_USERNAME, AUTH_BAD_PAIR, GOOD_ID },
	{ "apikey ", KEY(GOOD_ID), REASON_BAD_USERNAME, AUTH_BAD_PAIR, GOOD_ID },
	{ "bob", "hunter2", REASON_BAD_USERNAME, AUTH_BAD_PAIR, "" },
	{ GOOD_ID "A", KEY(GOOD_ID), REASON_BAD_USERNAME, AUTH_BAD_PAIR, GOOD_ID },
	{ KEY(GOOD_ID), KEY(GOOD_ID), REASON_BAD_USERNAME, AUTH_BAD_PAIR, GOOD_ID },

	{ "apikey", "", REASON_BAD_KEY_SHAPE, AUTH_BAD_PAIR, "" },
	{ "apikey", "hunter2", REASON_BAD_KEY_SHAPE, AUTH_BAD_PAIR, "" },
	{ "apikey", KEY(GOOD_ID) "A", REASON_BAD_KEY_SHAPE, AUTH_BAD_PAIR, "" },
	{ "apikey", " " KEY(GOOD_ID), REASON_BAD_KEY_SHAPE, AUTH_BAD_PAIR, "" },
	{ GOOD_ID, SECRET, REASON_BAD_KEY_SHAPE, AUTH_BAD_PAIR, "" },

	/* An address as the user name, whatever the password is. */
	{ "bob@example.com", "hunter2", REASON_BASIC_AUTH, AUTH_BASIC, "" },
	{ "bob@example.com", KEY(GOOD_ID), REASON_BASIC_AUTH, AUTH_BASIC, GOOD_ID },
	{ "@", "", REASON_BASIC_AUTH, AUTH_BASIC, "" },

	{ "apikey", KEY("AAECAwQFBgcICQoLRMkjBB"), REASON_MISTYPED_KEY, AUTH_INVALID, "AAECAwQFBgcICQoLRMkjBB" },
	{ "apikey", "SG." GOOD_ID "." OTHER_SECRET, REASON_WRONG_SECRET, AUTH_INVALID, GOOD_ID },
	{ GOOD_ID, "SG." GOOD_ID "." OTHER_SECRET, REASON_WRONG_SECRET, AUTH_INVALID, GOOD_ID },
	{ OLD_ID, KEY(GOOD_ID), REASON_USERNAME_KEY_MISMATCH, AUTH_INVALID, GOOD_ID },
	{ "0000000000000000000000", KEY(GOOD_ID), REASON_USERNAME_KEY_MISMATCH, AUTH_INVALID, GOOD_ID },
	{ "apikey", KEY(REVOKED_ID), REASON_REVOKED, AUTH_INVALID, REVOKED_ID },
	{ "apikey", KEY(EXPIRED_ID), REASON_EXPIRED, AUTH_INVALID, EXPIRED_ID },
	{ "apikey", KEY(SUSPENDED_ID), REASON_ACCOUNT_HELD, AUTH_INVALID, SUSPENDED_ID },
	{ "apikey", KEY(READER_ID), REASON_SCOPE_MISSING, AUTH_INVALID, READER_ID },
	/* The true reason is told only to who knows the secret. */
	{ "apikey", "SG." REVOKED_ID "." OTHER_SECRET, REASON_WRONG_SECRET, AUTH_INVALID, REVOKED_ID },
};
// clang-format on

static void test_reasons(void **state)
{
	struct fix *f = *state;

	for (size_t i = 0; i < LEN(cases); i++) {
		struct principal p, untouched;
		struct auth_finding found;
		bool ok;

		memset(&p, 0x5a, sizeof(p));
		untouched = p;
		f->e = (struct err){ 0 };
		ok = login(f, cases[i].user, cases[i].password, &p, &found);
		if (found.reason != cases[i].reason)
			fail_msg("case %zu: %s, not %s", i, auth_reason_name(found.reason),
				 auth_reason_name(cases[i].reason));
		assert_int_equal(auth_answer(found.reason), cases[i].answer);
		assert_string_equal(found.key_id, cases[i].key_id);
		assert_int_equal(ok, cases[i].reason == REASON_OK);
		if (ok) {
			assert_int_equal(p.account, f->account);
			assert_int_equal(found.account, f->account);
			assert_string_equal(p.key_id, cases[i].key_id);
			assert_true(scopes_have(p.scopes, SCOPE_MAIL_SEND));
			assert_int_equal(p.generation, store_generation(f->s));
		} else {
			assert_memory_equal(&p, &untouched, sizeof(p));
			assert_int_equal(f->e.kind, ERR_DENIED);
			assert_null(strstr(f->e.text, SECRET));
		}
	}
}

/* RFC 4616 2: who may not act as the one he names is refused, and not let in as himself. */
static void test_other_identity(void **state)
{
	static const struct {
		const char *authzid, *user, *password;
		enum auth_reason reason;
	} names[] = {
		{ "", "apikey", KEY(GOOD_ID), REASON_OK },
		{ "apikey", "apikey", KEY(GOOD_ID), REASON_OK },
		{ GOOD_ID, "apikey", KEY(GOOD_ID), REASON_OK },
		{ GOOD_ID, GOOD_ID, KEY(GOOD_ID), REASON_OK },
		{ "apikey", GOOD_ID, KEY(GOOD_ID), REASON_OK },
		{ OLD_ID, "apikey", KEY(GOOD_ID), REASON_OTHER_IDENTITY },
		{ "shop", "apikey", KEY(GOOD_ID), REASON_OTHER_IDENTITY },
		{ "APIKEY", "apikey", KEY(GOOD_ID), REASON_OTHER_IDENTITY },
		{ "bob@example.com", "apikey", KEY(GOOD_ID), REASON_OTHER_IDENTITY },
		/* told only to who knows the secret */
		{ "shop", "apikey", "SG." GOOD_ID "." OTHER_SECRET, REASON_WRONG_SECRET },
		{ "shop", "apikey", "hunter2", REASON_BAD_KEY_SHAPE },
	};
	struct fix *f = *state;

	for (size_t i = 0; i < LEN(names); i++) {
		const struct auth_attempt at = { .username = slice_str(names[i].user),
						 .authzid = slice_str(names[i].authzid),
						 .password = secret(slice_str(names[i].password)),
						 .now_ms = NOW };
		struct auth_finding found;
		struct principal p;
		bool ok = auth_login(f->h, &at, &p, &found, &f->e);

		if (found.reason != names[i].reason)
			fail_msg("case %zu: %s", i, auth_reason_name(found.reason));
		assert_int_equal(ok, names[i].reason == REASON_OK);
	}
	assert_int_equal(auth_answer(REASON_OTHER_IDENTITY), AUTH_INVALID);
}

/* A key that fits its checksum and is not here. */
static void test_unknown(void **state)
{
	struct fix *f = *state, *other;
	void *there = NULL;
	struct buf text;
	const struct key_spec spec = { S(""), scopes_default(), 0 };
	struct principal p;
	struct auth_finding found;
	struct key k;

	assert_int_equal(begin(&there), 0);
	other = there;
	buf_init(&text, 100);
	OK(other, key_create(other->h, &by, other->account, &spec, &text, &k, &other->e));
	buf_addc(&text, 0);
	assert_true(login(other, "apikey", text.p, &p, &found));
	assert_false(login(f, "apikey", text.p, &p, &found));
	assert_int_equal(found.reason, REASON_UNKNOWN_KEY);
	assert_int_equal(found.account, 0);
	assert_int_equal(auth_answer(found.reason), AUTH_INVALID);
	buf_wipe(&text);
	end(&there);
}

/* Whoever shows something in the shape of a key causes the same four lookups. */
static void test_cost(void **state)
{
	struct fix *f = *state;

	for (size_t i = 0; i < LEN(cases); i++) {
		enum auth_answer a = cases[i].answer;
		uint64_t was = store_lookups(f->h);
		struct auth_finding found;
		struct principal p;

		login(f, cases[i].user, cases[i].password, &p, &found);
		assert_int_equal(store_lookups(f->h) - was,
				 a == AUTH_OK || a == AUTH_INVALID ? 4 : 0);
	}
}

/* Whichever store call fails: 454, and never a principal. */
static void test_store_down(void **state)
{
	struct fix *f = *state;
	struct auth_finding found;
	struct principal p, again;
	uint64_t at;

	for (at = 1;; at++) {
		bool ok;

		store_memory_fail(f->s, at);
		ok = login(f, "apikey", KEY(GOOD_ID), &p, &found);
		store_memory_fail(f->s, 0);
		if (ok)
			break;
		assert_int_equal(found.reason, REASON_STORE_DOWN);
		assert_int_equal(auth_answer(found.reason), AUTH_LATER);
		assert_int_equal(f->e.kind, ERR_LATER);
		assert_string_equal(found.key_id, GOOD_ID);
	}
	assert_int_equal(at, 7); /* begin, four lookups, end: each was seen to fail */
	for (at = 1;; at++) {
		bool ok;

		store_memory_fail(f->s, at);
		ok = auth_recheck(f->h, &p, S("192.0.2.1"), NOW, &again, &found, &f->e);
		store_memory_fail(f->s, 0);
		if (ok)
			break;
		assert_int_equal(found.reason, REASON_STORE_DOWN);
	}
	assert_int_equal(at, 5);
}

/* A row that is not what was written says nothing about the client: 454, not "unknown". */
static void test_damaged_row(void **state)
{
	static const struct column columns[] = {
		{ "account", VAL_INT, false }, { "name", VAL_TEXT, false },
		{ "state", VAL_TEXT, false },  { "created_ms", VAL_INT, false },
		{ "state_ms", VAL_INT, true }, { "queued", VAL_TEXT, true },
	};
	static const struct table accounts = { "account", columns, LEN(columns), 1 };
	struct fix *f = *state;
	const struct val row[] = { val_int((int64_t)f->account),
				   val_text(S("shop")),
				   val_text(S("odd")),
				   val_int(1),
				   val_int(1),
				   { .type = VAL_NULL } };
	struct auth_finding found;
	struct principal p;

	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, store_update(f->h, &accounts, row, &f->e));
	OK(f, store_commit(f->h, &f->e));
	assert_false(login(f, "apikey", KEY(GOOD_ID), &p, &found));
	assert_int_equal(found.reason, REASON_STORE_DOWN);
	assert_int_equal(f->e.kind, ERR_DAMAGED);
}

static enum auth_reason recheck_from(struct fix *f, struct principal *p, struct slice client,
				     uint64_t now_ms)
{
	struct auth_finding found;
	bool ok = auth_recheck(f->h, p, client, now_ms, p, &found, &f->e);

	assert_int_equal(ok, found.reason == REASON_OK);
	assert_int_equal(found.account, p->account);
	assert_string_equal(found.key_id, p->key_id);
	return found.reason;
}

static enum auth_reason recheck(struct fix *f, struct principal *p, uint64_t now_ms)
{
	return recheck_from(f, p, S("192.0.2.1"), now_ms);
}

/* A key that may not be used from there any more. */
static void test_recheck_address(void **state)
{
	struct networks home = { 0 };
	const struct slice id = S(GOOD_ID);
	struct fix *f = *state;
	struct auth_finding found;
	struct principal p;

	OK(f, login(f, "apikey", KEY(GOOD_ID), &p, &found));
	OK(f, networks_add(&home, S("192.0.2.0/24"), &f->e));
	OK(f, key_set_limits(f->h, &by, id, NULL, &home, &f->e));
	assert_true(auth_stale(&p, store_generation(f->s), NOW));
	assert_int_equal(recheck(f, &p, NOW), REASON_OK);
	assert_int_equal(recheck_from(f, &p, S("198.51.100.1"), NOW), REASON_ADDRESS);
	assert_int_equal(recheck_from(f, &p, S("unix"), NOW), REASON_ADDRESS);
}

static void test_recheck(void **state)
{
	struct scopes reader = scopes_with((struct scopes){ 0 }, SCOPE_API_KEYS_READ);
	struct scopes both = scopes_with(reader, SCOPE_MAIL_SEND);
	const struct slice id = S(GOOD_ID);
	struct fix *f = *state;
	struct auth_finding found;
	struct principal p;

	OK(f, login(f, "apikey", KEY(GOOD_ID), &p, &found));
	assert_false(auth_stale(&p, store_generation(f->s), NOW));

	OK(f, key_set_scopes(f->h, &by, id, both, &f->e));
	assert_true(auth_stale(&p, store_generation(f->s), NOW));
	assert_int_equal(recheck(f, &p, NOW), REASON_OK);
	assert_int_equal(p.scopes.bits, both.bits);
	assert_false(auth_stale(&p, store_generation(f->s), NOW));

	/* Time alone makes it stale, too. */
	OK(f, key_set_expiry(f->h, &by, id, NOW + 10, &f->e));
	assert_int_equal(recheck(f, &p, NOW), REASON_OK);
	assert_false(auth_stale(&p, store_generation(f->s), NOW + 9));
	assert_true(auth_stale(&p, store_generation(f->s), NOW + 10));
	assert_int_equal(recheck(f, &p, NOW + 10), REASON_EXPIRED);
	OK(f, key_set_expiry(f->h, &by, id, 0, &f->e));
	assert_int_equal(recheck(f, &p, NOW + 10), REASON_OK);

	OK(f, key_set_scopes(f->h, &by, id, reader, &f->e));
	assert_int_equal(recheck(f, &p, NOW), REASON_SCOPE_MISSING);
	OK(f, key_set_scopes(f->h, &by, id, both, &f->e));
	OK(f, account_set_state(f->h, &by, f->account, ACCOUNT_HELD, QUEUED_AS_STATE, &f->e));
	assert_int_equal(recheck(f, &p, NOW), REASON_ACCOUNT_HELD);
	OK(f, account_set_state(f->h, &by, f->account, ACCOUNT_CLOSED, QUEUED_AS_STATE, &f->e));
	assert_int_equal(recheck(f, &p, NOW), REASON_ACCOUNT_CLOSED);
	OK(f, account_set_state(f->h, &by, f->account, ACCOUNT_ACTIVE, QUEUED_AS_STATE, &f->e));
	assert_int_equal(recheck(f, &p, NOW), REASON_OK);
	OK(f, key_revoke(f->h, &by, id, QUEUED_AS_STATE, &f->e));
	assert_int_equal(recheck(f, &p, NOW), REASON_REVOKED);
	p.account ^= 1;
	assert_int_equal(recheck(f, &p, NOW), REASON_UNKNOWN_KEY);
}

static void test_texts(void **state)
{
	static const struct {
		enum auth_answer answer;
		const char *line;
	} texts[] = {
		{ AUTH_OK, "235 2.7.0 Authentication successful" },
		{ AUTH_BAD_PAIR, "535 5.7.8 Authentication failed: Bad username / password" },
		{ AUTH_BASIC,
		  "535 5.7.8 Authentication failed: Basic authentication is not allowed "
		  "with 2FA enabled. To fix, see https://relay.example/basic" },
		{ AUTH_INVALID, "535 5.7.8 Authentication failed: The provided authorization grant "
				"is invalid, expired, or revoked" },
		{ AUTH_LATER, "454 4.7.0 Temporary authentication failure" },
	};
	struct buf b;

	buf_init(&b, 500);
	for (size_t i = 0; i < LEN(texts); i++) {
		const struct auth_text *t = auth_text(texts[i].answer);

		buf_clear(&b);
		buf_addf(&b, "%u %.*s ", t->code, SLICE_ARG(t->enhanced));
		auth_add_text(texts[i].answer, S("https://relay.example/basic"), &b);
		buf_addc(&b, 0);
		assert_string_equal(b.p, texts[i].line);
	}
	buf_done(&b);
	for (size_t i = 0; i < REASON_COUNT; i++)
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(auth_reason_name((enum auth_reason)i),
						auth_reason_name((enum auth_reason)k));
}

/* -- known.h -- */

static const unsigned char known_key[AUTH_KNOWN_KEY] = { 7 };

/* Every input of the decision is part of the name under which a login is known. */
static void known_only_for_the_same_attempt(void **state)
{
	struct fix *f = *state;
	struct auth_known *k = auth_known_new(8, known_key);
	const struct auth_attempt good = { .mechanism = S("PLAIN"),
					   .username = S("apikey"),
					   .password = secret(S(KEY(GOOD_ID))),
					   .client = S("192.0.2.1"),
					   .now_ms = NOW };
	struct auth_attempt other[] = { good, good, good, good, good, good, good };
	struct principal who, again = { 0 };
	struct auth_finding found;

	assert_non_null(k);
	other[0].mechanism = S("LOGIN");
	other[1].username = S(GOOD_ID);
	other[2].password = secret(S("SG." GOOD_ID "." OTHER_SECRET));
	other[3].client = S("192.0.2.2");
	/* The same bytes, cut elsewhere. */
	other[4].username = S("apikeyS");
	other[4].password = secret(slice_from(good.password.bytes, 1));
	other[5].username = S("");
	other[6].authzid = S("shop");
	assert_false(auth_known_get(k, &good, store_generation(f->s), &again));
	OK(f, auth_login(f->h, &good, &who, &found, &f->e));
	auth_known_put(k, &good, &who);
	assert_true(auth_known_get(k, &good, store_generation(f->s), &again));
	assert_memory_equal(&who, &again, sizeof who);
	for (size_t i = 0; i < LEN(other); i++)
		assert_false(auth_known_get(k, &other[i], store_generation(f->s), &again));
	auth_known_free(k);
}

static void known_until_something_changes(void **state)
{
	struct fix *f = *state;
	struct auth_known *k = auth_known_new(8, known_key);
	struct auth_attempt at = { .mechanism = S("PLAIN"),
				   .username = S("apikey"),
				   .password = secret(S(KEY(OLD_ID))),
				   .client = S("192.0.2.1"),
				   .now_ms = NOW };
	struct principal who;
	struct auth_finding found;

	assert_non_null(k);
	OK(f, auth_login(f->h, &at, &who, &found, &f->e));
	auth_known_put(k, &at, &who);
	assert_true(auth_known_get(k, &at, store_generation(f->s), &who));
	at.now_ms = NOW + 1; /* it expires then */
	assert_false(auth_known_get(k, &at, store_generation(f->s), &who));
	at.now_ms = NOW;
	OK(f, key_revoke(f->h, &by, S(OLD_ID), QUEUED_AS_STATE, &f->e));
	assert_false(auth_known_get(k, &at, store_generation(f->s), &who));
	assert_false(auth_login(f->h, &at, &who, &found, &f->e));
	auth_known_free(k);
}

static void known_is_bounded(void **state)
{
	struct auth_known *k = auth_known_new(4, known_key);
	static char longest[5000];
	const struct auth_attempt huge = { .mechanism = S("PLAIN"),
					   .username = S("apikey"),
					   .password = secret(slice(longest, sizeof longest)),
					   .client = S("::1"),
					   .now_ms = NOW };
	struct principal who = { .account = 7 }, got;
	size_t there = 0;

	(void)state;
	assert_non_null(k);
	for (uint64_t round = 0; round < 2; round++)
		for (uint64_t i = 0; i < 32; i++) {
			struct auth_attempt at = { .mechanism = S("PLAIN"),
						   .username = slice(&i, sizeof i),
						   .password = secret(S("x")),
						   .client = S("::1"),
						   .now_ms = NOW };

			if (!round)
				auth_known_put(k, &at, &who);
			else
				there += auth_known_get(k, &at, 0, &got);
		}
	assert_in_range(there, 1, 4);
	auth_known_put(k, &huge, &who);
	assert_false(auth_known_get(k, &huge, 0, &got));
	auth_known_free(k);
	auth_known_free(NULL);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(test_reasons),
		T(test_other_identity),
		T(test_unknown),
		T(test_cost),
		T(test_store_down),
		T(test_damaged_row),
		T(test_recheck),
		T(test_recheck_address),
		T(known_only_for_the_same_attempt),
		T(known_until_something_changes),
		T(known_is_bounded),
		cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) + authlog_tests() + gate_tests() +
	       means_tests();
}
