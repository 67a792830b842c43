/* serve/listeners.c -- which addresses are open. What stays open is never touched: nobody who is
 * about to connect there may notice a reload. */
#include "loop/listener.h"
#include "ops/log.h"
#include "serve/http_in.h"
#include "serve/running.h"

#include <stdio.h>
#include <stdlib.h>

static void accepted(void *arg, int fd, const char *peer)
{
	struct opened *o = arg;

	if (o->door)
		smtp_in_accept(o->home, o->door, fd, peer);
	else
		http_in_accept(o->home, o->http, fd);
}

static struct opened *open_one(struct home *home, struct slice address, enum http_door http,
			       struct err *e)
{
	struct opened *o = calloc(1, sizeof *o);

	if (!o) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	o->home = home;
	o->http = http;
	o->listener = listener_open(address, e);
	if (o->listener)
		return o;
	free(o);
	return NULL;
}

/* The control socket is none of the configuration's that could change. */
static bool is_control(const struct opened *o)
{
	return !o->door && o->http == HTTP_CONTROL;
}

static struct opened *open_at(const struct running *r, const struct home *home,
			      struct slice address)
{
	for (struct opened *o = r->opened; o; o = o->next)
		if (o->home == home && listener_is_at(o->listener, address))
			return o;
	return NULL;
}

/* door NULL: the metrics port. */
static bool plan_one(const struct running *r, struct home *home, struct slice address,
		     const struct smtp_door *door, struct listener_plan *p, struct err *e)
{
	struct opened *o = open_at(r, home, address);
	enum listener_fate fate = o ? LISTENER_STAYS : LISTENER_OPENS;

	if (!o) {
		o = open_one(home, address, HTTP_METRICS, e);
		if (!o)
			return false;
		p->opening += home->index == 0;
	}
	p->at[p->n++] = (struct listener_change){ o, fate, door };
	return true;
}

static bool planned(const struct listener_plan *p, const struct opened *o)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->at[i].opened == o)
			return true;
	return false;
}

static bool plan(const struct running *r, const struct generation *g, struct listener_plan *p,
		 struct err *e)
{
	const struct conf *c = g->conf;
	struct home *homes = r->server.homes;

	for (size_t i = 0; i < c->n_listeners; i++)
		for (size_t a = 0; a < c->listeners[i].address.n; a++)
			for (unsigned h = 0; h < r->server.n_homes; h++)
				if (!plan_one(r, &homes[h], c->listeners[i].address.at[a],
					      &g->doors[i], p, e))
					return err_in(e, "listener");
	for (size_t i = 0; i < c->metrics.address.n; i++)
		if (!plan_one(r, &homes[0], c->metrics.address.at[i], NULL, p, e))
			return err_in(e, "metrics");
	for (struct opened *o = r->opened; o; o = o->next)
		if (!is_control(o) && !planned(p, o)) {
			p->closing += o->home->index == 0;
			p->at[p->n++] = (struct listener_change){ o, LISTENER_CLOSES, NULL };
		}
	return true;
}

bool listeners_plan(const struct running *r, const struct generation *g, struct listener_plan *ret,
		    struct err *e)
{
	size_t n = 1 + g->conf->metrics.address.n;

	for (size_t i = 0; i < g->conf->n_listeners; i++)
		n += g->conf->listeners[i].address.n * r->server.n_homes;
	for (struct opened *o = r->opened; o; o = o->next)
		n++;
	*ret = (struct listener_plan){ .at = calloc(n, sizeof *ret->at) };
	if (!ret->at)
		return err_set(e, ERR_LATER, "out of memory");
	if (plan(r, g, ret, e))
		return true;
	listeners_give_up(ret);
	return false;
}

static void end_plan(struct listener_plan *p)
{
	free(p->at);
	*p = (struct listener_plan){ 0 };
}

void listeners_give_up(struct listener_plan *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->at[i].fate == LISTENER_OPENS) {
			listener_close(p->at[i].opened->listener);
			free(p->at[i].opened);
		}
	end_plan(p);
}

void listeners_join(struct running *r, const struct listener_plan *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->at[i].fate == LISTENER_OPENS) {
			p->at[i].opened->door = p->at[i].door;
			p->at[i].opened->next = r->opened;
			r->opened = p->at[i].opened;
		}
}

void listeners_leave(struct running *r, struct listener_plan *p)
{
	struct opened **at = &r->opened;

	while (*at) {
		struct opened *o = *at;

		if (o->listener) {
			at = &o->next;
			continue;
		}
		*at = o->next;
		free(o);
	}
	end_plan(p);
}

static void say(enum log_name event, const struct opened *o)
{
	/* Once for all loops. */
	if (o->home->index != 0)
		return;
	log_event(event, F_STR("listener", o->door ? o->door->name : S("metrics")),
		  F_U64("port", listener_port(o->listener)),
		  F_CSTR("tls", !o->door                        ? "none"
				: o->door->session.implicit_tls ? "implicit"
								: "starttls"));
}

static void change(const struct listener_change *c)
{
	struct opened *o = c->opened;

	switch (c->fate) {
	case LISTENER_OPENS:
		listener_start(o->listener, o->home->loop, accepted, o);
		say(LOG_LISTENING, o);
		return;
	case LISTENER_STAYS: o->door = c->door; return;
	case LISTENER_CLOSES:
		listener_drain(o->listener);
		say(LOG_LISTENER_CLOSED, o);
		listener_close(o->listener);
		o->listener = NULL;
		return;
	}
}

void listeners_change(const struct listener_plan *p, struct home *home)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->at[i].opened->home == home)
			change(&p->at[i]);
}

bool listeners_open_control(struct running *r, struct err *e)
{
	char address[128];
	struct opened *o;

	snprintf(address, sizeof address, "unix:%.*s", SLICE_ARG(r->server.boot->control_socket));
	o = open_one(&r->server.homes[0], slice_str(address), HTTP_CONTROL, e);
	if (!o)
		return err_in(e, "control_socket");
	o->next = r->opened;
	r->opened = o;
	return true;
}

void listeners_start_control(struct running *r)
{
	for (struct opened *o = r->opened; o; o = o->next)
		if (is_control(o))
			listener_start(o->listener, o->home->loop, accepted, o);
}
