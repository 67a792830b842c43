/* SCRAM: the RFCs' vectors, every malformed form, and what proofs suffer from. */
#include "base/b64.h"
#include "sasl/server.h"
#include "sasl/server_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

int run_scram_tests(void);

#define TEN   "0123456789"
#define C64   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define NONCE "5up3rn0nce"

static const unsigned char salt[] = "sixteen bytes !!";
static const char exporter[] = "exporter exporter exporter exp!!";
static const char end_point[] = "end point hash of a certificate";

static void verifier(struct slice password, struct slice salted_with, struct sasl_verifier *ret)
{
	unsigned char salted[DIGEST_SHA256], client[DIGEST_SHA256];

	*ret = (struct sasl_verifier){ .salt = salted_with, .rounds = 4096 };
	digest_pbkdf2_sha256(password, salted_with, 4096, salted);
	digest_hmac_sha256(slice(salted, sizeof salted), S("Client Key"), client);
	digest_sha256(slice(client, sizeof client), ret->stored_key);
	digest_hmac_sha256(slice(salted, sizeof salted), S("Server Key"), ret->server_key);
}

/* Input on the heap, exactly, and gone after the step. */
static enum sasl_got step(struct sasl_server *x, struct slice in, struct buf *out)
{
	char *exact = malloc(in.n ? in.n : 1);
	struct slice copy = slice(exact, in.n);
	enum sasl_got got;

	assert_non_null(exact);
	if (in.n)
		memcpy(exact, in.p, in.n);
	buf_clear(out);
	got = sasl_server_step(x, &copy, out);
	free(exact);
	return got;
}

static void expect(const struct buf *out, struct slice want)
{
	if (!slice_eq(buf_slice(out), want))
		fail_msg("got: %.*s\nnot: %.*s", SLICE_ARG(buf_slice(out)), SLICE_ARG(want));
}

static void rfc(void **state)
{
	/* RFC 7677 section 3; RFC 5802 section 5 with SHA-256 in the place of SHA-1. */
	static const struct {
		struct slice first, nonce, salt, server_first, final, server_final;
	} rows[] = {
		{ S("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), S("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"),
		  S("W22ZaJ0SNY7soEsUEjb6gQ=="),
		  S("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
		    "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
		  S("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
		    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
		  S("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") },
		{ S("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"), S("3rfcNHYJY1ZVvWVs7j"),
		  S("QSXCR+Q6sek8bf92"),
		  S("r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"),
		  S("c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,"
		    "p=qQRLRHGPDGjB+7iVAE7NNi5xEoHKHuLCHPNQ8BTmvds="),
		  S("v=XKW6VuW1FANROQabnJBz1KaeCnQL/HZByQtX/iU+o30=") },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		for (int late = 0; late < 2; late++) {
			struct sasl_verifier v;
			struct sasl_supply s = { .nonce = rows[i].nonce, .verifier = &v };
			struct slice empty = S("");
			struct sasl_server x;
			struct buf out, raw;

			buf_init(&out, SASL_OUT_MAX);
			buf_init(&raw, 64);
			assert_true(b64_decode(&raw, rows[i].salt));
			verifier(S("pencil"), buf_slice(&raw), &v);
			sasl_server_init(&x, sasl_mech_find(S("scram-sha-256")));
			if (late) {
				assert_int_equal(sasl_server_step(&x, NULL, &out), SASL_CHALLENGE);
				assert_int_equal(out.n, 0);
			}
			assert_int_equal(step(&x, rows[i].first, &out), SASL_ASK);
			assert_true(slice_eq(x.request.authcid, S("user")));
			assert_int_equal(sasl_server_supply(&x, &s, &out), SASL_CHALLENGE);
			expect(&out, rows[i].server_first);
			assert_int_equal(step(&x, rows[i].final, &out), SASL_VERIFY);
			assert_int_equal(x.request.by, SASL_BY_PROOF);
			assert_int_equal(x.request.fault, SASL_FAULT_NONE);
			buf_clear(&out);
			assert_int_equal(sasl_server_verdict(&x, true, &out), SASL_CHALLENGE);
			expect(&out, rows[i].server_final);
			assert_int_equal(sasl_server_step(&x, &empty, &out), SASL_DONE);
			sasl_server_done(&x);
			buf_done(&raw);
			buf_done(&out);
		}
	}
}

/* -- the client's first message -- */

static const struct {
	struct slice in;
	enum sasl_got got;
	struct slice authzid, name;
	bool plus;
} firsts[] = {
	{ S("n,,n=u,r=x"), SASL_ASK, S(""), S("u"), false },
	{ S("y,,n=u,r=x"), SASL_ASK, S(""), S("u"), false },
	{ S("n,a=z,n=u,r=x"), SASL_ASK, S("z"), S("u"), false },
	{ S("n,a=z=2C=3D,n==3D=2Cu=3D,r=x"), SASL_ASK, S("z,="), S("=,u="), false },
	{ S("n,,n= u ,r=!x~+/="), SASL_ASK, S(""), S(" u "), false },
	{ S("n,,n=\xc3\xbc,r=x"), SASL_ASK, S(""), S("\xc3\xbc"), false },
	{ S("n,,n=u,r=x,a=b,Z==,q=1=2"), SASL_ASK, S(""), S("u"), false },
	{ S("n,,n=u,r=x,z=\xe2\x82\xac"), SASL_ASK, S(""), S("u"), false },
	{ S("p=tls-exporter,,n=u,r=x"), SASL_ASK, S(""), S("u"), true },
	{ S("p=tls-server-end-point,a=z,n=u,r=x"), SASL_ASK, S("z"), S("u"), true },
	{ S("p=whatever,,n=u,r=x"), SASL_ASK, S(""), S("u"), true },
	{ S(""), SASL_BAD },
	{ S("n"), SASL_BAD },
	{ S("n,"), SASL_BAD },
	{ S("n,,"), SASL_BAD },
	{ S(",,n=u,r=x"), SASL_BAD },
	{ S("x,,n=u,r=x"), SASL_BAD },
	{ S("nn,,n=u,r=x"), SASL_BAD },
	{ S("N,,n=u,r=x"), SASL_BAD },
	{ S("n=,,n=u,r=x"), SASL_BAD },
	{ S("p,,n=u,r=x"), SASL_BAD },
	{ S("p,,n=u,r=x"), SASL_BAD, S(""), S(""), true },
	{ S("p=,,n=u,r=x"), SASL_BAD, S(""), S(""), true },
	{ S("p=a b,,n=u,r=x"), SASL_BAD, S(""), S(""), true },
	{ S("n,,n=u,r=x"), SASL_BAD, S(""), S(""), true }, /* -PLUS without binding */
	{ S("y,,n=u,r=x"), SASL_BAD, S(""), S(""), true },
	{ S("p=tls-exporter,,n=u,r=x"), SASL_BAD }, /* binding without -PLUS */
	{ S("n,z,n=u,r=x"), SASL_BAD },
	{ S("n,b=z,n=u,r=x"), SASL_BAD },
	{ S("n,a=,n=u,r=x"), SASL_BAD },
	{ S("n,a==,n=u,r=x"), SASL_BAD },
	{ S("n,a=\xff,n=u,r=x"), SASL_BAD },
	{ S("n,a=a,b,n=u,r=x"), SASL_BAD },
	{ S("n,,m=ext,n=u,r=x"), SASL_BAD }, /* mandatory, and unknown */
	{ S("n,,n=u,m=ext,r=x"), SASL_BAD },
	{ S("n,,n=u,r=x,m=ext"), SASL_BAD },
	{ S("n,,n=u,r=x,a=b,m=ext"), SASL_BAD },
	{ S("n,,r=x,n=u"), SASL_BAD },
	{ S("n,,n=u"), SASL_BAD },
	{ S("n,,n=u,"), SASL_BAD },
	{ S("n,,n=u,r="), SASL_BAD },
	{ S("n,,n=u,r=a b"), SASL_BAD },
	{ S("n,,n=u,r=a\x7f"), SASL_BAD },
	{ S("n,,n=u,r=a\xc3\xbc"), SASL_BAD },
	{ S("n,,n=u,r=a\tb"), SASL_BAD },
	{ S("n,,n=,r=x"), SASL_BAD },
	{ S("n,,n=u=,r=x"), SASL_BAD },
	{ S("n,,n=u=2,r=x"), SASL_BAD },
	{ S("n,,n=u=2c,r=x"), SASL_BAD },
	{ S("n,,n=u=3d,r=x"), SASL_BAD },
	{ S("n,,n=u=3E,r=x"), SASL_BAD },
	{ S("n,,n=u\0,r=x"), SASL_BAD },
	{ S("n,,n=u,r=x\0"), SASL_BAD },
	{ S("n,,n=\xff,r=x"), SASL_BAD },
	{ S("n,,n=u,r=x,"), SASL_BAD },
	{ S("n,,n=u,r=x,a"), SASL_BAD },
	{ S("n,,n=u,r=x,a="), SASL_BAD },
	{ S("n,,n=u,r=x,1=b"), SASL_BAD },
	{ S("n,,n=u,r=x,ab=c"), SASL_BAD },
	{ S("n,,n=u,r=x,a=b,"), SASL_BAD },
	{ S("n,,n=u,r=x,,a=b"), SASL_BAD },
	{ S("n,,n=u,r=x,a=\xff"), SASL_BAD },
	{ S("n,,n=u,r=" C64 C64 C64 C64), SASL_ASK, S(""), S("u"), false },
	{ S("n,,n=u,r=" C64 C64 C64 C64 "x"), SASL_BAD },
	{ S("n,,n=" C64 C64 C64 C64 ",r=x"), SASL_BAD },
};

static void first_messages(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
		struct sasl_server x;
		struct buf out;

		buf_init(&out, SASL_OUT_MAX);
		sasl_server_init(&x, sasl_mech_find(firsts[i].plus ? S("SCRAM-SHA-256-PLUS")
								   : S("SCRAM-SHA-256")));
		if (step(&x, firsts[i].in, &out) != firsts[i].got)
			fail_msg("first message %zu", i);
		assert_int_equal(out.n, 0);
		if (firsts[i].got == SASL_ASK) {
			assert_true(slice_eq(x.request.authzid, firsts[i].authzid));
			assert_true(slice_eq(x.request.authcid, firsts[i].name));
		}
		sasl_server_done(&x);
		buf_done(&out);
	}
}

static void long_message(void **state)
{
	struct sasl_server x;
	struct buf out, in;

	(void)state;
	buf_init(&out, SASL_OUT_MAX);
	buf_init(&in, 4096);
	buf_add(&in, S("n,,n=u,r=x,z="));
	while (in.n < SCRAM_MESSAGE_MAX)
		buf_addc(&in, 'a');
	sasl_server_init(&x, sasl_mech_find(S("SCRAM-SHA-256")));
	assert_int_equal(step(&x, buf_slice(&in), &out), SASL_ASK);
	sasl_server_done(&x);
	buf_addc(&in, 'a');
	sasl_server_init(&x, sasl_mech_find(S("SCRAM-SHA-256")));
	assert_int_equal(step(&x, buf_slice(&in), &out), SASL_BAD);
	sasl_server_done(&x);
	buf_done(&in);
	buf_done(&out);
}

/* -- a client that knows the password, with anything to be done wrong -- */

struct client {
	const char *name;
	struct slice gs2, binding; /* what it binds to */
	struct slice password;
	struct slice other_c, other_r; /* instead of the right ones */
	struct slice more;             /* behind the nonce */
	bool plus_offered, no_exporter, nobodys, end_point;
	enum sasl_got got;
	enum sasl_fault fault;
	struct slice last; /* our last words; "v=" as their beginning */
};

static void client_says(const struct client *c, struct slice first_bare, struct slice server_first,
			struct buf *out)
{
	unsigned char salted[DIGEST_SHA256], key[DIGEST_SHA256], stored[DIGEST_SHA256],
	    sig[DIGEST_SHA256];
	struct slice nonce, rest;
	struct buf m, bound;

	buf_init(&m, 8192);
	buf_init(&bound, 1024);
	buf_clear(out);
	buf_add(&bound, c->gs2);
	buf_add(&bound, c->binding);
	buf_add(out, S("c="));
	if (c->other_c.p)
		buf_add(out, c->other_c);
	else
		b64_encode(out, buf_slice(&bound));
	slice_cut(server_first, ',', &nonce, &rest);
	buf_addc(out, ',');
	buf_add(out, c->other_r.p ? c->other_r : nonce);
	buf_add(out, c->more);
	digest_pbkdf2_sha256(c->password, slice(salt, 16), 4096, salted);
	digest_hmac_sha256(slice(salted, sizeof salted), S("Client Key"), key);
	digest_sha256(slice(key, sizeof key), stored);
	buf_add(&m, first_bare);
	buf_addc(&m, ',');
	buf_add(&m, server_first);
	buf_addc(&m, ',');
	buf_add(&m, buf_slice(out));
	digest_hmac_sha256(slice(stored, sizeof stored), buf_slice(&m), sig);
	for (size_t i = 0; i < sizeof key; i++)
		key[i] ^= sig[i];
	buf_add(out, S(",p="));
	b64_encode(out, slice(key, sizeof key));
	buf_done(&m);
	buf_done(&bound);
}

#define RIGHT S("right")

static const struct client clients[] = {
	{ .name = "right",
	  .gs2 = S("n,,"),
	  .password = RIGHT,
	  .got = SASL_VERIFY,
	  .last = S("v=") },
	{ .name = "right, with a=",
	  .gs2 = S("n,a=z=2C,"),
	  .password = RIGHT,
	  .got = SASL_VERIFY,
	  .last = S("v=") },
	{ .name = "extensions ignored",
	  .gs2 = S("n,,"),
	  .password = RIGHT,
	  .more = S(",a=b,Z=c"),
	  .got = SASL_VERIFY,
	  .last = S("v=") },
	{ .name = "y, and nothing to bind to",
	  .gs2 = S("y,,"),
	  .password = RIGHT,
	  .got = SASL_VERIFY,
	  .last = S("v=") },
	{ .name = "y, though it was offered",
	  .gs2 = S("y,,"),
	  .password = RIGHT,
	  .plus_offered = true,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_DOWNGRADE,
	  .last = S("e=server-does-support-channel-binding") },
	{ .name = "n, though it was offered",
	  .gs2 = S("n,,"),
	  .password = RIGHT,
	  .plus_offered = true,
	  .got = SASL_VERIFY,
	  .last = S("v=") },
	{ .name = "wrong password",
	  .gs2 = S("n,,"),
	  .password = S("wrong"),
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_PROOF,
	  .last = S("e=invalid-proof") },
	{ .name = "no password",
	  .gs2 = S("n,,"),
	  .password = S(""),
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_PROOF,
	  .last = S("e=invalid-proof") },
	{ .name = "nobody's",
	  .gs2 = S("n,,"),
	  .password = RIGHT,
	  .nobodys = true,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_PROOF,
	  .last = S("e=invalid-proof") },
	{ .name = "exporter",
	  .gs2 = S("p=tls-exporter,,"),
	  .binding = S("exporter exporter exporter exp!!"),
	  .password = RIGHT,
	  .plus_offered = true,
	  .got = SASL_VERIFY,
	  .last = S("v=") },
	{ .name = "other exporter",
	  .gs2 = S("p=tls-exporter,,"),
	  .binding = S("exporter exporter exporter exp!?"),
	  .password = RIGHT,
	  .plus_offered = true,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_BINDING,
	  .last = S("e=channel-bindings-dont-match") },
	{ .name = "half an exporter",
	  .gs2 = S("p=tls-exporter,,"),
	  .binding = S("exporter exporter"),
	  .password = RIGHT,
	  .plus_offered = true,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_BINDING,
	  .last = S("e=channel-bindings-dont-match") },
	{ .name = "end point where it is allowed",
	  .gs2 = S("p=tls-server-end-point,,"),
	  .binding = S("end point hash of a certificate"),
	  .password = RIGHT,
	  .end_point = true,
	  .plus_offered = true,
	  .got = SASL_VERIFY,
	  .last = S("v=") },
	{ .name = "end point where it is not",
	  .gs2 = S("p=tls-server-end-point,,"),
	  .binding = S("end point hash of a certificate"),
	  .password = RIGHT,
	  .plus_offered = true,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_BINDING_TYPE,
	  .last = S("e=unsupported-channel-binding-type") },
	{ .name = "end point, empty, where it is not",
	  .gs2 = S("p=tls-server-end-point,,"),
	  .password = RIGHT,
	  .plus_offered = true,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_BINDING_TYPE,
	  .last = S("e=unsupported-channel-binding-type") },
	{ .name = "unique",
	  .gs2 = S("p=tls-unique,,"),
	  .binding = S("x"),
	  .password = RIGHT,
	  .plus_offered = true,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_BINDING_TYPE,
	  .last = S("e=unsupported-channel-binding-type") },
	{ .name = "no exporter here",
	  .gs2 = S("p=tls-exporter,,"),
	  .password = RIGHT,
	  .no_exporter = true,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_BINDING_TYPE,
	  .last = S("e=unsupported-channel-binding-type") },
	{ .name = "another header",
	  .gs2 = S("n,,"),
	  .other_c = S("eSws"),
	  .password = RIGHT,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_BINDING,
	  .last = S("e=channel-bindings-dont-match") },
	{ .name = "another authzid",
	  .gs2 = S("n,a=z,"),
	  .other_c = S("biws"),
	  .password = RIGHT,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_BINDING,
	  .last = S("e=channel-bindings-dont-match") },
	{ .name = "header not canonical",
	  .gs2 = S("n,,"),
	  .other_c = S("biwt"),
	  .password = RIGHT,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_BINDING,
	  .last = S("e=channel-bindings-dont-match") },
	{ .name = "no header",
	  .gs2 = S("n,,"),
	  .other_c = S(""),
	  .password = RIGHT,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_BINDING,
	  .last = S("e=channel-bindings-dont-match") },
	{ .name = "own nonce only",
	  .gs2 = S("n,,"),
	  .other_r = S("r=cl"),
	  .password = RIGHT,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_NONCE,
	  .last = S("e=other-error") },
	{ .name = "longer nonce",
	  .gs2 = S("n,,"),
	  .other_r = S("r=cl" NONCE "x"),
	  .password = RIGHT,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_NONCE,
	  .last = S("e=other-error") },
	{ .name = "empty nonce",
	  .gs2 = S("n,,"),
	  .other_r = S("r="),
	  .password = RIGHT,
	  .got = SASL_VERIFY,
	  .fault = SASL_FAULT_NONCE,
	  .last = S("e=other-error") },
	{ .name = "no nonce",
	  .gs2 = S("n,,"),
	  .other_r = S("s=cl" NONCE),
	  .password = RIGHT,
	  .got = SASL_BAD },
	{ .name = "mandatory",
	  .gs2 = S("n,,"),
	  .more = S(",m=x"),
	  .password = RIGHT,
	  .got = SASL_BAD },
	{ .name = "odd extension",
	  .gs2 = S("n,,"),
	  .more = S(",1=x"),
	  .password = RIGHT,
	  .got = SASL_BAD },
	{ .name = "NUL", .gs2 = S("n,,"), .more = S(",a=\0"), .password = RIGHT, .got = SASL_BAD },
};

static void play(const struct client *c)
{
	struct slice first_bare = S("n=u,r=cl"), other = S("x"), empty = S("");
	struct sasl_verifier v;
	struct sasl_supply s = { .nonce = S(NONCE),
				 .verifier = &v,
				 .plus_offered = c->plus_offered,
				 .exporter = c->no_exporter ? S("") : slice_str(exporter),
				 .end_point = c->end_point ? slice_str(end_point) : S("") };
	struct buf out, in, first;
	struct sasl_server x;

	buf_init(&out, SASL_OUT_MAX);
	buf_init(&in, 4096);
	buf_init(&first, 4096);
	verifier(RIGHT, slice(salt, 16), &v);
	v.nobodys = c->nobodys;
	buf_add(&in, c->gs2);
	buf_add(&in, first_bare);
	sasl_server_init(&x, sasl_mech_find(slice_starts(c->gs2, S("p=")) ? S("SCRAM-SHA-256-PLUS")
									  : S("SCRAM-SHA-256")));
	assert_int_equal(step(&x, buf_slice(&in), &out), SASL_ASK);
	assert_int_equal(sasl_server_supply(&x, &s, &out), SASL_CHALLENGE);
	buf_add(&first, buf_slice(&out));
	assert_true(slice_starts(buf_slice(&first), S("r=cl" NONCE ",s=")));
	client_says(c, first_bare, buf_slice(&first), &in);
	if (step(&x, buf_slice(&in), &out) != c->got ||
	    (c->got == SASL_VERIFY && x.request.fault != c->fault))
		fail_msg("%s: fault %d", c->name, x.request.fault);
	if (c->got == SASL_VERIFY) {
		buf_clear(&out);
		assert_int_equal(sasl_server_verdict(&x, !c->fault, &out), SASL_CHALLENGE);
		if (c->fault)
			expect(&out, c->last);
		else
			assert_true(slice_starts(buf_slice(&out), S("v=")) && out.n == 46);
		/* After a yes only nothing will do; after a no, anything. */
		assert_int_equal(sasl_server_step(&x, c->fault ? &other : &empty, &out), SASL_DONE);
	}
	sasl_server_done(&x);
	buf_done(&first);
	buf_done(&in);
	buf_done(&out);
}

static void proofs(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof clients / sizeof *clients; i++)
		play(&clients[i]);
}

/* Brings an exchange to the point where the final message is due. */
static void until_final(struct sasl_server *x, struct buf *out)
{
	struct sasl_verifier v;
	struct sasl_supply s = { .nonce = S(NONCE), .verifier = &v };

	verifier(RIGHT, slice(salt, 16), &v);
	buf_init(out, SASL_OUT_MAX);
	sasl_server_init(x, sasl_mech_find(S("SCRAM-SHA-256")));
	assert_int_equal(step(x, S("n,,n=u,r=cl"), out), SASL_ASK);
	assert_int_equal(sasl_server_supply(x, &s, out), SASL_CHALLENGE);
}

static void final_messages(void **state)
{
#define P32 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	static const struct slice bad[] = {
		S(""),
		S("c=biws"),
		S("c=biws,r=cl" NONCE),
		S("c=biws,r=cl" NONCE ","),
		S("c=biws,r=cl" NONCE ",p"),
		S("c=biws,r=cl" NONCE ",p="),
		S("c=biws,r=cl" NONCE ",p=AAAA"),
		S("c=biws,r=cl" NONCE ",P=" P32),
		S("c=biws,r=cl" NONCE ",p=" P32 "AAAA"),
		S("c=biws,r=cl" NONCE ",p=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9="),
		S("c=biws,r=cl" NONCE ",p=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"),
		S("c=biws,r=cl" NONCE ",p=" P32 ",a=b"),
		S("r=cl" NONCE ",c=biws,p=" P32),
		S("c=biws,p=" P32),
		S("r=cl" NONCE ",p=" P32),
		S("p=" P32),
		S("c=biws,r=cl" NONCE ",,p=" P32),
		S("d=biws,r=cl" NONCE ",p=" P32),
	};
	struct sasl_server x;
	struct buf out;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		until_final(&x, &out);
		if (step(&x, bad[i], &out) != SASL_BAD)
			fail_msg("final message %zu", i);
		sasl_server_done(&x);
		buf_done(&out);
	}
	until_final(&x, &out);
	assert_int_equal(step(&x, S("c=biws,r=cl" NONCE ",p=" P32), &out), SASL_VERIFY);
	assert_int_equal(x.request.fault, SASL_FAULT_PROOF);
	assert_int_equal(step(&x, S("c=biws,r=cl" NONCE ",p=" P32), &out), SASL_BAD); /* once */
	sasl_server_done(&x);
	buf_done(&out);
}

/* A key that has been revoked meanwhile has a proof without a fault: it hears the same. */
static void refused_with_a_right_proof(void **state)
{
	struct sasl_server x;
	struct buf out;

	(void)state;
	until_final(&x, &out);
	x.round = 3;
	buf_clear(&out);
	assert_int_equal(sasl_server_verdict(&x, false, &out), SASL_CHALLENGE);
	expect(&out, S("e=invalid-proof"));
	assert_int_equal(sasl_server_step(&x, NULL, &out), SASL_DONE);
	sasl_server_done(&x);
	buf_done(&out);
}

static void after_success_nothing_is_said(void **state)
{
	struct slice words = S("x");
	struct sasl_server x;
	struct buf out;

	(void)state;
	until_final(&x, &out);
	buf_clear(&out);
	assert_int_equal(sasl_server_verdict(&x, true, &out), SASL_CHALLENGE);
	assert_int_equal(sasl_server_step(&x, &words, &out), SASL_BAD);
	sasl_server_done(&x);
	buf_done(&out);
}

static void no_room(void **state)
{
	struct sasl_verifier v;
	struct sasl_supply s = { .nonce = S(NONCE), .verifier = &v };
	struct sasl_server x;
	struct buf out;

	(void)state;
	verifier(RIGHT, slice(salt, 16), &v);
	buf_init(&out, 10);
	sasl_server_init(&x, sasl_mech_find(S("SCRAM-SHA-256")));
	assert_int_equal(step(&x, S("n,,n=u,r=cl"), &out), SASL_ASK);
	assert_int_equal(sasl_server_supply(&x, &s, &out), SASL_BAD);
	sasl_server_done(&x);
	buf_done(&out);
}

static void wiped(void **state)
{
	static const struct sasl_server zero;
	struct sasl_server x;
	struct buf out;

	(void)state;
	until_final(&x, &out);
	assert_true(x.held.cap >= SCRAM_ROOM); /* it never moved */
	sasl_server_done(&x);
	assert_memory_equal(&x, &zero, sizeof x);
	buf_done(&out);
}

int run_scram_tests(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc),
		cmocka_unit_test(first_messages),
		cmocka_unit_test(long_message),
		cmocka_unit_test(proofs),
		cmocka_unit_test(final_messages),
		cmocka_unit_test(refused_with_a_right_proof),
		cmocka_unit_test(after_success_nothing_is_said),
		cmocka_unit_test(no_room),
		cmocka_unit_test(wiped),
	};

	return cmocka_run_group_tests_name("scram", tests, NULL, NULL);
}
