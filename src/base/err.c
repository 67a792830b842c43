#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Texts are shown on terminals and in log lines: whatever a format string let in, no control
 * byte gets further. */
static void harmless(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

bool err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return false;
	e->kind = kind;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	harmless(e->text);
	return false;
}

bool err_in(struct err *e, const char *what)
{
	char old[sizeof e->text];

	if (!e)
		return false;
	memcpy(old, e->text, sizeof old);
	/* A text that no longer fits is cut: the front says where, which matters more. */
	if (snprintf(e->text, sizeof e->text, "%s: %s", what, old) < 0)
		e->text[0] = '\0';
	harmless(e->text);
	return false;
}

const char *err_kind_name(enum err_kind kind)
{
	switch (kind) {
	case ERR_NONE: return "none";
	case ERR_BUG: return "bug";
	case ERR_INPUT: return "input";
	case ERR_DENIED: return "denied";
	case ERR_ABSENT: return "absent";
	case ERR_CONFLICT: return "conflict";
	case ERR_LATER: return "later";
	case ERR_DAMAGED: return "damaged";
	}
	return "unknown";
}
