/* api/metrics.c -- /metrics: what was counted, and what is asked at the moment of the scrape. */
#include "api/api_impl.h"

#include "auth/gate.h"
#include "base/auto.h"
#include "history/history.h"
#include "ops/clock.h"
#include "ops/metrics.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static void gauge(struct buf *out, const char *name, const char *help, uint64_t value)
{
	metrics_text_head(out, name, "gauge", help);
	metrics_text_sample(out, name, NULL, S(""), value, false);
}

static void counter(struct buf *out, const char *name, const char *help, uint64_t value)
{
	metrics_text_head(out, name, "counter", help);
	metrics_text_sample(out, name, NULL, S(""), value, false);
}

static void counter_milli(struct buf *out, const char *name, const char *help, uint64_t value)
{
	metrics_text_head(out, name, "counter", help);
	metrics_text_sample(out, name, NULL, S(""), value, true);
}

static void gauge_milli(struct buf *out, const char *name, const char *help, uint64_t value)
{
	metrics_text_head(out, name, "gauge", help);
	metrics_text_sample(out, name, NULL, S(""), value, true);
}

/* -- the queue -- */

/* Ids begin with the time: the first is the oldest. */
static uint64_t oldest_age(const struct api_context *c)
{
	static const struct spool_filter all = { .state = LIST_ALL };
	struct spool_row row;
	uint64_t now = clock_steady_ms();

	if (!spool_list(c->spool_backend, c->spool, &all, NULL, &row, 1) || now < row.accepted_ms)
		return 0;
	return now - row.accepted_ms;
}

static void add_queue(const struct api_context *c, struct buf *out)
{
	struct spool_count n = { 0 };

	c->spool_backend->count(c->spool, &n);
	gauge(out, "signet_queue_messages", "Messages in the queue", n.messages);
	gauge(out, "signet_queue_deliveries", "Deliveries that wait or are under way",
	      n.pending_deliveries);
	gauge(out, "signet_queue_deliveries_under_way", "Of these, those that are being attempted",
	      n.leased);
	gauge(out, "signet_queue_deliveries_held", "Of those that wait, those held by hand",
	      n.held);
	gauge(out, "signet_queue_deliveries_stopped",
	      "Of those that wait, those whose account's or key's mail is held", n.stopped);
	gauge(out, "signet_queue_destinations", "Domains that something waits for", n.destinations);
	gauge(out, "signet_queue_recipients_failed",
	      "Recipients that failed and are kept to be seen", n.failed_rcpts);
	gauge(out, "signet_queue_bytes", "Bytes of the messages in the queue", n.bytes_live);
	gauge(out, "signet_queue_disk_bytes", "Bytes that the queue takes on disk", n.bytes_disk);
	gauge_milli(out, "signet_queue_oldest_age_seconds", "Age of the oldest message",
		    oldest_age(c));
	gauge(out, "signet_queue_damaged", "Records that are damaged and were set aside",
	      n.damaged);
	gauge(out, "signet_disk_free_bytes", "Free bytes on the queue's file system", n.disk_free);
}

/* -- the server -- */

static void add_server(const struct api_status *s, struct buf *out)
{
	gauge(out, "signet_body_memory_bytes", "Bytes of message bodies held in memory", s->memory);
	gauge(out, "signet_sites", "Sites that something waits for or goes to", s->sites);
	gauge(out, "signet_sites_failing", "Of these, those left alone after a failure",
	      s->sites_failing);
	counter(out, "signet_log_lines_dropped_total", "Lines that the log could not take",
		s->log_dropped);
	gauge_milli(out, "signet_certificate_expiry_timestamp_seconds",
		    "When the first of the certificates in use ends", s->certificate_until_ms);
	gauge(out, "signet_stopping", "1: the server is ending", s->stopping);
	metrics_text_head(out, "signet_build_info", "gauge", "Always 1; which version it is");
	metrics_text_sample(out, "signet_build_info", "version", S(SIGNET_VERSION), 1, false);
}

static void add_records(const struct api_context *c, struct buf *out)
{
	struct gate_count n = c->gate ? gate_count(c->gate) : (struct gate_count){ 0 };

	gauge(out, "signet_bans", "Bans that hold, of the guard's and by hand", n.bans);
	counter(out, "signet_authlog_rows_dropped_total",
		"Rows that the authentication log could not take", n.dropped);
	counter(out, "signet_history_events_dropped_total",
		"Events that the history of messages could not take",
		c->history ? history_dropped(c->history) : 0);
}

static void add_limits(const struct conf *c, struct buf *out)
{
	gauge(out, "signet_limit_connections", "Option limits.connections", c->limits.connections);
	gauge(out, "signet_limit_message_bytes", "Option limits.message", c->limits.message);
	gauge(out, "signet_limit_body_memory_bytes", "Option limits.memory", c->limits.memory);
	gauge(out, "signet_limit_disk_reserve_bytes", "Option spool.reserve", c->spool.reserve);
	gauge(out, "signet_limit_queue_messages", "Option spool.messages_max; 0: no limit",
	      c->spool.messages_max);
}

/* -- the process: the names every Prometheus exporter uses -- */

/* Field n of /proc/self/stat, counted as in proc(5), which the name of the program (it may hold
 * anything) does not disturb. */
static uint64_t stat_field(struct slice stat, unsigned n)
{
	struct slice before, word = S("");
	uint64_t v = 0;

	if (!slice_rcut(stat, ')', &before, &stat))
		return 0;
	slice_take(&stat, stat.n ? 1 : 0);
	for (unsigned i = 3; i <= n; i++)
		slice_cut(stat, ' ', &word, &stat);
	return slice_u64(word, &v) ? v : 0;
}

static struct slice read_stat(char *room, size_t size)
{
	AUTO_FD fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, room, size);

	return slice(room, n > 0 ? (size_t)n : 0);
}

static uint64_t open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t n = 0;

	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n > 3 ? n - 3 : 0; /* ".", "..", and the directory's own */
}

static void add_process(const struct api_status *s, struct buf *out)
{
	char room[1024];
	struct slice stat = read_stat(room, sizeof room);
	uint64_t tick = (uint64_t)sysconf(_SC_CLK_TCK), page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct rlimit files = { 0 };

	counter_milli(out, "process_cpu_seconds_total", "Processor time, user and system",
		      (stat_field(stat, 14) + stat_field(stat, 15)) * 1000 / tick);
	gauge(out, "process_resident_memory_bytes", "Resident memory", stat_field(stat, 24) * page);
	gauge(out, "process_virtual_memory_bytes", "Virtual memory", stat_field(stat, 23));
	gauge(out, "process_threads", "Threads", stat_field(stat, 20));
	gauge(out, "process_open_fds", "Open file descriptors", open_fds());
	if (!getrlimit(RLIMIT_NOFILE, &files))
		gauge(out, "process_max_fds", "File descriptors that are allowed", files.rlim_cur);
	gauge_milli(out, "process_start_time_seconds", "Unix time of the start", s->started_ms);
}

bool api_metrics(struct api_run *r, struct err *e)
{
	const struct api_context *c = r->call->ctx;
	struct buf *out = &r->call->reply;

	(void)e;
	metrics_text(out);
	add_queue(c, out);
	add_server(c->status, out);
	add_records(c, out);
	add_limits(c->conf, out);
	add_process(c->status, out);
	r->call->content_type = S(METRICS_CONTENT_TYPE);
	return true;
}
