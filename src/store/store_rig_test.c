#include "store/store_rig_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const struct column key_columns[] = {
	{ "account", VAL_INT, false }, { "key", VAL_TEXT, false },   { "n", VAL_INT, false },
	{ "data", VAL_BLOB, true },    { "select", VAL_TEXT, true },
};
const struct table keyed = { "key", key_columns, LEN(key_columns), 3 };
const struct column name_columns[] = {
	{ "name", VAL_TEXT, false },
	{ "id", VAL_INT, false },
};
const struct table names = { "name", name_columns, LEN(name_columns), 1 };
const struct change changes[] = {
	{ CHANGE_CREATE_TABLE, &keyed, { 0 } },
	{ CHANGE_CREATE_TABLE, &names, { 0 } },
};
const struct schema_version versions[] = { { changes, LEN(changes) } };
const struct schema schema = { "suite", versions, LEN(versions) };
const struct schema *const schemas[] = { &schema };

char dir[] = "/tmp/signet-store-XXXXXX";
char path[64];

void wipe_files(void)
{
	static const char *const ends[] = { "", "-wal", "-shm", "-journal" };
	char name[80];

	for (size_t i = 0; i < LEN(ends); i++) {
		snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		unlink(name);
	}
}

struct store *open_at(const struct store_backend *b, uint32_t busy_ms, struct err *e)
{
	const struct store_conf conf = { slice_str(path), busy_ms };

	return store_open(b, &conf, schemas, 1, e);
}

static int begin_test(void **state, const struct store_backend *b)
{
	struct fix *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->backend = b;
	f->s = open_at(b, 50, &f->e);
	f->h = f->s ? store_attach(f->s, &f->e) : NULL;
	arena_init(&f->a, 16 << 20);
	*state = f;
	return f->h ? 0 : -1;
}

int with_sqlite(void **state)
{
	return begin_test(state, &store_sqlite);
}

int with_memory(void **state)
{
	return begin_test(state, &store_memory);
}

int end_test(void **state)
{
	struct fix *f = *state;

	store_detach(f->h);
	store_close(f->s);
	arena_done(&f->a);
	free(f);
	wipe_files();
	return 0;
}

void key_row(struct val *v, int64_t account, struct slice key, int64_t n, struct slice data)
{
	v[0] = val_int(account);
	v[1] = val_text(key);
	v[2] = val_int(n);
	v[3] = val_blob(data);
	v[4] = (struct val){ 0 };
}

bool put(struct fix *f, int64_t account, struct slice key, int64_t n, struct slice data)
{
	struct val v[5];

	key_row(v, account, key, n, data);
	return store_insert(f->h, &keyed, v, &f->e);
}

bool has(struct fix *f, struct store_handle *h, int64_t account, struct slice key, int64_t n)
{
	struct val v[5], got[5];

	key_row(v, account, key, n, S(""));
	if (store_get(h, &keyed, v, &f->a, got, &f->e))
		return true;
	assert_err(&f->e, ERR_ABSENT);
	return false;
}

int main(void)
{
	int failed;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/control.db", dir);
	failed = store_contract_cases() + store_sqlite_cases();
	wipe_files();
	return failed || rmdir(dir);
}
