/* loop/tls_sni_test.c -- which of several certificates a client gets, and what a set of them is. */
#include "loop/stream.h"

#include "loop/room_test.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* In the order of the configuration. cn: what the tests know it by. */
static const struct made {
	const char *cn, *names;
	bool rsa;
	long from, until; /* seconds from now */
} made[] = {
	{ "first", "DNS:mail.example,DNS:SMTP.example,IP:127.0.0.1", false, -60, 86400 },
	{ "first-rsa", "DNS:mail.example", true, -60, 86400 },
	{ "other", "DNS:other.example", false, -60, 86400 },
	{ "other-rsa", "DNS:other.example", true, -60, 86400 },
	{ "wild", "DNS:*.wild.example", true, -60, 86400 },
	{ "wild-ec", "DNS:*.wild.example", false, -60, 86400 },
	{ "in-wild", "DNS:a.wild.example", false, -60, 86400 },
	{ "no-san.example", NULL, true, -60, 86400 },
	{ "old", "DNS:old.example,DNS:a.old.example", true, -7200, -3600 },
};
#define MADE (sizeof made / sizeof *made)

static char dir[32], files[2 * MADE][64];
static struct slice certs[MADE], keys[MADE];
static struct loop *loop;

static bool make(const struct made *m, const char *cert_path, const char *key_path)
{
	EVP_PKEY *key = m->rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_EXTENSION *x = NULL;
	FILE *c = fopen(cert_path, "w"), *k = fopen(key_path, "w");
	bool ok;

	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), m->from);
	X509_gmtime_adj(X509_getm_notAfter(cert), m->until);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
				   (const unsigned char *)m->cn, -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	if (m->names)
		x = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, m->names);
	ok = (!m->names || (x && X509_add_ext(cert, x, -1))) &&
	     X509_sign(cert, key, EVP_sha256()) > 0 && c && k && PEM_write_X509(c, cert) == 1 &&
	     PEM_write_PrivateKey(k, key, NULL, NULL, 0, NULL, NULL) == 1;
	ok = !fclose(c) && !fclose(k) && ok;
	X509_EXTENSION_free(x);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ok;
}

static int set_up(void **state)
{
	struct err e;
	bool ok;

	(void)state;
	snprintf(dir, sizeof dir, "/tmp/sni.XXXXXX");
	loop = loop_new(&e);
	ok = mkdtemp(dir) && loop;
	for (size_t i = 0; ok && i < MADE; i++) {
		snprintf(files[2 * i], sizeof *files, "%s/%zu.pem", dir, i);
		snprintf(files[2 * i + 1], sizeof *files, "%s/%zu.key", dir, i);
		certs[i] = slice_str(files[2 * i]);
		keys[i] = slice_str(files[2 * i + 1]);
		ok = make(&made[i], files[2 * i], files[2 * i + 1]);
	}
	return ok ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	loop_free(loop);
	for (size_t i = 0; i < 2 * MADE; i++)
		unlink(files[i]);
	return rmdir(dir);
}

static void nothing(void *arg)
{
	(void)arg;
}

/* What a client is served: the common name in cn; "" when the handshake fails. ctx decides what it
 * can; asked may be NULL. */
static void served(struct tls_server *t, SSL_CTX *ctx, const char *asked, char cn[64])
{
	struct stream s;
	struct err e = { 0 };
	enum stream_result r = STREAM_AGAIN;
	SSL *c = SSL_new(ctx);
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	assert_true(stream_init(&s, loop, fd[0], nothing, NULL));
	assert_true(stream_start_server(&s, t, &e));
	SSL_set_fd(c, fd[1]);
	SSL_set_connect_state(c);
	if (asked)
		assert_int_equal(SSL_set_tlsext_host_name(c, asked), 1);
	for (int i = 0; i < 10 && r == STREAM_AGAIN; i++) {
		ERR_clear_error();
		SSL_do_handshake(c);
		r = stream_handshake(&s, &e);
	}
	cn[0] = '\0';
	ERR_clear_error();
	if (r == STREAM_OK && SSL_do_handshake(c) == 1)
		X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(c)),
					  NID_commonName, cn, 64);
	stream_close(&s);
	SSL_free(c);
	close(fd[1]);
	ERR_clear_error();
}

static struct tls_server *server_of(size_t from, size_t n)
{
	struct err e = { 0 };
	struct tls_certs *c = tls_certs_read(certs + from, keys + from, n, &e);
	struct tls_server *t =
	    c ? tls_server_new(&(struct tls_server_conf){ .certs = c }, &e) : NULL;

	tls_certs_free(c);
	if (!t)
		fail_msg("%s", e.text);
	return t;
}

enum { BOTH, RSA_ALONE, EC_ALONE };

static void limit(SSL_CTX *ctx, int version, int keys_known)
{
	static const char *const algs[] = { "ECDSA+SHA256:RSA-PSS+SHA256:RSA+SHA256",
					    "RSA-PSS+SHA256:RSA+SHA256", "ECDSA+SHA256" };

	assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
	assert_int_equal(SSL_CTX_set1_sigalgs_list(ctx, algs[keys_known]), 1);
}

static void test_names(void **state)
{
	static const struct {
		const char *asked;
		int known;
		const char *want;
	} cases[] = {
		/* Both kinds stand side by side for one name; which of them is the client's wish.
		 */
		{ "mail.example", BOTH, "first" },
		{ "mail.example", EC_ALONE, "first" },
		{ "mail.example", RSA_ALONE, "first-rsa" },
		{ "other.example", EC_ALONE, "other" },
		{ "other.example", RSA_ALONE, "other-rsa" },
		/* Names know no case; the dot at the end is none of theirs. */
		{ "smtp.example", BOTH, "first" },
		{ "OTHER.EXAMPLE", RSA_ALONE, "other-rsa" },
		{ "other.example.", RSA_ALONE, "other-rsa" },
		/* A wildcard is one label, and the exact name goes before it. */
		{ "b.wild.example", RSA_ALONE, "wild" },
		{ "b.wild.example", BOTH, "wild-ec" },
		{ "a.wild.example", BOTH, "in-wild" },
		{ "wild.example", BOTH, "first" },
		{ ".wild.example", RSA_ALONE, "first-rsa" },
		{ "c.b.wild.example", BOTH, "first" },
		/* Of what bears the exact name, this client can use nothing: then the wildcard. */
		{ "a.wild.example", RSA_ALONE, "wild" },
		{ "no-san.example", BOTH, "no-san.example" },
		{ "a.old.example", BOTH, "old" },
		/* Strangers: the first, no alert. */
		{ "nowhere.example", BOTH, "first" },
		{ "nowhere.example", RSA_ALONE, "first-rsa" },
		{ NULL, BOTH, "first" },
		{ NULL, RSA_ALONE, "first-rsa" },
		{ "mail.example\\", BOTH, "first" },
	};
	struct tls_server *t = server_of(0, MADE);

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
			SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
			char cn[64];

			limit(ctx, version, cases[i].known);
			served(t, ctx, cases[i].asked, cn);
			if (strcmp(cn, cases[i].want))
				fail_msg("%s (%d, %x): wanted %s, got \"%s\"", cases[i].asked,
					 cases[i].known, (unsigned)version, cases[i].want, cn);
			SSL_CTX_free(ctx);
		}
	tls_server_free(t);
}

/* Before TLS 1.3 the cipher says what key it needs, whatever the signatures. */
static void test_ciphers(void **state)
{
	static const struct {
		const char *ciphers, *asked, *want;
	} cases[] = {
		{ "ECDHE-RSA-AES128-GCM-SHA256", "other.example", "other-rsa" },
		{ "ECDHE-ECDSA-AES128-GCM-SHA256", "other.example", "other" },
		{ "ECDHE-ECDSA-AES128-GCM-SHA256", "b.wild.example", "wild-ec" },
		{ "ECDHE-ECDSA-AES128-GCM-SHA256", "no-san.example", "first" },
		{ "ECDHE-RSA-AES128-GCM-SHA256", NULL, "first-rsa" },
	};
	struct tls_server *t = server_of(0, MADE);

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
		char cn[64];

		limit(ctx, TLS1_2_VERSION, BOTH);
		assert_int_equal(SSL_CTX_set_cipher_list(ctx, cases[i].ciphers), 1);
		served(t, ctx, cases[i].asked, cn);
		assert_string_equal(cn, cases[i].want);
		SSL_CTX_free(ctx);
	}
	tls_server_free(t);
}

/* A client that knows no key of ours: an alert, and nothing breaks. With one pair there is nothing
 * to choose, whatever is asked for. */
static void test_nothing_to_choose(void **state)
{
	struct tls_server *all = server_of(0, 1), *rsa = server_of(1, 1);
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	char cn[64];

	(void)state;
	limit(ctx, TLS1_3_VERSION, RSA_ALONE);
	served(all, ctx, "mail.example", cn);
	assert_string_equal(cn, "");
	served(rsa, ctx, "nowhere.example", cn);
	assert_string_equal(cn, "first-rsa");
	tls_server_free(all);
	all = server_of(2, 2);
	SSL_CTX_set1_sigalgs_list(ctx, "ed25519");
	served(all, ctx, "other.example", cn);
	assert_string_equal(cn, "");
	SSL_CTX_free(ctx);
	tls_server_free(all);
	tls_server_free(rsa);
}

/* For a stranger, too, the kinds of one name stand side by side: the library prefers ECDSA. What
 * bears another name does not come in between. */
static void test_strangers_kinds(void **state)
{
	static const struct {
		size_t second;
		const char *want;
	} cases[] = { { 0, "first" }, { 2, "first-rsa" } };
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	char cn[64];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		const struct slice c[] = { certs[1], certs[cases[i].second] };
		const struct slice k[] = { keys[1], keys[cases[i].second] };
		struct err e;
		struct tls_certs *both = tls_certs_read(c, k, 2, &e);
		struct tls_server *t =
		    tls_server_new(&(struct tls_server_conf){ .certs = both }, &e);

		served(t, ctx, NULL, cn);
		assert_string_equal(cn, cases[i].want);
		tls_server_free(t);
		tls_certs_free(both);
	}
	SSL_CTX_free(ctx);
}

static void test_facts(void **state)
{
	struct err e;
	struct tls_certs *c = tls_certs_read(certs, keys, MADE, &e);
	struct tls_cert_facts f;
	size_t n = 0;

	(void)state;
	assert_non_null(c);
	for (; tls_certs_facts(c, n, &f); n++) {
		assert_true(slice_eq(f.path, certs[n]));
		assert_int_equal((f.until_ms - f.from_ms) / 1000, made[n].until - made[n].from);
	}
	assert_int_equal(n, MADE);
	assert_true(tls_certs_facts(c, 0, &f) && slice_eq(f.name, S("mail.example")));
	assert_true(tls_certs_facts(c, 4, &f) && slice_eq(f.name, S("*.wild.example")));
	assert_true(tls_certs_facts(c, 7, &f) && slice_eq(f.name, S("no-san.example")));
	tls_certs_free(c);
}

static void test_same(void **state)
{
	struct err e;
	struct tls_certs *a = tls_certs_read(certs, keys, 2, &e),
			 *b = tls_certs_read(certs, keys, 2, &e),
			 *fewer = tls_certs_read(certs, keys, 1, &e),
			 *other = tls_certs_read(certs + 1, keys + 1, 2, &e);

	(void)state;
	assert_true(tls_certs_same(a, b));
	assert_false(tls_certs_same(a, fewer));
	assert_false(tls_certs_same(a, other));
	assert_ptr_equal(tls_certs_hold(a), a);
	tls_certs_free(a);
	assert_true(tls_certs_same(a, b));
	tls_certs_free(a), tls_certs_free(b), tls_certs_free(fewer), tls_certs_free(other);
}

int test_tls_sni(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_ciphers),
		cmocka_unit_test(test_nothing_to_choose),
		cmocka_unit_test(test_strangers_kinds),
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_same),
	};

	return cmocka_run_group_tests_name("tls sni", tests, set_up, tear_down);
}
