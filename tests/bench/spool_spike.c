/* tests/bench/spool_spike.c -- which engine for the queue? The measurement behind docs/spool.md.
 *
 * Puts and deletes 4 KiB messages in batches of 1, 25 and 100 with one durable commit a batch:
 * LMDB in its default durable mode, and a file appended to and synced in three ways. Prints wall
 * and CPU microseconds per message, the median of the rounds.
 *
 *     cc -O2 -D_GNU_SOURCE tests/bench/spool_spike.c -llmdb -o spike && ./spike DIRECTORY
 */
#include <fcntl.h>
#include <lmdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define BODY   4096
#define ROUNDS 9

static char body[BODY];
static char dir[3000];

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

static void must(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* One engine: put n, or delete the n oldest, durably. */
struct engine {
	const char *name;
	void (*begin)(void);
	void (*put)(size_t n);
	void (*drop)(size_t n);
	void (*end)(void);
};

static MDB_env *env;
static MDB_dbi dbi;
static uint64_t first, last;

static void lmdb_begin(void)
{
	MDB_txn *t;
	char path[4096];

	snprintf(path, sizeof path, "%s/lmdb.spike", dir);
	unlink(path);
	first = last = 0;
	must(!mdb_env_create(&env) && !mdb_env_set_mapsize(env, 8ull << 30) &&
		 !mdb_env_open(env, path, MDB_NOSUBDIR | MDB_WRITEMAP * 0, 0600),
	     "lmdb");
	must(!mdb_txn_begin(env, NULL, 0, &t) && !mdb_dbi_open(t, NULL, MDB_INTEGERKEY, &dbi) &&
		 !mdb_txn_commit(t),
	     "lmdb open");
}

static void lmdb_put(size_t n)
{
	MDB_txn *t;

	must(!mdb_txn_begin(env, NULL, 0, &t), "begin");
	while (n--) {
		uint64_t k = last++;
		MDB_val key = { sizeof k, &k }, val = { BODY, body };

		must(!mdb_put(t, dbi, &key, &val, MDB_APPEND), "put");
	}
	must(!mdb_txn_commit(t), "commit");
}

static void lmdb_drop(size_t n)
{
	MDB_txn *t;

	must(!mdb_txn_begin(env, NULL, 0, &t), "begin");
	while (n--) {
		uint64_t k = first++;
		MDB_val key = { sizeof k, &k };

		must(!mdb_del(t, dbi, &key, NULL), "del");
	}
	must(!mdb_txn_commit(t), "commit");
}

static void lmdb_end(void)
{
	mdb_env_close(env);
}

static int fd;
static off_t at;

static void file_begin(void)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/append.spike", dir);
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	must(fd >= 0, path);
	at = 0;
}

static void fallocate_begin(void)
{
	file_begin();
	must(!posix_fallocate(fd, 0, 256 << 20), "fallocate");
	must(!fsync(fd), "fsync");
}

static void zeroed_begin(void)
{
	static char zeros[1 << 20];

	file_begin();
	for (int i = 0; i < 256; i++)
		must(write(fd, zeros, sizeof zeros) == sizeof zeros, "zeros");
	must(!fsync(fd), "fsync");
}

static void append(size_t n, size_t each)
{
	static char all[100 * (BODY + 64)];

	must(pwrite(fd, all, n * each, at) == (ssize_t)(n * each), "write");
	at += (off_t)(n * each);
	must(!fdatasync(fd), "sync");
	if (at > (200 << 20))
		at = 0;
}

static void file_put(size_t n)
{
	append(n, BODY + 64);
}

static void file_drop(size_t n)
{
	append(n, 64);
}

static void file_end(void)
{
	close(fd);
}

static void measure(const struct engine *e, size_t batch)
{
	double w[ROUNDS], c[ROUNDS];
	size_t batches = batch == 1 ? 100 : 40;

	e->begin();
	for (int r = 0; r < ROUNDS; r++) {
		double w0 = wall(), c0 = cpu();

		for (size_t i = 0; i < batches; i++) {
			e->put(batch);
			e->drop(batch);
		}
		w[r] = (wall() - w0) / (double)(batches * batch);
		c[r] = (cpu() - c0) / (double)(batches * batch);
	}
	e->end();
	qsort(w, ROUNDS, sizeof *w, by_value);
	qsort(c, ROUNDS, sizeof *c, by_value);
	printf("| %s | %zu | %.1f (%.1f to %.1f) | %.1f |\n", e->name, batch, w[ROUNDS / 2], w[0],
	       w[ROUNDS - 1], c[ROUNDS / 2]);
	fflush(stdout);
}

static void drained(void)
{
	double c0;

	lmdb_begin();
	for (int i = 0; i < 2000; i++)
		lmdb_put(100);
	for (int i = 0; i < 2000; i++)
		lmdb_drop(100);
	c0 = cpu();
	for (int i = 0; i < 100; i++) {
		lmdb_put(100);
		lmdb_drop(100);
	}
	printf("| LMDB after a backlog of 200,000 drained | 100 | | %.1f |\n", (cpu() - c0) / 1e4);
	lmdb_end();
}

int main(int argc, char **argv)
{
	static const struct engine engines[] = {
		{ "LMDB, durable", lmdb_begin, lmdb_put, lmdb_drop, lmdb_end },
		{ "append, file grows", file_begin, file_put, file_drop, file_end },
		{ "append, fallocated", fallocate_begin, file_put, file_drop, file_end },
		{ "append, zero-filled before", zeroed_begin, file_put, file_drop, file_end },
	};
	static const size_t batches[] = { 1, 25, 100 };

	must(argc == 2, "usage: spike DIRECTORY");
	snprintf(dir, sizeof dir, "%s", argv[1]);
	printf(
	    "| engine | batch | wall us/message (range) | CPU us/message |\n|---|---|---|---|\n");
	for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
		for (size_t b = 0; b < 3; b++)
			measure(&engines[i], batches[b]);
	drained();
	return 0;
}
