/* serve/smtp_in_place.c -- whose place is given up when all are taken.
 *
 * The places (limits.connections) are of the whole server, and which loop a newcomer comes to is
 * the kernel's choice. So the stranger who has had most time to log in is looked for in all loops;
 * one of another loop is asked of that loop, and the newcomer does not wait for it: until it has
 * gone there is one connection more. */
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/smtp_in_impl.h"

static void tell(struct smtp_in_home *h)
{
	atomic_store(&h->oldest_ms, h->oldest ? h->oldest->opened_ms : UINT64_MAX);
}

void smtp_in_stranger(struct conn *c)
{
	struct smtp_in_home *h = c->home->smtp_in;

	c->stranger = true;
	c->older = h->newest;
	*(h->newest ? &h->newest->newer : &h->oldest) = c;
	h->newest = c;
	atomic_fetch_add(&h->strangers, 1);
	tell(h);
}

void smtp_in_known(struct conn *c)
{
	struct smtp_in_home *h = c->home->smtp_in;

	if (!c->stranger)
		return;
	c->stranger = false;
	*(c->older ? &c->older->newer : &h->oldest) = c->newer;
	*(c->newer ? &c->newer->older : &h->newest) = c->older;
	c->older = c->newer = NULL;
	atomic_fetch_sub(&h->strangers, 1);
	tell(h);
}

static void put_out(struct conn *c)
{
	struct smtp_in_home *h = c->home->smtp_in;
	struct ref ref = c->ref;

	metrics_add(M_SENT_AWAY, metrics_word(LABEL_SENT_AWAY, S("connections_oldest")), 0, 1);
	log_event(LOG_CONNECTION_REFUSED, F_STR("client", c->address),
		  F_STR("listener", c->door->name), F_CSTR("reason", "connections_oldest"));
	if (c->phase == PHASE_TALK && !c->out.n) {
		smtp_session_expire(c->session);
		smtp_in_pump(c);
		c = smtp_in_conn(h->home, ref);
	}
	if (c)
		smtp_in_finish(c);
}

/* What other loops have asked for. Who has logged in meanwhile stays. */
static void give_up(struct loop_task *t)
{
	struct smtp_in_home *h =
	    (struct smtp_in_home *)((char *)t - offsetof(struct smtp_in_home, give_up));
	uint64_t n = atomic_exchange(&h->owes, 0);

	for (uint64_t i = 0; i < n && h->oldest; i++)
		put_out(h->oldest);
	atomic_fetch_sub(&h->home->server->leaving, n);
}

void smtp_in_places_init(struct smtp_in_home *h)
{
	h->give_up.run = give_up;
	tell(h);
}

bool smtp_in_full(const struct server *s, uint64_t limit)
{
	return atomic_load(&s->connections) >= limit + atomic_load(&s->leaving);
}

bool smtp_in_make_room(struct home *home)
{
	struct server *s = home->server;
	struct smtp_in_home *of = NULL;
	uint64_t oldest = UINT64_MAX;

	for (unsigned i = 0; i < s->n_homes; i++) {
		struct smtp_in_home *h = s->homes[i].smtp_in;
		uint64_t ms = atomic_load(&h->oldest_ms);

		if (ms < oldest && atomic_load(&h->strangers) > atomic_load(&h->owes)) {
			of = h;
			oldest = ms;
		}
	}
	if (!of)
		return false;
	if (of == home->smtp_in) {
		put_out(of->oldest);
		return true;
	}
	atomic_fetch_add(&s->leaving, 1);
	if (!atomic_fetch_add(&of->owes, 1))
		loop_post(of->home->loop, &of->give_up);
	return true;
}
