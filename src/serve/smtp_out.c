/* serve/smtp_out.c -- the life of a connection to the next hop; what it carries stands in
 * smtp_out_mail.c. */
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/smtp_out_impl.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OUT_MAX (128u << 10)
/* When the server stops, so long is waited for the reply to a QUIT. */
#define LAST_QUIT_MS 1000

static const struct conf *conf_of(const struct out *o)
{
	return o->home->server->conf;
}

/* -- the connections of a site -- */

static void unlink_out(struct out *o)
{
	*(o->before ? &o->before->after : &o->site->first_out) = o->after;
	*(o->after ? &o->after->before : &o->site->last_out) = o->before;
	o->before = o->after = NULL;
}

static void link_last(struct out *o)
{
	o->before = o->site->last_out;
	*(o->before ? &o->before->after : &o->site->first_out) = o;
	o->site->last_out = o;
}

static void rest(struct out *o, bool resting)
{
	if (o->resting == resting)
		return;
	o->resting = resting;
	unlink_out(o);
	if (!resting) {
		link_last(o);
		return;
	}
	o->after = o->site->first_out;
	*(o->after ? &o->after->before : &o->site->last_out) = o;
	o->site->first_out = o;
}

bool smtp_out_resume(struct site *site)
{
	struct out *o = site->first_out;

	if (!o || !o->resting)
		return false;
	rest(o, false);
	smtp_out_pump(o);
	return site->first_out != o || !o->resting;
}

/* Nothing of a message depends on it: it has not begun to carry any, or has none in hand. */
static bool idle(const struct out *o)
{
	return !o->busy && o->stage != STAGE_OVER;
}

void smtp_out_shutdown(struct site *site)
{
	struct out *next;

	for (struct out *o = site->first_out; o; o = next) {
		next = o->after;
		if (!idle(o))
			continue;
		/* One that has said QUIT, just now perhaps: it went to the end of the list. */
		if (o->stage != STAGE_TALK ||
		    (!o->resting && smtp_client_phase(o->client) != CLIENT_AT_QUIT))
			o->stage = STAGE_OVER;
		smtp_out_pump(o);
	}
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
	unlink_out(o);
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
		if (!smtp_out_next(o))
			t = TALK_IDLE;
		else
			t = TALK_WAIT;
		break;
	case CLIENT_SEND_BODY:
		if (buf_left(&o->out) < 2 * SMTP_OUT_RUN + 16)
			t = TALK_FLUSH;
		else
			t = smtp_out_feed(o) ? TALK_AGAIN : TALK_WAIT;
		break;
	case CLIENT_RCPT: smtp_out_note(o, ev.rcpt, &ev); break;
	case CLIENT_DONE:
		if (ev.maybe_taken)
			log_event(
			    LOG_WARNING,
			    F_CSTR("about",
				   "possible duplicate: the reply to the end of data never came"),
			    F_ID("id", o->ticket.id), F_CSTR("remote", o->remote));
		smtp_out_note_rest(o, &ev);
		smtp_out_settle(o);
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
	size_t n;

	if (!o->out.n)
		return true;
	n = o->out.n;
	switch (stream_write(&o->stream, &o->out)) {
	case STREAM_OK:
	case STREAM_AGAIN: o->moved |= o->out.n < n; return true;
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
		metrics_add(M_TLS, metrics_word(LABEL_SIDE, S("client")),
			    metrics_word(LABEL_TLS, stream_tls_info(&o->stream).version), 1);
		o->stage = STAGE_TALK;
		if (!o->config.tls_up)
			smtp_client_tls_up(o->client);
		return;
	case STREAM_AGAIN: return;
	case STREAM_EOF:
	case STREAM_CUT:
	case STREAM_ERROR: break;
	}
	metrics_add(M_TLS_FAILED, metrics_word(LABEL_SIDE, S("client")), 0, 1);
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
	o->moved |= t != TALK_INPUT && t != TALK_IDLE && t != TALK_FLUSH;
	rest(o, t == TALK_IDLE && !deliver_stopping(o->deliver) && !smtp_out_spent(o));
	if (t == TALK_OVER) {
		flush(o); /* QUIT, perhaps */
		o->stage = STAGE_OVER;
		return false;
	}
	/* A spent one makes room at once: as long as it is there, no other takes its place. */
	if (t == TALK_IDLE && (deliver_stopping(o->deliver) || smtp_out_spent(o)))
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

enum { CLOCK_OFF = -1, CLOCK_HANDSHAKE = -2, CLOCK_LAST_QUIT = -3 };

/* Each phase has its time, from its beginning or from when something moved: a peer that sends a
 * byte now and then is as late as one that sends none. */
static void set_timer(struct out *o)
{
	int clock = (int)smtp_client_phase(o->client);
	uint64_t wait = deadline(o);

	if (o->stage == STAGE_HANDSHAKE) {
		clock = CLOCK_HANDSHAKE;
		wait = conf_of(o)->delivery.tls;
	}
	/* The end does not wait long for the reply to a QUIT. */
	if (idle(o) && deliver_stopping(o->deliver) && wait > LAST_QUIT_MS) {
		clock = CLOCK_LAST_QUIT;
		wait = LAST_QUIT_MS;
	}
	if (clock != o->timed || o->moved)
		loop_timer_set(&o->timer, wait);
	o->timed = clock;
	o->moved = false;
}

void smtp_out_pump(struct out *o)
{
	if (o->job_out)
		return;
	while (turn(o) && !o->job_out)
		;
	if (o->stage == STAGE_OVER && !o->job_out) {
		/* The machine had no chance to say it. */
		if (o->busy)
			smtp_out_give_back(o);
		bury(o);
		return;
	}
	if (o->stage == STAGE_LOAD) {
		stream_want(&o->stream, false, false);
		loop_timer_cancel(&o->timer);
		o->timed = CLOCK_OFF;
		return;
	}
	stream_want(&o->stream, true, o->out.n > 0 || stream_wants_write(&o->stream));
	set_timer(o);
}

void smtp_out_abort(struct site *site)
{
	while (site->first_out) {
		struct out *o = site->first_out;

		if (o->busy)
			smtp_out_give_back(o);
		bury(o);
	}
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
	smtp_out_pump(o);
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
	smtp_out_pump(o);
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
		o->timed = CLOCK_OFF;
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
	for (struct addrinfo *a = rc ? NULL : list; a && o->n_addresses < SMTP_OUT_ADDRESSES;
	     a = a->ai_next)
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
	if (o->stage == STAGE_OVER)
		bury(o);
	else
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
	link_last(o);
	return true;
}
