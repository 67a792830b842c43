/* account/reseal.c -- what is sealed in the rows of keys is sealed with the newest master key. */
#include "account/account_impl.h"
#include "account/key.h"
#include "account/key_impl.h"
#include "keyring/keyring.h"

#define PAGE       256
#define PAGE_ARENA (4u << 20)

static bool reseal_row(struct store_handle *h, const struct keyring *k, struct val *row,
		       size_t *ret_n, struct err *e)
{
	char purpose[KEY_CRAM_PURPOSE];
	struct buf plain, sealed;
	bool ok;

	if (!row[KEY_CRAM_MD5].s.n || keyring_key_of(row[KEY_CRAM_MD5].s) == keyring_number(k))
		return true;
	key_cram_purpose(row[KEY_ID].s, purpose);
	buf_init(&plain, KEYRING_CRAM_MD5);
	buf_init(&sealed, KEYRING_CRAM_MD5);
	ok = keyring_unseal(k, slice(purpose, sizeof purpose), row[KEY_CRAM_MD5].s, &plain, e) &&
	     keyring_seal(k, slice(purpose, sizeof purpose), secret(buf_slice(&plain)), &sealed, e);
	if (ok) {
		row[KEY_CRAM_MD5] = val_blob(buf_slice(&sealed));
		ok = store_update(h, &key_table, row, e);
		*ret_n += ok;
	} else {
		err_in(e, "key");
	}
	buf_wipe(&plain);
	buf_done(&sealed);
	return ok;
}

bool key_reseal(struct store_handle *h, const struct keyring *k, size_t *ret_n, struct err *e)
{
	struct val after[2];
	char id[KEY_ID_LEN];
	size_t n = PAGE;
	bool first = true, ok = store_begin(h, STORE_WRITE, e);

	*ret_n = 0;
	if (!ok)
		return false;
	while (ok && n == PAGE) {
		struct arena a;
		struct rows rows = { 0 };

		arena_init(&a, PAGE_ARENA);
		ok = store_scan(h, &key_table, NULL, 0, first ? NULL : after, PAGE, &a, &rows, e);
		n = ok ? rows.n : 0;
		for (size_t i = 0; ok && i < n; i++) {
			struct val *row = rows.at + i * rows.columns;

			ok = reseal_row(h, k, row, ret_n, e);
			after[0] = row[KEY_ACCOUNT];
			memcpy(id, row[KEY_ID].s.p,
			       row[KEY_ID].s.n < sizeof id ? row[KEY_ID].s.n : sizeof id);
			after[1] = val_text(slice(id, sizeof id));
		}
		first = false;
		arena_done(&a);
	}
	return store_finish(h, ok, e);
}
