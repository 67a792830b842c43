/* serve/smtp_in_sasl.c -- what an exchange needs and the session cannot know: unguessable bytes,
 * what is kept of a key, what TLS can be bound to. */
#include "base/b64.h"
#include "base/must.h"
#include "loop/tls_peer.h"
#include "ops/clock.h"
#include "serve/smtp_in_impl.h"

#include <stdlib.h>

#define NONCE_BYTES 18

void smtp_in_peer(struct conn *c)
{
	uint32_t all = c->door->session.mechanisms;
	unsigned char data[TLS_END_POINT_MAX];
	struct smtp_peer peer = { 0 };
	size_t n;

	/* The usual door has neither. */
	if (!(all & (SASL_BIT(SASL_SCRAM_SHA_256_PLUS) | SASL_BIT(SASL_EXTERNAL))))
		return;
	peer.binds = tls_exporter(&c->stream, data) ||
		     (c->door->bind_end_point && tls_end_point(&c->stream, data, &n));
	peer.certificate = tls_has_certificate(&c->stream);
	explicit_bzero(data, sizeof data);
	smtp_session_peer(c->session, &peer);
}

/* Hands over all there is. */
static void supply(struct conn *c, uint32_t question, const struct sasl_verifier *v)
{
	unsigned char random[NONCE_BYTES], exporter[TLS_EXPORTER], end_point[TLS_END_POINT_MAX];
	struct sasl_supply s = { .hostname = c->door->session.hostname,
				 .now_ms = clock_wall_ms(),
				 .verifier = v,
				 .plus_offered = smtp_session_offer(c->session) &
						 SASL_BIT(SASL_SCRAM_SHA_256_PLUS) };
	struct buf nonce;
	size_t n;

	buf_init(&nonce, B64_LEN(NONCE_BYTES));
	home_random(c->home, random, sizeof random);
	b64_encode(&nonce, slice(random, sizeof random));
	s.nonce = buf_slice(&nonce);
	if (tls_exporter(&c->stream, exporter))
		s.exporter = slice(exporter, sizeof exporter);
	if (c->door->bind_end_point && tls_end_point(&c->stream, end_point, &n))
		s.end_point = slice(end_point, n);
	if (nonce.failed)
		smtp_in_answer(c, question, 454, "4.7.0", S("Temporary authentication failure"));
	else
		smtp_session_supply(c->session, question, &s, &c->out);
	explicit_bzero(exporter, sizeof exporter);
	buf_done(&nonce);
}

/* Looks up what is kept of a key. */
struct lookup {
	struct job job;
	struct home *home;
	struct ref conn;
	uint32_t question;
	struct turn turn;
	size_t name_n;
	char name[SASL_FIELD_MAX];
	bool ok;
	struct auth_verifier found;
};

static void lookup_run(struct job *job, void *store)
{
	struct lookup *l = (struct lookup *)(void *)job;

	l->ok = auth_verifier(store, l->home->server->nobodys, slice(l->name, l->name_n), &l->found,
			      NULL);
}

static void lookup_free(struct lookup *l)
{
	digest_wipe(l, sizeof *l);
	free(l);
}

static struct sasl_verifier verifier_of(const struct auth_verifier *from)
{
	const struct key_scram *k = &from->scram;
	struct sasl_verifier v = { .salt = slice(k->salt, sizeof k->salt),
				   .rounds = k->rounds,
				   .nobodys = from->nobodys };

	_Static_assert(SCRAM_ROUNDS >= SASL_ROUNDS_MIN, "what is kept is good enough");
	memcpy(v.stored_key, k->stored_key, sizeof v.stored_key);
	memcpy(v.server_key, k->server_key, sizeof v.server_key);
	return v;
}

static void lookup_done(struct job *job)
{
	struct lookup *l = (struct lookup *)(void *)job;
	struct conn *c = smtp_in_conn(l->home, l->conn);

	smtp_in_turn_over(l->home, &l->turn);
	if (c && l->ok) {
		struct sasl_verifier v = verifier_of(&l->found);

		supply(c, l->question, &v);
		explicit_bzero(&v, sizeof v);
	} else if (c) {
		smtp_in_answer(c, l->question, 454, "4.7.0", S("Temporary authentication failure"));
	}
	lookup_free(l);
	if (c)
		smtp_in_pump(c);
}

void smtp_in_ask_sasl(struct conn *c, const struct smtp_event *ev)
{
	const struct sasl_request *q = ev->auth;
	struct lookup *l;

	if (q->by != SASL_BY_PROOF) {
		supply(c, ev->question, NULL);
		return;
	}
	l = calloc(1, sizeof *l);
	if (l) {
		MUST(q->authcid.n <= sizeof l->name);
		l->job =
		    (struct job){ .run = lookup_run, .done = lookup_done, .home = c->home->loop };
		l->home = c->home;
		l->conn = c->ref;
		l->question = ev->question;
		l->name_n = q->authcid.n;
		memcpy(l->name, q->authcid.p, l->name_n);
		if (smtp_in_post(c, &l->turn, &l->job))
			return;
		lookup_free(l);
	}
	smtp_in_answer(c, ev->question, 454, "4.7.0", S("Temporary authentication failure"));
}
