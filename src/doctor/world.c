/* doctor/world.c -- the world outside: names, our own name, and where mail goes. */
#include "doctor/doctor_impl.h"

#include "base/buf.h"
#include "dns/dns.h"
#include "issuer/issuer.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MS     10000
#define ADDRESSES_MAX 8

static bool has_mx(const struct conf *c)
{
	for (size_t i = 0; i < c->n_routes; i++)
		if (slice_eq(c->routes[i].type, S("mx")))
			return true;
	return false;
}

/* -- the name service -- */

struct asking {
	struct dns_query query;
	struct loop *loop;
	struct doctor *d;
	bool mx;
};

static void answered(struct dns_query *q, const struct dns_answer *a)
{
	struct asking *s = (struct asking *)(void *)((char *)q - offsetof(struct asking, query));

	if (a->state == DNS_FOUND && a->secure)
		tell(s->d, LEVEL_OK, "dns", NULL, "answers come, and are validated");
	else if (a->state == DNS_FOUND)
		tell(s->d, LEVEL_WARN, "dns",
		     "name a resolver that passes DNSSEC on in dns.forward, or set dns.recursive",
		     "answers come, and cannot be validated: no DANE");
	else if (a->bogus)
		tell(s->d, LEVEL_FAIL, "dns",
		     "look at the clock, the trust anchor and the resolver",
		     "answers come, and are not to be believed: %.*s", SLICE_ARG(a->why));
	else
		tell(s->d, s->mx ? LEVEL_FAIL : LEVEL_SKIP, "dns",
		     s->mx ? "mail by MX waits until it is back" : NULL, "no answer comes: %.*s",
		     SLICE_ARG(a->why));
	loop_stop(s->loop);
}

void check_dns(struct doctor *d)
{
	const struct conf *c = d->conf;
	struct dns_conf dc = { .forward = c->dns.forward.at,
			       .n_forward = c->dns.forward.n,
			       .recursive = slice_eq(c->dns.recursive, S("yes")),
			       .trust_anchor = c->dns.trust_anchor,
			       .insecure = c->dns.insecure.at,
			       .n_insecure = c->dns.insecure.n,
			       .timeout_ms =
				   c->dns.timeout < ANSWER_MS ? c->dns.timeout : ANSWER_MS };
	struct asking s = { .query.done = answered, .d = d, .mx = has_mx(c) };
	struct err e = { 0 };
	struct dns *dns = NULL;

	s.loop = loop_new(&e);
	dns = s.loop ? dns_new(s.loop, &dc, &e) : NULL;
	if (!dns) {
		tell(d, LEVEL_FAIL, "dns", NULL, "%s", e.text);
	} else {
		if (dns_unvalidated(dns))
			tell(d, LEVEL_WARN, "dns", "install dns-root-data, or set dns.trust_anchor",
			     "nothing is validated: %s", dns_unvalidated(dns));
		if (dns_ask(dns, &s.query, S("."), DNS_NS))
			loop_run(s.loop);
	}
	dns_free(dns);
	loop_free(s.loop);
}

/* -- our name -- */

static bool is_ours(const struct sockaddr *a)
{
	struct ifaddrs *list = NULL, *i;
	bool found = false;

	if (getifaddrs(&list))
		return true; /* nobody knows */
	for (i = list; i && !found; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != a->sa_family)
			continue;
		if (a->sa_family == AF_INET)
			found = !memcmp(
			    &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr,
			    &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
		else if (a->sa_family == AF_INET6)
			found = !memcmp(
			    &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr,
			    &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, 16);
	}
	freeifaddrs(list);
	return found;
}

/* Receivers look up the name of the address that calls, and that name's address (RFC 1912 2.1). */
static void judge_address(struct doctor *d, const struct addrinfo *a, const char *host,
			  enum level bad)
{
	char name[NI_MAXHOST], number[64];
	int rc;

	if (getnameinfo(a->ai_addr, a->ai_addrlen, number, sizeof number, NULL, 0, NI_NUMERICHOST))
		return;
	if (!is_ours(a->ai_addr))
		tell(d, LEVEL_WARN, "hostname", "fine behind NAT; else let the name lead here",
		     "%s has the address %s, which is none of this machine's", host, number);
	rc = getnameinfo(a->ai_addr, a->ai_addrlen, name, sizeof name, NULL, 0, NI_NAMEREQD);
	if (rc == EAI_AGAIN)
		tell(d, LEVEL_SKIP, "reverse", NULL, "%s: the name service does not answer",
		     number);
	else if (rc)
		tell(d, bad, "reverse", "ask whoever gave you the address for a PTR record",
		     "%s has no name: many receivers refuse it", number);
	else if (!slice_ieq(slice_str(name), slice_str(host)))
		tell(d, bad, "reverse", "let the PTR record name our hostname",
		     "%s is called %s, we say that we are %s", number, name, host);
	else
		tell(d, LEVEL_OK, "reverse", NULL, "%s is called %s", number, name);
}

void check_hostname(struct doctor *d)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	enum level bad = has_mx(d->conf) ? LEVEL_FAIL : LEVEL_SKIP;
	char host[256];
	int rc, n = 0;

	snprintf(host, sizeof host, "%.*s", SLICE_ARG(d->conf->hostname));
	rc = getaddrinfo(host, NULL, &hints, &list);
	if (rc == EAI_AGAIN) {
		tell(d, LEVEL_SKIP, "hostname", NULL, "the name service does not answer");
		return;
	}
	if (rc) {
		tell(d, bad == LEVEL_FAIL ? LEVEL_FAIL : LEVEL_WARN, "hostname",
		     "make an A or AAAA record", "%s: %s", host, gai_strerror(rc));
		return;
	}
	tell(d, LEVEL_OK, "hostname", NULL, "%s has an address", host);
	for (struct addrinfo *a = list; a && n++ < ADDRESSES_MAX; a = a->ai_next)
		judge_address(d, a, host, bad);
	freeaddrinfo(list);
}

/* -- routes -- */

static bool verified(struct slice tls)
{
	return slice_ends(tls, S("-verify"));
}

/* False has been told. */
static bool secured(struct doctor *d, const struct conf_route *r, struct talk *t)
{
	bool at_once = slice_starts(r->tls, S("implicit")), may = slice_eq(r->tls, S("may"));
	struct err e = { 0 };

	if (slice_eq(r->tls, S("none")) || (may && !talk_offers(t, "STARTTLS")))
		return true;
	if (!at_once && !talk_offers(t, "STARTTLS")) {
		tell(d, LEVEL_FAIL, "route",
		     "mail waits: the host must offer it, or tls be changed",
		     "%.*s: %.*s offers no STARTTLS", SLICE_ARG(r->name), SLICE_ARG(r->host));
		return false;
	}
	if (!at_once && (talk_say(t, "STARTTLS") != 220 || !talk_tls(t, r->host, r->ca_file, &e))) {
		tell(d, LEVEL_FAIL, "route", NULL, "%.*s: STARTTLS: %s", SLICE_ARG(r->name),
		     e.text[0] ? e.text : talk_text(t));
		return false;
	}
	if (verified(r->tls) && !talk_verified(t)) {
		tell(d, LEVEL_FAIL, "route", "mail waits: see ca_file, and the name in `host`",
		     "%.*s: the certificate of %.*s is not to be trusted", SLICE_ARG(r->name),
		     SLICE_ARG(r->host));
		return false;
	}
	return at_once || talk_say(t, "EHLO %.*s", SLICE_ARG(d->conf->hostname)) == 250;
}

static void look_at_host(struct doctor *d, const struct conf_route *r)
{
	struct err e = { 0 };
	struct talk *t = talk_open_host(r->host, (unsigned)r->port, ANSWER_MS, &e);
	bool at_once = slice_starts(r->tls, S("implicit"));

	if (!t)
		tell(d, LEVEL_FAIL, "route", "mail waits until it is reached",
		     "%.*s: %.*s:%llu: %s", SLICE_ARG(r->name), SLICE_ARG(r->host),
		     (unsigned long long)r->port, e.text);
	else if (at_once && !talk_tls(t, r->host, r->ca_file, &e))
		tell(d, LEVEL_FAIL, "route", NULL, "%.*s: TLS: %s", SLICE_ARG(r->name), e.text);
	else if (talk_reply(t) != 220 ||
		 talk_say(t, "EHLO %.*s", SLICE_ARG(d->conf->hostname)) != 250)
		tell(d, LEVEL_FAIL, "route", NULL, "%.*s: %.*s does not take us: %s",
		     SLICE_ARG(r->name), SLICE_ARG(r->host), talk_text(t));
	else if (secured(d, r, t)) {
		if (r->user.n && !talk_offers(t, "AUTH"))
			tell(d, LEVEL_FAIL, "route",
			     "leave `user` empty, or use its submission port",
			     "%.*s: %.*s offers no AUTH", SLICE_ARG(r->name), SLICE_ARG(r->host));
		else
			tell(d, LEVEL_OK, "route", NULL, "%.*s: %.*s answers%s", SLICE_ARG(r->name),
			     SLICE_ARG(r->host),
			     verified(r->tls) ? ", and is who it should be" : "");
		(void)talk_say(t, "QUIT");
	}
	talk_close(t);
}

static void look_at_port_25(struct doctor *d, const struct conf_route *r)
{
	struct err e = { 0 };
	struct talk *t;

	if (!d->probe) {
		tell(d, LEVEL_SKIP, "route", "signet doctor --host MAIL.SERVER tries one",
		     "%.*s: port 25 of strangers is not tried unasked", SLICE_ARG(r->name));
		return;
	}
	t = talk_open_host(slice_str(d->probe), 25, ANSWER_MS, &e);
	if (!t)
		tell(d, LEVEL_FAIL, "route",
		     "many providers close port 25: ask yours, or use a smart host",
		     "%.*s: %s port 25: %s", SLICE_ARG(r->name), d->probe, e.text);
	else if (talk_reply(t) != 220)
		tell(d, LEVEL_WARN, "route", NULL, "%.*s: %s greets with: %s", SLICE_ARG(r->name),
		     d->probe, talk_text(t));
	else
		tell(d, LEVEL_OK, "route", NULL, "%.*s: port 25 is open: %s answers",
		     SLICE_ARG(r->name), d->probe);
	if (t)
		(void)talk_say(t, "QUIT");
	talk_close(t);
}

void check_routes(struct doctor *d)
{
	const struct conf *c = d->conf;

	if (!c->n_routes)
		tell(d, LEVEL_WARN, "route", "make one",
		     "there is none: every recipient is refused");
	for (size_t i = 0; i < c->n_routes; i++) {
		const struct conf_route *r = &c->routes[i];

		if (slice_eq(r->type, S("smarthost")))
			look_at_host(d, r);
		else if (slice_eq(r->type, S("mx")))
			look_at_port_25(d, r);
		else
			tell(d, LEVEL_OK, "route", NULL, "%.*s: captures mail in %.*s",
			     SLICE_ARG(r->name), SLICE_ARG(r->path));
	}
}

/* -- issuers -- */

void check_issuers(struct doctor *d)
{
	const struct conf *c = d->conf;
	struct err e = { 0 };
	struct issuers *all = c->n_issuers ? issuers_new(c, NULL, &e) : NULL;
	size_t keys;

	if (c->n_issuers && !all)
		tell(d, LEVEL_FAIL, "issuer", NULL, "%s", e.text);
	for (size_t i = 0; all && i < c->n_issuers; i++) {
		struct slice name = c->issuers[i].name;

		e = (struct err){ 0 };
		if (!issuers_check(all, i, &keys, &e))
			tell(d, LEVEL_FAIL, "issuer", "its tokens get 454 until it answers",
			     "%.*s: %s", SLICE_ARG(name), e.text);
		else if (slice_eq(c->issuers[i].kind, S("jwt")))
			tell(d, LEVEL_OK, "issuer", NULL, "%.*s publishes %zu keys",
			     SLICE_ARG(name), keys);
		else
			tell(d, LEVEL_OK, "issuer", NULL, "%.*s answers us about tokens",
			     SLICE_ARG(name));
	}
	issuers_free(all);
}
