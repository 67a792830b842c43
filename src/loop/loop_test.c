/* loop/loop_test.c -- timers, posts and readiness. */
#include "loop/loop.h"

#include "loop/room_test.h"
#include "ops/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct timer {
	struct loop_timer t;
	struct rig *rig;
	int name;
	unsigned again; /* sets itself so many times more, after again_ms */
	uint64_t again_ms;
	struct timer *cancels, *moves;
};

/* Who fired, in order, and when. */
struct rig {
	struct loop *loop;
	int fired[64];
	uint64_t at[64];
	size_t n;
	uint64_t began;
};

static void on_end(void *arg)
{
	loop_stop(arg);
}

static void on_timer(void *arg)
{
	struct timer *t = arg;
	struct rig *r = t->rig;

	r->at[r->n] = loop_now(r->loop) - r->began;
	r->fired[r->n++] = t->name;
	if (t->cancels)
		loop_timer_cancel(&t->cancels->t);
	if (t->moves)
		loop_timer_set(&t->moves->t, 60);
	if (t->again) {
		t->again--;
		loop_timer_set(&t->t, t->again_ms);
	}
}

static void rig_start(struct rig *r)
{
	struct err e;

	*r = (struct rig){ .loop = loop_new(&e) };
	assert_non_null(r->loop);
	r->began = clock_mono_ms();
}

static void timer_start(struct rig *r, struct timer *t, int name, uint64_t ms)
{
	t->rig = r;
	t->name = name;
	loop_timer_init(&t->t, r->loop, on_timer, t);
	loop_timer_set(&t->t, ms);
}

static void rig_run(struct rig *r, uint64_t ms, struct loop_io *io)
{
	struct loop_timer end;

	loop_timer_init(&end, r->loop, on_end, r->loop);
	loop_timer_set(&end, ms);
	loop_run(r->loop);
	loop_timer_cancel(&end);
	if (io)
		loop_io_done(io);
	loop_free(r->loop);
}

static void assert_fired(const struct rig *r, size_t i, int name, uint64_t ms)
{
	assert_true(i < r->n);
	assert_int_equal(r->fired[i], name);
	/* Never early; late by what a busy machine costs. */
	assert_in_range(r->at[i], ms, ms + 200);
}

static void test_order(void **state)
{
	struct timer t[5] = { 0 };
	struct rig r;

	rig_start(&r);
	timer_start(&r, &t[0], 0, 80);
	timer_start(&r, &t[1], 1, 20);
	timer_start(&r, &t[2], 2, 140);
	timer_start(&r, &t[3], 3, 0);
	timer_start(&r, &t[4], 4, 5000);
	rig_run(&r, 250, NULL);
	assert_int_equal(r.n, 4);
	assert_fired(&r, 0, 3, 0);
	assert_fired(&r, 1, 1, 20);
	assert_fired(&r, 2, 0, 80);
	assert_fired(&r, 3, 2, 140);
}

/* Moved later, moved earlier, set twice, cancelled, cancelled by another. */
static void test_moves(void **state)
{
	struct timer t[6] = { 0 };
	struct rig r;

	rig_start(&r);
	timer_start(&r, &t[0], 0, 30);
	loop_timer_set(&t[0].t, 90); /* later: looked at after 30, fires after 90 */
	timer_start(&r, &t[1], 1, 5000);
	loop_timer_set(&t[1].t, 60); /* earlier */
	timer_start(&r, &t[2], 2, 20);
	loop_timer_cancel(&t[2].t);
	loop_timer_cancel(&t[2].t);
	timer_start(&r, &t[3], 3, 80); /* cancelled by 1 */
	t[1].cancels = &t[3];
	timer_start(&r, &t[4], 4, 20);
	loop_timer_cancel(&t[4].t);
	loop_timer_set(&t[4].t, 120);
	timer_start(&r, &t[5], 5, 30);
	loop_timer_set(&t[5].t, 200);
	loop_timer_set(&t[5].t, 150); /* later, then a little less so */
	rig_run(&r, 300, NULL);
	assert_int_equal(r.n, 4);
	assert_fired(&r, 0, 1, 60);
	assert_fired(&r, 1, 0, 90);
	assert_fired(&r, 2, 4, 120);
	assert_fired(&r, 3, 5, 150);
}

static void test_set_in_callback(void **state)
{
	struct timer t[3] = { 0 };
	struct rig r;

	rig_start(&r);
	t[0].again = 3;
	t[0].again_ms = 20;
	timer_start(&r, &t[0], 0, 20);
	t[1].moves = &t[2]; /* moves 2 from 110 to 60 after 10 */
	timer_start(&r, &t[1], 1, 10);
	timer_start(&r, &t[2], 2, 110);
	rig_run(&r, 250, NULL);
	assert_int_equal(r.n, 6);
	assert_fired(&r, 0, 1, 10);
	assert_fired(&r, 1, 0, 20);
	assert_fired(&r, 2, 0, 40);
	assert_fired(&r, 5, 0, 80);
}

/* A loop's time stands still until it runs, but what is set before counts from when it is set. */
static void test_set_before(void **state)
{
	struct timer t[2] = { 0 };
	struct rig r;

	rig_start(&r);
	timer_start(&r, &t[0], 0, 10);
	usleep(100000);
	r.began = clock_mono_ms();
	timer_start(&r, &t[1], 1, 60);
	rig_run(&r, 200, NULL);
	assert_int_equal(r.n, 2);
	assert_fired(&r, 0, 0, 0);
	assert_fired(&r, 1, 1, 60);
}

static void test_huge(void **state)
{
	struct timer t = { 0 };
	struct rig r;

	rig_start(&r);
	timer_start(&r, &t, 0, UINT64_MAX);
	rig_run(&r, 30, NULL);
	assert_int_equal(r.n, 0);
}

static void on_turn(void *arg)
{
	struct rig *r = arg;

	r->fired[r->n++] = 9;
	loop_stop(r->loop);
}

/* A timer that is always due lets others, and descriptors, have their turn. */
static void test_always_due(void **state)
{
	struct timer t[2] = { 0 };
	struct loop_io io;
	struct rig r;
	int fd[2];

	rig_start(&r);
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(write(fd[1], "x", 1), 1);
	assert_true(loop_io_init(&io, r.loop, fd[0], on_turn, &r));
	loop_io_want(&io, true, false);
	t[0].again = 50;
	timer_start(&r, &t[0], 0, 0);
	timer_start(&r, &t[1], 1, 0);
	rig_run(&r, 1000, &io);
	assert_in_range(r.n, 1, 10);
	assert_true(r.fired[0] == 9 || r.fired[1] == 9 || r.fired[2] == 9 || r.fired[3] == 9);
	close(fd[0]), close(fd[1]);
}

/* -- posts -- */

#define POSTERS 4
#define POSTS   5000

struct posted {
	struct loop_task task;
	struct poster *from;
	unsigned number;
};

struct poster {
	struct loop *loop;
	struct posted *tasks;
	unsigned next; /* on the loop */
	unsigned *left;
	pthread_t thread;
};

static void on_posted(struct loop_task *task)
{
	struct posted *p = (struct posted *)(void *)task;

	assert_int_equal(p->number, p->from->next);
	p->from->next++;
	if (!--*p->from->left)
		loop_stop(p->from->loop);
}

static void *post_many(void *arg)
{
	struct poster *p = arg;

	for (unsigned i = 0; i < POSTS; i++) {
		p->tasks[i] =
		    (struct posted){ .task = { .run = on_posted }, .from = p, .number = i };
		loop_post(p->loop, &p->tasks[i].task);
	}
	return NULL;
}

static void test_posts(void **state)
{
	struct poster posters[POSTERS] = { 0 };
	unsigned left = POSTERS * POSTS;
	struct err e;
	struct loop *l = loop_new(&e);

	for (size_t i = 0; i < POSTERS; i++) {
		posters[i].loop = l;
		posters[i].left = &left;
		posters[i].tasks = calloc(POSTS, sizeof(struct posted));
		assert_int_equal(pthread_create(&posters[i].thread, NULL, post_many, &posters[i]),
				 0);
	}
	loop_run(l);
	for (size_t i = 0; i < POSTERS; i++) {
		pthread_join(posters[i].thread, NULL);
		assert_int_equal(posters[i].next, POSTS);
		free(posters[i].tasks);
	}
	assert_int_equal(left, 0);
	loop_free(l);
}

struct again {
	struct loop_task task;
	struct loop *loop;
	unsigned n;
};

static void post_again(struct loop_task *task)
{
	struct again *a = (struct again *)(void *)task;

	if (++a->n < 100)
		loop_post(a->loop, task);
	else
		loop_stop(a->loop);
}

static void count_only(struct loop_task *task)
{
	((struct again *)(void *)task)->n++;
}

/* A task may post itself; what was posted before the stop is run, before the loop began too. */
static void test_post_again(void **state)
{
	struct err e;
	struct loop *l = loop_new(&e);
	struct again a = { .task = { .run = post_again }, .loop = l };
	struct again last = { .task = { .run = count_only } };

	loop_post(l, &a.task);
	loop_run(l);
	assert_int_equal(a.n, 100);
	loop_post(l, &last.task);
	loop_run(l); /* it was stopped already */
	assert_int_equal(last.n, 1);
	loop_free(l);
}

static void note_name(struct loop_task *task)
{
	struct named {
		struct loop_task task;
		struct rig *rig;
		int name;
	} *n = (struct named *)(void *)task;

	n->rig->fired[n->rig->n++] = n->name;
	if (n->rig->n == 4)
		loop_stop(n->rig->loop);
}

static void test_chain(void **state)
{
	struct {
		struct loop_task task;
		struct rig *rig;
		int name;
	} t[4];
	struct loop_chain chain = { 0 };
	struct rig r;

	rig_start(&r);
	for (int i = 0; i < 4; i++) {
		t[i].task = (struct loop_task){ .run = note_name };
		t[i].rig = &r;
		t[i].name = i;
	}
	loop_post(r.loop, &t[0].task);
	loop_post_chain(r.loop, &chain);
	for (int i = 1; i < 3; i++)
		loop_chain_add(&chain, &t[i].task);
	loop_post_chain(r.loop, &chain);
	assert_null(chain.newest);
	assert_null(chain.oldest);
	loop_post(r.loop, &t[3].task);
	loop_run(r.loop);
	for (int i = 0; i < 4; i++)
		assert_int_equal(r.fired[i], i);
	loop_free(r.loop);
}

/* -- readiness -- */

struct pipe_end {
	struct loop_io io;
	struct loop *loop;
	int fd;
	unsigned calls;
	bool read_it;
};

static void on_pipe(void *arg)
{
	struct pipe_end *p = arg;
	char c;

	p->calls++;
	if (p->read_it)
		assert_int_equal(read(p->fd, &c, 1), 1);
	if (p->calls == 3) {
		loop_io_done(&p->io);
		loop_stop(p->loop);
	}
}

static void test_io(void **state)
{
	for (int again = 0; again < 2; again++) {
		struct err e;
		struct loop *l = loop_new(&e);
		struct pipe_end p = { .loop = l, .read_it = !again };
		int fd[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
		assert_int_equal(write(fd[1], "abc", again ? 1 : 3), again ? 1 : 3);
		p.fd = fd[0];
		assert_true(loop_io_init(&p.io, l, fd[0], on_pipe, &p));
		loop_io_want(&p.io, true, false);
		loop_io_again(&p.io);
		loop_run(l);
		assert_int_equal(p.calls, 3); /* level-triggered: unread bytes are told of again */
		close(fd[0]);
		close(fd[1]);
		loop_free(l);
	}
}

/* Writable, both directions, and nothing wanted: no call. */
static void test_io_want(void **state)
{
	struct rig r;
	struct pipe_end p = { .calls = 10 };
	int fd[2];

	rig_start(&r);
	p.loop = r.loop;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	p.fd = fd[0];
	assert_true(loop_io_init(&p.io, r.loop, fd[0], on_pipe, &p));
	loop_io_want(&p.io, true, true);
	loop_io_want(&p.io, true, false);
	assert_int_equal(write(fd[1], "a", 1), 1);
	loop_io_want(&p.io, false, false);
	rig_run(&r, 30, &p.io);
	assert_int_equal(p.calls, 10);
	rig_start(&r);
	p = (struct pipe_end){ .loop = r.loop, .fd = fd[1] };
	assert_true(loop_io_init(&p.io, r.loop, fd[1], on_pipe, &p));
	loop_io_want(&p.io, false, true);
	rig_run(&r, 1000, NULL);
	assert_int_equal(p.calls, 3);
	close(fd[0]);
	close(fd[1]);
}

static void on_want_again(void *arg)
{
	loop_io_want(arg, true, false);
}

/* What is not wanted for a while stays watched, is told of when it is wanted again, and what comes
 * meanwhile neither calls nor keeps the loop busy. */
static void test_io_pause(void **state)
{
	struct rig r;
	struct pipe_end p = { 0 };
	int fd[2];

	rig_start(&r);
	p.loop = r.loop;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	p.fd = fd[0];
	assert_true(loop_io_init(&p.io, r.loop, fd[0], on_pipe, &p));
	assert_false(p.io.watched);
	loop_io_want(&p.io, true, false);
	loop_io_want(&p.io, false, false);
	assert_true(p.io.watched); /* silence costs nothing */
	assert_int_equal(write(fd[1], "abc", 3), 3);
	struct loop_timer end;
	loop_timer_init(&end, r.loop, on_end, r.loop);
	loop_timer_set(&end, 30);
	loop_run(r.loop);
	loop_timer_cancel(&end);
	assert_int_equal(p.calls, 0);
	assert_false(p.io.watched);
	loop_io_want(&p.io, true, false);
	assert_true(p.io.watched);
	loop_io_done(&p.io);
	loop_free(r.loop);
	/* Wanted again: it is told of what came meanwhile. */
	rig_start(&r);
	p = (struct pipe_end){ .loop = r.loop, .fd = fd[0], .read_it = true };
	assert_true(loop_io_init(&p.io, r.loop, fd[0], on_pipe, &p));
	loop_io_want(&p.io, true, false);
	loop_io_want(&p.io, false, false);
	loop_timer_init(&end, r.loop, on_want_again, &p.io);
	loop_timer_set(&end, 20);
	loop_run(r.loop);
	assert_int_equal(p.calls, 3);
	loop_free(r.loop);
	/* Again means again, also for who wants nothing. */
	rig_start(&r);
	p = (struct pipe_end){ .loop = r.loop, .fd = fd[0] };
	assert_true(loop_io_init(&p.io, r.loop, fd[0], on_pipe, &p));
	loop_io_again(&p.io);
	rig_run(&r, 30, &p.io);
	assert_int_equal(p.calls, 1);
	close(fd[0]);
	close(fd[1]);
}

static void on_signal(void *arg, int signo)
{
	struct rig *r = arg;

	r->fired[r->n++] = signo;
	if (r->n == 3)
		loop_stop(r->loop);
}

static void test_signals(void **state)
{
	struct err e;
	struct rig r;

	rig_start(&r);
	assert_true(loop_signals(r.loop, on_signal, &r, &e));
	kill(getpid(), SIGHUP);
	kill(getpid(), SIGTERM);
	kill(getpid(), SIGINT);
	rig_run(&r, 2000, NULL);
	assert_int_equal(r.n, 3);
	assert_int_equal(r.fired[0] + r.fired[1] + r.fired[2], SIGHUP + SIGTERM + SIGINT);
}

/* -- turns of what is dear -- */

struct dear {
	struct loop_dear d;
	struct dears *all;
	int name;
	bool again; /* asks once more when it is served */
};

struct dears {
	struct loop *loop;
	struct loop_task start;
	struct dear d[12];
	struct loop_io io; /* always readable: one call a turn */
	char order[64];
	size_t n;
	unsigned at_once; /* told to go on without waiting */
};

static void dear_served(struct dears *a, char what)
{
	if (a->n >= sizeof a->order - 1)
		fail_msg("%s", a->order);
	a->order[a->n++] = what;
}

static void dear_ask(struct dear *d)
{
	if (loop_dear_ask(d->all->loop, &d->d)) {
		d->all->at_once++;
		dear_served(d->all, (char)('a' + d->name));
	}
}

static void on_dear(struct loop_dear *l)
{
	struct dear *d = (struct dear *)(void *)l;

	dear_served(d->all, (char)('a' + d->name));
	if (d->again) {
		d->again = false;
		dear_ask(d);
	} else if (d->name == 11) {
		loop_stop(d->all->loop);
	}
}

static void on_dear_start(struct loop_task *t)
{
	struct dears *a = (struct dears *)(void *)((char *)t - offsetof(struct dears, start));

	for (int i = 0; i < 12; i++)
		dear_ask(&a->d[i]);
	/* Twice is once. */
	assert_false(loop_dear_ask(a->loop, &a->d[8].d));
	/* One from the middle goes, and comes back at the end. */
	loop_dear_cancel(a->loop, &a->d[6].d);
	loop_dear_cancel(a->loop, &a->d[6].d);
	loop_dear_cancel(a->loop, &a->d[11].d);
	dear_ask(&a->d[6]);
	dear_ask(&a->d[11]);
}

static void on_ready_between(void *arg)
{
	dear_served(arg, '.');
}

static void test_dear_takes_turns(void **state)
{
	struct dears a = { .start.run = on_dear_start };
	struct err e;
	int two[2];

	(void)state;
	a.loop = loop_new(&e);
	assert_non_null(a.loop);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, two), 0);
	assert_int_equal(write(two[1], "x", 1), 1);
	for (int i = 0; i < 12; i++)
		a.d[i] = (struct dear){ .d.run = on_dear, .all = &a, .name = i, .again = i == 7 };
	assert_true(loop_io_init(&a.io, a.loop, two[0], on_ready_between, &a));
	/* Not run, it has no turns. */
	assert_true(loop_dear_ask(a.loop, &a.d[0].d));
	loop_post(a.loop, &a.start);
	loop_io_want(&a.io, true, false);
	loop_run(a.loop);
	/* Four at once and four at the end of that turn; between the turns whoever is ready. */
	assert_int_equal(a.at_once, 4);
	if (a.order[0] == '.')
		assert_string_equal(a.order, ".abcdefhi.jkgl");
	else
		assert_string_equal(a.order, "abcd.efhi.jkgl");
	loop_io_done(&a.io);
	close(two[0]);
	close(two[1]);
	loop_free(a.loop);
}

/* Those who are first come before all who wait, whenever they have asked. */
static void on_first_start(struct loop_task *t)
{
	struct dears *a = (struct dears *)(void *)((char *)t - offsetof(struct dears, start));

	for (int i = 0; i < 12; i++)
		if (i != 9 && i != 10)
			dear_ask(&a->d[i]);
	dear_ask(&a->d[9]);
	dear_ask(&a->d[10]);
}

/* The order in which twelve are served, two of which have another rank. */
static void assert_dear(int one, int other, enum loop_dear_rank rank, const char *order)
{
	struct dears a = { .start.run = on_first_start };
	struct err e;

	a.loop = loop_new(&e);
	assert_non_null(a.loop);
	for (int i = 0; i < 12; i++)
		a.d[i] = (struct dear){ .d.run = on_dear, .all = &a, .name = i };
	a.d[one].d.rank = a.d[other].d.rank = rank;
	loop_post(a.loop, &a.start);
	loop_run(a.loop);
	assert_string_equal(a.order, order);
	loop_free(a.loop);
}

static void test_dear_first(void **state)
{
	(void)state;
	/* Four at once; then the two that came last, and the rest in order. */
	assert_dear(9, 10, LOOP_DEAR_IS_FIRST, "abcdjkefghil");
}

/* Those who are last wait for the others, but for one in four. */
static void test_dear_last(void **state)
{
	(void)state;
	assert_dear(4, 5, LOOP_DEAR_IS_LAST, "abcdghieljkf");
}

int test_loop(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_set_in_callback),
		cmocka_unit_test(test_set_before),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_always_due),
		cmocka_unit_test(test_posts),
		cmocka_unit_test(test_post_again),
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_io),
		cmocka_unit_test(test_io_want),
		cmocka_unit_test(test_io_pause),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_dear_takes_turns),
		cmocka_unit_test(test_dear_first),
		cmocka_unit_test(test_dear_last),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
