/* spool/spool_cut_test.c -- a cut holds what was there at its moment, whatever comes after it. */
#include "spool/spool_rig_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL (64u << 10)
#define LAG   300u /* messages that wait, beside the committer */

static struct rig rig;

static int begin(void **state)
{
	(void)state;
	rig_begin(&rig, &spool_segments, STAY, SMALL);
	return 0;
}

static int end(void **state)
{
	(void)state;
	rig_end(&rig);
	return 0;
}

/* Every fifth body comes in a file. */
static void put(unsigned n)
{
	struct sample m;
	struct err e = { 0 };
	int fd = -1;

	sample_make(&m, n, 1, 1, 1, 2000 + n % 100);
	if (n % 5 == 0) {
		fd = spool_body_file(rig.conf.path, &e);
		assert_true(fd >= 0);
		assert_true(segment_write(fd, 0, m.body, m.body_bytes));
		m.content = (struct spool_content){ .head = m.content.head,
						    .fd = fd,
						    .fd_bytes = m.body_bytes };
	}
	assert_int_equal(rig_put(&rig, &m, 1000), SPOOL_OK);
	if (fd >= 0)
		close(fd);
	sample_free(&m);
}

static uint64_t bytes_of(const struct spool_cut *c, const char *name)
{
	for (size_t i = 0; i < c->n_segments; i++)
		if (!strcmp(c->segments[i].name, name))
			return c->segments[i].bytes;
	return UINT64_MAX;
}

static void copy_file(const char *from, const char *to, uint64_t bytes)
{
	char block[65536];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0600);
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	while (bytes && (n = read(in, block, bytes < sizeof block ? bytes : sizeof block)) > 0) {
		assert_int_equal(write(out, block, (size_t)n), n);
		bytes -= (uint64_t)n;
	}
	close(in);
	close(out);
}

static void copy_directory(const struct spool_cut *c, const char *from, const char *to)
{
	DIR *d = opendir(from);
	struct dirent *de;

	assert_non_null(d);
	mkdir(to, 0700);
	while ((de = readdir(d))) {
		char one[512], two[512];
		struct stat st;

		snprintf(one, sizeof one, "%s/%s", from, de->d_name);
		snprintf(two, sizeof two, "%s/%s", to, de->d_name);
		if (de->d_name[0] == '.' || !strcmp(de->d_name, "lock"))
			continue;
		assert_int_equal(lstat(one, &st), 0);
		if (S_ISDIR(st.st_mode))
			copy_directory(c, one, two);
		else
			copy_file(one, two, bytes_of(c, de->d_name));
	}
	closedir(d);
}

/* Another spool, opened on a copy of the cut. */
static void open_copy(struct rig *r, const struct spool_cut *c)
{
	*r = (struct rig){ .b = &spool_segments, .conf = rig.conf };
	snprintf(r->dir, sizeof r->dir, "%.50s-copy", rig.dir);
	copy_directory(c, rig_path(&rig, SPOOL_CUT_DIR), r->dir);
	r->conf.path = slice_str(r->dir);
	rig_open(r);
	assert_int_equal(rig_count(r).messages, c->messages);
	assert_int_equal(rig_count(r).damaged, 0);
}

static void check_sample(struct rig *r, unsigned n)
{
	struct spool_message got;
	struct sample m;
	struct arena a;

	sample_make(&m, n, 1, 1, 1, 2000 + n % 100);
	rig_load_same(r, &m, &a, &got);
	arena_done(&a);
	sample_free(&m);
}

static void holds_its_moment(void **state)
{
	struct spool_cut c = { 0 };
	struct err e = { 0 };
	struct rig copy;

	(void)state;
	for (unsigned i = 0; i < 200; i++)
		put(i);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(rig_deliver(&rig, sample_id(i)), SPOOL_OK);
	assert_true(spool_segments.cut(rig.s, &c, &e));
	assert_int_equal(c.messages, 150);
	assert_true(c.n_segments > 2);
	/* All of it is delivered, its segments would be used again, and new mail comes. */
	for (unsigned i = 50; i < 200; i++)
		assert_int_equal(rig_deliver(&rig, sample_id(i)), SPOOL_OK);
	for (unsigned i = 200; i < 600; i++)
		put(i);
	open_copy(&copy, &c);
	for (unsigned i = 0; i < 600; i++) {
		assert_int_equal(rig_has(&copy, sample_id(i)), i >= 50 && i < 200);
		if (i >= 50 && i < 200)
			check_sample(&copy, i);
	}
	rig_end(&copy);
	free(c.segments);
	spool_segments.uncut(rig.s);
	assert_int_equal(access(rig_path(&rig, SPOOL_CUT_DIR), F_OK), -1);
	for (unsigned i = 200; i < 600; i++)
		check_sample(&rig, i);
}

static void one_at_a_time(void **state)
{
	struct spool_cut c = { 0 }, second = { 0 };
	struct err e = { 0 };
	int fd;

	(void)state;
	put(0);
	assert_true(spool_segments.cut(rig.s, &c, &e));
	assert_false(spool_segments.cut(rig.s, &second, &e));
	assert_int_equal(e.kind, ERR_CONFLICT);
	/* As if it had been made long ago: whoever copies holds the lock. */
	rig.s->cut_ms -= SPOOL_CUT_GRACE_MS;
	fd = open(rig_path(&rig, SPOOL_CUT_DIR "/lock"), O_RDONLY);
	assert_true(fd >= 0 && !flock(fd, LOCK_SH));
	assert_false(spool_segments.cut(rig.s, &second, &e));
	close(fd);
	assert_true(spool_segments.cut(rig.s, &second, &e));
	free(second.segments);
	free(c.segments);
	/* Killed meanwhile: the next start sweeps it away, and finds nothing strange. */
	rig_kill(&rig);
	rig_open(&rig);
	assert_int_equal(access(rig_path(&rig, SPOOL_CUT_DIR), F_OK), -1);
	assert_int_equal(rig_count(&rig).damaged, 0);
	assert_int_equal(rig_count(&rig).messages, 1);
	spool_segments.uncut(rig.s); /* of nothing */
}

static void given_up_for_space(void **state)
{
	struct spool_cut c = { 0 };
	struct err e = { 0 };

	(void)state;
	put(0);
	assert_true(spool_segments.cut(rig.s, &c, &e));
	free(c.segments);
	rig.s->reserve_bytes = UINT64_MAX;
	rig.s->look_ms = 0;
	assert_int_equal(rig_deliver(&rig, sample_id(0)), SPOOL_OK);
	assert_int_equal(access(rig_path(&rig, SPOOL_CUT_DIR), F_OK), -1);
	assert_int_equal(rig.s->cut_ms, 0);
}

static size_t walk_all(struct spool *s, struct spool_row rows[2 * LAG])
{
	struct spool_filter all = { 0 };
	uint64_t at = 0;
	size_t n = 0;

	while (at != WALK_END)
		n += spool_segments.walk(s, &all, &at, rows + n, 2 * LAG - n);
	return n;
}

static atomic_bool stop;
static atomic_uint mails;

static void *mail(void *arg)
{
	(void)arg;
	for (unsigned n = 0; !atomic_load(&stop); n++) {
		put(n);
		if (n >= LAG)
			assert_int_equal(rig_deliver(&rig, sample_id(n - LAG)), SPOOL_OK);
		atomic_store(&mails, n);
	}
	return NULL;
}

/* Cuts beside a committer that lets go of segments and bodies all the time. */
static void beside_the_committer(void **state)
{
	char why[256] = "";
	pthread_t t;

	(void)state;
	atomic_store(&stop, false);
	atomic_store(&mails, 0);
	assert_int_equal(pthread_create(&t, NULL, mail, NULL), 0);
	for (unsigned i = 0; i < 15; i++) {
		struct spool_cut c = { 0 };
		struct spool_row rows[2 * LAG];
		struct err e = { 0 };
		struct rig copy;
		size_t found;

		if (!spool_segments.cut(rig.s, &c, &e)) {
			snprintf(why, sizeof why, "%s", e.text);
			break;
		}
		open_copy(&copy, &c);
		found = walk_all(copy.s, rows);
		assert_int_equal(found, c.messages);
		for (size_t k = 0; k < found; k++) {
			struct spool_message got;
			struct arena a;

			arena_init(&a, 1 << 20);
			if (!spool_segments.load(copy.s, rows[k].id, &a, &got, &e))
				fail_msg("load: %s", e.text);
			if (got.content.fd >= 0)
				close(got.content.fd);
			arena_done(&a);
		}
		rig_end(&copy);
		free(c.segments);
		spool_segments.uncut(rig.s);
	}
	/* And many that nobody copies: none finds a segment gone. */
	for (unsigned i = 0; i < 400; i++) {
		struct spool_cut c = { 0 };
		struct err e = { 0 };
		unsigned before = atomic_load(&mails);

		if (!spool_segments.cut(rig.s, &c, &e)) {
			snprintf(why, sizeof why, "%s", e.text);
			break;
		}
		free(c.segments);
		spool_segments.uncut(rig.s);
		while (atomic_load(&mails) <= before + 1)
			sched_yield();
	}
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	if (why[0])
		fail_msg("cut: %s", why);
	assert_int_equal(rig_count(&rig).damaged, 0);
}

int spool_cut_cases(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(holds_its_moment, begin, end),
		cmocka_unit_test_setup_teardown(one_at_a_time, begin, end),
		cmocka_unit_test_setup_teardown(given_up_for_space, begin, end),
		cmocka_unit_test_setup_teardown(beside_the_committer, begin, end),
	};

	return cmocka_run_group_tests_name("spool cut", tests, NULL, NULL);
}
