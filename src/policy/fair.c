#include "policy/fair.h"

#include <string.h>

static void append(struct fair_list *l, struct fair_item *i, enum fair_state state)
{
	i->state = state;
	i->next = NULL;
	i->before = l->last;
	*(l->last ? &l->last->next : &l->first) = i;
	l->last = i;
	l->n++;
}

static void take_out(struct fair_list *l, struct fair_item *i)
{
	*(i->before ? &i->before->next : &l->first) = i->next;
	*(i->next ? &i->next->before : &l->last) = i->before;
	i->before = i->next = NULL;
	i->state = FAIR_OUT;
	l->n--;
}

static bool same_source(const struct fair_item *a, const struct fair_item *b)
{
	return !memcmp(a->source, b->source, sizeof a->source);
}

/* The round behind the last one of its source. */
static uint64_t round_of(const struct fair *f, const struct fair_item *i)
{
	const struct fair_list *const lists[] = { &f->waits, &f->under_way };
	uint64_t round = f->round[i->rank];

	for (size_t k = 0; k < 2; k++)
		for (const struct fair_item *o = lists[k]->first; o; o = o->next)
			if (o->rank == i->rank && same_source(o, i) && o->round >= round)
				round = o->round + 1;
	return round;
}

static bool sooner(const struct fair_item *a, const struct fair_item *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->round < b->round;
}

void fair_add(struct fair *f, struct fair_item *i, struct fair_item **ret_evicted)
{
	struct fair_item *last = i, *its_last = i;
	size_t of_source = 0;

	i->round = round_of(f, i);
	append(&f->waits, i, FAIR_WAITS);
	*ret_evicted = NULL;
	for (struct fair_item *o = f->waits.first; o; o = o->next) {
		if (!sooner(o, last))
			last = o;
		if (!same_source(o, i))
			continue;
		of_source++;
		if (!sooner(o, its_last))
			its_last = o;
	}
	if (of_source > f->waiting_per_source)
		last = its_last;
	else if (f->waits.n <= f->waiting)
		return;
	take_out(&f->waits, last);
	*ret_evicted = last;
}

static bool may_begin(const struct fair *f, const struct fair_item *i)
{
	size_t of_source = 0, of_target = 0;

	for (const struct fair_item *o = f->under_way.first; o; o = o->next) {
		of_source += same_source(o, i);
		of_target += o->target == i->target;
	}
	return of_source < f->per_source && of_target < i->target_max;
}

struct fair_item *fair_next(struct fair *f)
{
	bool oldest = f->begun % FAIR_OLDEST == FAIR_OLDEST - 1;
	struct fair_item *best = NULL;

	if (f->under_way.n >= f->at_once)
		return NULL;
	for (struct fair_item *i = f->waits.first; i && !(oldest && best); i = i->next)
		if ((!best || sooner(i, best)) && may_begin(f, i))
			best = i;
	if (!best)
		return NULL;
	take_out(&f->waits, best);
	append(&f->under_way, best, FAIR_UNDER_WAY);
	f->begun++;
	if (!oldest && best->round > f->round[best->rank])
		f->round[best->rank] = best->round;
	return best;
}

void fair_leave(struct fair *f, struct fair_item *i)
{
	if (i->state != FAIR_OUT)
		take_out(i->state == FAIR_WAITS ? &f->waits : &f->under_way, i);
}
