/* digest/digest_test.c -- published vectors. */
#include "digest/digest.h"

#include "base/buf.h"
#include "digest/md5.h"

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

static void hmac_md5(struct slice key, struct slice text, const char *hex)
{
	unsigned char state[HMAC_MD5_STATE], got[DIGEST_MD5];
	struct buf b;

	buf_init(&b, 64);
	digest_hmac_md5_state(key, state);
	digest_hmac_md5_finish(state, text, got);
	buf_addhex(&b, slice(got, sizeof got));
	buf_addc(&b, 0);
	assert_string_equal(b.p, hex);
	buf_done(&b);
}

static void test_hmac_md5(void **state)
{
	unsigned char key[80], text[50];

	/* RFC 2195 section 2 */
	hmac_md5(S("tanstaaftanstaaf"), S("<1896.697170952@postoffice.reston.mci.net>"),
		 "b913a602c7eda7a495b4e6e7334d3890");
	/* RFC 2202 section 2 */
	memset(key, 0x0b, 16);
	hmac_md5(slice(key, 16), S("Hi There"), "9294727a3638bb1c13f48ef8158bfc9d");
	hmac_md5(S("Jefe"), S("what do ya want for nothing?"), "750c783e6ab0b503eaa86e310a5db738");
	memset(key, 0xaa, sizeof key);
	memset(text, 0xdd, sizeof text);
	hmac_md5(slice(key, 16), slice(text, 50), "56be34521d144c88dbb8c733f0e8b3f6");
	hmac_md5(slice(key, 80), S("Test Using Larger Than Block-Size Key - Hash Key First"),
		 "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
	hmac_md5(slice(key, 80),
		 S("Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data"),
		 "6f630fad67cda0ee1fb1f562db3aa53e");
	hmac_md5(S(""), slice(NULL, 0), "74e6f7298a9c2d168935f58c001bad88");
}

/* Against the library, for every length that pads in another way. */
static void test_hmac_md5_lengths(void **state)
{
	static const struct {
		size_t n;
		const char *hex;
	} rows[] = {
		{ 1, "80ea44ccea14cc2263889567cfacccd7" },
		{ 54, "6f5127239acebe083832b2c1c9cdfea7" },
		{ 55, "f3c92dfc2d7431fca0f3c0ed8445f187" },
		{ 56, "a61bffc3a05d4fb1af98cf1a5126bfa1" },
		{ 57, "94e9f96a7d069493104a75fd1d02714b" },
		{ 63, "93f88ac71af612c70dc02511e1816329" },
		{ 64, "62974a153f5b4dc9bed41fc309d2bc55" },
		{ 65, "d39300885bf15b43625b083d808b88df" },
		{ 119, "fbb1151f436f0f828d7a0ca65f387ed6" },
		{ 120, "6e05a8029fbabb68a559811b7d2fa1cd" },
		{ 127, "f0d079ea215fea57c0216610077609ac" },
		{ 128, "5e57435e972114b846326dec14644fa0" },
		{ 129, "b1d0f56cefc67962b7f5575aa8c2b987" },
		{ 183, "4b4939a2967d1db21d7177e828fa3bcd" },
		{ 184, "5ecf2ed79d3d167a75ce07792f90bddf" },
		{ 200, "91604d446f3659156b57f80e7dd1e33e" },
	};
	static const char *const keyed[] = {
		"9b28e052a88d8ac6d08c5e8a640c156f", "68bf0b1aa2a090b860a8c6d157496bf6",
		"78f0de99095af6bd98b2f6f59ca90ccd", "b127c538892e34bdfbcdff7c7a55d4b4",
		"98858c19843848ec081cd934a3edf1a8", "c6bef48d5d5a0fa4a605b9775c17298e",
		"c3fd52615996d6424da15fadf3bfb03f", "884921b65de442fb5e05a2f157692be3",
		"419d8d75c3d0cc10575842c7ba903517", "5b762e79bf44a533768052bf2e1550cf",
		"41d8db6d2afc1f53d750a0c3f82e7901", "408136fc920eae9df29aa77598c944ba",
		"77227e00a5508ca8d4a8e4f9ac79da88", "b5216368b49eaa087cb67372b7bbead3",
		"68578ca070404a49e9e61d001437f328", "a92059bb06c545e7488383e5b8291951",
	};
	unsigned char text[200];

	memset(text, 'a', sizeof text);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		hmac_md5(S("key"), slice(text, rows[i].n), rows[i].hex);
		hmac_md5(slice(text, rows[i].n), S("text"), keyed[i]);
	}
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
		cmocka_unit_test(test_sha256),
		cmocka_unit_test(test_hmac),
		cmocka_unit_test(test_pbkdf2),
		cmocka_unit_test(test_hmac_md5),
		cmocka_unit_test(test_hmac_md5_lengths),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_wipe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
