#include "backup/manifest.h"

static const struct slice tops[] = {
	{ "data", 4 },
	{ "config", 6 },
	{ "spool", 5 },
	{ "outside", 7 },
};

/* -- names -- */

static bool plain(char c)
{
	return ascii_alpha(c) || ascii_digit(c) || (c && strchr("._-@+=:,", c));
}

bool manifest_name_ok(struct slice name)
{
	struct slice part, rest = name, top;
	bool known = false;

	if (!name.n || name.n > MANIFEST_NAME_MAX || memchr(name.p, 0, name.n) ||
	    !slice_cut(name, '/', &top, &part))
		return false;
	for (size_t i = 0; i < sizeof tops / sizeof *tops; i++)
		known |= slice_eq(top, tops[i]);
	if (!known || slice_ends(name, S("/")))
		return false;
	while (rest.n) {
		slice_cut(rest, '/', &part, &rest);
		if (!part.n || slice_eq(part, S(".")) || slice_eq(part, S("..")))
			return false;
	}
	return true;
}

static void add_encoded(struct buf *out, struct slice s)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		char three[3] = { '%', hex[c >> 4], hex[c & 15] };

		if (plain((char)c) || c == '/')
			buf_addc(out, (char)c);
		else
			buf_add(out, slice(three, 3));
	}
}

static int hex_digit(char c)
{
	return ascii_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Exactly what add_encoded() writes: one name has one spelling. */
static bool decode(struct slice s, struct arena *a, struct slice *ret)
{
	char *to = arena_alloc(a, s.n + 1);
	size_t n = 0;

	for (size_t i = 0; to && i < s.n; i++) {
		int high, low;

		if (plain(s.p[i]) || s.p[i] == '/') {
			to[n++] = s.p[i];
			continue;
		}
		high = s.p[i] == '%' && i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
		low = high >= 0 ? hex_digit(s.p[i + 2]) : -1;
		if (low < 0)
			return false;
		to[n] = (char)(high << 4 | low);
		if (!to[n] || plain(to[n]) || to[n] == '/')
			return false;
		n++;
		i += 2;
	}
	*ret = slice(to, n);
	return to;
}

static bool decode_name(struct slice s, struct arena *a, struct slice *ret)
{
	return decode(s, a, ret) && manifest_name_ok(*ret);
}

/* One number has one spelling. */
static bool number(struct slice s, uint64_t *ret)
{
	return slice_u64(s, ret) && (s.n == 1 || s.p[0] != '0');
}

/* -- versions -- */

static bool version_part(struct slice *s, uint64_t *ret)
{
	struct slice part;

	slice_cut(*s, '.', &part, s);
	return slice_u64(part, ret);
}

static bool version(struct slice s, uint64_t ret[3])
{
	return version_part(&s, &ret[0]) && version_part(&s, &ret[1]) &&
	       version_part(&s, &ret[2]) && !s.n;
}

bool manifest_newer(struct slice a, struct slice b)
{
	uint64_t x[3], y[3];

	if (!version(a, x))
		return true;
	if (!version(b, y))
		return false;
	for (int i = 0; i < 3; i++)
		if (x[i] != y[i])
			return x[i] > y[i];
	return false;
}

/* -- reading -- */

struct reader {
	struct slice left;
	struct arena *arena;
	size_t line, cap_files, cap_absent;
};

/* The fields of the next line behind its keyword. False: no such line is next. */
static bool fields(struct reader *r, struct slice keyword, struct slice ret[], size_t n)
{
	struct slice line, rest, word;

	r->line++;
	if (!slice_cut(r->left, '\n', &line, &rest) || !slice_cut(line, ' ', &word, &line) ||
	    !slice_eq(word, keyword))
		return false;
	for (size_t i = 0; i < n; i++) {
		bool more = slice_cut(line, ' ', &ret[i], &line);

		if (!ret[i].n || more != (i + 1 < n))
			return false;
	}
	r->left = rest;
	return true;
}

static bool next_is(const struct reader *r, struct slice keyword)
{
	struct slice line, rest, word;

	return slice_cut(r->left, '\n', &line, &rest) && slice_cut(line, ' ', &word, &line) &&
	       slice_eq(word, keyword);
}

static bool read_digest(struct slice s, unsigned char ret[DIGEST_SHA256])
{
	for (size_t i = 0; s.n == 2 * DIGEST_SHA256 && i < DIGEST_SHA256; i++) {
		char pair[2];

		for (size_t k = 0; k < 2; k++) {
			pair[k] = s.p[2 * i + k];
			if (pair[k] >= 'a' && pair[k] <= 'f')
				pair[k] = (char)(pair[k] - 'a' + 'A');
			else if (!ascii_digit(pair[k]))
				return false;
		}
		ret[i] = (unsigned char)(hex_digit(pair[0]) << 4 | hex_digit(pair[1]));
	}
	return s.n == 2 * DIGEST_SHA256;
}

/* Room for one more element of an array in the arena, which doubles. */
static void *one_more(struct arena *a, void *at, size_t n, size_t *cap, size_t size)
{
	void *more;

	if (n < *cap)
		return at;
	more = arena_array(a, *cap ? *cap * 2 : 64, size);
	if (!more)
		return NULL;
	if (n)
		memcpy(more, at, n * size);
	*cap = *cap ? *cap * 2 : 64;
	return more;
}

static bool read_file(struct reader *r, struct manifest *m)
{
	struct manifest_file *f;
	struct slice v[3];

	if (m->n_files == MANIFEST_FILES_MAX || !fields(r, S("file"), v, 3))
		return false;
	f = one_more(r->arena, m->files, m->n_files, &r->cap_files, sizeof *f);
	if (!f)
		return false;
	m->files = f;
	f += m->n_files;
	if (!read_digest(v[0], f->sha256) || !number(v[1], &f->bytes) ||
	    !decode_name(v[2], r->arena, &f->name) ||
	    (m->n_files && slice_cmp(f[-1].name, f->name) >= 0))
		return false;
	m->n_files++;
	return true;
}

static bool read_absent(struct reader *r, struct manifest *m)
{
	struct manifest_absent *x;
	struct slice v[2];

	if (m->n_absent == MANIFEST_FILES_MAX || !fields(r, S("absent"), v, 2))
		return false;
	x = one_more(r->arena, m->absent, m->n_absent, &r->cap_absent, sizeof *x);
	if (!x)
		return false;
	m->absent = x;
	x += m->n_absent;
	if (!decode_name(v[0], r->arena, &x->name) || !decode(v[1], r->arena, &x->path))
		return false;
	m->n_absent++;
	return true;
}

static bool read_body(struct reader *r, struct manifest *m)
{
	struct slice spool[2];

	if (!fields(r, S("program"), &m->program, 1) || !fields(r, S("time"), &m->time, 1) ||
	    !fields(r, S("hostname"), &m->hostname, 1) || !fields(r, S("owner"), &m->owner, 1) ||
	    !fields(r, S("spool"), spool, 2) || !number(spool[0], &m->spool_format) ||
	    !number(spool[1], &m->messages))
		return false;
	while (next_is(r, S("file")))
		if (!read_file(r, m))
			return false;
	while (next_is(r, S("absent")))
		if (!read_absent(r, m))
			return false;
	return true;
}

static bool read_end(struct reader *r, struct slice text)
{
	struct slice before = slice(text.p, text.n - r->left.n), v;
	unsigned char said[DIGEST_SHA256], is[DIGEST_SHA256];

	digest_sha256(before, is);
	return fields(r, S("end"), &v, 1) && !r->left.n && read_digest(v, said) &&
	       !memcmp(said, is, sizeof is);
}

bool manifest_read(struct slice text, struct arena *a, struct manifest *ret, struct err *e)
{
	struct reader r = { .left = text, .arena = a };
	struct manifest m = { 0 };
	struct slice word;
	uint64_t format = 0;
	bool ok;

	if (!fields(&r, S("signet-backup"), &word, 1) || !number(word, &format))
		return err_set(e, ERR_DAMAGED, MANIFEST_NAME ": this is no backup's manifest");
	if (format > MANIFEST_FORMAT)
		return err_set(e, ERR_CONFLICT,
			       MANIFEST_NAME ": format %llu was written by a newer Signet",
			       (unsigned long long)format);
	ok = format == MANIFEST_FORMAT && read_body(&r, &m) && read_end(&r, text);
	if (!ok)
		return a->failed
			   ? err_set(e, ERR_LATER, MANIFEST_NAME ": out of memory")
			   : err_set(e, ERR_DAMAGED,
				     MANIFEST_NAME ": cut short or altered (line %zu)", r.line);
	digest_sha256(text, m.sha256);
	*ret = m;
	return true;
}

/* -- writing -- */

void manifest_begin(struct buf *out, const struct manifest *m)
{
	buf_addf(out, "signet-backup %d\nprogram ", MANIFEST_FORMAT);
	buf_add(out, m->program);
	buf_add(out, S("\ntime "));
	buf_add(out, m->time);
	buf_add(out, S("\nhostname "));
	buf_add(out, m->hostname);
	buf_add(out, S("\nowner "));
	buf_add(out, m->owner);
	buf_addf(out, "\nspool %llu %llu\n", (unsigned long long)m->spool_format,
		 (unsigned long long)m->messages);
}

void manifest_add(struct buf *out, const struct manifest_file *f)
{
	buf_add(out, S("file "));
	buf_addhex(out, slice(f->sha256, sizeof f->sha256));
	buf_addc(out, ' ');
	buf_addu(out, f->bytes);
	buf_addc(out, ' ');
	add_encoded(out, f->name);
	buf_addc(out, '\n');
}

void manifest_add_absent(struct buf *out, const struct manifest_absent *x)
{
	buf_add(out, S("absent "));
	add_encoded(out, x->name);
	buf_addc(out, ' ');
	add_encoded(out, x->path);
	buf_addc(out, '\n');
}

void manifest_end(struct buf *out)
{
	unsigned char sum[DIGEST_SHA256];

	digest_sha256(buf_slice(out), sum);
	buf_add(out, S("end "));
	buf_addhex(out, slice(sum, sizeof sum));
	buf_addc(out, '\n');
}
