#include "serve/route_set.h"

#include "base/arena.h"
#include "base/must.h"
#include "loop/tls.h"
#include "ops/readable.h"
#include "relay/site.h"
#include "sender/domain.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* The names of all routes: far more than any configuration has. */
#define NAMES_MAX (4u << 20)

struct route_set {
	atomic_uint owners;
	const struct conf *conf;
	struct route *at;
	char **passwords;
	struct stat *authorities; /* of each route, its ca_file as it was read */
	size_t n;
	struct arena names;
};

static enum route_tls route_tls(struct slice word, enum route_type type)
{
	static const struct {
		struct slice word;
		enum route_tls tls;
	} words[] = { { { "none", 4 }, ROUTE_TLS_NONE },
		      { { "may", 3 }, ROUTE_TLS_MAY },
		      { { "must", 4 }, ROUTE_TLS_MUST },
		      { { "must-verify", 11 }, ROUTE_TLS_MUST_VERIFY },
		      { { "implicit", 8 }, ROUTE_TLS_IMPLICIT },
		      { { "implicit-verify", 15 }, ROUTE_TLS_IMPLICIT_VERIFY } };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (slice_eq(words[i].word, word))
			return words[i].tls;
	return type == ROUTE_MX ? ROUTE_TLS_MAY : ROUTE_TLS_MUST_VERIFY; /* auto */
}

/* Destinations are lower-case A-labels: a route's domains must be spelled so, too, or it would
 * never be taken. */
static bool canonical(struct arena *a, struct slice spelled, struct slice *ret, struct err *e)
{
	char below[DOMAIN_NAME_MAX + 3], name[DOMAIN_NAME_MAX + 1];
	size_t n;

	if (slice_eq(spelled, S("*"))) {
		*ret = spelled;
		return true;
	}
	/* A route may name a whole top-level domain: so a name below it is what is spelled. */
	if (spelled.n > DOMAIN_NAME_MAX)
		return err_set(e, ERR_INPUT, "longer than %d octets", DOMAIN_NAME_MAX);
	snprintf(below, sizeof below, "x.%.*s", SLICE_ARG(spelled));
	if (!domain_canonical(slice_str(below), name, &n, e))
		return false;
	*ret = arena_dup(a, slice(name + 2, n - 2));
	return ret->p || err_set(e, ERR_LATER, "out of memory");
}

static bool name_domains(struct route_set *s, const struct conf_route *from, struct route *to,
			 struct err *e)
{
	struct slice *names = ARENA_ARRAY(&s->names, struct slice, from->domains.n);
	struct err why;

	if (!names)
		return err_set(e, ERR_LATER, "out of memory");
	for (size_t i = 0; i < from->domains.n; i++)
		if (!canonical(&s->names, from->domains.at[i], &names[i], &why))
			return err_set(e, why.kind, "route %.*s: domains: %.*s: %s",
				       SLICE_ARG(from->name), SLICE_ARG(from->domains.at[i]),
				       why.text);
	to->domains = names;
	to->n_domains = from->domains.n;
	return true;
}

static bool allow_networks(struct route_set *s, const struct conf_route *from, struct route *to,
			   struct err *e)
{
	struct net *at = ARENA_ARRAY(&s->names, struct net, from->allow.n + 1);

	if (!at)
		return err_set(e, ERR_LATER, "out of memory");
	for (size_t i = 0; i < from->allow.n; i++)
		MUST(net_parse(from->allow.at[i], &at[i]));
	to->allow = at;
	to->n_allow = from->allow.n;
	return true;
}

static enum route_type route_type(struct slice word)
{
	return slice_eq(word, S("capture")) ? ROUTE_CAPTURE
	       : slice_eq(word, S("mx"))    ? ROUTE_MX
					    : ROUTE_SMARTHOST;
}

static void look_at(struct slice path, struct stat *ret)
{
	char name[4096];

	snprintf(name, sizeof name, "%.*s", SLICE_ARG(path));
	if (!path.n || stat(name, ret))
		*ret = (struct stat){ 0 };
}

static bool make_one(struct route_set *s, size_t i, const struct conf_route *from, struct err *e)
{
	struct tls_client_conf tls = { .ca_file = from->ca_file };
	enum route_type type = route_type(from->type);
	struct route *to = &s->at[i];

	*to = (struct route){ .name = from->name,
			      .type = type,
			      .connections = (unsigned)from->connections,
			      .path = from->path,
			      .host = from->host,
			      .port = (uint16_t)(from->port         ? from->port
						 : type == ROUTE_MX ? 25
								    : 587),
			      .tls = route_tls(from->tls, type),
			      .user = from->user,
			      .messages_per_connection = (uint32_t)from->messages_per_connection };
	if (!name_domains(s, from, to, e) || !allow_networks(s, from, to, e))
		return false;
	if (from->user.n) {
		s->passwords[i] = readable_secret(from->password_file, e);
		if (!s->passwords[i])
			return false;
		to->password = secret(slice_str(s->passwords[i]));
	}
	/* Looked at before it is read: what is written meanwhile counts as another one. */
	look_at(from->ca_file, &s->authorities[i]);
	if (type == ROUTE_CAPTURE || to->tls == ROUTE_TLS_NONE)
		return true;
	to->tls_context = tls_client_new(&tls, e);
	return to->tls_context;
}

struct route_set *route_set_new(const struct conf *c, struct err *e)
{
	struct route_set *s = calloc(1, sizeof *s);

	if (s) {
		arena_init(&s->names, NAMES_MAX);
		s->at = calloc(c->n_routes + 1, sizeof *s->at);
		s->passwords = calloc(c->n_routes + 1, sizeof *s->passwords);
		s->authorities = calloc(c->n_routes + 1, sizeof *s->authorities);
		s->conf = conf_hold(c);
		atomic_init(&s->owners, 1);
	}
	if (!s || !s->at || !s->passwords || !s->authorities) {
		err_set(e, ERR_LATER, "out of memory");
		route_set_free(s);
		return NULL;
	}
	s->n = c->n_routes;
	for (size_t i = 0; i < s->n; i++)
		if (!make_one(s, i, &c->routes[i], e)) {
			route_set_free(s);
			return NULL;
		}
	return s;
}

struct routes route_set_routes(const struct route_set *s)
{
	return (struct routes){ s->at, s->n };
}

size_t route_set_count(const struct route_set *s)
{
	return s->n;
}

struct route_set *route_set_hold(struct route_set *s)
{
	atomic_fetch_add(&s->owners, 1);
	return s;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static bool same_route(const struct route_set *a, size_t i, const struct route_set *b, size_t k)
{
	const char *x = a->passwords[i], *y = b->passwords[k];

	return conf_route_same(&a->conf->routes[i], &b->conf->routes[k]) &&
	       !strcmp(x ? x : "", y ? y : "") && same_file(&a->authorities[i], &b->authorities[k]);
}

bool route_set_same(const struct route_set *a, const struct route_set *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!same_route(a, i, b, i))
			return false;
	return true;
}

void route_set_map(const struct route_set *before, const struct route_set *now, size_t *ret)
{
	for (size_t i = 0; i < before->n; i++) {
		ret[i] = SITES_GONE;
		for (size_t k = 0; k < now->n; k++)
			if (same_route(before, i, now, k))
				ret[i] = k;
	}
}

void route_set_free(struct route_set *s)
{
	if (!s || atomic_fetch_sub(&s->owners, 1) > 1)
		return;
	for (size_t i = 0; s->at && s->passwords && i < s->n; i++) {
		tls_client_free(s->at[i].tls_context);
		if (s->passwords[i])
			explicit_bzero(s->passwords[i], strlen(s->passwords[i]));
		free(s->passwords[i]);
	}
	free(s->at);
	free(s->passwords);
	free(s->authorities);
	arena_done(&s->names);
	conf_free(s->conf);
	free(s);
}
