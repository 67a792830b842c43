/* issuer/keys_test.c -- signed tokens: what is asked, how often, and what becomes of a login when
 * nothing comes back. */
#include "issuer/rig_test.h"
#include "ops/clock.h"

#include <unistd.h>

static void keys_are_asked_for_once(void **state)
{
	struct fixture f;
	struct page *keys;
	struct buf t;

	rig_set_up(&f, "jwt", "");
	keys = rig_publish(&f, "k1");
	rig_sign(&t, "k1", f.url);
	assert_int_equal(rig_judge(&f, buf_slice(&t), false, NULL), ISSUER_ASK);
	assert_int_equal(keys->asked, 0);
	assert_int_equal(rig_judge(&f, buf_slice(&t), true, NULL), ISSUER_GOOD);
	assert_int_equal(rig_judge(&f, buf_slice(&t), false, NULL), ISSUER_GOOD);
	assert_int_equal(rig_judge(&f, buf_slice(&t), true, NULL), ISSUER_GOOD);
	assert_int_equal(keys->asked, 1);
	buf_done(&t);
	rig_tear_down(&f);
}

static void warm(void **state)
{
	struct fixture f;
	struct buf t;

	rig_set_up(&f, "jwt", "");
	rig_publish(&f, "k1");
	issuers_warm(f.issuers);
	rig_sign(&t, "k1", f.url);
	assert_int_equal(rig_judge(&f, buf_slice(&t), false, NULL), ISSUER_GOOD);
	buf_done(&t);
	rig_tear_down(&f);
}

static void old_keys_do_not_count(void **state)
{
	struct fixture f;
	struct page *keys;
	struct buf t;

	rig_set_up(&f, "jwt", "fresh = 1s");
	keys = rig_publish(&f, "k1");
	rig_sign(&t, "k1", f.url);
	assert_int_equal(rig_judge(&f, buf_slice(&t), true, NULL), ISSUER_GOOD);
	usleep(1050000);
	assert_int_equal(rig_judge(&f, buf_slice(&t), false, NULL), ISSUER_ASK);
	/* What was good an hour ago may not be: it is down, and that is no yes. */
	rig_page(&f.server, "/keys", "%s", "");
	assert_int_equal(rig_judge(&f, buf_slice(&t), true, NULL), ISSUER_DOWN);
	assert_int_equal(keys->asked, 2);
	buf_done(&t);
	rig_tear_down(&f);
}

static void a_new_kid(void **state)
{
	enum token_fault fault;
	struct fixture f;
	struct page *keys;
	struct buf old, new, third;

	rig_set_up(&f, "jwt", "");
	rig_publish(&f, "k1");
	rig_sign(&old, "k1", f.url);
	rig_sign(&new, "k2", f.url);
	rig_sign(&third, "k3", f.url);
	assert_int_equal(rig_judge(&f, buf_slice(&old), true, NULL), ISSUER_GOOD);
	/* The issuer has rotated its keys. */
	keys = rig_page(&f.server, "/keys", KEY_SET, "k2");
	assert_int_equal(rig_judge(&f, buf_slice(&new), false, NULL), ISSUER_ASK);
	usleep(2000);
	assert_int_equal(rig_judge(&f, buf_slice(&new), true, NULL), ISSUER_GOOD);
	assert_int_equal(keys->asked, 2);
	assert_int_equal(rig_judge(&f, buf_slice(&old), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_UNKNOWN_KEY);
	/* Who makes up names of keys does not make us ask again and again. */
	for (int i = 0; i < 20; i++)
		assert_int_equal(rig_judge(&f, buf_slice(&third), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_UNKNOWN_KEY);
	assert_int_equal(keys->asked, 2);
	buf_done(&old);
	buf_done(&new);
	buf_done(&third);
	rig_tear_down(&f);
}

/* Asked for a key that is new, it does not answer: nobody knows, which is no no. */
static void a_new_kid_while_it_is_down(void **state)
{
	struct fixture f;
	struct buf old, new;

	rig_set_up(&f, "jwt", "");
	rig_publish(&f, "k1");
	rig_sign(&old, "k1", f.url);
	rig_sign(&new, "k2", f.url);
	assert_int_equal(rig_judge(&f, buf_slice(&old), true, NULL), ISSUER_GOOD);
	rig_page(&f.server, "/keys", "%s", "");
	usleep(2000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(rig_judge(&f, buf_slice(&new), true, NULL), ISSUER_DOWN);
	/* What is held still counts. */
	assert_int_equal(rig_judge(&f, buf_slice(&old), true, NULL), ISSUER_GOOD);
	buf_done(&old);
	buf_done(&new);
	rig_tear_down(&f);
}

static void one_that_hangs(void **state)
{
	struct fixture f;
	struct page *keys;
	uint64_t began;
	struct buf t;

	rig_set_up(&f, "jwt", "");
	keys = rig_publish(&f, "k1");
	rig_page(&f.server, "/keys", "hang");
	rig_sign(&t, "k1", f.url);
	began = clock_mono_ms();
	assert_int_equal(rig_judge(&f, buf_slice(&t), true, NULL), ISSUER_DOWN);
	assert_true(clock_mono_ms() - began >= 300 && clock_mono_ms() - began < 3000);
	/* And nobody waits for it again so soon. */
	began = clock_mono_ms();
	for (int i = 0; i < 20; i++)
		assert_int_equal(rig_judge(&f, buf_slice(&t), i % 2, NULL), ISSUER_DOWN);
	assert_true(clock_mono_ms() - began < 300);
	assert_int_equal(keys->asked, 1);
	buf_done(&t);
	rig_tear_down(&f);
}

/* What it publishes may be wrong in many ways: all are "down", with the reason. */
static void nonsense(void **state)
{
	static const struct {
		const char *metadata, *openid, *keys, *why;
	} rows[] = {
		{ "", "", "", "status 404" },
		{ "<html>", "", "", "status 404" },
		{ "{\"issuer\":\"http://127.0.0.1/other\",\"jwks_uri\":\"%s\"}", "<html>", "",
		  "not what" },
		{ "", "{\"issuer\":\"http://127.0.0.1/other\",\"jwks_uri\":\"%s\"}", "",
		  "of another issuer" },
		{ "{\"issuer\":\"%s\",\"jwks_uri\":\"http://evil.example/keys\"}", "", "",
		  "begins with https" },
		{ "{\"issuer\":\"%s\",\"jwks_uri\":\"file:///etc/passwd\"}", "", "",
		  "begins with https" },
		{ "{\"issuer\":\"%s\"}", "", "", "begins with https" },
		{ NULL, "", "[]", "no keys" },
		{ NULL, "", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}", "tells its secret" },
		{ NULL, "", "", "status 404" },
	};

	for (size_t i = 0; i < LEN(rows); i++) {
		struct err e = { 0 };
		struct fixture f;
		size_t n;

		rig_set_up(&f, "jwt", "");
		rig_publish(&f, "k1");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		if (rows[i].metadata)
			rig_page(&f.server, METADATA, rows[i].metadata, f.url);
		rig_page(&f.server, OPENID, rows[i].openid, f.url);
		rig_page(&f.server, "/keys", rows[i].keys, "");
#pragma GCC diagnostic pop
		assert_false(issuers_check(f.issuers, 0, &n, &e));
		assert_int_equal(e.kind, ERR_LATER);
		if (!strstr(e.text, rows[i].why))
			fail_msg("%zu: %s", i, e.text);
		rig_tear_down(&f);
	}
}

static void where_metadata_may_send_us(void **state)
{
	const struct slice far = S("https://sso.example"), here = S("http://127.0.0.1:80/i");

	assert_null(ask_check_url(far, S("https://sso.example/keys")));
	assert_null(ask_check_url(far, S("https://keys.example/")));
	assert_non_null(ask_check_url(far, S("http://127.0.0.1:8080/admin")));
	assert_non_null(ask_check_url(far, S("http://sso.example/keys")));
	assert_non_null(ask_check_url(far, S("")));
	assert_null(ask_check_url(here, S("http://127.0.0.1:80/keys")));
	assert_null(ask_check_url(here, S("https://keys.example/")));
	assert_non_null(ask_check_url(here, S("http://keys.example/")));
}

static void openid_discovery(void **state)
{
	struct err e = { 0 };
	struct fixture f;
	size_t n;

	rig_set_up(&f, "jwt", "");
	rig_page(&f.server, OPENID, "{\"issuer\":\"%s\",\"jwks_uri\":\"http://127.0.0.1:%u/keys\"}",
		 f.url, f.server.port);
	rig_page(&f.server, "/keys", KEY_SET, "k1");
	assert_true(issuers_check(f.issuers, 0, &n, &e));
	assert_int_equal(n, 1);
	rig_tear_down(&f);
}

static void whose_it_is(void **state)
{
	enum token_fault fault;
	struct fixture f;
	struct page *keys;
	struct buf t;

	rig_set_up(&f, "jwt", "");
	keys = rig_publish(&f, "k1");
	rig_sign(&t, "k1", "https://another.example");
	assert_int_equal(rig_judge(&f, buf_slice(&t), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_ISSUER);
	assert_int_equal(rig_judge(&f, S("2YotnFZFEjr1zCsicMWpAA"), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_MALFORMED);
	assert_int_equal(rig_judge(&f, S("eyJhbGciOiJub25lIn0.e30."), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_ALGORITHM);
	assert_int_equal(keys->asked, 0);
	buf_done(&t);
	rig_tear_down(&f);
}

int keys_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_asked_for_once),
		cmocka_unit_test(warm),
		cmocka_unit_test(old_keys_do_not_count),
		cmocka_unit_test(a_new_kid),
		cmocka_unit_test(a_new_kid_while_it_is_down),
		cmocka_unit_test(one_that_hangs),
		cmocka_unit_test(nonsense),
		cmocka_unit_test(where_metadata_may_send_us),
		cmocka_unit_test(openid_discovery),
		cmocka_unit_test(whose_it_is),
	};

	return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
