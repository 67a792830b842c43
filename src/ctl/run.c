/* ctl/run.c -- the commands that ask the running server. */
#include "ctl/ctl.h"

#include "base/jsonout.h"
#include "base/secret.h"
#include "ctl/authlog.h"
#include "ctl/key.h"
#include "fetch/fetch.h"
#include "ops/conf.h"
#include "json/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/signet/signet.conf"
#define TIMEOUT_MS     30000
#define ANSWER_MAX     (64u << 20)

struct request {
	const char *method;
	struct slice command;
	struct buf path, body;
	struct json_out json;
	bool text;               /* the answer is printed as it comes */
	bool steps;              /* the answer is of one step: ask again until there is no more */
	uint64_t at;             /* where the next step begins */
	const struct err *wrong; /* what is wrong with the configuration, or NULL */
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

/* What becomes of queued mail, when that was said. */
static void say_queued(const struct ctl_args *a, struct request *r)
{
	if (!a->queued.n)
		return;
	json_open(&r->json);
	json_kstr(&r->json, "queued", a->queued);
	json_close(&r->json);
}

static bool account_hold(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "POST", "/control/accounts/", a->words[0], "/hold");
	say_queued(a, r);
	return true;
}

static bool account_release(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "POST", "/control/accounts/", a->words[0], "/release");
	return true;
}

static bool account_close(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "POST", "/control/accounts/", a->words[0], "/close");
	say_queued(a, r);
	return true;
}

static bool key_create(const struct ctl_args *a, struct request *r, struct err *e)
{
	uint64_t seconds = 0;

	if (!need_account(a, e))
		return false;
	if (a->expires.n && !slice_u64(a->expires, &seconds))
		return err_set(e, ERR_INPUT, "--expires needs a number of seconds");
	path(r, "POST", "/control/keys", S(""), "");
	return ctl_key_spec(a, seconds, &r->json, e);
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

static bool key_limit(const struct ctl_args *a, struct request *r, struct err *e)
{
	path(r, "POST", "/control/keys/", a->words[0], "/limit");
	return ctl_key_limits(a, &r->json, e);
}

static bool key_revoke(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "POST", "/control/keys/", a->words[0], "/revoke");
	say_queued(a, r);
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

static const struct filter_option {
	const char *name;
	size_t at;
} filter_options[] = {
	{ "account", offsetof(struct ctl_args, account) },
	{ "key", offsetof(struct ctl_args, key) },
	{ "domain", offsetof(struct ctl_args, dest) },
	{ "site", offsetof(struct ctl_args, site) },
	{ "older-than", offsetof(struct ctl_args, older) },
	{ "state", offsetof(struct ctl_args, state) },
};

#define FILTER_OPTIONS (sizeof filter_options / sizeof *filter_options)

static struct slice filter_value(const struct ctl_args *a, size_t i)
{
	return *(const struct slice *)(const void *)((const char *)a + filter_options[i].at);
}

static void filter_query(const struct ctl_args *a, struct request *r)
{
	for (size_t i = 0; i < FILTER_OPTIONS; i++)
		query(r, filter_options[i].name, filter_value(a, i));
}

static bool queue_list(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "GET", "/control/queue", S(""), "");
	filter_query(a, r);
	query(r, "limit", a->limit);
	query(r, "after", a->after);
	return true;
}

static bool queue_show(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "GET", "/control/queue/", a->words[0], "");
	return true;
}

static bool queue_why(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "GET", "/control/queue/", a->words[0], "/why");
	return true;
}

static bool queue_count(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "GET", "/control/queue/count", S(""), "");
	filter_query(a, r);
	return true;
}

/* Ids, or a filter; ask_in_steps() comes again with the place where the last step ended. */
static bool queue_act(const struct ctl_args *a, struct request *r, struct err *e)
{
	bool filtered = a->all;

	for (size_t i = 0; i < FILTER_OPTIONS; i++)
		filtered |= filter_value(a, i).n > 0;
	if (!filtered == !a->n_words)
		return err_set(e, ERR_INPUT,
			       filtered ? "ids or a filter, not both"
					: "ids, a filter or --all is needed");
	path(r, "POST", "/control/queue/", slice_from(r->command, sizeof "queue"), "");
	r->steps = true;
	json_open(&r->json);
	if (a->n_words) {
		json_key(&r->json, "ids");
		json_open_list(&r->json);
		for (size_t i = 0; i < a->n_words; i++)
			json_str(&r->json, a->words[i]);
		json_close_list(&r->json);
	}
	for (size_t i = 0; i < FILTER_OPTIONS; i++)
		if (filter_value(a, i).n)
			json_kstr(&r->json, filter_options[i].name, filter_value(a, i));
	if (a->all)
		json_kbool(&r->json, "all", true);
	json_knum(&r->json, "at", r->at);
	json_close(&r->json);
	return true;
}

static bool message_show(const struct ctl_args *a, struct request *r, struct err *e)
{
	(void)e;
	path(r, "GET", "/control/messages/", a->words[0], "");
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
	{ { "account hold", 12 }, account_hold },
	{ { "account release", 15 }, account_release },
	{ { "account close", 13 }, account_close },
	{ { "key create", 10 }, key_create },
	{ { "key list", 8 }, key_list },
	{ { "key show", 8 }, key_show },
	{ { "key limit", 9 }, key_limit },
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
	{ { "queue why", 9 }, queue_why },
	{ { "queue retry", 11 }, queue_act },
	{ { "queue hold", 10 }, queue_act },
	{ { "queue release", 13 }, queue_act },
	{ { "queue cancel", 12 }, queue_act },
	{ { "message show", 12 }, message_show },
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

int ctl_refused(const struct json *j)
{
	struct slice text = S("the server's answer cannot be read"), kind = S("");
	enum err_kind k = ERR_BUG;

	(void)json_as_text(json_get(json_get(j, "error"), "message"), &text);
	(void)json_as_text(json_get(json_get(j, "error"), "kind"), &kind);
	for (enum err_kind i = ERR_BUG; i <= ERR_DAMAGED; i++)
		if (slice_eq(kind, slice_str(err_kind_name(i))))
			k = i;
	fprintf(stderr, "signet: %.*s\n", SLICE_ARG(text));
	return ctl_exit_code(k);
}

static int answer(const struct ctl_args *a, unsigned status_code, struct slice body)
{
	struct err e = { 0 };
	struct json *j = json_read(body, &e);
	int rc;

	if (status_code < 300 && j) {
		if (a->json)
			printf("%.*s\n", SLICE_ARG(body));
		else
			print_object(j);
		json_free(j);
		return EXIT_DONE;
	}
	rc = ctl_refused(j);
	json_free(j);
	return rc;
}

/* EXIT_DONE: there is an answer. */
static int reach(const struct request *r, struct slice socket, unsigned *ret_code,
		 struct buf *ret_body)
{
	struct fetch_request f = { .method = r->method,
				   .unix_socket = socket,
				   .path = buf_slice(&r->path),
				   .body = buf_slice(&r->body),
				   .timeout_ms = TIMEOUT_MS,
				   .body_max = ANSWER_MAX };
	struct err e = { 0 };

	if (fetch_request(&f, ret_code, ret_body, &e))
		return EXIT_DONE;
	buf_done(ret_body);
	if (r->wrong)
		return complain(EXIT_CONFIG, r->wrong->text);
	fprintf(stderr, "signet: %s; is the server running?\n", e.text);
	return EXIT_UNREACHED;
}

static int ask(const struct ctl_args *a, const struct request *r, struct slice socket)
{
	struct buf body;
	unsigned code;
	int rc = reach(r, socket, &code, &body);

	if (rc != EXIT_DONE)
		return rc;
	if (r->text && code == 200) {
		fwrite(body.p, 1, body.n, stdout);
		rc = EXIT_DONE;
	} else {
		rc = answer(a, code, buf_slice(&body));
	}
	buf_wipe(&body);
	return rc;
}

/* What all steps together came to. */
struct total {
	uint64_t messages, deliveries, under_way;
};

/* One step. -1: there are more. */
static int step(struct request *r, struct slice socket, struct total *t)
{
	static const char *const names[] = { "messages", "deliveries", "under_way" };
	uint64_t *const sums[] = { &t->messages, &t->deliveries, &t->under_way };
	struct err e = { 0 };
	struct json *j;
	struct buf body;
	unsigned code;
	int rc = reach(r, socket, &code, &body);

	if (rc != EXIT_DONE)
		return rc;
	j = json_read(buf_slice(&body), &e);
	if (code >= 300 || !j)
		rc = ctl_refused(j);
	for (size_t i = 0; rc == EXIT_DONE && i < 3; i++) {
		uint64_t n = 0;

		(void)json_as_number(json_get(j, names[i]), &n);
		*sums[i] += n;
	}
	if (rc == EXIT_DONE && json_as_true(json_get(j, "more")) &&
	    json_as_number(json_get(j, "at"), &r->at))
		rc = -1;
	json_free(j);
	buf_wipe(&body);
	return rc;
}

static int show_total(const struct ctl_args *a, const struct total *t)
{
	printf(a->json ? "{\"messages\":%llu,\"deliveries\":%llu,\"under_way\":%llu}\n"
		       : "%llu messages, %llu deliveries; %llu under way, left as they are\n",
	       (unsigned long long)t->messages, (unsigned long long)t->deliveries,
	       (unsigned long long)t->under_way);
	return t->under_way ? EXIT_RETRY : EXIT_DONE;
}

typedef bool make_fn(const struct ctl_args *, struct request *, struct err *);

/* So that nobody waits long for a million messages. What was done before a failure stays. */
static int ask_in_steps(const struct ctl_args *a, make_fn *make, struct request *r,
			struct slice socket)
{
	struct total t = { 0 };
	struct err e = { 0 };
	int rc;

	while ((rc = step(r, socket, &t)) < 0) {
		buf_clear(&r->path);
		buf_clear(&r->body);
		json_begin(&r->json, &r->body);
		(void)make(a, r, &e);
	}
	return rc == EXIT_DONE ? show_total(a, &t) : rc;
}

int ctl_run(struct slice command, const struct ctl_args *a)
{
	const char *config = a->config.n ? a->config.p : DEFAULT_CONFIG;
	const struct conf *conf = NULL;
	struct request r = { .method = "GET", .command = command };
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
		r.wrong = wrong.kind == ERR_NONE ? NULL : &wrong;
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
			else if (r.steps)
				rc = ask_in_steps(a, callers[i].make, &r, buf_slice(&socket));
			else
				rc = ask(a, &r, buf_slice(&socket));
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
