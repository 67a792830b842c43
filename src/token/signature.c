/* token/signature.c -- the file that knows cjose. */
#include "token/signature.h"

#include "base/b64.h"
#include "base/jsonout.h"
#include "base/must.h"

#include <cjose/cjose.h>
#include <openssl/evp.h>
#include <stdlib.h>

#define RSA_ALGS                                                                                   \
	(TOKEN_ALG(TOKEN_RS256) | TOKEN_ALG(TOKEN_RS384) | TOKEN_ALG(TOKEN_RS512) |                \
	 TOKEN_ALG(TOKEN_PS256) | TOKEN_ALG(TOKEN_PS384) | TOKEN_ALG(TOKEN_PS512))
#define ED25519    32
#define TEXT_MAX   16384 /* of a JWK with its public members alone */
#define NUMBER_MAX (RSA_BITS_MAX / 8)

static const char *const names[TOKEN_ALGS] = { "RS256", "RS384", "RS512", "PS256", "PS384",
					       "PS512", "ES256", "ES384", "ES512", "EdDSA" };

bool token_alg_find(struct slice name, enum token_alg *ret)
{
	for (int i = 0; i < TOKEN_ALGS; i++)
		if (slice_eq(name, slice_str(names[i]))) {
			*ret = (enum token_alg)i;
			return true;
		}
	return false;
}

const char *token_alg_name(enum token_alg a)
{
	MUST(a < TOKEN_ALGS);
	return names[a];
}

/* -- curves -- */

static const struct curve {
	const char *name;
	size_t bytes; /* of a coordinate: RFC 7518 6.2.1.2; a signature has twice as many (3.4) */
	enum token_alg alg;
} curves[] = {
	{ "P-256", 32, TOKEN_ES256 },
	{ "P-384", 48, TOKEN_ES384 },
	{ "P-521", 66, TOKEN_ES512 },
};

static const struct curve *curve_of(struct slice name)
{
	for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
		if (slice_eq(name, slice_str(curves[i].name)))
			return &curves[i];
	return NULL;
}

/* -- keys -- */

struct public_key {
	cjose_jwk_t *jwk;  /* RSA, EC */
	EVP_PKEY *ed25519; /* OKP */
	size_t signature;  /* bytes of one */
};

void public_key_free(struct public_key *k)
{
	if (!k)
		return;
	cjose_jwk_release(k->jwk);
	EVP_PKEY_free(k->ed25519);
	free(k);
}

/* A member of exactly n bytes in canonical base64url. */
static bool exact(const struct json *jwk, const char *name, unsigned char *ret, size_t n)
{
	struct slice text;

	return json_as_text(json_get(jwk, name), &text) && b64url_decode(ret, n, text);
}

/* Bytes behind a base64url text; 0 when it is none. */
static size_t b64url_bytes(struct slice text)
{
	return text.n % 4 == 1 ? 0 : text.n * 3 / 4;
}

/* A big-endian number without zeros before it (RFC 7518 2, Base64urlUInt); *ret_bits of it. */
static bool number(const struct json *jwk, const char *name, unsigned char *ret, size_t *ret_n,
		   unsigned *ret_bits)
{
	struct slice text;
	unsigned first;

	if (!json_as_text(json_get(jwk, name), &text))
		return false;
	*ret_n = b64url_bytes(text);
	if (!*ret_n || *ret_n > NUMBER_MAX || !b64url_decode(ret, *ret_n, text) || !ret[0])
		return false;
	*ret_bits = (unsigned)(*ret_n - 1) * 8;
	for (first = ret[0]; first; first >>= 1)
		++*ret_bits;
	return true;
}

/* The public members alone, for cjose. */
static cjose_jwk_t *import(const struct json *jwk, const char *const members[], size_t n)
{
	cjose_jwk_t *got = NULL;
	struct json_out j;
	struct slice text;
	struct buf out;

	buf_init(&out, TEXT_MAX);
	json_begin(&j, &out);
	json_open(&j);
	for (size_t i = 0; i < n; i++)
		if (json_as_text(json_get(jwk, members[i]), &text))
			json_kstr(&j, members[i], text);
	json_close(&j);
	if (!out.failed)
		got = cjose_jwk_import(out.p, out.n, NULL);
	buf_done(&out);
	return got;
}

static bool read_rsa(const struct json *jwk, struct public_key *k, uint32_t *ret_algs,
		     struct err *e)
{
	static const char *const members[] = { "kty", "n", "e" };
	unsigned char n[NUMBER_MAX], exponent[NUMBER_MAX];
	unsigned n_bits, e_bits;
	size_t n_n, e_n;

	if (!number(jwk, "n", n, &n_n, &n_bits) || !number(jwk, "e", exponent, &e_n, &e_bits))
		return err_set(e, ERR_INPUT, "n and e are not numbers in base64url");
	if (n_bits < RSA_BITS_MIN || n_bits > RSA_BITS_MAX)
		return err_set(e, ERR_INPUT, "an RSA key of %u bits; %d to %d are taken", n_bits,
			       RSA_BITS_MIN, RSA_BITS_MAX);
	/* 1 signs anything, an even one nothing. */
	if (e_bits < 2 || e_bits > 32 || exponent[e_n - 1] % 2 == 0 || n[n_n - 1] % 2 == 0)
		return err_set(e, ERR_INPUT, "no RSA key has such an n or e");
	k->jwk = import(jwk, members, sizeof members / sizeof *members);
	k->signature = (n_bits + 7) / 8;
	*ret_algs = RSA_ALGS;
	return k->jwk || err_set(e, ERR_INPUT, "not an RSA key");
}

static bool read_ec(const struct json *jwk, struct public_key *k, uint32_t *ret_algs, struct err *e)
{
	static const char *const members[] = { "kty", "crv", "x", "y" };
	unsigned char coordinate[66];
	const struct curve *c;
	struct slice crv;

	if (!json_as_text(json_get(jwk, "crv"), &crv) || !(c = curve_of(crv)))
		return err_set(e, ERR_INPUT, "a curve that is not known here");
	if (!exact(jwk, "x", coordinate, c->bytes) || !exact(jwk, "y", coordinate, c->bytes))
		return err_set(e, ERR_INPUT, "x and y are not coordinates on %s", c->name);
	k->jwk = import(jwk, members, sizeof members / sizeof *members);
	k->signature = 2 * c->bytes;
	*ret_algs = TOKEN_ALG(c->alg);
	/* The library asks whether the point is on the curve. */
	return k->jwk || err_set(e, ERR_INPUT, "no point on %s", c->name);
}

static bool read_okp(const struct json *jwk, struct public_key *k, uint32_t *ret_algs,
		     struct err *e)
{
	unsigned char x[ED25519];
	struct slice crv;

	if (!json_as_text(json_get(jwk, "crv"), &crv) || !slice_eq(crv, S("Ed25519")))
		return err_set(e, ERR_INPUT, "a curve that is not known here");
	if (!exact(jwk, "x", x, sizeof x))
		return err_set(e, ERR_INPUT, "x is not an Ed25519 key");
	k->ed25519 = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof x);
	k->signature = 64;
	*ret_algs = TOKEN_ALG(TOKEN_EDDSA);
	return k->ed25519 || err_set(e, ERR_INPUT, "not an Ed25519 key");
}

struct public_key *public_key_read(const struct json *jwk, uint32_t *ret_algs, struct err *e)
{
	struct public_key *k = calloc(1, sizeof *k);
	struct slice kty = S("");
	bool ok;

	if (!k) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	(void)json_as_text(json_get(jwk, "kty"), &kty);
	if (slice_eq(kty, S("RSA")))
		ok = read_rsa(jwk, k, ret_algs, e);
	else if (slice_eq(kty, S("EC")))
		ok = read_ec(jwk, k, ret_algs, e);
	else if (slice_eq(kty, S("OKP")))
		ok = read_okp(jwk, k, ret_algs, e);
	else
		ok = err_set(e, ERR_INPUT, "a type of key that is not known here");
	if (ok)
		return k;
	public_key_free(k);
	return NULL;
}

/* -- signatures -- */

static bool by_ed25519(const struct public_key *k, struct slice signed_part,
		       const unsigned char *signature)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, k->ed25519) == 1 &&
		  EVP_DigestVerify(ctx, signature, k->signature,
				   (const unsigned char *)signed_part.p, signed_part.n) == 1;

	EVP_MD_CTX_free(ctx);
	return ok;
}

static bool by_cjose(const struct public_key *k, struct slice token)
{
	cjose_jws_t *jws = cjose_jws_import(token.p, token.n, NULL);
	bool ok = jws && cjose_jws_verify(jws, k->jwk, NULL);

	cjose_jws_release(jws);
	return ok;
}

/* No signature has r or s = 0; who forgets to look takes it from anybody (CVE-2022-21449). */
static bool zero(const unsigned char *p, size_t n)
{
	unsigned char all = 0;

	while (n--)
		all |= *p++;
	return !all;
}

bool public_key_signed(const struct public_key *k, enum token_alg alg, struct slice token)
{
	unsigned char signature[NUMBER_MAX];
	struct slice signed_part, text;

	if (!slice_rcut(token, '.', &signed_part, &text) ||
	    !b64url_decode(signature, k->signature, text))
		return false;
	if (alg == TOKEN_EDDSA)
		return k->ed25519 && by_ed25519(k, signed_part, signature);
	if (alg >= TOKEN_ES256 && (zero(signature, k->signature / 2) ||
				   zero(signature + k->signature / 2, k->signature / 2)))
		return false;
	return k->jwk && by_cjose(k, token);
}
