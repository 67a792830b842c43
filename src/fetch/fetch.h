/* fetch/fetch.h -- one HTTP request, made and waited for.
 *
 * For workers and the command line, never for a loop's thread. No redirect is followed, no proxy
 * and no file of the user's home is looked at. Any status the server sends is success here. */
#ifndef FETCH_FETCH_H
#define FETCH_FETCH_H

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"

struct fetch_request {
	const char *method;       /* "GET" */
	struct slice unix_socket; /* path of a local socket; empty: the host in `path` */
	struct slice path;        /* "/control/status"; without a socket a whole http(s) URL */
	struct slice body;        /* JSON, or what `form` says; empty: none */
	bool form;                /* the body is application/x-www-form-urlencoded */
	struct slice user; /* empty: no Authorization; else Basic, as RFC 6749 2.3.1 has it */
	struct secret password;
	struct slice ca_file; /* certificates to trust; empty: the system's */
	unsigned timeout_ms;  /* for everything together; 0 is not allowed */
	size_t body_max;      /* of the response: beyond it the request has failed */
};

/* *ret_body is made here and the caller's to free with buf_done(); on failure it is empty and may
 * be freed too. ERR_LATER names the socket (or URL) that did not answer; ERR_INPUT: a request that
 * cannot be made, or a response larger than body_max. */
bool fetch_request(const struct fetch_request *, unsigned *ret_status, struct buf *ret_body,
		   struct err *e);

/* Appends text as a form has it (the WHATWG URL standard, 5.2): letters, digits, *-._ as they are.
 */
void fetch_add_form(struct buf *out, struct slice text);

#endif
