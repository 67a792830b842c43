/* tests/bench/wire.h -- what the bench's programs share: sockets with or without TLS, time,
 * samples, JSON. Failures of the machine end the program: it measures nothing then. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct wire {
	int fd;          /* -1: none */
	SSL *ssl;        /* NULL: plain */
	bool wants_out;  /* the last call waits for room, not for bytes */
	uint64_t *calls; /* NULL, or where reads and writes are counted */
};

enum wire_got { WIRE_OK, WIRE_AGAIN, WIRE_EOF, WIRE_FAILED };

enum wire_got wire_read(struct wire *, char *to, size_t max, size_t *ret);
enum wire_got wire_write(struct wire *, const char *p, size_t n, size_t *ret);
enum wire_got wire_handshake(struct wire *);
/* Bytes are here already that the socket will not tell of. */
bool wire_pending(const struct wire *);
/* Says goodbye when it can, and closes. */
void wire_close(struct wire *);

/* The policy of Signet's own contexts (src/loop/tls.c), TLS 1.3 only. */
SSL_CTX *tls_for_server(const char *certificate, const char *key);
SSL_CTX *tls_for_client(void);

/* Non-blocking. connect_to returns at once; a connection refused shows at the first use. */
int listen_on(const char *address, int port);
int connect_to(const char *address, int port);
void files_max(void); /* as many descriptors as are permitted */

uint64_t now_us(void); /* CLOCK_MONOTONIC */
double cpu_seconds(void);

struct samples {
	uint32_t *us;
	size_t n, cap;
};

void samples_add(struct samples *, uint64_t us);
/* "NAME":{"p50":..,"p90":..,"p99":..,"max":..,"n":..}, microseconds; sorts. */
void samples_json(struct samples *, const char *name, FILE *);
void text_json(const char *text, FILE *);

_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die_os(const char *what);
void *need(void *allocated);
long number(const char *text, const char *what);
double real(const char *text, const char *what);

#endif
