/* store/sql.c -- see sql_impl.h. */
#include "store/sql_impl.h"

static void add_name(struct buf *b, const char *name)
{
	/* Descriptor names hold no quotes (store.c); the quotes are for words like "key". */
	buf_addc(b, '"');
	buf_add(b, slice_str(name));
	buf_addc(b, '"');
}

static void add_names(struct buf *b, const struct column *c, size_t from, size_t to,
		      const char *behind, const char *between)
{
	for (size_t i = from; i < to; i++) {
		if (i > from)
			buf_add(b, slice_str(between));
		add_name(b, c[i].name);
		buf_add(b, slice_str(behind));
	}
}

static void add_marks(struct buf *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_add(b, i ? S(",?") : S("?"));
}

static void add_select(struct buf *b, const struct table *t)
{
	buf_add(b, S("SELECT "));
	add_names(b, t->columns, 0, t->n, "", ",");
	buf_add(b, S(" FROM "));
	add_name(b, t->name);
}

static void add_scan(struct buf *b, const struct table *t, size_t n_prefix, bool after)
{
	size_t rest = t->key_n - n_prefix;

	add_select(b, t);
	if (n_prefix || after)
		buf_add(b, S(" WHERE "));
	add_names(b, t->columns, 0, n_prefix, "=?", " AND ");
	if (after && rest) {
		buf_add(b, n_prefix ? S(" AND (") : S("("));
		add_names(b, t->columns, n_prefix, t->key_n, "", ",");
		buf_add(b, S(")>("));
		add_marks(b, rest);
		buf_add(b, S(")"));
	} else if (after) {
		buf_add(b, S(" AND 0")); /* the prefix is the whole key: nothing is behind it */
	}
	buf_add(b, S(" ORDER BY "));
	add_names(b, t->columns, 0, t->key_n, "", ",");
	buf_add(b, S(" LIMIT ?"));
}

void sql_operation(struct buf *b, const struct table *t, enum sql_op op, size_t n_prefix)
{
	switch (op) {
	case OP_INSERT:
		buf_add(b, S("INSERT INTO "));
		add_name(b, t->name);
		buf_add(b, S("("));
		add_names(b, t->columns, 0, t->n, "", ",");
		buf_add(b, S(")VALUES("));
		add_marks(b, t->n);
		buf_add(b, S(")"));
		return;
	case OP_UPDATE:
		buf_add(b, S("UPDATE "));
		add_name(b, t->name);
		buf_add(b, S(" SET "));
		add_names(b, t->columns, t->key_n, t->n, "=?", ",");
		buf_add(b, S(" WHERE "));
		add_names(b, t->columns, 0, t->key_n, "=?", " AND ");
		return;
	case OP_REMOVE:
		buf_add(b, S("DELETE FROM "));
		add_name(b, t->name);
		buf_add(b, S(" WHERE "));
		add_names(b, t->columns, 0, t->key_n, "=?", " AND ");
		return;
	case OP_GET:
		add_select(b, t);
		buf_add(b, S(" WHERE "));
		add_names(b, t->columns, 0, t->key_n, "=?", " AND ");
		return;
	case OP_SCAN: add_scan(b, t, n_prefix, false); return;
	case OP_SCAN_AFTER: add_scan(b, t, n_prefix, true); return;
	}
}

static const char *type_name(enum val_type t)
{
	switch (t) {
	case VAL_INT: return "INTEGER";
	case VAL_TEXT: return "TEXT";
	case VAL_BLOB: return "BLOB";
	case VAL_NULL: break;
	}
	return "";
}

static void add_column(struct buf *b, const struct column *c)
{
	add_name(b, c->name);
	buf_addc(b, ' ');
	buf_add(b, slice_str(type_name(c->type)));
	if (!c->null_ok)
		buf_add(b, S(" NOT NULL"));
}

void sql_change(struct buf *b, const struct change *c)
{
	const struct table *t = c->table;

	switch (c->kind) {
	case CHANGE_CREATE_TABLE:
		buf_add(b, S("CREATE TABLE "));
		add_name(b, t->name);
		buf_add(b, S("("));
		for (size_t i = 0; i < t->n; i++) {
			add_column(b, &t->columns[i]);
			buf_add(b, S(","));
		}
		buf_add(b, S("PRIMARY KEY("));
		add_names(b, t->columns, 0, t->key_n, "", ",");
		buf_add(b, S("))STRICT,WITHOUT ROWID"));
		break;
	case CHANGE_ADD_COLUMN:
		buf_add(b, S("ALTER TABLE "));
		add_name(b, t->name);
		buf_add(b, S(" ADD COLUMN "));
		add_column(b, &c->column);
		break;
	case CHANGE_DROP_TABLE:
		buf_add(b, S("DROP TABLE "));
		add_name(b, t->name);
		break;
	}
}
