/* Requests as bytes, replies as bytes: whole, byte by byte, and cut at every place. */
#include "http/conn_rig.h"
#include "http/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define H "Host: h\r\n"

struct row {
	const char *name;
	struct slice in, out, told;
};

static bool agrees(const struct rig *r, const struct row *row)
{
	return slice_eq(buf_slice(&r->out), row->out) &&
	       (!row->told.p || slice_eq(buf_slice(&r->told), row->told));
}

/* cut: the size of the first piece; every: the size of all (0: no more cuts). */
static void play(const struct row *row, const struct http_config *cfg, size_t cut, size_t every)
{
	struct slice in = row->in;
	struct rig r;

	rig_start(&r, cfg);
	rig_feed(&r, slice_take(&in, cut));
	while (in.n)
		rig_feed(&r, slice_take(&in, every && every < in.n ? every : in.n));
	if (!agrees(&r, row))
		fail_msg("%s (cut at %zu, every %zu)\n-- expected\n%.*s-- got\n%.*s-- told\n%.*s",
			 row->name, cut, every, SLICE_ARG(row->out), SLICE_ARG(buf_slice(&r.out)),
			 SLICE_ARG(buf_slice(&r.told)));
	rig_stop(&r);
}

static void play_all_ways(const struct row *row, const struct http_config *cfg)
{
	for (size_t cut = 0; cut <= row->in.n; cut++)
		play(row, cfg, cut, 0);
	for (size_t every = 1; every <= 3; every++)
		play(row, cfg, 0, every);
}

// clang-format off
static const struct row accepted[] = {
	{ "get", S("GET /v3/x HTTP/1.1\r\n" H "\r\n"), S(RIG_OK("11", "GET /v3/x? ")),
	  S("head /v3/x\nask /v3/x\n") },
	{ "query", S("GET /a?b=c?d HTTP/1.1\r\n" H "\r\n"), S(RIG_OK("13", "GET /a?b=c?d ")) },
	{ "empty host, no blank after the colon", S("GET / HTTP/1.1\r\nhOST:\r\n\r\n"), S(RIG_OK("7", "GET /? ")) },
	{ "host with port", S("GET / HTTP/1.1\r\nHost: a-b.c_d:8080\r\n\r\n"), S(RIG_OK("7", "GET /? ")) },
	{ "host literal", S("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), S(RIG_OK("7", "GET /? ")) },
	{ "host literal, no port", S("GET / HTTP/1.1\r\nHost: [::ffff:1.2.3.4]\r\n\r\n"), S(RIG_OK("7", "GET /? ")) },
	{ "a name is only bytes", S("GET / HTTP/1.1\r\n" H "__proto__: 1\r\nx!#$%&'*+-.^_`|~: \x80\t\xff\r\n\r\n"),
	  S(RIG_OK("7", "GET /? ")) },
	{ "body", S("POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab\r\nc"), S(RIG_OK("13", "POST /? ab\r\nc")) },
	{ "body of no bytes", S("POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n"), S(RIG_OK("8", "POST /? ")) },
	{ "post without a length has no body", S("POST / HTTP/1.1\r\n" H "\r\n"), S(RIG_OK("8", "POST /? ")) },
	{ "largest body", S("PUT / HTTP/1.1\r\n" H "Content-Length: 32\r\n\r\n0123456789abcdef0123456789abcdef"),
	  S(RIG_OK("39", "PUT /? 0123456789abcdef0123456789abcdef")) },
	{ "delete with body", S("DELETE /k HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}"), S(RIG_OK("13", "DELETE /k? {}")) },
	{ "get with body", S("GET / HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\nx"), S(RIG_OK("8", "GET /? x")) },
	{ "patch", S("PATCH / HTTP/1.1\r\n" H "\r\n"), S(RIG_OK("9", "PATCH /? ")) },
	{ "head has no body in its reply", S("HEAD / HTTP/1.1\r\n" H "\r\nGET / HTTP/1.1\r\n" H "\r\n"),
	  S(RIG_OK("8", "") RIG_OK("7", "GET /? ")) },
	{ "chunked", S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n3\r\na\r\n\r\n00A\r\n0123456789\r\n0\r\n\r\n"),
	  S(RIG_OK("21", "POST /? a\r\n0123456789")), S("head /\nask /\n") },
	{ "chunked, nothing in it", S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n00000000\r\n\r\n"),
	  S(RIG_OK("8", "POST /? ")) },
	{ "chunked, all there may be", S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1f\r\n0123456789abcdef0123456789abcde\r\n1\r\nf\r\n0\r\n\r\n"),
	  S(RIG_OK("40", "POST /? 0123456789abcdef0123456789abcdef")) },
	{ "pipelined, in order", S("POST /1 HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nabGET /2 HTTP/1.1\r\n" H "\r\n"
	  "POST /3 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nGET /4 HTTP/1.1\r\n" H "\r\n"),
	  S(RIG_OK("11", "POST /1? ab") RIG_OK("8", "GET /2? ") RIG_OK("10", "POST /3? x") RIG_OK("8", "GET /4? ")),
	  S("head /1\nask /1\nhead /2\nask /2\nhead /3\nask /3\nhead /4\nask /4\n") },
	{ "one empty line before a request", S("\r\nGET /1 HTTP/1.1\r\n" H "\r\n\r\nGET /2 HTTP/1.1\r\n" H "\r\n"),
	  S(RIG_OK("8", "GET /1? ") RIG_OK("8", "GET /2? ")) },
	{ "two are none", S("\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n"), S(RIG_REFUSED("400 Bad Request")) },
	{ "connection: close", S("GET / HTTP/1.1\r\n" H "Connection: x,\t Close\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n"),
	  S(RIG_LAST("7", "GET /? ")), S("head /\nask /\nclose\n") },
	{ "connection: close in the second field", S("GET / HTTP/1.1\r\n" H "Connection: close\r\nConnection: keep-alive\r\n\r\n"),
	  S(RIG_LAST("7", "GET /? ")) },
	{ "connection: keep-alive", S("GET / HTTP/1.1\r\n" H "Connection: keep-alive, closed\r\n\r\n"), S(RIG_OK("7", "GET /? ")) },
	{ "HTTP/1.0 ends, asked or not", S("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n"),
	  S(RIG_LAST("7", "GET /? ")) },
	{ "HTTP/1.0 with a host and a body", S("POST / HTTP/1.0\r\n" H "Content-Length: 1\r\n\r\nx"), S(RIG_LAST("9", "POST /? x")) },
	{ "100-continue", S("POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx"),
	  S(RIG_GO_ON RIG_OK("9", "POST /? x")) },
	{ "100-continue, chunked", S("POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	  S(RIG_GO_ON RIG_OK("8", "POST /? ")) },
	{ "100-continue without a body", S("POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\n\r\n"), S(RIG_OK("8", "POST /? ")) },
	{ "100-continue means nothing to HTTP/1.0", S("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"),
	  S(RIG_LAST("9", "POST /? x")) },
	{ "six fields", S("GET / HTTP/1.1\r\n" H "b: 1\r\nb: 1\r\nb: 1\r\nb: 1\r\nb: 1\r\n\r\n"), S(RIG_OK("7", "GET /? ")) },
	{ "64 bytes of target", S("GET /123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef HTTP/1.1\r\n" H "\r\n"),
	  S(RIG_OK("70", "GET /123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef? ")) },
};

#define BAD     S(RIG_REFUSED("400 Bad Request")), S("close\n")
#define LATE    S(RIG_REFUSED("400 Bad Request")), S("head /\nclose\n")
#define GET     "GET / HTTP/1.1\r\n"
#define POST    "POST / HTTP/1.1\r\n" H
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

static const struct row refused[] = {
	/* line ends and blanks */
	{ "bare LF everywhere", S("GET / HTTP/1.1\nHost: h\n\n"), BAD },
	{ "bare LF after the request line", S("GET / HTTP/1.1\nHost: h\r\n\r\n"), BAD },
	{ "bare LF after a field", S(GET H "a: b\n\r\n"), BAD },
	{ "bare LF ends the head", S(GET H "\n"), BAD },
	{ "bare LF first", S("\nGET / HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "bare CR in a field", S(GET H "a: b\rc\r\n\r\n"), BAD },
	{ "bare CR in the request line", S("GET /\r HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "CR CR LF", S(GET H "a: b\r\r\n\r\n"), BAD },
	{ "CR first", S("\rGET / HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "obs-fold", S(GET H "a: b\r\n c\r\n\r\n"), BAD },
	{ "obs-fold by tab", S(GET H "a: b\r\n\tc\r\n\r\n"), BAD },
	{ "fold of the first field", S(GET " Host: h\r\n\r\n"), BAD },
	{ "blank before the colon", S(GET H "a : b\r\n\r\n"), BAD },
	{ "tab before the colon", S(GET H "a\t: b\r\n\r\n"), BAD },
	{ "no colon", S(GET H "ab\r\n\r\n"), BAD },
	{ "no name", S(GET H ": b\r\n\r\n"), BAD },
	{ "name that is no token", S(GET H "a(b): c\r\n\r\n"), BAD },
	{ "name beyond ASCII", S(GET H "a\xc3\xbc: c\r\n\r\n"), BAD },
	{ "NUL in a value", S(GET H "a: b\0c\r\n\r\n"), BAD },
	{ "NUL in a name", S(GET H "a\0: b\r\n\r\n"), BAD },
	{ "control byte in a value", S(GET H "a: \x1f\r\n\r\n"), BAD },
	{ "DEL in a value", S(GET H "a: \x7f\r\n\r\n"), BAD },
	/* request line */
	{ "two blanks", S("GET  / HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "blank at the end", S("GET / HTTP/1.1 \r\n" H "\r\n"), BAD },
	{ "blank at the front", S(" GET / HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "tab for a blank", S("GET\t/ HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "no version", S("GET /\r\n" H "\r\n"), BAD },
	{ "no target", S("GET HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "one word", S("GET\r\n" H "\r\n"), BAD },
	{ "lower-case version", S("GET / http/1.1\r\n" H "\r\n"), BAD },
	{ "version of three digits", S("GET / HTTP/1.10\r\n" H "\r\n"), BAD },
	{ "version without dot", S("GET / HTTP/1,1\r\n" H "\r\n"), BAD },
	{ "version that is no number", S("GET / HTTP/x.1\r\n" H "\r\n"), BAD },
	{ "version that ends in no number", S("GET / HTTP/1.x\r\n" H "\r\n"), BAD },
	{ "method that is no token", S("G@T / HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "absolute form", S("GET http://h/ HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "asterisk form", S("OPTIONS * HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "authority form", S("CONNECT h:80 HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "fragment", S("GET /a#b HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "NUL in the target", S("GET /\0 HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "beyond ASCII in the target", S("GET /\xc3\xbc HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "DEL in the target", S("GET /\x7f HTTP/1.1\r\n" H "\r\n"), BAD },
	/* host */
	{ "no host", S(GET "\r\n"), BAD },
	{ "two hosts", S(GET H H "\r\n"), BAD },
	{ "two hosts, HTTP/1.0", S("GET / HTTP/1.0\r\n" H H "\r\n"), BAD },
	{ "host list", S(GET "Host: a,b\r\n\r\n"), BAD },
	{ "host with a blank", S(GET "Host: a b\r\n\r\n"), BAD },
	{ "host with a user", S(GET "Host: a@b\r\n\r\n"), BAD },
	{ "host with a path", S(GET "Host: a/b\r\n\r\n"), BAD },
	{ "host with two ports", S(GET "Host: a:1:2\r\n\r\n"), BAD },
	{ "host with a word for a port", S(GET "Host: a:b\r\n\r\n"), BAD },
	{ "host with a long port", S(GET "Host: a:000080\r\n\r\n"), BAD },
	{ "host literal that does not end", S(GET "Host: [::1\r\n\r\n"), BAD },
	{ "host literal and more", S(GET "Host: [::1]x\r\n\r\n"), BAD },
	/* length and encoding */
	{ "+5", S(POST "Content-Length: +5\r\n\r\n"), BAD },
	{ "-1", S(POST "Content-Length: -1\r\n\r\n"), BAD },
	{ "0x5", S(POST "Content-Length: 0x5\r\n\r\n"), BAD },
	{ "5 5", S(POST "Content-Length: 5 5\r\n\r\n"), BAD },
	{ "5, 5", S(POST "Content-Length: 5, 5\r\n\r\n"), BAD },
	{ "no digits", S(POST "Content-Length: \r\n\r\n"), BAD },
	{ "digits without end", S(POST "Content-Length: 18446744073709551617\r\n\r\n"), BAD },
	{ "19 digits", S(POST "Content-Length: 0000000000000000001\r\n\r\nx"), BAD },
	{ "two lengths", S(POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), BAD },
	{ "two equal lengths", S(POST "Content-Length: 1\r\ncontent-length: 1\r\n\r\nx"), BAD },
	{ "length and chunked", S(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), BAD },
	{ "chunked and length", S(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"), BAD },
	{ "chunked and length 0", S(POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"), BAD },
	{ "two encodings", S(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), BAD },
	{ "encoding with HTTP/1.0", S("POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), BAD },
	{ "gzip, chunked", S(POST "Transfer-Encoding: gzip, chunked\r\n\r\n"), S(RIG_REFUSED("501 Not Implemented")) },
	{ "chunked, identity", S(POST "Transfer-Encoding: chunked, identity\r\n\r\n"), S(RIG_REFUSED("501 Not Implemented")) },
	{ "xchunked", S(POST "Transfer-Encoding: xchunked\r\n\r\n"), S(RIG_REFUSED("501 Not Implemented")) },
	{ "no encoding named", S(POST "Transfer-Encoding:\r\n\r\n"), S(RIG_REFUSED("501 Not Implemented")) },
	{ "\"chunked\"", S(POST "Transfer-Encoding: \"chunked\"\r\n\r\n"), S(RIG_REFUSED("501 Not Implemented")) },
	{ "two credentials", S(GET H "Authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n"), BAD },
	{ "two types", S(GET H "Content-Type: a/b\r\nContent-Type: a/b\r\n\r\n"), BAD },
	/* chunks */
	{ "chunk extension", S(CHUNKED "1;a=b\r\nx\r\n0\r\n\r\n"), LATE },
	{ "extension of the last chunk", S(CHUNKED "0;a\r\n\r\n"), LATE },
	{ "blank behind the size", S(CHUNKED "1 \r\nx\r\n0\r\n\r\n"), LATE },
	{ "blank before the size", S(CHUNKED " 1\r\nx\r\n0\r\n\r\n"), LATE },
	{ "0x", S(CHUNKED "0x1\r\nx\r\n0\r\n\r\n"), LATE },
	{ "signed size", S(CHUNKED "-1\r\nx\r\n0\r\n\r\n"), LATE },
	{ "size g", S(CHUNKED "g\r\nx\r\n0\r\n\r\n"), LATE },
	{ "size of nothing", S(CHUNKED "\r\nx\r\n0\r\n\r\n"), LATE },
	{ "size of nothing, and the end", S(CHUNKED "\r\n\r\n"), LATE },
	{ "chunk ends in CR and another byte", S(CHUNKED "1\r\nx\rX0\r\n\r\n"), LATE },
	{ "size of nine digits", S(CHUNKED "000000001\r\nx\r\n0\r\n\r\n"), LATE },
	{ "size without end", S(CHUNKED "0000000000000000"), LATE },
	{ "size that wraps", S(CHUNKED "10000000000000001\r\nx\r\n0\r\n\r\n"), LATE },
	{ "size ends in LF", S(CHUNKED "1\nx\r\n0\r\n\r\n"), LATE },
	{ "size is LF", S(CHUNKED "\nx\r\n0\r\n\r\n"), LATE },
	{ "size ends in CR CR LF", S(CHUNKED "1\r\r\nx\r\n0\r\n\r\n"), LATE },
	{ "chunk ends in LF", S(CHUNKED "1\r\nx\n0\r\n\r\n"), LATE },
	{ "chunk ends in CR", S(CHUNKED "1\r\nx\r0\r\n\r\n"), LATE },
	{ "chunk longer than its size", S(CHUNKED "1\r\nxy\r\n0\r\n\r\n"), LATE },
	{ "trailer", S(CHUNKED "0\r\nHost: other\r\n\r\n"), LATE },
	{ "last chunk ends in LF", S(CHUNKED "0\r\n\n"), LATE },
	/* others than 400 */
	{ "unknown method", S("BREW / HTTP/1.1\r\n" H "\r\n"), S(RIG_REFUSED("501 Not Implemented")), S("close\n") },
	{ "methods have a case", S("get / HTTP/1.1\r\n" H "\r\n"), S(RIG_REFUSED("501 Not Implemented")) },
	{ "trace", S("TRACE / HTTP/1.1\r\n" H "\r\n"), S(RIG_REFUSED("501 Not Implemented")) },
	{ "HTTP/2.0", S("GET / HTTP/2.0\r\n" H "\r\n"), S(RIG_REFUSED("505 HTTP Version Not Supported")) },
	{ "HTTP/1.2", S("GET / HTTP/1.2\r\n" H "\r\n"), S(RIG_REFUSED("505 HTTP Version Not Supported")) },
	{ "HTTP/0.9", S("GET / HTTP/0.9\r\n" H "\r\n"), S(RIG_REFUSED("505 HTTP Version Not Supported")) },
	{ "other expectation", S(POST "Expect: 200-ok\r\n\r\n"), S(RIG_REFUSED("417 Expectation Failed")) },
	{ "seven fields", S(GET H "b: 1\r\nb: 1\r\nb: 1\r\nb: 1\r\nb: 1\r\nb: 1\r\n\r\n"), S(RIG_REFUSED("431 Request Header Fields Too Large")) },
	{ "65 bytes of target", S("GET /0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef HTTP/1.1\r\n" H "\r\n"),
	  S(RIG_REFUSED("414 URI Too Long")) },
	{ "length over the limit", S(POST "Content-Length: 33\r\n\r\n0123456789abcdef0123456789abcdef0"), S(RIG_REFUSED("413 Content Too Large")), S("close\n") },
	{ "length of a petabyte", S(POST "Content-Length: 999999999999999999\r\n\r\n"), S(RIG_REFUSED("413 Content Too Large")) },
	{ "chunk over the limit", S(CHUNKED "21\r\n0"), S(RIG_REFUSED("413 Content Too Large")), S("head /\nclose\n") },
	{ "chunks over the limit", S(CHUNKED "1f\r\n0123456789abcdef0123456789abcde\r\n2\r\n"), S(RIG_REFUSED("413 Content Too Large")) },
	{ "largest chunk there is", S(CHUNKED "ffffffff\r\n"), S(RIG_REFUSED("413 Content Too Large")) },
	{ "what follows a refusal is not read", S("GET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n" H "\r\n"), BAD },
	{ "refused second", S("GET /1 HTTP/1.1\r\n" H "\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n" H "\r\n"),
	  S(RIG_OK("8", "GET /1? ") RIG_REFUSED("400 Bad Request")), S("head /1\nask /1\nclose\n") },
};
// clang-format on

static void requests(void **state)
{
	for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++)
		play_all_ways(&accepted[i], &rig_config);
}

static void refusals(void **state)
{
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		play_all_ways(&refused[i], &rig_config);
}

/* The head's ceiling to the byte; what is too long before its end is refused at the same place. */
static void head_ceiling(void **state)
{
	static const struct http_config cfg = { .head_max = 40, .fields_max = 9 };
	// clang-format off
	static const struct row rows[] = {
		{ "40 bytes", S("GET / HTTP/1.1\r\nHost: h\r\na: 01234567\r\n\r\n"), S(RIG_OK("7", "GET /? ")) },
		{ "41 bytes", S("GET / HTTP/1.1\r\nHost: h\r\na: 012345678\r\n\r\n"), S(RIG_REFUSED("431 Request Header Fields Too Large")) },
		{ "no end", S("GET / HTTP/1.1\r\nHost: h\r\na: 012345678901234567890"), S(RIG_REFUSED("431 Request Header Fields Too Large")) },
		{ "no line", S("GET /012345678901234567890123456789012345678901"), S(RIG_REFUSED("414 URI Too Long")) },
		{ "39 bytes of line", S("GET /0123456789012345678901234567890123"), S("") },
		{ "bare LF before the ceiling", S("GET / HTTP/1.1\r\nHost: h\na: 012345678901234567890"), S(RIG_REFUSED("400 Bad Request")) },
	};
	// clang-format on

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		play_all_ways(&rows[i], &cfg);
}

static void requests_of_a_connection(void **state)
{
	static const struct http_config cfg = { .head_max = 99,
						.fields_max = 9,
						.requests_max = 2 };
	static const struct row row = { "two, and no third",
					S("GET /1 HTTP/1.1\r\n" H "\r\nGET /2 HTTP/1.1\r\n" H
					  "\r\nGET /3 HTTP/1.1\r\n" H "\r\n"),
					S(RIG_OK("8", "GET /1? ") RIG_LAST("8", "GET /2? ")),
					S("head /1\nask /1\nhead /2\nask /2\nclose\n") };

	play_all_ways(&row, &cfg);
}

static void replies_held_back(void **state)
{
	struct rig r;
	uint32_t first;

	rig_start(&r, &rig_config);
	r.hold = true;
	rig_feed(&r, S("GET /1 HTTP/1.1\r\n" H "\r\nGET /2 HTTP/1.1\r\n" H "\r\n"));
	assert_int_equal(r.want, HTTP_WANT_REPLY);
	assert_int_equal(http_conn_clock(r.conn), HTTP_CLOCK_NONE);
	assert_true(slice_eq(buf_slice(&r.told), S("head /1\nask /1\n")));
	assert_int_equal(r.out.n, 0);
	first = r.question;
	assert_false(rig_answer(&r, 0));
	assert_false(rig_answer(&r, first + 1));
	assert_true(rig_answer(&r, first));
	assert_false(rig_answer(&r, first)); /* once */
	rig_steps(&r);
	assert_int_not_equal(r.question, first);
	assert_false(rig_answer(&r, first)); /* late, while another is open */
	assert_true(slice_eq(buf_slice(&r.out), S(RIG_OK("8", "GET /1? "))));
	assert_true(rig_answer(&r, r.question));
	rig_steps(&r);
	assert_int_equal(r.want, HTTP_WANT_INPUT);
	assert_true(http_conn_idle(r.conn));
	rig_stop(&r);
}

static void answered_at_the_head(void **state)
{
	// clang-format off
	static const struct row rows[] = {
		{ "no body to come: the connection stays", S("GET /1 HTTP/1.1\r\n" H "\r\nGET /2 HTTP/1.1\r\n" H "\r\n"),
		  S(RIG_HASTY "\r\n" RIG_HASTY "\r\n"), S("head /1\nhead /2\n") },
		{ "a body that nobody reads", S("POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nGET /"),
		  S(RIG_HASTY "Connection: close\r\n\r\n"), S("head /\nclose\n") },
		{ "chunks that nobody reads", S(CHUNKED "0\r\n\r\n"),
		  S(RIG_HASTY "Connection: close\r\n\r\n"), S("head /\nclose\n") },
		{ "no 100 after the reply", S(POST "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"),
		  S(RIG_HASTY "Connection: close\r\n\r\n"), S("head /\nclose\n") },
	};
	// clang-format on

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		for (size_t cut = 0; cut <= rows[i].in.n; cut++) {
			struct slice in = rows[i].in;
			struct rig r;

			rig_start(&r, &rig_config);
			r.hasty = true;
			rig_feed(&r, slice_take(&in, cut));
			rig_feed(&r, in);
			if (!agrees(&r, &rows[i]))
				fail_msg("%s, cut at %zu:\n%.*s", rows[i].name, cut,
					 SLICE_ARG(buf_slice(&r.out)));
			rig_stop(&r);
		}
}

/* What has come, the deadline that runs then, and what the peer hears when it passes. */
static void deadlines(void **state)
{
	// clang-format off
	static const struct {
		struct slice in;
		enum http_clock clock;
		struct slice out;
	} rows[] = {
		{ S(""), HTTP_CLOCK_IDLE, S("") },
		{ S("\r\n"), HTTP_CLOCK_IDLE, S("") },
		{ S("G"), HTTP_CLOCK_HEAD, S(RIG_REFUSED("408 Request Timeout")) },
		{ S("GET / HTTP/1.1\r\n" H "\r"), HTTP_CLOCK_HEAD, S(RIG_REFUSED("408 Request Timeout")) },
		{ S(POST "Content-Length: 2\r\n\r\nx"), HTTP_CLOCK_BODY, S(RIG_REFUSED("408 Request Timeout")) },
		{ S(CHUNKED), HTTP_CLOCK_BODY, S(RIG_REFUSED("408 Request Timeout")) },
		{ S(CHUNKED "2\r\nx"), HTTP_CLOCK_BODY, S(RIG_REFUSED("408 Request Timeout")) },
		{ S(CHUNKED "2\r\nxx\r"), HTTP_CLOCK_BODY, S(RIG_REFUSED("408 Request Timeout")) },
		{ S("GET / HTTP/1.1\r\n" H "\r\n"), HTTP_CLOCK_NONE, S(RIG_REFUSED("503 Service Unavailable")) },
	};
	// clang-format on

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rig r;

		rig_start(&r, &rig_config);
		r.hold = true;
		rig_feed(&r, rows[i].in);
		assert_int_equal(http_conn_clock(r.conn), rows[i].clock);
		assert_int_equal(http_conn_idle(r.conn), rows[i].clock == HTTP_CLOCK_IDLE);
		http_conn_expire(r.conn, &r.out);
		assert_true(slice_eq(buf_slice(&r.out), rows[i].out));
		assert_false(rig_answer(&r, r.question)); /* too late */
		http_conn_expire(r.conn, &r.out);         /* once is enough */
		assert_true(slice_eq(buf_slice(&r.out), rows[i].out));
		rig_steps(&r);
		assert_int_equal(r.want, HTTP_DO_CLOSE);
		assert_int_equal(http_conn_clock(r.conn), HTTP_CLOCK_NONE);
		rig_stop(&r);
	}
}

static void idle_again_after_a_reply(void **state)
{
	struct rig r;

	rig_start(&r, &rig_config);
	rig_feed(&r, S("GET / HTTP/1.1\r\n" H "\r\n"));
	assert_int_equal(http_conn_clock(r.conn), HTTP_CLOCK_IDLE);
	buf_clear(&r.out);
	http_conn_expire(r.conn, &r.out);
	assert_int_equal(r.out.n, 0);
	rig_stop(&r);
}

/* A peer that reads nothing is not told, and `out` stays whole. */
static void deadline_of_a_full_buffer(void **state)
{
	struct rig r;

	rig_start(&r, &rig_config);
	rig_feed(&r, S("GET"));
	buf_done(&r.out);
	buf_init(&r.out, 20);
	http_conn_expire(r.conn, &r.out);
	assert_false(r.out.failed);
	assert_int_equal(r.out.n, 0);
	rig_stop(&r);
}

static void end_of_input(void **state)
{
	// clang-format off
	static const struct row rows[] = {
		{ "nothing", S(""), S(""), S("close\n") },
		{ "half a head", S("GET / HTTP/1.1\r\nHo"), S(""), S("close\n") },
		{ "half a body", S(POST "Content-Length: 2\r\n\r\nx"), S(""), S("head /\nclose\n") },
		{ "half a chunk", S(CHUNKED "2\r\nx"), S(""), S("head /\nclose\n") },
		{ "a size", S(CHUNKED "2"), S(""), S("head /\nclose\n") },
		{ "no last chunk", S(CHUNKED "2\r\nxx\r\n"), S(""), S("head /\nclose\n") },
		{ "two whole requests, and half a third",
		  S("GET /1 HTTP/1.1\r\n" H "\r\nGET /2 HTTP/1.1\r\n" H "\r\nGET"),
		  S(RIG_OK("8", "GET /1? ") RIG_OK("8", "GET /2? ")), S("head /1\nask /1\nhead /2\nask /2\nclose\n") },
	};
	// clang-format on

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rig r;

		rig_start(&r, &rig_config);
		r.hold = true;
		rig_feed(&r, rows[i].in);
		http_conn_eof(r.conn);
		for (int n = 0; n < 3; n++) {
			rig_steps(&r);
			if (r.want == HTTP_WANT_REPLY)
				assert_true(rig_answer(&r, r.question));
		}
		assert_int_equal(r.want, HTTP_DO_CLOSE);
		if (!agrees(&r, &rows[i]))
			fail_msg("%s:\n%.*s", rows[i].name, SLICE_ARG(buf_slice(&r.told)));
		rig_stop(&r);
	}
}

/* Thousands of pipelined requests against a small buffer: the ceiling holds. */
static void a_full_buffer_waits(void **state)
{
	const struct slice one = S("GET / HTTP/1.1\r\n" H "\r\n");
	size_t flushes = 0, replies = 0;
	struct rig r;

	rig_start(&r, &rig_config);
	buf_init(&r.out, HTTP_OUT_MIN);
	for (int i = 0; i < 5000; i++)
		buf_add(&r.in, one);
	do {
		rig_steps(&r);
		assert_false(r.out.failed);
		for (size_t i = 0; i + 8 < r.out.n; i++)
			replies += memcmp(r.out.p + i, "HTTP/1.1", 8) == 0;
		buf_clear(&r.out);
		flushes += r.want == HTTP_WANT_FLUSH;
	} while (r.want == HTTP_WANT_FLUSH);
	assert_int_equal(r.want, HTTP_WANT_INPUT);
	assert_int_equal(replies, 5000);
	assert_true(flushes > 100);
	rig_stop(&r);
}

static uint32_t roll(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33);
}

/* Rows of the tables one after the other, with bytes changed, dropped and doubled. */
static void scramble(struct buf *b, uint64_t *seed)
{
	static const char odd[] = "\r\n\0 :;,0aAZ\t\x7f\xff/?%+";

	for (uint32_t n = 1 + roll(seed) % 3; n--;) {
		struct slice s =
		    roll(seed) % 3 ? accepted[roll(seed) % (sizeof accepted / sizeof *accepted)].in
				   : refused[roll(seed) % (sizeof refused / sizeof *refused)].in;

		buf_add(b, s);
	}
	for (uint32_t n = roll(seed) % 4; n--;) {
		size_t at = roll(seed) % b->n;

		if (roll(seed) % 2)
			b->p[at] = odd[roll(seed) % (sizeof odd - 1)];
		else
			memmove(b->p + at, b->p + at + 1, --b->n - at);
	}
}

static void same_story_however_cut(void **state)
{
	uint64_t seed = 2;

	for (int i = 0; i < 20000; i++) {
		struct row row = { .name = "scrambled" };
		struct buf b;
		struct rig r;

		buf_init(&b, 1 << 16);
		scramble(&b, &seed);
		rig_start(&r, &rig_config);
		rig_feed(&r, buf_slice(&b));
		row.in = buf_slice(&b);
		row.out = buf_slice(&r.out);
		row.told = buf_slice(&r.told);
		if (!row.told.p)
			row.told = S("");
		play(&row, &rig_config, roll(&seed) % (b.n + 1), 1 + roll(&seed) % 40);
		rig_stop(&r);
		buf_done(&b);
	}
}

static void garbage(void **state)
{
	uint64_t seed = 3;

	for (int i = 0; i < 20000; i++) {
		char bytes[96];
		size_t n = roll(&seed) % sizeof bytes;
		struct rig r;

		for (size_t k = 0; k < n; k++)
			bytes[k] = (char)roll(&seed);
		rig_start(&r, &rig_config);
		rig_feed(&r, slice(bytes, n));
		/* A request line of chance: nothing was believed. */
		assert_int_equal(r.body.n, 0);
		http_conn_eof(r.conn);
		rig_steps(&r);
		assert_int_equal(r.want, HTTP_DO_CLOSE);
		rig_stop(&r);
	}
}

int run_conn_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests),
		cmocka_unit_test(refusals),
		cmocka_unit_test(head_ceiling),
		cmocka_unit_test(requests_of_a_connection),
		cmocka_unit_test(replies_held_back),
		cmocka_unit_test(answered_at_the_head),
		cmocka_unit_test(deadlines),
		cmocka_unit_test(idle_again_after_a_reply),
		cmocka_unit_test(deadline_of_a_full_buffer),
		cmocka_unit_test(end_of_input),
		cmocka_unit_test(a_full_buffer_waits),
		cmocka_unit_test(same_story_however_cut),
		cmocka_unit_test(garbage),
	};

	return cmocka_run_group_tests_name("http conn", tests, NULL, NULL);
}
