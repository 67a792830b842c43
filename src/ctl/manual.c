#include "ctl/manual.h"

#include "base/mdoc.h"

static struct slice lower(const char *s, char *room, size_t size)
{
	size_t n = 0;

	for (; n < size && s[n]; n++)
		room[n] = ascii_lower(s[n]);
	return slice(room, n);
}

/* "[FILE]" -> .Op Ar file; "FROM TO" -> .Ar from to */
static void add_values(struct buf *out, const char *values)
{
	char room[64];
	struct slice left = lower(values, room, sizeof room), one;

	while (left.n) {
		slice_cut(left, ' ', &one, &left);
		if (slice_starts(one, S("[")) && slice_ends(one, S("]"))) {
			buf_add(out, S(" Op Ar "));
			one = slice(one.p + 1, one.n - 2);
		} else {
			buf_add(out, S(" Ar "));
		}
		mdoc_word(out, one);
	}
}

void ctl_manual(struct buf *out)
{
	struct ctl_row row;

	buf_add(out, S(".Sh COMMANDS\n.Bl -tag -width Ds\n"));
	for (size_t i = 0; ctl_command_row(i, &row); i++) {
		buf_add(out, S(".It Cm "));
		buf_add(out, row.name);
		add_values(out, row.value);
		buf_addc(out, '\n');
		mdoc_line(out, slice_str(row.help));
	}
	buf_add(out, S(".El\n.Sh OPTIONS\nThose without the name of a command in front of their "
		       "description are for all that can use them.\n.Bl -tag -width Ds\n"));
	for (size_t i = 0; ctl_option_row(i, &row); i++) {
		buf_add(out, S(".It Fl -"));
		buf_add(out, row.name);
		if (row.value)
			add_values(out, row.value);
		buf_addc(out, '\n');
		mdoc_line(out, slice_str(row.help));
	}
	buf_add(out, S(".El\n"));
}
