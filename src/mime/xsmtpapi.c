#include "mime/xsmtpapi.h"

#include "base/utf8.h"

/* What may come next. Each value of the text is either complete or an open bracket on the stack,
 * so that no function calls itself. */
enum expect {
	VALUE,      /* any value */
	VALUE_OR_X, /* behind '[': a value or the end of the array */
	NAME,       /* behind ',' in an object */
	NAME_OR_X,  /* behind '{' */
	COMMA_OR_X, /* behind a value */
};

struct json {
	const char *p, *end;
	uint64_t objects; /* bit i: level i + 1 is an object, not an array */
	unsigned depth;
};

static bool at(const struct json *j, char c)
{
	return j->p < j->end && *j->p == c;
}

static void blanks(struct json *j)
{
	while (at(j, ' ') || at(j, '\t') || at(j, '\r') || at(j, '\n'))
		j->p++;
}

static bool word(struct json *j, struct slice w)
{
	if (!slice_starts(slice(j->p, (size_t)(j->end - j->p)), w))
		return false;
	j->p += w.n;
	return true;
}

static size_t digits(struct json *j)
{
	const char *from = j->p;

	while (j->p < j->end && ascii_digit(*j->p))
		j->p++;
	return (size_t)(j->p - from);
}

static bool number(struct json *j)
{
	if (at(j, '-'))
		j->p++;
	if (at(j, '0'))
		j->p++;
	else if (!digits(j))
		return false;
	if (at(j, '.')) {
		j->p++;
		if (!digits(j))
			return false;
	}
	if (at(j, 'e') || at(j, 'E')) {
		j->p++;
		if (at(j, '+') || at(j, '-'))
			j->p++;
		if (!digits(j))
			return false;
	}
	return true;
}

static int hex_digit(char c)
{
	c = ascii_lower(c);
	return ascii_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits of \uXXXX. */
static bool hex4(struct json *j, unsigned *ret)
{
	unsigned v = 0;

	if (j->end - j->p < 4)
		return false;
	for (int i = 0; i < 4; i++) {
		int d = hex_digit(*j->p++);

		if (d < 0)
			return false;
		v = v << 4 | (unsigned)d;
	}
	*ret = v;
	return true;
}

/* Behind the backslash. *ret: the character it means, '?' for one outside ASCII: names are only
 * compared with ASCII ones and shown. */
static bool escape(struct json *j, char *ret)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	unsigned u, low;
	const char *hit;

	if (j->p == j->end)
		return false;
	if (*j->p != 'u') {
		hit = memchr(from, *j->p++, sizeof from - 1);
		*ret = hit ? to[hit - from] : '?';
		return hit;
	}
	j->p++;
	if (!hex4(j, &u) || (u >= 0xdc00 && u <= 0xdfff))
		return false;
	if (u >= 0xd800 && u <= 0xdbff &&
	    (!word(j, S("\\u")) || !hex4(j, &low) || low < 0xdc00 || low > 0xdfff))
		return false;
	*ret = u < 0x80 ? (char)u : '?';
	return true;
}

/* At the opening quote. With name not NULL the unescaped text goes there; it has the room. */
static bool string(struct json *j, char *name, size_t *ret_n)
{
	size_t n = 0;

	if (!at(j, '"'))
		return false;
	for (j->p++; !at(j, '"');) {
		char c;

		if (j->p == j->end || (unsigned char)*j->p < 0x20)
			return false;
		c = *j->p++;
		if (c == '\\' && !escape(j, &c))
			return false;
		if (name)
			name[n++] = c;
	}
	j->p++;
	if (ret_n)
		*ret_n = n;
	return true;
}

static void name_add(struct xsmtpapi *x, struct slice name)
{
	if (slice_eq(name, S("category")) || slice_eq(name, S("unique_args")))
		return;
	for (size_t i = 0; i < x->n; i++)
		if (slice_eq(x->other[i], name))
			return;
	if (x->n == XSMTPAPI_NAMES)
		x->more = true;
	else
		x->other[x->n++] = name;
}

/* A name of an object and its colon; those of the top level are kept in room, one behind the
 * other. */
static bool member(struct json *j, struct xsmtpapi *x, char **room)
{
	size_t n = 0;

	if (!string(j, j->depth == 1 ? *room : NULL, &n))
		return false;
	if (j->depth == 1) {
		name_add(x, slice(*room, n));
		*room += n;
	}
	blanks(j);
	if (!at(j, ':'))
		return false;
	j->p++;
	return true;
}

/* A value that is no bracket, or an opening bracket. */
static bool value(struct json *j, enum expect *next)
{
	*next = COMMA_OR_X;
	if (at(j, '{') || at(j, '[')) {
		bool object = at(j, '{');

		if (j->depth == XSMTPAPI_DEPTH)
			return false;
		j->objects = (j->objects & ~((uint64_t)1 << j->depth)) | (uint64_t)object
									     << j->depth;
		j->depth++;
		j->p++;
		*next = object ? NAME_OR_X : VALUE_OR_X;
		return true;
	}
	if (at(j, '"'))
		return string(j, NULL, NULL);
	return word(j, S("true")) || word(j, S("false")) || word(j, S("null")) || number(j);
}

static bool in_object(const struct json *j)
{
	return j->objects >> (j->depth - 1) & 1;
}

/* The closing bracket of the level we are in, if it is there. */
static bool closed(struct json *j)
{
	if (!at(j, in_object(j) ? '}' : ']'))
		return false;
	j->p++;
	j->depth--;
	return true;
}

static bool read_object(struct json *j, struct xsmtpapi *x, char *room)
{
	enum expect next = VALUE;

	do {
		blanks(j);
		if (next != VALUE && next != NAME && closed(j)) {
			next = COMMA_OR_X;
			continue;
		}
		switch (next) {
		case VALUE:
		case VALUE_OR_X:
			if (!value(j, &next))
				return false;
			break;
		case NAME:
		case NAME_OR_X:
			if (!member(j, x, &room))
				return false;
			next = VALUE;
			break;
		case COMMA_OR_X:
			if (!at(j, ','))
				return false;
			j->p++;
			next = in_object(j) ? NAME : VALUE;
			break;
		}
	} while (j->depth);
	blanks(j);
	return j->p == j->end;
}

bool xsmtpapi_read(struct slice text, struct arena *a, struct xsmtpapi *ret)
{
	struct json j = { .p = text.p, .end = text.n ? text.p + text.n : text.p };
	struct xsmtpapi x = { 0 };
	char *room;

	blanks(&j);
	if (!at(&j, '{') || !utf8_valid(text))
		return false;
	room = arena_alloc(a, text.n);
	if (!room || !read_object(&j, &x, room))
		return false;
	*ret = x;
	return true;
}
