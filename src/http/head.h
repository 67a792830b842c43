/* http/head.h -- a request's line and fields, parsed strictly. */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

#include "base/slice.h"

struct http_head {
	struct slice method, path, query;
	struct slice fields; /* all of them, each known to be "name: value CRLF" */
	bool close;          /* Connection: close, or HTTP/1.0 */
	bool chunked, expect;
	bool last_chunk; /* the reader's */
	uint64_t length;
};

/* head: up to and with the empty line. 0, or the status that refuses it. */
unsigned http_head_parse(struct slice head, size_t fields_max, struct http_head *ret);
/* The first field of that name, without blanks around its value. */
bool http_head_field(const struct http_head *, struct slice name, struct slice *ret);

#endif
