#include "http/head.h"

#include "base/buf.h"
#include "http/conn.h"

/* RFC 9110 5.6.2 */
static bool is_token(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!ascii_alpha(c) && !ascii_digit(c) && (!c || !strchr("!#$%&'*+-.^_`|~", c)))
			return false;
	}
	return s.n > 0;
}

/* Up to the CRLF; false: a bare LF, or no line end. A bare CR is left to those who look at the
 * bytes between: none of them lets a control byte pass. */
static bool take_line(struct slice *in, struct slice *ret)
{
	const char *lf = in->n ? memchr(in->p, '\n', in->n) : NULL;
	size_t n = lf ? (size_t)(lf - in->p) : 0;

	if (!lf || !n || in->p[n - 1] != '\r')
		return false;
	*ret = slice(in->p, n - 1);
	slice_take(in, n + 1);
	return true;
}

static unsigned parse_target(struct slice target, size_t max, struct http_head *h)
{
	if (max && target.n > max)
		return 414;
	if (!target.n || target.p[0] != '/')
		return 400;
	for (size_t i = 0; i < target.n; i++)
		if ((unsigned char)target.p[i] <= 0x20 || (unsigned char)target.p[i] >= 0x7f ||
		    target.p[i] == '#')
			return 400;
	slice_cut(target, '?', &h->path, &h->query);
	return 0;
}

static bool known_method(struct slice m)
{
	static const struct slice methods[] = { { "GET", 3 }, { "HEAD", 4 },  { "POST", 4 },
						{ "PUT", 3 }, { "PATCH", 5 }, { "DELETE", 6 } };

	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
		if (slice_eq(methods[i], m))
			return true;
	return false;
}

static unsigned parse_line(struct slice line, size_t target_max, struct http_head *h)
{
	struct slice target, version, rest;
	unsigned wrong;

	if (!slice_cut(line, ' ', &h->method, &rest) || !slice_cut(rest, ' ', &target, &version) ||
	    !is_token(h->method))
		return 400;
	if (version.n != 8 || !slice_starts(version, S("HTTP/")) || !ascii_digit(version.p[5]) ||
	    version.p[6] != '.' || !ascii_digit(version.p[7]))
		return 400;
	if (slice_eq(version, S("HTTP/1.0")))
		h->close = true;
	else if (!slice_eq(version, S("HTTP/1.1")))
		return 505;
	wrong = parse_target(target, target_max, h);
	return wrong ? wrong : known_method(h->method) ? 0 : 501;
}

static bool parse_field(struct slice line, struct slice *name, struct slice *value)
{
	if (!slice_cut(line, ':', name, value) || !is_token(*name))
		return false;
	for (size_t i = 0; i < value->n; i++) {
		unsigned char c = (unsigned char)value->p[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	*value = slice_trim(*value);
	return true;
}

bool http_head_take_field(struct slice *in, struct slice *ret_name, struct slice *ret_value)
{
	struct slice line;

	return take_line(in, &line) && parse_field(line, ret_name, ret_value);
}

/* What the fields together may say of the body and the connection. */
struct framing {
	unsigned hosts, lengths, encodings, types, credentials;
	bool http10;
};

/* RFC 3986 3.2.2: a name, an IPv4 address or a literal in brackets, perhaps a port. Which of them,
 * nobody here asks; what no host holds (user@, a path, a list, a blank) is refused. */
static bool host_valid(struct slice host)
{
	struct slice name = host, port = S("");

	if (host.n && host.p[0] == '[') {
		if (!slice_cut(host, ']', &name, &port) || (port.n && port.p[0] != ':'))
			return false;
		slice_take(&name, 1);
		slice_take(&port, port.n ? 1 : 0);
	} else {
		slice_cut(host, ':', &name, &port);
	}
	for (size_t i = 0; i < port.n; i++)
		if (!ascii_digit(port.p[i]))
			return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (!ascii_alpha(c) && !ascii_digit(c) && c != '-' && c != '.' && c != '_' &&
		    !(c == ':' && host.p[0] == '['))
			return false;
	}
	return host.n <= 255 && port.n <= 5;
}

static bool has_word(struct slice list, struct slice word)
{
	struct slice one;

	while (list.n) {
		slice_cut(list, ',', &one, &list);
		if (slice_ieq(slice_trim(one), word))
			return true;
	}
	return false;
}

static unsigned frame(struct slice name, struct slice value, struct http_head *h, struct framing *f)
{
	if (slice_ieq(name, S("host"))) {
		if (f->hosts++ || !host_valid(value))
			return 400;
	} else if (slice_ieq(name, S("content-length"))) {
		if (f->lengths++ || value.n > 18 || !slice_u64(value, &h->length))
			return 400;
	} else if (slice_ieq(name, S("transfer-encoding"))) {
		if (f->encodings++ || f->http10)
			return 400;
		if (!slice_ieq(value, S("chunked")))
			return 501;
		h->chunked = true;
	} else if (slice_ieq(name, S("connection"))) {
		h->close |= has_word(value, S("close"));
	} else if (slice_ieq(name, S("expect"))) {
		if (!slice_ieq(value, S("100-continue")))
			return 417;
		h->expect = !f->http10;
	} else if (slice_ieq(name, S("authorization"))) {
		/* Two of them, and two readers could believe different ones. */
		return f->credentials++ ? 400 : 0;
	} else if (slice_ieq(name, S("content-type"))) {
		return f->types++ ? 400 : 0;
	}
	return 0;
}

unsigned http_head_parse(struct slice head, struct http_limits max, struct http_head *ret)
{
	struct http_head h = { 0 };
	struct framing f = { 0 };
	struct slice line, name, value;
	unsigned wrong;

	if (!take_line(&head, &line))
		return 400;
	wrong = parse_line(line, max.target, &h);
	if (wrong)
		return wrong;
	f.http10 = h.close;
	h.fields = slice(head.p, head.n - 2);
	for (size_t n = 0; !slice_eq(head, S("\r\n")); n++) {
		if (n == max.fields)
			return 431;
		if (!http_head_take_field(&head, &name, &value))
			return 400;
		wrong = frame(name, value, &h, &f);
		if (wrong)
			return wrong;
	}
	if ((!f.hosts && !f.http10) || (f.lengths && f.encodings))
		return 400;
	*ret = h;
	return 0;
}

bool http_head_field(const struct http_head *h, struct slice name, struct slice *ret)
{
	struct slice left = h->fields, n, v;

	while (http_head_take_field(&left, &n, &v))
		if (slice_ieq(n, name)) {
			*ret = v;
			return true;
		}
	return false;
}

static int hex(char c)
{
	c = ascii_lower(c);
	return ascii_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* On failure out's bytes are as they were. */
static bool decode(struct slice in, bool plus, struct buf *out)
{
	size_t n = out->n;

	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];

		if (c == '%') {
			int high = in.n - i >= 3 ? hex(in.p[i + 1]) : -1;
			int low = high >= 0 ? hex(in.p[i + 2]) : -1;

			c = (char)(low >= 0 ? high << 4 | low : 0);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if (!c) {
			out->n = n;
			return false;
		}
		buf_addc(out, c);
	}
	if (out->failed)
		out->n = n;
	return !out->failed;
}

bool http_decode(struct slice in, struct buf *out)
{
	return decode(in, false, out);
}

bool http_query_get(struct slice query, struct slice name, size_t nth, struct buf *out)
{
	struct slice pair, key, value;
	struct buf word;
	bool found = false, ok = false;

	buf_init(&word, 1024);
	while (query.n && !found) {
		struct slice k;

		slice_cut(query, '&', &pair, &query);
		slice_cut(pair, '=', &key, &value);
		buf_clear(&word);
		if (!decode(key, true, &word))
			continue;
		k = buf_slice(&word);
		if (slice_ends(k, S("[]")))
			k.n -= 2;
		if (slice_eq(k, name) && nth-- == 0) {
			found = true;
			ok = decode(value, true, out);
		}
	}
	buf_done(&word);
	return ok;
}
