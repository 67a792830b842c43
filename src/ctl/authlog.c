/* ctl/authlog.c -- signet authlog: rows of the authentication log, and those to come. */
#include "ctl/ctl.h"

#include "ctl/authlog.h"
#include "fetch/fetch.h"
#include "json/json.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MS 30000
#define ANSWER_MAX (16u << 20)
#define PAGE       "1000"
#define FOLLOW_S   1

bool ctl_span(struct slice text, uint64_t *ret)
{
	uint64_t times = 1;
	char unit = text.n ? text.p[text.n - 1] : '0';

	switch (unit) {
	case 's': break;
	case 'm': times = 60; break;
	case 'h': times = 3600; break;
	case 'd': times = 86400; break;
	default: unit = '\0';
	}
	if (unit)
		text.n--;
	return slice_u64(text, ret) && *ret <= UINT32_MAX && (*ret *= times, true);
}

static void query(struct buf *out, const char *name, struct slice value)
{
	static const char hex[] = "0123456789ABCDEF";

	if (!value.n)
		return;
	buf_addc(out, memchr(out->p, '?', out->n) ? '&' : '?');
	buf_add(out, slice_str(name));
	buf_addc(out, '=');
	for (size_t i = 0; i < value.n; i++) {
		unsigned char c = (unsigned char)value.p[i];

		if (ascii_alpha((char)c) || ascii_digit((char)c) || c == '-' || c == '.')
			buf_addc(out, (char)c);
		else
			buf_addf(out, "%%%c%c", hex[c >> 4], hex[c & 15]);
	}
}

static struct slice text_of(const struct json *row, const char *name)
{
	struct slice s = S("");

	(void)json_as_text(json_get(row, name), &s);
	return s;
}

static uint64_t number_of(const struct json *row, const char *name)
{
	uint64_t n = 0;

	(void)json_as_number(json_get(row, name), &n);
	return n;
}

/* The server has escaped what strangers sent; this is for whatever else may have come. */
static void print_text(const char *name, struct slice s)
{
	if (!s.n)
		return;
	printf(" %s=", name);
	for (size_t i = 0; i < s.n; i++)
		putchar((unsigned char)s.p[i] <= 0x20 || s.p[i] == 0x7f ? '?' : s.p[i]);
}

static void print_row(const struct json *row)
{
	uint64_t count = number_of(row, "count");

	printf("%.*s", SLICE_ARG(text_of(row, "time")));
	print_text("result", text_of(row, "result"));
	print_text("reason", text_of(row, "reason"));
	if (count > 1)
		printf(" count=%llu", (unsigned long long)count);
	print_text("address", text_of(row, "address"));
	print_text("identity", text_of(row, "identity"));
	print_text("key", text_of(row, "key"));
	if (number_of(row, "account"))
		printf(" account=%llu", (unsigned long long)number_of(row, "account"));
	print_text("mechanism", text_of(row, "mechanism"));
	print_text("door", text_of(row, "door"));
	print_text("tls", text_of(row, "tls"));
	print_text("name", text_of(row, "name"));
	putchar('\n');
}

struct page {
	char next[64];
	bool more;
	size_t n;
};

/* One call, its rows printed. */
static int page(const struct ctl_args *a, struct slice socket, struct slice path, struct page *p)
{
	struct fetch_request f = { .method = "GET",
				   .unix_socket = socket,
				   .path = path,
				   .timeout_ms = TIMEOUT_MS,
				   .body_max = ANSWER_MAX };
	const struct json *rows = NULL;
	struct slice next = S("");
	struct err e = { 0 };
	struct json *j;
	struct buf body;
	unsigned code;
	int rc = EXIT_DONE;

	if (!fetch_request(&f, &code, &body, &e)) {
		buf_done(&body);
		fprintf(stderr, "signet: %s; is the server running?\n", e.text);
		return EXIT_UNREACHED;
	}
	j = json_read(buf_slice(&body), &e);
	if (code != 200 || !j || !json_want_list(j, "entries", true, &rows, &e)) {
		rc = ctl_refused(code != 200 ? j : NULL);
	} else {
		p->n = json_length(rows);
		p->more = json_as_true(json_get(j, "more"));
		(void)json_as_text(json_get(j, "next"), &next);
		snprintf(p->next, sizeof p->next, "%.*s", SLICE_ARG(next));
		if (a->json && (p->n || !a->follow))
			printf("%.*s\n", SLICE_ARG(buf_slice(&body)));
		for (size_t i = 0; !a->json && i < p->n; i++)
			print_row(json_at(rows, i));
		fflush(stdout);
	}
	json_free(j);
	buf_done(&body);
	return rc;
}

static void make_path(const struct ctl_args *a, uint64_t since_ms, const struct page *p,
		      struct buf *out)
{
	char number[24];

	buf_clear(out);
	buf_add(out, S("/control/authlog"));
	snprintf(number, sizeof number, "%llu", (unsigned long long)since_ms);
	query(out, "since", slice_str(number));
	query(out, "after", slice_str(p->next));
	query(out, "limit", a->limit.n ? a->limit : S(PAGE));
	query(out, "account", a->account);
	query(out, "address", a->address);
	query(out, "identity", a->identity);
	query(out, "key", a->key);
	query(out, "result", a->result);
	query(out, "reason", a->reason);
}

int ctl_authlog(const struct ctl_args *a, struct slice socket)
{
	uint64_t since_s = 86400, now_s = (uint64_t)time(NULL);
	struct page p = { .more = true };
	struct buf path;
	int rc = EXIT_DONE;

	if (a->since.n && !ctl_span(a->since, &since_s)) {
		fprintf(stderr, "signet: --since needs a time like 90s, 15m, 6h or 30d\n");
		return EXIT_USAGE;
	}
	buf_init(&path, 8192);
	/* To the end of what is there (or one page, when so many rows were asked for), then on. */
	while (rc == EXIT_DONE && (p.more || a->follow)) {
		if (!p.more)
			sleep(FOLLOW_S);
		make_path(a, since_s < now_s ? (now_s - since_s) * 1000 : 0, &p, &path);
		if (path.failed) {
			fprintf(stderr, "signet: the arguments are too long\n");
			rc = EXIT_USAGE;
			break;
		}
		rc = page(a, socket, buf_slice(&path), &p);
		if (a->limit.n && !a->follow)
			break;
		if (ferror(stdout))
			break;
	}
	buf_done(&path);
	return rc;
}
