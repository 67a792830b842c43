/* account/key_text.c -- the form of a key: key.h, without the store. */
#include "account/key.h"
#include "account/key_impl.h"

#include "base/b64.h"
#include "base/must.h"

static bool all_b64url(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_alpha(s.p[i]) && !ascii_digit(s.p[i]) && s.p[i] != '-' && s.p[i] != '_')
			return false;
	return true;
}

bool key_id_shape(struct slice id)
{
	return id.n == KEY_ID_LEN && all_b64url(id);
}

bool key_parse(struct secret text, struct key_text *ret)
{
	struct slice s = text.bytes;
	struct key_text k = { .whole = text };

	if (s.n != KEY_TEXT_LEN || !slice_starts(s, S("SG.")) || s.p[3 + KEY_ID_LEN] != '.')
		return false;
	k.id = slice(s.p + 3, KEY_ID_LEN);
	k.secret = secret(slice(s.p + 3 + KEY_ID_LEN + 1, KEY_SECRET_LEN));
	if (!key_id_shape(k.id) || !all_b64url(k.secret.bytes))
		return false;
	*ret = k;
	return true;
}

static void checksum(const unsigned char id[KEY_ID_RANDOM], unsigned char ret[KEY_ID_CHECK])
{
	static const char label[] = { 's', 'i', 'g', 'n', 'e', 't', '-',
				      'k', 'e', 'y', '-', 'i', 'd', ':' };
	char in[sizeof(label) + KEY_ID_RANDOM];
	unsigned char sum[DIGEST_SHA256];

	memcpy(in, label, sizeof(label));
	memcpy(in + sizeof(label), id, KEY_ID_RANDOM);
	digest_sha256(slice(in, sizeof(in)), sum);
	memcpy(ret, sum, KEY_ID_CHECK);
}

enum key_verdict key_id_verdict(struct slice id)
{
	unsigned char bytes[KEY_ID_RANDOM + KEY_ID_CHECK], sum[KEY_ID_CHECK];

	if (!b64url_decode(bytes, sizeof(bytes), id))
		return KEY_MISTYPED;
	checksum(bytes, sum);
	return memcmp(bytes + KEY_ID_RANDOM, sum, KEY_ID_CHECK) == 0 ? KEY_PLAUSIBLE : KEY_MISTYPED;
}

void key_hash(struct secret secret_part, unsigned char ret[DIGEST_SHA256])
{
	digest_sha256(secret_part.bytes, ret);
}

void key_text_make(const unsigned char random[KEY_RANDOM], char ret[KEY_TEXT_LEN])
{
	unsigned char id[KEY_ID_RANDOM + KEY_ID_CHECK];
	struct buf b;

	memcpy(id, random, KEY_ID_RANDOM);
	id[0] &= 0x7f; /* the first character is a letter: no program takes the id for an option */
	checksum(id, id + KEY_ID_RANDOM);
	buf_init(&b, KEY_TEXT_LEN);
	buf_room_for(&b, KEY_TEXT_LEN); /* in one piece: no copy stays behind when it grows */
	buf_add(&b, S("SG."));
	b64url_encode(&b, slice(id, sizeof(id)));
	buf_addc(&b, '.');
	b64url_encode(&b, slice(random + KEY_ID_RANDOM, KEY_RANDOM - KEY_ID_RANDOM));
	MUST(!b.failed && b.n == KEY_TEXT_LEN);
	memcpy(ret, b.p, KEY_TEXT_LEN);
	buf_wipe(&b);
}

void key_scram_make(struct secret whole, const unsigned char salt[SCRAM_SALT],
		    struct key_scram *ret)
{
	unsigned char salted[DIGEST_SHA256], client[DIGEST_SHA256];

	/* RFC 5802 3. Keys are printable ASCII, so SASLprep (RFC 4013) changes nothing. */
	memcpy(ret->salt, salt, SCRAM_SALT);
	ret->rounds = SCRAM_ROUNDS;
	digest_pbkdf2_sha256(whole.bytes, slice(salt, SCRAM_SALT), SCRAM_ROUNDS, salted);
	digest_hmac_sha256(slice(salted, sizeof(salted)), S("Client Key"), client);
	digest_sha256(slice(client, sizeof(client)), ret->stored_key);
	digest_hmac_sha256(slice(salted, sizeof(salted)), S("Server Key"), ret->server_key);
	digest_wipe(salted, sizeof(salted));
	digest_wipe(client, sizeof(client));
}
