/* issuer/issuer.c -- see issuer.h. */
#include "issuer/issuer.h"

#include "base/must.h"
#include "issuer/issuer_impl.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/readable.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* Trouble is told so often. */
#define ISSUER_TELL_MS 30000
/* Of the workers that wait for issuers one may have so many; one that did not answer, a single one
 * that tries again. */
#define AT_ONCE 3

struct issuers {
	atomic_uint owners;
	uint64_t last_id; /* given to any of theirs, or of those before them */
	size_t n;
	struct issuer *at[];
};

/* -- making -- */

static void set_free(struct key_set *s)
{
	if (!s || atomic_fetch_sub(&s->owners, 1) > 1)
		return;
	jwks_free(s->keys);
	free(s);
}

static void issuer_free(struct issuer *i)
{
	if (!i || atomic_fetch_sub(&i->owners, 1) > 1)
		return;
	set_free(i->keys);
	answers_free(i->answers);
	if (i->secret)
		digest_wipe(i->secret, strlen(i->secret));
	free(i->secret);
	pthread_cond_destroy(&i->asked);
	pthread_mutex_destroy(&i->lock);
	conf_free(i->conf);
	free(i);
}

static bool is_jwt(const struct issuer *i)
{
	return slice_eq(i->c->kind, S("jwt"));
}

static void set_rules(struct issuer *i)
{
	const struct conf_issuer *c = i->c;

	i->rules = (struct token_rules){ .issuer = c->url,
					 .audience = c->audience,
					 .scope = c->scope,
					 .types = c->types.at,
					 .n_types = c->types.n };
	for (size_t k = 0; k < c->algorithms.n; k++) {
		enum token_alg a = TOKEN_ALGS;

		MUST(token_alg_find(c->algorithms.at[k],
				    &a)); /* the configuration knows no others */
		i->rules.algorithms |= TOKEN_ALG(a);
	}
}

static struct issuer *issuer_new(const struct conf *conf, const struct conf_issuer *c,
				 struct err *e)
{
	struct issuer *i = calloc(1, sizeof *i);
	pthread_condattr_t how;

	if (!i) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	atomic_init(&i->owners, 1);
	i->conf = conf_hold(conf);
	i->c = c;
	pthread_mutex_init(&i->lock, NULL);
	pthread_condattr_init(&how);
	pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
	pthread_cond_init(&i->asked, &how);
	pthread_condattr_destroy(&how);
	set_rules(i);
	if (is_jwt(i))
		return i;
	i->secret = readable_secret(c->client_secret_file, e);
	i->answers = i->secret ? answers_new() : NULL;
	if (i->answers)
		return i;
	if (i->secret)
		err_set(e, ERR_LATER, "out of memory");
	issuer_free(i);
	return NULL;
}

/* Sessions that rest on its tokens go on over a reload that changes how it is asked. */
static void give_id(struct issuers *s, struct issuer *i, const struct issuers *before)
{
	for (size_t k = 0; !i->id && before && k < before->n; k++)
		if (slice_eq(before->at[k]->c->name, i->c->name) &&
		    slice_eq(before->at[k]->c->url, i->c->url))
			i->id = before->at[k]->id;
	if (!i->id)
		i->id = ++s->last_id;
}

/* The one that is the same, as it goes on. */
static struct issuer *from_before(const struct issuers *before, const struct issuer *now)
{
	for (size_t k = 0; before && k < before->n; k++) {
		struct issuer *old = before->at[k];

		if (conf_issuer_same(old->c, now->c) &&
		    !strcmp(old->secret ? old->secret : "", now->secret ? now->secret : "")) {
			atomic_fetch_add(&old->owners, 1);
			return old;
		}
	}
	return NULL;
}

struct issuers *issuers_new(const struct conf *conf, const struct issuers *before, struct err *e)
{
	struct issuers *s = calloc(1, sizeof *s + conf->n_issuers * sizeof *s->at);

	if (!s) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	atomic_init(&s->owners, 1);
	s->last_id = before ? before->last_id : 0;
	for (; s->n < conf->n_issuers; s->n++) {
		struct issuer *i = issuer_new(conf, &conf->issuers[s->n], e), *same;

		if (!i) {
			issuers_free(s);
			return NULL;
		}
		same = from_before(before, i);
		if (same)
			issuer_free(i);
		else
			give_id(s, i, before);
		s->at[s->n] = same ? same : i;
	}
	return s;
}

struct issuers *issuers_hold(struct issuers *s)
{
	atomic_fetch_add(&s->owners, 1);
	return s;
}

void issuers_free(struct issuers *s)
{
	if (!s || atomic_fetch_sub(&s->owners, 1) > 1)
		return;
	for (size_t i = 0; i < s->n; i++)
		issuer_free(s->at[i]);
	free(s);
}

size_t issuers_count(const struct issuers *s)
{
	return s->n;
}

bool issuers_have(const struct issuers *s, uint64_t id)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->at[i]->id == id)
			return true;
	return false;
}

/* -- asking: one thread at a time for what all wait for -- */

/* With the lock held. Says it once, and once when it is over. */
static void note(struct issuer *i, bool up, const struct err *e)
{
	i->down_ms = up ? 0 : clock_mono_ms() + ISSUER_DOWN_MS;
	if (up == !i->was_down)
		return;
	i->was_down = !up;
	if (up)
		log_event(LOG_ISSUER, F_STR("issuer", i->c->name), F_CSTR("state", "up"));
	else
		log_event(LOG_ISSUER, F_STR("issuer", i->c->name), F_CSTR("state", "down"),
			  F_CSTR("reason", e->text));
}

/* With the lock held. It answers, but not about a token: told now and then, for the operator. */
static void note_trouble(struct issuer *i, const struct err *e)
{
	uint64_t now = clock_mono_ms();

	if (i->told_ms && now - i->told_ms < ISSUER_TELL_MS)
		return;
	i->told_ms = now;
	log_event(LOG_ISSUER, F_STR("issuer", i->c->name), F_CSTR("state", "trouble"),
		  F_CSTR("reason", e->text));
}

static bool is_down(const struct issuer *i)
{
	return i->down_ms && clock_mono_ms() < i->down_ms;
}

/* With the lock held, which is let go of meanwhile: the keys are newer than since_ms, or it is
 * down. */
static bool renew_keys(struct issuer *i, uint64_t since_ms, struct err *e)
{
	struct key_set *fresh = NULL;
	struct jwks *keys;

	while (i->asking)
		pthread_cond_wait(&i->asked, &i->lock);
	if (i->keys && i->keys_ms > since_ms)
		return true;
	if (is_down(i))
		return err_set(e, ERR_LATER, "it did not answer a moment ago");
	i->asking = true;
	pthread_mutex_unlock(&i->lock);
	keys = ask_keys(i, e);
	if (keys)
		fresh = calloc(1, sizeof *fresh);
	pthread_mutex_lock(&i->lock);
	i->asking = false;
	pthread_cond_broadcast(&i->asked);
	if (fresh) {
		atomic_init(&fresh->owners, 1);
		fresh->keys = keys;
		set_free(i->keys);
		i->keys = fresh;
		i->keys_ms = clock_mono_ms();
	} else if (keys) {
		jwks_free(keys);
		err_set(e, ERR_LATER, "out of memory");
	}
	note(i, fresh, e);
	return fresh;
}

/* -- signed tokens -- */

/* With the lock held: those that count, with one more owner; NULL. */
static struct key_set *fresh_keys(struct issuer *i)
{
	if (!i->keys || clock_mono_ms() - i->keys_ms >= i->c->fresh)
		return NULL;
	atomic_fetch_add(&i->keys->owners, 1);
	return i->keys;
}

/* With the lock held: a kid that we do not have may be new, and is looked for now and then. */
static bool may_force(const struct issuer *i)
{
	return !i->forced_ms || clock_mono_ms() - i->forced_ms >= ISSUER_REFRESH_MS;
}

/* Keys to judge by. since_ms: they have to be newer; 0: fresh will do. ISSUER_GOOD: *ret. */
static enum issuer_says keys_of(struct issuer *i, uint64_t since_ms, const struct issuer *may_ask,
				struct key_set **ret, uint64_t *ret_ms)
{
	enum issuer_says says = ISSUER_GOOD;
	struct err e = { 0 };

	*ret = NULL;
	pthread_mutex_lock(&i->lock);
	if (!since_ms || i->keys_ms > since_ms)
		*ret = fresh_keys(i);
	if (!*ret && is_down(i)) {
		says = ISSUER_DOWN;
	} else if (!*ret && may_ask != i) {
		says = ISSUER_ASK;
	} else if (!*ret) {
		if (renew_keys(i, since_ms ? since_ms : i->keys_ms, &e))
			*ret = fresh_keys(i);
		/* Only then: who comes meanwhile waits for the same answer, and an issuer that did
		 * not answer has not said that it has no such key. */
		if (since_ms && *ret)
			i->forced_ms = clock_mono_ms();
		says = *ret ? ISSUER_GOOD : ISSUER_DOWN;
	}
	*ret_ms = i->keys_ms;
	pthread_mutex_unlock(&i->lock);
	return says;
}

static enum issuer_says judge_jwt(struct issuer *i, struct token *t, uint64_t now_ms,
				  const struct issuer *may_ask, enum token_fault *ret_fault)
{
	struct key_set *keys;
	enum issuer_says says;
	uint64_t of_ms;
	bool again;

	says = keys_of(i, 0, may_ask, &keys, &of_ms);
	if (says != ISSUER_GOOD)
		return says;
	*ret_fault = token_judge(t, &i->rules, keys->keys, now_ms);
	set_free(keys);
	if (*ret_fault != TOKEN_UNKNOWN_KEY)
		return *ret_fault == TOKEN_GOOD ? ISSUER_GOOD : ISSUER_BAD;
	pthread_mutex_lock(&i->lock);
	again = may_force(i) || i->keys_ms > of_ms;
	pthread_mutex_unlock(&i->lock);
	if (!again)
		return ISSUER_BAD;
	says = keys_of(i, of_ms, may_ask, &keys, &of_ms);
	if (says != ISSUER_GOOD)
		return says;
	*ret_fault = token_judge(t, &i->rules, keys->keys, now_ms);
	set_free(keys);
	return *ret_fault == TOKEN_GOOD ? ISSUER_GOOD : ISSUER_BAD;
}

/* -- opaque tokens -- */

/* Where to ask, with the lock held, which is let go of meanwhile. */
static bool know_url(struct issuer *i, struct err *e)
{
	char url[URL_MAX];
	bool ok;

	if (i->introspection[0] && clock_mono_ms() - i->introspection_ms < i->c->fresh)
		return true;
	pthread_mutex_unlock(&i->lock);
	ok = ask_introspection_url(i, url, e);
	pthread_mutex_lock(&i->lock);
	if (!ok)
		return false;
	memcpy(i->introspection, url, sizeof url);
	i->introspection_ms = clock_mono_ms();
	return true;
}

/* With the lock held, which is let go of meanwhile. True: *ret is what it says; empty: it has no
 * verdict. */
static bool answer_of(struct issuer *i, struct slice token, struct buf *ret, struct err *e)
{
	enum ask_outcome outcome = know_url(i, e) ? ASK_ANSWERED : ASK_DOWN;
	uint64_t now;
	char url[URL_MAX];

	if (outcome == ASK_ANSWERED) {
		memcpy(url, i->introspection, sizeof url);
		pthread_mutex_unlock(&i->lock);
		outcome = ask_about(i, url, token, ret, e);
		pthread_mutex_lock(&i->lock);
	}
	now = clock_mono_ms();
	note(i, outcome != ASK_DOWN, e);
	if (outcome == ASK_ANSWERED) {
		answers_put(i->answers, token, buf_slice(ret), now + ISSUER_ANSWER_MS);
	} else if (outcome == ASK_TROUBLE) {
		note_trouble(i, e);
		buf_clear(ret);
		answers_put(i->answers, token, S(""), now + ISSUER_DOWN_MS);
	}
	return outcome != ASK_DOWN;
}

static enum issuer_says judge_opaque(struct issuer *i, struct slice text, uint64_t now_ms,
				     const struct issuer *may_ask, enum token_fault *ret_fault,
				     struct token **ret)
{
	enum issuer_says says = ISSUER_GOOD;
	struct err e = { 0 };
	struct buf body;

	buf_init(&body, ISSUER_ANSWER_MAX);
	pthread_mutex_lock(&i->lock);
	if (!answers_get(i->answers, text, clock_mono_ms(), &body)) {
		buf_done(&body);
		if (is_down(i))
			says = ISSUER_DOWN;
		else if (may_ask != i)
			says = ISSUER_ASK;
		else if (!answer_of(i, text, &body, &e))
			says = ISSUER_DOWN;
	}
	pthread_mutex_unlock(&i->lock);
	if (says == ISSUER_GOOD && !body.n) {
		says = ISSUER_DOWN;
	} else if (says == ISSUER_GOOD) {
		*ret_fault = token_answer(buf_slice(&body), &i->rules, now_ms, ret);
		says = *ret_fault == TOKEN_GOOD ? ISSUER_GOOD : ISSUER_BAD;
	}
	buf_wipe(&body);
	return says;
}

/* -- whose it is -- */

static struct issuer *named(const struct issuers *s, struct slice url)
{
	for (size_t i = 0; i < s->n; i++)
		if (slice_eq(s->at[i]->c->url, url))
			return s->at[i];
	return NULL;
}

/* Who is to be asked, and by how many at the same time: keys are what all wait for. */
static enum issuer_says asks(struct issuer *i, struct issuer_verdict *ret)
{
	ret->ask = i;
	pthread_mutex_lock(&i->lock);
	ret->at_once = is_jwt(i) || i->was_down ? 1 : AT_ONCE;
	pthread_mutex_unlock(&i->lock);
	return ISSUER_ASK;
}

static enum issuer_says good(const struct issuer *i, struct issuer_verdict *ret)
{
	ret->issuer = i->c;
	ret->id = i->id;
	return ISSUER_GOOD;
}

/* It names nobody: each that knows opaque ones is asked. What one does not know is not bad before
 * all have said so. */
static enum issuer_says ask_each(struct issuers *s, struct slice text, uint64_t now_ms,
				 const struct issuer *may_ask, struct issuer_verdict *ret)
{
	enum issuer_says all = ISSUER_BAD;
	bool before = may_ask; /* it stands before the one that may be asked */

	ret->fault = TOKEN_MALFORMED;
	for (size_t k = 0; k < s->n; k++) {
		struct issuer *i = s->at[k];
		enum issuer_says says;

		if (is_jwt(i))
			continue;
		says = judge_opaque(i, text, now_ms, may_ask, &ret->fault, &ret->token);
		before = before && i != may_ask;
		if (says == ISSUER_GOOD)
			return good(i, ret);
		/* It was asked, and what came of it is forgotten: else nobody would come behind one
		 * that is tried again and again. */
		if (says == ISSUER_ASK && before)
			says = ISSUER_DOWN;
		if (says == ISSUER_ASK)
			return asks(i, ret);
		/* One that knows it and does not like it has decided. */
		if (says == ISSUER_BAD && ret->fault != TOKEN_INACTIVE)
			return says;
		if (says == ISSUER_DOWN)
			all = says;
	}
	return all;
}

enum issuer_says issuers_judge(struct issuers *s, struct slice text, uint64_t now_ms,
			       const struct issuer *may_ask, struct issuer_verdict *ret)
{
	struct token *t = NULL;
	enum issuer_says says;
	struct issuer *i;

	*ret = (struct issuer_verdict){ .fault = TOKEN_GOOD };
	if (!text.n) {
		ret->fault = TOKEN_MALFORMED;
		return ISSUER_BAD;
	}
	if (text.n > TOKEN_MAX || !token_is_jwt(text))
		return ask_each(s, text, now_ms, may_ask, ret);
	ret->fault = token_read(text, &t);
	if (ret->fault != TOKEN_GOOD)
		return ret->fault == TOKEN_TROUBLE ? ISSUER_DOWN : ISSUER_BAD;
	i = named(s, token_claimed_issuer(t));
	if (!i) {
		token_free(t);
		ret->fault = TOKEN_ISSUER;
		return ISSUER_BAD;
	}
	if (is_jwt(i)) {
		says = judge_jwt(i, t, now_ms, may_ask, &ret->fault);
		if (says == ISSUER_GOOD)
			ret->token = t;
		else
			token_free(t);
	} else {
		token_free(t);
		says = judge_opaque(i, text, now_ms, may_ask, &ret->fault, &ret->token);
	}
	if (says == ISSUER_GOOD)
		return good(i, ret);
	return says == ISSUER_ASK ? asks(i, ret) : says;
}

void issuers_warm(struct issuers *s)
{
	for (size_t k = 0; k < s->n; k++) {
		struct issuer *i = s->at[k];
		struct key_set *keys;
		uint64_t of_ms;

		if (is_jwt(i) && keys_of(i, 0, i, &keys, &of_ms) == ISSUER_GOOD)
			set_free(keys);
	}
}

bool issuers_check(struct issuers *s, size_t k, size_t *ret_keys, struct err *e)
{
	struct issuer *i = s->at[k];
	char url[URL_MAX];
	struct jwks *keys;
	struct buf body;
	bool ok;

	*ret_keys = 0;
	if (is_jwt(i)) {
		keys = ask_keys(i, e);
		*ret_keys = keys ? jwks_count(keys) : 0;
		jwks_free(keys);
		return keys;
	}
	/* A token that nobody has: whether it may be asked shows in the answer. */
	if (!ask_introspection_url(i, url, e))
		return false;
	ok = ask_about(i, url, S("signet-doctor"), &body, e) == ASK_ANSWERED;
	buf_done(&body);
	return ok;
}
