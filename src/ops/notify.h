/* ops/notify.h -- telling the service manager: systemd's notification protocol (sd_notify(3)), a
 * datagram to the socket that $NOTIFY_SOCKET names.
 *
 * Without a manager every call does nothing. A datagram that cannot be sent is lost: the manager's
 * timeouts are its own. */
#ifndef OPS_NOTIFY_H
#define OPS_NOTIFY_H

#include "base/slice.h"

struct notify {
	int fd;               /* -1: nobody is told */
	uint64_t watchdog_ms; /* how often it wants to hear of us; 0: never */
};

/* Reads the environment, of which children would not be meant: takes the variables out of it. */
void notify_open(struct notify *);
void notify_close(struct notify *);

/* status: one line for people; empty: none. From any thread. */
void notify_ready(const struct notify *, struct slice status);
/* A reload begins; it ends with notify_ready(). */
void notify_reloading(const struct notify *);
void notify_stopping(const struct notify *, struct slice status);
void notify_alive(const struct notify *);
/* What takes long has so much more time from now on. */
void notify_extend(const struct notify *, uint64_t ms);

#endif
