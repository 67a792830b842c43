/* issuer/issuer_test.c -- against a web server of a few pages on loopback: what is asked, how
 * often, and what becomes of a login when nothing comes back. */
#include "issuer/issuer.h"

#include "base/auto.h"
#include "base/b64.h"
#include "issuer/issuer_impl.h"
#include "ops/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof(*(a)))
#define PAGES  8
#define NOW    1800000000000u

struct page {
	const char *path;
	char answer[2048]; /* the body; empty: 404; "hang": nothing, until the client leaves */
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

/* -- the server -- */

static struct page *page_of(struct server *s, const char *request)
{
	const char *path = strchr(request, ' ');

	for (size_t i = 0; path && i < PAGES && s->pages[i].path; i++)
		if (!strncmp(path + 1, s->pages[i].path, strlen(s->pages[i].path)) &&
		    path[1 + strlen(s->pages[i].path)] == ' ')
			return &s->pages[i];
	return NULL;
}

static bool whole(const char *got)
{
	const char *end = strstr(got, "\r\n\r\n"), *length = strstr(got, "Content-Length: ");

	return end && strlen(end + 4) >= (length ? strtoul(length + 16, NULL, 10) : 0);
}

/* "503" and something: that status; empty: 404. */
static const char *status_of(const struct page *p)
{
	static char status[8];

	if (!p || !p->answer[0])
		return "404 Not Found";
	if (p->answer[0] < '1' || p->answer[0] > '5')
		return "200 OK";
	snprintf(status, sizeof status, "%.3s Is", p->answer);
	return status;
}

/* Behind a status, or all of it; "endless" is longer than anything that is read. */
static const char *body_of(const struct page *p)
{
	static char endless[2 * ISSUER_ANSWER_MAX];

	if (!strcmp(p->answer, "endless"))
		return memset(endless, ' ', sizeof endless - 1);
	return p->answer[0] >= '1' && p->answer[0] <= '5' ? p->answer + 3 : p->answer;
}

static void answer(struct server *s, int fd)
{
	char got[4096] = "", head[256];
	struct page *p;
	size_t n = 0;
	ssize_t some = 1;

	while (some > 0 && !whole(got) && n < sizeof got - 1) {
		some = read(fd, got + n, sizeof got - 1 - n);
		n += some > 0 ? (size_t)some : 0;
		got[n] = '\0';
	}
	p = page_of(s, got);
	if (p) {
		memcpy(p->request, got, sizeof got);
		p->asked++;
	}
	if (p && !strcmp(p->answer, "hang")) {
		(void)!read(fd, got, 1);
		return;
	}
	snprintf(head, sizeof head,
		 "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", status_of(p),
		 p ? strlen(body_of(p)) : 0);
	send(fd, head, strlen(head), MSG_NOSIGNAL);
	if (p)
		send(fd, body_of(p), strlen(body_of(p)), MSG_NOSIGNAL);
}

static void *serve(void *arg)
{
	struct server *s = arg;

	while (!s->over) {
		struct pollfd p = { .fd = s->fd, .events = POLLIN };
		AUTO_FD fd = poll(&p, 1, 20) > 0 ? accept(s->fd, NULL, NULL) : -1;

		if (fd >= 0)
			answer(s, fd);
	}
	return NULL;
}

static void start(struct server *s)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof at;

	memset(s, 0, sizeof *s);
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &n), 0);
	s->port = ntohs(at.sin_port);
	assert_int_equal(listen(s->fd, 8), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop(struct server *s)
{
	s->over = true;
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	close(s->fd);
}

static struct page *page(struct server *s, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static struct page *page(struct server *s, const char *path, const char *fmt, ...)
{
	va_list ap;

	for (size_t i = 0; i < PAGES; i++)
		if (!s->pages[i].path || !strcmp(s->pages[i].path, path)) {
			va_start(ap, fmt);
			vsnprintf(s->pages[i].answer, sizeof s->pages[i].answer, fmt, ap);
			va_end(ap);
			s->pages[i].path = path;
			return &s->pages[i];
		}
	fail_msg("too many pages");
	return NULL;
}

#define METADATA "/.well-known/oauth-authorization-server/i"
#define OPENID   "/i/.well-known/openid-configuration"

/* -- tokens: the key of RFC 8037 A.1 -- */

static const unsigned char secret_key[32] = { 0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60,
					      0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
					      0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19,
					      0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60 };
#define KEY_SET                                                                                    \
	"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"%s\","                          \
	"\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}"

static void sign(struct buf *b, const char *kid, const char *iss)
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret_key, 32);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char sig[64];
	size_t n = sizeof sig;
	char text[512];

	assert_true(key && ctx);
	buf_init(b, 4096);
	snprintf(text, sizeof text, "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", kid);
	b64url_encode(b, slice_str(text));
	buf_addc(b, '.');
	snprintf(text, sizeof text,
		 "{\"iss\":\"%s\",\"aud\":\"mail\",\"sub\":\"robot\",\"exp\":1800000300,\"scope\":"
		 "\"mail.send\"}",
		 iss);
	b64url_encode(b, slice_str(text));
	assert_int_equal(EVP_DigestSignInit(ctx, NULL, NULL, NULL, key), 1);
	assert_int_equal(EVP_DigestSign(ctx, sig, &n, (unsigned char *)b->p, b->n), 1);
	buf_addc(b, '.');
	b64url_encode(b, slice(sig, n));
	assert_false(b->failed);
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
}

/* -- a configuration -- */

struct fixture {
	struct server server;
	char dir[32], url[64];
	struct issuers *issuers;
};

static void write_file(const struct fixture *f, const char *name, const char *text)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", f->dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	fclose(file);
	chmod(path, 0600);
}

static struct issuers *configure(const struct fixture *f, const char *more,
				 const struct issuers *before, struct err *e)
{
	char text[2048], path[64];
	const struct conf *c;
	struct issuers *s;
	struct err why = { 0 };

	snprintf(text, sizeof text,
		 "tls { certificate = {\"a\"} key = {\"a\"} }\n"
		 "listener x { address = {\"127.0.0.1:1\"} }\n%s",
		 more);
	write_file(f, "a", "x");
	write_file(f, "c", text);
	snprintf(path, sizeof path, "%s/c", f->dir);
	c = conf_read(path, &why);
	if (!c)
		fail_msg("%s", why.text);
	s = issuers_new(c, before, e);
	conf_free(c);
	return s;
}

static void set_up(struct fixture *f, const char *kind, const char *more)
{
	char text[1024];
	struct err e = { 0 };

	memset(f, 0, sizeof *f);
	snprintf(f->dir, sizeof f->dir, "/tmp/issuer.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	start(&f->server);
	snprintf(f->url, sizeof f->url, "http://127.0.0.1:%u/i", f->server.port);
	write_file(f, "s", "our:secret\nnot this\n");
	snprintf(text, sizeof text,
		 "issuer sso { url = \"%s\" kind = %s audience = mail timeout = 400ms %s }\n",
		 f->url, kind, more);
	f->issuers = configure(f, text, NULL, &e);
	if (!f->issuers)
		fail_msg("%s", e.text);
}

static void tear_down(struct fixture *f)
{
	char path[64];

	issuers_free(f->issuers);
	stop(&f->server);
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%c", f->dir, "acs"[i]);
		unlink(path);
	}
	rmdir(f->dir);
}

static struct page *publish(struct fixture *f, const char *kid)
{
	page(&f->server, METADATA,
	     "{\"issuer\":\"%s\",\"jwks_uri\":\"http://127.0.0.1:%u/keys\","
	     "\"introspection_endpoint\":\"http://127.0.0.1:%u/ask\"}",
	     f->url, f->server.port, f->server.port);
	return page(&f->server, "/keys", KEY_SET, kid);
}

static enum issuer_says judge(struct fixture *f, struct slice text, bool may_ask,
			      enum token_fault *fault)
{
	struct issuer_verdict v;
	enum issuer_says says = issuers_judge(f->issuers, text, NOW, NULL, &v);
	struct slice sub;

	for (size_t k = 0; says == ISSUER_ASK && may_ask; k++) {
		assert_in_range(k, 0, issuers_count(f->issuers));
		assert_in_range(v.at_once, 1, 3);
		says = issuers_judge(f->issuers, text, NOW, v.ask, &v);
	}

	if (says == ISSUER_GOOD) {
		assert_true(slice_eq(v.issuer->name, S("sso")));
		assert_true(token_text(v.token, "sub", &sub) && slice_eq(sub, S("robot")));
	} else {
		assert_null(v.token);
	}
	if (fault)
		*fault = v.fault;
	token_free(v.token);
	return says;
}

/* -- tests -- */

static void keys_are_asked_for_once(void **state)
{
	struct fixture f;
	struct page *keys;
	struct buf t;

	set_up(&f, "jwt", "");
	keys = publish(&f, "k1");
	sign(&t, "k1", f.url);
	assert_int_equal(judge(&f, buf_slice(&t), false, NULL), ISSUER_ASK);
	assert_int_equal(keys->asked, 0);
	assert_int_equal(judge(&f, buf_slice(&t), true, NULL), ISSUER_GOOD);
	assert_int_equal(judge(&f, buf_slice(&t), false, NULL), ISSUER_GOOD);
	assert_int_equal(judge(&f, buf_slice(&t), true, NULL), ISSUER_GOOD);
	assert_int_equal(keys->asked, 1);
	buf_done(&t);
	tear_down(&f);
}

static void warm(void **state)
{
	struct fixture f;
	struct buf t;

	set_up(&f, "jwt", "");
	publish(&f, "k1");
	issuers_warm(f.issuers);
	sign(&t, "k1", f.url);
	assert_int_equal(judge(&f, buf_slice(&t), false, NULL), ISSUER_GOOD);
	buf_done(&t);
	tear_down(&f);
}

static void old_keys_do_not_count(void **state)
{
	struct fixture f;
	struct page *keys;
	struct buf t;

	set_up(&f, "jwt", "fresh = 1s");
	keys = publish(&f, "k1");
	sign(&t, "k1", f.url);
	assert_int_equal(judge(&f, buf_slice(&t), true, NULL), ISSUER_GOOD);
	usleep(1050000);
	assert_int_equal(judge(&f, buf_slice(&t), false, NULL), ISSUER_ASK);
	/* What was good an hour ago may not be: it is down, and that is no yes. */
	page(&f.server, "/keys", "%s", "");
	assert_int_equal(judge(&f, buf_slice(&t), true, NULL), ISSUER_DOWN);
	assert_int_equal(keys->asked, 2);
	buf_done(&t);
	tear_down(&f);
}

static void a_new_kid(void **state)
{
	enum token_fault fault;
	struct fixture f;
	struct page *keys;
	struct buf old, new, third;

	set_up(&f, "jwt", "");
	publish(&f, "k1");
	sign(&old, "k1", f.url);
	sign(&new, "k2", f.url);
	sign(&third, "k3", f.url);
	assert_int_equal(judge(&f, buf_slice(&old), true, NULL), ISSUER_GOOD);
	/* The issuer has rotated its keys. */
	keys = page(&f.server, "/keys", KEY_SET, "k2");
	assert_int_equal(judge(&f, buf_slice(&new), false, NULL), ISSUER_ASK);
	usleep(2000);
	assert_int_equal(judge(&f, buf_slice(&new), true, NULL), ISSUER_GOOD);
	assert_int_equal(keys->asked, 2);
	assert_int_equal(judge(&f, buf_slice(&old), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_UNKNOWN_KEY);
	/* Who makes up names of keys does not make us ask again and again. */
	for (int i = 0; i < 20; i++)
		assert_int_equal(judge(&f, buf_slice(&third), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_UNKNOWN_KEY);
	assert_int_equal(keys->asked, 2);
	buf_done(&old);
	buf_done(&new);
	buf_done(&third);
	tear_down(&f);
}

/* Asked for a key that is new, it does not answer: nobody knows, which is no no. */
static void a_new_kid_while_it_is_down(void **state)
{
	struct fixture f;
	struct buf old, new;

	set_up(&f, "jwt", "");
	publish(&f, "k1");
	sign(&old, "k1", f.url);
	sign(&new, "k2", f.url);
	assert_int_equal(judge(&f, buf_slice(&old), true, NULL), ISSUER_GOOD);
	page(&f.server, "/keys", "%s", "");
	usleep(2000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(judge(&f, buf_slice(&new), true, NULL), ISSUER_DOWN);
	/* What is held still counts. */
	assert_int_equal(judge(&f, buf_slice(&old), true, NULL), ISSUER_GOOD);
	buf_done(&old);
	buf_done(&new);
	tear_down(&f);
}

static void one_that_hangs(void **state)
{
	struct fixture f;
	struct page *keys;
	uint64_t began;
	struct buf t;

	set_up(&f, "jwt", "");
	keys = publish(&f, "k1");
	page(&f.server, "/keys", "hang");
	sign(&t, "k1", f.url);
	began = clock_mono_ms();
	assert_int_equal(judge(&f, buf_slice(&t), true, NULL), ISSUER_DOWN);
	assert_true(clock_mono_ms() - began >= 300 && clock_mono_ms() - began < 3000);
	/* And nobody waits for it again so soon. */
	began = clock_mono_ms();
	for (int i = 0; i < 20; i++)
		assert_int_equal(judge(&f, buf_slice(&t), i % 2, NULL), ISSUER_DOWN);
	assert_true(clock_mono_ms() - began < 300);
	assert_int_equal(keys->asked, 1);
	buf_done(&t);
	tear_down(&f);
}

/* What it publishes may be wrong in many ways: all are "down", with the reason. */
static void nonsense(void **state)
{
	static const struct {
		const char *metadata, *openid, *keys, *why;
	} rows[] = {
		{ "", "", "", "status 404" },
		{ "<html>", "", "", "status 404" },
		{ "{\"issuer\":\"http://127.0.0.1/other\",\"jwks_uri\":\"%s\"}", "<html>", "",
		  "not what" },
		{ "", "{\"issuer\":\"http://127.0.0.1/other\",\"jwks_uri\":\"%s\"}", "",
		  "of another issuer" },
		{ "{\"issuer\":\"%s\",\"jwks_uri\":\"http://evil.example/keys\"}", "", "",
		  "begins with https" },
		{ "{\"issuer\":\"%s\",\"jwks_uri\":\"file:///etc/passwd\"}", "", "",
		  "begins with https" },
		{ "{\"issuer\":\"%s\"}", "", "", "begins with https" },
		{ NULL, "", "[]", "no keys" },
		{ NULL, "", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}", "tells its secret" },
		{ NULL, "", "", "status 404" },
	};

	for (size_t i = 0; i < LEN(rows); i++) {
		struct err e = { 0 };
		struct fixture f;
		size_t n;

		set_up(&f, "jwt", "");
		publish(&f, "k1");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		if (rows[i].metadata)
			page(&f.server, METADATA, rows[i].metadata, f.url);
		page(&f.server, OPENID, rows[i].openid, f.url);
		page(&f.server, "/keys", rows[i].keys, "");
#pragma GCC diagnostic pop
		assert_false(issuers_check(f.issuers, 0, &n, &e));
		assert_int_equal(e.kind, ERR_LATER);
		if (!strstr(e.text, rows[i].why))
			fail_msg("%zu: %s", i, e.text);
		tear_down(&f);
	}
}

static void where_metadata_may_send_us(void **state)
{
	const struct slice far = S("https://sso.example"), here = S("http://127.0.0.1:80/i");

	assert_null(ask_check_url(far, S("https://sso.example/keys")));
	assert_null(ask_check_url(far, S("https://keys.example/")));
	assert_non_null(ask_check_url(far, S("http://127.0.0.1:8080/admin")));
	assert_non_null(ask_check_url(far, S("http://sso.example/keys")));
	assert_non_null(ask_check_url(far, S("")));
	assert_null(ask_check_url(here, S("http://127.0.0.1:80/keys")));
	assert_null(ask_check_url(here, S("https://keys.example/")));
	assert_non_null(ask_check_url(here, S("http://keys.example/")));
}

static void openid_discovery(void **state)
{
	struct err e = { 0 };
	struct fixture f;
	size_t n;

	set_up(&f, "jwt", "");
	page(&f.server, OPENID, "{\"issuer\":\"%s\",\"jwks_uri\":\"http://127.0.0.1:%u/keys\"}",
	     f.url, f.server.port);
	page(&f.server, "/keys", KEY_SET, "k1");
	assert_true(issuers_check(f.issuers, 0, &n, &e));
	assert_int_equal(n, 1);
	tear_down(&f);
}

static void whose_it_is(void **state)
{
	enum token_fault fault;
	struct fixture f;
	struct page *keys;
	struct buf t;

	set_up(&f, "jwt", "");
	keys = publish(&f, "k1");
	sign(&t, "k1", "https://another.example");
	assert_int_equal(judge(&f, buf_slice(&t), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_ISSUER);
	assert_int_equal(judge(&f, S("2YotnFZFEjr1zCsicMWpAA"), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_MALFORMED);
	assert_int_equal(judge(&f, S("eyJhbGciOiJub25lIn0.e30."), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_ALGORITHM);
	assert_int_equal(keys->asked, 0);
	buf_done(&t);
	tear_down(&f);
}

#define OPAQUE "client_id = \"mail relay\" client_secret_file = s"
#define ACTIVE "{\"active\":true,\"aud\":\"mail\",\"scope\":\"mail.send\",\"sub\":\"robot\"%s}"

static void opaque(void **state)
{
	enum token_fault fault;
	struct fixture f;
	struct page *ask;

	set_up(&f, "opaque", OPAQUE);
	publish(&f, "k1");
	ask = page(&f.server, "/ask", ACTIVE, "");
	assert_int_equal(judge(&f, S("tok+en/1="), false, NULL), ISSUER_ASK);
	assert_int_equal(judge(&f, S("tok+en/1="), true, NULL), ISSUER_GOOD);
	assert_int_equal(judge(&f, S("tok+en/1="), false, NULL), ISSUER_GOOD);
	assert_int_equal(ask->asked, 1);
	/* RFC 7662 2.1, RFC 6749 2.3.1 */
	assert_non_null(strstr(ask->request, "POST /ask "));
	assert_non_null(
	    strstr(ask->request, "\r\n\r\ntoken=tok%2Ben%2F1%3D&token_type_hint=access_token"));
	assert_non_null(
	    strstr(ask->request, "Authorization: Basic bWFpbCtyZWxheTpvdXIlM0FzZWNyZXQ=\r\n"));
	/* Another one is asked about; what is not known there is remembered, too. */
	page(&f.server, "/ask", "{\"active\":false}");
	assert_int_equal(judge(&f, S("other"), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_INACTIVE);
	assert_int_equal(judge(&f, S("other"), false, &fault), ISSUER_BAD);
	assert_int_equal(ask->asked, 2);
	/* Its end counts, whatever is held. */
	page(&f.server, "/ask", ACTIVE, ",\"exp\":1799999939");
	assert_int_equal(judge(&f, S("late"), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_EXPIRED);
	page(&f.server, "/ask", "<html>");
	assert_int_equal(judge(&f, S("page"), true, &fault), ISSUER_BAD);
	/* It cannot read one: that one is bad, and the issuer is not down. */
	page(&f.server, "/ask", "400{\"error\":\"invalid_request\"}");
	assert_int_equal(judge(&f, S("odd"), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_INACTIVE);
	assert_int_equal(judge(&f, S("unheard"), false, NULL), ISSUER_ASK);
	page(&f.server, "/ask", "hang");
	assert_int_equal(judge(&f, S("down"), true, NULL), ISSUER_DOWN);
	assert_int_equal(judge(&f, S("more"), false, NULL), ISSUER_DOWN);
	/* What is held is good meanwhile. */
	assert_int_equal(judge(&f, S("tok+en/1="), false, NULL), ISSUER_GOOD);
	tear_down(&f);
}

/* What an answer without a verdict says, and of whom. */
static void no_verdict(void **state)
{
	static const struct {
		const char *answer;
		bool down; /* for everybody */
	} rows[] = {
		{ "", false }, /* 404 */
		{ "403", false },
		{ "413", false },
		{ "429slow down", false },
		{ "500<html>", false },
		{ "503", false },
		{ "302", false },
		{ "200", false }, /* nothing */
		{ "endless", false },
		{ "401", true },
		{ "400{\"error\":\"invalid_client\"}", true },
		{ "400{\"error\":\"unauthorized_client\"}", true },
		{ "hang", true },
	};

	for (size_t k = 0; k < LEN(rows); k++) {
		struct issuer_verdict v;
		struct fixture f;
		struct page *ask;

		set_up(&f, "opaque", OPAQUE);
		publish(&f, "k1");
		ask = page(&f.server, "/ask", "%s", rows[k].answer);
		assert_int_equal(judge(&f, S("bad"), true, NULL), ISSUER_DOWN);
		/* It is not asked about again at once, whatever else. */
		assert_int_equal(judge(&f, S("bad"), true, NULL), ISSUER_DOWN);
		assert_int_equal(ask->asked, 1);
		page(&f.server, "/ask", ACTIVE, "");
		assert_int_equal(judge(&f, S("good"), true, NULL),
				 rows[k].down ? ISSUER_DOWN : ISSUER_GOOD);
		assert_int_equal(issuers_judge(f.issuers, S("next"), NOW, NULL, &v),
				 rows[k].down ? ISSUER_DOWN : ISSUER_ASK);
		assert_true(rows[k].down || v.ask->told_ms); /* the operator knows */
		tear_down(&f);
	}
}

/* Two that know opaque tokens: each is asked with leave of its own, and the second one's word
 * counts when the first has none. */
static void one_after_the_other(void **state)
{
	const struct issuer *first;
	struct issuer_verdict v;
	struct fixture f;
	struct page *ask;
	char text[1024];
	struct err e = { 0 };

	set_up(&f, "opaque", OPAQUE);
	ask = page(&f.server, "/ask", ACTIVE, "");
	page(&f.server, "/none", "503");
	snprintf(text, sizeof text,
		 "issuer none { url = \"http://127.0.0.1:%u/n\" kind = opaque audience = mail "
		 "introspection = \"http://127.0.0.1:%u/none\" " OPAQUE " }\n"
		 "issuer sso { url = \"%s\" kind = opaque audience = mail "
		 "introspection = \"http://127.0.0.1:%u/ask\" " OPAQUE " }\n",
		 f.server.port, f.server.port, f.url, f.server.port);
	issuers_free(f.issuers);
	f.issuers = configure(&f, text, NULL, &e);
	if (!f.issuers)
		fail_msg("%s", e.text);
	assert_int_equal(issuers_judge(f.issuers, S("t"), NOW, NULL, &v), ISSUER_ASK);
	first = v.ask;
	assert_int_equal(issuers_judge(f.issuers, S("t"), NOW, first, &v), ISSUER_ASK);
	assert_ptr_not_equal(v.ask, first);
	assert_int_equal(ask->asked, 0);
	assert_int_equal(judge(&f, S("t"), true, NULL), ISSUER_GOOD);
	assert_int_equal(ask->asked, 1);
	/* What the first has said is forgotten while the second is waited for: the second is asked
	 * all the same, and not the first again. */
	assert_int_equal(issuers_judge(f.issuers, S("w"), NOW, NULL, &v), ISSUER_ASK);
	assert_ptr_equal(v.ask, first);
	assert_int_equal(issuers_judge(f.issuers, S("w"), NOW, first, &v), ISSUER_ASK);
	answers_put(((struct issuer *)(uintptr_t)first)->answers, S("w"), S(""), 0);
	assert_int_equal(issuers_judge(f.issuers, S("w"), NOW, v.ask, &v), ISSUER_GOOD);
	token_free(v.token);
	/* The second does not know it: the first might have. */
	page(&f.server, "/ask", "{\"active\":false}");
	assert_int_equal(judge(&f, S("u"), true, NULL), ISSUER_DOWN);
	tear_down(&f);
}

/* How many may ask at once: one for keys, which all wait for; one of an issuer that is tried again.
 */
static void how_many_at_once(void **state)
{
	struct issuer_verdict v;
	struct fixture f;
	struct buf t;

	set_up(&f, "jwt", "");
	publish(&f, "k1");
	sign(&t, "k1", f.url);
	assert_int_equal(issuers_judge(f.issuers, buf_slice(&t), NOW, NULL, &v), ISSUER_ASK);
	assert_int_equal(v.at_once, 1);
	buf_done(&t);
	tear_down(&f);
	set_up(&f, "opaque", OPAQUE);
	publish(&f, "k1");
	page(&f.server, "/ask", "401");
	assert_int_equal(issuers_judge(f.issuers, S("t"), NOW, NULL, &v), ISSUER_ASK);
	assert_int_equal(v.at_once, 3);
	assert_int_equal(judge(&f, S("t"), true, NULL), ISSUER_DOWN);
	((struct issuer *)(uintptr_t)v.ask)->down_ms = 0; /* that time has passed */
	assert_int_equal(issuers_judge(f.issuers, S("t"), NOW, NULL, &v), ISSUER_ASK);
	assert_int_equal(v.at_once, 1);
	tear_down(&f);
}

/* A token that names another issuer does not go to this one. */
static void opaque_hears_nothing_of_others(void **state)
{
	enum token_fault fault;
	struct fixture f;
	struct page *ask;
	struct buf t;

	set_up(&f, "opaque", OPAQUE);
	publish(&f, "k1");
	ask = page(&f.server, "/ask", ACTIVE, "");
	sign(&t, "k1", "https://another.example");
	assert_int_equal(judge(&f, buf_slice(&t), true, &fault), ISSUER_BAD);
	assert_int_equal(fault, TOKEN_ISSUER);
	assert_int_equal(ask->asked, 0);
	buf_done(&t);
	sign(&t, "k1", f.url);
	assert_int_equal(judge(&f, buf_slice(&t), true, NULL), ISSUER_GOOD);
	assert_int_equal(ask->asked, 1);
	buf_done(&t);
	tear_down(&f);
}

static void a_reload_keeps_what_is_the_same(void **state)
{
	struct fixture f;
	struct issuers *now;
	struct page *keys;
	char text[512];
	struct issuer_verdict v;
	uint64_t id;
	struct buf t;

	set_up(&f, "jwt", "");
	keys = publish(&f, "k1");
	sign(&t, "k1", f.url);
	assert_int_equal(judge(&f, buf_slice(&t), true, NULL), ISSUER_GOOD);
	assert_int_equal(issuers_judge(f.issuers, buf_slice(&t), NOW, NULL, &v), ISSUER_GOOD);
	id = v.id;
	token_free(v.token);
	snprintf(text, sizeof text, "issuer sso { url = \"%s\" audience = mail timeout = 400ms }\n",
		 f.url);
	now = configure(&f, text, f.issuers, NULL);
	assert_non_null(now);
	issuers_free(f.issuers);
	f.issuers = now;
	assert_int_equal(judge(&f, buf_slice(&t), false, NULL), ISSUER_GOOD);
	snprintf(text, sizeof text,
		 "issuer sso { url = \"%s\" audience = others timeout = 400ms }\n", f.url);
	now = configure(&f, text, f.issuers, NULL);
	assert_non_null(now);
	issuers_free(f.issuers);
	f.issuers = now;
	assert_int_equal(judge(&f, buf_slice(&t), false, NULL), ISSUER_ASK);
	assert_int_equal(keys->asked, 1);
	/* Who has logged in by a token of it is still known. */
	assert_true(issuers_have(now, id));
	snprintf(text, sizeof text, "issuer other { url = \"%s\" audience = mail }\n", f.url);
	now = configure(&f, text, f.issuers, NULL);
	assert_non_null(now);
	issuers_free(f.issuers);
	f.issuers = now;
	assert_false(issuers_have(now, id));
	buf_done(&t);
	tear_down(&f);
}

static void secrets_of_others(void **state)
{
	struct err e = { 0 };
	struct fixture f;
	char path[64];

	set_up(&f, "opaque", OPAQUE);
	snprintf(path, sizeof path, "%s/s", f.dir);
	chmod(path, 0644);
	assert_null(configure(
	    &f, "issuer sso { url = \"https://x.example\" kind = opaque " OPAQUE " }\n", NULL, &e));
	assert_int_equal(e.kind, ERR_DENIED);
	tear_down(&f);
}

/* The ring: the oldest goes; bytes are bounded. */
static void answers_are_bounded(void **state)
{
	struct answers *a = answers_new();
	static char big[ISSUER_ANSWER_MAX];
	struct buf out;
	char token[16];

	assert_non_null(a);
	for (unsigned i = 0; i < ISSUER_ANSWERS + 10; i++) {
		snprintf(token, sizeof token, "t%u", i);
		answers_put(a, slice_str(token), S("x"), 100);
	}
	buf_init(&out, ISSUER_ANSWER_MAX);
	assert_false(answers_get(a, S("t9"), 0, &out));
	assert_true(answers_get(a, S("t10"), 99, &out));
	assert_false(answers_get(a, S("t10"), 100, &out));
	memset(big, 'b', sizeof big);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(token, sizeof token, "b%u", i);
		answers_put(a, slice_str(token), slice(big, sizeof big), 100);
	}
	buf_clear(&out);
	assert_false(answers_get(a, S("b0"), 0, &out));
	assert_true(answers_get(a, S("b199"), 0, &out));
	assert_int_equal(out.n, sizeof big);
	/* The same again takes its own place. */
	answers_put(a, S("b199"), S("y"), 100);
	buf_clear(&out);
	assert_true(answers_get(a, S("b199"), 0, &out) && slice_eq(buf_slice(&out), S("y")));
	buf_done(&out);
	answers_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_asked_for_once),
		cmocka_unit_test(warm),
		cmocka_unit_test(old_keys_do_not_count),
		cmocka_unit_test(a_new_kid),
		cmocka_unit_test(a_new_kid_while_it_is_down),
		cmocka_unit_test(one_that_hangs),
		cmocka_unit_test(nonsense),
		cmocka_unit_test(where_metadata_may_send_us),
		cmocka_unit_test(openid_discovery),
		cmocka_unit_test(whose_it_is),
		cmocka_unit_test(opaque),
		cmocka_unit_test(no_verdict),
		cmocka_unit_test(one_after_the_other),
		cmocka_unit_test(how_many_at_once),
		cmocka_unit_test(opaque_hears_nothing_of_others),
		cmocka_unit_test(a_reload_keeps_what_is_the_same),
		cmocka_unit_test(secrets_of_others),
		cmocka_unit_test(answers_are_bounded),
	};

	return cmocka_run_group_tests_name("issuer", tests, NULL, NULL);
}
