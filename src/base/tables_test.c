/* Map, heap and slots, each against a naive model. */
#include "base/heap.h"
#include "base/map.h"
#include "base/room_test.h"
#include "base/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint32_t roll(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33);
}

/* Made by an independent program, which was itself checked against the published vectors of
 * SipHash-2-4 and, for key 0, against CPython 3.11's hash of bytes (PYTHONHASHSEED=0). */
static void hash_vectors(void **state)
{
	static const uint64_t key[2] = { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u };
	static const struct {
		size_t n;
		uint64_t hash;
	} rows[] = {
		{ 0, 0xabac0158050fc4dcu },  { 1, 0xc9f49bf37d57ca93u },
		{ 7, 0xd3927d989bb11140u },  { 8, 0x369095118d299a8eu },
		{ 9, 0x25a48eb36c063de4u },  { 15, 0xd320d86d2a519956u },
		{ 16, 0xcc4fdd1a7d908b66u }, { 63, 0x9d199062b7bbb3a8u },
	};
	static const uint64_t zero[2] = { 0 };
	char in[64];

	for (size_t i = 0; i < sizeof in; i++)
		in[i] = (char)i;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_true(siphash(key, slice(in, rows[i].n)) == rows[i].hash);
	assert_true(siphash(zero, S("a")) == 0x407448d2b89b1813u);
	assert_true(siphash(zero, S("abcdefg")) == 0x6db12aae9070f506u);
	assert_true(siphash(zero, S("abcdefgh")) == 0x3f7b849c0b8e35eau);
	assert_true(siphash(zero, S("0123456789abcdef0123456789abcdef!")) == 0xf57d8a77201be07bu);
	assert_true(siphash(key, S("a")) != siphash(zero, S("a")));
}

#define KEYS 96

struct model {
	char text[KEYS][8];
	void *value[KEYS]; /* NULL: not in the map */
	size_t n;
};

static struct slice key_of(const struct model *m, size_t i)
{
	return slice_str(m->text[i]);
}

static void same(const struct map *map, const struct model *m)
{
	bool seen[KEYS] = { false };
	size_t at = 0, n = 0;
	struct slice key;
	void *value;

	assert_int_equal(map->n, m->n);
	for (size_t i = 0; i < KEYS; i++)
		assert_ptr_equal(map_get(map, key_of(m, i)), m->value[i]);
	while ((value = map_each(map, &at, &key))) {
		size_t i = 0;

		while (i < KEYS && !slice_eq(key_of(m, i), key))
			i++;
		if (i == KEYS || seen[i])
			fail_msg("a key that is not in the model, or twice");
		else
			seen[i] = true;
		assert_ptr_equal(map_get(map, key), value);
		n++;
	}
	assert_int_equal(n, m->n);
}

/* home: keys that all want the last or the first places of a table of 16, so that they push one
 * another around its end; or any keys. */
static void make_keys(struct model *m, const uint64_t hash_key[2], bool crowded)
{
	size_t made = 0;

	for (unsigned c = 0; made < KEYS; c++) {
		uint64_t home;

		snprintf(m->text[made], sizeof m->text[made], "%u", c);
		home = siphash(hash_key, key_of(m, made)) & 15;
		if (!crowded || home >= 14 || home == 0)
			made++;
	}
}

static void map_model(const uint64_t hash_key[2], bool crowded, size_t keys, uint64_t seed)
{
	static char values[8];
	struct model m = { 0 };
	struct map map;

	make_keys(&m, hash_key, crowded);
	map_init(&map, hash_key);
	assert_null(map_get(&map, S("x")));
	assert_null(map_remove(&map, S("x")));
	for (int step = 0; step < 3000; step++) {
		size_t i = roll(&seed) % keys;
		void *value = &values[roll(&seed) % sizeof values];

		if (roll(&seed) % 2) {
			assert_true(map_put(&map, key_of(&m, i), value));
			m.n += !m.value[i];
			m.value[i] = value;
		} else {
			assert_ptr_equal(map_remove(&map, key_of(&m, i)), m.value[i]);
			m.n -= m.value[i] != NULL;
			m.value[i] = NULL;
		}
		same(&map, &m);
	}
	map_done(&map);
	assert_null(map_get(&map, key_of(&m, 0)));
}

static void maps(void **state)
{
	static const uint64_t one[2] = { 1, 2 }, two[2] = { 3, 4 };

	map_model(one, true, 11, 1); /* stays at 16 places */
	map_model(two, true, 12, 2);
	map_model(one, false, KEYS, 3); /* grows */
	map_model(two, true, KEYS, 4);
}

static void map_keys_are_only_bytes(void **state)
{
	static const uint64_t key[2] = { 1, 2 };
	char text[] = "name";
	struct map m;
	int a, b, c, d;

	map_init(&m, key);
	assert_true(map_put(&m, S(""), &a) && map_put(&m, S("\0"), &b));
	assert_true(map_put(&m, S("__proto__"), &c) && map_put(&m, slice_str(text), &d));
	text[0] = 'X'; /* the key was copied */
	assert_ptr_equal(map_get(&m, S("name")), &d);
	assert_null(map_get(&m, S("Name")));
	assert_ptr_equal(map_get(&m, slice(NULL, 0)), &a);
	assert_ptr_equal(map_get(&m, S("\0")), &b);
	assert_null(map_get(&m, S("\0\0")));
	assert_ptr_equal(map_get(&m, S("__proto__")), &c);
	map_done(&m);
}

#define NODES 200

static int by_key(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void heap_holds(const struct heap *h, const struct heap_node *nodes, size_t in)
{
	uint64_t least = UINT64_MAX;
	size_t n = 0;

	for (size_t i = 0; i < NODES; i++) {
		if (nodes[i].at == HEAP_OUT)
			continue;
		assert_ptr_equal(h->nodes[nodes[i].at], &nodes[i]);
		least = nodes[i].key < least ? nodes[i].key : least;
		n++;
	}
	assert_int_equal(n, in);
	assert_int_equal(h->n, in);
	if (in)
		assert_true(heap_min(h)->key == least);
	else
		assert_null(heap_min(h));
}

static void heap_against_sort(void **state)
{
	struct heap h = { 0 };
	struct heap_node nodes[NODES];
	uint64_t keys[NODES], seed = 7;
	size_t in = 0;

	for (size_t i = 0; i < NODES; i++)
		nodes[i] = (struct heap_node){ .at = HEAP_OUT };
	for (int step = 0; step < 5000; step++) {
		struct heap_node *x = &nodes[roll(&seed) % NODES];

		if (roll(&seed) % 3) { /* in, or moved; keys collide often */
			in += x->at == HEAP_OUT;
			assert_true(heap_set(&h, x, roll(&seed) % 50));
		} else {
			in -= x->at != HEAP_OUT;
			heap_remove(&h, x);
			assert_true(x->at == HEAP_OUT);
		}
		heap_holds(&h, nodes, in);
	}
	for (size_t i = 0; i < NODES; i++) {
		keys[i] = i ? (uint64_t)roll(&seed) << 33 : UINT64_MAX;
		assert_true(heap_set(&h, &nodes[i], keys[i]));
	}
	qsort(keys, NODES, sizeof *keys, by_key);
	for (size_t i = 0; i < NODES; i++) {
		assert_true(heap_min(&h)->key == keys[i]);
		heap_remove(&h, heap_min(&h));
	}
	assert_null(heap_min(&h));
	assert_true(heap_set(&h, &nodes[0], 1));
	heap_done(&h);
	assert_true(nodes[0].at == HEAP_OUT && !h.nodes);
	heap_done(&h);
}

#define PLACES 100

static void slots_model(void **state)
{
	struct slots t;
	struct ref live[PLACES], dead[500] = { 0 };
	bool in[PLACES] = { false };
	char objects[PLACES];
	size_t n = 0, gone = 0;
	uint64_t seed = 9;

	slots_init(&t, PLACES - 10);
	for (int step = 0; step < 5000; step++) {
		size_t i = roll(&seed) % PLACES;

		if (in[i]) {
			slots_remove(&t, live[i]);
			dead[gone++ % 500] = live[i];
			in[i] = false;
			n--;
		} else if (slots_add(&t, &objects[i], &live[i])) {
			in[i] = true;
			assert_true(live[i].age != 0);
			n++;
		} else {
			assert_int_equal(n, PLACES - 10); /* full, and only then */
		}
		for (size_t k = 0; k < PLACES; k++)
			if (in[k])
				assert_ptr_equal(slots_get(&t, live[k]), &objects[k]);
		for (size_t k = 0; k < 500 && k < gone; k++)
			assert_null(slots_get(&t, dead[k])); /* for good */
	}
	assert_true(gone > 1000);
	slots_done(&t);
	assert_null(slots_get(&t, live[0]));
}

static void slots_walk(void **state)
{
	struct slots t;
	struct ref r[3];
	int a, b, c;
	size_t at = 0, n = 0;
	void *object;

	slots_init(&t, 3);
	assert_null(slots_each(&t, &at));
	assert_true(slots_add(&t, &a, &r[0]) && slots_add(&t, &b, &r[1]) &&
		    slots_add(&t, &c, &r[2]));
	assert_false(slots_add(&t, &a, &r[0]));
	at = 0;
	while ((object = slots_each(&t, &at))) {
		n++;
		if (object == &b)
			slots_remove(&t, r[1]);
	}
	assert_int_equal(n, 3);
	for (at = n = 0; (object = slots_each(&t, &at)); n++)
		assert_true(object != &b);
	assert_int_equal(n, 2);
	assert_null(slots_get(&t, r[1]));
	assert_null(slots_get(&t, (struct ref){ 0 }));
	assert_null(slots_get(&t, (struct ref){ 1, 0 }));
	assert_null(slots_get(&t, (struct ref){ 99, 1 }));
	slots_done(&t);
}

int run_tables_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hash_vectors),
		cmocka_unit_test(maps),
		cmocka_unit_test(map_keys_are_only_bytes),
		cmocka_unit_test(heap_against_sort),
		cmocka_unit_test(slots_model),
		cmocka_unit_test(slots_walk),
	};

	return cmocka_run_group_tests_name("base tables", tests, NULL, NULL);
}
