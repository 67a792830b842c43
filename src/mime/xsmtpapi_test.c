#include "mime/xsmtpapi.h"

#include "mime/room_test.h"

/* The other names, joined with '|', ">" behind them when there are more; "bad". */
static void reads_names(void **state)
{
	static const struct {
		struct slice in;
		const char *want;
	} cases[] = {
		{ S("{}"), "" },
		{ S(" { \t\r\n} "), "" },
		{ S("{\"category\":\"a\"}"), "" },
		{ S("{\"category\":[\"a\",\"b\"],\"unique_args\":{\"x\":\"1\",\"filters\":{}}}"),
		  "" },
		{ S("{\"cat\\u0065gory\":\"a\"}"), "" },
		{ S("{\"Category\":\"a\"}"), "Category" },
		{ S("{\"filters\":{\"opentrack\":{\"settings\":{\"enable\":1}}}}"), "filters" },
		{ S("{\"to\":[\"a@b\"],\"sub\":{},\"to\":[]}"), "to|sub" },
		{ S("{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5}"), "a|b|c|d>" },
		{ S("{\"\":null}"), "" }, /* one other name, the empty one: see n below */
		{ S("{\"\\u00e9\\ud83d\\ude00\\n\":true}"), "??\n" },
		{ S("{\"x\":-0.5e+10,\"y\":[[],{},[{\"z\":false}]]}"), "x|y" },
		{ S("{\"x\":\"\xc3\xa9\"}"), "x" },
		{ S("{\"x\":0}"), "x" },
		{ S("{\"x\":1E5}"), "x" },
		{ S(""), "bad" },
		{ S(" "), "bad" },
		{ S("[]"), "bad" },
		{ S("\"category\""), "bad" },
		{ S("{"), "bad" },
		{ S("{}}"), "bad" },
		{ S("{} x"), "bad" },
		{ S("{\"category\"}"), "bad" },
		{ S("{\"category\":}"), "bad" },
		{ S("{\"category\":\"a\",}"), "bad" },
		{ S("{,\"category\":\"a\"}"), "bad" },
		{ S("{\"category\":\"a\" \"b\":1}"), "bad" },
		{ S("{\"category\":[1,]}"), "bad" },
		{ S("{\"category\":[,1]}"), "bad" },
		{ S("{\"category\":[1}}"), "bad" },
		{ S("{\"category\":{1]}"), "bad" },
		{ S("{\"category\":[1 2]}"), "bad" },
		{ S("{'category':'a'}"), "bad" },
		{ S("{category:1}"), "bad" },
		{ S("{\"category\":01}"), "bad" },
		{ S("{\"category\":-}"), "bad" },
		{ S("{\"category\":1.}"), "bad" },
		{ S("{\"category\":.5}"), "bad" },
		{ S("{\"category\":+1}"), "bad" },
		{ S("{\"category\":1e}"), "bad" },
		{ S("{\"category\":NaN}"), "bad" },
		{ S("{\"category\":tru}"), "bad" },
		{ S("{\"category\":truex}"), "bad" },
		{ S("{\"category\":\"a"), "bad" },
		{ S("{\"category\":\"a\\"), "bad" },
		{ S("{\"category\":\"\\x41\"}"), "bad" },
		{ S("{\"category\":\"\\u12\"}"), "bad" },
		{ S("{\"category\":\"\\u12g4\"}"), "bad" },
		{ S("{\"category\":\"\\ud800\"}"), "bad" },
		{ S("{\"category\":\"\\ud800\\u0041\"}"), "bad" },
		{ S("{\"category\":\"\\udc00\"}"), "bad" },
		{ S("{\"category\":\"a\tb\"}"), "bad" },
		{ S("{\"category\":\"a\0b\"}"), "bad" },
		{ S("{\"category\":\"\xff\"}"), "bad" },
		{ S("{\"category\":\"a\"}\0"), "bad" },
		{ S("\xef\xbb\xbf{}"), "bad" },
		{ S("{/* */}"), "bad" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct xsmtpapi x = { 0 };
		struct arena a;
		struct slice want = slice_str(cases[i].want);
		char got[200];
		size_t n = 0;

		arena_init(&a, 1 << 16);
		print_message("  case %zu\n", i);
		if (!xsmtpapi_read(cases[i].in, &a, &x)) {
			assert_slice(S("bad"), want);
			arena_done(&a);
			continue;
		}
		for (size_t k = 0; k < x.n; k++) {
			if (k)
				got[n++] = '|';
			memcpy(got + n, x.other[k].p, x.other[k].n);
			n += x.other[k].n;
		}
		if (x.more)
			got[n++] = '>';
		assert_slice(slice(got, n), want);
		if (i == 9)
			assert_int_equal(x.n, 1);
		arena_done(&a);
	}
}

static bool nested(unsigned depth)
{
	char text[400] = "{\"category\":";
	size_t n = 12;
	struct xsmtpapi x;
	struct arena a;
	bool ok;

	for (unsigned i = 1; i < depth; i++)
		text[n++] = '[';
	for (unsigned i = 1; i < depth; i++)
		text[n++] = ']';
	text[n++] = '}';
	arena_init(&a, 1 << 16);
	ok = xsmtpapi_read(slice(text, n), &a, &x);
	arena_done(&a);
	return ok;
}

static void keeps_its_depth(void **state)
{
	assert_true(nested(2));
	assert_true(nested(XSMTPAPI_DEPTH));
	assert_false(nested(XSMTPAPI_DEPTH + 1));
	assert_false(nested(150));
}

int smtpapi_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_names),
		cmocka_unit_test(keeps_its_depth),
	};

	return cmocka_run_group_tests_name("mime xsmtpapi", tests, NULL, NULL);
}
