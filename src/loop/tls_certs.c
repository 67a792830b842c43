#include "loop/tls_certs.h"

#include "base/arena.h"
#include "loop/tls_impl.h"
#include "ops/readable.h"

#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

/* The names and paths of a set. */
#define TEXT_MAX     (4u << 20)
#define DNS_NAME_MAX 253

enum key_kind {
	KEY_RSA = 1,
	KEY_RSA_PSS = 2,
	KEY_EC = 4,
	KEY_ED25519 = 8,
	KEY_ED448 = 16,
	KEY_OTHER = 32,
};
#define KEY_ALL 63u

struct pair {
	SSL_CTX *ctx; /* owns what follows */
	X509 *cert;
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
	enum key_kind kind;
	struct slice path;
	struct slice *names; /* lower case */
	size_t n_names;
	uint64_t from_ms, until_ms;
};

struct tls_certs {
	atomic_uint owners;
	struct arena arena;
	struct pair *at;
	size_t n;
};

/* -- reading -- */

/* A server has nobody to ask. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf, (void)size, (void)writing, (void)arg;
	return -1;
}

static bool read_pair(struct pair *p, struct slice certificate, struct slice key, struct err *e)
{
	char path[4096];

	p->ctx = SSL_CTX_new(TLS_server_method());
	if (!p->ctx)
		return tls_error(e, "TLS context");
	SSL_CTX_set_default_passwd_cb(p->ctx, no_passphrase);
	if (!tls_path(certificate, path, e) || !readable_check(path, e))
		return false;
	if (SSL_CTX_use_certificate_chain_file(p->ctx, path) != 1)
		return tls_error(e, path);
	if (!tls_path(key, path, e) || !readable_check(path, e))
		return false;
	if (SSL_CTX_use_PrivateKey_file(p->ctx, path, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(p->ctx) != 1)
		return tls_error(e, path);
	p->cert = SSL_CTX_get0_certificate(p->ctx);
	p->key = SSL_CTX_get0_privatekey(p->ctx);
	SSL_CTX_get0_chain_certs(p->ctx, &p->chain);
	return true;
}

static enum key_kind kind_of(const EVP_PKEY *key)
{
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA: return KEY_RSA;
	case EVP_PKEY_RSA_PSS: return KEY_RSA_PSS;
	case EVP_PKEY_EC: return KEY_EC;
	case EVP_PKEY_ED25519: return KEY_ED25519;
	case EVP_PKEY_ED448: return KEY_ED448;
	}
	return KEY_OTHER;
}

static uint64_t unix_ms(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 && timegm(&tm) > 0 ? (uint64_t)timegm(&tm) * 1000 : 0;
}

static bool add_name(struct arena *a, struct pair *p, const ASN1_STRING *text)
{
	int n = ASN1_STRING_length(text);
	struct slice name = slice((const char *)ASN1_STRING_get0_data(text), n > 0 ? (size_t)n : 0);
	char lower[DNS_NAME_MAX];

	/* Not a name that anybody could ask for. */
	if (!name.n || name.n > sizeof lower || memchr(name.p, 0, name.n))
		return true;
	for (size_t i = 0; i < name.n; i++)
		lower[i] = ascii_lower(name.p[i]);
	p->names[p->n_names] = arena_dup(a, slice(lower, name.n));
	return p->names[p->n_names++].p;
}

/* RFC 6125: the DNS names of the subjectAltName; without any, the common name. */
static bool add_names(struct arena *a, struct pair *p)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(p->cert, NID_subject_alt_name, NULL, NULL);
	const X509_NAME *subject = X509_get_subject_name(p->cert);
	int n = all ? sk_GENERAL_NAME_num(all) : 0;
	int cn = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	bool ok;

	p->names = ARENA_ARRAY(a, struct slice, (size_t)n + 1);
	ok = p->names;
	for (int i = 0; ok && i < n; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);

		if (g->type == GEN_DNS)
			ok = add_name(a, p, g->d.dNSName);
	}
	if (ok && !p->n_names && cn >= 0)
		ok = add_name(a, p, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, cn)));
	GENERAL_NAMES_free(all);
	return ok;
}

struct tls_certs *tls_certs_read(const struct slice *certificates, const struct slice *keys,
				 size_t n, struct err *e)
{
	struct tls_certs *c = calloc(1, sizeof *c);
	bool ok = c;

	if (c) {
		arena_init(&c->arena, TEXT_MAX);
		atomic_init(&c->owners, 1);
		c->at = ARENA_ARRAY(&c->arena, struct pair, n);
	}
	if (!c || !c->at) {
		err_set(e, ERR_LATER, "out of memory");
		tls_certs_free(c);
		return NULL;
	}
	for (; ok && c->n < n; c->n++) {
		struct pair *p = &c->at[c->n];

		ok = read_pair(p, certificates[c->n], keys[c->n], e);
		if (!ok)
			continue;
		p->path = arena_dup(&c->arena, certificates[c->n]);
		p->kind = kind_of(p->key);
		p->from_ms = unix_ms(X509_get0_notBefore(p->cert));
		p->until_ms = unix_ms(X509_get0_notAfter(p->cert));
		if (!add_names(&c->arena, p) || !p->path.p)
			ok = err_set(e, ERR_LATER, "out of memory");
	}
	if (ok)
		return c;
	tls_certs_free(c);
	return NULL;
}

struct tls_certs *tls_certs_hold(struct tls_certs *c)
{
	atomic_fetch_add(&c->owners, 1);
	return c;
}

void tls_certs_free(struct tls_certs *c)
{
	if (!c || atomic_fetch_sub(&c->owners, 1) > 1)
		return;
	for (size_t i = 0; i < c->n; i++)
		SSL_CTX_free(c->at[i].ctx);
	arena_done(&c->arena);
	free(c);
}

bool tls_certs_facts(const struct tls_certs *c, size_t i, struct tls_cert_facts *ret)
{
	const struct pair *p;

	if (i >= c->n)
		return false;
	p = &c->at[i];
	*ret = (struct tls_cert_facts){ .path = p->path,
					.name = p->n_names ? p->names[0] : S(""),
					.from_ms = p->from_ms,
					.until_ms = p->until_ms };
	return true;
}

static bool same_chain(const struct pair *a, const struct pair *b)
{
	int n = sk_X509_num(a->chain); /* -1: none */

	if (n != sk_X509_num(b->chain))
		return false;
	for (int i = 0; i < n; i++)
		if (X509_cmp(sk_X509_value(a->chain, i), sk_X509_value(b->chain, i)))
			return false;
	return true;
}

bool tls_certs_same(const struct tls_certs *a, const struct tls_certs *b)
{
	if (a->n != b->n)
		return false;
	/* A certificate has one key. */
	for (size_t i = 0; i < a->n; i++)
		if (X509_cmp(a->at[i].cert, b->at[i].cert) || !same_chain(&a->at[i], &b->at[i]))
			return false;
	return true;
}

/* -- choosing -- */

/* RFC 8446 4.2.3: the kind of key behind a signature scheme. */
static unsigned kind_of_scheme(unsigned scheme)
{
	if (scheme >= 0x0804 && scheme <= 0x0806)
		return KEY_RSA;
	if (scheme >= 0x0809 && scheme <= 0x080b)
		return KEY_RSA_PSS;
	if (scheme == 0x0807)
		return KEY_ED25519;
	if (scheme == 0x0808)
		return KEY_ED448;
	return (scheme & 0xff) == 1 ? KEY_RSA : (scheme & 0xff) == 3 ? KEY_EC : 0;
}

static unsigned kinds_of_schemes(SSL *ssl)
{
	int n = SSL_get_sigalgs(ssl, -1, NULL, NULL, NULL, NULL, NULL);
	unsigned kinds = 0;

	for (int i = 0; i < n; i++) {
		unsigned char sign = 0, hash = 0;

		SSL_get_sigalgs(ssl, i, NULL, NULL, NULL, &sign, &hash);
		kinds |= kind_of_scheme((unsigned)hash << 8 | sign);
	}
	/* RFC 5246 7.4.1.4.1: who says nothing takes what every client of its time takes. */
	return n > 0 ? kinds : KEY_ALL;
}

/* Until TLS 1.2 the cipher says it, too. */
static unsigned kinds_of_ciphers(SSL *ssl)
{
	STACK_OF(SSL_CIPHER) *all = SSL_get_client_ciphers(ssl);
	unsigned kinds = 0;

	if (SSL_version(ssl) > TLS1_2_VERSION)
		return KEY_ALL;
	for (int i = 0; i < sk_SSL_CIPHER_num(all); i++)
		switch (SSL_CIPHER_get_auth_nid(sk_SSL_CIPHER_value(all, i))) {
		case NID_auth_rsa: kinds |= KEY_RSA | KEY_RSA_PSS; break;
		case NID_auth_ecdsa: kinds |= KEY_EC | KEY_ED25519 | KEY_ED448; break;
		default: break;
		}
	return kinds;
}

/* How well a name of a certificate fits: 2 it is the one, 1 its wildcard, 0 not at all. */
static int fits(struct slice mine, struct slice asked)
{
	struct slice label, rest;

	if (slice_ieq(mine, asked))
		return 2;
	return slice_starts(mine, S("*.")) && slice_cut(asked, '.', &label, &rest) && label.n &&
	       slice_ieq(slice_from(mine, 2), rest);
}

static int best_fit(const struct pair *p, struct slice asked)
{
	int best = 0;

	for (size_t i = 0; i < p->n_names; i++) {
		int f = fits(p->names[i], asked);

		best = f > best ? f : best;
	}
	return best;
}

static bool share_a_name(const struct pair *a, const struct pair *b)
{
	for (size_t i = 0; i < a->n_names; i++)
		for (size_t k = 0; k < b->n_names; k++)
			if (slice_eq(a->names[i], b->names[k]))
				return true;
	return false;
}

struct slice tls_asked_name(const SSL *ssl)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	struct slice s = name ? slice_str(name) : S("");

	/* RFC 6066 3: without the dot at the end; some send it. */
	if (s.n && s.p[s.n - 1] == '.')
		s.n--;
	return s;
}

bool tls_certs_bear(const struct tls_certs *c, struct slice name)
{
	for (size_t i = 0; name.n && i < c->n; i++)
		if (best_fit(&c->at[i], name))
			return true;
	return false;
}

/* Both of ssl and of a context could be meant; it is ssl alone that gets it. */
static bool give(SSL *ssl, const struct pair *p)
{
	return SSL_use_cert_and_key(ssl, p->cert, p->key, p->chain, 1) == 1;
}

int tls_certs_choose(SSL *ssl, void *certs)
{
	const struct tls_certs *c = certs;
	unsigned usable = kinds_of_schemes(ssl) & kinds_of_ciphers(ssl), given = 0;
	struct slice name = tls_asked_name(ssl);
	const struct pair *first = NULL;
	int best = 0;

	for (size_t i = 0; i < c->n; i++) {
		const struct pair *p = &c->at[i];
		int f = name.n && (p->kind & usable) ? best_fit(p, name) : 0;

		if (!first && (p->kind & usable))
			first = p;
		best = f > best ? f : best;
	}
	SSL_certs_clear(ssl);
	/* It can use none of them: the library finds the alert. */
	if (!first)
		return give(ssl, &c->at[0]);
	for (size_t i = 0; i < c->n; i++) {
		const struct pair *p = &c->at[i];
		bool mine = best ? best_fit(p, name) == best : p == first || share_a_name(p, first);

		if (!mine || !(p->kind & usable) || (p->kind & given))
			continue;
		if (!give(ssl, p))
			return 0;
		given |= p->kind;
	}
	return 1;
}

bool tls_certs_into(const struct tls_certs *c, SSL_CTX *ctx, struct err *e)
{
	const struct pair *p = &c->at[0];

	return SSL_CTX_use_cert_and_key(ctx, p->cert, p->key, p->chain, 1) == 1 ||
	       tls_error(e, "TLS certificate");
}

size_t tls_certs_count(const struct tls_certs *c)
{
	return c->n;
}
