/* proxy/proxy.h -- the header with which a load balancer says whom it speaks for: the PROXY
 * protocol, versions 1 and 2, receiving side.
 *
 * A pure parser over a slice: no socket, no list of peers. Who may send one is the caller's to
 * know, and he demands it of them: an optional header would let everybody choose an address.
 *
 * Behind the header stand the connection's own bytes (a TLS ClientHello, perhaps), so the caller
 * must not read past it: proxy_wants() says how many bytes may be read at most, and is never more
 * than what is still missing. */
#ifndef PROXY_PROXY_H
#define PROXY_PROXY_H

#include "base/err.h"
#include "base/net.h"

/* Longest header that is taken. Version 1 has at most 107 bytes by its definition; a version 2
 * header with addresses and every TLV that is defined (a TLS certificate's name among them) stays
 * far below this. */
#define PROXY_V1_MAX 107
#define PROXY_V2_MAX 2048

enum proxy_kind {
	PROXY_CLIENT,  /* address and port are the client's */
	PROXY_LOCAL,   /* version 2, LOCAL: the balancer itself, a health check: its own address
			  counts */
	PROXY_UNKNOWN, /* it does not know, or speaks for something without an address: the same */
};

struct proxy_header {
	enum proxy_kind kind;
	unsigned version; /* 1 or 2 */
	unsigned char address[NET_BYTES];
	uint16_t port;
};

enum proxy_result {
	PROXY_OK,   /* *in has lost the header, nothing else */
	PROXY_MORE, /* *in is untouched: read proxy_wants() bytes more */
	PROXY_BAD,  /* *e says why; *in is untouched */
};

enum proxy_result proxy_parse(struct slice *in, struct proxy_header *ret, struct err *e);
/* How many bytes can be read behind those at hand without reading past the header. At least 1
 * while proxy_parse() says PROXY_MORE. */
size_t proxy_wants(struct slice have);

#endif
