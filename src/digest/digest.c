/* digest/digest.c -- see digest.h. */
#include "digest/digest.h"

#include "base/must.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <limits.h>
#include <pthread.h>

/* Finding an algorithm by name costs more than a short hash; the handle found once is constant
 * and shared by all threads. */
static const EVP_MD *found;
static pthread_once_t found_once = PTHREAD_ONCE_INIT;

static void find(void)
{
	found = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static const EVP_MD *sha256(void)
{
	MUST(pthread_once(&found_once, find) == 0);
	MUST(found);
	return found;
}

void digest_sha256(struct slice in, unsigned char ret[DIGEST_SHA256])
{
	MUST(EVP_Digest(in.n ? in.p : "", in.n, ret, NULL, sha256(), NULL) == 1);
}

struct sha256 {
	EVP_MD_CTX *ctx;
};

struct sha256 *sha256_new(void)
{
	struct sha256 *s = OPENSSL_malloc(sizeof(*s));

	MUST(s);
	s->ctx = EVP_MD_CTX_new();
	MUST(s->ctx && EVP_DigestInit_ex(s->ctx, sha256(), NULL) == 1);
	return s;
}

void sha256_free(struct sha256 *s)
{
	if (!s)
		return;
	EVP_MD_CTX_free(s->ctx);
	OPENSSL_free(s);
}

void sha256_add(struct sha256 *s, struct slice in)
{
	if (in.n)
		MUST(EVP_DigestUpdate(s->ctx, in.p, in.n) == 1);
}

void sha256_end(struct sha256 *s, unsigned char ret[DIGEST_SHA256])
{
	MUST(EVP_DigestFinal_ex(s->ctx, ret, NULL) == 1);
	MUST(EVP_DigestInit_ex(s->ctx, sha256(), NULL) == 1);
}

void digest_hmac_sha256(struct slice key, struct slice text, unsigned char ret[DIGEST_SHA256])
{
	MUST(key.n <= INT_MAX);
	MUST(HMAC(sha256(), key.n ? key.p : "", (int)key.n,
		  (const unsigned char *)(text.n ? text.p : ""), text.n, ret, NULL));
}

void digest_pbkdf2_sha256(struct slice password, struct slice salt, uint32_t rounds,
			  unsigned char ret[DIGEST_SHA256])
{
	MUST(rounds >= 1 && rounds <= INT_MAX && password.n <= INT_MAX && salt.n <= INT_MAX);
	MUST(PKCS5_PBKDF2_HMAC(password.n ? password.p : "", (int)password.n,
			       (const unsigned char *)(salt.n ? salt.p : ""), (int)salt.n,
			       (int)rounds, sha256(), DIGEST_SHA256, ret) == 1);
}

bool digest_equal(struct slice a, struct slice b)
{
	return a.n == b.n && (!a.n || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}

void digest_wipe(void *p, size_t n)
{
	OPENSSL_cleanse(p, n);
}
