#include "backup/manifest.h"

#include "base/must.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void write_good(struct buf *b)
{
	struct manifest m = { .program = S("0.1.0"),
			      .time = S("2026-11-26T03:25:14.000Z"),
			      .hostname = S("mail.example"),
			      .owner = S("signet"),
			      .spool_format = 2,
			      .messages = 7 };
	struct manifest_file one = { .bytes = 5, .name = S("data/signet.db") };
	struct manifest_file two = { .bytes = 0, .name = S("outside/etc/my key%.pem") };
	struct manifest_absent gone = { S("data/master.key"), S("/var/lib/signet/master.key") };

	digest_sha256(S("hello"), one.sha256);
	digest_sha256(S(""), two.sha256);
	manifest_begin(b, &m);
	manifest_add(b, &one);
	manifest_add(b, &two);
	manifest_add_absent(b, &gone);
	manifest_end(b);
}

static void test_round_trip(void **state)
{
	unsigned char sum[DIGEST_SHA256];
	struct manifest m;
	struct arena a;
	struct buf b;
	struct err e = { 0 };

	(void)state;
	arena_init(&a, 1 << 20);
	buf_init(&b, 1 << 16);
	write_good(&b);
	assert_false(b.failed);
	assert_true(manifest_read(buf_slice(&b), &a, &m, &e));
	assert_true(slice_eq(m.program, S("0.1.0")));
	assert_true(slice_eq(m.hostname, S("mail.example")));
	assert_int_equal(m.spool_format, 2);
	assert_int_equal(m.messages, 7);
	assert_int_equal(m.n_files, 2);
	assert_int_equal(m.files[0].bytes, 5);
	assert_true(slice_eq(m.files[1].name, S("outside/etc/my key%.pem")));
	digest_sha256(S("hello"), sum);
	assert_memory_equal(m.files[0].sha256, sum, sizeof sum);
	assert_int_equal(m.n_absent, 1);
	assert_true(slice_eq(m.absent[0].path, S("/var/lib/signet/master.key")));
	digest_sha256(buf_slice(&b), sum);
	assert_memory_equal(m.sha256, sum, sizeof sum);
	buf_done(&b);
	arena_done(&a);
}

/* Whatever bit is wrong, wherever it is cut: it is not taken for whole. */
static void test_every_bit_and_cut(void **state)
{
	struct manifest m;
	struct arena a;
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 16);
	write_good(&b);
	for (size_t i = 0; i < b.n; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			struct err e = { 0 };

			b.p[i] = (char)(b.p[i] ^ (1 << bit));
			arena_init(&a, 1 << 20);
			assert_false(manifest_read(buf_slice(&b), &a, &m, &e));
			assert_true(e.kind == ERR_DAMAGED || e.kind == ERR_CONFLICT);
			arena_done(&a);
			b.p[i] = (char)(b.p[i] ^ (1 << bit));
		}
	for (size_t n = 0; n < b.n; n++) {
		struct err e = { 0 };

		arena_init(&a, 1 << 20);
		assert_false(manifest_read(slice(b.p, n), &a, &m, &e));
		assert_int_equal(e.kind, ERR_DAMAGED);
		arena_done(&a);
	}
	buf_done(&b);
}

#define HEAD "signet-backup 1\nprogram 0.1.0\ntime t\nhostname h\nowner -\nspool 2 0\n"
#define SUM  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* Each with a right last line: what is refused is refused for its own sake. */
static void test_refused(void **state)
{
	static const struct {
		struct slice text;
		enum err_kind kind;
		const char *where;
	} cases[] = {
		{ S("signet-backup 2\nwhatever\n"), ERR_CONFLICT, "newer" },
		{ S("signet-backup 0\n"), ERR_DAMAGED, "line" },
		{ S("something else\n"), ERR_DAMAGED, "no backup" },
		{ S("signet-backup 01\n"), ERR_DAMAGED, "no backup" },
		{ S(HEAD "file " SUM " 00 data/a\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0 ../etc/passwd\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0 /etc/passwd\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0 data/../../x\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0 data//x\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0 data/x/\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0 data\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0 elsewhere/x\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0 data/a%2Fb\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0 data/a%00\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0 data/%61\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0 data/a%2\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0 data/b\nfile " SUM " 0 data/a\n"), ERR_DAMAGED, "line 8" },
		{ S(HEAD "file " SUM " 0 data/a\nfile " SUM " 0 data/a\n"), ERR_DAMAGED, "line 8" },
		{ S(HEAD "file " SUM "00 0 data/a\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " -1 data/a\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "file " SUM " 0 data/a b\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "absent data/a\n"), ERR_DAMAGED, "line 7" },
		{ S(HEAD "absent data/a /x\nfile " SUM " 0 data/b\n"), ERR_DAMAGED, "line 8" },
		{ S("signet-backup 1\nprogram 0.1.0\nhostname h\n"), ERR_DAMAGED, "line 3" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct err e = { 0 };
		struct manifest m;
		struct arena a;
		struct buf b;

		arena_init(&a, 1 << 20);
		buf_init(&b, 1 << 16);
		buf_add(&b, cases[i].text);
		manifest_end(&b);
		if (manifest_read(buf_slice(&b), &a, &m, &e) || e.kind != cases[i].kind ||
		    !strstr(e.text, cases[i].where))
			fail_msg("case %zu: %s", i, e.text);
		buf_done(&b);
		arena_done(&a);
	}
}

static void test_little_memory(void **state)
{
	struct manifest m;
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 16);
	write_good(&b);
	for (size_t max = 0; max < 4096; max += 64) {
		struct err e = { 0 };
		struct arena a;

		arena_init(&a, max);
		if (!manifest_read(buf_slice(&b), &a, &m, &e))
			assert_int_equal(e.kind, ERR_LATER);
		arena_done(&a);
	}
	buf_done(&b);
}

static void test_newer(void **state)
{
	static const struct {
		struct slice a, b;
		bool newer;
	} cases[] = {
		{ S("0.1.0"), S("0.1.0"), false },  { S("0.1.1"), S("0.1.0"), true },
		{ S("0.2.0"), S("0.1.9"), true },   { S("1.0.0"), S("0.9.9"), true },
		{ S("0.1.9"), S("0.2.0"), false },  { S("0.10.0"), S("0.9.0"), true },
		{ S("x"), S("0.1.0"), true },       { S("0.1"), S("0.1.0"), true },
		{ S("0.1.0.1"), S("0.1.0"), true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(manifest_newer(cases[i].a, cases[i].b), cases[i].newer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_every_bit_and_cut),
		cmocka_unit_test(test_refused),    cmocka_unit_test(test_little_memory),
		cmocka_unit_test(test_newer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
