/* SASL, both sides. Byte 0, bit 2: the client's side, else the server's.
 * Server: bits 0, 5, 6, 7 the mechanism (PLAIN and LOGIN first); bit 1: with an initial response;
 * bit 3: what can be let in is; bit 4: nothing to bind to. The rest are responses between 0xff
 * bytes; a last SCRAM message that ends in ",p=" gets the proof that fits. Client: bit 3: no room
 * to answer; bit 4: the first challenge is none. The rest are challenges, the first word what the
 * server offers. */
#include "base/b64.h"
#include "base/utf8.h"
#include "sasl/client.h"
#include "sasl/server.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct slice exact(struct slice s)
{
	char *p = malloc(s.n ? s.n : 1);

	assert(p);
	if (s.n)
		memcpy(p, s.p, s.n);
	return slice(p, s.n);
}

static void check_field(struct slice f)
{
	assert(f.n <= SASL_FIELD_MAX && utf8_valid(f));
	assert(!f.n || !memchr(f.p, '\0', f.n));
}

static const struct sasl_verifier verifier = {
	.salt = { "sixteen bytes !!", 16 },
	.rounds = SASL_ROUNDS_MIN,
	.server_key = { 1 },
	/* SHA-256 of 32 zeros: so the proof is the signature itself. */
	.stored_key = { 0x66, 0x68, 0x7a, 0xad, 0xf8, 0x62, 0xbd, 0x77, 0x6c, 0x8f, 0xc1,
			0x8b, 0x8e, 0x9f, 0x8e, 0x20, 0x08, 0x97, 0x14, 0x85, 0x6e, 0xe2,
			0x33, 0xb3, 0x90, 0x2a, 0x59, 0x1d, 0x0d, 0x5f, 0x29, 0x25 },
};

/* The client's key is 32 zeros. */
static void add_proof(const struct sasl_scram *s, struct buf *word)
{
	unsigned char proof[DIGEST_SHA256];
	struct buf message;

	buf_init(&message, 16384);
	buf_add(&message, s->first_bare);
	buf_addc(&message, ',');
	buf_add(&message, s->server_first);
	buf_addc(&message, ',');
	buf_add(&message, slice(word->p, word->n - 3));
	digest_hmac_sha256(slice(verifier.stored_key, DIGEST_SHA256), buf_slice(&message), proof);
	b64_encode(word, slice(proof, sizeof proof));
	buf_done(&message);
}

static enum sasl_got give(struct sasl_server *x, struct slice text, struct buf *out)
{
	enum sasl_got got;
	struct slice in;
	struct buf word;

	buf_init(&word, 16384);
	buf_add(&word, text);
	if (x->mech->by == SASL_BY_PROOF && x->round == 2 && slice_ends(text, S(",p=")))
		add_proof(&x->scram, &word);
	in = exact(buf_slice(&word));
	buf_done(&word);
	buf_clear(out);
	got = sasl_server_step(x, &in, out);
	free((void *)(uintptr_t)in.p);
	return got;
}

static enum sasl_got supply(struct sasl_server *x, bool bind, struct buf *out)
{
	const struct sasl_supply s = { .nonce = S("nonce"),
				       .hostname = S("h.test"),
				       .now_ms = 7,
				       .verifier = &verifier,
				       .exporter = bind ? S("exporter") : S(""),
				       .end_point = bind ? S("end point") : S(""),
				       .plus_offered = bind };
	enum sasl_got got;

	buf_clear(out);
	got = sasl_server_supply(x, &s, out);
	assert(got == SASL_CHALLENGE && out->n && out->n <= SASL_OUT_MAX);
	return got;
}

static void check_request(const struct sasl_request *r, const struct sasl_mech *mech)
{
	check_field(r->authzid);
	check_field(r->authcid);
	if (r->by == SASL_BY_PASSWORD)
		check_field(r->password.bytes);
	else if (r->by == SASL_BY_TOKEN)
		assert(r->password.bytes.n <= SASL_TOKEN_MAX && ascii_only(r->password.bytes));
	else
		assert(!r->password.bytes.n);
	assert(r->by == mech->by && slice_eq(r->mechanism, mech->name));
	assert(r->fault == SASL_FAULT_NONE || r->by == SASL_BY_PROOF);
}

/* What can be let in is when `yes`; its last words are answered with whatever comes next. */
static void judge(struct sasl_server *x, bool yes, struct slice words, struct buf *out)
{
	enum sasl_got got;

	check_request(&x->request, x->mech);
	yes = yes && x->request.fault == SASL_FAULT_NONE;
	buf_clear(out);
	got = sasl_server_verdict(x, yes, out);
	assert((got == SASL_DONE && !out->n) || (got == SASL_CHALLENGE && out->n));
	if (got == SASL_CHALLENGE) {
		assert(out->n <= SASL_OUT_MAX);
		got = give(x, words, out);
		assert(got == (yes && words.n ? SASL_BAD : SASL_DONE));
	}
}

static void serve(const struct sasl_mech *mech, unsigned how, struct slice words)
{
	bool initial = how & 2 && !(mech->flags & SASL_SERVER_FIRST);
	enum sasl_got got = SASL_CHALLENGE;
	struct sasl_server x;
	struct buf out;
	unsigned rounds = 0;

	buf_init(&out, 1024);
	sasl_server_init(&x, mech);
	if (!initial) {
		got = sasl_server_step(&x, NULL, &out);
		assert(got == (mech->flags & SASL_SERVER_FIRST ? SASL_ASK : SASL_CHALLENGE));
	}
	while (got == SASL_ASK || (got == SASL_CHALLENGE && words.n)) {
		struct slice word;

		if (got == SASL_ASK) {
			got = supply(&x, !(how & 16), &out);
			continue;
		}
		slice_cut(words, '\xff', &word, &words);
		got = give(&x, word, &out);
		assert(++rounds <= 2);
	}
	/* Nothing where something is due. */
	if (got == SASL_CHALLENGE)
		assert((initial && !rounds) || sasl_server_step(&x, NULL, &out) == SASL_BAD);
	if (got == SASL_VERIFY)
		judge(&x, how & 8, words, &out);
	sasl_server_done(&x);
	assert(!x.held.p && !x.request.authcid.p);
	buf_done(&out);
}

/* What the server may say it has, and what may be picked of it. */
static void check_offer(struct slice offered)
{
	const struct sasl_mech *m = sasl_mech_find(offered);
	struct sasl_client x;
	struct buf list;

	buf_init(&list, 256);
	sasl_mech_list(&list, sasl_without(SASL_PASSWORDS, SASL_REVEALS));
	assert(!list.n); /* both reveal the password */
	sasl_mech_list(&list, SASL_PASSWORDS);
	assert(list.n && !list.failed);
	if (m)
		assert((memmem(list.p, list.n, m->name.p, m->name.n) != NULL) ==
		       !!(SASL_PASSWORDS & SASL_BIT(sasl_mech_id(m))));
	assert(!m || !(SASL_PASSWORDS & SASL_BIT(sasl_mech_id(m))) ||
	       sasl_client_pick(&x, offered, true, S("user"), secret(S("pass"))));
	buf_done(&list);
}

static void claim(struct slice words, bool cramped, bool silent)
{
	enum sasl_client_got got = SASL_CLIENT_WAIT;
	struct sasl_client x;
	struct slice offered;
	struct buf out;

	slice_cut(words, '\xff', &offered, &words);
	check_offer(offered);
	if (!sasl_client_pick(&x, offered, true, S("user"), secret(S("pass"))))
		return;
	assert(!sasl_client_pick(&x, offered, false, S("user"), secret(S("pass"))));
	assert(sasl_client_name(&x).n);
	buf_init(&out, cramped ? 3 : 256);
	if (silent)
		got = sasl_client_step(&x, NULL, &out);
	for (int i = 0; words.n && got != SASL_CLIENT_FAIL; i++) {
		struct slice word;

		slice_cut(words, '\xff', &word, &words);
		got = sasl_client_step(&x, &word, &out);
		assert(i < 2 || got == SASL_CLIENT_FAIL);
		assert(out.n <= 10 && (!out.failed || got == SASL_CLIENT_FAIL));
	}
	if (got == SASL_CLIENT_SEND)
		assert(sasl_client_step(&x, NULL, &out) == SASL_CLIENT_FAIL);
	buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct slice names[] = {
		S("PLAIN"),   S("LOGIN"),       S("SCRAM-SHA-256"), S("SCRAM-SHA-256-PLUS"),
		S("XOAUTH2"), S("OAUTHBEARER"), S("EXTERNAL"),      S("CRAM-MD5"),
	};
	struct slice words;

	if (size < 1)
		return 0;
	words = slice(data + 1, size - 1);
	if (data[0] & 4)
		claim(words, data[0] & 8, data[0] & 16);
	else
		serve(sasl_mech_find(names[(data[0] & 1) | (data[0] >> 4 & 6)]), data[0], words);
	return 0;
}
