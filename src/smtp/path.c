#include "smtp/path.h"

#include "base/utf8.h"

/* What is left to read. The parsers below eat what they accept, and nothing when they refuse. */
struct cursor {
	const char *p, *end;
};

static bool eat(struct cursor *c, char want)
{
	if (c->p == c->end || *c->p != want)
		return false;
	c->p++;
	return true;
}

/* Bytes of the UTF-8 sequence of a character above U+009F at the cursor, else 0. C1 controls are
 * left out: nothing shows them, and terminals obey them. */
static size_t utf8_non_ascii(const struct cursor *c)
{
	unsigned char first = c->p < c->end ? (unsigned char)*c->p : 0;
	size_t n = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;

	if (n == 0 || n > (size_t)(c->end - c->p) || !utf8_valid(slice(c->p, n)) ||
	    (first == 0xc2 && (unsigned char)c->p[1] < 0xa0))
		return 0;
	return n;
}

static bool eat_utf8(struct cursor *c, bool *utf8)
{
	size_t n = utf8_non_ascii(c);

	c->p += n;
	*utf8 |= n > 0;
	return n > 0;
}

static bool is_alnum(char c)
{
	return ascii_alpha(c) || ascii_digit(c);
}

static bool is_atext(char c)
{
	return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

/* Dot-string = Atom *("." Atom) */
static bool eat_dot_string(struct cursor *c, bool *utf8)
{
	do {
		const char *atom = c->p;

		while (c->p < c->end && (is_atext(*c->p) ? (c->p++, true) : eat_utf8(c, utf8)))
			;
		if (c->p == atom)
			return false;
	} while (eat(c, '.'));
	return true;
}

/* Quoted-string = DQUOTE *QcontentSMTP DQUOTE: printable ASCII and blanks, backslash before any. */
static bool eat_quoted_string(struct cursor *c, bool *utf8)
{
	if (!eat(c, '"'))
		return false;
	while (c->p < c->end && *c->p != '"') {
		bool pair = eat(c, '\\');

		if (c->p == c->end)
			return false;
		if (*c->p >= ' ' && *c->p <= '~')
			c->p++;
		else if (pair || !eat_utf8(c, utf8))
			return false;
	}
	return eat(c, '"');
}

/* sub-domain = Let-dig [Ldh-str] or a U-label */
static bool eat_label(struct cursor *c, bool *utf8)
{
	const char *start = c->p;
	bool wide = false;

	while (c->p < c->end &&
	       (is_alnum(*c->p) || *c->p == '-' ? (c->p++, true) : eat_utf8(c, &wide)))
		;
	*utf8 |= wide;
	/* The 63 octets of a label (RFC 1035) bind its A-label, which only an IDN library knows. */
	return c->p > start && (wide || c->p - start <= 63) && *start != '-' && c->p[-1] != '-';
}

static bool eat_name(struct cursor *c, bool *utf8)
{
	const char *start = c->p;

	do {
		if (!eat_label(c, utf8))
			return false;
	} while (eat(c, '.'));
	return c->p - start <= SMTP_DOMAIN_MAX;
}

/* Snum 3("." Snum), without leading zeros, which some read as octal. */
static bool ipv4_valid(struct slice s)
{
	for (int i = 0; i < 4; i++) {
		struct slice num;
		uint64_t v;
		bool more = slice_cut(s, '.', &num, &s);

		if (more != (i < 3) || num.n > 3 || !slice_u64(num, &v) || v > 255 ||
		    (num.n > 1 && num.p[0] == '0'))
			return false;
	}
	return true;
}

/* RFC 5321 section 4.1.3 after "IPv6:": eight groups, or fewer with one "::"; the last two may be
 * an IPv4 address. */
static bool ipv6_valid(struct slice s)
{
	unsigned groups = 0;
	bool gap = false;

	if (slice_starts(s, S("::"))) {
		gap = true;
		slice_take(&s, 2);
	}
	while (s.n) {
		struct slice group;
		bool more = slice_cut(s, ':', &group, &s);

		if (!more && memchr(group.p, '.', group.n)) {
			if (!ipv4_valid(group))
				return false;
			groups += 2;
			break;
		}
		if (group.n == 0 || group.n > 4)
			return false;
		for (size_t i = 0; i < group.n; i++) {
			char c = ascii_lower(group.p[i]);

			if (!ascii_digit(c) && !(c >= 'a' && c <= 'f'))
				return false;
		}
		groups++;
		if (more && s.n == 0) /* a single colon at the end */
			return false;
		if (s.n && s.p[0] == ':') {
			if (gap)
				return false;
			gap = true;
			slice_take(&s, 1);
		}
	}
	/* "::" stands for two groups at least here. */
	return gap ? groups <= 6 : groups == 8;
}

/* RFC 5321 section 4.1.3. Of the tags for other kinds of address IANA has registered "IPv6" alone:
 * any other is a mistake ([2001:db8::1]), and mail for it could go nowhere. */
bool smtp_literal_valid(struct slice s)
{
	if (s.n < 2 || s.n > SMTP_DOMAIN_MAX || s.p[0] != '[' || s.p[s.n - 1] != ']')
		return false;
	s = slice(s.p + 1, s.n - 2);
	if (slice_istarts(s, S("IPv6:")))
		return ipv6_valid(slice_from(s, 5));
	return ipv4_valid(s);
}

bool smtp_domain_valid(struct slice s)
{
	struct cursor c = { s.p, s.p + s.n };
	bool utf8 = false;

	return s.n && eat_name(&c, &utf8) && c.p == c.end;
}

static bool eat_domain(struct cursor *c, struct smtp_path *path)
{
	const char *start = c->p, *close;

	if (c->p < c->end && *c->p == '[') {
		close = memchr(c->p, ']', (size_t)(c->end - c->p));
		if (!close || !smtp_literal_valid(slice(start, (size_t)(close + 1 - start))))
			return false;
		c->p = close + 1;
		path->literal = true;
	} else if (!eat_name(c, &path->utf8)) {
		return false;
	}
	path->domain = slice(start, (size_t)(c->p - start));
	return true;
}

/* A-d-l ":" = "@" Domain *("," "@" Domain) ":". Read for its form only; whether it used UTF-8 does
 * not matter, since it is dropped. */
static bool eat_route(struct cursor *c)
{
	bool utf8 = false;

	do {
		if (!eat(c, '@') || !eat_name(c, &utf8))
			return false;
	} while (eat(c, ','));
	return eat(c, ':') && !utf8;
}

static bool eat_mailbox(struct cursor *c, enum smtp_path_kind kind, struct smtp_path *path)
{
	const char *start = c->p;

	path->quoted = c->p < c->end && *c->p == '"';
	if (!(path->quoted ? eat_quoted_string : eat_dot_string)(c, &path->utf8))
		return false;
	path->local = slice(start, (size_t)(c->p - start));
	if (path->local.n > SMTP_LOCAL_MAX)
		return false;
	if (eat(c, '@')) {
		if (!eat_domain(c, path))
			return false;
	} else if (kind != SMTP_FORWARD_PATH || !slice_ieq(path->local, S("Postmaster"))) {
		return false;
	}
	path->whole = slice(start, (size_t)(c->p - start));
	return true;
}

bool smtp_path_parse(struct slice *in, enum smtp_path_kind kind, struct smtp_path *ret)
{
	struct cursor c = { in->p, in->p + in->n };
	struct smtp_path path = { 0 };

	if (!eat(&c, '<'))
		return false;
	if (kind == SMTP_REVERSE_PATH && eat(&c, '>')) {
		path.null_path = true;
		path.whole = slice(c.p - 1, 0);
		path.local = path.domain = path.whole;
	} else {
		const char *first = c.p;

		if (c.p < c.end && *c.p == '@' && !eat_route(&c))
			return false;
		if (!eat_mailbox(&c, kind, &path) || !eat(&c, '>'))
			return false;
		/* <@route:Postmaster> is not in the grammar. */
		if (path.domain.n == 0 && path.local.p != first)
			return false;
	}
	if ((size_t)(c.p - in->p) > SMTP_PATH_MAX)
		return false;
	slice_take(in, (size_t)(c.p - in->p));
	*ret = path;
	return true;
}

bool smtp_path_qualified(const struct smtp_path *path)
{
	struct slice head, last;

	if (path->domain.n == 0 || path->literal)
		return true;
	if (!slice_rcut(path->domain, '.', &head, &last))
		return false;
	for (size_t i = 0; i < last.n; i++)
		if (!ascii_digit(last.p[i]))
			return true;
	return false;
}
