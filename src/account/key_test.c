/* account/key_test.c -- the form of keys, scopes, and the life of a key. */
#include "account/key.h"

#include "account/account_impl.h"
#include "account/key_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "account/test_impl.h"

#define LEN(a) (sizeof(a) / sizeof(*(a)))

/* Computed elsewhere: random bytes 0..11 for the id, 100..131 for the secret. */
#define VECTOR_ID     "AAECAwQFBgcICQoLRMkjBA"
#define VECTOR_SECRET "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoM"
#define VECTOR_HASH   "45827150f595bab19278b82d22eba203d126486c59732655abb65ea67d209ee6"
#define VECTOR        "SG." VECTOR_ID "." VECTOR_SECRET

static const struct actor by = { { "uid:0", 5 }, 1000 };

static void test_text(void **state)
{
	unsigned char random[KEY_RANDOM], hash[DIGEST_SHA256];
	char text[KEY_TEXT_LEN];
	struct key_text k;
	struct buf hex;

	for (size_t i = 0; i < KEY_RANDOM; i++)
		random[i] = (unsigned char)(i < 12 ? i : i - 12 + 100);
	key_text_make(random, text);
	assert_memory_equal(text, VECTOR, KEY_TEXT_LEN);
	assert_true(key_parse(secret(slice(text, sizeof(text))), &k));
	assert_true(slice_eq(k.id, S(VECTOR_ID)));
	assert_true(slice_eq(k.secret.bytes, S(VECTOR_SECRET)));
	assert_true(slice_eq(k.whole.bytes, S(VECTOR)));
	key_hash(k.secret, hash);
	buf_init(&hex, 65);
	buf_addhex(&hex, slice(hash, sizeof(hash)));
	buf_addc(&hex, 0);
	assert_string_equal(hex.p, VECTOR_HASH);
	buf_done(&hex);
}

/* On a command line, what begins with '-' is an option. */
static void test_an_id_begins_with_a_letter(void **state)
{
	unsigned char random[KEY_RANDOM] = "";
	char text[KEY_TEXT_LEN];
	struct key_text k;

	for (unsigned first = 0; first < 256; first++) {
		random[0] = (unsigned char)first;
		key_text_make(random, text);
		assert_true(key_parse(secret(slice(text, sizeof(text))), &k));
		assert_true(ascii_alpha(k.id.p[0]));
		assert_int_equal(key_id_verdict(k.id), KEY_PLAUSIBLE);
	}
}

static void test_shape(void **state)
{
	char text[KEY_TEXT_LEN + 1] = VECTOR;
	struct key_text k;

	/* Any byte that is not base64url, at any place; any other length. */
	for (size_t i = 0; i < KEY_TEXT_LEN; i++) {
		static const char bad[] = { '=', '+', '/', ' ', 0, '\n', '@', (char)0xc3, '~' };
		char was = text[i];

		for (size_t b = 0; b < LEN(bad); b++) {
			text[i] = bad[b];
			assert_false(key_parse(secret(slice(text, KEY_TEXT_LEN)), &k));
		}
		text[i] = was;
		assert_false(key_parse(secret(slice(text, i)), &k));
	}
	assert_false(key_parse(secret(slice(text, KEY_TEXT_LEN + 1)), &k));
	assert_false(key_parse(secret(slice(NULL, 0)), &k));
	assert_true(key_parse(secret(slice(text, KEY_TEXT_LEN)), &k));
	text[0] = 's';
	assert_false(key_parse(secret(slice(text, KEY_TEXT_LEN)), &k));
	text[0] = 'S';
	text[25] = '_'; /* the second dot */
	assert_false(key_parse(secret(slice(text, KEY_TEXT_LEN)), &k));
	assert_true(key_id_shape(S(VECTOR_ID)));
	assert_false(key_id_shape(S("apikey")));
	assert_false(key_id_shape(S(VECTOR_ID "A")));
}

static void test_verdict(void **state)
{
	char id[KEY_ID_LEN] = VECTOR_ID;

	assert_int_equal(key_id_verdict(S(VECTOR_ID)), KEY_PLAUSIBLE);
	/* Every single wrong character, and every swap of neighbours, is found. */
	for (size_t i = 0; i < KEY_ID_LEN; i++) {
		static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					  "0123456789-_";
		char was = id[i];

		for (size_t c = 0; c < 64; c++) {
			id[i] = set[c];
			assert_int_equal(key_id_verdict(slice(id, sizeof(id))),
					 set[c] == was ? KEY_PLAUSIBLE : KEY_MISTYPED);
		}
		id[i] = was;
		if (i && id[i] != id[i - 1]) {
			id[i] = id[i - 1];
			id[i - 1] = was;
			assert_int_equal(key_id_verdict(slice(id, sizeof(id))), KEY_MISTYPED);
			id[i - 1] = id[i];
			id[i] = was;
		}
	}
	assert_int_equal(key_id_verdict(S("")), KEY_MISTYPED);
}

/* RFC 7677 3, "user" with the password "pencil". */
static void test_scram_vector(void **state)
{
	static const unsigned char salt[SCRAM_SALT] = { 0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12,
							0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14,
							0x12, 0x36, 0xfa, 0x81 };
	static const unsigned char proof[DIGEST_SHA256] = {
		0x74, 0x7c, 0xdb, 0x65, 0xaa, 0x56, 0x22, 0x4e, 0x23, 0x52, 0x13,
		0x7e, 0x52, 0xd7, 0xbd, 0xca, 0xd6, 0xa0, 0xf7, 0x38, 0xdf, 0x30,
		0x78, 0x2c, 0xaa, 0x69, 0xa2, 0xcf, 0xb0, 0x27, 0x75, 0x54
	};
	static const unsigned char signature[DIGEST_SHA256] = {
		0xea, 0xba, 0xe2, 0x4d, 0x10, 0x62, 0xdb, 0x75, 0xa9, 0x45, 0x1f,
		0xf0, 0xb6, 0xea, 0x7e, 0x98, 0xc8, 0x54, 0x65, 0x49, 0xff, 0x74,
		0x1e, 0x67, 0x2d, 0x32, 0x51, 0xb2, 0x39, 0x7d, 0xe4, 0x6e
	};
	static const struct slice message =
	    S("n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
	      "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,"
	      "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
	unsigned char got[DIGEST_SHA256];
	struct key_scram s;

	key_scram_make(secret(S("pencil")), salt, &s);
	assert_int_equal(s.rounds, 4096);
	digest_hmac_sha256(slice(s.server_key, sizeof(s.server_key)), message, got);
	assert_memory_equal(got, signature, sizeof(got));
	/* The client's proof opens the stored key. */
	digest_hmac_sha256(slice(s.stored_key, sizeof(s.stored_key)), message, got);
	for (size_t i = 0; i < sizeof(got); i++)
		got[i] ^= proof[i];
	digest_sha256(slice(got, sizeof(got)), got);
	assert_memory_equal(got, s.stored_key, sizeof(got));
}

static void test_scopes(void **state)
{
	struct scopes s = { 99 };
	struct err e = { 0 };
	struct buf b;

	assert_true(scopes_parse(S(""), &s, &e));
	assert_int_equal(s.bits, 0);
	assert_true(scopes_parse(S("api_keys.read, mail.send,mail.send"), &s, &e));
	assert_true(scopes_have(s, SCOPE_MAIL_SEND));
	assert_true(scopes_have(s, SCOPE_API_KEYS_READ));
	assert_false(scopes_have(s, SCOPE_API_KEYS_DELETE));
	buf_init(&b, 100);
	scopes_text(s, &b);
	buf_addc(&b, 0);
	assert_string_equal(b.p, "mail.send api_keys.read");
	buf_done(&b);
	static const char *const bad[] = { "mail.sen",    "mail.send2", "MAIL.SEND",
					   "mail.send\n", "mail",       "mail.send;api_keys.read" };

	for (size_t i = 0; i < LEN(bad); i++) {
		assert_false(scopes_parse(slice_str(bad[i]), &s, &e));
		assert_err(&e, ERR_INPUT);
	}
	assert_true(scopes_have(s, SCOPE_API_KEYS_READ)); /* untouched on failure */
	for (size_t i = 0; i < SCOPE_COUNT; i++) {
		struct scopes one = { 0 };

		assert_true(scopes_add(&one, scope_name((enum scope)i), &e));
		assert_int_equal(one.bits, UINT64_C(1) << i);
	}
}

static uint64_t new_account(struct fix *f, const char *name)
{
	struct account a = { 0 };

	OK(f, account_add(f->h, &by, slice_str(name), &a, &f->e));
	return a.id;
}

static void test_create(void **state)
{
	struct key_spec spec = { S("web shop"), scopes_default(), 0 };
	struct fix *f = *state;
	uint64_t account = new_account(f, "shop");
	unsigned char hash[DIGEST_SHA256];
	struct key_scram scram, again;
	struct key k, got;
	struct key_text t;
	struct buf out;

	buf_init(&out, 200);
	buf_add(&out, S("key: "));
	OK(f, key_create(f->h, &by, account, &spec, &out, &k, &f->e));
	assert_true(key_parse(secret(slice_from(buf_slice(&out), 5)), &t));
	assert_true(slice_eq(t.id, slice_str(k.id)));
	assert_int_equal(key_id_verdict(t.id), KEY_PLAUSIBLE);
	key_hash(t.secret, hash);
	assert_memory_equal(hash, k.hash, sizeof(hash));
	assert_string_equal(k.name, "web shop");
	assert_int_equal(k.created_ms, 1000);
	assert_false(k.imported);
	memset(&got, 0, sizeof(got));
	OK(f, key_find(f->h, t.id, &got, &f->e));
	assert_memory_equal(&got, &k, sizeof(k));
	OK(f, key_get(f->h, account, t.id, &got, &f->e));
	FAILS(f, ERR_ABSENT, key_get(f->h, account ^ 1, t.id, &got, &f->e));
	OK(f, key_scram(f->h, account, t.id, &scram, &f->e));
	key_scram_make(t.whole, scram.salt, &again);
	assert_memory_equal(&scram, &again, sizeof(scram));

	/* Two keys share nothing. */
	struct key other;

	buf_clear(&out);
	OK(f, key_create(f->h, &by, account, &spec, &out, &other, &f->e));
	assert_string_not_equal(k.id, other.id);
	assert_memory_not_equal(k.hash, other.hash, sizeof(k.hash));
	OK(f, key_scram(f->h, account, slice_str(other.id), &again, &f->e));
	assert_memory_not_equal(scram.salt, again.salt, sizeof(scram.salt));

	/* No room for the text: no key. */
	struct key *list;
	size_t n;

	buf_done(&out);
	buf_init(&out, KEY_TEXT_LEN - 1);
	FAILS(f, ERR_LATER, key_create(f->h, &by, account, &spec, &out, &other, &f->e));
	OK(f, key_list(f->h, account, S(""), 10, &f->a, &list, &n, &f->e));
	assert_int_equal(n, 2);
	assert_true(strcmp(list[0].id, list[1].id) < 0);
	OK(f, key_list(f->h, account, slice_str(list[0].id), 10, &f->a, &list, &n, &f->e));
	assert_int_equal(n, 1);
	assert_trail(f, account, 0, "account.add key.create key.create ");
	buf_wipe(&out);
}

static void test_refused(void **state)
{
	static char longer[KEY_NAME_MAX + 1];
	struct fix *f = *state;
	uint64_t account = new_account(f, "shop");
	struct key k, *list;
	struct buf out;
	size_t n;

	memset(longer, 'n', sizeof(longer));
	const struct key_spec bad[] = {
		{ S("x"), { 0 }, 0 },
		{ S("x"), scopes_default(), 1000 },
		{ S("x"), scopes_default(), 999 },
		{ S("x"), scopes_default(), UINT64_MAX },
		{ S("a\nb"), scopes_default(), 0 },
		{ S("a\x7f"), scopes_default(), 0 },
		{ S("\xff"), scopes_default(), 0 },
		{ slice(longer, sizeof(longer)), scopes_default(), 0 },
	};
	const struct key_spec good = { slice(longer, KEY_NAME_MAX), scopes_default(), 1001 };

	buf_init(&out, 200);
	for (size_t i = 0; i < LEN(bad); i++) {
		FAILS(f, ERR_INPUT, key_create(f->h, &by, account, &bad[i], &out, &k, &f->e));
		FAILS(f, ERR_INPUT,
		      key_import(f->h, &by, account, &bad[i], secret(S(VECTOR)), &k, &f->e));
	}
	FAILS(f, ERR_ABSENT, key_create(f->h, &by, account ^ 1, &good, &out, &k, &f->e));
	assert_int_equal(out.n, 0);
	OK(f, key_list(f->h, account, S(""), 10, &f->a, &list, &n, &f->e));
	assert_int_equal(n, 0);
	OK(f, key_create(f->h, &by, account, &good, &out, &k, &f->e));
	buf_wipe(&out);
}

/* An imported key has any id of the right shape; ids are unique over all accounts. */
static void test_import(void **state)
{
	static const struct key_spec spec = { { "", 0 }, { 1 }, 0 };
	struct fix *f = *state;
	uint64_t one = new_account(f, "one"), two = new_account(f, "two");
	const struct secret foreign =
	    secret(S("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"));
	struct key k, got;

	OK(f, key_import(f->h, &by, one, &spec, foreign, &k, &f->e));
	assert_true(k.imported);
	assert_int_equal(key_id_verdict(slice_str(k.id)), KEY_MISTYPED);
	OK(f, key_find(f->h, S("ngeVfQFYQlKU0ufo8x5d1A"), &got, &f->e));
	assert_int_equal(got.account, one);
	assert_true(got.imported);
	FAILS(f, ERR_CONFLICT, key_import(f->h, &by, one, &spec, foreign, &k, &f->e));
	FAILS(f, ERR_CONFLICT, key_import(f->h, &by, two, &spec, foreign, &k, &f->e));
	assert_non_null(strstr(f->e.text, "ngeVfQFYQlKU0ufo8x5d1A"));
	assert_null(strstr(f->e.text, "TwL2"));
	FAILS(f, ERR_INPUT, key_import(f->h, &by, two, &spec, secret(S("hunter2")), &k, &f->e));
	assert_null(strstr(f->e.text, "hunter2"));
	assert_trail(f, one, 0, "account.add key.import ");
	assert_trail(f, two, 0, "account.add ");
}

/* Whatever is asked for, the same lookups; and a key that stands in is nobody's. */
static void test_found_evenly(void **state)
{
#define ID(x) "AAAAAAAAAAAAAAAAAAAAA" x
	static const struct key_spec spec = { { "", 0 }, { 1 }, 0 };
	static const struct {
		const char *id, *near; /* near: what stands in for it; NULL: it is there */
	} rows[] = {
		{ ID("B"), NULL },
		{ ID("D"), NULL },
		{ "zzzzzzzzzzzzzzzzzzzzzz", NULL },
		{ ID("A"), ID("B") },
		{ ID("-"), ID("B") },
		{ ID("C"), ID("D") },
		{ ID("E"), "zzzzzzzzzzzzzzzzzzzzzz" },
		{ "zzzzzzzzzzzzzzzzzzzzz-", "zzzzzzzzzzzzzzzzzzzzzz" },
		{ "----------------------", ID("B") },
		{ "______________________", "zzzzzzzzzzzzzzzzzzzzzz" },
		{ ID("d"), "zzzzzzzzzzzzzzzzzzzzzz" },
	};
	static const unsigned char nobody[DIGEST_SHA256];
	struct fix *f = *state;
	uint64_t account = new_account(f, "shop"), was;
	struct key k;
	bool there;

	was = store_lookups(f->h);
	OK(f, key_find_evenly(f->h, S(ID("B")), &k, &there, &f->e));
	assert_false(there);
	assert_string_equal(k.id, "");
	assert_int_equal(store_lookups(f->h) - was, 3);
	for (size_t i = 0; i < 3; i++) {
		char text[KEY_TEXT_LEN + 1];

		snprintf(text, sizeof(text), "SG.%s.%s", rows[i].id, VECTOR_SECRET);
		OK(f, key_import(f->h, &by, account, &spec, secret(slice_str(text)), &k, &f->e));
	}
	for (size_t i = 0; i < LEN(rows); i++) {
		was = store_lookups(f->h);
		OK(f, key_find_evenly(f->h, slice_str(rows[i].id), &k, &there, &f->e));
		assert_int_equal(store_lookups(f->h) - was, 3);
		assert_int_equal(there, !rows[i].near);
		assert_string_equal(k.id, there ? rows[i].id : rows[i].near);
		assert_int_equal(!memcmp(k.hash, nobody, sizeof(nobody)), !there);
	}
	/* Behind the last one the first stands in. */
	OK(f, key_find_evenly(f->h, S("zzzzzzzzzzzzzzzzzzzzz~"), &k, &there, &f->e));
	assert_false(there);
	assert_string_equal(k.id, ID("B"));
#undef ID
}

static void test_change(void **state)
{
	static const struct key_spec spec = { { "", 0 }, { 1 }, 0 };
	const struct actor later = { S("uid:9"), 2000 };
	const struct slice id = S(VECTOR_ID), none = S("AAAAAAAAAAAAAAAAAAAAAA");
	struct scopes reader = scopes_with((struct scopes){ 0 }, SCOPE_API_KEYS_READ);
	struct fix *f = *state;
	uint64_t account = new_account(f, "shop"), generation;
	struct key k;

	OK(f, key_import(f->h, &by, account, &spec, secret(S(VECTOR)), &k, &f->e));
	OK(f, key_set_scopes(f->h, &later, id, reader, &f->e));
	OK(f, key_find(f->h, id, &k, &f->e));
	assert_int_equal(k.scopes.bits, reader.bits);
	FAILS(f, ERR_INPUT, key_set_scopes(f->h, &later, id, (struct scopes){ 0 }, &f->e));
	OK(f, key_set_expiry(f->h, &later, id, 5000, &f->e));
	OK(f, key_find(f->h, id, &k, &f->e));
	assert_int_equal(k.expires_ms, 5000);
	FAILS(f, ERR_INPUT, key_set_expiry(f->h, &later, id, 2000, &f->e));
	OK(f, key_set_expiry(f->h, &later, id, 0, &f->e));

	generation = store_generation(f->s);
	OK(f, key_revoke(f->h, &later, id, QUEUED_AS_STATE, &f->e));
	assert_true(store_generation(f->s) > generation);
	OK(f, key_find(f->h, id, &k, &f->e));
	assert_int_equal(k.state, KEY_REVOKED);
	assert_int_equal(k.revoked_ms, 2000);
	assert_int_equal(k.expires_ms, 0);
	generation = store_generation(f->s);
	OK(f, key_revoke(f->h, &(struct actor){ S("x"), 3000 }, id, QUEUED_AS_STATE, &f->e));
	assert_int_equal(store_generation(f->s), generation);
	OK(f, key_set_scopes(f->h, &(struct actor){ S("x"), 3000 }, id, scopes_default(), &f->e));
	OK(f, key_find(f->h, id, &k, &f->e));
	assert_int_equal(k.state, KEY_REVOKED); /* for ever */
	assert_int_equal(k.revoked_ms, 2000);
	assert_trail(f, account, 3000, "key.scopes ");

	/* What becomes of its queued mail may change; when it was revoked does not. */
	OK(f, key_revoke(f->h, &(struct actor){ S("x"), 4000 }, id, QUEUED_KEEP, &f->e));
	OK(f, key_find(f->h, id, &k, &f->e));
	assert_int_equal(k.revoked_ms, 2000);
	assert_int_equal(key_queued(&k, 4000), QUEUED_KEEP);
	assert_trail(f, account, 4000, "key.queued ");
	k.state = KEY_ACTIVE;
	k.expires_ms = 5000;
	assert_int_equal(key_standing(&k, 4999), STANDING_ACTIVE);
	assert_int_equal(key_standing(&k, 5000), STANDING_EXPIRED);

	FAILS(f, ERR_ABSENT, key_revoke(f->h, &later, none, QUEUED_AS_STATE, &f->e));
	FAILS(f, ERR_ABSENT, key_set_scopes(f->h, &later, none, reader, &f->e));
	FAILS(f, ERR_ABSENT, key_set_expiry(f->h, &later, none, 0, &f->e));
	FAILS(f, ERR_ABSENT, key_find(f->h, S("short"), &k, &f->e));
}

/* Found or not, a key costs two lookups: a stranger learns nothing from the time. */
static void test_lookups(void **state)
{
	static const struct key_spec spec = { { "", 0 }, { 1 }, 0 };
	struct fix *f = *state;
	uint64_t account = new_account(f, "shop"), was;
	struct key k;

	OK(f, key_import(f->h, &by, account, &spec, secret(S(VECTOR)), &k, &f->e));
	was = store_lookups(f->h);
	OK(f, key_find(f->h, S(VECTOR_ID), &k, &f->e));
	assert_int_equal(store_lookups(f->h) - was, 2);
	FAILS(f, ERR_ABSENT, key_find(f->h, S("AAAAAAAAAAAAAAAAAAAAAA"), &k, &f->e));
	assert_int_equal(store_lookups(f->h) - was, 4);
}

/* Rows that nobody here wrote: an error of the store, and never a key or account that works. */
static void test_damaged(void **state)
{
	static const struct {
		size_t column;
		struct val v;
	} cases[] = {
		{ KEY_STATE, { VAL_TEXT, 0, S("Active") } },
		{ KEY_STATE, { VAL_TEXT, 0, S("") } },
		{ KEY_SCOPES, { VAL_TEXT, 0, S("mail.everything") } },
		{ KEY_HASH, { VAL_BLOB, 0, S("short") } },
	};
	static const struct {
		size_t column;
		struct val v;
	} scrams[] = {
		{ KEY_SCRAM_ROUNDS, { VAL_INT, SCRAM_ROUNDS - 1, { 0 } } },
		{ KEY_SCRAM_ROUNDS, { VAL_INT, -1, { 0 } } },
		{ KEY_SCRAM_ROUNDS, { VAL_INT, INT64_C(1) << 32, { 0 } } },
		{ KEY_SCRAM_SALT, { VAL_BLOB, 0, S("short") } },
	};
	static const struct key_spec spec = { { "", 0 }, { 1 }, 0 };
	struct fix *f = *state;
	uint64_t account = new_account(f, "shop");
	struct val key[2] = { val_int((int64_t)account), val_text(S(VECTOR_ID)) };
	struct val row[KEY_COLUMNS], was, owner[ACCOUNT_COLUMNS];
	struct key_scram scram;
	struct account a;
	struct key k;

	OK(f, key_import(f->h, &by, account, &spec, secret(S(VECTOR)), &k, &f->e));
	OK(f, store_get(f->h, &key_table, key, &f->a, row, &f->e));
	for (size_t i = 0; i < LEN(cases) + LEN(scrams); i++) {
		bool scrammed = i >= LEN(cases);
		size_t column = scrammed ? scrams[i - LEN(cases)].column : cases[i].column;

		was = row[column];
		row[column] = scrammed ? scrams[i - LEN(cases)].v : cases[i].v;
		OK(f, store_begin(f->h, STORE_WRITE, &f->e));
		OK(f, store_update(f->h, &key_table, row, &f->e));
		OK(f, store_commit(f->h, &f->e));
		row[column] = was;
		if (scrammed) {
			FAILS(f, ERR_DAMAGED,
			      key_scram(f->h, account, S(VECTOR_ID), &scram, &f->e));
			continue;
		}
		FAILS(f, ERR_DAMAGED, key_find(f->h, S(VECTOR_ID), &k, &f->e));
		FAILS(f, ERR_DAMAGED, key_get(f->h, account, S(VECTOR_ID), &k, &f->e));
	}
	OK(f, store_get(f->h, &account_table, key, &f->a, owner, &f->e));
	owner[ACCOUNT_STATE] = val_text(S("Active"));
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	OK(f, store_update(f->h, &account_table, owner, &f->e));
	OK(f, store_commit(f->h, &f->e));
	FAILS(f, ERR_DAMAGED, account_get(f->h, account, &a, &f->e));
}

/* Whichever store call fails: an error, and no half a key. */
static void test_faults(void **state)
{
	static const struct key_spec spec = { { "", 0 }, { 1 }, 0 };
	struct fix *f = *state;
	uint64_t account = new_account(f, "shop");
	struct key k, *list;
	bool ok = false;
	size_t n;

	for (uint64_t at = 1; !ok; at++) {
		store_memory_fail(f->s, at);
		ok = key_import(f->h, &by, account, &spec, secret(S(VECTOR)), &k, &f->e);
		store_memory_fail(f->s, 0);
		assert_true(ok || f->e.kind == ERR_LATER);
		OK(f, key_list(f->h, account, S(""), 9, &f->a, &list, &n, &f->e));
		assert_int_equal(n, ok);
		assert_int_equal(key_find(f->h, S(VECTOR_ID), &k, &f->e), ok);
		assert_true(at < 20);
	}
	ok = false;
	for (uint64_t at = 1; !ok; at++) {
		store_memory_fail(f->s, at);
		ok = key_revoke(f->h, &by, S(VECTOR_ID), QUEUED_AS_STATE, &f->e);
		store_memory_fail(f->s, 0);
		OK(f, key_find(f->h, S(VECTOR_ID), &k, &f->e));
		assert_int_equal(k.state, ok ? KEY_REVOKED : KEY_ACTIVE);
		assert_true(at < 20);
	}
}

int key_tests(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, account_fix_begin, account_fix_end)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_an_id_begins_with_a_letter),
		cmocka_unit_test(test_shape),
		cmocka_unit_test(test_verdict),
		cmocka_unit_test(test_scram_vector),
		cmocka_unit_test(test_scopes),
		T(test_create),
		T(test_refused),
		T(test_import),
		T(test_found_evenly),
		T(test_change),
		T(test_lookups),
		T(test_damaged),
		T(test_faults),
	};

	return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
