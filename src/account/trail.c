/* account/trail.c -- see trail.h. */
#include "account/trail.h"

#include "account/account_impl.h"
#include "keyring/keyring.h"

/* At most TRAIL_TEXT_MAX bytes, never half a character. */
static struct slice cut(struct slice s)
{
	if (s.n <= TRAIL_TEXT_MAX)
		return s;
	s.n = TRAIL_TEXT_MAX;
	while (s.n && ((unsigned char)s.p[s.n] & 0xc0) == 0x80)
		s.n--;
	return s;
}

bool trail_add(struct store_handle *h, uint64_t account, const struct actor *by, struct slice act,
	       struct slice object, struct err *e)
{
	struct val row[TRAIL_COLUMNS];
	uint32_t random;

	/* Order within a millisecond comes from the store's generation, which each act of this
	 * process moves; the random half keeps acts of two processes apart. */
	keyring_random(&random, sizeof(random));
	row[TRAIL_ACCOUNT] = val_int((int64_t)account);
	row[TRAIL_AT] = val_int((int64_t)by->now_ms);
	row[TRAIL_N] =
	    val_int((int64_t)((store_generation(store_of(h)) << 31 & INT64_MAX) | random >> 1));
	row[TRAIL_WHO] = val_text(cut(by->who));
	row[TRAIL_ACT] = val_text(cut(act));
	row[TRAIL_OBJECT] = val_text(cut(object));
	return store_insert(h, &trail_table, row, e);
}

bool trail_list(struct store_handle *h, uint64_t account, const struct trail_row *after,
		size_t limit, struct arena *a, struct trail_row **ret, size_t *ret_n, struct err *e)
{
	struct val key[3] = { val_int((int64_t)account) };
	struct trail_row *list;
	struct rows rows;

	if (after) {
		key[TRAIL_AT] = val_int((int64_t)after->at_ms);
		key[TRAIL_N] = val_int((int64_t)after->n);
	}
	if (!store_scan(h, &trail_table, key, 1, after ? key : NULL, limit, a, &rows, e))
		return false;
	list = ARENA_ARRAY(a, struct trail_row, rows.n + 1);
	if (!list)
		return err_set(e, ERR_LATER, "trail: no memory");
	for (size_t i = 0; i < rows.n; i++) {
		const struct val *v = rows.at + i * rows.columns;

		list[i] = (struct trail_row){ .account = account,
					      .at_ms = (uint64_t)v[TRAIL_AT].i,
					      .n = (uint64_t)v[TRAIL_N].i,
					      .who = v[TRAIL_WHO].s,
					      .act = v[TRAIL_ACT].s,
					      .object = v[TRAIL_OBJECT].s };
	}
	*ret = list;
	*ret_n = rows.n;
	return true;
}
