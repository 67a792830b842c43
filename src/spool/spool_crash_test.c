/* spool/spool_crash_test.c -- what a crash leaves behind, in whatever part it was written, and what
 * a commit does that the disk refuses. */
#include "spool/spool_files_test.h"

#include "base/fault.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum tear { CUT, ZEROS, GARBAGE };

/* Restores the segment with what is behind `at` torn away. */
static void tear(const struct rig *r, struct bytes b, size_t at, size_t end, enum tear how)
{
	const char *path = segment_path(r, 1, "log");

	if (how == CUT) {
		file_set(path, b.p, at);
		return;
	}
	{
		char *p = malloc(b.n);

		assert_non_null(p);
		memcpy(p, b.p, b.n);
		memset(p + at, how == ZEROS ? 0 : 0xa5, end - at);
		file_set(path, p, b.n);
		free(p);
	}
}

static void torn_tail(void **state)
{
	struct rig r;
	struct bytes b;
	size_t from, end;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	rig_put_simple(&r, 1, "1", 100);
	rig_put_simple(&r, 2, "1", 100);
	from = (size_t)log_active(r.s)->end;
	rig_put_simple(&r, 3, "1", 20);
	end = (size_t)log_active(r.s)->end;
	rig_kill(&r);
	b = file_get(segment_path(&r, 1, "log"));
	for (int how = CUT; how <= GARBAGE; how++)
		for (size_t at = from; at <= end; at++) {
			bool third;

			tear(&r, b, at, end, (enum tear)how);
			rig_open(&r);
			third = rig_has(&r, sample_id(3));
			/* The record's end is padding, whose loss is none. */
			assert_true(third ? at > end - RECORD_ALIGN : at < end);
			assert_true(rig_has(&r, sample_id(1)) && rig_has(&r, sample_id(2)));
			assert_int_equal(rig_count(&r).damaged, 0);
			/* The second start finds what the first found, and what came since. */
			rig_put_simple(&r, 4, "1", at % 200);
			rig_kill(&r);
			rig_open(&r);
			assert_int_equal(rig_count(&r).messages, third ? 4 : 3);
			assert_true(rig_has(&r, sample_id(4)));
			assert_int_equal(rig_has(&r, sample_id(3)), third);
			assert_int_equal(rig_count(&r).damaged, 0);
			rig_kill(&r);
		}
	free(b.p);
	rig_end(&r);
}

/* A later record stands in an earlier one's place, as after a write that went astray: it does not
 * count there, and what stands between is not taken for old. */
static void astray(void **state)
{
	uint64_t at[4];
	char record[512];
	struct rig r;
	int fd;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	for (unsigned i = 1; i <= 3; i++) {
		at[i] = log_active(r.s)->end;
		rig_put_simple(&r, i, "1", 100);
	}
	assert_true(at[3] - at[2] == at[2] - at[1] && at[2] - at[1] <= sizeof record);
	rig_kill(&r);
	fd = open(segment_path(&r, 1, "log"), O_RDWR);
	assert_true(segment_read(fd, at[3], record, at[2] - at[1]));
	assert_true(segment_write(fd, at[1], record, at[2] - at[1]));
	close(fd);
	for (int start = 0; start < 2; start++) {
		rig_open(&r);
		assert_false(rig_has(&r, sample_id(1)));
		assert_true(rig_has(&r, sample_id(2)) && rig_has(&r, sample_id(3)));
		assert_int_equal(rig_count(&r).damaged, 1);
		rig_kill(&r);
	}
	rig_end(&r);
}

/* Of one commit, the disk may have taken any part. */
static void torn_within_a_commit(void **state)
{
	struct sample m[3];
	struct spool_op op[3], *ops[3];
	struct spool_damage d[4];
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	for (unsigned i = 0; i < 3; i++) {
		sample_make(&m[i], i, 1, 1, 1, 100);
		op[i] = (struct spool_op){ .kind = SPOOL_PUT,
					   .envelope = &m[i].envelope,
					   .content = &m[i].content };
		ops[i] = &op[i];
	}
	assert_true(r.b->commit(r.s, ops, 3, NULL));
	{
		uint64_t second = place_at(index_find(r.s->index, m[1].id)->put);

		rig_kill(&r);
		flip(segment_path(&r, 1, "log"), second + RECORD_HEADER + 3);
	}
	for (int start = 0; start < 2; start++) {
		rig_open(&r);
		assert_true(rig_has(&r, m[0].id) && rig_has(&r, m[2].id));
		assert_false(rig_has(&r, m[1].id));
		assert_int_equal(r.b->damaged(r.s, 0, d, 4), 1);
		assert_non_null(strstr(d[0].reason, "cut short by a crash"));
		rig_put_simple(&r, 10 + (unsigned)start, "1", 10);
		rig_kill(&r);
	}
	for (unsigned i = 0; i < 3; i++)
		sample_free(&m[i]);
	rig_end(&r);
}

static void broken_until_reopened(void **state)
{
	struct sample m;
	struct rig r;
	int full;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 32 << 10);
	rig_put_simple(&r, 1, "1", 100);
	sample_make(&m, 2, 1, 1, 1, 10);
	full = open("/dev/full", O_RDWR);
	assert_true(full >= 0);
	assert_true(dup2(full, log_active(r.s)->fd) >= 0); /* neither takes bytes nor gives back */
	close(full);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_FAILED);
	assert_int_equal(rig_deliver(&r, sample_id(1)), SPOOL_FAILED);
	rig_close(&r);
	rig_open(&r);
	assert_true(rig_has(&r, sample_id(1)));
	assert_false(rig_has(&r, m.id));
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_OK);
	sample_free(&m);
	rig_end(&r);
}

static void failed_sync(void **state)
{
	struct sample m;
	struct rig r;

	(void)state;
	setenv("SIGNET_FAULT", "spool_sync_fails", 1);
	if (!FAULT("spool_sync_fails"))
		skip();
	unsetenv("SIGNET_FAULT");
	rig_begin(&r, &spool_segments, STAY, 32 << 10);
	rig_put_simple(&r, 1, "1", 100);
	sample_make(&m, 2, 1, 1, 1, 10);
	setenv("SIGNET_FAULT", "spool_sync_fails", 1);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_FAILED);
	unsetenv("SIGNET_FAULT");
	/* Not as if nothing had happened. */
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_FAILED);
	assert_int_equal(rig_deliver(&r, sample_id(1)), SPOOL_FAILED);
	rig_kill(&r);
	rig_open(&r);
	assert_true(rig_has(&r, sample_id(1)));
	assert_false(rig_has(&r, m.id)); /* taken back: the client was told to come again */
	sample_free(&m);
	rig_end(&r);
}

static void locked(void **state)
{
	struct err e = { 0 };
	char pid[32];
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 8 << 10);
	assert_null(r.b->open(&r.conf, &e));
	assert_int_equal(e.kind, ERR_CONFLICT);
	snprintf(pid, sizeof pid, "process %d", (int)getpid());
	assert_non_null(strstr(e.text, pid));
	rig_kill(&r);
	rig_open(&r);
	rig_end(&r);
}

int spool_crash_cases(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(torn_tail),   cmocka_unit_test(torn_within_a_commit),
		cmocka_unit_test(astray),      cmocka_unit_test(broken_until_reopened),
		cmocka_unit_test(failed_sync), cmocka_unit_test(locked)
	};

	return cmocka_run_group_tests_name("spool crash", tests, NULL, NULL);
}
