#include "relay/submit_rig_test.h"

#include <stdlib.h>

static const struct actor by = { { "uid:0", 5 }, 1000 };

void add(struct fix *f, uint64_t account, const char *domain, bool subdomains)
{
	struct domain d;
	struct err e;

	if (!domain_add_verified(f->h, &by, account, slice_str(domain), subdomains, &d, &e))
		fail_msg("%s: %s", domain, e.text);
}

void take_away(struct fix *f, const char *domain)
{
	assert_true(domain_remove(f->h, &by, f->account, slice_str(domain), NULL));
}

int submit_begin(void **state)
{
	static const struct schema *const schemas[] = { &account_schema, &sender_schema };
	static const struct store_conf conf = { .busy_ms = 50 };
	static const uint64_t key[2] = { 1, 2 };
	struct fix *f = calloc(1, sizeof *f);
	struct account a;

	if (!f)
		return -1;
	*state = f;
	f->store = store_open(&store_memory, &conf, schemas, 2, NULL);
	f->h = f->store ? store_attach(f->store, NULL) : NULL;
	f->cache = sender_cache_new(1000, key);
	f->conf = (struct submit_conf){ .mime = mime_limits_default,
					.hostname = S("relay.example"),
					.sender_help = S(HELP) };
	if (!f->h || !f->cache || !account_add(f->h, &by, S("shop"), &a, NULL))
		return -1;
	f->account = a.id;
	if (!account_add(f->h, &by, S("other"), &a, NULL))
		return -1;
	f->other = a.id;
	arena_init(&f->a, 1 << 20);
	add(f, f->account, "own.test", false);
	add(f, f->account, "tree.test", true);
	add(f, f->account, "xn--bcher-kva.test", false);
	add(f, f->other, "foreign.test", true);
	add(f, f->other, "taken.tree.test", false);
	return 0;
}

int submit_end(void **state)
{
	struct fix *f = *state;

	memory_fails_at(0);
	arena_done(&f->a);
	sender_cache_free(f->cache);
	store_detach(f->h);
	store_close(f->store);
	free(f);
	return 0;
}

/* As serve/ does it. */
enum submit_verdict run_between(struct fix *f, const struct mail *m, void (*between)(struct fix *))
{
	const unsigned char random[10] = { 0 };
	struct spool_rcpt rcpts[2] = { { .path = S("mary@to.test") },
				       { .path = S("bcc@to.test") } };
	struct spool_envelope env = { .id = id_make(1700000000000, random),
				      .accepted_ms = 1700000000000,
				      .account = m->account ? m->account : f->account,
				      .smtputf8 = m->smtputf8,
				      .rcpts = rcpts,
				      .n_rcpts = m->rcpts ? m->rcpts : 1 };
	struct submission sub = { .account = env.account,
				  .envelope = &env,
				  .reverse_domain = slice_str(m->reverse_domain),
				  .origin = { S("client.test"), S("192.0.2.1"), S("ESMTPSA"),
					      S("TLS_AES_256_GCM_SHA384") },
				  .token = S("token"),
				  .message = slice_str(m->message),
				  .whole = !m->cut };
	uint64_t generation = store_generation(f->store), lookups = store_lookups(f->h);
	struct submit_question answers;
	enum submit_verdict v;

	arena_done(&f->a);
	f->rounds = 0;
	f->result = (struct submit_result){ 0 };
	v = submit_check(&f->conf, &sub, f->cache, generation, NULL, &f->a, &f->result,
			 &f->question);
	while (v == SUBMIT_ASK) {
		assert_true(++f->rounds <= 1);
		submit_learn(f->h, sub.account, &f->question);
		answers = f->question;
		if (between)
			between(f);
		submit_remember(f->cache, sub.account, &answers);
		v = submit_check(&f->conf, &sub, f->cache, generation, &answers, &f->a, &f->result,
				 &f->question);
	}
	f->lookups = store_lookups(f->h) - lookups;
	return v;
}

enum submit_verdict run(struct fix *f, const struct mail *m)
{
	return run_between(f, m, NULL);
}

void assert_ready(struct fix *f, enum submit_verdict v)
{
	if (v != SUBMIT_READY)
		fail_msg("refused: %d %s (%s)", f->result.code, f->result.enhanced,
			 f->result.reason);
}

void assert_refused(struct fix *f, enum submit_verdict v, int code, const char *enhanced,
		    const char *text, const char *reason)
{
	assert_int_equal(v, SUBMIT_REFUSED);
	assert_int_equal(f->result.code, code);
	assert_string_equal(f->result.enhanced, enhanced);
	assert_string_equal(f->result.reason, reason);
	assert_slice(f->result.text, slice_str(text));
}

void assert_foreign(struct fix *f, enum submit_verdict v)
{
	assert_refused(f, v, 550, "5.7.1",
		       RULE ". Mail cannot be sent until this error is resolved. Visit " HELP
			    " to see the Sender Identity requirements",
		       "foreign_sender");
}
