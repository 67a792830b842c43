/* issuer/answers.c -- what was said of opaque tokens. Under SHA-256 of the token: the token itself
 * is not kept. A ring: the newest takes the place of the oldest. */
#include "issuer/issuer_impl.h"

#include <stdlib.h>

#define BYTES_MAX (8u << 20)

struct answer {
	unsigned char of[DIGEST_SHA256];
	uint64_t until_ms; /* monotonic; 0: free */
	char *body;
	size_t n;
};

struct answers {
	size_t at, bytes;
	struct answer ring[ISSUER_ANSWERS];
};

static void drop(struct answers *a, struct answer *one)
{
	if (one->body)
		digest_wipe(one->body, one->n);
	free(one->body);
	a->bytes -= one->n;
	*one = (struct answer){ 0 };
}

struct answers *answers_new(void)
{
	return calloc(1, sizeof(struct answers));
}

void answers_free(struct answers *a)
{
	for (size_t i = 0; a && i < ISSUER_ANSWERS; i++)
		drop(a, &a->ring[i]);
	free(a);
}

static struct answer *find(struct answers *a, const unsigned char of[DIGEST_SHA256])
{
	for (size_t i = 0; i < ISSUER_ANSWERS; i++)
		if (a->ring[i].until_ms && !memcmp(a->ring[i].of, of, DIGEST_SHA256))
			return &a->ring[i];
	return NULL;
}

bool answers_get(struct answers *a, struct slice token, uint64_t now_ms, struct buf *out)
{
	unsigned char of[DIGEST_SHA256];
	const struct answer *one;

	digest_sha256(token, of);
	one = find(a, of);
	if (!one || now_ms >= one->until_ms)
		return false;
	buf_add(out, slice(one->body, one->n));
	return !out->failed;
}

void answers_put(struct answers *a, struct slice token, struct slice body, uint64_t until_ms)
{
	unsigned char of[DIGEST_SHA256];
	struct answer *one;
	char *copy = malloc(body.n ? body.n : 1);

	if (!copy)
		return;
	if (body.n)
		memcpy(copy, body.p, body.n);
	digest_sha256(token, of);
	one = find(a, of);
	if (!one) {
		one = &a->ring[a->at];
		a->at = (a->at + 1) % ISSUER_ANSWERS;
	}
	drop(a, one);
	/* The oldest ones stand behind `at`. */
	for (size_t i = a->at; a->bytes + body.n > BYTES_MAX; i = (i + 1) % ISSUER_ANSWERS)
		drop(a, &a->ring[i]);
	*one = (struct answer){ .until_ms = until_ms, .body = copy, .n = body.n };
	memcpy(one->of, of, sizeof of);
	a->bytes += body.n;
}
