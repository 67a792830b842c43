/* http/conn.h -- the server side of HTTP/1.1 (RFC 9110, 9112) as a pure state machine.
 *
 * A strict subset: what two parsers could read in two ways is refused with 400 and the connection
 * ends. Only CRLF ends a line; no folded fields, no blank before the colon, no control bytes;
 * exactly one Host; Content-Length once and digits only; Content-Length and Transfer-Encoding
 * never together; chunked only, without extensions or trailers; the target in origin form.
 *
 * The caller holds the bytes: `in` is shortened by what was understood, replies are appended to
 * `out`. One request at a time: nothing behind it is read before it has its reply, so pipelining
 * needs no queue. Time is a parameter (the Date field). */
#ifndef HTTP_CONN_H
#define HTTP_CONN_H

#include "base/buf.h"

struct http_conn;

struct http_config {
	size_t head_max;       /* bytes of request line and fields: 431 (the line alone: 414) */
	size_t target_max;     /* bytes of the target: 414; 0: head_max alone limits it */
	size_t fields_max;     /* 431 */
	uint64_t body_max;     /* 413 */
	uint32_t requests_max; /* of a connection, then Connection: close; 0: no limit */
};

enum http_want {
	HTTP_WANT_INPUT, /* nothing complete: read more */
	HTTP_WANT_FLUSH, /* `out` is nearly full */
	HTTP_WANT_REPLY, /* a question is open */
	HTTP_GOT_HEAD,   /* method, target and fields can be asked for; a reply may be given already
			  */
	HTTP_GOT_BODY,   /* ev->body: a run of the body, a part of `in` */
	HTTP_ASK_REPLY,  /* the request is complete: ev->question */
	HTTP_DO_CLOSE,   /* flush `out`, close; a request that was begun is dropped */
};

/* Which deadline runs: the driver arms its timer by it and calls http_conn_expire(). */
enum http_clock {
	HTTP_CLOCK_IDLE, /* nothing of a request has come */
	HTTP_CLOCK_HEAD, /* from the first byte of a request to the end of its fields */
	HTTP_CLOCK_BODY, /* until its body is complete */
	HTTP_CLOCK_NONE, /* the peer waits for us, or all is over */
};

struct http_event {
	uint32_t question; /* GOT_HEAD and ASK_REPLY: never 0, the same for both */
	struct slice body;
};

struct http_reply {
	unsigned status;
	struct slice content_type; /* empty: no body */
	struct slice body;
	struct slice date;   /* RFC 9110 IMF-fixdate, or empty */
	struct slice fields; /* more fields of our own, made by http_add_field(), or empty */
};

/* The least ceiling of `out`; a reply's body comes on top. */
#define HTTP_OUT_MIN 4096

/* For struct http_reply: appends "name: value CRLF". The value is cut before its first control
 * byte: what came from elsewhere opens no field. */
void http_add_field(struct buf *fields, const char *name, struct slice value);

/* The config must outlive the connection. NULL: memory is out. */
struct http_conn *http_conn_new(const struct http_config *);
void http_conn_free(struct http_conn *);

enum http_want http_conn_step(struct http_conn *, struct slice *in, struct buf *out,
			      struct http_event *ev);
/* False if the question is not the open one. A reply while a part of the body is still to come
 * ends the connection, for the rest of the request is not read. The whole body goes into `out`:
 * see to its ceiling. Status 200 to 599; with 204 and 304 no body. */
bool http_conn_reply(struct http_conn *, uint32_t question, const struct http_reply *,
		     struct buf *out);
/* The Date of the machine's own refusals (29 bytes at most; copied). Set it before each step()
 * or leave it: without, they carry none. */
void http_conn_date(struct http_conn *, struct slice date);
/* The peer has ended its side: what came complete is still answered, an incomplete request is
 * dropped; step() then says DO_CLOSE. */
void http_conn_eof(struct http_conn *);
enum http_clock http_conn_clock(const struct http_conn *);
/* A deadline passed: 408 when a request had begun (503 when it waited for our own reply), then
 * close. A reply that comes later is refused. */
void http_conn_expire(struct http_conn *, struct buf *out);
/* Between requests: nothing of a next one has come. */
bool http_conn_idle(const struct http_conn *);

/* Of the request at hand, from GOT_HEAD to its reply; valid until then. */
struct slice http_method(const struct http_conn *);
struct slice http_path(const struct http_conn *);  /* of the target, still encoded */
struct slice http_query(const struct http_conn *); /* behind the '?', still encoded */
/* The first of that name (ASCII case aside). Authorization and Content-Type come at most once. */
bool http_field(const struct http_conn *, struct slice name, struct slice *ret);

/* Percent-decoding (RFC 3986 2.1) of one path segment, appended to out: '+' is a plus. False (bad
 * hex, NUL, or no room) leaves out's bytes as they were. Nothing is said of UTF-8. */
bool http_decode(struct slice in, struct buf *out);
/* A parameter of a query, decoded ('+' is a space) into out; "name[]" counts as name. nth: 0 is
 * the first of that name. False: there is none, or it is malformed; out's bytes are as they were.
 */
bool http_query_get(struct slice query, struct slice name, size_t nth, struct buf *out);

const char *http_reason(unsigned status);

#endif
