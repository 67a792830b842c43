#include "serve/dial.h"

#include "base/net.h"
#include "dns/rdata.h"
#include "loop/stream.h"
#include "ops/clock.h"
#include "serve/generation.h"
#include "serve/guard.h"
#include "serve/server.h"

#include <netdb.h>
#include <stdio.h>
#include <unistd.h>

/* RFC 8305 8: between the beginnings of two attempts, and between the answers for two families. */
#define STAGGER_MS 250
#define FAMILY_MAX (DIAL_ADDRESSES / 2)

static uint64_t connect_ms(const struct dial *d)
{
	return d->home->now->conf->delivery.connect;
}

static void tidy(struct dial *d)
{
	for (size_t i = 0; i < DIAL_ADDRESSES; i++) {
		struct dial_attempt *a = &d->attempts[i];

		if (!a->open)
			continue;
		loop_io_done(&a->io);
		close(a->io.fd);
		a->open = false;
	}
	d->n_open = 0;
	dns_cancel(&d->a);
	dns_cancel(&d->aaaa);
	loop_timer_cancel(&d->timer);
	d->running = false;
}

static void finish(struct dial *d, enum dial_end end)
{
	tidy(d);
	d->end = end;
	d->done(d);
}

/* -- connecting -- */

static void name_remote(struct dial *d, size_t i)
{
	const char *text = d->addresses[i].text;
	bool v6 = strchr(text, ':');
	char where[80];

	snprintf(where, sizeof where, v6 ? "[%s]:%u" : "%s:%u", text, d->route->port);
	/* A mail exchanger's name is a host's: it holds nothing but letters, digits and dots. */
	if (d->exchanger && !slice_starts(d->host, S("[")))
		snprintf(d->remote, sizeof d->remote, "%.*s (%s)", SLICE_ARG(d->host), where);
	else
		snprintf(d->remote, sizeof d->remote, "%s", where);
}

static void drop(struct dial *d, struct dial_attempt *a)
{
	loop_io_done(&a->io);
	close(a->io.fd);
	a->open = false;
	d->n_open--;
}

static void go_on(struct dial *d);

static void on_ready(void *arg)
{
	struct dial_attempt *a = arg;
	struct dial *d = a->dial;

	name_remote(d, a->address);
	if (!stream_connected(a->io.fd, &d->why)) {
		drop(d, a);
		loop_timer_cancel(&d->timer);
		go_on(d);
		return;
	}
	loop_io_done(&a->io);
	a->open = false;
	d->fd = a->io.fd;
	finish(d, DIAL_CONNECTED);
}

/* The next address. False: nothing came of it at once. */
static bool begin(struct dial *d)
{
	struct dial_attempt *a = &d->attempts[d->next];
	int fd = stream_dial(slice_str(d->addresses[d->next].text), d->route->port, &d->why);

	a->dial = d;
	a->address = d->next++;
	a->began_ms = clock_mono_ms();
	if (fd < 0) {
		name_remote(d, a->address);
		return false;
	}
	if (!loop_io_init(&a->io, d->home->loop, fd, on_ready, a)) {
		close(fd);
		err_set(&d->why, ERR_LATER, "connect: out of memory");
		return false;
	}
	a->open = true;
	d->n_open++;
	loop_io_want(&a->io, false, true);
	return true;
}

/* How long until the oldest attempt has taken too long. Those that have are dropped. */
static uint64_t patience(struct dial *d)
{
	uint64_t now = clock_mono_ms(), least = connect_ms(d);

	for (size_t i = 0; i < d->next; i++) {
		struct dial_attempt *a = &d->attempts[i];
		uint64_t age = now - a->began_ms;

		if (!a->open)
			continue;
		if (age >= connect_ms(d)) {
			name_remote(d, a->address);
			drop(d, a);
			err_set(&d->why, ERR_LATER, "connect: timed out");
		} else if (connect_ms(d) - age < least) {
			least = connect_ms(d) - age;
		}
	}
	return least;
}

/* One more attempt, or the end; then a look at the clock. */
static void go_on(struct dial *d)
{
	bool more = true;
	uint64_t wait;

	while (d->next < d->n_addresses && !begin(d))
		;
	more = d->next < d->n_addresses || d->asked;
	if (!d->n_open && !more) {
		finish(d, DIAL_FAILED);
		return;
	}
	wait = patience(d);
	if (!d->n_open && !more) {
		finish(d, DIAL_FAILED);
		return;
	}
	loop_timer_set(&d->timer, more && d->n_open && wait > STAGGER_MS ? STAGGER_MS : wait);
}

static void on_timer(void *arg)
{
	go_on(arg);
}

/* -- a mail exchanger: our own resolver -- */

static void add_address(struct dial *d, const unsigned char address[16])
{
	struct dial_address *to = &d->addresses[d->n_addresses];
	char reason[64];

	if (d->n_addresses == DIAL_ADDRESSES)
		return;
	net_text(address, to->text);
	if (guard_lets(d->home->server, d->route, address, reason, sizeof reason)) {
		d->n_addresses++;
		return;
	}
	d->guarded = true;
	err_set(&d->why, ERR_DENIED, "%s is %s: not connected to unless the route's allow names it",
		to->text, reason);
}

/* The families take turns, beginning with this one's next address: what has not been tried yet is
 * merged anew. */
static void add_records(struct dial *d, const struct dns_answer *answer, bool six)
{
	struct dial_address old[DIAL_ADDRESSES];
	size_t n_old = d->n_addresses - d->next, n_new, from = d->next, i = 0, k = 0, n = 0;

	memcpy(old, d->addresses + from, n_old * sizeof *old);
	d->n_addresses = from;
	for (size_t r = 0; r < answer->n && n < FAMILY_MAX; r++) {
		unsigned char address[16];
		size_t had = d->n_addresses;

		if (six ? dns_aaaa_read(answer->records[r], address)
			: dns_a_read(answer->records[r], address)) {
			add_address(d, address);
		} else {
			d->trouble = true;
			err_set(&d->why, ERR_LATER, "an address of %.*s cannot be read",
				SLICE_ARG(d->host));
		}
		n += d->n_addresses - had;
	}
	n_new = d->n_addresses - from;
	if (n_old && n_new) {
		struct dial_address mine[DIAL_ADDRESSES];

		memcpy(mine, d->addresses + from, n_new * sizeof *mine);
		for (n = from; n < DIAL_ADDRESSES && (i < n_new || k < n_old);) {
			bool new_turn = i < n_new && (k >= n_old || (six ? i <= k : i < k));

			d->addresses[n++] = new_turn ? mine[i++] : old[k++];
		}
		d->n_addresses = n;
	} else if (n_old) {
		memcpy(d->addresses + from, old, n_old * sizeof *old);
		d->n_addresses = from + n_old;
	}
}

static void no_address(struct dial *d)
{
	if (!d->guarded && !d->trouble)
		err_set(&d->why, ERR_ABSENT, "%.*s has no address", SLICE_ARG(d->host));
	finish(d, d->guarded || d->trouble ? DIAL_FAILED : DIAL_NO_ADDRESS);
}

static void answered(struct dial *d, const struct dns_answer *answer, bool six)
{
	d->asked--;
	if (answer->state == DNS_TROUBLE) {
		d->trouble = true;
		err_set(&d->why, ERR_LATER, "looking up %.*s: %.*s",
			d->host.n < 100 ? (int)d->host.n : 100, d->host.p,
			answer->why.n < 100 ? (int)answer->why.n : 100, answer->why.p);
	}
	add_records(d, answer, six);
	/* Attempts are under way: the next one's time comes by the clock (RFC 8305 5), not by news.
	 */
	if (d->n_open)
		return;
	/* The other family's answer is waited for, but not for long. */
	if (d->asked && d->n_addresses)
		loop_timer_set(&d->timer, STAGGER_MS);
	else if (!d->asked && d->n_addresses)
		go_on(d);
	else if (!d->asked)
		no_address(d);
}

static void on_a(struct dns_query *q, const struct dns_answer *answer)
{
	answered((struct dial *)(void *)((char *)q - offsetof(struct dial, a)), answer, false);
}

static void on_aaaa(struct dns_query *q, const struct dns_answer *answer)
{
	answered((struct dial *)(void *)((char *)q - offsetof(struct dial, aaaa)), answer, true);
}

static bool ask(struct dial *d)
{
	struct dns *dns = d->home->server->dns;

	d->a.done = on_a;
	d->aaaa.done = on_aaaa;
	if (!dns_ask(dns, &d->aaaa, d->host, DNS_AAAA))
		return false;
	if (!dns_ask(dns, &d->a, d->host, DNS_A)) {
		dns_cancel(&d->aaaa);
		return false;
	}
	d->asked = 2;
	return true;
}

/* RFC 5321 4.1.3 */
static bool literal(struct slice host, unsigned char ret[16])
{
	struct slice text;
	bool six;

	if (host.n < 3)
		return false;
	text = slice(host.p + 1, host.n - 2);
	six = slice_istarts(text, S("IPv6:"));
	return net_address(six ? slice_from(text, 5) : text, ret);
}

/* -- a smart host: the system -- */

static void lookup_run(struct job *job, void *ctx)
{
	struct dial *d = (struct dial *)(void *)((char *)job - offsetof(struct dial, job));
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG },
			*list = NULL;
	char host[256];
	int rc;

	(void)ctx;
	/* At the end every lookup that waits is still run: a resolver that hangs would hold it up.
	 */
	if (atomic_load(&d->home->server->stopping)) {
		err_set(&d->why, ERR_LATER, "the server stops");
		return;
	}
	snprintf(host, sizeof host, "%.*s", SLICE_ARG(d->host));
	rc = getaddrinfo(host, NULL, &hints, &list);
	if (rc) {
		/* Loopback addresses do not count as configured ones; a literal needs no guard. */
		hints.ai_flags = 0;
		rc = getaddrinfo(host, NULL, &hints, &list);
	}
	if (rc)
		err_set(&d->why, ERR_LATER, "%s: %s", host, gai_strerror(rc));
	for (struct addrinfo *a = rc ? NULL : list; a && d->n_addresses < DIAL_ADDRESSES;
	     a = a->ai_next)
		if (!getnameinfo(a->ai_addr, a->ai_addrlen, d->addresses[d->n_addresses].text,
				 sizeof d->addresses[0].text, NULL, 0, NI_NUMERICHOST))
			d->n_addresses++;
	if (!rc)
		freeaddrinfo(list);
}

static void lookup_done(struct job *job)
{
	struct dial *d = (struct dial *)(void *)((char *)job - offsetof(struct dial, job));

	d->job_out = false;
	if (d->running && d->n_addresses)
		go_on(d);
	else
		finish(d, DIAL_FAILED);
}

/* -- all of it -- */

/* What is known without asking anybody; done() comes from the loop all the same. */
static void on_literal(void *arg)
{
	struct dial *d = arg;

	d->timer.fire = on_timer;
	if (d->n_addresses)
		go_on(d);
	else
		no_address(d);
}

static bool start_exchanger(struct dial *d)
{
	unsigned char address[16];

	if (!slice_starts(d->host, S("[")))
		return ask(d);
	if (literal(d->host, address))
		add_address(d, address);
	d->timer.fire = on_literal;
	loop_timer_set(&d->timer, 0);
	return true;
}

bool dial_start(struct dial *d, struct home *home, const struct route *route, struct slice host,
		bool exchanger)
{
	void (*done)(struct dial *) = d->done;

	*d = (struct dial){ .done = done,
			    .home = home,
			    .route = route,
			    .host = host,
			    .exchanger = exchanger,
			    .fd = -1 };
	snprintf(d->remote, sizeof d->remote, "%.*s:%u", SLICE_ARG(host), route->port);
	loop_timer_init(&d->timer, home->loop, on_timer, d);
	if (exchanger) {
		d->running = start_exchanger(d);
		return d->running;
	}
	d->job = (struct job){ .run = lookup_run, .done = lookup_done, .home = home->loop };
	d->running = d->job_out = lane_post(home->server->names, &d->job);
	return d->running;
}

bool dial_stop(struct dial *d)
{
	if (d->running)
		tidy(d);
	return !d->job_out;
}
