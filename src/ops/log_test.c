/* ops/log_test.c -- lines to the letter, and a reader that does not read. */
#include "ops/log.h"

#include "base/auto.h"
#include "base/buf.h"
#include "ops/clock.h"
#include "ops/room_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define AT 1795473796042ull /* 2026-11-23T22:43:16.042Z */

static void assert_line(enum log_format format, const struct log_field *f, size_t n,
			const char *want)
{
	struct buf out;

	buf_init(&out, 20000);
	log_line(&out, format, AT, LOG_MESSAGE_ACCEPTED, f, n);
	buf_addc(&out, 0);
	assert_false(out.failed);
	assert_string_equal(out.p, want);
	buf_done(&out);
}

static void test_lines(void **state)
{
	struct id id;
	const struct log_field fields[] = {
		F_CSTR("client", "192.0.2.1"), F_U64("size", UINT64_MAX), F_BOOL("tls", true),
		F_BOOL("resumed", false),      F_STR("empty", S("")),
	};
	struct log_field with_id;

	assert_line(LOG_JSON, fields, 5,
		    "{\"time\":\"2026-11-23T22:43:16.042Z\",\"event\":\"message_accepted\","
		    "\"client\":\"192.0.2.1\",\"size\":18446744073709551615,\"tls\":true,"
		    "\"resumed\":false,\"empty\":\"\"}\n");
	assert_line(LOG_LOGFMT, fields, 5,
		    "time=2026-11-23T22:43:16.042Z event=message_accepted client=\"192.0.2.1\" "
		    "size=18446744073709551615 tls=true resumed=false empty=\"\"\n");
	const struct log_field some[] = { F_SOME("via", S("")), F_SOME("via", S("a")) };

	for (int f = 0; f < 3; f++) /* one that is empty is not there at all */
		assert_line((enum log_format)f, some, 2,
			    f == LOG_JSON ? "{\"time\":\"2026-11-23T22:43:16.042Z\",\"event\":"
					    "\"message_accepted\",\"via\":\"a\"}\n"
			    : f == LOG_LOGFMT
				? "time=2026-11-23T22:43:16.042Z event=message_accepted via=\"a\"\n"
				: "22:43:16 message accepted   via=a\n");
	assert_line(LOG_JSON, NULL, 0,
		    "{\"time\":\"2026-11-23T22:43:16.042Z\",\"event\":\"message_accepted\"}\n");

	assert_line(
	    LOG_PEOPLE, fields, 5,
	    "22:43:16 message accepted   client=192.0.2.1 size=18446744073709551615 tls=true "
	    "resumed=false\n");
	assert_line(LOG_PEOPLE, NULL, 0, "22:43:16 message accepted  \n");
	const struct log_field odd[] = {
		F_CSTR("a", "two words"),   F_CSTR("b", "x\n22:43:17 message accepted"),
		F_CSTR("c", "a=b"),         F_CSTR("d", "\"q\""),
		F_CSTR("e", "caf\xc3\xa9"), F_CSTR("f", "\x1b[2J"),
	};
	assert_line(LOG_PEOPLE, odd, 6,
		    "22:43:16 message accepted   a=\"two words\" "
		    "b=\"x\\u000a22:43:17 message accepted\" c=\"a=b\" d=\"\\\"q\\\"\" "
		    "e=\"caf\xc3\xa9\" f=\"\\u001b[2J\"\n");

	memset(&id, 0, sizeof id);
	with_id = F_ID("message", id);
	struct buf text, want;
	buf_init(&text, 100);
	id_add(&text, id);
	buf_addc(&text, 0);
	buf_init(&want, 300);
	buf_addf(&want, "time=2026-11-23T22:43:16.042Z event=message_accepted message=%s\n",
		 text.p);
	buf_addc(&want, 0);
	assert_line(LOG_LOGFMT, &with_id, 1, want.p);
	buf_clear(&want);
	buf_addf(&want,
		 "{\"time\":\"2026-11-23T22:43:16.042Z\",\"event\":\"message_accepted\","
		 "\"message\":\"%s\"}\n",
		 text.p);
	buf_addc(&want, 0);
	assert_line(LOG_JSON, &with_id, 1, want.p);
	buf_done(&text);
	buf_done(&want);
}

/* Nothing a client sends becomes a line, a field or a terminal's command. */
/* For the eye: one line, the same escapes, and nothing that a terminal obeys. */
static void assert_tame(const struct log_field *f, const char *escaped)
{
	struct buf out;

	buf_init(&out, 8192);
	log_line(&out, LOG_PEOPLE, 1, LOG_MESSAGE_ACCEPTED, f, 1);
	assert_true(out.n && out.p[out.n - 1] == '\n');
	out.p[out.n - 1] = '\0';
	assert_non_null(strstr(out.p, escaped));
	for (size_t i = 0; i + 1 < out.n; i++) {
		assert_true((unsigned char)out.p[i] >= 0x20 && out.p[i] != 0x7f);
		assert_false((unsigned char)out.p[i] == 0xc2 && (unsigned char)out.p[i + 1] < 0xa0);
	}
	buf_done(&out);
}

static void test_injection(void **state)
{
	static const struct {
		struct slice in;
		const char *out;
	} cases[] = {
		{ S("a\r\nb"), "a\\u000d\\u000ab" },
		{ S("\"} {\""), "\\\"} {\\\"" },
		{ S("\\"), "\\\\" },
		{ S("\\u0041\\"), "\\\\u0041\\\\" },
		{ S("\x1b[31m"), "\\u001b[31m" },
		{ S("a\0b\x7f"), "a\\u0000b\\u007f" },
		{ S("x\" event=\"started"), "x\\\" event=\\\"started" },
		{ S("J\xc3\xbcrgen \xe2\x82\xac \xf0\x9f\x98\x80"),
		  "J\xc3\xbcrgen \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ S("\xc2\x9b"
		    "31m\xc2\xa0"),
		  "\\u009b31m\xc2\xa0" }, /* CSI in one character */
		{ S("\xc2\x80\xc2"), "\\u00c2\\u0080\\u00c2" },
		{ S("ok \xff"), "ok \\u00ff" },
		{ S("\xc3\xbc\xff"), "\\u00c3\\u00bc\\u00ff" },
		{ S("\xc0\xaf"), "\\u00c0\\u00af" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct log_field f = F_STR("v", cases[i].in);
		char want[400];

		snprintf(want, sizeof want,
			 "{\"time\":\"2026-11-23T22:43:16.042Z\",\"event\":\"message_accepted\","
			 "\"v\":\"%s\"}\n",
			 cases[i].out);
		assert_line(LOG_JSON, &f, 1, want);
		snprintf(want, sizeof want,
			 "time=2026-11-23T22:43:16.042Z event=message_accepted v=\"%s\"\n",
			 cases[i].out);
		assert_line(LOG_LOGFMT, &f, 1, want);
		assert_tame(&f, cases[i].out);
	}
}

/* What stands behind v=" in a line, up to the last quote. */
static struct slice value_of(struct buf *out, struct slice text)
{
	struct log_field f = F_STR("v", text);
	struct slice head, value;

	buf_clear(out);
	log_line(out, LOG_LOGFMT, AT, LOG_WARNING, &f, 1);
	assert_false(out->failed);
	assert_true(slice_rcut(buf_slice(out), '"', &value, &head));
	assert_true(slice_cut(value, '"', &head, &value));
	return value;
}

static void test_cut(void **state)
{
	char text[600];
	struct buf out;

	buf_init(&out, 20000);
	memset(text, 'x', sizeof text);
	assert_int_equal(value_of(&out, slice(text, 511)).n, 511);
	assert_int_equal(value_of(&out, slice(text, 512)).n, 512);
	assert_int_equal(value_of(&out, slice(text, 513)).n, 512);
	/* A character is not cut in two, and does not make the others unreadable. */
	memcpy(text + 510, "\xe2\x82\xac", 3);
	assert_int_equal(value_of(&out, slice(text, 600)).n, 510);
	memcpy(text + 509,
	       "\xe2\x82\xac"
	       "x",
	       4);
	assert_int_equal(value_of(&out, slice(text, 600)).n, 512);
	memset(text, '\n', sizeof text);
	assert_int_equal(value_of(&out, slice(text, 600)).n, 512 * 6);
	buf_done(&out);
}

static void test_names(void **state)
{
	for (enum log_name i = LOG_STARTED; i < LOG_NAMES; i++) {
		struct buf out;

		buf_init(&out, 300);
		log_line(&out, LOG_JSON, 0, i, NULL, 0);
		assert_false(out.failed);
		buf_done(&out);
	}
}

struct drain {
	int fd;
	size_t max; /* bytes at once, with a rest between; 0: all */
	struct buf all;
	pthread_t thread;
};

static void *drain(void *arg)
{
	struct drain *d = arg;
	char some[65536];
	ssize_t n;

	while ((n = read(d->fd, some, d->max ? d->max : sizeof some)) > 0) {
		buf_add(&d->all, slice(some, (size_t)n));
		if (d->max)
			nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	}
	return NULL;
}

static void drain_start(struct drain *d, int fd, size_t max)
{
	*d = (struct drain){ .fd = fd, .max = max };
	buf_init(&d->all, 8 << 20);
	assert_int_equal(pthread_create(&d->thread, NULL, drain, d), 0);
}

static void drain_end(struct drain *d)
{
	assert_int_equal(pthread_join(d->thread, NULL), 0);
	assert_false(d->all.failed);
}

static size_t count(struct slice all, struct slice what)
{
	size_t n = 0;

	for (size_t i = 0; i + what.n <= all.n; i++)
		n += slice_starts(slice_from(all, i), what);
	return n;
}

/* The sum of what the log says it dropped. */
static uint64_t told(struct slice all)
{
	struct slice line, number, mark = S("event=log_lines_dropped count=");
	uint64_t sum = 0, n;

	while (slice_cut(all, '\n', &line, &all))
		for (size_t i = 0; i + mark.n <= line.n; i++)
			if (slice_starts(slice_from(line, i), mark)) {
				number = slice_from(line, i + mark.n);
				assert_true(slice_u64(number, &n));
				sum += n;
			}
	return sum;
}

static void *write_many(void *arg)
{
	size_t n = *(size_t *)arg;
	char text[400];

	memset(text, 'x', sizeof text);
	for (size_t i = 0; i < n; i++)
		log_event(LOG_WARNING, F_U64("i", i), F_STR("text", slice(text, sizeof text)));
	return NULL;
}

static void test_order_and_threads(void **state)
{
	pthread_t writers[4];
	size_t each = 200;
	struct drain d;
	struct err e;
	int pipes[2];

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	drain_start(&d, pipes[0], 0);
	assert_true(log_start(pipes[1], LOG_LOGFMT, &e));
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&writers[i], NULL, write_many, &each), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(writers[i], NULL);
	log_stop(5000);
	close(pipes[1]);
	drain_end(&d);
	assert_int_equal(count(buf_slice(&d.all), S("\n")), 800);
	assert_int_equal(count(buf_slice(&d.all), S(" event=warning i=")), 800);
	for (size_t i = 0; i < 200; i++) {
		char mark[40];
		int n = snprintf(mark, sizeof mark, " i=%zu text=", i);

		assert_int_equal(count(buf_slice(&d.all), slice(mark, (size_t)n)), 4);
	}
	buf_done(&d.all);
	close(pipes[0]);
}

/* Nobody reads: nothing waits; when it flows again the log says how many are lost. */
static void test_blocked(void **state)
{
	uint64_t before = log_dropped(), began, lost;
	size_t many = 6000;
	struct drain d;
	struct err e;
	int pipes[2];

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_true(log_start(pipes[1], LOG_LOGFMT, &e));
	began = clock_mono_ms();
	write_many(&many); /* nearly 3 MB into a ring of one */
	assert_in_range(clock_mono_ms() - began, 0, 5000);
	lost = log_dropped() - before;
	assert_in_range(lost, 1000, 5999);
	drain_start(&d, pipes[0], 0);
	log_stop(10000);
	close(pipes[1]);
	drain_end(&d);
	assert_int_equal(count(buf_slice(&d.all), S("event=warning")), 6000 - lost);
	assert_int_equal(told(buf_slice(&d.all)), lost);
	assert_int_equal(log_dropped() - before, lost);
	buf_done(&d.all);
	close(pipes[0]);
}

static void assert_stops_soon(unsigned wait_ms, uint64_t at_least, uint64_t at_most)
{
	uint64_t began = clock_mono_ms();

	log_stop(wait_ms);
	assert_in_range(clock_mono_ms() - began, at_least, at_most);
}

static void test_stop_is_bounded(void **state)
{
	size_t many = 2000;
	struct drain d;
	struct err e;
	int pipes[2];

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_true(log_start(pipes[1], LOG_LOGFMT, &e));
	write_many(&many);
	assert_stops_soon(200, 150, 1000);
	close(pipes[0]);
	close(pipes[1]);

	/* A reader that always takes a little would need seconds. */
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(fcntl(pipes[1], F_SETPIPE_SZ, 4096), 4096);
	assert_true(log_start(pipes[1], LOG_LOGFMT, &e));
	drain_start(&d, pipes[0], 4096);
	write_many(&many);
	assert_stops_soon(300, 250, 1000);
	close(pipes[1]);
	drain_end(&d);
	buf_done(&d.all);
	close(pipes[0]);
}

/* The reader has gone: lines are lost and counted, the thread rests, the end comes at once. */
static void test_closed_reader(void **state)
{
	uint64_t before = log_dropped();
	struct timespec cpu[2];
	struct err e;
	int pipes[2];

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	close(pipes[0]);
	assert_true(log_start(pipes[1], LOG_LOGFMT, &e));
	log_event(LOG_WARNING, F_U64("i", 1));
	log_event(LOG_WARNING, F_U64("i", 2));
	nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	assert_int_equal(log_dropped() - before, 2);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu[0]);
	nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu[1]);
	assert_in_range((cpu[1].tv_sec - cpu[0].tv_sec) * 1000 +
			    (cpu[1].tv_nsec - cpu[0].tv_nsec) / 1000000,
			0, 50);
	log_event(LOG_WARNING, F_U64("i", 3));
	assert_stops_soon(10000, 0, 1000);
	assert_int_equal(log_dropped() - before, 3);
	close(pipes[1]);
}

/* A burst is written as one; a single line does not wait long. */
static void test_gathers(void **state)
{
	char packet[8192];
	struct err e;
	size_t packets = 0, lines = 0;
	uint64_t began;
	ssize_t n;
	int pair[2];

	/* Each write is a packet. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_true(log_start(pair[1], LOG_LOGFMT, &e));
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	began = clock_mono_ms();
	for (uint64_t i = 0; i < 30; i++) {
		log_event(LOG_WARNING, F_U64("i", i));
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
	}
	while (lines < 30 && (n = read(pair[0], packet, sizeof packet)) > 0) {
		packets++;
		lines += count(slice(packet, (size_t)n), S("event=warning"));
	}
	assert_int_equal(lines, 30);
	assert_in_range(packets, 1, 2 + (clock_mono_ms() - began) / 5);
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	began = clock_mono_ms();
	log_event(LOG_WARNING, F_U64("i", 30));
	assert_true(read(pair[0], packet, sizeof packet) > 0);
	assert_in_range(clock_mono_ms() - began, 0, 500);
	log_stop(1000);
	close(pair[0]);
	close(pair[1]);
}

static void test_off(void **state)
{
	uint64_t before = log_dropped();

	log_event(LOG_WARNING, F_U64("i", 1));
	log_stop(1000);
	assert_int_equal(log_dropped(), before);
}

/* A line that is longer than a line may be is counted, and the next one tells. */
static void test_long_line(void **state)
{
	char text[512];
	struct log_field fields[8];
	uint64_t before = log_dropped();
	struct drain d;
	struct err e;
	int pipes[2];

	memset(text, 1, sizeof text);
	for (size_t i = 0; i < 8; i++)
		fields[i] = F_STR("f", slice(text, sizeof text));
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_true(log_start(pipes[1], LOG_LOGFMT, &e));
	drain_start(&d, pipes[0], 0);
	log_write(LOG_WARNING, fields, 8);
	log_write(LOG_WARNING, fields, 1);
	log_stop(5000);
	close(pipes[1]);
	drain_end(&d);
	assert_int_equal(log_dropped() - before, 1);
	assert_int_equal(told(buf_slice(&d.all)), 1);
	assert_int_equal(count(buf_slice(&d.all), S("\n")), 2);
	buf_done(&d.all);
	close(pipes[0]);
}

int test_log(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_injection),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_order_and_threads),
		cmocka_unit_test(test_blocked),
		cmocka_unit_test(
		    test_long_line), /* before the tests that leave something to tell */
		cmocka_unit_test(test_stop_is_bounded),
		cmocka_unit_test(test_closed_reader),
		cmocka_unit_test(test_gathers),
		cmocka_unit_test(test_off),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
