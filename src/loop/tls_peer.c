#include "loop/tls_peer.h"

#include "loop/tls_impl.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

/* More names, or longer ones, are nobody's here. */
#define NAMES_MAX  16
#define NAME_BYTES 500
/* Between the client and a trusted certificate. */
#define DEPTH_MAX 5

/* What a certificate is worth is asked later: without one the client may log in by other means. */
static int accept_any(int ok, X509_STORE_CTX *ctx)
{
	(void)ok;
	(void)ctx;
	return 1;
}

bool tls_peer_ask(SSL_CTX *ctx, struct slice client_ca, struct err *e)
{
	char path[4096];

	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, accept_any);
	SSL_CTX_set_verify_depth(ctx, DEPTH_MAX);
	/* A ticket would carry the certificate past its end, and past the proof of its key. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(ctx, 0);
	/* The CA is not named to clients: those that are known by their key alone would keep their
	 * certificates to themselves. */
	return !client_ca.n || (tls_path(client_ca, path, e) &&
				(SSL_CTX_load_verify_file(ctx, path) == 1 || tls_error(e, path)));
}

static SSL *ready(const struct stream *s)
{
	return s->shaking || !s->server ? NULL : s->tls;
}

bool tls_exporter(const struct stream *s, unsigned char ret[TLS_EXPORTER])
{
	static const char label[] = "EXPORTER-Channel-Binding";
	SSL *ssl = ready(s);

	return ssl && SSL_version(ssl) == TLS1_3_VERSION &&
	       SSL_export_keying_material(ssl, ret, TLS_EXPORTER, label, sizeof label - 1, NULL, 0,
					  0) == 1;
}

bool tls_end_point(const struct stream *s, unsigned char ret[TLS_END_POINT_MAX], size_t *ret_n)
{
	SSL *ssl = ready(s);
	X509 *cert = ssl && !SSL_session_reused(ssl) ? SSL_get_certificate(ssl) : NULL;
	int hash = NID_undef;
	const EVP_MD *md;
	unsigned n = 0;

	/* Without a hash of its own (Ed25519) the RFC defines nothing. */
	if (!cert || X509_get_signature_info(cert, &hash, NULL, NULL, NULL) != 1 ||
	    hash == NID_undef) {
		ERR_clear_error();
		return false;
	}
	md = hash == NID_md5 || hash == NID_sha1 ? EVP_sha256() : EVP_get_digestbynid(hash);
	if (!md || X509_digest(cert, md, ret, &n) != 1) {
		ERR_clear_error();
		return false;
	}
	*ret_n = n;
	return true;
}

bool tls_has_certificate(const struct stream *s)
{
	SSL *ssl = ready(s);

	return ssl && SSL_get0_peer_certificate(ssl);
}

static void add_spki(X509 *cert, struct buf *out)
{
	unsigned char sum[EVP_MAX_MD_SIZE], *der = NULL;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	unsigned sum_n = 0;

	if (n > 0 && EVP_Digest(der, (size_t)n, sum, &sum_n, EVP_sha256(), NULL) == 1) {
		buf_add(out, S("spki:"));
		buf_addhex(out, slice(sum, sum_n));
	}
	OPENSSL_free(der);
}

static void add_name(struct slice kind, bool lower, const ASN1_IA5STRING *text, struct buf *out)
{
	int len = ASN1_STRING_length(text);
	struct slice s = slice(ASN1_STRING_get0_data(text), len > 0 ? (size_t)len : 0);

	if (!s.n || s.n > NAME_BYTES)
		return;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return;
	if (out->n)
		buf_addc(out, ' ');
	buf_add(out, kind);
	for (size_t i = 0; i < s.n; i++)
		buf_addc(out, lower ? ascii_lower(s.p[i]) : s.p[i]);
}

static void add_names(X509 *cert, struct buf *out)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	int n = names ? sk_GENERAL_NAME_num(names) : 0;

	for (int i = 0; i < n && i < NAMES_MAX; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);

		if (g->type == GEN_DNS)
			add_name(S("dns:"), true, g->d.dNSName, out);
		else if (g->type == GEN_EMAIL)
			add_name(S("email:"), false, g->d.rfc822Name, out);
		else if (g->type == GEN_URI)
			add_name(S("uri:"), false, g->d.uniformResourceIdentifier, out);
	}
	GENERAL_NAMES_free(names);
}

void tls_identities(const struct stream *s, struct buf *out)
{
	SSL *ssl = ready(s);
	X509 *cert = ssl ? SSL_get0_peer_certificate(ssl) : NULL;

	if (!cert)
		return;
	add_spki(cert, out);
	if (SSL_get_verify_result(ssl) == X509_V_OK)
		add_names(cert, out);
	ERR_clear_error();
}
