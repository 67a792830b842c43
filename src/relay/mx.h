/* relay/mx.h -- what the name service's answers mean for a destination (RFC 5321 section 5).
 *
 * Pure: the answers, our own name and the randomness are parameters. A destination that fails for
 * good gets the code it fails with; what may be otherwise next time is never a failure. */
#ifndef RELAY_MX_H
#define RELAY_MX_H

#include "base/slice.h"

#define MX_HOSTS 20 /* hosts of a destination that are tried; the worse ones are not */
#define MX_NAME  253
#define MX_TEXT  240

struct mx_host {
	struct slice name; /* lower case, without a final dot; empty: the root, RFC 7505 */
	uint16_t preference;
};

enum mx_got {
	MX_GOT_RECORDS,
	MX_GOT_NONE,    /* the name is there, no such record */
	MX_GOT_NO_NAME, /* NXDOMAIN */
	MX_GOT_TROUBLE, /* SERVFAIL, no answer, an answer that does not validate */
	MX_GOT_NOT_ASKED,
};

struct mx_facts {
	enum mx_got mx;
	const struct mx_host *records; /* those with the name of a host, or of the root */
	size_t n;
	size_t odd;          /* with a name that is none of a host: an address, a blank */
	size_t bad;          /* that could not be read */
	enum mx_got address; /* A and AAAA of the destination; needed when it has no MX */
	struct slice why;    /* of a TROUBLE; bytes of strangers */
};

enum mx_verdict {
	MX_TO_HOSTS,
	MX_ASK_ADDRESSES, /* no MX: its own addresses, if there are any, are its host */
	MX_FAILED,        /* for good: code and text */
	MX_LATER,         /* text says why */
};

struct mx_decision {
	enum mx_verdict verdict;
	struct mx_host hosts[MX_HOSTS]; /* best first; equal ones by name. Slices of the facts' */
	size_t n;
	int code;
	char text[MX_TEXT]; /* begins with the enhanced code when code is set */
};

/* own: the name this server goes by. */
void mx_decide(const struct mx_facts *, struct slice dest, struct slice own,
	       struct mx_decision *ret);

/* The order in which hosts are tried: as sorted, those of equal preference shuffled (RFC 5321 5.1).
 * random: uniform; the same one gives the same order. */
void mx_shuffle(const struct mx_host *sorted, size_t n, uint64_t random, uint8_t ret[MX_HOSTS]);

#endif
