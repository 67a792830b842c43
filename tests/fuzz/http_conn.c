/* The HTTP machine. Byte 0: how the rest is cut, and whether replies come at the head. The whole
 * and the pieces must tell the same story; body runs lie in the input; `out` keeps its ceiling. */
#include "http/conn.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http_config cfg = {
	.head_max = 1024, .target_max = 256, .fields_max = 16, .body_max = 2048, .requests_max = 8
};

struct story {
	struct http_conn *conn;
	struct buf in, out, told;
	bool hasty, closed;
};

static void look_around(struct story *s)
{
	struct slice value = S("");
	struct buf text;

	buf_init(&text, 4096);
	assert(http_path(s->conn).n && http_path(s->conn).p[0] == '/');
	buf_add(&s->told, http_method(s->conn));
	buf_add(&s->told, http_path(s->conn));
	buf_add(&s->told, http_query(s->conn));
	if (http_decode(http_path(s->conn), &text))
		assert(text.n <= http_path(s->conn).n && !memchr(text.p, '\0', text.n));
	buf_clear(&text);
	if (http_query_get(http_query(s->conn), S("a"), 1, &text))
		assert(!text.n || !memchr(text.p, '\0', text.n));
	else
		assert(text.n == 0);
	if (http_field(s->conn, S("host"), &value))
		buf_add(&s->told, value);
	for (size_t i = 0; i < value.n; i++)
		assert((unsigned char)value.p[i] > 0x20);
	buf_done(&text);
}

static void answer(struct story *s, uint32_t question, unsigned status)
{
	struct http_reply r = { .status = status, .content_type = S("a/b"), .body = S("x") };

	assert(!http_conn_reply(s->conn, question + 1, &r, &s->out));
	assert(http_conn_reply(s->conn, question, &r, &s->out));
	assert(!http_conn_reply(s->conn, question, &r, &s->out));
}

static bool tell(struct story *s, struct slice *in)
{
	struct slice before = *in;
	struct http_event ev;

	switch (http_conn_step(s->conn, in, &s->out, &ev)) {
	case HTTP_GOT_HEAD:
		look_around(s);
		if (s->hasty)
			answer(s, ev.question, 403);
		return true;
	case HTTP_GOT_BODY:
		assert(ev.body.n && ev.body.p >= before.p && ev.body.p + ev.body.n <= in->p);
		buf_add(&s->told, ev.body);
		return true;
	case HTTP_ASK_REPLY:
		buf_add(&s->told, S("\nask\n"));
		answer(s, ev.question, 200);
		return true;
	case HTTP_DO_CLOSE:
		assert(in->n == 0 && http_conn_clock(s->conn) == HTTP_CLOCK_NONE);
		s->closed = true;
		return false;
	case HTTP_WANT_INPUT: return false;
	case HTTP_WANT_FLUSH:
	case HTTP_WANT_REPLY: break;
	}
	abort(); /* nothing was held back */
}

static void feed(struct story *s, struct slice piece)
{
	char *exact;
	struct slice in;

	buf_add(&s->in, piece);
	exact = malloc(s->in.n ? s->in.n : 1);
	assert(exact);
	if (s->in.n)
		memcpy(exact, s->in.p, s->in.n);
	in = slice(exact, s->in.n);
	while (tell(s, &in))
		assert(!s->out.failed);
	buf_shift(&s->in, s->in.n - in.n);
	free(exact);
}

static void begin(struct story *s, bool hasty)
{
	*s = (struct story){ .conn = http_conn_new(&cfg), .hasty = hasty };
	assert(s->conn);
	buf_init(&s->in, 1 << 20);
	buf_init(&s->out, 1 << 20);
	buf_init(&s->told, 1 << 20);
}

static void end(struct story *s)
{
	http_conn_eof(s->conn);
	feed(s, S(""));
	assert(s->closed);
	http_conn_free(s->conn);
	buf_done(&s->in);
	buf_done(&s->out);
	buf_done(&s->told);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct story whole, parts;
	struct slice in;
	size_t step;

	if (size < 1 || size > 8192)
		return 0;
	in = slice(data + 1, size - 1);
	step = 1 + (data[0] & 0x7fu) % 61;
	begin(&whole, data[0] & 0x80);
	begin(&parts, data[0] & 0x80);
	feed(&whole, in);
	while (in.n)
		feed(&parts, slice_take(&in, step < in.n ? step : in.n));
	assert(slice_eq(buf_slice(&whole.out), buf_slice(&parts.out)));
	assert(slice_eq(buf_slice(&whole.told), buf_slice(&parts.told)));
	assert(whole.closed == parts.closed);
	end(&whole);
	end(&parts);
	return 0;
}
