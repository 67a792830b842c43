/* issuer/ask.c -- what an issuer says, by HTTP. */
#include "fetch/fetch.h"
#include "issuer/issuer_impl.h"
#include "ops/clock.h"

#include <stdio.h>

struct asking {
	const struct issuer *i;
	uint64_t until_ms;
};

static struct asking begin(const struct issuer *i)
{
	return (struct asking){ i, clock_mono_ms() + i->c->timeout };
}

/* One request in the time that is left. */
static bool request(const struct asking *a, struct fetch_request *r, unsigned *ret_status,
		    struct buf *ret, struct err *e)
{
	uint64_t now = clock_mono_ms();

	buf_init(ret, 0);
	if (now >= a->until_ms)
		return err_set(e, ERR_LATER, "no time is left");
	r->ca_file = a->i->c->ca_file;
	r->timeout_ms = (unsigned)(a->until_ms - now);
	return fetch_request(r, ret_status, ret, e);
}

static struct json *get(const struct asking *a, struct slice url, size_t max, struct err *e)
{
	struct fetch_request r = { .method = "GET", .path = url, .body_max = max };
	struct json *j = NULL;
	unsigned status = 0;
	struct buf body;

	if (!request(a, &r, &status, &body, e)) {
		e->kind = ERR_LATER;
		return NULL;
	}
	if (status != 200)
		err_set(e, ERR_LATER, "%.*s: status %u", SLICE_ARG(url), status);
	else
		j = json_read(buf_slice(&body), e);
	if (status == 200 && !j) {
		err_in(e, "not what was asked for");
		e->kind = ERR_LATER;
	}
	buf_done(&body);
	return j;
}

/* RFC 8414 3.1: between host and path. */
static void inserted(struct slice url, struct buf *out)
{
	const char *slash;
	size_t scheme = slice_starts(url, S("https://")) ? 8 : 7, host;

	if (url.p[url.n - 1] == '/')
		url.n--;
	slash = memchr(url.p + scheme, '/', url.n - scheme);
	host = slash ? (size_t)(slash - url.p) : url.n;
	buf_add(out, slice(url.p, host));
	buf_add(out, S("/.well-known/oauth-authorization-server"));
	buf_add(out, slice_from(url, host));
}

/* OpenID Connect Discovery 4: behind the path. */
static void appended(struct slice url, struct buf *out)
{
	if (url.p[url.n - 1] == '/')
		url.n--;
	buf_add(out, url);
	buf_add(out, S("/.well-known/openid-configuration"));
}

static bool is_its_own(const struct asking *a, const struct json *metadata, struct err *e)
{
	struct slice issuer = S("");

	(void)json_as_text(json_get(metadata, "issuer"), &issuer);
	/* RFC 8414 3.3 */
	return slice_eq(issuer, a->i->c->url) ||
	       err_set(e, ERR_LATER, "its metadata is of another issuer");
}

/* Both forms, one after the other. */
static struct json *metadata(const struct asking *a, struct err *e)
{
	static void (*const forms[])(struct slice, struct buf *) = { inserted, appended };
	struct json *j = NULL;

	for (size_t k = 0; !j && k < sizeof forms / sizeof *forms; k++) {
		struct buf url;

		buf_init(&url, 2 * URL_MAX);
		forms[k](a->i->c->url, &url);
		j = get(a, buf_slice(&url), METADATA_MAX, e);
		buf_done(&url);
		if (j && !is_its_own(a, j, e)) {
			json_free(j);
			j = NULL;
		}
	}
	return j;
}

const char *ask_check_url(struct slice issuer, struct slice url)
{
	if (slice_starts(issuer, S("https://")) && !slice_starts(url, S("https://")))
		return "it is not https, as the issuer is";
	return conf_check_url(url);
}

/* As in the configuration, or a member of the metadata. */
static bool find_url(const struct asking *a, struct slice given, const char *member,
		     char ret[URL_MAX], struct err *e)
{
	struct slice url = given;
	struct json *j = NULL;
	const char *why = NULL;

	if (!given.n) {
		j = metadata(a, e);
		if (!j)
			return false;
		(void)json_as_text(json_get(j, member), &url);
		why = ask_check_url(a->i->c->url, url);
	}
	if (why || url.n >= URL_MAX)
		err_set(e, ERR_LATER, "%s of its metadata: %s", member, why ? why : "too long");
	else
		snprintf(ret, URL_MAX, "%.*s", SLICE_ARG(url));
	json_free(j);
	return !why && url.n < URL_MAX;
}

struct jwks *ask_keys(const struct issuer *i, struct err *e)
{
	struct asking a = begin(i);
	char url[URL_MAX];
	struct fetch_request r = { .method = "GET", .body_max = KEYS_MAX };
	struct jwks *keys = NULL;
	unsigned status = 0;
	struct buf body;

	if (!find_url(&a, i->c->jwks, "jwks_uri", url, e))
		return NULL;
	r.path = slice_str(url);
	if (!request(&a, &r, &status, &body, e)) {
		e->kind = ERR_LATER;
		return NULL;
	}
	if (status != 200)
		err_set(e, ERR_LATER, "%s: status %u", url, status);
	else
		keys = jwks_read(buf_slice(&body), e);
	if (!keys)
		e->kind = ERR_LATER;
	buf_done(&body);
	return keys;
}

bool ask_introspection_url(const struct issuer *i, char ret[URL_MAX], struct err *e)
{
	struct asking a = begin(i);

	return find_url(&a, i->c->introspection, "introspection_endpoint", ret, e);
}

/* RFC 6749 5.2: "error" of a 400. Whether it is us that it does not know. */
static bool knows_us(struct slice body)
{
	struct json *j = json_read(body, NULL);
	struct slice error = S("");
	bool known;

	(void)json_as_text(json_get(j, "error"), &error);
	known = !slice_eq(error, S("invalid_client")) && !slice_eq(error, S("unauthorized_client"));
	json_free(j);
	return known;
}

/* RFC 7662 2.2: "active" is always there. A page of a proxy's is no verdict. */
static bool has_verdict(struct slice body)
{
	struct json *j = json_read(body, NULL);
	bool has = json_get(j, "active");

	json_free(j);
	return has;
}

/* What a status says, and of whom (RFC 7662 2.2, 2.3). */
static enum ask_outcome judge_status(unsigned status, const char *url, struct buf *body,
				     struct err *e)
{
	if (status == 200 && has_verdict(buf_slice(body)))
		return ASK_ANSWERED;
	if (status == 401 || (status == 400 && !knows_us(buf_slice(body)))) {
		err_set(e, ERR_LATER, "%s: status %u: client_id or its secret is wrong", url,
			status);
		return ASK_DOWN;
	}
	if (status == 400) {
		/* It does not like this token. */
		buf_clear(body);
		buf_add(body, S("{\"active\":false}"));
		if (!body->failed)
			return ASK_ANSWERED;
	}
	err_set(e, ERR_LATER, "%s: status %u%s", url, status,
		status == 200 ? ", and not whether the token is active" : "");
	return ASK_TROUBLE;
}

enum ask_outcome ask_about(const struct issuer *i, const char *url, struct slice token,
			   struct buf *ret, struct err *e)
{
	struct asking a = begin(i);
	struct fetch_request r = { .method = "POST",
				   .path = slice_str(url),
				   .form = true,
				   .user = i->c->client_id,
				   .password = secret(slice_str(i->secret)),
				   .body_max = ISSUER_ANSWER_MAX };
	enum ask_outcome outcome = ASK_TROUBLE;
	unsigned status = 0;
	struct buf form;

	buf_init(ret, 0);
	buf_init(&form, 3 * TOKEN_MAX + 64);
	buf_room_for(&form, 3 * TOKEN_MAX + 64);
	buf_add(&form, S("token="));
	fetch_add_form(&form, token);
	buf_add(&form, S("&token_type_hint=access_token"));
	r.body = buf_slice(&form);
	if (form.failed)
		err_set(e, ERR_LATER, "out of memory");
	else if (request(&a, &r, &status, ret, e))
		outcome = judge_status(status, url, ret, e);
	else if (e->kind != ERR_INPUT) /* that is an answer without end */
		outcome = ASK_DOWN;
	buf_wipe(&form);
	return outcome;
}
