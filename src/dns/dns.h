/* dns/dns.h -- questions to the name service, answered later, validated (DNSSEC).
 *
 * A resolver of our own (libunbound) in a thread of its own: signatures of a hostile zone cost that
 * thread, and no loop. Questions and answers belong to one loop's thread. Every question has an
 * answer within the timeout, whatever the name servers do; then the answer is DNS_TROUBLE. What is
 * asked at once is bounded, answers are cut at DNS_RECORDS. Answers are remembered for their time
 * to live, at most an hour (five minutes for what is not there). */
#ifndef DNS_DNS_H
#define DNS_DNS_H

#include "base/err.h"
#include "base/slice.h"
#include "loop/loop.h"

#define DNS_RECORDS 1000 /* of one answer; further ones are not looked at */
#define DNS_OPEN    1024 /* questions at once */

struct dns;

enum dns_type { DNS_A = 1, DNS_NS = 2, DNS_MX = 15, DNS_AAAA = 28 };

enum dns_state {
	DNS_FOUND,    /* at least one record */
	DNS_NODATA,   /* the name is there, none of that type */
	DNS_NXDOMAIN, /* the name is not there */
	DNS_TROUBLE,  /* no answer, or none to be believed: ask again later */
};

struct dns_answer {
	enum dns_state state;
	bool secure;    /* validated, existence or absence */
	bool bogus;     /* TROUBLE because the validation failed */
	unsigned rcode; /* RFC 6895 2.3 */
	uint32_t ttl;   /* seconds, at most an hour */
	struct slice
	    canonical; /* the name at the end of the CNAMEs; empty: the one that was asked */
	const struct slice *records; /* the data of each, in the order they came */
	size_t n;
	struct slice why; /* TROUBLE: a sentence; it may hold bytes of strangers */
};

struct dns_conf {
	const struct slice *forward; /* ADDRESS:PORT, IPv6 in brackets; none: see recursive */
	size_t n_forward;
	bool recursive; /* without forward: ask from the root down, not /etc/resolv.conf's */
	struct slice trust_anchor;    /* file with the root's key; empty: nothing is validated */
	const struct slice *insecure; /* zones of one's own that no signed parent knows of */
	size_t n_insecure;
	uint64_t timeout_ms; /* of a question in all */
};

/* Embedded in what it is about; stays where it is until done() or dns_cancel(). */
struct dns_query {
	void (*done)(struct dns_query *,
		     const struct dns_answer *); /* the answer lives in it only */
	/* insiders */
	struct dns *dns;
	struct dns_query *next, **at;
	struct loop_timer timer;
	int number;
	bool asked;
};

/* conf is not kept. NULL: the text names the option. */
struct dns *dns_new(struct loop *, const struct dns_conf *, struct err *e);
/* Open questions are forgotten. NULL is fine. */
void dns_free(struct dns *);

/* done() comes from the loop, never from here. False: too much is being asked, or memory is out.
 * A name that is none of a host (dns_host_name()) does not exist; "." is fine. */
bool dns_ask(struct dns *, struct dns_query *, struct slice name, enum dns_type);
/* Nothing will be heard of it. Fine for one that is not open. */
void dns_cancel(struct dns_query *);

/* Why nothing is validated; NULL: answers are, if the servers that are asked let them be. */
const char *dns_unvalidated(const struct dns *);

#endif
