/* fetch/fetch_test.c -- against a server of one answer on a Unix socket. */
#include "fetch/fetch.h"

#include "base/auto.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct server {
	char dir[32], path[64];
	int fd;
	pthread_t thread;
	const char *answer; /* NULL: accepts and says nothing until the client leaves */
	char got[4096];     /* the request, NUL-terminated */
};

/* The head, and as much behind it as Content-Length says. */
static bool whole(const char *got)
{
	const char *end = strstr(got, "\r\n\r\n"), *length = strstr(got, "Content-Length: ");

	return end && strlen(end + 4) >= (length ? strtoul(length + 16, NULL, 10) : 0);
}

static void *serve(void *arg)
{
	struct server *s = arg;
	AUTO_FD fd = accept(s->fd, NULL, NULL);
	size_t n = 0;
	ssize_t some = 1;

	while (some > 0 && (!s->answer || !whole(s->got)) && n < sizeof s->got - 1) {
		some = read(fd, s->got + n, sizeof s->got - 1 - n);
		n += some > 0 ? (size_t)some : 0;
	}
	if (s->answer)
		send(fd, s->answer, strlen(s->answer), MSG_NOSIGNAL);
	return NULL;
}

static void start(struct server *s, const char *answer)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	*s = (struct server){ .dir = "/tmp/fetch.XXXXXX", .answer = answer };
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->path, sizeof s->path, "%s/socket", s->dir);
	snprintf(at.sun_path, sizeof at.sun_path, "%s", s->path);
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(s->fd, 1), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop(struct server *s)
{
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	close(s->fd);
	unlink(s->path);
	rmdir(s->dir);
}

static struct fetch_request get(const struct server *s)
{
	return (struct fetch_request){ .method = "GET",
				       .unix_socket = slice_str(s->path),
				       .path = S("/control/status"),
				       .timeout_ms = 5000,
				       .body_max = 100 };
}

static void test_get(void **state)
{
	struct server s;
	struct buf body;
	struct err e = { 0 };
	unsigned status = 0;

	start(&s, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"up\":true}");
	struct fetch_request r = get(&s);
	assert_true(fetch_request(&r, &status, &body, &e));
	stop(&s);
	assert_int_equal(status, 200);
	assert_true(slice_eq(buf_slice(&body), S("{\"up\":true}")));
	assert_string_equal(s.got, "GET /control/status HTTP/1.1\r\nHost: localhost\r\n"
				   "Accept: application/json\r\n\r\n");
	buf_done(&body);
}

static void test_body_goes_out(void **state)
{
	struct server s;
	struct buf body;
	struct err e = { 0 };
	unsigned status = 0;

	start(&s, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}");
	struct fetch_request r = get(&s);
	r.method = "PATCH";
	r.path = S("/control/x/../accounts/a%20b?x=1&y=z");
	r.body = S("{\"name\":\"x\"}");
	assert_true(fetch_request(&r, &status, &body, &e));
	stop(&s);
	assert_int_equal(status, 404); /* a status is an answer, not a failure */
	assert_string_equal(
	    s.got, "PATCH /control/x/../accounts/a%20b?x=1&y=z HTTP/1.1\r\nHost: localhost\r\n"
		   "Accept: application/json\r\nContent-Type: application/json\r\n"
		   "Content-Length: 12\r\n\r\n{\"name\":\"x\"}");
	buf_done(&body);
}

static void test_form_and_credentials(void **state)
{
	struct server s;
	struct buf body, form;
	struct err e = { 0 };
	unsigned status = 0;

	start(&s, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
	struct fetch_request r = get(&s);
	buf_init(&form, 100);
	buf_add(&form, S("token="));
	fetch_add_form(&form, slice("a b+/=&\0\xff*-._~", 14));
	r.method = "POST";
	r.body = buf_slice(&form);
	r.form = true;
	r.user = S("mail relay");
	r.password = secret(S("p:+s"));
	assert_true(fetch_request(&r, &status, &body, &e));
	stop(&s);
	/* RFC 6749 2.3.1: "mail+relay:p%3A%2Bs" */
	assert_non_null(strstr(s.got, "\r\nAuthorization: Basic bWFpbCtyZWxheTpwJTNBJTJCcw==\r\n"));
	assert_non_null(strstr(s.got, "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
	assert_non_null(strstr(s.got, "\r\n\r\ntoken=a+b%2B%2F%3D%26%00%FF*-._%7E"));
	buf_done(&body);
	buf_done(&form);
}

static void test_no_content_and_redirect(void **state)
{
	static const struct {
		const char *answer;
		unsigned status;
	} cases[] = {
		{ "HTTP/1.1 204 No Content\r\n\r\n", 204 },
		{ "HTTP/1.1 302 Found\r\nLocation: http://localhost/else\r\nContent-Length: "
		  "0\r\n\r\n",
		  302 },
	};

	for (size_t i = 0; i < 2; i++) {
		struct server s;
		struct buf body;
		struct err e = { 0 };
		unsigned status = 0;

		start(&s, cases[i].answer);
		struct fetch_request r = get(&s);
		r.method = "DELETE";
		assert_true(fetch_request(&r, &status, &body, &e));
		stop(&s);
		assert_int_equal(status, cases[i].status);
		assert_int_equal(body.n, 0);
		buf_done(&body);
	}
}

static void fails(const struct fetch_request *r, enum err_kind kind, const char *text)
{
	struct err e = { 0 };
	struct buf body;
	unsigned status = 7;

	assert_false(fetch_request(r, &status, &body, &e));
	assert_string_equal(e.text, text);
	assert_int_equal(e.kind, kind);
	assert_int_equal(status, 7);
	assert_null(body.p);
	buf_done(&body);
}

static void test_nobody_there(void **state)
{
	struct fetch_request r = { .method = "GET",
				   .unix_socket = S("/tmp/no-such-dir/control"),
				   .path = S("/control/status"),
				   .timeout_ms = 1000,
				   .body_max = 100 };

	fails(&r, ERR_LATER, "/tmp/no-such-dir/control does not answer: No such file or directory");
}

static void test_answer_too_large(void **state)
{
	struct server s;
	char text[120];

	start(&s, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"up\":true}");
	struct fetch_request r = get(&s);
	r.body_max = 10;
	snprintf(text, sizeof text, "%s: the answer has more than 10 bytes", s.path);
	fails(&r, ERR_INPUT, text);
	stop(&s);
}

static void test_silence(void **state)
{
	struct server s;
	struct err e = { 0 };
	struct buf body;
	unsigned status;
	char front[80];

	start(&s, NULL);
	struct fetch_request r = get(&s);
	r.timeout_ms = 100;
	assert_false(fetch_request(&r, &status, &body, &e));
	snprintf(front, sizeof front, "%s does not answer: Operation timed out", s.path);
	assert_int_equal(strncmp(e.text, front, strlen(front)), 0);
	assert_int_equal(e.kind, ERR_LATER);
	stop(&s);
}

/* An answer that ends before its Content-Length is no answer. */
static void test_cut(void **state)
{
	struct server s;
	struct err e = { 0 };
	struct buf body;
	unsigned status;

	start(&s, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"up\":true}");
	struct fetch_request r = get(&s);
	assert_false(fetch_request(&r, &status, &body, &e));
	assert_int_equal(e.kind, ERR_LATER);
	stop(&s);
}

static void test_paths_refused(void **state)
{
	static const struct slice bad[] = { S(""),          S("x"),      S("/a b"), S("/a\r\nX: y"),
					    S("/\xc3\xa4"), S("@host/"), S("/a\0b") };

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct fetch_request r = { .method = "GET",
					   .unix_socket = S("/tmp/x"),
					   .path = bad[i],
					   .timeout_ms = 1000,
					   .body_max = 100 };

		fails(&r, ERR_INPUT, "not a path to ask for");
	}
}

static void test_schemes(void **state)
{
	struct fetch_request r = { .method = "GET",
				   .path = S("file:///etc/passwd"),
				   .timeout_ms = 1000,
				   .body_max = 100000 };

	fails(&r, ERR_LATER,
	      "file:///etc/passwd does not answer: Protocol \"file\" not supported or disabled in "
	      "libcurl");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get),
		cmocka_unit_test(test_body_goes_out),
		cmocka_unit_test(test_form_and_credentials),
		cmocka_unit_test(test_no_content_and_redirect),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_answer_too_large),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_paths_refused),
		cmocka_unit_test(test_schemes),
	};

	return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
