#include "loop/listener.h"

#include "base/auto.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 1024
/* Accepted in one turn, so that connections that exist get theirs. */
#define ACCEPT_TURN 16
#define REST_MS     100

struct listener {
	int fd;
	struct loop_io io;
	struct loop_timer rest;
	bool started, watched; /* it should accept; its descriptor is known to the loop */
	char path[108];        /* of a Unix socket */
	listener_accepted *accepted;
	void *arg;
};

static bool parse(struct slice text, struct sockaddr_storage *to, socklen_t *ret_n, struct err *e)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)to;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)to;
	struct slice host, port_text;
	char name[64];
	uint64_t port;

	if (!slice_rcut(text, ':', &host, &port_text) || !slice_u64(port_text, &port) ||
	    port > 65535)
		return err_set(e, ERR_INPUT, "%.*s: not ADDRESS:PORT", SLICE_ARG(text));
	if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']') {
		host = slice(host.p + 1, host.n - 2);
		to->ss_family = AF_INET6;
	} else {
		to->ss_family = AF_INET;
	}
	if (host.n >= sizeof name)
		return err_set(e, ERR_INPUT, "%.*s: not ADDRESS:PORT", SLICE_ARG(text));
	memcpy(name, host.p, host.n);
	name[host.n] = '\0';
	if (to->ss_family == AF_INET6 && inet_pton(AF_INET6, name, &v6->sin6_addr) == 1) {
		v6->sin6_port = htons((uint16_t)port);
		*ret_n = sizeof *v6;
		return true;
	}
	if (to->ss_family == AF_INET && inet_pton(AF_INET, name, &v4->sin_addr) == 1) {
		v4->sin_port = htons((uint16_t)port);
		*ret_n = sizeof *v4;
		return true;
	}
	return err_set(e, ERR_INPUT, "%.*s: not ADDRESS:PORT (an IPv6 address stands in brackets)",
		       SLICE_ARG(text));
}

static int open_inet(struct slice text, struct err *e)
{
	struct sockaddr_storage to = { 0 };
	socklen_t n = 0;
	AUTO_FD fd = -1;
	int one = 1;

	if (!parse(text, &to, &n, e))
		return -1;
	fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) ||
	    (to.ss_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one)) ||
	    bind(fd, (struct sockaddr *)&to, n) || listen(fd, BACKLOG)) {
		err_set(e, ERR_LATER, "%.*s: %s", SLICE_ARG(text), strerror(errno));
		return -1;
	}
	return fd_steal(&fd);
}

/* Makes room for a socket: what a dead process has left goes, everything else stays. */
static bool clear_name(const struct sockaddr_un *to, struct err *e)
{
	AUTO_FD fd = -1;
	struct stat s;

	if (lstat(to->sun_path, &s))
		return errno == ENOENT ||
		       err_set(e, ERR_LATER, "%s: %s", to->sun_path, strerror(errno));
	if (!S_ISSOCK(s.st_mode))
		return err_set(e, ERR_CONFLICT, "%s: exists and is no socket", to->sun_path);
	/* Without waiting: one that is alive may be busy. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, ERR_LATER, "%s: %s", to->sun_path, strerror(errno));
	if (connect(fd, (const struct sockaddr *)to, sizeof *to) == 0 || errno != ECONNREFUSED)
		return err_set(e, ERR_CONFLICT, "%s: another server answers there", to->sun_path);
	return unlink(to->sun_path) == 0 ||
	       err_set(e, ERR_LATER, "%s: %s", to->sun_path, strerror(errno));
}

static int open_unix(struct listener *l, struct slice path, struct err *e)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	AUTO_FD fd = -1;
	mode_t old;
	int rc;

	if (!path.n || path.n >= sizeof to.sun_path) {
		err_set(e, ERR_INPUT, "unix:%.*s: a socket's path has 1 to %zu bytes",
			SLICE_ARG(path), sizeof to.sun_path - 1);
		return -1;
	}
	memcpy(to.sun_path, path.p, path.n);
	if (!clear_name(&to, e))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	old = umask(0177);
	rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&to, sizeof to);
	umask(old);
	if (rc || listen(fd, BACKLOG)) {
		err_set(e, ERR_LATER, "%s: %s", to.sun_path, strerror(errno));
		return -1;
	}
	memcpy(l->path, to.sun_path, sizeof l->path);
	return fd_steal(&fd);
}

struct listener *listener_open(struct slice address, struct err *e)
{
	struct listener *l = calloc(1, sizeof *l);

	if (!l) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	if (slice_starts(address, S("unix:")))
		l->fd = open_unix(l, slice_from(address, 5), e);
	else
		l->fd = open_inet(address, e);
	if (l->fd >= 0)
		return l;
	free(l);
	return NULL;
}

void listener_close(struct listener *l)
{
	if (!l)
		return;
	listener_stop(l);
	if (l->path[0])
		unlink(l->path);
	close(l->fd);
	free(l);
}

/* Told by accept: who has left again has no name any more that one could ask for. */
static void peer_text(const struct sockaddr_storage *from, char ret[LISTENER_PEER])
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)from;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)from;
	const char *text = NULL;

	if (from->ss_family == AF_INET)
		text = inet_ntop(AF_INET, &v4->sin_addr, ret, LISTENER_PEER);
	else if (from->ss_family == AF_INET6) /* a zone is no part of the address */
		text = inet_ntop(AF_INET6, &v6->sin6_addr, ret, LISTENER_PEER);
	if (!text)
		snprintf(ret, LISTENER_PEER, "unix");
}

static int accept_one(struct listener *l, char ret_peer[LISTENER_PEER])
{
	struct sockaddr_storage from = { 0 };
	socklen_t n = sizeof from;
	int fd = accept4(l->fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC),
	    one = 1;

	if (fd < 0)
		return -1;
	peer_text(&from, ret_peer);
	if (!l->path[0])
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static void on_ready(void *arg)
{
	struct listener *l = arg;
	char peer[LISTENER_PEER];

	for (int i = 0; i < ACCEPT_TURN && l->started; i++) {
		int fd = accept_one(l, peer);

		if (fd < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			/* Out of descriptors or memory: the connection stays in the backlog, so
			 * readiness would spin. Rest, and look again. */
			if (errno != EAGAIN) {
				loop_io_want(&l->io, false, false);
				loop_timer_set(&l->rest, REST_MS);
			}
			return;
		}
		l->accepted(l->arg, fd, peer);
	}
}

static void on_rest(void *arg)
{
	struct listener *l = arg;

	l->watched = l->watched || loop_io_init(&l->io, l->rest.loop, l->fd, on_ready, l);
	if (l->watched)
		loop_io_want(&l->io, true, false);
	/* It cannot be watched now: a listener that stays deaf is worse than a late one. */
	if (!l->watched || !l->io.watched)
		loop_timer_set(&l->rest, REST_MS);
}

void listener_start(struct listener *l, struct loop *loop, listener_accepted *accepted, void *arg)
{
	l->accepted = accepted;
	l->arg = arg;
	l->started = true;
	loop_timer_init(&l->rest, loop, on_rest, l);
	on_rest(l);
}

void listener_drain(struct listener *l)
{
	char peer[LISTENER_PEER];

	/* Who connects without end is not waited for. */
	for (int i = 0; i < BACKLOG && l->started; i++) {
		int fd = accept_one(l, peer);

		if (fd < 0 && errno != EINTR && errno != ECONNABORTED)
			return;
		if (fd >= 0)
			l->accepted(l->arg, fd, peer);
	}
}

void listener_stop(struct listener *l)
{
	if (!l->started)
		return;
	l->started = false;
	loop_timer_cancel(&l->rest);
	if (l->watched)
		loop_io_done(&l->io);
	l->watched = false;
}

uint16_t listener_port(const struct listener *l)
{
	struct sockaddr_storage at;
	socklen_t n = sizeof at;

	if (getsockname(l->fd, (struct sockaddr *)&at, &n))
		return 0;
	if (at.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)(void *)&at)->sin_port);
	if (at.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)(void *)&at)->sin6_port);
	return 0;
}

bool listener_is_at(const struct listener *l, struct slice address)
{
	struct sockaddr_storage at = { 0 }, asked = { 0 };
	const struct sockaddr_in *a4 = (const void *)&at, *b4 = (const void *)&asked;
	const struct sockaddr_in6 *a6 = (const void *)&at, *b6 = (const void *)&asked;
	socklen_t n = sizeof at, asked_n = 0;

	if (l->path[0] || !parse(address, &asked, &asked_n, NULL) ||
	    getsockname(l->fd, (struct sockaddr *)&at, &n) || at.ss_family != asked.ss_family)
		return false;
	if (at.ss_family == AF_INET)
		return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a6->sin6_port == b6->sin6_port &&
	       !memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof a6->sin6_addr);
}

bool listener_give(const struct listener *l, uid_t uid, gid_t gid)
{
	return !fchown(l->fd, uid, gid) && (!l->path[0] || !lchown(l->path, uid, gid));
}
