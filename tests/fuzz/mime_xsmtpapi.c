/* The reader of X-SMTPAPI against the JSON reader of http/: what that takes for one object, this
 * must take, too, and tell the same names at its top. (The other way round it need not be: a name
 * twice, NUL and large numbers pass here.) */
#include "base/must.h"
#include "base/utf8.h"
#include "mime/xsmtpapi.h"
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool told(const struct xsmtpapi *x, struct slice name)
{
	for (size_t i = 0; i < x->n; i++)
		if (slice_eq(x->other[i], name))
			return true;
	return false;
}

static void compare(const struct json *j, const struct xsmtpapi *x)
{
	const struct json *value;
	struct slice name;
	void *it = NULL;
	size_t others = 0;
	bool wide = false;

	while (json_each(j, &it, &name, &value)) {
		if (slice_eq(name, S("category")) || slice_eq(name, S("unique_args")))
			continue;
		others++;
		/* An escaped character outside ASCII is told as '?'. */
		wide |= !ascii_only(name);
		MUST(!ascii_only(name) || told(x, name) || x->more);
	}
	MUST(wide || x->more == (others > XSMTPAPI_NAMES));
	MUST(wide || x->more || x->n == others);
	MUST((x->n == 0) == (others == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice(data, size);
	struct err e = { 0 };
	struct xsmtpapi x;
	struct json *j;
	struct arena a;
	bool ok;

	arena_init(&a, 1 << 20);
	ok = xsmtpapi_read(in, &a, &x);
	j = json_read(in, &e);
	MUST(ok || !json_has_members(j));
	if (ok)
		MUST(utf8_valid(in) && x.n <= XSMTPAPI_NAMES && (!x.more || x.n == XSMTPAPI_NAMES));
	if (ok && json_has_members(j))
		compare(j, &x);
	json_free(j);
	arena_done(&a);
	return 0;
}
