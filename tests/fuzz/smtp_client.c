/* The client session against a server that says anything.
 *
 * Byte 0: bits 0-1 how the rest is cut (whole, by line, by byte, by seven), bits 2-3 the demand for
 * TLS (3: implicit), bit 4 AUTH, bit 5 AUTH optional, bit 6 also in the clear, bit 7 replies come
 * before what was said has left; byte 1: bits 0-3 how the content is cut, bits 4-7 the first
 * message; byte 2 after how many pieces the connection is lost. Asserts: only whole CRLF lines go
 * out, the password inside TLS only (bit 6 aside), each recipient gets one verdict at most, each
 * message one end, a yes only as the remote's answer to the dot, and every step gets somewhere.
 */
#include "smtp/client.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_RCPTS 70u /* more than a window */
#define L10     "bbbbbbbbbb"
#define LONG    L10 L10 L10 L10 L10 L10 L10 L10 L10 L10 L10 L10 L10 L10 L10 L10 L10 L10

static const struct slice contents[] = { S(".\r\n..\r\na"), S("x\r\n"), S("a\nb"), S("") };

/* One after the other, from one of them on; the last four cannot be sent. */
static const struct smtp_client_mail mails[] = {
	{ .ret = SMTP_RET_HDRS, .envid = S("e+2B"), .size = 10, .n_rcpts = N_RCPTS },
	{ .reverse_path = S("a@a.test"), .high = true, .size = 11, .n_rcpts = 3 },
	{ .reverse_path = S("a@a.test"), .smtputf8 = true, .ret = SMTP_RET_FULL, .n_rcpts = 3 },
	{ .reverse_path = S("\xc3\xa9@a.test"), .smtputf8 = true, .body_8bit = true, .n_rcpts = 2 },
	{ .reverse_path = S("a@a.test"), .size = UINT64_MAX, .n_rcpts = 5 },
	{ .reverse_path = S("a@a.test\r\nRSET"), .n_rcpts = 1 },
	{ .reverse_path = S("a@a.test"), .envid = S("\n"), .n_rcpts = 1 },
	{ .n_rcpts = 1 },
	{ .n_rcpts = 2 },
};
enum { BAD_RCPT = 7, BAD_ORCPT = 8 };

#define N_MAILS (sizeof mails / sizeof *mails)

struct driver {
	struct smtp_client *c;
	struct smtp_client_config cfg;
	struct smtp_client_mail mail;
	struct smtp_client_rcpt rcpts[N_RCPTS];
	bool told[N_RCPTS];
	struct buf out;
	struct slice left;
	unsigned messages, from, chunk;
	bool tls, closed, busy, bare, failed, hasty;
};

static bool holds(struct slice all, struct slice word)
{
	return all.p && memmem(all.p, all.n, word.p, word.n);
}

static void check_out(struct driver *d)
{
	struct slice all = buf_slice(&d->out), line;

	assert(!d->out.failed);
	if (!d->tls && !d->cfg.allow_plain_auth)
		assert(!holds(all, S("AHUAcHc=")) && !holds(all, S("cHc=")));
	while (all.n) {
		if (!slice_cut(all, '\n', &line, &all)) {
			assert(!memchr(line.p, '\r', line.n)); /* a run of content */
			break;
		}
		assert(line.n && line.p[line.n - 1] == '\r');
		assert(!memchr(line.p, '\r', line.n - 1));
		assert(!memchr(line.p, '\0', line.n));
	}
	buf_clear(&d->out);
}

static void ready(struct driver *d)
{
	unsigned which = (d->from + d->messages) % N_MAILS;

	assert(!d->busy && !d->failed);
	if (d->messages == 4) {
		smtp_client_quit(d->c, &d->out);
		return;
	}
	d->left = contents[which % (sizeof contents / sizeof *contents)];
	d->bare = d->left.n && d->left.p[1] == '\n';
	d->mail = mails[which];
	d->mail.rcpts = d->rcpts;
	d->rcpts[0].path = which == BAD_RCPT ? S("b@b.test>\r\n") : S(LONG "@b.test");
	d->rcpts[0].orcpt = which == BAD_ORCPT ? S("rfc822;\n") : S("rfc822;b");
	for (size_t i = 0; i < N_RCPTS; i++)
		d->told[i] = false;
	d->busy = true;
	d->messages++;
	smtp_client_send(d->c, &d->mail);
}

static void body(struct driver *d)
{
	size_t n = d->chunk && d->chunk < d->left.n ? d->chunk : d->left.n;
	struct slice run = slice_take(&d->left, n);
	bool ok;

	assert(d->busy);
	check_out(d);
	ok = smtp_client_body(d->c, run, !d->left.n, &d->out);
	assert(d->out.n <= CLIENT_BODY_ROOM(n));
	assert(ok || d->bare);
	assert(!ok || d->left.n || !d->bare);
}

static void pump(struct driver *d, struct slice *in)
{
	struct smtp_client_event ev;

	while (!d->closed) {
		assert(*smtp_client_phase_name(smtp_client_phase(d->c)));
		switch (smtp_client_step(d->c, in, &d->out, &ev)) {
		case CLIENT_WANT_INPUT:
			if (!d->hasty)
				check_out(d);
			return;
		case CLIENT_WANT_FLUSH:
			assert(d->out.n);
			check_out(d);
			break;
		case CLIENT_DO_STARTTLS:
			assert(!in->n && !d->tls && d->cfg.tls != CLIENT_TLS_NEVER);
			check_out(d);
			d->tls = true;
			smtp_client_tls_up(d->c);
			break;
		case CLIENT_READY:
			assert(d->tls || d->cfg.tls != CLIENT_TLS_MUST);
			ready(d);
			break;
		case CLIENT_SEND_BODY: body(d); break;
		case CLIENT_RCPT:
			assert(d->busy && ev.rcpt < d->mail.n_rcpts && !d->told[ev.rcpt]);
			assert(ev.reply.code / 100 != 2);
			d->told[ev.rcpt] = true;
			break;
		case CLIENT_DONE:
			assert(d->busy);
			assert(ev.reply.code / 100 != 2 ||
			       (ev.remote && ev.phase == CLIENT_AT_DOT && !d->bare));
			assert(ev.reply.n <= REPLY_TEXT);
			for (size_t i = 0; i < ev.reply.n; i++)
				assert(ev.reply.text[i] >= ' ' && ev.reply.text[i] <= '~');
			d->busy = false;
			break;
		case CLIENT_FAILED:
			assert(!d->busy && !d->failed);
			d->failed = true;
			break;
		case CLIENT_DO_CLOSE:
			assert(!d->busy);
			check_out(d);
			d->closed = true;
			break;
		}
	}
}

/* The driver's part: what is not eaten stays; the bytes lie exactly on the heap. */
static void feed(struct driver *d, struct buf *held, struct slice bytes)
{
	struct slice in;
	char *exact;

	buf_add(held, bytes);
	exact = malloc(held->n ? held->n : 1);
	assert(exact && !held->failed);
	if (held->n)
		memcpy(exact, held->p, held->n);
	in = slice(exact, held->n);
	pump(d, &in);
	buf_shift(held, held->n - in.n);
	free(exact);
	assert(d->closed || held->n < REPLY_LINE);
}

static size_t piece(struct slice left, unsigned how)
{
	const char *lf = how == 1 ? memchr(left.p, '\n', left.n) : NULL;
	size_t n = left.n;

	if (lf)
		n = (size_t)(lf - left.p) + 1;
	else if (how >= 2)
		n = how == 2 ? 1 : 7;
	return n < left.n ? n : left.n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct driver d = { 0 };
	struct slice left;
	struct buf held;
	unsigned flags;

	if (size < 3)
		return 0;
	flags = data[0];
	left = slice(data + 3, size - 3);
	d.chunk = data[1] & 15;
	d.from = data[1] >> 4;
	d.hasty = flags & 128;

	d.cfg = (struct smtp_client_config){ .hostname = S("c.test"), .auth_optional = flags & 32 };
	d.cfg.allow_plain_auth = flags & 64;
	d.cfg.tls = (flags >> 2 & 3) < 2 ? (enum smtp_client_tls)(flags >> 2 & 3) : CLIENT_TLS_MUST;
	d.cfg.tls_up = d.tls = (flags >> 2 & 3) == 3;
	if (flags & 16) {
		d.cfg.user = S("u");
		d.cfg.password = secret(S("pw"));
	}
	for (size_t i = 0; i < N_RCPTS; i++) {
		d.rcpts[i].path = S(LONG "@b.test");
		d.rcpts[i].notify = i & 1 ? SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY : 0;
		d.rcpts[i].orcpt = i & 2 ? S("rfc822;b") : S("");
	}
	d.c = smtp_client_new(&d.cfg);
	assert(d.c);
	buf_init(&d.out, CLIENT_OUT_MIN);
	buf_init(&held, size + 1);
	feed(&d, &held, S(""));
	for (unsigned i = 0; left.n && !d.closed && i != data[2]; i++)
		feed(&d, &held, slice_take(&left, piece(left, flags & 3)));
	smtp_client_lost(d.c, S("gone"));
	if (!d.closed)
		feed(&d, &held, S(""));
	assert(d.closed && !d.busy);
	smtp_client_free(d.c);
	buf_done(&d.out);
	buf_done(&held);
	return 0;
}
