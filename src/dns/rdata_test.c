/* dns/rdata_test.c -- records as they came, good, odd and broken. */
#include "dns/rdata.h"

#include "dns/room_test.h"

#include <stdlib.h>

#define LEN(a) (sizeof(a) / sizeof *(a))
#define L63    "abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz"

struct mx_row {
	struct slice data;
	enum dns_rdata is;
	uint16_t preference;
	const char *host;
};

static const struct mx_row mx_rows[] = {
	{ S("\0\012\2mx\7example\0"), RDATA_OK, 10, "mx.example" },
	{ S("\377\377\2MX\7ExAmple\0"), RDATA_OK, 65535, "mx.example" },
	{ S("\0\0\0"), RDATA_OK, 0, "" }, /* the root: RFC 7505 */
	{ S("\0\1\4_dmx\4test\0"), RDATA_OK, 1, "_dmx.test" },
	{ S("\0\1\1a\0"), RDATA_OK, 1, "a" },
	{ S("\1\0\77" L63 "\4test\0"), RDATA_OK, 256, L63 ".test" },
	/* Well-formed, but no host's. */
	{ S("\0\1\003"
	    "192\1"
	    "0\1"
	    "2\1"
	    "1\0"),
	  RDATA_ODD, 1, NULL },
	{ S("\0\1\3a b\4test\0"), RDATA_ODD, 1, NULL },
	{ S("\0\1\3a\0b\4test\0"), RDATA_ODD, 1, NULL },
	{ S("\0\1\3a.b\4test\0"), RDATA_ODD, 1, NULL },
	{ S("\0\1\3a\rb\4test\0"), RDATA_ODD, 1, NULL },
	{ S("\0\1\3a\377b\4test\0"), RDATA_ODD, 1, NULL },
	{ S("\0\1\3[x]\0"), RDATA_ODD, 1, NULL },
	/* Cut, too long, pointing somewhere. */
	{ S(""), RDATA_BAD, 0, NULL },
	{ S("\0"), RDATA_BAD, 0, NULL },
	{ S("\0\1"), RDATA_BAD, 1, NULL },
	{ S("\0\1\2mx"), RDATA_BAD, 1, NULL },
	{ S("\0\1\2m"), RDATA_BAD, 1, NULL },
	{ S("\0\1\2mx\7example"), RDATA_BAD, 1, NULL },
	{ S("\0\1\2mx\0x"), RDATA_BAD, 1, NULL },
	{ S("\0\1\300\014"), RDATA_BAD, 1, NULL },
	{ S("\0\1\100" L63 "x\0"), RDATA_BAD, 1, NULL },
	{ S("\0\1\77" L63 "\77" L63 "\77" L63 "\77" L63 "\0"), RDATA_BAD, 1, NULL },
};

/* Each row in storage of its own length, so that a byte read beyond it is seen. */
static void test_mx(void **state)
{
	for (size_t i = 0; i < LEN(mx_rows); i++) {
		const struct mx_row *row = &mx_rows[i];
		char *copy = malloc(row->data.n ? row->data.n : 1);
		struct dns_mx mx;

		memcpy(copy, row->data.p, row->data.n);
		if (dns_mx_read(slice(copy, row->data.n), &mx) != row->is)
			fail_msg("row %zu", i);
		if (row->is == RDATA_OK) {
			assert_int_equal(mx.preference, row->preference);
			assert_string_equal(mx.host, row->host);
		}
		free(copy);
	}
}

/* Every shorter form of a good record is a bad one. */
static void test_mx_cut_anywhere(void **state)
{
	struct slice whole = S("\0\012\3mx1\7example\4test\0");
	struct dns_mx mx;

	for (size_t n = 0; n < whole.n; n++)
		assert_int_equal(dns_mx_read(slice(whole.p, n), &mx), RDATA_BAD);
	assert_int_equal(dns_mx_read(whole, &mx), RDATA_OK);
}

static void test_addresses(void **state)
{
	static const unsigned char mapped[16] = { [10] = 0xff, 0xff, 192, 0, 2, 1 };
	static const char six[] = "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\2";
	unsigned char got[16];

	assert_true(dns_a_read(S("\300\0\2\1"), got));
	assert_memory_equal(got, mapped, 16);
	assert_true(dns_aaaa_read(slice(six, 16), got));
	assert_memory_equal(got, six, 16);
	for (size_t n = 0; n < 18; n++) {
		assert_int_equal(dns_a_read(slice(six, n), got), n == 4);
		assert_int_equal(dns_aaaa_read(slice(six, n), got), n == 16);
	}
}

static void test_host_names(void **state)
{
	static const struct {
		struct slice name;
		bool ok;
	} rows[] = {
		{ S("example.com"), true },
		{ S("a"), true },
		{ S("a_b.example"), true },
		{ S("xn--bcher-kva.example"), true },
		{ S("1.example"), true },
		{ S(L63 "." L63 "." L63 "."
			"abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwx"),
		  true },
		{ S(L63 "." L63 "." L63 "." L63), false },
		{ S(L63 "x.example"), false },
		{ S(""), false },
		{ S("."), false },
		{ S("example.com."), false },
		{ S(".example.com"), false },
		{ S("a..b"), false },
		{ S("192.0.2.1"), false },
		{ S("[192.0.2.1]"), false },
		{ S("a b"), false },
		{ S("a\\032b"), false },
		{ S("b\303\274cher.example"), false },
		{ S("a\0b"), false },
	};

	for (size_t i = 0; i < LEN(rows); i++)
		if (dns_host_name(rows[i].name) != rows[i].ok)
			fail_msg("row %zu", i);
}

#define HEAD(answers, authority) "\0\0\x81\x80\0\1\0" answers "\0" authority "\0\0"
#define ASKED                    "\1a\4test\0\0\x0f\0\1"
#define CNAME                    "\xc0\x0c\0\5\0\1\0\0\0\1\0\4\1b\xc0\x0e"
#define NS                       "\xc0\x0e\0\2\0\1\0\0\0\1\0\5\2ns\xc0\x0e"
#define SOA                                                                                        \
	"\4test\0\0\6\0\1\0\0\0\1\0\x16\0\0"                                                       \
	"01234567890123456789"
#define NSEC "\xc0\x0c\0\x2f\0\1\0\0\0\1\0\1\0"

static void test_referral(void **state)
{
	static const struct {
		struct slice message;
		bool is;
	} rows[] = {
		{ S(HEAD("\0", "\0") ASKED), false },
		{ S(HEAD("\0", "\1") ASKED SOA), false },
		{ S(HEAD("\0", "\1") ASKED NS), true },
		{ S(HEAD("\0", "\1") ASKED NSEC), false },
		{ S(HEAD("\0", "\2") ASKED NS SOA), false },
		{ S(HEAD("\0", "\2") ASKED SOA NS), false },
		{ S(HEAD("\0", "\2") ASKED NSEC NS), true },
		{ S(HEAD("\1", "\0") ASKED CNAME), false },
		{ S(HEAD("\1", "\1") ASKED CNAME NS), true },
		{ S(HEAD("\1", "\1") ASKED CNAME SOA), false },
		/* Cannot be read to the end. */
		{ S(""), true },
		{ S("\0\0\x81\x80\0\1\0\0\0\0\0"), true },
		{ S(HEAD("\0", "\2") ASKED NSEC), true },
		{ S(HEAD("\1", "\0") ASKED), true },
		{ S(HEAD("\0", "\0") "\1a\4test\0\0\x0f\0"), true },
		{ S(HEAD("\0", "\0") "\x3f"
				     "a"),
		  true },
		{ S(HEAD("\0", "\0") "\xc0"), true },
		{ S(HEAD("\0", "\1") ASKED "\xc0\x0c\0\6\0\1\0\0\0\1\0\2\0"), true },
		{ S(HEAD("\0", "\1") ASKED "\xc0\x0c\0\6\0\1\0\0\0\1\0"), true },
		{ S(HEAD("\0", "\1") ASKED "\xc0\x0c\0"), true },
	};

	for (size_t i = 0; i < LEN(rows); i++)
		if (dns_refers(rows[i].message) != rows[i].is)
			fail_msg("row %zu", i);
}

int rdata_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_referral),        cmocka_unit_test(test_mx),
		cmocka_unit_test(test_mx_cut_anywhere), cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_host_names),
	};

	return cmocka_run_group_tests_name("rdata", tests, NULL, NULL);
}
