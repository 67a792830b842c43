/* auth/certificate.c -- a client's certificate stands for a key. What TLS has proved is that the
 * client holds the certificate's private key; which names in it count is for whoever made the list
 * of identities. */
#include "auth/login_impl.h"

static void add(struct auth_found *found, const char *id)
{
	for (size_t i = 0; i < found->n; i++)
		if (slice_eq(slice_str(found->ids[i]), slice_str(id)))
			return;
	if (found->n < sizeof(found->ids) / sizeof(found->ids[0]))
		memcpy(found->ids[found->n++], id, KEY_ID_LEN + 1);
}

bool auth_find(struct store_handle *h, const struct auth_attempt *at, struct auth_found *ret,
	       struct err *e)
{
	for (size_t i = 0; i < at->n_identities; i++) {
		char id[KEY_ID_LEN + 1];
		struct err why = { 0 };
		uint64_t account;
		bool got;

		if (!auth_there(key_of_identity(h, at->identities[i], &account, id, &why), &why,
				&got, e))
			return false;
		if (got)
			add(ret, id);
	}
	return true;
}

/* The only one, or the one that the client names. */
static enum auth_reason choose(const struct auth_found *found, struct slice authzid,
			       struct slice *ret)
{
	*ret = slice_str(found->ids[0]);
	if (!found->n)
		return REASON_UNKNOWN_CERTIFICATE;
	if (!key_id_shape(authzid))
		return found->n == 1 ? REASON_OK : REASON_AMBIGUOUS_CERTIFICATE;
	for (size_t i = 0; i < found->n; i++) {
		*ret = slice_str(found->ids[i]);
		if (slice_eq(*ret, authzid))
			return REASON_OK;
	}
	return REASON_OTHER_IDENTITY;
}

bool auth_by_certificate(struct store_handle *h, const struct auth_attempt *at,
			 struct principal *ret, struct auth_finding *f, struct err *e)
{
	uint64_t generation = store_generation(store_of(h));
	enum auth_reason r = REASON_OK;
	struct auth_rows rows = { 0 };
	struct auth_found found = { 0 };
	struct slice id = S("");
	bool ok;

	if (!store_begin(h, STORE_READ, e))
		return auth_down(f);
	ok = auth_find(h, at, &found, e);
	r = choose(&found, at->authzid, &id);
	ok = ok && (r != REASON_OK || auth_look_up(h, id, at->client, &rows, e));
	if (!store_finish(h, ok, e))
		return auth_down(f);
	if (r == REASON_OK && !rows.key_there)
		r = REASON_UNKNOWN_CERTIFICATE;
	if (r != REASON_OK)
		return auth_refuse(f, r, e);
	memcpy(f->key_id, id.p, id.n);
	f->account = rows.key.account;
	return auth_admit(at, &rows, generation, ret, f, e);
}
