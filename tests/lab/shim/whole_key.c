/* OpenSMTPD in Debian 12 keeps its private key in a process of its own and gives OpenSSL an engine
 * to reach it by, which OpenSSL 3 does not ask: no handshake succeeds. As a receiver of the tests
 * it is given the key itself (/inst/server.key), read before it gives up its rights. */
#include <dlfcn.h>
#include <stdio.h>

typedef struct evp_pkey_st EVP_PKEY;
typedef struct ssl_ctx_st SSL_CTX;
EVP_PKEY *PEM_read_PrivateKey(FILE *, EVP_PKEY **, void *, void *);

static EVP_PKEY *key;

__attribute__((constructor)) static void read_key(void)
{
	FILE *f = fopen("/inst/server.key", "r");

	if (f) {
		key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
		fclose(f);
	}
}

int SSL_CTX_use_PrivateKey(SSL_CTX *ctx, EVP_PKEY *theirs)
{
	int (*real)(SSL_CTX *, EVP_PKEY *) =
	    (int (*)(SSL_CTX *, EVP_PKEY *))dlsym(RTLD_NEXT, "SSL_CTX_use_PrivateKey");

	return real(ctx, key ? key : theirs);
}
