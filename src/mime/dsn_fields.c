#include "base/timetext.h"
#include "base/utf8.h"
#include "base/xtext.h"
#include "mime/dsn_impl.h"

#define PATH_MAX_SHOWN 900 /* no address we accept is longer; a line holds 998 */

void dsn_add_clean(struct buf *out, struct slice text, size_t max, bool utf8)
{
	bool high_ok = utf8 && utf8_valid(text);

	if (text.n > max) {
		text.n = max;
		/* Not in the middle of a character. */
		while (high_ok && text.n && ((unsigned char)text.p[text.n] & 0xc0) == 0x80)
			text.n--;
	}
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		bool fine = (c >= ' ' && c < 0x7f) || (c > 0x7f && high_ok);

		buf_addc(out, fine ? (char)c : '?');
	}
}

void dsn_add_folded(struct buf *out, size_t column, struct slice text, struct slice indent)
{
	text = slice_trim(text);
	while (text.n) {
		struct slice word;
		size_t blanks = 0, n = 0;

		while (blanks < text.n && text.p[blanks] == ' ')
			blanks++;
		for (n = blanks; n < text.n && text.p[n] != ' ';)
			n++;
		word = slice_take(&text, n);
		if (column + n > DSN_LINE && blanks && column > indent.n) {
			buf_add(out, S("\r\n"));
			buf_add(out, indent);
			slice_take(&word, blanks);
			column = indent.n;
		}
		buf_add(out, word);
		column += word.n;
	}
}

void dsn_add_answer(struct buf *out, const struct dsn_rcpt *r)
{
	if (r->remote && r->code)
		buf_addf(out, r->text.n ? "%d " : "%d", r->code);
	dsn_add_clean(out, r->text, DSN_TEXT, false);
}

/* -- Status -- */

/* RFC 3464 2.3.4: class "." subject "." detail, then a blank or nothing. */
static struct slice enhanced(struct slice text, char class)
{
	size_t i = 1, dots = 0, digits = 1;

	if (!text.n || text.p[0] != class)
		return S("");
	for (; i < text.n && text.p[i] != ' '; i++) {
		if (text.p[i] == '.') {
			if (!digits || ++dots > 2)
				return S("");
			digits = 0;
		} else if (!ascii_digit(text.p[i]) || ++digits > 3) {
			return S("");
		}
	}
	return dots == 2 && digits && text.p[1] == '.' ? slice(text.p, i) : S("");
}

struct dsn_status dsn_status(const struct dsn_rcpt *r)
{
	struct dsn_status ret = { "" };
	struct slice said = S(""), other = S("");

	switch (r->action) {
	case DSN_FAILED:
		said = r->expired ? S("4.4.7") : enhanced(r->text, '5');
		other = S("5.0.0");
		break;
	case DSN_DELAYED:
		said = enhanced(r->text, '4');
		other = r->code ? S("4.0.0") : S("4.4.1");
		break;
	case DSN_DELIVERED:
	case DSN_RELAYED:
		said = enhanced(r->text, '2');
		other = S("2.0.0");
		break;
	}
	if (!said.n)
		said = other;
	memcpy(ret.text, said.p, said.n);
	return ret;
}

/* -- fields -- */

/* RFC 3464 2.1.2: a domain, or an address in brackets. */
static void add_mta(struct buf *out, struct slice name)
{
	bool address = name.n && memchr(name.p, ':', name.n);
	size_t digits = 0;

	while (digits < name.n && (ascii_digit(name.p[digits]) || name.p[digits] == '.'))
		digits++;
	address |= digits == name.n;
	buf_add(out, S("dns; "));
	buf_add(out, address ? S("[") : S(""));
	dsn_add_clean(out, name, 255, false);
	buf_add(out, address ? S("]\r\n") : S("\r\n"));
}

static void add_date(struct buf *out, struct slice name, uint64_t ms)
{
	buf_add(out, name);
	time_add_rfc5322(out, ms);
	buf_add(out, S("\r\n"));
}

/* RFC 3461 5.2.1 (c): the address as the sender's own server knew it. */
static void add_original(struct buf *out, struct slice orcpt, bool intl)
{
	struct slice type, address;
	bool utf8, ok = true;
	struct buf plain;

	if (!slice_cut(orcpt, ';', &type, &address))
		return;
	utf8 = slice_ieq(type, S("utf-8"));
	buf_init(&plain, 2048);
	if (!utf8)
		ok = xtext_decode(&plain, address);
	else if (intl)
		xtext_utf8_decode(&plain, address);
	else
		buf_add(&plain, address); /* RFC 6533 section 3: its form for ASCII surroundings */
	if (ok && !plain.failed && plain.n) {
		buf_add(out, S("Original-Recipient: "));
		dsn_add_clean(out, type, 64, false);
		buf_add(out, S("; "));
		dsn_add_clean(out, buf_slice(&plain), PATH_MAX_SHOWN, utf8 && intl);
		buf_add(out, S("\r\n"));
	}
	buf_done(&plain);
}

static void add_diagnostic(struct buf *out, const struct dsn *d, const struct dsn_rcpt *r)
{
	struct slice name = S("Diagnostic-Code: ");
	struct slice type = r->remote ? S("smtp; ") : S("X-Signet; ");
	struct buf text;

	if (!r->text.n && !r->code)
		return;
	buf_init(&text, 2048);
	if (r->expired && !r->remote) {
		buf_add(&text, S("expired after "));
		time_add_span(&text, d->lifetime_ms);
		buf_add(&text, S("; last answer: "));
	}
	dsn_add_answer(&text, r);
	buf_add(out, name);
	buf_add(out, type);
	dsn_add_folded(out, name.n + type.n, buf_slice(&text), S(" "));
	buf_add(out, S("\r\n"));
	out->failed |= text.failed;
	buf_done(&text);
}

static struct slice action_name(enum dsn_action a)
{
	switch (a) {
	case DSN_FAILED: return S("failed");
	case DSN_DELAYED: return S("delayed");
	case DSN_DELIVERED: return S("delivered");
	case DSN_RELAYED: return S("relayed");
	}
	return S("");
}

static void add_rcpt(struct buf *out, const struct dsn *d, const struct dsn_rcpt *r, bool intl)
{
	struct dsn_status status = dsn_status(r);

	buf_add(out, S("\r\n"));
	add_original(out, r->orcpt, intl);
	buf_add(out, ascii_only(r->path) ? S("Final-Recipient: rfc822; ")
					 : S("Final-Recipient: utf-8; "));
	dsn_add_clean(out, r->path, PATH_MAX_SHOWN, intl);
	buf_add(out, S("\r\nAction: "));
	buf_add(out, action_name(r->action));
	buf_add(out, S("\r\nStatus: "));
	buf_add(out, slice_str(status.text));
	buf_add(out, S("\r\n"));
	if (r->mta.n) {
		buf_add(out, S("Remote-MTA: "));
		add_mta(out, r->mta);
	}
	add_diagnostic(out, d, r);
	add_date(out, S("Last-Attempt-Date: "), d->now_ms);
	if (d->id.n) {
		buf_add(out, S("Final-Log-ID: "));
		dsn_add_clean(out, d->id, 64, false);
		buf_add(out, S("\r\n"));
	}
	if (r->action == DSN_DELAYED)
		add_date(out, S("Will-Retry-Until: "), d->arrival_ms + d->lifetime_ms);
}

void dsn_add_fields(struct buf *out, const struct dsn *d, bool intl)
{
	struct buf envid;

	buf_add(out, S("Reporting-MTA: "));
	add_mta(out, d->hostname);
	buf_init(&envid, 1024);
	if (d->envid.n && xtext_decode(&envid, d->envid) && envid.n) {
		buf_add(out, S("Original-Envelope-Id: "));
		dsn_add_clean(out, buf_slice(&envid), PATH_MAX_SHOWN, false);
		buf_add(out, S("\r\n"));
	}
	buf_done(&envid);
	add_date(out, S("Arrival-Date: "), d->arrival_ms);
	for (size_t i = 0; i < d->n_rcpts; i++)
		add_rcpt(out, d, &d->rcpts[i], intl);
}
