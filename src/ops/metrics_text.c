/* ops/metrics_text.c -- the counters in Prometheus' text form, version 0.0.4. */
#include "ops/metrics_impl.h"

void metrics_text_escaped(struct buf *out, struct slice word)
{
	for (size_t i = 0; i < word.n; i++) {
		char c = word.p[i];

		if (c == '\\' || c == '"')
			buf_addc(out, '\\');
		if (c == '\n')
			buf_add(out, S("\\n"));
		else
			buf_addc(out, (unsigned char)c < 0x20 || c == 0x7f ? '?' : c);
	}
}

void metrics_text_head(struct buf *out, const char *name, const char *type, const char *help)
{
	/* Our own words: in a help text a backslash would have to be escaped, and a quote not. */
	buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_label(struct buf *out, const char *name, struct slice word)
{
	buf_addf(out, "%s=\"", name);
	metrics_text_escaped(out, word);
	buf_addc(out, '"');
}

void metrics_text_sample(struct buf *out, const char *name, const char *label, struct slice word,
			 uint64_t value, bool milli)
{
	buf_add(out, slice_str(name));
	if (label) {
		buf_addc(out, '{');
		add_label(out, label, word);
		buf_addc(out, '}');
	}
	buf_addc(out, ' ');
	buf_addu(out, milli ? value / 1000 : value);
	if (milli)
		buf_addf(out, ".%03u", (unsigned)(value % 1000));
	buf_addc(out, '\n');
}

/* value / unit, without zeros at its end. */
static void add_fraction(struct buf *out, uint64_t value, uint64_t unit)
{
	uint64_t rest = value % unit;

	buf_addu(out, value / unit);
	if (rest)
		buf_addc(out, '.');
	for (; rest; rest %= unit) {
		rest *= 10;
		buf_addc(out, (char)('0' + rest / unit));
	}
}

static void add_histogram(struct buf *out, enum metric m, const char *name)
{
	const struct metrics_bounds *b = metrics_bounds_of(m);
	uint64_t n = 0;

	for (unsigned i = 0; i < b->n; i++) {
		n += metrics_cell(m, i);
		buf_addf(out, "%s_bucket{le=\"", name);
		add_fraction(out, b->at[i], b->unit);
		buf_addf(out, "\"} %llu\n", (unsigned long long)n);
	}
	n += metrics_cell(m, b->n);
	buf_addf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum ", name, (unsigned long long)n, name);
	add_fraction(out, metrics_cell(m, METRICS_BUCKETS + 1), b->unit);
	buf_addf(out, "\n%s_count %llu\n", name, (unsigned long long)n);
}

static void add_cells(struct buf *out, enum metric m, const struct metrics_info *i)
{
	unsigned wide = metrics_labels[i->b].max + 1;

	for (unsigned a = 0; a < metrics_n_words(i->a); a++)
		for (unsigned b = 0; b < metrics_n_words(i->b); b++) {
			uint64_t v = metrics_cell(m, a * wide + b);

			/* A gauge's parts may be summed while they move: never less than none. */
			if (i->kind == METRIC_GAUGE && v > INT64_MAX)
				v = 0;
			/* "other" shows itself when there is something; so does a pair, or a few
			 * words here and there would make a hundred rows of nothing. */
			if (!v && ((i->a && !a) || i->b))
				continue;
			buf_add(out, slice_str(i->name));
			if (i->a) {
				buf_addc(out, '{');
				add_label(out, metrics_labels[i->a].name,
					  metrics_word_text(i->a, a));
				if (i->b) {
					buf_addc(out, ',');
					add_label(out, metrics_labels[i->b].name,
						  metrics_word_text(i->b, b));
				}
				buf_addc(out, '}');
			}
			buf_addf(out, " %llu\n", (unsigned long long)v);
		}
}

static const char *type_of(enum metrics_kind kind)
{
	switch (kind) {
	case METRIC_COUNTER: return "counter";
	case METRIC_GAUGE:
	case METRIC_LEVEL: return "gauge";
	case METRIC_TIMES:
	case METRIC_WAITS:
	case METRIC_SIZES: return "histogram";
	}
	return "untyped";
}

void metrics_text(struct buf *out)
{
	for (enum metric m = 0; m < METRICS_N; m++) {
		const struct metrics_info *i = &metrics_infos[m];

		metrics_text_head(out, i->name, type_of(i->kind), i->help);
		if (metrics_bounds_of(m))
			add_histogram(out, m, i->name);
		else
			add_cells(out, m, i);
	}
}
