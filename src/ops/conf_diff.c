/* ops/conf_diff.c -- two configurations side by side. */
#include "ops/conf_impl.h"

static bool same_list(const void *a, const void *b)
{
	struct conf_list x, y;

	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	if (x.n != y.n)
		return false;
	for (size_t i = 0; i < x.n; i++)
		if (!slice_eq(x.at[i], y.at[i]))
			return false;
	return true;
}

static bool same_value(const struct conf_option *o, const void *in_a, const void *in_b)
{
	const void *a = (const char *)in_a + o->at, *b = (const char *)in_b + o->at;
	struct slice x, y;

	if (conf_is_list(o->type))
		return same_list(a, b);
	if (o->type == CONF_UINT || o->type == CONF_SIZE || o->type == CONF_DURATION)
		return !memcmp(a, b, sizeof(uint64_t));
	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return slice_eq(x, y);
}

bool conf_route_same(const struct conf_route *a, const struct conf_route *b)
{
	for (size_t i = 0; i < conf_n_options; i++)
		if (conf_options[i].section == IN_ROUTE && !same_value(&conf_options[i], a, b))
			return false;
	return slice_eq(a->name, b->name);
}

bool conf_issuer_same(const struct conf_issuer *a, const struct conf_issuer *b)
{
	for (size_t i = 0; i < conf_n_options; i++)
		if (conf_options[i].section == IN_ISSUER && !same_value(&conf_options[i], a, b))
			return false;
	return slice_eq(a->name, b->name);
}

void conf_waiting(const struct conf *running, const struct conf *now, struct buf *out)
{
	for (size_t i = 0; i < conf_n_options; i++) {
		const struct conf_option *o = &conf_options[i];
		const char *section = conf_sections[o->section].name;

		if (!o->restart || same_value(o, running, now))
			continue;
		buf_addf(out, "%s%s%s%s", out->n ? ", " : "", section ? section : "",
			 section ? "." : "", o->name);
	}
}
