/* loop/work_test.c -- lanes and batches. */
#include "loop/work.h"

#include "loop/room_test.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct piece {
	struct job job;
	struct hall *hall;
	unsigned number;
	unsigned round; /* of the batch it was in */
};

/* What the jobs of a test share. */
struct hall {
	struct loop *loop;
	sem_t begun, go; /* with a gate: a job says that it has begun and waits */
	bool gate;
	pthread_mutex_t lock;
	unsigned order[64], n_run; /* under the lock */
	unsigned done, wanted;     /* on the loop */
	unsigned rounds;           /* on the batch's thread */
	pthread_t loop_thread;
	unsigned opened, closed;
};

static void hall_open(struct hall *h, unsigned wanted)
{
	struct err e;

	*h = (struct hall){ .loop = loop_new(&e), .wanted = wanted };
	pthread_mutex_init(&h->lock, NULL);
	sem_init(&h->begun, 0, 0);
	sem_init(&h->go, 0, 0);
	h->loop_thread = pthread_self();
}

static void hall_close(struct hall *h)
{
	sem_destroy(&h->begun);
	sem_destroy(&h->go);
	pthread_mutex_destroy(&h->lock);
	loop_free(h->loop);
}

static void note(struct hall *h, unsigned number)
{
	pthread_mutex_lock(&h->lock);
	h->order[h->n_run++] = number;
	pthread_mutex_unlock(&h->lock);
}

static void run(struct job *j, void *ctx)
{
	struct piece *p = (struct piece *)(void *)j;
	struct hall *h = p->hall;

	assert_false(pthread_equal(pthread_self(), h->loop_thread));
	assert_ptr_equal(ctx, h->opened ? h : NULL);
	if (h->gate) {
		sem_post(&h->begun);
		sem_wait(&h->go);
	}
	note(h, p->number);
}

static void done(struct job *j)
{
	struct hall *h = ((struct piece *)(void *)j)->hall;

	assert_true(pthread_equal(pthread_self(), h->loop_thread));
	if (++h->done == h->wanted)
		loop_stop(h->loop);
}

static struct piece piece(struct hall *h, unsigned number)
{
	return (struct piece){ .job = { .run = run, .done = done, .home = h->loop },
			       .hall = h,
			       .number = number };
}

/* One thread: in order; the queue ends where it was said to end. */
static void test_lane_order_and_full(void **state)
{
	struct hall h;
	struct err e;
	struct piece p[6];
	struct lane *l;

	hall_open(&h, 5);
	h.gate = true;
	l = lane_new(&(struct lane_conf){ .name = "test", .threads = 1, .queue_max = 4 }, &e);
	assert_non_null(l);
	for (unsigned i = 0; i < 6; i++)
		p[i] = piece(&h, i);
	assert_true(lane_post(l, &p[0].job));
	sem_wait(&h.begun); /* it is out of the queue now */
	for (unsigned i = 1; i < 5; i++)
		assert_true(lane_post(l, &p[i].job));
	assert_false(lane_post(l, &p[5].job));
	for (unsigned i = 0; i < 5; i++)
		sem_post(&h.go);
	loop_run(h.loop);
	assert_int_equal(h.done, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(h.order[i], i);
	lane_free(l);
	hall_close(&h);
}

/* As many at once as there are threads. */
static void test_lane_width(void **state)
{
	struct hall h;
	struct err e;
	struct piece p[3];
	struct lane *l;

	hall_open(&h, 3);
	h.gate = true;
	l = lane_new(&(struct lane_conf){ .name = "test", .threads = 3, .queue_max = 10 }, &e);
	for (unsigned i = 0; i < 3; i++) {
		p[i] = piece(&h, i);
		assert_true(lane_post(l, &p[i].job));
	}
	for (unsigned i = 0; i < 3; i++)
		sem_wait(&h.begun);
	for (unsigned i = 0; i < 3; i++)
		sem_post(&h.go);
	loop_run(h.loop);
	lane_free(l);
	hall_close(&h);
}

/* lane_free() runs what is queued. */
static void test_lane_drains(void **state)
{
	struct hall h;
	struct err e;
	struct piece p[20];
	struct lane *l;

	hall_open(&h, 20);
	l = lane_new(&(struct lane_conf){ .name = "test", .threads = 1, .queue_max = 20 }, &e);
	for (unsigned i = 0; i < 20; i++) {
		p[i] = piece(&h, i);
		assert_true(lane_post(l, &p[i].job));
	}
	lane_free(l);
	assert_int_equal(h.n_run, 20);
	assert_int_equal(h.done, 0); /* the loop has not run yet */
	loop_run(h.loop);
	assert_int_equal(h.done, 20);
	hall_close(&h);
	lane_free(NULL);
}

static void *open_ctx(void *arg, struct err *e)
{
	struct hall *h = arg;

	if (h->opened == 3) {
		err_set(e, ERR_LATER, "no fourth");
		return NULL;
	}
	h->opened++;
	return h;
}

static void close_ctx(void *ctx)
{
	((struct hall *)ctx)->closed++;
}

static void test_lane_contexts(void **state)
{
	struct hall h;
	struct err e = { 0 };
	struct piece p;
	struct lane_conf conf = { .name = "test",
				  .threads = 3,
				  .queue_max = 1,
				  .open = open_ctx,
				  .close = close_ctx,
				  .arg = &h };
	struct lane *l;

	hall_open(&h, 1);
	l = lane_new(&conf, &e);
	assert_non_null(l);
	assert_int_equal(h.opened, 3);
	p = piece(&h, 0);
	assert_true(lane_post(l, &p.job));
	loop_run(h.loop);
	lane_free(l);
	assert_int_equal(h.closed, 3);
	h.opened = h.closed = 0;
	conf.threads = 4; /* the last one cannot be opened */
	assert_null(lane_new(&conf, &e));
	assert_string_equal(e.text, "no fourth");
	assert_int_equal(h.closed, 3);
	hall_close(&h);
}

static void run_batch(struct job **jobs, size_t n, void *ctx)
{
	struct hall *h = ctx;

	h->rounds++;
	for (size_t i = 0; i < n; i++) {
		struct piece *p = (struct piece *)(void *)jobs[i];

		p->round = h->rounds;
		note(h, p->number);
	}
	if (h->gate) {
		sem_post(&h->begun);
		sem_wait(&h->go);
	}
}

/* What arrives during a round is the next one, whole and in order. */
static void test_batch(void **state)
{
	struct hall h;
	struct err e;
	struct piece p[8];
	struct batch *b;

	hall_open(&h, 7);
	h.gate = true;
	b = batch_new("test", 5, run_batch, &h, &e);
	assert_non_null(b);
	for (unsigned i = 0; i < 8; i++)
		p[i] = piece(&h, i);
	assert_true(batch_post(b, &p[0].job));
	sem_wait(&h.begun);
	for (unsigned i = 1; i < 6; i++)
		assert_true(batch_post(b, &p[i].job));
	assert_false(batch_post(b, &p[7].job)); /* five are waiting */
	sem_post(&h.go);
	sem_wait(&h.begun);
	assert_true(batch_post(b, &p[6].job));
	sem_post(&h.go);
	sem_post(&h.go);
	loop_run(h.loop);
	assert_int_equal(h.done, 7);
	batch_free(b);
	assert_int_equal(h.rounds, 3);
	assert_int_equal(p[0].round, 1);
	for (unsigned i = 1; i < 6; i++)
		assert_int_equal(p[i].round, 2);
	assert_int_equal(p[6].round, 3);
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(h.order[i], i);
	hall_close(&h);
}

static void test_batch_drains(void **state)
{
	struct hall h;
	struct err e;
	struct piece p[10];
	struct batch *b;

	hall_open(&h, 10);
	b = batch_new("test", 10, run_batch, &h, &e);
	for (unsigned i = 0; i < 10; i++) {
		p[i] = piece(&h, i);
		assert_true(batch_post(b, &p[i].job));
	}
	batch_free(b);
	assert_int_equal(h.n_run, 10);
	loop_run(h.loop);
	assert_int_equal(h.done, 10);
	hall_close(&h);
	batch_free(NULL);
}

struct turn {
	struct loop_task task;
	struct batch *batch;
	struct piece *at;
	unsigned n;
};

static void post_all(struct loop_task *task)
{
	struct turn *t = (struct turn *)(void *)task;

	for (unsigned i = 0; i < t->n; i++) {
		assert_true(batch_post(t->batch, &t->at[i].job));
		usleep(2000); /* time enough for a batch that was woken too early */
	}
}

static unsigned rounds_of_a_turn(void)
{
	struct hall h;
	struct err e;
	struct piece p[5];
	struct turn t = { .task.run = post_all, .at = p, .n = 5 };

	hall_open(&h, 5);
	t.batch = batch_new("test", 10, run_batch, &h, &e);
	assert_non_null(t.batch);
	usleep(2000);
	for (unsigned i = 0; i < 5; i++)
		p[i] = piece(&h, i);
	loop_post(h.loop, &t.task);
	loop_run(h.loop);
	assert_int_equal(h.done, 5);
	batch_free(t.batch);
	hall_close(&h);
	return h.rounds;
}

/* What one turn of a loop posts is one round, though the batch slept. Whether it does sleep by then
 * is the machine's affair: so one time of many. */
static void test_batch_waits_for_the_turn(void **state)
{
	unsigned rounds = 0;

	(void)state;
	for (int i = 0; i < 100 && rounds != 1; i++)
		rounds = rounds_of_a_turn();
	assert_int_equal(rounds, 1);
}

#define CROWD 200000

struct crowd {
	struct piece at[CROWD];
	struct loop *homes[2];
	unsigned done[2];
	sem_t begun, full; /* the first is being done alone; all others are in the queue */
	unsigned rounds;
};

static struct crowd *crowd;

static void crowd_run(struct job **jobs, size_t n, void *ctx)
{
	struct crowd *c = ctx;

	if (c->rounds++)
		return;
	sem_post(&c->begun);
	sem_wait(&c->full);
}

/* The first that comes home finds that all of its round have been sent home, too. */
static void crowd_done(struct job *j)
{
	struct crowd *c = crowd;
	struct piece *p = (struct piece *)(void *)j;
	unsigned home = p->number % 2;

	if (!p->number)
		return;
	if (!c->done[home])
		for (unsigned i = p->number; i < CROWD; i += 2)
			assert_non_null(c->at[i].job.back.run);
	assert_int_equal((p->number - 1) / 2, c->done[home]++); /* in order */
	if (p->number + 2 >= CROWD)
		loop_stop(c->homes[home]);
}

static void *crowd_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void test_batch_comes_home_together(void **state)
{
	struct crowd *c = crowd = calloc(1, sizeof *c);
	struct err e;
	struct batch *b;
	pthread_t other;

	assert_non_null(c);
	sem_init(&c->begun, 0, 0);
	sem_init(&c->full, 0, 0);
	for (int i = 0; i < 2; i++)
		c->homes[i] = loop_new(&e);
	b = batch_new("test", CROWD, crowd_run, c, &e);
	for (unsigned i = 0; i < CROWD; i++) {
		c->at[i].number = i;
		c->at[i].job = (struct job){ .done = crowd_done, .home = c->homes[i % 2] };
		assert_true(batch_post(b, &c->at[i].job));
		if (!i)
			sem_wait(&c->begun);
	}
	assert_int_equal(pthread_create(&other, NULL, crowd_loop, c->homes[1]), 0);
	sem_post(&c->full);
	loop_run(c->homes[0]);
	pthread_join(other, NULL);
	batch_free(b);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(c->done[i], i ? CROWD / 2 : CROWD / 2 - 1);
		loop_free(c->homes[i]);
	}
	sem_destroy(&c->begun);
	sem_destroy(&c->full);
	free(c);
}

int test_work(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lane_order_and_full),
		cmocka_unit_test(test_lane_width),
		cmocka_unit_test(test_lane_drains),
		cmocka_unit_test(test_lane_contexts),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_batch_drains),
		cmocka_unit_test(test_batch_waits_for_the_turn),
		cmocka_unit_test(test_batch_comes_home_together),
	};

	return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
