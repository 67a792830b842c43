/* tests/bench/server.h -- the least of an SMTP server, for what stands at the other end of a
 * measurement: the sink and the ceiling. One thread, one epoll. It knows just enough grammar to
 * stay in step with a client that makes no mistakes. */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include "wire.h"

struct peer {
	struct wire w;
	struct server *server;
	char *in; /* IN_MAX bytes */
	size_t in_n;
	size_t looked; /* of these, searched for the end of data */
	char out[4096];
	size_t out_n, out_at;
	bool shaking, data, credentials, waiting, muted, watched_out, quit, dead, first_bytes;
	uint64_t message; /* the owner's */
	struct peer *next;
};

struct server {
	SSL_CTX *tls; /* NULL: none */
	bool implicit, auth, hang;
	const char *rcpt_reply; /* NULL: 250 */
	/* Bytes of a message, dots still stuffed; first: its beginning. May be NULL. */
	void (*body)(struct peer *, const char *p, size_t n, bool first);
	/* The end of data. False: server_answer() comes later. */
	bool (*end)(struct peer *);
	/* One descriptor more in the same epoll, registered by the owner with this pointer. */
	const void *other;
	void (*on_other)(void);

	int epoll, listener;
	uint64_t connections, open, messages, bytes, handshakes, calls, broken;
	struct peer *graves, *spare;
};

void server_open(struct server *, const char *address, int port);
/* One round: takes what is there, waiting at most so long (-1: for ever). Returns the events. */
int server_round(struct server *, int wait_ms);
/* The reply to an end of data that had to wait; CRLF is added. */
void server_answer(struct peer *, const char *reply);

#endif
