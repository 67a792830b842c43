#include "serve/token_turn.h"

#include <pthread.h>
#include <stdlib.h>

/* Of one address: two of four, so that no single one keeps all waiting. */
#define PER_SOURCE         (TOKEN_WORKERS / 2)
#define WAITING            256
#define WAITING_PER_SOURCE 64

struct token_turns {
	pthread_mutex_t lock;
	struct fair fair;
	struct lane *lane;
};

struct token_turns *token_turns_new(struct lane *lane)
{
	struct token_turns *all = calloc(1, sizeof *all);

	if (!all)
		return NULL;
	pthread_mutex_init(&all->lock, NULL);
	all->lane = lane;
	all->fair = (struct fair){ .at_once = TOKEN_WORKERS,
				   .per_source = PER_SOURCE,
				   .waiting = WAITING,
				   .waiting_per_source = WAITING_PER_SOURCE };
	return all;
}

void token_turns_free(struct token_turns *all)
{
	if (!all)
		return;
	pthread_mutex_destroy(&all->lock);
	free(all);
}

static struct token_turn *of_item(struct fair_item *i)
{
	return i ? (struct token_turn *)(void *)((char *)i - offsetof(struct token_turn, item))
		 : NULL;
}

/* With the lock held. */
static void begin(struct token_turns *all)
{
	struct token_turn *t;

	while ((t = of_item(fair_next(&all->fair)))) {
		if (lane_post(all->lane, t->job))
			continue;
		fair_leave(&all->fair, &t->item);
		job_return(t->job);
	}
}

void token_turn_post(struct token_turns *all, struct token_turn *t, struct job *job)
{
	struct fair_item *lost;

	t->job = job;
	pthread_mutex_lock(&all->lock);
	fair_add(&all->fair, &t->item, &lost);
	if (lost)
		job_return(of_item(lost)->job);
	begin(all);
	pthread_mutex_unlock(&all->lock);
}

void token_turn_over(struct token_turns *all, struct token_turn *t)
{
	pthread_mutex_lock(&all->lock);
	fair_leave(&all->fair, &t->item);
	begin(all);
	pthread_mutex_unlock(&all->lock);
}

bool token_turn_leave(struct token_turns *all, struct token_turn *t)
{
	bool waited;

	pthread_mutex_lock(&all->lock);
	waited = t->item.state == FAIR_WAITS;
	if (waited)
		fair_leave(&all->fair, &t->item);
	pthread_mutex_unlock(&all->lock);
	return waited;
}
