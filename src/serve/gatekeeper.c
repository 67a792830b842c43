#include "serve/gatekeeper.h"

#include "ops/clock.h"
#include "ops/log.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define BANS_MAX  100000
#define QUEUE_MAX 8192
#define WRITE_MS  1000
/* A store that does not work is complained about so often. */
#define COMPLAIN_MS 60000
#define PRUNE_MAX   20

struct gatekeeper {
	struct store *store;
	struct gate *gate;
	struct net *allow;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	uint64_t complained_ms, dropped;
};

/* -- the thread -- */

static void write_some(struct gatekeeper *k, bool all)
{
	uint64_t now = clock_wall_ms(), mono = clock_mono_ms(), dropped;
	struct err e = { 0 };

	if (!gate_write(k->gate, all, now, &e) &&
	    (!k->complained_ms || mono - k->complained_ms > COMPLAIN_MS)) {
		k->complained_ms = mono;
		log_event(LOG_WARNING, F_CSTR("about", "the authentication log cannot be written"),
			  F_CSTR("reason", e.text));
	}
	dropped = gate_count(k->gate).dropped;
	if (dropped != k->dropped && !all)
		log_event(LOG_WARNING,
			  F_CSTR("about", "rows of the authentication log found no room"),
			  F_U64("count", dropped - k->dropped));
	k->dropped = dropped;
	for (int i = 0; !all && i < PRUNE_MAX && gate_prune(k->gate, now); i++)
		;
}

/* True: the end has come. */
static bool rest(struct gatekeeper *k)
{
	struct timespec until;
	bool stop;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WRITE_MS / 1000;
	pthread_mutex_lock(&k->lock);
	if (!k->stop)
		pthread_cond_timedwait(&k->wake, &k->lock, &until);
	stop = k->stop;
	pthread_mutex_unlock(&k->lock);
	return stop;
}

static void *work(void *arg)
{
	struct gatekeeper *k = arg;
	struct err e = { 0 };

	if (!gate_count_rows(k->gate, &e))
		log_event(LOG_WARNING, F_CSTR("about", "the authentication log cannot be read"),
			  F_CSTR("reason", e.text));
	while (!rest(k))
		write_some(k, false);
	write_some(k, true);
	return NULL;
}

/* -- beginning and end -- */

static struct net *allow_of(const struct conf *c)
{
	struct net *allow = calloc(c->guard.allow.n + 1, sizeof *allow);

	for (size_t i = 0; allow && i < c->guard.allow.n; i++)
		net_parse(c->guard.allow.at[i], &allow[i]);
	return allow;
}

static struct gate_conf gate_conf(const struct net *allow, const struct conf *c)
{
	return (struct gate_conf){
		.limiter = { .free = (uint32_t)c->guard.free,
			     .delay_ms = c->guard.delay,
			     .delay_max_ms = c->guard.delay_max,
			     .ban_after = (uint32_t)c->guard.ban_after,
			     .ban_ms = c->guard.ban,
			     .ban_max_ms = c->guard.ban_max,
			     .half_life_ms = c->guard.half_life,
			     .good_ms = c->guard.remember,
			     .all_per_minute = (uint32_t)c->guard.per_minute,
			     .allow = allow,
			     .n_allow = c->guard.allow.n,
			     .memory = c->guard.memory },
		.bans_max = BANS_MAX,
		.queue_max = QUEUE_MAX,
		.keep_ms = c->authlog.keep,
		.rows_max = c->authlog.rows,
	};
}

static bool open_gate(struct gatekeeper *k, const struct conf *c, const uint64_t hash_key[2],
		      struct err *e)
{
	static const struct schema *const schemas[] = { &authlog_schema };
	char path[4200];
	int n = snprintf(path, sizeof path, "%.*s/authlog.db", SLICE_ARG(c->data_dir));
	struct store_conf sc = { .path = slice(path, (size_t)n) };
	struct gate_conf gc;
	struct err why = { 0 };

	k->allow = allow_of(c);
	if (!k->allow)
		return err_set(e, ERR_LATER, "out of memory");
	if (n <= 0 || (size_t)n >= sizeof path)
		return err_set(e, ERR_INPUT, "data_dir: too long");
	k->store = store_open(&store_sqlite, &sc, schemas, 1, &why);
	if (!k->store) {
		/* No log and no list of bans keeps mail from being taken. */
		log_event(LOG_WARNING,
			  F_CSTR("about", "the authentication log cannot be opened: until the next "
					  "start it and new bans are kept in memory alone"),
			  F_CSTR("reason", why.text));
		k->store = store_open(&store_memory, &sc, schemas, 1, e);
	}
	if (!k->store)
		return err_in(e, "authentication log");
	gc = gate_conf(k->allow, c);
	k->gate = gate_new(&gc, k->store, hash_key, clock_wall_ms(), e);
	return k->gate || err_in(e, "authentication log");
}

static bool start(struct gatekeeper *k, struct err *e)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	k->running = !pthread_create(&k->thread, NULL, work, k);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return k->running || err_set(e, ERR_LATER, "cannot start a thread");
}

struct gatekeeper *gatekeeper_new(const struct conf *c, const uint64_t hash_key[2], struct err *e)
{
	struct gatekeeper *k = calloc(1, sizeof *k);
	pthread_condattr_t attr;

	if (!k) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&k->lock, NULL);
	/* Whoever sets the clock does not change how long it rests. */
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&k->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (open_gate(k, c, hash_key, e) && start(k, e))
		return k;
	gatekeeper_free(k);
	return NULL;
}

void gatekeeper_configure(struct gatekeeper *k, const struct conf *c)
{
	struct net *allow = allow_of(c);
	struct gate_conf gc = gate_conf(allow, c);

	if (!allow)
		return;
	gate_configure(k->gate, &gc);
	free(k->allow);
	k->allow = allow;
}

struct gate *gatekeeper_gate(struct gatekeeper *k)
{
	return k->gate;
}

void gatekeeper_free(struct gatekeeper *k)
{
	if (!k)
		return;
	if (k->running) {
		pthread_mutex_lock(&k->lock);
		k->stop = true;
		pthread_cond_signal(&k->wake);
		pthread_mutex_unlock(&k->lock);
		pthread_join(k->thread, NULL);
	}
	gate_free(k->gate);
	store_close(k->store);
	free(k->allow);
	pthread_cond_destroy(&k->wake);
	pthread_mutex_destroy(&k->lock);
	free(k);
}
