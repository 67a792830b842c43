/* Any bytes as a bearer token, as a set of keys, as what an issuer says of a token: nothing is good
 * that its rules do not allow, whoever signed it; what is told of a good one is clean text.
 *
 * Byte 0 says what the rest is: 0 a token; 1 header and claims with a NUL between, signed here with
 * the key that is in the set; 2 an introspection answer; 3 a set of keys, by one of which the token
 * behind a NUL is judged. Bit 2: the rules ask for no scope, and of an answer for no audience. */
#include "base/b64.h"
#include "base/must.h"
#include "token/jwt.h"

#include <openssl/evp.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW 1800000000000u

/* RFC 8037 A.1 */
static const unsigned char secret_key[32] = { 0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60,
					      0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
					      0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19,
					      0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60 };
#define KEYS                                                                                       \
	"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k1\","                          \
	"\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},"                                  \
	"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\"," \
	"\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\",\"kid\":\"k2\"}]}"

static const struct slice types[] = { { "at+jwt", 6 }, { "-", 1 } };
static const struct token_rules strict = {
	.issuer = { "i", 1 },
	.audience = { "m", 1 },
	.scope = { "s", 1 },
	.algorithms = TOKEN_ALG(TOKEN_EDDSA) | TOKEN_ALG(TOKEN_ES256) | TOKEN_ALG(TOKEN_RS256),
	.types = types,
	.n_types = 2,
};

static void look(const struct token *t)
{
	static const char *const names[] = { "sub", "client_id", "email", "x" };
	struct slice text;

	MUST(token_ends_ms(t) > NOW);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (!token_text(t, names[i], &text))
			continue;
		MUST(text.n > 0 && text.n < 256);
		for (size_t k = 0; k < text.n; k++)
			MUST((unsigned char)text.p[k] >= ' ' && text.p[k] != 0x7f);
	}
}

/* ours: signed with our key. */
static void judge(struct slice text, const struct token_rules *rules, const struct jwks *keys,
		  bool ours)
{
	struct token_rules none = *rules;
	struct token *t = NULL;
	enum token_fault f = token_read(text, &t);

	(void)token_is_jwt(text);
	if (f != TOKEN_GOOD) {
		MUST(!t);
		return;
	}
	none.algorithms = 0;
	MUST(token_judge(t, &none, keys, NOW) == TOKEN_ALGORITHM);
	f = token_judge(t, rules, keys, NOW);
	MUST(f != TOKEN_GOOD || slice_eq(token_claimed_issuer(t), rules->issuer));
	if (f == TOKEN_GOOD) {
		look(t);
		/* Much later it is good no more, except where it never ends. */
		MUST(token_judge(t, rules, keys, token_ends_ms(t)) == TOKEN_EXPIRED);
	} else {
		/* A stranger's signature was looked at before any claim. */
		MUST(ours || f == TOKEN_ALGORITHM || f == TOKEN_TYPE || f == TOKEN_UNKNOWN_KEY ||
		     f == TOKEN_SIGNATURE);
	}
	token_free(t);
}

static void sign(struct slice in, const struct token_rules *rules, const struct jwks *keys)
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret_key, 32);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	struct slice header, claims;
	unsigned char sig[64];
	size_t n = sizeof sig;
	struct buf b;

	MUST(key && ctx);
	slice_cut(in, '\0', &header, &claims);
	buf_init(&b, 65536);
	b64url_encode(&b, header);
	buf_addc(&b, '.');
	b64url_encode(&b, claims);
	MUST(EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1);
	MUST(EVP_DigestSign(ctx, sig, &n, (unsigned char *)b.p, b.n) == 1);
	buf_addc(&b, '.');
	b64url_encode(&b, slice(sig, n));
	judge(buf_slice(&b), rules, keys, true);
	buf_done(&b);
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
}

static void answer(struct slice in, struct token_rules rules)
{
	struct token *t = NULL;

	if (!rules.scope.n)
		rules.audience = S("");
	if (token_answer(in, &rules, NOW, &t) == TOKEN_GOOD)
		look(t);
	token_free(t);
}

static void read_keys(struct slice in, const struct token_rules *rules)
{
	struct slice text, token;
	struct err e = { 0 };
	struct jwks *keys;

	slice_cut(in, '\0', &text, &token);
	keys = jwks_read(text, &e);
	MUST(keys ? jwks_count(keys) > 0 : e.kind != ERR_NONE);
	if (!keys)
		return;
	for (int a = 0; a < TOKEN_ALGS; a++) {
		(void)jwks_find(keys, S("k1"), (enum token_alg)a);
		(void)jwks_find(keys, (struct slice){ NULL, 0 }, (enum token_alg)a);
	}
	/* Its key may be ours, or one that an input made: who has signed is not known here. */
	judge(token, rules, keys, true);
	jwks_free(keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct token_rules rules = strict;
	struct slice in = slice(data, size);
	struct jwks *keys;

	if (!size)
		return 0;
	slice_take(&in, 1);
	keys = jwks_read(S(KEYS), NULL);
	MUST(keys);
	if (data[0] & 4)
		rules.scope = S("");
	switch (data[0] & 3) {
	case 0: judge(in, &rules, keys, false); break;
	case 1: sign(in, &rules, keys); break;
	case 2: answer(in, rules); break;
	case 3: read_keys(in, &rules); break;
	}
	jwks_free(keys);
	return 0;
}
