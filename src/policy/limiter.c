#include "policy/limiter.h"

#include "base/map.h"
#include "base/must.h"
#include "policy/guard.h"

#include <stdlib.h>

/* A bucket is what one look touches: four lines of the cache. */
#define WAYS  8
#define FIRST 16 /* buckets at the start */
/* A score is kept in 64ths, and at its largest value when it would be more. */
#define ONE       64u
#define SCORE_MAX UINT16_MAX
#define NET_SHARE 3
#define SEEN      4
/* The installation's own, finer: it is looked at every few milliseconds. */
#define ALL_ONE 65536ull
#define ALL_MAX (ALL_ONE << 26)

struct slot {
	uint64_t tag; /* 0: free */
	uint32_t last_s, good_s;
	uint32_t unused;
	uint16_t score; /* at last_s */
	uint8_t bans;
	uint8_t next_seen;
	uint16_t seen[SEEN]; /* of wrong secrets; 0: none */
};

_Static_assert(sizeof(struct slot) == 32, "two in a line of the cache");

enum kind { ADDRESS, NETWORK, IDENTITY };

struct limiter {
	struct limiter_conf conf;
	uint64_t key[2];
	struct slot *at;
	size_t buckets; /* a power of two */
	size_t kept;
	uint64_t forgotten;
	uint64_t all; /* failures of the installation, in ALL_ONEths, at all_ms */
	uint64_t all_ms;
};

struct limiter *limiter_new(const struct limiter_conf *conf, const uint64_t hash_key[2])
{
	struct limiter *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	l->conf = *conf;
	l->key[0] = hash_key[0];
	l->key[1] = hash_key[1];
	l->buckets = FIRST;
	l->at = calloc(l->buckets * WAYS, sizeof *l->at);
	if (l->at)
		return l;
	free(l);
	return NULL;
}

void limiter_free(struct limiter *l)
{
	if (!l)
		return;
	free(l->at);
	free(l);
}

void limiter_configure(struct limiter *l, const struct limiter_conf *conf)
{
	size_t memory = l->conf.memory;

	l->conf = *conf;
	l->conf.memory = memory;
}

/* -- what fades -- */

static uint64_t faded(uint64_t score, uint64_t age_ms, uint64_t half_life_ms)
{
	uint64_t halves = age_ms / half_life_ms, rest = age_ms % half_life_ms;

	if (halves >= 32)
		return 0;
	score >>= halves;
	/* Between two halvings along a line: near enough, and exact at both ends. */
	return score - score * rest / half_life_ms / 2;
}

static uint64_t age_ms(uint32_t then_s, uint64_t now_ms)
{
	uint64_t then = (uint64_t)then_s * 1000;

	return now_ms > then ? now_ms - then : 0;
}

static uint64_t score_now(const struct limiter *l, const struct slot *s, uint64_t now_ms)
{
	return faded(s->score, age_ms(s->last_s, now_ms), l->conf.half_life_ms);
}

static bool good_now(const struct limiter *l, const struct slot *s, uint64_t now_ms)
{
	return s->good_s && age_ms(s->good_s, now_ms) < l->conf.good_ms;
}

/* -- the table -- */

static uint64_t tag_of(const struct limiter *l, enum kind kind, struct slice key)
{
	uint64_t k[2] = { l->key[0] ^ (uint64_t)kind, l->key[1] };
	uint64_t tag = siphash(k, key);

	return tag ? tag : 1;
}

static struct slot *bucket_of(const struct limiter *l, uint64_t tag)
{
	return &l->at[(tag & (l->buckets - 1)) * WAYS];
}

static struct slot *find(const struct limiter *l, uint64_t tag)
{
	struct slot *b = bucket_of(l, tag);

	for (int i = 0; i < WAYS; i++)
		if (b[i].tag == tag)
			return &b[i];
	return NULL;
}

/* Each bucket becomes two: nothing can fail to find its place. */
static bool grow(struct limiter *l)
{
	size_t buckets = l->buckets * 2;
	struct slot *old = l->at, *at;

	if (buckets * WAYS * sizeof *at > l->conf.memory)
		return false;
	at = calloc(buckets * WAYS, sizeof *at);
	if (!at)
		return false;
	l->at = at;
	l->buckets = buckets;
	for (size_t i = 0; i < buckets / 2 * WAYS; i++) {
		struct slot *to;

		if (!old[i].tag)
			continue;
		for (to = bucket_of(l, old[i].tag); to->tag; to++)
			;
		*to = old[i];
	}
	free(old);
	return true;
}

/* How sorry one would be to forget it: who is trusted comes before any guesser, then the more
 * suspicious, then the later. */
static uint64_t worth(const struct limiter *l, const struct slot *s, uint64_t now_ms)
{
	uint32_t last = s->last_s > s->good_s ? s->last_s : s->good_s;

	return (uint64_t)good_now(l, s, now_ms) << 63 | score_now(l, s, now_ms) << 32 | last;
}

static struct slot *make(struct limiter *l, uint64_t tag, uint64_t now_ms)
{
	for (;;) {
		struct slot *b = bucket_of(l, tag), *least = b;

		for (int i = 0; i < WAYS; i++) {
			if (b[i].tag == tag)
				return &b[i];
			if (!b[i].tag ||
			    (least->tag && worth(l, &b[i], now_ms) < worth(l, least, now_ms)))
				least = least->tag ? &b[i] : least;
		}
		if (least->tag && grow(l))
			continue;
		l->forgotten += least->tag != 0;
		l->kept += least->tag == 0;
		*least = (struct slot){ .tag = tag };
		return least;
	}
}

/* -- who -- */

static bool is_v4(const unsigned char a[16])
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

	return !memcmp(a, mapped, sizeof mapped);
}

struct tags {
	uint64_t address, network, identity; /* 0: does not apply */
};

static struct tags tags_of(const struct limiter *l, const struct limiter_who *who)
{
	return (struct tags){
		.address = tag_of(l, ADDRESS, slice(who->address, 16)),
		.network = is_v4(who->address) ? 0 : tag_of(l, NETWORK, slice(who->address, 8)),
		.identity = who->identity.n ? tag_of(l, IDENTITY, who->identity) : 0,
	};
}

bool limiter_allows(const struct limiter *l, const unsigned char address[16])
{
	return guard_any(l->conf.allow, l->conf.n_allow, address);
}

/* -- delays -- */

/* score: in 64ths; share: how many times as much is free. */
static uint64_t delay_of(const struct limiter_conf *c, uint64_t score, uint64_t share)
{
	uint64_t whole = score / ONE / share, delay = c->delay_ms;

	if (whole <= c->free || !c->delay_ms)
		return 0;
	for (uint64_t i = c->free + 1; i < whole && delay < c->delay_max_ms; i++)
		delay *= 2;
	return delay < c->delay_max_ms ? delay : c->delay_max_ms;
}

static void consider(struct limiter_verdict *v, uint64_t delay_ms, enum limiter_cause cause)
{
	if (delay_ms <= v->delay_ms)
		return;
	v->delay_ms = delay_ms;
	v->cause = cause;
}

static uint64_t score_of(const struct limiter *l, uint64_t tag, uint64_t now_ms)
{
	const struct slot *s = tag ? find(l, tag) : NULL;

	return s ? score_now(l, s, now_ms) : 0;
}

/* The installation's failures fade with a half-life of a minute. Looked at often, they fade along
 * the beginning of the line: what stays of a steady stream is two minutes of it. */
static uint64_t all_now(const struct limiter *l, uint64_t now_ms)
{
	return faded(l->all, now_ms > l->all_ms ? now_ms - l->all_ms : 0, 60000);
}

static uint64_t delay_of_all(const struct limiter *l, uint64_t now_ms)
{
	uint64_t most = (uint64_t)l->conf.all_per_minute * 2 * ALL_ONE, all = all_now(l, now_ms),
		 delay;

	if (!most || all <= most)
		return 0;
	delay = l->conf.delay_ms * (all / most);
	return delay < l->conf.delay_max_ms ? delay : l->conf.delay_max_ms;
}

bool limiter_trusts(struct limiter *l, const unsigned char address[16], uint64_t now_ms)
{
	const struct slot *s;

	if (limiter_allows(l, address))
		return true;
	s = find(l, tag_of(l, ADDRESS, slice(address, 16)));
	return s && good_now(l, s, now_ms);
}

enum limiter_standing limiter_standing(struct limiter *l, const unsigned char address[16],
				       uint64_t now_ms)
{
	struct limiter_who who = { 0 };
	struct tags t;

	if (limiter_trusts(l, address, now_ms))
		return LIMITER_TRUSTED;
	memcpy(who.address, address, sizeof who.address);
	t = tags_of(l, &who);
	/* One that has half faded may have been a slip. */
	return score_of(l, t.address, now_ms) > ONE / 2 ||
		       score_of(l, t.network, now_ms) > NET_SHARE * ONE / 2
		   ? LIMITER_SUSPECT
		   : LIMITER_UNKNOWN;
}

static struct limiter_verdict look(const struct limiter *l, const struct tags *t, bool trusted,
				   uint64_t now_ms)
{
	struct limiter_verdict v = { 0 };

	consider(&v, delay_of(&l->conf, score_of(l, t->address, now_ms), 1), LIMITER_ADDRESS);
	if (trusted)
		return v;
	consider(&v, delay_of(&l->conf, score_of(l, t->network, now_ms), NET_SHARE),
		 LIMITER_NETWORK);
	consider(&v, delay_of(&l->conf, score_of(l, t->identity, now_ms), 1), LIMITER_IDENTITY);
	consider(&v, delay_of_all(l, now_ms), LIMITER_INSTALLATION);
	return v;
}

struct limiter_verdict limiter_look(struct limiter *l, const struct limiter_who *who,
				    uint64_t now_ms)
{
	struct tags t;

	if (limiter_allows(l, who->address))
		return (struct limiter_verdict){ 0 };
	t = tags_of(l, who);
	return look(l, &t, limiter_trusts(l, who->address, now_ms), now_ms);
}

/* -- what happened -- */

/* Whether this secret was among the last wrong ones; it is from now on. */
static bool seen(struct slot *s, uint64_t secret)
{
	uint16_t digest = (uint16_t)(secret >> 48);

	digest = digest ? digest : 1;
	for (int i = 0; i < SEEN; i++)
		if (s->seen[i] == digest)
			return true;
	s->seen[s->next_seen++ % SEEN] = digest;
	return false;
}

static struct slot *count(struct limiter *l, uint64_t tag, uint64_t secret, uint64_t now_ms)
{
	struct slot *s = tag ? make(l, tag, now_ms) : NULL;
	uint64_t score;

	if (!s || seen(s, secret))
		return NULL;
	if (age_ms(s->last_s, now_ms) > l->conf.ban_max_ms)
		s->bans = 0;
	score = score_now(l, s, now_ms) + ONE;
	s->score = (uint16_t)(score < SCORE_MAX ? score : SCORE_MAX);
	/* A clock that was set back: what was counted later fades from then on. */
	if (now_ms / 1000 > s->last_s)
		s->last_s = (uint32_t)(now_ms / 1000);
	return s;
}

static void ban(const struct limiter *l, struct slot *s, const struct limiter_who *who,
		unsigned bits, enum limiter_cause cause, uint64_t now_ms, struct limiter_verdict *v)
{
	uint64_t share = cause == LIMITER_NETWORK ? NET_SHARE : 1, ms = l->conf.ban_ms;

	if (!s || !l->conf.ban_after || s->score / ONE < (uint64_t)l->conf.ban_after * share)
		return;
	for (unsigned i = 0; i < s->bans && ms < l->conf.ban_max_ms; i++)
		ms *= 2;
	ms = ms < l->conf.ban_max_ms ? ms : l->conf.ban_max_ms;
	if (s->bans < UINT8_MAX)
		s->bans++;
	/* It begins anew when the ban is over, at half: the next one comes sooner. */
	s->score /= 2;
	v->ban_until_ms = now_ms + ms;
	v->ban_cause = cause;
	v->ban.bits = bits;
	memcpy(v->ban.at, who->address, sizeof v->ban.at);
	memset(v->ban.at + bits / 8, 0, sizeof v->ban.at - bits / 8);
}

struct limiter_verdict limiter_failed(struct limiter *l, const struct limiter_who *who,
				      uint64_t secret, uint64_t now_ms)
{
	struct limiter_verdict v;
	struct slot *address;
	struct tags t;
	bool trusted;

	if (limiter_allows(l, who->address))
		return (struct limiter_verdict){ 0 };
	t = tags_of(l, who);
	trusted = limiter_trusts(l, who->address, now_ms);
	address = count(l, t.address, secret, now_ms);
	count(l, t.network, secret, now_ms);
	count(l, t.identity, secret, now_ms);
	/* Making room for one may have moved the others: from here on they are looked up. */
	if (address) {
		l->all = all_now(l, now_ms);
		l->all += l->all < ALL_MAX ? ALL_ONE : 0;
		l->all_ms = now_ms > l->all_ms ? now_ms : l->all_ms;
	}
	v = look(l, &t, trusted, now_ms);
	if (trusted)
		return v;
	if (t.network)
		ban(l, find(l, t.network), who, 64, LIMITER_NETWORK, now_ms, &v);
	if (!v.ban.bits)
		ban(l, find(l, t.address), who, 128, LIMITER_ADDRESS, now_ms, &v);
	return v;
}

void limiter_good(struct limiter *l, const struct limiter_who *who, uint64_t now_ms)
{
	struct slot *s;

	if (limiter_allows(l, who->address))
		return;
	s = make(l, tag_of(l, ADDRESS, slice(who->address, 16)), now_ms);
	if (now_ms / 1000 > s->good_s)
		s->good_s = (uint32_t)(now_ms / 1000);
	/* Not forgiven: behind one address there may be a guesser and an owner. */
}

struct limiter_count limiter_count(const struct limiter *l)
{
	return (struct limiter_count){ .kept = l->kept,
				       .bytes = l->buckets * WAYS * sizeof *l->at,
				       .forgotten = l->forgotten };
}

const char *limiter_cause_name(enum limiter_cause c)
{
	switch (c) {
	case LIMITER_NONE: return "none";
	case LIMITER_ADDRESS: return "address";
	case LIMITER_NETWORK: return "network";
	case LIMITER_IDENTITY: return "identity";
	case LIMITER_INSTALLATION: return "installation";
	}
	MUST(false);
	return "";
}
