/* Any bytes as an address list: what is read points into the input, holds no line end, and each
 * address alone is read as itself. First byte: bit 0 utf8. */
#include "base/must.h"
#include "base/utf8.h"
#include "mime/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct mime_address *x, struct slice in, bool utf8, struct arena *a)
{
	struct mime_addresses alone;

	MUST(x->local.p >= in.p && x->domain.p + x->domain.n <= in.p + in.n);
	MUST(x->local.p + x->local.n < x->domain.p);
	MUST(x->local.n <= MIME_LOCAL_MAX && x->domain.n <= MIME_DOMAIN_MAX);
	MUST(!has_control(x->whole) && !memchr(x->domain.p, '@', x->domain.n));
	MUST(utf8 || ascii_only(x->whole));
	MUST(mime_addresses_parse(x->whole, utf8, 1, a, &alone, NULL));
	MUST(alone.n == 1 && !alone.has_group);
	MUST(slice_eq(alone.at[0].local, x->local) && slice_eq(alone.at[0].domain, x->domain));
	MUST(alone.at[0].quoted == x->quoted && alone.at[0].literal == x->literal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice(data, size);
	struct mime_addresses list;
	struct err e = { 0 };
	struct arena a;
	bool utf8;

	if (!size)
		return 0;
	utf8 = *in.p & 1;
	slice_take(&in, 1);
	arena_init(&a, 4 << 20);
	if (mime_addresses_parse(in, utf8, 1000, &a, &list, &e)) {
		MUST(list.n || list.has_group);
		for (size_t i = 0; i < list.n; i++)
			check(&list.at[i], in, utf8, &a);
	} else {
		MUST(e.kind == ERR_INPUT || e.kind == ERR_LATER);
	}
	arena_done(&a);
	return 0;
}
