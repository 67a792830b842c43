#include "mime/header.h"

const struct mime_limits mime_limits_default = {
	.header_max = 256 << 10,
	.fields_max = 1000,
	.line_max = 998,
	.received_max = 100,
	.addresses_max = 100,
};

#define FIELDS_FIRST 32 /* most heads fit */

enum mime_name mime_name_of(struct slice name)
{
	static const struct known {
		struct slice name;
		enum mime_name id;
	} known[] = {
		/* by length */
		{ S("To"), MIME_TO },
		{ S("Cc"), MIME_CC },
		{ S("Bcc"), MIME_BCC },
		{ S("From"), MIME_FROM },
		{ S("Date"), MIME_DATE },
		{ S("Sender"), MIME_SENDER },
		{ S("Subject"), MIME_SUBJECT },
		{ S("Reply-To"), MIME_REPLY_TO },
		{ S("Received"), MIME_RECEIVED },
		{ S("Resent-To"), MIME_RESENT_TO },
		{ S("Resent-Cc"), MIME_RESENT_CC },
		{ S("X-SMTPAPI"), MIME_X_SMTPAPI },
		{ S("Message-ID"), MIME_MESSAGE_ID },
		{ S("Resent-Bcc"), MIME_RESENT_BCC },
		{ S("Return-Path"), MIME_RETURN_PATH },
		{ S("Resent-From"), MIME_RESENT_FROM },
		{ S("Resent-Sender"), MIME_RESENT_SENDER },
		{ S("Authentication-Results"), MIME_AUTHENTICATION_RESULTS },
		{ { 0 }, MIME_OTHER }, /* ends the last length */
	};
	/* Where the names of a length begin; 18: there are none. */
	static const unsigned char begin[] = { 18, 18, 0,  2,  3,  18, 5,  6,  7,  9,  12, 14,
					       18, 16, 18, 18, 18, 18, 18, 18, 18, 18, 17 };
	const struct known *k = &known[name.n < sizeof begin ? begin[name.n] : 18];

	for (; k->name.n == name.n && name.n; k++)
		/* The last letter tells nearly all of one length apart, whatever its case. */
		if (((k->name.p[name.n - 1] ^ name.p[name.n - 1]) & 0x5f) == 0 &&
		    slice_ieq(k->name, name))
			return k->id;
	return MIME_OTHER;
}

/* What a line holds besides ordinary text. Eight bytes at a time: this sees every byte of every
 * head. */
struct seen {
	bool cr_or_nul, high;
};

static struct seen look(const char *p, size_t n)
{
	const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
	const char *last = p + n;
	uint64_t high = 0, hit = 0;

	while (n >= 8) {
		uint64_t w, x;

		memcpy(&w, p, 8);
		x = w ^ ones * '\r';
		high |= w;
		/* A top bit is set if and only if some byte of w, or of x, is zero. */
		hit |= ((w - ones) & ~w) | ((x - ones) & ~x);
		/* The last step ends with the line: it sees some bytes again. */
		p = last - p < 16 && last - p > 8 ? last - 8 : p + 8;
		n = (size_t)(last - p);
	}
	for (; n; p++, n--) {
		high |= (unsigned char)*p;
		if (*p == '\r' || *p == '\0')
			hit = tops;
	}
	return (struct seen){ hit & tops, high & tops };
}

static struct mime_field *field_new(struct mime_header *h, size_t *cap, struct arena *a)
{
	struct mime_field *more;

	if (h->n == *cap) {
		*cap = *cap ? *cap * 2 : FIELDS_FIRST;
		more = ARENA_ARRAY(a, struct mime_field, *cap);
		if (!more)
			return NULL;
		if (h->n)
			memcpy(more, h->fields, h->n * sizeof *more);
		h->fields = more;
	}
	return &h->fields[h->n++];
}

/* RFC 5322 3.6.8: ftext is 33..126 without the colon. Returns the length of the name, 0 when this
 * is no field. */
static size_t name_length(struct slice line)
{
	size_t n = 0;

	while (n < line.n && line.p[n] > ' ' && line.p[n] < 0x7f && line.p[n] != ':')
		n++;
	return n < line.n && line.p[n] == ':' ? n : 0;
}

/* One line of in, CRLF not included. MIME_HEADER_TOO_LARGE: it goes on behind in. */
static enum mime_problem line_next(struct slice in, size_t line_max, struct slice *ret_line,
				   struct seen *ret_seen)
{
	size_t most = in.n > line_max + 2 ? line_max + 2 : in.n;
	const char *lf = memchr(in.p, '\n', most);
	struct slice line = slice(in.p, lf ? (size_t)(lf - in.p) : most);

	if (lf && (!line.n || line.p[line.n - 1] != '\r'))
		return MIME_BAD_LINE_END;
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	*ret_seen = look(line.p, line.n);
	/* A foreign byte explains more than the length it led to. */
	if (ret_seen->cr_or_nul)
		return memchr(line.p, '\0', line.n) ? MIME_NUL : MIME_BAD_LINE_END;
	if (!lf)
		return most == line_max + 2 ? MIME_LINE_TOO_LONG : MIME_HEADER_TOO_LARGE;
	*ret_line = line;
	return MIME_FINE;
}

static enum mime_problem field_add(struct mime_header *h, size_t *cap, struct slice line, bool high,
				   const struct mime_limits *limits, struct arena *a)
{
	size_t n = name_length(line);
	struct mime_field *f;

	if (!n) {
		bool mbox =
		    !h->n && slice_starts(line, S("From ")) && !slice_starts(line, S("From :"));

		return mbox ? MIME_MBOX_LINE : MIME_BAD_FIELD;
	}
	if (h->n >= limits->fields_max)
		return MIME_TOO_MANY_FIELDS;
	f = field_new(h, cap, a);
	if (!f)
		return MIME_NO_MEMORY;
	*f = (struct mime_field){
		.name = slice(line.p, n),
		.value = slice_from(line, n + 1),
		.raw = slice(line.p, line.n + 2),
		.id = mime_name_of(slice(line.p, n)),
		.high = high,
	};
	return MIME_FINE;
}

enum mime_problem mime_header_split(struct slice in, bool whole, const struct mime_limits *limits,
				    struct arena *a, struct mime_header *ret)
{
	struct slice rest = slice(in.p, in.n > limits->header_max ? limits->header_max : in.n);
	const size_t most = rest.n;
	const bool cut = !whole || in.n > most;
	struct mime_header h = { 0 };
	size_t cap = 0;

	while (rest.n && !h.ended) {
		struct slice line = { 0 };
		struct seen seen = { 0 };
		enum mime_problem bad = line_next(rest, limits->line_max, &line, &seen);

		if (bad == MIME_HEADER_TOO_LARGE && !cut)
			return MIME_BAD_LINE_END;
		if (bad)
			return bad;
		slice_take(&rest, line.n + 2);
		if (!line.n) {
			h.ended = true;
		} else if (line.p[0] == ' ' || line.p[0] == '\t') {
			struct mime_field *f = h.n ? &h.fields[h.n - 1] : NULL;

			if (!f)
				return MIME_BAD_FIELD;
			f->raw.n += line.n + 2;
			f->value.n = (size_t)(line.p + line.n - f->value.p);
			f->high |= seen.high;
		} else if ((bad = field_add(&h, &cap, line, seen.high, limits, a))) {
			return bad;
		}
	}
	if (!h.ended && cut)
		return MIME_HEADER_TOO_LARGE;
	h.bytes = most - rest.n;
	*ret = h;
	return MIME_FINE;
}

struct slice mime_unfold(struct slice value, struct arena *a)
{
	char *p;
	size_t n = 0;

	if (!value.n || !memchr(value.p, '\r', value.n))
		return slice_trim(value);
	p = arena_alloc(a, value.n);
	if (!p)
		return slice(NULL, 0);
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] != '\r' && value.p[i] != '\n')
			p[n++] = value.p[i];
	return slice_trim(slice(p, n));
}
