#include "serve/smtp_out.h"

#include "loop/stream.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "serve/deliver.h"
#include "serve/server.h"
#include "smtp/client.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ADDRESSES 8
#define OUT_MAX   (128u << 10)
#define RUN       16384u /* content fed at once; stuffed it can double */
#define LOAD_MAX  (160u << 20)

enum stage {
	STAGE_LOOKUP, /* the host's addresses are being looked up */
	STAGE_CONNECT,
	STAGE_HANDSHAKE, /* TLS, implicit or after STARTTLS */
	STAGE_TALK,
	STAGE_LOAD, /* a job reads the message, or the next block of its body */
	STAGE_OVER,
};

struct address {
	char text[64];
};

struct out {
	struct deliver *deliver;
	struct home *home;
	struct site *site;
	const struct route *route;
	enum stage stage;
	struct job job;
	bool job_out; /* with a worker */
	struct err error;

	struct address addresses[ADDRESSES];
	size_t n_addresses, next_address;
	char remote[96];
	struct stream stream;
	struct loop_timer timer;
	struct smtp_client_config config;
	struct smtp_client *client;
	struct buf in, out;
	bool proven; /* the site was ready for a delivery */
	uint32_t messages;

	/* The delivery in hand */
	bool busy;
	struct spool_ticket ticket;
	struct arena arena;
	struct spool_message message;
	bool loaded;
	struct smtp_client_mail mail;
	struct smtp_client_rcpt *rcpts;
	struct outcome_answer *answers; /* of rcpts, in that order */
	uint32_t n_rcpts;
	struct slice head_left, body_left;
	uint64_t file_at, file_left;
	char *block;
	size_t block_n;
};

static void pump(struct out *o);

static const struct conf *conf_of(const struct out *o)
{
	return o->home->server->conf;
}

/* -- the delivery in hand -- */

static void put_down(struct out *o)
{
	if (o->loaded && o->message.content.fd >= 0)
		close(o->message.content.fd);
	arena_done(&o->arena);
	o->busy = o->loaded = false;
	o->mail = (struct smtp_client_mail){ 0 };
	o->rcpts = NULL;
	o->answers = NULL;
	o->n_rcpts = 0;
	o->block = NULL;
	o->block_n = 0;
}

static void settle(struct out *o)
{
	struct deliver_facts f = { .route = o->route,
				   .dest = o->message.envelope.dests[o->ticket.delivery],
				   .remote = slice_str(o->remote),
				   .tls = stream_tls_info(&o->stream).cipher };

	deliver_settle(o->deliver, &o->ticket, &o->message.envelope, o->answers, o->n_rcpts, &f);
	put_down(o);
}

/* Copies an answer's text into the arena: events live only until the next step. */
static void note(struct out *o, uint32_t i, const struct smtp_client_event *ev)
{
	o->answers[i].code = ev->reply.code;
	o->answers[i].text = arena_dup(&o->arena, slice(ev->reply.text, ev->reply.n));
}

/* The verdict on whoever has none of their own. */
static void note_rest(struct out *o, const struct smtp_client_event *ev)
{
	for (uint32_t i = 0; i < o->n_rcpts; i++)
		if (o->answers[i].code < 0)
			note(o, i, ev);
}

/* -- the end -- */

/* Job or not: nothing else refers to o any more. */
static void bury(struct out *o)
{
	struct deliver *d = o->deliver;
	struct site *site = o->site;

	if (o->stream.fd >= 0)
		stream_close(&o->stream);
	loop_timer_cancel(&o->timer);
	smtp_client_free(o->client);
	buf_wipe(&o->in);
	buf_wipe(&o->out);
	arena_done(&o->arena);
	if (!o->proven)
		site->unproven--;
	free(o);
	deliver_ended(d, site);
}

/* The remote cannot be reached or takes no mail: that is the site's trouble. */
static void blame_site(struct out *o, const char *phase, int code, struct slice text)
{
	log_event(LOG_ATTEMPT, F_STR("route", o->route->name), F_CSTR("remote", o->remote),
		  F_CSTR("phase", phase), F_CSTR("result", "failed"), F_U64("code", (uint64_t)code),
		  F_STR("reply", text));
	deliver_site_failed(o->deliver, o->site, slice_str(o->remote), text);
	o->stage = STAGE_OVER;
}

/* -- loading -- */

static void load_run(struct job *job, void *ctx)
{
	struct out *o = (struct out *)(void *)((char *)job - offsetof(struct out, job));
	struct server *s = o->home->server;

	(void)ctx;
	o->loaded =
	    s->spool_backend->load(s->spool, o->ticket.id, &o->arena, &o->message, &o->error);
}

/* Does the content need an 8-bit path? What was taken as 7-bit may still hold such bytes. */
static bool high(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] > 0x7f)
			return true;
	return false;
}

static bool make_mail(struct out *o)
{
	struct spool_envelope *env = &o->message.envelope;
	struct spool_content *c = &o->message.content;

	o->rcpts = ARENA_ARRAY(&o->arena, struct smtp_client_rcpt, env->n_rcpts);
	o->answers = ARENA_ARRAY(&o->arena, struct outcome_answer, env->n_rcpts);
	o->block = c->fd >= 0 ? arena_alloc(&o->arena, RUN) : NULL;
	if (!o->rcpts || !o->answers || (c->fd >= 0 && !o->block))
		return false;
	for (uint32_t i = 0; i < env->n_rcpts; i++) {
		const struct spool_rcpt *r = &env->rcpts[i];

		if (r->delivery != o->ticket.delivery || r->state != RCPT_PENDING)
			continue;
		o->answers[o->n_rcpts] = (struct outcome_answer){ .rcpt = i, .code = -1 };
		o->rcpts[o->n_rcpts++] = (struct smtp_client_rcpt){ r->path, r->notify, r->orcpt };
	}
	o->head_left = c->head;
	o->body_left = c->fd < 0 ? c->body : S("");
	o->file_at = c->fd_offset;
	o->file_left = c->fd >= 0 ? c->fd_bytes : 0;
	o->mail = (struct smtp_client_mail){
		.reverse_path = env->reverse_path,
		.body_8bit = env->body_8bit,
		.high = (!env->smtputf8 && high(c->head)) ||
			(c->fd < 0 ? high(c->body) : env->body_8bit),
		.smtputf8 = env->smtputf8,
		.size = env->size,
		.ret = env->ret == RET_FULL   ? SMTP_RET_FULL
		       : env->ret == RET_HDRS ? SMTP_RET_HDRS
					      : SMTP_RET_UNSAID,
		.envid = env->envid,
		.rcpts = o->rcpts,
		.n_rcpts = o->n_rcpts,
	};
	return o->n_rcpts > 0;
}

static void load_done(struct job *job)
{
	struct out *o = (struct out *)(void *)((char *)job - offsetof(struct out, job));
	struct server *s = o->home->server;

	o->job_out = false;
	if (!o->loaded) {
		if (o->error.kind == ERR_DAMAGED || o->error.kind == ERR_ABSENT)
			deliver_unreadable(o->deliver, &o->ticket, &o->error);
		else
			s->spool_backend->release(s->spool, &o->ticket, clock_steady_ms() + 60000);
		put_down(o);
	} else if (!make_mail(o)) {
		s->spool_backend->release(s->spool, &o->ticket, clock_steady_ms() + 60000);
		put_down(o);
	} else if (o->stage == STAGE_LOAD) {
		smtp_client_send(o->client, &o->mail);
	}
	if (o->stage == STAGE_LOAD)
		o->stage = STAGE_TALK;
	pump(o);
}

static void block_run(struct job *job, void *ctx)
{
	struct out *o = (struct out *)(void *)((char *)job - offsetof(struct out, job));
	size_t want = o->file_left < RUN ? (size_t)o->file_left : RUN;
	ssize_t n = pread(o->message.content.fd, o->block, want, (off_t)o->file_at);

	(void)ctx;
	o->block_n = n > 0 ? (size_t)n : 0;
}

static void block_done(struct job *job)
{
	struct out *o = (struct out *)(void *)((char *)job - offsetof(struct out, job));

	o->job_out = false;
	if (o->stage == STAGE_LOAD)
		o->stage = STAGE_TALK;
	if (!o->block_n)
		smtp_client_lost(o->client, S("the message cannot be read"));
	o->file_at += o->block_n;
	o->file_left -= o->block_n;
	o->body_left = slice(o->block, o->block_n);
	pump(o);
}

static bool post(struct out *o, void (*run)(struct job *, void *), void (*done)(struct job *))
{
	o->job = (struct job){ .run = run, .done = done, .home = o->home->loop };
	o->job_out = lane_post(o->home->server->files, &o->job);
	return o->job_out;
}

/* It has carried as many messages as one connection of this route may. */
static bool spent(const struct out *o)
{
	return o->route->messages_per_connection &&
	       o->messages >= o->route->messages_per_connection;
}

/* The machine waits for a message. False: there is none for it now. */
static bool next_message(struct out *o)
{
	struct server *s = o->home->server;
	uint64_t now = clock_steady_ms();

	if (!o->proven) {
		o->proven = true;
		o->site->unproven--;
		schedule_site_ok(o->site);
		deliver_wake(o->deliver); /* another connection may be wanted beside this one */
	}
	if (deliver_stopping(o->deliver) || spent(o) ||
	    !schedule_take(deliver_schedule(o->deliver), o->site, now, &o->ticket))
		return false;
	o->messages++;
	o->busy = true;
	arena_init(&o->arena, LOAD_MAX);
	o->stage = STAGE_LOAD;
	if (post(o, load_run, load_done))
		return true;
	o->stage = STAGE_TALK;
	s->spool_backend->release(s->spool, &o->ticket, now + 1000);
	put_down(o);
	return false;
}

/* Feeds content. False: a job fetches the next block. */
static bool feed(struct out *o)
{
	struct slice *from = o->head_left.n ? &o->head_left : &o->body_left;
	struct slice run = slice_take(from, from->n < RUN ? from->n : RUN);
	bool last = !o->head_left.n && !o->body_left.n && !o->file_left;

	if (!run.n && o->file_left) {
		o->stage = STAGE_LOAD;
		if (post(o, block_run, block_done))
			return false;
		o->stage = STAGE_TALK;
		smtp_client_lost(o->client, S("the message cannot be read now"));
		return true;
	}
	smtp_client_body(o->client, run, last, &o->out);
	return true;
}

/* -- the conversation -- */

enum talk { TALK_INPUT, TALK_FLUSH, TALK_AGAIN, TALK_WAIT, TALK_TLS, TALK_IDLE, TALK_OVER };

static enum talk talk(struct out *o)
{
	struct slice in = buf_slice(&o->in);
	struct smtp_client_event ev;
	enum talk t = TALK_AGAIN;

	switch (smtp_client_step(o->client, &in, &o->out, &ev)) {
	case CLIENT_WANT_INPUT: t = TALK_INPUT; break;
	case CLIENT_WANT_FLUSH: t = TALK_FLUSH; break;
	case CLIENT_DO_STARTTLS: t = TALK_TLS; break;
	case CLIENT_READY:
		if (!next_message(o))
			t = TALK_IDLE;
		else
			t = TALK_WAIT;
		break;
	case CLIENT_SEND_BODY:
		if (buf_left(&o->out) < 2 * RUN + 16)
			t = TALK_FLUSH;
		else
			t = feed(o) ? TALK_AGAIN : TALK_WAIT;
		break;
	case CLIENT_RCPT: note(o, ev.rcpt, &ev); break;
	case CLIENT_DONE:
		if (ev.maybe_taken)
			log_event(
			    LOG_WARNING,
			    F_CSTR("about",
				   "possible duplicate: the reply to the end of data never came"),
			    F_ID("id", o->ticket.id), F_CSTR("remote", o->remote));
		note_rest(o, &ev);
		settle(o);
		break;
	case CLIENT_FAILED:
		blame_site(o, smtp_client_phase_name(ev.phase), ev.reply.code,
			   slice(ev.reply.text, ev.reply.n));
		t = TALK_OVER;
		break;
	case CLIENT_DO_CLOSE: t = TALK_OVER; break;
	}
	buf_shift(&o->in, o->in.n - in.n);
	return t;
}

static uint64_t deadline(const struct out *o)
{
	const struct conf *c = conf_of(o);

	switch (smtp_client_phase(o->client)) {
	case CLIENT_AT_GREETING: return c->delivery.greeting;
	case CLIENT_AT_EHLO: return c->delivery.ehlo;
	case CLIENT_AT_TLS: return c->delivery.tls;
	case CLIENT_AT_AUTH: return c->delivery.auth;
	case CLIENT_AT_IDLE: return c->delivery.idle;
	case CLIENT_AT_MAIL: return c->delivery.mail;
	case CLIENT_AT_RCPT: return c->delivery.rcpt;
	case CLIENT_AT_DATA: return c->delivery.data;
	case CLIENT_AT_BODY: return c->delivery.body;
	case CLIENT_AT_DOT: return c->delivery.dot;
	case CLIENT_AT_QUIT: return c->delivery.quit;
	}
	return c->delivery.quit;
}

static bool flush(struct out *o)
{
	if (!o->out.n)
		return true;
	switch (stream_write(&o->stream, &o->out)) {
	case STREAM_OK:
	case STREAM_AGAIN: return true;
	case STREAM_EOF:
	case STREAM_CUT:
	case STREAM_ERROR: break;
	}
	return false;
}

/* True: something came, or the end did. */
static bool fill(struct out *o)
{
	switch (stream_read(&o->stream, &o->in, 16384)) {
	case STREAM_OK: return true;
	case STREAM_AGAIN: return false;
	case STREAM_EOF:
	case STREAM_CUT:
	case STREAM_ERROR: break;
	}
	smtp_client_lost(o->client, S("the connection was lost"));
	return true;
}

static void handshake_over(struct out *o)
{
	struct err e = { 0 };

	switch (stream_handshake(&o->stream, &e)) {
	case STREAM_OK:
		o->stage = STAGE_TALK;
		if (!o->config.tls_up)
			smtp_client_tls_up(o->client);
		return;
	case STREAM_AGAIN: return;
	case STREAM_EOF:
	case STREAM_CUT:
	case STREAM_ERROR: break;
	}
	blame_site(o, "tls", 0, slice_str(e.text));
}

static void start_tls(struct out *o)
{
	bool verify =
	    o->route->tls == ROUTE_TLS_MUST_VERIFY || o->route->tls == ROUTE_TLS_IMPLICIT_VERIFY;
	struct err e = { 0 };

	o->stage = STAGE_HANDSHAKE;
	if (!stream_start_client(&o->stream, o->route->tls_context, o->route->host, verify, &e))
		blame_site(o, "tls", 0, slice_str(e.text));
}

/* One turn. False: wait for what was asked for. */
static bool turn(struct out *o)
{
	enum talk t;

	if (o->stage == STAGE_HANDSHAKE) {
		handshake_over(o);
		if (o->stage == STAGE_HANDSHAKE)
			return false;
	}
	if (o->stage != STAGE_TALK)
		return false;
	t = talk(o);
	if (t == TALK_OVER) {
		flush(o); /* QUIT, perhaps */
		o->stage = STAGE_OVER;
		return false;
	}
	/* A spent one makes room at once: as long as it is there, no other takes its place. */
	if (t == TALK_IDLE && (deliver_stopping(o->deliver) || spent(o)))
		smtp_client_quit(o->client, &o->out);
	if (!flush(o)) {
		smtp_client_lost(o->client, S("the connection was lost"));
		return true;
	}
	switch (t) {
	case TALK_AGAIN: return true;
	/* Reading goes on while writing cannot: else both sides could wait for each other. */
	case TALK_FLUSH: return !o->out.n || fill(o);
	case TALK_TLS:
		if (o->out.n)
			return false;
		start_tls(o);
		return true;
	case TALK_INPUT:
	case TALK_IDLE: return fill(o);
	case TALK_WAIT:
	case TALK_OVER: break;
	}
	return false;
}

static void pump(struct out *o)
{
	if (o->job_out)
		return;
	while (turn(o) && !o->job_out)
		;
	if (o->stage == STAGE_OVER && !o->job_out) {
		if (o->busy) {
			/* The machine had no chance to say it: the delivery goes back as it was. */
			o->home->server->spool_backend->release(o->home->server->spool, &o->ticket,
								clock_steady_ms());
			put_down(o);
		}
		bury(o);
		return;
	}
	if (o->stage == STAGE_LOAD) {
		stream_want(&o->stream, false, false);
		loop_timer_cancel(&o->timer);
		return;
	}
	stream_want(&o->stream, true, o->out.n > 0 || stream_wants_write(&o->stream));
	loop_timer_set(&o->timer,
		       o->stage == STAGE_HANDSHAKE ? conf_of(o)->delivery.tls : deadline(o));
}

static void connect_next(struct out *o);

static void on_ready(void *arg)
{
	struct out *o = arg;

	if (o->stage == STAGE_CONNECT) {
		if (!stream_connected(o->stream.fd, &o->error)) {
			stream_close(&o->stream);
			connect_next(o);
			return;
		}
		o->stage = STAGE_TALK;
		if (o->config.tls_up)
			start_tls(o);
	}
	pump(o);
}

static void on_late(void *arg)
{
	struct out *o = arg;

	switch (o->stage) {
	case STAGE_CONNECT:
		err_set(&o->error, ERR_LATER, "connect: timed out");
		stream_close(&o->stream);
		connect_next(o);
		return;
	case STAGE_HANDSHAKE: blame_site(o, "tls", 0, S("TLS handshake: timed out")); break;
	case STAGE_TALK:
		if (smtp_client_phase(o->client) == CLIENT_AT_IDLE) {
			smtp_client_quit(o->client, &o->out);
		} else {
			char text[64];

			snprintf(text, sizeof text, "timed out (%s)",
				 smtp_client_phase_name(smtp_client_phase(o->client)));
			smtp_client_lost(o->client, slice_str(text));
		}
		break;
	case STAGE_LOOKUP:
	case STAGE_LOAD:
	case STAGE_OVER: return;
	}
	pump(o);
}

static void connect_next(struct out *o)
{
	while (o->next_address < o->n_addresses) {
		struct address *a = &o->addresses[o->next_address++];
		bool v6 = strchr(a->text, ':');
		int fd = stream_dial(slice_str(a->text), o->route->port, &o->error);

		snprintf(o->remote, sizeof o->remote, v6 ? "[%s]:%u" : "%s:%u", a->text,
			 o->route->port);
		if (fd < 0)
			continue;
		if (!stream_init(&o->stream, o->home->loop, fd, on_ready, o)) {
			close(fd);
			o->stream.fd = -1;
			continue;
		}
		o->stage = STAGE_CONNECT;
		stream_want(&o->stream, false, true);
		loop_timer_set(&o->timer, conf_of(o)->delivery.connect);
		return;
	}
	o->stream.fd = -1;
	blame_site(o, "connect", 0, slice_str(o->error.text[0] ? o->error.text : "no address"));
	bury(o);
}

/* Blocks, which is why it has a lane of its own: a dead resolver holds up nobody else. */
static void lookup_run(struct job *job, void *ctx)
{
	struct out *o = (struct out *)(void *)((char *)job - offsetof(struct out, job));
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG },
			*list = NULL;
	char host[256];
	int rc;

	(void)ctx;
	snprintf(host, sizeof host, "%.*s", SLICE_ARG(o->route->host));
	rc = getaddrinfo(host, NULL, &hints, &list);
	if (rc) {
		/* Loopback addresses do not count as configured ones; a literal needs no guard. */
		hints.ai_flags = 0;
		rc = getaddrinfo(host, NULL, &hints, &list);
	}
	if (rc)
		err_set(&o->error, ERR_LATER, "%s: %s", host, gai_strerror(rc));
	for (struct addrinfo *a = rc ? NULL : list; a && o->n_addresses < ADDRESSES; a = a->ai_next)
		if (!getnameinfo(a->ai_addr, a->ai_addrlen, o->addresses[o->n_addresses].text,
				 sizeof o->addresses[0].text, NULL, 0, NI_NUMERICHOST))
			o->n_addresses++;
	if (!rc)
		freeaddrinfo(list);
}

static void lookup_done(struct job *job)
{
	struct out *o = (struct out *)(void *)((char *)job - offsetof(struct out, job));

	o->job_out = false;
	connect_next(o);
}

static enum smtp_client_tls demand(enum route_tls t)
{
	switch (t) {
	case ROUTE_TLS_NONE: return CLIENT_TLS_NEVER;
	case ROUTE_TLS_MAY: return CLIENT_TLS_MAY;
	case ROUTE_TLS_MUST:
	case ROUTE_TLS_MUST_VERIFY:
	case ROUTE_TLS_IMPLICIT:
	case ROUTE_TLS_IMPLICIT_VERIFY: break;
	}
	return CLIENT_TLS_MUST;
}

bool smtp_out_start(struct deliver *d, struct site *site)
{
	struct out *o = calloc(1, sizeof *o);
	struct server *s = deliver_home(d)->server;
	const struct route *r = site->route;

	if (!o)
		return false;
	o->deliver = d;
	o->home = deliver_home(d);
	o->site = site;
	o->route = r;
	o->stream.fd = -1;
	snprintf(o->remote, sizeof o->remote, "%.*s:%u", r->host.n < 80 ? (int)r->host.n : 80,
		 r->host.p, r->port);
	buf_init(&o->in, 65536);
	buf_init(&o->out, OUT_MAX);
	loop_timer_init(&o->timer, o->home->loop, on_late, o);
	o->config = (struct smtp_client_config){
		.hostname = s->conf->hostname,
		.tls = demand(r->tls),
		.tls_up = r->tls == ROUTE_TLS_IMPLICIT || r->tls == ROUTE_TLS_IMPLICIT_VERIFY,
		.user = r->user,
		.password = r->password,
	};
	o->client = smtp_client_new(&o->config);
	o->job = (struct job){ .run = lookup_run, .done = lookup_done, .home = o->home->loop };
	o->job_out = o->client && lane_post(s->names, &o->job);
	if (!o->job_out) {
		smtp_client_free(o->client);
		free(o);
		return false;
	}
	site->unproven++;
	return true;
}
