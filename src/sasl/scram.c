/* SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, 7677).
 *
 * client first:  gs2-cbind-flag "," ["a=" authzid] "," ["m=" ...] "n=" name "," "r=" nonce [","
 * ext] server first:  "r=" nonce ",s=" salt ",i=" rounds client final:  "c=" base64 "," "r=" nonce
 * ["," ext] "," "p=" base64 server final:  "v=" base64 or "e=" error
 *
 * What is wrong with the form ends the exchange at once. What is wrong with the proof or the
 * binding is found when everything has been computed, and said in the same words by e=. */
#include "base/b64.h"
#include "base/must.h"
#include "base/utf8.h"
#include "sasl/server_impl.h"

/* RFC 5802 section 7: printable = %x21-2B / %x2D-7E. */
static bool printable(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == ',')
			return false;
	return s.n > 0;
}

/* An attribute of that name, cut off the front; a comma is followed by another one. */
static bool attribute(struct slice *in, struct slice name, struct slice *ret)
{
	struct slice field;

	bool more = slice_cut(*in, ',', &field, in);

	*ret = slice_from(field, name.n);
	return slice_starts(field, name) && !(more && !in->n);
}

/* Optional extensions are ignored, but they have a form: attr-val = ALPHA "=" value. A mandatory
 * one (m=) is none that we know. */
static bool extensions_ok(struct slice in)
{
	while (in.n) {
		struct slice one;
		bool more = slice_cut(in, ',', &one, &in);

		if (one.n < 3 || !ascii_alpha(one.p[0]) || one.p[0] == 'm' || one.p[1] != '=' ||
		    !utf8_valid(one) || (more && !in.n))
			return false;
	}
	return true;
}

/* RFC 5802 section 6: the flag has to fit the name of the mechanism. */
static bool cbind_flag(struct sasl_server *x, struct slice *in)
{
	struct sasl_scram *s = &x->scram;
	struct slice flag;
	bool plus = x->mech->flags & SASL_BINDS;

	if (!slice_cut(*in, ',', &flag, in) || !flag.n)
		return false;
	s->gs2_flag = flag.p[0];
	if (slice_starts(flag, S("p="))) {
		s->binding_type = slice_from(flag, 2);
		return plus && printable(s->binding_type);
	}
	return !plus && flag.n == 1 && (s->gs2_flag == 'n' || s->gs2_flag == 'y');
}

static enum sasl_got client_first(struct sasl_server *x, struct slice in)
{
	struct sasl_request *r = &x->request;
	struct sasl_scram *s = &x->scram;
	struct slice all, name;

	if (in.n > SCRAM_MESSAGE_MAX || memchr(in.n ? in.p : "", '\0', in.n) ||
	    !sasl_hold(x, in, &all))
		return SASL_BAD;
	in = all;
	if (!cbind_flag(x, &in) || !sasl_authzid(x, &in, &r->authzid))
		return SASL_BAD;
	s->gs2 = slice(all.p, all.n - in.n);
	s->first_bare = in;
	/* A first attribute m= is no name. */
	if (!attribute(&in, S("n="), &name) || !sasl_name(x, name, &r->authcid) ||
	    !attribute(&in, S("r="), &s->nonce) || s->nonce.n > SASL_NONCE_MAX ||
	    !printable(s->nonce) || !extensions_ok(in))
		return SASL_BAD;
	return SASL_ASK;
}

/* The data to bind to by that name. False: we have none. */
static bool binding(struct sasl_scram *s, const struct sasl_supply *from)
{
	struct slice data = slice_eq(s->binding_type, S("tls-exporter"))           ? from->exporter
			    : slice_eq(s->binding_type, S("tls-server-end-point")) ? from->end_point
										   : S("");

	MUST(data.n <= sizeof s->binding);
	s->binding_n = data.n;
	if (data.n)
		memcpy(s->binding, data.p, data.n);
	return data.n > 0;
}

enum sasl_got scram_supply(struct sasl_server *x, const struct sasl_supply *from, struct buf *out)
{
	const struct sasl_verifier *v = from->verifier;
	struct sasl_scram *s = &x->scram;
	struct slice client_nonce = s->nonce;
	size_t begin = out->n;

	MUST(v && v->rounds >= SASL_ROUNDS_MIN && v->salt.n && v->salt.n <= 64);
	MUST(printable(from->nonce));
	memcpy(s->stored_key, v->stored_key, sizeof s->stored_key);
	memcpy(s->server_key, v->server_key, sizeof s->server_key);
	s->nobodys = v->nobodys;
	if (s->gs2_flag == 'p' && !binding(s, from))
		x->request.fault = SASL_FAULT_BINDING_TYPE;
	if (s->gs2_flag == 'y' && from->plus_offered)
		x->request.fault = SASL_FAULT_DOWNGRADE;
	buf_add(out, S("r="));
	buf_add(out, client_nonce);
	buf_add(out, from->nonce);
	buf_add(out, S(",s="));
	b64_encode(out, v->salt);
	buf_add(out, S(",i="));
	buf_addu(out, v->rounds);
	if (out->failed || !sasl_hold(x, slice(out->p + begin, out->n - begin), &s->server_first))
		return SASL_BAD;
	s->nonce = slice(s->server_first.p + 2, client_nonce.n + from->nonce.n);
	x->round = 2;
	return SASL_CHALLENGE;
}

/* RFC 5802 section 5.1: c= is the base64 of the gs2 header and the binding data, and both are
 * known here: so it is made again and compared, byte for byte. */
static bool binding_ok(const struct sasl_scram *s, struct slice said)
{
	struct buf plain, text;
	bool ok;

	buf_init(&plain, SCRAM_MESSAGE_MAX + SASL_BINDING_MAX);
	buf_init(&text, B64_LEN(SCRAM_MESSAGE_MAX + SASL_BINDING_MAX));
	buf_add(&plain, s->gs2);
	buf_add(&plain, slice(s->binding, s->binding_n));
	b64_encode(&text, buf_slice(&plain));
	ok = !plain.failed && !text.failed && digest_equal(buf_slice(&text), said);
	buf_wipe(&plain);
	buf_wipe(&text);
	return ok;
}

/* RFC 5802 section 3. Both signatures are made whatever the proof is worth. */
static bool proof_ok(struct sasl_server *x, struct slice without_proof,
		     const unsigned char proof[DIGEST_SHA256])
{
	unsigned char key[DIGEST_SHA256], stored[DIGEST_SHA256];
	struct sasl_scram *s = &x->scram;
	struct buf message;
	bool ok;

	buf_init(&message, SCRAM_ROOM);
	if (!buf_room_for(&message, SCRAM_ROOM))
		return false;
	buf_add(&message, s->first_bare);
	buf_addc(&message, ',');
	buf_add(&message, s->server_first);
	buf_addc(&message, ',');
	buf_add(&message, without_proof);
	MUST(!message.failed);
	digest_hmac_sha256(slice(s->stored_key, sizeof s->stored_key), buf_slice(&message), key);
	for (size_t i = 0; i < sizeof key; i++)
		key[i] ^= proof[i];
	digest_sha256(slice(key, sizeof key), stored);
	ok = digest_equal(slice(stored, sizeof stored), slice(s->stored_key, sizeof s->stored_key));
	digest_hmac_sha256(slice(s->server_key, sizeof s->server_key), buf_slice(&message),
			   s->signature);
	digest_wipe(key, sizeof key);
	buf_wipe(&message);
	return ok && !s->nobodys;
}

/* The proof comes last and is not part of what it proves. */
static bool take_proof(struct slice *in, unsigned char ret[DIGEST_SHA256])
{
	struct slice text;
	struct buf proof;
	bool ok;

	if (!slice_rcut(*in, ',', in, &text) || !slice_starts(text, S("p=")))
		return false;
	buf_init(&proof, SCRAM_MESSAGE_MAX);
	ok = b64_decode(&proof, slice_from(text, 2)) && proof.n == DIGEST_SHA256;
	if (ok)
		memcpy(ret, proof.p, DIGEST_SHA256);
	buf_wipe(&proof);
	return ok;
}

static enum sasl_got client_final(struct sasl_server *x, struct slice in)
{
	unsigned char proof[DIGEST_SHA256];
	struct sasl_scram *s = &x->scram;
	struct slice without_proof, said, nonce;
	enum sasl_fault fault = SASL_FAULT_NONE;

	if (in.n > SCRAM_MESSAGE_MAX || memchr(in.n ? in.p : "", '\0', in.n) ||
	    !take_proof(&in, proof))
		return SASL_BAD;
	without_proof = in;
	if (!attribute(&in, S("c="), &said) || !attribute(&in, S("r="), &nonce) ||
	    !extensions_ok(in))
		return SASL_BAD;
	if (!proof_ok(x, without_proof, proof))
		fault = SASL_FAULT_PROOF;
	if (!binding_ok(s, said))
		fault = SASL_FAULT_BINDING;
	if (!digest_equal(nonce, s->nonce))
		fault = SASL_FAULT_NONCE;
	/* What was wrong from the beginning comes first: the rest may follow from it. */
	if (x->request.fault == SASL_FAULT_NONE)
		x->request.fault = fault;
	return SASL_VERIFY;
}

enum sasl_got scram_step(struct sasl_server *x, const struct slice *in, struct buf *out)
{
	(void)out;
	switch (x->round++) {
	case 0: return in ? client_first(x, *in) : SASL_CHALLENGE;
	case 1: return in ? client_first(x, *in) : SASL_BAD;
	case 2: return in ? client_final(x, *in) : SASL_BAD;
	default: return SASL_BAD;
	}
}

/* RFC 5802 section 7, server-error-value. A key that is revoked, expired or somebody else's has an
 * invalid proof like a wrong one. */
static struct slice error_value(enum sasl_fault f)
{
	switch (f) {
	case SASL_FAULT_BINDING: return S("channel-bindings-dont-match");
	case SASL_FAULT_BINDING_TYPE: return S("unsupported-channel-binding-type");
	case SASL_FAULT_DOWNGRADE: return S("server-does-support-channel-binding");
	case SASL_FAULT_NONCE: return S("other-error");
	case SASL_FAULT_NONE:
	case SASL_FAULT_PROOF: break;
	}
	return S("invalid-proof");
}

enum sasl_got scram_verdict(struct sasl_server *x, struct buf *out)
{
	if (x->verdict == SASL_SAID_YES) {
		buf_add(out, S("v="));
		b64_encode(out, slice(x->scram.signature, sizeof x->scram.signature));
	} else {
		buf_add(out, S("e="));
		buf_add(out, error_value(x->request.fault));
	}
	return out->failed ? SASL_BAD : SASL_CHALLENGE;
}
