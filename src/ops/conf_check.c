/* ops/conf_check.c -- sections whose options have to fit each other. */
#include "ops/conf_impl.h"

#define NOT_A_URL "a URL begins with https://, or with http:// and 127.0.0.1, [::1] or localhost"

static const char *check_mx(const struct conf_route *r)
{
	if (r->host.n || r->path.n)
		return "route: mx goes to the mail exchangers: no host, no path";
	if (r->user.n)
		return "route: mx sends no password: no user";
	if (slice_starts(r->tls, S("implicit")))
		return "route: mx has no implicit TLS; set tls to may, must or must-verify";
	return NULL;
}

const char *conf_check_route(const struct conf_route *r)
{
	if (!r->domains.n)
		return "route: domains is empty";
	if (slice_eq(r->type, S("capture")))
		return r->path.n ? NULL : "route: a capture needs a path";
	if (slice_eq(r->type, S("mx")))
		return check_mx(r);
	if (!r->host.n)
		return "route: a smarthost needs a host";
	if (r->allow.n)
		return "route: allow is for type mx";
	if (r->user.n && !r->password_file.n)
		return "route: user without password_file";
	if (r->user.n && slice_eq(r->tls, S("none")))
		return "route: a password is never sent without TLS; set tls";
	return NULL;
}

/* https, or http to this machine: whoever could change what is read there could log in. */
static bool is_url(struct slice url)
{
	static const struct slice here[] = { S("127.0.0.1"), S("[::1]"), S("localhost") };
	struct slice rest;
	size_t n = 0;

	for (size_t i = 0; i < url.n; i++)
		if (url.p[i] <= ' ' || url.p[i] > '~' || url.p[i] == '#' || url.p[i] == '@')
			return false;
	if (slice_starts(url, S("https://")))
		return url.n > 8 && url.p[8] != '/';
	if (!slice_starts(url, S("http://")))
		return false;
	rest = slice_from(url, 7);
	while (n < sizeof here / sizeof *here && !slice_starts(rest, here[n]))
		n++;
	if (n == sizeof here / sizeof *here)
		return false;
	rest = slice_from(rest, here[n].n);
	return !rest.n || rest.p[0] == ':' || rest.p[0] == '/';
}

const char *conf_check_url(struct slice url)
{
	return is_url(url) ? NULL : NOT_A_URL;
}

const char *conf_check_issuer(const struct conf_issuer *at, size_t i)
{
	const struct conf_issuer *one = &at[i];
	bool jwt = slice_eq(one->kind, S("jwt"));

	if (!one->url.n)
		return "issuer: url is missing";
	if (!is_url(one->url) || (one->jwks.n && !is_url(one->jwks)) ||
	    (one->introspection.n && !is_url(one->introspection)))
		return "issuer: " NOT_A_URL;
	if (memchr(one->url.p, '?', one->url.n))
		return "issuer: url has no query (RFC 8414 2)";
	for (size_t k = 0; k < i; k++)
		if (slice_eq(at[k].url, one->url))
			return "issuer: two of them have this url";
	if (!one->algorithms.n || !one->types.n || !one->claims.n)
		return "issuer: algorithms, types and claims must not be empty";
	if (jwt && !one->audience.n)
		return "issuer: jwt needs an audience: without it a token for "
		       "another service would be one for this";
	if (jwt && (one->client_id.n || one->client_secret_file.n || one->introspection.n))
		return "issuer: client_id, client_secret_file and introspection are "
		       "for kind opaque";
	if (!jwt && one->jwks.n)
		return "issuer: jwks is for kind jwt";
	if (!jwt && (!one->client_id.n || !one->client_secret_file.n))
		return "issuer: opaque needs client_id and client_secret_file";
	return NULL;
}
