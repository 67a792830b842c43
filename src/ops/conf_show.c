/* ops/conf_show.c -- the configuration as text again. */
#include "ops/conf_impl.h"

static void add_quoted(struct buf *out, struct slice s)
{
	buf_addc(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		/* "${NAME}" would be taken from the environment. */
		if (s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '$')
			buf_addc(out, '\\');
		buf_addc(out, s.p[i]);
	}
	buf_addc(out, '"');
}

static void add_value(struct buf *out, const struct conf_option *o, const void *from)
{
	const void *field = (const char *)from + o->at;
	struct conf_list list;
	struct slice text;
	uint64_t number;

	switch (o->type) {
	case CONF_STRINGS:
	case CONF_ADDRESSES:
	case CONF_NETWORKS:
	case CONF_READABLE:
		memcpy(&list, field, sizeof list);
		buf_addc(out, '{');
		for (size_t i = 0; i < list.n; i++) {
			buf_add(out, i ? S(", ") : S(""));
			add_quoted(out, list.at[i]);
		}
		buf_addc(out, '}');
		return;
	case CONF_UINT:
	case CONF_SIZE:
	case CONF_DURATION:
		memcpy(&number, field, sizeof number);
		buf_addu(out, number);
		buf_add(out, o->type == CONF_DURATION ? S("ms") : S(""));
		return;
	case CONF_STRING:
	case CONF_PATH:
	case CONF_CHOICE:
		memcpy(&text, field, sizeof text);
		add_quoted(out, text);
		return;
	}
}

static void add_section(struct buf *out, enum conf_section s, struct slice title, const void *from)
{
	const struct conf_section_info *info = &conf_sections[s];

	if (info->name) {
		buf_addf(out, "\n%s ", info->name);
		if (info->titled)
			add_quoted(out, title);
		buf_add(out, info->titled ? S(" {\n") : S("{\n"));
	}
	for (size_t i = 0; i < conf_n_options; i++) {
		if (conf_options[i].section != s)
			continue;
		buf_addf(out, "%s%s = ", info->name ? "\t" : "", conf_options[i].name);
		add_value(out, &conf_options[i], from);
		buf_addc(out, '\n');
	}
	if (info->name)
		buf_add(out, S("}\n"));
}

void conf_dump(const struct conf *c, struct buf *out)
{
	for (enum conf_section s = IN_TOP; s < IN_LISTENER; s++)
		add_section(out, s, S(""), c);
	for (size_t i = 0; i < c->n_listeners; i++)
		add_section(out, IN_LISTENER, c->listeners[i].name, &c->listeners[i]);
	for (size_t i = 0; i < c->n_routes; i++)
		add_section(out, IN_ROUTE, c->routes[i].name, &c->routes[i]);
	for (size_t i = 0; i < c->n_issuers; i++)
		add_section(out, IN_ISSUER, c->issuers[i].name, &c->issuers[i]);
}

const char *conf_type_name(const struct conf_option *o)
{
	switch (o->type) {
	case CONF_STRING: return "text";
	case CONF_PATH: return "path";
	case CONF_CHOICE: return o->choices;
	case CONF_UINT: return "number";
	case CONF_SIZE: return "size";
	case CONF_DURATION: return "duration";
	case CONF_STRINGS: return "list";
	case CONF_ADDRESSES: return "list of addresses";
	case CONF_NETWORKS: return "list of networks";
	case CONF_READABLE: return "list of files";
	}
	return "";
}

void conf_table(struct buf *out)
{
	for (enum conf_section s = IN_TOP; s < SECTIONS; s++) {
		const struct conf_section_info *info = &conf_sections[s];

		if (info->name)
			buf_addf(out, "### %s\n\n%s.\n\n", info->name, info->about);
		else
			buf_addf(out, "### (top)\n\n%s.\n\n", info->about);
		buf_add(out, S("| option | type | default | what it is |\n|---|---|---|---|\n"));
		for (size_t i = 0; i < conf_n_options; i++)
			if (conf_options[i].section == s)
				buf_addf(out, "| `%s` | %s | `%s` | %s%s |\n", conf_options[i].name,
					 conf_type_name(&conf_options[i]), conf_options[i].standard,
					 conf_options[i].about,
					 conf_options[i].restart ? " (restart)" : "");
		buf_addc(out, '\n');
	}
}
