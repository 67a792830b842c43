#include "auth/known.h"

#include "base/buf.h"
#include "base/must.h"
#include "digest/digest.h"

#include <stdlib.h>

/* No attempt is longer: SASL's fields have ceilings of their own. Longer ones are not kept. */
#define INPUTS_MAX 4096

struct slot {
	unsigned char name[DIGEST_SHA256];
	struct principal who;
	bool used;
};

struct auth_known {
	unsigned char key[AUTH_KNOWN_KEY];
	size_t n;
	struct slot at[];
};

struct auth_known *auth_known_new(size_t slots, const unsigned char key[AUTH_KNOWN_KEY])
{
	struct auth_known *k;

	MUST(slots && !(slots & (slots - 1)));
	k = calloc(1, sizeof *k + slots * sizeof k->at[0]);
	if (!k)
		return NULL;
	memcpy(k->key, key, sizeof k->key);
	k->n = slots;
	return k;
}

void auth_known_free(struct auth_known *k)
{
	if (k)
		digest_wipe(k->key, sizeof k->key);
	free(k);
}

/* With its length before it, so that no two attempts have the same text. */
static bool add(char *text, size_t *n, struct slice s)
{
	uint32_t length = (uint32_t)s.n;

	if (s.n > INPUTS_MAX || INPUTS_MAX - *n < sizeof length + s.n)
		return false;
	memcpy(text + *n, &length, sizeof length);
	*n += sizeof length;
	if (s.n)
		memcpy(text + *n, s.p, s.n);
	*n += s.n;
	return true;
}

/* False: too long to be kept. */
static bool name_of(const struct auth_known *k, const struct auth_attempt *a,
		    unsigned char name[DIGEST_SHA256])
{
	char text[INPUTS_MAX];
	size_t n = 0;
	/* Only a password is the same the next time. */
	bool ok = a->by == AUTH_BY_PASSWORD && add(text, &n, a->mechanism) &&
		  add(text, &n, a->username) && add(text, &n, a->authzid) &&
		  add(text, &n, a->password.bytes) && add(text, &n, a->client);

	if (ok)
		digest_hmac_sha256(slice(k->key, sizeof k->key), slice(text, n), name);
	digest_wipe(text, n);
	return ok;
}

static size_t place(const struct auth_known *k, const unsigned char *name)
{
	size_t at;

	memcpy(&at, name, sizeof at);
	return at & (k->n - 1);
}

bool auth_known_get(const struct auth_known *k, const struct auth_attempt *a, uint64_t generation,
		    struct principal *ret)
{
	unsigned char name[DIGEST_SHA256];
	const struct slot *s;

	if (!name_of(k, a, name))
		return false;
	s = &k->at[place(k, name)];
	if (!s->used || !digest_equal(slice(s->name, sizeof s->name), slice(name, sizeof name)) ||
	    auth_stale(&s->who, generation, a->now_ms))
		return false;
	*ret = s->who;
	return true;
}

void auth_known_put(struct auth_known *k, const struct auth_attempt *a, const struct principal *p)
{
	unsigned char name[DIGEST_SHA256];
	struct slot *s;

	if (!name_of(k, a, name))
		return;
	s = &k->at[place(k, name)];
	memcpy(s->name, name, sizeof s->name);
	s->who = *p;
	s->used = true;
}
