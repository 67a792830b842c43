/* issuer/opaque_test.c -- tokens that their issuer is asked about: what an answer says, and of
 * whom. */
#include "issuer/rig_test.h"

static void opaque(void **state)
{
	enum token_fault fault;
	struct fixture f;
	struct page *ask;

	rig_set_up(&f, "opaque", OPAQUE);
	rig_publish(&f, "k1");
	ask = rig_page(&f.server, "/ask", ACTIVE, "");
	assert_int_equal(rig_judge(&f, S("tok+en/1="), false, NULL), ISSUER_ASK);
	assert_int_equal(rig_judge(&f, S("tok+en/1="), true, NULL), ISSUER_GOOD);
	assert_int_equal(rig_judge(&f, S("tok+en/1="), false, NULL), ISSUER_GOOD);
	assert_int_equal(ask->asked, 1);
	/* RFC 7662 2.1, RFC 6749 2.3.1 */
	assert_non_null(strstr(ask->request, "POST /ask "));
	assert_non_null(
	    strstr(ask->request, "\r\n\r\ntoken=tok%2Ben%2F1%3D&token_type_hint=access_token"));
	assert_non_null(
	    strstr(ask->request, "Authorization: Basic bWFpbCtyZWxheTpvdXIlM0FzZWNyZXQ=\r\n"));
	/* Another one is asked about; what is not known there is remembered, too. */
	rig_page(&f.server, "/ask", "{\"active\":false}");
	assert_int_equal(rig_judge(&f, S("other"), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_INACTIVE);
	assert_int_equal(rig_judge(&f, S("other"), false, &fault), ISSUER_BAD);
	assert_int_equal(ask->asked, 2);
	/* Its end counts, whatever is held. */
	rig_page(&f.server, "/ask", ACTIVE, ",\"exp\":1799999939");
	assert_int_equal(rig_judge(&f, S("late"), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_EXPIRED);
	/* It cannot read one: that one is bad, and the issuer is not down. */
	rig_page(&f.server, "/ask", "400{\"error\":\"invalid_request\"}");
	assert_int_equal(rig_judge(&f, S("odd"), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_INACTIVE);
	assert_int_equal(rig_judge(&f, S("unheard"), false, NULL), ISSUER_ASK);
	rig_page(&f.server, "/ask", "hang");
	assert_int_equal(rig_judge(&f, S("down"), true, NULL), ISSUER_DOWN);
	assert_int_equal(rig_judge(&f, S("more"), false, NULL), ISSUER_DOWN);
	/* What is held is good meanwhile. */
	assert_int_equal(rig_judge(&f, S("tok+en/1="), false, NULL), ISSUER_GOOD);
	rig_tear_down(&f);
}

/* What an answer without a verdict says, and of whom. */
static void no_verdict(void **state)
{
	static const struct {
		const char *answer;
		bool down; /* for everybody */
	} rows[] = {
		{ "", false }, /* 404 */
		{ "403", false },
		{ "413", false },
		{ "429slow down", false },
		{ "500<html>", false },
		{ "503", false },
		{ "503{\"active\":false}", false },
		{ "302", false },
		{ "200", false }, /* nothing */
		{ "<html>", false },
		{ "{}", false },
		{ "[true]", false },
		{ "endless", false },
		{ "401", true },
		{ "400{\"error\":\"invalid_client\"}", true },
		{ "400{\"error\":\"unauthorized_client\"}", true },
		{ "hang", true },
	};

	for (size_t k = 0; k < LEN(rows); k++) {
		struct issuer_verdict v;
		struct fixture f;
		struct page *ask;

		rig_set_up(&f, "opaque", OPAQUE);
		rig_publish(&f, "k1");
		ask = rig_page(&f.server, "/ask", "%s", rows[k].answer);
		assert_int_equal(rig_judge(&f, S("bad"), true, NULL), ISSUER_DOWN);
		/* It is not asked about again at once, whatever else. */
		assert_int_equal(rig_judge(&f, S("bad"), true, NULL), ISSUER_DOWN);
		assert_int_equal(ask->asked, 1);
		rig_page(&f.server, "/ask", ACTIVE, "");
		assert_int_equal(rig_judge(&f, S("good"), true, NULL),
				 rows[k].down ? ISSUER_DOWN : ISSUER_GOOD);
		assert_int_equal(issuers_judge(f.issuers, S("next"), NOW, NULL, &v),
				 rows[k].down ? ISSUER_DOWN : ISSUER_ASK);
		assert_true(rows[k].down || v.ask->told_ms); /* the operator knows */
		rig_tear_down(&f);
	}
}

/* Two that know opaque tokens: each is asked with leave of its own, and the second one's word
 * counts when the first has none. */
static void one_after_the_other(void **state)
{
	const struct issuer *first;
	struct issuer_verdict v;
	struct fixture f;
	struct page *ask;
	char text[1024];
	struct err e = { 0 };

	rig_set_up(&f, "opaque", OPAQUE);
	ask = rig_page(&f.server, "/ask", ACTIVE, "");
	rig_page(&f.server, "/none", "503");
	snprintf(text, sizeof text,
		 "issuer none { url = \"http://127.0.0.1:%u/n\" kind = opaque audience = mail "
		 "introspection = \"http://127.0.0.1:%u/none\" " OPAQUE " }\n"
		 "issuer sso { url = \"%s\" kind = opaque audience = mail "
		 "introspection = \"http://127.0.0.1:%u/ask\" " OPAQUE " }\n",
		 f.server.port, f.server.port, f.url, f.server.port);
	issuers_free(f.issuers);
	f.issuers = rig_configure(&f, text, NULL, &e);
	if (!f.issuers)
		fail_msg("%s", e.text);
	assert_int_equal(issuers_judge(f.issuers, S("t"), NOW, NULL, &v), ISSUER_ASK);
	first = v.ask;
	assert_int_equal(issuers_judge(f.issuers, S("t"), NOW, first, &v), ISSUER_ASK);
	assert_ptr_not_equal(v.ask, first);
	assert_int_equal(ask->asked, 0);
	assert_int_equal(rig_judge(&f, S("t"), true, NULL), ISSUER_GOOD);
	assert_int_equal(ask->asked, 1);
	/* What the first has said is forgotten while the second is waited for: the second is asked
	 * all the same, and not the first again. */
	assert_int_equal(issuers_judge(f.issuers, S("w"), NOW, NULL, &v), ISSUER_ASK);
	assert_ptr_equal(v.ask, first);
	assert_int_equal(issuers_judge(f.issuers, S("w"), NOW, first, &v), ISSUER_ASK);
	answers_put(((struct issuer *)(uintptr_t)first)->answers, S("w"), S(""), 0);
	assert_int_equal(issuers_judge(f.issuers, S("w"), NOW, v.ask, &v), ISSUER_GOOD);
	token_free(v.token);
	/* The second does not know it: the first might have. */
	rig_page(&f.server, "/ask", "{\"active\":false}");
	assert_int_equal(rig_judge(&f, S("u"), true, NULL), ISSUER_DOWN);
	rig_tear_down(&f);
}

/* How many may ask at once: one for keys, which all wait for; one of an issuer that is tried again.
 */
static void how_many_at_once(void **state)
{
	struct issuer_verdict v;
	struct fixture f;
	struct buf t;

	rig_set_up(&f, "jwt", "");
	rig_publish(&f, "k1");
	rig_sign(&t, "k1", f.url);
	assert_int_equal(issuers_judge(f.issuers, buf_slice(&t), NOW, NULL, &v), ISSUER_ASK);
	assert_int_equal(v.at_once, 1);
	buf_done(&t);
	rig_tear_down(&f);
	rig_set_up(&f, "opaque", OPAQUE);
	rig_publish(&f, "k1");
	rig_page(&f.server, "/ask", "401");
	assert_int_equal(issuers_judge(f.issuers, S("t"), NOW, NULL, &v), ISSUER_ASK);
	assert_int_equal(v.at_once, 3);
	assert_int_equal(rig_judge(&f, S("t"), true, NULL), ISSUER_DOWN);
	((struct issuer *)(uintptr_t)v.ask)->down_ms = 0; /* that time has passed */
	assert_int_equal(issuers_judge(f.issuers, S("t"), NOW, NULL, &v), ISSUER_ASK);
	assert_int_equal(v.at_once, 1);
	rig_tear_down(&f);
}

/* A token that names another issuer does not go to this one. */
static void opaque_hears_nothing_of_others(void **state)
{
	enum token_fault fault;
	struct fixture f;
	struct page *ask;
	struct buf t;

	rig_set_up(&f, "opaque", OPAQUE);
	rig_publish(&f, "k1");
	ask = rig_page(&f.server, "/ask", ACTIVE, "");
	rig_sign(&t, "k1", "https://another.example");
	assert_int_equal(rig_judge(&f, buf_slice(&t), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_ISSUER);
	assert_int_equal(ask->asked, 0);
	buf_done(&t);
	rig_sign(&t, "k1", f.url);
	assert_int_equal(rig_judge(&f, buf_slice(&t), true, NULL), ISSUER_GOOD);
	assert_int_equal(ask->asked, 1);
	buf_done(&t);
	rig_tear_down(&f);
}

/* The ring: the oldest goes; bytes are bounded. */
static void answers_are_bounded(void **state)
{
	struct answers *a = answers_new();
	static char big[ISSUER_ANSWER_MAX];
	struct buf out;
	char token[16];

	assert_non_null(a);
	for (unsigned i = 0; i < ISSUER_ANSWERS + 10; i++) {
		snprintf(token, sizeof token, "t%u", i);
		answers_put(a, slice_str(token), S("x"), 100);
	}
	buf_init(&out, ISSUER_ANSWER_MAX);
	assert_false(answers_get(a, S("t9"), 0, &out));
	assert_true(answers_get(a, S("t10"), 99, &out));
	assert_false(answers_get(a, S("t10"), 100, &out));
	memset(big, 'b', sizeof big);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(token, sizeof token, "b%u", i);
		answers_put(a, slice_str(token), slice(big, sizeof big), 100);
	}
	buf_clear(&out);
	assert_false(answers_get(a, S("b0"), 0, &out));
	assert_true(answers_get(a, S("b199"), 0, &out));
	assert_int_equal(out.n, sizeof big);
	/* The same again takes its own place. */
	answers_put(a, S("b199"), S("y"), 100);
	buf_clear(&out);
	assert_true(answers_get(a, S("b199"), 0, &out) && slice_eq(buf_slice(&out), S("y")));
	buf_done(&out);
	answers_free(a);
}

int opaque_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opaque),
		cmocka_unit_test(no_verdict),
		cmocka_unit_test(one_after_the_other),
		cmocka_unit_test(how_many_at_once),
		cmocka_unit_test(opaque_hears_nothing_of_others),
		cmocka_unit_test(answers_are_bounded),
	};

	return cmocka_run_group_tests_name("opaque", tests, NULL, NULL);
}
