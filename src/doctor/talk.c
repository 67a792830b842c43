#include "doctor/doctor_impl.h"

#include "loop/tls_look.h"
#include "ops/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define LINES_MAX 64

struct talk {
	int fd;
	struct tls_talk *tls;
	char in[4096];
	size_t n;
	char text[2048]; /* of the last reply, lines separated by LF */
	char shown[2100];
};

static bool connect_in(int fd, const struct sockaddr *sa, socklen_t n, unsigned ms)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	struct timeval t = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };
	int flags = fcntl(fd, F_GETFL), error = 0;
	socklen_t size = sizeof error;

	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK))
		return false;
	if (connect(fd, sa, n)) {
		if (errno != EINPROGRESS)
			return false;
		errno = ETIMEDOUT;
		if (poll(&p, 1, (int)ms) != 1)
			return false;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) || error) {
			errno = error ? error : errno;
			return false;
		}
	}
	return !fcntl(fd, F_SETFL, flags) &&
	       !setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) &&
	       !setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

static struct talk *open_address(const struct sockaddr *sa, socklen_t n, unsigned ms, struct err *e)
{
	struct talk *t = calloc(1, sizeof *t);

	if (t)
		t->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (t && t->fd >= 0 && connect_in(t->fd, sa, n, ms))
		return t;
	err_set(e, ERR_LATER, "%s", strerror(errno));
	talk_close(t);
	return NULL;
}

/* What listens everywhere is reached on loopback. */
struct talk *talk_open(struct slice address, unsigned ms, struct err *e)
{
	unsigned char at[CONF_ADDRESS_BYTES];
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	struct sockaddr_in four = { .sin_family = AF_INET };
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff }, none[16];
	in_port_t port;

	if (!conf_address(address, at, e))
		return NULL;
	memcpy(&port, at + 16, 2);
	if (!memcmp(at, mapped, 12)) {
		memcpy(&four.sin_addr, at + 12, 4);
		if (!four.sin_addr.s_addr)
			four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		four.sin_port = port;
		return open_address((const struct sockaddr *)&four, sizeof four, ms, e);
	}
	memcpy(&six.sin6_addr, at, 16);
	if (!memcmp(at, none, 16))
		six.sin6_addr = in6addr_loopback;
	six.sin6_port = port;
	return open_address((const struct sockaddr *)&six, sizeof six, ms, e);
}

struct talk *talk_open_host(struct slice host, unsigned port, unsigned ms, struct err *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	char name[256], number[8];
	struct talk *t = NULL;
	int rc;

	snprintf(name, sizeof name, "%.*s", SLICE_ARG(host));
	snprintf(number, sizeof number, "%u", port);
	rc = getaddrinfo(name, number, &hints, &list);
	if (rc) {
		err_set(e, ERR_ABSENT, "it cannot be resolved: %s", gai_strerror(rc));
		return NULL;
	}
	for (struct addrinfo *a = list; a && !t; a = a->ai_next)
		t = open_address(a->ai_addr, a->ai_addrlen, ms, e);
	freeaddrinfo(list);
	return t;
}

void talk_close(struct talk *t)
{
	if (!t)
		return;
	tls_talk_free(t->tls);
	if (t->fd >= 0)
		close(t->fd);
	free(t);
}

bool talk_tls(struct talk *t, struct slice host, struct slice ca_file, struct err *e)
{
	t->n = 0;
	t->tls = tls_talk_new(t->fd, host, ca_file, e);
	return t->tls;
}

bool talk_verified(const struct talk *t)
{
	return t->tls && tls_talk_verified(t->tls);
}

/* False: nothing more comes. *ret stands in t->in until the next call. */
static bool next_line(struct talk *t, char line[1024])
{
	for (;;) {
		char *end = memchr(t->in, '\n', t->n);
		ssize_t got;

		if (end) {
			size_t n = (size_t)(end - t->in) + 1, keep = n < 1024 ? n - 1 : 1023;

			memcpy(line, t->in, keep);
			line[keep] = '\0';
			line[strcspn(line, "\r")] = '\0';
			t->n -= n;
			memmove(t->in, t->in + n, t->n);
			return true;
		}
		if (t->n == sizeof t->in)
			return false;
		got = t->tls ? tls_talk_read(t->tls, t->in + t->n, sizeof t->in - t->n)
			     : read(t->fd, t->in + t->n, sizeof t->in - t->n);
		if (got <= 0)
			return false;
		t->n += (size_t)got;
	}
}

int talk_reply(struct talk *t)
{
	char line[1024];
	size_t n = 0;

	t->text[0] = '\0';
	for (int i = 0; i < LINES_MAX; i++) {
		if (!next_line(t, line) || strlen(line) < 3 || !ascii_digit(line[0]))
			return -1;
		if (n + strlen(line) + 2 < sizeof t->text)
			n += (size_t)snprintf(t->text + n, sizeof t->text - n, "%s%s",
					      n ? "\n" : "", line);
		if (line[3] != '-')
			return (int)strtol(line, NULL, 10);
	}
	return -1;
}

int talk_say(struct talk *t, const char *format, ...)
{
	char line[1024];
	va_list args;
	ssize_t put;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof line - 2, format, args);
	va_end(args);
	if (n < 0 || n >= (int)sizeof line - 2)
		return -1;
	memcpy(line + n, "\r\n", 2);
	put = t->tls ? tls_talk_write(t->tls, slice(line, (size_t)n + 2))
		     : send(t->fd, line, (size_t)n + 2, MSG_NOSIGNAL);
	return put == n + 2 ? talk_reply(t) : -1;
}

const char *talk_text(const struct talk *t)
{
	struct talk *own = (struct talk *)(void *)(uintptr_t)t;
	size_t n = 0;

	for (const char *p = t->text; *p && n + 4 < 200; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '\n')
			n += (size_t)snprintf(own->shown + n, 4, " / ");
		else
			own->shown[n++] = c < 0x20 || c >= 0x7f ? '?' : (char)c;
	}
	own->shown[n] = '\0';
	return own->shown;
}

bool talk_offers(const struct talk *t, const char *keyword)
{
	const char *line = t->text;

	while (line) {
		struct slice s = slice_from(slice(line, strcspn(line, "\n")), 4);
		struct slice rest = slice_from(s, strlen(keyword));

		if (slice_istarts(s, slice_str(keyword)) &&
		    (!rest.n || rest.p[0] == ' ' || rest.p[0] == '='))
			return true;
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return false;
}
