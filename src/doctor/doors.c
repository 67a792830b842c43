/* doctor/doors.c -- what clients meet: certificates and listeners; and that strangers get nowhere.
 */
#include "doctor/doctor_impl.h"

#include "base/b64.h"
#include "base/buf.h"
#include "loop/tls_look.h"
#include "ops/clock.h"

#include <stdio.h>

#define ANSWER_MS 5000
#define DAYS_WARN 14
#define DAYS_FAIL 3

/* -- certificates -- */

static void judge(struct doctor *d, struct slice path, const struct tls_look *l)
{
	const char *renew = "renew it, then: signet reload";

	if (!l->key_matches)
		tell(d, LEVEL_FAIL, "certificate", "name its own key",
		     "%.*s: the key is another certificate's", SLICE_ARG(path));
	if (l->days_left < 0)
		tell(d, LEVEL_FAIL, "certificate", renew, "%.*s: expired %d days ago",
		     SLICE_ARG(path), -l->days_left);
	else if (!l->begun)
		tell(d, LEVEL_FAIL, "certificate", "look at the clock", "%.*s: not valid yet",
		     SLICE_ARG(path));
	else
		tell(d,
		     l->days_left < DAYS_FAIL   ? LEVEL_FAIL
		     : l->days_left < DAYS_WARN ? LEVEL_WARN
						: LEVEL_OK,
		     "certificate", l->days_left < DAYS_WARN ? renew : NULL,
		     "%.*s: %d days left, %u in the file", SLICE_ARG(path), l->days_left, l->n);
	if (!l->in_order)
		tell(d, LEVEL_FAIL, "certificate",
		     "put each one before its issuer's, our own first",
		     "%.*s: the chain is out of order", SLICE_ARG(path));
	if (l->self_signed)
		tell(d, LEVEL_WARN, "certificate", "get one from an authority",
		     "%.*s: self-signed: clients that verify refuse it", SLICE_ARG(path));
	else if (!l->trusted && l->days_left >= 0 && l->begun)
		tell(d, LEVEL_WARN, "certificate",
		     "put the intermediate certificates into the file, behind our own",
		     "%.*s: no authority that this system knows: %s", SLICE_ARG(path), l->why);
}

void check_certificates(struct doctor *d)
{
	const struct conf *c = d->conf;
	bool named = false;

	for (size_t i = 0; i < c->tls.certificate.n && i < c->tls.key.n; i++) {
		struct tls_look l;
		struct err e = { 0 };

		if (tls_look(c->tls.certificate.at[i], c->tls.key.at[i], c->hostname,
			     clock_wall_ms() / 1000, &l, &e)) {
			judge(d, c->tls.certificate.at[i], &l);
			named |= l.names_host;
		} else {
			tell(d, LEVEL_FAIL, "certificate", NULL, "%s", e.text);
		}
	}
	if (!named)
		tell(d, LEVEL_FAIL, "certificate", "get one for that name, or change hostname",
		     "none bears our name, %.*s", SLICE_ARG(c->hostname));
}

/* -- listeners -- */

static bool implicit(const struct conf_listener *l)
{
	return slice_eq(l->tls, S("implicit"));
}

/* To the point where TLS is up and EHLO was said; NULL has been told. */
static struct talk *come_in(struct doctor *d, const struct conf_listener *l, struct slice address,
			    const char *what, bool *ret_auth_in_the_clear)
{
	struct err e = { 0 };
	struct talk *t = talk_open(address, ANSWER_MS, &e);
	const char *name = address.p;

	*ret_auth_in_the_clear = false;
	if (!t) {
		tell(d, LEVEL_FAIL, what, "look at the log, and at firewalls on this machine",
		     "%s: %s", name, e.text);
		return NULL;
	}
	if (implicit(l) && !talk_tls(t, d->conf->hostname, S(""), &e)) {
		tell(d, LEVEL_FAIL, what, NULL, "%s: no TLS: %s", name, e.text);
	} else if (talk_reply(t) != 220) {
		tell(d, LEVEL_FAIL, what, "find out who listens there", "%s: greets with: %s", name,
		     talk_text(t));
	} else if (talk_say(t, "EHLO doctor.invalid") != 250) {
		tell(d, LEVEL_FAIL, what, NULL, "%s: EHLO: %s", name, talk_text(t));
	} else if (implicit(l)) {
		return t;
	} else {
		*ret_auth_in_the_clear = talk_offers(t, "AUTH");
		if (!talk_offers(t, "STARTTLS"))
			tell(d, LEVEL_FAIL, what, "look at the certificates", "%s: no STARTTLS",
			     name);
		else if (talk_say(t, "STARTTLS") != 220)
			tell(d, LEVEL_FAIL, what, NULL, "%s: STARTTLS: %s", name, talk_text(t));
		else if (!talk_tls(t, d->conf->hostname, S(""), &e))
			tell(d, LEVEL_FAIL, what, NULL, "%s: STARTTLS: %s", name, e.text);
		else if (talk_say(t, "EHLO doctor.invalid") != 250)
			tell(d, LEVEL_FAIL, what, NULL, "%s: EHLO: %s", name, talk_text(t));
		else
			return t;
	}
	talk_close(t);
	return NULL;
}

/* Nobody of ours is there: is somebody else? */
static void look_for_others(struct doctor *d, struct slice address)
{
	struct err e = { 0 };
	struct talk *t = talk_open(address, ANSWER_MS, &e);

	if (t)
		tell(d, LEVEL_FAIL, "listener", "stop it, or listen elsewhere",
		     "%s: another program answers there", address.p);
	else
		tell(d, LEVEL_SKIP, "listener", NULL, "%s: nobody answers; our server does not run",
		     address.p);
	talk_close(t);
}

static void look_at(struct doctor *d, const struct conf_listener *l, struct slice address)
{
	bool clear;
	struct talk *t = come_in(d, l, address, "listener", &clear);
	struct err e = { 0 };
	struct talk *again;

	if (!t)
		return;
	if (!talk_offers(t, "AUTH"))
		tell(d, LEVEL_FAIL, "listener", NULL, "%s: AUTH is not offered inside TLS",
		     address.p);
	else
		tell(d, LEVEL_OK, "listener", NULL, "%s: answers, %s, AUTH inside it", address.p,
		     implicit(l) ? "TLS from the first byte" : "STARTTLS");
	(void)talk_say(t, "QUIT");
	talk_close(t);
	/* The greeting names us. */
	again = implicit(l) ? NULL : talk_open(address, ANSWER_MS, &e);
	if (again && talk_reply(again) == 220) {
		struct slice text = slice_from(slice_str(talk_text(again)), 4);

		if (!slice_istarts(text, d->conf->hostname))
			tell(d, LEVEL_WARN, "listener", "find out who listens there",
			     "%s: the greeting does not name %.*s: %s", address.p,
			     SLICE_ARG(d->conf->hostname), talk_text(again));
		(void)talk_say(again, "QUIT");
	}
	talk_close(again);
}

typedef void each_fn(struct doctor *, const struct conf_listener *, struct slice address);

static void each_address(struct doctor *d, const char *what, each_fn *fn)
{
	for (size_t i = 0; i < d->conf->n_listeners; i++) {
		const struct conf_listener *l = &d->conf->listeners[i];

		for (size_t k = 0; k < l->address.n; k++)
			if (l->proxy.n)
				tell(d, LEVEL_SKIP, what, NULL,
				     "%s: it waits for a PROXY header from certain peers",
				     l->address.at[k].p);
			else
				fn(d, l, l->address.at[k]);
	}
}

static void look_at_one(struct doctor *d, const struct conf_listener *l, struct slice address)
{
	if (d->running)
		look_at(d, l, address);
	else
		look_for_others(d, address);
}

void check_listeners(struct doctor *d)
{
	each_address(d, "listener", look_at_one);
}

/* -- open relay -- */

/* 0: refused. No DATA is ever said, so nothing can be sent. */
static int try_mail(struct talk *t)
{
	int code = talk_say(t, "MAIL FROM:<doctor@doctor.invalid>");

	if (code / 100 == 2)
		code = talk_say(t, "RCPT TO:<stranger@doctor.invalid>");
	if (code / 100 != 2)
		return 0;
	(void)talk_say(t, "RSET");
	return code;
}

static int wrong_login(struct talk *t)
{
	struct buf b;
	int code;

	buf_init(&b, 256);
	b64_encode(&b, S("\0apikey\0SG.signet-doctor.is-not-a-key"));
	buf_addc(&b, '\0');
	code = b.failed ? -1 : talk_say(t, "AUTH PLAIN %s", b.p);
	buf_done(&b);
	return code;
}

static void try_one(struct doctor *d, const struct conf_listener *l, struct slice address)
{
	const char *stop = "stop the server, and tell its makers";
	bool clear, worse = false;
	struct talk *t = come_in(d, l, address, "relay", &clear);

	if (!t)
		return;
	if (clear) {
		tell(d, LEVEL_FAIL, "relay", stop, "%s: AUTH is offered before TLS", address.p);
		worse = true;
	}
	if (try_mail(t)) {
		tell(d, LEVEL_FAIL, "relay", stop,
		     "%s: takes a stranger's mail for a stranger without a login: %s", address.p,
		     talk_text(t));
		worse = true;
	}
	if (wrong_login(t) / 100 == 2) {
		tell(d, LEVEL_FAIL, "relay", stop, "%s: a made-up key logs in", address.p);
		worse = true;
	}
	if (!worse)
		tell(d, LEVEL_OK, "relay", NULL, "%s: refuses strangers, and a made-up key: %s",
		     address.p, talk_text(t));
	(void)talk_say(t, "QUIT");
	talk_close(t);
}

void check_relay(struct doctor *d)
{
	if (d->running)
		each_address(d, "relay", try_one);
	else
		tell(d, LEVEL_SKIP, "relay", NULL, "the server does not run");
}
