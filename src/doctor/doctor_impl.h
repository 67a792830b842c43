/* doctor/doctor_impl.h -- what the checks share.
 *
 *   doctor.c   the table, the processes, the output
 *   machine.c  configuration, permissions, disk, clock, limits, the spool and the server
 *   doors.c    certificates, our listeners, the open-relay test
 *   world.c    name service, our own name, routes
 *   talk.c     SMTP, spoken line by line against a deadline */
#ifndef DOCTOR_DOCTOR_IMPL_H
#define DOCTOR_DOCTOR_IMPL_H

#include "base/err.h"
#include "ops/conf.h"

enum level { LEVEL_OK, LEVEL_SKIP, LEVEL_WARN, LEVEL_FAIL };

struct doctor {
	const struct conf *conf;
	const char *config, *probe;
	bool running; /* a server answers on the control socket */
	int to;       /* where findings go */
};

/* One finding. what: a word or two, the same each time. why: one sentence with the facts. todo:
 * what to do about it; NULL: nothing. */
void tell(struct doctor *, enum level, const char *what, const char *todo, const char *why, ...)
    __attribute__((format(printf, 5, 6)));

typedef void check_fn(struct doctor *);
check_fn check_server, check_permissions, check_disk, check_clock, check_limits, check_spool;
check_fn check_certificates, check_listeners, check_relay;
check_fn check_dns, check_hostname, check_routes, check_issuers;

/* -- talk.c -- */

struct talk;

/* Connects within ms, and waits so long for each answer. NULL: *e. */
struct talk *talk_open(struct slice address, unsigned ms, struct err *e); /* ADDRESS:PORT */
struct talk *talk_open_host(struct slice host, unsigned port, unsigned ms, struct err *e);
void talk_close(struct talk *);
/* ca_file: whom to trust; empty: whom the system does. */
bool talk_tls(struct talk *, struct slice host, struct slice ca_file, struct err *e);
bool talk_verified(const struct talk *);
/* The code of the next reply, its lines (cut) in talk_text(); -1: none came. */
int talk_reply(struct talk *);
/* Sends a line, CRLF added, and waits for its reply. */
int talk_say(struct talk *, const char *line, ...) __attribute__((format(printf, 2, 3)));
/* Of the last reply: printable, lines separated by " / ". */
const char *talk_text(const struct talk *);
/* Whether a line of the last reply begins so, behind its code. */
bool talk_offers(const struct talk *, const char *keyword);

#endif
