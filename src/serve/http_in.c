#include "serve/http_in.h"

#include "api/api.h"
#include "base/timetext.h"
#include "http/conn.h"
#include "loop/stream.h"
#include "loop/tls_certs.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/ask.h"
#include "serve/deliver.h"
#include "serve/generation.h"
#include "serve/health.h"
#include "serve/reload.h"
#include "serve/server.h"
#include "serve/validation.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_MAX    65536
#define BODY_MAX  (1u << 20)
#define REPLY_MAX (16u << 20)
#define TIME_MS   30000
/* Connections of the metrics port. */
#define WATCHERS_MAX 64

static const struct http_config config = {
	.head_max = 16384,
	.target_max = 8192,
	.fields_max = 100,
	.body_max = BODY_MAX,
	.requests_max = 0,
};

struct conn {
	struct home *home;
	struct stream stream;
	struct loop_timer timer;
	struct http_conn *http;
	struct buf in, out, body;
	enum http_door door;
	char actor[32];
	bool closing;
	enum http_clock clock;

	struct job job;
	const struct conf *conf; /* held while a job uses it */
	struct reload_waiter waiter;
	bool busy, gone; /* a call is with a worker; the peer has left meanwhile */
	uint32_t question;
	struct api_call call;
	struct api_status status;
	char dnssec[300];
	struct slice method, path, query; /* copies: the machine may move on */
	struct health_asker health;
	struct arena arena;
};

static void pump(struct conn *c);

/* A request may have held a key, and the reply may have shown one. */
static void forget_call(struct conn *c)
{
	conf_free(c->conf);
	c->conf = NULL;
	buf_wipe(&c->call.reply);
	buf_wipe(&c->body);
	arena_done(&c->arena);
}

static void finish(struct conn *c)
{
	if (c->stream.fd >= 0)
		stream_close(&c->stream);
	loop_timer_cancel(&c->timer);
	if (c->health.at) {
		health_forget(&c->health);
		forget_call(c);
		c->busy = false;
	}
	if (c->busy) {
		c->gone = true;
		return;
	}
	if (c->door == HTTP_METRICS)
		c->home->watchers--;
	http_conn_free(c->http);
	buf_wipe(&c->in);
	buf_wipe(&c->out);
	buf_wipe(&c->body);
	arena_done(&c->arena);
	free(c);
}

static void call_run(struct job *job, void *store)
{
	struct conn *c = (struct conn *)(void *)((char *)job - offsetof(struct conn, job));
	struct server *s = c->home->server;
	const struct api_doors doors = ask_doors(s);
	struct api_context ctx = { s->keyring, store,   s->spool_backend, s->spool,  &c->status,
				   c->conf,    s->gate, &doors,           s->history };

	c->call.ctx = &ctx;
	api_run(&c->call);
	c->call.ctx = NULL;
}

/* RFC 9110 5.6.7 says GMT where RFC 5322 says +0000. */
static void add_date(struct buf *out)
{
	time_add_rfc5322(out, clock_wall_ms());
	out->n -= 5;
	buf_add(out, S("GMT"));
}

static void reply(struct conn *c)
{
	char date_text[40];
	struct buf date = { .p = date_text, .cap = sizeof date_text, .max = sizeof date_text };
	struct http_reply r = { .status = c->call.status,
				.content_type = c->call.content_type,
				.body = buf_slice(&c->call.reply) };

	add_date(&date);
	r.date = buf_slice(&date);
	http_conn_reply(c->http, c->question, &r, &c->out);
}

/* What acts is logged, and what was refused; scrapes and probes come every few seconds, and a
 * change of health is a line of its own. The metrics port acts on nothing, and strangers may call
 * there. */
static void log_call(const struct conn *c)
{
	static const char *const classes[] = { "1xx", "2xx", "3xx", "4xx", "5xx" };
	bool probe = slice_eq(c->path, S("/metrics")) || slice_eq(c->path, S("/healthz"));

	metrics_add(M_CALLS, metrics_word(LABEL_CALL, slice_str(classes[c->call.status / 100 - 1])),
		    0, 1);
	if (c->door == HTTP_CONTROL && !(probe && slice_eq(c->call.method, S("GET"))))
		log_event(LOG_CONTROL, F_CSTR("actor", c->actor), F_STR("method", c->method),
			  F_STR("path", c->path), F_U64("status", c->call.status));
}

/* The call has its reply. */
static void answered(struct conn *c)
{
	log_call(c);
	if (!c->gone)
		reply(c);
	forget_call(c);
	if (c->gone)
		finish(c);
}

static void reload_told(struct reload_waiter *w, const struct api_reload *verdict)
{
	struct conn *c = (struct conn *)(void *)((char *)w - offsetof(struct conn, waiter));
	bool gone = c->gone;

	c->busy = false;
	api_reload_reply(&c->call, verdict);
	answered(c);
	if (!gone)
		pump(c);
}

static void call_done(struct job *job)
{
	struct conn *c = (struct conn *)(void *)((char *)job - offsetof(struct conn, job));
	bool gone = c->gone;

	/* The verdict is the answer. */
	if (c->call.reload) {
		c->waiter = (struct reload_waiter){ .told = reload_told };
		reload_ask(c->home->server->reload, RELOAD_CONTROL, &c->waiter);
		return;
	}
	c->busy = false;
	answered(c);
	if (!gone)
		pump(c);
}

/* What was found wrong is the reason of a 503, as every refusal is told. */
static void health_told(struct health_asker *a, const struct health_state *state)
{
	struct conn *c = (struct conn *)(void *)((char *)a - offsetof(struct conn, health));
	bool later = c->busy;

	c->busy = false;
	api_health(&c->call, state->reason, slice_str(state->detail));
	answered(c);
	if (later)
		pump(c);
}

static uint64_t first_end(const struct tls_certs *certs)
{
	struct tls_cert_facts f;
	uint64_t first = UINT64_MAX;

	for (size_t i = 0; tls_certs_facts(certs, i, &f); i++)
		first = f.until_ms < first ? f.until_ms : first;
	return first == UINT64_MAX ? 0 : first;
}

static void gather(struct conn *c)
{
	struct server *s = c->home->server;

	c->status = (struct api_status){
		.started_ms = s->started_ms,
		.connections = atomic_load(&s->connections),
		.accepted = atomic_load(&s->accepted),
		.memory = atomic_load(&s->memory),
		.log_dropped = log_dropped(),
		.spool_broken = atomic_load(&s->spool_broken),
		.stopping = atomic_load(&s->stopping),
		.reload = *reload_last(s->reload),
	};
	snprintf(c->dnssec, sizeof c->dnssec, "%s", validation_state(s->validation));
	c->status.dnssec = slice_str(c->dnssec);
	if (!slice_eq(c->path, S("/metrics")))
		return;
	deliver_sites(s->deliver, &c->status.sites, &c->status.sites_failing);
	c->status.certificate_until_ms = first_end(c->home->now->certs);
}

static void post(struct conn *c, struct lane *lane)
{
	gather(c);
	c->conf = conf_hold(c->home->now->conf);
	c->job = (struct job){ .run = call_run, .done = call_done, .home = c->home->loop };
	c->busy = lane_post(lane, &c->job);
	if (c->busy)
		return;
	c->call.status = 503;
	c->call.content_type = S("");
	answered(c);
}

static void refuse(struct conn *c, unsigned status)
{
	c->call.status = status;
	c->call.content_type = S("text/plain");
	buf_add(&c->call.reply, S("here are /metrics and /healthz, to GET\n"));
	answered(c);
}

static void ask(struct conn *c, uint32_t question)
{
	struct server *s = c->home->server;
	bool get, metrics, health;

	c->question = question;
	arena_init(&c->arena, 65536);
	c->method = arena_dup(&c->arena, http_method(c->http));
	c->path = arena_dup(&c->arena, http_path(c->http));
	c->query = arena_dup(&c->arena, http_query(c->http));
	c->call = (struct api_call){ .method = c->method,
				     .path = c->path,
				     .query = c->query,
				     .body = buf_slice(&c->body),
				     .actor = slice_str(c->actor),
				     .now_ms = clock_wall_ms() };
	buf_init(&c->call.reply, REPLY_MAX);
	get = slice_eq(c->method, S("GET")) || slice_eq(c->method, S("HEAD"));
	metrics = slice_eq(c->path, S("/metrics"));
	health = slice_eq(c->path, S("/healthz"));
	if (get && health) {
		c->health.told = health_told;
		c->busy = false;
		health_ask(s->health, &c->health);
		c->busy = c->health.at != NULL;
	} else if (get && metrics) {
		c->call.method = S("GET");
		post(c, s->watch);
	} else if (c->door == HTTP_METRICS) {
		refuse(c, metrics || health ? 405 : 404);
	} else {
		post(c, s->work);
	}
}

/* True: more may follow at once. */
static bool step(struct conn *c)
{
	struct slice in = buf_slice(&c->in);
	struct http_event ev;
	char date_text[40];
	struct buf date = { .p = date_text, .cap = sizeof date_text, .max = sizeof date_text };
	bool more = true;

	add_date(&date);
	http_conn_date(c->http, buf_slice(&date));
	switch (http_conn_step(c->http, &in, &c->out, &ev)) {
	case HTTP_GOT_HEAD: break;
	case HTTP_GOT_BODY: buf_add(&c->body, ev.body); break;
	case HTTP_ASK_REPLY: ask(c, ev.question); break;
	case HTTP_DO_CLOSE:
		c->closing = true;
		more = false;
		break;
	case HTTP_WANT_INPUT:
	case HTTP_WANT_FLUSH:
	case HTTP_WANT_REPLY: more = false; break;
	}
	buf_shift(&c->in, c->in.n - in.n);
	return more && !c->busy;
}

/* One deadline for each part of a request: bytes that trickle do not move it. */
static void set_deadline(struct conn *c)
{
	enum http_clock now = http_conn_clock(c->http);

	if (now == HTTP_CLOCK_NONE && !c->out.n)
		loop_timer_cancel(&c->timer);
	else if (now != c->clock || now == HTTP_CLOCK_NONE)
		loop_timer_set(&c->timer, TIME_MS);
	c->clock = now;
}

static void pump(struct conn *c)
{
	bool again = true;

	while (again) {
		again = false;
		while (!c->busy && step(c))
			;
		if (c->out.n && stream_write(&c->stream, &c->out) >= STREAM_EOF) {
			finish(c);
			return;
		}
		if (c->closing && !c->out.n) {
			finish(c);
			return;
		}
		if (c->busy || c->out.n)
			break;
		switch (stream_read(&c->stream, &c->in, IN_MAX - c->in.n)) {
		case STREAM_OK: again = true; break;
		case STREAM_AGAIN: break;
		case STREAM_EOF:
		case STREAM_CUT:
		case STREAM_ERROR:
			http_conn_eof(c->http);
			again = !c->closing;
			break;
		}
	}
	stream_want(&c->stream, !c->busy && !c->out.n, c->out.n > 0);
	set_deadline(c);
}

static void on_ready(void *arg)
{
	pump(arg);
}

static void on_late(void *arg)
{
	struct conn *c = arg;

	if (c->busy)
		return;
	if (c->out.n) {
		finish(c);
		return;
	}
	http_conn_expire(c->http, &c->out);
	pump(c);
}

/* -- who may not call: told so, and not read -- */

/* The socket stays open for so long: a caller that is still writing when it closes would be told
 * of a broken pipe and not of the refusal. */
#define DENIED_MS 1000

struct denied {
	struct loop_timer timer;
	int fd;
};

static void denied_end(void *arg)
{
	struct denied *d = arg;

	loop_timer_cancel(&d->timer);
	close(d->fd);
	free(d);
}

static void deny(struct home *home, int fd, const char *actor)
{
	static const char text[] =
	    "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 82\r\n"
	    "Connection: close\r\n\r\n"
	    "{\"error\":{\"kind\":\"denied\",\"message\":\"only root and the service's user may "
	    "call\"}}\n";
	struct denied *d = calloc(1, sizeof *d);

	log_event(LOG_CONTROL, F_CSTR("actor", actor), F_STR("method", S("")), F_STR("path", S("")),
		  F_U64("status", 403));
	/* Best effort: it fits an empty socket buffer. */
	if (!d || write(fd, text, sizeof text - 1) < 0 || shutdown(fd, SHUT_WR)) {
		free(d);
		close(fd);
		return;
	}
	d->fd = fd;
	loop_timer_init(&d->timer, home->loop, denied_end, d);
	loop_timer_set(&d->timer, DENIED_MS);
}

/* May it call? Fills in who it is. */
static bool may_call(int fd, char *actor, size_t size)
{
	uid_t uid = (uid_t)-1;
	pid_t pid = 0;
	bool known = stream_peer_cred(fd, &uid, &pid);

	snprintf(actor, size, "uid:%u pid:%d", (unsigned)uid, (int)pid);
	return known && (uid == 0 || uid == geteuid());
}

void http_in_accept(struct home *home, enum http_door door, int fd)
{
	char actor[sizeof((struct conn *)0)->actor] = "metrics";
	struct conn *c;

	if (door == HTTP_CONTROL && !may_call(fd, actor, sizeof actor)) {
		deny(home, fd, actor);
		return;
	}
	if (door == HTTP_METRICS && home->watchers >= WATCHERS_MAX) {
		close(fd);
		return;
	}
	c = calloc(1, sizeof *c);
	if (c)
		c->http = http_conn_new(&config);
	if (!c || !c->http || !stream_init(&c->stream, home->loop, fd, on_ready, c)) {
		if (c)
			http_conn_free(c->http);
		free(c);
		close(fd);
		return;
	}
	c->home = home;
	c->door = door;
	home->watchers += door == HTTP_METRICS;
	memcpy(c->actor, actor, sizeof c->actor);
	buf_init(&c->in, IN_MAX);
	buf_init(&c->out, REPLY_MAX + 65536);
	buf_init(&c->body, BODY_MAX);
	loop_timer_init(&c->timer, home->loop, on_late, c);
	c->clock = HTTP_CLOCK_NONE;
	pump(c);
}
