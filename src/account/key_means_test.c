/* account/key_means_test.c -- mechanisms, CRAM-MD5 and certificates of keys. */
#include "account/account_impl.h"
#include "account/key.h"
#include "base/must.h"
#include "digest/md5.h"
#include "keyring/keyring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "account/test_impl.h"

static const struct actor by = { { "uid:0", 5 }, 1000 };
#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static struct account add_account(struct fix *f)
{
	struct account a;

	OK(f, account_add(f->h, &by, S("acme"), &a, &f->e));
	return a;
}

static void test_mechanism_names(void **state)
{
	struct mechanisms m = { 0 }, again;
	struct err e = { 0 };
	struct buf b;

	(void)state;
	buf_init(&b, 256);
	assert_true(mechanisms_allow(m, S("PLAIN")));
	assert_true(mechanisms_allow(m, S("XOAUTH2"))); /* no limit is none */
	assert_true(mechanisms_add(&m, S("scram-sha-256"), &e));
	assert_true(mechanisms_add(&m, S("PLAIN"), &e));
	assert_false(mechanisms_add(&m, S("ANONYMOUS"), &e));
	assert_int_equal(e.kind, ERR_INPUT);
	assert_false(mechanisms_add(&m, S(""), &e));
	assert_true(mechanisms_allow(m, S("SCRAM-SHA-256")));
	assert_false(mechanisms_allow(m, S("SCRAM-SHA-256-PLUS")));
	assert_false(mechanisms_allow(m, S("LOGIN")));
	assert_false(mechanisms_allow(m, S("XOAUTH2")));
	mechanisms_text(m, &b);
	assert_true(slice_eq(buf_slice(&b), S("SCRAM-SHA-256 PLAIN")));
	assert_true(mechanisms_parse(buf_slice(&b), &again, &e));
	assert_int_equal(again.bits, m.bits);
	assert_false(mechanisms_parse(S("PLAIN NONE"), &again, &e));
	buf_done(&b);
}

static void test_identities(void **state)
{
	static const struct {
		struct slice text, kept; /* kept empty: refused */
	} rows[] = {
		{ S("spki:" HEX64), S("spki:" HEX64) },
		{ S("spki:00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff"),
		  S("spki:" HEX64) },
		{ S("dns:Host.Example"), S("dns:host.example") },
		{ S("uri:spiffe://Prod/Mail"), S("uri:spiffe://Prod/Mail") },
		{ S("email:A@b.example"), S("email:A@b.example") },
		{ S("spki:" HEX64 "0"), S("") },
		{ S("spki:" HEX64 "00"), S("") },
		{ S("spki:x0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
		  S("") },
		{ S("spki:"), S("") },
		{ S("spki:0011"), S("") },
		{ S("dns:"), S("") },
		{ S("dns:*.example"), S("") },
		{ S("dns:a b"), S("") },
		{ S("uri:"), S("") },
		{ S("uri:a b"), S("") },
		{ S("uri:a\x7f"), S("") },
		{ S("uri:\xc3\xbc"), S("") },
		{ S("URI:x"), S("") },
		{ S("ip:127.0.0.1"), S("") },
		{ S("token:sso:sub=Robot|7"), S("token:sso:sub=Robot|7") },
		{ S("token:sso-2:https://x.example/role=a=b:c"),
		  S("token:sso-2:https://x.example/role=a=b:c") },
		{ S("token:sso:sub="), S("") },
		{ S("token:sso:=x"), S("") },
		{ S("token:sso:sub"), S("") },
		{ S("token::sub=x"), S("") },
		{ S("token:SSO:sub=x"), S("") },
		{ S("token:sso:sub=a b"), S("") },
		{ S("token:"), S("") },
		{ S("nothing"), S("") },
		{ S(""), S("") },
	};
	char longest[KEY_IDENTITY_MAX + 1];
	struct err e = { 0 };
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		buf_clear(&b);
		assert_int_equal(key_identity(rows[i].text, &b, &e), rows[i].kept.n > 0);
		if (!slice_eq(buf_slice(&b), rows[i].kept))
			fail_msg("%.*s", SLICE_ARG(rows[i].text));
	}
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "uri:", 4);
	assert_true(key_identity(slice(longest, KEY_IDENTITY_MAX), &b, &e));
	assert_false(key_identity(slice(longest, KEY_IDENTITY_MAX + 1), &b, &e));
	buf_done(&b);
}

static void test_limited_key(void **state)
{
	struct fix *f = *state;
	struct account a = add_account(f);
	struct key_spec spec = { .scopes = scopes_default() };
	struct key k, found;
	struct buf text;

	buf_init(&text, 100);
	OK(f, mechanisms_add(&spec.mechanisms, S("SCRAM-SHA-256"), &f->e));
	OK(f, key_create(f->h, &by, a.id, &spec, &text, &k, &f->e));
	OK(f, key_find(f->h, slice_str(k.id), &found, &f->e));
	assert_int_equal(found.mechanisms.bits, spec.mechanisms.bits);
	assert_false(found.cram_md5);
	spec = (struct key_spec){ .scopes = scopes_default() };
	buf_clear(&text);
	OK(f, key_create(f->h, &by, a.id, &spec, &text, &k, &f->e));
	OK(f, key_find(f->h, slice_str(k.id), &found, &f->e));
	assert_int_equal(found.mechanisms.bits, 0);
	buf_wipe(&text);
}

/* Beside each other, at creation and later; what is not said stays. */
static void test_limits(void **state)
{
	struct fix *f = *state;
	struct account a = add_account(f);
	struct key_spec spec = { .scopes = scopes_default() };
	struct mechanisms plain = { 0 }, any = { 0 };
	struct networks home = { 0 }, everywhere = { 0 };
	struct slice id;
	struct key k;
	struct buf text;

	buf_init(&text, 100);
	OK(f, networks_add(&spec.networks, S("10.0.0.0/8"), &f->e));
	OK(f, key_create(f->h, &by, a.id, &spec, &text, &k, &f->e));
	assert_int_equal(k.networks.n, 1);
	id = slice_str(k.id);
	OK(f, mechanisms_add(&plain, S("PLAIN"), &f->e));
	OK(f, key_set_limits(f->h, &by, id, &plain, NULL, &f->e));
	OK(f, key_find(f->h, id, &k, &f->e));
	assert_int_equal(k.mechanisms.bits, plain.bits);
	assert_true(k.networks.n == 1 && networks_allow(&k.networks, S("10.1.2.3")));
	assert_false(networks_allow(&k.networks, S("11.1.2.3")));
	OK(f, networks_add(&home, S("2001:db8::/64"), &f->e));
	OK(f, networks_add(&home, S("192.0.2.7"), &f->e));
	OK(f, key_set_limits(f->h, &by, id, NULL, &home, &f->e));
	OK(f, key_find(f->h, id, &k, &f->e));
	assert_int_equal(k.mechanisms.bits, plain.bits);
	assert_int_equal(k.networks.n, 2);
	OK(f, key_set_limits(f->h, &by, id, &any, &everywhere, &f->e));
	OK(f, key_find(f->h, id, &k, &f->e));
	assert_true(!k.mechanisms.bits && !k.networks.n);
	FAILS(f, ERR_ABSENT,
	      key_set_limits(f->h, &by, S("AAAAAAAAAAAAAAAAAAAAAA"), &any, NULL, &f->e));
	assert_trail(f, a.id, 0, "account.add key.create key.limits key.limits key.limits ");
	buf_wipe(&text);
}

static void cram_of(struct slice key, struct slice challenge, unsigned char ret[DIGEST_MD5])
{
	unsigned char s[HMAC_MD5_STATE];

	digest_hmac_md5_state(key, s);
	digest_hmac_md5_finish(s, challenge, ret);
}

static void move_cram(struct fix *f, uint64_t account, const struct key *from, const struct key *to)
{
	struct val one[KEY_COLUMNS], other[KEY_COLUMNS], key[2] = { val_int((int64_t)account) };

	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	key[1] = val_text(slice_str(from->id));
	OK(f, store_get(f->h, &key_table, key, &f->a, one, &f->e));
	key[1] = val_text(slice_str(to->id));
	OK(f, store_get(f->h, &key_table, key, &f->a, other, &f->e));
	other[KEY_CRAM_MD5] = one[KEY_CRAM_MD5];
	OK(f, store_update(f->h, &key_table, other, &f->e));
	OK(f, store_commit(f->h, &f->e));
}

static void test_cram_md5(void **state)
{
	struct fix *f = *state;
	struct account a = add_account(f);
	char dir[] = "/tmp/signet-key-XXXXXX", path[64];
	struct key_spec spec = { .scopes = scopes_default(), .cram_md5 = true };
	struct slice challenge = S("<1.2@mx.test>");
	unsigned char digest[DIGEST_MD5];
	struct keyring *keyring;
	struct buf text, other;
	struct key k, plain;
	bool ok = false;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/key", dir);
	OK(f, keyring_create(slice_str(path), &f->e));
	keyring = keyring_open(slice_str(path), &f->e);
	assert_non_null(keyring);
	unlink(path);
	rmdir(dir);
	buf_init(&text, 100);
	buf_init(&other, 1000);
	spec.keyring = keyring;
	OK(f, key_create(f->h, &by, a.id, &spec, &text, &k, &f->e));
	spec.cram_md5 = false;
	OK(f, key_create(f->h, &by, a.id, &spec, &other, &plain, &f->e));
	OK(f, key_find(f->h, slice_str(k.id), &k, &f->e));
	assert_true(k.cram_md5);

	cram_of(buf_slice(&text), challenge, digest);
	OK(f, key_cram_md5(f->h, keyring, a.id, slice_str(k.id), challenge, digest, &ok, &f->e));
	assert_true(ok);
	OK(f, key_cram_md5(f->h, keyring, a.id, slice_str(k.id), S("<2.2@mx.test>"), digest, &ok,
			   &f->e));
	assert_false(ok);
	/* Another account's, nobody's, and a key that was not made for it. */
	OK(f, key_cram_md5(f->h, keyring, 0, slice_str(k.id), challenge, digest, &ok, &f->e));
	assert_false(ok);
	cram_of(buf_slice(&other), challenge, digest);
	ok = true;
	OK(f,
	   key_cram_md5(f->h, keyring, a.id, slice_str(plain.id), challenge, digest, &ok, &f->e));
	assert_false(ok);
	FAILS(f, ERR_ABSENT,
	      key_cram_md5(f->h, keyring, a.id, S("x"), challenge, digest, &ok, &f->e));
	/* What is sealed for one key opens for no other. */
	move_cram(f, a.id, &k, &plain);
	cram_of(buf_slice(&text), challenge, digest);
	ok = true;
	OK(f,
	   key_cram_md5(f->h, keyring, a.id, slice_str(plain.id), challenge, digest, &ok, &f->e));
	assert_false(ok);
	/* A key for CRAM-MD5 that may not use it is a mistake. */
	spec.cram_md5 = true;
	OK(f, mechanisms_add(&spec.mechanisms, S("PLAIN"), &f->e));
	FAILS(f, ERR_INPUT, key_create(f->h, &by, a.id, &spec, &other, &plain, &f->e));
	keyring_close(keyring);
	buf_wipe(&text);
	buf_wipe(&other);
}

static void test_certificates(void **state)
{
	struct fix *f = *state;
	struct account a = add_account(f);
	const struct slice two[] = { S("dns:MX.example"), S("uri:spiffe://prod/mail") };
	const struct slice twice[] = { S("dns:a.example"), S("dns:A.example") };
	struct slice many[KEY_IDENTITIES_MAX + 1];
	struct key_spec spec = { .scopes = scopes_default(), .identities = two, .n_identities = 2 };
	char id[KEY_ID_LEN + 1];
	struct key k, second;
	uint64_t account;
	struct buf text;

	buf_init(&text, 1000);
	OK(f, key_create(f->h, &by, a.id, &spec, &text, &k, &f->e));
	OK(f, key_of_identity(f->h, S("uri:spiffe://prod/mail"), &account, id, &f->e));
	assert_int_equal(account, a.id);
	assert_string_equal(id, k.id);
	OK(f, key_of_identity(f->h, S("dns:mx.example"), &account, id, &f->e));
	FAILS(f, ERR_ABSENT, key_of_identity(f->h, S("dns:mx.exampl"), &account, id, &f->e));
	buf_wipe(&text);
	OK(f, key_identities(f->h, a.id, slice_str(k.id), &text, &f->e));
	assert_true(slice_eq(buf_slice(&text), S("dns:mx.example uri:spiffe://prod/mail")));
	buf_wipe(&text);

	/* One stands for one key; and nothing is left of a key that was refused. */
	FAILS(f, ERR_CONFLICT, key_create(f->h, &by, a.id, &spec, &text, &second, &f->e));
	spec.identities = twice;
	FAILS(f, ERR_CONFLICT, key_create(f->h, &by, a.id, &spec, &text, &second, &f->e));
	FAILS(f, ERR_ABSENT, key_of_identity(f->h, S("dns:a.example"), &account, id, &f->e));
	/* Until that key is revoked. */
	OK(f, key_revoke(f->h, &by, slice_str(k.id), QUEUED_AS_STATE, &f->e));
	spec.identities = two;
	OK(f, key_create(f->h, &by, a.id, &spec, &text, &second, &f->e));
	OK(f, key_of_identity(f->h, S("dns:mx.example"), &account, id, &f->e));
	assert_string_equal(id, second.id);
	for (size_t i = 0; i <= KEY_IDENTITIES_MAX; i++)
		many[i] = S("dns:x");
	spec.identities = many;
	spec.n_identities = KEY_IDENTITIES_MAX + 1;
	FAILS(f, ERR_INPUT, key_create(f->h, &by, a.id, &spec, &text, &second, &f->e));
	buf_wipe(&text);
}

/* A row as version 2 wrote it. */
static void test_old_row(void **state)
{
	struct fix *f = *state;
	struct account a = add_account(f);
	struct key_spec spec = { .scopes = scopes_default() };
	struct val row[KEY_COLUMNS], key[2];
	struct buf text;
	struct key k;

	buf_init(&text, 100);
	OK(f, key_create(f->h, &by, a.id, &spec, &text, &k, &f->e));
	OK(f, store_begin(f->h, STORE_WRITE, &f->e));
	key[0] = val_int((int64_t)a.id);
	key[1] = val_text(slice_str(k.id));
	OK(f, store_get(f->h, &key_table, key, &f->a, row, &f->e));
	for (size_t i = KEY_MECHANISMS; i < KEY_COLUMNS; i++)
		row[i] = (struct val){ 0 };
	OK(f, store_update(f->h, &key_table, row, &f->e));
	OK(f, store_commit(f->h, &f->e));
	OK(f, key_find(f->h, slice_str(k.id), &k, &f->e));
	assert_false(k.cram_md5);
	assert_int_equal(k.mechanisms.bits, 0);
	assert_int_equal(k.networks.n, 0);
	buf_wipe(&text);
}

int key_means_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mechanism_names),
		cmocka_unit_test(test_identities),
		cmocka_unit_test_setup_teardown(test_limited_key, account_fix_begin,
						account_fix_end),
		cmocka_unit_test_setup_teardown(test_limits, account_fix_begin, account_fix_end),
		cmocka_unit_test_setup_teardown(test_cram_md5, account_fix_begin, account_fix_end),
		cmocka_unit_test_setup_teardown(test_certificates, account_fix_begin,
						account_fix_end),
		cmocka_unit_test_setup_teardown(test_old_row, account_fix_begin, account_fix_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
