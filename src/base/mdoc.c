#include "base/mdoc.h"

static void add_escaped(struct buf *out, struct slice s, bool quoted)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\')
			buf_add(out, S("\\e"));
		else if (quoted && s.p[i] == '"')
			buf_add(out, S("\"\""));
		else
			buf_addc(out, s.p[i] == '\n' ? ' ' : s.p[i]);
	}
}

void mdoc_line(struct buf *out, struct slice text)
{
	if (text.n && (text.p[0] == '.' || text.p[0] == '\''))
		buf_add(out, S("\\&"));
	add_escaped(out, text, false);
	buf_addc(out, '\n');
}

void mdoc_word(struct buf *out, struct slice word)
{
	buf_addc(out, '"');
	add_escaped(out, word, true);
	buf_addc(out, '"');
}
