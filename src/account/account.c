/* account/account.c -- see account.h. */
#include "account/account.h"

#include "account/account_impl.h"
#include "keyring/keyring.h"

#define ID_BITS 53 /* what a JSON number holds exactly */

const char *account_state_name(enum account_state s)
{
	return account_rule(s)->state;
}

enum queued account_queued(const struct account *a)
{
	return a->queued != QUEUED_AS_STATE ? a->queued : account_rule(a->state)->queued;
}

static bool name_ok(struct slice s)
{
	char before = '.';

	if (!s.n || s.n > ACCOUNT_NAME_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		bool mark = s.p[i] == '.' || s.p[i] == '-';

		if (!mark && !(s.p[i] >= 'a' && s.p[i] <= 'z') && !ascii_digit(s.p[i]))
			return false;
		if (mark && (before == '.' || before == '-'))
			return false;
		before = s.p[i];
	}
	return before != '.' && before != '-';
}

static bool from_row(const struct val *row, struct account *ret, struct err *e)
{
	struct account a = { .id = (uint64_t)row[ACCOUNT_ID].i,
			     .created_ms = (uint64_t)row[ACCOUNT_CREATED].i };
	struct slice name = row[ACCOUNT_NAME].s, state = row[ACCOUNT_STATE].s;

	if (slice_eq(state, S("active")))
		a.state = ACCOUNT_ACTIVE;
	else if (slice_eq(state, S("held")) || slice_eq(state, S("suspended"))) /* its old name */
		a.state = ACCOUNT_HELD;
	else if (slice_eq(state, S("closed")))
		a.state = ACCOUNT_CLOSED;
	else
		return err_set(e, ERR_DAMAGED, "account %llu: its state is unknown",
			       (unsigned long long)a.id);
	if (row[ACCOUNT_STATE_SINCE].type == VAL_INT)
		a.state_ms = (uint64_t)row[ACCOUNT_STATE_SINCE].i;
	if (row[ACCOUNT_QUEUED].type == VAL_TEXT &&
	    !queued_parse(row[ACCOUNT_QUEUED].s, &a.queued, e))
		return false;
	if (name.n >= sizeof(a.name))
		return err_set(e, ERR_DAMAGED, "account %llu: its name is too long",
			       (unsigned long long)a.id);
	memcpy(a.name, name.p, name.n);
	*ret = a;
	return true;
}

static void to_row(const struct account *a, struct val row[ACCOUNT_COLUMNS])
{
	row[ACCOUNT_ID] = val_int((int64_t)a->id);
	row[ACCOUNT_NAME] = val_text(slice_str(a->name));
	row[ACCOUNT_STATE] = val_text(slice_str(account_state_name(a->state)));
	row[ACCOUNT_CREATED] = val_int((int64_t)a->created_ms);
	row[ACCOUNT_STATE_SINCE] = val_int((int64_t)a->state_ms);
	row[ACCOUNT_QUEUED].type = VAL_NULL;
	if (a->queued != QUEUED_AS_STATE)
		row[ACCOUNT_QUEUED] = val_text(slice_str(queued_name(a->queued)));
}

static uint64_t new_id(void)
{
	uint64_t id;

	do {
		keyring_random(&id, sizeof(id));
		id >>= 64 - ID_BITS;
	} while (!id);
	return id;
}

bool account_add(struct store_handle *h, const struct actor *by, struct slice name,
		 struct account *ret, struct err *e)
{
	struct account a = { .id = new_id(),
			     .state = ACCOUNT_ACTIVE,
			     .created_ms = by->now_ms,
			     .state_ms = by->now_ms };
	struct val row[ACCOUNT_COLUMNS], index[NAME_COLUMNS];
	bool ok;

	if (!name_ok(name))
		return err_set(e, ERR_INPUT,
			       "an account name has 1 to %d of a-z 0-9, with single . or - inside",
			       ACCOUNT_NAME_MAX);
	memcpy(a.name, name.p, name.n);
	to_row(&a, row);
	index[NAME_NAME] = val_text(name);
	index[NAME_ACCOUNT] = val_int((int64_t)a.id);
	if (!store_begin(h, STORE_WRITE, e))
		return false;
	ok = store_insert(h, &account_name_table, index, e);
	if (!ok && e && e->kind == ERR_CONFLICT)
		err_set(e, ERR_CONFLICT, "account %s exists already", a.name);
	ok = ok && store_insert(h, &account_table, row, e) &&
	     trail_add(h, a.id, by, S("account.add"), name, e);
	if (!store_finish(h, ok, e))
		return false;
	*ret = a;
	return true;
}

bool account_get(struct store_handle *h, uint64_t id, struct account *ret, struct err *e)
{
	struct val key = val_int((int64_t)id), row[ACCOUNT_COLUMNS];
	struct arena a;
	bool ok;

	arena_init(&a, ROW_ARENA);
	ok = store_get(h, &account_table, &key, &a, row, e) && from_row(row, ret, e);
	if (!ok && e && e->kind == ERR_ABSENT)
		err_set(e, ERR_ABSENT, "no account %llu", (unsigned long long)id);
	arena_done(&a);
	return ok;
}

bool account_find(struct store_handle *h, struct slice name, struct account *ret, struct err *e)
{
	struct val key = val_text(name), row[NAME_COLUMNS];
	struct arena a;
	bool ok;

	if (!name_ok(name)) /* and never asked for, whatever it holds */
		return err_set(e, ERR_ABSENT, "no account of that name");
	arena_init(&a, ROW_ARENA);
	ok = store_get(h, &account_name_table, &key, &a, row, e);
	if (!ok && e && e->kind == ERR_ABSENT)
		err_set(e, ERR_ABSENT, "no account %.*s", SLICE_ARG(name));
	ok = ok && account_get(h, (uint64_t)row[NAME_ACCOUNT].i, ret, e);
	arena_done(&a);
	return ok;
}

static struct slice state_act(enum account_state s)
{
	switch (s) {
	case ACCOUNT_ACTIVE: return S("account.release");
	case ACCOUNT_HELD: return S("account.hold");
	case ACCOUNT_CLOSED: return S("account.close");
	}
	return S("");
}

static bool write_back(struct store_handle *h, const struct actor *by, const struct account *a,
		       struct slice act, struct err *e)
{
	struct val row[ACCOUNT_COLUMNS];

	to_row(a, row);
	return store_update(h, &account_table, row, e) &&
	       trail_add(h, a->id, by, act, slice_str(a->name), e);
}

bool account_set_state(struct store_handle *h, const struct actor *by, uint64_t id,
		       enum account_state state, enum queued queued, struct err *e)
{
	struct account a;
	bool ok;

	if (!store_begin(h, STORE_WRITE, e))
		return false;
	ok = account_get(h, id, &a, e);
	if (ok && (a.state != state || a.queued != queued)) {
		if (a.state != state)
			a.state_ms = by->now_ms;
		a.state = state;
		a.queued = queued;
		ok = write_back(h, by, &a, state_act(state), e);
	}
	return store_finish(h, ok, e);
}

bool account_set_queued(struct store_handle *h, const struct actor *by, uint64_t id,
			enum queued queued, struct err *e)
{
	struct account a;
	bool ok;

	if (!store_begin(h, STORE_WRITE, e))
		return false;
	ok = account_get(h, id, &a, e);
	if (ok && a.queued != queued) {
		a.queued = queued;
		ok = write_back(h, by, &a, S("account.queued"), e);
	}
	return store_finish(h, ok, e);
}

bool account_list(struct store_handle *h, struct slice after, size_t limit, struct arena *a,
		  struct account **ret, size_t *ret_n, struct err *e)
{
	struct val from = val_text(after);
	struct account *list;
	struct rows rows;
	bool ok;

	/* In one read transaction, so that each name's account is there. */
	if (!store_begin(h, STORE_READ, e))
		return false;
	ok =
	    store_scan(h, &account_name_table, NULL, 0, after.n ? &from : NULL, limit, a, &rows, e);
	list = ok ? ARENA_ARRAY(a, struct account, rows.n + 1) : NULL;
	if (ok && !list)
		ok = err_set(e, ERR_LATER, "accounts: no memory");
	for (size_t i = 0; ok && i < rows.n; i++)
		ok = account_get(h, (uint64_t)rows.at[i * rows.columns + NAME_ACCOUNT].i, &list[i],
				 e);
	if (!store_finish(h, ok, e))
		return false;
	*ret = list;
	*ret_n = rows.n;
	return true;
}
