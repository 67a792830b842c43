#include "loop/stream.h"

#include "base/must.h"
#include "loop/tls_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* One TLS record at most; also what a plain read asks for at once. */
#define READ_STEP 16384

static void on_ready(void *arg)
{
	struct stream *s = arg;

	s->drained = false;
	/* A queued handshake has asked for nothing: what was still registered tells in vain. */
	if (!s->turn.at)
		s->ready(s->arg);
}

static void on_turn(struct loop_dear *d)
{
	struct stream *s = (struct stream *)(void *)((char *)d - offsetof(struct stream, turn));

	s->granted = true;
	s->drained = false;
	s->ready(s->arg);
}

bool stream_init(struct stream *s, struct loop *l, int fd, void (*ready)(void *arg), void *arg)
{
	*s = (struct stream){ .fd = fd, .ready = ready, .arg = arg, .turn.run = on_turn };
	return loop_io_init(&s->io, l, fd, on_ready, s);
}

void stream_rank(struct stream *s, enum loop_dear_rank rank)
{
	s->turn.rank = rank;
}

void stream_close(struct stream *s)
{
	if (s->fd < 0)
		return;
	loop_dear_cancel(s->io.loop, &s->turn);
	loop_io_done(&s->io);
	if (s->tls) {
		if (!s->shaking && !s->failed)
			SSL_shutdown(s->tls);
		SSL_free(s->tls);
		ERR_clear_error();
	}
	close(s->fd);
	s->fd = -1;
	tls_server_free(s->server);
	s->tls = NULL;
	s->server = NULL;
}

void stream_relax(struct stream *s)
{
	/* Refused while something is in them; the next read or write takes them up again. */
	if (s->holds && !s->shaking && !s->more)
		SSL_free_buffers(s->tls);
	s->holds = false;
}

bool stream_holds(const struct stream *s)
{
	return s->holds;
}

void stream_half_close(struct stream *s)
{
	if (s->tls && !s->shaking && !s->failed)
		SSL_shutdown(s->tls);
	s->failed = true; /* close_notify is said once */
	s->more = false;
	ERR_clear_error();
	shutdown(s->fd, SHUT_WR);
}

enum stream_result stream_discard(struct stream *s, size_t max, size_t *ret)
{
	char room[8192];
	ssize_t n = 0;

	*ret = 0;
	while (*ret < max) {
		n = recv(s->fd, room, sizeof room, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		*ret += (size_t)n;
	}
	if (n == 0)
		return STREAM_EOF;
	return n > 0 ? STREAM_OK : errno == EAGAIN ? STREAM_AGAIN : STREAM_ERROR;
}

static enum stream_result tls_result(struct stream *s, int rc)
{
	int why = SSL_get_error(s->tls, rc);
	unsigned long code;

	s->wants_write = why == SSL_ERROR_WANT_WRITE;
	switch (why) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE: return STREAM_AGAIN;
	case SSL_ERROR_ZERO_RETURN: return STREAM_EOF;
	default: break;
	}
	s->failed = true;
	code = ERR_peek_error();
	if (why == SSL_ERROR_SSL && ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		ERR_clear_error();
		return STREAM_CUT;
	}
	return STREAM_ERROR;
}

static enum stream_result plain_read(struct stream *s, char *to, size_t max, size_t *ret)
{
	ssize_t n;

	do
		n = recv(s->fd, to, max, 0);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		*ret = (size_t)n;
		s->drained = (size_t)n < max;
		return STREAM_OK;
	}
	if (n == 0)
		return STREAM_EOF;
	s->drained = errno == EAGAIN;
	return s->drained ? STREAM_AGAIN : STREAM_ERROR;
}

static enum stream_result read_some(struct stream *s, char *to, size_t max, size_t *ret)
{
	enum stream_result r;
	int rc;

	if (!s->tls)
		return plain_read(s, to, max, ret);
	ERR_clear_error();
	s->holds = true;
	rc = SSL_read_ex(s->tls, to, max, ret);
	s->wants_write = false;
	s->more = rc == 1 && SSL_has_pending(s->tls);
	r = rc == 1 ? STREAM_OK : tls_result(s, rc);
	/* TLS reads ahead. With nothing pending the socket had no more, or just one buffer full,
	 * and then it is readable still. */
	s->drained = (r == STREAM_OK && !s->more) || r == STREAM_AGAIN;
	return r;
}

enum stream_result stream_read(struct stream *s, struct buf *in, size_t max)
{
	size_t got = 0, total = 0;
	enum stream_result r = STREAM_AGAIN;

	max = max < buf_left(in) ? max : buf_left(in);
	if (!max)
		return STREAM_ERROR;
	if (s->drained)
		return STREAM_AGAIN;
	do {
		size_t step = max - total < READ_STEP ? max - total : READ_STEP;
		char *to = buf_room_for(in, step);

		if (!to)
			return total ? STREAM_OK : STREAM_ERROR;
		r = read_some(s, to, step, &got);
		if (r != STREAM_OK)
			break;
		buf_grew(in, got);
		total += got;
		/* Go on while more is certain to be there: the rest of a record, or a full read. */
	} while (total < max && (s->tls ? s->more : got == READ_STEP));
	return total ? STREAM_OK : r;
}

static enum stream_result write_some(struct stream *s, struct slice bytes, size_t *ret)
{
	ssize_t n;

	if (s->tls) {
		int rc;

		ERR_clear_error();
		s->holds = true;
		rc = SSL_write_ex(s->tls, bytes.p, bytes.n, ret);
		s->wants_write = false;
		return rc == 1 ? STREAM_OK : tls_result(s, rc);
	}
	do
		n = send(s->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0) {
		*ret = (size_t)n;
		return STREAM_OK;
	}
	return errno == EAGAIN ? STREAM_AGAIN : STREAM_ERROR;
}

enum stream_result stream_write_slice(struct stream *s, struct slice *bytes)
{
	enum stream_result r = STREAM_OK;
	bool some = false;

	while (bytes->n && r == STREAM_OK) {
		size_t n = 0;

		r = write_some(s, *bytes, &n);
		if (r == STREAM_OK) {
			slice_take(bytes, n);
			some = true;
		}
	}
	return some && r == STREAM_AGAIN ? STREAM_OK : r;
}

enum stream_result stream_write(struct stream *s, struct buf *out)
{
	struct slice left = buf_slice(out);
	enum stream_result r = stream_write_slice(s, &left);

	buf_shift(out, out->n - left.n);
	return r;
}

void stream_want(struct stream *s, bool read, bool write)
{
	if (s->turn.at) {
		loop_io_want(&s->io, false, false);
		return;
	}
	/* Reading may have to write first (a key update), and what TLS has already taken from the
	 * socket does not make it readable. */
	loop_io_want(&s->io, read, write || (read && s->wants_write && !s->shaking));
	if (read && s->more)
		loop_io_again(&s->io);
}

bool stream_start_server(struct stream *s, struct tls_server *t, struct err *e)
{
	(void)e;
	MUST(!s->tls && !s->server);
	s->server = tls_server_hold(t);
	s->shaking = true;
	s->granted = s->drained = false;
	return true;
}

bool stream_start_client(struct stream *s, struct tls_client *t, struct slice host, bool verify,
			 struct err *e)
{
	MUST(!s->tls);
	s->tls = tls_client_connect(t, s->fd, host, verify, e);
	s->shaking = true;
	s->drained = false;
	return s->tls;
}

static bool silent(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

/* The signature is made and sent: the rest of a server's handshake is cheap. Not before that: a
 * HelloRetryRequest, or half a ClientHello, must not open the way past the queue. */
static bool has_signed(const SSL *ssl)
{
	OSSL_HANDSHAKE_STATE at = SSL_get_state(ssl);

	return at == TLS_ST_EARLY_DATA || at == TLS_ST_SW_SRVR_DONE || at == TLS_ST_SR_KEY_EXCH ||
	       at == TLS_ST_SR_CHANGE || at == TLS_ST_SR_FINISHED;
}

enum stream_result stream_handshake(struct stream *s, struct err *e)
{
	enum stream_result r;
	long verify;
	int rc;

	if (s->server) {
		/* Who says nothing costs a socket and no more. */
		if (!s->tls && silent(s->fd))
			return STREAM_AGAIN;
		if (!s->granted && !(s->tls && has_signed(s->tls)) &&
		    !loop_dear_ask(s->io.loop, &s->turn))
			return STREAM_AGAIN;
		s->granted = false;
		if (!s->tls) {
			s->tls = tls_server_accept(s->server, s->fd, e);
			if (!s->tls)
				return STREAM_ERROR;
		}
	}
	ERR_clear_error();
	rc = SSL_do_handshake(s->tls);
	if (rc == 1) {
		s->shaking = s->wants_write = false;
		/* The client's first words may have come along with the end of its handshake. */
		s->more = SSL_has_pending(s->tls);
		s->drained = false;
		s->holds = true;
		return STREAM_OK;
	}
	r = tls_result(s, rc);
	if (r == STREAM_AGAIN)
		return r;
	verify = SSL_get_verify_result(s->tls);
	if (verify != X509_V_OK && (SSL_get_verify_mode(s->tls) & SSL_VERIFY_PEER)) {
		err_set(e, ERR_DENIED, "certificate: %s", X509_verify_cert_error_string(verify));
		ERR_clear_error();
	} else if (r == STREAM_ERROR && ERR_peek_error()) {
		tls_error(e, "TLS handshake");
	} else {
		err_set(e, ERR_LATER, "TLS handshake: connection closed");
	}
	return r;
}

bool stream_wants_write(const struct stream *s)
{
	return s->wants_write;
}

struct stream_tls stream_tls_info(const struct stream *s)
{
	if (!s->tls || s->shaking)
		return (struct stream_tls){ 0 };
	return (struct stream_tls){
		.version = slice_str(SSL_get_version(s->tls)),
		.cipher = slice_str(SSL_CIPHER_standard_name(SSL_get_current_cipher(s->tls))),
		.resumed = SSL_session_reused(s->tls) == 1,
	};
}

int stream_dial(struct slice address, uint16_t port, struct err *e)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	const struct sockaddr *to = (const struct sockaddr *)&v4;
	socklen_t n = sizeof v4;
	char text[64];
	int fd, one = 1;

	if (address.n >= sizeof text) {
		err_set(e, ERR_INPUT, "not an address");
		return -1;
	}
	memcpy(text, address.p, address.n);
	text[address.n] = '\0';
	if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1) {
		to = (const struct sockaddr *)&v6;
		n = sizeof v6;
	} else if (inet_pton(AF_INET, text, &v4.sin_addr) != 1) {
		err_set(e, ERR_INPUT, "not an address: %s", text);
		return -1;
	}
	fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, to, n) && errno != EINPROGRESS) {
		err_set(e, ERR_LATER, "connect to %s port %u: %s", text, port, strerror(errno));
		close(fd);
		return -1;
	}
	if (fd < 0)
		err_set(e, ERR_LATER, "socket: %s", strerror(errno));
	else
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

bool stream_connected(int fd, struct err *e)
{
	int why = 0;
	socklen_t n = sizeof why;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &n))
		why = errno;
	return why ? err_set(e, ERR_LATER, "connect: %s", strerror(why)) : true;
}

bool stream_peer_cred(int fd, uid_t *ret_uid, pid_t *ret_pid)
{
	struct ucred c;
	socklen_t n = sizeof c;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n))
		return false;
	*ret_uid = c.uid;
	*ret_pid = c.pid;
	return true;
}
