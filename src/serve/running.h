/* serve/running.h -- a server from its start to its end, for the files that make up that life.
 *
 *   start.c     what is opened, in order
 *   rights.c    what is given up once that is done
 *   run.c       listeners, threads, and the wait for the end
 *   shutdown.c  the end
 *
 * Belongs to the main thread, which is the first home's. */
#ifndef SERVE_RUNNING_H
#define SERVE_RUNNING_H

#include "serve/http_in.h"
#include "serve/server.h"
#include "serve/smtp_in.h"

#include <pthread.h>

#define EXIT_CONFIG_WRONG 78
#define EXIT_FAILED       69

struct route_set;

/* One opened address: which loop accepts for which door. */
struct opened {
	struct listener *listener;
	struct home *home;
	struct smtp_door *door; /* NULL: HTTP */
	enum http_door http;
};

struct running {
	struct server server;
	struct smtp_door *doors;
	struct opened *opened;
	size_t n_opened;
	struct route_set *routes;
	pthread_t *threads;
	struct loop_timer grace, watch;
	uint64_t key[2];
	bool stop_asked, grace_over;
	int exit_code;
};

/* -- rights.c -- */

/* After binding: no core files, no new privileges; of root's rights, with a user to become, only
 * that of opening low ports. */
bool give_up_rights(const struct conf *, struct err *e);

/* -- run.c -- */

bool start_listeners(struct running *, struct err *e);
bool start_threads(struct running *, struct err *e);
/* Until the end has come. */
void run_to_the_end(struct running *);

/* -- shutdown.c -- */

/* Signals and a broken spool are looked after from here on. */
bool watch_for_the_end(struct running *, struct err *e);
/* Nothing runs any more: everything is closed, in the order in which one needs the other. Takes
 * what was opened only in part. */
void close_all(struct running *);

#endif
