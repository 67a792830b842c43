#include "loop/tls_look.h"

#include "loop/tls_impl.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#define CHAIN_MAX 32

/* -- a certificate on disk -- */

static STACK_OF(X509) * read_chain(const char *path)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	FILE *f = fopen(path, "re");
	X509 *x;

	while (chain && f && sk_X509_num(chain) < CHAIN_MAX &&
	       (x = PEM_read_X509(f, NULL, NULL, NULL)))
		if (!sk_X509_push(chain, x)) {
			X509_free(x);
			break;
		}
	ERR_clear_error(); /* the end of the file is one */
	if (f)
		fclose(f);
	return chain;
}

static EVP_PKEY *read_key(const char *path)
{
	FILE *f = fopen(path, "re");
	EVP_PKEY *k = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;

	if (f)
		fclose(f);
	return k;
}

static int days(const ASN1_TIME *end, time_t now)
{
	ASN1_TIME *t = ASN1_TIME_set(NULL, now);
	int day = 0, second = 0;

	if (t && ASN1_TIME_diff(&day, &second, t, end))
		day -= second < 0 && day == 0;
	ASN1_TIME_free(t);
	return day;
}

static bool names(X509 *x, struct slice host)
{
	return X509_check_host(x, host.p, host.n, 0, NULL) == 1;
}

static bool ordered(STACK_OF(X509) * chain)
{
	for (int i = 0; i + 1 < sk_X509_num(chain); i++)
		if (X509_check_issued(sk_X509_value(chain, i + 1), sk_X509_value(chain, i)) !=
		    X509_V_OK)
			return false;
	return true;
}

static void verify(STACK_OF(X509) * chain, time_t now, struct tls_look *l)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();

	if (store && ctx && X509_STORE_set_default_paths(store) &&
	    X509_STORE_CTX_init(ctx, store, sk_X509_value(chain, 0), chain)) {
		X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), now);
		(void)X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
		l->trusted = X509_verify_cert(ctx) == 1;
		if (!l->trusted)
			snprintf(l->why, sizeof l->why, "%s",
				 X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	}
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	ERR_clear_error();
}

bool tls_look(struct slice certificate, struct slice key, struct slice host, uint64_t now_s,
	      struct tls_look *ret, struct err *e)
{
	char cert_path[4096], key_path[4096];
	struct tls_look l = { 0 };
	STACK_OF(X509) * chain;
	EVP_PKEY *k;
	X509 *x;
	bool ok;

	if (!tls_path(certificate, cert_path, e) || !tls_path(key, key_path, e))
		return false;
	chain = read_chain(cert_path);
	k = read_key(key_path);
	x = chain && sk_X509_num(chain) ? sk_X509_value(chain, 0) : NULL;
	ok = x && k;
	if (!ok)
		tls_error(e, x ? key_path : cert_path);
	if (ok) {
		l.n = (unsigned)sk_X509_num(chain);
		l.days_left = days(X509_get0_notAfter(x), (time_t)now_s);
		l.begun = X509_cmp_time(X509_get0_notBefore(x), &(time_t){ (time_t)now_s }) < 0;
		l.names_host = names(x, host);
		l.key_matches = X509_check_private_key(x, k) == 1;
		l.self_signed = X509_check_issued(x, x) == X509_V_OK;
		l.in_order = ordered(chain);
		verify(chain, (time_t)now_s, &l);
		*ret = l;
	}
	EVP_PKEY_free(k);
	sk_X509_pop_free(chain, X509_free);
	ERR_clear_error();
	return ok;
}

/* -- a conversation -- */

struct tls_talk {
	SSL_CTX *ctx;
	SSL *ssl;
};

const char *tls_version(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}

struct tls_talk *tls_talk_new(int fd, struct slice host, struct slice ca_file, struct err *e)
{
	struct tls_talk *t = calloc(1, sizeof *t);
	char name[256], ca[4096];

	snprintf(name, sizeof name, "%.*s", SLICE_ARG(host));
	if (t)
		t->ctx = SSL_CTX_new(TLS_client_method());
	if (t && t->ctx) {
		/* Without it, nothing is trusted: which is told. */
		if (ca_file.n && tls_path(ca_file, ca, NULL))
			(void)SSL_CTX_load_verify_locations(t->ctx, ca, NULL);
		else
			(void)SSL_CTX_set_default_verify_paths(t->ctx);
		t->ssl = SSL_new(t->ctx);
	}
	/* Looked at, not insisted on: what is wrong is told, and the conversation goes on. */
	if (t && t->ssl && SSL_set_fd(t->ssl, fd) && SSL_set_tlsext_host_name(t->ssl, name) &&
	    SSL_set1_host(t->ssl, name) && SSL_connect(t->ssl) == 1)
		return t;
	tls_error(e, "TLS");
	tls_talk_free(t);
	return NULL;
}

void tls_talk_free(struct tls_talk *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	SSL_CTX_free(t->ctx);
	free(t);
	ERR_clear_error();
}

bool tls_talk_verified(const struct tls_talk *t)
{
	return SSL_get_verify_result(t->ssl) == X509_V_OK;
}

ssize_t tls_talk_read(struct tls_talk *t, void *to, size_t n)
{
	return SSL_read(t->ssl, to, n < 65536 ? (int)n : 65536);
}

ssize_t tls_talk_write(struct tls_talk *t, struct slice s)
{
	return SSL_write(t->ssl, s.p, s.n < 65536 ? (int)s.n : 65536);
}
