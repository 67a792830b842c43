/* serve/smtp_in_open.c -- how a connection begins: limits, the PROXY header, the greeting or
 * TLS. */
#include "auth/gate.h"
#include "base/must.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metrics.h"
#include "proxy/proxy.h"
#include "serve/generation.h"
#include "serve/smtp_in_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OUT_MAX   16384
#define TOO_MANY  S("421 4.7.0 Too many connections from your address\r\n")
#define TOO_FULL  S("421 4.7.0 Too many connections, try again later\r\n")
#define BANNED    S("421 4.7.0 Too many failed logins from your address, try again later\r\n")
#define NO_MEMORY S("421 4.3.2 Short of memory, try again later\r\n")

static void say_and_close(const struct smtp_door *door, int fd, struct slice line)
{
	/* Inside TLS nobody would understand it. */
	if (!door->session.implicit_tls && write(fd, line.p, line.n) < 0)
		line.n = 0;
	close(fd);
}

/* One line and out, before there is a session. Best effort: it fits an empty socket buffer. */
static void send_away(const struct smtp_door *door, int fd, const char *address, struct slice line,
		      const char *reason)
{
	metrics_add(M_SENT_AWAY, metrics_word(LABEL_SENT_AWAY, slice_str(reason)), 0, 1);
	log_event(LOG_CONNECTION_REFUSED, F_CSTR("client", address), F_STR("listener", door->name),
		  F_CSTR("reason", reason));
	say_and_close(door, fd, line);
}

static struct conn *make(struct home *home, const struct smtp_door *door, int fd,
			 const char *address)
{
	struct conn *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->home = home;
	c->door = door;
	snprintf(c->address_text, sizeof c->address_text, "%s", address);
	c->address = slice_str(c->address_text);
	buf_init(&c->in, SMTP_IN_READ_MAX + 16384);
	buf_init(&c->out, OUT_MAX);
	c->opened_ms = c->progress_ms = loop_now(home->loop);
	c->session = smtp_session_new(&door->session);
	loop_timer_init(&c->timer, home->loop, smtp_in_timer, c);
	if (c->session && slots_add(&home->smtp_in->conns, c, &c->ref)) {
		if (stream_init(&c->stream, home->loop, fd, smtp_in_ready, c)) {
			generation_hold(door->generation, home);
			return c;
		}
		slots_remove(&home->smtp_in->conns, c->ref);
	}
	smtp_session_free(c->session);
	free(c);
	return NULL;
}

/* Whether it goes before the others, or behind them, in all that it waits for. */
static void take_place(struct conn *c)
{
	struct server *s = c->home->server;
	unsigned char at[NET_BYTES];

	if (!s->gate || !net_address(c->address, at))
		return;
	switch (gate_standing(s->gate, at, clock_wall_ms())) {
	case LIMITER_TRUSTED:
		c->trusted = true;
		stream_rank(&c->stream, LOOP_DEAR_IS_FIRST);
		break;
	case LIMITER_SUSPECT:
		c->failed = true;
		stream_rank(&c->stream, LOOP_DEAR_IS_LAST);
		break;
	case LIMITER_UNKNOWN: break;
	}
}

/* Who it is is known, and has a place: it is greeted, or TLS begins. */
static void welcome(struct conn *c)
{
	struct err e;

	c->counted_address = true;
	c->phase = PHASE_TALK;
	c->progress_ms = loop_now(c->home->loop);
	take_place(c);
	log_event(LOG_CONNECTION, F_STR("client", c->address), F_SOME("via", c->via),
		  F_STR("listener", c->door->name));
	if (!c->door->session.implicit_tls)
		return;
	c->phase = PHASE_HANDSHAKE;
	if (!c->door->tls || !stream_start_server(&c->stream, c->door->tls, &e)) {
		c->phase = PHASE_CLOSING;
		c->peer_gone = true;
	}
}

/* The guard does not let the address in. */
static bool is_banned(const struct server *s, const struct smtp_door *door, struct slice address,
		      struct slice via)
{
	unsigned char at[NET_BYTES];
	struct ban b;

	if (!s->gate || !net_address(address, at) || !gate_holds(s->gate, at, clock_wall_ms(), &b))
		return false;
	metrics_add(M_SENT_AWAY, metrics_word(LABEL_SENT_AWAY, S("banned")), 0, 1);
	log_event(LOG_CONNECTION_REFUSED, F_STR("client", address), F_SOME("via", via),
		  F_STR("listener", door->name), F_CSTR("reason", "banned"),
		  F_CSTR("detail", b.reason));
	return true;
}

/* -- the PROXY header -- */

void smtp_door_proxies(struct smtp_door *d, const struct conf_list *list)
{
	MUST(list->n <= SMTP_DOOR_PROXIES);
	d->n_proxies = list->n;
	for (size_t i = 0; i < list->n; i++)
		MUST(net_parse(list->at[i], &d->proxies[i]));
}

static bool is_listed(const struct smtp_door *d, struct slice address)
{
	unsigned char at[NET_BYTES];

	if (!d->n_proxies || !net_address(address, at))
		return false;
	for (size_t i = 0; i < d->n_proxies; i++)
		if (net_has(&d->proxies[i], at))
			return true;
	return false;
}

static void count_header(const char *word)
{
	metrics_add(M_PROXY, metrics_word(LABEL_PROXY, slice_str(word)), 0, 1);
}

/* The address logged is the balancer's own, which is a fact; what the header said is not told. */
void smtp_in_refuse_proxy(struct conn *c, const char *word, const char *why)
{
	count_header(word);
	metrics_add(M_SENT_AWAY, metrics_word(LABEL_SENT_AWAY, S("proxy_header")), 0, 1);
	log_event(LOG_CONNECTION_REFUSED, F_STR("client", c->address),
		  F_STR("listener", c->door->name), F_CSTR("reason", "proxy_header"),
		  F_CSTR("detail", why));
	c->phase = PHASE_CLOSING;
	c->peer_gone = true;
}

/* From here on the client's address is the connection's. */
static void take_header(struct conn *c, const struct proxy_header *h)
{
	struct server *s = c->home->server;

	switch (h->kind) {
	case PROXY_CLIENT:
		memcpy(c->via_text, c->address_text, sizeof c->via_text);
		c->via = slice_str(c->via_text);
		net_text(h->address, c->address_text);
		c->address = slice_str(c->address_text);
		count_header(h->version == 1 ? "v1" : "v2");
		break;
	case PROXY_LOCAL: count_header("local"); break;
	case PROXY_UNKNOWN: count_header("unknown"); break;
	}
	c->spared = h->kind != PROXY_CLIENT;
	if (is_banned(s, c->door, c->address, c->via)) {
		c->phase = PHASE_CLOSING;
		if (!c->door->session.implicit_tls)
			buf_add(&c->out, BANNED);
		return;
	}
	if (tally_add_client(s->addresses, c->address,
			     c->door->generation->conf->limits.connections_per_address)) {
		welcome(c);
		return;
	}
	metrics_add(M_SENT_AWAY, metrics_word(LABEL_SENT_AWAY, S("connections_per_address")), 0, 1);
	log_event(LOG_CONNECTION_REFUSED, F_STR("client", c->address), F_SOME("via", c->via),
		  F_STR("listener", c->door->name), F_CSTR("reason", "connections_per_address"));
	c->phase = PHASE_CLOSING;
	if (!c->door->session.implicit_tls)
		buf_add(&c->out, TOO_MANY);
}

void smtp_in_read_proxy(struct conn *c)
{
	struct proxy_header h;
	struct slice in;
	struct err e;

	for (;;) {
		in = buf_slice(&c->in);
		switch (proxy_parse(&in, &h, &e)) {
		case PROXY_OK:
			MUST(!in.n);
			buf_clear(&c->in);
			take_header(c, &h);
			return;
		case PROXY_BAD: smtp_in_refuse_proxy(c, "bad", e.text); return;
		case PROXY_MORE: break;
		}
		switch (stream_read(&c->stream, &c->in, proxy_wants(buf_slice(&c->in)))) {
		case STREAM_OK: break;
		case STREAM_AGAIN: return;
		case STREAM_EOF:
		case STREAM_CUT:
		case STREAM_ERROR:
			smtp_in_refuse_proxy(c, "closed", "PROXY header: the connection ended");
			return;
		}
	}
}

/* -- places -- */

/* The stranger who came first gives up the place, so a crowd that only connects keeps nobody out.
 */
static void put_out(struct conn *c)
{
	struct home *home = c->home;
	struct ref ref = c->ref;

	metrics_add(M_SENT_AWAY, metrics_word(LABEL_SENT_AWAY, S("connections_oldest")), 0, 1);
	log_event(LOG_CONNECTION_REFUSED, F_STR("client", c->address),
		  F_STR("listener", c->door->name), F_CSTR("reason", "connections_oldest"));
	if (c->phase == PHASE_TALK && !c->out.n) {
		smtp_session_expire(c->session);
		smtp_in_pump(c);
		c = smtp_in_conn(home, ref);
	}
	if (c)
		smtp_in_finish(c);
}

void smtp_in_put_out(struct loop_task *t)
{
	struct smtp_in_home *h =
	    (struct smtp_in_home *)(void *)((char *)t - offsetof(struct smtp_in_home, put_out));
	struct place *p;

	while ((p = places_called(h->home->server->places, h->home->index)))
		put_out((struct conn *)(void *)((char *)p - offsetof(struct conn, place)));
}

void smtp_in_call(void *server, unsigned home)
{
	struct home *h = &((struct server *)server)->homes[home];

	loop_post(h->loop, &h->smtp_in->put_out);
}

/* -- accepting -- */

void smtp_in_accept(struct home *home, const struct smtp_door *door, int fd, const char *address)
{
	struct server *s = home->server;
	const struct conf *conf = door->generation->conf;
	struct slice key = slice_str(address);
	struct conn *c;
	bool listed = is_listed(door, key), full;

	if (!listed && is_banned(s, door, key, S(""))) {
		say_and_close(door, fd, BANNED);
		return;
	}
	if (atomic_load(&s->memory) > conf->limits.memory + conf->limits.memory / 4) {
		send_away(door, fd, address, NO_MEMORY, "memory");
		return;
	}
	/* A balancer's own address has no such limit: its clients' have. */
	if (!listed && !tally_add_client(s->addresses, key, conf->limits.connections_per_address)) {
		send_away(door, fd, address, TOO_MANY, "connections_per_address");
		return;
	}
	/* Last: nobody gives up a place for one who is sent away. */
	full = home->smtp_in->stopping || !places_take(s->places, conf->limits.connections);
	c = full ? NULL : make(home, door, fd, address);
	if (!c) {
		if (!listed)
			tally_drop_client(s->addresses, key);
		if (full) {
			send_away(door, fd, address, TOO_FULL, "connections");
			return;
		}
		places_return(s->places);
		send_away(door, fd, address, NO_MEMORY, "memory");
		return;
	}
	places_stand(s->places, &c->place, home->index);
	home->smtp_in->open++;
	atomic_fetch_add(&s->connections, 1);
	c->listener = metrics_word(LABEL_LISTENER, door->name);
	metrics_add(M_CONNECTIONS, c->listener, 0, 1);
	metrics_add(M_CONNECTIONS_OPEN, c->listener, 0, 1);
	if (listed)
		c->phase = PHASE_PROXY;
	else
		welcome(c);
	smtp_in_pump(c);
}
