/* CRAM-MD5 (RFC 2195): the server's challenge is a msg-id, the answer a name and an HMAC of it. */
#include "base/must.h"
#include "sasl/server_impl.h"

enum sasl_got cram_supply(struct sasl_server *x, const struct sasl_supply *s, struct buf *out)
{
	size_t begin = out->n;

	MUST(s->hostname.n && s->hostname.n <= 255);
	buf_addc(out, '<');
	buf_add(out, s->nonce);
	buf_addc(out, '.');
	buf_addu(out, s->now_ms);
	buf_addc(out, '@');
	buf_add(out, s->hostname);
	buf_addc(out, '>');
	if (out->failed ||
	    !sasl_hold(x, slice(out->p + begin, out->n - begin), &x->request.challenge))
		return SASL_BAD;
	return SASL_CHALLENGE;
}

/* Lower case, as the RFC has it. */
static bool hex_digest(struct slice text, unsigned char ret[SASL_DIGEST_MD5])
{
	static const char digits[] = "0123456789abcdef";

	if (text.n != (size_t)2 * SASL_DIGEST_MD5)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		const char *at = memchr(digits, text.p[i], 16);

		if (!at)
			return false;
		ret[i / 2] = (unsigned char)(ret[i / 2] << 4 | (at - digits));
	}
	return true;
}

enum sasl_got cram_step(struct sasl_server *x, const struct slice *in, struct buf *out)
{
	struct sasl_request *r = &x->request;
	struct slice name, digest;

	(void)out;
	if (!in)
		return x->round++ == 0 ? SASL_ASK : SASL_BAD;
	if (!r->challenge.n)
		return SASL_BAD;
	/* A name may have spaces, a digest has none. */
	if (!slice_rcut(*in, ' ', &name, &digest) || !sasl_field_ok(name) ||
	    !hex_digest(digest, r->digest) || !sasl_hold(x, name, &r->authcid))
		return SASL_BAD;
	return SASL_VERIFY;
}
