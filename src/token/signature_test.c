/* Public keys and signatures: the vectors of the RFCs, each with every byte of its signature wrong
 * once; keys that are none; sets of keys. */
#include "base/b64.h"
#include "token/jwk.h"
#include "token/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof(*(a)))

// clang-format off
static const struct {
	const char *what;
	enum token_alg alg;
	const char *key, *token;
} vectors[] = {
	{ "RFC 7515 A.2", TOKEN_RS256,
	  "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k"
	  "0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W"
	  "_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYU"
	  "sLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I"
	  "5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FR"
	  "WyuXpoQ\",\"e\":\"AQAB\"}",
	  "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh"
	  "0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB"
	  "__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9"
	  "uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARN"
	  "PvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZES"
	  "c6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVm"
	  "tVrBp0igcN_IoypGlUPQGe77Rw" },
	{ "RFC 7515 A.3", TOKEN_ES256,
	  "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e"
	  "8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
	  "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh"
	  "0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6"
	  "-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q" },
	{ "RFC 7515 A.4", TOKEN_ES512,
	  "{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AekpBQ8ST8a8VcfVOTNl353vSrDCLL"
	  "JXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk\",\"y\":\"ADS"
	  "mRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9"
	  "ubmf63e3kyMj2\"}",
	  "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi"
	  "70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZC"
	  "PEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn" },
	{ "RFC 7520 4.2", TOKEN_PS384,
	  "{\"kty\":\"RSA\",\"n\":\"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd"
	  "4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOY"
	  "L-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6"
	  "cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4f"
	  "g_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gH"
	  "drNP5zw\",\"e\":\"AQAB\"}",
	  "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9"
	  ".SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9"
	  "vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXI"
	  "gZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9"
	  "mZiB0by4.cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2Ip"
	  "N6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8"
	  "biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT"
	  "3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64"
	  "QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw" },
	{ "RFC 8037 A.4", TOKEN_EDDSA,
	  "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvP"
	  "apiMlrwIaaPcHURo\"}",
	  "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0J"
	  "zlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg" },
};
// clang-format on

static struct public_key *read_key(const char *text, uint32_t *algs, struct err *e)
{
	struct json *j = json_read(slice_str(text), NULL);
	struct public_key *k;

	assert_non_null(j);
	k = public_key_read(j, algs, e);
	json_free(j);
	return k;
}

static void the_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEN(vectors); i++) {
		struct slice token = slice_str(vectors[i].token), head, text;
		unsigned char sig[1024];
		struct err e = { 0 };
		uint32_t algs = 0;
		struct public_key *k = read_key(vectors[i].key, &algs, &e);
		size_t n;

		assert_non_null(k);
		assert_true(algs & TOKEN_ALG(vectors[i].alg));
		if (!public_key_signed(k, vectors[i].alg, token))
			fail_msg("%s", vectors[i].what);
		/* Each byte of the signature wrong; each shorter one, and a longer one. */
		assert_true(slice_rcut(token, '.', &head, &text));
		n = text.n * 3 / 4;
		assert_true(b64url_decode(sig, n, text));
		for (size_t at = 0; at<n; at += n> 80 ? 7 : 1) {
			struct buf b;

			buf_init(&b, 4096);
			sig[at] ^= 1;
			buf_add(&b, head);
			buf_addc(&b, '.');
			b64url_encode(&b, slice(sig, n));
			assert_false(b.failed);
			assert_false(public_key_signed(k, vectors[i].alg, buf_slice(&b)));
			sig[at] ^= 1;
			buf_clear(&b);
			buf_add(&b, head);
			buf_addc(&b, '.');
			b64url_encode(&b, slice(sig, at));
			assert_false(public_key_signed(k, vectors[i].alg, buf_slice(&b)));
			buf_done(&b);
		}
		/* Another payload, another header. */
		for (size_t at = 0; at < head.n; at += 3) {
			char *copy = strdup(vectors[i].token);

			assert_non_null(copy);
			copy[at] = copy[at] == 'A' ? 'B' : 'A';
			if (strcmp(copy, vectors[i].token) != 0)
				assert_false(public_key_signed(k, vectors[i].alg, slice_str(copy)));
			free(copy);
		}
		public_key_free(k);
	}
}

/* CVE-2022-21449: r = s = 0, and each alone. */
static void no_signature_is_zero(void **state)
{
	struct public_key *k;
	uint32_t algs;

	(void)state;
	k = read_key(vectors[1].key, &algs, NULL);
	assert_non_null(k);
	for (int which = 1; which < 4; which++) {
		unsigned char sig[64];
		struct slice head, text;
		struct buf b;

		assert_true(slice_rcut(slice_str(vectors[1].token), '.', &head, &text));
		assert_true(b64url_decode(sig, sizeof sig, text));
		if (which & 1)
			memset(sig, 0, 32);
		if (which & 2)
			memset(sig + 32, 0, 32);
		buf_init(&b, 4096);
		buf_add(&b, head);
		buf_addc(&b, '.');
		b64url_encode(&b, slice(sig, sizeof sig));
		assert_false(public_key_signed(k, TOKEN_ES256, buf_slice(&b)));
		buf_done(&b);
	}
	public_key_free(k);
}

static void keys_that_are_none(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{ "{}", "type of key" },
		{ "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ\"}", "type of key" },
		{ "{\"kty\":7}", "type of key" },
		{ "{\"kty\":\"RSA\"}", "numbers" },
		{ "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", "17 bits" },
		{ "{\"kty\":\"RSA\",\"n\":\"AAAB\",\"e\":\"AQAB\"}", "numbers" },
		{ "{\"kty\":\"RSA\",\"n\":\"a+b/\",\"e\":\"AQAB\"}", "numbers" },
		{ "{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AA\",\"y\":\"AA\"}", "curve" },
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}", "coordinates" },
		/* A.3's x with another y. */
		{ "{\"kty\":\"EC\",\"crv\":\"P-256\","
		  "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
		  "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5aw\"}",
		  "no point" },
		{ "{\"kty\":\"OKP\",\"crv\":\"Ed448\",\"x\":\"AA\"}", "curve" },
		{ "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}", "Ed25519" },
	};

	(void)state;
	for (size_t i = 0; i < LEN(rows); i++) {
		struct err e = { 0 };
		uint32_t algs;

		assert_null(read_key(rows[i].text, &algs, &e));
		assert_int_equal(e.kind, ERR_INPUT);
		if (!strstr(e.text, rows[i].why))
			fail_msg("%s: %s", rows[i].text, e.text);
	}
}

/* An exponent that signs anything, or nothing; a modulus that is even. */
static void rsa_numbers(void **state)
{
	static const char *const es[] = { "AQ", "Ag", "AQAA", "AQAAAAE" };
	struct slice n, rest;
	uint32_t algs;

	(void)state;
	assert_true(slice_cut(slice_str(strstr(vectors[0].key, "\"n\":\"") + 5), '"', &n, &rest));
	for (size_t i = 0; i < LEN(es); i++) {
		struct err e = { 0 };
		struct buf b;

		buf_init(&b, 4096);
		buf_addf(&b, "{\"kty\":\"RSA\",\"n\":\"%.*s\",\"e\":\"%s\"}", SLICE_ARG(n), es[i]);
		buf_addc(&b, 0);
		assert_null(read_key(b.p, &algs, &e));
		assert_non_null(strstr(e.text, "no RSA key has"));
		buf_done(&b);
	}
}

/* -- sets -- */

#define ED                                                                                         \
	"\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_"                               \
	"7TyWQHOg7hcvPapiMlrwIaaPcHURo\""
#define EC                                                                                         \
	"\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","  \
	"\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\""

static void sets(void **state)
{
	static const struct {
		const char *text;
		size_t kept, passed_over;
	} rows[] = {
		{ "{\"keys\":[{" ED "}]}", 1, 0 },
		{ "{\"keys\":[{" ED
		  ",\"use\":\"sig\",\"alg\":\"EdDSA\",\"kid\":\"a\",\"x5c\":[]}]}",
		  1, 0 },
		{ "{\"keys\":[{" ED ",\"use\":\"enc\"},{" EC "}]}", 1, 1 },
		{ "{\"keys\":[{" ED ",\"key_ops\":[\"sign\",\"verify\"]},{" EC
		  ",\"key_ops\":[\"sign\"]}]}",
		  1, 1 },
		{ "{\"keys\":[{" ED ",\"alg\":\"ES256\"},{" EC ",\"alg\":\"ES256\"}]}", 1, 1 },
		{ "{\"keys\":[{" ED ",\"alg\":\"HS256\"},{" EC "}]}", 1, 1 },
		{ "{\"keys\":[{" ED ",\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\"},{" EC
		  "}]}",
		  1, 1 },
		{ "{\"keys\":[{" ED ",\"kid\":7},7,[],{" EC "}]}", 1, 3 },
		{ "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AyM1\"},{" EC "}]}", 1, 1 },
		{ "{\"keys\":[]}", 0, 0 },
		{ "{\"keys\":{}}", 0, 0 },
		{ "{}", 0, 0 },
		{ "[]", 0, 0 },
		{ "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AyM1\"}]}", 0, 1 },
		{ "{\"keys\":[{" ED "}],\"keys\":[]}", 0, 0 },
		{ "no JSON", 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LEN(rows); i++) {
		struct err e = { 0 };
		struct jwks *s = jwks_read(slice_str(rows[i].text), &e);

		if (!rows[i].kept) {
			assert_null(s);
			assert_int_equal(e.kind, ERR_INPUT);
			continue;
		}
		if (!s || jwks_count(s) != rows[i].kept ||
		    jwks_passed_over(s) != rows[i].passed_over)
			fail_msg("%s: %s", rows[i].text, e.text);
		jwks_free(s);
	}
}

static void too_many_keys(void **state)
{
	struct jwks *s;
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 20);
	buf_add(&b, S("{\"keys\":["));
	for (int i = 0; i < JWKS_KEYS + 5; i++)
		buf_addf(&b, "%s{" ED ",\"kid\":\"k%d\"}", i ? "," : "", i);
	buf_add(&b, S("]}"));
	s = jwks_read(buf_slice(&b), NULL);
	assert_non_null(s);
	assert_int_equal(jwks_count(s), JWKS_KEYS);
	assert_int_equal(jwks_passed_over(s), 5);
	assert_non_null(jwks_find(s, S("k99"), TOKEN_EDDSA));
	assert_null(jwks_find(s, S("k100"), TOKEN_EDDSA));
	jwks_free(s);
	buf_done(&b);
}

static void finding(void **state)
{
	struct jwks *s = jwks_read(
	    S("{\"keys\":[{" ED ",\"kid\":\"a\"},{" ED "},{" EC ",\"kid\":\"a\"}]}"), NULL);
	struct slice none = { NULL, 0 };

	(void)state;
	assert_non_null(s);
	/* One name for two types (RFC 7517 4.5). */
	assert_non_null(jwks_find(s, S("a"), TOKEN_EDDSA));
	assert_non_null(jwks_find(s, S("a"), TOKEN_ES256));
	assert_ptr_not_equal(jwks_find(s, S("a"), TOKEN_EDDSA), jwks_find(s, S("a"), TOKEN_ES256));
	assert_null(jwks_find(s, S("b"), TOKEN_EDDSA));
	assert_null(jwks_find(s, S(""), TOKEN_EDDSA));
	assert_null(jwks_find(s, S("a"), TOKEN_RS256));
	/* Without a name: only when nothing has to be guessed. */
	assert_non_null(jwks_find(s, none, TOKEN_ES256));
	assert_null(jwks_find(s, none, TOKEN_EDDSA));
	jwks_free(s);
	jwks_free(NULL);
}

int run_signature_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors),
		cmocka_unit_test(no_signature_is_zero),
		cmocka_unit_test(keys_that_are_none),
		cmocka_unit_test(rsa_numbers),
		cmocka_unit_test(sets),
		cmocka_unit_test(too_many_keys),
		cmocka_unit_test(finding),
	};

	return cmocka_run_group_tests_name("token signatures", tests, NULL, NULL);
}
