/* http/head.h -- a request's line and fields, parsed strictly. */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

#include "base/slice.h"

struct http_head {
	struct slice method, path, query;
	struct slice fields; /* all of them, each known to be "name: value CRLF" */
	bool close;          /* Connection: close, or HTTP/1.0 */
	bool chunked, expect;
	uint64_t length;
};

struct http_limits {
	size_t fields, target;
};

/* head: up to and with the empty line. 0, or the status that refuses it. */
unsigned http_head_parse(struct slice head, struct http_limits max, struct http_head *ret);
/* Takes "name: value CRLF" off *in: a token, a colon, no control byte but tab. False (and *in is
 * of no use then): it is not one. */
bool http_head_take_field(struct slice *in, struct slice *ret_name, struct slice *ret_value);
/* The first field of that name, without blanks around its value. */
bool http_head_field(const struct http_head *, struct slice name, struct slice *ret);

#endif
