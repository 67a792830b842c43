/* auth/ban.c -- see ban.h; and the schema of both tables. */
#include "auth/ban.h"

#include "auth/authlog.h"
#include "auth/store_impl.h"

enum { BAN_PREFIX, BAN_BEGAN, BAN_UNTIL, BAN_BY_HAND, BAN_REASON, BAN_BY, BAN_COLUMNS };

// clang-format off
static const struct column columns[BAN_COLUMNS] = {
	[BAN_PREFIX]  = { "prefix",   VAL_TEXT, false },
	[BAN_BEGAN]   = { "began_ms", VAL_INT,  false },
	[BAN_UNTIL]   = { "until_ms", VAL_INT,  false },
	[BAN_BY_HAND] = { "by_hand",  VAL_INT,  false },
	[BAN_REASON]  = { "reason",   VAL_TEXT, false },
	[BAN_BY]      = { "by",       VAL_TEXT, false },
};
// clang-format on

/* Of the installation: found by the prefix alone. */
const struct table ban_table = { "ban", columns, BAN_COLUMNS, 1 };

static const struct change version_1[] = {
	{ CHANGE_CREATE_TABLE, &authlog_table, { 0 } },
	{ CHANGE_CREATE_TABLE, &ban_table, { 0 } },
};
static const struct schema_version versions[] = { { version_1, 2 } };
const struct schema authlog_schema = { "authlog", versions, 1 };

bool ban_save(struct store_handle *h, const struct ban *b, struct err *e)
{
	struct err why = { 0 };
	struct val row[BAN_COLUMNS];
	struct buf text;
	bool ok;

	buf_init(&text, 64);
	bans_add_net(&text, &b->prefix);
	row[BAN_PREFIX] = val_text(buf_slice(&text));
	row[BAN_BEGAN] = val_int((int64_t)b->began_ms);
	row[BAN_UNTIL] = val_int((int64_t)b->until_ms);
	row[BAN_BY_HAND] = val_int(b->by_hand);
	row[BAN_REASON] = val_text(slice_str(b->reason));
	row[BAN_BY] = val_text(slice_str(b->by));
	ok = !text.failed ? store_begin(h, STORE_WRITE, e)
			  : err_set(e, ERR_LATER, "ban: out of memory");
	if (ok) {
		ok = store_update(h, &ban_table, row, &why);
		if (!ok && why.kind == ERR_ABSENT)
			ok = store_insert(h, &ban_table, row, &why);
		if (!ok && e)
			*e = why;
		ok = store_finish(h, ok, e);
	}
	buf_done(&text);
	return ok;
}

bool ban_forget(struct store_handle *h, const struct net *p, struct err *e)
{
	struct err why = { 0 };
	struct val key;
	struct buf text;
	bool ok;

	buf_init(&text, 64);
	bans_add_net(&text, p);
	key = val_text(buf_slice(&text));
	ok = store_begin(h, STORE_WRITE, e);
	if (ok) {
		ok = store_remove(h, &ban_table, &key, &why) || why.kind == ERR_ABSENT;
		if (!ok && e)
			*e = why;
		ok = store_finish(h, ok, e);
	}
	buf_done(&text);
	return ok;
}

/* A row that cannot be read is no ban. */
static bool read_row(const struct val *v, struct ban *ret)
{
	*ret = (struct ban){ .began_ms = (uint64_t)v[BAN_BEGAN].i,
			     .until_ms = (uint64_t)v[BAN_UNTIL].i,
			     .by_hand = v[BAN_BY_HAND].i != 0 };
	copy(ret->reason, sizeof ret->reason, v[BAN_REASON].s);
	copy(ret->by, sizeof ret->by, v[BAN_BY].s);
	return net_parse(v[BAN_PREFIX].s, &ret->prefix);
}

#define STEP 256

/* A page of rows: those that hold into the set, the others out. *at: the last key seen. */
static bool load_page(struct store_handle *h, uint64_t now_ms, struct bans *set, char at[64],
		      size_t *ret_n, struct err *e)
{
	struct val after = val_text(slice_str(at));
	struct arena a;
	struct rows rows;
	bool ok;

	arena_init(&a, 4u << 20);
	ok = store_scan(h, &ban_table, NULL, 0, at[0] ? &after : NULL, STEP, &a, &rows, e);
	*ret_n = ok ? rows.n : 0;
	for (size_t i = 0; ok && i < rows.n; i++) {
		const struct val *v = rows.at + i * rows.columns;
		struct ban b;

		copy(at, 64, v[BAN_PREFIX].s);
		if (read_row(v, &b) && b.until_ms > now_ms)
			bans_add(set, &b);
		else
			ok = store_remove(h, &ban_table, v, e);
	}
	arena_done(&a);
	return ok;
}

bool ban_load(struct store_handle *h, uint64_t now_ms, struct bans *set, struct err *e)
{
	char at[64] = "";
	size_t n = STEP;
	bool ok = store_begin(h, STORE_WRITE, e);

	if (!ok)
		return false;
	while (ok && n == STEP)
		ok = load_page(h, now_ms, set, at, &n, e);
	return store_finish(h, ok, e);
}
