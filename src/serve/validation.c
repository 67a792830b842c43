#include "serve/validation.h"

#include "dns/dns.h"
#include "ops/log.h"
#include "serve/generation.h"
#include "serve/server.h"

#include <stdio.h>
#include <stdlib.h>

/* Asked again after so long. */
#define WORKS_MS   3600000
#define BROKEN_MS  300000
#define UNKNOWN_MS 60000

struct validation {
	struct home *home;
	struct dns_query q;
	struct loop_timer timer;
	char state[300];
};

static void ask(void *arg);

/* Said in the log when it is first known, and whenever it has changed. */
static void conclude(struct validation *v, const char *word, struct slice why, uint64_t again_ms)
{
	char state[sizeof v->state];

	snprintf(state, sizeof state, "%s%s%.*s", word, why.n ? ": " : "",
		 why.n < 250 ? (int)why.n : 250, why.n ? why.p : "");
	if (strcmp(state, v->state)) {
		memcpy(v->state, state, sizeof state);
		log_event(LOG_DNS, F_CSTR("validation", word), F_STR("why", why));
	}
	loop_timer_set(&v->timer, again_ms);
}

static void on_answer(struct dns_query *q, const struct dns_answer *a)
{
	struct validation *v =
	    (struct validation *)(void *)((char *)q - offsetof(struct validation, q));

	if (a->secure)
		conclude(v, "works", S(""), WORKS_MS);
	else if (a->bogus)
		/* What is signed is not delivered to now: better late than to whoever said so. */
		conclude(v, "broken",
			 S("the resolver's answers do not validate, mail to signed domains waits; "
			   "see dns.forward and dns.trust_anchor"),
			 BROKEN_MS);
	else if (a->state == DNS_TROUBLE)
		conclude(v, "unknown", a->why, UNKNOWN_MS);
	else
		conclude(v, "broken", S("the root counts as unsigned; see dns.trust_anchor"),
			 BROKEN_MS);
}

static bool by_mx(const struct routes *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->at[i].type == ROUTE_MX)
			return true;
	return false;
}

/* Also to see whether a reload brought a route that needs it. */
static void ask(void *arg)
{
	struct validation *v = arg;
	const char *off = dns_unvalidated(v->home->server->dns);

	if (!by_mx(&v->home->now->routes)) {
		snprintf(v->state, sizeof v->state, "not asked: no route is of type mx");
		loop_timer_set(&v->timer, UNKNOWN_MS);
	} else if (off) {
		conclude(v, "off", slice_str(off), UNKNOWN_MS);
	} else if (!dns_ask(v->home->server->dns, &v->q, S("."), DNS_NS)) {
		loop_timer_set(&v->timer, UNKNOWN_MS);
	}
}

struct validation *validation_new(struct home *home)
{
	struct validation *v = calloc(1, sizeof *v);

	if (!v)
		return NULL;
	v->home = home;
	v->q.done = on_answer;
	loop_timer_init(&v->timer, home->loop, ask, v);
	loop_timer_set(&v->timer, 0);
	return v;
}

void validation_free(struct validation *v)
{
	if (!v)
		return;
	dns_cancel(&v->q);
	loop_timer_cancel(&v->timer);
	free(v);
}

const char *validation_state(const struct validation *v)
{
	return v->state[0] ? v->state : "unknown: not answered yet";
}
