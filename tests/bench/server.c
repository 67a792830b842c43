#include "server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* A read of a full TLS record fits beside what a command may have left. */
#define IN_MAX 32768

void server_open(struct server *s, const char *address, int port)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };

	s->listener = listen_on(address, port);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &ev))
		die_os("epoll");
}

static void watch(struct peer *p)
{
	struct epoll_event ev = { .data.ptr = p };

	ev.events = (p->muted ? 0u : EPOLLIN) | (p->watched_out ? EPOLLOUT : 0u);
	if (epoll_ctl(p->server->epoll, EPOLL_CTL_MOD, p->w.fd, &ev))
		die_os("epoll");
}

static void watch_out(struct peer *p, bool out)
{
	if (p->watched_out == out)
		return;
	p->watched_out = out;
	watch(p);
}

static void mute(struct peer *p, bool muted)
{
	if (p->muted == muted)
		return;
	p->muted = muted;
	watch(p);
}

/* Events of this round may still name it, and an answer may be on its way: it is kept until
 * nobody does. */
static void bury(struct peer *p, bool broken)
{
	if (p->dead)
		return;
	p->dead = true;
	p->server->broken += broken;
	p->server->open--;
	wire_close(&p->w);
	if (!p->waiting) {
		p->next = p->server->graves;
		p->server->graves = p;
	}
}

static void clear_graves(struct server *s)
{
	struct peer *p;

	while ((p = s->graves)) {
		s->graves = p->next;
		p->next = s->spare;
		s->spare = p;
	}
}

/* -- replies -- */

static void say(struct peer *p, const char *text)
{
	size_t n = strlen(text);

	if (n + 2 > sizeof p->out - p->out_n) {
		bury(p, true); /* it does not read */
		return;
	}
	memcpy(p->out + p->out_n, text, n);
	memcpy(p->out + p->out_n + n, "\r\n", 2);
	p->out_n += n + 2;
}

static void flush(struct peer *p)
{
	while (!p->dead && p->out_at < p->out_n) {
		size_t n;

		switch (wire_write(&p->w, p->out + p->out_at, p->out_n - p->out_at, &n)) {
		case WIRE_OK: p->out_at += n; break;
		case WIRE_AGAIN: watch_out(p, p->w.wants_out); return;
		case WIRE_EOF:
		case WIRE_FAILED: bury(p, true); return;
		}
	}
	p->out_at = p->out_n = 0;
	if (p->dead)
		return;
	if (p->quit)
		bury(p, false);
	else
		watch_out(p, false);
}

/* -- what the client says -- */

static bool verb(const char *line, size_t n, const char *want)
{
	size_t w = strlen(want);

	return n >= w && !strncasecmp(line, want, w);
}

static void start_tls(struct peer *p)
{
	p->w.ssl = SSL_new(p->server->tls);
	if (!p->w.ssl || SSL_set_fd(p->w.ssl, p->w.fd) != 1)
		die("TLS");
	SSL_set_accept_state(p->w.ssl);
	p->shaking = true;
}

static void say_ehlo(struct peer *p)
{
	const struct server *s = p->server;

	say(p, "250-bench.example\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n"
	       "250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES");
	if (s->tls && !p->w.ssl)
		say(p, "250-STARTTLS");
	if (s->auth && (p->w.ssl || !s->tls))
		say(p, "250-AUTH PLAIN");
	say(p, "250 HELP");
}

static void command(struct peer *p, const char *line, size_t n)
{
	if (p->credentials) {
		p->credentials = false;
		say(p, "235 2.7.0 ok");
	} else if (verb(line, n, "MAIL")) {
		say(p, "250 2.1.0 ok");
	} else if (verb(line, n, "RCPT")) {
		say(p, p->server->rcpt_reply ? p->server->rcpt_reply : "250 2.1.5 ok");
	} else if (verb(line, n, "DATA")) {
		if (p->server->rcpt_reply) {
			say(p, "554 5.5.1 no recipients");
			return;
		}
		p->data = p->first_bytes = true;
		p->looked = 0;
		say(p, "354 go on");
	} else if (verb(line, n, "EHLO")) {
		say_ehlo(p);
	} else if (verb(line, n, "STARTTLS") && p->server->tls && !p->w.ssl) {
		say(p, "220 2.0.0 go on");
		flush(p);
		if (!p->dead)
			start_tls(p);
	} else if (verb(line, n, "AUTH PLAIN")) {
		p->credentials = n <= 11;
		say(p, p->credentials ? "334 " : "235 2.7.0 ok");
	} else if (verb(line, n, "QUIT")) {
		say(p, "221 2.0.0 bye");
		p->quit = true;
	} else if (verb(line, n, "HELO") || verb(line, n, "RSET") || verb(line, n, "NOOP")) {
		say(p, "250 2.0.0 ok");
	} else {
		say(p, "500 5.5.2 what?");
	}
}

static void hand_on(struct peer *p, const char *bytes, size_t n)
{
	p->server->bytes += n;
	if (p->server->body)
		p->server->body(p, bytes, n, p->first_bytes);
	p->first_bytes = false;
}

/* Some of a body; returns how much of the n bytes at `at` is used up, 0: more is wanted. */
static size_t body(struct peer *p, const char *at, size_t n)
{
	/* Four bytes may be the beginning of the end. */
	size_t back = p->looked > 4 ? p->looked - 4 : 0;
	const char *found;
	size_t content, end;

	if (p->first_bytes && n >= 3 && !memcmp(at, ".\r\n", 3)) {
		content = 0;
		end = 3;
	} else if ((found = memmem(at + back, n - back, "\r\n.\r\n", 5))) {
		content = (size_t)(found - at) + 2;
		end = content + 3;
	} else if (n < IN_MAX / 2) {
		p->looked = n;
		return 0;
	} else {
		/* A full buffer makes room. */
		hand_on(p, at, n - 4);
		p->looked = 4;
		return n - 4;
	}
	hand_on(p, at, content);
	p->data = false;
	p->looked = 0;
	p->server->messages++;
	if (!p->server->end || p->server->end(p))
		say(p, "250 2.0.0 ok");
	else
		p->waiting = true;
	return end;
}

static void digest(struct peer *p)
{
	size_t at = 0;

	while (!p->dead && !p->waiting && !p->shaking && !p->quit && at < p->in_n) {
		const char *lf;
		size_t n;

		if (p->data) {
			n = body(p, p->in + at, p->in_n - at);
			if (!n)
				break;
			at += n;
			continue;
		}
		lf = memchr(p->in + at, '\n', p->in_n - at);
		if (!lf)
			break;
		n = (size_t)(lf + 1 - (p->in + at));
		command(p, p->in + at, n);
		at += n;
	}
	if (p->dead)
		return;
	p->in_n -= at;
	if (at && p->in_n)
		memmove(p->in, p->in + at, p->in_n);
	if (p->in_n == IN_MAX && !p->waiting)
		bury(p, true);
}

/* -- events -- */

static void handshake(struct peer *p)
{
	switch (wire_handshake(&p->w)) {
	case WIRE_OK: break;
	case WIRE_AGAIN: watch_out(p, p->w.wants_out); return;
	case WIRE_EOF:
	case WIRE_FAILED: bury(p, true); return;
	}
	p->shaking = false;
	p->server->handshakes++;
	watch_out(p, false);
	if (p->server->implicit)
		say(p, "220 bench.example ESMTP");
}

static void drive(struct peer *p)
{
	size_t n;

	if (p->shaking)
		handshake(p);
	if (p->dead || p->shaking)
		return;
	if (p->watched_out)
		flush(p);
	if (p->dead)
		return;
	if (p->waiting) {
		mute(p, true);
		return;
	}
	do {
		switch (wire_read(&p->w, p->in + p->in_n, IN_MAX - p->in_n, &n)) {
		case WIRE_OK: p->in_n += n; break;
		case WIRE_AGAIN: flush(p); return;
		case WIRE_EOF: bury(p, false); return;
		case WIRE_FAILED: bury(p, true); return;
		}
		digest(p);
	} while (!p->dead && !p->waiting && !p->shaking && wire_pending(&p->w));
	flush(p);
}

void server_answer(struct peer *p, const char *reply)
{
	p->waiting = false;
	if (p->dead) {
		p->next = p->server->graves;
		p->server->graves = p;
		return;
	}
	say(p, reply);
	digest(p);
	flush(p);
	if (p->dead || p->waiting)
		return;
	mute(p, false);
	if (wire_pending(&p->w))
		drive(p);
}

static struct peer *peer_new(struct server *s)
{
	struct peer *p = s->spare;
	char *in;

	if (p)
		s->spare = p->next;
	else
		p = need(calloc(1, sizeof *p));
	in = p->in ? p->in : need(malloc(IN_MAX));
	*p = (struct peer){ .server = s, .in = in };
	return p;
}

static void greet(struct server *s)
{
	int fd, one = 1;

	while ((fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct epoll_event ev = { .events = EPOLLIN };
		struct peer *p;

		s->connections++;
		s->open++;
		if (s->hang)
			continue; /* for ever */
		p = peer_new(s);
		p->w = (struct wire){ .fd = fd, .calls = &s->calls };
		ev.data.ptr = p;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev))
			die_os("epoll");
		if (s->implicit)
			start_tls(p);
		else
			say(p, "220 bench.example ESMTP");
		flush(p);
	}
	if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
		die_os("accept");
}

int server_round(struct server *s, int wait_ms)
{
	struct epoll_event events[512];
	int n = epoll_wait(s->epoll, events, 512, wait_ms);

	if (n < 0 && errno != EINTR)
		die_os("epoll");
	for (int i = 0; i < n; i++) {
		struct peer *p = events[i].data.ptr;

		if (!p)
			greet(s);
		else if (events[i].data.ptr == s->other)
			s->on_other();
		else if (!p->dead)
			drive(p);
	}
	clear_graves(s);
	return n < 0 ? 0 : n;
}
