/* issuer/issuer_impl.h -- one issuer.
 *
 *   issuer.c   what is held, and the verdict
 *   ask.c      metadata, keys and introspection by HTTP
 *   answers.c  what was said of opaque tokens, for a minute */
#ifndef ISSUER_ISSUER_IMPL_H
#define ISSUER_ISSUER_IMPL_H

#include "base/buf.h"
#include "digest/digest.h"
#include "issuer/issuer.h"

#include <pthread.h>
#include <stdatomic.h>

#define URL_MAX      2048
#define METADATA_MAX (256u << 10)
#define KEYS_MAX     (1u << 20)

/* -- answers.c -- */

struct answers;

struct answers *answers_new(void);
void answers_free(struct answers *); /* NULL is fine; wipes */
/* Appends what was said; nothing: it had no verdict. now_ms: monotonic. */
bool answers_get(struct answers *, struct slice token, uint64_t now_ms, struct buf *out);
void answers_put(struct answers *, struct slice token, struct slice body, uint64_t until_ms);

/* -- issuer.c -- */

/* Keys that some thread may be using. */
struct key_set {
	atomic_uint owners;
	struct jwks *keys;
};

struct issuer {
	atomic_uint owners;
	uint64_t id;
	const struct conf *conf; /* held */
	const struct conf_issuer *c;
	struct token_rules rules;
	char *secret;

	pthread_mutex_t lock; /* for all below */
	pthread_cond_t asked;
	bool asking;
	bool was_down;    /* said in the log */
	uint64_t told_ms; /* when the log was told of trouble with a token; 0: never */
	struct key_set *keys;
	uint64_t keys_ms;            /* when they were fetched */
	uint64_t forced_ms;          /* when that was last done for the sake of a kid; 0: never */
	uint64_t down_ms;            /* until then it is not asked; 0: it is */
	char introspection[URL_MAX]; /* empty: not known */
	uint64_t introspection_ms;
	struct answers *answers;
};

/* -- ask.c: each waits, for the issuer's timeout at most. ERR_LATER: it does not answer, or nothing
 * that is of use; the text names it. -- */

struct jwks *ask_keys(const struct issuer *, struct err *e);
/* What is wrong with a URL that an issuer's metadata names; NULL: nothing. One that is reached by
 * https does not send us anywhere else, least of all to this machine. */
const char *ask_check_url(struct slice issuer, struct slice url);
/* Where to ask about tokens. */
bool ask_introspection_url(const struct issuer *, char ret[URL_MAX], struct err *e);

enum ask_outcome {
	ASK_ANSWERED, /* *ret, not empty */
	ASK_TROUBLE,  /* it answers, with no verdict: that may be for this token's sake alone */
	ASK_DOWN,     /* it does not, or does not know us, whatever the token */
};

/* *ret is made, whatever comes of it: buf_done(). */
enum ask_outcome ask_about(const struct issuer *, const char *url, struct slice token,
			   struct buf *ret, struct err *e);

#endif
