/* loop/stream.h -- one connected socket, plain or inside TLS, without waiting.
 *
 * The owner is told through one callback that something may have become possible, tries what it
 * wants, and says with stream_want() what it waits for. Descriptor and TLS state belong to the
 * stream from stream_init() to stream_close(). */
#ifndef LOOP_STREAM_H
#define LOOP_STREAM_H

#include "base/buf.h"
#include "loop/loop.h"
#include "loop/tls.h"

#include <sys/types.h>

struct stream {
	struct loop_io io;
	int fd;
	void *tls;                 /* SSL */
	struct tls_server *server; /* held; its SSL is made when the client's first byte is there */
	struct loop_dear turn;     /* of a server's handshake */
	bool shaking, wants_write, failed;
	bool granted; /* it is our turn */
	bool holds;   /* TLS may have buffers that a rest would free */
	bool more;    /* TLS holds bytes that were not asked for yet: no readiness will tell */
	bool drained; /* the last read left nothing: readiness tells when there is something */
	void (*ready)(void *arg);
	void *arg;
};

enum stream_result {
	STREAM_OK,    /* something was done */
	STREAM_AGAIN, /* nothing can be done now */
	STREAM_EOF,   /* the peer has ended its side properly */
	STREAM_CUT,   /* TLS: the connection ended without close_notify; what came may be cut */
	STREAM_ERROR,
};

/* fd is non-blocking. */
bool stream_init(struct stream *, struct loop *, int fd, void (*ready)(void *arg), void *arg);
/* Before the handshake: whether its turns come before those of others, or behind them. */
void stream_rank(struct stream *, enum loop_dear_rank);
/* Says close_notify if it can be said at once, and closes. Harmless on a closed stream. */
void stream_close(struct stream *);

/* TLS keeps two buffers of a record each, 34 KB, from the first byte to the last: to take them anew
 * for every read and write would cost a tenth of a message. A connection at rest gives them back
 * with stream_relax(); stream_holds(): it has some. */
void stream_relax(struct stream *);
bool stream_holds(const struct stream *);

/* An end whose last words arrive: says close_notify and ends our side; from then on what still
 * comes is thrown away with stream_discard() until the peer has closed, too. To close with bytes
 * unread would make the kernel send a reset, and that overtakes what the peer has not read yet. */
void stream_half_close(struct stream *);
/* Throws away at most max bytes: STREAM_OK (there may be more), STREAM_AGAIN, or the end. */
enum stream_result stream_discard(struct stream *, size_t max, size_t *ret);

/* Appends at most max bytes to in, and no more than it has room for; with no room at all
 * STREAM_ERROR. What is left unread is told of again. When a read has taken all there was, the next
 * ones say STREAM_AGAIN without asking the kernel, until ready() was called: reading until
 * STREAM_AGAIN costs one system call, not two. */
enum stream_result stream_read(struct stream *, struct buf *in, size_t max);
/* Writes from the front of out and drops what was written. */
enum stream_result stream_write(struct stream *, struct buf *out);
/* The same from a slice. */
enum stream_result stream_write_slice(struct stream *, struct slice *bytes);
void stream_want(struct stream *, bool read, bool write);

/* TLS begins with the next byte in either direction; then stream_handshake() until it is not
 * STREAM_AGAIN, waiting for reading, and for writing while stream_wants_write(). A server's
 * handshakes take turns (loop_dear): STREAM_AGAIN may mean that it is not this one's yet, and
 * ready() is called when it is. The tls_server stays until then. */
bool stream_start_server(struct stream *, struct tls_server *, struct err *e);
bool stream_start_client(struct stream *, struct tls_client *, struct slice host, bool verify,
			 struct err *e);
enum stream_result stream_handshake(struct stream *, struct err *e);
bool stream_wants_write(const struct stream *);

struct stream_tls {
	struct slice version, cipher; /* static text; empty outside TLS */
	bool resumed;
};
struct stream_tls stream_tls_info(const struct stream *);

/* A non-blocking socket on its way to an address (text, without brackets); ready when writable,
 * then stream_connected(). -1 on failure. */
int stream_dial(struct slice address, uint16_t port, struct err *e);
bool stream_connected(int fd, struct err *e);

/* SO_PEERCRED. */
bool stream_peer_cred(int fd, uid_t *ret_uid, pid_t *ret_pid);

#endif
