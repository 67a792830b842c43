/* ops/metrics.h -- everything that is counted, in one table; to count is a load and a store.
 *
 * Each thread has a block of counters of its own, made when it first counts and kept for good; a
 * scrape adds the blocks up. Nothing is locked and no cache line is shared, so the message path may
 * count what it likes. Sums are exact for each counter, not a picture of one instant.
 *
 * Labels cannot grow without end: each has a list of words with a fixed number of places, and what
 * finds none counts as "other". No label ever holds an address, an account, a key or a domain.
 *
 * The table is also the documentation (docs/operations.md) and what the dashboard may use. Names
 * follow Prometheus' rules: base units, counters end in _total. */
#ifndef OPS_METRICS_H
#define OPS_METRICS_H

#include "base/buf.h"

/* A label: its name, and how many words it may have besides "other". */
#define METRICS_LABELS(X)                                                                          \
	X(LABEL_NONE, "", 0)                                                                       \
	X(LABEL_LISTENER, "listener", 16)                                                          \
	X(LABEL_SENT_AWAY, "reason", 12)                                                           \
	X(LABEL_MECHANISM, "mechanism", 10)                                                        \
	X(LABEL_LOGIN, "result", 30)                                                               \
	X(LABEL_CODE, "code", 30)                                                                  \
	X(LABEL_REFUSED, "reason", 60)                                                             \
	X(LABEL_SIDE, "side", 2)                                                                   \
	X(LABEL_TLS, "version", 4)                                                                 \
	X(LABEL_PROXY, "result", 8)                                                                \
	X(LABEL_OUTCOME, "outcome", 6)                                                             \
	X(LABEL_NOTICE, "kind", 6)                                                                 \
	X(LABEL_TOLD, "result", 2)                                                                 \
	X(LABEL_ATTEMPT, "result", 10)                                                             \
	X(LABEL_CALL, "result", 6)

enum metrics_label {
#define X(symbol, name, max) symbol,
	METRICS_LABELS(X)
#undef X
	    METRICS_N_LABELS
};

enum metrics_kind {
	METRIC_COUNTER,
	METRIC_GAUGE, /* goes up and down: metrics_add() and metrics_sub() */
	METRIC_LEVEL, /* is set: metrics_set() */
	METRIC_TIMES, /* a histogram of durations, observed in nanoseconds, told in seconds */
	METRIC_WAITS, /* the same in milliseconds, up to days */
	METRIC_SIZES, /* a histogram of small numbers */
};

/* clang-format off */
#define METRICS(X) \
	X(M_CONNECTIONS, METRIC_COUNTER, "signet_connections_total", LABEL_LISTENER, LABEL_NONE, "SMTP connections that were taken") \
	X(M_CONNECTIONS_OPEN, METRIC_GAUGE, "signet_connections", LABEL_LISTENER, LABEL_NONE, "SMTP connections that are open") \
	X(M_SENT_AWAY, METRIC_COUNTER, "signet_connections_refused_total", LABEL_SENT_AWAY, LABEL_NONE, "SMTP connections that were sent away, by the limit they met") \
	X(M_PROXY, METRIC_COUNTER, "signet_proxy_headers_total", LABEL_PROXY, LABEL_NONE, "PROXY protocol headers of listed peers, by what became of them") \
	X(M_TLS, METRIC_COUNTER, "signet_tls_handshakes_total", LABEL_SIDE, LABEL_TLS, "TLS handshakes that succeeded; side: client connections to us are \"server\"") \
	X(M_TLS_FAILED, METRIC_COUNTER, "signet_tls_handshake_failures_total", LABEL_SIDE, LABEL_NONE, "TLS handshakes that failed") \
	X(M_LOGINS, METRIC_COUNTER, "signet_logins_total", LABEL_MECHANISM, LABEL_LOGIN, "Logins decided; the results are those of the log's event authentication") \
	X(M_WITHDRAWN, METRIC_COUNTER, "signet_logins_withdrawn_total", LABEL_LOGIN, LABEL_NONE, "Open sessions whose login no longer holds") \
	X(M_REFUSALS, METRIC_COUNTER, "signet_commands_refused_total", LABEL_CODE, LABEL_NONE, "Replies of the 4xx and 5xx kind, by code") \
	X(M_ACCEPTED, METRIC_COUNTER, "signet_messages_accepted_total", LABEL_LISTENER, LABEL_NONE, "Messages that are durable and were acknowledged") \
	X(M_ACCEPTED_BYTES, METRIC_COUNTER, "signet_messages_accepted_bytes_total", LABEL_LISTENER, LABEL_NONE, "Bytes of these messages as they are queued") \
	X(M_ACCEPTED_RCPTS, METRIC_COUNTER, "signet_recipients_accepted_total", LABEL_LISTENER, LABEL_NONE, "Recipients of these messages") \
	X(M_REFUSED, METRIC_COUNTER, "signet_messages_refused_total", LABEL_REFUSED, LABEL_NONE, "Messages refused after their end of data; the reasons are those of the log's event message_refused") \
	X(M_ACCEPT_TIME, METRIC_TIMES, "signet_accept_seconds", LABEL_NONE, LABEL_NONE, "From a message's end of data to its 250: parsing, permission, commit") \
	X(M_COMMIT_SIZE, METRIC_SIZES, "signet_commit_operations", LABEL_NONE, LABEL_NONE, "Operations of a commit: messages and outcomes that shared one sync") \
	X(M_COMMIT_TIME, METRIC_TIMES, "signet_commit_seconds", LABEL_NONE, LABEL_NONE, "A commit: writing, sync, and what follows") \
	X(M_SYNC_TIME, METRIC_TIMES, "signet_spool_sync_seconds", LABEL_NONE, LABEL_NONE, "The disk's part of a commit: one fdatasync") \
	X(M_COMMIT_FAILED, METRIC_COUNTER, "signet_commit_failures_total", LABEL_NONE, LABEL_NONE, "Commits that failed: the server ends after the first") \
	X(M_ATTEMPTS, METRIC_COUNTER, "signet_attempts_total", LABEL_ATTEMPT, LABEL_NONE, "Attempts at delivery, by how they ended: settled (every recipient has a verdict), or the site could not be used") \
	X(M_OUTCOMES, METRIC_COUNTER, "signet_outcomes_total", LABEL_OUTCOME, LABEL_NONE, "What attempts meant for recipients") \
	X(M_DELIVERY_TIME, METRIC_WAITS, "signet_delivery_seconds", LABEL_NONE, LABEL_NONE, "From a message's acceptance to a recipient's delivery") \
	X(M_NOTICES, METRIC_COUNTER, "signet_notices_total", LABEL_NOTICE, LABEL_TOLD, "Notices to senders about the fate of their mail; result: queued, or none was owed or possible") \
	X(M_LOOP_LAG, METRIC_TIMES, "signet_loop_lag_seconds", LABEL_NONE, LABEL_NONE, "How late an event loop was for a timer, looked at once a second in each") \
	X(M_CALLS, METRIC_COUNTER, "signet_control_calls_total", LABEL_CALL, LABEL_NONE, "Calls over the control socket and the metrics port, by class of status") \
	X(M_RELOAD_OK, METRIC_LEVEL, "signet_config_last_reload_successful", LABEL_NONE, LABEL_NONE, "1: the configuration in use is the one that was last asked for; 0: that one was refused") \
	X(M_RELOAD_TIME, METRIC_LEVEL, "signet_config_last_reload_success_timestamp_seconds", LABEL_NONE, LABEL_NONE, "When the configuration in use was read")
/* clang-format on */

enum metric {
#define X(symbol, kind, name, a, b, help) symbol,
	METRICS(X)
#undef X
	    METRICS_N
};

#define METRICS_WORD_MAX 63

/* The place of a word under a label, for metrics_add(): the same for the same word, 0 ("other")
 * when all places are taken. Cheap after the first time, free when kept. Words are cut at
 * METRICS_WORD_MAX bytes. From any thread. */
unsigned metrics_word(enum metrics_label, struct slice word);

/* a, b: places of words; 0 where the metric has no such label. From any thread. */
void metrics_add(enum metric, unsigned a, unsigned b, uint64_t n);
void metrics_sub(enum metric, unsigned a, unsigned b, uint64_t n);
void metrics_set(enum metric, uint64_t value);
/* For histograms: nanoseconds, milliseconds or a number, as its kind says. */
void metrics_observe(enum metric, uint64_t value);

/* One counter's sum, for `status` and tests. Histograms: how many values were observed. */
uint64_t metrics_sum(enum metric, unsigned a, unsigned b);

/* -- the text form (Prometheus 0.0.4) -- */

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends every metric of the table. */
void metrics_text(struct buf *out);
/* For what is asked elsewhere and not counted here: the head of a metric, then its samples. label
 * NULL: none. milli: the value is told in thousandths. */
void metrics_text_head(struct buf *out, const char *name, const char *type, const char *help);
void metrics_text_sample(struct buf *out, const char *name, const char *label, struct slice word,
			 uint64_t value, bool milli);
/* A label's value: backslash, quote and line end escaped, other control bytes as '?'. */
void metrics_text_escaped(struct buf *out, struct slice word);

#endif
