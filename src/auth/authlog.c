/* auth/authlog.c -- see authlog.h. */
#include "auth/authlog.h"

#include "auth/store_impl.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/utf8.h"

#include <stdlib.h>

enum {
	ROW_AT,
	ROW_N,
	ROW_LAST,
	ROW_COUNT,
	ROW_ACCOUNT,
	ROW_DOOR,
	ROW_ADDRESS,
	ROW_PORT,
	ROW_TLS,
	ROW_CIPHER,
	ROW_MECHANISM,
	ROW_IDENTITY,
	ROW_KEY,
	ROW_RESULT,
	ROW_REASON,
	ROW_NAME,
	ROW_COLUMNS
};

// clang-format off
static const struct column columns[ROW_COLUMNS] = {
	[ROW_AT]        = { "at_ms",     VAL_INT,  false },
	[ROW_N]         = { "n",         VAL_INT,  false },
	[ROW_LAST]      = { "last_ms",   VAL_INT,  false },
	[ROW_COUNT]     = { "count",     VAL_INT,  false },
	[ROW_ACCOUNT]   = { "account",   VAL_INT,  false },
	[ROW_DOOR]      = { "door",      VAL_TEXT, false },
	[ROW_ADDRESS]   = { "address",   VAL_TEXT, false },
	[ROW_PORT]      = { "port",      VAL_INT,  false },
	[ROW_TLS]       = { "tls",       VAL_TEXT, false },
	[ROW_CIPHER]    = { "cipher",    VAL_TEXT, false },
	[ROW_MECHANISM] = { "mechanism", VAL_TEXT, false },
	[ROW_IDENTITY]  = { "identity",  VAL_TEXT, false },
	[ROW_KEY]       = { "key_id",    VAL_TEXT, false },
	[ROW_RESULT]    = { "result",    VAL_TEXT, false },
	[ROW_REASON]    = { "reason",    VAL_TEXT, false },
	[ROW_NAME]      = { "name",      VAL_TEXT, false },
};
// clang-format on

/* A log of the installation, in the order of time: no account before the key. */
const struct table authlog_table = { "authlog", columns, ROW_COLUMNS, 2 };

/* -- text -- */

static size_t utf8_length(unsigned char c)
{
	return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

void authlog_text(char *field, size_t size, struct slice s)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;

	while (s.n) {
		unsigned char c = (unsigned char)s.p[0];
		size_t len = utf8_length(c);
		char escaped[4] = { '\\', 'x', hex[c >> 4], hex[c & 15] };
		bool plain = len <= s.n && c != '\\' && utf8_valid(slice(s.p, len)) &&
			     !has_control(slice(s.p, len)) &&
			     /* C1 controls */
			     !(c == 0xc2 && (unsigned char)s.p[1] < 0xa0);
		const char *from = plain ? s.p : escaped;
		size_t take = plain ? len : 1, put = plain ? len : sizeof escaped;

		if (n + put >= size)
			break;
		memcpy(field + n, from, put);
		n += put;
		s = slice_from(s, take);
	}
	field[n] = '\0';
}

/* How many of these bytes could be of a secret's text: base64 in both alphabets. */
static size_t secret_run(struct slice s)
{
	size_t n = 0;

	while (n < s.n && s.p[n] &&
	       strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		      "0123456789-_+/=",
		      s.p[n]))
		n++;
	return n;
}

/* Wherever a key of ours begins, also one that was cut; a JWT; and a long word that is nothing but
 * base64, as the second half of a key is. A name of that kind that is none is no loss. */
static bool looks_secret(struct slice s)
{
	for (size_t i = 0; i + 3 <= s.n; i++)
		if (!memcmp(s.p + i, "SG.", 3) && secret_run(slice_from(s, i + 3)) >= 16)
			return true;
	return (s.n > 3 && !memcmp(s.p, "eyJ", 3)) || (s.n >= 40 && secret_run(s) == s.n);
}

void authlog_claim(char *field, size_t size, struct slice s)
{
	authlog_text(field, size, looks_secret(s) ? S(AUTHLOG_SECRET) : s);
}

/* -- coalescing -- */

/* How many rows an address has caused since the minute began. */
struct busy {
	uint64_t until_ms;
	unsigned rows;
};

struct folded {
	struct authlog_entry sum; /* count 0: nothing since it was written */
	uint64_t until_ms;
	struct folded *next, *before;
};

struct authlog_fold {
	struct map busy;             /* by address; emptied when it is as large as the other */
	struct map by_source;        /* of struct folded */
	struct folded *first, *last; /* by until_ms */
	size_t n, max;
};

struct authlog_fold *authlog_fold_new(size_t max, const uint64_t hash_key[2])
{
	struct authlog_fold *f = calloc(1, sizeof *f);

	if (!f)
		return NULL;
	map_init(&f->by_source, hash_key);
	map_init(&f->busy, hash_key);
	f->max = max;
	return f;
}

static void forget_busy(struct authlog_fold *f)
{
	struct slice key;
	size_t at = 0;
	void *b;

	while ((b = map_each(&f->busy, &at, &key)))
		free(b);
	map_done(&f->busy);
}

void authlog_fold_free(struct authlog_fold *f)
{
	if (!f)
		return;
	while (f->first) {
		struct folded *next = f->first->next;

		free(f->first);
		f->first = next;
	}
	map_done(&f->by_source);
	forget_busy(f);
	map_done(&f->busy);
	free(f);
}

/* Everything that makes two failures alike. */
static struct slice source_of(const struct authlog_entry *e, struct buf *b)
{
	const char *const parts[] = { e->door,   e->address, e->mechanism, e->identity, e->key_id,
				      e->result, e->reason,  e->name,      e->tls };

	buf_clear(b);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		buf_add(b, slice_str(parts[i]));
		buf_addc(b, '\0');
	}
	return buf_slice(b);
}

static void unlink_folded(struct authlog_fold *f, struct folded *d)
{
	struct buf b;

	buf_init(&b, sizeof(struct authlog_entry) + 64);
	map_remove(&f->by_source, source_of(&d->sum, &b));
	buf_done(&b);
	if (d->before)
		d->before->next = d->next;
	else
		f->first = d->next;
	if (d->next)
		d->next->before = d->before;
	else
		f->last = d->before;
	f->n--;
}

static void append(struct authlog_fold *f, struct folded *d)
{
	d->next = NULL;
	d->before = f->last;
	if (f->last)
		f->last->next = d;
	else
		f->first = d;
	f->last = d;
	f->n++;
}

/* One row more of this address. True: it has had its share. */
static bool too_busy(struct authlog_fold *f, const struct authlog_entry *e)
{
	struct slice address = slice_str(e->address);
	struct busy *b = map_get(&f->busy, address);

	if (!b) {
		if (f->busy.n >= f->max)
			forget_busy(f);
		b = calloc(1, sizeof *b);
		if (!b || !map_put(&f->busy, address, b)) {
			free(b);
			return false;
		}
	}
	if (e->at_ms >= b->until_ms)
		*b = (struct busy){ .until_ms = e->at_ms + AUTHLOG_FOLD_MS };
	return ++b->rows > AUTHLOG_DISTINCT;
}

/* True: it was added to one that is alike. */
static bool add_to(struct authlog_fold *f, const struct authlog_entry *e, struct folded **ret)
{
	struct folded *d;
	struct buf b;

	buf_init(&b, sizeof *e + 64);
	d = map_get(&f->by_source, source_of(e, &b));
	buf_done(&b);
	*ret = d;
	if (!d || e->at_ms >= d->until_ms)
		return false;
	if (!d->sum.count)
		d->sum.at_ms = e->at_ms;
	if (d->sum.count < UINT32_MAX)
		d->sum.count++;
	d->sum.last_ms = e->at_ms;
	d->sum.port = e->port;
	return true;
}

static void begin(struct authlog_fold *f, const struct authlog_entry *e)
{
	struct folded *d = f->n < f->max ? calloc(1, sizeof *d) : NULL;
	struct buf b;

	if (!d)
		return;
	d->sum = *e;
	d->sum.count = 0;
	d->until_ms = e->at_ms + AUTHLOG_FOLD_MS;
	buf_init(&b, sizeof *e + 64);
	if (map_put(&f->by_source, source_of(e, &b), d))
		append(f, d);
	else
		free(d);
	buf_done(&b);
}

bool authlog_fold_add(struct authlog_fold *f, struct authlog_entry *e)
{
	struct folded *d;

	if (!strcmp(e->result, "ok"))
		return true;
	if (add_to(f, e, &d))
		return false;
	if (too_busy(f, e)) {
		memcpy(e->identity, "*", 2);
		e->key_id[0] = e->name[0] = '\0';
		if (add_to(f, e, &d))
			return false;
	}
	/* One whose time is over and that was not fetched yet stays; this one is not counted to. */
	if (!d)
		begin(f, e);
	return true;
}

bool authlog_fold_due(struct authlog_fold *f, uint64_t now_ms, struct authlog_entry *ret)
{
	while (f->first && f->first->until_ms <= now_ms) {
		struct folded *d = f->first;
		bool some = d->sum.count;

		unlink_folded(f, d);
		*ret = d->sum;
		if (!some) {
			free(d);
			continue;
		}
		/* It goes on: the next minute is one row, too. */
		d->sum.count = 0;
		d->until_ms = now_ms == UINT64_MAX ? now_ms : now_ms + AUTHLOG_FOLD_MS;
		if (now_ms == UINT64_MAX) {
			free(d);
		} else {
			struct buf b;

			buf_init(&b, sizeof *ret + 64);
			if (map_put(&f->by_source, source_of(&d->sum, &b), d))
				append(f, d);
			else
				free(d);
			buf_done(&b);
		}
		return true;
	}
	return false;
}

/* -- rows -- */

static bool insert(struct store_handle *h, const struct authlog_entry *x, uint64_t n, struct err *e)
{
	struct val row[ROW_COLUMNS] = {
		[ROW_AT] = val_int((int64_t)x->at_ms),
		[ROW_N] = val_int((int64_t)n),
		[ROW_LAST] = val_int((int64_t)x->last_ms),
		[ROW_COUNT] = val_int(x->count),
		[ROW_ACCOUNT] = val_int((int64_t)x->account),
		[ROW_DOOR] = val_text(slice_str(x->door)),
		[ROW_ADDRESS] = val_text(slice_str(x->address)),
		[ROW_PORT] = val_int(x->port),
		[ROW_TLS] = val_text(slice_str(x->tls)),
		[ROW_CIPHER] = val_text(slice_str(x->cipher)),
		[ROW_MECHANISM] = val_text(slice_str(x->mechanism)),
		[ROW_IDENTITY] = val_text(slice_str(x->identity)),
		[ROW_KEY] = val_text(slice_str(x->key_id)),
		[ROW_RESULT] = val_text(slice_str(x->result)),
		[ROW_REASON] = val_text(slice_str(x->reason)),
		[ROW_NAME] = val_text(slice_str(x->name)),
	};

	return store_insert(h, &authlog_table, row, e);
}

bool authlog_add(struct store_handle *h, const struct authlog_entry *x, size_t n, struct err *e)
{
	/* Rows of one millisecond come in the order they were written, across restarts. */
	uint64_t first = store_generation(store_of(h)) << 20;
	struct err why = { 0 };
	bool ok = true;

	if (!store_begin(h, STORE_WRITE, e))
		return false;
	for (size_t i = 0; ok && i < n; i++) {
		uint64_t number = first + i;

		for (unsigned tries = 0; !(ok = insert(h, &x[i], number, &why)) &&
					 why.kind == ERR_CONFLICT && tries < 64;
		     tries++)
			number += 1u << 19;
		if (!ok && e)
			*e = why;
	}
	return store_finish(h, ok, e);
}

#define COPY(field, s) copy(field, sizeof(field), s)

static void read_row(const struct val *v, struct authlog_entry *ret)
{
	ret->at_ms = (uint64_t)v[ROW_AT].i;
	ret->n = (uint64_t)v[ROW_N].i;
	ret->last_ms = (uint64_t)v[ROW_LAST].i;
	ret->count = (uint32_t)v[ROW_COUNT].i;
	ret->account = (uint64_t)v[ROW_ACCOUNT].i;
	ret->port = (uint32_t)v[ROW_PORT].i;
	COPY(ret->door, v[ROW_DOOR].s);
	COPY(ret->address, v[ROW_ADDRESS].s);
	COPY(ret->tls, v[ROW_TLS].s);
	COPY(ret->cipher, v[ROW_CIPHER].s);
	COPY(ret->mechanism, v[ROW_MECHANISM].s);
	COPY(ret->identity, v[ROW_IDENTITY].s);
	COPY(ret->key_id, v[ROW_KEY].s);
	COPY(ret->result, v[ROW_RESULT].s);
	COPY(ret->reason, v[ROW_REASON].s);
	COPY(ret->name, v[ROW_NAME].s);
}

static bool is(struct slice want, struct val v)
{
	return !want.n || slice_eq(want, v.s);
}

static bool matches(const struct authlog_filter *f, const struct val *v)
{
	return (!f->account || (uint64_t)v[ROW_ACCOUNT].i == f->account) &&
	       is(f->address, v[ROW_ADDRESS]) && is(f->identity, v[ROW_IDENTITY]) &&
	       is(f->key_id, v[ROW_KEY]) && is(f->result, v[ROW_RESULT]) &&
	       is(f->reason, v[ROW_REASON]);
}

#define STEP 500

bool authlog_list(struct store_handle *h, const struct authlog_filter *f,
		  const struct authlog_at *after, size_t limit, size_t look, struct arena *a,
		  struct authlog_entry **ret, size_t *ret_n, struct authlog_at *ret_last,
		  bool *ret_more, struct err *e)
{
	struct authlog_at at = after         ? *after
			       : f->since_ms ? (struct authlog_at){ f->since_ms - 1, INT64_MAX }
					     : (struct authlog_at){ 0, 0 };
	struct authlog_entry *list = ARENA_ARRAY(a, struct authlog_entry, limit + 1);
	size_t n = 0;

	if (!list)
		return err_set(e, ERR_LATER, "authentication log: no memory");
	*ret_more = true;
	while (n < limit && look && *ret_more) {
		struct val key[2] = { val_int((int64_t)at.at_ms), val_int((int64_t)at.n) };
		size_t step = look < STEP ? look : STEP;
		struct arena rows_arena;
		struct rows rows;
		bool ok;

		arena_init(&rows_arena, 4u << 20);
		ok = store_scan(h, &authlog_table, NULL, 0, key, step, &rows_arena, &rows, e);
		*ret_more = ok && rows.n == step;
		for (size_t i = 0; ok && i < rows.n; i++) {
			const struct val *v = rows.at + i * rows.columns;

			if (f->until_ms && (uint64_t)v[ROW_AT].i >= f->until_ms) {
				*ret_more = false;
				break;
			}
			if (n == limit) {
				*ret_more = true;
				break;
			}
			at = (struct authlog_at){ (uint64_t)v[ROW_AT].i, (uint64_t)v[ROW_N].i };
			if (matches(f, v))
				read_row(v, &list[n++]);
		}
		arena_done(&rows_arena);
		if (!ok)
			return false;
		look -= step;
	}
	*ret = list;
	*ret_n = n;
	*ret_last = at;
	return true;
}

bool authlog_prune(struct store_handle *h, uint64_t before_ms, size_t max, size_t *ret_n,
		   struct err *e)
{
	struct arena a;
	struct rows rows;
	bool ok;

	*ret_n = 0;
	arena_init(&a, 16u << 20);
	ok = store_begin(h, STORE_WRITE, e);
	if (ok) {
		ok = store_scan(h, &authlog_table, NULL, 0, NULL, max, &a, &rows, e);
		for (size_t i = 0; ok && i < rows.n; i++) {
			const struct val *v = rows.at + i * rows.columns;

			if ((uint64_t)v[ROW_AT].i >= before_ms)
				break;
			ok = store_remove(h, &authlog_table, v, e);
			*ret_n += ok;
		}
		ok = store_finish(h, ok, e);
	}
	arena_done(&a);
	return ok;
}

bool authlog_oldest(struct store_handle *h, uint64_t *ret_ms, struct err *e)
{
	struct arena a;
	struct rows rows;
	bool ok;

	arena_init(&a, 1u << 20);
	ok = store_scan(h, &authlog_table, NULL, 0, NULL, 1, &a, &rows, e);
	*ret_ms = ok && rows.n ? (uint64_t)rows.at[ROW_AT].i : 0;
	arena_done(&a);
	return ok;
}
