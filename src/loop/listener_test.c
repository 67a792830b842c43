/* loop/listener_test.c -- addresses, names of sockets, and no descriptor left. */
#include "loop/listener.h"

#include "loop/room_test.h"
#include "loop/stream.h"
#include "ops/clock.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void test_bad_addresses(void **state)
{
	static const struct {
		struct slice address;
		enum err_kind kind;
		const char *text;
	} cases[] = {
		{ S(""), ERR_INPUT, ": not ADDRESS:PORT" },
		{ S("25"), ERR_INPUT, "25: not ADDRESS:PORT" },
		{ S("127.0.0.1"), ERR_INPUT, "127.0.0.1: not ADDRESS:PORT" },
		{ S("127.0.0.1:"), ERR_INPUT, "127.0.0.1:: not ADDRESS:PORT" },
		{ S("127.0.0.1:smtp"), ERR_INPUT, "127.0.0.1:smtp: not ADDRESS:PORT" },
		{ S("127.0.0.1:65536"), ERR_INPUT, "127.0.0.1:65536: not ADDRESS:PORT" },
		{ S("127.0.0.1:-1"), ERR_INPUT, "127.0.0.1:-1: not ADDRESS:PORT" },
		{ S(":25"), ERR_INPUT,
		  ":25: not ADDRESS:PORT (an IPv6 address stands in brackets)" },
		{ S("127.1:25"), ERR_INPUT,
		  "127.1:25: not ADDRESS:PORT (an IPv6 address stands in brackets)" },
		{ S("localhost:25"), ERR_INPUT,
		  "localhost:25: not ADDRESS:PORT (an IPv6 address stands in brackets)" },
		{ S("::1:25"), ERR_INPUT,
		  "::1:25: not ADDRESS:PORT (an IPv6 address stands in brackets)" },
		{ S("[127.0.0.1]:25"), ERR_INPUT,
		  "[127.0.0.1]:25: not ADDRESS:PORT (an IPv6 address stands in brackets)" },
		{ S("[::1]"), ERR_INPUT, "[::1]: not ADDRESS:PORT" },
		{ S("[::g]:25"), ERR_INPUT,
		  "[::g]:25: not ADDRESS:PORT (an IPv6 address stands in brackets)" },
		{ S("192.0.2.1:0"), ERR_LATER, "192.0.2.1:0: Cannot assign requested address" },
		{ S("unix:"), ERR_INPUT, "unix:: a socket's path has 1 to 107 bytes" },
		{ S("unix:/nonexistent/x"), ERR_LATER,
		  "/nonexistent/x: No such file or directory" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct err e = { 0 };

		assert_null(listener_open(cases[i].address, &e));
		assert_string_equal(e.text, cases[i].text);
		assert_int_equal(e.kind, cases[i].kind);
	}
}

static void test_long_path(void **state)
{
	char address[200];
	struct err e = { 0 };

	memset(address, 'x', sizeof address);
	memcpy(address, "unix:", 5);
	assert_null(listener_open(slice(address, 5 + 108), &e));
	assert_int_equal(e.kind, ERR_INPUT);
}

struct door {
	struct loop *loop;
	struct listener *listener;
	unsigned n, wanted;
	int fd[8];
	char peer[64];
};

static void on_accept(void *arg, int fd, const char *peer)
{
	struct door *d = arg;

	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	snprintf(d->peer, sizeof d->peer, "%s", peer);
	d->fd[d->n++] = fd;
	if (d->n == d->wanted)
		loop_stop(d->loop);
}

static void door_open(struct door *d, struct slice address, unsigned wanted)
{
	struct err e = { 0 };

	*d = (struct door){ .loop = loop_new(&e), .wanted = wanted };
	d->listener = listener_open(address, &e);
	if (!d->listener)
		fail_msg("%s", e.text);
	listener_start(d->listener, d->loop, on_accept, d);
}

static void door_close(struct door *d)
{
	for (unsigned i = 0; i < d->n; i++)
		close(d->fd[i]);
	listener_close(d->listener);
	loop_free(d->loop);
}

static void test_inet(void **state)
{
	static const struct {
		struct slice address;
		struct slice host;
	} cases[] = {
		{ S("127.0.0.1:0"), S("127.0.0.1") },
		{ S("[::1]:0"), S("::1") },
	};

	for (size_t i = 0; i < 2; i++) {
		struct err e = { 0 };
		struct door d;
		uint16_t port;
		int fd;

		door_open(&d, cases[i].address, 1);
		port = listener_port(d.listener);
		assert_int_not_equal(port, 0);
		fd = stream_dial(cases[i].host, port, &e);
		if (fd < 0)
			fail_msg("%s", e.text);
		loop_run(d.loop);
		assert_true(stream_connected(fd, &e));
		assert_int_equal(strncmp(d.peer, cases[i].host.p, cases[i].host.n), 0);
		assert_int_equal(strlen(d.peer), cases[i].host.n);
		close(fd);
		door_close(&d);
	}
}

/* Each thread has its own socket of the same address. */
static void test_reuse(void **state)
{
	struct err e;
	struct listener *first = listener_open(S("127.0.0.1:0"), &e), *second;
	char address[40];
	int n = snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)listener_port(first));

	second = listener_open(slice(address, (size_t)n), &e);
	assert_non_null(second);
	assert_int_equal(listener_port(second), listener_port(first));
	listener_close(second);
	listener_close(first);
	listener_close(NULL);
}

static void test_dial_errors(void **state)
{
	struct err e = { 0 };
	struct listener *l = listener_open(S("127.0.0.1:0"), &e);
	uint16_t port = listener_port(l);
	int fd;

	assert_int_equal(stream_dial(S("localhost"), 1, &e), -1);
	assert_string_equal(e.text, "not an address: localhost");
	assert_int_equal(stream_dial(S("[::1]"), 1, &e), -1);
	assert_int_equal(stream_dial(S(""), 1, &e), -1);
	listener_close(l);
	fd = stream_dial(S("127.0.0.1"), port, &e);
	if (fd >= 0) {
		usleep(50000);
		assert_false(stream_connected(fd, &e));
		assert_string_equal(e.text, "connect: Connection refused");
		close(fd);
	}
	assert_int_equal(e.kind, ERR_LATER);
}

static int connect_unix(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
	if (connect(fd, (struct sockaddr *)&to, sizeof to)) {
		close(fd);
		return -1;
	}
	return fd;
}

static void test_unix(void **state)
{
	char dir[] = "/tmp/listener.XXXXXX", path[64], address[80], want[120];
	struct slice at;
	struct door d;
	struct stat s;
	struct err e = { 0 };
	uid_t uid;
	pid_t pid;
	int fd;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/socket", dir);
	snprintf(address, sizeof address, "unix:%s", path);
	at = slice_str(address);
	door_open(&d, at, 1);
	assert_int_equal(lstat(path, &s), 0);
	assert_int_equal(s.st_mode, S_IFSOCK | 0600);
	assert_int_equal(listener_port(d.listener), 0);
	fd = connect_unix(path);
	assert_true(fd >= 0);
	loop_run(d.loop);
	assert_string_equal(d.peer, "unix");
	assert_true(stream_peer_cred(d.fd[0], &uid, &pid));
	assert_int_equal(uid, getuid());
	assert_int_equal(pid, getpid());
	close(fd);
	/* One that is alive stays. */
	assert_null(listener_open(at, &e));
	snprintf(want, sizeof want, "%s: another server answers there", path);
	assert_string_equal(e.text, want);
	assert_int_equal(e.kind, ERR_CONFLICT);
	door_close(&d);
	assert_int_equal(lstat(path, &s), -1);
	/* One left by a dead process is replaced. */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un stale = { .sun_family = AF_UNIX };
	snprintf(stale.sun_path, sizeof stale.sun_path, "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&stale, sizeof stale), 0);
	close(fd);
	door_open(&d, at, 1);
	fd = connect_unix(path);
	assert_true(fd >= 0);
	close(fd);
	door_close(&d);
	/* Alive with a full backlog: it is not waited for, and not replaced. */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&stale, sizeof stale), 0);
	assert_int_equal(listen(fd, 0), 0);
	int waiting = connect_unix(path);
	assert_true(waiting >= 0);
	assert_null(listener_open(at, &e));
	assert_string_equal(e.text, want);
	close(waiting);
	close(fd);
	unlink(path);
	/* What is no socket is nobody's to remove. */
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_null(listener_open(at, &e));
	snprintf(want, sizeof want, "%s: exists and is no socket", path);
	assert_string_equal(e.text, want);
	unlink(path);
	rmdir(dir);
}

static void on_end(void *arg)
{
	loop_stop(arg);
}

/* The other program of test_no_descriptors. Returns the exit status. */
static int without_descriptors(void)
{
	struct loop_timer end;
	struct rlimit none;
	struct door d;
	struct err e;
	struct timespec a, b;
	int fd, last;

	door_open(&d, S("127.0.0.1:0"), 1);
	fd = stream_dial(S("127.0.0.1"), listener_port(d.listener), &e);
	last = dup(fd); /* the lowest number that is free is the limit now */
	close(last);
	getrlimit(RLIMIT_NOFILE, &none);
	none.rlim_cur = (rlim_t)last;
	if (setrlimit(RLIMIT_NOFILE, &none))
		return 2;
	loop_timer_init(&end, d.loop, on_end, d.loop);
	loop_timer_set(&end, 350);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	loop_run(d.loop);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	if (d.n)
		return 3;
	if ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 > 100)
		return 4; /* it span */
	return 0;
}

static void test_no_descriptors(void **state)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid)
		_exit(without_descriptors());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void on_raise(void *arg)
{
	struct rlimit none;

	(void)arg;
	getrlimit(RLIMIT_NOFILE, &none);
	none.rlim_cur = none.rlim_max;
	setrlimit(RLIMIT_NOFILE, &none);
}

/* And without a new start: it looks again by itself. */
static int rests(void)
{
	struct loop_timer raise_it, end;
	struct rlimit none;
	struct door d;
	struct err e;
	int fd, last;

	door_open(&d, S("127.0.0.1:0"), 1);
	fd = stream_dial(S("127.0.0.1"), listener_port(d.listener), &e);
	last = dup(fd);
	close(last);
	getrlimit(RLIMIT_NOFILE, &none);
	none.rlim_cur = (rlim_t)last;
	setrlimit(RLIMIT_NOFILE, &none);
	loop_timer_init(&raise_it, d.loop, on_raise, NULL);
	loop_timer_set(&raise_it, 150);
	loop_timer_init(&end, d.loop, on_end, d.loop);
	loop_timer_set(&end, 3000);
	loop_run(d.loop);
	return d.n == 1 ? 0 : 6;
}

static void test_rest(void **state)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid)
		_exit(rests());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Who has reset the connection before it was looked at has an address all the same. */
static void test_peer_gone(void **state)
{
	struct linger at_once = { .l_onoff = 1 };
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct door d;

	door_open(&d, S("127.0.0.1:0"), 1);
	to.sin_port = htons(listener_port(d.listener));
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
	close(fd);
	loop_run(d.loop);
	assert_string_equal(d.peer, "127.0.0.1");
	close(d.fd[0]);
	door_close(&d);
}

int test_listener(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_addresses),  cmocka_unit_test(test_long_path),
		cmocka_unit_test(test_inet),           cmocka_unit_test(test_reuse),
		cmocka_unit_test(test_dial_errors),    cmocka_unit_test(test_unix),
		cmocka_unit_test(test_no_descriptors), cmocka_unit_test(test_rest),
		cmocka_unit_test(test_peer_gone),
	};

	return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
