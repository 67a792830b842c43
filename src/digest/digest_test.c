/* digest/digest_test.c -- published vectors. */
#include "digest/digest.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_hex(const unsigned char got[DIGEST_SHA256], const char *hex)
{
	struct buf b;

	buf_init(&b, 256);
	buf_addhex(&b, slice(got, DIGEST_SHA256));
	buf_addc(&b, 0);
	assert_false(b.failed);
	assert_string_equal(b.p, hex);
	buf_done(&b);
}

/* FIPS 180-4 examples. */
static const struct {
	struct slice in;
	const char *hex;
} sha_cases[] = {
	{ S(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ S("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ S("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
	  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
};

static void test_sha256(void **state)
{
	struct sha256 *s = sha256_new();
	unsigned char got[DIGEST_SHA256];

	for (size_t i = 0; i < sizeof(sha_cases) / sizeof(*sha_cases); i++) {
		struct slice in = sha_cases[i].in;

		digest_sha256(in, got);
		assert_hex(got, sha_cases[i].hex);
		/* In two pieces, at every cut; the object begins anew each time. */
		for (size_t cut = 0; cut <= in.n; cut++) {
			sha256_add(s, slice(in.p, cut));
			sha256_add(s, slice_from(in, cut));
			sha256_end(s, got);
			assert_hex(got, sha_cases[i].hex);
		}
	}
	for (int i = 0; i < 1000; i++)
		sha256_add(s, slice_str("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
					"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
	sha256_end(s, got);
	/* 100,000 times "a" */
	assert_hex(got, "6d1cf22d7cc09b085dfc25ee1a1f3ae0265804c607bc2074ad253bcc82fd81ee");
	sha256_free(s);
	sha256_free(NULL);
}

static void test_hmac(void **state)
{
	unsigned char got[DIGEST_SHA256], key[131];

	/* RFC 4231 4.2, 4.3 and 4.7 (a key longer than the block). */
	memset(key, 0x0b, sizeof(key));
	digest_hmac_sha256(slice(key, 20), S("Hi There"), got);
	assert_hex(got, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	digest_hmac_sha256(S("Jefe"), S("what do ya want for nothing?"), got);
	assert_hex(got, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof(key));
	digest_hmac_sha256(slice(key, 131),
			   S("Test Using Larger Than Block-Size Key - Hash Key First"), got);
	assert_hex(got, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	/* Both empty, as slices without storage. */
	digest_hmac_sha256(slice(NULL, 0), slice(NULL, 0), got);
	assert_hex(got, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_pbkdf2(void **state)
{
	unsigned char got[DIGEST_SHA256];

	/* RFC 7914 11 gives 64 bytes; the first 32 are the first block. */
	digest_pbkdf2_sha256(S("passwd"), S("salt"), 1, got);
	assert_hex(got, "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc");
	digest_pbkdf2_sha256(S("Password"), S("NaCl"), 80000, got);
	assert_hex(got, "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56");
}

static void test_equal(void **state)
{
	assert_true(digest_equal(S("abc"), S("abc")));
	assert_true(digest_equal(slice(NULL, 0), S("")));
	assert_false(digest_equal(S("abc"), S("abd")));
	assert_false(digest_equal(S("Abc"), S("abc")));
	assert_false(digest_equal(S("abc"), S("ab")));
	assert_false(digest_equal(S("ab"), S("abc")));
	assert_false(digest_equal(S(""), S("abc")));
	assert_false(digest_equal(S("a\0c"), S("a\0d")));
}

static void test_wipe(void **state)
{
	char b[8] = "secret!";

	digest_wipe(b, 6);
	assert_memory_equal(b, "\0\0\0\0\0\0!", 7);
	digest_wipe(b, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sha256), cmocka_unit_test(test_hmac),
		cmocka_unit_test(test_pbkdf2), cmocka_unit_test(test_equal),
		cmocka_unit_test(test_wipe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
