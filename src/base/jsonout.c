#include "base/jsonout.h"

#include "base/timetext.h"
#include "base/utf8.h"

void json_begin(struct json_out *j, struct buf *out)
{
	*j = (struct json_out){ .out = out };
}

static void before(struct json_out *j)
{
	if (j->comma)
		buf_addc(j->out, ',');
	j->comma = true;
}

void json_open(struct json_out *j)
{
	before(j);
	buf_addc(j->out, '{');
	j->comma = false;
}

void json_close(struct json_out *j)
{
	buf_addc(j->out, '}');
	j->comma = true;
}

void json_open_list(struct json_out *j)
{
	before(j);
	buf_addc(j->out, '[');
	j->comma = false;
}

void json_close_list(struct json_out *j)
{
	buf_addc(j->out, ']');
	j->comma = true;
}

/* The next character of s, at most 4 bytes; empty when it is not well-formed. */
static struct slice character(struct slice s)
{
	for (size_t n = 1; n <= 4 && n <= s.n; n++)
		if (utf8_valid(slice(s.p, n)))
			return slice(s.p, n);
	return slice(s.p, 0);
}

static void quoted(struct buf *out, struct slice s)
{
	static const char hex[] = "0123456789abcdef";

	buf_addc(out, '"');
	while (s.n) {
		unsigned char c = (unsigned char)s.p[0];
		struct slice one = c < 0x80 ? slice(s.p, 1) : character(s);

		if (c == '"' || c == '\\') {
			buf_addc(out, '\\');
			buf_addc(out, (char)c);
		} else if (c < 0x20 || c == 0x7f) {
			char six[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

			buf_add(out, slice(six, 6));
		} else {
			buf_add(out, one.n ? one : S("\xef\xbf\xbd"));
		}
		slice_take(&s, one.n ? one.n : 1);
	}
	buf_addc(out, '"');
}

void json_key(struct json_out *j, const char *name)
{
	before(j);
	quoted(j->out, slice_str(name));
	buf_addc(j->out, ':');
	j->comma = false;
}

void json_str(struct json_out *j, struct slice s)
{
	before(j);
	quoted(j->out, s);
}

void json_num(struct json_out *j, uint64_t v)
{
	before(j);
	buf_addu(j->out, v);
}

void json_bool(struct json_out *j, bool v)
{
	before(j);
	buf_add(j->out, v ? S("true") : S("false"));
}

void json_null(struct json_out *j)
{
	before(j);
	buf_add(j->out, S("null"));
}

void json_kstr(struct json_out *j, const char *name, struct slice s)
{
	json_key(j, name);
	json_str(j, s);
}

void json_knum(struct json_out *j, const char *name, uint64_t v)
{
	json_key(j, name);
	json_num(j, v);
}

void json_kbool(struct json_out *j, const char *name, bool v)
{
	json_key(j, name);
	json_bool(j, v);
}

void json_kid(struct json_out *j, const char *name, struct id id)
{
	char text[ID_TEXT];
	struct buf b = { .p = text, .cap = sizeof text, .max = sizeof text };

	id_add(&b, id);
	json_kstr(j, name, buf_slice(&b));
}

void json_ktime(struct json_out *j, const char *name, uint64_t unix_ms)
{
	char text[40];
	struct buf b = { .p = text, .cap = sizeof text, .max = sizeof text };

	json_key(j, name);
	if (!unix_ms) {
		json_null(j);
		return;
	}
	time_add_rfc3339(&b, unix_ms);
	json_str(j, buf_slice(&b));
}
