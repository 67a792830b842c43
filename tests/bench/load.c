/* tests/bench/load.c -- a good client, many times: sends one message over and over to an SMTP
 * server and says in one line of JSON how that went.
 *
 *     load --port 587 --tls starttls --user apikey --secret KEY --from a@b --to c@d
 *          --connections 50 --per-connection 100 --messages 20000
 *
 * Closed loop: each connection sends as soon as its last message is answered. Open loop (--rate):
 * messages fall due at random moments whatever the server does (a Poisson stream); connections
 * wait behind their 354 with the message ready, and the time to its 250 counts from the moment it
 * was due. Every reply is checked: what is not the one code that a good client hopes for is
 * counted and shown, and that connection begins anew. One thread; the message is written once
 * and only its number and time are changed. */
#include "load.h"
#include "wire.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* What is awaited, in order; the code that each must have. */
enum expect { GREETING, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, DOT, QUIT, EXPECTS };

static const struct {
	const char *name, *code;
} replies[EXPECTS] = {
	[GREETING] = { "greeting", "220" }, [EHLO] = { "EHLO", "250" },
	[STARTTLS] = { "STARTTLS", "220" }, [AUTH] = { "AUTH", "235" },
	[MAIL] = { "MAIL", "250" },         [RCPT] = { "RCPT", "250" },
	[DATA] = { "DATA", "354" },         [DOT] = { "end of data", "250" },
	[QUIT] = { "QUIT", "221" },
};

#define UNGREETED_US 5000000

struct conn {
	struct wire w;
	bool shaking, watched_out, ready, held, queued;
	char in[4096];
	size_t in_n;
	enum expect expect[256];
	unsigned char first, last;
	const char *out; /* what is being written; message: contains the number and time */
	size_t out_n, out_at;
	bool message;
	long done; /* messages begun on this connection */
	uint64_t opened_us, number, begun_us, dot_us, due_us;
	SSL_SESSION *session;
	struct conn *next_ready;
};

static struct {
	int epoll;
	SSL_CTX *tls;
	struct conn *conns;
	uint64_t unanswered, looked_us;
	uint64_t claimed, acked, replied_250, errors, handshakes, resumed, calls;
	size_t open, opening, held;
	struct conn *first_ready, **last_ready;
	uint64_t began, first_due, next_due, deadline, finished;
	double cpu; /* at the beginning */
	struct samples latency;
	struct {
		char text[120];
		uint64_t n;
	} bad[16];
} g = { .last_ready = &g.first_ready };

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

static void digits(char *to, size_t n, uint64_t v)
{
	while (n--) {
		to[n] = (char)('0' + v % 10);
		v /= 10;
	}
}

/* -- one connection -- */

static void watch(struct conn *c, bool out)
{
	struct epoll_event ev = { .events = EPOLLIN | (out ? EPOLLOUT : 0u), .data.ptr = c };

	if (c->watched_out == out)
		return;
	c->watched_out = out;
	if (epoll_ctl(g.epoll, EPOLL_CTL_MOD, c->w.fd, &ev))
		die_os("epoll");
}

static void note_bad(const char *what, const char *text)
{
	char line[sizeof g.bad[0].text];
	size_t i = 0;

	g.errors++;
	snprintf(line, sizeof line, "%s: %s", what, text);
	while (i < 15 && g.bad[i].n && strcmp(g.bad[i].text, line) != 0)
		i++;
	memcpy(g.bad[i].text, line, sizeof line);
	g.bad[i].n++;
}

/* Out of the queue of those that wait for a message to fall due. */
static void unqueue(struct conn *c)
{
	struct conn **at = &g.first_ready;

	while (*at != c)
		at = &(*at)->next_ready;
	*at = c->next_ready;
	if (!*at)
		g.last_ready = at;
	c->queued = false;
}

static void conn_close(struct conn *c)
{
	if (c->w.fd < 0)
		return;
	if (c->queued)
		unqueue(c);
	if (!c->ready && !c->held)
		g.opening--;
	if (c->held)
		g.held--;
	if (opt.resume && c->w.ssl) {
		SSL_SESSION_free(c->session);
		c->session = SSL_get1_session(c->w.ssl);
	}
	wire_close(&c->w);
	g.open--;
}

static void conn_fail(struct conn *c, const char *what, const char *text)
{
	note_bad(what, text);
	conn_close(c);
}

static bool may_claim(void)
{
	if (stop || g.errors > (uint64_t)opt.errors_max || opt.hold)
		return false;
	if (opt.messages && g.claimed >= (uint64_t)opt.messages)
		return false;
	return !g.deadline || now_us() < g.deadline;
}

static void push_expect(struct conn *c, enum expect e)
{
	c->expect[c->last++] = e;
}

static void send_blob(struct conn *c, const char *p, size_t n, bool is_message)
{
	c->out = p;
	c->out_n = n;
	c->out_at = 0;
	c->message = is_message;
}

/* Writes what it can; false: the connection is gone. */
static bool flush(struct conn *c)
{
	while (c->out_at < c->out_n) {
		size_t n = c->out_n - c->out_at, wrote;

		/* The bytes belong to all connections: each puts its own stamp on them. */
		if (c->message && c->out_at < stamp_at + STAMP_N) {
			char *stamp = message.p + stamp_at;

			if (c->out == message_next.p)
				stamp = message_next.p + stamp_at;
			else if (c->out == message_quit.p)
				stamp = message_quit.p + stamp_at;
			digits(stamp, 10, c->number);
			stamp[10] = '.';
			digits(stamp + 11, 16, c->begun_us);
		}
		switch (wire_write(&c->w, c->out + c->out_at, n, &wrote)) {
		case WIRE_OK: c->out_at += wrote; break;
		case WIRE_AGAIN: watch(c, c->w.wants_out); return true;
		case WIRE_EOF:
		case WIRE_FAILED: conn_fail(c, "write", strerror(errno)); return false;
		}
	}
	if (c->message && c->out) {
		c->dot_us = now_us();
		c->message = false;
	}
	c->out = NULL;
	watch(c, false);
	return true;
}

static void expect_envelope(struct conn *c)
{
	g.claimed++;
	c->done++;
	push_expect(c, MAIL);
	for (size_t i = 0; i < rcpts; i++)
		push_expect(c, RCPT);
	push_expect(c, DATA);
}

/* One command of the envelope when not pipelining: the line that begins at `at`. */
static void send_line(struct conn *c, size_t at)
{
	const char *end = strchr(envelope.p + at, '\n');

	send_blob(c, envelope.p + at, (size_t)(end + 1 - (envelope.p + at)), false);
}

static bool more_here(const struct conn *c)
{
	return (!opt.per_connection || c->done < opt.per_connection) && may_claim();
}

static void begin_message(struct conn *c)
{
	if (opt.hold) {
		c->held = true;
		g.held++;
		return;
	}
	if (!more_here(c)) {
		push_expect(c, QUIT);
		send_blob(c, "QUIT\r\n", 6, false);
		return;
	}
	expect_envelope(c);
	if (opt.pipelining)
		send_blob(c, envelope.p, envelope.n, false);
	else
		send_line(c, 0);
}

static void send_message(struct conn *c, uint64_t due)
{
	const struct blob *b = &message;

	c->number = g.claimed;
	c->due_us = due;
	c->begun_us = due ? due : now_us();
	push_expect(c, DOT);
	if (opt.next && !opt.rate && more_here(c)) {
		b = &message_next;
		expect_envelope(c);
	} else if (opt.next && !opt.rate) {
		b = &message_quit;
		push_expect(c, QUIT);
	}
	send_blob(c, b->p, b->n, true);
}

static void at_data(struct conn *c)
{
	if (!opt.rate) {
		send_message(c, 0);
		return;
	}
	c->queued = true;
	c->next_ready = NULL;
	*g.last_ready = c;
	g.last_ready = &c->next_ready;
}

static void at_dot(struct conn *c)
{
	uint64_t now = now_us();

	g.acked++;
	g.finished = now;
	samples_add(&g.latency, now - (c->due_us ? c->due_us : c->dot_us));
	if (!opt.next || opt.rate)
		begin_message(c);
}

static void start_tls(struct conn *c)
{
	c->w.ssl = SSL_new(g.tls);
	if (!c->w.ssl || SSL_set_fd(c->w.ssl, c->w.fd) != 1)
		die("TLS");
	SSL_set_connect_state(c->w.ssl);
	if (c->session)
		SSL_set_session(c->w.ssl, c->session);
	c->shaking = true;
}

static void at_ehlo(struct conn *c)
{
	if (opt.tls == TLS_STARTTLS && !c->w.ssl) {
		push_expect(c, STARTTLS);
		send_blob(c, "STARTTLS\r\n", 10, false);
	} else if (opt.user) {
		push_expect(c, AUTH);
		send_blob(c, auth_line.p, auth_line.n, false);
	} else {
		c->ready = true;
		g.opening--;
		begin_message(c);
	}
}

static void say_ehlo(struct conn *c)
{
	push_expect(c, EHLO);
	send_blob(c, hello.p, hello.n, false);
}

/* The good reply came: what now? False: the connection is gone. */
static bool next_step(struct conn *c, enum expect e)
{
	size_t line = 0;

	switch (e) {
	case GREETING: say_ehlo(c); break;
	case EHLO: at_ehlo(c); break;
	case STARTTLS: start_tls(c); break;
	case AUTH:
		c->ready = true;
		g.opening--;
		begin_message(c);
		break;
	case MAIL:
	case RCPT:
		if (opt.pipelining)
			break;
		/* The next line is as far from the end of the envelope as what is awaited. */
		for (size_t left = (unsigned char)(c->last - c->first); left < rcpts + 2; left++)
			line = (size_t)(strchr(envelope.p + line, '\n') + 1 - envelope.p);
		send_line(c, line);
		break;
	case DATA: at_data(c); break;
	case DOT: at_dot(c); break;
	case QUIT: conn_close(c); return false;
	case EXPECTS: break;
	}
	return true;
}

/* One whole reply's last line. */
static bool take_reply(struct conn *c, char *line)
{
	enum expect e;

	if (c->first == c->last || c->held) {
		conn_fail(c, "unasked", line);
		return false;
	}
	e = c->expect[c->first++];
	if (strncmp(line, replies[e].code, 3) != 0) {
		conn_fail(c, replies[e].name, line);
		return false;
	}
	g.replied_250 += e == DOT || e == MAIL || e == RCPT || e == EHLO;
	return next_step(c, e);
}

static bool take_replies(struct conn *c)
{
	char *at = c->in, *end = c->in + c->in_n, *lf;

	while ((lf = memchr(at, '\n', (size_t)(end - at)))) {
		char *line = at;

		at = lf + 1;
		lf[lf > line && lf[-1] == '\r' ? -1 : 0] = '\0';
		if (lf - line < 4 || line[3] != '-')
			if (!take_reply(c, line))
				return false;
		if (c->shaking)
			break;
	}
	c->in_n = (size_t)(end - at);
	if (c->shaking && c->in_n) {
		conn_fail(c, "STARTTLS", "bytes behind the reply");
		return false;
	}
	memmove(c->in, at, c->in_n);
	return true;
}

static bool handshake(struct conn *c)
{
	switch (wire_handshake(&c->w)) {
	case WIRE_OK: break;
	case WIRE_AGAIN: watch(c, c->w.wants_out); return true;
	case WIRE_EOF:
	case WIRE_FAILED: conn_fail(c, "TLS handshake", "failed"); return false;
	}
	c->shaking = false;
	g.handshakes++;
	g.resumed += (uint64_t)SSL_session_reused(c->w.ssl);
	if (opt.tls == TLS_STARTTLS)
		say_ehlo(c);
	return true;
}

static void drive(struct conn *c)
{
	size_t n;

	if (c->shaking && !handshake(c))
		return;
	if (c->shaking)
		return;
	if (c->out && !flush(c))
		return;
	do {
		if (c->in_n == sizeof c->in) {
			conn_fail(c, "reply", "too long a line");
			return;
		}
		switch (wire_read(&c->w, c->in + c->in_n, sizeof c->in - c->in_n, &n)) {
		case WIRE_OK: c->in_n += n; break;
		case WIRE_AGAIN: return;
		case WIRE_EOF: conn_fail(c, "read", "closed by the server"); return;
		case WIRE_FAILED: conn_fail(c, "read", "connection broken"); return;
		}
		if (!take_replies(c))
			return;
		if (c->shaking && !handshake(c))
			return;
	} while (!c->shaking && wire_pending(&c->w));
	if (c->out && !c->shaking)
		flush(c);
}

static void conn_open(struct conn *c)
{
	SSL_SESSION *session = c->session;
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

	*c = (struct conn){ .w = { .fd = connect_to(opt.address, opt.port), .calls = &g.calls },
			    .opened_us = now_us(),
			    .session = session };
	g.open++;
	g.opening++;
	if (opt.tls == TLS_IMPLICIT) {
		start_tls(c);
		ev.events |= EPOLLOUT;
		c->watched_out = true;
	}
	push_expect(c, GREETING);
	if (epoll_ctl(g.epoll, EPOLL_CTL_ADD, c->w.fd, &ev))
		die_os("epoll");
}

/* -- all of them -- */

/* Exponential gaps, from a generator of our own so that two runs are the same. */
static uint64_t gap(void)
{
	static uint64_t x = 88172645463325252u;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (uint64_t)(-log(((double)(x >> 11) + 0.5) / 9007199254740992.0) * 1e6 / opt.rate);
}

/* Sends what is due; microseconds until the next, or -1 when that does not depend on time. */
static long pace(void)
{
	uint64_t now = now_us();

	if (!opt.rate)
		return -1;
	if (!g.next_due) {
		/* All connections stand ready before the first falls due. */
		if (g.opening || g.open < (size_t)opt.connections)
			return 1000;
		g.first_due = g.next_due = now + 10000;
	}
	while (g.first_ready && g.next_due <= now) {
		struct conn *c = g.first_ready;

		unqueue(c);
		send_message(c, g.next_due);
		g.next_due += gap();
		flush(c);
	}
	return g.next_due > now ? (long)(g.next_due - now) : g.first_ready ? 0 : -1;
}

static void open_more(void)
{
	for (long i = 0; i < opt.connections; i++) {
		if (opt.opening && g.opening >= (size_t)opt.opening)
			return;
		if (g.open >= (size_t)opt.connections)
			return;
		/* Each that logs in will claim a message: not more of them than messages. */
		if (opt.messages && g.claimed + g.opening >= (uint64_t)opt.messages)
			return;
		if (g.conns[i].w.fd < 0 && (opt.hold ? !stop && !g.errors : may_claim()))
			conn_open(&g.conns[i]);
	}
}

/* When a server's queue of new connections is full, the kernel lets the client believe in one that
 * the server will never see. Whoever is not greeted tries anew. */
static void give_up_ungreeted(void)
{
	uint64_t now = now_us();

	if (!g.opening || now - g.looked_us < UNGREETED_US / 4)
		return;
	g.looked_us = now;
	for (long i = 0; i < opt.connections; i++) {
		struct conn *c = &g.conns[i];

		if (c->w.fd < 0 || c->ready || c->first == c->last ||
		    c->expect[c->first] != GREETING || now - c->opened_us < UNGREETED_US)
			continue;
		g.unanswered++;
		conn_close(c);
	}
}

static void report(void)
{
	double seconds = (double)(g.finished - (g.first_due ? g.first_due : g.began)) / 1e6;
	double wall = (double)(now_us() - g.began) / 1e6, cpu = cpu_seconds() - g.cpu;
	const char *comma = "";

	if (!g.acked)
		seconds = wall;
	printf("{\"messages\":%llu,\"seconds\":%.6f,\"rate\":%.1f,", (unsigned long long)g.acked,
	       seconds, seconds > 0 ? (double)g.acked / seconds : 0);
	samples_json(&g.latency, "latency_us", stdout);
	printf(",\"cpu_seconds\":%.4f,\"cpu_percent\":%.1f,\"cpu_us_per_message\":%.1f,", cpu,
	       100 * cpu / wall, g.acked ? cpu * 1e6 / (double)g.acked : 0);
	printf("\"handshakes\":%llu,\"resumed\":%llu,\"held\":%zu,\"positive\":%llu,\"calls\":%llu,"
	       "\"unanswered\":%llu,\"errors\":%llu,\"replies\":{",
	       (unsigned long long)g.handshakes, (unsigned long long)g.resumed, g.held,
	       (unsigned long long)g.replied_250, (unsigned long long)g.calls,
	       (unsigned long long)g.unanswered, (unsigned long long)g.errors);
	for (size_t i = 0; i < 16 && g.bad[i].n; i++, comma = ",") {
		fputs(comma, stdout);
		text_json(g.bad[i].text, stdout);
		printf(":%llu", (unsigned long long)g.bad[i].n);
	}
	puts("}}");
	fflush(stdout);
}

static void run(void)
{
	struct epoll_event events[256];
	bool told = false;

	g.began = g.finished = now_us();
	g.cpu = cpu_seconds();
	g.deadline = opt.seconds > 0 && !opt.rate ? g.began + (uint64_t)(opt.seconds * 1e6) : 0;
	for (;;) {
		long us;
		struct timespec t, *wait = NULL;
		int n;

		open_more();
		if (!g.open || (opt.hold && stop))
			break;
		if (opt.hold && !told && g.held == (size_t)opt.connections) {
			printf("{\"held\":%zu}\n", g.held);
			fflush(stdout);
			told = true;
		}
		give_up_ungreeted();
		us = pace();
		if (g.opening && (us < 0 || us > UNGREETED_US / 4))
			us = UNGREETED_US / 4;
		if (us >= 0) {
			t = (struct timespec){ us / 1000000, us % 1000000 * 1000 };
			wait = &t;
		}
		n = epoll_pwait2(g.epoll, events, 256, wait, NULL);
		if (n < 0 && errno == ENOSYS) /* Valgrind */
			n = epoll_wait(g.epoll, events, 256,
				       us < 0 ? -1 : (int)((us + 999) / 1000));
		if (n < 0 && errno != EINTR)
			die_os("epoll");
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;

			if (c->w.fd >= 0)
				drive(c);
		}
		if (stop && !opt.hold)
			break;
	}
	report();
	for (long i = 0; i < opt.connections; i++)
		conn_close(&g.conns[i]);
}

int main(int argc, char **argv)
{
	load_options(argc, argv);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGPIPE, SIG_IGN);
	files_max();
	load_texts();
	g.tls = tls_for_client();
	g.epoll = epoll_create1(EPOLL_CLOEXEC);
	g.conns = need(calloc((size_t)opt.connections, sizeof *g.conns));
	for (long i = 0; i < opt.connections; i++)
		g.conns[i].w.fd = -1;
	run();
	return g.errors ? 1 : 0;
}
