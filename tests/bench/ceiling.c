/* tests/bench/ceiling.c -- the least that a durable submission server can do, to measure others
 * by: TLS and its handshake as Signet sets them up, just enough SMTP, AUTH that believes
 * everybody, each message appended to a file that was written before, one fdatasync for all that
 * ended in a round of epoll, then their 250.
 *
 *     ceiling --port 2587 --cert FILE --key FILE --file PATH [--size MB] [--implicit]
 *             [--sync-thread] [--gather N]
 *
 * --sync-thread: another thread writes and syncs, while the first goes on with the connections.
 * --gather N: up to N rounds more before a commit as long as something arrives.
 * One line of JSON at SIGTERM or SIGINT. */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BATCH_MAX (16u << 20)

/* What is written with one sync, and who waits for it. */
struct batch {
	char *p;
	size_t n;
	struct peer **ends;
	size_t n_ends, cap;
	bool synced;
};

static struct batch batches[2], *filling = &batches[0], *syncing;
static int file;
static uint64_t file_size, file_at, commits, written;
static struct samples commit_us;
static volatile sig_atomic_t stop;

/* The thread that syncs. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, place = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static struct batch *todo;
static int done_fd = -1;
static bool threaded;

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

/* Both threads may write: each takes its place first. */
static void put(const char *p, size_t n)
{
	uint64_t at;

	pthread_mutex_lock(&place);
	if (file_at + n > file_size)
		file_at = 0;
	at = file_at;
	file_at += n;
	written += n;
	pthread_mutex_unlock(&place);
	while (n) {
		ssize_t w = pwrite(file, p, n, (off_t)at);

		if (w <= 0)
			die_os("write");
		p += w;
		n -= (size_t)w;
		at += (uint64_t)w;
	}
}

static void write_batch(struct batch *b)
{
	uint64_t began = now_us();

	put(b->p, b->n);
	b->n = 0;
	if (!b->n_ends)
		return;
	if (fdatasync(file))
		die_os("fdatasync");
	commits++;
	samples_add(&commit_us, now_us() - began);
}

static void *sync_main(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	for (;;) {
		struct batch *b;
		uint64_t one = 1;

		while (!todo)
			pthread_cond_wait(&wake, &lock);
		b = todo;
		todo = NULL;
		pthread_mutex_unlock(&lock);
		write_batch(b);
		if (write(done_fd, &one, sizeof one) != sizeof one)
			die_os("eventfd");
		pthread_mutex_lock(&lock);
	}
	return NULL;
}

static void answer_all(struct batch *b)
{
	/* Each may add to the batch that is being filled now, never to this one. */
	for (size_t i = 0; i < b->n_ends; i++)
		server_answer(b->ends[i], "250 2.0.0 ok");
	b->n_ends = 0;
}

static struct batch *other(const struct batch *b)
{
	return b == &batches[0] ? &batches[1] : &batches[0];
}

/* Called between rounds: brings to the disk what has collected. */
static void commit(void)
{
	struct batch *b = filling;

	if (threaded) {
		if (syncing || !b->n_ends)
			return;
		filling = other(b);
		syncing = b;
		pthread_mutex_lock(&lock);
		todo = b;
		pthread_cond_signal(&wake);
		pthread_mutex_unlock(&lock);
		return;
	}
	while (filling->n_ends) {
		b = filling;
		write_batch(b);
		filling = other(b);
		answer_all(b);
	}
}

static void synced(void)
{
	struct batch *b = syncing;
	uint64_t n;

	if (!b || read(done_fd, &n, sizeof n) != sizeof n)
		return;
	syncing = NULL;
	answer_all(b);
}

static void body(struct peer *p, const char *bytes, size_t n, bool first)
{
	struct batch *b = filling;

	(void)first;
	/* Only large bodies come here: those whose end is not in this batch are not waited for. */
	if (b->n + n + 32 > BATCH_MAX) {
		put(b->p, b->n);
		b->n = 0;
	}
	/* As much of a record's header as there must be. */
	memset(b->p + b->n, 0, 32);
	memcpy(b->p + b->n, &p->w.fd, sizeof p->w.fd);
	memcpy(b->p + b->n + 8, &n, sizeof n);
	memcpy(b->p + b->n + 32, bytes, n);
	b->n += n + 32;
}

static bool end(struct peer *p)
{
	struct batch *b = filling;

	if (b->n_ends == b->cap) {
		b->cap = b->cap ? 2 * b->cap : 1024;
		b->ends = need(realloc(b->ends, b->cap * sizeof(struct peer *)));
	}
	b->ends[b->n_ends++] = p;
	return false;
}

/* Overwriting what was written before needs no journal: the fastest a file can be. */
static void open_file(const char *path)
{
	static char zeros[1 << 20];
	off_t have;

	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0)
		die_os(path);
	have = lseek(file, 0, SEEK_END);
	for (uint64_t n = have < 0 ? 0 : (uint64_t)have; n < file_size; n += sizeof zeros)
		if (pwrite(file, zeros, sizeof zeros, (off_t)n) != (ssize_t)sizeof zeros)
			die_os(path);
	if (fsync(file))
		die_os(path);
}

static void start_thread(struct server *s)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &done_fd };
	pthread_t thread;

	done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (done_fd < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, done_fd, &ev) ||
	    pthread_create(&thread, NULL, sync_main, NULL))
		die_os("thread");
	s->other = &done_fd;
	s->on_other = synced;
}

static void report(struct server *s)
{
	double cpu = cpu_seconds();

	printf("{\"messages\":%llu,\"commits\":%llu,\"batch\":%.1f,\"written\":%llu,"
	       "\"connections\":%llu,\"handshakes\":%llu,\"broken\":%llu,\"calls\":%llu,"
	       "\"cpu_seconds\":%.4f,\"cpu_us_per_message\":%.1f,",
	       (unsigned long long)s->messages, (unsigned long long)commits,
	       commits ? (double)s->messages / (double)commits : 0, (unsigned long long)written,
	       (unsigned long long)s->connections, (unsigned long long)s->handshakes,
	       (unsigned long long)s->broken, (unsigned long long)s->calls, cpu,
	       s->messages ? cpu * 1e6 / (double)s->messages : 0);
	samples_json(&commit_us, "commit_us", stdout);
	puts("}");
	fflush(stdout);
}

static const struct option names[] = {
	{ "address", 1, NULL, 'a' },  { "port", 1, NULL, 'p' },   { "cert", 1, NULL, 'c' },
	{ "key", 1, NULL, 'k' },      { "file", 1, NULL, 'f' },   { "size", 1, NULL, 'z' },
	{ "implicit", 0, NULL, 'i' }, { "gather", 1, NULL, 'g' }, { "sync-thread", 0, NULL, 't' },
	{ NULL, 0, NULL, 0 },
};

int main(int argc, char **argv)
{
	struct server s = { .auth = true, .body = body, .end = end };
	const char *address = "127.0.0.1", *cert = NULL, *key = NULL, *path = NULL;
	long gather = 0, mb = 256;
	int letter, port = 0;

	while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1)
		switch (letter) {
		case 'a': address = optarg; break;
		case 'p': port = (int)number(optarg, "--port"); break;
		case 'c': cert = optarg; break;
		case 'k': key = optarg; break;
		case 'f': path = optarg; break;
		case 'z': mb = number(optarg, "--size"); break;
		case 'i': s.implicit = true; break;
		case 'g': gather = number(optarg, "--gather"); break;
		case 't': threaded = true; break;
		default: return 2;
		}
	if (!port || !path || !cert != !key || optind != argc)
		die("usage: ceiling --port N --file PATH [--size MB] [--cert F --key F "
		    "[--implicit]] "
		    "[--sync-thread] [--gather N]");
	if (cert)
		s.tls = tls_for_server(cert, key);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGPIPE, SIG_IGN);
	files_max();
	file_size = (uint64_t)mb << 20;
	open_file(path);
	for (int i = 0; i < 2; i++)
		batches[i].p = need(malloc(BATCH_MAX));
	server_open(&s, address, port);
	if (threaded)
		start_thread(&s);
	while (!stop) {
		server_round(&s, 500);
		for (long i = 0; i < gather && filling->n_ends && server_round(&s, 0); i++)
			;
		commit();
	}
	report(&s);
	return 0;
}
