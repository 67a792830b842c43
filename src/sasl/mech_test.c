/* CRAM-MD5, XOAUTH2, OAUTHBEARER, EXTERNAL: the documents' examples and every malformed form. */
#include "sasl/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

int run_mech_tests(void);

#define F255                                                                                       \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"         \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"         \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"         \
	"0123456789abcde"

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

/* -- CRAM-MD5 -- */

static void cram_begin(struct sasl_server *x, struct buf *out)
{
	struct sasl_supply s = { .nonce = S("1896"),
				 .now_ms = 697170952,
				 .hostname = S("postoffice.reston.mci.net") };

	sasl_server_init(x, sasl_mech_find(S("CRAM-MD5")));
	assert_int_equal(sasl_server_step(x, NULL, out), SASL_ASK);
	assert_int_equal(sasl_server_supply(x, &s, out), SASL_CHALLENGE);
	/* RFC 2195 section 2 */
	assert_true(slice_eq(buf_slice(out), S("<1896.697170952@postoffice.reston.mci.net>")));
}

static void cram(void **state)
{
#define HEX "b913a602c7eda7a495b4e6e7334d3890"
	static const struct {
		struct slice in;
		enum sasl_got got;
		struct slice name;
	} rows[] = {
		{ S("tim " HEX), SASL_VERIFY, S("tim") },
		{ S("tim two  " HEX), SASL_VERIFY, S("tim two ") }, /* up to the last space */
		{ S(" " HEX), SASL_VERIFY, S("") },
		{ S(F255 " " HEX), SASL_VERIFY, S(F255) },
		{ S("\xc3\xbc " HEX), SASL_VERIFY, S("\xc3\xbc") },
		{ S(""), SASL_BAD },
		{ S("tim"), SASL_BAD },
		{ S(HEX), SASL_BAD },
		{ S("tim " HEX " "), SASL_BAD },
		{ S("tim " HEX "0"), SASL_BAD },
		{ S("tim b913a602c7eda7a495b4e6e7334d389"), SASL_BAD },
		{ S("tim b913a602c7eda7a495b4e6e7334d389\0"), SASL_BAD },
		{ S("tim B913A602C7EDA7A495B4E6E7334D3890"), SASL_BAD },
		{ S("tim g913a602c7eda7a495b4e6e7334d3890"), SASL_BAD },
		{ S("t\0m " HEX), SASL_BAD },
		{ S("\xff " HEX), SASL_BAD },
		{ S(F255 "x " HEX), SASL_BAD },
	};
	static const unsigned char digest[] = { 0xb9, 0x13, 0xa6, 0x02, 0xc7, 0xed, 0xa7, 0xa4,
						0x95, 0xb4, 0xe6, 0xe7, 0x33, 0x4d, 0x38, 0x90 };

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sasl_server x;
		struct buf out;

		buf_init(&out, SASL_OUT_MAX);
		cram_begin(&x, &out);
		if (step(&x, rows[i].in, &out) != rows[i].got)
			fail_msg("answer %zu", i);
		assert_int_equal(out.n, 0);
		if (rows[i].got == SASL_VERIFY) {
			assert_int_equal(x.request.by, SASL_BY_HMAC);
			assert_true(slice_eq(x.request.authcid, rows[i].name));
			assert_memory_equal(x.request.digest, digest, sizeof digest);
			assert_true(slice_eq(x.request.challenge,
					     S("<1896.697170952@postoffice.reston.mci.net>")));
			assert_int_equal(sasl_server_verdict(&x, i & 1, &out), SASL_DONE);
			assert_int_equal(out.n, 0);
		}
		sasl_server_done(&x);
		buf_done(&out);
	}
}

static void cram_out_of_turn(void **state)
{
	struct sasl_supply s = { .nonce = S("1"), .hostname = S("h") };
	struct sasl_server x;
	struct buf out;

	(void)state;
	buf_init(&out, SASL_OUT_MAX);
	sasl_server_init(&x, sasl_mech_find(S("CRAM-MD5")));
	assert_int_equal(step(&x, S("tim " HEX), &out), SASL_BAD); /* before the challenge */
	sasl_server_done(&x);
	cram_begin(&x, &out);
	assert_int_equal(sasl_server_step(&x, NULL, &out), SASL_BAD);
	sasl_server_done(&x);
	buf_done(&out);

	buf_init(&out, 3);
	sasl_server_init(&x, sasl_mech_find(S("CRAM-MD5")));
	assert_int_equal(sasl_server_step(&x, NULL, &out), SASL_ASK);
	assert_int_equal(sasl_server_supply(&x, &s, &out), SASL_BAD);
	sasl_server_done(&x);
	buf_done(&out);
}

/* -- tokens -- */

struct token_row {
	struct slice in;
	enum sasl_got got;
	struct slice user, token, host, port;
};

static void tokens(const struct token_row *rows, size_t n, struct slice name, struct slice error)
{
	for (size_t i = 0; i < n; i++) {
		for (int late = 0; late < 2; late++) {
			struct sasl_server x;
			struct buf out;

			buf_init(&out, SASL_OUT_MAX);
			sasl_server_init(&x, sasl_mech_find(name));
			if (late) {
				assert_int_equal(sasl_server_step(&x, NULL, &out), SASL_CHALLENGE);
				assert_int_equal(out.n, 0);
			}
			if (step(&x, rows[i].in, &out) != rows[i].got)
				fail_msg("%.*s %zu", SLICE_ARG(name), i);
			assert_int_equal(out.n, 0);
			if (rows[i].got == SASL_VERIFY) {
				assert_int_equal(x.request.by, SASL_BY_TOKEN);
				assert_true(slice_eq(x.request.authcid, rows[i].user));
				assert_true(slice_eq(x.request.password.bytes, rows[i].token));
				assert_true(slice_eq(x.request.host, rows[i].host));
				assert_true(slice_eq(x.request.port, rows[i].port));
				/* A yes has no further words; a no has an error that any answer
				 * ends. */
				if (late) {
					assert_int_equal(sasl_server_verdict(&x, true, &out),
							 SASL_DONE);
				} else {
					assert_int_equal(sasl_server_verdict(&x, false, &out),
							 SASL_CHALLENGE);
					assert_true(slice_eq(buf_slice(&out), error));
					assert_int_equal(step(&x, i & 1 ? S("\x01") : S(""), &out),
							 SASL_DONE);
				}
			}
			sasl_server_done(&x);
			buf_done(&out);
		}
	}
}

static void xoauth2(void **state)
{
	static const struct token_row rows[] = {
		/* Google's own example */
		{ S("user=someuser@example.com\1auth=Bearer "
		    "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\1\1"),
		  SASL_VERIFY, S("someuser@example.com"),
		  S("ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg") },
		{ S("user=\1auth=bearer   t==\1\1"), SASL_VERIFY, S(""), S("t==") },
		{ S("user=u\1auth=BEARER aZ09-._~+/\1\1"), SASL_VERIFY, S("u"), S("aZ09-._~+/") },
		{ S("user=u=v\1auth=Bearer t\1\1"), SASL_VERIFY, S("u=v"), S("t") },
		{ S(""), SASL_BAD },
		{ S("user=u"), SASL_BAD },
		{ S("user=u\1"), SASL_BAD },
		{ S("user=u\1\1"), SASL_BAD },
		{ S("user=u\1auth=Bearer t"), SASL_BAD },
		{ S("user=u\1auth=Bearer t\1"), SASL_BAD },
		{ S("user=u\1auth=Bearer t\1\1\1"), SASL_BAD },
		{ S("user=u\1auth=Bearer t\1\1x"), SASL_BAD },
		{ S("user=u\1auth=Bearer \1\1"), SASL_BAD },
		{ S("user=u\1auth=Bearer =\1\1"), SASL_BAD },
		{ S("user=u\1auth=Bearer\1\1"), SASL_BAD },
		{ S("user=u\1auth=\1\1"), SASL_BAD },
		{ S("user=u\1auth=Basic t\1\1"), SASL_BAD },
		{ S("user=u\1auth=Beerer t\1\1"), SASL_BAD },
		{ S("user=u\1auth=Bearer token"), SASL_BAD },
		{ S("user=u\1auth=Bearer a b\1\1"), SASL_BAD },
		{ S("user=u\1auth=Bearer a=b\1\1"), SASL_BAD },
		{ S("user=u\1auth=Bearer a\1b\1\1"), SASL_BAD },
		{ S("user=u\1auth=Bearer \xc3\xbc\1\1"), SASL_BAD },
		{ S("user=u\1Auth=Bearer t\1\1"), SASL_BAD },
		{ S("User=u\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("auth=Bearer t\1user=u\1\1"), SASL_BAD },
		{ S("user=u\0v\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("user=\xff\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("user=" F255 "\1auth=Bearer t\1\1"), SASL_VERIFY, S(F255), S("t") },
		{ S("user=" F255 "x\1auth=Bearer t\1\1"), SASL_BAD },
	};

	(void)state;
	tokens(rows, sizeof rows / sizeof *rows, S("XOAUTH2"),
	       S("{\"status\":\"401\",\"schemes\":\"bearer\",\"scope\":\"mail.send\"}"));
}

static void oauthbearer(void **state)
{
	static const struct token_row rows[] = {
		/* RFC 7628 section 4.1 */
		{ S("n,a=user@example.com,\1host=server.example.com\1port=143\1"
		    "auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\1\1"),
		  SASL_VERIFY, S("user@example.com"),
		  S("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="), S("server.example.com"),
		  S("143") },
		/* section 4.3: a question, not a login */
		{ S("n,,\1host=server.example.com\1port=143\1auth=\1\1"), SASL_VERIFY, S(""), S(""),
		  S("server.example.com"), S("143") },
		{ S("n,,\1auth=Bearer t\1\1"), SASL_VERIFY, S(""), S("t") },
		{ S("y,,\1auth=bearer t\1\1"), SASL_VERIFY, S(""), S("t") },
		{ S("n,a==2C=3D,\1auth=Bearer t\1\1"), SASL_VERIFY, S(",="), S("t") },
		{ S("n,,\1mthd=POST\1path=/x y\t\r\n\1qs=\1auth=Bearer t\1\1"), SASL_VERIFY, S(""),
		  S("t") },
		{ S("n,,\1port=1\1auth=Bearer t\1\1"), SASL_VERIFY, S(""), S("t"), S(""), S("1") },
		{ S("n,,\1auth=Bearer t\1port=65535\1\1"), SASL_VERIFY, S(""), S("t"), S(""),
		  S("65535") },
		{ S(""), SASL_BAD },
		{ S("\1"), SASL_BAD }, /* the answer to an error that was not */
		{ S("n"), SASL_BAD },
		{ S("n,"), SASL_BAD },
		{ S("n,,"), SASL_BAD },
		{ S("n,,\1"), SASL_BAD },
		{ S("n,,\1\1"), SASL_BAD },
		{ S("p=tls-exporter,,\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("x,,\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,a=,\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,u,\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,a=u=,\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,a=\xff,\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1auth=Bearer t"), SASL_BAD },
		{ S("n,,\1auth=Bearer t\1"), SASL_BAD },
		{ S("n,,\1auth=Bearer t\1\1x"), SASL_BAD },
		{ S("n,,\1auth=Bearer t\1\1\1"), SASL_BAD },
		{ S("n,,\1auth=Bearer t\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1auth=\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1auth=Bearer\1\1"), SASL_BAD },
		{ S("n,,\1auth=Bearer \1\1"), SASL_BAD },
		{ S("n,,\1auth=Bearer a,b\1\1"), SASL_BAD },
		{ S("n,,\1auth=Basic t\1\1"), SASL_BAD },
		{ S("n,,\1Auth=Bearer t\1\1"), SASL_BAD }, /* another key, so none */
		{ S("n,,\1host=\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1host=" F255 "x\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1host=a\1host=b\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1port=\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1port=0\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1port=65536\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1port=1\1port=1\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1port=+1\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1=x\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1x\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1x1=y\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1x=\x7f\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1x=\xc3\xbc\1auth=Bearer t\1\1"), SASL_BAD },
		{ S("n,,\1x=\0\1auth=Bearer t\1\1"), SASL_BAD },
	};

	(void)state;
	tokens(rows, sizeof rows / sizeof *rows, S("OAUTHBEARER"),
	       S("{\"status\":\"invalid_token\",\"scope\":\"mail.send\"}"));
}

static void long_tokens(void **state)
{
	static const struct {
		struct slice name, head;
	} rows[] = { { S("XOAUTH2"), S("user=u\1auth=Bearer ") },
		     { S("OAUTHBEARER"), S("n,a=u,\1auth=Bearer ") } };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		for (size_t more = 0; more < 2; more++) {
			struct sasl_server x;
			struct buf in, out;

			buf_init(&out, SASL_OUT_MAX);
			buf_init(&in, 2 * SASL_TOKEN_MAX);
			buf_add(&in, rows[i].head);
			while (in.n < SASL_TOKEN_MAX - 2 + more)
				buf_addc(&in, 't');
			buf_add(&in, S("\1\1"));
			sasl_server_init(&x, sasl_mech_find(rows[i].name));
			assert_int_equal(step(&x, buf_slice(&in), &out),
					 more ? SASL_BAD : SASL_VERIFY);
			if (!more)
				assert_int_equal(x.request.password.bytes.n,
						 SASL_TOKEN_MAX - 2 - rows[i].head.n);
			sasl_server_done(&x);
			buf_done(&in);
			buf_done(&out);
		}
	}
}

/* -- EXTERNAL -- */

static void external(void **state)
{
	static const struct {
		struct slice in;
		enum sasl_got got;
	} rows[] = {
		{ S(""), SASL_VERIFY },   { S("me"), SASL_VERIFY },  { S(" m e "), SASL_VERIFY },
		{ S(F255), SASL_VERIFY }, { S(F255 "x"), SASL_BAD }, { S("a\0b"), SASL_BAD },
		{ S("\xff"), SASL_BAD },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sasl_server x;
		struct buf out;

		buf_init(&out, SASL_OUT_MAX);
		sasl_server_init(&x, sasl_mech_find(S("EXTERNAL")));
		if (i & 1)
			assert_int_equal(sasl_server_step(&x, NULL, &out), SASL_CHALLENGE);
		assert_int_equal(step(&x, rows[i].in, &out), rows[i].got);
		assert_int_equal(out.n, 0);
		if (rows[i].got == SASL_VERIFY) {
			assert_int_equal(x.request.by, SASL_BY_TLS);
			assert_true(slice_eq(x.request.authzid, rows[i].in));
			assert_int_equal(sasl_server_verdict(&x, i & 1, &out), SASL_DONE);
		}
		sasl_server_done(&x);
		buf_done(&out);
	}
}

/* Who is asked once and says nothing still has nothing to say. */
static void asked_once(void **state)
{
	static const struct slice names[] = {
		S("PLAIN"),       S("LOGIN"),         S("EXTERNAL"),          S("XOAUTH2"),
		S("OAUTHBEARER"), S("SCRAM-SHA-256"), S("SCRAM-SHA-256-PLUS")
	};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct sasl_server x;
		struct buf out;

		buf_init(&out, SASL_OUT_MAX);
		sasl_server_init(&x, sasl_mech_find(names[i]));
		assert_int_equal(sasl_server_step(&x, NULL, &out), SASL_CHALLENGE);
		assert_int_equal(sasl_server_step(&x, NULL, &out), SASL_BAD);
		sasl_server_done(&x);
		buf_done(&out);
	}
}

int run_mech_tests(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(cram),        cmocka_unit_test(cram_out_of_turn),
		cmocka_unit_test(xoauth2),     cmocka_unit_test(oauthbearer),
		cmocka_unit_test(long_tokens), cmocka_unit_test(external),
		cmocka_unit_test(asked_once),
	};

	return cmocka_run_group_tests_name("mech", tests, NULL, NULL);
}
