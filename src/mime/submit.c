#include "mime/submit.h"

#include "base/timetext.h"
#include "base/utf8.h"
#include "mime/xsmtpapi.h"

#include <stdio.h>

/* One call of mime_finish(). */
struct work {
	const struct mime_finish *f;
	const struct mime_limits *limits;
	struct arena *a;
	struct buf *out;
	struct mime_facts facts;
	struct mime_refusal refusal;
	struct slice run;       /* fields to keep, one behind the other, not yet copied */
	size_t date_at, date_n; /* where in out our Received has the date */
	size_t froms, senders, smtpapis;
	bool date;
};

static bool refuse(struct work *w, enum mime_problem problem)
{
	w->refusal = mime_refusal(problem);
	return false;
}

/* --- the Received field (RFC 5321 4.4, RFC 8314 4.3) --- */

/* Letters, digits and what else is allowed; 1 to max of them. */
static bool only(struct slice s, size_t max, struct slice others)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_alpha(s.p[i]) && !ascii_digit(s.p[i]) &&
		    !memchr(others.p, s.p[i], others.n))
			return false;
	return s.n && s.n <= max;
}

static bool helo_fine(struct slice helo)
{
	if (helo.n > 2 && helo.p[0] == '[' && helo.p[helo.n - 1] == ']')
		return only(slice(helo.p + 1, helo.n - 2), 64, S(":.-"));
	return only(helo, 255, S("-._")) && helo.p[0] != '.' && helo.p[0] != '-';
}

/* Only what can stand between angle brackets without being quoted; the others do without. */
static bool recipient_fine(struct slice r, bool utf8)
{
	static const char not [] = "<>()[]\\\",;:";

	for (size_t i = 0; i < r.n; i++)
		if ((r.p[i] >= 0 && r.p[i] <= ' ') || r.p[i] == 0x7f ||
		    memchr(not, r.p[i], sizeof not -1))
			return false;
	if (!ascii_only(r) && !(utf8 && utf8_valid(r)))
		return false;
	return r.n && r.n <= 320 && memchr(r.p, '@', r.n);
}

static void add_pair(struct buf *out, struct slice what, struct slice value)
{
	buf_add(out, what);
	buf_add(out, value);
}

static void add_received(struct work *w)
{
	const struct mime_finish *f = w->f;
	const struct mime_origin *o = &f->origin;
	struct buf *out = w->out;

	add_pair(out, S("Received: from "), helo_fine(o->helo) ? o->helo : S("unknown"));
	if (only(o->address, 45, S(":."))) {
		bool six = memchr(o->address.p, ':', o->address.n);

		add_pair(out, six ? S(" ([IPv6:") : S(" (["), o->address);
		buf_add(out, S("])"));
	}
	add_pair(out, S("\r\n\tby "), f->hostname);
	if (only(o->protocol, 24, S("-")))
		add_pair(out, S(" with "), o->protocol);
	if (only(f->id, 64, S("-_")))
		add_pair(out, S(" id "), f->id);
	if (recipient_fine(f->recipient, f->smtputf8)) {
		add_pair(out, S("\r\n\tfor <"), f->recipient);
		w->facts.high = !ascii_only(f->recipient);
		buf_addc(out, '>');
	}
	if (only(o->tls, 64, S("-_")))
		add_pair(out, S("\r\n\ttls "), o->tls);
	buf_add(out, S(";\r\n\t"));
	w->date_at = out->n;
	time_add_rfc5322(out, f->now_ms);
	w->date_n = out->n - w->date_at;
	buf_add(out, S("\r\n"));
}

/* --- Authentication-Results --- */

/* CFWS without asking how correct it is: what it steps over decides nothing. */
static struct slice behind_cfws(struct slice s)
{
	size_t i, depth = 0;

	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '(')
			depth++;
		else if (depth && s.p[i] == ')')
			depth--;
		else if (depth && s.p[i] == '\\')
			i++;
		else if (!depth && !memchr(" \t\r\n", s.p[i], 4))
			break;
	}
	return slice_from(s, i);
}

/* RFC 8601 2.2: the authserv-id is a token or a quoted-string (RFC 2045 5.1). True when it is ours
 * or when there is none to be read: whoever trusts our name may read it another way. */
static bool results_are_ours(struct slice value, struct slice ours)
{
	static const char special[] = "()<>@,;:\\\"/[]?= \t\r\n";
	struct slice s = behind_cfws(value);
	bool quoted = s.n && s.p[0] == '"';
	size_t n = 0, i = quoted;
	bool same = true;

	for (; i < s.n; i++, n++) {
		if (quoted ? s.p[i] == '"' : memchr(special, s.p[i], sizeof special - 1) != NULL)
			break;
		if (quoted && s.p[i] == '\\' && ++i == s.n)
			break;
		same = same && n < ours.n && ascii_lower(s.p[i]) == ascii_lower(ours.p[n]);
	}
	return !n || (quoted && i >= s.n) || (same && n == ours.n);
}

/* --- addresses --- */

static bool addresses(struct work *w, const struct mime_field *field, size_t max,
		      struct mime_addresses *ret)
{
	struct err e = { 0 };
	char why[sizeof e.text + 32];
	int n;

	if (mime_addresses_parse(field->value, w->f->smtputf8, max, w->a, ret, &e))
		return true;
	if (e.kind == ERR_LATER)
		return refuse(w, MIME_NO_MEMORY);
	n = snprintf(why, sizeof why, "%.*s: %s", SLICE_ARG(field->name), e.text);
	w->refusal = mime_refusal_of(MIME_BAD_ADDRESS, slice(why, n > 0 ? (size_t)n : 0), w->a);
	return false;
}

static bool from(struct work *w, const struct mime_field *field)
{
	if (w->froms++)
		return refuse(w, MIME_TWO_FROM);
	if (!addresses(w, field, w->limits->addresses_max, &w->facts.from))
		return false;
	return !w->facts.from.has_group || refuse(w, MIME_GROUP_IN_FROM);
}

static bool sender(struct work *w, const struct mime_field *field)
{
	if (w->senders++)
		return refuse(w, MIME_TWO_SENDER);
	if (!addresses(w, field, w->limits->addresses_max, &w->facts.sender))
		return false;
	return (w->facts.sender.n == 1 && !w->facts.sender.has_group) || refuse(w, MIME_BAD_SENDER);
}

/* There may be several blocks of Resent fields: all of their mailboxes go into one list. */
static bool resent(struct work *w, const struct mime_field *field)
{
	struct mime_addresses *all = &w->facts.resent, more;

	if (!all->at) {
		all->at = ARENA_ARRAY(w->a, struct mime_address, w->limits->addresses_max);
		if (!all->at)
			return refuse(w, MIME_NO_MEMORY);
	}
	if (!addresses(w, field, w->limits->addresses_max - all->n, &more))
		return false;
	if (more.n)
		memcpy(all->at + all->n, more.at, more.n * sizeof *more.at);
	all->n += more.n;
	all->has_group |= more.has_group;
	return true;
}

/* --- X-SMTPAPI --- */

/* Names come from the message: printable ASCII only, shortened, few. */
static struct mime_refusal smtpapi_refusal(struct work *w, const struct xsmtpapi *x)
{
	struct mime_refusal r = mime_refusal(MIME_SMTPAPI);
	struct buf text;

	buf_init(&text, MIME_REFUSAL_TEXT);
	buf_add(&text, S("X-SMTPAPI "));
	for (size_t i = 0; i < x->n; i++) {
		size_t n = x->other[i].n < 24 ? x->other[i].n : 24;

		buf_add(&text, i ? S(", \"") : S("\""));
		for (size_t k = 0; k < n; k++) {
			char c = x->other[i].p[k];

			buf_addc(&text, c >= ' ' && c <= '~' && c != '"' && c != '\\' ? c : '?');
		}
		buf_addc(&text, '"');
	}
	buf_add(&text, x->more ? S(" and others") : S(""));
	buf_add(&text, x->n > 1 ? S(" are not supported yet: message refused")
				: S(" is not supported yet: message refused"));
	if (!text.failed)
		r.text = arena_dup(w->a, buf_slice(&text));
	if (!r.text.n)
		r = mime_refusal(MIME_NO_MEMORY);
	buf_done(&text);
	return r;
}

static bool smtpapi(struct work *w, const struct mime_field *field)
{
	struct xsmtpapi x;

	if (w->smtpapis++) {
		w->refusal = mime_refusal(MIME_SMTPAPI);
		w->refusal.text = S("More than one X-SMTPAPI field: message refused");
		return false;
	}
	if (!xsmtpapi_read(mime_unfold(field->value, w->a), w->a, &x))
		return refuse(w, w->a->failed ? MIME_NO_MEMORY : MIME_SMTPAPI);
	if (x.n) {
		w->refusal = smtpapi_refusal(w, &x);
		return false;
	}
	w->facts.smtpapi_removed = true;
	return true;
}

/* --- all fields --- */

static bool is_address_field(enum mime_name id)
{
	switch (id) {
	case MIME_FROM:
	case MIME_SENDER:
	case MIME_REPLY_TO:
	case MIME_TO:
	case MIME_CC:
	case MIME_RESENT_FROM:
	case MIME_RESENT_SENDER:
	case MIME_RESENT_TO:
	case MIME_RESENT_CC: return true;
	case MIME_OTHER:
	case MIME_BCC:
	case MIME_RESENT_BCC:
	case MIME_DATE:
	case MIME_MESSAGE_ID:
	case MIME_SUBJECT:
	case MIME_RECEIVED:
	case MIME_RETURN_PATH:
	case MIME_AUTHENTICATION_RESULTS:
	case MIME_X_SMTPAPI: return false;
	}
	return false;
}

static bool characters(struct work *w, const struct mime_field *field)
{
	if (!field->high)
		return true;
	if (w->f->smtputf8)
		return utf8_valid(field->value) || refuse(w, MIME_BAD_UTF8);
	return !is_address_field(field->id) || refuse(w, MIME_NEEDS_SMTPUTF8);
}

/* Looks at one field. *ret_keep: it goes into the new head. */
static bool examine(struct work *w, const struct mime_field *field, bool *ret_keep)
{
	const struct mime_finish *f = w->f;

	*ret_keep = true;
	switch (field->id) {
	case MIME_FROM: return from(w, field);
	case MIME_SENDER: return sender(w, field);
	case MIME_RESENT_FROM:
	case MIME_RESENT_SENDER: return resent(w, field);
	case MIME_DATE: w->date = true; return true;
	case MIME_MESSAGE_ID:
		if (!w->facts.message_id.p)
			w->facts.message_id = mime_unfold(field->value, w->a);
		return w->facts.message_id.p || refuse(w, MIME_NO_MEMORY);
	case MIME_RECEIVED:
		return ++w->facts.received < w->limits->received_max || refuse(w, MIME_LOOP);
	case MIME_BCC:
	case MIME_RESENT_BCC:
	case MIME_RETURN_PATH: *ret_keep = false; return true;
	case MIME_AUTHENTICATION_RESULTS:
		*ret_keep = !results_are_ours(field->value,
					      f->authserv_id.n ? f->authserv_id : f->hostname);
		return true;
	case MIME_X_SMTPAPI: *ret_keep = false; return smtpapi(w, field);
	case MIME_REPLY_TO:
	case MIME_TO:
	case MIME_CC:
	case MIME_RESENT_TO:
	case MIME_RESENT_CC:
	case MIME_SUBJECT:
	case MIME_OTHER: return true;
	}
	return true;
}

static bool copy_fields(struct work *w, const struct mime_header *h)
{
	for (size_t i = 0; i < h->n; i++) {
		const struct mime_field *field = &h->fields[i];
		bool keep;

		if (!characters(w, field) || !examine(w, field, &keep))
			return false;
		if (keep && w->run.n) {
			w->run.n += field->raw.n;
		} else if (keep) {
			w->run = field->raw;
		} else {
			buf_add(w->out, w->run);
			w->run.n = 0;
		}
		w->facts.high |= keep && field->high;
	}
	buf_add(w->out, w->run);
	return true;
}

/* RFC 6409 8.2, 8.3. */
static bool add_missing(struct work *w)
{
	struct buf *out = w->out;
	size_t n = w->f->token.n + w->f->hostname.n + 3;

	if (!w->date) {
		char *to;

		buf_add(out, S("Date: "));
		to = buf_room_for(out, w->date_n);
		if (!to)
			return refuse(w, MIME_NO_MEMORY);
		memcpy(to, out->p + w->date_at, w->date_n);
		buf_grew(out, w->date_n);
		buf_add(out, S("\r\n"));
		w->facts.date_added = true;
	}
	if (!w->facts.message_id.p) {
		char *id = arena_alloc(w->a, n);

		if (!id)
			return refuse(w, MIME_NO_MEMORY);
		id[0] = '<';
		memcpy(id + 1, w->f->token.p, w->f->token.n);
		id[1 + w->f->token.n] = '@';
		memcpy(id + 2 + w->f->token.n, w->f->hostname.p, w->f->hostname.n);
		id[n - 1] = '>';
		w->facts.message_id = slice(id, n);
		add_pair(out, S("Message-ID: "), w->facts.message_id);
		buf_add(out, S("\r\n"));
		w->facts.message_id_added = true;
	}
	buf_add(out, S("\r\n"));
	return true;
}

static bool finish(struct work *w, const struct mime_header *h)
{
	/* All of it at once: growing step by step would copy the head several times. */
	buf_room_for(w->out, h->bytes + 512 < buf_left(w->out) ? h->bytes + 512 : 0);
	add_received(w);
	if (!copy_fields(w, h))
		return false;
	if (!w->froms)
		return refuse(w, MIME_NO_FROM);
	if (!add_missing(w))
		return false;
	w->facts.head_bytes = h->bytes;
	return !w->out->failed || refuse(w, MIME_NO_MEMORY);
}

bool mime_finish(const struct mime_finish *f, const struct mime_limits *limits,
		 struct slice message, bool whole, struct arena *a, struct buf *out,
		 struct mime_facts *ret, struct mime_refusal *ret_refusal)
{
	struct work w = { .f = f, .limits = limits, .a = a, .out = out };
	struct mime_header h;
	enum mime_problem problem = mime_header_split(message, whole, limits, a, &h);

	if (problem) {
		*ret_refusal = mime_refusal(problem);
		return false;
	}
	if (!finish(&w, &h)) {
		*ret_refusal = w.refusal;
		return false;
	}
	*ret = w.facts;
	return true;
}
