#include "mime/compose.h"

#include "base/b64.h"
#include "base/timetext.h"
#include "base/utf8.h"
#include "mime/address.h"
#include "mime/encode.h"

#define LINE_MAX_OCTETS 998 /* RFC 5322 2.1.1, without CRLF */
#define RECIPIENTS_MAX  100

/* One value of a field: refused, never repaired. */
static bool value_fine(struct slice s, const char *what, struct err *e)
{
	if (has_control(s))
		return err_set(e, ERR_INPUT, "%s holds a control character or a line end", what);
	if (!utf8_valid(s))
		return err_set(e, ERR_INPUT, "%s is not valid UTF-8", what);
	return true;
}

static bool addresses_fine(struct slice s, const char *what, size_t max, bool utf8, struct err *e)
{
	struct mime_addresses list;
	struct arena a;
	bool fine;

	if (!value_fine(s, what, e))
		return false;
	if (s.n > LINE_MAX_OCTETS - 6)
		return err_set(e, ERR_INPUT, "%s is too long", what);
	if (!utf8 && !ascii_only(s))
		return err_set(e, ERR_INPUT, "%s needs SMTPUTF8", what);
	arena_init(&a, 64 << 10);
	fine = mime_addresses_parse(s, utf8, max, &a, &list, e) || err_in(e, what);
	if (fine && !list.n)
		fine = err_set(e, ERR_INPUT, "%s: no address", what);
	if (fine && max == 1 && list.has_group)
		fine = err_set(e, ERR_INPUT, "%s: a group", what);
	arena_done(&a);
	return fine;
}

/* A subject can stand as it is when a reader would get back the same characters. */
static bool subject_plain(struct slice s)
{
	return ascii_only(s) && s.n <= 900 && !memmem(s.p ? s.p : "", s.n, "=?", 2) &&
	       slice_trim(s).n == s.n;
}

/* RFC 2047: encoded-words of at most 75 characters, each of whole characters (section 5). */
static void add_encoded(struct buf *out, struct slice s)
{
	const size_t most = 45; /* =?utf-8?B? + 60 + ?= is 72 */

	while (s.n) {
		size_t n = s.n < most ? s.n : most;

		while (n < s.n && ((unsigned char)s.p[n] & 0xc0) == 0x80)
			n--;
		buf_add(out, S("=?utf-8?B?"));
		b64_encode(out, slice_take(&s, n));
		buf_add(out, S("?="));
		if (s.n)
			buf_add(out, S("\r\n "));
	}
}

static bool text_fine(struct slice text, struct err *e)
{
	struct slice line;

	if (!utf8_valid(text) || memchr(text.p ? text.p : "", '\0', text.n))
		return err_set(e, ERR_INPUT, "text is not UTF-8 or holds a NUL");
	while (mime_text_line(&text, &line))
		if (line.n && memchr(line.p, '\r', line.n))
			return err_set(e, ERR_INPUT, "text holds a CR without LF");
	return true;
}

/* 7bit will do: ASCII, no control but tab, no long line. */
static bool text_plain(struct slice text)
{
	struct slice line;

	while (mime_text_line(&text, &line)) {
		if (line.n > LINE_MAX_OCTETS || !ascii_only(line))
			return false;
		for (size_t i = 0; i < line.n; i++)
			if ((unsigned char)line.p[i] < ' ' && line.p[i] != '\t')
				return false;
	}
	return true;
}

static void add_text(struct buf *out, struct slice text, bool plain)
{
	struct slice line;

	while (mime_text_line(&text, &line)) {
		if (plain)
			buf_add(out, line);
		else
			mime_quoted_printable(out, line);
		buf_add(out, S("\r\n"));
	}
}

static void add_field(struct buf *out, struct slice name, struct slice value)
{
	buf_add(out, name);
	buf_add(out, S(": "));
	buf_add(out, value);
	buf_add(out, S("\r\n"));
}

bool mime_compose(const struct mime_letter *l, struct buf *out, struct err *e)
{
	bool plain;

	if (!addresses_fine(l->from, "from", 1, l->smtputf8, e) ||
	    !addresses_fine(l->to, "to", RECIPIENTS_MAX, l->smtputf8, e) ||
	    !value_fine(l->subject, "subject", e) || !value_fine(l->token, "token", e) ||
	    !value_fine(l->hostname, "hostname", e) || !text_fine(l->text, e))
		return false;
	plain = text_plain(l->text);
	add_field(out, S("From"), l->from);
	add_field(out, S("To"), l->to);
	buf_add(out, S("Subject: "));
	if (subject_plain(l->subject))
		buf_add(out, l->subject);
	else
		add_encoded(out, l->subject);
	buf_add(out, S("\r\nDate: "));
	time_add_rfc5322(out, l->now_ms);
	buf_add(out, S("\r\nMessage-ID: <"));
	buf_add(out, l->token);
	buf_addc(out, '@');
	buf_add(out, l->hostname);
	buf_add(out, S(">\r\nMIME-Version: 1.0\r\n"));
	add_field(out, S("Content-Type"), S("text/plain; charset=utf-8"));
	add_field(out, S("Content-Transfer-Encoding"), plain ? S("7bit") : S("quoted-printable"));
	buf_add(out, S("\r\n"));
	add_text(out, l->text, plain);
	return !out->failed || err_set(e, ERR_LATER, "message does not fit");
}
