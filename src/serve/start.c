/* serve/start.c -- start-up, read as a list of what is opened and of what is given up; the end. */
#include "serve/start.h"

#include "account/account.h"
#include "auth/known.h"
#include "base/must.h"
#include "loop/listener.h"
#include "ops/clock.h"
#include "ops/log.h"
#include "sender/domain.h"
#include "serve/deliver.h"
#include "serve/from_conf.h"
#include "serve/http_in.h"
#include "serve/route_set.h"
#include "serve/server.h"
#include "serve/smtp_in.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXIT_CONFIG_WRONG 78
#define EXIT_FAILED       69

/* After the grace, so long for the last replies and for commits under way. */
#define LAST_WORDS_MS 5000

#define WORKERS      2
#define FILE_WORKERS 4
#define NAME_WORKERS 2
#define QUEUE_MAX    65536
#define SENDER_CACHE 4096
/* Logins a loop remembers: a power of two. */
#define KNOWN_LOGINS 1024

/* One opened address: which loop accepts for which door. */
struct opened {
	struct listener *listener;
	struct home *home;
	struct smtp_door *door; /* NULL: the control socket */
	pthread_t unused;
};

struct running {
	struct server server;
	struct smtp_door *doors;
	struct opened *opened;
	size_t n_opened;
	struct route_set *routes;
	pthread_t *threads;
	struct loop_task *tasks; /* for messages to the homes at the end */
	struct loop_timer grace, watch;
	uint64_t key[2];
	bool stop_asked, grace_over;
	int exit_code;
};

static int complain(int code, const char *text)
{
	fprintf(stderr, "signet: %s\n", text);
	return code;
}

/* -- opening -- */

static bool open_routes(struct running *r, struct err *e)
{
	r->routes = route_set_new(r->server.conf, e);
	if (r->routes)
		r->server.routes = route_set_routes(r->routes);
	return r->routes;
}

static bool make_doors(struct running *r, struct err *e)
{
	const struct conf *c = r->server.conf;
	struct tls_server_conf tls = { .certificates = c->tls.certificate.at,
				       .keys = c->tls.key.at,
				       .n = c->tls.certificate.n,
				       .alpn = S("smtp") };

	r->doors = calloc(c->n_listeners, sizeof *r->doors);
	if (!r->doors)
		return err_set(e, ERR_LATER, "out of memory");
	for (size_t i = 0; i < c->n_listeners; i++) {
		struct smtp_door *d = &r->doors[i];

		d->server = &r->server;
		d->name = c->listeners[i].name;
		d->session = session_conf(c, slice_eq(c->listeners[i].tls, S("implicit")));
		/* A context for each listener: a ticket of one is none of another's. */
		d->tls = tls_server_new(&tls, e);
		if (!d->tls)
			return false;
	}
	return true;
}

static bool open_one(struct running *r, struct slice address, struct home *home,
		     struct smtp_door *door, struct err *e)
{
	struct opened *o = &r->opened[r->n_opened];

	o->listener = listener_open(address, e);
	if (!o->listener)
		return false;
	o->home = home;
	o->door = door;
	r->n_opened++;
	return true;
}

static bool open_listeners(struct running *r, struct err *e)
{
	const struct conf *c = r->server.conf;
	char control[128];
	size_t n = 1;

	for (size_t i = 0; i < c->n_listeners; i++)
		n += c->listeners[i].address.n * r->server.n_homes;
	r->opened = calloc(n, sizeof *r->opened);
	if (!r->opened)
		return err_set(e, ERR_LATER, "out of memory");
	for (size_t i = 0; i < c->n_listeners; i++)
		for (size_t a = 0; a < c->listeners[i].address.n; a++)
			for (unsigned h = 0; h < r->server.n_homes; h++)
				if (!open_one(r, c->listeners[i].address.at[a], &r->server.homes[h],
					      &r->doors[i], e)) {
					err_in(e, "listener");
					return false;
				}
	snprintf(control, sizeof control, "unix:%.*s", SLICE_ARG(c->control_socket));
	return open_one(r, slice_str(control), &r->server.homes[0], NULL, e) ||
	       err_in(e, "control_socket");
}

static bool make_homes(struct running *r, struct err *e)
{
	struct server *s = &r->server;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned char login_key[AUTH_KNOWN_KEY];

	s->n_homes = s->conf->threads ? (unsigned)s->conf->threads
		     : cores > 0      ? (unsigned)cores
				      : 1;
	s->homes = calloc(s->n_homes, sizeof *s->homes);
	if (!s->homes)
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

static bool open_state(struct running *r, struct err *e)
{
	struct server *s = &r->server;
	const struct conf *c = s->conf;
	char path[4200];
	struct spool_conf sc = { .path = c->spool.path,
				 .segment_bytes = c->spool.segment,
				 .reserve_bytes = c->spool.reserve,
				 .messages_max = c->spool.messages_max,
				 .hash_key = { r->key[0], r->key[1] } };

	if (!data_path(c, "master.key", path, sizeof path, e))
		return false;
	s->keyring = keyring_open(slice_str(path), e);
	if (!s->keyring)
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
	struct lane_conf names = { .name = "names",
				   .threads = NAME_WORKERS,
				   .queue_max = QUEUE_MAX };

	s->work = lane_new(&work, e);
	s->files = s->work ? lane_new(&files, e) : NULL;
	s->names = s->files ? lane_new(&names, e) : NULL;
	s->committer = s->names ? batch_new("committer", QUEUE_MAX, commit_run, s, e) : NULL;
	return s->committer;
}

/* -- giving up -- */

static bool become(const struct conf *c, struct err *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { 0 };
	char name[80], control[128];
	struct passwd *pw;

	/* No core file: keys and messages are in memory. */
	if (prctl(PR_SET_DUMPABLE, 0) || setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }))
		return err_set(e, ERR_LATER, "core files: %s", strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_set(e, ERR_LATER, "no_new_privs: %s", strerror(errno));
	if (geteuid() != 0 || !c->user.n)
		return true;
	snprintf(name, sizeof name, "%.*s", SLICE_ARG(c->user));
	pw = getpwnam(name);
	if (!pw)
		return err_set(e, ERR_INPUT, "user: no user %s", name);
	/* It was opened as root; its user may call, too. */
	snprintf(control, sizeof control, "%.*s", SLICE_ARG(c->control_socket));
	if (lchown(control, pw->pw_uid, pw->pw_gid))
		return err_set(e, ERR_DENIED, "%s: %s", control, strerror(errno));
	if (prctl(PR_SET_KEEPCAPS, 1) || setgroups(0, NULL) || setgid(pw->pw_gid) ||
	    setuid(pw->pw_uid))
		return err_set(e, ERR_DENIED, "user %s: %s", name, strerror(errno));
	/* To open listeners again at a reload, and nothing else. */
	caps[0].effective = caps[0].permitted = 1u << CAP_NET_BIND_SERVICE;
	if (syscall(SYS_capset, &head, caps))
		return err_set(e, ERR_DENIED, "capabilities: %s", strerror(errno));
	return true;
}

/* -- running -- */

static void accepted(void *arg, int fd)
{
	struct opened *o = arg;

	if (o->door)
		smtp_in_accept(o->home, o->door, fd);
	else
		http_in_accept(o->home, fd);
}

static bool start_listeners(struct running *r, struct err *e)
{
	for (size_t i = 0; i < r->n_opened; i++) {
		struct opened *o = &r->opened[i];

		if (!listener_start(o->listener, o->home->loop, accepted, o))
			return err_set(e, ERR_LATER, "listener: out of memory");
		if (o->door && o->home->index == 0)
			log_event(
			    LOG_LISTENING, F_STR("listener", o->door->name),
			    F_U64("port", listener_port(o->listener)),
			    F_CSTR("tls", o->door->session.implicit_tls ? "implicit" : "starttls"));
	}
	return true;
}

static void *home_main(void *arg)
{
	struct home *h = arg;

	loop_run(h->loop);
	return NULL;
}

static size_t smtp_open(const struct server *s)
{
	return (size_t)atomic_load(&s->connections);
}

/* -- the end -- */

struct home_task {
	struct loop_task task;
	struct running *running;
	struct home *home;
	bool now;
};

static void on_home_shutdown(struct loop_task *t)
{
	struct home_task *ht = (struct home_task *)(void *)t;
	struct running *r = ht->running;

	for (size_t i = 0; i < r->n_opened; i++)
		if (r->opened[i].home == ht->home && r->opened[i].door)
			listener_stop(r->opened[i].listener);
	smtp_in_shutdown(ht->home->smtp_in, ht->now);
	free(ht);
}

static void tell_homes(struct running *r, bool now)
{
	for (unsigned i = 0; i < r->server.n_homes; i++) {
		struct home_task *t = calloc(1, sizeof *t);

		if (!t)
			continue;
		*t = (struct home_task){ .task.run = on_home_shutdown,
					 .running = r,
					 .home = &r->server.homes[i],
					 .now = now };
		loop_post(r->server.homes[i].loop, &t->task);
	}
}

static void stop_loops(struct running *r)
{
	for (unsigned i = 0; i < r->server.n_homes; i++)
		loop_stop(r->server.homes[i].loop);
}

/* Every so often while ending, and while running: is there still something to wait for? */
static void on_watch(void *arg)
{
	struct running *r = arg;

	if (atomic_load(&r->server.spool_broken) && !r->stop_asked) {
		/* What the disk holds is only known by reading it afresh: the supervisor starts us
		 * again. Nothing was acknowledged that is not there. */
		r->exit_code = EXIT_FAILED;
		stop_loops(r);
		return;
	}
	if (r->stop_asked && smtp_open(&r->server) == 0 &&
	    (r->grace_over || deliver_busy(r->server.deliver) == 0)) {
		stop_loops(r);
		return;
	}
	loop_timer_set(&r->watch, r->stop_asked ? 20 : 200);
}

static void on_grace(void *arg)
{
	struct running *r = arg;

	/* Whoever does not even read the 421, and a disk that does not end a commit, are left
	 * behind. */
	if (r->grace_over) {
		loop_timer_cancel(&r->watch);
		stop_loops(r);
		return;
	}
	r->grace_over = true;
	tell_homes(r, true);
	loop_timer_set(&r->grace, LAST_WORDS_MS);
	loop_timer_set(&r->watch, 20);
}

static void on_signal(void *arg, int signo)
{
	struct running *r = arg;

	if (signo == SIGHUP) {
		log_event(
		    LOG_WARNING,
		    F_CSTR("about", "reload is not there: restart to change the configuration"));
		return;
	}
	if (r->stop_asked)
		return;
	r->stop_asked = true;
	atomic_store(&r->server.stopping, true);
	log_event(LOG_STOPPING, F_U64("signal", (uint64_t)signo),
		  F_U64("connections", smtp_open(&r->server)));
	deliver_shutdown(r->server.deliver);
	tell_homes(r, false);
	loop_timer_set(&r->grace, r->server.conf->limits.shutdown_grace);
	loop_timer_set(&r->watch, 20);
}

static void close_all(struct running *r)
{
	struct server *s = &r->server;

	for (size_t i = 0; i < r->n_opened; i++)
		listener_close(r->opened[i].listener);
	for (unsigned i = 0; s->homes && i < s->n_homes; i++)
		if (s->homes[i].smtp_in)
			smtp_in_abort(s->homes[i].smtp_in);
	/* Jobs under way end first, then the commits they may have asked for. What they send back
	 * to the loops is not run any more: outcomes are durable, answers have nobody to go to. */
	lane_free(s->names);
	lane_free(s->files);
	lane_free(s->work);
	batch_free(s->committer);
	deliver_free(s->deliver);
	if (s->spool)
		s->spool_backend->close(s->spool);
	store_close(s->store);
	keyring_close(s->keyring);
	for (unsigned i = 0; s->homes && i < s->n_homes; i++) {
		smtp_in_home_free(s->homes[i].smtp_in);
		sender_cache_free(s->homes[i].senders);
		auth_known_free(s->homes[i].logins);
		loop_free(s->homes[i].loop);
	}
	for (size_t i = 0; r->doors && i < s->conf->n_listeners; i++)
		tls_server_free(r->doors[i].tls);
	tally_free(s->addresses);
	tally_free(s->accounts);
	free(s->homes);
	free(r->opened);
	free(r->doors);
	route_set_free(r->routes);
	free(r->threads);
}

static bool open_all(struct running *r, struct err *e)
{
	struct server *s = &r->server;

	keyring_random(r->key, sizeof r->key);
	s->started_ms = clock_wall_ms();
	s->addresses = tally_new(r->key);
	s->accounts = tally_new(r->key);
	if (!s->addresses || !s->accounts)
		return err_set(e, ERR_LATER, "out of memory");
	if (!open_routes(r, e) || !make_doors(r, e) || !make_homes(r, e) || !open_listeners(r, e) ||
	    !become(s->conf, e) || !open_state(r, e) || !make_lanes(s, e))
		return false;
	s->submit = submit_conf(s->conf);
	s->deliver = deliver_new(&s->homes[0], e);
	return s->deliver && loop_signals(s->homes[0].loop, on_signal, r, e);
}

static bool start_threads(struct running *r, struct err *e)
{
	struct server *s = &r->server;
	sigset_t all, old;
	bool ok = true;

	r->threads = calloc(s->n_homes, sizeof *r->threads);
	if (!r->threads)
		return err_set(e, ERR_LATER, "out of memory");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 1; ok && i < s->n_homes; i++)
		ok = !pthread_create(&r->threads[i], NULL, home_main, &s->homes[i]);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ok || err_set(e, ERR_LATER, "cannot start threads");
}

/* What is set aside is said at every start, until somebody looks. */
static void log_damage(const struct server *s)
{
	struct spool_damage d[16];
	size_t from = 0, n;

	do {
		n = s->spool_backend->damaged(s->spool, from, d, 16);
		for (size_t i = 0; i < n; i++)
			log_event(LOG_SPOOL_DAMAGED, F_CSTR("where", d[i].where),
				  F_CSTR("reason", d[i].reason), F_ID("id", d[i].id));
		from += n;
	} while (n == 16 && from < 1000);
}

static void run(struct running *r)
{
	struct server *s = &r->server;

	loop_timer_init(&r->grace, s->homes[0].loop, on_grace, r);
	loop_timer_init(&r->watch, s->homes[0].loop, on_watch, r);
	loop_timer_set(&r->watch, 200);
	log_damage(s);
	deliver_wake(s->deliver);
	loop_run(s->homes[0].loop);
	for (unsigned i = 1; i < s->n_homes; i++)
		pthread_join(r->threads[i], NULL);
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
	struct rlimit files;
	bool ok;

	/* As many descriptors as the system grants. */
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	umask(077);
	r.server.conf = conf_read(config, &e);
	if (!r.server.conf)
		return complain(EXIT_CONFIG_WRONG, e.text);
	if (!log_start(STDERR_FILENO, log_format(r.server.conf->log.format), &e))
		return complain(EXIT_FAILED, e.text);
	ok = open_all(&r, &e);
	if (ok) {
		log_event(LOG_STARTED, F_CSTR("version", SIGNET_VERSION), F_CSTR("config", config),
			  F_U64("pid", (uint64_t)getpid()), F_U64("threads", r.server.n_homes));
		/* Listeners first: a loop's events belong to its thread once that runs. */
		ok = start_listeners(&r, &e) && start_threads(&r, &e);
	}
	if (ok) {
		run(&r);
		log_event(LOG_STOPPED, F_U64("accepted", atomic_load(&r.server.accepted)),
			  F_U64("exit", (uint64_t)r.exit_code));
	}
	close_all(&r);
	log_stop(2000);
	conf_free(r.server.conf);
	if (!ok)
		return complain(e.kind == ERR_INPUT || e.kind == ERR_DENIED ? EXIT_CONFIG_WRONG
									    : EXIT_FAILED,
				e.text);
	return r.exit_code;
}
