#include "base/map.h"

#include <stdlib.h>

struct map_slot {
	uint64_t hash;
	void *value; /* NULL: free */
	char *key;
	size_t n;
};

static uint64_t rotl(uint64_t x, int b)
{
	return x << b | x >> (64 - b);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

uint64_t siphash(const uint64_t key[2], struct slice s)
{
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
			  key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u };
	uint64_t last = (uint64_t)s.n << 56;

	while (s.n >= 8) {
		uint64_t m;

		memcpy(&m, s.p, 8);
		slice_take(&s, 8);
		v[3] ^= m;
		sip_round(v);
		v[0] ^= m;
	}
	for (size_t i = 0; i < s.n; i++)
		last |= (uint64_t)(unsigned char)s.p[i] << (8 * i);
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_init(struct map *m, const uint64_t key[2])
{
	*m = (struct map){ .key = { key[0], key[1] } };
}

void map_done(struct map *m)
{
	for (size_t i = 0; i < m->cap; i++)
		free(m->at[i].key);
	free(m->at);
	map_init(m, m->key);
}

/* The slot that holds key, or the free one where it would go. cap is a power of two and never
 * full, so the walk ends. */
static size_t find(const struct map *m, struct slice key, uint64_t hash)
{
	size_t i = (size_t)hash & (m->cap - 1);

	while (m->at[i].value &&
	       !(m->at[i].hash == hash && slice_eq(slice(m->at[i].key, m->at[i].n), key)))
		i = (i + 1) & (m->cap - 1);
	return i;
}

static bool grow(struct map *m)
{
	size_t cap = m->cap ? m->cap * 2 : 16;
	struct map_slot *at = calloc(cap, sizeof *at);

	if (!at)
		return false;
	for (size_t i = 0; i < m->cap; i++) {
		size_t to;

		if (!m->at[i].value)
			continue;
		to = (size_t)m->at[i].hash & (cap - 1);
		while (at[to].value)
			to = (to + 1) & (cap - 1);
		at[to] = m->at[i];
	}
	free(m->at);
	m->at = at;
	m->cap = cap;
	return true;
}

void *map_get(const struct map *m, struct slice key)
{
	return m->n ? m->at[find(m, key, siphash(m->key, key))].value : NULL;
}

bool map_put(struct map *m, struct slice key, void *value)
{
	uint64_t hash = siphash(m->key, key);
	struct map_slot *s;
	char *copy;

	if (m->n + 1 > m->cap / 4 * 3 && !grow(m))
		return false;
	s = &m->at[find(m, key, hash)];
	if (s->value) {
		s->value = value;
		return true;
	}
	copy = malloc(key.n ? key.n : 1);
	if (!copy)
		return false;
	if (key.n)
		memcpy(copy, key.p, key.n);
	*s = (struct map_slot){ .hash = hash, .value = value, .key = copy, .n = key.n };
	m->n++;
	return true;
}

void *map_remove(struct map *m, struct slice key)
{
	size_t mask = m->cap - 1, hole, i;
	void *value;

	if (!m->n)
		return NULL;
	hole = find(m, key, siphash(m->key, key));
	value = m->at[hole].value;
	if (!value)
		return NULL;
	free(m->at[hole].key);
	/* Close the gap: move up whatever was pushed past the hole by a collision. */
	for (i = (hole + 1) & mask; m->at[i].value; i = (i + 1) & mask) {
		size_t home = (size_t)m->at[i].hash & mask;

		if (((i - home) & mask) >= ((i - hole) & mask)) {
			m->at[hole] = m->at[i];
			hole = i;
		}
	}
	m->at[hole] = (struct map_slot){ 0 };
	m->n--;
	return value;
}

void *map_each(const struct map *m, size_t *at, struct slice *ret_key)
{
	while (*at < m->cap) {
		const struct map_slot *s = &m->at[(*at)++];

		if (s->value) {
			*ret_key = slice(s->key, s->n);
			return s->value;
		}
	}
	return NULL;
}
