/* spool/spool_test.c -- every group of this room, and the rig of the contract's. */
#include "spool/spool_contract_test.h"

struct rig rig;

static int begin_with(const struct spool_backend *b, enum bounce bounce)
{
	rig_begin(&rig, b, bounce, 64 << 10);
	return 0;
}

int contract_memory(void **state)
{
	(void)state;
	return begin_with(&spool_memory, STAY);
}

int contract_segments(void **state)
{
	(void)state;
	return begin_with(&spool_segments, STAY);
}

int contract_small(void **state)
{
	(void)state;
	rig_begin(&rig, &spool_segments, STAY, 4 << 10);
	return 0;
}

int contract_reopened(void **state)
{
	(void)state;
	return begin_with(&spool_segments, REOPEN);
}

int contract_killed(void **state)
{
	(void)state;
	return begin_with(&spool_segments, KILL);
}

int contract_end(void **state)
{
	(void)state;
	rig_end(&rig);
	return 0;
}

void put_from(unsigned n, uint64_t account, const char *key, uint64_t due_ms)
{
	struct sample m;

	sample_make(&m, n, 1, 1, 1, 10);
	m.envelope.account = account;
	m.envelope.key_id = slice_str(key);
	assert_int_equal(rig_put(&rig, &m, due_ms), SPOOL_OK);
	sample_free(&m);
}

size_t due_at(uint64_t now_ms)
{
	struct spool_dest d[16];
	struct spool_ticket t[64];
	uint64_t wait;
	bool more;
	size_t flows = rig.b->next(rig.s, now_ms, d, 16, &wait), n = 0;

	for (size_t i = 0; i < flows; i++)
		n += rig.b->take(rig.s, d[i].flow, now_ms, t + n, 64 - n, &more);
	for (size_t i = 0; i < n; i++)
		rig.b->release(rig.s, &t[i], now_ms);
	for (size_t i = 0; i < flows; i++)
		rig.b->park(rig.s, d[i].flow, 0);
	return n;
}

int main(void)
{
	return spool_record_cases() + spool_message_cases() + spool_queue_cases() +
	       spool_hold_cases() + spool_model() + spool_cut_cases() + spool_crash_cases() +
	       spool_damage_cases() + spool_salvage_cases() + spool_space_cases() +
	       spool_ahead_cases();
}
