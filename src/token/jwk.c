#include "token/jwk.h"

#include <stdlib.h>

struct jwk {
	char id[JWK_ID_MAX];
	size_t id_n;
	bool named;
	uint32_t algs;
	struct public_key *key;
};

struct jwks {
	size_t n, passed_over;
	struct jwk at[JWKS_KEYS];
};

void jwks_free(struct jwks *s)
{
	for (size_t i = 0; s && i < s->n; i++)
		public_key_free(s->at[i].key);
	free(s);
}

/* RFC 7517 4.2 to 4.4: what it says it is for. */
static bool for_us(const struct json *jwk, struct err *e)
{
	const struct json *ops = json_get(jwk, "key_ops");
	struct slice word;

	if (json_get(jwk, "d") || json_get(jwk, "k"))
		return err_set(e, ERR_INPUT, "it tells its secret");
	if (json_get(jwk, "use") &&
	    (!json_as_text(json_get(jwk, "use"), &word) || !slice_eq(word, S("sig"))))
		return err_set(e, ERR_INPUT, "it is not for signatures");
	for (size_t i = 0; i < json_length(ops); i++)
		if (json_as_text(json_at(ops, i), &word) && slice_eq(word, S("verify")))
			return true;
	return !ops || err_set(e, ERR_INPUT, "it is not for verifying");
}

static bool read_one(const struct json *jwk, struct jwk *ret, struct err *e)
{
	const struct json *alg = json_get(jwk, "alg"), *kid = json_get(jwk, "kid");
	struct slice text;
	enum token_alg a;

	if (!json_has_members(jwk))
		return err_set(e, ERR_INPUT, "it is no object");
	if (!for_us(jwk, e))
		return false;
	if (kid && (!json_as_text(kid, &text) || text.n > sizeof ret->id))
		return err_set(e, ERR_INPUT, "its kid is not a text of at most %d bytes",
			       JWK_ID_MAX);
	ret->named = kid;
	ret->id_n = kid ? text.n : 0;
	if (ret->id_n)
		memcpy(ret->id, text.p, text.n);
	ret->key = public_key_read(jwk, &ret->algs, e);
	if (!ret->key)
		return false;
	if (!alg)
		return true;
	if (json_as_text(alg, &text) && token_alg_find(text, &a) && (ret->algs & TOKEN_ALG(a))) {
		ret->algs = TOKEN_ALG(a);
		return true;
	}
	public_key_free(ret->key);
	return err_set(e, ERR_INPUT, "its alg does not fit its type, or is not known here");
}

struct jwks *jwks_read(struct slice text, struct err *e)
{
	struct err why = { 0 };
	struct json *j = json_read(text, e);
	const struct json *keys = json_get(j, "keys");
	struct jwks *s = j ? calloc(1, sizeof *s) : NULL;
	size_t n = json_length(keys);

	for (size_t i = 0; s && i < n; i++)
		if (s->n == JWKS_KEYS || !read_one(json_at(keys, i), &s->at[s->n], &why))
			s->passed_over++;
		else
			s->n++;
	if (j && !s)
		err_set(e, ERR_LATER, "out of memory");
	else if (s && !s->n)
		err_set(e, ERR_INPUT, n ? "no key of the set can be used: %s" : "no keys%s",
			why.text);
	json_free(j);
	if (s && s->n)
		return s;
	jwks_free(s);
	return NULL;
}

size_t jwks_count(const struct jwks *s)
{
	return s->n;
}

size_t jwks_passed_over(const struct jwks *s)
{
	return s->passed_over;
}

const struct public_key *jwks_find(const struct jwks *s, struct slice kid, enum token_alg alg)
{
	const struct public_key *found = NULL;

	for (size_t i = 0; i < s->n; i++) {
		const struct jwk *k = &s->at[i];

		if (!(k->algs & TOKEN_ALG(alg)))
			continue;
		if (kid.p && k->named && slice_eq(kid, slice(k->id, k->id_n)))
			return k->key;
		if (!kid.p && found)
			return NULL;
		if (!kid.p)
			found = k->key;
	}
	return found;
}
