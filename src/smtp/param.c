#include "smtp/param.h"

#include "base/utf8.h"
#include "base/xtext.h"

#define ENVID_MAX 100 /* RFC 3461 section 4.4 */
#define ORCPT_MAX 500 /* section 4.2 */
#define AUTH_MAX  500 /* RFC 4954 section 3 */

enum keyword { K_SIZE, K_BODY, K_SMTPUTF8, K_RET, K_ENVID, K_AUTH, K_NOTIFY, K_ORCPT, K_NONE };

static const struct slice keywords[] = {
	[K_SIZE] = S("SIZE"),     [K_BODY] = S("BODY"),   [K_SMTPUTF8] = S("SMTPUTF8"),
	[K_RET] = S("RET"),       [K_ENVID] = S("ENVID"), [K_AUTH] = S("AUTH"),
	[K_NOTIFY] = S("NOTIFY"), [K_ORCPT] = S("ORCPT"),
};

struct param {
	enum keyword keyword;
	struct slice name, value;
	bool has_value;
};

/* RFC 3461: what xtext stands for is printable US-ASCII. */
static bool xtext_printable(struct slice in)
{
	unsigned char c;

	while (xtext_next(&in, &c))
		if (c < ' ' || c > '~')
			return false;
	return in.n == 0;
}

/* esmtp-value: anything but "=", blanks and controls (RFC 5321 4.1.2; UTF-8 by RFC 6531 3.3). */
static bool value_ok(struct slice v)
{
	for (size_t i = 0; i < v.n; i++) {
		unsigned char c = (unsigned char)v.p[i];

		if (c <= ' ' || c == '=' || c == 0x7f)
			return false;
	}
	return v.n > 0 && utf8_valid(v);
}

static bool name_ok(struct slice n)
{
	if (!n.n || n.p[0] == '-')
		return false;
	for (size_t i = 0; i < n.n; i++)
		if (!ascii_alpha(n.p[i]) && !ascii_digit(n.p[i]) && n.p[i] != '-')
			return false;
	return true;
}

/* Cuts one parameter off *in. False at the end or if it is malformed (then in->n > 0). */
static bool param_next(struct slice *in, struct param *ret)
{
	struct slice word, rest;

	if (!in->n || in->p[0] != ' ')
		return false;
	while (in->n && in->p[0] == ' ')
		slice_take(in, 1);
	slice_cut(*in, ' ', &word, &rest);
	ret->has_value = slice_cut(word, '=', &ret->name, &ret->value);
	if (!name_ok(ret->name) || (ret->has_value && !value_ok(ret->value)))
		return false;
	ret->keyword = K_SIZE;
	while (ret->keyword != K_NONE && !slice_ieq(ret->name, keywords[ret->keyword]))
		ret->keyword++;
	slice_take(in, word.n);
	return true;
}

/* size-value = 1*20DIGIT. Too large for the type is too large for us, not malformed. */
static bool size_value(struct slice v, uint64_t *ret)
{
	if (v.n > 20)
		return false;
	for (size_t i = 0; i < v.n; i++)
		if (!ascii_digit(v.p[i]))
			return false;
	if (!slice_u64(v, ret))
		*ret = UINT64_MAX;
	return true;
}

static enum smtp_param_got body_value(struct slice v, enum smtp_body *ret)
{
	if (slice_ieq(v, S("BINARYMIME"))) /* RFC 3030, not offered */
		return SMTP_PARAM_UNKNOWN;
	if (slice_ieq(v, S("7BIT")))
		*ret = SMTP_BODY_7BIT;
	else if (slice_ieq(v, S("8BITMIME")))
		*ret = SMTP_BODY_8BITMIME;
	else
		return SMTP_PARAM_BAD;
	return SMTP_PARAM_OK;
}

static bool ret_value(struct slice v, enum smtp_ret *ret)
{
	*ret = slice_ieq(v, S("FULL"))   ? SMTP_RET_FULL
	       : slice_ieq(v, S("HDRS")) ? SMTP_RET_HDRS
					 : SMTP_RET_UNSAID;
	return *ret != SMTP_RET_UNSAID;
}

/* RFC 4954 section 5: an xtext, or <>. */
static bool auth_value(struct slice v)
{
	return v.n <= AUTH_MAX && (slice_eq(v, S("<>")) || xtext_printable(v));
}

static enum smtp_param_got mail_param(const struct param *p, struct smtp_mail_params *ret)
{
	bool ok = false;

	if ((p->keyword == K_SMTPUTF8) == p->has_value && p->keyword <= K_AUTH)
		return SMTP_PARAM_BAD; /* SMTPUTF8 alone stands without a value */
	switch (p->keyword) {
	case K_SIZE: ok = size_value(p->value, &ret->size); break;
	case K_BODY: return body_value(p->value, &ret->body);
	case K_SMTPUTF8: ok = ret->smtputf8 = true; break;
	case K_RET: ok = ret_value(p->value, &ret->ret); break;
	case K_ENVID:
		ret->envid = p->value;
		ok = p->value.n <= ENVID_MAX && xtext_printable(p->value);
		break;
	case K_AUTH:
		ret->auth = p->value;
		ok = auth_value(p->value);
		break;
	case K_NOTIFY:
	case K_ORCPT:
	case K_NONE: return SMTP_PARAM_UNKNOWN;
	}
	return ok ? SMTP_PARAM_OK : SMTP_PARAM_BAD;
}

enum smtp_param_got smtp_mail_params_parse(struct slice in, struct smtp_mail_params *ret)
{
	struct smtp_mail_params params = { 0 };
	struct param p;
	unsigned seen = 0;

	while (param_next(&in, &p)) {
		enum smtp_param_got got = mail_param(&p, &params);

		if (got == SMTP_PARAM_OK && (seen & 1u << p.keyword))
			got = SMTP_PARAM_BAD;
		if (got != SMTP_PARAM_OK)
			return got;
		seen |= 1u << p.keyword;
	}
	if (in.n)
		return SMTP_PARAM_BAD;
	*ret = params;
	return SMTP_PARAM_OK;
}

/* RFC 3461 section 4.1: NEVER, or a list of the others. */
static bool notify_value(struct slice v, unsigned *ret)
{
	bool more = true;

	*ret = 0;
	while (more) {
		struct slice word;
		unsigned bit;

		more = slice_cut(v, ',', &word, &v);
		bit = slice_ieq(word, S("NEVER"))     ? SMTP_NOTIFY_NEVER
		      : slice_ieq(word, S("SUCCESS")) ? SMTP_NOTIFY_SUCCESS
		      : slice_ieq(word, S("FAILURE")) ? SMTP_NOTIFY_FAILURE
		      : slice_ieq(word, S("DELAY"))   ? SMTP_NOTIFY_DELAY
						      : 0u;
		if (!bit || (*ret & bit))
			return false;
		*ret |= bit;
	}
	return !(*ret & SMTP_NOTIFY_NEVER) || *ret == SMTP_NOTIFY_NEVER;
}

/* utf-8-addr-xtext, and with utf8 utf-8-addr-unitext: no "+", "=", blank, bare backslash. That it
 * is UTF-8 was seen by value_ok(). */
static bool utf8_addr_ok(struct slice v, bool utf8)
{
	uint32_t point;

	while (v.n) {
		unsigned char c = (unsigned char)v.p[0];

		if (c == '\\') {
			if (!xtext_hexpoint(&v, &point))
				return false;
			continue;
		}
		if (c == '+' || (c > 0x7f && !utf8) ||
		    (c == 0xc2 && v.n > 1 && (unsigned char)v.p[1] < 0xa0)) /* C1 controls */
			return false;
		slice_take(&v, 1);
	}
	return true;
}

/* original-recipient-address = addr-type ";" xtext */
static bool orcpt_value(struct slice v, bool utf8, struct smtp_rcpt_params *ret)
{
	ret->orcpt = v;
	if (v.n > ORCPT_MAX || !slice_cut(v, ';', &ret->orcpt_type, &ret->orcpt_addr) ||
	    !name_ok(ret->orcpt_type) || !ret->orcpt_addr.n)
		return false;
	return slice_ieq(ret->orcpt_type, S("utf-8")) ? utf8_addr_ok(ret->orcpt_addr, utf8)
						      : xtext_printable(ret->orcpt_addr);
}

static enum smtp_param_got rcpt_param(const struct param *p, bool utf8,
				      struct smtp_rcpt_params *ret)
{
	bool ok;

	if (p->keyword == K_NOTIFY)
		ok = p->has_value && notify_value(p->value, &ret->notify);
	else if (p->keyword == K_ORCPT)
		ok = p->has_value && orcpt_value(p->value, utf8, ret);
	else
		return SMTP_PARAM_UNKNOWN;
	return ok ? SMTP_PARAM_OK : SMTP_PARAM_BAD;
}

enum smtp_param_got smtp_rcpt_params_parse(struct slice in, bool utf8, struct smtp_rcpt_params *ret)
{
	struct smtp_rcpt_params params = { 0 };
	struct param p;
	unsigned seen = 0;

	while (param_next(&in, &p)) {
		enum smtp_param_got got = rcpt_param(&p, utf8, &params);

		if (got == SMTP_PARAM_OK && (seen & 1u << p.keyword))
			got = SMTP_PARAM_BAD;
		if (got != SMTP_PARAM_OK)
			return got;
		seen |= 1u << p.keyword;
	}
	if (in.n)
		return SMTP_PARAM_BAD;
	*ret = params;
	return SMTP_PARAM_OK;
}
