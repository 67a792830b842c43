#include "http/conn_impl.h"

#include "base/must.h"
#include "base/utf8.h"
#include "http/head.h"

const char *http_reason(unsigned status)
{
	// clang-format off
	static const struct {
		unsigned status;
		const char *text;
	} reasons[] = {
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 304, "Not Modified" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 406, "Not Acceptable" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 411, "Length Required" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 417, "Expectation Failed" },
		{ 422, "Unprocessable Content" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 503, "Service Unavailable" },
		{ 505, "HTTP Version Not Supported" },
	};
	// clang-format on

	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Unknown";
}

/* A value with a line end in it is cut there: it opens no field. */
static struct slice one_line(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (has_control(slice(s.p + i, 1)))
			return slice(s.p, i);
	return s;
}

void http_add_field(struct buf *fields, const char *name, struct slice value)
{
	buf_add(fields, slice_str(name));
	buf_add(fields, S(": "));
	buf_add(fields, one_line(value));
	buf_add(fields, S("\r\n"));
}

/* Whole fields and nothing else, none of them about the framing, which is ours. */
static bool sound(struct slice fields)
{
	static const struct slice ours[] = { { "content-length", 14 },
					     { "transfer-encoding", 17 },
					     { "connection", 10 } };
	struct slice name, value;

	while (fields.n) {
		if (!http_head_take_field(&fields, &name, &value))
			return false;
		for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
			if (slice_ieq(name, ours[i]))
				return false;
	}
	return true;
}

void http_reply_add(struct buf *out, const struct http_reply *r, bool no_body, bool close)
{
	/* RFC 9110 6.4.1, 8.6 */
	bool bare = r->status == 204 || r->status == 304;

	MUST(r->status >= 200 && r->status <= 599 && sound(r->fields));
	buf_add(out, S("HTTP/1.1 "));
	buf_addu(out, r->status);
	buf_addc(out, ' ');
	buf_add(out, slice_str(http_reason(r->status)));
	buf_add(out, S("\r\n"));
	if (r->date.n)
		http_add_field(out, "Date", r->date);
	if (r->content_type.n && !bare)
		http_add_field(out, "Content-Type", r->content_type);
	buf_add(out, S("X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"));
	buf_add(out, r->fields);
	if (!bare) {
		buf_add(out, S("Content-Length: "));
		buf_addu(out, r->body.n);
		buf_add(out, S("\r\n"));
	}
	if (close)
		buf_add(out, S("Connection: close\r\n"));
	buf_add(out, S("\r\n"));
	if (!bare && !no_body)
		buf_add(out, r->body);
}
