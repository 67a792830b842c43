/* dns/dns.c -- the only file that knows libunbound. */
#include "dns/dns.h"

#include "dns/rdata.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unbound.h>
#include <unistd.h>

#define CLASS_IN      1
#define TTL_MAX       3600
#define WHY_MAX       200
#define RCODE_NAMED   6
#define RCODE_MISSING 3

struct dns {
	struct loop *loop;
	struct ub_ctx *ctx;
	struct loop_io io;
	bool watched;
	struct dns_query *open;
	size_t n_open;
	uint64_t timeout_ms;
	char unvalidated[240];
};

/* -- what libunbound is told -- */

static bool set(struct ub_ctx *ctx, const char *name, const char *value, struct err *e)
{
	int rc = ub_ctx_set_option(ctx, name, value);

	return !rc || err_set(e, ERR_LATER, "dns: %s %s: %s", name, value, ub_strerror(rc));
}

static bool set_limits(struct ub_ctx *ctx, struct err *e)
{
	static const struct {
		const char *name, *value;
	} options[] = {
		{ "cache-max-ttl:", "3600" },
		{ "cache-max-negative-ttl:", "300" },
		/* A server that did not answer is given another chance soon, not in a quarter of
		 * an hour. */
		{ "infra-host-ttl:", "60" },
		{ "infra-keep-probing:", "yes" },
		{ "outgoing-range:", "1024" },
		{ "num-queries-per-thread:", "1024" },
	};

	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		if (!set(ctx, options[i].name, options[i].value, e))
			return false;
	return true;
}

/* ADDRESS:PORT as libunbound spells it: ADDRESS@PORT. */
static bool forward_to(struct ub_ctx *ctx, struct slice at, struct err *e)
{
	struct slice host, port;
	char text[80];
	int n, rc;

	slice_rcut(at, ':', &host, &port);
	if (host.n > 2 && host.p[0] == '[')
		host = slice(host.p + 1, host.n - 2);
	n = snprintf(text, sizeof text, "%.*s@%.*s", SLICE_ARG(host), SLICE_ARG(port));
	rc = n < (int)sizeof text ? ub_ctx_set_fwd(ctx, text) : UB_SYNTAX;
	return !rc ||
	       err_set(e, ERR_INPUT, "dns: forward: %.*s: %s", SLICE_ARG(at), ub_strerror(rc));
}

static bool choose_servers(struct ub_ctx *ctx, const struct dns_conf *c, struct err *e)
{
	if (!c->n_forward && c->recursive)
		return true;
	/* The resolver next door is often on this machine. */
	if (!set(ctx, "do-not-query-localhost:", "no", e))
		return false;
	for (size_t i = 0; i < c->n_forward; i++)
		if (!forward_to(ctx, c->forward[i], e))
			return false;
	/* Where there is none, the name servers of the world are asked. */
	if (!c->n_forward)
		ub_ctx_resolvconf(ctx, NULL);
	return true;
}

static bool trust(struct dns *d, const struct dns_conf *c, struct err *e)
{
	char path[4096];
	int rc;

	snprintf(path, sizeof path, "%.*s", SLICE_ARG(c->trust_anchor));
	if (!path[0]) {
		snprintf(d->unvalidated, sizeof d->unvalidated, "no trust_anchor is set");
		return true;
	}
	/* Where the package that brings it is missing, mail still goes out. */
	if (access(path, R_OK)) {
		snprintf(d->unvalidated, sizeof d->unvalidated, "%.180s: %s", path,
			 strerror(errno));
		return true;
	}
	rc = ub_ctx_add_ta_file(d->ctx, path);
	return !rc || err_set(e, ERR_INPUT, "dns: trust_anchor: %.150s: %s", path, ub_strerror(rc));
}

/* Names that the world keeps for tests (RFC 6761) are answered without a question: not those that
 * are said to be there. */
static bool except(struct ub_ctx *ctx, struct slice zone, struct err *e)
{
	char name[DNS_NAME_MAX + 2], local[DNS_NAME_MAX + 16];

	if (slice_ends(zone, S(".")))
		zone.n--;
	if (!dns_host_name(zone))
		return err_set(e, ERR_INPUT, "dns: insecure: %.*s is not a domain",
			       zone.n < 100 ? (int)zone.n : 100, zone.p);
	snprintf(name, sizeof name, "%.*s.", SLICE_ARG(zone));
	snprintf(local, sizeof local, "%s transparent", name);
	return set(ctx, "domain-insecure:", name, e) && set(ctx, "local-zone:", local, e);
}

static bool configure(struct dns *d, const struct dns_conf *c, struct err *e)
{
	int rc;

	/* It would write into our log, lines of its own. */
	ub_ctx_debugout(d->ctx, NULL);
	if (!set_limits(d->ctx, e) || !choose_servers(d->ctx, c, e) || !trust(d, c, e))
		return false;
	for (size_t i = 0; i < c->n_insecure; i++)
		if (!except(d->ctx, c->insecure[i], e))
			return false;
	rc = ub_ctx_async(d->ctx, 1);
	return !rc || err_set(e, ERR_LATER, "dns: %s", ub_strerror(rc));
}

static void on_answers(void *arg);

struct dns *dns_new(struct loop *loop, const struct dns_conf *c, struct err *e)
{
	struct dns *d = calloc(1, sizeof *d);

	if (d) {
		d->loop = loop;
		d->timeout_ms = c->timeout_ms;
		d->ctx = ub_ctx_create();
	}
	if (!d || !d->ctx) {
		err_set(e, ERR_LATER, "dns: out of memory");
		free(d);
		return NULL;
	}
	if (!configure(d, c, e)) {
		dns_free(d);
		return NULL;
	}
	return d;
}

void dns_free(struct dns *d)
{
	if (!d)
		return;
	while (d->open)
		dns_cancel(d->open);
	if (d->watched)
		loop_io_done(&d->io);
	ub_ctx_delete(d->ctx);
	free(d);
}

const char *dns_unvalidated(const struct dns *d)
{
	return d->unvalidated[0] ? d->unvalidated : NULL;
}

/* -- questions -- */

static void open_query(struct dns *d, struct dns_query *q)
{
	q->next = d->open;
	q->at = &d->open;
	if (q->next)
		q->next->at = &q->next;
	d->open = q;
	d->n_open++;
}

static void close_query(struct dns_query *q)
{
	*q->at = q->next;
	if (q->next)
		q->next->at = q->at;
	q->at = NULL;
	q->dns->n_open--;
	loop_timer_cancel(&q->timer);
}

void dns_cancel(struct dns_query *q)
{
	if (!q->at)
		return;
	close_query(q);
	if (q->asked)
		ub_cancel(q->dns->ctx, q->number);
}

static void on_timeout(void *arg)
{
	struct dns_query *q = arg;
	struct dns_answer missing = { .state = DNS_NXDOMAIN, .rcode = RCODE_MISSING };
	struct dns_answer late = { .state = DNS_TROUBLE, .why = S("no answer in time") };
	bool asked = q->asked;

	dns_cancel(q);
	q->done(q, asked ? &late : &missing);
}

/* -- answers -- */

/* What a server says that has not gone and asked where it sends us: it proves nothing. libunbound
 * takes it for "no data" when it comes from a server that it forwards to. */
static bool is_referral(const struct ub_result *r)
{
	return !r->rcode && !r->havedata &&
	       dns_refers(slice(r->answer_packet, r->answer_len > 0 ? (size_t)r->answer_len : 0));
}

static struct slice why_text(const struct ub_result *r, char *text, size_t size)
{
	static const char *const names[RCODE_NAMED] = { "NOERROR",  "FORMERR", "SERVFAIL",
							"NXDOMAIN", "NOTIMP",  "REFUSED" };
	const char *name = r->rcode >= 0 && r->rcode < RCODE_NAMED ? names[r->rcode] : NULL;

	if (r->bogus)
		snprintf(text, size, "DNSSEC: %s", r->why_bogus ? r->why_bogus : "bogus");
	else if (is_referral(r))
		snprintf(text, size, "a referral in place of an answer");
	else if (name)
		snprintf(text, size, "%s", name);
	else
		snprintf(text, size, "RCODE %d", r->rcode);
	return slice_str(text);
}

static enum dns_state state_of(const struct ub_result *r)
{
	if (r->bogus)
		return DNS_TROUBLE;
	if (r->rcode != 0 && r->rcode != RCODE_MISSING)
		return DNS_TROUBLE;
	if (is_referral(r))
		return DNS_TROUBLE;
	if (r->nxdomain)
		return DNS_NXDOMAIN;
	return r->havedata ? DNS_FOUND : DNS_NODATA;
}

static size_t take_records(const struct ub_result *r, struct slice records[DNS_RECORDS])
{
	size_t n = 0;

	while (n < DNS_RECORDS && r->data[n]) {
		records[n] = slice(r->data[n], r->len[n] > 0 ? (size_t)r->len[n] : 0);
		n++;
	}
	return n;
}

static void on_result(void *arg, int failed, struct ub_result *r)
{
	struct slice records[DNS_RECORDS];
	struct dns_query *q = arg;
	struct dns_answer a = { .state = DNS_TROUBLE };
	char why[WHY_MAX];

	close_query(q);
	if (failed || !r) {
		a.why = slice_str(ub_strerror(failed));
	} else {
		a.state = state_of(r);
		a.secure = r->secure;
		a.bogus = r->bogus;
		a.rcode = (unsigned)r->rcode;
		a.ttl = r->ttl < 0 ? 0 : r->ttl < TTL_MAX ? (uint32_t)r->ttl : TTL_MAX;
		a.canonical = slice_str(r->canonname);
		a.records = records;
		a.n = a.state == DNS_FOUND ? take_records(r, records) : 0;
		if (a.state == DNS_TROUBLE)
			a.why = why_text(r, why, sizeof why);
	}
	q->done(q, &a);
	ub_resolve_free(r);
}

static void on_answers(void *arg)
{
	struct dns *d = arg;

	ub_process(d->ctx);
}

/* libunbound has its descriptor, and its thread, with the first question. */
static bool watch(struct dns *d)
{
	if (d->watched)
		return true;
	d->watched = loop_io_init(&d->io, d->loop, ub_fd(d->ctx), on_answers, d);
	if (d->watched)
		loop_io_want(&d->io, true, false);
	return d->watched;
}

bool dns_ask(struct dns *d, struct dns_query *q, struct slice name, enum dns_type type)
{
	char text[DNS_NAME_MAX + 2];

	if (d->n_open >= DNS_OPEN || !watch(d))
		return false;
	q->dns = d;
	q->asked = dns_host_name(name) || slice_eq(name, S("."));
	loop_timer_init(&q->timer, d->loop, on_timeout, q);
	if (q->asked) {
		snprintf(text, sizeof text, "%.*s", SLICE_ARG(name));
		if (ub_resolve_async(d->ctx, text, (int)type, CLASS_IN, q, on_result, &q->number))
			return false;
	}
	open_query(d, q);
	loop_timer_set(&q->timer, q->asked ? d->timeout_ms : 0);
	return true;
}
