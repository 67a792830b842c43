/* ops/metrics_impl.h -- the tables, shared by counting (metrics.c) and telling (metrics_text.c). */
#ifndef OPS_METRICS_IMPL_H
#define OPS_METRICS_IMPL_H

#include "ops/metrics.h"

#define METRICS_BUCKETS   15
#define METRICS_WORDS_MAX 64

struct metrics_label_info {
	const char *name;
	unsigned max;
};

struct metrics_info {
	enum metrics_kind kind;
	const char *name;
	enum metrics_label a, b;
	const char *help;
};

/* Upper bounds of a histogram's buckets, in what is observed; `unit` of these are one of what is
 * told. */
struct metrics_bounds {
	uint64_t unit;
	unsigned n;
	uint64_t at[METRICS_BUCKETS];
};

extern const struct metrics_label_info metrics_labels[METRICS_N_LABELS];
extern const struct metrics_info metrics_infos[METRICS_N];

/* NULL: it is no histogram. */
const struct metrics_bounds *metrics_bounds_of(enum metric);
/* The sum over all threads. Histograms: n buckets, the overflow, and at METRICS_BUCKETS + 1 the sum
 * of what was observed. */
uint64_t metrics_cell(enum metric, unsigned i);

/* Words in use, "other" (at 0) included. */
unsigned metrics_n_words(enum metrics_label);
struct slice metrics_word_text(enum metrics_label, unsigned at);

#endif
