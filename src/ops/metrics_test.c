/* ops/metrics_test.c -- sums over threads, labels that cannot grow, and the text to the letter. */
#include "ops/metrics_impl.h"

#include "ops/room_test.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define THREADS 4
#define ROUNDS  20000u

static void *count(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		metrics_add(M_COMMIT_FAILED, 0, 0, 3);
		metrics_observe(M_COMMIT_SIZE, i % 3);
	}
	metrics_add(M_CONNECTIONS_OPEN, 0, 0, 5);
	return NULL;
}

/* A gauge may go up in one thread and down in another; the threads' counts outlive them. */
static void test_threads(void **state)
{
	uint64_t failed = metrics_sum(M_COMMIT_FAILED, 0, 0),
		 sizes = metrics_sum(M_COMMIT_SIZE, 0, 0);
	pthread_t t[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, count, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(metrics_sum(M_COMMIT_FAILED, 0, 0) - failed, 3u * THREADS * ROUNDS);
	assert_int_equal(metrics_sum(M_COMMIT_SIZE, 0, 0) - sizes, THREADS * ROUNDS);
	metrics_sub(M_CONNECTIONS_OPEN, 0, 0, 5 * THREADS - 1);
	assert_int_equal(metrics_sum(M_CONNECTIONS_OPEN, 0, 0), 1);
	metrics_sub(M_CONNECTIONS_OPEN, 0, 0, 1);
}

/* The same place for the same word; whatever finds none is "other" and stays so. */
static void test_words(void **state)
{
	unsigned max = metrics_labels[LABEL_LISTENER].max, first;
	char name[64], longer[100];

	(void)state;
	first = metrics_word(LABEL_LISTENER, S("w0"));
	assert_true(first);
	for (unsigned i = 0; i < max + 5; i++) {
		snprintf(name, sizeof name, "w%u", i);
		assert_int_equal(metrics_word(LABEL_LISTENER, slice_str(name)),
				 i < max ? first + i : 0);
	}
	assert_int_equal(metrics_word(LABEL_LISTENER, S("w3")), first + 3);
	assert_int_equal(metrics_n_words(LABEL_LISTENER), max + 1);
	assert_true(slice_eq(metrics_word_text(LABEL_LISTENER, 0), S("other")));
	memset(longer, 'x', sizeof longer);
	assert_int_equal(metrics_word(LABEL_REFUSED, slice(longer, sizeof longer)),
			 metrics_word(LABEL_REFUSED, slice(longer, METRICS_WORD_MAX)));
	assert_int_equal(metrics_word(LABEL_REFUSED, slice("a\0b", 3)), 0);
}

static bool has(const struct buf *text, const char *line)
{
	return memmem(text->p, text->n, line, strlen(line));
}

static void test_text(void **state)
{
	unsigned ok, odd;
	struct buf out;

	(void)state;
	buf_init(&out, 1 << 20);
	ok = metrics_word(LABEL_OUTCOME, S("delivered"));
	odd = metrics_word(LABEL_SENT_AWAY, S("a\"b\\c\nd\x01"));
	metrics_add(M_OUTCOMES, ok, 0, 7);
	metrics_add(M_SENT_AWAY, odd, 0, 1);
	metrics_add(M_TLS, metrics_word(LABEL_SIDE, S("server")),
		    metrics_word(LABEL_TLS, S("TLSv1.3")), 2);
	(void)metrics_word(LABEL_TLS, S("TLSv1.2"));
	metrics_sub(M_CONNECTIONS_OPEN, 0, 0, 1);
	metrics_observe(M_DELIVERY_TIME, 100);
	metrics_observe(M_DELIVERY_TIME, 101);
	metrics_observe(M_DELIVERY_TIME, 50ull * 86400 * 1000);
	metrics_observe(M_SYNC_TIME, 2500001);
	metrics_set(M_RELOAD_TIME, 1795473796);
	metrics_text(&out);
	assert_false(out.failed);
	assert_true(has(&out, "# HELP signet_outcomes_total What attempts meant for recipients\n"
			      "# TYPE signet_outcomes_total counter\n"
			      "signet_outcomes_total{outcome=\"delivered\"} 7\n"));
	assert_true(has(&out, "signet_connections_refused_total{reason=\"a\\\"b\\\\c\\nd?\"} 1\n"));
	assert_true(has(&out, "{side=\"server\",version=\"TLSv1.3\"} 2\n"));
	assert_false(has(&out, "version=\"TLSv1.2\""));
	assert_false(has(&out, "outcome=\"other\""));
	assert_false(has(&out, "signet_connections{listener=\"other\"}"));
	assert_true(has(&out, "# TYPE signet_delivery_seconds histogram\n"
			      "signet_delivery_seconds_bucket{le=\"0.1\"} 1\n"
			      "signet_delivery_seconds_bucket{le=\"0.5\"} 2\n"));
	assert_true(has(&out, "signet_delivery_seconds_bucket{le=\"432000\"} 2\n"
			      "signet_delivery_seconds_bucket{le=\"+Inf\"} 3\n"
			      "signet_delivery_seconds_sum 4320000.201\n"
			      "signet_delivery_seconds_count 3\n"));
	assert_true(has(&out, "signet_spool_sync_seconds_bucket{le=\"0.0025\"} 0\n"
			      "signet_spool_sync_seconds_bucket{le=\"0.005\"} 1\n"));
	assert_true(has(&out, "signet_spool_sync_seconds_sum 0.002500001\n"));
	assert_true(has(&out, "signet_config_last_reload_success_timestamp_seconds 1795473796\n"));
	buf_clear(&out);
	metrics_text_sample(&out, "x_seconds", "who", S("a"), 1005, true);
	metrics_text_sample(&out, "y", NULL, S(""), 4, false);
	buf_addc(&out, '\0');
	assert_string_equal(out.p, "x_seconds{who=\"a\"} 1.005\ny 4\n");
	buf_done(&out);
}

int test_metrics(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests_name("ops/metrics", tests, NULL, NULL);
}
