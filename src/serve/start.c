/* serve/start.c -- start-up, read as a list of what is opened and of what is given up. */
#include "serve/start.h"

#include "account/account.h"
#include "auth/known.h"
#include "dns/dns.h"
#include "history/history.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "sender/domain.h"
#include "serve/ask.h"
#include "serve/deliver.h"
#include "serve/gatekeeper.h"
#include "serve/health.h"
#include "serve/places.h"
#include "serve/reload.h"
#include "serve/running.h"
#include "serve/token.h"
#include "serve/token_turn.h"
#include "serve/validation.h"
#include "serve/watch.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_MS      1800000
#define WORKERS      2
#define FILE_WORKERS 4
#define NAME_WORKERS 2
/* Who waits does so in serve/token_turn.c: here is room for those under way, and keys' warmth. */
#define ISSUER_QUEUE 64
#define QUEUE_MAX    65536
#define SENDER_CACHE 4096
/* Logins a loop remembers: a power of two. */
#define KNOWN_LOGINS 1024

static int complain(int code, const char *text)
{
	fprintf(stderr, "signet: %s\n", text);
	return code;
}

/* What sched_setaffinity(2), a cpuset or a container leaves us. */
static unsigned cores(void)
{
	cpu_set_t set;
	long n = sched_getaffinity(0, sizeof set, &set) ? sysconf(_SC_NPROCESSORS_ONLN)
							: CPU_COUNT(&set);

	return n < 1 ? 1 : n > CONF_THREADS_MAX ? CONF_THREADS_MAX : (unsigned)n;
}

static bool make_homes(struct running *r, struct err *e)
{
	struct server *s = &r->server;
	unsigned char login_key[AUTH_KNOWN_KEY];

	s->n_homes = s->boot->threads ? (unsigned)s->boot->threads : cores();
	s->homes = calloc(s->n_homes, sizeof *s->homes);
	s->places = places_new(s->n_homes, smtp_in_call, s);
	if (!s->homes || !s->places)
		return err_set(e, ERR_LATER, "out of memory");
	for (unsigned i = 0; i < s->n_homes; i++) {
		struct home *h = &s->homes[i];

		h->index = i;
		h->server = s;
		h->loop = loop_new(e);
		if (!h->loop)
			return false;
		h->senders = sender_cache_new(SENDER_CACHE, r->key);
		keyring_random(login_key, sizeof login_key);
		h->logins = auth_known_new(KNOWN_LOGINS, login_key);
		explicit_bzero(login_key, sizeof login_key);
		h->smtp_in = smtp_in_home_new(h);
		if (!h->senders || !h->logins || !h->smtp_in)
			return err_set(e, ERR_LATER, "out of memory");
	}
	return true;
}

static struct dns *open_dns(const struct server *s, struct err *e)
{
	const struct conf *c = s->boot;
	struct dns_conf dc = { .forward = c->dns.forward.at,
			       .n_forward = c->dns.forward.n,
			       .recursive = slice_eq(c->dns.recursive, S("yes")),
			       .trust_anchor = c->dns.trust_anchor,
			       .insecure = c->dns.insecure.at,
			       .n_insecure = c->dns.insecure.n,
			       .timeout_ms = c->dns.timeout };

	return dns_new(s->homes[0].loop, &dc, e);
}

static bool data_path(const struct conf *c, const char *name, char *ret, size_t size, struct err *e)
{
	int n = snprintf(ret, size, "%.*s/%s", SLICE_ARG(c->data_dir), name);

	return (n > 0 && (size_t)n < size) || err_set(e, ERR_INPUT, "data_dir: too long");
}

static struct store *open_store(const struct conf *c, struct err *e)
{
	static const struct schema *const schemas[] = { &account_schema, &sender_schema };
	char path[4200];
	struct store_conf sc = { 0 };

	if (!data_path(c, "signet.db", path, sizeof path, e))
		return NULL;
	sc.path = slice_str(path);
	return store_open(&store_sqlite, &sc, schemas, sizeof schemas / sizeof *schemas, e);
}

static struct history *open_history(const struct conf *c, struct err *e)
{
	struct history_conf hc = { .keep_ms = c->history.keep, .max_size = c->history.max_size };
	char path[4200];

	if (!c->history.keep || !data_path(c, "history", path, sizeof path, e))
		return NULL;
	hc.path = slice_str(path);
	return history_open(&hc, e);
}

static bool open_state(struct running *r, struct err *e)
{
	struct server *s = &r->server;
	const struct conf *c = s->boot;
	char path[4200];
	struct spool_conf sc = { .path = c->spool.path,
				 .segment_bytes = c->spool.segment,
				 .reserve_bytes = c->spool.reserve,
				 .messages_max = c->spool.messages_max,
				 .hash_key = { r->key[0], r->key[1] } };

	if (!data_path(c, "master.key", path, sizeof path, e))
		return false;
	s->keyring = keyring_open(slice_str(path), e);
	if (!s->keyring || !keyring_derive(s->keyring, S("names that are nobody's"), s->nobodys, e))
		return false;
	/* The spool first: its lock is what keeps a second server out. */
	s->spool_backend = &spool_segments;
	s->spool = s->spool_backend->open(&sc, e);
	if (!s->spool)
		return false;
	s->store = open_store(c, e);
	return s->store;
}

static void *attach(void *store, struct err *e)
{
	return store_attach(store, e);
}

static void detach(void *handle)
{
	store_detach(handle);
}

static bool make_lanes(struct server *s, struct err *e)
{
	struct lane_conf work = { "work", WORKERS, QUEUE_MAX, attach, detach, s->store };
	struct lane_conf files = { .name = "files",
				   .threads = FILE_WORKERS,
				   .queue_max = QUEUE_MAX };
	struct lane_conf watch = { .name = "watch", .threads = 1, .queue_max = QUEUE_MAX };
	struct lane_conf names = { .name = "names",
				   .threads = NAME_WORKERS,
				   .queue_max = QUEUE_MAX };
	struct lane_conf issuers = { "issuers", TOKEN_WORKERS, ISSUER_QUEUE,
				     attach,    detach,        s->store };

	s->work = lane_new(&work, e);
	s->files = s->work ? lane_new(&files, e) : NULL;
	s->names = s->files ? lane_new(&names, e) : NULL;
	s->issuers = s->names ? lane_new(&issuers, e) : NULL;
	s->token_turns = s->issuers ? token_turns_new(s->issuers) : NULL;
	if (s->issuers && !s->token_turns)
		return err_set(e, ERR_LATER, "out of memory");
	s->watch = s->token_turns ? lane_new(&watch, e) : NULL;
	s->committer = s->watch ? batch_new("committer", QUEUE_MAX, commit_run, s, e) : NULL;
	return s->committer;
}

/* Everything the configuration says; then the addresses are open, and whoever connects waits. */
static bool first_generation(struct running *r, struct listener_plan *plan, struct err *e)
{
	struct server *s = &r->server;
	struct generation *g = generation_new(s, conf_hold(s->boot), NULL, e);

	if (!g)
		return false;
	for (unsigned i = 0; i < s->n_homes; i++)
		generation_enter(g, &s->homes[i]);
	generation_free(g);
	if (!listeners_plan(r, g, plan, e))
		return false;
	listeners_join(r, plan);
	return true;
}

/* Rights go before anything is read that a stranger has written, and before there are threads. */
static bool open_outside(struct running *r, struct listener_plan *plan, struct err *e)
{
	keyring_random(r->key, sizeof r->key);
	return make_homes(r, e) && first_generation(r, plan, e) && listeners_open_control(r, e) &&
	       give_up_rights(r->server.boot, r->opened, e);
}

static bool open_inside(struct running *r, struct err *e)
{
	struct server *s = &r->server;

	s->started_ms = clock_wall_ms();
	s->addresses = tally_new(r->key);
	s->accounts = tally_new(r->key);
	if (!s->addresses || !s->accounts)
		return err_set(e, ERR_LATER, "out of memory");
	/* A long queue takes its time to read. */
	notify_extend(&r->notify, OPEN_MS);
	if (!open_state(r, e) || !make_lanes(s, e))
		return false;
	s->gatekeeper = gatekeeper_new(s->boot, r->key, e);
	if (!s->gatekeeper)
		return false;
	s->gate = gatekeeper_gate(s->gatekeeper);
	s->dns = open_dns(s, e);
	if (!s->dns)
		return false;
	s->validation = validation_new(&s->homes[0]);
	if (!s->validation)
		return err_set(e, ERR_LATER, "out of memory");
	s->deliver = deliver_new(&s->homes[0], e);
	s->history = open_history(s->boot, e);
	if (s->boot->history.keep && !s->history)
		return false;
	s->keeper = s->deliver && ask_states(s, e) ? keeper_new(s, e) : NULL;
	s->health = s->keeper ? health_new(&s->homes[0], e) : NULL;
	r->reload = s->health ? reload_new(r, e) : NULL;
	s->reload = r->reload;
	r->cert_watch = r->reload ? cert_watch_new(r, e) : NULL;
	if (!r->cert_watch)
		return false;
	watch_start(s);
	token_warm(s, s->homes[0].now);
	return watch_for_the_end(r, e);
}

static enum log_format log_format(struct slice word)
{
	return slice_eq(word, S("text"))     ? LOG_PEOPLE
	       : slice_eq(word, S("logfmt")) ? LOG_LOGFMT
					     : LOG_JSON;
}

int serve_run(const char *config)
{
	struct running r = { 0 };
	struct err e = { 0 };
	struct listener_plan plan = { 0 };
	struct rlimit files;
	bool ok;

	/* As many descriptors as the system grants. */
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	umask(077);
	notify_open(&r.notify);
	r.config = config;
	r.server.boot = conf_read(config, &e);
	if (!r.server.boot)
		return complain(EXIT_CONFIG_WRONG, e.text);
	ok = open_outside(&r, &plan, &e) &&
	     log_start(STDERR_FILENO, log_format(r.server.boot->log.format), &e) &&
	     open_inside(&r, &e);
	if (ok) {
		log_event(LOG_STARTED, F_CSTR("version", SIGNET_VERSION), F_CSTR("config", config),
			  F_U64("pid", (uint64_t)getpid()), F_U64("threads", r.server.n_homes));
		/* Listeners first: a loop's events belong to its thread once that runs. */
		for (unsigned i = 0; i < r.server.n_homes; i++)
			listeners_change(&plan, &r.server.homes[i]);
		listeners_start_control(&r);
		ok = start_threads(&r, &e);
	}
	free(plan.at);
	if (ok) {
		run_to_the_end(&r);
		log_event(LOG_STOPPED, F_U64("accepted", atomic_load(&r.server.accepted)),
			  F_U64("exit", (uint64_t)r.exit_code));
	}
	close_all(&r);
	log_stop(2000);
	conf_free(r.server.boot);
	notify_close(&r.notify);
	if (!ok)
		return complain(e.kind == ERR_INPUT || e.kind == ERR_DENIED ? EXIT_CONFIG_WRONG
									    : EXIT_FAILED,
				e.text);
	return r.exit_code;
}
