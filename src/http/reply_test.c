/* Replies to the byte, and what may not stand in them. */
#include "http/conn_rig.h"
#include "http/room_test.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define GET  "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define DATE "Mon, 23 Nov 2026 22:43:16 GMT"

/* The reply to one request as it stands in `out`. */
static void say(struct slice request, const struct http_reply *reply, struct slice expected)
{
	struct rig r;

	rig_start(&r, &rig_config);
	r.hold = true;
	rig_feed(&r, request);
	assert_true(http_conn_reply(r.conn, r.question, reply, &r.out));
	if (!slice_eq(buf_slice(&r.out), expected))
		fail_msg("-- expected\n%.*s-- got\n%.*s", SLICE_ARG(expected),
			 SLICE_ARG(buf_slice(&r.out)));
	rig_stop(&r);
}

static void forms(void **state)
{
	struct http_reply r = { .status = 200 };

	say(S(GET), &r, S("HTTP/1.1 200 OK\r\n" RIG_FIELDS "Content-Length: 0\r\n\r\n"));
	r = (struct http_reply){ .status = 202,
				 .content_type = S("application/json"),
				 .body = S("{}"),
				 .date = S(DATE),
				 .fields = S("X-Message-Id: abc\r\nLink: </x>\r\n") };
	say(S(GET), &r,
	    S("HTTP/1.1 202 Accepted\r\nDate: " DATE
	      "\r\nContent-Type: application/json\r\n" RIG_FIELDS
	      "X-Message-Id: abc\r\nLink: </x>\r\nContent-Length: 2\r\n\r\n{}"));
	/* RFC 9110 9.3.2: the length that GET would have, and no body */
	say(S("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"), &r,
	    S("HTTP/1.1 202 Accepted\r\nDate: " DATE
	      "\r\nContent-Type: application/json\r\n" RIG_FIELDS
	      "X-Message-Id: abc\r\nLink: </x>\r\nContent-Length: 2\r\n\r\n"));
	/* RFC 9110 8.6, 15.3.5, 15.4.5: no length, no body */
	r = (struct http_reply){ .status = 204, .content_type = S("a/b"), .body = S("x") };
	say(S(GET), &r, S("HTTP/1.1 204 No Content\r\n" RIG_FIELDS "\r\n"));
	r.status = 304;
	say(S(GET), &r, S("HTTP/1.1 304 Not Modified\r\n" RIG_FIELDS "\r\n"));
	r = (struct http_reply){ .status = 599 };
	say(S(GET), &r, S("HTTP/1.1 599 Unknown\r\n" RIG_FIELDS "Content-Length: 0\r\n\r\n"));
}

static void values_open_no_field(void **state)
{
	struct http_reply r = { .status = 200,
				.content_type = S("a/b\r\nSet-Cookie: x"),
				.date = S("now\nX: y") };
	struct buf fields;

	buf_init(&fields, 1000);
	http_add_field(&fields, "X-A", S("b\r\n\r\n<html>"));
	http_add_field(&fields, "X-B", S("c\0d"));
	http_add_field(&fields, "X-C", S("\re"));
	http_add_field(&fields, "X-D", S("\xc3\xbc\x7f"));
	assert_true(
	    slice_eq(buf_slice(&fields), S("X-A: b\r\nX-B: c\r\nX-C: \r\nX-D: \xc3\xbc\r\n")));
	r.fields = buf_slice(&fields);
	say(S(GET), &r,
	    S("HTTP/1.1 200 OK\r\nDate: now\r\nContent-Type: a/b\r\n" RIG_FIELDS
	      "X-A: b\r\nX-B: c\r\nX-C: \r\nX-D: \xc3\xbc\r\nContent-Length: 0\r\n\r\n"));
	buf_done(&fields);
}

/* Does the reply end the program? It is a bug of ours, so it must. */
static bool aborts(unsigned status, struct slice fields)
{
	int status_of = 0;
	pid_t child = fork();

	if (child == 0) {
		struct http_reply reply = { .status = status, .fields = fields };
		struct rig r;

		signal(SIGABRT, SIG_DFL);
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		rig_start(&r, &rig_config);
		r.hold = true;
		rig_feed(&r, S(GET));
		http_conn_reply(r.conn, r.question, &reply, &r.out);
		_exit(0);
	}
	assert_true(child > 0 && waitpid(child, &status_of, 0) == child);
	return WIFSIGNALED(status_of) && WTERMSIG(status_of) == SIGABRT;
}

static void bugs_of_ours(void **state)
{
	static const struct slice bad[] = {
		S("X-A: b"),
		S("X-A: b\n"),
		S("X-A: b\r\n\r\n"),
		S("X-A: b\r\n\r\nX-B: c\r\n"),
		S("\r\n"),
		S("X A: b\r\n"),
		S("X-A: b\r\n folded\r\n"),
		S("X-A: \x01\r\n"),
		S("content-length: 3\r\n"),
		S("X-A: b\r\nTransfer-Encoding: chunked\r\n"),
		S("Connection: keep-alive\r\n"),
	};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (!aborts(200, bad[i]))
			fail_msg("fields of row %zu were let out", i);
	assert_true(aborts(100, S("")));
	assert_true(aborts(600, S("")));
	assert_false(aborts(200, S("X-A: b\r\n")));
}

static void date_of_refusals(void **state)
{
	struct rig r;

	rig_start(&r, &rig_config);
	http_conn_date(r.conn, S(DATE));
	rig_feed(&r, S("GET / HTTP/1.1\r\n\r\n"));
	assert_true(slice_eq(buf_slice(&r.out),
			     S("HTTP/1.1 400 Bad Request\r\nDate: " DATE "\r\n" RIG_FIELDS
			       "Content-Length: 0\r\nConnection: close\r\n\r\n")));
	rig_stop(&r);
	/* The newest counts, and one that is too long is none. */
	rig_start(&r, &rig_config);
	http_conn_date(r.conn, S("Mon, 23 Nov 2026 22:43:16 +0000"));
	http_conn_date(r.conn, S(DATE));
	rig_feed(&r, S("G"));
	http_conn_expire(r.conn, &r.out);
	assert_true(slice_eq(buf_slice(&r.out),
			     S("HTTP/1.1 408 Request Timeout\r\nDate: " DATE "\r\n" RIG_FIELDS
			       "Content-Length: 0\r\nConnection: close\r\n\r\n")));
	rig_stop(&r);
}

static void reasons(void **state)
{
	static const struct {
		unsigned status;
		const char *text;
	} rows[] = {
		{ 200, "OK" },
		{ 201, "Created" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 429, "Too Many Requests" },
		{ 500, "Internal Server Error" },
		{ 299, "Unknown" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_string_equal(http_reason(rows[i].status), rows[i].text);
}

/* A body beyond the ceiling is no reply: the buffer says so. */
static void body_beyond_the_ceiling(void **state)
{
	char big[HTTP_OUT_MIN + 1] = { 0 };
	struct http_reply reply = { .status = 200, .body = slice(big, sizeof big) };
	struct rig r;

	rig_start(&r, &rig_config);
	buf_init(&r.out, HTTP_OUT_MIN);
	r.hold = true;
	rig_feed(&r, S(GET));
	assert_true(http_conn_reply(r.conn, r.question, &reply, &r.out));
	assert_true(r.out.failed);
	rig_stop(&r);
}

int run_reply_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms),        cmocka_unit_test(values_open_no_field),
		cmocka_unit_test(bugs_of_ours), cmocka_unit_test(date_of_refusals),
		cmocka_unit_test(reasons),      cmocka_unit_test(body_beyond_the_ceiling),
	};

	return cmocka_run_group_tests_name("http reply", tests, NULL, NULL);
}
