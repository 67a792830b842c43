#include "http/conn_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

const struct http_config rig_config = {
	.head_max = 256, .target_max = 64, .fields_max = 6, .body_max = 32, .requests_max = 0
};

void rig_start(struct rig *r, const struct http_config *cfg)
{
	*r = (struct rig){ .conn = http_conn_new(cfg) };
	assert_non_null(r->conn);
	buf_init(&r->in, 1 << 20);
	buf_init(&r->out, 1 << 20);
	buf_init(&r->body, 1 << 20);
	buf_init(&r->told, 1 << 20);
}

void rig_stop(struct rig *r)
{
	http_conn_free(r->conn);
	buf_done(&r->in);
	buf_done(&r->out);
	buf_done(&r->body);
	buf_done(&r->told);
}

static void tell(struct rig *r, const char *what)
{
	buf_addf(&r->told, "%s %.*s\n", what, SLICE_ARG(http_path(r->conn)));
}

static void understood(struct rig *r, struct buf *text)
{
	buf_add(text, http_method(r->conn));
	buf_addc(text, ' ');
	buf_add(text, http_path(r->conn));
	buf_addc(text, '?');
	buf_add(text, http_query(r->conn));
	buf_addc(text, ' ');
	buf_add(text, buf_slice(&r->body));
}

bool rig_answer(struct rig *r, uint32_t question)
{
	struct http_reply reply = { .status = 200,
				    .content_type = S("text/plain"),
				    .date = r->date };
	struct buf text;
	bool ok;

	buf_init(&text, 1 << 16);
	understood(r, &text);
	reply.body = buf_slice(&text);
	ok = http_conn_reply(r->conn, question, &reply, &r->out);
	buf_done(&text);
	if (ok)
		buf_clear(&r->body);
	return ok;
}

static void head(struct rig *r, uint32_t question)
{
	struct http_reply no = { .status = 401, .date = r->date };

	assert_int_not_equal(question, 0);
	tell(r, "head");
	r->question = question;
	if (r->hasty)
		assert_true(http_conn_reply(r->conn, question, &no, &r->out));
}

void rig_steps(struct rig *r)
{
	/* Exactly what has come, on the heap: one byte too far is seen. */
	char *exact = malloc(r->in.n ? r->in.n : 1);
	struct slice in = slice(exact, r->in.n), before;
	struct http_event ev;
	bool more = true;

	assert_non_null(exact);
	if (r->in.n)
		memcpy(exact, r->in.p, r->in.n);
	while (more) {
		before = in;
		r->want = http_conn_step(r->conn, &in, &r->out, &ev);
		assert_true(in.n <= before.n && in.p + in.n == before.p + before.n);
		switch (r->want) {
		case HTTP_GOT_HEAD: head(r, ev.question); break;
		case HTTP_GOT_BODY:
			assert_true(ev.body.n > 0 && ev.body.p >= exact &&
				    ev.body.p + ev.body.n <= in.p);
			buf_add(&r->body, ev.body);
			break;
		case HTTP_ASK_REPLY:
			assert_int_equal(ev.question, r->question);
			tell(r, "ask");
			if (!r->hold)
				assert_true(rig_answer(r, ev.question));
			break;
		case HTTP_DO_CLOSE:
			assert_int_equal(in.n, 0);
			if (!r->closed)
				buf_add(&r->told, S("close\n"));
			r->closed = true;
			more = false;
			break;
		case HTTP_WANT_INPUT:
		case HTTP_WANT_FLUSH:
		case HTTP_WANT_REPLY: more = false; break;
		}
	}
	buf_shift(&r->in, r->in.n - in.n);
	free(exact);
}

void rig_feed(struct rig *r, struct slice piece)
{
	buf_add(&r->in, piece);
	rig_steps(r);
}
