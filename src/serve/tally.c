#include "serve/tally.h"

#include "base/map.h"
#include "base/must.h"
#include "base/net.h"

#include <pthread.h>
#include <stdlib.h>

struct tally {
	pthread_mutex_t lock;
	struct map counts; /* of uint64_t, each allocated */
};

struct tally *tally_new(const uint64_t hash_key[2])
{
	struct tally *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	map_init(&t->counts, hash_key);
	return t;
}

void tally_free(struct tally *t)
{
	struct slice key;
	size_t at = 0;
	void *count;

	if (!t)
		return;
	while ((count = map_each(&t->counts, &at, &key)))
		free(count);
	map_done(&t->counts);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static bool add(struct tally *t, struct slice key, uint64_t max)
{
	uint64_t *count = map_get(&t->counts, key);

	if (count) {
		if (max && *count >= max)
			return false;
		++*count;
		return true;
	}
	count = malloc(sizeof *count);
	if (!count)
		return false;
	*count = 1;
	if (map_put(&t->counts, key, count))
		return true;
	free(count);
	return false;
}

bool tally_add(struct tally *t, struct slice key, uint64_t max)
{
	bool ok;

	pthread_mutex_lock(&t->lock);
	ok = add(t, key, max);
	pthread_mutex_unlock(&t->lock);
	return ok;
}

void tally_drop(struct tally *t, struct slice key)
{
	uint64_t *count;

	pthread_mutex_lock(&t->lock);
	count = map_get(&t->counts, key);
	MUST(count && *count);
	if (--*count == 0) {
		map_remove(&t->counts, key);
		free(count);
	}
	pthread_mutex_unlock(&t->lock);
}

/* Whoever has one address of IPv6 has 2^64 of them. What is no address counts as it is. */
static struct slice client_key(struct slice address, unsigned char room[NET_BYTES])
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (!net_address(address, room))
		return address;
	if (memcmp(room, mapped, sizeof mapped) != 0)
		memset(room + 8, 0, 8);
	return slice((const char *)room, NET_BYTES);
}

bool tally_add_client(struct tally *t, struct slice address, uint64_t max)
{
	unsigned char room[NET_BYTES];

	return tally_add(t, client_key(address, room), max);
}

void tally_drop_client(struct tally *t, struct slice address)
{
	unsigned char room[NET_BYTES];

	tally_drop(t, client_key(address, room));
}
