#include "serve/generation.h"

#include "base/must.h"
#include "base/timetext.h"
#include "issuer/issuer.h"
#include "serve/from_conf.h"
#include "serve/route_set.h"
#include "serve/server.h"

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define LINE        64
#define STRINGS_MAX (64u << 10)

/* A line of the cache for each: homes do not take it from each other. */
struct generation_home {
	alignas(LINE) unsigned users;
};

/* -- making -- */

/* FNV-1a: nobody gains by a collision. */
static uint64_t mix(uint64_t h, const void *p, size_t n)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * 0x100000001b3u;
	return h;
}

static uint64_t mix_file(uint64_t h, struct slice path)
{
	char name[4096];
	struct stat st = { 0 };

	snprintf(name, sizeof name, "%.*s", SLICE_ARG(path));
	/* Through links: a renewal may be another target. Rights are in the time of the change. */
	if (stat(name, &st))
		return mix(h, &errno, sizeof errno);
	h = mix(h, &st.st_dev, sizeof st.st_dev);
	h = mix(h, &st.st_ino, sizeof st.st_ino);
	h = mix(h, &st.st_size, sizeof st.st_size);
	h = mix(h, &st.st_mtim, sizeof st.st_mtim);
	return mix(h, &st.st_ctim, sizeof st.st_ctim);
}

uint64_t generation_stamp(const struct conf *c)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < c->tls.certificate.n; i++)
		h = mix_file(mix_file(h, c->tls.certificate.at[i]), c->tls.key.at[i]);
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].client_ca.n)
			h = mix_file(h, c->listeners[i].client_ca);
	return h;
}

static const struct smtp_door *door_named(const struct generation *g, struct slice name)
{
	for (size_t i = 0; g && i < g->conf->n_listeners; i++)
		if (slice_eq(g->doors[i].name, name))
			return &g->doors[i];
	return NULL;
}

static bool make_door(struct generation *g, size_t i, const struct generation *before,
		      struct err *e)
{
	const struct conf_listener *l = &g->conf->listeners[i];
	const struct smtp_door *same = door_named(before, l->name);
	struct tls_server_conf tls = { .certs = g->certs,
				       .alpn = S("smtp"),
				       .client_ca = l->client_ca };
	struct smtp_door *d = &g->doors[i];

	d->generation = g;
	d->name = l->name;
	smtp_door_proxies(d, &l->proxy);
	d->session = session_conf(g->conf, l);
	d->bind_end_point = slice_eq(l->bind_end_point, S("yes"));
	d->asks_certificate = d->session.mechanisms & SASL_BIT(SASL_EXTERNAL);
	tls.ask_certificate = d->asks_certificate;
	/* A context for each listener: a ticket of one is none of another's. The same certificates:
	 * the same tickets go on. Where the client's counts there are none, and the CA is read
	 * again. */
	d->tls =
	    same && before->certs == g->certs && !same->asks_certificate && !d->asks_certificate
		? tls_server_hold(same->tls)
		: tls_server_new(&tls, e);
	return d->tls;
}

static bool make_certs(struct generation *g, const struct generation *before, struct err *e)
{
	const struct conf *c = g->conf;

	/* First: what is written while we read counts as a change. */
	g->stamp = generation_stamp(c);
	g->certs = tls_certs_read(c->tls.certificate.at, c->tls.key.at, c->tls.certificate.n, e);
	if (!g->certs)
		return false;
	if (before && tls_certs_same(g->certs, before->certs)) {
		tls_certs_free(g->certs);
		g->certs = tls_certs_hold(before->certs);
	}
	return true;
}

static bool make_routes(struct generation *g, const struct generation *before, struct err *e)
{
	g->route_set = route_set_new(g->conf, e);
	if (!g->route_set)
		return false;
	if (before && route_set_same(before->route_set, g->route_set)) {
		route_set_free(g->route_set);
		g->route_set = route_set_hold(before->route_set);
	}
	g->routes = route_set_routes(g->route_set);
	return true;
}

static bool make(struct generation *g, const struct generation *before, struct err *e)
{
	if (!make_certs(g, before, e) || !make_routes(g, before, e) ||
	    !bounce_conf(g->conf, &g->strings, &g->bounce, e))
		return false;
	g->issuers = issuers_new(g->conf, before ? before->issuers : NULL, e);
	if (!g->issuers)
		return false;
	g->submit = submit_conf(g->conf);
	g->doors = calloc(g->conf->n_listeners, sizeof *g->doors);
	if (!g->doors)
		return err_set(e, ERR_LATER, "out of memory");
	for (size_t i = 0; i < g->conf->n_listeners; i++)
		if (!make_door(g, i, before, e))
			return false;
	return true;
}

struct generation *generation_new(struct server *s, const struct conf *conf,
				  const struct generation *before, struct err *e)
{
	struct generation *g = calloc(1, sizeof *g);
	size_t size = s->n_homes * sizeof *g->homes;

	if (g)
		g->homes = aligned_alloc(LINE, size);
	if (!g || !g->homes) {
		free(g);
		conf_free(conf);
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	memset(g->homes, 0, size);
	g->conf = conf;
	g->number = before ? before->number + 1 : 1;
	g->n_homes = s->n_homes;
	arena_init(&g->strings, STRINGS_MAX);
	atomic_init(&g->holders, 1);
	if (make(g, before, e))
		return g;
	generation_free(g);
	return NULL;
}

static void destroy(struct generation *g)
{
	for (size_t i = 0; g->doors && i < g->conf->n_listeners; i++)
		tls_server_free(g->doors[i].tls);
	free(g->doors);
	tls_certs_free(g->certs);
	route_set_free(g->route_set);
	issuers_free(g->issuers);
	arena_done(&g->strings);
	conf_free(g->conf);
	free(g->homes);
	free(g);
}

void generation_free(struct generation *g)
{
	if (g && atomic_fetch_sub(&g->holders, 1) == 1)
		destroy(g);
}

/* -- users -- */

struct generation *generation_hold(struct generation *g, struct home *home)
{
	struct generation_home *h = &g->homes[home->index];

	MUST(h->users);
	h->users++;
	return g;
}

void generation_drop(struct generation *g, struct home *home)
{
	struct generation_home *h = &g->homes[home->index];

	MUST(h->users);
	if (--h->users == 0)
		generation_free(g);
}

void generation_enter(struct generation *g, struct home *home)
{
	struct generation *old = home->now;

	if (g) {
		MUST(!g->homes[home->index].users);
		atomic_fetch_add(&g->holders, 1);
		g->homes[home->index].users = 1;
	}
	home->now = g;
	if (old)
		generation_drop(old, home);
}

/* -- what is not as it should be -- */

bool generation_warning(const struct generation *g, size_t i, uint64_t now_ms, struct err *ret)
{
	struct tls_cert_facts f;
	size_t seen = 0;

	for (size_t k = 0; tls_certs_facts(g->certs, k, &f); k++) {
		bool early = now_ms < f.from_ms, late = now_ms >= f.until_ms;
		char room[40];
		struct buf when = { .p = room, .cap = sizeof room, .max = sizeof room };

		if ((!early && !late) || seen++ < i)
			continue;
		time_add_rfc3339(&when, early ? f.from_ms : f.until_ms);
		err_set(ret, ERR_DENIED, "certificate %.*s (%.*s): %s %.*s", SLICE_ARG(f.path),
			SLICE_ARG(f.name), early ? "not valid before" : "expired",
			SLICE_ARG(buf_slice(&when)));
		return true;
	}
	return false;
}
