/* The HTTP machine. Byte 0: bits 0-5 how the rest is cut, bit 6 narrow limits, bit 7 replies come
 * at the head; byte 1: bits 0-3 the reply, bit 4 Date, bit 5 fields of our own, bit 6 no type, bit
 * 7 it ends by a deadline. The whole and the pieces must tell the same story; body runs lie in the
 * input; `out` keeps its ceiling; a reply has exactly our fields. */
#include "http/conn.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http_config cfgs[2] = {
	{ .head_max = 1024, .fields_max = 16, .body_max = 2048 },
	{ .head_max = 128, .target_max = 40, .fields_max = 3, .body_max = 20, .requests_max = 3 },
};

#define DATE "Mon, 23 Nov 2026 22:43:16 GMT"

struct story {
	struct http_conn *conn;
	struct buf in, out, told;
	bool hasty, closed;
	unsigned how;
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
	for (size_t nth = 0; nth < 2; nth++) {
		if (http_query_get(http_query(s->conn), S("a"), nth, &text))
			assert(!text.n || !memchr(text.p, '\0', text.n));
		else
			assert(text.n == 0);
		buf_clear(&text);
	}
	if (http_field(s->conn, S("host"), &value))
		buf_add(&s->told, value);
	for (size_t i = 0; i < value.n; i++)
		assert((unsigned char)value.p[i] > 0x20);
	buf_done(&text);
}

/* The reply that was appended: a status line, whole lines, no field that the request brought. */
static void check_reply(struct slice out)
{
	struct slice line;

	assert(slice_starts(out, S("HTTP/1.1 ")));
	do {
		assert(slice_cut(out, '\n', &line, &out));
		assert(slice_ends(line, S("\r")) && !slice_starts(line, S("X-Evil")));
	} while (line.n > 1);
	assert(out.n <= 1);
}

static void answer(struct story *s, uint32_t question)
{
	static const unsigned statuses[16] = { 200, 204, 304, 403, 404, 500, 599, 418,
					       201, 202, 400, 401, 405, 413, 431, 503 };
	struct http_reply r = { .status = statuses[s->how & 15], .body = S("x") };
	struct http_event ev;
	struct slice none = S("");
	size_t before = s->out.n;
	struct buf fields;

	buf_init(&fields, 4096);
	if (s->how & 32)
		http_add_field(&fields, "X-Query", http_query(s->conn));
	if (s->how & 32)
		http_add_field(&fields, "X-Cut", S("one\r\nX-Evil: two"));
	r.fields = buf_slice(&fields);
	r.date = s->how & 16 ? S(DATE) : S("");
	r.content_type = s->how & 64 ? S("") : S("a/b");
	assert(!s->out.failed && !fields.failed);
	if (!s->hasty)
		assert(http_conn_step(s->conn, &none, &s->out, &ev) == HTTP_WANT_REPLY);
	assert(!http_conn_reply(s->conn, question + 1, &r, &s->out));
	assert(http_conn_reply(s->conn, question, &r, &s->out));
	assert(!http_conn_reply(s->conn, question, &r, &s->out));
	check_reply(slice_from(buf_slice(&s->out), before));
	buf_done(&fields);
}

/* Where there is no room for a reply nothing is read. */
static void try_cramped(struct story *s, struct slice in)
{
	struct slice before = in;
	struct http_event ev;
	struct buf out;

	buf_init(&out, HTTP_OUT_MIN / 2 - 1);
	assert(http_conn_step(s->conn, &in, &out, &ev) == HTTP_WANT_FLUSH);
	assert(in.n == before.n && !out.n);
	buf_done(&out);
	assert(http_conn_idle(s->conn) == (http_conn_clock(s->conn) == HTTP_CLOCK_IDLE));
}

static bool tell(struct story *s, struct slice *in)
{
	struct slice before = *in;
	struct http_event ev;

	switch (http_conn_step(s->conn, in, &s->out, &ev)) {
	case HTTP_GOT_HEAD:
		look_around(s);
		if (s->hasty)
			answer(s, ev.question);
		return true;
	case HTTP_GOT_BODY:
		assert(ev.body.n && ev.body.p >= before.p && ev.body.p + ev.body.n <= in->p);
		buf_add(&s->told, ev.body);
		return true;
	case HTTP_ASK_REPLY:
		buf_add(&s->told, S("\nask\n"));
		answer(s, ev.question);
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
	try_cramped(s, in);
	while (tell(s, &in))
		assert(!s->out.failed);
	buf_shift(&s->in, s->in.n - in.n);
	free(exact);
}

static void begin(struct story *s, const uint8_t how[2])
{
	*s = (struct story){ .conn = http_conn_new(&cfgs[how[0] >> 6 & 1]),
			     .hasty = how[0] & 0x80,
			     .how = how[1] };
	assert(s->conn);
	if (s->how & 16)
		http_conn_date(s->conn, S(DATE));
	buf_init(&s->in, 1 << 20);
	buf_init(&s->out, 1 << 20);
	buf_init(&s->told, 1 << 20);
}

static void end(struct story *s)
{
	if (s->how & 128)
		http_conn_expire(s->conn, &s->out);
	else
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

	if (size < 2 || size > 8192)
		return 0;
	in = slice(data + 2, size - 2);
	step = 1 + (data[0] & 63u);
	begin(&whole, data);
	begin(&parts, data);
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
