/* account/identity.c -- see identity.h. */
#include "account/identity.h"

#include "account/account_impl.h"
#include "account/key.h"
#include "base/buf.h"

static bool is_hex(char c)
{
	return ascii_digit(c) || (c >= 'a' && c <= 'f');
}

static bool dns_ok(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_alpha(s.p[i]) && !ascii_digit(s.p[i]) && s.p[i] != '-' &&
		    s.p[i] != '.' && s.p[i] != '_')
			return false;
	return s.n > 0 && s.n <= 253;
}

static bool visible(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return s.n > 0;
}

/* ISSUER:CLAIM=VALUE */
static bool token_ok(struct slice value)
{
	struct slice issuer, rest, claim, text;

	if (!visible(value) || !slice_cut(value, ':', &issuer, &rest) ||
	    !slice_cut(rest, '=', &claim, &text))
		return false;
	for (size_t i = 0; i < issuer.n; i++)
		if (!ascii_digit(issuer.p[i]) && issuer.p[i] != '-' &&
		    !(issuer.p[i] >= 'a' && issuer.p[i] <= 'z'))
			return false;
	return issuer.n && issuer.n <= 32 && claim.n && text.n;
}

static bool certificate_ok(struct slice kind, struct slice value)
{
	if (slice_eq(kind, S("dns")))
		return dns_ok(value);
	if (!slice_eq(kind, S("spki")))
		return (slice_eq(kind, S("uri")) || slice_eq(kind, S("email"))) && visible(value);
	for (size_t i = 0; i < value.n; i++)
		if (!is_hex(value.p[i]))
			return false;
	return value.n == 64;
}

bool key_identity(struct slice text, struct buf *out, struct err *e)
{
	char kept[KEY_IDENTITY_MAX];
	struct slice kind, value;
	bool ok = text.n <= sizeof(kept) && slice_cut(text, ':', &kind, &value);
	bool lower = ok && (slice_eq(kind, S("spki")) || slice_eq(kind, S("dns")));
	size_t head = ok ? kind.n + 1 : 0;

	for (size_t i = 0; ok && i < text.n; i++)
		kept[i] = lower ? ascii_lower(text.p[i]) : text.p[i];
	value = ok ? slice(kept + head, text.n - head) : S("");
	if (ok && slice_eq(kind, S("token"))) {
		if (!token_ok(value))
			return err_set(
			    e, ERR_INPUT,
			    "a token is known by ISSUER:CLAIM=VALUE, with the name of an "
			    "issuer in the configuration");
	} else if (!ok || !certificate_ok(kind, value)) {
		return err_set(e, ERR_INPUT,
			       "a certificate is known by spki:HEX (64 digits), dns:NAME, "
			       "email:ADDRESS or uri:URI");
	}
	buf_add(out, slice(kept, text.n));
	return !out->failed ||
	       err_set(e, ERR_INPUT, "too many certificates and tokens for one key");
}

bool key_of_identity(struct store_handle *h, struct slice identity, uint64_t *ret_account,
		     char *ret_id, struct err *e)
{
	struct val key = val_text(identity), row[CERTIFICATE_COLUMNS];
	struct arena a;
	bool ok;

	arena_init(&a, ROW_ARENA);
	ok = store_get(h, &key_certificate_table, &key, &a, row, e);
	if (!ok && e && e->kind == ERR_ABSENT)
		err_set(e, ERR_ABSENT, "no key is known by that");
	if (ok && row[CERTIFICATE_KEY].s.n != KEY_ID_LEN)
		ok = err_set(e, ERR_DAMAGED, "a certificate's key is none");
	if (ok) {
		*ret_account = (uint64_t)row[CERTIFICATE_ACCOUNT].i;
		memcpy(ret_id, row[CERTIFICATE_KEY].s.p, KEY_ID_LEN);
		ret_id[KEY_ID_LEN] = '\0';
	}
	arena_done(&a);
	return ok;
}
