/* history/history_test.c -- events as bytes, and files that come and go. */
#include "history/event.h"

#include "ops/clock.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int begin(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/history-test-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static size_t files(bool remove_them)
{
	DIR *d = opendir(dir);
	struct dirent *de;
	size_t n = 0;

	while (d && (de = readdir(d)))
		if (de->d_name[0] != '.') {
			n++;
			if (remove_them)
				unlinkat(dirfd(d), de->d_name, 0);
		}
	if (d)
		closedir(d);
	return n;
}

static int end(void **state)
{
	(void)state;
	files(true);
	return rmdir(dir);
}

static struct id id_of(unsigned n)
{
	const unsigned char random[10] = { (unsigned char)(n >> 8), (unsigned char)n };

	return id_make(clock_wall_ms(), random);
}

static struct history_event event(struct id id, unsigned attempt)
{
	return (struct history_event){ .id = id,
				       .at_ms = 1700000000000 + attempt,
				       .account = 7,
				       .accepted_ms = 1700000000000,
				       .attempt = attempt,
				       .code = 451,
				       .outcome = S("deferred"),
				       .key_id = S("abcdefghijklmnopqrstuv"),
				       .from = S("me@a.test"),
				       .to = S("you@b.test"),
				       .route = S("onward"),
				       .remote = S("mx.b.test (192.0.2.1:25)"),
				       .tls = S("TLS_AES_256_GCM_SHA384"),
				       .reply = S("451 4.7.1 greylisted") };
}

static struct history *open_it(uint64_t keep_ms, uint64_t max_size)
{
	struct history_conf c = { slice_str(dir), keep_ms, max_size };
	struct err e = { 0 };
	struct history *h = history_open(&c, &e);

	if (!h)
		fail_msg("%s", e.text);
	return h;
}

static size_t found(struct history *h, struct id id, struct arena *a, struct history_event **ret)
{
	struct err e = { 0 };
	size_t n;

	arena_init(a, 16 << 20);
	if (!history_find(h, id, a, 1000, ret, &n, &e))
		fail_msg("%s", e.text);
	return n;
}

static void there_and_back(void **state)
{
	struct history_event v = event(id_of(1), 3), got;
	struct buf b;
	struct slice in;

	(void)state;
	buf_init(&b, 1 << 20);
	event_write(&b, &v);
	event_write(&b, &v);
	assert_false(b.failed);
	/* Cut anywhere, it is not there yet; whole, it is what it was. */
	for (size_t cut = 0; cut < b.n / 2; cut++) {
		in = slice(b.p, cut);
		assert_int_equal(event_read(&in, &got), EVENT_MORE);
		assert_int_equal(in.n, cut);
	}
	in = buf_slice(&b);
	assert_int_equal(event_read(&in, &got), EVENT_OK);
	assert_int_equal(in.n, b.n / 2);
	assert_true(id_eq(got.id, v.id));
	assert_int_equal(got.at_ms, v.at_ms);
	assert_int_equal(got.account, 7);
	assert_int_equal(got.accepted_ms, v.accepted_ms);
	assert_int_equal(got.attempt, 3);
	assert_int_equal(got.code, 451);
	assert_true(slice_eq(got.outcome, v.outcome) && slice_eq(got.key_id, v.key_id));
	assert_true(slice_eq(got.from, v.from) && slice_eq(got.to, v.to));
	assert_true(slice_eq(got.route, v.route) && slice_eq(got.remote, v.remote));
	assert_true(slice_eq(got.tls, v.tls) && slice_eq(got.reply, v.reply));
	/* One bit of it wrong, and it is none. */
	for (size_t at = 4; at < b.n / 2; at++) {
		b.p[at] ^= 1;
		in = slice(b.p, b.n / 2);
		assert_int_equal(event_read(&in, &got), EVENT_BAD);
		b.p[at] ^= 1;
	}
	buf_done(&b);
}

static void long_texts_are_cut(void **state)
{
	static char text[600];
	struct history_event v = event(id_of(1), 1), got;
	struct slice in;
	struct buf b;

	(void)state;
	memset(text, 'x', sizeof text);
	v.reply = slice(text, sizeof text);
	buf_init(&b, 1 << 20);
	event_write(&b, &v);
	in = buf_slice(&b);
	assert_int_equal(event_read(&in, &got), EVENT_OK);
	assert_int_equal(got.reply.n, EVENT_TEXT);
	buf_done(&b);
}

static void found_again(void **state)
{
	struct history *h = open_it(3600000, 64 << 20);
	struct id one = id_of(1), two = id_of(2);
	struct history_event v, *got;
	struct arena a;

	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		v = event(one, i);
		history_add(h, &v);
		v = event(two, i);
		history_add(h, &v);
	}
	assert_int_equal(found(h, one, &a, &got), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(got[i].attempt, i + 1);
	assert_true(slice_eq(got[2].reply, v.reply));
	arena_done(&a);
	assert_int_equal(found(h, id_of(3), &a, &got), 0);
	arena_done(&a);
	history_close(h);
	/* And after a restart, beside what is new. */
	h = open_it(3600000, 64 << 20);
	v = event(one, 4);
	history_add(h, &v);
	assert_int_equal(found(h, one, &a, &got), 4);
	arena_done(&a);
	assert_int_equal(history_dropped(h), 0);
	history_close(h);
	assert_int_equal(files(false), 2);
	history_add(NULL, &v);
	assert_int_equal(found(NULL, one, &a, &got), 0);
	arena_done(&a);
	history_close(NULL);
}

/* More than it may take: the oldest go. */
static void bounded_in_size(void **state)
{
	struct history *h = open_it(3600000, 1 << 20);
	struct id first = id_of(1), last = id_of(2);
	struct history_event v = event(first, 1), *got;
	struct arena a;

	(void)state;
	history_add(h, &v);
	assert_int_equal(found(h, first, &a, &got), 1);
	arena_done(&a);
	for (unsigned i = 0; i < 100; i++) {
		for (unsigned k = 0; k < 100; k++) {
			v = event(id_of(3), k);
			history_add(h, &v);
		}
		(void)found(h, last, &a, &got); /* it is written */
		arena_done(&a);
	}
	v = event(last, 1);
	history_add(h, &v);
	assert_int_equal(found(h, last, &a, &got), 1);
	arena_done(&a);
	assert_int_equal(found(h, first, &a, &got), 0);
	arena_done(&a);
	assert_in_range(files(false), 8, 18);
	history_close(h);
}

/* Older than it is to be kept: gone, though there would be room. */
static void bounded_in_age(void **state)
{
	struct history *h = open_it(1, 1 << 20);
	struct history_event v = event(id_of(1), 1), *got;
	struct arena a;
	size_t n = 1;

	(void)state;
	history_add(h, &v);
	for (unsigned i = 0; n && i < 100; i++) {
		struct history_event other = event(id_of(2), i);

		history_add(h, &other);
		usleep(20000);
		n = found(h, v.id, &a, &got);
		arena_done(&a);
	}
	assert_int_equal(n, 0);
	history_close(h);
}

/* What a crash cut, or what is not ours, costs what stands behind it and nothing else. */
static void a_cut_file(void **state)
{
	struct history *h = open_it(3600000, 1 << 20);
	struct history_event v = event(id_of(1), 1), *got;
	struct arena a;
	char path[128];
	FILE *f;

	(void)state;
	history_add(h, &v);
	history_close(h);
	snprintf(path, sizeof path, "%s/hist-00000001.log", dir);
	f = fopen(path, "ae");
	assert_non_null(f);
	assert_int_equal(fwrite("\x10\0\0\0garbage garbage garbage", 1, 24, f), 24);
	fclose(f);
	snprintf(path, sizeof path, "%s/hist-0000000x.log", dir);
	f = fopen(path, "we");
	assert_non_null(f);
	fclose(f);
	h = open_it(3600000, 1 << 20);
	assert_int_equal(found(h, v.id, &a, &got), 1);
	arena_done(&a);
	history_close(h);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(long_texts_are_cut),
		T(found_again),
		T(bounded_in_size),
		T(bounded_in_age),
		T(a_cut_file),
	};

	return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
