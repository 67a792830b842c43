/* serve/places.c -- see places.h. */
#include "serve/places.h"

#include "base/must.h"
#include "ops/conf.h"

#include <pthread.h>
#include <stdlib.h>

_Static_assert(CONF_THREADS_MAX <= 64, "a bit for each home");

struct place_queue {
	struct place *first, *last;
};

struct places {
	pthread_mutex_t lock;
	uint64_t taken; /* those who were called have given theirs up */
	struct place_queue strangers;
	struct place_queue called[CONF_THREADS_MAX];
	uint64_t awake; /* a bit for each home that was woken, and has not looked yet */
	unsigned homes;
	void (*wake)(void *arg, unsigned home);
	void *arg;
};

struct places *places_new(unsigned homes, void (*wake)(void *arg, unsigned home), void *arg)
{
	struct places *p = calloc(1, sizeof *p);

	MUST(homes > 0 && homes <= CONF_THREADS_MAX);
	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	p->homes = homes;
	p->wake = wake;
	p->arg = arg;
	return p;
}

void places_free(struct places *p)
{
	if (!p)
		return;
	MUST(!p->taken && !p->strangers.first);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void append(struct place_queue *q, struct place *c)
{
	c->queue = q;
	c->next = NULL;
	c->before = q->last;
	*(q->last ? &q->last->next : &q->first) = c;
	q->last = c;
}

static void take_out(struct place *c)
{
	struct place_queue *q = c->queue;

	if (!q)
		return;
	*(c->before ? &c->before->next : &q->first) = c->next;
	*(c->next ? &c->next->before : &q->last) = c->before;
	c->queue = NULL;
}

/* The homes that are to be woken. */
static uint64_t call(struct places *p, uint64_t max)
{
	uint64_t woken = 0;

	for (int i = 0; i < PLACES_AT_ONCE && p->taken >= max && p->strangers.first; i++) {
		struct place *c = p->strangers.first;

		take_out(c);
		append(&p->called[c->home], c);
		c->called = true;
		p->taken--;
		woken |= UINT64_C(1) << c->home;
	}
	woken &= ~p->awake;
	p->awake |= woken;
	return woken;
}

bool places_take(struct places *p, uint64_t max)
{
	uint64_t woken, before;
	bool ok;

	pthread_mutex_lock(&p->lock);
	before = p->taken;
	woken = call(p, max);
	ok = p->taken < max || p->taken < before;
	p->taken += ok;
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; woken; i++, woken >>= 1)
		if (woken & 1)
			p->wake(p->arg, i);
	return ok;
}

void places_return(struct places *p)
{
	pthread_mutex_lock(&p->lock);
	p->taken--;
	pthread_mutex_unlock(&p->lock);
}

void places_stand(struct places *p, struct place *c, unsigned home)
{
	MUST(home < p->homes);
	pthread_mutex_lock(&p->lock);
	c->home = home;
	append(&p->strangers, c);
	pthread_mutex_unlock(&p->lock);
}

void places_keep(struct places *p, struct place *c)
{
	pthread_mutex_lock(&p->lock);
	take_out(c);
	p->taken += c->called;
	c->called = false;
	pthread_mutex_unlock(&p->lock);
}

void places_leave(struct places *p, struct place *c)
{
	pthread_mutex_lock(&p->lock);
	take_out(c);
	p->taken -= !c->called;
	pthread_mutex_unlock(&p->lock);
}

struct place *places_called(struct places *p, unsigned home)
{
	struct place *c;

	pthread_mutex_lock(&p->lock);
	c = p->called[home].first;
	if (!c)
		p->awake &= ~(UINT64_C(1) << home);
	pthread_mutex_unlock(&p->lock);
	return c;
}
