/* sender/domain.c -- see domain.h. */
#include "sender/domain.h"

#include "account/account.h"
#include "base/utf8.h"
#include "sender/domain_impl.h"
#include "sender/idn_impl.h"

#define LEN(a)    (sizeof(a) / sizeof(*(a)))
#define LABEL_MAX 63 /* RFC 1035 2.3.4 */

// clang-format off
static const struct column domain_columns[DOMAIN_COLUMNS] = {
	[DOMAIN_ACCOUNT]    = { "account",     VAL_INT,  false },
	[DOMAIN_NAME]       = { "name",        VAL_TEXT, false },
	[DOMAIN_SUBDOMAINS] = { "subdomains",  VAL_INT,  false },
	[DOMAIN_ADDED]      = { "added_ms",    VAL_INT,  false },
	[DOMAIN_VERIFIED]   = { "verified_ms", VAL_INT,  false },
};
static const struct column index_columns[DINDEX_COLUMNS] = {
	[DINDEX_NAME]       = { "name",        VAL_TEXT, false },
	[DINDEX_ACCOUNT]    = { "account",     VAL_INT,  false },
	[DINDEX_SUBDOMAINS] = { "subdomains",  VAL_INT,  false },
};

const struct table domain_table       = { "domain",       domain_columns, DOMAIN_COLUMNS, 2 };
const struct table domain_index_table = { "domain_index", index_columns,  DINDEX_COLUMNS, 1 };

static const struct change version_1[] = {
	{ CHANGE_CREATE_TABLE, &domain_table,       { 0 } },
	{ CHANGE_CREATE_TABLE, &domain_index_table, { 0 } },
};
// clang-format on

static const struct schema_version versions[] = { { version_1, LEN(version_1) } };
const struct schema sender_schema = { "sender", versions, LEN(versions) };

/* Letters, digits, hyphens; labels of 1 to 63, no hyphen at their ends; two of them at least. */
static bool ldh(struct slice s)
{
	size_t label = 0, labels = 1;

	if (!s.n || s.n > DOMAIN_NAME_MAX || s.p[s.n - 1] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '.') {
			if (!label || s.p[i - 1] == '-')
				return false;
			label = 0;
			labels++;
			continue;
		}
		if (!(c >= 'a' && c <= 'z') && !ascii_digit(c) && !(c == '-' && label))
			return false;
		if (++label > LABEL_MAX)
			return false;
	}
	return label && labels >= 2;
}

/* An address in disguise: the last label of a name is not all digits (RFC 3696 2). */
static bool numeric_end(struct slice s)
{
	struct slice head, last;

	if (!slice_rcut(s, '.', &head, &last))
		return false;
	for (size_t i = 0; i < last.n; i++)
		if (!ascii_digit(last.p[i]))
			return false;
	return true;
}

bool domain_canonical(struct slice spelled, char ret[DOMAIN_NAME_MAX + 1], size_t *ret_n,
		      struct err *e)
{
	char room[DOMAIN_NAME_MAX]; /* what is no name may not depend on memory */
	struct buf name = { .p = room, .cap = sizeof room, .max = sizeof room };
	bool ok = true;

	if (slice_ends(spelled, S("."))) /* RFC 1034 3.1: the same name, said in full */
		spelled.n--;
	if (ascii_only(spelled))
		buf_add(&name, spelled);
	else
		ok = idn_to_ascii(spelled, &name, e);
	for (size_t i = 0; i < name.n; i++)
		name.p[i] = ascii_lower(name.p[i]);
	if (ok && (name.failed || !ldh(buf_slice(&name)) || numeric_end(buf_slice(&name))))
		ok = err_set(e, ERR_INPUT, "not a full domain name");
	if (ok) {
		memcpy(ret, name.p, name.n);
		ret[name.n] = 0;
		if (ret_n)
			*ret_n = name.n;
	}
	return ok;
}

static bool from_row(const struct val *row, struct domain *ret, struct err *e)
{
	struct domain d = { .account = (uint64_t)row[DOMAIN_ACCOUNT].i,
			    .subdomains = row[DOMAIN_SUBDOMAINS].i != 0,
			    .added_ms = (uint64_t)row[DOMAIN_ADDED].i,
			    .verified_ms = (uint64_t)row[DOMAIN_VERIFIED].i };
	struct slice name = row[DOMAIN_NAME].s;

	if (name.n >= sizeof(d.name))
		return err_set(e, ERR_DAMAGED, "a domain of account %llu has too long a name",
			       (unsigned long long)d.account);
	memcpy(d.name, name.p, name.n);
	*ret = d;
	return true;
}

bool domain_add_verified(struct store_handle *h, const struct actor *by, uint64_t account,
			 struct slice name, bool subdomains, struct domain *ret, struct err *e)
{
	struct domain d = { .account = account,
			    .subdomains = subdomains,
			    .added_ms = by->now_ms,
			    .verified_ms = by->now_ms };
	struct val row[DOMAIN_COLUMNS], index[DINDEX_COLUMNS];
	struct account owner;
	bool ok;

	if (!domain_canonical(name, d.name, NULL, e))
		return false;
	row[DOMAIN_ACCOUNT] = val_int((int64_t)account);
	row[DOMAIN_NAME] = val_text(slice_str(d.name));
	row[DOMAIN_SUBDOMAINS] = val_int(subdomains);
	row[DOMAIN_ADDED] = val_int((int64_t)d.added_ms);
	row[DOMAIN_VERIFIED] = val_int((int64_t)d.verified_ms);
	index[DINDEX_NAME] = row[DOMAIN_NAME];
	index[DINDEX_ACCOUNT] = row[DOMAIN_ACCOUNT];
	index[DINDEX_SUBDOMAINS] = row[DOMAIN_SUBDOMAINS];
	if (!store_begin(h, STORE_WRITE, e))
		return false;
	ok = account_get(h, account, &owner, e) && store_insert(h, &domain_index_table, index, e);
	if (!ok && e && e->kind == ERR_CONFLICT)
		err_set(e, ERR_CONFLICT, "domain %.200s is there already", d.name);
	ok = ok && store_insert(h, &domain_table, row, e) &&
	     trail_add(h, account, by, S("domain.add"), slice_str(d.name), e);
	if (!store_finish(h, ok, e))
		return false;
	*ret = d;
	return true;
}

bool domain_remove(struct store_handle *h, const struct actor *by, uint64_t account,
		   struct slice name, struct err *e)
{
	char canonical[DOMAIN_NAME_MAX + 1];
	struct val key[2], index;
	bool ok;

	if (!domain_canonical(name, canonical, NULL, e))
		return false;
	key[DOMAIN_ACCOUNT] = val_int((int64_t)account);
	key[DOMAIN_NAME] = index = val_text(slice_str(canonical));
	if (!store_begin(h, STORE_WRITE, e))
		return false;
	ok = store_remove(h, &domain_table, key, e);
	if (!ok && e && e->kind == ERR_ABSENT)
		err_set(e, ERR_ABSENT, "the account has no domain %.200s", canonical);
	ok = ok && store_remove(h, &domain_index_table, &index, e) &&
	     trail_add(h, account, by, S("domain.remove"), slice_str(canonical), e);
	return store_finish(h, ok, e);
}

bool domain_list(struct store_handle *h, uint64_t account, struct slice after, size_t limit,
		 struct arena *a, struct domain **ret, size_t *ret_n, struct err *e)
{
	struct val key[2] = { val_int((int64_t)account), val_text(after) };
	struct domain *list;
	struct rows rows;

	if (!store_scan(h, &domain_table, key, 1, after.n ? key : NULL, limit, a, &rows, e))
		return false;
	list = ARENA_ARRAY(a, struct domain, rows.n + 1);
	if (!list)
		return err_set(e, ERR_LATER, "domains: no memory");
	for (size_t i = 0; i < rows.n; i++)
		if (!from_row(rows.at + i * rows.columns, &list[i], e))
			return false;
	*ret = list;
	*ret_n = rows.n;
	return true;
}
