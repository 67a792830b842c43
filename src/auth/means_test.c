/* auth/means_test.c -- logging in by anything but a password, and what all refusals have in common.
 */
#include "auth/known.h"
#include "auth/room_test.h"
#include "base/err_test.h"
#include "digest/md5.h"
#include "keyring/keyring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof(*(a)))

#define SECRET    "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoM"
#define WRONG     "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoN"
#define GOOD      "AAECAwQFBgcICQoLRMkjBA" /* with a checksum that fits */
#define UNKNOWN   "AQIDBAUGBwgJCgsM2N1qYQ"
#define REVOKED   "2222222222222222222222"
#define EXPIRED   "3333333333333333333333"
#define SUSPENDED "4444444444444444444444"
#define READER    "5555555555555555555555"
#define LOGIN     "6666666666666666666666" /* may use LOGIN alone */
#define PLAINKEY  "7777777777777777777777" /* not for CRAM-MD5 */
#define TWIN      "8888888888888888888888" /* another with a certificate of GOOD's client */
#define HOME      "BBBBBBBBBBBBBBBBBBBBBB" /* from where the attempts come */
#define AWAY      "CCCCCCCCCCCCCCCCCCCCCC" /* from another address */
#define ONLY      "DDDDDDDDDDDDDDDDDDDDDD" /* with tokens alone */
#define KEY(id)   "SG." id "." SECRET
#define NOW       10000

static const struct actor by = { { "uid:0", 5 }, 1000 };
static const unsigned char secret_of_all[AUTH_SECRET] = { 1, 2, 3 };

struct fix {
	struct store *s;
	struct store_handle *h;
	struct err e;
	struct keyring *keyring;
	uint64_t account;
};

static void import(struct fix *f, uint64_t account, const char *text, const struct key_spec *more)
{
	struct key_spec spec = *more;
	struct key k;

	if (!spec.scopes.bits)
		spec.scopes = scopes_default();
	spec.keyring = f->keyring;
	OK(f, key_import(f->h, &by, account, &spec, secret(slice_str(text)), &k, &f->e));
}

/* To addresses, to mechanisms of tokens. */
static void limited(struct fix *f)
{
	const struct slice away[] = { S("token:sso:sub=away"), S("dns:away.example") };
	const struct slice only[] = { S("token:sso:sub=only") };
	struct networks home = { 0 }, elsewhere = { 0 };
	struct mechanisms token = { 0 };

	OK(f, networks_add(&home, S("2001:db8::/32"), &f->e));
	OK(f, networks_add(&home, S("192.0.2.0/24"), &f->e));
	OK(f, networks_add(&elsewhere, S("192.0.2.2"), &f->e));
	OK(f, mechanisms_add(&token, S("XOAUTH2"), &f->e));
	import(f, f->account, KEY(HOME), &(struct key_spec){ .networks = home });
	import(f, f->account, KEY(AWAY),
	       &(struct key_spec){ .networks = elsewhere,
				   .cram_md5 = true,
				   .identities = away,
				   .n_identities = LEN(away) });
	import(f, f->account, KEY(ONLY),
	       &(struct key_spec){ .mechanisms = token, .identities = only, .n_identities = 1 });
}

static int begin(void **state)
{
	static const struct schema *const schemas[] = { &account_schema };
	static const struct store_conf conf = { .busy_ms = 50 };
	const struct slice known[] = { S("uri:spiffe://prod/mail"), S("dns:mail.example"),
				       S("token:sso:sub=robot"), S("token:sso:client_id=shop") };
	const struct slice twin[] = { S("dns:twin.example"), S("token:sso:sub=twin") };
	const struct slice gone[] = { S("token:sso:sub=gone") };
	const struct slice by_login[] = { S("token:sso:sub=login") };
	struct scopes reader = scopes_with((struct scopes){ 0 }, SCOPE_API_KEYS_READ);
	char dir[] = "/tmp/signet-auth-XXXXXX", path[64];
	struct fix *f = calloc(1, sizeof(*f));
	struct mechanisms login = { 0 };
	struct account a = { 0 };

	if (!f || !mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/key", dir);
	f->s = store_open(&store_memory, &conf, schemas, 1, &f->e);
	f->h = f->s ? store_attach(f->s, &f->e) : NULL;
	*state = f;
	OK(f, keyring_create(slice_str(path), &f->e));
	f->keyring = keyring_open(slice_str(path), &f->e);
	unlink(path);
	rmdir(dir);
	if (!f->h || !f->keyring)
		return -1;
	OK(f, account_add(f->h, &by, S("bad"), &a, &f->e));
	import(f, a.id, KEY(SUSPENDED), &(struct key_spec){ .cram_md5 = true });
	OK(f, account_set_state(f->h, &by, a.id, ACCOUNT_HELD, QUEUED_AS_STATE, &f->e));
	OK(f, account_add(f->h, &by, S("shop"), &a, &f->e));
	f->account = a.id;
	OK(f, mechanisms_add(&login, S("LOGIN"), &f->e));
	import(f, a.id, KEY(GOOD),
	       &(struct key_spec){
		   .cram_md5 = true, .identities = known, .n_identities = LEN(known) });
	import(f, a.id, KEY(REVOKED),
	       &(struct key_spec){ .cram_md5 = true, .identities = gone, .n_identities = 1 });
	import(f, a.id, KEY(EXPIRED), &(struct key_spec){ .cram_md5 = true, .expires_ms = NOW });
	import(f, a.id, KEY(READER), &(struct key_spec){ .cram_md5 = true, .scopes = reader });
	import(
	    f, a.id, KEY(LOGIN),
	    &(struct key_spec){ .mechanisms = login, .identities = by_login, .n_identities = 1 });
	import(f, a.id, KEY(PLAINKEY), &(struct key_spec){ 0 });
	import(f, a.id, KEY(TWIN),
	       &(struct key_spec){ .identities = twin, .n_identities = LEN(twin) });
	limited(f);
	OK(f, key_revoke(f->h, &by, S(REVOKED), QUEUED_AS_STATE, &f->e));
	return 0;
}

static int end(void **state)
{
	struct fix *f = *state;

	store_detach(f->h);
	store_close(f->s);
	keyring_close(f->keyring);
	free(f);
	return 0;
}

static const struct slice challenge = { "<1.2@mx.test>", 13 };

static void cram_of(const char *key, unsigned char ret[DIGEST_MD5])
{
	unsigned char s[HMAC_MD5_STATE];

	digest_hmac_md5_state(slice_str(key), s);
	digest_hmac_md5_finish(s, challenge, ret);
}

// clang-format off
static const struct row {
	const char *name;
	enum auth_by by;
	const char *mechanism, *user, *authzid;
	const char *password;    /* or the token, or the key that CRAM-MD5 was answered with */
	enum auth_reason fault;
	struct slice identities[3];
	enum auth_reason reason;
	const char *key_id; /* in the finding */
} rows[] = {
	/* passwords, and keys limited to other mechanisms */
	{ "password", AUTH_BY_PASSWORD, "PLAIN", "apikey", "", KEY(GOOD), 0, { { 0 } }, REASON_OK, GOOD },
	{ "limited", AUTH_BY_PASSWORD, "LOGIN", "apikey", "", KEY(LOGIN), 0, { { 0 } }, REASON_OK, LOGIN },
	{ "limited to another", AUTH_BY_PASSWORD, "PLAIN", "apikey", "", KEY(LOGIN), 0, { { 0 } }, REASON_MECHANISM, LOGIN },
	{ "wrong, limited to another", AUTH_BY_PASSWORD, "PLAIN", "apikey", "", "SG." LOGIN "." WRONG, 0, { { 0 } }, REASON_WRONG_SECRET, LOGIN },
	{ "unknown", AUTH_BY_PASSWORD, "PLAIN", "apikey", "", KEY(UNKNOWN), 0, { { 0 } }, REASON_MISTYPED_KEY, UNKNOWN },
	{ "revoked", AUTH_BY_PASSWORD, "PLAIN", "apikey", "", KEY(REVOKED), 0, { { 0 } }, REASON_REVOKED, REVOKED },
	/* and to addresses: the attempts come from 192.0.2.1 */
	{ "from there", AUTH_BY_PASSWORD, "PLAIN", "apikey", "", KEY(HOME), 0, { { 0 } }, REASON_OK, HOME },
	{ "from elsewhere", AUTH_BY_PASSWORD, "PLAIN", "apikey", "", KEY(AWAY), 0, { { 0 } }, REASON_ADDRESS, AWAY },
	{ "wrong, from elsewhere", AUTH_BY_PASSWORD, "PLAIN", "apikey", "", "SG." AWAY "." WRONG, 0, { { 0 } }, REASON_WRONG_SECRET, AWAY },
	{ "proof, from elsewhere", AUTH_BY_PROOF, "SCRAM-SHA-256", AWAY, "", "", REASON_OK, { { 0 } }, REASON_ADDRESS, AWAY },
	{ "digest, from elsewhere", AUTH_BY_CRAM_MD5, "CRAM-MD5", AWAY, "", KEY(AWAY), 0, { { 0 } }, REASON_ADDRESS, AWAY },
	{ "token, from elsewhere", AUTH_BY_TOKEN, "XOAUTH2", "", "", "token", 0, { S("token:sso:sub=away") }, REASON_ADDRESS, AWAY },
	{ "certificate, from elsewhere", AUTH_BY_CERTIFICATE, "EXTERNAL", "", "", "", 0, { S("dns:away.example") }, REASON_ADDRESS, AWAY },
	{ "limited to tokens", AUTH_BY_TOKEN, "XOAUTH2", "", "", "token", 0, { S("token:sso:sub=only") }, REASON_OK, ONLY },
	{ "the other mechanism of tokens", AUTH_BY_TOKEN, "OAUTHBEARER", "", "", "token", 0, { S("token:sso:sub=only") }, REASON_MECHANISM, ONLY },
	{ "limited to tokens, the secret", AUTH_BY_PASSWORD, "PLAIN", "apikey", "", KEY(ONLY), 0, { { 0 } }, REASON_MECHANISM, ONLY },
	/* SCRAM */
	{ "proof", AUTH_BY_PROOF, "SCRAM-SHA-256", GOOD, "", "", REASON_OK, { { 0 } }, REASON_OK, GOOD },
	{ "proof, named itself", AUTH_BY_PROOF, "SCRAM-SHA-256", GOOD, GOOD, "", REASON_OK, { { 0 } }, REASON_OK, GOOD },
	{ "proof, for another", AUTH_BY_PROOF, "SCRAM-SHA-256", GOOD, TWIN, "", REASON_OK, { { 0 } }, REASON_OTHER_IDENTITY, GOOD },
	{ "no proof", AUTH_BY_PROOF, "SCRAM-SHA-256", GOOD, "", "", REASON_WRONG_SECRET, { { 0 } }, REASON_WRONG_SECRET, GOOD },
	{ "other TLS", AUTH_BY_PROOF, "SCRAM-SHA-256-PLUS", GOOD, "", "", REASON_BINDING, { { 0 } }, REASON_BINDING, GOOD },
	{ "binding type", AUTH_BY_PROOF, "SCRAM-SHA-256-PLUS", GOOD, "", "", REASON_BINDING_TYPE, { { 0 } }, REASON_BINDING_TYPE, GOOD },
	{ "downgrade", AUTH_BY_PROOF, "SCRAM-SHA-256", GOOD, "", "", REASON_DOWNGRADE, { { 0 } }, REASON_DOWNGRADE, GOOD },
	{ "nonce", AUTH_BY_PROOF, "SCRAM-SHA-256", GOOD, "", "", REASON_BAD_NONCE, { { 0 } }, REASON_BAD_NONCE, GOOD },
	{ "apikey has no id", AUTH_BY_PROOF, "SCRAM-SHA-256", "apikey", "", "", REASON_WRONG_SECRET, { { 0 } }, REASON_NOT_A_KEY_ID, "" },
	{ "no id, were it proved", AUTH_BY_PROOF, "SCRAM-SHA-256", "bob", "", "", REASON_OK, { { 0 } }, REASON_NOT_A_KEY_ID, "" },
	{ "empty", AUTH_BY_PROOF, "SCRAM-SHA-256", "", "", "", REASON_OK, { { 0 } }, REASON_NOT_A_KEY_ID, "" },
	{ "unknown id", AUTH_BY_PROOF, "SCRAM-SHA-256", UNKNOWN, "", "", REASON_WRONG_SECRET, { { 0 } }, REASON_MISTYPED_KEY, UNKNOWN },
	{ "unknown id, were it proved", AUTH_BY_PROOF, "SCRAM-SHA-256", UNKNOWN, "", "", REASON_OK, { { 0 } }, REASON_MISTYPED_KEY, UNKNOWN },
	{ "proof, revoked", AUTH_BY_PROOF, "SCRAM-SHA-256", REVOKED, "", "", REASON_OK, { { 0 } }, REASON_REVOKED, REVOKED },
	{ "proof, expired", AUTH_BY_PROOF, "SCRAM-SHA-256", EXPIRED, "", "", REASON_OK, { { 0 } }, REASON_EXPIRED, EXPIRED },
	{ "proof, suspended", AUTH_BY_PROOF, "SCRAM-SHA-256", SUSPENDED, "", "", REASON_OK, { { 0 } }, REASON_ACCOUNT_HELD, SUSPENDED },
	{ "proof, no scope", AUTH_BY_PROOF, "SCRAM-SHA-256", READER, "", "", REASON_OK, { { 0 } }, REASON_SCOPE_MISSING, READER },
	{ "proof, not its mechanism", AUTH_BY_PROOF, "SCRAM-SHA-256", LOGIN, "", "", REASON_OK, { { 0 } }, REASON_MECHANISM, LOGIN },
	{ "no proof, revoked", AUTH_BY_PROOF, "SCRAM-SHA-256", REVOKED, "", "", REASON_WRONG_SECRET, { { 0 } }, REASON_WRONG_SECRET, REVOKED },
	/* CRAM-MD5 */
	{ "cram", AUTH_BY_CRAM_MD5, "CRAM-MD5", GOOD, "", KEY(GOOD), 0, { { 0 } }, REASON_OK, GOOD },
	{ "cram, wrong", AUTH_BY_CRAM_MD5, "CRAM-MD5", GOOD, "", "SG." GOOD "." WRONG, 0, { { 0 } }, REASON_WRONG_SECRET, GOOD },
	{ "cram, apikey", AUTH_BY_CRAM_MD5, "CRAM-MD5", "apikey", "", KEY(GOOD), 0, { { 0 } }, REASON_NOT_A_KEY_ID, "" },
	{ "cram, unknown", AUTH_BY_CRAM_MD5, "CRAM-MD5", UNKNOWN, "", KEY(UNKNOWN), 0, { { 0 } }, REASON_MISTYPED_KEY, UNKNOWN },
	{ "cram, not made for it", AUTH_BY_CRAM_MD5, "CRAM-MD5", PLAINKEY, "", KEY(PLAINKEY), 0, { { 0 } }, REASON_NO_CRAM_MD5, PLAINKEY },
	{ "cram, another's", AUTH_BY_CRAM_MD5, "CRAM-MD5", READER, "", KEY(GOOD), 0, { { 0 } }, REASON_WRONG_SECRET, READER },
	{ "cram, revoked", AUTH_BY_CRAM_MD5, "CRAM-MD5", REVOKED, "", KEY(REVOKED), 0, { { 0 } }, REASON_REVOKED, REVOKED },
	{ "cram, expired", AUTH_BY_CRAM_MD5, "CRAM-MD5", EXPIRED, "", KEY(EXPIRED), 0, { { 0 } }, REASON_EXPIRED, EXPIRED },
	{ "cram, no scope", AUTH_BY_CRAM_MD5, "CRAM-MD5", READER, "", KEY(READER), 0, { { 0 } }, REASON_SCOPE_MISSING, READER },
	{ "cram, suspended", AUTH_BY_CRAM_MD5, "CRAM-MD5", SUSPENDED, "", KEY(SUSPENDED), 0, { { 0 } }, REASON_ACCOUNT_HELD, SUSPENDED },
	/* tokens */
	{ "no issuer", AUTH_BY_TOKEN, "OAUTHBEARER", "", "", "token", REASON_NO_ISSUER, { { 0 } }, REASON_NO_ISSUER, "" },
	{ "bad, though known", AUTH_BY_TOKEN, "XOAUTH2", "", "", "token", REASON_TOKEN_SIGNATURE, { S("token:sso:sub=robot") }, REASON_TOKEN_SIGNATURE, "" },
	{ "issuer down", AUTH_BY_TOKEN, "XOAUTH2", "", "", "token", REASON_ISSUER_DOWN, { { 0 } }, REASON_ISSUER_DOWN, "" },
	{ "issuer busy", AUTH_BY_TOKEN, "XOAUTH2", "", "", "token", REASON_ISSUER_BUSY, { { 0 } }, REASON_ISSUER_BUSY, "" },
	{ "token", AUTH_BY_TOKEN, "OAUTHBEARER", "", "", "token", 0, { S("token:sso:sub=robot") }, REASON_OK, GOOD },
	{ "its second claim", AUTH_BY_TOKEN, "OAUTHBEARER", "", "", "token", 0, { S("token:sso:sub=x"), S("token:sso:client_id=shop") }, REASON_OK, GOOD },
	{ "both claims", AUTH_BY_TOKEN, "OAUTHBEARER", "", "", "token", 0, { S("token:sso:sub=robot"), S("token:sso:client_id=shop") }, REASON_OK, GOOD },
	{ "by the key's id", AUTH_BY_TOKEN, "XOAUTH2", GOOD, "", "token", 0, { S("token:sso:sub=robot") }, REASON_OK, GOOD },
	{ "by the account's name", AUTH_BY_TOKEN, "XOAUTH2", "shop", "", "token", 0, { S("token:sso:sub=robot") }, REASON_OK, GOOD },
	{ "by the claim", AUTH_BY_TOKEN, "XOAUTH2", "robot", "", "token", 0, { S("token:sso:sub=robot") }, REASON_OK, GOOD },
	{ "by another claim of it", AUTH_BY_TOKEN, "XOAUTH2", "a@b.example", "", "token", 0, { S("token:sso:email=a@b.example"), S("token:sso:sub=robot") }, REASON_OK, GOOD },
	{ "as another", AUTH_BY_TOKEN, "XOAUTH2", "bob", "", "token", 0, { S("token:sso:sub=robot") }, REASON_OTHER_IDENTITY, GOOD },
	{ "as another's key", AUTH_BY_TOKEN, "XOAUTH2", TWIN, "", "token", 0, { S("token:sso:sub=robot") }, REASON_OTHER_IDENTITY, GOOD },
	{ "apikey is nobody", AUTH_BY_TOKEN, "XOAUTH2", "apikey", "", "token", 0, { S("token:sso:sub=robot") }, REASON_OTHER_IDENTITY, GOOD },
	{ "in another case", AUTH_BY_TOKEN, "OAUTHBEARER", "", "", "token", 0, { S("token:sso:sub=Robot") }, REASON_UNKNOWN_SUBJECT, "" },
	{ "of another issuer", AUTH_BY_TOKEN, "OAUTHBEARER", "", "", "token", 0, { S("token:sso2:sub=robot") }, REASON_UNKNOWN_SUBJECT, "" },
	{ "of another claim", AUTH_BY_TOKEN, "OAUTHBEARER", "", "", "token", 0, { S("token:sso:client_id=robot") }, REASON_UNKNOWN_SUBJECT, "" },
	{ "two keys", AUTH_BY_TOKEN, "OAUTHBEARER", "", "", "token", 0, { S("token:sso:sub=robot"), S("token:sso:sub=twin") }, REASON_AMBIGUOUS_SUBJECT, "" },
	{ "two keys, one named", AUTH_BY_TOKEN, "OAUTHBEARER", TWIN, "", "token", 0, { S("token:sso:sub=robot"), S("token:sso:sub=twin") }, REASON_OK, TWIN },
	{ "token of a revoked key", AUTH_BY_TOKEN, "OAUTHBEARER", "", "", "token", 0, { S("token:sso:sub=gone") }, REASON_REVOKED, REVOKED },
	{ "token, not its mechanism", AUTH_BY_TOKEN, "OAUTHBEARER", "", "", "token", 0, { S("token:sso:sub=login") }, REASON_MECHANISM, LOGIN },
	/* certificates */
	{ "certificate", AUTH_BY_CERTIFICATE, "EXTERNAL", "", "", "", 0, { S("dns:mail.example") }, REASON_OK, GOOD },
	{ "its second name", AUTH_BY_CERTIFICATE, "EXTERNAL", "", "apikey", "", 0, { S("spki:00"), S("uri:spiffe://prod/mail") }, REASON_OK, GOOD },
	{ "both of its names", AUTH_BY_CERTIFICATE, "EXTERNAL", "", GOOD, "", 0, { S("dns:mail.example"), S("uri:spiffe://prod/mail") }, REASON_OK, GOOD },
	{ "none", AUTH_BY_CERTIFICATE, "EXTERNAL", "", "", "", 0, { { 0 } }, REASON_UNKNOWN_CERTIFICATE, "" },
	{ "none, but a name", AUTH_BY_CERTIFICATE, "EXTERNAL", "", GOOD, "", 0, { { 0 } }, REASON_UNKNOWN_CERTIFICATE, "" },
	{ "unknown", AUTH_BY_CERTIFICATE, "EXTERNAL", "", "", "", 0, { S("dns:mail.exampl") }, REASON_UNKNOWN_CERTIFICATE, "" },
	{ "in another case", AUTH_BY_CERTIFICATE, "EXTERNAL", "", "", "", 0, { S("uri:spiffe://Prod/mail") }, REASON_UNKNOWN_CERTIFICATE, "" },
	{ "as another", AUTH_BY_CERTIFICATE, "EXTERNAL", "", TWIN, "", 0, { S("dns:mail.example") }, REASON_OTHER_IDENTITY, "" },
	{ "as somebody", AUTH_BY_CERTIFICATE, "EXTERNAL", "", "shop", "", 0, { S("dns:mail.example") }, REASON_OTHER_IDENTITY, GOOD },
	{ "two keys", AUTH_BY_CERTIFICATE, "EXTERNAL", "", "", "", 0, { S("dns:mail.example"), S("dns:twin.example") }, REASON_AMBIGUOUS_CERTIFICATE, "" },
	{ "two keys, one named", AUTH_BY_CERTIFICATE, "EXTERNAL", "", TWIN, "", 0, { S("dns:mail.example"), S("dns:twin.example") }, REASON_OK, TWIN },
};
// clang-format on

static bool run(struct fix *f, const struct row *r, struct principal *ret,
		struct auth_finding *found)
{
	unsigned char digest[DIGEST_MD5];
	struct auth_attempt at = { .mechanism = slice_str(r->mechanism),
				   .username = slice_str(r->user),
				   .authzid = slice_str(r->authzid),
				   .by = r->by,
				   .password = secret(slice_str(r->password)),
				   .fault = r->fault,
				   .challenge = challenge,
				   .digest = digest,
				   .keyring = f->keyring,
				   .identities = r->identities,
				   .client = S("192.0.2.1"),
				   .now_ms = NOW };

	cram_of(r->password, digest);
	while (at.n_identities < LEN(r->identities) && r->identities[at.n_identities].n)
		at.n_identities++;
	return auth_login(f->h, &at, ret, found, &f->e);
}

/* Every refusal of what is well-formed: one text on the wire, the true reason in the finding. */
static void test_rows(void **state)
{
	struct fix *f = *state;

	for (size_t i = 0; i < LEN(rows); i++) {
		struct auth_finding found;
		struct principal p = { 0 };
		bool ok = run(f, &rows[i], &p, &found);

		if (found.reason != rows[i].reason || ok != (found.reason == REASON_OK))
			fail_msg("%s: %s", rows[i].name, auth_reason_name(found.reason));
		if (strcmp(found.key_id, rows[i].key_id) != 0)
			fail_msg("%s: key %s", rows[i].name, found.key_id);
		assert_int_equal(auth_answer(found.reason),
				 ok ? AUTH_OK
				 : found.reason == REASON_ISSUER_DOWN ||
					 found.reason == REASON_ISSUER_BUSY
				     ? AUTH_LATER
				     : AUTH_INVALID);
		if (ok) {
			assert_int_equal(p.account, f->account);
			assert_string_equal(p.key_id, rows[i].key_id);
		} else {
			assert_int_equal(p.account, 0);
			assert_null(strstr(f->e.text, SECRET));
		}
	}
}

/* A login ends with its token, or with its key when that is first; and a look at the key later on
 * makes it no longer. */
static void test_a_token_ends(void **state)
{
	const struct slice robot = S("token:sso:sub=robot"), shortlived = S("token:sso:sub=short");
	struct auth_attempt at = { .mechanism = S("OAUTHBEARER"),
				   .by = AUTH_BY_TOKEN,
				   .identities = &robot,
				   .n_identities = 1,
				   .ends_ms = NOW + 500,
				   .now_ms = NOW };
	struct key_spec spec = { .expires_ms = NOW + 300,
				 .identities = &shortlived,
				 .n_identities = 1 };
	struct fix *f = *state;
	struct auth_finding found;
	struct principal p = { 0 };

	OK(f, auth_login(f->h, &at, &p, &found, &f->e));
	assert_int_equal(p.expires_ms, NOW + 500);
	assert_true(auth_stale(&p, p.generation, NOW + 500));
	assert_false(auth_stale(&p, p.generation, NOW + 499));
	OK(f, auth_recheck(f->h, &p, S("192.0.2.1"), NOW + 499, &p, &found, &f->e));
	assert_int_equal(p.expires_ms, NOW + 500);
	assert_false(auth_recheck(f->h, &p, S("192.0.2.1"), NOW + 500, &p, &found, &f->e));
	assert_int_equal(found.reason, REASON_TOKEN_EXPIRED);
	at.now_ms = NOW + 500;
	assert_false(auth_login(f->h, &at, &p, &found, &f->e));
	assert_int_equal(found.reason, REASON_TOKEN_EXPIRED);
	/* The key is first. */
	import(f, f->account, KEY("9999999999999999999999"), &spec);
	at.identities = &shortlived;
	at.now_ms = NOW;
	OK(f, auth_login(f->h, &at, &p, &found, &f->e));
	assert_int_equal(p.expires_ms, NOW + 300);
	assert_int_equal(p.ends_ms, NOW + 500);
	/* No end. */
	at.identities = &robot;
	at.ends_ms = 0;
	OK(f, auth_login(f->h, &at, &p, &found, &f->e));
	assert_int_equal(p.expires_ms, 0);
}

/* Within a mechanism, whatever is found costs the same lookups. */
static void test_cost(void **state)
{
	struct fix *f = *state;

	for (size_t i = 0; i < LEN(rows); i++) {
		uint64_t was = store_lookups(f->h);
		struct auth_finding found;
		struct principal p;

		run(f, &rows[i], &p, &found);
		if (rows[i].by == AUTH_BY_PROOF)
			assert_int_equal(store_lookups(f->h) - was, 4);
		if (rows[i].by == AUTH_BY_CRAM_MD5)
			assert_int_equal(store_lookups(f->h) - was, 5);
	}
}

/* Whichever store call fails: 454, and never a principal. */
static void test_store_down(void **state)
{
	static const char *const names[] = { "proof", "cram", "certificate", "token" };
	struct fix *f = *state;

	for (size_t n = 0; n < LEN(names); n++) {
		const struct row *r = rows;
		uint64_t at = 0;
		bool ok = false;

		while (strcmp(r->name, names[n]) != 0)
			r++;
		while (!ok) {
			struct auth_finding found;
			struct principal p;

			store_memory_fail(f->s, ++at);
			ok = run(f, r, &p, &found);
			store_memory_fail(f->s, 0);
			if (!ok)
				assert_int_equal(auth_answer(found.reason), AUTH_LATER);
		}
		assert_true(at > 5);
	}
}

/* -- what SCRAM is given -- */

static bool verifier(struct fix *f, const unsigned char *secret_, const char *name,
		     struct auth_verifier *ret)
{
	memset(ret, 0x5a, sizeof(*ret));
	return auth_verifier(f->h, secret_, slice_str(name), ret, &f->e);
}

static void test_verifier(void **state)
{
	static const char *const nobodys[] = {
		UNKNOWN, "apikey", "", "bob", "AAAAAAAAAAAAAAAAAAAAAA", GOOD "A"
	};
	static const unsigned char other_secret[AUTH_SECRET] = { 9 };
	struct fix *f = *state;
	struct auth_verifier v, again;
	struct key_scram made;

	OK(f, verifier(f, secret_of_all, GOOD, &v));
	assert_false(v.nobodys);
	OK(f, key_scram(f->h, f->account, S(GOOD), &made, &f->e));
	assert_memory_equal(v.scram.salt, made.salt, sizeof(made.salt));
	assert_memory_equal(v.scram.stored_key, made.stored_key, sizeof(made.stored_key));
	assert_memory_equal(v.scram.server_key, made.server_key, sizeof(made.server_key));
	/* Revoked, expired: theirs, and refused in the end. */
	OK(f, verifier(f, secret_of_all, REVOKED, &v));
	assert_false(v.nobodys);

	for (size_t i = 0; i < LEN(nobodys); i++) {
		OK(f, verifier(f, secret_of_all, nobodys[i], &v));
		assert_true(v.nobodys);
		assert_int_equal(v.scram.rounds, SCRAM_ROUNDS); /* like any other */
		OK(f, verifier(f, secret_of_all, nobodys[i], &again));
		assert_memory_equal(&v.scram, &again.scram, sizeof(v.scram)); /* stable */
		OK(f, verifier(f, other_secret, nobodys[i], &again));
		assert_memory_not_equal(v.scram.salt, again.scram.salt, SCRAM_SALT);
		assert_memory_not_equal(v.scram.stored_key, again.scram.stored_key, 32);
		assert_memory_not_equal(v.scram.stored_key, v.scram.server_key, 32);
		for (size_t k = 0; k < i; k++) {
			OK(f, verifier(f, secret_of_all, nobodys[k], &again));
			assert_memory_not_equal(v.scram.salt, again.scram.salt, SCRAM_SALT);
		}
	}
}

/* The id that stands in for names that are none could be somebody's: it lets nobody in. */
static void test_no_id_is_somebodys(void **state)
{
	struct fix *f = *state;
	struct auth_verifier v;
	struct auth_finding found;
	struct principal p;
	struct row r = rows[0];

	import(f, f->account, "SG.AAAAAAAAAAAAAAAAAAAAAA." SECRET,
	       &(struct key_spec){ .cram_md5 = true });
	OK(f, verifier(f, secret_of_all, "bob", &v));
	assert_true(v.nobodys);
	OK(f, verifier(f, secret_of_all, "AAAAAAAAAAAAAAAAAAAAAA", &v));
	assert_false(v.nobodys);
	r.by = AUTH_BY_CRAM_MD5;
	r.user = "bob";
	r.password = "SG.AAAAAAAAAAAAAAAAAAAAAA." SECRET;
	assert_false(run(f, &r, &p, &found));
	assert_int_equal(found.reason, REASON_NOT_A_KEY_ID);
}

static void test_verifier_costs(void **state)
{
	static const char *const names[] = { GOOD, UNKNOWN, REVOKED, "apikey", "" };
	struct fix *f = *state;
	struct auth_verifier v;
	uint64_t at;

	for (size_t i = 0; i < LEN(names); i++) {
		uint64_t was = store_lookups(f->h);

		OK(f, verifier(f, secret_of_all, names[i], &v));
		assert_int_equal(store_lookups(f->h) - was, 4);
	}
	for (at = 1;; at++) {
		bool ok;

		store_memory_fail(f->s, at);
		ok = verifier(f, secret_of_all, GOOD, &v);
		store_memory_fail(f->s, 0);
		if (ok)
			break;
		assert_int_equal(f->e.kind, ERR_LATER);
	}
	assert_int_equal(at, 7);
}

/* -- what is remembered -- */

#define HUNDRED                                                                                    \
	"0123456789012345678901234567890123456789012345678901234567890123456789"                   \
	"012345678901234567890123456789"

/* Names and secrets that differ behind their hundredth character are others. */
static void test_known_long_prefix(void **state)
{
	static const unsigned char known_key[AUTH_KNOWN_KEY] = { 7 };
	struct auth_known *k = auth_known_new(1, known_key);
	const struct auth_attempt one = { .mechanism = S("PLAIN"),
					  .username = S(HUNDRED "a"),
					  .authzid = S(HUNDRED "a"),
					  .password = secret(S(HUNDRED "a")),
					  .client = S("192.0.2.1"),
					  .now_ms = NOW };
	struct auth_attempt others[] = { one, one, one, one, one, one, one };
	struct principal who = { .account = 7 }, got;

	(void)state;
	assert_non_null(k);
	others[0].username = S(HUNDRED "b");
	others[1].password = secret(S(HUNDRED "b"));
	others[2].authzid = S(HUNDRED "b");
	others[3].mechanism = S("LOGIN");
	others[4].username = S(HUNDRED);
	others[5].password = secret(S(HUNDRED "aa"));
	others[6].client = S("192.0.2.11");
	auth_known_put(k, &one, &who);
	assert_true(auth_known_get(k, &one, 0, &got));
	for (size_t i = 0; i < LEN(others); i++)
		assert_false(auth_known_get(k, &others[i], 0, &got));
	auth_known_free(k);
}

static void test_known_passwords_only(void **state)
{
	static const unsigned char known_key[AUTH_KNOWN_KEY] = { 7 };
	struct auth_known *k = auth_known_new(1, known_key);
	struct principal who = { .account = 7 }, got;

	(void)state;
	assert_non_null(k);
	for (int how = AUTH_BY_PROOF; how <= AUTH_BY_CERTIFICATE; how++) {
		struct auth_attempt at = { .mechanism = S("PLAIN"),
					   .username = S("apikey"),
					   .by = (enum auth_by)how };

		auth_known_put(k, &at, &who);
		assert_false(auth_known_get(k, &at, 0, &got));
		/* Nor does it meet a password's. */
		at.by = AUTH_BY_PASSWORD;
		auth_known_put(k, &at, &who);
		assert_true(auth_known_get(k, &at, 0, &got));
		at.by = (enum auth_by)how;
		assert_false(auth_known_get(k, &at, 0, &got));
	}
	auth_known_free(k);
}

int means_tests(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		T(test_rows),
		T(test_a_token_ends),
		T(test_cost),
		T(test_store_down),
		T(test_verifier),
		T(test_no_id_is_somebodys),
		T(test_verifier_costs),
		cmocka_unit_test(test_known_long_prefix),
		cmocka_unit_test(test_known_passwords_only),
	};

	return cmocka_run_group_tests_name("means", tests, NULL, NULL);
}
