/* tests/bench/sink.c -- where mail ends: takes everything, keeps nothing, counts.
 *
 *     sink --port 2525 [--cert FILE --key FILE [--implicit]] [--delay MS] [--hang] [--reject CODE]
 *
 * Prints one line of JSON at SIGTERM, SIGINT or when its input ends, and a short one at SIGUSR1;
 * at SIGUSR2 the same, with the times of the way since it was last asked for.
 * Messages that load.c made bear the time at which they were sent: how long each was on its way is
 * reported, too. */
#include "server.h"

#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Replies that wait, oldest first: all wait equally long. */
struct late {
	struct peer *peer;
	uint64_t due_us;
};

static struct late *late;
static size_t late_first, late_n, late_cap;
static uint64_t delay_us, first_us, last_us;
static struct samples way;
static volatile sig_atomic_t stop, asked;

static void on_signal(int sig)
{
	if (sig == SIGUSR1 || sig == SIGUSR2)
		asked = sig;
	else
		stop = 1;
}

/* Message-ID: <NNNNNNNNNN.TTTTTTTTTTTTTTTT@ as load.c writes it. A head that comes in two pieces
 * is not counted. */
static void measure(const char *p, size_t n)
{
	static const char field[] = "Message-ID: <";
	const char *at = memmem(p, n < 4096 ? n : 4096, field, sizeof field - 1);
	uint64_t sent = 0, now = now_us();

	if (!at || (size_t)(p + n - at) < sizeof field - 1 + 27)
		return;
	at += sizeof field - 1 + 11;
	for (size_t i = 0; i < 16; i++) {
		if (at[i] < '0' || at[i] > '9')
			return;
		sent = sent * 10 + (uint64_t)(at[i] - '0');
	}
	if (sent && sent <= now)
		samples_add(&way, now - sent);
}

static void body(struct peer *p, const char *bytes, size_t n, bool first)
{
	(void)p;
	if (first)
		measure(bytes, n);
}

static bool end(struct peer *p)
{
	last_us = now_us();
	if (!first_us)
		first_us = last_us;
	if (!delay_us)
		return true;
	if (late_n == late_cap) {
		struct late *more = need(calloc(late_cap ? 2 * late_cap : 1024, sizeof *more));

		for (size_t i = 0; i < late_n; i++)
			more[i] = late[(late_first + i) % late_cap];
		free(late);
		late = more;
		late_first = 0;
		late_cap = late_cap ? 2 * late_cap : 1024;
	}
	late[(late_first + late_n++) % late_cap] = (struct late){ p, last_us + delay_us };
	return false;
}

/* Milliseconds until the next is due; -1: none. */
static int answer_late(void)
{
	while (late_n) {
		struct late l = late[late_first];
		uint64_t now = now_us();

		if (l.due_us > now)
			return (int)((l.due_us - now + 999) / 1000);
		late_first = (late_first + 1) % late_cap;
		late_n--;
		server_answer(l.peer, "250 2.0.0 ok");
	}
	return -1;
}

/* Whoever holds the other end of a pipe may just let go of it. */
static bool input_ended(void)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	struct stat st;
	char some[256];

	return !fstat(0, &st) && S_ISFIFO(st.st_mode) && poll(&in, 1, 0) > 0 &&
	       read(0, some, sizeof some) <= 0;
}

static void report(struct server *s)
{
	double cpu = cpu_seconds(), seconds = (double)(last_us - first_us) / 1e6;

	printf("{\"messages\":%llu,\"bytes\":%llu,\"connections\":%llu,\"handshakes\":%llu,"
	       "\"broken\":%llu,\"seconds\":%.6f,\"rate\":%.1f,\"cpu_seconds\":%.4f,"
	       "\"cpu_us_per_message\":%.1f,",
	       (unsigned long long)s->messages, (unsigned long long)s->bytes,
	       (unsigned long long)s->connections, (unsigned long long)s->handshakes,
	       (unsigned long long)s->broken, seconds,
	       seconds > 0 ? (double)(s->messages - 1) / seconds : 0, cpu,
	       s->messages ? cpu * 1e6 / (double)s->messages : 0);
	samples_json(&way, "way_us", stdout);
	puts("}");
	fflush(stdout);
}

static void progress(struct server *s)
{
	printf("{\"messages\":%llu,\"first_us\":%llu,\"last_us\":%llu",
	       (unsigned long long)s->messages, (unsigned long long)first_us,
	       (unsigned long long)last_us);
	if (asked == SIGUSR2) {
		putchar(',');
		samples_json(&way, "way_us", stdout);
		way.n = 0;
	}
	asked = 0;
	puts("}");
	fflush(stdout);
}

static const struct option names[] = {
	{ "address", 1, NULL, 'a' }, { "port", 1, NULL, 'p' },     { "cert", 1, NULL, 'c' },
	{ "key", 1, NULL, 'k' },     { "implicit", 0, NULL, 'i' }, { "delay", 1, NULL, 'd' },
	{ "hang", 0, NULL, 'h' },    { "reject", 1, NULL, 'r' },   { NULL, 0, NULL, 0 },
};

int main(int argc, char **argv)
{
	struct server s = { .body = body, .end = end };
	const char *address = "127.0.0.1", *cert = NULL, *key = NULL;
	char reject[64];
	int letter, port = 0, wait;

	while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1)
		switch (letter) {
		case 'a': address = optarg; break;
		case 'p': port = (int)number(optarg, "--port"); break;
		case 'c': cert = optarg; break;
		case 'k': key = optarg; break;
		case 'i': s.implicit = true; break;
		case 'd': delay_us = (uint64_t)number(optarg, "--delay") * 1000; break;
		case 'h': s.hang = true; break;
		case 'r':
			snprintf(reject, sizeof reject, "%ld %ld.0.0 as told",
				 number(optarg, "--reject"), number(optarg, "--reject") / 100);
			s.rcpt_reply = reject;
			break;
		default: return 2;
		}
	if (!port || !cert != !key || optind != argc)
		die("usage: sink --port N [--address IP] [--cert F --key F [--implicit]] [--delay "
		    "MS] "
		    "[--hang] [--reject CODE]");
	if (cert)
		s.tls = tls_for_server(cert, key);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	signal(SIGPIPE, SIG_IGN);
	files_max();
	server_open(&s, address, port);
	do {
		wait = answer_late();
		if (asked)
			progress(&s);
	} while ((server_round(&s, wait >= 0 && wait < 100 ? wait : 100) || !input_ended()) &&
		 !stop);
	report(&s);
	return 0;
}
