#include "relay/submit.h"

#include "sender/domain.h"

#include <stdio.h>

_Static_assert(SUBMIT_DOMAINS == 16, "the refusal names the number");

static enum submit_verdict refuse(struct submit_result *ret, int code, const char *enhanced,
				  struct slice text, const char *reason)
{
	ret->code = code;
	ret->enhanced = enhanced;
	ret->text = text;
	ret->reason = reason;
	return SUBMIT_REFUSED;
}

static enum submit_verdict no_memory(struct submit_result *ret)
{
	return refuse(ret, 451, "4.3.0", S("Out of memory, try again later"), "memory");
}

/* Where a domain stands in the question; q->n when it does not. */
static size_t place_of(const struct submit_question *q, struct slice domain)
{
	size_t i = 0;

	while (i < q->n && !slice_ieq(q->domain[i], domain))
		i++;
	return i;
}

/* Notes each domain once. False: there are more than a message may name. */
static bool note(struct submit_question *q, struct slice domain)
{
	if (place_of(q, domain) < q->n)
		return true;
	if (q->n == SUBMIT_DOMAINS)
		return false;
	q->domain[q->n++] = domain;
	return true;
}

static bool note_all(struct submit_question *q, const struct mime_addresses *list)
{
	bool ok = true;

	for (size_t i = 0; ok && i < list->n; i++)
		ok = note(q, list->at[i].domain);
	return ok;
}

/* Every address in From, Sender, and the envelope's. The null reverse-path names nobody and passes
 * when the header does: an on-premise server sends its bounces so. */
static bool note_senders(struct submit_question *q, const struct submission *sub,
			 const struct mime_facts *facts)
{
	q->n = 0;
	return note_all(q, &facts->from) && note_all(q, &facts->sender) &&
	       (!sub->reverse_domain.n || note(q, sub->reverse_domain));
}

static struct slice refusal_text(struct arena *a, struct slice help)
{
	struct buf text;
	struct slice copy;

	buf_init(&text, 1024);
	sender_refusal_text(help, &text);
	copy = arena_dup(a, buf_slice(&text));
	buf_done(&text);
	/* No memory for the link changes nothing about the verdict. */
	return copy.n ? copy : S("The from address does not match a verified Sender Identity");
}

/* What is known of each domain: all of it from the answers, or from the cache. */
static void look_up(struct submit_question *q, uint64_t account, struct sender_cache *cache,
		    uint64_t generation, const struct submit_question *answers)
{
	for (size_t i = 0; i < q->n; i++) {
		size_t k = answers ? place_of(answers, q->domain[i]) : 0;

		q->generation[i] = generation;
		if (!answers)
			q->verdict[i] = sender_cache_get(cache, generation, account, q->domain[i]);
		else
			q->verdict[i] = k < answers->n ? answers->verdict[k] : SENDER_UNKNOWN;
	}
}

/* The sender rule. */
static enum submit_verdict check_senders(const struct submit_conf *conf,
					 const struct submission *sub, struct sender_cache *cache,
					 uint64_t generation, const struct submit_question *answers,
					 const struct mime_facts *facts, struct arena *a,
					 struct submit_result *ret, struct submit_question *ask)
{
	bool foreign = false, unknown = false;

	if (!note_senders(ask, sub, facts))
		return refuse(ret, 554, "5.6.0",
			      S("Message names more than 16 different sender domains"),
			      "sender_domains");
	look_up(ask, sub->account, cache, generation, answers);
	for (size_t i = 0; i < ask->n; i++) {
		foreign |= ask->verdict[i] == SENDER_NO;
		unknown |= ask->verdict[i] == SENDER_UNKNOWN;
	}
	if (foreign)
		return refuse(ret, (int)sender_refusal.code, "5.7.1",
			      refusal_text(a, conf->sender_help), "foreign_sender");
	if (answers && unknown)
		return refuse(ret, 451, "4.3.0", S("Temporary failure, try again later"),
			      "store_down");
	return unknown ? SUBMIT_ASK : SUBMIT_READY;
}

static bool finish(const struct submit_conf *conf, const struct submission *sub, struct arena *a,
		   struct buf *head, struct mime_facts *facts, struct mime_refusal *refusal)
{
	const struct spool_envelope *env = sub->envelope;
	char id[ID_TEXT + 1];
	struct buf text = { .p = id, .cap = sizeof id, .max = sizeof id };
	struct mime_finish f = {
		.hostname = conf->hostname,
		.origin = sub->origin,
		.recipient = env->n_rcpts == 1 ? env->rcpts[0].path : S(""),
		.now_ms = env->accepted_ms,
		.token = sub->token,
		.smtputf8 = env->smtputf8,
	};

	id_add(&text, env->id);
	f.id = buf_slice(&text);
	return mime_finish(&f, &conf->mime, sub->message, sub->whole, a, head, facts, refusal);
}

enum submit_verdict submit_check(const struct submit_conf *conf, const struct submission *sub,
				 struct sender_cache *cache, uint64_t generation,
				 const struct submit_question *answers, struct arena *a,
				 struct submit_result *ret, struct submit_question *ret_question)
{
	struct mime_facts facts;
	struct mime_refusal refusal;
	struct buf head;
	enum submit_verdict v;

	buf_init(&head, conf->mime.header_max + 4096);
	if (!finish(conf, sub, a, &head, &facts, &refusal)) {
		buf_done(&head);
		return refuse(ret, refusal.code, refusal.enhanced, refusal.text, refusal.reason);
	}
	v = check_senders(conf, sub, cache, generation, answers, &facts, a, ret, ret_question);
	if (v == SUBMIT_READY) {
		*ret = (struct submit_result){
			.head = arena_dup(a, buf_slice(&head)),
			.head_bytes = facts.head_bytes,
			.smtpapi_removed = facts.smtpapi_removed,
			.from = arena_dup(a, facts.from.at[0].whole),
		};
		if (a->failed)
			v = no_memory(ret);
	}
	buf_done(&head);
	return v;
}

void submit_learn(struct store_handle *store, uint64_t account, struct submit_question *q)
{
	for (size_t i = 0; i < q->n; i++) {
		struct err e;

		if (q->verdict[i] != SENDER_UNKNOWN)
			continue;
		q->verdict[i] = sender_may_use(store, account, q->domain[i], &q->generation[i], &e);
	}
}

void submit_remember(struct sender_cache *cache, uint64_t account, const struct submit_question *q)
{
	for (size_t i = 0; i < q->n; i++)
		sender_cache_put(cache, q->generation[i], account, q->domain[i], q->verdict[i]);
}

struct slice submit_destination(struct arena *a, struct slice domain)
{
	char name[DOMAIN_NAME_MAX + 1];
	struct slice literal;
	size_t n;

	if (!domain.n || domain.p[0] != '[') {
		struct err e;

		if (domain_canonical(domain, name, &n, &e))
			return arena_dup(a, slice(name, n));
		a->failed |= e.kind == ERR_LATER;
		return S("");
	}
	literal = arena_dup(a, domain);
	return literal.n <= 255 ? literal : S("");
}
