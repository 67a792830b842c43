/* relay/mx_test.c -- what answers mean, as a table; the order hosts are tried in. */
#include "relay/mx.h"

#include "relay/room_test.h"

#include <stdio.h>

#define OWN S("relay.example.net")
/* "10 a.test 20 b.test": records; "." is the root. */
struct row {
	const char *what;
	enum mx_got mx;
	const char *records;
	size_t odd, bad;
	enum mx_got address;
	enum mx_verdict is;
	int code;
	const char *hosts; /* or how the text begins */
};

/* clang-format off */
static const struct row rows[] = {
	{ "one", MX_GOT_RECORDS, "10 mx.test", 0, 0, MX_GOT_NOT_ASKED, MX_TO_HOSTS, 0, "10 mx.test" },
	{ "sorted", MX_GOT_RECORDS, "30 c.test 10 b.test 10 a.test", 0, 0, MX_GOT_NOT_ASKED, MX_TO_HOSTS, 0, "10 a.test 10 b.test 30 c.test" },
	{ "a name once, at its best", MX_GOT_RECORDS, "20 a.test 10 b.test 5 a.test 7 a.test", 0, 0, MX_GOT_NOT_ASKED, MX_TO_HOSTS, 0, "5 a.test 10 b.test" },
	{ "null MX", MX_GOT_RECORDS, "0 .", 0, 0, MX_GOT_NOT_ASKED, MX_FAILED, 556, "5.1.10 " },
	{ "null MX beside others", MX_GOT_RECORDS, "0 . 10 mx.test", 0, 0, MX_GOT_NOT_ASKED, MX_TO_HOSTS, 0, "10 mx.test" },
	{ "NXDOMAIN", MX_GOT_NO_NAME, "", 0, 0, MX_GOT_NOT_ASKED, MX_FAILED, 550, "5.1.2 " },
	{ "no MX", MX_GOT_NONE, "", 0, 0, MX_GOT_NOT_ASKED, MX_ASK_ADDRESSES, 0, "" },
	{ "no MX, an address", MX_GOT_NONE, "", 0, 0, MX_GOT_RECORDS, MX_TO_HOSTS, 0, "0 dest.test" },
	{ "no MX, no address", MX_GOT_NONE, "", 0, 0, MX_GOT_NONE, MX_FAILED, 550, "5.4.4 " },
	{ "no MX, no name any more", MX_GOT_NONE, "", 0, 0, MX_GOT_NO_NAME, MX_FAILED, 550, "5.4.4 " },
	{ "no MX, the address is not to be had", MX_GOT_NONE, "", 0, 0, MX_GOT_TROUBLE, MX_LATER, 0, "looking up" },
	{ "SERVFAIL", MX_GOT_TROUBLE, "", 0, 0, MX_GOT_NOT_ASKED, MX_LATER, 0, "looking up" },
	{ "ours is the best", MX_GOT_RECORDS, "10 relay.example.net 20 b.test", 0, 0, MX_GOT_NOT_ASKED, MX_FAILED, 550, "5.4.6 " },
	{ "ours cuts itself, its equals and what is worse", MX_GOT_RECORDS, "5 a.test 10 relay.example.net 10 b.test 20 c.test", 0, 0, MX_GOT_NOT_ASKED, MX_TO_HOSTS, 0, "5 a.test" },
	{ "ours twice: the better one cuts", MX_GOT_RECORDS, "5 a.test 30 relay.example.net 10 relay.example.net 20 c.test", 0, 0, MX_GOT_NOT_ASKED, MX_TO_HOSTS, 0, "5 a.test" },
	{ "ours in other letters", MX_GOT_RECORDS, "10 RELAY.example.NET", 0, 0, MX_GOT_NOT_ASKED, MX_FAILED, 550, "5.4.6 " },
	{ "an address as a name beside a good one", MX_GOT_RECORDS, "20 b.test", 1, 0, MX_GOT_NOT_ASKED, MX_TO_HOSTS, 0, "20 b.test" },
	{ "only addresses as names", MX_GOT_RECORDS, "", 2, 0, MX_GOT_NOT_ASKED, MX_FAILED, 550, "5.4.4 " },
	{ "null MX and an address", MX_GOT_RECORDS, "0 .", 1, 0, MX_GOT_NOT_ASKED, MX_FAILED, 550, "5.4.4 " },
	{ "only what cannot be read", MX_GOT_RECORDS, "", 0, 1, MX_GOT_NOT_ASKED, MX_LATER, 0, "the MX records of" },
	{ "what cannot be read is no null MX", MX_GOT_RECORDS, "0 .", 0, 1, MX_GOT_NOT_ASKED, MX_LATER, 0, "the MX records of" },
	{ "what cannot be read beside a good one", MX_GOT_RECORDS, "20 b.test", 0, 3, MX_GOT_NOT_ASKED, MX_TO_HOSTS, 0, "20 b.test" },
	{ "preference 65535", MX_GOT_RECORDS, "65535 a.test 0 b.test", 0, 0, MX_GOT_NOT_ASKED, MX_TO_HOSTS, 0, "0 b.test 65535 a.test" },
};
/* clang-format on */

static size_t read_records(struct slice text, struct mx_host *ret)
{
	size_t n = 0;

	while (text.n) {
		struct slice number, name;
		uint64_t preference = 0;

		slice_cut(text, ' ', &number, &text);
		slice_cut(text, ' ', &name, &text);
		assert_true(slice_u64(number, &preference));
		ret[n++] =
		    (struct mx_host){ slice_eq(name, S(".")) ? S("") : name, (uint16_t)preference };
	}
	return n;
}

static void write_hosts(const struct mx_decision *d, char *text, size_t size)
{
	size_t n = 0;

	text[0] = '\0';
	for (size_t i = 0; i < d->n; i++)
		n += (size_t)snprintf(text + n, size - n, "%s%u %.*s", i ? " " : "",
				      d->hosts[i].preference, SLICE_ARG(d->hosts[i].name));
}

static void answers(void **state)
{
	for (size_t i = 0; i < LEN(rows); i++) {
		const struct row *row = &rows[i];
		struct mx_host records[8];
		struct mx_facts f = { .mx = row->mx,
				      .records = records,
				      .odd = row->odd,
				      .bad = row->bad,
				      .address = row->address,
				      .why = S("SERVFAIL") };
		struct mx_decision d;
		char text[400];

		f.n = read_records(slice_str(row->records), records);
		mx_decide(&f, S("dest.test"), OWN, &d);
		if (d.verdict != row->is || d.code != row->code)
			fail_msg("%s: %d %d %s", row->what, d.verdict, d.code, d.text);
		write_hosts(&d, text, sizeof text);
		if (row->is == MX_TO_HOSTS && strcmp(text, row->hosts))
			fail_msg("%s: %s", row->what, text);
		if (row->is != MX_TO_HOSTS &&
		    !slice_starts(slice_str(d.text), slice_str(row->hosts)))
			fail_msg("%s: %s", row->what, d.text);
	}
}

/* Our own name is our own, too, when it is the destination. */
static void our_own_address(void **state)
{
	struct mx_facts f = { .mx = MX_GOT_NONE, .address = MX_GOT_RECORDS };
	struct mx_decision d;

	mx_decide(&f, OWN, OWN, &d);
	assert_int_equal(d.verdict, MX_FAILED);
	assert_true(slice_starts(slice_str(d.text), S("5.4.6 ")));
}

/* Of a thousand the best ones, whatever their order. */
static void many(void **state)
{
	static struct mx_host records[1000];
	static char names[1000][12];
	struct mx_facts f = { .records = records, .n = 1000 };
	struct mx_decision d;

	for (unsigned i = 0; i < 1000; i++) {
		unsigned k = i * 7 % 1000; /* every number once */

		snprintf(names[i], sizeof names[i], "h%03u.test", k);
		records[i] = (struct mx_host){ slice_str(names[i]), (uint16_t)(k / 2) };
	}
	mx_decide(&f, S("dest.test"), OWN, &d);
	assert_int_equal(d.verdict, MX_TO_HOSTS);
	assert_int_equal(d.n, MX_HOSTS);
	for (unsigned i = 0; i < MX_HOSTS; i++) {
		char name[16];

		snprintf(name, sizeof name, "h%03u.test", i);
		assert_slice(d.hosts[i].name, slice_str(name));
		assert_int_equal(d.hosts[i].preference, i / 2);
	}
}

/* Long names and long reasons are cut, not written beyond. */
static void long_texts(void **state)
{
	static char name[255], why[4000];
	struct mx_facts f = { .mx = MX_GOT_TROUBLE, .why = { why, sizeof why } };
	struct mx_decision d;

	memset(name, 'n', sizeof name);
	memset(why, 'w', sizeof why);
	mx_decide(&f, slice(name, sizeof name), OWN, &d);
	assert_in_range(strlen(d.text), 100, MX_TEXT - 1);
	f.mx = MX_GOT_NO_NAME;
	mx_decide(&f, slice(name, sizeof name), OWN, &d);
	assert_int_equal(strlen(d.text), MX_TEXT - 1);
}

static void shuffled_inside_a_preference(void **state)
{
	static const struct mx_host hosts[] = {
		{ S("a"), 1 }, { S("b"), 5 }, { S("c"), 5 }, { S("d"), 5 }, { S("e"), 9 }
	};
	unsigned at[5][5] = { 0 };
	uint8_t order[MX_HOSTS], again[MX_HOSTS];

	for (uint64_t r = 0; r < 3000; r++) {
		unsigned seen = 0;

		mx_shuffle(hosts, 5, r << 40, order);
		mx_shuffle(hosts, 5, r << 40, again);
		assert_memory_equal(order, again, 5);
		for (size_t i = 0; i < 5; i++) {
			seen |= 1u << order[i];
			at[order[i]][i]++;
		}
		assert_int_equal(seen, 31);
	}
	assert_int_equal(at[0][0], 3000);
	assert_int_equal(at[4][4], 3000);
	for (size_t h = 1; h <= 3; h++)
		for (size_t i = 1; i <= 3; i++)
			assert_in_range(at[h][i], 850, 1150);
}

int mx_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers),
		cmocka_unit_test(our_own_address),
		cmocka_unit_test(many),
		cmocka_unit_test(long_texts),
		cmocka_unit_test(shuffled_inside_a_preference),
	};

	return cmocka_run_group_tests_name("relay mx", tests, NULL, NULL);
}
