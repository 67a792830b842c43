#include "mime/dsn.h"

#include "base/timetext.h"
#include "base/utf8.h"
#include "mime/dsn_impl.h"
#include "mime/encode.h"

#define ADDRESS_LINE 900 /* octets of From and To */
#define BOUNDARIES   1000

/* How the parts look, decided before anything is written. */
struct form {
	bool intl;      /* an address holds UTF-8: the types of RFC 6533 */
	bool head_high; /* the head holds bytes above 0x7f */
	bool high;      /* what is returned does */
	struct slice boundary;
};

/* Non-ASCII that is UTF-8; other bytes are shown as '?' and need nothing. */
static bool is_utf8(struct slice s)
{
	return !ascii_only(s) && utf8_valid(s);
}

static struct form form_of(const struct dsn *d)
{
	struct form f = { .intl = is_utf8(d->to), .head_high = !ascii_only(d->head) };

	for (size_t i = 0; i < d->n_rcpts; i++)
		f.intl |= is_utf8(d->rcpts[i].path) || is_utf8(d->rcpts[i].orcpt);
	f.high = f.head_high || (d->full && !ascii_only(d->body));
	return f;
}

static void add_delimiter(struct buf *out, const struct form *f)
{
	buf_add(out, S("\r\n--"));
	buf_add(out, f->boundary);
	buf_add(out, S("\r\n"));
}

static void add_type(struct buf *out, struct slice type, struct slice encoding,
		     struct slice description)
{
	buf_add(out, S("Content-Type: "));
	buf_add(out, type);
	buf_add(out, S("\r\nContent-Transfer-Encoding: "));
	buf_add(out, encoding);
	buf_add(out, S("\r\nContent-Description: "));
	buf_add(out, description);
	buf_add(out, S("\r\n\r\n"));
}

static void add_head(struct buf *out, const struct dsn *d, const struct form *f, bool eightbit)
{
	buf_add(out, S("Date: "));
	time_add_rfc5322(out, d->now_ms);
	buf_add(out, S("\r\nFrom: "));
	buf_add(out, d->from);
	buf_add(out, S("\r\nTo: "));
	buf_add(out, d->to);
	buf_add(out, S("\r\nSubject: "));
	buf_add(out, dsn_subject(d));
	buf_add(out, S("\r\nMessage-ID: <"));
	buf_add(out, d->token);
	buf_addc(out, '@');
	buf_add(out, d->hostname);
	/* RFC 3834: nothing that answers by itself is to answer this. */
	buf_add(out, S(">\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
		       "Content-Type: multipart/report; report-type=delivery-status;\r\n"
		       "\tboundary=\""));
	buf_add(out, f->boundary);
	buf_add(out, S("\"\r\n"));
	if (eightbit)
		buf_add(out, S("Content-Transfer-Encoding: 8bit\r\n"));
	buf_add(out, S("\r\nThis is a notice about mail delivery, in MIME form.\r\n"));
}

/* The head without its empty line, cut behind a whole field. */
static struct slice whole_fields(struct slice head)
{
	size_t n = head.n;

	if (n >= 4 && slice_ends(head, S("\r\n\r\n")))
		n -= 2;
	if (n > DSN_HEAD) {
		n = DSN_HEAD;
		while (n && !(head.p[n - 1] == '\n' && head.p[n] != ' ' && head.p[n] != '\t'))
			n--;
	}
	return slice(head.p, n);
}

/* RFC 6522 section 4: text/rfc822-headers, encoded when the head holds what it should not; RFC
 * 6533: message/global-headers, when it may. */
static void add_returned_head(struct buf *out, const struct dsn *d, const struct form *f)
{
	struct slice fields = whole_fields(d->head), line;

	if (f->head_high && f->intl && utf8_valid(fields)) {
		add_type(out, S("message/global-headers"), S("8bit"), S("Header of the message"));
		buf_add(out, fields);
	} else if (f->head_high) {
		add_type(out, S("text/rfc822-headers"), S("quoted-printable"),
			 S("Header of the message"));
		while (mime_text_line(&fields, &line)) {
			mime_quoted_printable(out, line);
			buf_add(out, S("\r\n"));
		}
	} else {
		add_type(out, S("text/rfc822-headers"), S("7bit"), S("Header of the message"));
		buf_add(out, fields);
	}
}

static void add_returned_message(struct buf *out, const struct dsn *d, const struct form *f)
{
	bool global = f->intl && is_utf8(d->head);

	add_type(out, global ? S("message/global") : S("message/rfc822"),
		 f->high ? S("8bit") : S("7bit"), S("The message"));
	buf_add(out, d->head);
	buf_add(out, d->body);
}

static void add_parts(struct buf *out, const struct dsn *d, const struct form *f)
{
	struct slice wide = f->intl ? S("8bit") : S("7bit");

	add_delimiter(out, f);
	add_type(out, f->intl ? S("text/plain; charset=utf-8") : S("text/plain; charset=us-ascii"),
		 wide, S("What happened"));
	dsn_add_words(out, d, f->intl);
	add_delimiter(out, f);
	add_type(out, f->intl ? S("message/global-delivery-status") : S("message/delivery-status"),
		 wide, S("The same for programs"));
	dsn_add_fields(out, d, f->intl);
	add_delimiter(out, f);
	if (d->full)
		add_returned_message(out, d, f);
	else
		add_returned_head(out, d, f);
	buf_add(out, S("\r\n--"));
	buf_add(out, f->boundary);
	buf_add(out, S("--\r\n"));
}

static size_t times_in(struct slice all, struct slice what)
{
	const char *at;
	size_t n = 0;

	while (all.n && (at = memmem(all.p, all.n, what.p, what.n))) {
		n++;
		slice_take(&all, (size_t)(at - all.p) + 1);
	}
	return n;
}

/* Written once with each boundary until it stands where it was put and nowhere else. Nobody can
 * foresee the token, so the first one does, unless somebody quotes an earlier notice. */
static bool add_all(struct buf *out, const struct dsn *d, struct form *f, bool eightbit)
{
	char text[80];
	struct buf boundary = { .p = text, .cap = sizeof text, .max = sizeof text };

	for (unsigned i = 0; i < BOUNDARIES; i++) {
		buf_clear(&boundary);
		buf_add(&boundary, S("=_"));
		buf_add(&boundary, d->token);
		buf_addf(&boundary, "_%u", i);
		f->boundary = buf_slice(&boundary);
		buf_clear(out);
		add_head(out, d, f, eightbit);
		add_parts(out, d, f);
		if (out->failed || boundary.failed)
			return false;
		if (times_in(buf_slice(out), f->boundary) == 5)
			return true;
	}
	return false;
}

static bool line_ok(struct slice s)
{
	return s.n && s.n <= ADDRESS_LINE && !has_control(s) && utf8_valid(s);
}

bool dsn_compose(const struct dsn *d, struct buf *out, struct dsn_made *ret, struct err *e)
{
	struct form f = form_of(d);
	bool smtputf8 = !ascii_only(d->to) || !ascii_only(d->from);
	bool eightbit = smtputf8 || f.intl || (f.high && d->full);

	if (!line_ok(d->from) || !line_ok(d->to))
		return err_set(e, ERR_INPUT, "the address cannot stand in a header");
	if (!add_all(out, d, &f, eightbit))
		return err_set(e, ERR_LATER, "the notice does not fit");
	*ret = (struct dsn_made){ .smtputf8 = smtputf8, .eightbit = eightbit };
	return true;
}
