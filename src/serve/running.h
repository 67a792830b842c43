/* serve/running.h -- a server from its start to its end, for the files that make up that life.
 *
 *   start.c       what is opened, in order
 *   rights.c      what is given up once that is done
 *   run.c         threads, and the wait for the end
 *   listeners.c   which addresses are open
 *   reload.c      another configuration takes the place of the one in use
 *   cert_watch.c  certificates that change by themselves
 *   shutdown.c    the end
 *
 * Belongs to the main thread, which is the first home's. */
#ifndef SERVE_RUNNING_H
#define SERVE_RUNNING_H

#include "ops/notify.h"
#include "serve/generation.h"
#include "serve/http_in.h"
#include "serve/server.h"
#include "serve/smtp_in.h"

#include <pthread.h>

#define EXIT_CONFIG_WRONG 78
#define EXIT_FAILED       69

/* One opened address of one loop. The list is the main thread's, who changes it only while no
 * reload is under way and the end has not come; what is in it, the home's. */
struct opened {
	struct opened *next;
	struct listener *listener; /* NULL: closed */
	struct home *home;
	const struct smtp_door *door; /* NULL: HTTP */
	enum http_door http;
};

struct running {
	struct server server;
	const char *config; /* the file */
	struct opened *opened;
	struct reload *reload;
	struct cert_watch *cert_watch;
	pthread_t *threads;
	struct notify notify;
	struct loop_timer grace, watch, alive;
	uint64_t key[2];
	bool stop_asked, grace_over;
	int exit_code;
};

/* -- rights.c -- */

/* After binding: no core files, no new privileges; of root's rights, with a user to become, only
 * that of opening low ports. The listeners go to that user. */
bool give_up_rights(const struct conf *, const struct opened *, struct err *e);

/* -- listeners.c -- */

enum listener_fate { LISTENER_OPENS, LISTENER_STAYS, LISTENER_CLOSES };

/* What becomes of each address when a generation enters. */
struct listener_plan {
	struct listener_change {
		struct opened *opened;
		enum listener_fate fate;
		const struct smtp_door *door; /* from then on; NULL: HTTP */
	} * at;
	size_t n;
	uint64_t opening, closing; /* addresses */
};

/* Opens what is not open yet. Closes nothing, and starts nothing. */
bool listeners_plan(const struct running *, const struct generation *, struct listener_plan *ret,
		    struct err *e);
/* Undoes that. */
void listeners_give_up(struct listener_plan *);
/* The fresh ones join the list; the closed ones leave it. On the main thread, before and after all
 * homes have done their part. */
void listeners_join(struct running *, const struct listener_plan *);
void listeners_leave(struct running *, struct listener_plan *);
/* A home's part. On its thread, or before that runs, while the old generation is still home->now.
 */
void listeners_change(const struct listener_plan *, struct home *);
bool listeners_open_control(struct running *, struct err *e);
void listeners_start_control(struct running *);

/* -- run.c -- */

bool start_threads(struct running *, struct err *e);
/* Until the end has come. */
void run_to_the_end(struct running *);

/* -- cert_watch.c -- */

struct cert_watch *cert_watch_new(struct running *, struct err *e);
void cert_watch_free(struct cert_watch *); /* NULL is fine */
/* Another generation may be in use: its files are looked at, as often as it says, from here on.
 * NULL is fine. */
void cert_watch_again(struct cert_watch *);

/* -- shutdown.c -- */

/* Signals and a broken spool are looked after from here on. */
bool watch_for_the_end(struct running *, struct err *e);
/* Nothing runs any more: everything is closed, in the order in which one needs the other. Takes
 * what was opened only in part. */
void close_all(struct running *);

#endif
