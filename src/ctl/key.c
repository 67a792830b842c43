/* ctl/key.c -- see key.h. */
#include "ctl/key.h"

#include <stdio.h>

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

static void add_texts(struct json_out *j, const char *key, const struct slice *at, size_t n)
{
	json_key(j, key);
	json_open_list(j);
	for (size_t i = 0; i < n; i++)
		json_str(j, at[i]);
	json_close_list(j);
}

/* "any" is none at all. */
static void add_list(struct json_out *j, const char *key, struct slice left)
{
	struct slice one;

	if (slice_eq(left, S("any")))
		left = S("");
	json_key(j, key);
	json_open_list(j);
	while (left.n) {
		slice_cut(left, ',', &one, &left);
		json_str(j, one);
	}
	json_close_list(j);
}

/* An empty value is a variable that was not set, and no limit would come of it. */
static bool limits_ok(const struct ctl_args *a, struct err *e)
{
	const char *empty = a->networks.p && !a->networks.n       ? "networks"
			    : a->mechanisms.p && !a->mechanisms.n ? "mechanisms"
								  : NULL;

	return !empty || err_set(e, ERR_INPUT, "--%s is empty; say any for no limit", empty);
}

bool ctl_key_limits(const struct ctl_args *a, struct json_out *j, struct err *e)
{
	if (!limits_ok(a, e))
		return false;
	if (!a->mechanisms.n && !a->networks.n)
		return err_set(e, ERR_INPUT, "key limit needs --networks or --mechanisms");
	json_open(j);
	if (a->mechanisms.n)
		add_list(j, "mechanisms", a->mechanisms);
	if (a->networks.n)
		add_list(j, "networks", a->networks);
	json_close(j);
	return true;
}

/* How it may log in. */
static void add_means(const struct ctl_args *a, struct json_out *j)
{
	json_kbool(j, "cram_md5", a->cram_md5);
	add_list(j, "mechanisms", a->mechanisms);
	add_list(j, "networks", a->networks);
	add_texts(j, "certificates", a->certificates, a->n_certificates);
	add_texts(j, "tokens", a->tokens, a->n_tokens);
}

bool ctl_key_spec(const struct ctl_args *a, uint64_t seconds, struct json_out *j, struct err *e)
{
	if (!limits_ok(a, e))
		return false;
	json_open(j);
	json_kstr(j, "account", a->account);
	if (a->name.n)
		json_kstr(j, "name", a->name);
	if (seconds)
		json_knum(j, "expires", seconds);
	add_texts(j, "scopes", a->scopes, a->n_scopes);
	add_means(a, j);
	if (a->import_key && !read_import(j, e))
		return false;
	json_close(j);
	return true;
}
