/* sender/may_send.h -- may this account write as that domain? The rule is written here only.
 *
 * Yes, when the account has verified that very name; or when the account has verified a name above
 * it with subdomains, and no other account has verified the name itself or a name between the two.
 * So of two accounts the one with the closer domain decides, and a parent never speaks for a name
 * that somebody else has proved. */
#ifndef SENDER_MAY_SEND_H
#define SENDER_MAY_SEND_H

#include "base/buf.h"
#include "sender/domain.h"

enum sender_verdict {
	SENDER_UNKNOWN, /* the store could not say (err), or the cache does not know */
	SENDER_YES,
	SENDER_NO,
};

/* domain: what stands behind the last @ of an address, U- or A-labels, any case. An address
 * literal or anything that is no name is NO. *ret_generation (NULL is fine): the store's
 * generation the answer goes with, for sender_cache_put(). No transaction may be open. */
enum sender_verdict sender_may_use(struct store_handle *, uint64_t account, struct slice domain,
				   uint64_t *ret_generation, struct err *e);

/* Answers already found, for one thread; never blocks. Holds at most max entries; all are dropped
 * when it is full, and when the generation has moved. The key is everything the decision used:
 * account, domain (ASCII letters without case) and generation. */
struct sender_cache;

/* hash_key: random. NULL when memory is out. */
struct sender_cache *sender_cache_new(size_t max, const uint64_t hash_key[2]);
void sender_cache_free(struct sender_cache *); /* NULL is fine */
/* generation: store_generation() now. */
enum sender_verdict sender_cache_get(struct sender_cache *, uint64_t generation, uint64_t account,
				     struct slice domain);
/* An answer of an older generation than the cache has seen is dropped; so is UNKNOWN. */
void sender_cache_put(struct sender_cache *, uint64_t generation, uint64_t account,
		      struct slice domain, enum sender_verdict);

/* The refusal after end of data. */
struct sender_refusal {
	unsigned code;         /* 550 */
	struct slice enhanced; /* 5.7.1 */
};
extern const struct sender_refusal sender_refusal;
/* Appends its text without the codes. link: a URL from the config. */
void sender_refusal_text(struct slice link, struct buf *out);

#endif
