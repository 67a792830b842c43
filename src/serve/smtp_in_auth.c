/* serve/smtp_in_auth.c -- who a connection is: at AUTH, and at each MAIL still. */
#include "auth/gate.h"
#include "auth/known.h"
#include "base/fault.h"
#include "base/must.h"
#include "loop/tls_peer.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/generation.h"
#include "serve/smtp_in_impl.h"
#include "serve/token.h"
#include "serve/token_turn.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void answer_close(struct conn *c, uint32_t question, int code, const char *enh,
			 struct slice text)
{
	struct smtp_answer a = { .code = code, .enh = enh, .text = text, .close = true };

	smtp_session_answer(c->session, question, &a, &c->out);
}

static void mail_yes(struct conn *c, uint32_t question, const struct smtp_path *path,
		     const struct smtp_mail_params *params)
{
	smtp_in_drop(c);
	c->tx = tx_new(c->home, c->door->generation, c->who.account, slice_str(c->who.key_id));
	if (!c->tx || !tx_mail(c->tx, path, params)) {
		smtp_in_drop(c);
		smtp_in_answer(c, question, 451, "4.3.0", S("Out of memory, try again later"));
		return;
	}
	c->tx->conn = c->ref;
	smtp_in_answer(c, question, 250, "2.1.0", SMTP_TEXT_MAIL);
}

/* The store has changed since this principal was looked up: is the key still what it was? The
 * path under question stays valid in the session until the question is closed. */
struct recheck {
	struct job job;
	struct home *home;
	struct ref conn;
	uint32_t question;
	struct principal who, now;
	char client[NET_TEXT];
	struct auth_finding finding;
	bool ok;
	uint64_t now_ms;
	struct smtp_path path;
	struct smtp_mail_params params;
};

static void recheck_run(struct job *job, void *store)
{
	struct recheck *r = (struct recheck *)(void *)job;

	r->ok = auth_recheck(store, &r->who, slice_str(r->client), r->now_ms, &r->now, &r->finding,
			     NULL);
}

/* The reply for an answer of auth/: its text, with our link where it has one. */
static void answer_auth(struct conn *c, uint32_t question, enum auth_answer a, bool close)
{
	const struct auth_text *t = auth_text(a);
	struct smtp_answer reply = { .code = (int)t->code, .enh = t->enhanced.p, .close = close };
	struct buf text;

	buf_init(&text, SMTP_TEXT_MAX);
	auth_add_text(a, c->door->generation->conf->links.basic_auth, &text);
	reply.text = buf_slice(&text);
	smtp_session_answer(c->session, question, &reply, &c->out);
	buf_done(&text);
}

/* It may not send any more, or nobody can say. */
static void withdraw(struct conn *c, uint32_t question, enum auth_reason why)
{
	enum auth_answer a = auth_answer(why);

	metrics_add(M_WITHDRAWN, metrics_word(LABEL_LOGIN, slice_str(auth_reason_name(why))), 0, 1);
	log_event(LOG_AUTHENTICATION, F_STR("client", c->address), F_SOME("via", c->via),
		  F_CSTR("key", c->who.key_id), F_U64("account", c->who.account),
		  F_CSTR("result", "withdrawn"), F_CSTR("reason", auth_reason_name(why)));
	answer_auth(c, question, a, a != AUTH_LATER);
}

static void recheck_done(struct job *job)
{
	struct recheck *r = (struct recheck *)(void *)job;
	struct conn *c = smtp_in_conn(r->home, r->conn);

	if (c && r->ok) {
		c->who = r->now;
		mail_yes(c, r->question, &r->path, &r->params);
	} else if (c) {
		withdraw(c, r->question, r->finding.reason);
	}
	if (c)
		smtp_in_pump(c);
	free(r);
}

void smtp_in_ask_mail(struct conn *c, const struct smtp_event *ev)
{
	struct server *s = c->home->server;
	struct recheck *r;

	if (smtp_in_closed(s)) {
		smtp_in_answer(c, ev->question, 451, "4.3.0",
			       S("Cannot store messages now, try again later"));
		return;
	}
	/* Taken out of the configuration, it vouches for nobody any more. */
	if (c->who.issuer && !issuers_have(c->home->now->issuers, c->who.issuer)) {
		withdraw(c, ev->question, REASON_TOKEN_ISSUER);
		return;
	}
	if (!auth_stale(&c->who, store_generation(s->store), clock_wall_ms())) {
		mail_yes(c, ev->question, ev->path, ev->mail);
		return;
	}
	r = calloc(1, sizeof *r);
	if (r) {
		*r = (struct recheck){
			.job = { .run = recheck_run, .done = recheck_done, .home = c->home->loop },
			.home = c->home,
			.conn = c->ref,
			.question = ev->question,
			.who = c->who,
			.now_ms = clock_wall_ms(),
			.path = *ev->path,
			.params = *ev->mail
		};
		snprintf(r->client, sizeof r->client, "%.*s", SLICE_ARG(c->address));
		if (lane_post(s->work, &r->job))
			return;
		free(r);
	}
	smtp_in_answer(c, ev->question, 451, "4.3.2", S("Too busy, try again later"));
}

#define IDENTITIES_MAX 17

struct login {
	struct job job;
	struct home *home;
	struct ref conn;
	uint32_t question;
	struct auth_attempt attempt; /* slices into text */
	unsigned char digest[SASL_DIGEST_MD5];
	struct slice identities[IDENTITIES_MAX];
	struct token_case token; /* AUTH_BY_TOKEN */
	bool asks;               /* its issuer has to be asked */
	uint64_t serial[2];      /* no other login of this process has it */
	bool ok;
	struct principal who;
	struct auth_finding finding;
	struct turn turn;
	struct token_turn asking;
	struct conn *of; /* while its answer waits */
	struct loop_timer late;
	size_t size; /* of all */
	size_t text_n;
	char text[];
};

static void login_run(struct job *job, void *store)
{
	struct login *l = (struct login *)(void *)job;
	struct auth_attempt *a = &l->attempt;

	if (FAULT("slow_login"))
		usleep(200000);
	if (a->by == AUTH_BY_TOKEN && a->fault == REASON_OK) {
		a->now_ms = clock_wall_ms(); /* it may have waited */
		l->asks = !token_case_judge(&l->token, a->password, a->now_ms);
		if (l->asks)
			return;
		a->fault = l->token.fault;
		a->identities = l->token.identities;
		a->n_identities = l->token.n_identities;
		a->issuer = l->token.issuer;
		a->ends_ms = l->token.ends_ms;
	}
	l->ok = auth_login(store, a, &l->who, &l->finding, NULL);
}

static void login_free(struct login *l)
{
	token_case_done(&l->token);
	explicit_bzero(l, l->size);
	free(l);
}

static void log_login(struct conn *c, const struct login *l)
{
	struct stream_tls tls = stream_tls_info(&c->stream);

	metrics_add(M_LOGINS, metrics_word(LABEL_MECHANISM, l->attempt.mechanism),
		    metrics_word(LABEL_LOGIN, slice_str(auth_reason_name(l->finding.reason))), 1);
	log_event(LOG_AUTHENTICATION, F_STR("client", c->address), F_SOME("via", c->via),
		  F_STR("listener", c->door->name), F_STR("mechanism", l->attempt.mechanism),
		  F_CSTR("key", l->finding.key_id), F_U64("account", l->finding.account),
		  F_STR("tls", tls.version), F_STR("cipher", tls.cipher),
		  F_CSTR("result", l->ok ? "ok" : "failed"),
		  F_CSTR("reason", auth_reason_name(l->finding.reason)));
}

/* Answers, and frees it. */
static void decided(struct conn *c, struct login *l)
{
	struct server *s = l->home->server;

	/* Let in before, and never took the last word of that exchange. */
	if (c->counted_account)
		tally_drop(s->accounts, slice(&c->who.account, sizeof c->who.account));
	c->counted_account = false;
	MUST(l->ok == (l->finding.reason == REASON_OK));
	if (!l->ok) {
		c->failed |= auth_answer(l->finding.reason) != AUTH_LATER;
		answer_auth(c, l->question, auth_answer(l->finding.reason), false);
	} else if (!tally_add(s->accounts, slice(&l->who.account, sizeof l->who.account),
			      c->door->generation->conf->limits.connections_per_account)) {
		answer_close(c, l->question, 454, "4.7.0",
			     S("Too many connections of this account"));
	} else {
		c->counted_account = true;
		c->who = l->who;
		places_keep(c->home->server->places, &c->place);
		answer_auth(c, l->question, AUTH_OK, false);
	}
	login_free(l);
}

/* -- the guard: the log, and how late the answer is -- */

static struct authlog_entry entry_of(const struct conn *c, struct slice mechanism,
				     struct slice identity, const char *key_id, uint64_t account)
{
	struct stream_tls tls = stream_tls_info(&c->stream);
	struct authlog_entry e = { .account = account };

	authlog_text(e.door, sizeof e.door, c->door->name);
	authlog_text(e.address, sizeof e.address, c->address);
	authlog_text(e.tls, sizeof e.tls, tls.version);
	authlog_text(e.cipher, sizeof e.cipher, tls.cipher);
	authlog_text(e.mechanism, sizeof e.mechanism, mechanism);
	authlog_claim(e.identity, sizeof e.identity, identity);
	authlog_text(e.key_id, sizeof e.key_id, slice_str(key_id));
	authlog_claim(e.name, sizeof e.name, smtp_session_helo(c->session));
	return e;
}

/* What is the same when the same is tried again. A proof never is: each one counts. */
static struct slice tried(const struct login *l)
{
	switch (l->attempt.by) {
	case AUTH_BY_PASSWORD:
	case AUTH_BY_TOKEN: return l->attempt.password.bytes;
	case AUTH_BY_CERTIFICATE: return l->identities[0];
	case AUTH_BY_PROOF:
	case AUTH_BY_CRAM_MD5: break;
	}
	return slice(l->serial, sizeof l->serial);
}

static uint64_t delay_of(struct conn *c, const struct login *l)
{
	const struct auth_attempt *a = &l->attempt;
	/* Who says no name is the one that the token speaks of. */
	struct slice name = !a->username.n && a->by == AUTH_BY_TOKEN && a->n_identities
				? a->identities[0]
				: a->username;
	struct authlog_entry e =
	    entry_of(c, a->mechanism, name, l->finding.key_id, l->finding.account);
	struct gate_attempt g = { .who.identity = a->username,
				  .secret = tried(l),
				  .reason = l->finding.reason,
				  .spared = c->spared,
				  .entry = &e };
	struct gate_verdict v;

	if (!c->home->server->gate || !net_address(c->address, g.who.address))
		return 0;
	/* Who is "apikey" is everybody: the key's id is whom it is about. */
	if (l->finding.key_id[0])
		g.who.identity = slice_str(l->finding.key_id);
	else if (slice_eq(a->username, S("apikey")))
		g.who.identity = S("");
	v = gate_decided(c->home->server->gate, &g, a->now_ms);
	if (v.banned)
		log_event(LOG_BANNED, F_STR("client", c->address), F_STR("listener", c->door->name),
			  F_CSTR("reason", v.ban.reason),
			  F_U64("seconds", (v.ban.until_ms - v.ban.began_ms) / 1000));
	return v.delay_ms;
}

static void on_late(void *arg)
{
	struct login *l = arg;
	struct conn *c = l->of;

	c->late = NULL;
	decided(c, l);
	smtp_in_pump(c);
}

/* Logged now, answered when it is time. True: it is answered. */
static bool judged(struct conn *c, struct login *l)
{
	uint64_t delay_ms = delay_of(c, l);

	log_login(c, l);

	if (!delay_ms) {
		decided(c, l);
		return true;
	}
	MUST(!c->late);
	l->of = c;
	c->late = l;
	loop_timer_init(&l->late, c->home->loop, on_late, l);
	loop_timer_set(&l->late, delay_ms);
	return false;
}

void smtp_in_forget_login(struct conn *c)
{
	struct login *l = c->asks;

	/* What a worker has comes back, and is freed then. */
	c->asks = NULL;
	if (l && token_turn_leave(c->home->server->token_turns, &l->asking))
		login_free(l);
	l = c->late;
	c->late = NULL;
	if (l) {
		loop_timer_cancel(&l->late);
		login_free(l);
	}
}

/* Who waits together: an address, or a /64 (what one customer has, RFC 6177). */
static void source_of(struct slice client, unsigned char ret[16])
{
	static const unsigned char v4[12] = { [10] = 0xff, 0xff };

	memset(ret, 0, 16);
	if (net_address(client, ret) && memcmp(ret, v4, sizeof v4))
		memset(ret + 8, 0, 8);
}

/* Once more where it may wait for the issuer, when it is its turn. */
static void ask_issuer(struct conn *c, struct login *l)
{
	struct fair_item *i = &l->asking.item;

	l->asks = false;
	l->finding.reason = REASON_ISSUER_BUSY; /* if there is no room */
	source_of(c->address, i->source);
	i->target = l->token.ask;
	i->target_max = l->token.at_once;
	i->rank = c->trusted ? 0 : c->failed ? 2 : 1;
	c->asks = l;
	token_turn_post(l->home->server->token_turns, &l->asking, &l->job);
}

static void login_done(struct job *job)
{
	struct login *l = (struct login *)(void *)job;
	struct conn *c = smtp_in_conn(l->home, l->conn);

	smtp_in_turn_over(l->home, &l->turn);
	if (c)
		c->asks = NULL;
	if (l->attempt.by == AUTH_BY_TOKEN)
		token_turn_over(l->home->server->token_turns, &l->asking);
	if (c && l->asks) {
		ask_issuer(c, l);
		return;
	}
	if (l->ok)
		auth_known_put(l->home->logins, &l->attempt, &l->who);
	if (!c) {
		login_free(l);
		return;
	}
	if (judged(c, l))
		smtp_in_pump(c);
}

/* The same login as one that was right, and nothing has changed since: no need for a worker. */
static bool known(struct login *l)
{
	l->ok = auth_known_get(l->home->logins, &l->attempt,
			       store_generation(l->home->server->store), &l->who);
	if (l->ok) {
		l->finding.reason = REASON_OK;
		l->finding.account = l->who.account;
		memcpy(l->finding.key_id, l->who.key_id, sizeof l->finding.key_id);
	}
	return l->ok;
}

static struct slice keep(struct login *l, struct slice s)
{
	struct slice kept = slice(l->text + l->text_n, s.n);

	if (s.n) /* what a mechanism does not have points nowhere */
		memcpy(l->text + l->text_n, s.p, s.n);
	l->text_n += s.n;
	return kept;
}

static enum auth_by by_of(enum sasl_by by)
{
	switch (by) {
	case SASL_BY_PROOF: return AUTH_BY_PROOF;
	case SASL_BY_HMAC: return AUTH_BY_CRAM_MD5;
	case SASL_BY_TOKEN: return AUTH_BY_TOKEN;
	case SASL_BY_TLS: return AUTH_BY_CERTIFICATE;
	case SASL_BY_PASSWORD: break;
	}
	return AUTH_BY_PASSWORD;
}

static enum auth_reason fault_of(enum sasl_fault fault)
{
	switch (fault) {
	case SASL_FAULT_PROOF: return REASON_WRONG_SECRET;
	case SASL_FAULT_BINDING: return REASON_BINDING;
	case SASL_FAULT_BINDING_TYPE: return REASON_BINDING_TYPE;
	case SASL_FAULT_DOWNGRADE: return REASON_DOWNGRADE;
	case SASL_FAULT_NONCE: return REASON_BAD_NONCE;
	case SASL_FAULT_NONE: break;
	}
	return REASON_OK;
}

/* What the worker needs of the request, which ends with the question. NULL: no memory. */
static struct login *login_new(struct conn *c, const struct smtp_event *ev, struct slice identities)
{
	const struct sasl_request *q = ev->auth;
	size_t size = sizeof(struct login) + q->authzid.n + q->authcid.n + q->password.bytes.n +
		      q->challenge.n + c->address.n + identities.n;
	struct login *l = calloc(1, size);
	struct auth_attempt *a;
	size_t n = 0;

	if (!l)
		return NULL;
	l->serial[0] = c->home->index;
	l->serial[1] = c->home->smtp_in->logins++;
	a = &l->attempt;
	l->size = size;
	l->job = (struct job){ .run = login_run, .done = login_done, .home = c->home->loop };
	l->home = c->home;
	l->conn = c->ref;
	l->question = ev->question;
	l->finding.reason = REASON_STORE_DOWN; /* until somebody has decided */
	memcpy(l->digest, q->digest, sizeof l->digest);
	a->mechanism = q->mechanism; /* static */
	a->by = by_of(q->by);
	a->username = keep(l, q->authcid);
	a->authzid = keep(l, q->authzid);
	a->password = secret(keep(l, q->password.bytes));
	a->fault = fault_of(q->fault);
	a->challenge = keep(l, q->challenge);
	a->digest = l->digest;
	a->keyring = c->home->server->keyring;
	a->client = keep(l, c->address);
	a->now_ms = clock_wall_ms();
	identities = keep(l, identities);
	while (identities.n && n < IDENTITIES_MAX)
		slice_cut(identities, ' ', &l->identities[n++], &identities);
	a->identities = l->identities;
	a->n_identities = n;
	if (a->by == AUTH_BY_TOKEN) {
		/* Not the door's: an issuer that was taken out counts no more, however old the
		 * connection. */
		token_case_init(&l->token, c->home->now);
		if (!token_is_for_us(c->door->generation, q->host, q->port))
			a->fault = REASON_OTHER_HOST;
	}
	return l;
}

void smtp_in_ask_auth(struct conn *c, const struct smtp_event *ev)
{
	struct buf identities;
	struct login *l;

	buf_init(&identities, 16384);
	if (ev->auth->by == SASL_BY_TLS)
		tls_identities(&c->stream, &identities);
	l = identities.failed ? NULL : login_new(c, ev, buf_slice(&identities));
	buf_done(&identities);
	if (l) {
		if (known(l)) {
			judged(c, l);
			return;
		}
		if (smtp_in_post(c, &l->turn, &l->job))
			return;
		login_free(l);
	}
	smtp_in_answer(c, ev->question, 454, "4.7.0", S("Temporary authentication failure"));
}
