#include "ops/metrics_impl.h"

#include "base/must.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* clang-format off */
const struct metrics_label_info metrics_labels[METRICS_N_LABELS] = {
#define X(symbol, name, max) [symbol] = { name, max },
	METRICS_LABELS(X)
#undef X
};

const struct metrics_info metrics_infos[METRICS_N] = {
#define X(symbol, kind, name, a, b, help) [symbol] = { kind, name, a, b, help },
	METRICS(X)
#undef X
};

#define MILLI(n) (n ## 000000ull) /* nanoseconds */
#define MICRO(n) (n ## 000ull)
const struct metrics_bounds metrics_times = { 1000000000u, 15, {
	MICRO(100), MICRO(250), MICRO(500), MILLI(1), MICRO(2500), MILLI(5), MILLI(10), MILLI(25),
	MILLI(50), MILLI(100), MILLI(250), MILLI(500), MILLI(1000), MILLI(2500), MILLI(10000) } };
const struct metrics_bounds metrics_waits = { 1000, 14, {
	100, 500, 1000, 5000, 15000, 60000, 300000, 900000, 3600000, 4 * 3600000, 12 * 3600000,
	24 * 3600000, 2 * 24 * 3600000, 5 * 24 * 3600000 } };
const struct metrics_bounds metrics_sizes = { 1, 11, {
	1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024 } };

/* How many words a label has, "other" included. */
enum {
#define X(symbol, name, max) WORDS_##symbol = (max) + 1,
	METRICS_LABELS(X)
#undef X
};

/* Cells of a metric: one for each pair of words; a histogram's buckets, their overflow, the sum. */
#define CELLS(kind, a, b) \
	((kind) == METRIC_TIMES || (kind) == METRIC_WAITS || (kind) == METRIC_SIZES \
		 ? METRICS_BUCKETS + 2 : WORDS_##a * WORDS_##b)

enum {
#define X(symbol, kind, name, a, b, help) \
	CELL_##symbol, LAST_##symbol = CELL_##symbol + CELLS(kind, a, b) - 1,
	METRICS(X)
#undef X
	N_CELLS
};

static const struct place {
	unsigned short first, a, b; /* cell, words of its labels */
} places[METRICS_N] = {
#define X(symbol, kind, name, a, b, help) [symbol] = { CELL_##symbol, WORDS_##a, WORDS_##b },
	METRICS(X)
#undef X
};
/* clang-format on */

/* What one thread counts. Written by that thread alone, read by whoever sums up. */
struct block {
	_Alignas(64) atomic_uint_fast64_t cells[N_CELLS];
	struct block *next;
};

struct words {
	atomic_uint n; /* besides "other"; a word stands when it is counted here, and for good */
	char text[METRICS_WORDS_MAX][METRICS_WORD_MAX + 1];
};

/* The counters of the process. Mutable state of this file, and nowhere else. */
static _Thread_local struct block *mine;
static struct {
	struct block *_Atomic blocks;
	struct block shared; /* levels; and of threads without memory for a block of their own */
	struct words words[METRICS_N_LABELS];
	pthread_mutex_t naming;
} counters = { .naming = PTHREAD_MUTEX_INITIALIZER };

static struct block *attach(void)
{
	struct block *b = aligned_alloc(64, (sizeof *b + 63) / 64 * 64);

	if (!b)
		return NULL;
	memset(b, 0, sizeof *b);
	b->next = atomic_load(&counters.blocks);
	while (!atomic_compare_exchange_weak(&counters.blocks, &b->next, b))
		;
	mine = b;
	return b;
}

static inline void add(unsigned cell, uint64_t n)
{
	struct block *b = mine;
	atomic_uint_fast64_t *at;

	if (!b && !(b = attach())) {
		atomic_fetch_add_explicit(&counters.shared.cells[cell], n, memory_order_relaxed);
		return;
	}
	at = &b->cells[cell];
	atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline unsigned cell_of(enum metric m, unsigned a, unsigned b)
{
	const struct place *p = &places[m];

	MUST(a < p->a && b < p->b);
	return p->first + a * p->b + b;
}

void metrics_add(enum metric m, unsigned a, unsigned b, uint64_t n)
{
	add(cell_of(m, a, b), n);
}

void metrics_sub(enum metric m, unsigned a, unsigned b, uint64_t n)
{
	add(cell_of(m, a, b), 0 - n);
}

void metrics_set(enum metric m, uint64_t value)
{
	MUST(metrics_infos[m].kind == METRIC_LEVEL);
	atomic_store_explicit(&counters.shared.cells[places[m].first], value, memory_order_relaxed);
}

const struct metrics_bounds *metrics_bounds_of(enum metric m)
{
	switch (metrics_infos[m].kind) {
	case METRIC_TIMES: return &metrics_times;
	case METRIC_WAITS: return &metrics_waits;
	case METRIC_SIZES: return &metrics_sizes;
	case METRIC_COUNTER:
	case METRIC_GAUGE:
	case METRIC_LEVEL: break;
	}
	return NULL;
}

void metrics_observe(enum metric m, uint64_t value)
{
	const struct metrics_bounds *bounds = metrics_bounds_of(m);
	unsigned i = 0;

	MUST(bounds);
	while (i < bounds->n && value > bounds->at[i])
		i++;
	add(places[m].first + i, 1);
	add(places[m].first + METRICS_BUCKETS + 1, value);
}

uint64_t metrics_cell(enum metric m, unsigned i)
{
	unsigned at = places[m].first + i;
	uint64_t sum = atomic_load_explicit(&counters.shared.cells[at], memory_order_relaxed);

	for (struct block *b = atomic_load(&counters.blocks); b; b = b->next)
		sum += atomic_load_explicit(&b->cells[at], memory_order_relaxed);
	return sum;
}

uint64_t metrics_sum(enum metric m, unsigned a, unsigned b)
{
	const struct metrics_bounds *bounds = metrics_bounds_of(m);
	uint64_t sum = 0;

	if (!bounds)
		return metrics_cell(m, cell_of(m, a, b) - places[m].first);
	for (unsigned i = 0; i <= bounds->n; i++)
		sum += metrics_cell(m, i);
	return sum;
}

/* -- words -- */

static unsigned find(const struct words *w, unsigned from, unsigned n, struct slice word)
{
	for (unsigned i = from; i < n; i++)
		if (slice_eq(slice_str(w->text[i]), word))
			return i + 1;
	return 0;
}

unsigned metrics_word(enum metrics_label label, struct slice word)
{
	struct words *w = &counters.words[label];
	unsigned seen = atomic_load_explicit(&w->n, memory_order_acquire), n, at;

	if (word.n > METRICS_WORD_MAX)
		word.n = METRICS_WORD_MAX;
	/* Kept with a NUL behind them. */
	if (word.n && memchr(word.p, '\0', word.n))
		return 0;
	at = find(w, 0, seen, word);
	if (at)
		return at;
	pthread_mutex_lock(&counters.naming);
	n = atomic_load_explicit(&w->n, memory_order_relaxed);
	at = find(w, seen, n, word);
	if (!at && n < metrics_labels[label].max) {
		if (word.n)
			memcpy(w->text[n], word.p, word.n);
		at = n + 1;
		atomic_store_explicit(&w->n, at, memory_order_release);
	}
	pthread_mutex_unlock(&counters.naming);
	return at;
}

unsigned metrics_n_words(enum metrics_label label)
{
	return atomic_load_explicit(&counters.words[label].n, memory_order_acquire) + 1;
}

struct slice metrics_word_text(enum metrics_label label, unsigned at)
{
	return at ? slice_str(counters.words[label].text[at - 1]) : S("other");
}
