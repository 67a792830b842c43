/* policy/limiter.h -- how much a guesser may guess.
 *
 * One for all doors. It counts failed logins per address, per IPv6 /64, per claimed identity, and
 * for the whole installation, and says how late the next answer is to be, and when an address has
 * had its chances. Distinct wrong secrets count; the same wrong one again (a program with an old
 * key) counts once. What was counted fades: it halves every half_life_ms.
 *
 * An address that authenticated well recently is trusted: it is not banned, and the guessing of
 * others, at its identity or anywhere, does not delay it; its own failures do. Identities are never
 * banned: that would be a lock an outsider can turn. What `allow` names is neither counted nor
 * delayed.
 *
 * Memory: 32 bytes for each address, network and identity, bounded; when that is full the least
 * suspicious are forgotten first. Not thread-safe. Times are Unix milliseconds and a parameter; a
 * clock that is set back makes nothing younger than now. */
#ifndef POLICY_LIMITER_H
#define POLICY_LIMITER_H

#include "base/net.h"
#include "base/slice.h"

struct limiter_conf {
	uint32_t free;         /* wrong secrets that cost nothing */
	uint64_t delay_ms;     /* for the first that does; doubles with each, */
	uint64_t delay_max_ms; /* up to this */
	uint32_t
	    ban_after;   /* wrong secrets of an address; 0: never. A /64 has three times as many */
	uint64_t ban_ms; /* of the first ban; doubles with each of the same address, */
	uint64_t ban_max_ms;     /* up to this */
	uint64_t half_life_ms;   /* at least 1000 */
	uint64_t good_ms;        /* so long a good login is remembered */
	uint32_t all_per_minute; /* failures of the installation, beyond which strangers wait
				    delay_ms and more; 0: no limit */
	const struct net *allow; /* stays valid */
	size_t n_allow;
	size_t memory; /* bytes at most; at least 4096 */
};

struct limiter_who {
	unsigned char address[16]; /* IPv4 mapped */
	struct slice identity;     /* as claimed; empty: none */
};

enum limiter_cause {
	LIMITER_NONE,
	LIMITER_ADDRESS,
	LIMITER_NETWORK, /* the /64 */
	LIMITER_IDENTITY,
	LIMITER_INSTALLATION,
};

struct limiter_verdict {
	uint64_t delay_ms;        /* answer so late, whatever the answer is */
	enum limiter_cause cause; /* of the delay */
	/* A ban begins now; bits 0: none. */
	struct net ban;
	uint64_t ban_until_ms;
	enum limiter_cause ban_cause;
};

struct limiter_count {
	size_t kept, bytes;
	uint64_t forgotten; /* since the start, for want of memory */
};

struct limiter;

/* hash_key: random, so that nobody chooses what is forgotten. NULL: memory is out. */
struct limiter *limiter_new(const struct limiter_conf *, const uint64_t hash_key[2]);
void limiter_free(struct limiter *); /* NULL is fine */
/* Takes over what a reload says; memory is only looked at by limiter_new(). */
void limiter_configure(struct limiter *, const struct limiter_conf *);

/* How late an attempt is to be answered, of which nothing is known yet. */
struct limiter_verdict limiter_look(struct limiter *, const struct limiter_who *, uint64_t now_ms);
/* It was wrong. secret: a keyed digest of what was tried. */
struct limiter_verdict limiter_failed(struct limiter *, const struct limiter_who *, uint64_t secret,
				      uint64_t now_ms);
/* It was right. */
void limiter_good(struct limiter *, const struct limiter_who *, uint64_t now_ms);

/* Allowed by name. */
bool limiter_allows(const struct limiter *, const unsigned char address[16]);
/* That, or authenticated well recently: the limiter's bans do not hold it. */
bool limiter_trusts(struct limiter *, const unsigned char address[16], uint64_t now_ms);

enum limiter_standing {
	LIMITER_UNKNOWN,
	LIMITER_TRUSTED, /* limiter_trusts() */
	LIMITER_SUSPECT, /* its failures, or those of its /64, have not faded */
};
enum limiter_standing limiter_standing(struct limiter *, const unsigned char address[16],
				       uint64_t now_ms);

struct limiter_count limiter_count(const struct limiter *);

const char *limiter_cause_name(enum limiter_cause); /* "address", ...; stable, for the log */

#endif
