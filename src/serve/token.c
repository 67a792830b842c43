#include "serve/token.h"

#include "base/must.h"
#include "base/net.h"
#include "loop/tls_certs.h"
#include "serve/generation.h"
#include "serve/server.h"

#include <stdlib.h>

#define TEXT_MAX (TOKEN_IDENTITIES * 2 * KEY_IDENTITY_MAX)

_Static_assert(REASON_TOKEN_TROUBLE - REASON_TOKEN_MALFORMED == TOKEN_TROUBLE - TOKEN_MALFORMED,
	       "one reason for each fault, in the same order");

void token_case_init(struct token_case *c, const struct generation *g)
{
	*c = (struct token_case){ .issuers = issuers_hold(g->issuers) };
	buf_init(&c->text, TEXT_MAX);
}

void token_case_done(struct token_case *c)
{
	issuers_free(c->issuers);
	buf_wipe(&c->text);
	*c = (struct token_case){ 0 };
}

static enum auth_reason reason_of(enum token_fault f)
{
	return f == TOKEN_GOOD ? REASON_OK
			       : (enum auth_reason)(REASON_TOKEN_MALFORMED + (f - TOKEN_MALFORMED));
}

/* "token:ISSUER:CLAIM=VALUE" for each claim that counts and is there. */
static void name_all(struct token_case *c, const struct issuer_verdict *v)
{
	const struct conf_list *claims = &v->issuer->claims;
	size_t begins[TOKEN_IDENTITIES + 1] = { 0 };
	struct slice value;

	MUST(claims->n <= TOKEN_IDENTITIES);
	buf_clear(&c->text);
	buf_room_for(&c->text, TEXT_MAX);
	c->n_identities = 0;
	for (size_t i = 0; i < claims->n; i++) {
		char name[256];

		if (claims->at[i].n >= sizeof name)
			continue;
		memcpy(name, claims->at[i].p, claims->at[i].n);
		name[claims->at[i].n] = '\0';
		if (!token_text(v->token, name, &value))
			continue;
		buf_add(&c->text, S("token:"));
		buf_add(&c->text, v->issuer->name);
		buf_addc(&c->text, ':');
		buf_add(&c->text, claims->at[i]);
		buf_addc(&c->text, '=');
		buf_add(&c->text, value);
		begins[++c->n_identities] = c->text.n;
	}
	if (c->text.failed) {
		c->n_identities = 0;
		c->fault = REASON_TOKEN_TROUBLE;
	}
	for (size_t i = 0; i < c->n_identities; i++)
		c->identities[i] = slice(c->text.p + begins[i], begins[i + 1] - begins[i]);
	c->issuer = v->id;
	c->ends_ms = token_ends_ms(v->token);
	if (c->ends_ms == UINT64_MAX)
		c->ends_ms = 0;
}

bool token_case_judge(struct token_case *c, struct secret token, uint64_t now_ms)
{
	struct issuer_verdict v;

	if (!issuers_count(c->issuers)) {
		c->fault = REASON_NO_ISSUER;
		return true;
	}
	switch (issuers_judge(c->issuers, token.bytes, now_ms, c->ask, &v)) {
	case ISSUER_ASK:
		c->ask = v.ask;
		c->at_once = v.at_once;
		/* What one has said may be forgotten before the last one has spoken; not for ever.
		 */
		if (c->times++ <= issuers_count(c->issuers))
			return false;
		c->fault = REASON_ISSUER_BUSY;
		break;
	case ISSUER_DOWN: c->fault = REASON_ISSUER_DOWN; break;
	case ISSUER_BAD: c->fault = reason_of(v.fault); break;
	case ISSUER_GOOD:
		c->fault = REASON_OK;
		name_all(c, &v);
		break;
	}
	token_free(v.token);
	return true;
}

/* -- whom the client thinks it talks to -- */

static bool port_is_ours(const struct conf *c, uint64_t port)
{
	static const unsigned trade[] = { 25, 465, 587, 2525 };
	unsigned char at[CONF_ADDRESS_BYTES];

	for (size_t i = 0; i < sizeof trade / sizeof *trade; i++)
		if (port == trade[i])
			return true;
	for (size_t i = 0; i < c->n_listeners; i++)
		for (size_t k = 0; k < c->listeners[i].address.n; k++)
			if (conf_address(c->listeners[i].address.at[k], at, NULL) &&
			    port == ((unsigned)at[16] << 8 | at[17]))
				return true;
	return false;
}

bool token_is_for_us(const struct generation *g, struct slice host, struct slice port)
{
	struct slice bare = host;
	unsigned char address[16];
	uint64_t n;

	if (port.n && (!slice_u64(port, &n) || !port_is_ours(g->conf, n)))
		return false;
	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		bare = slice(host.p + 1, host.n - 2);
	/* Ours may be another one behind a translator: an address says little. */
	return !host.n || slice_ieq(host, g->conf->hostname) || tls_certs_bear(g->certs, host) ||
	       net_address(bare, address) || slice_ieq(host, S("localhost"));
}

/* -- keys beforehand -- */

/* One at a time, since it takes a worker for as long as the issuers like. */
struct warm {
	struct job job;
	struct server *server;
	struct issuers *issuers;
};

static void warm_run(struct job *job, void *ctx)
{
	(void)ctx;
	issuers_warm(((struct warm *)(void *)job)->issuers);
}

static void warm_done(struct job *job)
{
	struct warm *w = (struct warm *)(void *)job;
	struct server *s = w->server;

	issuers_free(w->issuers);
	free(w);
	s->warming = false;
	if (s->warm_again)
		token_warm(s, s->homes[0].now);
}

void token_warm(struct server *s, const struct generation *g)
{
	struct warm *w;

	s->warm_again = s->warming;
	if (s->warming || !issuers_count(g->issuers) || !(w = calloc(1, sizeof *w)))
		return;
	s->warming = true;
	w->server = s;
	w->job = (struct job){ .run = warm_run, .done = warm_done, .home = s->homes[0].loop };
	w->issuers = issuers_hold(g->issuers);
	if (lane_post(s->issuers, &w->job))
		return;
	s->warming = false;
	issuers_free(w->issuers);
	free(w);
}
