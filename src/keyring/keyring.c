/* keyring/keyring.c -- see keyring.h. */
#include "keyring/keyring.h"

#include "base/auto.h"
#include "base/b64.h"
#include "base/fault.h"
#include "base/must.h"
#include "digest/digest.h"
#include "digest/md5.h"

#include <sodium.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>

#define KEY_BYTES   crypto_aead_xchacha20poly1305_ietf_KEYBYTES
#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES   crypto_aead_xchacha20poly1305_ietf_ABYTES
#define FILE_HEAD   "signet-master-key 1\n"
#define FILE_MAX    1024
#define PURPOSE_MAX 256

_Static_assert(KEYRING_OVERHEAD + HMAC_MD5_STATE == KEYRING_CRAM_MD5, "keyring.h says how much");
_Static_assert(1 + NONCE_BYTES + TAG_BYTES == KEYRING_OVERHEAD, "keyring.h says how much");

struct keyring {
	unsigned char *keys; /* KEYRING_KEYS of KEY_BYTES in guarded memory, read-only */
	unsigned char numbers[KEYRING_KEYS];
	unsigned n; /* the first one seals */
	/* Opens like what a key has for CRAM-MD5, takes as long, and is nobody's. */
	unsigned char nobodys[KEYRING_CRAM_MD5];
};

/* As long as a key's. */
#define NOBODYS S("cram-md5:AAAAAAAAAAAAAAAAAAAAAA")

void keyring_random(void *p, size_t n)
{
	unsigned char *at = p;

	while (n) {
		ssize_t got = getrandom(at, n < 256 ? n : 256, 0);

		if (got < 0 && errno == EINTR)
			continue;
		MUST(got > 0);
		at += got;
		n -= (size_t)got;
	}
}

static bool path_text(struct slice path, char ret[PATH_MAX], struct err *e)
{
	if (!path.n || path.n >= PATH_MAX || memchr(path.p, 0, path.n))
		return err_set(e, ERR_INPUT, "master key: not a path");
	memcpy(ret, path.p, path.n);
	ret[path.n] = 0;
	return true;
}

static bool sync_parent(const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX] = ".";

	if (slash) {
		size_t n = slash == path ? 1 : (size_t)(slash - path);

		memcpy(dir, path, n);
		dir[n] = 0;
	}
	AUTO_FD fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return err_set(e, ERR_LATER, "%s: %s", dir, strerror(errno));
	return true;
}

static bool write_all(int fd, struct slice s)
{
	while (s.n) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		slice_take(&s, (size_t)n);
	}
	return true;
}

static void add_key(struct buf *text, unsigned number, const unsigned char key[KEY_BYTES])
{
	buf_addf(text, "key %u ", number);
	b64url_encode(text, slice(key, KEY_BYTES));
	buf_addc(text, '\n');
}

static void begin_text(struct buf *text)
{
	buf_init(text, FILE_MAX);
	buf_room_for(text, FILE_MAX); /* in one piece, so that no copy stays behind in the heap */
	buf_add(text, S(FILE_HEAD));
}

static void add_fresh(struct buf *text, unsigned number)
{
	unsigned char key[KEY_BYTES];

	keyring_random(key, sizeof(key));
	add_key(text, number, key);
	sodium_memzero(key, sizeof(key));
}

/* A new file, synced; what could not be written whole is taken away again. */
static bool write_file(const char *name, const struct buf *text, struct err *e)
{
	AUTO_FD fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	bool ok;

	if (fd < 0)
		return err_set(e, errno == EEXIST ? ERR_CONFLICT : ERR_LATER, "%s: %s", name,
			       strerror(errno));
	/* The umask may have taken bits away; 0600 is what opens again. */
	ok = !text->failed && fchmod(fd, 0600) == 0 && write_all(fd, buf_slice(text)) &&
	     fsync(fd) == 0;
	if (!ok) {
		err_set(e, ERR_LATER, "%s: %s", name, strerror(errno));
		unlink(name); /* half a key file would stand in the way of the next try */
	}
	return ok;
}

bool keyring_create(struct slice path, struct err *e)
{
	char name[PATH_MAX];
	struct buf text;
	bool ok;

	if (!path_text(path, name, e))
		return false;
	begin_text(&text);
	add_fresh(&text, 1);
	ok = write_file(name, &text, e);
	buf_wipe(&text);
	if (ok && !sync_parent(name, e)) {
		unlink(name);
		return false;
	}
	return ok;
}

/* The file as it will be, in place of the one that is there. */
static bool replace_file(const char *name, const struct buf *text, struct err *e)
{
	char fresh[PATH_MAX + 8];

	snprintf(fresh, sizeof(fresh), "%s.new", name);
	/* Of a try that was cut short: nothing was sealed with what is in it. */
	if (unlink(fresh) < 0 && errno != ENOENT)
		return err_set(e, ERR_LATER, "%s: %s", fresh, strerror(errno));
	FAULT_DIE("keyring_begun");
	if (!write_file(fresh, text, e))
		return false;
	FAULT_DIE("keyring_written");
	if (rename(fresh, name) < 0) {
		err_set(e, ERR_LATER, "%s: %s", name, strerror(errno));
		unlink(fresh);
		return false;
	}
	FAULT_DIE("keyring_renamed");
	return sync_parent(name, e);
}

static unsigned free_number(const struct keyring *k)
{
	unsigned number = k->numbers[0];

	do
		number = number % 255 + 1;
	while (memchr(k->numbers, (int)number, k->n));
	return number;
}

static bool rewrite(struct slice path, bool fresh, struct err *e)
{
	struct keyring *k = keyring_open(path, e);
	char name[PATH_MAX];
	struct buf text;
	unsigned keep = fresh ? k ? k->n : 0 : 1;
	bool ok = k && path_text(path, name, e);

	if (ok && fresh && k->n == KEYRING_KEYS)
		ok = err_set(e, ERR_CONFLICT, "%s: holds %d keys: prune it first", name,
			     KEYRING_KEYS);
	if (ok) {
		begin_text(&text);
		if (fresh)
			add_fresh(&text, free_number(k));
		for (unsigned i = 0; i < keep; i++)
			add_key(&text, k->numbers[i], k->keys + i * KEY_BYTES);
		ok = replace_file(name, &text, e);
		buf_wipe(&text);
	}
	keyring_close(k);
	return ok;
}

bool keyring_rotate(struct slice path, struct err *e)
{
	return rewrite(path, true, e);
}

bool keyring_prune(struct slice path, struct err *e)
{
	return rewrite(path, false, e);
}

unsigned keyring_keys(const struct keyring *k)
{
	return k->n;
}

unsigned keyring_number(const struct keyring *k)
{
	return k->numbers[0];
}

unsigned keyring_key_of(struct slice blob)
{
	return blob.n < KEYRING_OVERHEAD ? 0 : (unsigned char)blob.p[0];
}

static bool line_parse(struct slice line, struct keyring *k)
{
	struct slice word, rest;
	uint64_t number;

	if (k->n == KEYRING_KEYS || !slice_starts(line, S("key ")) ||
	    !slice_cut(slice_from(line, 4), ' ', &word, &rest) || !slice_u64(word, &number) ||
	    number < 1 || number > 255 || memchr(k->numbers, (int)number, k->n) ||
	    !b64url_decode(k->keys + k->n * KEY_BYTES, KEY_BYTES, rest))
		return false;
	k->numbers[k->n++] = (unsigned char)number;
	return true;
}

/* Exactly what is written above, nothing looser. */
static bool file_parse(struct slice s, struct keyring *k)
{
	struct slice line;

	if (!slice_starts(s, S(FILE_HEAD)) || !slice_ends(s, S("\n")))
		return false;
	for (s = slice_from(s, sizeof(FILE_HEAD) - 1); s.n;) {
		slice_cut(s, '\n', &line, &s);
		if (!line_parse(line, k))
			return false;
	}
	return k->n > 0;
}

static bool file_check(int fd, const char *name, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(e, ERR_LATER, "%s: %s", name, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_DENIED, "%s: not a regular file", name);
	if (st.st_uid != geteuid())
		return err_set(e, ERR_DENIED,
			       "%s: owned by user %u, but Signet runs as user %u: chown it", name,
			       (unsigned)st.st_uid, (unsigned)geteuid());
	if (st.st_mode & 0177)
		return err_set(e, ERR_DENIED,
			       "%s: mode %04o lets others at the master key: chmod 600 it", name,
			       (unsigned)st.st_mode & 07777);
	return true;
}

/* Key number and purpose. */
static bool make_ad(unsigned char number, struct slice purpose, unsigned char ad[1 + PURPOSE_MAX])
{
	if (!purpose.n || purpose.n > PURPOSE_MAX)
		return false;
	ad[0] = number;
	memcpy(ad + 1, purpose.p, purpose.n);
	return true;
}

/* To KEYRING_OVERHEAD bytes more than plain has. The purpose has a right length. */
static void seal(const struct keyring *k, struct slice purpose, struct slice plain,
		 unsigned char *to)
{
	unsigned char ad[1 + PURPOSE_MAX];

	MUST(make_ad(k->numbers[0], purpose, ad));
	to[0] = k->numbers[0];
	keyring_random(to + 1, NONCE_BYTES);
	crypto_aead_xchacha20poly1305_ietf_encrypt(to + 1 + NONCE_BYTES, NULL,
						   (const unsigned char *)plain.p, plain.n, ad,
						   1 + purpose.n, NULL, to + 1, k->keys);
}

static void make_nobodys(struct keyring *k)
{
	const char zeros[HMAC_MD5_STATE] = { 0 };
	struct slice purpose = NOBODYS;

	seal(k, purpose, slice(zeros, sizeof(zeros)), k->nobodys);
}

struct keyring *keyring_open(struct slice path, struct err *e)
{
	char name[PATH_MAX], text[FILE_MAX];
	struct keyring *k;
	size_t n = 0;
	ssize_t got;
	bool ok;

	if (!path_text(path, name, e))
		return NULL;
	if (sodium_init() < 0) {
		err_set(e, ERR_BUG, "libsodium does not start");
		return NULL;
	}
	AUTO_FD fd = open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		err_set(e,
			errno == ENOENT                     ? ERR_ABSENT
			: errno == EACCES || errno == ELOOP ? ERR_DENIED
							    : ERR_LATER,
			"%s: %s", name, strerror(errno));
		return NULL;
	}
	if (!file_check(fd, name, e))
		return NULL;
	while (n < sizeof(text) &&
	       ((got = read(fd, text + n, sizeof(text) - n)) > 0 || (got < 0 && errno == EINTR)))
		n += got > 0 ? (size_t)got : 0;
	k = calloc(1, sizeof(*k));
	/* Guard pages, and locked where the limit allows: libsodium goes on without the lock. */
	if (k)
		k->keys = sodium_malloc(KEYRING_KEYS * KEY_BYTES);
	ok = k && k->keys;
	if (!ok)
		err_set(e, ERR_LATER, "no memory for the master key");
	else if (!(ok = file_parse(slice(text, n), k)))
		err_set(e, ERR_DAMAGED, "%s: not a master key file of this version", name);
	sodium_memzero(text, sizeof(text));
	if (!ok) {
		keyring_close(k);
		return NULL;
	}
	MUST(sodium_mprotect_readonly(k->keys) == 0);
	make_nobodys(k);
	return k;
}

void keyring_close(struct keyring *k)
{
	if (!k)
		return;
	sodium_free(k->keys); /* wipes */
	free(k);
}

bool keyring_seal(const struct keyring *k, struct slice purpose, struct secret plain,
		  struct buf *out, struct err *e)
{
	size_t n = plain.bytes.n + KEYRING_OVERHEAD;
	char *at;

	if (!purpose.n || purpose.n > PURPOSE_MAX)
		return err_set(e, ERR_INPUT, "seal: a purpose has 1 to %d bytes", PURPOSE_MAX);
	if (n < plain.bytes.n || !(at = buf_room_for(out, n)))
		return err_set(e, ERR_LATER, "seal: no room");
	seal(k, purpose, plain.bytes, (unsigned char *)at);
	buf_grew(out, n);
	return true;
}

static const unsigned char *find_key(const struct keyring *k, unsigned char number)
{
	const unsigned char *at = memchr(k->numbers, number, k->n);

	return at ? k->keys + (size_t)(at - k->numbers) * KEY_BYTES : NULL;
}

bool keyring_unseal(const struct keyring *k, struct slice purpose, struct slice blob,
		    struct buf *out, struct err *e)
{
	unsigned char ad[1 + PURPOSE_MAX], *at;
	const unsigned char *b = (const unsigned char *)blob.p;
	const unsigned char *key;
	size_t n;

	if (!make_ad((unsigned char)keyring_key_of(blob), purpose, ad))
		return err_set(e, ERR_INPUT, "unseal: a purpose has 1 to %d bytes", PURPOSE_MAX);
	if (blob.n < KEYRING_OVERHEAD)
		return err_set(e, ERR_DAMAGED, "sealed secret is cut short");
	key = find_key(k, b[0]);
	if (!key)
		return err_set(e, ERR_DAMAGED,
			       "secret is sealed with master key %u, which the key file does not "
			       "hold (it seals with %u)",
			       b[0], k->numbers[0]);
	n = blob.n - KEYRING_OVERHEAD;
	/* An empty secret still needs a place to write nothing to. */
	if (!(at = (unsigned char *)buf_room_for(out, n ? n : 1)))
		return err_set(e, ERR_LATER, "unseal: no room");
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(at, NULL, NULL, b + 1 + NONCE_BYTES,
						       blob.n - 1 - NONCE_BYTES, ad, 1 + purpose.n,
						       b + 1, key) != 0)
		return err_set(e, ERR_DAMAGED,
			       "sealed secret does not open: altered, or another purpose or key");
	buf_grew(out, n);
	return true;
}

bool keyring_derive(const struct keyring *k, struct slice purpose,
		    unsigned char ret[KEYRING_DERIVED], struct err *e)
{
	unsigned char ad[1 + PURPOSE_MAX];

	const unsigned char *oldest = k->keys + (size_t)(k->n - 1) * KEY_BYTES;

	if (!make_ad(k->numbers[k->n - 1], purpose, ad))
		return err_set(e, ERR_INPUT, "derive: a purpose has 1 to %d bytes", PURPOSE_MAX);
	/* Keyed BLAKE2b: another primitive than the sealing, so they do not meet. */
	MUST(crypto_generichash(ret, KEYRING_DERIVED, ad, 1 + purpose.n, oldest, KEY_BYTES) == 0);
	return true;
}

bool keyring_cram_md5_seal(const struct keyring *k, struct slice purpose, struct secret plain,
			   struct buf *out, struct err *e)
{
	unsigned char state[HMAC_MD5_STATE];
	bool ok;

	digest_hmac_md5_state(plain.bytes, state);
	ok = keyring_seal(k, purpose, secret(slice(state, sizeof(state))), out, e);
	sodium_memzero(state, sizeof(state));
	return ok;
}

bool keyring_cram_md5_check(const struct keyring *k, struct slice purpose, struct slice blob,
			    struct slice challenge, const unsigned char digest[DIGEST_MD5])
{
	unsigned char want[DIGEST_MD5];
	bool opened, same, there = blob.n == KEYRING_CRAM_MD5;
	struct buf state;

	/* What is not there is looked at like what is: one that does not open costs less. */
	if (!there) {
		blob = slice(k->nobodys, sizeof(k->nobodys));
		purpose = NOBODYS;
	}
	buf_init(&state, HMAC_MD5_STATE);
	if (!buf_room_for(&state, HMAC_MD5_STATE))
		return false;
	memset(state.p, 0, HMAC_MD5_STATE);
	opened = keyring_unseal(k, purpose, blob, &state, NULL);
	digest_hmac_md5_finish((const unsigned char *)state.p, challenge, want);
	same = digest_equal(slice(want, sizeof(want)), slice(digest, DIGEST_MD5));
	sodium_memzero(want, sizeof(want));
	sodium_memzero(state.p, HMAC_MD5_STATE);
	buf_wipe(&state);
	return there && opened && same;
}
