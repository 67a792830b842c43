#include "mime/address.h"

#include "mime/room_test.h"
#include "mime/vectors.h"

#include <stdio.h>
#include <stdlib.h>

static int hex(char c)
{
	return ascii_digit(c) ? c - '0' : c - 'a' + 10;
}

/* \xNN back to bytes, in place. */
static struct slice unescape(struct slice s)
{
	char *p = (char *)(uintptr_t)s.p;
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\') {
			p[n++] = (char)(hex(s.p[i + 2]) << 4 | hex(s.p[i + 3]));
			i += 3;
		} else {
			p[n++] = s.p[i];
		}
	}
	return slice(p, n);
}

static bool inside(struct slice part, struct slice all)
{
	return part.p >= all.p && part.p + part.n <= all.p + all.n;
}

/* What holds for every address that was read. */
static void check_address(const struct mime_address *x, struct slice input)
{
	assert_true(x->local.n && x->domain.n);
	assert_true(inside(x->local, input) && inside(x->domain, input));
	assert_int_equal(x->whole.n, x->local.n + 1 + x->domain.n);
	assert_slice(slice(x->whole.p, x->local.n), x->local);
	assert_slice(slice_from(x->whole, x->local.n + 1), x->domain);
	assert_int_equal(x->quoted, x->local.p[0] == '"');
	assert_int_equal(x->literal, x->domain.p[0] == '[');
}

static void run_vector(struct slice line)
{
	struct slice utf8, verdict, group, text, want;
	struct mime_addresses list;
	struct err e = { 0 };
	struct arena a;
	size_t n = 0;
	char *exact;
	bool ok, more;

	slice_cut(line, '\t', &utf8, &line);
	slice_cut(line, '\t', &verdict, &line);
	slice_cut(line, '\t', &group, &line);
	more = slice_cut(line, '\t', &text, &line);
	text = unescape(text);
	/* Storage of exactly its size, so that a read one byte too far is seen. */
	exact = malloc(text.n ? text.n : 1);
	assert_non_null(exact);
	memcpy(exact, text.p, text.n);
	text.p = exact;
	arena_init(&a, 1 << 16);
	ok = mime_addresses_parse(text, slice_eq(utf8, S("1")), 100, &a, &list, &e);
	if (ok != slice_eq(verdict, S("ok")))
		fail_msg("%s: \"%.*s\"", ok ? "read" : e.text, SLICE_ARG(text));
	if (!ok)
		assert_int_equal(e.kind, ERR_INPUT);
	for (; ok && more; n++) {
		more = slice_cut(line, '\t', &want, &line);
		assert_true(n < list.n);
		check_address(&list.at[n], text);
		assert_slice(list.at[n].whole, unescape(want));
	}
	if (ok) {
		assert_int_equal(n, list.n);
		assert_int_equal(list.has_group, slice_eq(group, S("1")));
	}
	arena_done(&a);
	free(exact);
}

/* tests/vectors/address.tsv says how the file was made. */
static void reads_the_vectors(void **state)
{
	FILE *f = fopen(MIME_ADDRESS_TSV, "r");
	char *line = NULL;
	size_t cap = 0, lines = 0;
	ssize_t n;

	assert_non_null(f);
	while ((n = getline(&line, &cap, f)) > 0) {
		run_vector(slice(line, (size_t)n - (line[n - 1] == '\n')));
		lines++;
	}
	free(line);
	fclose(f);
	assert_true(lines > 500);
}

static bool reads(struct slice in, size_t max, size_t arena_max, struct err *e)
{
	struct mime_addresses list;
	struct arena a;
	bool ok;

	arena_init(&a, arena_max);
	ok = mime_addresses_parse(in, false, max, &a, &list, e);
	arena_done(&a);
	return ok;
}

static void keeps_its_counts(void **state)
{
	struct err e = { 0 };

	assert_true(reads(S("a@b"), 1, 1000, &e));
	assert_true(reads(S("a@b, c@d, e@f"), 3, 10000, &e));
	assert_false(reads(S("a@b, c@d, e@f"), 2, 10000, &e));
	assert_int_equal(e.kind, ERR_INPUT);
	assert_false(reads(S("a@b"), 1, 10, &e));
	assert_int_equal(e.kind, ERR_LATER);
	assert_false(reads(S("a@(c)b"), 1, 2, &e));
	assert_int_equal(e.kind, ERR_LATER);
}

/* One unit over and over, then a tail: neither deep nor slow, and always a verdict. */
static void bears_hostile_lengths(void **state)
{
	static const struct {
		struct slice unit, tail;
		bool want;
	} cases[] = {
		{ S("("), S("a@b"), false },
		{ S("(a)"), S("a@b"), true },
		{ S("((a)(b))"), S("a@b"), true },
		{ S("(\\"), S("a@b"), false },
		{ S("\\"), S("a@b"), false },
		{ S("\"a\" "), S("<a@b>"), true },
		{ S("\""), S("a@b"), false },
		{ S("\"\\\" "), S("a@b"), false },
		{ S("a "), S("<a@b>"), true },
		{ S(". "), S("<a@b>"), true }, /* a foolish display name, and harmless */
		{ S("<"), S("a@b"), false },
		{ S("a:"), S("a@b;"), false },
		{ S("a:;,"), S("a@b"), true },
		{ S(","), S("a@b"), false },
		{ S(" "), S("a@b"), true },
		{ S("\r\n "), S("a@b"), true },
		{ S("\r\n"), S("a@b"), false },
		{ S("a@"), S("a@b"), false },
		{ S("a@b,"), S("a@b"), false },
		{ S("=?"), S("@b"), false },
		{ S("."), S("@b"), false },
		{ S("a"), S("@b"), false },
		{ S("a@b (("), S(""), false },
	};
	const size_t size = 256 << 10;
	char *in = malloc(size + 16);

	assert_non_null(in);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct err e = { 0 };
		size_t n = 0;

		while (n + cases[i].unit.n <= size) {
			memcpy(in + n, cases[i].unit.p, cases[i].unit.n);
			n += cases[i].unit.n;
		}
		memcpy(in + n, cases[i].tail.p, cases[i].tail.n);
		n += cases[i].tail.n;
		print_message("  case %zu\n", i);
		assert_int_equal(reads(slice(in, n), 1000, 1 << 20, &e), cases[i].want);
	}
	free(in);
}

int address_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_the_vectors),
		cmocka_unit_test(keeps_its_counts),
		cmocka_unit_test(bears_hostile_lengths),
	};

	return cmocka_run_group_tests_name("mime address", tests, NULL, NULL);
}
