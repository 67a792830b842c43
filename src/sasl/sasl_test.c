#include "sasl/client.h"
#include "sasl/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* A server exchange; the input lies on the heap exactly, and is gone after the step. */
static enum sasl_got step(struct sasl_server *x, struct slice in, struct buf *out)
{
	char *exact = malloc(in.n ? in.n : 1);
	struct slice copy = slice(exact, in.n);
	enum sasl_got got;

	assert_non_null(exact);
	if (in.n)
		memcpy(exact, in.p, in.n);
	got = sasl_server_step(x, &copy, out);
	free(exact);
	return got;
}

static void expect_fields(const struct sasl_request *r, struct slice authzid, struct slice authcid,
			  struct slice password)
{
	assert_true(slice_eq(r->authzid, authzid));
	assert_true(slice_eq(r->authcid, authcid));
	assert_true(slice_eq(r->password.bytes, password));
}

#define F255                                                                                       \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"         \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"         \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"         \
	"0123456789abcde"

static void plain(void **state)
{
	static const struct {
		struct slice in;
		enum sasl_got got;
		struct slice authzid, authcid, password;
	} rows[] = {
		{ S("\0u\0p"), SASL_VERIFY, S(""), S("u"), S("p") },
		{ S("z\0u\0p"), SASL_VERIFY, S("z"), S("u"), S("p") },
		{ S(" z \0 u\0p "), SASL_VERIFY, S(" z "), S(" u"),
		  S("p ") }, /* nothing is trimmed */
		{ S("\0\0"), SASL_VERIFY, S(""), S(""), S("") },
		{ S("\0\xc3\xbc\0\xe2\x82\xac"), SASL_VERIFY, S(""), S("\xc3\xbc"),
		  S("\xe2\x82\xac") },
		{ S(F255 "\0" F255 "\0" F255), SASL_VERIFY, S(F255), S(F255), S(F255) },
		{ S(""), SASL_BAD },
		{ S("u"), SASL_BAD },
		{ S("\0u"), SASL_BAD },
		{ S("\0u\0p\0"), SASL_BAD }, /* exactly two NULs */
		{ S("\0u\0p\0q"), SASL_BAD },
		{ S("\0u\0\xff"), SASL_BAD },
		{ S("\0\xc3\0p"), SASL_BAD },
		{ S("\xed\xa0\x80\0u\0p"), SASL_BAD },
		{ S("\0u\0" F255 "x"), SASL_BAD },
		{ S("\0" F255 "x\0p"), SASL_BAD },
		{ S(F255 "x\0u\0p"), SASL_BAD },
		{ S(F255 "x\0" F255 "\0" F255), SASL_BAD },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		for (int late = 0; late < 2; late++) {
			struct sasl_server x;
			struct buf out;

			buf_init(&out, 256);
			sasl_server_init(&x, sasl_mech_find(S("plain")));
			if (late) {
				assert_int_equal(sasl_server_step(&x, NULL, &out), SASL_CHALLENGE);
				assert_int_equal(out.n, 0);
			}
			assert_int_equal(step(&x, rows[i].in, &out), rows[i].got);
			assert_int_equal(out.n, 0);
			if (rows[i].got == SASL_VERIFY) {
				expect_fields(&x.request, rows[i].authzid, rows[i].authcid,
					      rows[i].password);
				assert_true(slice_eq(x.request.mechanism, S("PLAIN")));
			}
			sasl_server_done(&x);
			buf_done(&out);
		}
	}
}

static void login_once(const struct slice *initial, struct slice user, enum sasl_got got_user,
		       struct slice pass, enum sasl_got got_pass)
{
	struct sasl_server x;
	struct buf out;

	buf_init(&out, 256);
	sasl_server_init(&x, sasl_mech_find(S("LOGIN")));
	if (!initial) {
		assert_int_equal(sasl_server_step(&x, NULL, &out), SASL_CHALLENGE);
		assert_true(slice_eq(buf_slice(&out), S("Username:")));
		buf_clear(&out);
	}
	assert_int_equal(step(&x, user, &out), got_user);
	if (got_user == SASL_CHALLENGE) {
		assert_true(slice_eq(buf_slice(&out), S("Password:")));
		buf_clear(&out);
		assert_int_equal(step(&x, pass, &out), got_pass);
		assert_int_equal(out.n, 0);
		if (got_pass == SASL_VERIFY)
			expect_fields(&x.request, S(""), user, pass);
	}
	sasl_server_done(&x);
	buf_done(&out);
}

static void login(void **state)
{
	static const struct {
		struct slice user;
		enum sasl_got got_user;
		struct slice pass;
		enum sasl_got got_pass;
	} rows[] = {
		{ S("apikey"), SASL_CHALLENGE, S("SG.x"), SASL_VERIFY },
		{ S(" u "), SASL_CHALLENGE, S(" p "), SASL_VERIFY },
		{ S(""), SASL_CHALLENGE, S(""), SASL_VERIFY },
		{ S(F255), SASL_CHALLENGE, S(F255), SASL_VERIFY },
		{ S("u"), SASL_CHALLENGE, S(F255 "x"), SASL_BAD },
		{ S("u"), SASL_CHALLENGE, S("a\0b"), SASL_BAD },
		{ S("u"), SASL_CHALLENGE, S("\xff"), SASL_BAD },
		{ S(F255 "x"), SASL_BAD, S(""), SASL_BAD },
		{ S("a\0b"), SASL_BAD, S(""), SASL_BAD },
		{ S("\x80"), SASL_BAD, S(""), SASL_BAD },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		login_once(NULL, rows[i].user, rows[i].got_user, rows[i].pass, rows[i].got_pass);
		login_once(&rows[i].user, rows[i].user, rows[i].got_user, rows[i].pass,
			   rows[i].got_pass);
	}
}

static void wiped(void **state)
{
	struct sasl_server x, zero = { 0 };
	struct buf out;

	(void)state;
	buf_init(&out, 256);
	sasl_server_init(&x, sasl_mech_find(S("PLAIN")));
	assert_int_equal(step(&x, S("\0u\0p"), &out), SASL_VERIFY);
	/* The storage never moved, so no copy of a field was left behind. */
	assert_true(x.held.cap >= 3 * SASL_FIELD_MAX + 2);
	sasl_server_done(&x);
	assert_memory_equal(&x, &zero, sizeof x);
	sasl_server_done(&x);
	buf_done(&out);
}

static void table(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 256);
	assert_null(sasl_mech_find(S("")));
	assert_null(sasl_mech_find(S("PLAI")));
	assert_null(sasl_mech_find(S("PLAINX")));
	assert_true(slice_eq(sasl_mech_find(S("lOgIn"))->name, S("LOGIN")));
	for (uint32_t i = 0; i < SASL_MECHS; i++) {
		const struct sasl_mech *m;

		buf_clear(&out);
		sasl_mech_list(&out, SASL_BIT(i));
		m = sasl_mech_find(buf_slice(&out));
		assert_non_null(m);
		assert_int_equal(sasl_mech_id(m), i);
		/* Whoever sees the secret says so. */
		assert_int_equal(!(m->flags & SASL_REVEALS),
				 m->by != SASL_BY_PASSWORD && m->by != SASL_BY_TOKEN);
	}
	buf_clear(&out);
	sasl_mech_list(&out, SASL_PASSWORDS);
	assert_true(slice_eq(buf_slice(&out), S("PLAIN LOGIN")));
	buf_clear(&out);
	sasl_mech_list(&out, (1u << SASL_MECHS) - 1);
	assert_true(
	    slice_eq(buf_slice(&out),
		     S("SCRAM-SHA-256-PLUS SCRAM-SHA-256 EXTERNAL OAUTHBEARER XOAUTH2 PLAIN "
		       "LOGIN CRAM-MD5")));
	buf_clear(&out);
	sasl_mech_list(&out, 0);
	assert_int_equal(out.n, 0);
	sasl_mech_list(&out, sasl_without((1u << SASL_MECHS) - 1, SASL_REVEALS));
	assert_true(
	    slice_eq(buf_slice(&out), S("SCRAM-SHA-256-PLUS SCRAM-SHA-256 EXTERNAL CRAM-MD5")));
	buf_clear(&out);
	sasl_mech_list(
	    &out, sasl_without((1u << SASL_MECHS) - 1, SASL_BINDS | SASL_CERTIFICATE | SASL_TOKEN));
	assert_true(slice_eq(buf_slice(&out), S("SCRAM-SHA-256 PLAIN LOGIN CRAM-MD5")));
	buf_done(&out);
}

static void client_pick(void **state)
{
	static const struct {
		struct slice offered;
		bool private;
		const char *name;
	} rows[] = {
		{ S("PLAIN LOGIN"), true, "PLAIN" },
		{ S("LOGIN PLAIN"), true, "PLAIN" },
		{ S(" login  "), true, "LOGIN" },
		{ S("CRAM-MD5 plain"), true, "PLAIN" },
		{ S("PLAIN LOGIN"), false, NULL },
		{ S("PLAINX XLOGIN"), true, NULL },
		{ S(""), true, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sasl_client x;
		bool got =
		    sasl_client_pick(&x, rows[i].offered, rows[i].private, S("u"), secret(S("p")));

		assert_int_equal(got, rows[i].name != NULL);
		if (got)
			assert_true(slice_eq(sasl_client_name(&x), slice_str(rows[i].name)));
	}
}

static void client_words(void **state)
{
	struct sasl_client x;
	struct slice prompt = S("Anything:"), empty = S("");
	struct buf out;

	(void)state;
	buf_init(&out, 256);
	assert_true(sasl_client_pick(&x, S("PLAIN"), true, S("us"), secret(S("pw"))));
	assert_int_equal(sasl_client_step(&x, NULL, &out), SASL_CLIENT_SEND);
	assert_true(slice_eq(buf_slice(&out), S("\0us\0pw")));
	assert_int_equal(sasl_client_step(&x, &empty, &out), SASL_CLIENT_FAIL);

	buf_clear(&out);
	assert_true(sasl_client_pick(&x, S("PLAIN"), true, S("us"), secret(S("pw"))));
	assert_int_equal(sasl_client_step(&x, &empty, &out), SASL_CLIENT_SEND);
	assert_true(slice_eq(buf_slice(&out), S("\0us\0pw")));
	assert_true(sasl_client_pick(&x, S("PLAIN"), true, S("us"), secret(S("pw"))));
	assert_int_equal(sasl_client_step(&x, &prompt, &out), SASL_CLIENT_FAIL);

	buf_clear(&out);
	assert_true(sasl_client_pick(&x, S("LOGIN"), true, S("us"), secret(S("pw"))));
	assert_int_equal(sasl_client_step(&x, NULL, &out), SASL_CLIENT_WAIT);
	assert_int_equal(sasl_client_step(&x, &prompt, &out), SASL_CLIENT_SEND);
	assert_int_equal(sasl_client_step(&x, NULL, &out), SASL_CLIENT_FAIL);
	assert_true(slice_eq(buf_slice(&out), S("us")));
	buf_clear(&out);
	assert_int_equal(sasl_client_step(&x, &prompt, &out), SASL_CLIENT_SEND);
	assert_true(slice_eq(buf_slice(&out), S("pw")));
	buf_clear(&out);
	assert_int_equal(sasl_client_step(&x, &prompt, &out), SASL_CLIENT_FAIL);
	assert_int_equal(out.n, 0);

	buf_done(&out);
	buf_init(&out, 3);
	assert_true(sasl_client_pick(&x, S("PLAIN"), true, S("us"), secret(S("pw"))));
	assert_int_equal(sasl_client_step(&x, NULL, &out), SASL_CLIENT_FAIL);
	buf_done(&out);
}

/* Both sides, back to back. */
static void ends_meet(void **state)
{
	static const struct slice names[] = { S("PLAIN"), S("LOGIN") };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct sasl_client c;
		struct sasl_server s;
		struct buf up, down;
		struct slice challenge, *has = NULL;
		enum sasl_got got = SASL_CHALLENGE;

		buf_init(&up, 1024);
		buf_init(&down, 1024);
		assert_true(sasl_client_pick(&c, names[i], true, S("apikey"), secret(S("SG.k"))));
		sasl_server_init(&s, sasl_mech_find(names[i]));
		while (got == SASL_CHALLENGE) {
			struct slice said, *say = NULL;

			buf_clear(&up);
			switch (sasl_client_step(&c, has, &up)) {
			case SASL_CLIENT_SEND:
				said = buf_slice(&up);
				say = &said;
				break;
			case SASL_CLIENT_WAIT: break;
			case SASL_CLIENT_FAIL: fail(); break;
			}
			buf_clear(&down);
			got = sasl_server_step(&s, say, &down);
			challenge = buf_slice(&down);
			has = &challenge;
		}
		assert_int_equal(got, SASL_VERIFY);
		expect_fields(&s.request, S(""), S("apikey"), S("SG.k"));
		buf_clear(&down);
		assert_int_equal(sasl_server_verdict(&s, i == 0, &down), SASL_DONE);
		assert_int_equal(down.n, 0);
		sasl_server_done(&s);
		buf_done(&up);
		buf_done(&down);
	}
}

int run_scram_tests(void);
int run_mech_tests(void);

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),       cmocka_unit_test(login),
		cmocka_unit_test(wiped),       cmocka_unit_test(table),
		cmocka_unit_test(client_pick), cmocka_unit_test(client_words),
		cmocka_unit_test(ends_meet),
	};

	return (cmocka_run_group_tests_name("sasl", tests, NULL, NULL) + run_scram_tests() +
		run_mech_tests()) != 0;
}
