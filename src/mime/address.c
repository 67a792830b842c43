#include "mime/address.h"

#include "base/utf8.h"

/* What a character may be part of (RFC 5322 3.2.3, 3.2.4, 3.2.2). Bytes above 0x7f have no
 * entry: RFC 6532 adds them to all of these when utf8 is on. */
enum {
	ATEXT = 1, /* atom */
	QTEXT = 2, /* quoted-string */
	CTEXT = 4, /* comment */
	LABEL = 8, /* label of a domain */
};

#define A  (ATEXT | QTEXT | CTEXT)
#define AL (A | LABEL)
#define X  (QTEXT | CTEXT)

// clang-format off
static const unsigned char class[128] = {
	/* controls: 32 times nothing */
	[' '] = 0, ['!'] = A, ['"'] = CTEXT, ['#'] = A, ['$'] = A, ['%'] = A, ['&'] = A, ['\''] = A,
	['('] = QTEXT, [')'] = QTEXT, ['*'] = A, ['+'] = A, [','] = X, ['-'] = AL, ['.'] = X, ['/'] = A,
	['0'] = AL, ['1'] = AL, ['2'] = AL, ['3'] = AL, ['4'] = AL, ['5'] = AL, ['6'] = AL, ['7'] = AL,
	['8'] = AL, ['9'] = AL, [':'] = X, [';'] = X, ['<'] = X, ['='] = A, ['>'] = X, ['?'] = A,
	['@'] = X, ['A'] = AL, ['B'] = AL, ['C'] = AL, ['D'] = AL, ['E'] = AL, ['F'] = AL, ['G'] = AL,
	['H'] = AL, ['I'] = AL, ['J'] = AL, ['K'] = AL, ['L'] = AL, ['M'] = AL, ['N'] = AL, ['O'] = AL,
	['P'] = AL, ['Q'] = AL, ['R'] = AL, ['S'] = AL, ['T'] = AL, ['U'] = AL, ['V'] = AL, ['W'] = AL,
	['X'] = AL, ['Y'] = AL, ['Z'] = AL, ['['] = X, ['\\'] = 0, [']'] = X, ['^'] = A, ['_'] = AL,
	['`'] = A, ['a'] = AL, ['b'] = AL, ['c'] = AL, ['d'] = AL, ['e'] = AL, ['f'] = AL, ['g'] = AL,
	['h'] = AL, ['i'] = AL, ['j'] = AL, ['k'] = AL, ['l'] = AL, ['m'] = AL, ['n'] = AL, ['o'] = AL,
	['p'] = AL, ['q'] = AL, ['r'] = AL, ['s'] = AL, ['t'] = AL, ['u'] = AL, ['v'] = AL, ['w'] = AL,
	['x'] = AL, ['y'] = AL, ['z'] = AL, ['{'] = A, ['|'] = A, ['}'] = A, ['~'] = A,
};
// clang-format on

#undef A
#undef AL
#undef X

struct parser {
	const char *p, *end;
	bool utf8;
	size_t max;
	struct arena *a;
	struct mime_addresses list;
	size_t cap;
	struct err *e;
};

static bool bad(struct parser *ps, const char *why)
{
	return err_set(ps->e, ERR_INPUT, "%s", why);
}

static bool is(const struct parser *ps, unsigned char c, unsigned what)
{
	return c < 0x80 ? class[c] & what : ps->utf8;
}

static bool at(const struct parser *ps, char c)
{
	return ps->p < ps->end && *ps->p == c;
}

/* The next byte is what. */
static bool next_is(const struct parser *ps, unsigned what)
{
	return ps->p < ps->end && is(ps, (unsigned char)*ps->p, what);
}

/* Steps over blanks and over CRLF before a blank; false at anything else. */
static bool fold_or_blank(struct parser *ps)
{
	if (at(ps, ' ') || at(ps, '\t')) {
		ps->p++;
		return true;
	}
	if (ps->end - ps->p >= 3 && ps->p[0] == '\r' && ps->p[1] == '\n' &&
	    (ps->p[2] == ' ' || ps->p[2] == '\t')) {
		ps->p += 3;
		return true;
	}
	return false;
}

/* Backslash and a visible character or a blank; obs-qp, which would let controls in, is refused. */
static bool quoted_pair(struct parser *ps)
{
	unsigned char c;

	ps->p++;
	if (ps->p == ps->end)
		return bad(ps, "ends in a backslash");
	c = (unsigned char)*ps->p;
	if (c != '\t' && (c < ' ' || c == 0x7f || (c > 0x7f && !ps->utf8)))
		return bad(ps, "a backslash stands before a control character");
	ps->p++;
	return true;
}

static bool comment(struct parser *ps)
{
	size_t depth = 0;

	do {
		if (ps->p == ps->end)
			return bad(ps, "a comment does not end");
		if (*ps->p == '(') {
			if (++depth > MIME_COMMENT_DEPTH)
				return bad(ps, "comments are nested too deep");
			ps->p++;
		} else if (*ps->p == ')') {
			depth--;
			ps->p++;
		} else if (*ps->p == '\\') {
			if (!quoted_pair(ps))
				return false;
		} else if (next_is(ps, CTEXT)) {
			ps->p++;
		} else if (!fold_or_blank(ps)) {
			return bad(ps, "a comment holds a character that it may not");
		}
	} while (depth);
	return true;
}

/* RFC 5322 3.2.2, none or more. */
static bool cfws(struct parser *ps)
{
	for (;;) {
		if (at(ps, '(')) {
			if (!comment(ps))
				return false;
		} else if (!fold_or_blank(ps)) {
			return true;
		}
	}
}

/* From one quote to the other, both included. */
static bool quoted_string(struct parser *ps, struct slice *ret, bool *ret_folded)
{
	const char *from = ps->p++;
	bool folded = false;

	while (!at(ps, '"')) {
		if (ps->p == ps->end)
			return bad(ps, "a quoted string does not end");
		folded |= *ps->p == '\r';
		if (*ps->p == '\\') {
			if (!quoted_pair(ps))
				return false;
		} else if (next_is(ps, QTEXT)) {
			ps->p++;
		} else if (!fold_or_blank(ps)) {
			return bad(ps, "a quoted string holds a character that it may not");
		}
	}
	ps->p++;
	*ret = slice(from, (size_t)(ps->p - from));
	*ret_folded = folded;
	return true;
}

/* Words and dots without blanks between them: dot-atom-text or part of an obs-phrase. */
static struct slice dotted(struct parser *ps)
{
	const char *from = ps->p;

	while (next_is(ps, ATEXT) || at(ps, '.'))
		ps->p++;
	return slice(from, (size_t)(ps->p - from));
}

/* A dot stands only between two atoms. */
static bool dots_fine(struct slice s)
{
	if (!s.n || s.p[0] == '.' || s.p[s.n - 1] == '.')
		return false;
	for (size_t i = 1; i < s.n; i++)
		if (s.p[i] == '.' && s.p[i - 1] == '.')
			return false;
	return true;
}

/* RFC 2047 section 5 (3). Some parsers decode it there, and then the address is another one. */
static bool has_encoded_word(struct slice s)
{
	for (size_t i = 0; i + 1 < s.n; i++)
		if (s.p[i] == '=' && s.p[i + 1] == '?')
			return memmem(s.p + i, s.n - i, "?=", 2);
	return false;
}

struct word {
	struct slice text;
	bool quoted, folded;
};

static bool local_fine(struct parser *ps, const struct word *w)
{
	if (!w->quoted && !dots_fine(w->text))
		return bad(ps, "a dot stands where none may in a local part");
	if (w->folded || memchr(w->text.p, '\t', w->text.n))
		return bad(ps, "a quoted local part holds a tab or is folded");
	if (w->text.n > MIME_LOCAL_MAX)
		return bad(ps, "a local part is too long");
	if (has_encoded_word(w->text))
		return bad(ps, "a local part holds an encoded-word");
	return true;
}

/* The characters of RFC 5321 4.1.3 only: RFC 5322 would let quotes and commas stand in there. */
static bool domain_literal(struct parser *ps, struct slice *ret)
{
	const char *from = ps->p++;

	while (ps->p < ps->end && (ascii_alpha(*ps->p) || ascii_digit(*ps->p) || *ps->p == '.' ||
				   *ps->p == ':' || *ps->p == '-'))
		ps->p++;
	if (!at(ps, ']'))
		return bad(ps, "a domain literal holds a character that it may not");
	ps->p++;
	*ret = slice(from, (size_t)(ps->p - from));
	return ret->n > 2 || bad(ps, "a domain literal is empty");
}

static bool labels_fine(struct slice domain)
{
	struct slice label, rest = domain;
	bool more;

	do {
		more = slice_cut(rest, '.', &label, &rest);
		if (!label.n || label.p[0] == '-' || label.p[label.n - 1] == '-')
			return false;
		/* In UTF-8 the limit holds for the A-label, which is not computed here. */
		if (label.n > 63 && ascii_only(label))
			return false;
	} while (more);
	return true;
}

static bool domain_name(struct parser *ps, struct slice *ret)
{
	const char *from = ps->p;

	while (next_is(ps, LABEL) || at(ps, '.'))
		ps->p++;
	*ret = slice(from, (size_t)(ps->p - from));
	if (!ret->n)
		return bad(ps, "an address has no domain");
	return labels_fine(*ret) || bad(ps, "a domain is not well-formed");
}

static struct mime_address *address_new(struct parser *ps)
{
	struct mime_address *more;

	if (ps->list.n == ps->cap) {
		ps->cap = ps->cap ? ps->cap * 2 : 2;
		more = ARENA_ARRAY(ps->a, struct mime_address, ps->cap);
		if (!more)
			return NULL;
		if (ps->list.n)
			memcpy(more, ps->list.at, ps->list.n * sizeof *more);
		ps->list.at = more;
	}
	return &ps->list.at[ps->list.n++];
}

static bool no_memory(struct parser *ps)
{
	return err_set(ps->e, ERR_LATER, "out of memory");
}

static bool address_add(struct parser *ps, struct mime_address made)
{
	struct mime_address *slot;

	if (ps->list.n >= ps->max)
		return bad(ps, "there are too many addresses");
	if (made.local.p + made.local.n + 1 == made.domain.p) {
		made.whole = slice(made.local.p, made.local.n + 1 + made.domain.n);
	} else {
		char *joined = arena_alloc(ps->a, made.local.n + 1 + made.domain.n);

		if (!joined)
			return no_memory(ps);
		memcpy(joined, made.local.p, made.local.n);
		joined[made.local.n] = '@';
		memcpy(joined + made.local.n + 1, made.domain.p, made.domain.n);
		made.whole = slice(joined, made.local.n + 1 + made.domain.n);
	}
	slot = address_new(ps);
	if (!slot)
		return no_memory(ps);
	*slot = made;
	return true;
}

/* Behind a local part, at the @: the rest of an addr-spec (RFC 5322 3.4.1) and CFWS after it. */
static bool domain_part(struct parser *ps, const struct word *local)
{
	struct mime_address made = { .local = local->text, .quoted = local->quoted };

	if (!local_fine(ps, local))
		return false;
	ps->p++;
	if (!cfws(ps))
		return false;
	made.literal = at(ps, '[');
	if (!(made.literal ? domain_literal(ps, &made.domain) : domain_name(ps, &made.domain)))
		return false;
	if (made.domain.n > MIME_DOMAIN_MAX)
		return bad(ps, "a domain is too long");
	return cfws(ps) && address_add(ps, made);
}

/* A word and the CFWS after it; *ret_any is false when there is none. */
static bool word(struct parser *ps, struct word *ret, bool *ret_any)
{
	*ret = (struct word){ .quoted = at(ps, '"') };
	*ret_any = ret->quoted || next_is(ps, ATEXT) || at(ps, '.');
	if (!*ret_any)
		return true;
	if (!ret->quoted)
		ret->text = dotted(ps);
	else if (!quoted_string(ps, &ret->text, &ret->folded))
		return false;
	return cfws(ps);
}

/* At '<', with what follows it up to the CFWS behind '>'. */
static bool angle_addr(struct parser *ps)
{
	struct word local;
	bool any;

	ps->p++;
	if (!cfws(ps))
		return false;
	if (at(ps, '@'))
		return bad(ps, "a source route is not accepted");
	if (!word(ps, &local, &any))
		return false;
	if (!any || !at(ps, '@'))
		return bad(ps, "angle brackets hold no address");
	if (!domain_part(ps, &local))
		return false;
	if (!at(ps, '>'))
		return bad(ps, "an address does not end where it should");
	ps->p++;
	return cfws(ps);
}

/* One mailbox, or with *in_group false also the head of a group, which sets it. */
static bool element(struct parser *ps, bool *in_group)
{
	struct word w, first = { 0 };
	size_t words = 0;
	bool any;

	for (;; words++) {
		if (!word(ps, &w, &any))
			return false;
		if (!any)
			break;
		if (!words)
			first = w;
	}
	if (at(ps, '<'))
		return angle_addr(ps);
	if (at(ps, '@') && words == 1)
		return domain_part(ps, &first);
	if (at(ps, '@'))
		return bad(ps, words ? "a display name holds an @ outside quotes"
				     : "an address has no local part");
	if (at(ps, ':') && words && !*in_group) {
		ps->p++;
		ps->list.has_group = *in_group = true;
		return cfws(ps);
	}
	if (ps->p == ps->end || *ps->p == ',' || *ps->p == ';')
		return bad(ps,
			   words ? "a name stands without an address" : "an address is missing");
	return bad(ps, (unsigned char)*ps->p > 0x7f ? "holds bytes above 0x7f"
						    : "holds a character that must be quoted");
}

static bool list(struct parser *ps)
{
	bool in_group = false;

	if (!cfws(ps))
		return false;
	for (;;) {
		bool opened = in_group;

		if (!element(ps, &in_group))
			return false;
		/* Right behind "name:" come its members, or none. */
		opened = !opened && in_group;
		if (opened && !at(ps, ';'))
			continue;
		if (in_group && at(ps, ';')) {
			in_group = false;
			ps->p++;
			if (!cfws(ps))
				return false;
		}
		if (ps->p == ps->end && !in_group)
			return true;
		if (!at(ps, ','))
			return bad(ps, in_group && ps->p == ps->end
					   ? "a group does not end"
					   : "an address does not end where it should");
		ps->p++;
		if (!cfws(ps))
			return false;
	}
}

bool mime_addresses_parse(struct slice value, bool utf8, size_t max, struct arena *a,
			  struct mime_addresses *ret, struct err *e)
{
	struct parser ps = {
		.p = value.p,
		.end = value.n ? value.p + value.n : value.p,
		.utf8 = utf8,
		.max = max,
		.a = a,
		.e = e,
	};

	if (utf8 && !utf8_valid(value))
		return bad(&ps, "is not valid UTF-8");
	if (!list(&ps))
		return false;
	*ret = ps.list;
	return true;
}
