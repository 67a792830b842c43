/* token/jwt.c -- see jwt.h. */
#include "token/jwt.h"

#include "base/b64.h"
#include "base/must.h"
#include "digest/digest.h"

#include <stdlib.h>

#define CLAIM_MAX   255
#define SECONDS_MAX (UINT64_MAX / 1000 - 2 * TOKEN_SKEW_MS)

struct token {
	char *text; /* of a JWT */
	size_t n;
	struct json *header, *claims;
	enum token_alg alg;
	bool judged;
	uint64_t ends_ms;
};

void token_free(struct token *t)
{
	if (!t)
		return;
	json_free(t->header);
	json_free(t->claims);
	if (t->text)
		digest_wipe(t->text, t->n);
	free(t->text);
	free(t);
}

/* -- form -- */

static bool three_parts(struct slice text, struct slice *head, struct slice *body,
			struct slice *sig)
{
	struct slice rest;

	return slice_cut(text, '.', head, &rest) && slice_cut(rest, '.', body, sig) && head->n &&
	       body->n && !memchr(sig->p, '.', sig->n);
}

bool token_is_jwt(struct slice text)
{
	struct slice head, body, sig;

	/* {" in base64url: every header begins so, or with a blank. */
	return three_parts(text, &head, &body, &sig) && slice_starts(head, S("ey"));
}

/* A part that is an object. */
static struct json *object_of(struct slice part)
{
	size_t n = part.n * 3 / 4;
	unsigned char *bytes = malloc(n ? n : 1);
	struct json *j = NULL;

	if (bytes && part.n % 4 != 1 && b64url_decode(bytes, n, part))
		j = json_read(slice(bytes, n), NULL);
	if (bytes)
		digest_wipe(bytes, n);
	free(bytes);
	if (json_has_members(j))
		return j;
	json_free(j);
	return NULL;
}

/* RFC 7515 4.1, RFC 8725 3: what names a key, or another way of reading, is refused unseen. */
static enum token_fault judge_header(const struct json *h, enum token_alg *ret_alg)
{
	static const char *const foreign[] = { "crit", "jwk", "jku", "x5c", "x5u",
					       "zip",  "enc", "b64", "cty" };
	const struct json *kid = json_get(h, "kid"), *typ = json_get(h, "typ");
	struct slice text;

	for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
		if (json_get(h, foreign[i]))
			return TOKEN_HEADER;
	if ((kid && (!json_as_text(kid, &text) || text.n > JWK_ID_MAX)) ||
	    (typ && !json_as_text(typ, &text)))
		return TOKEN_HEADER;
	return json_as_text(json_get(h, "alg"), &text) && token_alg_find(text, ret_alg)
		   ? TOKEN_GOOD
		   : TOKEN_ALGORITHM;
}

static enum token_fault read_into(struct token *t, struct slice text)
{
	struct slice head, body, sig;

	if (!three_parts(text, &head, &body, &sig))
		return TOKEN_MALFORMED;
	t->text = malloc(text.n);
	if (!t->text)
		return TOKEN_TROUBLE;
	memcpy(t->text, text.p, text.n);
	t->n = text.n;
	t->header = object_of(head);
	t->claims = object_of(body);
	if (!t->header || !t->claims)
		return TOKEN_MALFORMED;
	return judge_header(t->header, &t->alg);
}

enum token_fault token_read(struct slice text, struct token **ret)
{
	struct token *t;
	enum token_fault f;

	if (text.n > TOKEN_MAX)
		return TOKEN_MALFORMED;
	t = calloc(1, sizeof *t);
	if (!t)
		return TOKEN_TROUBLE;
	f = read_into(t, text);
	if (f == TOKEN_GOOD)
		*ret = t;
	else
		token_free(t);
	return f;
}

struct slice token_kid(const struct token *t)
{
	struct slice kid = { NULL, 0 };

	if (json_as_text(json_get(t->header, "kid"), &kid) && !kid.p)
		kid.p = ""; /* there, and empty */
	return kid;
}

struct slice token_claimed_issuer(const struct token *t)
{
	struct slice iss = S("");

	(void)json_as_text(json_get(t->claims, "iss"), &iss);
	return iss;
}

/* -- claims -- */

/* One word of a list with spaces between, or one element. */
static bool word_in(const struct json *j, struct slice word)
{
	struct slice text, head;

	for (size_t i = 0; i < json_length(j); i++)
		if (json_as_text(json_at(j, i), &text) && slice_eq(text, word))
			return true;
	if (!json_as_text(j, &text))
		return false;
	while (text.n) {
		slice_cut(text, ' ', &head, &text);
		if (slice_eq(head, word))
			return true;
	}
	return false;
}

/* RFC 7519 4.1.3: a text, or a list with at least that text in it. */
static bool is_audience(const struct json *aud, struct slice want)
{
	struct slice text;

	if (json_as_text(aud, &text))
		return slice_eq(text, want);
	for (size_t i = 0; i < json_length(aud); i++)
		if (json_as_text(json_at(aud, i), &text) && slice_eq(text, want))
			return true;
	return false;
}

/* A time in seconds. False: it is there, and is none. */
static bool time_of(const struct json *claims, const char *name, bool *ret_there, uint64_t *ret_ms)
{
	const struct json *j = json_get(claims, name);
	uint64_t s = 0;

	*ret_there = j;
	if (j && (!json_as_number(j, &s) || s > SECONDS_MAX))
		return false;
	*ret_ms = s * 1000;
	return true;
}

static enum token_fault judge_times(struct token *t, bool must_end, uint64_t now_ms)
{
	bool ends, begins, issued;
	uint64_t exp, nbf, iat;

	if (!time_of(t->claims, "exp", &ends, &exp) || !time_of(t->claims, "nbf", &begins, &nbf) ||
	    !time_of(t->claims, "iat", &issued, &iat) || (must_end && !ends))
		return TOKEN_CLAIMS;
	t->ends_ms = ends ? exp + TOKEN_SKEW_MS : UINT64_MAX;
	if (now_ms >= t->ends_ms)
		return TOKEN_EXPIRED;
	if ((begins && now_ms + TOKEN_SKEW_MS < nbf) || (issued && now_ms + TOKEN_SKEW_MS < iat))
		return TOKEN_NOT_YET;
	return TOKEN_GOOD;
}

static enum token_fault judge_scope(const struct token *t, const struct token_rules *r)
{
	if (!r->scope.n || word_in(json_get(t->claims, "scope"), r->scope) ||
	    word_in(json_get(t->claims, "scp"), r->scope))
		return TOKEN_GOOD;
	return TOKEN_SCOPE;
}

static bool type_listed(const struct token *t, const struct token_rules *r)
{
	struct slice typ = S("-"), application = S("application/");

	if (json_as_text(json_get(t->header, "typ"), &typ)) {
		if (slice_eq(typ, S("-")))
			return false;
		if (slice_istarts(typ, application))
			typ = slice_from(typ, application.n);
	}
	for (size_t i = 0; i < r->n_types; i++)
		if (slice_ieq(typ, r->types[i]))
			return true;
	return false;
}

static enum token_fault judge_claims(struct token *t, const struct token_rules *r, uint64_t now_ms)
{
	enum token_fault f;
	struct slice text;

	if (!slice_eq(token_claimed_issuer(t), r->issuer))
		return TOKEN_ISSUER;
	if (!is_audience(json_get(t->claims, "aud"), r->audience))
		return TOKEN_AUDIENCE;
	f = judge_times(t, true, now_ms);
	if (f == TOKEN_GOOD)
		f = judge_scope(t, r);
	if (f == TOKEN_GOOD && !json_as_text(json_get(t->claims, "sub"), &text))
		f = TOKEN_CLAIMS; /* RFC 9068 2.2 */
	return f;
}

enum token_fault token_judge(struct token *t, const struct token_rules *r, const struct jwks *keys,
			     uint64_t now_ms)
{
	const struct public_key *key;
	enum token_fault f;

	MUST(r->audience.n && t->text);
	if (!(r->algorithms & TOKEN_ALG(t->alg)))
		return TOKEN_ALGORITHM;
	if (!type_listed(t, r))
		return TOKEN_TYPE;
	key = jwks_find(keys, token_kid(t), t->alg);
	if (!key)
		return TOKEN_UNKNOWN_KEY;
	if (!public_key_signed(key, t->alg, slice(t->text, t->n)))
		return TOKEN_SIGNATURE;
	f = judge_claims(t, r, now_ms);
	t->judged = f == TOKEN_GOOD;
	return f;
}

static enum token_fault judge_answer(struct token *t, const struct token_rules *r, uint64_t now_ms)
{
	const struct json *active = json_get(t->claims, "active"), *iss, *aud;
	enum token_fault f;

	if (!active)
		return TOKEN_CLAIMS;
	if (!json_as_true(active))
		return TOKEN_INACTIVE;
	iss = json_get(t->claims, "iss");
	aud = json_get(t->claims, "aud");
	if (iss && !slice_eq(token_claimed_issuer(t), r->issuer))
		return TOKEN_ISSUER;
	if (r->audience.n && !is_audience(aud, r->audience))
		return TOKEN_AUDIENCE;
	f = judge_times(t, false, now_ms);
	return f == TOKEN_GOOD ? judge_scope(t, r) : f;
}

enum token_fault token_answer(struct slice body, const struct token_rules *r, uint64_t now_ms,
			      struct token **ret)
{
	struct token *t = calloc(1, sizeof *t);
	enum token_fault f = TOKEN_TROUBLE;

	if (t) {
		t->claims = json_read(body, NULL);
		f = json_has_members(t->claims) ? judge_answer(t, r, now_ms) : TOKEN_MALFORMED;
	}
	if (f == TOKEN_GOOD) {
		t->judged = true;
		*ret = t;
	} else {
		token_free(t);
	}
	return f;
}

bool token_text(const struct token *t, const char *name, struct slice *ret)
{
	struct slice text;

	MUST(t->judged);
	if (!json_as_text(json_get(t->claims, name), &text) || !text.n || text.n > CLAIM_MAX)
		return false;
	for (size_t i = 0; i < text.n; i++)
		if ((unsigned char)text.p[i] < ' ' || text.p[i] == 0x7f)
			return false;
	*ret = text;
	return true;
}

uint64_t token_ends_ms(const struct token *t)
{
	MUST(t->judged);
	return t->ends_ms;
}
