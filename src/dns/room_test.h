/* dns/room_test.h -- the groups of this room's test program, and a name server of their own. */
#ifndef DNS_ROOM_TEST_H
#define DNS_ROOM_TEST_H

#include "base/slice.h"

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
// clang-format on

int rdata_tests(void);
int dns_tests(void);

/* What a name server says to a question: a whole record's data for each answer, or a code. */
struct served {
	const char *name; /* as asked, without the final dot */
	int type;
	int rcode;         /* -1: says nothing */
	const char *cname; /* answered first; the data stands at that name */
	struct slice data[4];
	size_t n;
	const char *sends_on; /* a zone: its NS record stands in the authority section */
	const char *begins;   /* a zone: its SOA record does */
};

struct name_server;

/* On a port of its own of 127.0.0.1, over UDP, in a thread. Names it does not know: NXDOMAIN. */
struct name_server *name_server_start(const struct served *, size_t n);
unsigned name_server_port(const struct name_server *);
unsigned name_server_asked(struct name_server *);
void name_server_stop(struct name_server *);

#endif
