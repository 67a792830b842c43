/* loop/tls_look.h -- TLS for somebody who looks at a server from outside: what a certificate says,
 * and a conversation on a blocking socket. For commands, never for a loop. */
#ifndef LOOP_TLS_LOOK_H
#define LOOP_TLS_LOOK_H

#include "base/err.h"
#include "base/slice.h"

#include <sys/types.h>

struct tls_look {
	int days_left;   /* of the first certificate; negative: it has expired */
	bool begun;      /* it is valid already */
	bool names_host; /* it bears the name asked for */
	bool key_matches;
	bool self_signed;
	bool in_order; /* each certificate of the file is issued by the next */
	bool trusted;  /* leads to an authority that this system knows */
	char why[120]; /* when it is not trusted */
	unsigned n;    /* certificates in the file */
};

/* A certificate file with its key, judged at this moment. False: a file cannot be read. */
bool tls_look(struct slice certificate, struct slice key, struct slice host, uint64_t now_s,
	      struct tls_look *ret, struct err *e);

struct tls_talk;

/* A client's handshake on a connected socket that blocks (SO_RCVTIMEO bounds it). host: SNI, and
 * the name to be verified. ca_file: empty: the system's. NULL: it failed. The descriptor stays the
 * caller's. */
struct tls_talk *tls_talk_new(int fd, struct slice host, struct slice ca_file, struct err *e);
/* The library's version, for the eye. */
const char *tls_version(void);
void tls_talk_free(struct tls_talk *); /* NULL is fine */
/* The peer's certificate names the host and is trusted. */
bool tls_talk_verified(const struct tls_talk *);
/* As read(2) and write(2). */
ssize_t tls_talk_read(struct tls_talk *, void *to, size_t n);
ssize_t tls_talk_write(struct tls_talk *, struct slice);

#endif
