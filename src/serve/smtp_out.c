/* serve/smtp_out.c -- the life of a connection to the next hop; what it carries stands in
 * smtp_out_mail.c. */
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/generation.h"
#include "serve/smtp_out_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OUT_MAX (128u << 10)
/* When the server stops, so long is waited for the reply to a QUIT. */
#define LAST_QUIT_MS 1000
/* Under pressure a host has so long to be ready for a message; the delivery timeouts are for when
 * nobody else waits. */
#define GIVE_WAY_MS 10000

static const struct conf *conf_of(const struct out *o)
{
	return o->generation->conf;
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

static void hang_up(struct out *o)
{
	if (o->stream.fd >= 0)
		stream_close(&o->stream);
	o->stream.fd = -1;
	loop_timer_cancel(&o->timer);
}

/* Job or not: nothing else refers to o any more. */
static void bury(struct out *o)
{
	struct deliver *d = o->deliver;
	struct site *site = o->site;

	dial_stop(&o->dial);
	hang_up(o);
	smtp_client_free(o->client);
	buf_wipe(&o->in);
	buf_wipe(&o->out);
	arena_done(&o->arena);
	if (!o->proven)
		site->unproven--;
	unlink_out(o);
	generation_drop(o->generation, o->home);
	free(o);
	deliver_ended(d, site);
}

struct slice smtp_out_host(const struct out *o)
{
	return o->site->kind == SITE_HOSTS ? o->site->hosts[o->order[o->host]].name
					   : o->route->host;
}

static void log_attempt(const struct out *o, const char *result, const char *phase, int code,
			struct slice text)
{
	log_event(LOG_ATTEMPT, F_STR("route", o->route->name), F_CSTR("remote", o->remote),
		  F_CSTR("phase", phase), F_CSTR("result", result), F_U64("code", (uint64_t)code),
		  F_STR("reply", text));
}

/* Every host failed, or the only one. */
static void blame_site(struct out *o, struct slice text)
{
	if (o->hopeless)
		deliver_site_refused(o->deliver, o->site, 550,
				     S("5.4.4 no mail exchanger has an address"));
	else
		deliver_site_failed(o->deliver, o->site, slice_str(o->remote), text);
	o->stage = STAGE_OVER;
}

/* The host cannot be reached or takes no mail: the next one's turn (RFC 5321 5.1); after the last
 * one it is the site's trouble. */
static void blame_host(struct out *o, const char *phase, int code, struct slice text)
{
	log_attempt(o, "failed", phase, code, text);
	if (o->proven && o->taken) { /* it did its work; a new connection will see */
		o->stage = STAGE_OVER;
	} else if (!o->proven && o->host + 1 < o->n_hosts) {
		o->host++;
		o->in_clear = false;
		o->stage = STAGE_AGAIN;
	} else {
		blame_site(o, text);
	}
}

/* Where TLS is only welcome, its failure costs the message nothing: the same host once more. */
static void tls_failed(struct out *o, struct slice text)
{
	if (o->route->tls != ROUTE_TLS_MAY || o->proven) {
		blame_host(o, "tls", 0, text);
		return;
	}
	log_attempt(o, "without TLS then", "tls", 0, text);
	o->in_clear = true;
	o->stage = STAGE_AGAIN;
}

/* -- the conversation -- */

enum talk { TALK_INPUT, TALK_FLUSH, TALK_AGAIN, TALK_WAIT, TALK_TLS, TALK_IDLE, TALK_OVER };

/* What the verdict on a message says of the site. */
static void note_end(struct out *o, const struct smtp_client_event *ev)
{
	bool early = ev->phase == CLIENT_AT_MAIL || ev->phase == CLIENT_AT_RCPT;

	o->taken += ev->reply.code / 100 == 2;
	o->closing = early && (ev->reply.code == 421 || (!ev->remote && !ev->reply.code));
	snprintf(o->trouble, sizeof o->trouble, "%.*s", (int)ev->reply.n, ev->reply.text);
}

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
			    F_ID("id", o->ticket.id), F_CSTR("remote", o->remote),
			    F_CSTR("duplicate", "possible"));
		note_end(o, &ev);
		smtp_out_note_rest(o, &ev);
		smtp_out_settle(o);
		break;
	case CLIENT_FAILED:
		blame_host(o, smtp_client_phase_name(ev.phase), ev.reply.code,
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
	tls_failed(o, slice_str(e.text));
}

static void start_tls(struct out *o)
{
	bool verify =
	    o->route->tls == ROUTE_TLS_MUST_VERIFY || o->route->tls == ROUTE_TLS_IMPLICIT_VERIFY;
	struct err e = { 0 };

	o->stage = STAGE_HANDSHAKE;
	if (!stream_start_client(&o->stream, o->route->tls_context, smtp_out_host(o), verify, &e))
		tls_failed(o, slice_str(e.text));
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
		if (o->closing && !o->taken)
			deliver_site_rests(o->deliver, o->site, slice_str(o->trouble));
		if (o->stage != STAGE_AGAIN)
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

static void try_host(struct out *o);

void smtp_out_pump(struct out *o)
{
	if (o->job_out)
		return;
	while (turn(o) && !o->job_out)
		;
	if (o->stage == STAGE_AGAIN)
		try_host(o);
	if (o->stage == STAGE_DIAL)
		return;
	if (o->stage == STAGE_OVER && !o->job_out) {
		if (!dial_stop(&o->dial))
			return; /* a worker has its name still; then it comes back here */
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
	struct out *next;

	for (struct out *o = site->first_out; o; o = next) {
		next = o->after;
		if (o->busy)
			smtp_out_give_back(o);
		bury(o);
	}
}

static void on_ready(void *arg)
{
	smtp_out_pump(arg);
}

static void on_late(void *arg)
{
	struct out *o = arg;

	switch (o->stage) {
	case STAGE_HANDSHAKE: tls_failed(o, S("TLS handshake: timed out")); break;
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
	case STAGE_DIAL:
	case STAGE_LOAD:
	case STAGE_AGAIN:
	case STAGE_OVER: return;
	}
	smtp_out_pump(o);
}

/* -- to a host -- */

static void connected(struct out *o)
{
	if (!stream_init(&o->stream, o->home->loop, o->dial.fd, on_ready, o)) {
		close(o->dial.fd);
		o->stream.fd = -1;
		blame_host(o, "connect", 0, S("out of memory"));
		return;
	}
	o->hopeless = false;
	o->stage = STAGE_TALK;
	o->timed = CLOCK_OFF;
	if (o->config.tls_up)
		start_tls(o);
}

static void on_dialled(struct dial *d)
{
	struct out *o = (struct out *)(void *)((char *)d - offsetof(struct out, dial));

	snprintf(o->remote, sizeof o->remote, "%s", d->remote);
	if (o->stage == STAGE_OVER) {
		if (d->end == DIAL_CONNECTED)
			close(d->fd);
	} else if (d->end == DIAL_CONNECTED) {
		connected(o);
	} else {
		o->hopeless &= d->end == DIAL_NO_ADDRESS;
		blame_host(o, "connect", 0, slice_str(d->why.text[0] ? d->why.text : "no address"));
	}
	smtp_out_pump(o);
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

/* A conversation of its own for each host. False: it cannot begin now. */
static bool begin(struct out *o)
{
	const struct route *r = o->route;

	hang_up(o);
	smtp_client_free(o->client);
	buf_clear(&o->in);
	buf_clear(&o->out);
	o->config = (struct smtp_client_config){
		.hostname = conf_of(o)->hostname,
		.tls = o->in_clear ? CLIENT_TLS_NEVER : demand(r->tls),
		.tls_up = r->tls == ROUTE_TLS_IMPLICIT || r->tls == ROUTE_TLS_IMPLICIT_VERIFY,
		.user = r->user,
		.password = r->password,
	};
	o->client = smtp_client_new(&o->config);
	o->stage = STAGE_DIAL;
	o->began_ms = clock_mono_ms();
	o->dial.done = on_dialled;
	return o->client &&
	       dial_start(&o->dial, o->home, r, smtp_out_host(o), o->site->kind == SITE_HOSTS);
}

/* The next one, until one can be begun. */
static void try_host(struct out *o)
{
	while (o->stage == STAGE_AGAIN)
		if (!begin(o)) {
			o->hopeless = false;
			blame_host(o, "connect", 0,
				   S("not begun: too many lookups at once, or memory is out here"));
		}
}

void smtp_out_hurry(struct site *site)
{
	uint64_t now = clock_mono_ms();
	struct out *next;

	for (struct out *o = site->first_out; o; o = next) {
		bool dialling = o->stage == STAGE_DIAL;

		next = o->after;
		if (o->proven || now - o->began_ms < GIVE_WAY_MS || o->stage == STAGE_OVER)
			continue;
		if (o->dial.job_out || !dial_stop(&o->dial))
			continue; /* a worker has its name still: what it finds is to be used */
		o->hopeless = false;
		blame_host(
		    o, dialling ? "connect" : smtp_client_phase_name(smtp_client_phase(o->client)),
		    0, S("not ready in 10 s, and others wait for the connection"));
		smtp_out_pump(o);
	}
}

bool smtp_out_start(struct deliver *d, struct site *site)
{
	struct out *o = calloc(1, sizeof *o);
	uint64_t random;

	if (!o)
		return false;
	o->deliver = d;
	o->home = deliver_home(d);
	o->site = site;
	o->route = site->route;
	o->generation = generation_hold(o->home->now, o->home);
	o->stream.fd = -1;
	buf_init(&o->in, 65536);
	buf_init(&o->out, OUT_MAX);
	loop_timer_init(&o->timer, o->home->loop, on_late, o);
	o->n_hosts = 1;
	o->hopeless = site->kind == SITE_HOSTS;
	if (site->kind == SITE_HOSTS) {
		home_random(o->home, &random, sizeof random);
		o->n_hosts = site->n_hosts;
		mx_shuffle(site->hosts, site->n_hosts, random, o->order);
	}
	if (!begin(o)) {
		smtp_client_free(o->client);
		generation_drop(o->generation, o->home);
		free(o);
		return false;
	}
	site->unproven++;
	link_last(o);
	return true;
}
