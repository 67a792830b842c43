/* issuer/issuer_test.c -- issuers over a reload, and their secrets. */
#include "issuer/rig_test.h"

#include <sys/stat.h>

static void a_reload_keeps_what_is_the_same(void **state)
{
	struct fixture f;
	struct issuers *now;
	struct page *keys;
	char text[512];
	struct issuer_verdict v;
	uint64_t id;
	struct buf t;

	rig_set_up(&f, "jwt", "");
	keys = rig_publish(&f, "k1");
	rig_sign(&t, "k1", f.url);
	assert_int_equal(rig_judge(&f, buf_slice(&t), true, NULL), ISSUER_GOOD);
	assert_int_equal(issuers_judge(f.issuers, buf_slice(&t), NOW, NULL, &v), ISSUER_GOOD);
	id = v.id;
	token_free(v.token);
	snprintf(text, sizeof text, "issuer sso { url = \"%s\" audience = mail timeout = 400ms }\n",
		 f.url);
	now = rig_configure(&f, text, f.issuers, NULL);
	assert_non_null(now);
	issuers_free(f.issuers);
	f.issuers = now;
	assert_int_equal(rig_judge(&f, buf_slice(&t), false, NULL), ISSUER_GOOD);
	snprintf(text, sizeof text,
		 "issuer sso { url = \"%s\" audience = others timeout = 400ms }\n", f.url);
	now = rig_configure(&f, text, f.issuers, NULL);
	assert_non_null(now);
	issuers_free(f.issuers);
	f.issuers = now;
	assert_int_equal(rig_judge(&f, buf_slice(&t), false, NULL), ISSUER_ASK);
	assert_int_equal(keys->asked, 1);
	/* Who has logged in by a token of it is still known. */
	assert_true(issuers_have(now, id));
	snprintf(text, sizeof text, "issuer other { url = \"%s\" audience = mail }\n", f.url);
	now = rig_configure(&f, text, f.issuers, NULL);
	assert_non_null(now);
	issuers_free(f.issuers);
	f.issuers = now;
	assert_false(issuers_have(now, id));
	buf_done(&t);
	rig_tear_down(&f);
}

static void secrets_of_others(void **state)
{
	struct err e = { 0 };
	struct fixture f;
	char path[64];

	rig_set_up(&f, "opaque", OPAQUE);
	snprintf(path, sizeof path, "%s/s", f.dir);
	chmod(path, 0644);
	assert_null(rig_configure(
	    &f, "issuer sso { url = \"https://x.example\" kind = opaque " OPAQUE " }\n", NULL, &e));
	assert_int_equal(e.kind, ERR_DENIED);
	rig_tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reload_keeps_what_is_the_same),
		cmocka_unit_test(secrets_of_others),
	};

	return cmocka_run_group_tests_name("issuer", tests, NULL, NULL) + keys_tests() +
	       opaque_tests();
}
