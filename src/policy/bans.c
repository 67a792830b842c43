#include "policy/bans.h"

#include "base/map.h"

#include <stdlib.h>

struct bans {
	struct map by_prefix; /* of struct ban, each allocated */
	size_t max, n;
	size_t of_length[129]; /* how many there are of each: only those lengths are asked for */
};

struct bans *bans_new(size_t max, const uint64_t hash_key[2])
{
	struct bans *b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->max = max;
	map_init(&b->by_prefix, hash_key);
	return b;
}

void bans_free(struct bans *b)
{
	struct slice key;
	size_t at = 0;
	void *ban;

	if (!b)
		return;
	while ((ban = map_each(&b->by_prefix, &at, &key)))
		free(ban);
	map_done(&b->by_prefix);
	free(b);
}

/* What a prefix is found by. */
struct key {
	unsigned char bytes[17];
};

static void cut(unsigned char address[16], unsigned bits)
{
	if (bits >= 128)
		return;
	address[bits / 8] &= (unsigned char)(0xff00u >> bits % 8);
	memset(address + bits / 8 + 1, 0, 15 - bits / 8);
}

static struct key key_of(const unsigned char address[16], unsigned bits)
{
	struct key k;

	memcpy(k.bytes, address, 16);
	cut(k.bytes, bits);
	k.bytes[16] = (unsigned char)bits;
	return k;
}

static struct ban *get(const struct bans *b, const unsigned char address[16], unsigned bits)
{
	struct key k = key_of(address, bits);

	return map_get(&b->by_prefix, slice(k.bytes, sizeof k.bytes));
}

static void drop(struct bans *b, struct ban *ban)
{
	struct key k = key_of(ban->prefix.at, ban->prefix.bits);

	map_remove(&b->by_prefix, slice(k.bytes, sizeof k.bytes));
	b->of_length[ban->prefix.bits]--;
	b->n--;
	free(ban);
}

static bool room(struct bans *b)
{
	struct ban *first = NULL, *ban;
	struct slice key;
	size_t at = 0;

	if (b->n < b->max)
		return true;
	while ((ban = map_each(&b->by_prefix, &at, &key)))
		if (!ban->by_hand && (!first || ban->until_ms < first->until_ms))
			first = ban;
	if (first)
		drop(b, first);
	return first;
}

bool bans_add(struct bans *b, const struct ban *ban)
{
	struct ban *old = get(b, ban->prefix.at, ban->prefix.bits), *own;
	struct key k = key_of(ban->prefix.at, ban->prefix.bits);

	if (old) {
		if (!ban->by_hand && (old->by_hand || old->until_ms > ban->until_ms))
			return false;
		*old = *ban;
		cut(old->prefix.at, old->prefix.bits);
		return true;
	}
	own = room(b) ? malloc(sizeof *own) : NULL;
	if (!own)
		return false;
	*own = *ban;
	cut(own->prefix.at, own->prefix.bits);
	if (!map_put(&b->by_prefix, slice(k.bytes, sizeof k.bytes), own)) {
		free(own);
		return false;
	}
	b->of_length[own->prefix.bits]++;
	b->n++;
	return true;
}

bool bans_lift(struct bans *b, const struct net *p)
{
	struct ban *ban = get(b, p->at, p->bits);

	if (ban)
		drop(b, ban);
	return ban;
}

const struct ban *bans_hold(const struct bans *b, const unsigned char address[16], uint64_t now_ms)
{
	const struct ban *longest = NULL;

	for (unsigned bits = 0; b->n && bits <= 128; bits++) {
		const struct ban *ban = b->of_length[bits] ? get(b, address, bits) : NULL;

		if (ban && ban->until_ms > now_ms &&
		    (!longest || ban->until_ms > longest->until_ms))
			longest = ban;
	}
	return longest;
}

size_t bans_expire(struct bans *b, uint64_t now_ms)
{
	struct ban *ban, *over[64];
	size_t n, all = 0;

	do {
		struct slice key;
		size_t at = 0;

		n = 0;
		while (n < 64 && (ban = map_each(&b->by_prefix, &at, &key)))
			if (ban->until_ms <= now_ms)
				over[n++] = ban;
		for (size_t i = 0; i < n; i++)
			drop(b, over[i]);
		all += n;
	} while (n == 64);
	return all;
}

const struct ban *bans_each(const struct bans *b, size_t *at)
{
	struct slice key;

	return map_each(&b->by_prefix, at, &key);
}

size_t bans_count(const struct bans *b)
{
	return b->n;
}

void bans_add_net(struct buf *out, const struct net *n)
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool v4 = n->bits >= 96 && !memcmp(n->at, mapped, sizeof mapped);
	char name[NET_TEXT];

	net_text(n->at, name);
	buf_add(out, slice_str(name));
	if (n->bits < 128)
		buf_addf(out, "/%u", v4 ? n->bits - 96 : n->bits);
}
