#include "fetch/submit.h"

#include <curl/curl.h>
#include <stdio.h>

struct source {
	struct slice left;
};

static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
	struct source *s = arg;
	size_t some = size * n < s->left.n ? size * n : s->left.n;

	if (some)
		memcpy(to, slice_take(&s->left, some).p, some);
	return some;
}

/* Reply lines come as headers; the last one is kept. */
static size_t on_line(char *p, size_t size, size_t n, void *arg)
{
	struct buf *reply = arg;
	struct slice line = slice(p, size * n);

	while (line.n && (unsigned char)line.p[line.n - 1] < 0x20)
		line.n--;
	/* The good-bye is not what the caller asks about. */
	if (line.n && !slice_starts(line, S("221"))) {
		buf_clear(reply);
		/* Somebody else's words, and a terminal may be where they end. */
		for (size_t i = 0; i < line.n; i++)
			buf_addc(reply, line.p[i] >= ' ' && line.p[i] <= '~' ? line.p[i] : '?');
	}
	return size * n;
}

static bool refused(const struct buf *reply, CURLcode rc, struct err *e)
{
	struct slice r = buf_slice(reply);

	if (r.n && (r.p[0] == '4' || r.p[0] == '5'))
		return err_set(e, r.p[0] == '5' ? ERR_DENIED : ERR_LATER, "refused: %.*s",
			       SLICE_ARG(r));
	return err_set(e, ERR_LATER, "%s", curl_easy_strerror(rc));
}

bool fetch_submit(const struct fetch_mail *m, struct buf *reply, struct err *e)
{
	struct source source = { m->message };
	CURL *c = curl_easy_init();
	struct curl_slist *to = curl_slist_append(NULL, m->to);
	char url[400], from[400];
	CURLcode rc;

	if (!c || !to) {
		curl_slist_free_all(to);
		curl_easy_cleanup(c);
		return err_set(e, ERR_LATER, "out of memory");
	}
	snprintf(url, sizeof url, "%s://%s:%u", m->implicit_tls ? "smtps" : "smtp", m->host,
		 m->port);
	snprintf(from, sizeof from, "<%s>", m->from);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_PROXY, "");
	curl_easy_setopt(c, CURLOPT_USE_SSL, (long)CURLUSESSL_ALL);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, m->any_name ? 0L : 2L);
	if (m->ca_file)
		curl_easy_setopt(c, CURLOPT_CAINFO, m->ca_file);
	curl_easy_setopt(c, CURLOPT_USERNAME, m->user);
	curl_easy_setopt(c, CURLOPT_PASSWORD, m->password);
	curl_easy_setopt(c, CURLOPT_MAIL_FROM, from);
	curl_easy_setopt(c, CURLOPT_MAIL_RCPT, to);
	curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(c, CURLOPT_READDATA, &source);
	curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)m->message.n);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_line);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, reply);
	curl_easy_setopt(c, CURLOPT_TIMEOUT, 60L);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	rc = curl_easy_perform(c);
	curl_slist_free_all(to);
	curl_easy_cleanup(c);
	return rc == CURLE_OK || refused(reply, rc, e);
}
