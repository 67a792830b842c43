/* Tokens: one row for each way in which one can be bad, and the few in which it is good. */
#include "base/b64.h"
#include "token/jwt.h"
#include "token/room_test.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof(*(a)))
#define NOW    1800000000000u /* ms */

/* RFC 8037 A.1 */
static const unsigned char secret_key[32] = { 0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60,
					      0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
					      0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19,
					      0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60 };
#define KEYS                                                                                       \
	"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k1\","                          \
	"\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}"

static const struct slice types[] = { S("at+jwt"), S("JWT") };
static const struct token_rules rules = {
	.issuer = S("https://issuer.example"),
	.audience = S("mail"),
	.scope = S("mail.send"),
	.algorithms = TOKEN_ALG(TOKEN_EDDSA) | TOKEN_ALG(TOKEN_RS256),
	.types = types,
	.n_types = LEN(types),
};

/* Signed as RFC 8037 3.1 says. */
static void make(struct buf *b, const char *header, const char *claims)
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret_key, 32);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char sig[64];
	size_t n = sizeof sig;

	assert_true(key && ctx);
	buf_init(b, 65536);
	b64url_encode(b, slice_str(header));
	buf_addc(b, '.');
	b64url_encode(b, slice_str(claims));
	assert_int_equal(EVP_DigestSignInit(ctx, NULL, NULL, NULL, key), 1);
	assert_int_equal(EVP_DigestSign(ctx, sig, &n, (unsigned char *)b->p, b->n), 1);
	buf_addc(b, '.');
	b64url_encode(b, slice(sig, n));
	assert_false(b->failed);
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
}

static enum token_fault judge(struct slice text, const struct token_rules *r, uint64_t now,
			      struct token **ret)
{
	struct jwks *keys = jwks_read(S(KEYS), NULL);
	struct token *t = NULL;
	enum token_fault f;

	assert_non_null(keys);
	f = token_read(text, &t);
	if (f == TOKEN_GOOD)
		f = token_judge(t, r, keys, now);
	if (ret && f == TOKEN_GOOD)
		*ret = t;
	else
		token_free(t);
	jwks_free(keys);
	return f;
}

#define HEAD  "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}"
#define ISS   "\"iss\":\"https://issuer.example\""
#define AUD   "\"aud\":\"mail\""
#define SUB   "\"sub\":\"robot\""
#define EXP   "\"exp\":1800000300"
#define SCOPE "\"scope\":\"openid mail.send\""
#define GOOD  "{" ISS "," AUD "," SUB "," EXP "," SCOPE "}"
/* The good one with something else in it. */
#define WITH(x) "{" ISS "," AUD "," SUB "," EXP "," SCOPE "," x "}"

static const struct {
	const char *header, *claims;
	enum token_fault want;
} rows[] = {
	{ HEAD, GOOD, TOKEN_GOOD },
	/* RFC 7515 4.1.9: in any case, with and without its tree. */
	{ "{\"alg\":\"EdDSA\",\"typ\":\"application/AT+JWT\",\"kid\":\"k1\"}", GOOD, TOKEN_GOOD },
	{ "{\"alg\":\"EdDSA\",\"typ\":\"jwt\"}", GOOD, TOKEN_GOOD },
	{ "{\"alg\":\"EdDSA\",\"typ\":\"id+jwt\",\"kid\":\"k1\"}", GOOD, TOKEN_TYPE },
	{ "{\"alg\":\"EdDSA\",\"kid\":\"k1\"}", GOOD, TOKEN_TYPE },
	{ "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"typ\":\"-\"}", GOOD, TOKEN_TYPE },
	{ "{\"alg\":\"EdDSA\",\"kid\":\"k1\",\"typ\":7}", GOOD, TOKEN_HEADER },

	{ "{\"alg\":\"none\",\"typ\":\"at+jwt\"}", GOOD, TOKEN_ALGORITHM },
	{ "{\"alg\":\"None\",\"typ\":\"at+jwt\"}", GOOD, TOKEN_ALGORITHM },
	{ "{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}", GOOD, TOKEN_ALGORITHM },
	{ "{\"alg\":\"eddsa\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}", GOOD, TOKEN_ALGORITHM },
	{ "{\"alg\":7,\"typ\":\"at+jwt\",\"kid\":\"k1\"}", GOOD, TOKEN_ALGORITHM },
	{ "{\"typ\":\"at+jwt\",\"kid\":\"k1\"}", GOOD, TOKEN_ALGORITHM },
	/* Known, and not on the issuer's list. */
	{ "{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}", GOOD, TOKEN_ALGORITHM },
	/* On the list, and no key is for it. */
	{ "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}", GOOD, TOKEN_UNKNOWN_KEY },
	{ "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"k2\"}", GOOD, TOKEN_UNKNOWN_KEY },
	{ "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"\"}", GOOD, TOKEN_UNKNOWN_KEY },
	{ "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":7}", GOOD, TOKEN_HEADER },

	{ "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"k1\",\"crit\":[\"exp\"]}", GOOD,
	  TOKEN_HEADER },
	{ "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"jku\":\"https://evil.example/k\"}", GOOD,
	  TOKEN_HEADER },
	{ "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"jwk\":{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
	  "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}}",
	  GOOD, TOKEN_HEADER },
	{ "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"x5u\":\"https://evil.example/c\"}", GOOD,
	  TOKEN_HEADER },
	{ "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"x5c\":[\"AA\"]}", GOOD, TOKEN_HEADER },
	{ "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"b64\":false}", GOOD, TOKEN_HEADER },
	{ "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"zip\":\"DEF\"}", GOOD, TOKEN_HEADER },
	{ "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"cty\":\"JWT\"}", GOOD, TOKEN_HEADER },
	/* A name twice: who reads the other one sees another token. */
	{ "{\"alg\":\"none\",\"alg\":\"EdDSA\",\"typ\":\"at+jwt\"}", GOOD, TOKEN_MALFORMED },
	{ HEAD, WITH(SUB), TOKEN_MALFORMED },
	{ HEAD, "[]", TOKEN_MALFORMED },
	{ HEAD, "{", TOKEN_MALFORMED },
	{ "[]", GOOD, TOKEN_MALFORMED },

	{ HEAD, "{" AUD "," SUB "," EXP "," SCOPE "}", TOKEN_ISSUER },
	{ HEAD, "{\"iss\":\"https://issuer.example/\"," AUD "," SUB "," EXP "," SCOPE "}",
	  TOKEN_ISSUER },
	{ HEAD, "{\"iss\":[\"https://issuer.example\"]," AUD "," SUB "," EXP "," SCOPE "}",
	  TOKEN_ISSUER },
	{ HEAD, "{" ISS "," SUB "," EXP "," SCOPE "}", TOKEN_AUDIENCE },
	{ HEAD, "{" ISS ",\"aud\":\"mail2\"," SUB "," EXP "," SCOPE "}", TOKEN_AUDIENCE },
	{ HEAD, "{" ISS ",\"aud\":\"mail other\"," SUB "," EXP "," SCOPE "}", TOKEN_AUDIENCE },
	{ HEAD, "{" ISS ",\"aud\":[\"x\",\"mail\"]," SUB "," EXP "," SCOPE "}", TOKEN_GOOD },
	{ HEAD, "{" ISS ",\"aud\":[\"x\",7]," SUB "," EXP "," SCOPE "}", TOKEN_AUDIENCE },

	/* exp and 60 s: NOW is 1800000000. */
	{ HEAD, "{" ISS "," AUD "," SUB "," SCOPE "}", TOKEN_CLAIMS },
	{ HEAD, "{" ISS "," AUD "," SUB "," SCOPE ",\"exp\":1799999941}", TOKEN_GOOD },
	{ HEAD, "{" ISS "," AUD "," SUB "," SCOPE ",\"exp\":1799999940}", TOKEN_EXPIRED },
	{ HEAD, "{" ISS "," AUD "," SUB "," SCOPE ",\"exp\":0}", TOKEN_EXPIRED },
	{ HEAD, "{" ISS "," AUD "," SUB "," SCOPE ",\"exp\":-1}", TOKEN_CLAIMS },
	{ HEAD, "{" ISS "," AUD "," SUB "," SCOPE ",\"exp\":\"1800000300\"}", TOKEN_CLAIMS },
	{ HEAD, "{" ISS "," AUD "," SUB "," SCOPE ",\"exp\":9223372036854775807}", TOKEN_CLAIMS },
	{ HEAD, "{" ISS "," AUD "," SUB "," SCOPE ",\"exp\":1e30}", TOKEN_CLAIMS },
	{ HEAD, "{" ISS "," AUD "," SUB "," SCOPE ",\"exp\":null}", TOKEN_CLAIMS },
	{ HEAD, WITH("\"nbf\":1800000060"), TOKEN_GOOD },
	{ HEAD, WITH("\"nbf\":1800000061"), TOKEN_NOT_YET },
	{ HEAD, WITH("\"nbf\":\"x\""), TOKEN_CLAIMS },
	{ HEAD, WITH("\"iat\":1800000061"), TOKEN_NOT_YET },
	{ HEAD, WITH("\"iat\":1799990000"), TOKEN_GOOD },

	{ HEAD, "{" ISS "," AUD "," SUB "," EXP "}", TOKEN_SCOPE },
	{ HEAD, "{" ISS "," AUD "," SUB "," EXP ",\"scope\":\"mail.sender\"}", TOKEN_SCOPE },
	{ HEAD, "{" ISS "," AUD "," SUB "," EXP ",\"scope\":\"xmail.send mail\"}", TOKEN_SCOPE },
	{ HEAD, "{" ISS "," AUD "," SUB "," EXP ",\"scp\":[\"a\",\"mail.send\"]}", TOKEN_GOOD },
	{ HEAD, "{" ISS "," AUD "," SUB "," EXP ",\"scp\":\"mail.send\"}", TOKEN_GOOD },
	{ HEAD, "{" ISS "," AUD "," SUB "," EXP ",\"scope\":7}", TOKEN_SCOPE },
	{ HEAD, "{" ISS "," AUD "," EXP "," SCOPE "}", TOKEN_CLAIMS },
	{ HEAD, "{" ISS "," AUD "," EXP "," SCOPE ",\"sub\":7}", TOKEN_CLAIMS },
};

static void each_way(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEN(rows); i++) {
		enum token_fault got;
		struct buf b;

		make(&b, rows[i].header, rows[i].claims);
		got = judge(buf_slice(&b), &rules, NOW, NULL);
		if (got != rows[i].want)
			fail_msg("%s %s: fault %u, wanted %u", rows[i].header, rows[i].claims, got,
				 rows[i].want);
		buf_done(&b);
	}
}

/* No single bit of a good token can be another, and no end of it can be missing. */
static void every_bit_and_cut(void **state)
{
	struct buf b;

	(void)state;
	make(&b, HEAD, GOOD);
	for (size_t i = 0; i < b.n; i++) {
		assert_int_not_equal(judge(slice(b.p, i), &rules, NOW, NULL), TOKEN_GOOD);
		for (int bit = 0; bit < 8; bit++) {
			b.p[i] = (char)(b.p[i] ^ (1 << bit));
			assert_int_not_equal(judge(buf_slice(&b), &rules, NOW, NULL), TOKEN_GOOD);
			b.p[i] = (char)(b.p[i] ^ (1 << bit));
		}
	}
	assert_int_equal(judge(buf_slice(&b), &rules, NOW, NULL), TOKEN_GOOD);
	buf_addc(&b, '=');
	assert_int_equal(judge(buf_slice(&b), &rules, NOW, NULL), TOKEN_SIGNATURE);
	buf_done(&b);
}

static void forms(void **state)
{
	static const struct slice bad[] = { S(""),
					    S("."),
					    S(".."),
					    S("e30.e30"),
					    S("e30..e30"),
					    S("e30.e30."),
					    S("e30.e30.e30.e30"),
					    S("e30=.e30.AA"),
					    S("e31.e30.AA") };
	char big[TOKEN_MAX + 1];
	struct token *t = NULL;

	(void)state;
	for (size_t i = 0; i < LEN(bad); i++) {
		enum token_fault f = token_read(bad[i], &t);

		/* "{}" has no alg, and so "e30.e30." gets further than the rest. */
		assert_true(f == TOKEN_MALFORMED || f == TOKEN_ALGORITHM);
	}
	memset(big, 'a', sizeof big);
	assert_int_equal(token_read(slice(big, sizeof big), &t), TOKEN_MALFORMED);
	assert_true(token_is_jwt(S("eyJhbGciOiJFZERTQSJ9.e30.AA")));
	assert_false(token_is_jwt(S("2YotnFZFEjr1zCsicMWpAA")));
	assert_false(token_is_jwt(S("a.b.c")));
	assert_false(token_is_jwt(S("eyJ.b")));
	token_free(NULL);
}

static void claims_of_a_good_one(void **state)
{
	struct token *t = NULL;
	struct slice text;
	struct buf b;

	(void)state;
	make(&b, HEAD,
	     WITH("\"email\":\"a@b.example\",\"n\":7,\"empty\":\"\",\"control\":\"a\\nb\""));
	assert_int_equal(judge(buf_slice(&b), &rules, NOW, &t), TOKEN_GOOD);
	assert_true(slice_eq(token_claimed_issuer(t), rules.issuer));
	assert_true(slice_eq(token_kid(t), S("k1")));
	assert_true(token_text(t, "sub", &text) && slice_eq(text, S("robot")));
	assert_true(token_text(t, "email", &text) && slice_eq(text, S("a@b.example")));
	assert_false(token_text(t, "n", &text));
	assert_false(token_text(t, "empty", &text));
	assert_false(token_text(t, "control", &text));
	assert_false(token_text(t, "absent", &text));
	assert_int_equal(token_ends_ms(t), (1800000300ull + 60) * 1000);
	token_free(t);
	buf_done(&b);
}

/* Rules that ask for less. */
static void lax(void **state)
{
	static const struct slice no_type[] = { S("-") };
	struct token_rules r = rules;
	struct buf b;

	(void)state;
	r.types = no_type;
	r.n_types = 1;
	r.scope = S("");
	make(&b, "{\"alg\":\"EdDSA\"}", "{" ISS "," AUD "," SUB "," EXP "}");
	assert_int_equal(judge(buf_slice(&b), &r, NOW, NULL), TOKEN_GOOD);
	buf_done(&b);
}

static void answers(void **state)
{
	static const struct {
		const char *body;
		enum token_fault want;
	} said[] = {
		{ "{\"active\":true," SCOPE "," AUD "}", TOKEN_GOOD },
		{ "{\"active\":true," SCOPE "," AUD "," ISS "," EXP "}", TOKEN_GOOD },
		{ "{\"active\":false}", TOKEN_INACTIVE },
		{ "{\"active\":\"true\"," SCOPE "," AUD "}", TOKEN_INACTIVE },
		{ "{\"active\":1," SCOPE "," AUD "}", TOKEN_INACTIVE },
		{ "{" SCOPE "," AUD "}", TOKEN_CLAIMS },
		{ "{\"active\":true," AUD "}", TOKEN_SCOPE },
		{ "{\"active\":true," SCOPE "}", TOKEN_AUDIENCE },
		{ "{\"active\":true," SCOPE "," AUD ",\"iss\":\"https://other.example\"}",
		  TOKEN_ISSUER },
		{ "{\"active\":true," SCOPE "," AUD ",\"exp\":1799999940}", TOKEN_EXPIRED },
		{ "{\"active\":true," SCOPE "," AUD ",\"nbf\":1800000061}", TOKEN_NOT_YET },
		{ "{\"active\":true,\"active\":false}", TOKEN_MALFORMED },
		{ "[true]", TOKEN_MALFORMED },
		{ "", TOKEN_MALFORMED },
		{ "<html>", TOKEN_MALFORMED },
	};

	(void)state;
	for (size_t i = 0; i < LEN(said); i++) {
		struct token *t = NULL;
		enum token_fault got = token_answer(slice_str(said[i].body), &rules, NOW, &t);

		if (got != said[i].want)
			fail_msg("%s: fault %u", said[i].body, got);
		if (got == TOKEN_GOOD && i == 0)
			assert_true(token_ends_ms(t) == UINT64_MAX);
		token_free(t);
	}
}

int run_jwt_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_way), cmocka_unit_test(every_bit_and_cut),
		cmocka_unit_test(forms),    cmocka_unit_test(claims_of_a_good_one),
		cmocka_unit_test(lax),      cmocka_unit_test(answers),
	};

	return cmocka_run_group_tests_name("token judged", tests, NULL, NULL);
}
