/* issuer/rig_test.h -- an issuer on loopback: a web server of a few pages, tokens signed with the
 * key of RFC 8037 A.1, and a configuration that names it. */
#ifndef ISSUER_RIG_TEST_H
#define ISSUER_RIG_TEST_H

#include "base/buf.h"
#include "issuer/issuer.h"
#include "issuer/issuer_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof(*(a)))
#define PAGES  8
#define NOW    1800000000000u

#define METADATA "/.well-known/oauth-authorization-server/i"
#define OPENID   "/i/.well-known/openid-configuration"
#define KEY_SET                                                                                    \
	"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"%s\","                          \
	"\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}"

/* For kind opaque, and what is said of a token that is good. */
#define OPAQUE "client_id = \"mail relay\" client_secret_file = s"
#define ACTIVE "{\"active\":true,\"aud\":\"mail\",\"scope\":\"mail.send\",\"sub\":\"robot\"%s}"

struct page {
	const char *path;
	/* The body; empty: 404; "503" and something: that status; "hang": nothing, until the client
	 * leaves; "endless": more than is read. */
	char answer[2048];
	atomic_uint asked;
	char request[4096]; /* the last one */
};

struct server {
	int fd;
	unsigned port;
	pthread_t thread;
	atomic_bool over;
	struct page pages[PAGES];
};

struct fixture {
	struct server server;
	char dir[32], url[64];
	struct issuers *issuers;
};

/* more: further options of the issuer "sso". */
void rig_set_up(struct fixture *, const char *kind, const char *more);
void rig_tear_down(struct fixture *);
/* Reads a configuration with these sections. NULL: *e says why the issuers cannot be made. */
struct issuers *rig_configure(const struct fixture *, const char *sections,
			      const struct issuers *before, struct err *e);
/* What the server has there from now on. */
struct page *rig_page(struct server *, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Metadata and the key under this kid; returns the page of the keys. */
struct page *rig_publish(struct fixture *, const char *kid);
/* A token with that kid and issuer; *b is made. */
void rig_sign(struct buf *b, const char *kid, const char *iss);
/* The verdict; with may_ask asks whoever has to be asked. A good token is robot's. */
enum issuer_says rig_judge(struct fixture *, struct slice token, bool may_ask,
			   enum token_fault *ret_fault);

int keys_tests(void);
int opaque_tests(void);

#endif
