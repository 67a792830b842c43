#include "serve/mx.h"

#include "base/arena.h"
#include "dns/dns.h"
#include "dns/rdata.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "relay/mx.h"
#include "serve/deliver.h"
#include "serve/generation.h"
#include "serve/server.h"

#include <stdlib.h>

/* An answer as large as can be, taken apart. */
#define LOOKUP_MAX (1u << 20)
/* While others wait, nobody gets more than this. */
#define HURRY_MS 3000

struct lookup {
	struct dns_query q;
	struct mx *mx;
	struct site *site;
	struct lookup *next, **at;
	uint64_t began_ms;
	struct arena arena;
	struct mx_facts facts;
	uint32_t ttl;
};

struct mx {
	struct deliver *deliver;
	struct lookup *first;
};

struct mx *mx_new(struct deliver *d)
{
	struct mx *mx = calloc(1, sizeof *mx);

	if (mx)
		mx->deliver = d;
	return mx;
}

static void drop(struct lookup *l)
{
	*l->at = l->next;
	if (l->next)
		l->next->at = l->at;
	dns_cancel(&l->q);
	arena_done(&l->arena);
	free(l);
}

static void finish(struct lookup *l)
{
	struct deliver *d = l->mx->deliver;
	struct site *site = l->site;

	site->unproven--;
	drop(l);
	deliver_ended(d, site);
}

void mx_free(struct mx *mx)
{
	if (!mx)
		return;
	while (mx->first)
		drop(mx->first);
	free(mx);
}

void mx_rerouted(struct mx *mx)
{
	struct lookup *next;

	for (struct lookup *l = mx->first; l; l = next) {
		next = l->next;
		if (l->site->retired)
			finish(l);
	}
}

void mx_shutdown(struct mx *mx)
{
	while (mx->first)
		finish(mx->first);
}

/* -- answers -- */

static enum mx_got got(enum dns_state state)
{
	switch (state) {
	case DNS_FOUND: return MX_GOT_RECORDS;
	case DNS_NODATA: return MX_GOT_NONE;
	case DNS_NXDOMAIN: return MX_GOT_NO_NAME;
	case DNS_TROUBLE: break;
	}
	return MX_GOT_TROUBLE;
}

static void take_apart(struct lookup *l, const struct dns_answer *a)
{
	struct mx_host *hosts = ARENA_ARRAY(&l->arena, struct mx_host, a->n + 1);
	struct dns_mx mx;

	for (size_t i = 0; hosts && i < a->n; i++)
		switch (dns_mx_read(a->records[i], &mx)) {
		case RDATA_OK:
			hosts[l->facts.n].name = arena_dup(&l->arena, slice_str(mx.host));
			hosts[l->facts.n++].preference = mx.preference;
			break;
		case RDATA_ODD: l->facts.odd++; break;
		case RDATA_BAD: l->facts.bad++; break;
		}
	l->facts.records = hosts;
	if (!l->arena.failed)
		return;
	l->facts = (struct mx_facts){ .mx = MX_GOT_TROUBLE, .why = S("out of memory") };
}

static void fail(struct lookup *l, const struct mx_decision *what, const char *result)
{
	struct slice text = slice_str(what->text);

	log_event(LOG_ATTEMPT, F_STR("route", l->site->route->name), F_STR("remote", l->site->name),
		  F_CSTR("phase", "lookup"), F_CSTR("result", result),
		  F_U64("code", (uint64_t)what->code), F_STR("reply", text));
}

static void on_address(struct dns_query *q, const struct dns_answer *a);

static void decide(struct lookup *l)
{
	struct deliver *d = l->mx->deliver;
	struct server *s = deliver_home(d)->server;
	struct mx_decision what;

	mx_decide(&l->facts, l->site->name, deliver_home(d)->now->conf->hostname, &what);
	switch (what.verdict) {
	case MX_TO_HOSTS:
		schedule_resolved(deliver_schedule(d), l->site, what.hosts, what.n,
				  (uint64_t)l->ttl * 1000, clock_steady_ms());
		break;
	case MX_ASK_ADDRESSES:
		l->q.done = on_address;
		if (dns_ask(s->dns, &l->q, l->site->name, DNS_A))
			return;
		break; /* it is asked again soon */
	case MX_FAILED:
		fail(l, &what, "failed");
		deliver_site_refused(d, l->site, what.code, slice_str(what.text));
		break;
	case MX_LATER:
		fail(l, &what, "deferred");
		deliver_site_failed(d, l->site, l->site->name, slice_str(what.text));
		break;
	}
	finish(l);
}

static void learn_trouble(struct lookup *l, const struct dns_answer *a)
{
	if (a->state == DNS_TROUBLE)
		l->facts.why = arena_dup(&l->arena, a->why);
}

static void on_address_six(struct dns_query *q, const struct dns_answer *a)
{
	struct lookup *l = (struct lookup *)(void *)q;
	enum mx_got six = got(a->state);

	/* What is not known of one family is not known of both, unless the other has some. */
	if (l->facts.address != MX_GOT_TROUBLE || six == MX_GOT_RECORDS)
		l->facts.address = six;
	l->ttl = a->ttl;
	learn_trouble(l, a);
	decide(l);
}

static void on_address(struct dns_query *q, const struct dns_answer *a)
{
	struct lookup *l = (struct lookup *)(void *)q;

	l->facts.address = got(a->state);
	l->ttl = a->ttl;
	learn_trouble(l, a);
	if (a->state != DNS_FOUND) {
		q->done = on_address_six;
		if (dns_ask(deliver_home(l->mx->deliver)->server->dns, q, l->site->name, DNS_AAAA))
			return;
		l->facts.address = MX_GOT_TROUBLE;
		l->facts.why = S("not asked: too many lookups at once");
	}
	decide(l);
}

static void on_mx(struct dns_query *q, const struct dns_answer *a)
{
	struct lookup *l = (struct lookup *)(void *)q;

	l->facts.mx = got(a->state);
	l->facts.address = MX_GOT_NOT_ASKED;
	l->ttl = a->ttl;
	learn_trouble(l, a);
	if (a->state == DNS_FOUND)
		take_apart(l, a);
	decide(l);
}

void mx_hurry(struct mx *mx)
{
	uint64_t now = clock_mono_ms();
	struct lookup *next;

	for (struct lookup *l = mx->first; l; l = next) {
		next = l->next;
		if (now - l->began_ms < HURRY_MS)
			continue;
		dns_cancel(&l->q);
		l->facts = (struct mx_facts){ .mx = MX_GOT_TROUBLE, .why = S("no answer in time") };
		decide(l);
	}
}

bool mx_start(struct mx *mx, struct site *site)
{
	struct lookup *l = calloc(1, sizeof *l);

	if (!l)
		return false;
	l->mx = mx;
	l->site = site;
	l->q.done = on_mx;
	l->began_ms = clock_mono_ms();
	arena_init(&l->arena, LOOKUP_MAX);
	if (!dns_ask(deliver_home(mx->deliver)->server->dns, &l->q, site->name, DNS_MX)) {
		free(l);
		return false;
	}
	l->next = mx->first;
	l->at = &mx->first;
	if (l->next)
		l->next->at = &l->next;
	mx->first = l;
	site->unproven++;
	return true;
}
