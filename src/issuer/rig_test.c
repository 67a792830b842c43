#include "issuer/rig_test.h"

#include "base/auto.h"
#include "base/b64.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

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

struct page *rig_page(struct server *s, const char *path, const char *fmt, ...)
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

/* -- tokens: the key of RFC 8037 A.1 -- */

static const unsigned char secret_key[32] = { 0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60,
					      0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
					      0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19,
					      0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60 };

void rig_sign(struct buf *b, const char *kid, const char *iss)
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

struct issuers *rig_configure(const struct fixture *f, const char *more,
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

void rig_set_up(struct fixture *f, const char *kind, const char *more)
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
	f->issuers = rig_configure(f, text, NULL, &e);
	if (!f->issuers)
		fail_msg("%s", e.text);
}

void rig_tear_down(struct fixture *f)
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

struct page *rig_publish(struct fixture *f, const char *kid)
{
	rig_page(&f->server, METADATA,
		 "{\"issuer\":\"%s\",\"jwks_uri\":\"http://127.0.0.1:%u/keys\","
		 "\"introspection_endpoint\":\"http://127.0.0.1:%u/ask\"}",
		 f->url, f->server.port, f->server.port);
	return rig_page(&f->server, "/keys", KEY_SET, kid);
}

enum issuer_says rig_judge(struct fixture *f, struct slice text, bool may_ask,
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
