#include "smtp/client_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

void client_rig_init(struct client_rig *r, const struct smtp_client_config *cfg,
		     const struct client_mail_case *mails, size_t out_max)
{
	*r = (struct client_rig){ .c = smtp_client_new(cfg), .mails = mails };
	assert_non_null(r->c);
	buf_init(&r->held, 1 << 24);
	buf_init(&r->out, out_max);
	buf_init(&r->wire, 1 << 24);
	buf_init(&r->trace, 1 << 22);
}

void client_rig_done(struct client_rig *r)
{
	smtp_client_free(r->c);
	buf_done(&r->held);
	buf_done(&r->out);
	buf_done(&r->wire);
	buf_done(&r->trace);
}

static void take_out(struct client_rig *r)
{
	assert_false(r->out.failed);
	buf_add(&r->wire, buf_slice(&r->out));
	buf_clear(&r->out);
}

static void note(struct client_rig *r, const char *what, const struct smtp_client_event *ev)
{
	buf_addf(&r->trace, "[%s%s %d ", ev->remote ? "" : "!", what, ev->reply.code);
	buf_add(&r->trace, slice(ev->reply.text, ev->reply.n));
	buf_add(&r->trace, ev->maybe_taken ? S("?]") : S("]"));
}

static void ready(struct client_rig *r)
{
	assert_false(r->busy);
	if (r->mails && r->mails->mail.n_rcpts) {
		r->body_left = r->mails->content;
		smtp_client_send(r->c, &r->mails->mail);
		r->busy = true;
		r->given = 0;
		r->given_bits = 0;
	} else {
		smtp_client_quit(r->c, &r->out);
	}
}

static void body(struct client_rig *r)
{
	size_t n = r->chunk && r->chunk < r->body_left.n ? r->chunk : r->body_left.n;
	struct slice run = slice_take(&r->body_left, n);

	assert_true(r->busy);
	take_out(r);
	smtp_client_body(r->c, run, !r->body_left.n, &r->out);
	assert_true(r->out.n <= CLIENT_BODY_ROOM(n));
}

static void rcpt(struct client_rig *r, const struct smtp_client_event *ev)
{
	char what[32];

	assert_true(r->busy && ev->rcpt < r->mails->mail.n_rcpts);
	if (ev->rcpt < 64) {
		assert_false(r->given_bits >> ev->rcpt & 1);
		r->given_bits |= 1ull << ev->rcpt;
	}
	assert_true(++r->given <= r->mails->mail.n_rcpts);
	snprintf(what, sizeof what, "rcpt %u", ev->rcpt);
	note(r, what, ev);
}

static void done(struct client_rig *r, const struct smtp_client_event *ev)
{
	char what[32];

	assert_true(r->busy);
	r->busy = false;
	r->mails++;
	snprintf(what, sizeof what, "done %s", smtp_client_phase_name(ev->phase));
	note(r, what, ev);
}

static void failed(struct client_rig *r, const struct smtp_client_event *ev)
{
	char what[32];

	assert_false(r->busy);
	snprintf(what, sizeof what, "failed %s", smtp_client_phase_name(ev->phase));
	note(r, what, ev);
}

static void drive(struct client_rig *r, struct slice *in)
{
	struct smtp_client_event ev;

	while (!r->closed) {
		switch (smtp_client_step(r->c, in, &r->out, &ev)) {
		case CLIENT_WANT_INPUT: take_out(r); return;
		case CLIENT_WANT_FLUSH:
			assert_true(r->out.n > 0);
			take_out(r);
			r->flushes++;
			break;
		case CLIENT_DO_STARTTLS:
			take_out(r);
			assert_int_equal(in->n, 0);
			buf_add(&r->trace, S("[tls]"));
			smtp_client_tls_up(r->c);
			break;
		case CLIENT_READY:
			if (r->hold_ready)
				return;
			ready(r);
			break;
		case CLIENT_SEND_BODY: body(r); break;
		case CLIENT_RCPT: rcpt(r, &ev); break;
		case CLIENT_DONE: done(r, &ev); break;
		case CLIENT_FAILED: failed(r, &ev); break;
		case CLIENT_DO_CLOSE:
			take_out(r);
			assert_false(r->busy);
			buf_add(&r->trace, S("[close]"));
			r->closed = true;
			break;
		}
	}
}

/* Exactly as many bytes as are held, on the heap: ASan sees one too far. */
void client_rig_pump(struct client_rig *r)
{
	char *exact = malloc(r->held.n ? r->held.n : 1);
	struct slice in = slice(exact, r->held.n);

	assert_non_null(exact);
	if (r->held.n)
		memcpy(exact, r->held.p, r->held.n);
	drive(r, &in);
	buf_shift(&r->held, r->held.n - in.n);
	free(exact);
}

void client_rig_feed(struct client_rig *r, struct slice bytes)
{
	buf_add(&r->held, bytes);
	client_rig_pump(r);
}

/* Takes all lines with this mark off the script, with a CRLF each. */
static void take_turn(struct slice *script, struct slice mark, struct buf *ret)
{
	struct slice line;

	buf_clear(ret);
	while (slice_starts(*script, mark)) {
		slice_cut(*script, '\n', &line, script);
		buf_add(ret, slice_from(line, 2));
		buf_add(ret, S("\r\n"));
	}
}

struct cut {
	size_t turn, at; /* at 0: byte by byte, SIZE_MAX: whole */
};

/* Returns the number of turns; *ret_n: the bytes of turn cut.turn. */
static size_t play(const char *name, const struct smtp_client_config *cfg,
		   const struct client_mail_case *mails, const char *script_text, const char *trace,
		   struct cut cut, size_t *ret_n)
{
	struct slice script = slice_str(script_text);
	struct client_rig r;
	struct buf turn;
	size_t i = 0;

	client_rig_init(&r, cfg, mails, 65536);
	r.chunk = cut.at == SIZE_MAX ? 0 : cut.at + 1;
	buf_init(&turn, 1 << 16);
	for (; script.n; i++) {
		struct slice bytes;

		take_turn(&script, S("S:"), &turn);
		bytes = buf_slice(&turn);
		if (i == cut.turn) {
			*ret_n = turn.n;
			while (!cut.at && bytes.n)
				client_rig_feed(&r, slice_take(&bytes, 1));
			if (cut.at < bytes.n)
				client_rig_feed(&r, slice_take(&bytes, cut.at));
		}
		client_rig_feed(&r, bytes);
		take_turn(&script, S("C:"), &turn);
		if (!slice_eq(buf_slice(&r.wire), buf_slice(&turn)))
			fail_msg("%s, turn %zu cut at %zd: said\n%.*s\nnot\n%.*s", name, i, cut.at,
				 SLICE_ARG(r.wire), SLICE_ARG(turn));
		buf_clear(&r.wire);
	}
	if (!slice_eq(buf_slice(&r.trace), slice_str(trace)))
		fail_msg("%s, turn %zu cut at %zd: %.*s\nnot %s", name, cut.turn, cut.at,
			 SLICE_ARG(r.trace), trace);
	client_rig_done(&r);
	buf_done(&turn);
	return i;
}

void client_rig_once(const char *name, const struct smtp_client_config *cfg,
		     const struct client_mail_case *mails, const char *script, const char *trace)
{
	size_t n = 0;

	play(name, cfg, mails, script, trace, (struct cut){ 0, SIZE_MAX }, &n);
}

void client_rig_play(const char *name, const struct smtp_client_config *cfg,
		     const struct client_mail_case *mails, const char *script, const char *trace)
{
	size_t n = 0;
	size_t turns = play(name, cfg, mails, script, trace, (struct cut){ 0, SIZE_MAX }, &n);

	for (size_t t = 0; t < turns; t++) {
		n = 0;
		play(name, cfg, mails, script, trace, (struct cut){ t, 0 }, &n);
		for (size_t at = 1; at < n; at++)
			play(name, cfg, mails, script, trace, (struct cut){ t, at }, &n);
	}
}
