#include "relay/submit.h"

#include "sender/domain.h"

#include <stdio.h>

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

static const enum sender_verdict *answered(const struct submit_question *q, struct slice domain)
{
	for (size_t i = 0; q && i < q->n; i++)
		if (slice_ieq(q->domain[i], domain))
			return &q->verdict[i];
	return NULL;
}

/* One domain that the message names as its sender. Unknown ones are noted in *ask. */
static enum sender_verdict judge(const struct submission *sub, struct sender_cache *cache,
				 uint64_t generation, const struct submit_question *answers,
				 struct slice domain, struct submit_question *ask)
{
	const enum sender_verdict *known = answered(answers, domain);
	enum sender_verdict v =
	    known ? *known : sender_cache_get(cache, generation, sub->account, domain);

	/* More unknown domains than fit are asked for in the next round: the first ones are in the
	 * answers then, and every round settles some. */
	if (v == SENDER_UNKNOWN && ask->n < SUBMIT_DOMAINS && !answered(ask, domain))
		ask->domain[ask->n++] = domain;
	return v;
}

static void judge_all(const struct submission *sub, struct sender_cache *cache, uint64_t generation,
		      const struct submit_question *answers, const struct mime_addresses *list,
		      bool *foreign, struct submit_question *ask)
{
	for (size_t i = 0; i < list->n; i++)
		*foreign |=
		    judge(sub, cache, generation, answers, list->at[i].domain, ask) == SENDER_NO;
}

static struct slice refusal_text(struct arena *a, struct slice help)
{
	struct buf text;
	struct slice copy;

	buf_init(&text, 1024);
	sender_refusal_text(help, &text);
	copy = arena_dup(a, buf_slice(&text));
	buf_done(&text);
	return copy;
}

/* The sender rule: every address in From, Sender, and the envelope's. The null reverse-path
 * passes when the header does: an on-premise server sends its bounces so. */
static enum submit_verdict check_senders(const struct submit_conf *conf,
					 const struct submission *sub, struct sender_cache *cache,
					 uint64_t generation, const struct submit_question *answers,
					 const struct mime_facts *facts, struct arena *a,
					 struct submit_result *ret, struct submit_question *ask)
{
	bool foreign = false;

	ask->n = 0;
	ask->store_down = false;
	if (answers && answers->store_down)
		return refuse(ret, 451, "4.3.0", S("Temporary failure, try again later"),
			      "store_down");
	judge_all(sub, cache, generation, answers, &facts->from, &foreign, ask);
	judge_all(sub, cache, generation, answers, &facts->sender, &foreign, ask);
	if (sub->reverse_domain.n)
		foreign |=
		    judge(sub, cache, generation, answers, sub->reverse_domain, ask) == SENDER_NO;
	if (foreign)
		return refuse(ret, (int)sender_refusal.code, "5.7.1",
			      refusal_text(a, conf->sender_help), "foreign_sender");
	return ask->n ? SUBMIT_ASK : SUBMIT_READY;
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

		q->verdict[i] = sender_may_use(store, account, q->domain[i], &q->generation[i], &e);
		q->store_down |= q->verdict[i] == SENDER_UNKNOWN;
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
