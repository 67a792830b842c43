/* auth/exchange.c -- SCRAM and CRAM-MD5: the user name is the id of a key, and its secret was never
 * sent. Names that are no id run the same way to the same end. */
#include "account/key.h"
#include "auth/login_impl.h"

/* For a name that is no id: looked up like one, and never let in. */
#define NO_ID S("AAAAAAAAAAAAAAAAAAAAAA")

static struct slice id_of(struct slice username)
{
	return key_id_shape(username) ? username : NO_ID;
}

/* Of a key that is not there, the one that stands in for it: looked up, and of no use. */
static struct slice id_to_read(const struct key *k, struct slice id)
{
	return k->id[0] ? slice_str(k->id) : id;
}

/* One of the values that are made up for a name. */
static void made_up(const unsigned char secret[AUTH_SECRET], char which, struct slice name,
		    unsigned char ret[DIGEST_SHA256])
{
	char text[256] = { which };
	size_t n = name.n < sizeof(text) - 1 ? name.n : sizeof(text) - 1;

	if (n)
		memcpy(text + 1, name.p, n);
	digest_hmac_sha256(slice(secret, AUTH_SECRET), slice(text, 1 + n), ret);
}

static void make_up(const unsigned char secret[AUTH_SECRET], struct slice name,
		    struct key_scram *ret)
{
	unsigned char salt[DIGEST_SHA256];

	made_up(secret, 's', name, salt);
	memcpy(ret->salt, salt, sizeof(ret->salt));
	ret->rounds = SCRAM_ROUNDS;
	/* A hash of nothing that anybody has. */
	made_up(secret, 'c', name, ret->stored_key);
	made_up(secret, 'k', name, ret->server_key);
}

bool auth_verifier(struct store_handle *h, const unsigned char secret[AUTH_SECRET],
		   struct slice username, struct auth_verifier *ret, struct err *e)
{
	struct slice id = id_of(username);
	bool key_there = false, scram_there = false, ok;
	struct key_scram real = { 0 };
	struct err why = { 0 };
	struct key key = { 0 };

	make_up(secret, username, &ret->scram);
	if (!store_begin(h, STORE_READ, e))
		return false;
	ok = key_find_evenly(h, id, &key, &key_there, e) &&
	     auth_there(key_scram(h, key.account, id_to_read(&key, id), &real, &why), &why,
			&scram_there, e);
	if (!store_finish(h, ok, e))
		return false;
	ret->nobodys = !key_there || !scram_there || !key_id_shape(username);
	if (!ret->nobodys)
		ret->scram = real;
	return true;
}

/* What is wrong with the proof; the same work, whatever it is. */
static bool proof_of(struct store_handle *h, const struct auth_attempt *at,
		     const struct auth_rows *rows, struct slice id, enum auth_reason *ret,
		     struct err *e)
{
	bool right = false;

	*ret = at->fault;
	if (at->by != AUTH_BY_CRAM_MD5)
		return true;
	if (!key_cram_md5(h, at->keyring, rows->key.account, id_to_read(&rows->key, id),
			  at->challenge, at->digest, &right, e))
		return false;
	*ret = right ? REASON_OK : rows->key.cram_md5 ? REASON_WRONG_SECRET : REASON_NO_CRAM_MD5;
	return true;
}

bool auth_by_exchange(struct store_handle *h, const struct auth_attempt *at, struct principal *ret,
		      struct auth_finding *f, struct err *e)
{
	uint64_t generation = store_generation(store_of(h));
	struct slice id = id_of(at->username);
	enum auth_reason proof = REASON_OK;
	struct auth_rows rows = { 0 };
	bool shaped = key_id_shape(at->username), ok;
	enum key_verdict verdict;

	if (shaped)
		memcpy(f->key_id, id.p, id.n);
	if (!store_begin(h, STORE_READ, e))
		return auth_down(f);
	ok = auth_look_up(h, id, at->client, &rows, e) && proof_of(h, at, &rows, id, &proof, e);
	if (!store_finish(h, ok, e))
		return auth_down(f);
	if (!shaped)
		return auth_refuse(f, REASON_NOT_A_KEY_ID, e);
	verdict = key_id_verdict(id); /* for all: it takes a microsecond */
	if (!rows.key_there)
		return auth_refuse(
		    f, verdict == KEY_PLAUSIBLE ? REASON_UNKNOWN_KEY : REASON_MISTYPED_KEY, e);
	f->account = rows.key.account;
	if (proof != REASON_OK)
		return auth_refuse(f, proof, e);
	return auth_admit(at, &rows, generation, ret, f, e);
}
