#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* -- trouble -- */

void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(2);
}

void die_os(const char *what)
{
	die("%s: %s", what, strerror(errno));
}

void *need(void *allocated)
{
	if (!allocated)
		die("out of memory");
	return allocated;
}

long number(const char *text, const char *what)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || *end || end == text || v < 0)
		die("%s: \"%s\" is not a number", what, text);
	return v;
}

double real(const char *text, const char *what)
{
	char *end;
	double v = strtod(text, &end);

	if (*end || end == text || !(v >= 0))
		die("%s: \"%s\" is not a number", what, text);
	return v;
}

/* -- bytes -- */

static enum wire_got tls_got(struct wire *w, int rc)
{
	int why = SSL_get_error(w->ssl, rc);

	w->wants_out = why == SSL_ERROR_WANT_WRITE;
	if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
		return WIRE_AGAIN;
	ERR_clear_error();
	if (why == SSL_ERROR_ZERO_RETURN)
		return WIRE_EOF;
	/* Nothing may be said on it any more, goodbye neither. */
	SSL_set_quiet_shutdown(w->ssl, 1);
	return WIRE_FAILED;
}

static enum wire_got plain_got(struct wire *w, ssize_t n, bool out, size_t *ret)
{
	if (n > 0) {
		*ret = (size_t)n;
		return WIRE_OK;
	}
	if (n == 0)
		return WIRE_EOF;
	w->wants_out = out;
	return errno == EAGAIN || errno == EINTR ? WIRE_AGAIN : WIRE_FAILED;
}

enum wire_got wire_read(struct wire *w, char *to, size_t max, size_t *ret)
{
	int rc;

	if (w->calls)
		++*w->calls;
	if (!w->ssl)
		return plain_got(w, recv(w->fd, to, max, 0), false, ret);
	rc = SSL_read_ex(w->ssl, to, max, ret);
	return rc == 1 ? WIRE_OK : tls_got(w, rc);
}

enum wire_got wire_write(struct wire *w, const char *p, size_t n, size_t *ret)
{
	int rc;

	if (w->calls)
		++*w->calls;
	if (!w->ssl)
		return plain_got(w, send(w->fd, p, n, MSG_NOSIGNAL), true, ret);
	rc = SSL_write_ex(w->ssl, p, n, ret);
	return rc == 1 ? WIRE_OK : tls_got(w, rc);
}

enum wire_got wire_handshake(struct wire *w)
{
	int rc = SSL_do_handshake(w->ssl);

	return rc == 1 ? WIRE_OK : tls_got(w, rc);
}

bool wire_pending(const struct wire *w)
{
	return w->ssl && SSL_has_pending(w->ssl);
}

void wire_close(struct wire *w)
{
	if (w->ssl) {
		if (SSL_is_init_finished(w->ssl))
			SSL_shutdown(w->ssl);
		SSL_free(w->ssl);
		ERR_clear_error();
	}
	if (w->fd >= 0)
		close(w->fd);
	w->ssl = NULL;
	w->fd = -1;
}

/* -- contexts and sockets -- */

static SSL_CTX *context(const SSL_METHOD *method)
{
	SSL_CTX *ctx = need(SSL_CTX_new(method));

	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
				     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				  SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS);
	return ctx;
}

SSL_CTX *tls_for_server(const char *certificate, const char *key)
{
	SSL_CTX *ctx = context(TLS_server_method());

	if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") != 1)
		die("%s: %s", certificate, ERR_reason_error_string(ERR_get_error()));
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 1);
	return ctx;
}

/* The handshake's own signature is still verified; whose certificate it is, is not asked. */
static int any_chain(X509_STORE_CTX *x, void *arg)
{
	(void)x, (void)arg;
	return 1;
}

SSL_CTX *tls_for_client(void)
{
	SSL_CTX *ctx = context(TLS_client_method());

	/* A short offer is cheap to write; what is agreed upon is the same. */
	if (SSL_CTX_set1_groups_list(ctx, "X25519:P-256") != 1 ||
	    SSL_CTX_set1_sigalgs_list(ctx, "ECDSA+SHA256:RSA-PSS+SHA256") != 1)
		die("TLS policy");
	SSL_CTX_set_cert_verify_callback(ctx, any_chain, NULL);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	return ctx;
}

static struct sockaddr_in where(const char *address, int port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	if (inet_pton(AF_INET, address, &sin.sin_addr) != 1)
		die("%s: not an IPv4 address", address);
	return sin;
}

int listen_on(const char *address, int port)
{
	struct sockaddr_in sin = where(address, port);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
	    bind(fd, (const struct sockaddr *)&sin, sizeof sin) || listen(fd, 4096))
		die_os("listen");
	return fd;
}

int connect_to(const char *address, int port)
{
	struct sockaddr_in sin = where(address, port);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one))
		die_os("socket");
	if (connect(fd, (const struct sockaddr *)&sin, sizeof sin) && errno != EINPROGRESS)
		die_os("connect");
	return fd;
}

void files_max(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		return;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

/* -- figures -- */

uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void samples_add(struct samples *s, uint64_t us)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 65536;
		s->us = need(realloc(s->us, s->cap * sizeof *s->us));
	}
	s->us[s->n++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

void samples_json(struct samples *s, const char *name, FILE *f)
{
	if (s->n)
		qsort(s->us, s->n, sizeof *s->us, by_value);
	fprintf(f, "\"%s\":{\"n\":%zu", name, s->n);
	if (s->n)
		fprintf(f, ",\"p50\":%u,\"p90\":%u,\"p99\":%u,\"max\":%u", s->us[s->n / 2],
			s->us[s->n * 9 / 10], s->us[s->n * 99 / 100], s->us[s->n - 1]);
	fputc('}', f);
}

void text_json(const char *text, FILE *f)
{
	fputc('"', f);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c < 0x20 || c > 0x7e)
			fprintf(f, "\\u%04x", c);
		else
			fputc(c, f);
	}
	fputc('"', f);
}
