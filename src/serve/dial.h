/* serve/dial.h -- from the name of a host to a connected socket.
 *
 * Looks the host's addresses up and connects to them in the manner of RFC 8305: IPv6 and IPv4 take
 * turns, the next one begins when one has failed or after a quarter of a second, and the first that
 * stands wins. A mail exchanger's addresses come from our own resolver and pass the guard, and it
 * is those that are connected to: the name is not asked again. A smart host's come from the system,
 * on a lane that may hang. Belongs to the first loop. */
#ifndef SERVE_DIAL_H
#define SERVE_DIAL_H

#include "dns/dns.h"
#include "loop/work.h"
#include "relay/route.h"

#define DIAL_ADDRESSES 16
#define DIAL_REMOTE    336 /* a host's name, an address, a port */

struct home;

enum dial_end {
	DIAL_CONNECTED,  /* fd is the caller's from now on */
	DIAL_FAILED,     /* this time: why */
	DIAL_NO_ADDRESS, /* it has none, and that is certain: why */
};

struct dial_address {
	char text[64];
};

struct dial;

/* A connection on its way. */
struct dial_attempt {
	struct dial *dial;
	struct loop_io io;
	uint64_t began_ms;
	bool open;
	size_t address;
};

/* Embedded, zeroed before its first use. */
struct dial {
	void (*done)(struct dial *); /* may free the dial */
	/* the end */
	enum dial_end end;
	int fd;
	char remote[DIAL_REMOTE]; /* where it is connected to, or what was tried last */
	struct err why;
	/* insiders */
	struct home *home;
	const struct route *route;
	struct slice host;
	bool exchanger; /* resolved and guarded by us */
	bool running;
	struct job job;
	bool job_out; /* with a worker: done() comes, whatever happens */
	struct dns_query a, aaaa;
	unsigned asked; /* not answered yet */
	bool trouble;   /* an answer was none */
	bool guarded;   /* an address was not to be connected to */
	struct dial_address addresses[DIAL_ADDRESSES];
	size_t n_addresses, next;
	struct dial_attempt attempts[DIAL_ADDRESSES];
	size_t n_open;
	struct loop_timer timer;
};

/* host: a name; an address; for a mail exchanger also an address literal in brackets. It and the
 * route outlive the dial. False: it could not begin, for want of memory or of a worker; done() does
 * not come then. Else it comes once, from the loop. */
bool dial_start(struct dial *, struct home *, const struct route *, struct slice host,
		bool exchanger);
/* Ends it. True: done() will not come. False: it will, a worker has the job still. */
bool dial_stop(struct dial *);

#endif
