/* spool/spool_salvage_test.c -- a spool that does not open any more, and what is copied out of it.
 */
#include "spool/spool_files_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct seen {
	unsigned n;
	struct spool_damage last;
};

static void see(void *arg, const struct spool_damage *d)
{
	struct seen *s = arg;

	s->n++;
	s->last = *d;
}

static bool told_delay(struct rig *r, unsigned i)
{
	struct spool_message got;
	struct arena a;
	bool told;

	arena_init(&a, 1 << 20);
	assert_true(r->b->load(r->s, sample_id(i), &a, &got, NULL));
	told = got.envelope.rcpts[0].told_delay;
	arena_done(&a);
	return told;
}

static void salvage_into_new(struct rig *r, unsigned least, unsigned lost)
{
	struct spool_salvage done = { 0 };
	struct rig to;
	struct seen seen = { 0 };
	struct err e = { 0 };
	unsigned there = 0;
	char path[80];

	snprintf(path, sizeof path, "%s-new", r->dir);
	if (!spool_salvage(r->conf.path, &(struct spool_conf){ .path = slice_str(path) }, see,
			   &seen, &done, &e))
		fail_msg("%s", e.text);
	assert_int_equal(seen.n, done.lost);
	assert_int_equal(done.lost, lost);
	to = (struct rig){ .b = &spool_segments };
	snprintf(to.dir, sizeof to.dir, "%s", path);
	to.conf = (struct spool_conf){ .path = slice_str(to.dir), .segment_bytes = 8 << 10 };
	rig_open(&to);
	for (unsigned i = 0; i < ROT_MESSAGES; i++) {
		enum spool_rcpt_state s = RCPT_PENDING;

		if (!same_or_gone(&to, i, ROT_BYTES, &s))
			continue;
		assert_int_equal(told_delay(&to, i), i % 5 == 1);
		there++;
		assert_int_equal(s, i % 5 == 2 ? RCPT_FAILED : RCPT_PENDING);
	}
	assert_int_equal(there, done.copied);
	assert_true(there >= least);
	assert_int_equal(rig_count(&to).damaged, 0);
	/* It must be new. */
	assert_false(spool_salvage(r->conf.path, &to.conf, NULL, NULL, &done, &e));
	rig_end(&to);
}

static void unsound_header(void **state)
{
	struct rig r;
	struct err e;

	(void)state;
	make_log(&r);
	flip(segment_path(&r, 2, "log"), 20);
	rig_open(&r);
	check_rotten(&r);
	assert_int_equal(rig_count(&r).damaged, 1); /* the second header serves */
	rig_close(&r);
	flip(segment_path(&r, 2, "log"), 512 + 20);
	assert_false(opens(&r, &e));
	assert_int_equal(e.kind, ERR_DAMAGED);
	assert_non_null(strstr(e.text, "signet spool salvage"));
	salvage_into_new(&r, ROT_MESSAGES * 2 / 3, 3); /* two about the header, one the gap */
	assert_false(opens(&r, &e));
	rig_end(&r);
}

/* The newest segment there is a stranger's: whose spool it is, is written down. */
static void salvage_beside_a_stranger(void **state)
{
	struct rig r, other;
	struct bytes b;

	(void)state;
	rig_begin(&other, &spool_segments, STAY, 16 << 10);
	rig_put_simple(&other, 1, "1", 100);
	rig_kill(&other);
	b = file_get(segment_path(&other, 1, "log"));
	rig_end(&other);
	make_log(&r);
	rig_close(&r);
	flip(segment_path(&r, 2, "log"), 20);
	flip(segment_path(&r, 2, "log"), 512 + 20);
	file_set(segment_path(&r, 99, "log"), b.p, b.n);
	free(b.p);
	salvage_into_new(&r, ROT_MESSAGES * 2 / 3, 4); /* two about the header, gap, stranger */
	rig_end(&r);
}

static void missing_segment(void **state)
{
	struct rig r;
	struct err e;

	(void)state;
	make_log(&r);
	unlink(segment_path(&r, 2, "log"));
	assert_false(opens(&r, &e));
	assert_int_equal(e.kind, ERR_DAMAGED);
	assert_non_null(strstr(e.text, "signet spool salvage"));
	salvage_into_new(&r, ROT_MESSAGES / 2,
			 2); /* the gap, and that records are missing before it */
	rig_end(&r);
}

static void salvage_of_a_sound_one(void **state)
{
	struct spool_salvage done;
	struct err e = { 0 };
	struct rig r;

	(void)state;
	make_log(&r);
	salvage_into_new(&r, ROT_MESSAGES, 0);
	rig_open(&r);
	assert_false(spool_salvage(r.conf.path, &(struct spool_conf){ .path = S("/nonexistent/x") },
				   NULL, NULL, &done, &e));
	assert_int_equal(e.kind, ERR_CONFLICT); /* in use */
	rig_end(&r);
}

int spool_salvage_cases(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(unsound_header),
					    cmocka_unit_test(salvage_beside_a_stranger),
					    cmocka_unit_test(missing_segment),
					    cmocka_unit_test(salvage_of_a_sound_one) };

	return cmocka_run_group_tests_name("spool salvage", tests, NULL, NULL);
}
