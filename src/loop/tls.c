#include "loop/tls_impl.h"

#include "base/auto.h"
#include "ops/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define TICKET_ROTATE_MS (12 * 3600 * 1000ull)

struct ticket_key {
	unsigned char name[16], aes[32], hmac[32];
	uint64_t made_ms; /* 0: none */
};

struct tls_server {
	SSL_CTX *ctx;
	struct tls_certs *certs;
	unsigned char alpn[32];
	unsigned alpn_n;
	uint64_t rotate_ms;
	pthread_mutex_t lock;      /* of the ticket keys; handshakes only */
	struct ticket_key keys[2]; /* now, and the one before */
};

struct tls_client {
	SSL_CTX *ctx;
};

bool tls_error(struct err *e, const char *what)
{
	unsigned long code = ERR_get_error();
	const char *why = code ? ERR_reason_error_string(code) : NULL;

	if (code && !why && ERR_SYSTEM_ERROR(code))
		why = strerror(ERR_GET_REASON(code));
	ERR_clear_error();
	return err_set(e, ERR_INPUT, "%s: %s", what, why ? why : "TLS library failed");
}

static int server_index = -1;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void release(void *parent, void *p, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	struct tls_server *t = p;

	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (!t)
		return;
	tls_certs_free(t->certs);
	pthread_mutex_destroy(&t->lock);
	OPENSSL_cleanse(t->keys, sizeof t->keys);
	free(t);
}

static void make_index(void)
{
	/* What the callbacks use lives exactly as long as the SSL_CTX, which every connection holds
	 * a reference of. */
	server_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, release);
}

/* The key to seal with now; the old one stays good for opening. The caller holds the lock. */
static bool rotate(struct tls_server *t)
{
	uint64_t now = clock_mono_ms() + 1;

	if (t->keys[0].made_ms && now - t->keys[0].made_ms < t->rotate_ms)
		return true;
	t->keys[1] = t->keys[0];
	if (RAND_bytes(t->keys[0].name, sizeof t->keys[0].name) != 1 ||
	    RAND_bytes(t->keys[0].aes, sizeof t->keys[0].aes) != 1 ||
	    RAND_bytes(t->keys[0].hmac, sizeof t->keys[0].hmac) != 1)
		return false;
	t->keys[0].made_ms = now;
	return true;
}

/* Rotation waits for somebody to connect: the age of a key counts, not its place. */
static bool good_for_opening(const struct tls_server *t, const struct ticket_key *k)
{
	return k->made_ms && clock_mono_ms() + 1 - k->made_ms < 2 * t->rotate_ms;
}

static int with_key(const struct ticket_key *k, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		    EVP_MAC_CTX *mac, int seal)
{
	char digest[] = "SHA256";
	unsigned char hmac[sizeof k->hmac];
	OSSL_PARAM params[3] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, hmac, sizeof hmac),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	int ok;

	memcpy(hmac, k->hmac, sizeof hmac);
	ok = EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->aes, iv, seal) == 1 &&
	     EVP_MAC_CTX_set_params(mac, params) == 1;
	OPENSSL_cleanse(hmac, sizeof hmac);
	return ok;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		     EVP_MAC_CTX *mac, int seal)
{
	struct tls_server *t = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), server_index);
	int ret = 0;

	pthread_mutex_lock(&t->lock);
	if (!rotate(t)) {
		ret = -1;
	} else if (seal) {
		memcpy(name, t->keys[0].name, sizeof t->keys[0].name);
		ret = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
			      with_key(&t->keys[0], iv, cipher, mac, 1)
			  ? 1
			  : -1;
	} else {
		for (int i = 0; i < 2; i++)
			if (good_for_opening(t, &t->keys[i]) &&
			    !memcmp(name, t->keys[i].name, sizeof t->keys[i].name))
				/* 2: good, but hand out a new one. */
				ret = with_key(&t->keys[i], iv, cipher, mac, 0) ? (i ? 2 : 1) : -1;
	}
	pthread_mutex_unlock(&t->lock);
	return ret;
}

/* RFC 7301: an offer without our protocol is a client that talks to the wrong server. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
		   const unsigned char *in, unsigned in_n, void *arg)
{
	const struct tls_server *t = arg;
	unsigned char *chosen;

	(void)ssl;
	if (!t->alpn_n)
		return SSL_TLSEXT_ERR_NOACK;
	if (SSL_select_next_proto(&chosen, out_n, t->alpn, t->alpn_n, in, in_n) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *context(const SSL_METHOD *method, struct err *e)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx) {
		tls_error(e, "TLS context");
		return NULL;
	}
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!PSK");
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
				     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				  SSL_MODE_AUTO_RETRY);
	return ctx;
}

bool tls_path(struct slice s, char path[4096], struct err *e)
{
	if (!s.n || s.n >= 4096 || memchr(s.p, 0, s.n))
		return err_set(e, ERR_INPUT, "bad path");
	memcpy(path, s.p, s.n);
	path[s.n] = '\0';
	return true;
}

/* RFC 6066 3: a server that made use of the name says so. */
static int on_name(SSL *ssl, int *alert, void *arg)
{
	const struct tls_server *t = arg;

	(void)alert;
	return tls_certs_bear(t->certs, tls_asked_name(ssl)) ? SSL_TLSEXT_ERR_OK
							     : SSL_TLSEXT_ERR_NOACK;
}

static bool use_certs(struct tls_server *t, struct tls_certs *certs, struct err *e)
{
	t->certs = tls_certs_hold(certs);
	if (!tls_certs_into(certs, t->ctx, e))
		return false;
	if (tls_certs_count(certs) > 1)
		SSL_CTX_set_cert_cb(t->ctx, tls_certs_choose, certs);
	SSL_CTX_set_tlsext_servername_callback(t->ctx, on_name);
	SSL_CTX_set_tlsext_servername_arg(t->ctx, t);
	return true;
}

struct tls_server *tls_server_new(const struct tls_server_conf *conf, struct err *e)
{
	struct tls_server *t = calloc(1, sizeof *t);
	unsigned char name[16];

	pthread_once(&once, make_index);
	if (!t) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&t->lock, NULL);
	t->rotate_ms = conf->ticket_rotate_ms ? conf->ticket_rotate_ms : TICKET_ROTATE_MS;
	if (conf->alpn.n && conf->alpn.n < sizeof t->alpn) {
		t->alpn[0] = (unsigned char)conf->alpn.n;
		memcpy(t->alpn + 1, conf->alpn.p, conf->alpn.n);
		t->alpn_n = (unsigned)conf->alpn.n + 1;
	}
	t->ctx = context(TLS_server_method(), e);
	if (!t->ctx || SSL_CTX_set_ex_data(t->ctx, server_index, t) != 1) {
		SSL_CTX_free(t->ctx);
		pthread_mutex_destroy(&t->lock);
		free(t);
		return NULL;
	}
	if (!use_certs(t, conf->certs, e)) {
		tls_server_free(t);
		return NULL;
	}
	/* The client chooses what we compute: so nothing that is dear (finite fields, the large
	 * curves) is on offer. Every client with TLS 1.2 and AEAD knows one of these. */
	if (SSL_CTX_set_cipher_list(t->ctx, "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK") != 1 ||
	    SSL_CTX_set1_groups_list(t->ctx, "X25519:P-256:P-384") != 1) {
		tls_error(e, "TLS policy");
		tls_server_free(t);
		return NULL;
	}
	/* No state on our side: a session lives in the client's ticket or nowhere. */
	SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(t->ctx, 1);
	SSL_CTX_set_max_early_data(t->ctx, 0);
	if (RAND_bytes(name, sizeof name) != 1 ||
	    SSL_CTX_set_session_id_context(t->ctx, name, sizeof name) != 1 ||
	    SSL_CTX_set_tlsext_ticket_key_evp_cb(t->ctx, on_ticket) != 1) {
		tls_error(e, "TLS tickets");
		tls_server_free(t);
		return NULL;
	}
	SSL_CTX_set_alpn_select_cb(t->ctx, on_alpn, t);
	if (conf->ask_certificate && !tls_peer_ask(t->ctx, conf->client_ca, e)) {
		tls_server_free(t);
		return NULL;
	}
	return t;
}

void tls_server_free(struct tls_server *t)
{
	if (t)
		SSL_CTX_free(t->ctx); /* the last reference takes t along */
}

struct tls_server *tls_server_hold(struct tls_server *t)
{
	SSL_CTX_up_ref(t->ctx);
	return t;
}

struct tls_client *tls_client_new(const struct tls_client_conf *conf, struct err *e)
{
	struct tls_client *t = calloc(1, sizeof *t);
	char path[4096];

	if (!t) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	t->ctx = context(TLS_client_method(), e);
	if (!t->ctx) {
		free(t);
		return NULL;
	}
	if (conf->ca_file.n) {
		if (!tls_path(conf->ca_file, path, e) ||
		    (SSL_CTX_load_verify_file(t->ctx, path) != 1 && !tls_error(e, path))) {
			tls_client_free(t);
			return NULL;
		}
	} else {
		SSL_CTX_set_default_verify_paths(t->ctx);
	}
	return t;
}

void tls_client_free(struct tls_client *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->ctx);
	free(t);
}

SSL *tls_server_accept(struct tls_server *t, int fd, struct err *e)
{
	SSL *ssl = SSL_new(t->ctx);

	if (!ssl || SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		tls_error(e, "TLS");
		return NULL;
	}
	SSL_set_accept_state(ssl);
	return ssl;
}

static bool is_address(const char *host)
{
	unsigned char raw[16];

	return inet_pton(AF_INET, host, raw) == 1 || inet_pton(AF_INET6, host, raw) == 1;
}

SSL *tls_client_connect(struct tls_client *t, int fd, struct slice host, bool verify, struct err *e)
{
	SSL *ssl = SSL_new(t->ctx);
	char name[4096];
	bool ok = ssl && SSL_set_fd(ssl, fd) == 1 && host.n < 256 && tls_path(host, name, e);

	if (ok && !is_address(name))
		ok = SSL_set_tlsext_host_name(ssl, name) == 1;
	if (ok && verify) {
		SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
		SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		ok = is_address(name)
			 ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1
			 : SSL_set1_host(ssl, name) == 1;
	}
	if (!ok) {
		SSL_free(ssl);
		tls_error(e, "TLS");
		return NULL;
	}
	SSL_set_connect_state(ssl);
	return ssl;
}

/* -- a certificate for the first start -- */

static bool add_extension(X509 *cert, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *x;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	x = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = x && X509_add_ext(cert, x, -1) == 1;
	X509_EXTENSION_free(x);
	return ok;
}

static X509 *selfsigned(EVP_PKEY *key, const char *hostname)
{
	X509 *cert = X509_new();
	unsigned char serial[16];
	BIGNUM *number = NULL;
	char names[600];
	X509_NAME *subject;
	bool ok;

	snprintf(names, sizeof names, "DNS:%s,DNS:localhost,IP:127.0.0.1,IP:::1", hostname);
	ok = cert && RAND_bytes(serial, sizeof serial) == 1;
	if (ok) {
		serial[0] &= 0x7f;
		number = BN_bin2bn(serial, sizeof serial, NULL);
		ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
	}
	BN_free(number);
	subject = ok ? X509_get_subject_name(cert) : NULL;
	ok = ok && X509_set_version(cert, X509_VERSION_3) == 1 &&
	     X509_gmtime_adj(X509_getm_notBefore(cert), -3600) &&
	     X509_time_adj_ex(X509_getm_notAfter(cert), 3650, 0, NULL) &&
	     X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
					(const unsigned char *)"Signet self-signed", -1, -1,
					0) == 1 &&
	     X509_set_issuer_name(cert, subject) == 1 && X509_set_pubkey(cert, key) == 1 &&
	     add_extension(cert, NID_subject_alt_name, names) &&
	     add_extension(cert, NID_basic_constraints, "critical,CA:TRUE") &&
	     X509_sign(cert, key, EVP_sha256()) > 0;
	if (ok)
		return cert;
	X509_free(cert);
	return NULL;
}

static FILE *create(struct slice where, mode_t mode, struct err *e)
{
	char path[4096];
	AUTO_FD fd = -1;
	FILE *f;

	if (!tls_path(where, path, e))
		return NULL;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0) {
		err_set(e, errno == EEXIST ? ERR_CONFLICT : ERR_DENIED, "%s: %s", path,
			strerror(errno));
		return NULL;
	}
	f = fdopen(fd, "w");
	if (f)
		fd_steal(&fd);
	return f;
}

/* A new file with one of the two. What could not be written whole is removed again. */
static bool write_pem(struct slice where, mode_t mode, EVP_PKEY *key, X509 *cert, struct err *e)
{
	FILE *f = create(where, mode, e);
	char path[4096];
	bool ok;

	if (!f || !tls_path(where, path, e))
		return false;
	ok = (key ? PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL)
		  : PEM_write_X509(f, cert)) == 1;
	ok = fflush(f) == 0 && ok;
	ok = fsync(fileno(f)) == 0 && ok;
	ok = fclose(f) == 0 && ok;
	if (ok)
		return true;
	err_set(e, ERR_LATER, "%s: %s", path, strerror(errno));
	unlink(path);
	return false;
}

bool tls_make_selfsigned(struct slice hostname, struct slice certificate, struct slice key_path,
			 struct err *e)
{
	char name[256];
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = NULL;
	char path[4096];
	bool ok = key && hostname.n && hostname.n < sizeof name;

	if (ok) {
		memcpy(name, hostname.p, hostname.n);
		name[hostname.n] = '\0';
		cert = selfsigned(key, name);
		ok = cert;
	}
	if (!ok)
		tls_error(e, "self-signed certificate");
	ok = ok && write_pem(key_path, 0600, key, NULL, e);
	if (ok && !write_pem(certificate, 0644, NULL, cert, e)) {
		/* Half a pair would be in the way next time. */
		if (tls_path(key_path, path, NULL))
			unlink(path);
		ok = false;
	}
	X509_free(cert);
	EVP_PKEY_free(key);
	return ok;
}
