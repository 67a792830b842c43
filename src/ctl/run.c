/* ctl/run.c -- the commands that ask the running server. */
#include "ctl/ctl.h"

#include "base/jsonout.h"
#include "base/secret.h"
#include "ctl/authlog.h"
#include "fetch/fetch.h"
#include "http/json.h"
#include "ops/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/signet/signet.conf"
#define TIMEOUT_MS     30000
#define ANSWER_MAX     (64u << 20)

struct request {
	const char *method;
	struct buf path, body;
	struct json_out json;
	bool text; /* the answer is printed as it comes */
};

static int complain(int code, const char *text)
{
	fprintf(stderr, "signet: %s\n", text);
	return code;
}

/* -- paths -- */

static void add_encoded(struct buf *out, struct slice s)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		char three[3] = { '%', hex[c >> 4], hex[c & 15] };

		if (ascii_alpha((char)c) || ascii_digit((char)c) || c == '-' || c == '_' ||
		    c == '.')
			buf_addc(out, (char)c);
		else
			buf_add(out, slice(three, 3));
	}
}

static void path(struct request *r, const char *method, const char *front, struct slice arg,
		 const char *back)
{
	r->method = method;
	buf_add(&r->path, slice_str(front));
	add_encoded(&r->path, arg);
	buf_add(&r->path, slice_str(back));
}

static void query(struct request *r, const char *name, struct slice value)
{
	if (!value.n)
		return;
	buf_addc(&r->path, r->path.n && memchr(r->path.p, '?', r->path.n) ? '&' : '?');
	buf_add(&r->path, slice_str(name));
	buf_addc(&r->path, '=');
	add_encoded(&r->path, value);
}

/* -- the commands -- */

static bool need_account(const struct ctl_args *a, struct err *e)
{
	return a->account.n || err_set(e, ERR_INPUT, "--account NAME is needed");
}

static bool reload(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)a, (void)e;
	path(r, "POST", "/control/reload", S(""), "");
	return true;
}

static bool account_add(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "POST", "/control/accounts", S(""), "");
	json_open(&r->json);
	json_kstr(&r->json, "name", a->words[0]);
	json_close(&r->json);
	return true;
}

static bool account_list(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)a, (void)e;
	path(r, "GET", "/control/accounts", S(""), "");
	return true;
}

static bool account_suspend(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "POST", "/control/accounts/", a->words[0], "/suspend");
	return true;
}

static bool account_resume(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "POST", "/control/accounts/", a->words[0], "/resume");
	return true;
}

/* A key that exists elsewhere comes by standard input: the command line is for all to see. */
static bool read_import(struct json_out *j, struct err *e)
{
	char line[256];
	bool ok = fgets(line, sizeof line, stdin);

	if (ok) {
		line[strcspn(line, "\r\n")] = '\0';
		json_kstr(j, "import", slice_str(line));
	}
	explicit_bzero(line, sizeof line);
	return ok || err_set(e, ERR_INPUT, "no key on standard input");
}

static bool key_create(const struct ctl_args *a, struct request *r, struct err *e)
{
	uint64_t seconds = 0;

	if (!need_account(a, e))
		return false;
	if (a->expires.n && !slice_u64(a->expires, &seconds))
		return err_set(e, ERR_INPUT, "--expires needs a number of seconds");
	path(r, "POST", "/control/keys", S(""), "");
	json_open(&r->json);
	json_kstr(&r->json, "account", a->account);
	if (a->name.n)
		json_kstr(&r->json, "name", a->name);
	if (seconds)
		json_knum(&r->json, "expires", seconds);
	json_key(&r->json, "scopes");
	json_open_list(&r->json);
	for (size_t i = 0; i < a->n_scopes; i++)
		json_str(&r->json, a->scopes[i]);
	json_close_list(&r->json);
	if (a->import_key && !read_import(&r->json, e))
		return false;
	json_close(&r->json);
	return true;
}

static bool key_list(const struct ctl_args *a, struct request *r, struct err *e)
{
	path(r, "GET", "/control/keys", S(""), "");
	query(r, "account", a->account);
	return need_account(a, e);
}

static bool key_show(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "GET", "/control/keys/", a->words[0], "");
	return true;
}

static bool key_revoke(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "POST", "/control/keys/", a->words[0], "/revoke");
	return true;
}

static bool domain_add(const struct ctl_args *a, struct request *r, struct err *e)
{
	if (!need_account(a, e))
		return false;
	path(r, "POST", "/control/domains", S(""), "");
	json_open(&r->json);
	json_kstr(&r->json, "account", a->account);
	json_kstr(&r->json, "name", a->words[0]);
	json_kbool(&r->json, "verified", a->verified);
	json_kbool(&r->json, "subdomains", a->subdomains);
	json_close(&r->json);
	return true;
}

static bool domain_list(const struct ctl_args *a, struct request *r, struct err *e)
{
	path(r, "GET", "/control/domains", S(""), "");
	query(r, "account", a->account);
	return need_account(a, e);
}

static bool domain_remove(const struct ctl_args *a, struct request *r, struct err *e)
{
	path(r, "DELETE", "/control/domains/", a->words[0], "");
	query(r, "account", a->account);
	return need_account(a, e);
}

static bool ban_list(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)a, (void)e;
	path(r, "GET", "/control/bans", S(""), "");
	return true;
}

static bool ban_add(const struct ctl_args *a, struct request *r, struct err *e)
{
	uint64_t seconds = 0;

	if (a->seconds.n && (!ctl_span(a->seconds, &seconds) || !seconds))
		return err_set(e, ERR_INPUT, "--for needs a time like 90s, 15m, 6h or 30d");
	path(r, "POST", "/control/bans", S(""), "");
	json_open(&r->json);
	json_kstr(&r->json, "network", a->words[0]);
	if (seconds)
		json_knum(&r->json, "seconds", seconds);
	if (a->reason.n)
		json_kstr(&r->json, "reason", a->reason);
	json_close(&r->json);
	return true;
}

static bool ban_lift(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "DELETE", "/control/bans/", a->words[0], "");
	return true;
}

static bool queue_list(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "GET", "/control/queue", S(""), "");
	query(r, "state", a->state);
	query(r, "account", a->account);
	query(r, "destination", a->dest);
	query(r, "limit", a->limit);
	return true;
}

static bool queue_show(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "GET", "/control/queue/", a->words[0], "");
	return true;
}

static bool queue_count(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)a, (void)e;
	path(r, "GET", "/control/queue/count", S(""), "");
	return true;
}

static bool queue_damaged(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)a, (void)e;
	path(r, "GET", "/control/queue/damaged", S(""), "");
	return true;
}

static bool status(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)a, (void)e;
	path(r, "GET", "/control/status", S(""), "");
	return true;
}

static bool health(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)a, (void)e;
	path(r, "GET", "/healthz", S(""), "");
	return true;
}

static bool metrics(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)a, (void)e;
	path(r, "GET", "/metrics", S(""), "");
	r->text = true;
	return true;
}

static const struct caller {
	struct slice name;
	bool (*make)(const struct ctl_args *, struct request *, struct err *);
} callers[] = {
	{ { "account add", 11 }, account_add },
	{ { "account list", 12 }, account_list },
	{ { "account suspend", 15 }, account_suspend },
	{ { "account resume", 14 }, account_resume },
	{ { "key create", 10 }, key_create },
	{ { "key list", 8 }, key_list },
	{ { "key show", 8 }, key_show },
	{ { "key revoke", 10 }, key_revoke },
	{ { "domain add", 10 }, domain_add },
	{ { "domain list", 11 }, domain_list },
	{ { "domain remove", 13 }, domain_remove },
	{ { "ban list", 8 }, ban_list },
	{ { "ban add", 7 }, ban_add },
	{ { "ban lift", 8 }, ban_lift },
	{ { "queue list", 10 }, queue_list },
	{ { "queue show", 10 }, queue_show },
	{ { "queue count", 11 }, queue_count },
	{ { "queue damaged", 13 }, queue_damaged },
	{ { "status", 6 }, status },
	{ { "health", 6 }, health },
	{ { "metrics", 7 }, metrics },
	{ { "reload", 6 }, reload },
};

/* -- printing -- */

static void print_value(const struct json *v)
{
	struct slice text;
	uint64_t number;

	if (json_as_text(v, &text)) {
		/* What a remote server said may stand here: no control byte reaches the terminal.
		 */
		for (size_t i = 0; i < text.n; i++)
			putchar((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f ? '?'
										     : text.p[i]);
		if (!text.n)
			putchar('-');
	} else if (json_as_number(v, &number)) {
		printf("%llu", (unsigned long long)number);
	} else {
		printf("%s", json_as_true(v) ? "yes" : "-");
	}
}

static size_t width_of(const struct json *v)
{
	struct slice text;
	uint64_t number;
	char room[24];

	if (json_as_text(v, &text))
		return text.n ? text.n : 1;
	if (json_as_number(v, &number))
		return (size_t)snprintf(room, sizeof room, "%llu", (unsigned long long)number);
	return json_as_true(v) ? 3 : 1;
}

#define COLUMNS 16

/* Rows that have the same members: those are the columns. */
static void print_table(const struct json *rows)
{
	struct slice names[COLUMNS], name;
	size_t width[COLUMNS], n = 0;
	const struct json *v;
	void *it = NULL;

	if (!json_length(rows)) {
		printf("(none)\n");
		return;
	}
	while (n < COLUMNS && json_each(json_at(rows, 0), &it, &name, &v)) {
		names[n] = name;
		width[n++] = name.n;
	}
	for (size_t i = 0; i < json_length(rows); i++)
		for (size_t c = 0; c < n; c++) {
			size_t w = width_of(json_get(json_at(rows, i), names[c].p));

			width[c] = w > width[c] ? w : width[c];
		}
	for (size_t c = 0; c < n; c++)
		printf("%-*.*s", c + 1 < n ? (int)width[c] + 2 : 0, SLICE_ARG(names[c]));
	putchar('\n');
	for (size_t i = 0; i < json_length(rows); i++) {
		for (size_t c = 0; c < n; c++) {
			const struct json *cell = json_get(json_at(rows, i), names[c].p);

			print_value(cell);
			if (c + 1 < n)
				printf("%*s", (int)(width[c] - width_of(cell)) + 2, "");
		}
		putchar('\n');
	}
}

static void print_object(const struct json *object)
{
	struct slice name;
	const struct json *v;
	void *it = NULL;

	while (json_each(object, &it, &name, &v)) {
		const struct json *list;

		if (json_want_list(object, name.p, true, &list, NULL)) {
			if (json_length(list))
				putchar('\n');
			print_table(list);
			continue;
		}
		printf("%-20.*s ", SLICE_ARG(name));
		print_value(v);
		putchar('\n');
	}
}

static int answer(const struct ctl_args *a, unsigned status_code, struct slice body)
{
	struct err e = { 0 };
	struct json *j = json_read(body, &e);
	struct slice text = S("the server's answer cannot be read"), kind = S("");
	enum err_kind k = ERR_BUG;

	if (status_code < 300 && j) {
		if (a->json)
			printf("%.*s\n", SLICE_ARG(body));
		else
			print_object(j);
		json_free(j);
		return EXIT_DONE;
	}
	if (j) {
		(void)json_as_text(json_get(json_get(j, "error"), "message"), &text);
		(void)json_as_text(json_get(json_get(j, "error"), "kind"), &kind);
	}
	for (enum err_kind i = ERR_BUG; i <= ERR_DAMAGED; i++)
		if (slice_eq(kind, slice_str(err_kind_name(i))))
			k = i;
	fprintf(stderr, "signet: %.*s\n", SLICE_ARG(text));
	json_free(j);
	return ctl_exit_code(k);
}

/* wrong: what is wrong with the configuration, or NULL. */
static int ask(const struct ctl_args *a, const struct request *r, struct slice socket,
	       const struct err *wrong)
{
	struct fetch_request f = { .method = r->method,
				   .unix_socket = socket,
				   .path = buf_slice(&r->path),
				   .body = buf_slice(&r->body),
				   .timeout_ms = TIMEOUT_MS,
				   .body_max = ANSWER_MAX };
	struct buf body;
	struct err e = { 0 };
	unsigned code;
	int rc;

	if (!fetch_request(&f, &code, &body, &e)) {
		buf_done(&body);
		if (wrong)
			return complain(EXIT_CONFIG, wrong->text);
		fprintf(stderr, "signet: %s; is the server running?\n", e.text);
		return EXIT_UNREACHED;
	}
	if (r->text && code == 200) {
		fwrite(body.p, 1, body.n, stdout);
		rc = EXIT_DONE;
	} else {
		rc = answer(a, code, buf_slice(&body));
	}
	buf_wipe(&body);
	return rc;
}

int ctl_run(struct slice command, const struct ctl_args *a)
{
	const char *config = a->config.n ? a->config.p : DEFAULT_CONFIG;
	const struct conf *conf = NULL;
	struct request r = { .method = "GET" };
	struct err e = { 0 }, wrong = { 0 };
	struct buf socket;
	int rc = EXIT_USAGE;

	buf_init(&r.path, 8192);
	buf_init(&r.body, 65536);
	buf_init(&socket, 4096);
	json_begin(&r.json, &r.body);
	buf_add(&socket, a->socket);
	if (!a->socket.n) {
		conf = conf_read(config, &wrong);
		/* The server that runs may be asked all the same. */
		conf_peek_socket(config, &socket);
	}
	if (slice_eq(command, S("authlog")))
		rc = ctl_authlog(a, a->socket.n ? a->socket : conf->control_socket);
	for (size_t i = 0; i < sizeof callers / sizeof *callers; i++)
		if (slice_eq(callers[i].name, command)) {
			if (!callers[i].make(a, &r, &e))
				rc = complain(EXIT_USAGE, e.text);
			else if (r.path.failed || r.body.failed)
				rc = complain(EXIT_USAGE, "the arguments are too long");
			else
				rc = ask(a, &r, buf_slice(&socket), wrong.kind ? &wrong : NULL);
		}
	/* What was loaded is the matter, not what was sent. */
	if (slice_eq(command, S("reload")) && (rc == EXIT_INPUT || rc == EXIT_REFUSED))
		rc = EXIT_CONFIG;
	buf_done(&r.path);
	buf_wipe(&r.body);
	buf_done(&socket);
	conf_free(conf);
	return rc;
}
