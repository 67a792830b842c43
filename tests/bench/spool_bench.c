/* tests/bench/spool_bench.c -- what the spool costs: the figures of docs/spool.md.
 *
 *     spool_bench DIRECTORY [BACKLOG]
 *     spool_bench DIRECTORY commit N      what one commit of N such messages takes, as JSON
 *
 * On a directory of its own: put and settle 4 KiB messages in batches of 1, 25 and 100; then a
 * backlog (1,000,000 unless told) to one dead destination: its memory, count, list, reopening,
 * and batches beside it; then the backlog drained and the batches once more. Wall and CPU
 * microseconds per message, the median of the rounds. */
#include "ops/clock.h"
#include "spool/log_impl.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BODY = 4096, ROUNDS = 9, BATCH_MAX = 100 };

static const struct spool_backend *const b = &spool_segments;
static struct spool *spool;
static struct spool_conf conf;
static char body[BODY];
static uint64_t made;

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static double wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double cpu(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 +
	       (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static uint64_t anon_kb(void)
{
	char line[128];
	unsigned long long kb = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof line, f))
		(void)(sscanf(line, "RssAnon: %llu", &kb) == 1);
	if (f)
		fclose(f);
	return kb;
}

static int by_value(const void *x, const void *y)
{
	double a = *(const double *)x, c = *(const double *)y;

	return a < c ? -1 : a > c;
}

static struct id id_number(uint64_t n)
{
	unsigned char random[10] = { 0 };
	uint64_t mixed = n * 0x9e3779b97f4a7c15u;

	memcpy(random + 2, &mixed, 8);
	return id_make(1700000000000 + n / 8, random);
}

struct one {
	struct spool_envelope env;
	struct spool_content content;
	struct spool_rcpt rcpt;
	struct slice dest;
	struct spool_verdict verdict;
	struct spool_op op;
};

static struct one ones[BATCH_MAX];
static struct spool_op *ops[BATCH_MAX];

static void commit(size_t n)
{
	struct err e = { 0 };

	if (!b->commit(spool, ops, n, &e)) {
		fprintf(stderr, "%s\n", e.text);
		exit(1);
	}
	for (size_t i = 0; i < n; i++)
		must(ops[i]->result == SPOOL_OK, "result");
}

static void put(uint64_t first, size_t n, struct slice dest)
{
	for (size_t i = 0; i < n; i++) {
		struct one *o = &ones[i];

		o->rcpt = (struct spool_rcpt){ .path = S("somebody@example.test") };
		o->dest = dest;
		o->env = (struct spool_envelope){ .id = id_number(first + i),
						  .account = 1,
						  .key_id = S("0123456789abcdef"),
						  .accepted_ms = 1700000000000,
						  .reverse_path = S("sender@example.test"),
						  .rcpts = &o->rcpt,
						  .n_rcpts = 1,
						  .dests = &o->dest,
						  .n_deliveries = 1 };
		o->content = (struct spool_content){ .head = S("Subject: x\r\n\r\n"),
						     .body = slice(body, sizeof body),
						     .fd = -1 };
		o->op = (struct spool_op){
			.kind = SPOOL_PUT, .envelope = &o->env, .content = &o->content, .due_ms = 1
		};
		ops[i] = &o->op;
	}
	commit(n);
}

static void drop(uint64_t first, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct one *o = &ones[i];

		o->verdict =
		    (struct spool_verdict){ 0, RCPT_DELIVERED, S("250 2.0.0 ok: queued as 12345") };
		o->op = (struct spool_op){ .kind = SPOOL_SETTLE,
					   .id = id_number(first + i),
					   .verdicts = &o->verdict,
					   .n_verdicts = 1,
					   .attempted = true };
		ops[i] = &o->op;
	}
	commit(n);
}

static void batches(const char *when)
{
	static const size_t sizes[] = { 1, 25, 100 };

	for (size_t s = 0; s < 3; s++) {
		size_t n = sizes[s], times = n == 1 ? 100 : 40;
		double w[ROUNDS], c[ROUNDS];

		for (int r = 0; r < ROUNDS; r++) {
			double w0 = wall(), c0 = cpu();

			for (size_t i = 0; i < times; i++) {
				put(made, n, S("live.test"));
				drop(made, n);
				made += n;
			}
			w[r] = (wall() - w0) / (double)(times * n);
			c[r] = (cpu() - c0) / (double)(times * n);
		}
		qsort(w, ROUNDS, sizeof *w, by_value);
		qsort(c, ROUNDS, sizeof *c, by_value);
		printf("| put and settle, %s | %zu | %.1f (%.1f to %.1f) | %.1f (%.1f to %.1f) |\n",
		       when, n, w[ROUNDS / 2], w[0], w[ROUNDS - 1], c[ROUNDS / 2], c[0],
		       c[ROUNDS - 1]);
		fflush(stdout);
	}
}

static void open_spool(void)
{
	struct err e = { 0 };

	spool = b->open(&conf, &e);
	if (!spool) {
		fprintf(stderr, "%s\n", e.text);
		exit(1);
	}
}

static void looks(void)
{
	static struct spool_row rows[100];
	struct spool_count c;
	double w0 = wall();

	b->count(spool, &c);
	printf("count: %.3f ms; ", (wall() - w0) / 1e3);
	w0 = wall();
	(void)spool_list(b, spool, &(struct spool_filter){ 0 }, NULL, rows, 100);
	printf("a page of 100 rows: %.0f ms\n", (wall() - w0) / 1e3);
	printf("%llu messages, %.1f MB of messages, %.1f MB on disk\n",
	       (unsigned long long)c.messages, (double)c.bytes_live / 1e6,
	       (double)c.bytes_disk / 1e6);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
	(void)st, (void)kind, (void)f;
	return remove(path);
}

static void backlog(uint64_t n)
{
	uint64_t first = made, before = anon_kb();
	double w0 = wall(), c0 = cpu();

	for (uint64_t i = 0; i < n; i += BATCH_MAX)
		put(first + i, BATCH_MAX, S("dead.test"));
	made += n;
	printf("backlog of %llu: put in %.1f s (%.1f us CPU each)\n", (unsigned long long)n,
	       (wall() - w0) / 1e6, (cpu() - c0) / (double)n);
	printf("index: %.1f bytes a message; RssAnon grew by %.1f\n",
	       (double)index_memory(spool->index) / (double)n,
	       (double)(anon_kb() - before) * 1024 / (double)n);
	looks();
	batches("beside the backlog");
	for (int i = 0; i < 3; i++) {
		log_free(spool); /* killed */
		w0 = wall();
		open_spool();
		printf("reopened after a kill: %.2f s\n", (wall() - w0) / 1e6);
	}
	w0 = wall();
	c0 = cpu();
	for (uint64_t i = 0; i < n; i += BATCH_MAX)
		drop(first + i, BATCH_MAX);
	printf("drained in %.1f s (%.1f us CPU each); index now %llu bytes, RssAnon %llu KiB (%llu "
	       "before)\n",
	       (wall() - w0) / 1e6, (cpu() - c0) / (double)n,
	       (unsigned long long)index_memory(spool->index), (unsigned long long)anon_kb(),
	       (unsigned long long)before);
	looks();
}

static void commits_of(size_t n)
{
	enum { TIMES = 300 };
	double w[TIMES];

	must(n >= 1 && n <= BATCH_MAX, "N: 1 to 100");
	for (int i = 0; i < TIMES; i++) {
		double w0 = wall();

		put(made, n, S("live.test"));
		w[i] = wall() - w0;
		drop(made, n);
		made += n;
	}
	qsort(w, TIMES, sizeof *w, by_value);
	printf("{\"batch\":%zu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f}\n", n, w[TIMES / 2],
	       w[TIMES * 9 / 10], w[TIMES * 99 / 100]);
}

int main(int argc, char **argv)
{
	bool commits = argc == 4 && !strcmp(argv[2], "commit");
	char dir[3000];

	must(argc == 2 || argc == 3 || commits, "usage: spool_bench DIRECTORY [BACKLOG]");
	snprintf(dir, sizeof dir, "%s/spool-bench", argv[1]);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	conf = (struct spool_conf){ .path = slice_str(dir), .hash_key = { 3, 4 } };
	memset(body, 'x', sizeof body);
	open_spool();
	if (commits) {
		commits_of(strtoul(argv[3], NULL, 10));
		b->close(spool);
		nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
		return 0;
	}
	printf("| what | batch | wall us/message (range) | CPU us/message (range) "
	       "|\n|---|---|---|---|\n");
	batches("fresh");
	backlog(argc == 3 ? strtoull(argv[2], NULL, 10) : 1000000);
	batches("drained");
	b->close(spool);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
