/* fetch/fetch.h -- one HTTP request, made and waited for.
 *
 * For workers and the command line, never for a loop's thread. No redirect is followed, no proxy
 * and no file of the user's home is looked at. Any status the server sends is success here. */
#ifndef FETCH_FETCH_H
#define FETCH_FETCH_H

#include "base/buf.h"
#include "base/err.h"

struct fetch_request {
	const char *method;       /* "GET" */
	struct slice unix_socket; /* path of a local socket; empty: the host in `path` */
	struct slice path;        /* "/control/status"; without a socket a whole http(s) URL */
	struct slice body;        /* JSON; empty: none */
	unsigned timeout_ms;      /* for everything together; 0 is not allowed */
	size_t body_max;          /* of the response: beyond it the request has failed */
};

/* *ret_body is made here and the caller's to free with buf_done(); on failure it is empty and may
 * be freed too. ERR_LATER names the socket (or URL) that did not answer; ERR_INPUT: a request that
 * cannot be made, or a response larger than body_max. */
bool fetch_request(const struct fetch_request *, unsigned *ret_status, struct buf *ret_body,
		   struct err *e);

#endif
