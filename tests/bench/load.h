/* tests/bench/load.h -- what the generator was told, and the bytes that it sends. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>

enum tls_mode { TLS_NONE, TLS_STARTTLS, TLS_IMPLICIT };

struct options {
	const char *address, *user, *secret, *from, *to, *subject;
	int port;
	enum tls_mode tls;
	bool pipelining, next, resume, hold;
	long connections, per_connection, size, messages, opening, errors_max;
	double seconds, rate;
};

extern struct options opt;

struct blob {
	char *p;
	size_t n;
};

#define STAMP_N 27 /* 10 digits of the number, a dot, 16 of the time */

/* message_*: message and terminator, and what goes right behind it in one flight. The stamp stands
 * at stamp_at of each and is written anew for every message. */
extern struct blob hello, auth_line, envelope, message, message_next, message_quit;
extern size_t rcpts, stamp_at;

void load_options(int argc, char **argv);
void load_texts(void); /* from opt */

#endif
