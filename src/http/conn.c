#include "http/conn.h"

#include "http/head.h"

#include <stdlib.h>

enum state { AT_HEAD, AT_BODY, AT_CHUNK, AT_CHUNK_DATA, AT_CHUNK_END, AT_LAST, AT_REPLY, AT_CLOSE };

/* The longest chunk-size line: 8 hex digits and CRLF. */
#define CHUNK_LINE 10

struct http_conn {
	const struct http_config *cfg;
	enum state state;
	struct buf head; /* of the request at hand: slices of `request` point here */
	size_t scanned;  /* of the head: where its end was looked for already */
	struct http_head request;
	uint32_t question, requests;
	bool asked;   /* the question is open */
	bool told;    /* GOT_HEAD was said */
	bool close;   /* after the reply */
	bool proceed; /* 100 Continue is owed */
	uint64_t left, body;
};

struct http_conn *http_conn_new(const struct http_config *cfg)
{
	struct http_conn *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->cfg = cfg;
	buf_init(&c->head, cfg->head_max);
	return c;
}

void http_conn_free(struct http_conn *c)
{
	if (!c)
		return;
	buf_wipe(&c->head);
	free(c);
}

const char *http_reason(unsigned status)
{
	static const struct {
		unsigned status;
		const char *text;
	} reasons[] = {
		{ 100, "Continue" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 411, "Length Required" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 417, "Expectation Failed" },
		{ 422, "Unprocessable Content" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 503, "Service Unavailable" },
		{ 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Unknown";
}

/* A value of ours that reached here with a line end in it is cut there: it opens no field. */
static struct slice one_line(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20)
			return slice(s.p, i);
	return s;
}

static void say(struct http_conn *c, const struct http_reply *r, struct buf *out)
{
	buf_add(out, S("HTTP/1.1 "));
	buf_addu(out, r->status);
	buf_addc(out, ' ');
	buf_add(out, slice_str(http_reason(r->status)));
	buf_add(out, S("\r\n"));
	if (r->date.n) {
		buf_add(out, S("Date: "));
		buf_add(out, one_line(r->date));
		buf_add(out, S("\r\n"));
	}
	if (r->content_type.n) {
		buf_add(out, S("Content-Type: "));
		buf_add(out, one_line(r->content_type));
		buf_add(out, S("\r\n"));
	}
	buf_add(out, S("X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"));
	buf_add(out, r->fields);
	/* RFC 9110 8.6: none with 204. */
	if (r->status != 204) {
		buf_add(out, S("Content-Length: "));
		buf_addu(out, r->body.n);
		buf_add(out, S("\r\n"));
	}
	if (c->close)
		buf_add(out, S("Connection: close\r\n"));
	buf_add(out, S("\r\n"));
	/* RFC 9110 9.3.2 */
	if (!slice_eq(c->request.method, S("HEAD")))
		buf_add(out, r->body);
}

static void refuse(struct http_conn *c, unsigned status, struct buf *out)
{
	struct http_reply r = { .status = status };

	c->close = true;
	say(c, &r, out);
	c->asked = false;
	c->state = AT_CLOSE;
}

static void next_request(struct http_conn *c)
{
	buf_wipe(&c->head);
	c->request = (struct http_head){ 0 };
	c->scanned = 0;
	c->told = c->proceed = false;
	c->body = c->left = 0;
	c->state = AT_HEAD;
}

bool http_conn_reply(struct http_conn *c, uint32_t question, const struct http_reply *r,
		     struct buf *out)
{
	if (!c->asked || question != c->question)
		return false;
	if (c->state != AT_REPLY || c->request.close ||
	    (c->cfg->requests_max && c->requests >= c->cfg->requests_max))
		c->close = true;
	c->asked = false;
	say(c, r, out);
	if (c->close)
		c->state = AT_CLOSE;
	else
		next_request(c);
	return true;
}

/* -- reading -- */

/* How many bytes of in end the head (its empty line included); 0: it is not all there. */
static size_t head_end(struct http_conn *c, struct slice in)
{
	/* The empty line may have begun in what came before. */
	size_t from = c->scanned > 3 ? c->scanned - 3 : 0;
	const char *hit = in.n > from ? memmem(in.p + from, in.n - from, "\r\n\r\n", 4) : NULL;

	c->scanned = in.n;
	return hit ? (size_t)(hit - in.p) + 4 : 0;
}

static enum http_want begin(struct http_conn *c, struct http_event *ev, struct buf *out)
{
	unsigned wrong = http_head_parse(buf_slice(&c->head), c->cfg->fields_max, &c->request);

	if (!wrong && c->request.length > c->cfg->body_max)
		wrong = 413;
	if (wrong) {
		refuse(c, wrong, out);
		return HTTP_WANT_INPUT;
	}
	c->requests++;
	c->asked = true;
	if (++c->question == 0)
		c->question = 1;
	c->proceed = c->request.expect && (c->request.chunked || c->request.length);
	c->left = c->request.length;
	c->state = c->request.chunked ? AT_CHUNK : c->left ? AT_BODY : AT_LAST;
	ev->question = c->question;
	return HTTP_GOT_HEAD;
}

static enum http_want read_head(struct http_conn *c, struct slice *in, struct buf *out,
				struct http_event *ev)
{
	size_t n;

	/* RFC 9112 2.2: a blank line before the request line, once. */
	if (!c->scanned && in->n >= 2 && !memcmp(in->p, "\r\n", 2) && c->requests)
		slice_take(in, 2);
	n = head_end(c, *in);
	if (n > c->cfg->head_max || (!n && in->n >= c->cfg->head_max)) {
		bool line = in->n && memchr(in->p, '\n',
					    in->n < c->cfg->head_max ? in->n : c->cfg->head_max);

		refuse(c, line ? 431 : 414, out);
		return HTTP_WANT_INPUT;
	}
	if (!n)
		return HTTP_WANT_INPUT;
	buf_clear(&c->head);
	buf_add(&c->head, slice_take(in, n));
	if (c->head.failed) {
		refuse(c, 503, out);
		return HTTP_WANT_INPUT;
	}
	return begin(c, ev, out);
}

static enum http_want read_run(struct http_conn *c, struct slice *in, struct http_event *ev,
			       enum state then)
{
	size_t n = in->n < c->left ? in->n : (size_t)c->left;

	if (!n)
		return HTTP_WANT_INPUT;
	ev->body = slice_take(in, n);
	c->left -= n;
	if (!c->left)
		c->state = then;
	return HTTP_GOT_BODY;
}

/* A size line: 1 to 8 hex digits, nothing else. False: more bytes are needed, or refused. */
static bool read_chunk_size(struct http_conn *c, struct slice *in, struct buf *out)
{
	const char *lf =
	    in->n ? memchr(in->p, '\n', in->n < CHUNK_LINE ? in->n : CHUNK_LINE) : NULL;
	size_t n = lf ? (size_t)(lf - in->p) + 1 : 0;
	uint64_t size = 0;

	if (!n) {
		if (in->n >= CHUNK_LINE)
			refuse(c, 400, out);
		return false;
	}
	if (n < 3 || in->p[n - 2] != '\r') {
		refuse(c, 400, out);
		return false;
	}
	for (size_t i = 0; i < n - 2; i++) {
		char d = ascii_lower(in->p[i]);

		if (!ascii_digit(d) && !(d >= 'a' && d <= 'f')) {
			refuse(c, 400, out);
			return false;
		}
		size = size << 4 | (uint64_t)(ascii_digit(d) ? d - '0' : d - 'a' + 10);
	}
	slice_take(in, n);
	c->body += size;
	if (c->body > c->cfg->body_max) {
		refuse(c, 413, out);
		return false;
	}
	c->left = size;
	c->state = size ? AT_CHUNK_DATA : AT_CHUNK_END;
	c->request.last_chunk = !size;
	return true;
}

/* The CRLF behind a chunk's data, or the empty trailer section behind the last chunk. */
static bool read_chunk_end(struct http_conn *c, struct slice *in, struct buf *out)
{
	if (in->n && in->p[0] != '\r') {
		refuse(c, 400, out);
		return false;
	}
	if (in->n < 2)
		return false;
	if (in->p[1] != '\n') {
		refuse(c, 400, out);
		return false;
	}
	slice_take(in, 2);
	c->state = c->request.last_chunk ? AT_LAST : AT_CHUNK;
	return true;
}

enum http_want http_conn_step(struct http_conn *c, struct slice *in, struct buf *out,
			      struct http_event *ev)
{
	*ev = (struct http_event){ 0 };
	for (;;) {
		enum state was = c->state;

		if (buf_left(out) < HTTP_OUT_MIN / 2)
			return HTTP_WANT_FLUSH;
		/* The driver saw the head and did not refuse: the client may send the body. */
		if (c->proceed) {
			c->proceed = false;
			if (!in->n)
				buf_add(out, S("HTTP/1.1 100 Continue\r\n\r\n"));
		}
		switch (c->state) {
		case AT_HEAD: {
			enum http_want w = read_head(c, in, out, ev);

			if (w == HTTP_GOT_HEAD || c->state == was)
				return w;
			break;
		}
		case AT_BODY: return read_run(c, in, ev, AT_LAST);
		case AT_CHUNK:
			if (!read_chunk_size(c, in, out) && c->state == was)
				return HTTP_WANT_INPUT;
			break;
		case AT_CHUNK_DATA: return read_run(c, in, ev, AT_CHUNK_END);
		case AT_CHUNK_END:
			if (!read_chunk_end(c, in, out) && c->state == was)
				return HTTP_WANT_INPUT;
			break;
		case AT_LAST:
			c->state = AT_REPLY;
			ev->question = c->question;
			return HTTP_ASK_REPLY;
		case AT_REPLY: return HTTP_WANT_REPLY;
		case AT_CLOSE: slice_take(in, in->n); return HTTP_DO_CLOSE;
		}
	}
}

void http_conn_eof(struct http_conn *c)
{
	c->asked = false;
	c->state = AT_CLOSE;
}

void http_conn_expire(struct http_conn *c, struct buf *out)
{
	if (!http_conn_idle(c) && c->state != AT_CLOSE)
		refuse(c, 408, out);
	http_conn_eof(c);
}

bool http_conn_idle(const struct http_conn *c)
{
	return c->state == AT_HEAD && !c->scanned;
}

/* -- the request at hand -- */

struct slice http_method(const struct http_conn *c)
{
	return c->request.method;
}

struct slice http_path(const struct http_conn *c)
{
	return c->request.path;
}

struct slice http_query(const struct http_conn *c)
{
	return c->request.query;
}

bool http_field(const struct http_conn *c, struct slice name, struct slice *ret)
{
	return http_head_field(&c->request, name, ret);
}
