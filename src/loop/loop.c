#include "loop/loop.h"

#include "base/must.h"
#include "ops/clock.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Handshakes a turn: about a millisecond. */
#define DEAR_TURN 4

struct loop {
	struct event_base *base;
	struct event *wake_event, *tick, *signals[3];
	int wake_fd;
	/* Posted tasks, newest first; taken whole and reversed. */
	struct loop_task *_Atomic posted;
	atomic_bool stop;
	bool running; /* `now` is kept by the turns */
	bool ticking; /* timers are firing */
	struct heap timers;
	uint64_t now;
	uint64_t armed; /* when `tick` fires; UINT64_MAX: not */
	struct dear_queue {
		struct loop_dear *head, **end;
	} dear[LOOP_DEAR_RANKS];
	unsigned served;         /* without waiting, this turn */
	unsigned turns;          /* of those who are not first */
	void (*last)(void *arg); /* before waiting again */
	void *last_arg;
	void (*on_signal)(void *arg, int signo);
	void *signal_arg;
};

static void run_posted(struct loop *l)
{
	struct loop_task *t = atomic_exchange(&l->posted, NULL), *in_order = NULL;

	while (t) {
		struct loop_task *next = atomic_load_explicit(&t->next, memory_order_relaxed);

		atomic_store_explicit(&t->next, in_order, memory_order_relaxed);
		in_order = t;
		t = next;
	}
	while (in_order) {
		t = in_order;
		in_order = atomic_load_explicit(&t->next, memory_order_relaxed);
		t->run(t);
	}
}

/* The counter is full only when the loop is woken anyway. */
static void wake(const struct loop *l)
{
	const uint64_t one = 1;

	while (write(l->wake_fd, &one, sizeof one) < 0 && errno != EAGAIN)
		MUST(errno == EINTR);
}

void loop_chain_add(struct loop_chain *c, struct loop_task *t)
{
	atomic_store_explicit(&t->next, c->newest, memory_order_relaxed);
	c->newest = t;
	if (!c->oldest)
		c->oldest = t;
}

void loop_post_chain(struct loop *l, struct loop_chain *c)
{
	struct loop_task *head = atomic_load(&l->posted);

	if (!c->newest)
		return;
	do
		atomic_store_explicit(&c->oldest->next, head, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&l->posted, &head, c->newest));
	*c = (struct loop_chain){ 0 };
	/* Who found the list empty wakes the loop; the others ride along. */
	if (!head)
		wake(l);
}

void loop_post(struct loop *l, struct loop_task *t)
{
	struct loop_chain one = { 0 };

	loop_chain_add(&one, t);
	loop_post_chain(l, &one);
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stop, true);
	wake(l);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	uint64_t count;

	(void)what;
	/* Read first: whoever posts from here on writes again. */
	while (read((int)fd, &count, sizeof count) < 0 && errno != EAGAIN)
		MUST(errno == EINTR);
	l->now = clock_mono_ms();
	run_posted(l);
	if (atomic_load(&l->stop))
		event_base_loopbreak(l->base);
}

static void arm(struct loop *l)
{
	struct heap_node *first = heap_min(&l->timers);
	struct timeval tv;
	uint64_t ms;

	if (!first || first->key >= l->armed)
		return;
	ms = first->key > l->now ? first->key - l->now : 0;
	tv.tv_sec = (time_t)(ms / 1000);
	tv.tv_usec = (suseconds_t)(ms % 1000 * 1000);
	/* Without memory for it the next turn tries again. */
	if (!event_add(l->tick, &tv))
		l->armed = first->key;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	struct heap_node *n;

	(void)fd;
	(void)what;
	l->now = clock_mono_ms();
	l->armed = UINT64_MAX;
	l->ticking = true;
	while ((n = heap_min(&l->timers)) && n->key <= l->now) {
		struct loop_timer *t =
		    (struct loop_timer *)(void *)((char *)n - offsetof(struct loop_timer, node));

		heap_remove(&l->timers, n);
		if (t->due > l->now) {
			/* It was moved later since. */
			if (t->due != UINT64_MAX && !heap_set(&l->timers, n, t->due))
				t->fire(
				    t->arg); /* no memory to wait with: rather early than never */
			continue;
		}
		t->due = UINT64_MAX;
		t->fire(t->arg);
	}
	l->ticking = false;
	arm(l);
}

void loop_timer_init(struct loop_timer *t, struct loop *l, void (*fire)(void *arg), void *arg)
{
	*t = (struct loop_timer){
		.node = { .at = HEAP_OUT }, .loop = l, .fire = fire, .arg = arg, .due = UINT64_MAX
	};
}

void loop_timer_set(struct loop_timer *t, uint64_t ms)
{
	struct loop *l = t->loop;

	if (!l->running)
		l->now = clock_mono_ms();
	/* A timer that sets itself to 0 must leave the others, and the descriptors, their turn. */
	if (!ms && l->ticking)
		ms = 1;
	t->due = ms < UINT64_MAX - 1 - l->now ? l->now + ms : UINT64_MAX - 1;
	/* Later than the look that is coming anyway: nothing to do. */
	if (t->node.at != HEAP_OUT && t->node.key <= t->due)
		return;
	if (!heap_set(&l->timers, &t->node, t->due)) {
		t->due = UINT64_MAX;
		t->fire(t->arg);
		return;
	}
	arm(l);
}

void loop_timer_cancel(struct loop_timer *t)
{
	t->due = UINT64_MAX;
	if (t->loop)
		heap_remove(&t->loop->timers, &t->node);
}

static struct dear_queue *queue_of(struct loop *l, const struct loop_dear *d)
{
	return &l->dear[d->rank];
}

/* Who is next; NULL: nobody waits. */
static struct loop_dear *next_dear(const struct loop *l)
{
	struct loop_dear *others = l->dear[LOOP_DEAR_OTHERS].head;
	struct loop_dear *last = l->dear[LOOP_DEAR_IS_LAST].head;

	if (l->dear[LOOP_DEAR_IS_FIRST].head)
		return l->dear[LOOP_DEAR_IS_FIRST].head;
	if (others && last)
		return l->turns % LOOP_DEAR_LAST == LOOP_DEAR_LAST - 1 ? last : others;
	return others ? others : last;
}

/* Nobody waits who would be served before this one. */
static bool dear_is_next(const struct loop *l, const struct loop_dear *d)
{
	if (l->dear[LOOP_DEAR_IS_FIRST].head || l->dear[d->rank].head)
		return false;
	return d->rank != LOOP_DEAR_IS_LAST || !l->dear[LOOP_DEAR_OTHERS].head;
}

bool loop_dear_ask(struct loop *l, struct loop_dear *d)
{
	struct dear_queue *q;

	if (d->at)
		return false;
	if (!l->running)
		return true;
	if (l->served < DEAR_TURN && dear_is_next(l, d)) {
		l->served++;
		return true;
	}
	q = queue_of(l, d);
	d->next = NULL;
	d->at = q->end;
	*q->end = d;
	q->end = &d->next;
	return false;
}

void loop_dear_cancel(struct loop *l, struct loop_dear *d)
{
	if (!d->at)
		return;
	*d->at = d->next;
	if (d->next)
		d->next->at = d->at;
	else
		queue_of(l, d)->end = d->at;
	d->at = NULL;
}

static void run_dear(struct loop *l)
{
	l->served = 0;
	for (unsigned i = 0; i < DEAR_TURN; i++) {
		struct loop_dear *d = next_dear(l);

		if (!d)
			break;
		l->turns += d->rank != LOOP_DEAR_IS_FIRST;
		loop_dear_cancel(l, d);
		l->now = clock_mono_ms();
		d->run(d);
	}
}

struct loop *loop_new(struct err *e)
{
	struct loop *l = calloc(1, sizeof *l);
	struct event_config *cfg = event_config_new();

	if (!l || !cfg)
		goto fail;
	l->wake_fd = -1;
	for (size_t i = 0; i < LOOP_DEAR_RANKS; i++)
		l->dear[i].end = &l->dear[i].head;
	l->armed = UINT64_MAX;
	l->now = clock_mono_ms();
	/* Each base belongs to one thread; the wake descriptor is the only way in. Not with
	 * EPOLL_USE_CHANGELIST: a descriptor that is closed and handed out again within one turn
	 * would count as unchanged, and its new owner never hear of anything. */
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	l->base = event_base_new_with_config(cfg);
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (!l->base || l->wake_fd < 0)
		goto fail;
	l->wake_event = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l);
	l->tick = evtimer_new(l->base, on_tick, l);
	if (!l->wake_event || !l->tick || event_add(l->wake_event, NULL))
		goto fail;
	event_config_free(cfg);
	return l;
fail:
	if (cfg)
		event_config_free(cfg);
	loop_free(l);
	err_set(e, ERR_LATER, "event loop: %s", strerror(errno));
	return NULL;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < 3; i++)
		if (l->signals[i])
			event_free(l->signals[i]);
	if (l->wake_event)
		event_free(l->wake_event);
	if (l->tick)
		event_free(l->tick);
	if (l->base)
		event_base_free(l->base);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	heap_done(&l->timers);
	free(l);
}

static void run_last(struct loop *l)
{
	void (*run)(void *arg) = l->last;

	l->last = NULL;
	if (run)
		run(l->last_arg);
}

void loop_before_wait(struct loop *l, void (*run)(void *arg), void *arg)
{
	if (l->last && (l->last != run || l->last_arg != arg))
		run_last(l);
	l->last = run;
	l->last_arg = arg;
	if (!l->running)
		run_last(l);
}

void loop_run(struct loop *l)
{
	l->now = clock_mono_ms();
	l->running = true;
	while (!atomic_load(&l->stop)) {
		arm(l);
		if (event_base_loop(l->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY |
						 (next_dear(l) ? EVLOOP_NONBLOCK : 0)) < 0)
			break;
		run_dear(l);
		run_last(l);
	}
	run_posted(l);
	run_last(l);
	l->running = false;
}

uint64_t loop_now(const struct loop *l)
{
	return l->now;
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
	struct loop_io *io = arg;

	(void)fd;
	if (what & EV_READ) {
		if (!io->want_in && !io->again) {
			/* Nobody wants it now, and it would be told of again and again. */
			event_del(io->in);
			io->watched = false;
			return;
		}
		io->again = false;
	}
	io->loop->now = clock_mono_ms();
	io->ready(io->arg);
}

bool loop_io_init(struct loop_io *io, struct loop *l, int fd, void (*ready)(void *arg), void *arg)
{
	*io = (struct loop_io){ .loop = l, .fd = fd, .ready = ready, .arg = arg };
	io->in = event_new(l->base, fd, EV_READ | EV_PERSIST, on_io, io);
	return io->in;
}

void loop_io_want(struct loop_io *io, bool in, bool out)
{
	io->want_in = in;
	if (in && !io->watched)
		io->watched = event_add(io->in, NULL) == 0;
	if (out != io->want_out) {
		/* Writing rarely blocks, so most connections never need the second event. */
		if (out && !io->out)
			io->out =
			    event_new(io->loop->base, io->fd, EV_WRITE | EV_PERSIST, on_io, io);
		if (!io->out)
			return;
		io->want_out = out;
		if (out)
			event_add(io->out, NULL);
		else
			event_del(io->out);
	}
}

void loop_io_again(struct loop_io *io)
{
	io->again = true;
	event_active(io->in, EV_READ, 0);
}

void loop_io_done(struct loop_io *io)
{
	if (io->in)
		event_free(io->in);
	if (io->out)
		event_free(io->out);
	io->in = io->out = NULL;
}

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
	struct loop *l = arg;

	(void)what;
	l->now = clock_mono_ms();
	l->on_signal(l->signal_arg, (int)signo);
}

bool loop_signals(struct loop *l, void (*handler)(void *arg, int signo), void *arg, struct err *e)
{
	static const int which[3] = { SIGTERM, SIGINT, SIGHUP };
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	l->on_signal = handler;
	l->signal_arg = arg;
	sigaction(SIGPIPE, &ignore, NULL);
	for (size_t i = 0; i < 3; i++) {
		l->signals[i] = evsignal_new(l->base, which[i], on_signal, l);
		if (!l->signals[i] || event_add(l->signals[i], NULL))
			return err_set(e, ERR_LATER, "signals: %s", strerror(errno));
	}
	return true;
}
