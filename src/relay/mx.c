#include "relay/mx.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void say(struct mx_decision *d, enum mx_verdict verdict, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void say(struct mx_decision *d, enum mx_verdict verdict, int code, const char *fmt, ...)
{
	va_list ap;

	d->verdict = verdict;
	d->code = code;
	va_start(ap, fmt);
	vsnprintf(d->text, sizeof d->text, fmt, ap);
	va_end(ap);
}

static int by_preference(const void *left, const void *right)
{
	const struct mx_host *a = left, *b = right;

	if (a->preference != b->preference)
		return a->preference < b->preference ? -1 : 1;
	return slice_cmp(a->name, b->name);
}

/* Keeps the best ones, sorted, each name once: at its best preference. */
static void keep(struct mx_decision *d, const struct mx_host *h)
{
	size_t at = 0;

	for (size_t i = 0; i < d->n; i++)
		if (slice_eq(d->hosts[i].name, h->name)) {
			if (d->hosts[i].preference <= h->preference)
				return;
			memmove(&d->hosts[i], &d->hosts[i + 1], (--d->n - i) * sizeof *d->hosts);
			break;
		}
	while (at < d->n && by_preference(&d->hosts[at], h) < 0)
		at++;
	if (at == MX_HOSTS)
		return;
	if (d->n == MX_HOSTS)
		d->n--;
	memmove(&d->hosts[at + 1], &d->hosts[at], (d->n++ - at) * sizeof *d->hosts);
	d->hosts[at] = *h;
}

/* RFC 5321 5.1: a relay that is in the list itself sends only to those that are better. */
static bool best_of_ours(const struct mx_facts *f, struct slice own, uint16_t *ret)
{
	bool found = false;

	for (size_t i = 0; i < f->n; i++)
		if (slice_ieq(f->records[i].name, own) &&
		    (!found || f->records[i].preference < *ret)) {
			*ret = f->records[i].preference;
			found = true;
		}
	return found;
}

static void choose(const struct mx_facts *f, struct slice dest, struct slice own,
		   struct mx_decision *d)
{
	uint16_t limit = 0;
	bool ours = best_of_ours(f, own, &limit);
	size_t roots = 0;

	for (size_t i = 0; i < f->n; i++) {
		const struct mx_host *h = &f->records[i];

		roots += !h->name.n;
		if (h->name.n && (!ours || h->preference < limit))
			keep(d, h);
	}
	if (d->n)
		d->verdict = MX_TO_HOSTS;
	else if (ours)
		say(d, MX_FAILED, 550,
		    "5.4.6 mail for %.*s loops: its best mail exchanger is %.*s, "
		    "this server",
		    SLICE_ARG(dest), SLICE_ARG(own));
	else if (f->bad)
		say(d, MX_LATER, 0, "the MX records of %.*s cannot be read", SLICE_ARG(dest));
	else if (roots && !f->odd) /* RFC 7505 3 and 4 */
		say(d, MX_FAILED, 556, "5.1.10 %.*s does not accept mail (null MX)",
		    SLICE_ARG(dest));
	else
		say(d, MX_FAILED, 550, "5.4.4 no mail exchanger of %.*s has the name of a host",
		    SLICE_ARG(dest));
}

static void trouble(const struct mx_facts *f, struct slice dest, struct mx_decision *d)
{
	say(d, MX_LATER, 0, "looking up the mail exchangers of %.*s: %.*s",
	    dest.n < 100 ? (int)dest.n : 100, dest.p, f->why.n < 100 ? (int)f->why.n : 100,
	    f->why.n ? f->why.p : "");
}

static void without_mx(const struct mx_facts *f, struct slice dest, struct slice own,
		       struct mx_decision *d)
{
	struct mx_facts implicit = { .records = &(struct mx_host){ dest, 0 }, .n = 1 };

	switch (f->address) {
	case MX_GOT_NOT_ASKED: d->verdict = MX_ASK_ADDRESSES; break;
	case MX_GOT_RECORDS: choose(&implicit, dest, own, d); break;
	case MX_GOT_TROUBLE: trouble(f, dest, d); break;
	case MX_GOT_NONE:
	case MX_GOT_NO_NAME:
		say(d, MX_FAILED, 550, "5.4.4 %.*s has neither mail exchangers nor an address",
		    SLICE_ARG(dest));
		break;
	}
}

void mx_decide(const struct mx_facts *f, struct slice dest, struct slice own, struct mx_decision *d)
{
	d->n = 0;
	d->code = 0;
	d->text[0] = '\0';
	switch (f->mx) {
	case MX_GOT_RECORDS: choose(f, dest, own, d); break;
	case MX_GOT_NONE: without_mx(f, dest, own, d); break;
	case MX_GOT_NO_NAME:
		say(d, MX_FAILED, 550, "5.1.2 there is no domain %.*s", SLICE_ARG(dest));
		break;
	case MX_GOT_TROUBLE:
	case MX_GOT_NOT_ASKED: trouble(f, dest, d); break;
	}
}

/* SplitMix64: the next number of a sequence that looks random. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void mx_shuffle(const struct mx_host *sorted, size_t n, uint64_t random, uint8_t ret[MX_HOSTS])
{
	size_t from = 0;

	for (size_t i = 0; i < n; i++)
		ret[i] = (uint8_t)i;
	while (from < n) {
		size_t to = from + 1;

		while (to < n && sorted[to].preference == sorted[from].preference)
			to++;
		/* Fisher and Yates; of 64 bits, the bias to a number up to 20 is nothing. */
		for (size_t i = to - 1; i > from; i--) {
			size_t k = from + (size_t)(next_random(&random) % (i - from + 1));
			uint8_t was = ret[i];

			ret[i] = ret[k];
			ret[k] = was;
		}
		from = to;
	}
}
