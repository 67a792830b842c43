/* fetch/fetch.c -- this and submit.c are the files that know libcurl. */
#include "fetch/fetch.h"

#include "base/b64.h"
#include "base/must.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>

#define URL_MAX 8192

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode ready = CURLE_FAILED_INIT;

static void start(void)
{
	ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct buf *body = arg;

	(void)size; /* always 1 */
	buf_add(body, slice(p, n));
	return body->failed ? CURL_WRITEFUNC_ERROR : n;
}

/* As a C string; NULL when it is too long, holds a NUL, or memory is out. */
static char *text_of(struct slice s)
{
	if (s.n >= URL_MAX || (s.n && memchr(s.p, 0, s.n)))
		return NULL;
	return s.n ? strndup(s.p, s.n) : strdup("");
}

/* A path or URL of visible ASCII only, so that nothing becomes a second line of the request. */
static bool visible(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return s.n > 0;
}

void fetch_add_form(struct buf *out, struct slice text)
{
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];

		if (ascii_alpha(c) || ascii_digit(c) || (c && memchr("*-._", c, 4)))
			buf_addc(out, c);
		else if (c == ' ')
			buf_addc(out, '+');
		else
			buf_addf(out, "%%%02X", (unsigned char)c);
	}
}

struct call {
	CURL *curl;
	struct curl_slist *header;
	char *url, *socket, *ca_file;
	char why[CURL_ERROR_SIZE];
};

static bool add_header(struct call *c, const char *line)
{
	struct curl_slist *more = curl_slist_append(c->header, line);

	if (more)
		c->header = more;
	return more;
}

static bool add_credentials(struct call *c, const struct fetch_request *r)
{
	struct buf pair, line;
	bool ok;

	buf_init(&pair, URL_MAX);
	buf_init(&line, 2 * URL_MAX);
	buf_room_for(&pair, URL_MAX);
	buf_room_for(&line, 2 * URL_MAX);
	fetch_add_form(&pair, r->user);
	buf_addc(&pair, ':');
	fetch_add_form(&pair, r->password.bytes);
	buf_add(&line, S("Authorization: Basic "));
	b64_encode(&line, buf_slice(&pair));
	buf_addc(&line, '\0');
	ok = !pair.failed && !line.failed && add_header(c, line.p);
	buf_wipe(&pair);
	buf_wipe(&line);
	return ok;
}

static bool make_url(struct call *c, const struct fetch_request *r)
{
	struct buf url;

	buf_init(&url, URL_MAX);
	if (r->unix_socket.n)
		buf_add(&url, S("http://localhost"));
	buf_add(&url, r->path);
	c->url = url.failed ? NULL : text_of(buf_slice(&url));
	c->socket = text_of(r->unix_socket);
	c->ca_file = text_of(r->ca_file);
	buf_done(&url);
	return c->url && c->socket && c->ca_file;
}

static bool set_up(struct call *c, const struct fetch_request *r, struct buf *body)
{
	CURLcode bad = CURLE_OK;

	c->curl = curl_easy_init();
	/* The size of a body is known: no "Expect: 100-continue" round trip. */
	if (!c->curl || !make_url(c, r) || !add_header(c, "Expect:") ||
	    !add_header(c, "Accept: application/json") ||
	    (r->body.n && !add_header(c, r->form ? "Content-Type: application/x-www-form-urlencoded"
						 : "Content-Type: application/json")) ||
	    (r->user.n && !add_credentials(c, r)))
		return false;
#define SET(option, value) (bad = bad ? bad : curl_easy_setopt(c->curl, (option), (value)))
	SET(CURLOPT_ERRORBUFFER, c->why);
	SET(CURLOPT_URL, c->url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)r->timeout_ms);
	SET(CURLOPT_HTTPHEADER, c->header);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, body);
	if (r->unix_socket.n)
		SET(CURLOPT_UNIX_SOCKET_PATH, c->socket);
	if (r->ca_file.n) {
		SET(CURLOPT_CAINFO, c->ca_file);
		SET(CURLOPT_CAPATH, NULL);
	}
	if (r->body.n) {
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.n);
		SET(CURLOPT_POSTFIELDS, r->body.p);
	}
	if (!strcmp(r->method, "HEAD"))
		SET(CURLOPT_NOBODY, 1L);
	else
		SET(CURLOPT_CUSTOMREQUEST, r->method);
#undef SET
	return bad == CURLE_OK;
}

/* The library speaks of a host and a port even where a socket was meant: the system knows better.
 */
static const char *why(struct call *c, CURLcode rc)
{
	long system = 0;

	curl_easy_getinfo(c->curl, CURLINFO_OS_ERRNO, &system);
	if (rc == CURLE_COULDNT_CONNECT && c->socket[0] && system)
		return strerror((int)system);
	return c->why[0] ? c->why : curl_easy_strerror(rc);
}

static bool perform(struct call *c, const struct fetch_request *r, unsigned *ret_status,
		    struct buf *body, struct err *e)
{
	CURLcode rc = curl_easy_perform(c->curl);
	struct slice who = r->unix_socket.n ? r->unix_socket : r->path;
	long status = 0;

	if (body->failed)
		return err_set(e, ERR_INPUT, "%.*s: the answer has more than %zu bytes",
			       SLICE_ARG(who), r->body_max);
	if (rc != CURLE_OK)
		return err_set(e, ERR_LATER, "%.*s does not answer: %s", SLICE_ARG(who),
			       why(c, rc));
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	*ret_status = (unsigned)status;
	return true;
}

bool fetch_request(const struct fetch_request *r, unsigned *ret_status, struct buf *ret_body,
		   struct err *e)
{
	struct call c = { 0 };
	bool ok;

	MUST(r->timeout_ms > 0);
	buf_init(ret_body, r->body_max);
	pthread_once(&once, start);
	if (ready != CURLE_OK)
		return err_set(e, ERR_LATER, "libcurl: %s", curl_easy_strerror(ready));
	if (!visible(r->path) || (r->unix_socket.n && r->path.p[0] != '/'))
		return err_set(e, ERR_INPUT, "not a path to ask for");
	ok = set_up(&c, r, ret_body) ? perform(&c, r, ret_status, ret_body, e)
				     : err_set(e, ERR_LATER, "the request cannot be made");
	curl_easy_cleanup(c.curl);
	for (struct curl_slist *i = c.header; i; i = i->next)
		explicit_bzero(i->data, strlen(i->data));
	curl_slist_free_all(c.header);
	free(c.url);
	free(c.socket);
	free(c.ca_file);
	if (!ok)
		buf_done(ret_body);
	return ok;
}
