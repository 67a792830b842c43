/* flood: bad company for a server under test, on loopback only.
 *
 *   flood --port N --mode MODE [--address A] [--connections N] [--sources N] [--seconds S]
 *         [--total N]
 *
 * Modes; all keep `connections` open at once and open a new one for each that ends, `total` in all:
 *   trickle    plaintext; after the greeting one byte of "NOOP " every ten seconds, for ever
 *   noread     plaintext; EHLO after EHLO as fast as the socket takes them, nothing is ever read
 *   halftls    to an implicit TLS port: the first half of a ClientHello, then silence
 *   handshake  to an implicit TLS port: a whole handshake, then an abrupt close
 *   hello      to an implicit TLS port: a whole ClientHello, one flight of the server, a close:
 *              costs the server its signature and the flood nothing
 *   silent     connects, nothing more
 *   login      to an implicit TLS port: EHLO, then AUTH PLAIN after AUTH PLAIN with keys that are
 *              made up, until the server has enough
 *   scram      the same by SCRAM-SHA-256: ids that are made up, each exchange led to its end
 *
 * Sources are spread over 127.1.0.1 and up, so that the ceiling of one address is not the only one
 * that is met. Prints one line of JSON when it ends: at `seconds`, at `total`, or at SIGTERM. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum mode { TRICKLE, NOREAD, HALFTLS, HANDSHAKE, HELLO, SILENT, LOGIN, SCRAM };

static const char *const mode_names[] = { "trickle", "noread", "halftls", "handshake",
					  "hello",   "silent", "login",   "scram" };

/* One connection. */
struct c {
	int fd; /* -1: none */
	bool connected;
	uint64_t next_ms; /* of the next byte: trickle */
	unsigned sent;
	SSL *tls;
	/* login */
	bool up;
	char in[2048];
	size_t n;
};

struct flood {
	enum mode mode;
	struct sockaddr_in to;
	unsigned connections, sources;
	uint64_t total, seconds;
	int epoll;
	SSL_CTX *ctx;
	unsigned char hello[2048];
	size_t hello_bytes;
	struct c *cs;
	uint64_t opened, ended, refused, bytes_in, tries, told;
	unsigned open, most_open;
};

static volatile sig_atomic_t stop;

static void on_signal(int s)
{
	(void)s;
	stop = 1;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void die(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The bytes of a ClientHello, as this library would send them. */
static void make_hello(struct flood *f)
{
	SSL *s = SSL_new(f->ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	int n;

	if (!s || !in || !out)
		die("ClientHello");
	SSL_set_bio(s, in, out);
	SSL_set_connect_state(s);
	SSL_do_handshake(s);
	n = BIO_read(out, f->hello, sizeof f->hello);
	if (n <= 0)
		die("ClientHello");
	f->hello_bytes = (size_t)n;
	SSL_free(s);
}

static void end(struct flood *f, struct c *c)
{
	if (c->tls) {
		SSL_set_quiet_shutdown(c->tls, 1);
		SSL_free(c->tls);
		c->tls = NULL;
	}
	close(c->fd);
	c->fd = -1;
	f->open--;
	f->ended++;
}

static void begin(struct flood *f, struct c *c)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	uint32_t host = 0x7f010001u + (uint32_t)(f->opened % f->sources);
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c };

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	from.sin_addr.s_addr = htonl(host);
	setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){ 1 }, sizeof(int));
	if (bind(c->fd, (struct sockaddr *)&from, sizeof from) != 0)
		die("bind");
	f->opened++;
	f->open++;
	if (f->open > f->most_open)
		f->most_open = f->open;
	c->connected = false;
	c->next_ms = UINT64_MAX;
	c->sent = 0;
	c->up = false;
	c->n = 0;
	if (connect(c->fd, (struct sockaddr *)&f->to, sizeof f->to) != 0 && errno != EINPROGRESS) {
		f->refused++;
		end(f, c);
		return;
	}
	if (epoll_ctl(f->epoll, EPOLL_CTL_ADD, c->fd, &e) != 0)
		die("epoll_ctl");
}

static void connected(struct flood *f, struct c *c)
{
	c->connected = true;
	switch (f->mode) {
	case TRICKLE: c->next_ms = now_ms() + (uint64_t)(random() % 10000); break;
	case HALFTLS: (void)!write(c->fd, f->hello, f->hello_bytes / 2); break;
	case HELLO: (void)!write(c->fd, f->hello, f->hello_bytes); break;
	case LOGIN:
	case SCRAM:
	case HANDSHAKE:
		c->tls = SSL_new(f->ctx);
		if (!c->tls || !SSL_set_fd(c->tls, c->fd))
			die("SSL_new");
		SSL_set_connect_state(c->tls);
		break;
	case NOREAD:
	case SILENT: break;
	}
}

/* Reads away what is there; false: the connection is over. */
static bool drain(struct flood *f, struct c *c)
{
	char b[16384];
	ssize_t n;

	while ((n = read(c->fd, b, sizeof b)) > 0)
		f->bytes_in += (uint64_t)n;
	return n < 0 && errno == EAGAIN;
}

static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void add_random(char *to, size_t *n, unsigned some)
{
	while (some--)
		to[(*n)++] = set[random() & 63];
}

/* A key of the right shape that nobody has, or its id: another one each time. */
static void made_up(enum mode mode, char line[256])
{
	char plain[128] = "\0apikey\0SG.", first[128] = "n,,n=", text[256];
	size_t n = 11;

	if (mode == SCRAM) {
		n = 5;
		first[n++] = set[random() % 26];
		add_random(first, &n, 21);
		memcpy(first + n, ",r=flood", 8);
		n += 8;
	} else {
		add_random(plain, &n, 22);
		plain[n++] = '.';
		add_random(plain, &n, 43);
	}
	EVP_EncodeBlock((unsigned char *)text, (unsigned char *)(mode == SCRAM ? first : plain),
			(int)n);
	snprintf(line, 256, "AUTH %s %.200s\r\n", mode == SCRAM ? "SCRAM-SHA-256" : "PLAIN", text);
}

/* SCRAM's next word: a proof that is none, and nothing once that has been told. */
static bool answer(const char *challenge, char line[512])
{
	unsigned char got[512];
	char text[256], *comma;
	size_t n = strcspn(challenge, "\r\n");

	if (n > 600 || EVP_DecodeBlock(got, (const unsigned char *)challenge, (int)n) < 4)
		return false;
	got[n / 4 * 3] = '\0';
	snprintf(line, 512, "\r\n");
	if (memcmp(got, "r=", 2) != 0)
		return memcmp(got, "e=", 2) == 0;
	comma = strchr((char *)got, ',');
	if (!comma || comma - (char *)got > 100)
		return false;
	n = (size_t)snprintf(text, sizeof text, "c=biws,%.*s,p=%044d", (int)(comma - (char *)got),
			     (char *)got, 0);
	memcpy(text + n - 1, "=", 1); /* 32 bytes */
	n = (size_t)EVP_EncodeBlock((unsigned char *)line, (unsigned char *)text, (int)n);
	memcpy(line + n, "\r\n", 3);
	return true;
}

static bool say(struct c *c, const char *line)
{
	return SSL_write(c->tls, line, (int)strlen(line)) > 0;
}

/* One line of a reply. False: it is over. */
static bool on_line(struct flood *f, struct c *c, const char *line)
{
	char next[512];

	if (line[3] == '-')
		return true;
	if (!strncmp(line, "220", 3))
		return say(c, "EHLO flood.example\r\n");
	if (f->mode == SCRAM && !strncmp(line, "334 ", 4))
		return answer(line + 4, next) && say(c, next);
	if (!strncmp(line, "535", 3))
		f->told++;
	else if (strncmp(line, "250", 3) != 0)
		return false;
	made_up(f->mode, next);
	f->tries++;
	return say(c, next);
}

static bool login(struct flood *f, struct c *c)
{
	int rc;

	if (!c->up) {
		rc = SSL_do_handshake(c->tls);
		if (rc != 1) {
			rc = SSL_get_error(c->tls, rc);
			return rc == SSL_ERROR_WANT_READ || rc == SSL_ERROR_WANT_WRITE;
		}
		c->up = true;
	}
	for (;;) {
		char *end;

		rc = SSL_read(c->tls, c->in + c->n, (int)(sizeof c->in - 1 - c->n));
		if (rc <= 0)
			return SSL_get_error(c->tls, rc) == SSL_ERROR_WANT_READ;
		c->n += (size_t)rc;
		c->in[c->n] = '\0';
		while ((end = memchr(c->in, '\n', c->n))) {
			size_t line = (size_t)(end - c->in) + 1;

			if (line < 4 || !on_line(f, c, c->in))
				return false;
			memmove(c->in, c->in + line, c->n - line + 1);
			c->n -= line;
		}
	}
}

static bool go_on(struct flood *f, struct c *c, uint32_t events)
{
	static const char ehlo[] = "EHLO flood.example\r\n";
	uint64_t before = f->bytes_in;
	int rc;

	if (events & (EPOLLERR | EPOLLHUP))
		return false;
	if (!c->connected) {
		if (!(events & EPOLLOUT))
			return true;
		connected(f, c);
	}
	switch (f->mode) {
	case NOREAD:
		if (events & EPOLLRDHUP)
			return false;
		while ((rc = (int)write(c->fd, ehlo, sizeof ehlo - 1)) > 0)
			;
		return errno == EAGAIN;
	case HANDSHAKE:
		rc = SSL_do_handshake(c->tls);
		if (rc == 1)
			return false;
		rc = SSL_get_error(c->tls, rc);
		return rc == SSL_ERROR_WANT_READ || rc == SSL_ERROR_WANT_WRITE;
	case LOGIN:
	case SCRAM: return login(f, c);
	case HELLO: return drain(f, c) && f->bytes_in == before;
	case TRICKLE:
	case HALFTLS:
	case SILENT: return drain(f, c);
	}
	return false;
}

/* The bytes that are due: looked at once a round. */
static void trickle(struct flood *f, uint64_t now)
{
	for (unsigned i = 0; i < f->connections; i++) {
		struct c *c = &f->cs[i];

		if (c->fd < 0 || c->next_ms > now)
			continue;
		if (write(c->fd, &"NOOP "[c->sent % 5], 1) == 1)
			c->sent++;
		c->next_ms = now + 10000;
	}
}

static void run(struct flood *f)
{
	struct epoll_event es[512];
	uint64_t until = now_ms() + f->seconds * 1000, looked = 0;

	while (!stop && now_ms() < until && (f->ended < f->total)) {
		unsigned fresh = 0;
		int n;

		for (unsigned i = 0; i < f->connections && f->opened < f->total && fresh < 200; i++)
			if (f->cs[i].fd < 0) {
				begin(f, &f->cs[i]);
				fresh++;
			}
		n = epoll_wait(f->epoll, es, 512, fresh == 200 ? 0 : 50);
		for (int i = 0; i < n; i++) {
			struct c *c = es[i].data.ptr;

			if (c->fd >= 0 && !go_on(f, c, es[i].events))
				end(f, c);
		}
		if (f->mode == TRICKLE && now_ms() > looked + 100)
			trickle(f, looked = now_ms());
	}
}

static uint64_t number(const char *s)
{
	char *e;
	unsigned long long n = strtoull(s, &e, 10);

	if (*e || !*s) {
		fprintf(stderr, "flood: not a number: %s\n", s);
		exit(64);
	}
	return n;
}

static void options(struct flood *f, int argc, char **argv)
{
	static const struct option known[] = {
		{ "port", 1, NULL, 'p' },    { "mode", 1, NULL, 'm' },
		{ "address", 1, NULL, 'a' }, { "connections", 1, NULL, 'c' },
		{ "sources", 1, NULL, 's' }, { "seconds", 1, NULL, 't' },
		{ "total", 1, NULL, 'n' },   { 0 }
	};
	bool moded = false;
	int o;

	while ((o = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (o) {
		case 'p': f->to.sin_port = htons((uint16_t)number(optarg)); break;
		case 'a':
			if (inet_pton(AF_INET, optarg, &f->to.sin_addr) != 1)
				exit(64);
			break;
		case 'c': f->connections = (unsigned)number(optarg); break;
		case 's': f->sources = (unsigned)number(optarg); break;
		case 't': f->seconds = number(optarg); break;
		case 'n': f->total = number(optarg); break;
		case 'm':
			for (unsigned i = 0; i < sizeof mode_names / sizeof *mode_names; i++)
				if (strcmp(optarg, mode_names[i]) == 0) {
					f->mode = (enum mode)i;
					moded = true;
				}
			break;
		default: exit(64);
		}
	if (!moded || !f->to.sin_port || !f->sources || f->sources > 60000 || !f->connections ||
	    (ntohl(f->to.sin_addr.s_addr) >> 24) != 127) {
		fprintf(stderr, "flood: --mode, --port, and an address in 127.0.0.0/8\n");
		exit(64);
	}
}

int main(int argc, char **argv)
{
	struct flood f = { .connections = 100, .sources = 1, .total = UINT64_MAX, .seconds = 10 };
	struct rlimit files;
	struct rusage used;

	f.to.sin_family = AF_INET;
	f.to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	options(&f, argc, argv);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	f.epoll = epoll_create1(EPOLL_CLOEXEC);
	f.ctx = SSL_CTX_new(TLS_client_method());
	f.cs = calloc(f.connections, sizeof *f.cs);
	if (f.epoll < 0 || !f.ctx || !f.cs)
		die("start");
	for (unsigned i = 0; i < f.connections; i++)
		f.cs[i].fd = -1;
	make_hello(&f);
	run(&f);
	getrusage(RUSAGE_SELF, &used);
	printf("{\"mode\":\"%s\",\"opened\":%llu,\"ended\":%llu,\"refused\":%llu,\"open\":%u,"
	       "\"most_open\":%u,\"bytes_in\":%llu,\"tries\":%llu,\"told\":%llu,\"cpu_s\":%.2f}\n",
	       mode_names[f.mode], (unsigned long long)f.opened, (unsigned long long)f.ended,
	       (unsigned long long)f.refused, f.open, f.most_open, (unsigned long long)f.bytes_in,
	       (unsigned long long)f.tries, (unsigned long long)f.told,
	       (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		   (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	return 0;
}
