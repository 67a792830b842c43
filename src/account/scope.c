/* account/scope.c -- see scope.h. */
#include "account/scope.h"

#include "base/must.h"

// clang-format off
static const struct slice names[SCOPE_COUNT] = {
	[SCOPE_MAIL_SEND]       = { "mail.send",       9 },
	[SCOPE_API_KEYS_CREATE] = { "api_keys.create", 15 },
	[SCOPE_API_KEYS_READ]   = { "api_keys.read",   13 },
	[SCOPE_API_KEYS_UPDATE] = { "api_keys.update", 15 },
	[SCOPE_API_KEYS_DELETE] = { "api_keys.delete", 15 },
};
// clang-format on

_Static_assert(SCOPE_COUNT <= 64, "struct scopes has 64 bits");

struct slice scope_name(enum scope s)
{
	MUST((size_t)s < SCOPE_COUNT);
	return names[s];
}

bool scopes_add(struct scopes *s, struct slice name, struct err *e)
{
	for (size_t i = 0; i < SCOPE_COUNT; i++)
		if (slice_eq(names[i], name)) {
			*s = scopes_with(*s, (enum scope)i);
			return true;
		}
	return err_set(e, ERR_INPUT, "no scope \"%.*s\"", name.n < 60 ? (int)name.n : 60, name.p);
}

bool scopes_parse(struct slice list, struct scopes *ret, struct err *e)
{
	struct scopes s = { 0 };

	while (list.n) {
		size_t n = 0;

		while (n < list.n && list.p[n] != ',' && list.p[n] != ' ')
			n++;
		if (n && !scopes_add(&s, slice(list.p, n), e))
			return false;
		slice_take(&list, n < list.n ? n + 1 : n);
	}
	*ret = s;
	return true;
}

void scopes_text(struct scopes s, struct buf *out)
{
	bool first = true;

	for (size_t i = 0; i < SCOPE_COUNT; i++) {
		if (!scopes_have(s, (enum scope)i))
			continue;
		if (!first)
			buf_addc(out, ' ');
		buf_add(out, names[i]);
		first = false;
	}
}
