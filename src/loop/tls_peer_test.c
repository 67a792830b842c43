/* loop/tls_peer_test.c -- channel bindings are the same at both ends; a client's certificate, and
 * what of it counts. */
#include "loop/tls_peer.h"

#include "loop/room_test.h"

#include <openssl/err.h>
#include <openssl/evp.h>
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

#define SPIFFE "URI:spiffe://Prod/mail"

/* The first is the server's, the second the CA whose names count. */
static const struct made {
	const char *cn, *names, *usage;
	int issuer; /* of this list; itself: self-signed */
	long from, until;
	const char *hash;
} made[] = {
	{ "server", "DNS:mail.example", NULL, 0, -60, 86400, "SHA384" },
	{ "ca", NULL, NULL, 1, -60, 86400, "SHA256" },
	{ "good", "DNS:Mail.Example,email:A@b.example," SPIFFE ",IP:127.0.0.1", NULL, 1, -60, 86400,
	  "SHA256" },
	{ "selfsigned", "DNS:mail.example", NULL, 3, -60, 86400, "SHA256" },
	{ "old", "DNS:mail.example", NULL, 1, -7200, -3600, "SHA256" },
	{ "later", "DNS:mail.example", NULL, 1, 3600, 7200, "SHA256" },
	{ "server-only", "DNS:mail.example", "serverAuth", 1, -60, 86400, "SHA256" },
	{ "client-use", "DNS:mail.example", "clientAuth", 1, -60, 86400, "SHA256" },
	{ "no-names", NULL, NULL, 1, -60, 86400, "SHA256" },
	{ "blank", "URI:a b," SPIFFE, NULL, 1, -60, 86400, "SHA256" },
};
#define MADE (sizeof made / sizeof *made)

static X509 *certs[MADE];
static EVP_PKEY *keys[MADE];
static char dir[32], files[3][64];
static struct loop *loop;

static bool extend(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *x = value ? X509V3_EXT_conf_nid(NULL, NULL, nid, value) : NULL;
	bool ok = !value || (x && X509_add_ext(cert, x, -1));

	X509_EXTENSION_free(x);
	return ok;
}

static bool make(size_t i)
{
	const struct made *m = &made[i];
	X509 *cert = X509_new();

	keys[i] = EVP_EC_gen("P-256");
	certs[i] = cert;
	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), (long)i + 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), m->from);
	X509_gmtime_adj(X509_getm_notAfter(cert), m->until);
	X509_set_pubkey(cert, keys[i]);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
				   (const unsigned char *)m->cn, -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(certs[m->issuer]));
	return extend(cert, NID_basic_constraints, i == 1 ? "critical,CA:TRUE" : NULL) &&
	       extend(cert, NID_subject_alt_name, m->names) &&
	       extend(cert, NID_ext_key_usage, m->usage) &&
	       X509_sign(cert, keys[m->issuer], EVP_get_digestbyname(m->hash)) > 0;
}

static bool save(const char *path, X509 *cert, EVP_PKEY *key)
{
	FILE *f = fopen(path, "w");
	bool ok = f && (cert ? PEM_write_X509(f, cert)
			     : PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL)) == 1;

	return f && !fclose(f) && ok;
}

static int set_up(void **state)
{
	struct err e;
	bool ok;

	(void)state;
	snprintf(dir, sizeof dir, "/tmp/peer.XXXXXX");
	loop = loop_new(&e);
	ok = mkdtemp(dir) && loop;
	for (size_t i = 0; i < 3; i++)
		snprintf(files[i], sizeof files[i], "%s/%zu", dir, i);
	for (size_t i = 0; ok && i < MADE; i++)
		ok = make(i);
	return ok && save(files[0], certs[0], NULL) && save(files[1], NULL, keys[0]) &&
		       save(files[2], certs[1], NULL)
		   ? 0
		   : -1;
}

static int tear_down(void **state)
{
	(void)state;
	loop_free(loop);
	for (size_t i = 0; i < MADE; i++) {
		X509_free(certs[i]);
		EVP_PKEY_free(keys[i]);
	}
	for (size_t i = 0; i < 3; i++)
		unlink(files[i]);
	return rmdir(dir);
}

static struct tls_server *server_new(bool ask, bool ca)
{
	const struct slice cert = slice_str(files[0]), key = slice_str(files[1]);
	struct err e = { 0 };
	struct tls_certs *read = tls_certs_read(&cert, &key, 1, &e);
	struct tls_server *t =
	    read ? tls_server_new(
		       &(struct tls_server_conf){ .certs = read,
						  .ask_certificate = ask,
						  .client_ca = ca ? slice_str(files[2]) : S("") },
		       &e)
		 : NULL;

	if (!t)
		fail_msg("%s", e.text);
	tls_certs_free(read);
	return t;
}

struct call {
	struct stream s;
	SSL *c;
	enum stream_result server;
	bool client;
};

static void nothing(void *arg)
{
	(void)arg;
}

static void call(struct call *k, struct tls_server *t, SSL_CTX *ctx, SSL_SESSION *session)
{
	struct err e = { 0 };
	int fd[2];

	*k = (struct call){ .server = STREAM_AGAIN };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	assert_true(stream_init(&k->s, loop, fd[0], nothing, NULL));
	assert_true(stream_start_server(&k->s, t, &e));
	k->c = SSL_new(ctx);
	SSL_set_fd(k->c, fd[1]);
	SSL_set_connect_state(k->c);
	if (session)
		SSL_set_session(k->c, session);
	for (int i = 0; i < 20 && !(k->client && k->server != STREAM_AGAIN); i++) {
		ERR_clear_error();
		k->client = k->client || SSL_do_handshake(k->c) == 1;
		if (k->server == STREAM_AGAIN)
			k->server = stream_handshake(&k->s, &e);
	}
	ERR_clear_error();
	if (k->server != STREAM_OK || !k->client)
		fail_msg("handshake: %d %d %s", k->server, k->client, e.text);
}

static void call_end(struct call *k)
{
	int fd = SSL_get_fd(k->c);

	SSL_set_shutdown(k->c, SSL_SENT_SHUTDOWN);
	stream_close(&k->s);
	SSL_free(k->c);
	close(fd);
	ERR_clear_error();
}

static SSL_CTX *client_ctx(int version, int cert)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	if (cert >= 0) {
		assert_int_equal(SSL_CTX_use_certificate(ctx, certs[cert]), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(ctx, keys[cert]), 1);
	}
	return ctx;
}

static void test_bindings(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	unsigned char ours[TLS_END_POINT_MAX], theirs[EVP_MAX_MD_SIZE];
	struct tls_server *t = server_new(false, false);
	unsigned theirs_n;
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		SSL_CTX *ctx = client_ctx(versions[i], -1);
		struct call k;

		call(&k, t, ctx, NULL);
		assert_int_equal(tls_exporter(&k.s, ours), versions[i] == TLS1_3_VERSION);
		if (versions[i] == TLS1_3_VERSION) {
			/* RFC 9266 section 2 */
			assert_int_equal(
			    SSL_export_keying_material(k.c, theirs, 32, "EXPORTER-Channel-Binding",
						       24, (const unsigned char *)"", 0, 1),
			    1);
			assert_memory_equal(ours, theirs, 32);
		}
		assert_true(tls_end_point(&k.s, ours, &n));
		assert_int_equal(
		    X509_digest(SSL_get0_peer_certificate(k.c), EVP_sha384(), theirs, &theirs_n),
		    1);
		assert_int_equal(n, theirs_n);
		assert_memory_equal(ours, theirs, n);
		call_end(&k);
		SSL_CTX_free(ctx);
	}
	tls_server_free(t);
}

/* Two connections of the same client never share one. */
static void test_exporters_differ(void **state)
{
	unsigned char one[TLS_END_POINT_MAX], two[TLS_END_POINT_MAX];
	struct tls_server *t = server_new(false, false);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION, -1);
	struct slice word = S("x");
	SSL_SESSION *session;
	struct call k;
	size_t n;
	char c;

	(void)state;
	call(&k, t, ctx, NULL);
	assert_true(tls_exporter(&k.s, one));
	assert_int_equal(stream_write_slice(&k.s, &word), STREAM_OK);
	assert_int_equal(SSL_read_ex(k.c, &c, 1, &n), 1); /* the ticket comes along */
	session = SSL_get1_session(k.c);
	call_end(&k);
	call(&k, t, ctx, session);
	assert_true(stream_tls_info(&k.s).resumed);
	assert_true(tls_exporter(&k.s, two));
	assert_memory_not_equal(one, two, TLS_EXPORTER);
	/* No certificate was shown in this one. */
	assert_false(tls_end_point(&k.s, one, &n));
	call_end(&k);
	SSL_SESSION_free(session);
	SSL_CTX_free(ctx);
	tls_server_free(t);
}

static void spki(int cert, struct buf *ret)
{
	unsigned char sum[EVP_MAX_MD_SIZE], *der = NULL;
	int n = i2d_PUBKEY(keys[cert], &der);
	unsigned sum_n;

	assert_int_equal(EVP_Digest(der, (size_t)n, sum, &sum_n, EVP_sha256(), NULL), 1);
	OPENSSL_free(der);
	buf_add(ret, S("spki:"));
	buf_addhex(ret, slice(sum, sum_n));
}

static void expect_identities(int version, bool ca, int cert, const char *names)
{
	struct tls_server *t = server_new(true, ca);
	SSL_CTX *ctx = client_ctx(version, cert);
	struct buf got, want;
	struct call k;

	buf_init(&got, 8192);
	buf_init(&want, 8192);
	call(&k, t, ctx, NULL);
	assert_int_equal(tls_has_certificate(&k.s), cert >= 0);
	tls_identities(&k.s, &got);
	if (cert >= 0)
		spki(cert, &want);
	buf_add(&want, slice_str(names));
	if (!slice_eq(buf_slice(&got), buf_slice(&want)))
		fail_msg("certificate %d: %.*s", cert, SLICE_ARG(buf_slice(&got)));
	call_end(&k);
	buf_done(&got);
	buf_done(&want);
	SSL_CTX_free(ctx);
	tls_server_free(t);
}

/* The key counts whoever vouches for it; names only when a trusted CA does, now, for clients. */
static void test_identities(void **state)
{
	static const struct {
		int cert;
		const char *names;
	} rows[] = {
		{ -1, "" },
		{ 2, " dns:mail.example email:A@b.example uri:spiffe://Prod/mail" },
		{ 3, "" },
		{ 4, "" },
		{ 5, "" },
		{ 6, "" },
		{ 7, " dns:mail.example" },
		{ 8, "" },
		{ 9, " uri:spiffe://Prod/mail" },
	};
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	(void)state;
	for (size_t v = 0; v < 2; v++)
		for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
			expect_identities(versions[v], true, rows[i].cert, rows[i].names);
			expect_identities(versions[v], false, rows[i].cert, "");
		}
}

static void test_not_asked(void **state)
{
	struct tls_server *t = server_new(false, false);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION, 2);
	struct buf got;
	struct call k;

	(void)state;
	buf_init(&got, 8192);
	call(&k, t, ctx, NULL);
	assert_false(tls_has_certificate(&k.s));
	tls_identities(&k.s, &got);
	assert_int_equal(got.n, 0);
	call_end(&k);
	SSL_CTX_free(ctx);
	tls_server_free(t);
	buf_done(&got);
}

/* Where certificates count, every connection proves its own. */
static void test_no_resumption(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	struct tls_server *t = server_new(true, true);

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		SSL_CTX *ctx = client_ctx(versions[i], 2), *without = client_ctx(versions[i], -1);
		struct slice word = S("x");
		SSL_SESSION *session;
		struct call k;
		size_t n;
		char c;

		call(&k, t, ctx, NULL);
		assert_int_equal(stream_write_slice(&k.s, &word), STREAM_OK);
		assert_int_equal(SSL_read_ex(k.c, &c, 1, &n), 1);
		session = SSL_get1_session(k.c);
		assert_false(SSL_SESSION_has_ticket(session));
		call_end(&k);
		call(&k, t, without, session);
		assert_false(stream_tls_info(&k.s).resumed);
		assert_false(tls_has_certificate(&k.s));
		call_end(&k);
		SSL_SESSION_free(session);
		SSL_CTX_free(ctx);
		SSL_CTX_free(without);
	}
	tls_server_free(t);
}

static void test_nothing_there(void **state)
{
	unsigned char some[TLS_END_POINT_MAX];
	struct stream s;
	struct buf got;
	size_t n;
	int fd[2];

	(void)state;
	buf_init(&got, 100);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	assert_true(stream_init(&s, loop, fd[0], nothing, NULL));
	assert_false(tls_exporter(&s, some));
	assert_false(tls_end_point(&s, some, &n));
	assert_false(tls_has_certificate(&s));
	tls_identities(&s, &got);
	assert_int_equal(got.n, 0);
	stream_close(&s);
	close(fd[1]);
}

static void test_bad_ca(void **state)
{
	const struct slice cert = slice_str(files[0]), key = slice_str(files[1]);
	const struct slice bad[] = { S("/nonexistent/ca.pem"), key };
	struct err e = { 0 };
	struct tls_certs *read = tls_certs_read(&cert, &key, 1, &e);

	(void)state;
	assert_non_null(read);
	for (size_t i = 0; i < 2; i++) {
		struct tls_server_conf conf = { .certs = read,
						.ask_certificate = true,
						.client_ca = bad[i] };

		e = (struct err){ 0 };
		assert_null(tls_server_new(&conf, &e));
		assert_int_equal(e.kind, ERR_INPUT);
		assert_non_null(strstr(e.text, bad[i].p)); /* it names the file */
	}
	tls_certs_free(read);
}

int test_tls_peer(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bindings),      cmocka_unit_test(test_exporters_differ),
		cmocka_unit_test(test_identities),    cmocka_unit_test(test_not_asked),
		cmocka_unit_test(test_no_resumption), cmocka_unit_test(test_nothing_there),
		cmocka_unit_test(test_bad_ca),
	};

	return cmocka_run_group_tests_name("tls peer", tests, set_up, tear_down);
}
