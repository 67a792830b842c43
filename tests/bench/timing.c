/* timing: how long a server takes to say no, for each reason it has, on loopback only.
 *
 *   timing --port N --mechanism PLAIN|LOGIN|SCRAM-SHA-256|CRAM-MD5 --samples N --seed N
 *          --out FILE CLASS=USER:PASSWORD ...
 *
 * One TLS connection. The classes take turns in an order that is drawn anew for each round, so that
 * whatever changes in the machine meanwhile meets all of them. Measured is the last step of the
 * exchange: from its write to the whole reply, which has to be the same for all (535). SCRAM and
 * CRAM-MD5 are answered with random proofs, but for those whose PASSWORD is real: CRAM-MD5 then has
 * the right digest (a revoked key); SCRAM's first step, the challenge, is measured by --first.
 *
 * FILE: for each class, in the order given, N numbers of 32 bits, little-endian: nanoseconds. */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLASSES_MAX 12
#define LINE_MAX_   4096
#define WARM_UP     500 /* rounds that do not count */

struct class
{
	const char *name, *user, *password;
	uint32_t *ns;
};

struct talk {
	SSL *ssl;
	char in[16384];
	size_t n;
};

static uint64_t seed;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* splitmix64 */
static uint64_t draw(void)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* One reply; its code. The last line stays in `in`. */
static int reply(struct talk *t)
{
	for (;;) {
		char *end = memchr(t->in, '\n', t->n);
		int got;

		if (end) {
			size_t line = (size_t)(end - t->in) + 1;
			int code = atoi(t->in);
			bool last = t->in[3] == ' ';

			memmove(t->in, t->in + line, t->n - line + 1);
			t->n -= line;
			if (last)
				return code;
			continue;
		}
		got = SSL_read(t->ssl, t->in + t->n, (int)(sizeof t->in - 1 - t->n));
		if (got <= 0)
			die("the server has closed the connection");
		t->n += (size_t)got;
		t->in[t->n] = '\0';
	}
}

/* A reply of one line, as text. */
static int line_reply(struct talk *t, char *text, size_t max)
{
	char *end;
	int got;

	while (!(end = memchr(t->in, '\n', t->n))) {
		got = SSL_read(t->ssl, t->in + t->n, (int)(sizeof t->in - 1 - t->n));
		if (got <= 0)
			die("the server has closed the connection");
		t->n += (size_t)got;
		t->in[t->n] = '\0';
	}
	snprintf(text, max, "%.*s", (int)(end - t->in), t->in);
	text[strcspn(text, "\r")] = '\0';
	return reply(t);
}

static void say(struct talk *t, const char *text)
{
	char line[LINE_MAX_];
	int n = snprintf(line, sizeof line, "%s\r\n", text);

	if (SSL_write(t->ssl, line, n) != n)
		die("the server does not read");
}

static void b64(const void *p, size_t n, char *to)
{
	EVP_EncodeBlock((unsigned char *)to, p, (int)n);
}

/* -- exchanges: all but the last step; the line that is measured comes back in `last` -- */

static void plain(const struct class *c, char *last)
{
	char pair[1024], text[2048];
	int n = snprintf(pair, sizeof pair, "%c%s%c%s", 0, c->user, 0, c->password);

	b64(pair, (size_t)n, text);
	snprintf(last, LINE_MAX_, "AUTH PLAIN %s", text);
}

static void login(struct talk *t, const struct class *c, char *last)
{
	char text[2048];

	say(t, "AUTH LOGIN");
	if (reply(t) != 334)
		die("LOGIN is not offered");
	b64(c->user, strlen(c->user), text);
	say(t, text);
	if (reply(t) != 334)
		die("LOGIN asks no password");
	b64(c->password, strlen(c->password), last);
}

static void hex(const unsigned char *p, size_t n, char *to)
{
	for (size_t i = 0; i < n; i++)
		sprintf(to + 2 * i, "%02x", p[i]);
}

static void cram(struct talk *t, const struct class *c, char *last)
{
	unsigned char challenge[1024], digest[EVP_MAX_MD_SIZE];
	char line[2048], text[512];
	unsigned size = 16;
	int n;

	say(t, "AUTH CRAM-MD5");
	if (line_reply(t, line, sizeof line) != 334)
		die("CRAM-MD5 is not offered");
	n = EVP_DecodeBlock(challenge, (unsigned char *)line + 4, (int)strlen(line + 4));
	while (n > 0 && !challenge[n - 1])
		n--;
	HMAC(EVP_md5(), c->password, (int)strlen(c->password), challenge, (size_t)n, digest, &size);
	n = snprintf(text, sizeof text, "%s ", c->user);
	hex(digest, 16, text + n);
	b64(text, strlen(text), last);
}

static void scram_first(const struct class *c, char *last)
{
	char text[512], encoded[1024];

	snprintf(text, sizeof text, "n,,n=%s,r=%016llx", c->user, (unsigned long long)draw());
	b64(text, strlen(text), encoded);
	snprintf(last, LINE_MAX_, "AUTH SCRAM-SHA-256 %s", encoded);
}

/* A proof of random bytes. */
static void scram(struct talk *t, const struct class *c, char *last)
{
	char first[LINE_MAX_], line[2048], text[2048], proof[64];
	unsigned char decoded[1024], random[32];
	const char *nonce;
	int n;

	scram_first(c, first);
	say(t, first);
	if (line_reply(t, line, sizeof line) != 334)
		die("SCRAM is not offered");
	n = EVP_DecodeBlock(decoded, (unsigned char *)line + 4, (int)strlen(line + 4));
	decoded[n > 0 ? n : 0] = '\0';
	nonce = strstr((char *)decoded, "r=");
	if (!nonce)
		die("SCRAM without a nonce");
	for (size_t i = 0; i < sizeof random; i += 8) {
		uint64_t v = draw();

		memcpy(random + i, &v, 8);
	}
	b64(random, sizeof random, proof);
	snprintf(text, sizeof text, "c=biws,%.*s,p=%s", (int)strcspn(nonce, ","), nonce, proof);
	b64(text, strlen(text), last);
}

/* -- */

struct run {
	const char *mechanism;
	bool first;
};

static void prepare(struct talk *t, const struct run *r, const struct class *c, char *last)
{
	if (!strcmp(r->mechanism, "PLAIN"))
		plain(c, last);
	else if (!strcmp(r->mechanism, "LOGIN"))
		login(t, c, last);
	else if (!strcmp(r->mechanism, "CRAM-MD5"))
		cram(t, c, last);
	else if (r->first)
		scram_first(c, last);
	else
		scram(t, c, last);
}

static uint64_t measure(struct talk *t, const struct run *r, const struct class *c)
{
	char last[LINE_MAX_];
	uint64_t began, took;
	int code;

	prepare(t, r, c, last);
	began = now_ns();
	say(t, last);
	code = reply(t);
	took = now_ns() - began;
	if (r->first) {
		if (code != 334)
			die("%s: %d to the first step", c->name, code);
		say(t, "*");
		reply(t);
		return took;
	}
	/* SCRAM's e=, which is answered with nothing. */
	if (code == 334) {
		say(t, "");
		code = reply(t);
	}
	if (code != 535)
		die("%s: %d where 535 is wanted", c->name, code);
	return took;
}

static void open_tls(struct talk *t, int port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at))
		die_os("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	t->ssl = SSL_new(tls_for_client());
	if (!t->ssl || !SSL_set_fd(t->ssl, fd) || SSL_connect(t->ssl) != 1)
		die("no TLS");
	if (reply(t) != 220)
		die("no greeting");
	say(t, "EHLO timing.example");
	if (reply(t) != 250)
		die("no EHLO");
}

static void shuffle(size_t *order, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t k = (size_t)(draw() % i), was = order[i - 1];

		order[i - 1] = order[k];
		order[k] = was;
	}
}

static void read_class(struct class *c, char *text, size_t samples)
{
	char *user = strchr(text, '='), *password = user ? strchr(user, ':') : NULL;

	if (!password)
		die("%s is not CLASS=USER:PASSWORD", text);
	*user++ = '\0';
	*password++ = '\0';
	*c = (struct class){ text, user, password, need(calloc(samples, sizeof(uint32_t))) };
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "port", 1, NULL, 'p' },    { "mechanism", 1, NULL, 'm' },
		{ "samples", 1, NULL, 'n' }, { "seed", 1, NULL, 's' },
		{ "out", 1, NULL, 'o' },     { "first", 0, NULL, 'f' },
		{ NULL, 0, NULL, 0 },
	};
	struct class classes[CLASSES_MAX];
	struct run r = { .mechanism = "PLAIN" };
	const char *out = NULL;
	size_t samples = 20000, n = 0, order[CLASSES_MAX];
	struct talk t = { 0 };
	int port = 0, c;
	FILE *f;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		switch (c) {
		case 'p': port = (int)number(optarg, "--port"); break;
		case 'm': r.mechanism = optarg; break;
		case 'n': samples = (size_t)number(optarg, "--samples"); break;
		case 's': seed = (uint64_t)number(optarg, "--seed"); break;
		case 'o': out = optarg; break;
		case 'f': r.first = true; break;
		default: return 2;
		}
	while (optind < argc && n < CLASSES_MAX)
		read_class(&classes[n++], argv[optind++], samples);
	if (!port || !out || n < 2)
		die("--port, --out and two classes are needed");
	open_tls(&t, port);
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	for (size_t k = 0; k < WARM_UP + samples; k++) {
		shuffle(order, n);
		for (size_t i = 0; i < n; i++) {
			uint64_t ns = measure(&t, &r, &classes[order[i]]);

			if (k >= WARM_UP)
				classes[order[i]].ns[k - WARM_UP] =
				    ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
		}
	}
	f = fopen(out, "wb");
	if (!f)
		die_os(out);
	for (size_t i = 0; i < n; i++)
		if (fwrite(classes[i].ns, sizeof(uint32_t), samples, f) != samples)
			die_os(out);
	if (fclose(f))
		die_os(out);
	return 0;
}
