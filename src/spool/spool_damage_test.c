/* spool/spool_damage_test.c -- what a rotten disk leaves behind: at most the message is lost that
 * was hit, it is set aside, and never is anything else taken for it. */
#include "spool/spool_files_test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* One bit of any file: never a wrong recipient or body, and at most that message is lost. */
static void bit_flips(void **state)
{
	static const char *const suffixes[] = { "log", "sum" };
	struct rig r;
	uint32_t last;
	size_t tried = 0;

	(void)state;
	make_log(&r);
	rig_open(&r);
	last = log_active(r.s)->number;
	assert_true(last >= 3);
	rig_close(&r);
	for (uint32_t number = 1; number <= last; number++)
		for (size_t k = 0; k < 2; k++) {
			const char *path = segment_path(&r, number, suffixes[k]);
			struct bytes b;

			if (access(path, F_OK))
				continue;
			b = file_get(path);
			for (size_t at = 0; at < b.n; at += k ? 13 : 97) {
				struct err e;

				path = segment_path(&r, number, suffixes[k]);
				flip(path, at);
				if (!opens(&r, &e))
					fail_msg("segment %u.%s at %zu: %s", number, suffixes[k],
						 at, e.text);
				check_rotten(&r);
				rig_kill(&r);
				rig_open(&r);
				check_rotten(&r);
				rig_kill(&r);
				file_set(segment_path(&r, number, suffixes[k]), b.p, b.n);
				rig_remove_tree(rig_path(&r, "damaged"));
				tried++;
			}
			free(b.p);
		}
	assert_true(tried > 200);
	rig_end(&r);
}

static void set_aside_at_load(void **state)
{
	struct spool_message got;
	struct spool_damage d[4];
	struct err e = { 0 };
	struct arena a;
	struct rig r;
	uint64_t at;
	uint32_t number;

	(void)state;
	make_log(&r);
	rig_open(&r);
	at = place_at(index_find(r.s->index, sample_id(3))->put);
	number = index_find(r.s->index, sample_id(3))->put.segment;
	flip(segment_path(&r, number, "log"), at + 300);
	arena_init(&a, 1 << 20);
	assert_false(r.b->load(r.s, sample_id(3), &a, &got, &e));
	assert_int_equal(e.kind, ERR_DAMAGED);
	arena_done(&a);
	for (int start = 0; start < 3; start++) {
		/* Not only found unsound again. */
		assert_int_equal(rig_count(&r).messages, ROT_MESSAGES - 1);
		assert_false(rig_has(&r, sample_id(3)));
		assert_true(rig_has(&r, sample_id(4)));
		assert_int_equal(r.b->damaged(r.s, 0, d, 4), 1);
		assert_int_equal(r.b->damaged(r.s, 1, d + 1, 3), 0);
		assert_true(id_eq(d[0].id, sample_id(3)));
		assert_true(d[0].found_ms > 0);
		rig_kill(&r);
		rig_open(&r);
	}
	assert_int_equal(files_in(&r, "damaged", ".note"), 1);
	assert_int_equal(files_in(&r, "damaged", ""), 2);
	rig_end(&r);
}

static void summaries_are_not_needed(void **state)
{
	struct rig r;
	size_t n;

	(void)state;
	make_log(&r);
	n = files_in(&r, ".", ".sum");
	assert_true(n >= 2);
	for (uint32_t i = 1; i <= n; i++)
		unlink(segment_path(&r, i, "sum"));
	rig_open(&r);
	check_rotten(&r);
	assert_int_equal(rig_count(&r).damaged, 0);
	rig_close(&r);
	assert_int_equal(files_in(&r, ".", ".sum"), n); /* written anew */
	rig_end(&r);
}

/* In damaged/: how many hold exactly these bytes. */
static size_t set_aside_as(const struct rig *r, struct bytes b)
{
	DIR *d = opendir(rig_path(r, "damaged"));
	struct dirent *e;
	size_t n = 0;

	assert_non_null(d);
	while ((e = readdir(d))) {
		char name[300];
		struct bytes got;

		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof name, "damaged/%s", e->d_name);
		got = file_get(rig_path(r, name));
		n += got.n == b.n && !memcmp(got.p, b.p, b.n);
		free(got.p);
	}
	closedir(d);
	return n;
}

static void foreign_files(void **state)
{
	struct rig r, other;
	struct spool_damage d[8];
	struct bytes b, strange;
	uint32_t next;

	(void)state;
	make_log(&r);
	make_log(&other);
	/* Another spool's next one: its number is right, and it is not ours. */
	rig_open(&r);
	next = log_active(r.s)->number + 1;
	rig_close(&r);
	rig_open(&other);
	for (unsigned i = 100; log_active(other.s)->number <= next; i++)
		rig_put_simple(&other, i, "1", 900);
	rig_close(&other);
	strange = file_get(segment_path(&other, next, "log"));
	file_set(segment_path(&r, next, "log"), strange.p, strange.n);
	file_set(rig_path(&r, "notes.txt"), "hello", 5);
	b = file_get(segment_path(&r, 1, "log"));
	file_set(rig_path(&r, "seg-00000001.log.bak"), b.p, b.n);
	file_set(segment_path(&r, 99, "log"), b.p, b.n); /* a copy under another number */
	free(b.p);
	file_set(rig_path(&r, "large/AAAAAAAAAAAAAAAAAAAAAA"), "x", 1);
	for (int start = 0; start < 2; start++) {
		rig_open(&r);
		check_rotten(&r);
		assert_int_equal(r.b->damaged(r.s, 0, d, 8), 4);
		rig_close(&r);
	}
	/* It may hold somebody's mail: it is still there when its number is ours. */
	rig_open(&r);
	for (unsigned i = 200; log_active(r.s)->number <= next; i++)
		rig_put_simple(&r, i, "1", 900);
	rig_close(&r);
	assert_int_equal(set_aside_as(&r, strange), 1);
	free(strange.p);
	rig_end(&other);
	rig_end(&r);
}

/* The log was lost, or taken away, and the list of what was unsound in it was not: a new segment of
 * the same number has nothing to do with that. */
static void notes_of_a_former_life(void **state)
{
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	rig_put_simple(&r, 1, "1", 100);
	rig_put_simple(&r, 2, "1", 100);
	rig_kill(&r);
	flip(segment_path(&r, 1, "log"), SEGMENT_DATA + RECORD_HEADER);
	rig_open(&r);
	assert_int_equal(rig_count(&r).damaged, 1);
	assert_false(rig_has(&r, sample_id(1)));
	rig_kill(&r);
	assert_int_equal(unlink(segment_path(&r, 1, "log")), 0);
	rig_open(&r);
	rig_put_simple(&r, 3, "1", 100);
	rig_kill(&r);
	rig_open(&r);
	assert_true(rig_has(&r, sample_id(3)));
	/* And the same place may be found unsound once more, evidence and all. */
	rig_put_simple(&r, 4, "1", 100);
	rig_kill(&r);
	flip(segment_path(&r, 1, "log"), SEGMENT_DATA + RECORD_HEADER);
	rig_open(&r);
	assert_int_equal(rig_count(&r).damaged, 2);
	assert_int_equal(files_in(&r, "damaged", ".note"), 2);
	rig_end(&r);
}

/* A message may hold a copy of another's record: the search for sound records passes over it. */
static void record_in_a_body(void **state)
{
	struct sample m;
	struct rig r;
	struct bytes b;
	uint64_t first, second, body;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	rig_put_simple(&r, 1, "1", 100);
	first = SEGMENT_DATA;
	second = log_active(r.s)->end;
	b = file_get(segment_path(&r, 1, "log"));
	assert_int_equal(rig_deliver(&r, sample_id(1)), SPOOL_OK);
	second = log_active(r.s)->end;
	sample_make(&m, 2, 1, 1, 1, 2000);
	/* At each alignment, so that one of them is a record's. */
	for (size_t at = 0; at + 500 <= 2000; at += 441)
		memcpy(m.body + at, b.p + first, 400);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_OK);
	body = second;
	sample_free(&m);
	rig_put_simple(&r, 3, "1", 10);
	rig_kill(&r);
	flip(segment_path(&r, 1, "log"), body + 9);
	rig_open(&r);
	assert_false(rig_has(&r, sample_id(1)));
	assert_true(rig_has(&r, sample_id(3)));
	assert_int_equal(rig_count(&r).messages, 1);
	assert_int_equal(rig_count(&r).damaged, 1);
	free(b.p);
	rig_end(&r);
}

static void large_files(void **state)
{
	char name[32], path[64];
	struct sample m;
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 8 << 10);
	sample_make(&m, 1, 1, 1, 1, 5000);
	m.content.fd = spool_body_file(r.conf.path, NULL);
	assert_true(m.content.fd >= 0 && segment_write(m.content.fd, 0, m.body, 5000));
	m.content.fd_bytes = 5000;
	log_large_name(m.id, name);
	snprintf(path, sizeof path, "large/%s", name);
	file_set(rig_path(&r, path), "left by a crash", 15);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_OK);
	/* Refused as a second one: the first one's file stays. */
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_FULL);
	close(m.content.fd);
	assert_true(rig_has(&r, m.id));
	log_large_name(sample_id(9), name);
	snprintf(path, sizeof path, "large/%s", name);
	file_set(rig_path(&r, path), "an orphan", 9);
	rig_kill(&r);
	rig_open(&r);
	assert_int_equal(files_in(&r, "large", ""), 1);
	log_large_name(m.id, name);
	snprintf(path, sizeof path, "large/%s", name);
	flip(rig_path(&r, path), 4000);
	assert_false(rig_has(&r, m.id));
	assert_int_equal(rig_count(&r).damaged, 1);
	assert_int_equal(files_in(&r, "large", ""), 0);
	assert_int_equal(files_in(&r, "damaged", ""), 3); /* note, record, body */
	sample_free(&m);
	rig_end(&r);
}

int spool_damage_cases(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(bit_flips),
					    cmocka_unit_test(set_aside_at_load),
					    cmocka_unit_test(summaries_are_not_needed),
					    cmocka_unit_test(foreign_files),
					    cmocka_unit_test(notes_of_a_former_life),
					    cmocka_unit_test(record_in_a_body),
					    cmocka_unit_test(large_files) };

	return cmocka_run_group_tests_name("spool damage", tests, NULL, NULL);
}
