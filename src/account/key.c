/* account/key.c -- see key.h. */
#include "account/key.h"

#include "account/account_impl.h"
#include "account/key_impl.h"
#include "base/must.h"
#include "base/utf8.h"
#include "keyring/keyring.h"

#define SCOPES_TEXT_MAX 4096
#define LIST_TEXT_MAX   (KEY_IDENTITIES_MAX * (KEY_IDENTITY_MAX + 1))

const char *key_state_name(enum key_state s)
{
	switch (s) {
	case KEY_ACTIVE: return "active";
	case KEY_REVOKED: return "revoked";
	}
	return "?";
}

enum key_standing key_standing(const struct key *k, uint64_t now_ms)
{
	if (k->state == KEY_REVOKED)
		return STANDING_REVOKED;
	return k->expires_ms && now_ms >= k->expires_ms ? STANDING_EXPIRED : STANDING_ACTIVE;
}

enum queued key_queued(const struct key *k, uint64_t now_ms)
{
	return k->queued != QUEUED_AS_STATE ? k->queued : key_rule(key_standing(k, now_ms))->queued;
}

static bool copy_bytes(const struct val *v, void *ret, size_t n)
{
	if (v->s.n != n)
		return false;
	memcpy(ret, v->s.p, n);
	return true;
}

static bool from_row(const struct val *row, struct key *ret, struct err *e)
{
	struct key k = { .account = (uint64_t)row[KEY_ACCOUNT].i,
			 .imported = row[KEY_IMPORTED].i != 0,
			 .cram_md5 = row[KEY_CRAM_MD5].s.n > 0,
			 .created_ms = (uint64_t)row[KEY_CREATED].i,
			 .expires_ms = (uint64_t)row[KEY_EXPIRES].i,
			 .revoked_ms = (uint64_t)row[KEY_REVOKED_AT].i };
	struct slice state = row[KEY_STATE].s, name = row[KEY_NAME].s;
	bool ok = name.n < sizeof(k.name) && copy_bytes(&row[KEY_ID], k.id, KEY_ID_LEN) &&
		  copy_bytes(&row[KEY_HASH], k.hash, sizeof(k.hash)) &&
		  scopes_parse(row[KEY_SCOPES].s, &k.scopes, NULL) &&
		  mechanisms_parse(row[KEY_MECHANISMS].s, &k.mechanisms, NULL) &&
		  networks_read(row[KEY_NETWORKS].s, &k.networks);

	/* Anything but "active" in so many letters is not active. */
	if (slice_eq(state, slice_str(key_state_name(KEY_REVOKED))))
		k.state = KEY_REVOKED;
	else
		ok = ok && slice_eq(state, slice_str(key_state_name(KEY_ACTIVE)));
	if (row[KEY_QUEUED].type == VAL_TEXT)
		ok = ok && queued_parse(row[KEY_QUEUED].s, &k.queued, NULL);
	if (!ok)
		return err_set(e, ERR_DAMAGED, "key %s: its record is not what was written", k.id);
	memcpy(k.name, name.p, name.n);
	*ret = k;
	return true;
}

static bool scopes_ok(struct scopes s, struct err *e)
{
	MUST(s.bits >> SCOPE_COUNT == 0);
	return s.bits || err_set(e, ERR_INPUT, "a key needs at least one scope");
}

static bool expiry_ok(uint64_t expires_ms, uint64_t now_ms, struct err *e)
{
	if (expires_ms > INT64_MAX)
		return err_set(e, ERR_INPUT, "expiry is out of range");
	return !expires_ms || expires_ms > now_ms ||
	       err_set(e, ERR_INPUT, "expiry lies in the past");
}

static bool spec_ok(const struct key_spec *spec, uint64_t now_ms, struct err *e)
{
	if (spec->name.n > KEY_NAME_MAX ||
	    (spec->name.n && (!utf8_valid(spec->name) || has_control(spec->name))))
		return err_set(e, ERR_INPUT,
			       "a key's name has at most %d bytes of UTF-8, no control characters",
			       KEY_NAME_MAX);
	if (spec->n_identities > KEY_IDENTITIES_MAX)
		return err_set(e, ERR_INPUT, "a key has at most %d certificates and tokens",
			       KEY_IDENTITIES_MAX);
	if (spec->cram_md5 && !mechanisms_allow(spec->mechanisms, S("CRAM-MD5")))
		return err_set(e, ERR_INPUT, "a key for CRAM-MD5 that may not use it");
	return scopes_ok(spec->scopes, e) && expiry_ok(spec->expires_ms, now_ms, e);
}

/* What a key has beside its row's plain columns. */
struct more {
	struct key_scram scram;
	struct buf mechanisms, cram, certificates, networks;
};

static void more_init(struct more *m)
{
	*m = (struct more){ 0 };
	buf_init(&m->mechanisms, 256);
	buf_init(&m->cram, KEYRING_CRAM_MD5);
	buf_init(&m->certificates, LIST_TEXT_MAX);
	buf_init(&m->networks, NETWORKS_BYTES);
}

static void more_done(struct more *m)
{
	buf_done(&m->mechanisms);
	buf_done(&m->cram);
	buf_done(&m->certificates);
	buf_done(&m->networks);
}

void key_cram_purpose(struct slice id, char ret[KEY_CRAM_PURPOSE])
{
	memcpy(ret, "cram-md5:", 9);
	memcpy(ret + 9, id.p, KEY_ID_LEN);
}

static bool make_more(const struct key_spec *spec, const struct key_text *parts, struct more *m,
		      struct err *e)
{
	unsigned char salt[SCRAM_SALT];
	char purpose[KEY_CRAM_PURPOSE];

	keyring_random(salt, sizeof(salt));
	key_scram_make(parts->whole, salt, &m->scram);
	mechanisms_text(spec->mechanisms, &m->mechanisms);
	networks_bytes(&spec->networks, &m->networks);
	/* Cut short, they would be no limit. */
	if (m->mechanisms.failed || m->networks.failed)
		return err_set(e, ERR_LATER, "key: out of memory");
	for (size_t i = 0; i < spec->n_identities; i++) {
		if (i)
			buf_addc(&m->certificates, ' ');
		if (!key_identity(spec->identities[i], &m->certificates, e))
			return false;
	}
	if (!spec->cram_md5)
		return true;
	MUST(spec->keyring);
	key_cram_purpose(parts->id, purpose);
	return keyring_cram_md5_seal(spec->keyring, slice(purpose, sizeof(purpose)), parts->whole,
				     &m->cram, e);
}

static struct val text_or_null(const struct buf *b)
{
	return b->n ? val_text(buf_slice(b)) : (struct val){ 0 };
}

static struct val blob_or_null(const struct buf *b)
{
	return b->n ? val_blob(buf_slice(b)) : (struct val){ 0 };
}

/* Whether the key that an identity stands for is done with: then another may have it. */
static bool identity_is_free(struct store_handle *h, struct slice identity)
{
	char id[KEY_ID_LEN + 1];
	uint64_t account;
	struct key k;

	return key_of_identity(h, identity, &account, id, NULL) &&
	       key_get(h, account, slice_str(id), &k, NULL) && k.state == KEY_REVOKED;
}

/* In the open transaction: each identity stands for one key. */
static bool add_certificates(struct store_handle *h, const struct key *k, struct slice list,
			     struct err *e)
{
	struct val row[CERTIFICATE_COLUMNS];

	row[CERTIFICATE_ACCOUNT] = val_int((int64_t)k->account);
	row[CERTIFICATE_KEY] = val_text(slice_str(k->id));
	while (list.n) {
		struct err why = { 0 };
		struct slice one;
		bool ok;

		slice_cut(list, ' ', &one, &list);
		row[CERTIFICATE_IDENTITY] = val_text(one);
		ok = store_insert(h, &key_certificate_table, row, &why);
		if (!ok && why.kind == ERR_CONFLICT) {
			ok = identity_is_free(h, one) &&
			     store_update(h, &key_certificate_table, row, &why);
			if (!ok)
				return err_set(e, why.kind, "%.*s stands for a key already",
					       SLICE_ARG(one));
		}
		if (!ok) {
			if (e)
				*e = why;
			return false;
		}
	}
	return true;
}

/* Writes a key that is taken apart already, with its index and its trail. */
static bool add(struct store_handle *h, const struct actor *by, const struct key *k,
		const struct more *more, struct err *e)
{
	const struct key_scram *scram = &more->scram;
	struct val row[KEY_COLUMNS], index[INDEX_COLUMNS];
	struct account owner;
	struct buf scopes;
	bool ok;

	if (!store_begin(h, STORE_WRITE, e))
		return false;
	buf_init(&scopes, SCOPES_TEXT_MAX);
	scopes_text(k->scopes, &scopes);
	MUST(!scopes.failed);
	row[KEY_ACCOUNT] = val_int((int64_t)k->account);
	row[KEY_ID] = val_text(slice_str(k->id));
	row[KEY_NAME] = val_text(slice_str(k->name));
	row[KEY_STATE] = val_text(slice_str(key_state_name(k->state)));
	row[KEY_IMPORTED] = val_int(k->imported);
	row[KEY_SCOPES] = val_text(buf_slice(&scopes));
	row[KEY_CREATED] = val_int((int64_t)k->created_ms);
	row[KEY_EXPIRES] = val_int((int64_t)k->expires_ms);
	row[KEY_REVOKED_AT] = val_int(0);
	row[KEY_HASH] = val_blob(slice(k->hash, sizeof(k->hash)));
	row[KEY_SCRAM_SALT] = val_blob(slice(scram->salt, sizeof(scram->salt)));
	row[KEY_SCRAM_ROUNDS] = val_int(scram->rounds);
	row[KEY_SCRAM_STORED] = val_blob(slice(scram->stored_key, sizeof(scram->stored_key)));
	row[KEY_SCRAM_SERVER] = val_blob(slice(scram->server_key, sizeof(scram->server_key)));
	row[KEY_QUEUED] = (struct val){ .type = VAL_NULL };
	row[KEY_MECHANISMS] = text_or_null(&more->mechanisms);
	row[KEY_CRAM_MD5] = blob_or_null(&more->cram);
	row[KEY_CERTIFICATES] = text_or_null(&more->certificates);
	row[KEY_NETWORKS] = blob_or_null(&more->networks);
	index[INDEX_KEY] = row[KEY_ID];
	index[INDEX_ACCOUNT] = row[KEY_ACCOUNT];
	ok = account_get(h, k->account, &owner, e) && store_insert(h, &key_index_table, index, e);
	if (!ok && e && e->kind == ERR_CONFLICT)
		err_set(e, ERR_CONFLICT, "key %s exists already", k->id);
	ok = ok && store_insert(h, &key_table, row, e) &&
	     add_certificates(h, k, buf_slice(&more->certificates), e) &&
	     trail_add(h, k->account, by, k->imported ? S("key.import") : S("key.create"),
		       slice_str(k->id), e);
	ok = store_finish(h, ok, e);
	buf_done(&scopes);
	return ok;
}

static bool make(struct store_handle *h, const struct actor *by, uint64_t account,
		 const struct key_spec *spec, struct secret text, bool imported, struct key *ret,
		 struct err *e)
{
	struct key k = { .account = account,
			 .state = KEY_ACTIVE,
			 .imported = imported,
			 .cram_md5 = spec->cram_md5,
			 .scopes = spec->scopes,
			 .mechanisms = spec->mechanisms,
			 .networks = spec->networks,
			 .created_ms = by->now_ms,
			 .expires_ms = spec->expires_ms };
	struct key_text parts;
	struct more more;
	bool ok;

	if (!spec_ok(spec, by->now_ms, e))
		return false;
	if (!key_parse(text, &parts))
		return err_set(e, ERR_INPUT,
			       "not the form of a key: SG., 22 characters, a dot, 43 characters");
	memcpy(k.id, parts.id.p, parts.id.n);
	if (spec->name.n)
		memcpy(k.name, spec->name.p, spec->name.n);
	key_hash(parts.secret, k.hash);
	more_init(&more);
	ok = make_more(spec, &parts, &more, e) && add(h, by, &k, &more, e);
	more_done(&more);
	if (ok)
		*ret = k;
	return ok;
}

bool key_create(struct store_handle *h, const struct actor *by, uint64_t account,
		const struct key_spec *spec, struct buf *out, struct key *ret, struct err *e)
{
	unsigned char random[KEY_RANDOM];
	char text[KEY_TEXT_LEN];
	bool ok;

	/* Asked for first: a key that cannot be shown must not exist. */
	if (!buf_room_for(out, KEY_TEXT_LEN))
		return err_set(e, ERR_LATER, "key: no room for its text");
	keyring_random(random, sizeof(random));
	key_text_make(random, text);
	ok = make(h, by, account, spec, secret(slice(text, sizeof(text))), false, ret, e);
	if (ok)
		buf_add(out, slice(text, sizeof(text)));
	digest_wipe(random, sizeof(random));
	digest_wipe(text, sizeof(text));
	return ok;
}

bool key_import(struct store_handle *h, const struct actor *by, uint64_t account,
		const struct key_spec *spec, struct secret text, struct key *ret, struct err *e)
{
	return make(h, by, account, spec, text, true, ret, e);
}

/* ---- reading ---- */

static bool absent(struct slice id, struct err *e)
{
	return err_set(e, ERR_ABSENT, "no key %.*s", id.n <= KEY_ID_LEN ? (int)id.n : KEY_ID_LEN,
		       id.p);
}

static bool get_row(struct store_handle *h, uint64_t account, struct slice id, struct arena *a,
		    struct val row[KEY_COLUMNS], struct err *e)
{
	struct val key[2] = { val_int((int64_t)account), val_text(id) };

	if (store_get(h, &key_table, key, a, row, e))
		return true;
	if (e && e->kind == ERR_ABSENT)
		absent(id, e);
	return false;
}

/* The account of a key; 0, which has no keys, when nobody has it. */
static bool owner_of(struct store_handle *h, struct slice id, struct arena *a, uint64_t *ret,
		     struct err *e)
{
	struct val key = val_text(id), row[INDEX_COLUMNS];
	struct err got = { 0 };

	if (store_get(h, &key_index_table, &key, a, row, &got)) {
		*ret = (uint64_t)row[INDEX_ACCOUNT].i;
		return true;
	}
	if (got.kind != ERR_ABSENT) {
		if (e)
			*e = got;
		return false;
	}
	*ret = 0;
	return true;
}

/* The row by id alone; the second lookup is made in either case. */
static bool find_row(struct store_handle *h, struct slice id, struct arena *a,
		     struct val row[KEY_COLUMNS], struct err *e)
{
	uint64_t account;

	if (!key_id_shape(id))
		return absent(id, e);
	return owner_of(h, id, a, &account, e) && get_row(h, account, id, a, row, e);
}

bool key_find(struct store_handle *h, struct slice id, struct key *ret, struct err *e)
{
	struct val row[KEY_COLUMNS];
	struct arena a;
	bool ok;

	arena_init(&a, ROW_ARENA);
	ok = find_row(h, id, &a, row, e) && from_row(row, ret, e);
	arena_done(&a);
	return ok;
}

/* The id that would stand right before this one: ids are of one length. */
static void before(struct slice id, char ret[KEY_ID_LEN])
{
	memcpy(ret, id.p, KEY_ID_LEN);
	ret[KEY_ID_LEN - 1]--; /* '-' is the least of the characters */
}

/* The id itself or the next one that is there, and the first of all: where the next one would be
 * behind the last, the first is taken, and asked for in any case. */
static bool nearest(struct store_handle *h, struct slice id, struct arena *a, uint64_t *ret_account,
		    struct slice *ret_id, struct err *e)
{
	char text[KEY_ID_LEN];
	struct val after;
	struct rows next, first, *take;

	before(id, text);
	after = val_text(slice(text, KEY_ID_LEN));
	if (!store_scan(h, &key_index_table, NULL, 0, &after, 1, a, &next, e) ||
	    !store_scan(h, &key_index_table, NULL, 0, NULL, 1, a, &first, e))
		return false;
	take = next.n ? &next : &first;
	*ret_account = take->n ? (uint64_t)take->at[INDEX_ACCOUNT].i : 0;
	*ret_id = take->n ? take->at[INDEX_KEY].s : id;
	return true;
}

bool key_find_evenly(struct store_handle *h, struct slice id, struct key *ret, bool *ret_there,
		     struct err *e)
{
	struct val row[KEY_COLUMNS];
	struct err why = { 0 };
	uint64_t account;
	struct slice near;
	struct arena a;
	bool ok;

	*ret = (struct key){ 0 };
	arena_init(&a, ROW_ARENA);
	ok = nearest(h, id, &a, &account, &near, e);
	if (ok && get_row(h, account, near, &a, row, &why))
		ok = from_row(row, ret, e);
	else if (ok && why.kind != ERR_ABSENT)
		ok = err_set(e, why.kind, "%s", why.text);
	*ret_there = ok && slice_eq(slice_str(ret->id), id);
	if (!*ret_there)
		memset(ret->hash, 0, sizeof(ret->hash));
	arena_done(&a);
	return ok;
}

bool key_get(struct store_handle *h, uint64_t account, struct slice id, struct key *ret,
	     struct err *e)
{
	struct val row[KEY_COLUMNS];
	struct arena a;
	bool ok;

	if (!key_id_shape(id))
		return absent(id, e);
	arena_init(&a, ROW_ARENA);
	ok = get_row(h, account, id, &a, row, e) && from_row(row, ret, e);
	arena_done(&a);
	return ok;
}

bool key_scram(struct store_handle *h, uint64_t account, struct slice id, struct key_scram *ret,
	       struct err *e)
{
	struct val row[KEY_COLUMNS];
	struct key_scram s = { 0 };
	struct arena a;
	bool ok;

	if (!key_id_shape(id))
		return absent(id, e);
	arena_init(&a, ROW_ARENA);
	ok = get_row(h, account, id, &a, row, e);
	if (ok && (row[KEY_SCRAM_ROUNDS].i < SCRAM_ROUNDS || row[KEY_SCRAM_ROUNDS].i > UINT32_MAX ||
		   !copy_bytes(&row[KEY_SCRAM_SALT], s.salt, sizeof(s.salt)) ||
		   !copy_bytes(&row[KEY_SCRAM_STORED], s.stored_key, sizeof(s.stored_key)) ||
		   !copy_bytes(&row[KEY_SCRAM_SERVER], s.server_key, sizeof(s.server_key))))
		ok = err_set(e, ERR_DAMAGED, "key %.*s: its verifier is not what was written",
			     SLICE_ARG(id));
	if (ok) {
		s.rounds = (uint32_t)row[KEY_SCRAM_ROUNDS].i;
		*ret = s;
	}
	arena_done(&a);
	return ok;
}

bool key_cram_md5(struct store_handle *h, const struct keyring *keyring, uint64_t account,
		  struct slice id, struct slice challenge, const unsigned char digest[16],
		  bool *ret_ok, struct err *e)
{
	struct val row[KEY_COLUMNS];
	char purpose[KEY_CRAM_PURPOSE];
	struct slice blob = S("");
	struct err why = { 0 };
	struct arena a;
	bool there;

	if (!key_id_shape(id))
		return absent(id, e);
	arena_init(&a, ROW_ARENA);
	there = get_row(h, account, id, &a, row, &why);
	if (there)
		blob = row[KEY_CRAM_MD5].s;
	key_cram_purpose(id, purpose);
	*ret_ok = keyring_cram_md5_check(keyring, slice(purpose, sizeof(purpose)), blob, challenge,
					 digest);
	arena_done(&a);
	if (there || why.kind == ERR_ABSENT)
		return true;
	if (e)
		*e = why;
	return false;
}

bool key_identities(struct store_handle *h, uint64_t account, struct slice id, struct buf *out,
		    struct err *e)
{
	struct val row[KEY_COLUMNS];
	struct arena a;
	bool ok;

	arena_init(&a, ROW_ARENA);
	ok = get_row(h, account, id, &a, row, e);
	if (ok)
		buf_add(out, row[KEY_CERTIFICATES].s);
	arena_done(&a);
	return ok;
}

bool key_list(struct store_handle *h, uint64_t account, struct slice after, size_t limit,
	      struct arena *a, struct key **ret, size_t *ret_n, struct err *e)
{
	struct val key[2] = { val_int((int64_t)account), val_text(after) };
	struct key *list;
	struct rows rows;

	if (!store_scan(h, &key_table, key, 1, after.n ? key : NULL, limit, a, &rows, e))
		return false;
	list = ARENA_ARRAY(a, struct key, rows.n + 1);
	if (!list)
		return err_set(e, ERR_LATER, "keys: no memory");
	for (size_t i = 0; i < rows.n; i++)
		if (!from_row(rows.at + i * rows.columns, &list[i], e))
			return false;
	*ret = list;
	*ret_n = rows.n;
	return true;
}

/* ---- changing ---- */

/* Begins a write transaction and reads the row; false leaves no transaction open. */
static bool change_begin(struct store_handle *h, struct slice id, struct arena *a,
			 struct val row[KEY_COLUMNS], struct err *e)
{
	if (!store_begin(h, STORE_WRITE, e))
		return false;
	if (find_row(h, id, a, row, e))
		return true;
	store_rollback(h);
	return false;
}

static bool change_end(struct store_handle *h, const struct actor *by, struct slice act,
		       const struct val row[KEY_COLUMNS], struct err *e)
{
	bool ok = store_update(h, &key_table, row, e) &&
		  trail_add(h, (uint64_t)row[KEY_ACCOUNT].i, by, act, row[KEY_ID].s, e);

	return store_finish(h, ok, e);
}

static struct val queued_val(enum queued q)
{
	struct val v = { .type = VAL_NULL };

	if (q != QUEUED_AS_STATE)
		v = val_text(slice_str(queued_name(q)));
	return v;
}

static bool has_queued(const struct val *v, enum queued q)
{
	return q == QUEUED_AS_STATE
		   ? v->type == VAL_NULL
		   : v->type == VAL_TEXT && slice_eq(v->s, slice_str(queued_name(q)));
}

bool key_revoke(struct store_handle *h, const struct actor *by, struct slice id, enum queued queued,
		struct err *e)
{
	struct slice revoked = slice_str(key_state_name(KEY_REVOKED));
	struct val row[KEY_COLUMNS];
	struct arena a;
	bool ok, was;

	arena_init(&a, ROW_ARENA);
	ok = change_begin(h, id, &a, row, e);
	was = ok && slice_eq(row[KEY_STATE].s, revoked);
	if (was && has_queued(&row[KEY_QUEUED], queued)) {
		store_rollback(h);
	} else if (ok) {
		row[KEY_STATE] = val_text(revoked);
		if (!was)
			row[KEY_REVOKED_AT] = val_int((int64_t)by->now_ms);
		row[KEY_QUEUED] = queued_val(queued);
		ok = change_end(h, by, was ? S("key.queued") : S("key.revoke"), row, e);
	}
	arena_done(&a);
	return ok;
}

bool key_set_queued(struct store_handle *h, const struct actor *by, struct slice id,
		    enum queued queued, struct err *e)
{
	struct val row[KEY_COLUMNS];
	struct arena a;
	bool ok;

	arena_init(&a, ROW_ARENA);
	ok = change_begin(h, id, &a, row, e);
	if (ok && has_queued(&row[KEY_QUEUED], queued)) {
		store_rollback(h);
	} else if (ok) {
		row[KEY_QUEUED] = queued_val(queued);
		ok = change_end(h, by, S("key.queued"), row, e);
	}
	arena_done(&a);
	return ok;
}

bool key_set_scopes(struct store_handle *h, const struct actor *by, struct slice id,
		    struct scopes scopes, struct err *e)
{
	struct val row[KEY_COLUMNS];
	struct arena a;
	struct buf text;
	bool ok;

	if (!scopes_ok(scopes, e))
		return false;
	arena_init(&a, ROW_ARENA);
	buf_init(&text, SCOPES_TEXT_MAX);
	scopes_text(scopes, &text);
	ok = change_begin(h, id, &a, row, e);
	if (ok) {
		row[KEY_SCOPES] = val_text(buf_slice(&text));
		ok = change_end(h, by, S("key.scopes"), row, e);
	}
	buf_done(&text);
	arena_done(&a);
	return ok;
}

bool key_set_expiry(struct store_handle *h, const struct actor *by, struct slice id,
		    uint64_t expires_ms, struct err *e)
{
	struct val row[KEY_COLUMNS];
	struct arena a;
	bool ok;

	if (!expiry_ok(expires_ms, by->now_ms, e))
		return false;
	arena_init(&a, ROW_ARENA);
	ok = change_begin(h, id, &a, row, e);
	if (ok) {
		row[KEY_EXPIRES] = val_int((int64_t)expires_ms);
		ok = change_end(h, by, S("key.expiry"), row, e);
	}
	arena_done(&a);
	return ok;
}

bool key_set_limits(struct store_handle *h, const struct actor *by, struct slice id,
		    const struct mechanisms *mechanisms, const struct networks *networks,
		    struct err *e)
{
	struct val row[KEY_COLUMNS];
	struct buf names, bytes;
	struct arena a;
	bool ok;

	arena_init(&a, ROW_ARENA);
	buf_init(&names, 256);
	buf_init(&bytes, NETWORKS_BYTES);
	if (mechanisms)
		mechanisms_text(*mechanisms, &names);
	if (networks)
		networks_bytes(networks, &bytes);
	ok = !names.failed && !bytes.failed ? change_begin(h, id, &a, row, e)
					    : err_set(e, ERR_LATER, "key: out of memory");
	if (ok && mechanisms)
		row[KEY_MECHANISMS] = text_or_null(&names);
	if (ok && networks)
		row[KEY_NETWORKS] = blob_or_null(&bytes);
	if (ok)
		ok = change_end(h, by, S("key.limits"), row, e);
	buf_done(&names);
	buf_done(&bytes);
	arena_done(&a);
	return ok;
}
