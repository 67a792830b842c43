/* http/conn_impl.h -- what the room's own files share. */
#ifndef HTTP_CONN_IMPL_H
#define HTTP_CONN_IMPL_H

#include "http/conn.h"

/* The whole reply. no_body: it answers HEAD (RFC 9110 9.3.2). */
void http_reply_add(struct buf *out, const struct http_reply *r, bool no_body, bool close);

#endif
