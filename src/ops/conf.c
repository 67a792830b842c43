/* ops/conf.c -- reads the file. The only file that knows libconfuse. */
#include "ops/conf_impl.h"

#include "base/arena.h"
#include "base/net.h"
#include "base/utf8.h"
#include "ops/readable.h"

#include <confuse.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_MAX    (1 << 20)
#define ARENA_MAX   (16u << 20)
#define OPTIONS_MAX 48 /* of one section */
#define ISSUERS_MAX 8  /* an opaque token may be asked about at each of them */

/* What the library's callbacks, which carry no argument, work on. One read at a time per thread. */
struct reading {
	struct err *e;
	struct slice dir; /* of the file, with its slash */
	char opened[4096];
	/* By option: how many values it has got in the section that is being read; 0: not there
	 * yet. */
	size_t seen[OPTIONS_MAX * SECTIONS];
	bool closed[OPTIONS_MAX * SECTIONS]; /* the list's end was seen */
	char last[256];                      /* value of a list */
	bool section_seen[SECTIONS];
	int end_line, error_line;
	bool ended;
	struct buf *socket; /* where control_socket goes, whatever else is wrong; or NULL */
};

static _Thread_local struct reading *reading;

struct holder {
	struct conf conf;
	atomic_uint owners;
	struct arena arena;
};

static void on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	char text[200];

	vsnprintf(text, sizeof text, fmt, ap);
	/* The first complaint is the cause. A section that is not in the file has no line. */
	if (reading->e->kind == ERR_NONE && cfg && cfg->line) {
		reading->error_line = cfg->line;
		err_set(reading->e, ERR_INPUT, "%s:%d: %s", reading->opened, cfg->line, text);
	} else if (reading->e->kind == ERR_NONE)
		err_set(reading->e, ERR_INPUT, "%s: %s", reading->opened, text);
}

static const struct conf_option *option_of(cfg_t *cfg, cfg_opt_t *opt, size_t *ret_i)
{
	for (size_t i = 0; i < conf_n_options; i++) {
		const char *section = conf_sections[conf_options[i].section].name;

		if (!strcmp(conf_options[i].name, cfg_opt_name(opt)) &&
		    (section ? !strcmp(section, cfg_name(cfg)) : !strcmp(cfg_name(cfg), "root"))) {
			*ret_i = i;
			return &conf_options[i];
		}
	}
	return NULL;
}

static bool in_choices(const char *choices, struct slice value)
{
	struct slice left = slice_str(choices), one;

	while (left.n) {
		slice_cut(left, ' ', &one, &left);
		if (slice_eq(one, value))
			return true;
	}
	return false;
}

/* Relative paths are the file's neighbours. */
static bool absolute(struct slice path, char *ret, size_t size)
{
	struct slice dir = path.n && path.p[0] != '/' ? reading->dir : S("");
	int n = snprintf(ret, size, "%.*s%.*s", SLICE_ARG(dir), SLICE_ARG(path));

	return n >= 0 && (size_t)n < size;
}

static bool check_value(const struct conf_option *o, struct slice value, struct err *e)
{
	unsigned char address[CONF_ADDRESS_BYTES];
	struct net net;
	char path[4096];
	uint64_t number;

	switch (o->type) {
	case CONF_UINT:
	case CONF_SIZE:
	case CONF_DURATION: return conf_number(o->type, value, o->min, o->max, &number, e);
	case CONF_CHOICE:
		if (in_choices(o->choices, value))
			return true;
		return err_set(e, ERR_INPUT, "\"%.*s\" is not one of: %s", SLICE_ARG(value),
			       o->choices);
	case CONF_STRING:
	case CONF_PATH:
		if (has_control(value))
			return err_set(e, ERR_INPUT, "control characters are not allowed");
		if (value.n >= o->min && value.n <= o->max)
			return true;
		return err_set(e, ERR_INPUT, "needs %llu to %llu characters",
			       (unsigned long long)o->min, (unsigned long long)o->max);
	case CONF_STRINGS:
		if (has_control(value))
			return err_set(e, ERR_INPUT, "control characters are not allowed");
		if (o->choices && !in_choices(o->choices, value))
			return err_set(e, ERR_INPUT, "\"%.*s\" is not one of: %s", SLICE_ARG(value),
				       o->choices);
		return value.n || err_set(e, ERR_INPUT, "an empty value in the list");
	case CONF_ADDRESSES: return conf_address(value, address, e);
	case CONF_NETWORKS:
		return net_parse(value, &net) ||
		       err_set(
			   e, ERR_INPUT,
			   "\"%.*s\" is not ADDRESS or ADDRESS/BITS, with no bit set behind BITS",
			   SLICE_ARG(value));
	case CONF_READABLE:
		if (!absolute(value, path, sizeof path))
			return err_set(e, ERR_INPUT, "path too long");
		return readable_check(path, e);
	}
	return false;
}

bool conf_is_list(enum conf_type t)
{
	return t == CONF_STRINGS || t == CONF_ADDRESSES || t == CONF_NETWORKS || t == CONF_READABLE;
}

/* The library calls after each value of a list, and once more at its closing brace: then there is
 * the same value at the same length. Everything else that does not grow is a second list. */
static bool began_anew(size_t i, size_t n, const char *last)
{
	bool same =
	    n == reading->seen[i] && !strncmp(reading->last, last, sizeof reading->last - 1);

	if (n < reading->seen[i] || (n == reading->seen[i] && (!same || reading->closed[i])))
		return true;
	reading->closed[i] = same;
	snprintf(reading->last, sizeof reading->last, "%s", last);
	return false;
}

static int on_value(cfg_t *cfg, cfg_opt_t *opt)
{
	struct err why = { 0 };
	size_t i, n = cfg_opt_size(opt);
	const struct conf_option *o = option_of(cfg, opt, &i);

	if (!o)
		return 0;
	if (conf_is_list(o->type) ? began_anew(i, n, cfg_opt_getnstr(opt, (unsigned)n - 1))
				  : reading->seen[i] > 0) {
		cfg_error(cfg, "%s is given twice", o->name);
		return -1;
	}
	reading->seen[i] = n;
	if (conf_is_list(o->type) && n > o->max) {
		cfg_error(cfg, "%s: more than %d values", o->name, (int)o->max);
		return -1;
	}
	for (size_t k = 0; k < n; k++)
		if (!check_value(o, slice_str(cfg_opt_getnstr(opt, (unsigned)k)), &why)) {
			cfg_error(cfg, "%s: %s", o->name, why.text);
			return -1;
		}
	return 0;
}

/* At the end of a section. */
static int on_section(cfg_t *cfg, cfg_opt_t *opt)
{
	enum conf_section s = IN_SPOOL;

	while (s < SECTIONS && strcmp(conf_sections[s].name, cfg_opt_name(opt)))
		s++;
	if (s == SECTIONS)
		return 0;
	/* The library would forget the first one. */
	if (reading->section_seen[s] && !conf_sections[s].titled) {
		cfg_error(cfg, "section %s is given twice", conf_sections[s].name);
		return -1;
	}
	reading->section_seen[s] = true;
	for (size_t k = 0; k < conf_n_options; k++)
		if (conf_options[k].section == s)
			reading->seen[k] = reading->closed[k] = 0;
	return 0;
}

/* The library's option arrays, made from the table. Lists get their default in fill_list(): here it
 * would count as a value that was given. */
static cfg_opt_t *make_options(enum conf_section section, cfg_opt_t *at)
{
	for (size_t i = 0; i < conf_n_options; i++) {
		const struct conf_option *o = &conf_options[i];
		cfg_opt_t text = CFG_STR(o->name, o->standard, CFGF_NONE);
		cfg_opt_t list = CFG_STR_LIST(o->name, NULL, CFGF_NONE);

		if (o->section == section)
			*at++ = conf_is_list(o->type) ? list : text;
	}
	return at;
}

/* Behind the last line of the file. The library takes the end of a file for the end of every
 * section and comment that is still open: when this line does not count as what it is, the file is
 * cut. */
#define END "the-end-of-the-file"

static int on_end(cfg_t *cfg, cfg_opt_t *opt)
{
	(void)opt;
	reading->ended = cfg->line == reading->end_line;
	return 0;
}

static void set_validators(cfg_t *cfg)
{
	for (size_t i = 0; i < conf_n_options; i++) {
		const char *section = conf_sections[conf_options[i].section].name;
		char path[80];

		snprintf(path, sizeof path, "%s%s%s", section ? section : "", section ? "|" : "",
			 conf_options[i].name);
		cfg_set_validate_func(cfg, path, on_value);
	}
	for (enum conf_section s = IN_SPOOL; s < SECTIONS; s++)
		cfg_set_validate_func(cfg, conf_sections[s].name, on_section);
	cfg_set_validate_func(cfg, END, on_end);
}

static struct slice keep(struct arena *a, const struct conf_option *o, const char *value)
{
	char path[4096];

	if ((o->type == CONF_PATH || o->type == CONF_READABLE) && value[0] &&
	    absolute(slice_str(value), path, sizeof path))
		return arena_dup(a, slice_str(path));
	return arena_dup(a, slice_str(value));
}

/* The words of a default. */
static size_t split(struct arena *a, const char *standard, struct slice *at, size_t max)
{
	struct slice left = slice_str(standard), word;
	size_t n = 0;

	while (left.n && n < max) {
		slice_cut(left, ' ', &word, &left);
		at[n++] = arena_dup(a, word);
	}
	return n;
}

/* A list's default has its values with spaces between. "{}" is no default but a list of nothing. */
static void fill_list(struct arena *a, const struct conf_option *o, cfg_t *cfg, void *field)
{
	size_t n = cfg_size(cfg, o->name);
	bool standard = o->standard[0] && !(cfg_getopt(cfg, o->name)->flags & CFGF_MODIFIED);
	size_t max = standard ? strlen(o->standard) : n;
	struct slice *at = ARENA_ARRAY(a, struct slice, max + 1);
	struct conf_list list = { at, n };

	if (at && standard)
		list.n = split(a, o->standard, at, max);
	for (size_t i = 0; at && !standard && i < n; i++)
		at[i] = keep(a, o, cfg_getnstr(cfg, o->name, (unsigned)i));
	memcpy(field, &list, sizeof list);
}

static bool fill_one(struct arena *a, const struct conf_option *o, cfg_t *cfg, void *to,
		     struct err *e)
{
	void *field = (char *)to + o->at;

	if (conf_is_list(o->type)) {
		fill_list(a, o, cfg, field);
	} else if (o->type == CONF_UINT || o->type == CONF_SIZE || o->type == CONF_DURATION) {
		uint64_t v = 0;

		if (!conf_number(o->type, slice_str(cfg_getstr(cfg, o->name)), o->min, o->max, &v,
				 e))
			return false;
		memcpy(field, &v, sizeof v);
	} else {
		struct slice s = keep(a, o, cfg_getstr(cfg, o->name));

		memcpy(field, &s, sizeof s);
	}
	return a->failed ? err_set(e, ERR_LATER, "out of memory") : true;
}

static bool fill(struct arena *a, enum conf_section section, cfg_t *cfg, void *to, struct err *e)
{
	for (size_t i = 0; i < conf_n_options; i++)
		if (conf_options[i].section == section &&
		    !fill_one(a, &conf_options[i], cfg, to, e))
			return false;
	return true;
}

static bool complain(cfg_t *cfg, const char *text)
{
	cfg_error(cfg, "%s", text);
	return false;
}

/* About something that is not in the file. */
static bool missing(struct err *e, const char *text)
{
	return err_set(e, ERR_INPUT, "%s: %s", reading->opened, text);
}

static bool name_fits(cfg_t *sec)
{
	struct slice name = slice_str(cfg_title(sec));

	for (size_t i = 0; i < name.n; i++)
		if (!ascii_digit(name.p[i]) && !(name.p[i] >= 'a' && name.p[i] <= 'z') &&
		    name.p[i] != '-')
			name.n = 0;
	return (name.n && name.n <= 32) || complain(sec, "a name has 1 to 32 of a-z, 0-9 and -");
}

/* An address is opened once for each loop, and the kernel would let two listeners share it, too:
 * which of them a client reaches would be chance. */
static bool address_is_new(const struct conf_listener *at, size_t i, size_t a, cfg_t *sec)
{
	unsigned char mine[CONF_ADDRESS_BYTES], other[CONF_ADDRESS_BYTES];

	conf_address(at[i].address.at[a], mine, NULL);
	for (size_t k = 0; k <= i; k++)
		for (size_t b = 0; b < (k < i ? at[k].address.n : a); b++) {
			conf_address(at[k].address.at[b], other, NULL);
			if (memcmp(mine, other, sizeof mine))
				continue;
			cfg_error(sec, "listener: address %.*s is given twice",
				  SLICE_ARG(at[i].address.at[a]));
			return false;
		}
	return true;
}

static bool fill_listeners(struct holder *h, cfg_t *cfg, struct err *e)
{
	size_t n = cfg_size(cfg, "listener");
	struct conf_listener *at = ARENA_ARRAY(&h->arena, struct conf_listener, n ? n : 1);

	for (size_t i = 0; at && i < n; i++) {
		cfg_t *sec = cfg_getnsec(cfg, "listener", (unsigned)i);

		if (!name_fits(sec) || !fill(&h->arena, IN_LISTENER, sec, &at[i], e))
			return false;
		at[i].name = arena_dup(&h->arena, slice_str(cfg_title(sec)));
		if (!at[i].address.n)
			return complain(sec, "listener: address is missing");
		if (!at[i].mechanisms.n)
			return complain(sec, "listener: nobody can log in without mechanisms");
		for (size_t a = 0; a < at[i].address.n; a++)
			if (!address_is_new(at, i, a, sec))
				return false;
	}
	h->conf.listeners = at;
	h->conf.n_listeners = n;
	return n || missing(e, "no listener is configured");
}

static bool fill_routes(struct holder *h, cfg_t *cfg, struct err *e)
{
	size_t n = cfg_size(cfg, "route");
	struct conf_route *at = ARENA_ARRAY(&h->arena, struct conf_route, n ? n : 1);
	const char *why;

	for (size_t i = 0; at && i < n; i++) {
		cfg_t *sec = cfg_getnsec(cfg, "route", (unsigned)i);

		if (!name_fits(sec) || !fill(&h->arena, IN_ROUTE, sec, &at[i], e))
			return false;
		at[i].name = arena_dup(&h->arena, slice_str(cfg_title(sec)));
		why = conf_check_route(&at[i]);
		if (why)
			return complain(sec, why);
	}
	h->conf.routes = at;
	h->conf.n_routes = n;
	return true;
}

static bool fill_issuers(struct holder *h, cfg_t *cfg, struct err *e)
{
	size_t n = cfg_size(cfg, "issuer");
	struct conf_issuer *at = ARENA_ARRAY(&h->arena, struct conf_issuer, n ? n : 1);
	const char *why;

	for (size_t i = 0; at && i < n; i++) {
		cfg_t *sec = cfg_getnsec(cfg, "issuer", (unsigned)i);

		if (!name_fits(sec) || !fill(&h->arena, IN_ISSUER, sec, &at[i], e))
			return false;
		at[i].name = arena_dup(&h->arena, slice_str(cfg_title(sec)));
		why = conf_check_issuer(at, i);
		if (why)
			return complain(sec, why);
		if (i == ISSUERS_MAX)
			return complain(sec, "issuer: more than 8");
	}
	h->conf.issuers = at;
	h->conf.n_issuers = n;
	return true;
}

/* Whoever reaches it may read: for others than this machine that has to be asked for. */
static bool check_metrics(const struct conf *c, cfg_t *sec)
{
	unsigned char at[CONF_ADDRESS_BYTES];

	for (size_t i = 0; i < c->metrics.address.n && slice_eq(c->metrics.remote, S("no")); i++) {
		conf_address(c->metrics.address.at[i], at, NULL);
		if (!net_is_loopback(at))
			return complain(sec, "metrics: an address is not on loopback; set remote = "
					     "yes if that is meant");
	}
	return true;
}

static bool fill_all(struct holder *h, cfg_t *cfg, struct err *e)
{
	struct conf *c = &h->conf;

	for (enum conf_section s = IN_TOP; s < IN_LISTENER; s++)
		if (!fill(&h->arena, s,
			  conf_sections[s].name ? cfg_getsec(cfg, conf_sections[s].name) : cfg, c,
			  e))
			return false;
	if (!fill_listeners(h, cfg, e) || !fill_routes(h, cfg, e) || !fill_issuers(h, cfg, e))
		return false;
	if (!check_metrics(c, cfg_getsec(cfg, "metrics")))
		return false;
	if (c->tls.certificate.n != c->tls.key.n)
		return missing(e, "tls: as many keys as certificates are needed");
	if (!c->tls.certificate.n)
		return missing(e, "tls: a certificate is needed");
	if (c->spool.body_memory < c->limits.header_size)
		return missing(e, "spool: body_memory is smaller than limits.header_size");
	return true;
}

/* How many bytes the comment at s has, its line's end not counted; 0: there is none. "//" begins
 * one only where a word could begin: "http://" is one. */
static size_t comment_at(struct slice s, bool fresh)
{
	size_t n = 2;

	if (slice_starts(s, S("/*"))) {
		while (n < s.n && !slice_starts(slice_from(s, n), S("*/")))
			n++;
		return n < s.n ? n + 2 : s.n;
	}
	if (!slice_starts(s, S("#")) && !(fresh && slice_starts(s, S("//"))))
		return 0;
	for (n = 0; n < s.n && s.p[n] != '\n';)
		n++;
	return n;
}

/* Turns comments into spaces: the library counts the lines of comments wrong. They begin where a
 * word could begin; "a#b" and "http://" are words. One that has no end swallows END. */
static void blank_comments(struct buf *text)
{
	bool fresh = true;
	char quote = 0;

	for (size_t i = 0; i < text->n; i++) {
		char c = text->p[i];
		size_t n = quote ? 0 : comment_at(slice_from(buf_slice(text), i), fresh);

		for (size_t k = i; k < i + n; k++)
			if (text->p[k] != '\n')
				text->p[k] = ' ';
		if (n) {
			i += n - 1;
		} else if (quote) {
			i += c == '\\'; /* what is escaped does not end it */
			quote = c == quote ? 0 : quote;
		} else {
			fresh = memchr(" \t\r\n={}(),+\"'", c, 13);
			quote = fresh && (c == '"' || c == '\'') ? c : 0;
		}
	}
}

/* The whole file, NUL-terminated, with END; the library ends the process when it cannot read. */
static bool load(const char *path, struct buf *text, struct err *e)
{
	FILE *f = fopen(path, "re");
	char some[4096];
	size_t n;
	bool ok;

	errno = 0;
	while (f && (n = fread(some, 1, sizeof some, f)) > 0)
		buf_add(text, slice(some, n));
	ok = (f || !access(path, R_OK)) && !(f && ferror(f));
	if (!ok)
		err_set(e, ERR_INPUT, "%s: %s", path, strerror(errno));
	if (f)
		fclose(f);
	if (text->n && text->p[text->n - 1] != '\n')
		buf_addc(text, '\n');
	reading->end_line = 1;
	for (size_t i = 0; i < text->n; i++)
		reading->end_line += text->p[i] == '\n';
	buf_add(text, S(END " = 1\n"));
	blank_comments(text);
	buf_addc(text, '\0');
	if (ok && text->failed)
		return err_set(e, ERR_INPUT, "%s: more than %d bytes", path, FILE_MAX);
	return ok;
}

static bool parse(cfg_t *cfg, const char *path, struct err *e)
{
	struct buf text;
	bool loaded;
	int rc = CFG_PARSE_ERROR;

	buf_init(&text, FILE_MAX + 64);
	loaded = load(path, &text, e);
	if (loaded)
		rc = cfg_parse_buf(cfg, text.p);
	buf_done(&text);
	if (!loaded || (rc != CFG_SUCCESS && reading->error_line < reading->end_line && e->kind))
		return false;
	if (rc != CFG_SUCCESS || !reading->ended)
		return err_set(e, ERR_INPUT, "%s: it ends inside a section, a value or a comment",
			       path);
	return true;
}

static bool read_file(struct holder *h, const char *path, struct err *e)
{
	cfg_opt_t last[] = { CFG_STR(END, "", CFGF_NONE), CFG_END() };
	cfg_opt_t opts[SECTIONS][OPTIONS_MAX];
	cfg_opt_t *end = make_options(IN_TOP, opts[IN_TOP]);
	char where[4096];
	cfg_t *cfg;
	bool ok;

	for (enum conf_section s = IN_SPOOL; s < SECTIONS; s++) {
		cfg_opt_t plain = CFG_SEC(conf_sections[s].name, opts[s], CFGF_NONE);
		cfg_opt_t titled = CFG_SEC(conf_sections[s].name, opts[s],
					   CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);
		cfg_opt_t stop = CFG_END();

		*make_options(s, opts[s]) = stop;
		*end++ = conf_sections[s].titled ? titled : plain;
	}
	*end++ = last[0];
	*end = last[1];
	cfg = cfg_init(opts[IN_TOP], CFGF_NONE);
	if (!cfg)
		return err_set(e, ERR_LATER, "out of memory");
	cfg_set_error_function(cfg, on_error);
	set_validators(cfg);
	ok = parse(cfg, path, e);
	/* What stood before an error is there. */
	if (reading->socket &&
	    absolute(slice_str(cfg_getstr(cfg, "control_socket")), where, sizeof where))
		buf_add(reading->socket, slice_str(where));
	ok = ok && fill_all(h, cfg, e);
	cfg_free(cfg);
	return ok;
}

static const struct conf *read_conf(const char *path, struct buf *socket, struct err *e)
{
	struct reading now = { .e = e, .socket = socket };
	struct holder *h = calloc(1, sizeof *h);
	const char *slash = strrchr(path, '/');

	if (!h) {
		err_set(e, ERR_LATER, "out of memory");
		return NULL;
	}
	*e = (struct err){ 0 };
	atomic_init(&h->owners, 1);
	arena_init(&h->arena, ARENA_MAX);
	snprintf(now.opened, sizeof now.opened, "%s", path);
	now.dir = slice(path, slash ? (size_t)(slash - path) + 1 : 0);
	reading = &now;
	if (!read_file(h, path, e)) {
		conf_free(&h->conf);
		h = NULL;
	}
	reading = NULL;
	return h ? &h->conf : NULL;
}

const struct conf *conf_read(const char *path, struct err *e)
{
	return read_conf(path, NULL, e);
}

void conf_peek_socket(const char *path, struct buf *out)
{
	struct err ignored;

	conf_free(read_conf(path, out, &ignored));
}

/* The conf is the first member: what was handed out as const is ours to change and to free. */
static struct holder *holder_of(const struct conf *c)
{
	union {
		const struct conf *conf;
		struct holder *holder;
	} u = { .conf = c };

	return u.holder;
}

const struct conf *conf_hold(const struct conf *c)
{
	atomic_fetch_add(&holder_of(c)->owners, 1);
	return c;
}

void conf_free(const struct conf *c)
{
	struct holder *h = c ? holder_of(c) : NULL;

	if (!h || atomic_fetch_sub(&h->owners, 1) > 1)
		return;
	arena_done(&h->arena);
	free(h);
}
