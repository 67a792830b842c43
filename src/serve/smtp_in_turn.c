/* serve/smtp_in_turn.c -- strangers take turns at the workers.
 *
 * A few jobs of theirs are under way at a time, the others wait in order: so however many guess,
 * those who are known find the workers and the loop free. Nobody who guesses notices more than
 * that others do, too. Who has not failed yet goes before who has; not always, so that nobody waits
 * for ever. */
#include "base/must.h"
#include "serve/smtp_in_impl.h"

#define AT_ONCE    16 /* of all loops, which have equal parts of it; the workers are one lot */
#define LOOP_MIN   2
#define FAILED_PER 4 /* of so many, one is of those that have failed, if there are any */
#define AGAIN_MS   20

static void append(struct turn_queue *q, struct turn *t)
{
	t->queue = q;
	t->next = NULL;
	t->before = q->last;
	if (q->last)
		q->last->next = t;
	else
		q->first = t;
	q->last = t;
}

static void take_out(struct turn *t)
{
	struct turn_queue *q = t->queue;

	if (t->before)
		t->before->next = t->next;
	else
		q->first = t->next;
	if (t->next)
		t->next->before = t->before;
	else
		q->last = t->before;
	t->queue = NULL;
}

static struct turn *next_of(struct turns *all)
{
	bool failed = !all->fresh.first || all->begun % FAILED_PER == FAILED_PER - 1;

	return failed && all->failed.first ? all->failed.first : all->fresh.first;
}

static void begin(struct turns *all)
{
	struct turn *t;

	while (all->under_way < all->at_once && (t = next_of(all))) {
		/* The lane is full of others: it is looked at again soon. */
		if (!lane_post(all->home->server->work, t->job)) {
			loop_timer_set(&all->again, AGAIN_MS);
			return;
		}
		take_out(t);
		t->of->turn = NULL;
		t->under_way = true;
		all->under_way++;
		all->begun++;
	}
}

static void on_again(void *arg)
{
	begin(arg);
}

void smtp_in_turns_init(struct turns *all, struct home *home)
{
	unsigned part = AT_ONCE / home->server->n_homes;

	*all = (struct turns){ .home = home, .at_once = part > LOOP_MIN ? part : LOOP_MIN };
	loop_timer_init(&all->again, home->loop, on_again, all);
}

void smtp_in_turns_done(struct turns *all)
{
	MUST(!all->fresh.first && !all->failed.first);
	loop_timer_cancel(&all->again);
}

bool smtp_in_post(struct conn *c, struct turn *t, struct job *job)
{
	struct turns *all = &c->home->smtp_in->turns;

	MUST(!c->turn);
	*t = (struct turn){ .job = job, .of = c };
	if (c->trusted)
		return lane_post(c->home->server->work, job);
	append(c->failed ? &all->failed : &all->fresh, t);
	c->turn = t;
	begin(all);
	return true;
}

void smtp_in_turn_over(struct home *home, struct turn *t)
{
	struct turns *all;

	if (!t->under_way)
		return;
	all = &home->smtp_in->turns;
	t->under_way = false;
	all->under_way--;
	begin(all);
}

void smtp_in_leave_turns(struct conn *c)
{
	struct turn *t = c->turn;

	if (!t)
		return;
	c->turn = NULL;
	take_out(t);
	t->job->done(t->job);
}
