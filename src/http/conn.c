#include "http/conn_impl.h"

#include "http/head.h"

#include <stdlib.h>

enum state { AT_HEAD, AT_BODY, AT_CHUNK, AT_CHUNK_DATA, AT_CHUNK_END, AT_LAST, AT_REPLY, AT_CLOSE };

/* The longest chunk-size line: 8 hex digits and CRLF. */
#define CHUNK_LINE 10

/* RFC 9110 5.6.7: "Mon, 23 Nov 2026 22:43:16 GMT" */
#define DATE_MAX 29

struct http_conn {
	const struct http_config *cfg;
	enum state state;
	struct buf head; /* of the request at hand: slices of `request` point here */
	size_t scanned;  /* bytes of the head in `in` that were looked at already */
	size_t line;     /* where among them the last line begins */
	struct http_head request;
	uint32_t question, requests;
	bool asked;      /* the question is open */
	bool eof;        /* no more input will come */
	bool proceed;    /* 100 Continue is owed */
	bool last_chunk; /* the chunk that ends is the one of size 0 */
	bool blank;      /* the empty line before a request was skipped */
	uint64_t left;   /* of the body, or of its chunk */
	uint64_t body;   /* sizes of the chunks so far */
	struct buf date;
};

struct http_conn *http_conn_new(const struct http_config *cfg)
{
	struct http_conn *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->cfg = cfg;
	buf_init(&c->head, cfg->head_max);
	buf_init(&c->date, DATE_MAX);
	return c;
}

void http_conn_free(struct http_conn *c)
{
	if (!c)
		return;
	buf_wipe(&c->head);
	buf_done(&c->date);
	free(c);
}

void http_conn_date(struct http_conn *c, struct slice date)
{
	buf_clear(&c->date);
	buf_add(&c->date, date);
}

static void end(struct http_conn *c)
{
	c->asked = c->proceed = false;
	c->state = AT_CLOSE;
}

static void refuse(struct http_conn *c, unsigned status, struct buf *out)
{
	struct http_reply r = { .status = status, .date = buf_slice(&c->date) };

	http_reply_add(out, &r, false, true);
	end(c);
}

static void next_request(struct http_conn *c)
{
	buf_wipe(&c->head); /* credentials were in it */
	c->request = (struct http_head){ 0 };
	c->scanned = c->line = 0;
	c->body = c->left = 0;
	c->blank = false;
	c->state = AT_HEAD;
}

bool http_conn_reply(struct http_conn *c, uint32_t question, const struct http_reply *r,
		     struct buf *out)
{
	bool close;

	if (!c->asked || question != c->question)
		return false;
	close = (c->state != AT_REPLY && c->state != AT_LAST) || c->request.close ||
		(c->cfg->requests_max && c->requests >= c->cfg->requests_max);
	http_reply_add(out, r, slice_eq(c->request.method, S("HEAD")), close);
	c->asked = false;
	if (close)
		end(c);
	else
		next_request(c);
	return true;
}

/* -- reading -- */

enum scan { SCAN_MORE, SCAN_END, SCAN_BARE };

/* Looks for the end of the head among the first n bytes at p, going on where it stopped. A line
 * that ends in LF alone is refused at once, so that nobody waits for the CRLF that never comes. */
static enum scan scan_head(struct http_conn *c, const char *p, size_t n)
{
	while (c->scanned < n) {
		const char *lf = memchr(p + c->scanned, '\n', n - c->scanned);
		size_t at = lf ? (size_t)(lf - p) : n;

		if (!lf) {
			c->scanned = n;
			return SCAN_MORE;
		}
		if (at == c->line || p[at - 1] != '\r')
			return SCAN_BARE;
		c->scanned = at + 1;
		if (at - c->line == 1)
			return SCAN_END;
		c->line = at + 1;
	}
	return SCAN_MORE;
}

static enum http_want begin(struct http_conn *c, struct http_event *ev, struct buf *out)
{
	unsigned wrong = http_head_parse(
	    buf_slice(&c->head), (struct http_limits){ c->cfg->fields_max, c->cfg->target_max },
	    &c->request);

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

/* RFC 9112 2.2: one empty line before a request line is skipped. False: it may be one. */
static bool skip_blank(struct http_conn *c, struct slice *in)
{
	if (c->blank || c->scanned || !slice_starts(*in, S("\r")))
		return true;
	if (in->n < 2)
		return false;
	if (in->p[1] == '\n') {
		slice_take(in, 2);
		c->blank = true;
	}
	return true;
}

static enum http_want read_head(struct http_conn *c, struct slice *in, struct buf *out,
				struct http_event *ev)
{
	size_t max = c->cfg->head_max;

	if (!skip_blank(c, in))
		return HTTP_WANT_INPUT;
	switch (scan_head(c, in->p, in->n < max ? in->n : max)) {
	case SCAN_BARE: refuse(c, 400, out); return HTTP_WANT_INPUT;
	case SCAN_MORE:
		if (in->n >= max)
			refuse(c, c->line ? 431 : 414, out);
		return HTTP_WANT_INPUT;
	case SCAN_END: break;
	}
	buf_add(&c->head, slice_take(in, c->scanned));
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

/* Hex digits, at least one and nothing else; CHUNK_LINE has seen to it that 32 bits hold them. */
static bool parse_size(struct slice digits, uint64_t *ret)
{
	uint64_t size = 0;

	for (size_t i = 0; i < digits.n; i++) {
		char d = ascii_lower(digits.p[i]);

		if (!ascii_digit(d) && !(d >= 'a' && d <= 'f'))
			return false;
		size = size << 4 | (uint64_t)(ascii_digit(d) ? d - '0' : d - 'a' + 10);
	}
	*ret = size;
	return digits.n > 0;
}

/* RFC 9112 7.1, without extensions. The state stays when more bytes are needed. */
static void read_chunk_size(struct http_conn *c, struct slice *in, struct buf *out)
{
	struct slice look = slice(in->p, in->n < CHUNK_LINE ? in->n : CHUNK_LINE), line, rest;
	uint64_t size;

	if (!slice_cut(look, '\n', &line, &rest)) {
		if (look.n == CHUNK_LINE)
			refuse(c, 400, out);
		return;
	}
	if (!slice_ends(line, S("\r")) || !parse_size(slice(line.p, line.n - 1), &size)) {
		refuse(c, 400, out);
		return;
	}
	slice_take(in, line.n + 1);
	c->body += size;
	if (c->body > c->cfg->body_max) {
		refuse(c, 413, out);
		return;
	}
	c->left = size;
	c->last_chunk = size == 0;
	c->state = size ? AT_CHUNK_DATA : AT_CHUNK_END;
}

/* The CRLF behind a chunk's data, or the empty trailer section behind the last chunk. */
static void read_chunk_end(struct http_conn *c, struct slice *in, struct buf *out)
{
	if (!slice_starts(S("\r\n"), slice(in->p, in->n < 2 ? in->n : 2))) {
		refuse(c, 400, out);
	} else if (in->n >= 2) {
		slice_take(in, 2);
		c->state = c->last_chunk ? AT_LAST : AT_CHUNK;
	}
}

/* Until something is to be said, or nothing more can be done. */
static enum http_want advance(struct http_conn *c, struct slice *in, struct buf *out,
			      struct http_event *ev)
{
	for (;;) {
		enum state was = c->state;
		enum http_want got = HTTP_WANT_INPUT;

		switch (c->state) {
		case AT_HEAD: got = read_head(c, in, out, ev); break;
		case AT_BODY: got = read_run(c, in, ev, AT_LAST); break;
		case AT_CHUNK: read_chunk_size(c, in, out); break;
		case AT_CHUNK_DATA: got = read_run(c, in, ev, AT_CHUNK_END); break;
		case AT_CHUNK_END: read_chunk_end(c, in, out); break;
		case AT_LAST:
			c->state = AT_REPLY;
			ev->question = c->question;
			return HTTP_ASK_REPLY;
		case AT_REPLY: return HTTP_WANT_REPLY;
		case AT_CLOSE: slice_take(in, in->n); return HTTP_DO_CLOSE;
		}
		if (got != HTTP_WANT_INPUT || c->state == was)
			return got;
	}
}

enum http_want http_conn_step(struct http_conn *c, struct slice *in, struct buf *out,
			      struct http_event *ev)
{
	enum http_want want;

	*ev = (struct http_event){ 0 };
	if (buf_left(out) < HTTP_OUT_MIN / 2)
		return HTTP_WANT_FLUSH;
	/* The driver saw the head and did not refuse: the client may send the body. RFC 9110
	 * 10.1.1 lets us be silent when some of it has come; then the reply would depend on how
	 * the bytes arrived. */
	if (c->proceed)
		buf_add(out, S("HTTP/1.1 100 Continue\r\n\r\n"));
	c->proceed = false;
	want = advance(c, in, out, ev);
	if (want != HTTP_WANT_INPUT || !c->eof)
		return want;
	end(c);
	return advance(c, in, out, ev);
}

void http_conn_eof(struct http_conn *c)
{
	c->eof = true;
}

enum http_clock http_conn_clock(const struct http_conn *c)
{
	switch (c->state) {
	case AT_HEAD: return c->scanned ? HTTP_CLOCK_HEAD : HTTP_CLOCK_IDLE;
	case AT_BODY:
	case AT_CHUNK:
	case AT_CHUNK_DATA:
	case AT_CHUNK_END: return HTTP_CLOCK_BODY;
	case AT_LAST:
	case AT_REPLY:
	case AT_CLOSE: break;
	}
	return HTTP_CLOCK_NONE;
}

void http_conn_expire(struct http_conn *c, struct buf *out)
{
	/* A peer that reads nothing is not told. */
	if (c->state != AT_CLOSE && !http_conn_idle(c) && buf_left(out) >= HTTP_OUT_MIN / 2)
		refuse(c, http_conn_clock(c) == HTTP_CLOCK_NONE ? 503 : 408, out);
	end(c);
}

bool http_conn_idle(const struct http_conn *c)
{
	return http_conn_clock(c) == HTTP_CLOCK_IDLE;
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
