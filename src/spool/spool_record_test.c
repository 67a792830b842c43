/* spool/spool_record_test.c -- what stands on disk, byte by byte: a spool written once must be read
 * by everyone who comes later. */
#include "base/crc32c.h"
#include "spool/spool_rig_test.h"

static void crc_known(void **state)
{
	/* RFC 3720 B.4 */
	static const unsigned char read_10[48] = { 0x01, 0xc0, 0,    0, 0, 0, 0,    0,    0, 0,
						   0,    0,    0,    0, 0, 0, 0x14, 0,    0, 0,
						   0,    0,    0x04, 0, 0, 0, 0,    0x14, 0, 0,
						   0,    0x18, 0x28, 0, 0, 0, 0,    0,    0, 0,
						   0x02, 0,    0,    0, 0, 0, 0,    0 };
	unsigned char b[32];
	uint32_t (*const ways[])(uint32_t, struct slice) = { crc32c, crc32c_portable };

	(void)state;
	for (size_t w = 0; w < 2; w++) {
		memset(b, 0, sizeof b);
		assert_int_equal(ways[w](0, slice(b, sizeof b)), 0x8a9136aa);
		memset(b, 0xff, sizeof b);
		assert_int_equal(ways[w](0, slice(b, sizeof b)), 0x62a8ab43);
		for (size_t i = 0; i < sizeof b; i++)
			b[i] = (unsigned char)i;
		assert_int_equal(ways[w](0, slice(b, sizeof b)), 0x46dd794e);
		for (size_t i = 0; i < sizeof b; i++)
			b[i] = (unsigned char)(31 - i);
		assert_int_equal(ways[w](0, slice(b, sizeof b)), 0x113fdb5c);
		assert_int_equal(ways[w](0, slice(read_10, sizeof read_10)), 0xd9963a56);
		/* In two parts, at every place. */
		for (size_t cut = 0; cut <= sizeof b; cut++)
			assert_int_equal(
			    ways[w](ways[w](0, slice(b, cut)), slice(b + cut, sizeof b - cut)),
			    0x113fdb5c);
	}
}

/* What spools hold on disk since the first of them, and what came later in bits that were 0. */
static void states_as_bytes(void **state)
{
	static const struct {
		unsigned char byte;
		bool sound;
		enum spool_rcpt_state state;
		bool told;
	} cases[] = {
		{ 0, true, RCPT_PENDING, false },    { 1, true, RCPT_DELIVERED, false },
		{ 2, true, RCPT_FAILED, false },     { 3, true, RCPT_CANCELLED, false },
		{ 4, true, RCPT_BOUNCED, false },    { 5, false, RCPT_PENDING, false },
		{ 0x80, true, RCPT_PENDING, true },  { 0x84, true, RCPT_BOUNCED, true },
		{ 0x85, false, RCPT_PENDING, true }, { 0x40, false, RCPT_PENDING, false },
	};
	enum { STATE_AT = 16 + 4 + 4 + 8 + 4 + 4 + 4 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct spool_verdict v = { 0, cases[i].state, S("550 no"), cases[i].told };
		struct record_state s = { .id = sample_id(1), .verdicts = &v, .n_verdicts = 1 },
				    got;
		struct arena a;
		struct buf b;

		arena_init(&a, 4096);
		buf_init(&b, 4096);
		record_state_write(&b, &s);
		if (cases[i].sound)
			assert_int_equal((unsigned char)b.p[STATE_AT], cases[i].byte);
		b.p[STATE_AT] = (char)cases[i].byte;
		assert_int_equal(record_state_read(buf_slice(&b), &a, &got), cases[i].sound);
		if (cases[i].sound) {
			assert_int_equal(got.verdicts[0].state, cases[i].state);
			assert_int_equal(got.verdicts[0].told_delay, cases[i].told);
		}
		buf_done(&b);
		arena_done(&a);
	}
}

int spool_record_cases(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(crc_known),
					    cmocka_unit_test(states_as_bytes) };

	return cmocka_run_group_tests_name("spool record", tests, NULL, NULL);
}
