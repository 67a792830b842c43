/* ops/conf_man.c -- the option table as the part of signet.conf(5) that lists them. */
#include "ops/conf_impl.h"

#include "base/mdoc.h"

static void add_default(struct buf *out, const struct conf_option *o)
{
	if (!o->standard[0])
		return;
	buf_add(out, S("The default is\n.Ql "));
	mdoc_word(out, slice_str(o->standard));
	buf_add(out, S(" .\n"));
}

static void add_option(struct buf *out, const struct conf_option *o)
{
	struct buf text;

	buf_add(out, S(".It Cm "));
	buf_add(out, slice_str(o->name));
	buf_add(out, S(" No = Ar "));
	mdoc_word(out, slice_str(conf_type_name(o)));
	buf_addc(out, '\n');
	buf_init(&text, 4096);
	buf_add(&text, slice_str(o->about));
	buf_add(&text, o->restart ? S(" (restart).") : S("."));
	mdoc_line(out, buf_slice(&text));
	buf_done(&text);
	add_default(out, o);
}

void conf_man(struct buf *out)
{
	for (enum conf_section s = IN_TOP; s < SECTIONS; s++) {
		const struct conf_section_info *info = &conf_sections[s];
		struct buf about;

		buf_addf(out, ".Ss %s\n", info->name ? info->name : "Top of the file");
		buf_init(&about, 4096);
		buf_addf(&about, "%s.", info->about);
		mdoc_line(out, buf_slice(&about));
		buf_done(&about);
		buf_add(out, S(".Bl -tag -width Ds\n"));
		for (size_t i = 0; i < conf_n_options; i++)
			if (conf_options[i].section == s)
				add_option(out, &conf_options[i]);
		buf_add(out, S(".El\n"));
	}
}
