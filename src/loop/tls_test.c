/* loop/tls_test.c -- our server against the library's client, turned to every fault a client has.
 */
#include "loop/stream.h"

#include "loop/room_test.h"
#include "ops/clock.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* An RSA pair of its own and an ECDSA pair; an encrypted key. */
static char dir[32], file[5][64];
enum { RSA_CERT, RSA_KEY, ECDSA_CERT, ECDSA_KEY, LOCKED_KEY };
static struct loop *loop;

static bool write_rsa(void)
{
	EVP_PKEY *key = EVP_RSA_gen(2048);
	X509 *cert = X509_new();
	FILE *f;
	bool ok;

	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
				   (const unsigned char *)"rsa.example", -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	ok = X509_sign(cert, key, EVP_sha256()) > 0;
	f = fopen(file[RSA_CERT], "w");
	ok = PEM_write_X509(f, cert) == 1 && ok;
	fclose(f);
	f = fopen(file[RSA_KEY], "w");
	ok = PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && ok;
	fclose(f);
	f = fopen(file[LOCKED_KEY], "w");
	ok = PEM_write_PrivateKey(f, key, EVP_aes_128_cbc(), (const unsigned char *)"pass", 4, NULL,
				  NULL) == 1 &&
	     ok;
	fclose(f);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ok;
}

static int set_up(void **state)
{
	static const char *const names[] = { "rsa.pem", "rsa.key", "ec.pem", "ec.key",
					     "locked.key" };
	struct err e;

	snprintf(dir, sizeof dir, "/tmp/tls.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	for (size_t i = 0; i < 5; i++)
		snprintf(file[i], sizeof file[i], "%s/%s", dir, names[i]);
	loop = loop_new(&e);
	return loop && write_rsa() &&
		       tls_make_selfsigned(S("mail.example"), slice_str(file[ECDSA_CERT]),
					   slice_str(file[ECDSA_KEY]), &e)
		   ? 0
		   : -1;
}

static int tear_down(void **state)
{
	loop_free(loop);
	for (size_t i = 0; i < 5; i++)
		unlink(file[i]);
	return rmdir(dir);
}

static struct tls_server *server_new(struct slice alpn, uint64_t rotate_ms)
{
	const struct slice certs[] = { slice_str(file[RSA_CERT]), slice_str(file[ECDSA_CERT]) };
	const struct slice keys[] = { slice_str(file[RSA_KEY]), slice_str(file[ECDSA_KEY]) };
	struct err e = { 0 };
	struct tls_certs *read = tls_certs_read(certs, keys, 2, &e);
	struct tls_server *t =
	    read ? tls_server_new(&(struct tls_server_conf){ .certs = read,
							     .alpn = alpn,
							     .ticket_rotate_ms = rotate_ms },
				  &e)
		 : NULL;

	if (!t)
		fail_msg("%s", e.text);
	/* The context holds them. */
	tls_certs_free(read);
	return t;
}

/* A connection: our stream, and the library's client. */
struct call {
	struct stream s;
	SSL *c;
	struct err e;
	enum stream_result server; /* how its handshake ended */
	bool client;
};

static void nothing(void *arg)
{
	(void)arg;
}

/* No loop runs here: each try is told of as a loop would. */
static enum stream_result try_read(struct stream *s, struct buf *in, size_t max)
{
	s->io.ready(s->io.arg);
	return stream_read(s, in, max);
}

static SSL_CTX *client_ctx(int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
	return ctx;
}

static void call_begin(struct call *k, struct tls_server *t, SSL_CTX *ctx, SSL_SESSION *session)
{
	int fd[2];

	*k = (struct call){ .server = STREAM_AGAIN };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	assert_true(stream_init(&k->s, loop, fd[0], nothing, NULL));
	assert_true(stream_start_server(&k->s, t, &k->e));
	k->c = SSL_new(ctx);
	SSL_set_fd(k->c, fd[1]);
	SSL_set_connect_state(k->c);
	if (session)
		SSL_set_session(k->c, session);
}

/* The client's part, when it can go on. */
static bool client_step(struct call *k)
{
	int rc, why;

	ERR_clear_error();
	rc = SSL_do_handshake(k->c);
	if (rc == 1) {
		k->client = true;
		return false;
	}
	why = SSL_get_error(k->c, rc);
	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

static void call_shake(struct call *k)
{
	bool more = true;

	for (int i = 0; i < 100 && (more || k->server == STREAM_AGAIN); i++) {
		more = more && client_step(k);
		if (k->server == STREAM_AGAIN)
			k->server = stream_handshake(&k->s, &k->e);
	}
}

static void call_end(struct call *k)
{
	int fd = SSL_get_fd(k->c);

	/* The library forgets a session that has ended without it. */
	SSL_set_shutdown(k->c, SSL_SENT_SHUTDOWN);
	stream_close(&k->s);
	SSL_free(k->c);
	close(fd);
	ERR_clear_error();
}

/* A whole connection that must work. Returns a session to come back with. */
static SSL_SESSION *call_once(struct tls_server *t, SSL_CTX *ctx, SSL_SESSION *session,
			      bool *ret_resumed)
{
	struct slice word = S("hello");
	SSL_SESSION *got;
	struct call k;
	char some[16];
	size_t n;

	call_begin(&k, t, ctx, session);
	call_shake(&k);
	if (k.server != STREAM_OK || !k.client)
		fail_msg("handshake: %d %d %s", k.server, k.client, k.e.text);
	/* The tickets of TLS 1.3 come with the first bytes. */
	assert_int_equal(stream_write_slice(&k.s, &word), STREAM_OK);
	assert_int_equal(SSL_read_ex(k.c, some, sizeof some, &n), 1);
	assert_int_equal(n, 5);
	*ret_resumed = stream_tls_info(&k.s).resumed;
	assert_int_equal(SSL_session_reused(k.c), *ret_resumed);
	got = SSL_get1_session(k.c);
	call_end(&k);
	return got;
}

static void test_versions_and_certificates(void **state)
{
	static const struct {
		int version, key;
		const char *sigalgs;
		struct slice name, cipher;
	} cases[] = {
		{ TLS1_2_VERSION, EVP_PKEY_RSA, "RSA-PSS+SHA256:RSA+SHA256", S("TLSv1.2"),
		  S("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384") },
		{ TLS1_2_VERSION, EVP_PKEY_EC, "ECDSA+SHA256", S("TLSv1.2"),
		  S("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384") },
		{ TLS1_3_VERSION, EVP_PKEY_RSA, "RSA-PSS+SHA256", S("TLSv1.3"),
		  S("TLS_AES_256_GCM_SHA384") },
		{ TLS1_3_VERSION, EVP_PKEY_EC, "ECDSA+SHA256", S("TLSv1.3"),
		  S("TLS_AES_256_GCM_SHA384") },
	};
	struct tls_server *t = server_new(S("smtp"), 0);

	for (size_t i = 0; i < 4; i++) {
		SSL_CTX *ctx = client_ctx(cases[i].version);
		struct call k;

		assert_int_equal(SSL_CTX_set1_sigalgs_list(ctx, cases[i].sigalgs), 1);
		call_begin(&k, t, ctx, NULL);
		call_shake(&k);
		assert_int_equal(k.server, STREAM_OK);
		assert_true(k.client);
		assert_int_equal(
		    EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_get0_peer_certificate(k.c))),
		    cases[i].key);
		assert_true(slice_eq(stream_tls_info(&k.s).version, cases[i].name));
		assert_true(slice_eq(stream_tls_info(&k.s).cipher, cases[i].cipher));
		call_end(&k);
		SSL_CTX_free(ctx);
	}
	tls_server_free(t);
}

/* What is too old or too weak. */
static void test_refused(void **state)
{
	static const struct {
		int version;
		const char *ciphers, *text;
	} cases[] = {
		{ TLS1_VERSION, "ALL:@SECLEVEL=0", "TLS handshake: unsupported protocol" },
		{ TLS1_1_VERSION, "ALL:@SECLEVEL=0", "TLS handshake: unsupported protocol" },
		{ TLS1_2_VERSION, "AES128-GCM-SHA256",
		  "TLS handshake: no shared cipher" }, /* no PFS */
		{ TLS1_2_VERSION, "ECDHE-RSA-AES128-SHA256",
		  "TLS handshake: no shared cipher" }, /* CBC */
		{ TLS1_2_VERSION, "aNULL:@SECLEVEL=0", "TLS handshake: no shared cipher" },
	};
	struct tls_server *t = server_new(S("smtp"), 0);

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		SSL_CTX *ctx = client_ctx(cases[i].version);
		struct call k;

		assert_int_equal(SSL_CTX_set_cipher_list(ctx, cases[i].ciphers), 1);
		call_begin(&k, t, ctx, NULL);
		call_shake(&k);
		assert_false(k.client);
		assert_int_equal(k.server, STREAM_ERROR);
		assert_string_equal(k.e.text, cases[i].text);
		assert_int_equal(k.e.kind, ERR_INPUT);
		call_end(&k);
		SSL_CTX_free(ctx);
	}
	tls_server_free(t);
}

/* What costs us much is not to be had: a flood of handshakes would choose it. */
static void test_key_exchange(void **state)
{
	static const struct {
		int version;
		const char *groups, *ciphers;
		bool ok;
	} cases[] = {
		{ TLS1_3_VERSION, "X25519", NULL, true },
		{ TLS1_3_VERSION, "P-256", NULL, true },
		{ TLS1_3_VERSION, "P-384", NULL, true },
		{ TLS1_3_VERSION, "ffdhe8192:P-256", NULL, true }, /* asked for the other one */
		{ TLS1_3_VERSION, "ffdhe2048", NULL, false },
		{ TLS1_3_VERSION, "ffdhe8192", NULL, false },
		{ TLS1_3_VERSION, "P-521:X448", NULL, false },
		{ TLS1_2_VERSION, "P-256", "ECDHE", true },
		{ TLS1_2_VERSION, "P-521", "ECDHE", false },
		{ TLS1_2_VERSION, "P-256", "DHE-RSA-AES256-GCM-SHA384", false },
	};
	struct tls_server *t = server_new(S("smtp"), 0);

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		SSL_CTX *ctx = client_ctx(cases[i].version);
		struct call k;

		assert_int_equal(SSL_CTX_set1_groups_list(ctx, cases[i].groups), 1);
		if (cases[i].ciphers)
			assert_int_equal(SSL_CTX_set_cipher_list(ctx, cases[i].ciphers), 1);
		call_begin(&k, t, ctx, NULL);
		call_shake(&k);
		if (k.client != cases[i].ok)
			fail_msg("%s: %d, not %d", cases[i].groups, k.client, cases[i].ok);
		assert_int_equal(k.server, cases[i].ok ? STREAM_OK : STREAM_ERROR);
		call_end(&k);
		SSL_CTX_free(ctx);
	}
	tls_server_free(t);
}

static void test_alpn(void **state)
{
	static const struct {
		struct slice ours, offer;
		bool ok;
		struct slice chosen;
	} cases[] = {
		{ S("smtp"), S(""), true, S("") },
		{ S("smtp"), S("\4smtp"), true, S("smtp") },
		{ S("smtp"), S("\2h2\4smtp"), true, S("smtp") },
		{ S("smtp"), S("\10http/1.1"), false, S("") },
		{ S("smtp"), S("\5smtps"), false, S("") },
		{ S(""), S("\10http/1.1"), true, S("") },
	};

	for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
		size_t at = i / 2;
		struct tls_server *t = server_new(cases[at].ours, 0);
		SSL_CTX *ctx = client_ctx(i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION);
		const unsigned char *chosen;
		unsigned n;
		struct call k;

		if (cases[at].offer.n)
			assert_int_equal(
			    SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)cases[at].offer.p,
						    (unsigned)cases[at].offer.n),
			    0);
		call_begin(&k, t, ctx, NULL);
		call_shake(&k);
		assert_int_equal(k.client, cases[at].ok);
		assert_int_equal(k.server, cases[at].ok ? STREAM_OK : STREAM_ERROR);
		if (!cases[at].ok)
			assert_string_equal(k.e.text, "TLS handshake: no application protocol");
		SSL_get0_alpn_selected(k.c, &chosen, &n);
		assert_true(slice_eq(slice(chosen, n), cases[at].chosen));
		call_end(&k);
		SSL_CTX_free(ctx);
		tls_server_free(t);
	}
}

/* A ticket of one listener is good there and nowhere else; elsewhere it does no harm. */
static void test_tickets(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	for (size_t i = 0; i < 2; i++) {
		struct tls_server *a = server_new(S("smtp"), 0), *b = server_new(S("smtp"), 0);
		SSL_CTX *ctx = client_ctx(versions[i]);
		SSL_SESSION *one, *two, *three;
		bool resumed;

		one = call_once(a, ctx, NULL, &resumed);
		assert_false(resumed);
		assert_true(SSL_SESSION_has_ticket(one));
		two = call_once(b, ctx, one, &resumed);
		assert_false(resumed);
		three = call_once(a, ctx, one, &resumed);
		assert_true(resumed);
		SSL_SESSION_free(three);
		three = call_once(b, ctx, two, &resumed);
		assert_true(resumed);
		SSL_SESSION_free(one), SSL_SESSION_free(two), SSL_SESSION_free(three);
		SSL_CTX_free(ctx);
		tls_server_free(a);
		tls_server_free(b);
	}
}

/* Without a ticket there is nothing to come back to: sessions are not kept here. */
static void test_no_state(void **state)
{
	struct tls_server *t = server_new(S("smtp"), 0);
	SSL_CTX *ctx = client_ctx(TLS1_2_VERSION);
	SSL_SESSION *one, *two;
	bool resumed;

	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	one = call_once(t, ctx, NULL, &resumed);
	assert_false(SSL_SESSION_has_ticket(one));
	two = call_once(t, ctx, one, &resumed);
	assert_false(resumed);
	SSL_SESSION_free(one), SSL_SESSION_free(two);
	SSL_CTX_free(ctx);
	tls_server_free(t);
}

static void rest(uint64_t began, uint64_t until)
{
	uint64_t now = clock_mono_ms() - began;

	if (now < until)
		usleep((useconds_t)(until - now) * 1000);
}

/* A ticket is good for one to two rotations, also when nobody connects between them. */
static void test_rotation(void **state)
{
	const uint64_t r = 600;
	struct tls_server *t = server_new(S("smtp"), r);
	SSL_CTX *ctx = client_ctx(TLS1_2_VERSION);
	SSL_SESSION *first, *later, *s;
	uint64_t began;
	bool resumed;

	first = call_once(t, ctx, NULL, &resumed);
	began = clock_mono_ms();
	s = call_once(t, ctx, first, &resumed);
	assert_true(resumed);
	SSL_SESSION_free(s);
	rest(began, r * 3 / 2);
	/* The key has rotated late; the old ticket is good and is replaced (RFC 5077 3.3). */
	later = call_once(t, ctx, first, &resumed);
	assert_true(resumed);
	rest(began, r * 9 / 4);
	/* Its key is the one before still, but too old. */
	s = call_once(t, ctx, first, &resumed);
	assert_false(resumed);
	SSL_SESSION_free(s);
	s = call_once(t, ctx, later, &resumed);
	assert_true(resumed);
	SSL_SESSION_free(s);
	rest(began, r * 4);
	s = call_once(t, ctx, later, &resumed);
	assert_false(resumed);
	SSL_SESSION_free(s);
	SSL_SESSION_free(first), SSL_SESSION_free(later);
	SSL_CTX_free(ctx);
	tls_server_free(t);
}

/* A ticket somebody has changed is no ticket. */
static void test_forged_ticket(void **state)
{
	struct tls_server *t = server_new(S("smtp"), 0);
	SSL_CTX *ctx = client_ctx(TLS1_2_VERSION);
	SSL_SESSION *one, *forged, *got;
	const unsigned char *ticket, *at;
	unsigned char *der = NULL;
	size_t ticket_n;
	bool resumed;
	int n;

	one = call_once(t, ctx, NULL, &resumed);
	SSL_SESSION_get0_ticket(one, &ticket, &ticket_n);
	n = i2d_SSL_SESSION(one, &der);
	assert_true(n > 0);
	for (int i = 0; i + (int)ticket_n <= n; i++)
		if (!memcmp(der + i, ticket, ticket_n))
			der[i + (int)ticket_n - 1] ^= 1; /* of the HMAC */
	at = der;
	forged = d2i_SSL_SESSION(NULL, &at, n);
	assert_non_null(forged);
	got = call_once(t, ctx, forged, &resumed);
	assert_false(resumed);
	SSL_SESSION_free(one), SSL_SESSION_free(forged), SSL_SESSION_free(got);
	OPENSSL_free(der);
	SSL_CTX_free(ctx);
	tls_server_free(t);
}

static void test_no_renegotiation(void **state)
{
	struct tls_server *t = server_new(S("smtp"), 0);
	SSL_CTX *ctx = client_ctx(TLS1_2_VERSION);
	struct call k;
	struct buf in;
	bool more = true;

	buf_init(&in, 100);
	call_begin(&k, t, ctx, NULL);
	call_shake(&k);
	assert_int_equal(k.server, STREAM_OK);
	assert_int_equal(SSL_renegotiate(k.c), 1);
	k.client = false;
	for (int i = 0; i < 20 && more; i++) {
		more = client_step(&k);
		assert_int_not_equal(try_read(&k.s, &in, 100), STREAM_OK);
	}
	assert_false(k.client);
	assert_false(more);
	assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE);
	buf_done(&in);
	call_end(&k);
	SSL_CTX_free(ctx);
	tls_server_free(t);
}

static unsigned asked;

static int on_asked(SSL *ssl, X509 **cert, EVP_PKEY **key)
{
	(void)ssl, (void)cert, (void)key;
	asked++;
	return 0;
}

static void test_no_client_certificate(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	struct tls_server *t = server_new(S("smtp"), 0);

	for (size_t i = 0; i < 2; i++) {
		SSL_CTX *ctx = client_ctx(versions[i]);
		struct call k;

		SSL_CTX_set_client_cert_cb(ctx, on_asked);
		call_begin(&k, t, ctx, NULL);
		call_shake(&k);
		assert_int_equal(k.server, STREAM_OK);
		call_end(&k);
		SSL_CTX_free(ctx);
	}
	assert_int_equal(asked, 0);
	tls_server_free(t);
}

/* RFC 8446 6.1: only close_notify says that nothing is missing. */
static void test_end_and_cut(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	struct tls_server *t = server_new(S("smtp"), 0);

	for (size_t i = 0; i < 4; i++) {
		SSL_CTX *ctx = client_ctx(versions[i % 2]);
		bool proper = i < 2;
		struct call k;
		struct buf in;
		size_t n;

		buf_init(&in, 100);
		call_begin(&k, t, ctx, NULL);
		call_shake(&k);
		assert_int_equal(SSL_write_ex(k.c, "QUIT", 4, &n), 1);
		if (proper)
			SSL_shutdown(k.c);
		else
			shutdown(SSL_get_fd(k.c), SHUT_WR);
		assert_int_equal(try_read(&k.s, &in, 100), STREAM_OK);
		assert_true(slice_eq(buf_slice(&in), S("QUIT")));
		assert_int_equal(try_read(&k.s, &in, 100), proper ? STREAM_EOF : STREAM_CUT);
		assert_int_equal(try_read(&k.s, &in, 100), proper ? STREAM_EOF : STREAM_ERROR);
		buf_done(&in);
		call_end(&k);
		SSL_CTX_free(ctx);
	}
	tls_server_free(t);
}

/* stream_close() says close_notify. */
static void test_we_say_the_end(void **state)
{
	struct tls_server *t = server_new(S("smtp"), 0);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct slice word = S("221 bye\r\n");
	struct call k;
	char some[16];
	size_t n;
	int rc;

	call_begin(&k, t, ctx, NULL);
	call_shake(&k);
	assert_int_equal(stream_write_slice(&k.s, &word), STREAM_OK);
	stream_close(&k.s);
	assert_int_equal(SSL_read_ex(k.c, some, sizeof some, &n), 1);
	assert_int_equal(n, 9);
	rc = SSL_read_ex(k.c, some, sizeof some, &n);
	assert_int_equal(SSL_get_error(k.c, rc), SSL_ERROR_ZERO_RETURN);
	call_end(&k);
	SSL_CTX_free(ctx);
	tls_server_free(t);
}

/* A client that changes its keys is followed, whatever we wait for. */
static void test_key_update(void **state)
{
	struct tls_server *t = server_new(S("smtp"), 0);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct slice word = S("250 ok\r\n");
	struct call k;
	struct buf in;
	char some[16];
	size_t n;

	buf_init(&in, 100);
	call_begin(&k, t, ctx, NULL);
	call_shake(&k);
	assert_int_equal(SSL_key_update(k.c, SSL_KEY_UPDATE_REQUESTED), 1);
	assert_int_equal(SSL_write_ex(k.c, "NOOP", 4, &n), 1);
	assert_int_equal(try_read(&k.s, &in, 100), STREAM_OK);
	assert_true(slice_eq(buf_slice(&in), S("NOOP")));
	assert_int_equal(stream_write_slice(&k.s, &word), STREAM_OK);
	assert_int_equal(SSL_read_ex(k.c, some, sizeof some, &n), 1);
	assert_int_equal(n, 8);
	buf_done(&in);
	call_end(&k);
	SSL_CTX_free(ctx);
	tls_server_free(t);
}

static void test_bad_files(void **state)
{
	static const struct {
		const char *cert, *key, *text; /* text: behind the file's name */
		bool names_key;
	} cases[] = {
		{ "/nonexistent.pem", file[RSA_KEY], ": No such file or directory", false },
		{ file[RSA_KEY], file[RSA_KEY], ": no start line", false },
		{ file[RSA_CERT], "/nonexistent.key", ": No such file or directory", true },
		{ file[RSA_CERT], file[RSA_CERT], NULL, true },
		{ file[RSA_CERT], file[ECDSA_KEY], NULL, true },
		{ file[ECDSA_CERT], file[RSA_KEY], NULL, true },
		{ file[RSA_CERT], file[LOCKED_KEY], NULL, true },
		{ "", file[RSA_KEY], NULL, false },
	};
	struct err e;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct slice cert = slice_str(cases[i].cert), key = slice_str(cases[i].key);
		const char *named = cases[i].names_key ? cases[i].key : cases[i].cert;
		char want[120];

		e = (struct err){ 0 };
		assert_null(tls_certs_read(&cert, &key, 1, &e));
		assert_int_equal(e.kind, ERR_INPUT);
		snprintf(want, sizeof want, "%s%s", named, cases[i].text ? cases[i].text : ": ");
		if (strncmp(e.text, *named ? want : "bad path", *named ? strlen(want) : 8))
			fail_msg("\"%s\" does not begin with \"%s\"", e.text, want);
	}
	assert_null(
	    tls_client_new(&(struct tls_client_conf){ .ca_file = S("/nonexistent.pem") }, &e));
	assert_int_equal(strncmp(e.text, "/nonexistent.pem: ", 18), 0);
	assert_null(tls_client_new(&(struct tls_client_conf){ .ca_file = S("a\0b") }, &e));
	assert_string_equal(e.text, "bad path");
}

static void test_system_authorities(void **state)
{
	struct err e = { 0 };
	struct tls_client *t = tls_client_new(&(struct tls_client_conf){ .ca_file = S("") }, &e);

	assert_non_null(t);
	tls_client_free(t);
	tls_client_free(NULL);
	tls_server_free(NULL);
}

int test_tls(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions_and_certificates),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_key_exchange),
		cmocka_unit_test(test_alpn),
		cmocka_unit_test(test_tickets),
		cmocka_unit_test(test_no_state),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_forged_ticket),
		cmocka_unit_test(test_no_renegotiation),
		cmocka_unit_test(test_no_client_certificate),
		cmocka_unit_test(test_end_and_cut),
		cmocka_unit_test(test_we_say_the_end),
		cmocka_unit_test(test_key_update),
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_system_authorities),
	};

	return cmocka_run_group_tests_name("tls", tests, set_up, tear_down);
}
