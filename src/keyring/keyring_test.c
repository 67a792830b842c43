/* keyring/keyring_test.c -- the master key's file, and sealing. */
#include "keyring/keyring.h"

#include "digest/md5.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/signet-keyring-XXXXXX";
static char path[64];

static int set_up(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/master.key", dir);
	return 0;
}

static int clean(void **state)
{
	unlink(path);
	return 0;
}

static int tear_down(void **state)
{
	return rmdir(dir);
}

static void put_file(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

static void assert_refused(enum err_kind kind, const char *part)
{
	struct err e = { 0 };

	assert_null(keyring_open(slice_str(path), &e));
	assert_int_equal(e.kind, kind);
	if (!strstr(e.text, part))
		fail_msg("\"%s\" does not say \"%s\"", e.text, part);
}

static void test_create(void **state)
{
	struct keyring *k;
	struct stat st;
	struct err e;
	mode_t old = umask(0277);

	assert_true(keyring_create(slice_str(path), &e));
	umask(old);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_false(keyring_create(slice_str(path), &e));
	assert_int_equal(e.kind, ERR_CONFLICT);
	k = keyring_open(slice_str(path), &e);
	assert_non_null(k);
	keyring_close(k);
	keyring_close(NULL);
	assert_false(keyring_create(S("/nonexistent/x/key"), &e));
	assert_int_equal(e.kind, ERR_LATER);
	assert_false(keyring_create(S("a\0b"), &e));
	assert_int_equal(e.kind, ERR_INPUT);
}

static void test_refused_files(void **state)
{
	char aside[80];
	struct err e;

	assert_refused(ERR_ABSENT, "No such file");
	assert_true(keyring_create(slice_str(path), &e));
	static const mode_t loose[] = { 0640, 0604, 0620, 0601, 0700, 0666 };

	for (size_t i = 0; i < sizeof(loose) / sizeof(*loose); i++) {
		assert_int_equal(chmod(path, loose[i]), 0);
		assert_refused(ERR_DENIED, "chmod 600");
	}
	assert_int_equal(chmod(path, 0400), 0);
	struct keyring *k = keyring_open(slice_str(path), &e);

	assert_non_null(k);
	keyring_close(k);
	if (geteuid() == 0) { /* only root can give files away */
		assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
		assert_refused(ERR_DENIED, "12345");
		assert_int_equal(chown(path, 0, (gid_t)-1), 0);
	}
	snprintf(aside, sizeof(aside), "%s.real", path);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(symlink(aside, path), 0);
	assert_refused(ERR_DENIED, "symbolic links");
	unlink(path);
	unlink(aside);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_refused(ERR_DENIED, "regular");
}

#define GOOD "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static void test_file_text(void **state)
{
	static const char *const bad[] = {
		"",
		"signet-master-key 1\n",
		"signet-master-key 2\nkey 1 " GOOD "\n",
		"signet-master-key 1\nkey 0 " GOOD "\n",
		"signet-master-key 1\nkey 256 " GOOD "\n",
		"signet-master-key 1\nkey -1 " GOOD "\n",
		"signet-master-key 1\nkey 1 " GOOD,
		"signet-master-key 1\nkey 1 " GOOD "\n\n",
		"signet-master-key 1\nkey 1 " GOOD "A\n",
		"signet-master-key 1\nkey 1 A\n",
		"signet-master-key 1\nkey 1 " GOOD "\nkey 1 " GOOD "\n",
		"signet-master-key 1\nkey 1 " GOOD "\nkey 0 " GOOD "\n",
		"signet-master-key 1\nkey 1 " GOOD "\nkey 2 " GOOD,
		"signet-master-key 1\nkey 1 " GOOD "\nkey 2 A\n",
		"signet-master-key 1\nkey 1 " GOOD "\nkey 2 " GOOD "\nkey 3 " GOOD "\nkey 4 " GOOD
		"\nkey 5 " GOOD "\nkey 6 " GOOD "\nkey 7 " GOOD "\nkey 8 " GOOD "\nkey 9 " GOOD
		"\n",
		"signet-master-key 1\r\nkey 1 " GOOD "\r\n",
		"key 1 " GOOD "\n",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		put_file(bad[i]);
		assert_refused(ERR_DAMAGED, "not a master key file");
	}
	put_file("signet-master-key 1\nkey 255 " GOOD "\n");
	struct keyring *k = keyring_open(slice_str(path), NULL);

	assert_non_null(k);
	keyring_close(k);
}

static void test_seal(void **state)
{
	static char long_purpose[257];
	struct buf blob, again, out;
	struct keyring *k;
	struct err e;

	assert_true(keyring_create(slice_str(path), &e));
	k = keyring_open(slice_str(path), &e);
	assert_non_null(k);
	buf_init(&blob, 256);
	buf_init(&again, 256);
	buf_init(&out, 256);
	assert_true(keyring_seal(k, S("dkim:42"), secret(S("a\0secret")), &blob, &e));
	assert_true(keyring_seal(k, S("dkim:42"), secret(S("a\0secret")), &again, &e));
	assert_int_equal(blob.n, 8 + KEYRING_OVERHEAD);
	assert_null(memmem(blob.p, blob.n, "secret", 6));
	assert_memory_not_equal(blob.p, again.p, blob.n); /* a nonce is used once */
	keyring_close(k);

	k = keyring_open(slice_str(path), &e);
	buf_add(&out, S("x"));
	assert_true(keyring_unseal(k, S("dkim:42"), buf_slice(&blob), &out, &e));
	assert_true(slice_eq(buf_slice(&out), S("xa\0secret")));

	/* Another purpose, any byte altered, cut anywhere: damaged, and nothing is added. */
	assert_false(keyring_unseal(k, S("dkim:43"), buf_slice(&blob), &out, &e));
	assert_int_equal(e.kind, ERR_DAMAGED);
	for (size_t i = 0; i < blob.n; i++) {
		blob.p[i] ^= 1;
		assert_false(keyring_unseal(k, S("dkim:42"), buf_slice(&blob), &out, &e));
		assert_int_equal(e.kind, ERR_DAMAGED);
		blob.p[i] ^= 1;
		assert_false(keyring_unseal(k, S("dkim:42"), slice(blob.p, i), &out, &e));
		assert_int_equal(e.kind, ERR_DAMAGED);
	}
	blob.p[0]++;
	assert_false(keyring_unseal(k, S("dkim:42"), buf_slice(&blob), &out, &e));
	assert_non_null(strstr(e.text, "master key 2"));
	assert_int_equal(out.n, 9);

	/* Purposes have a length; the empty secret is a secret. */
	memset(long_purpose, 'p', sizeof(long_purpose));
	assert_false(keyring_seal(k, S(""), secret(S("x")), &out, &e));
	assert_int_equal(e.kind, ERR_INPUT);
	assert_false(keyring_seal(k, slice(long_purpose, 257), secret(S("x")), &out, &e));
	assert_int_equal(e.kind, ERR_INPUT);
	buf_clear(&blob);
	assert_true(keyring_seal(k, slice(long_purpose, 256), secret(S("")), &blob, &e));
	buf_clear(&out);
	assert_true(keyring_unseal(k, slice(long_purpose, 256), buf_slice(&blob), &out, &e));
	assert_int_equal(out.n, 0);
	buf_done(&out);
	buf_init(&out, 10);
	assert_false(keyring_seal(k, S("p"), secret(S("x")), &out, &e));
	assert_int_equal(e.kind, ERR_LATER);

	/* A blob of another installation. */
	keyring_close(k);
	unlink(path);
	assert_true(keyring_create(slice_str(path), &e));
	k = keyring_open(slice_str(path), &e);
	buf_done(&out);
	buf_init(&out, 256);
	assert_false(keyring_unseal(k, S("dkim:42"), buf_slice(&again), &out, &e));
	assert_int_equal(e.kind, ERR_DAMAGED);
	keyring_close(k);
	buf_done(&blob);
	buf_done(&again);
	buf_wipe(&out);
}

static void seal_with(struct buf *blob)
{
	struct keyring *k = keyring_open(slice_str(path), NULL);

	assert_non_null(k);
	buf_init(blob, 256);
	assert_true(keyring_seal(k, S("p"), secret(S("plain")), blob, NULL));
	assert_int_equal(keyring_key_of(buf_slice(blob)), keyring_number(k));
	keyring_close(k);
}

/* Whether what was sealed opens with what is in the file now. */
static bool opens(const struct buf *blob)
{
	struct keyring *k = keyring_open(slice_str(path), NULL);
	struct buf out;
	bool ok;

	assert_non_null(k);
	buf_init(&out, 64);
	ok = keyring_unseal(k, S("p"), buf_slice(blob), &out, NULL);
	assert_true(!ok || slice_eq(buf_slice(&out), S("plain")));
	buf_wipe(&out);
	keyring_close(k);
	return ok;
}

static void test_rotate(void **state)
{
	struct buf blobs[KEYRING_KEYS];
	struct keyring *k;
	struct stat st;
	struct err e = { 0 };

	assert_true(keyring_create(slice_str(path), &e));
	for (unsigned i = 0; i < KEYRING_KEYS; i++) {
		seal_with(&blobs[i]);
		for (unsigned old = 0; old <= i; old++) {
			assert_true(opens(&blobs[old]));
			assert_true(old == i || keyring_key_of(buf_slice(&blobs[old])) !=
						    keyring_key_of(buf_slice(&blobs[i])));
		}
		assert_int_equal(keyring_rotate(slice_str(path), &e), i + 1 < KEYRING_KEYS);
	}
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_true(keyring_prune(slice_str(path), &e));
	for (unsigned i = 0; i < KEYRING_KEYS; i++) {
		assert_int_equal(opens(&blobs[i]), i + 1 == KEYRING_KEYS);
		buf_done(&blobs[i]);
	}
	k = keyring_open(slice_str(path), &e);
	assert_int_equal(keyring_keys(k), 1);
	keyring_close(k);
	assert_int_equal(keyring_key_of(S("short")), 0);
}

/* Numbers go round, and none is given twice. */
static void test_numbers(void **state)
{
	struct keyring *k;
	struct err e;

	put_file("signet-master-key 1\nkey 255 " GOOD "\nkey 1 " GOOD "\nkey 2 " GOOD "\n");
	assert_true(keyring_rotate(slice_str(path), &e));
	k = keyring_open(slice_str(path), &e);
	assert_int_equal(keyring_number(k), 3);
	assert_int_equal(keyring_keys(k), 4);
	keyring_close(k);
	assert_false(keyring_rotate(S("/nonexistent/key"), &e));
	assert_int_equal(e.kind, ERR_ABSENT);
}

static void test_random(void **state)
{
	unsigned char a[1000] = { 0 }, b[1000] = { 0 }, seen[256] = { 0 };
	size_t kinds = 0;

	keyring_random(a, sizeof(a));
	keyring_random(b, sizeof(b));
	keyring_random(NULL, 0);
	assert_memory_not_equal(a, b, sizeof(a));
	/* Every part of a long request is filled: 1000 bytes hold some 250 values. */
	for (size_t i = 744; i < sizeof(a); i++)
		seen[a[i]] = 1;
	for (size_t i = 0; i < 256; i++)
		kinds += seen[i];
	assert_true(kinds > 100);
}

static void test_derive(void **state)
{
	unsigned char a[KEYRING_DERIVED], b[KEYRING_DERIVED];
	struct keyring *k;
	struct err e;

	assert_true(keyring_create(slice_str(path), &e));
	k = keyring_open(slice_str(path), &e);
	assert_true(keyring_derive(k, S("one"), a, &e));
	assert_true(keyring_derive(k, S("two"), b, &e));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_false(keyring_derive(k, S(""), b, &e));
	assert_int_equal(e.kind, ERR_INPUT);
	keyring_close(k);
	/* The same at the next start, and with a new key in front; another with another key. */
	assert_true(keyring_rotate(slice_str(path), &e));
	k = keyring_open(slice_str(path), &e);
	assert_true(keyring_derive(k, S("one"), b, &e));
	assert_memory_equal(a, b, sizeof(a));
	keyring_close(k);
	unlink(path);
	assert_true(keyring_create(slice_str(path), &e));
	k = keyring_open(slice_str(path), &e);
	assert_true(keyring_derive(k, S("one"), b, &e));
	assert_memory_not_equal(a, b, sizeof(a));
	keyring_close(k);
}

static void test_cram_md5(void **state)
{
	/* RFC 2195 section 2 */
	static const unsigned char right[] = { 0xb9, 0x13, 0xa6, 0x02, 0xc7, 0xed, 0xa7, 0xa4,
					       0x95, 0xb4, 0xe6, 0xe7, 0x33, 0x4d, 0x38, 0x90 };
	struct slice challenge = S("<1896.697170952@postoffice.reston.mci.net>");
	static const unsigned char zeros[HMAC_MD5_STATE];
	unsigned char wrong[16], of_zeros[16];
	struct keyring *k;
	struct buf blob;
	struct err e;

	buf_init(&blob, 256);
	assert_true(keyring_create(slice_str(path), &e));
	k = keyring_open(slice_str(path), &e);
	assert_true(
	    keyring_cram_md5_seal(k, S("cram:tim"), secret(S("tanstaaftanstaaf")), &blob, &e));
	assert_int_equal(blob.n, KEYRING_CRAM_MD5);
	assert_true(keyring_cram_md5_check(k, S("cram:tim"), buf_slice(&blob), challenge, right));
	memcpy(wrong, right, sizeof(wrong));
	wrong[15] ^= 1;
	assert_false(keyring_cram_md5_check(k, S("cram:tim"), buf_slice(&blob), challenge, wrong));
	assert_false(keyring_cram_md5_check(k, S("cram:tom"), buf_slice(&blob), challenge, right));
	assert_false(keyring_cram_md5_check(k, S("cram:tim"), buf_slice(&blob),
					    S("<1897.697170952@postoffice.reston.mci.net>"),
					    right));
	assert_false(keyring_cram_md5_check(k, S("cram:tim"), S(""), challenge, right));
	/* Whoever answers for a state of zeros has answered for nobody. */
	digest_hmac_md5_finish(zeros, challenge, of_zeros);
	assert_false(keyring_cram_md5_check(k, S("cram:tim"), S(""), challenge, of_zeros));
	blob.p[KEYRING_CRAM_MD5 - 1] ^= 1;
	assert_false(keyring_cram_md5_check(k, S("cram:tim"), buf_slice(&blob), challenge, right));
	assert_false(
	    keyring_cram_md5_check(k, S("cram:tim"), buf_slice(&blob), challenge, of_zeros));
	keyring_close(k);
	buf_done(&blob);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_create, clean),
		cmocka_unit_test_teardown(test_refused_files, clean),
		cmocka_unit_test_teardown(test_file_text, clean),
		cmocka_unit_test_teardown(test_seal, clean),
		cmocka_unit_test_teardown(test_rotate, clean),
		cmocka_unit_test_teardown(test_numbers, clean),
		cmocka_unit_test(test_random),
		cmocka_unit_test_teardown(test_derive, clean),
		cmocka_unit_test_teardown(test_cram_md5, clean),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
