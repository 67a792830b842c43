#include "spool/spool_rig_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SEGMENT (1u << 20)

static void nap(void)
{
	nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
}

static bool there(const struct rig *r, const char *name)
{
	return !access(rig_path(r, name), F_OK);
}

static unsigned threads(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static bool comes(const struct rig *r, const char *name)
{
	for (int i = 0; i < 30000 && !there(r, name); i++)
		nap();
	return there(r, name);
}

static uint64_t blocks_of(const char *path, uint64_t *ret_size)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	*ret_size = (uint64_t)st.st_size;
	return (uint64_t)st.st_blocks * 512;
}

static void a_spare_is_made(void **state)
{
	char bytes[4096], zeros[4096] = { 0 };
	struct rig r;
	uint64_t size;
	int fd;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, SEGMENT);
	assert_false(there(&r, "spare-0.log"));
	ahead_spare(r.s->ahead);
	assert_true(comes(&r, "spare-0.log"));
	assert_false(there(&r, "ahead.log"));
	assert_true(blocks_of(rig_path(&r, "spare-0.log"), &size) >= SEGMENT);
	assert_int_equal(size, SEGMENT);
	fd = open(rig_path(&r, "spare-0.log"), O_RDONLY);
	for (uint64_t at = 0; at < SEGMENT; at += sizeof bytes) {
		assert_true(segment_read(fd, at, bytes, sizeof bytes));
		assert_memory_equal(bytes, zeros, sizeof bytes);
	}
	close(fd);
	/* It is what the next rotation takes, and a start takes no offence at it. */
	for (unsigned i = 1; r.s->n_segments == 1; i++)
		rig_put_simple(&r, i, "1", 64 << 10);
	assert_false(there(&r, "spare-0.log"));
	assert_int_equal(log_active(r.s)->size, SEGMENT);
	rig_kill(&r);
	rig_open(&r);
	assert_int_equal(rig_count(&r).damaged, 0);
	rig_end(&r);
}

/* A spool that fills slowly asks by itself, once. */
static void asked_for_in_time(void **state)
{
	struct rig r;
	unsigned i = 0;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, SEGMENT);
	while (log_active(r.s)->end < SEGMENT / 5)
		rig_put_simple(&r, ++i, "1", 8 << 10);
	assert_false(r.s->asked_ahead);
	r.s->rotated_ms -= 1000;
	while (log_active(r.s)->end < SEGMENT / 3)
		rig_put_simple(&r, ++i, "1", 8 << 10);
	assert_true(r.s->asked_ahead);
	assert_true(comes(&r, "spare-0.log"));
	rig_end(&r);
}

/* Under the highest load the zeros would cost more than they save. */
static void not_when_it_fills_fast(void **state)
{
	unsigned before = threads();
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, SEGMENT);
	r.s->rotated_ms += 600000; /* the quarter is full in no time */
	rig_put_simple(&r, 1, "1", SEGMENT / 3);
	assert_true(r.s->asked_ahead);
	assert_int_equal(threads(), before);
	rig_end(&r);
}

static void none_while_space_is_short(void **state)
{
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, SEGMENT);
	ahead_short(r.s->ahead, true);
	ahead_spare(r.s->ahead);
	rig_kill(&r); /* waits for it */
	assert_false(there(&r, "spare-0.log"));
	assert_false(there(&r, "ahead.log"));
	rig_open(&r);
	rig_end(&r);
}

/* However far it has got when the end comes, nothing half stays. */
static void given_up_at_the_end(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		struct rig r;
		uint64_t size;

		rig_begin(&r, &spool_segments, STAY, SEGMENT);
		ahead_spare(r.s->ahead);
		for (int n = 0; n < i; n++)
			nap();
		rig_kill(&r);
		assert_false(there(&r, "ahead.log"));
		if (there(&r, "spare-0.log")) {
			assert_true(blocks_of(rig_path(&r, "spare-0.log"), &size) >= SEGMENT);
			assert_int_equal(size, SEGMENT);
		}
		rig_open(&r);
		assert_int_equal(rig_count(&r).damaged, 0);
		rig_end(&r);
	}
}

/* What a power cut left of one that was being made. */
static void a_half_one_is_no_harm(void **state)
{
	struct rig r;
	int fd;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, SEGMENT);
	fd = open(rig_path(&r, "ahead.log"), O_WRONLY | O_CREAT, 0600);
	assert_true(segment_write(fd, 0, "half", 4));
	close(fd);
	rig_kill(&r);
	rig_open(&r);
	assert_int_equal(rig_count(&r).damaged, 0);
	ahead_spare(r.s->ahead);
	assert_true(comes(&r, "spare-0.log"));
	assert_false(there(&r, "ahead.log"));
	rig_end(&r);
}

static void a_summary_is_written(void **state)
{
	struct rig r;
	struct buf facts;
	struct segment old;
	uint64_t next;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 64 << 10);
	for (unsigned i = 1; r.s->n_segments == 1; i++)
		rig_put_simple(&r, i, "1", 4 << 10);
	ahead_forget(r.s->ahead, 1);
	old = *r.s->segments[0];
	old.end = 0;
	buf_init(&facts, 1 << 20);
	assert_true(summary_read(r.s->dir, &old, &facts, &next));
	assert_true(facts.n);
	assert_int_equal(old.end, r.s->segments[0]->end);
	buf_done(&facts);
	rig_end(&r);
}

/* Retired at once: no summary is left behind that would speak of nothing. */
static void no_summary_outlives_its_segment(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		struct rig r;
		unsigned n = 0;

		rig_begin(&r, &spool_segments, STAY, 64 << 10);
		while (r.s->n_segments == 1)
			rig_put_simple(&r, ++n, "1", 4 << 10);
		for (unsigned i = 1; i <= n; i++)
			rig_deliver(&r, sample_id(i));
		rig_put_simple(&r, n + 1, "1", 10);
		assert_int_equal(r.s->n_segments, 1);
		rig_kill(&r);
		assert_false(there(&r, "seg-00000001.sum"));
		rig_open(&r);
		assert_int_equal(rig_count(&r).damaged, 0);
		rig_end(&r);
	}
}

int spool_ahead_cases(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_spare_is_made),
		cmocka_unit_test(asked_for_in_time),
		cmocka_unit_test(not_when_it_fills_fast),
		cmocka_unit_test(none_while_space_is_short),
		cmocka_unit_test(given_up_at_the_end),
		cmocka_unit_test(a_half_one_is_no_harm),
		cmocka_unit_test(a_summary_is_written),
		cmocka_unit_test(no_summary_outlives_its_segment),
	};

	return cmocka_run_group_tests_name("spool ahead", tests, NULL, NULL);
}
