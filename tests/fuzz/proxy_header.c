/* Any bytes as a PROXY header: what is taken is a header's length and no more, a driver that reads
 * what is wanted comes to the same end, and one that is bad never gets good by more bytes. */
#include "base/must.h"
#include "proxy/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct proxy_header *a, const struct proxy_header *b)
{
	return a->kind == b->kind && a->version == b->version && a->port == b->port &&
	       !memcmp(a->address, b->address, sizeof a->address);
}

static size_t max_of(const struct proxy_header *h)
{
	return h->version == 1 ? PROXY_V1_MAX : PROXY_V2_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice(data, size), have = slice(data, 0);
	struct proxy_header whole = { 0 }, driven = { 0 };
	struct err e = { 0 };
	enum proxy_result r = proxy_parse(&in, &whole, &e), d;
	size_t taken = size - in.n;

	MUST(r == PROXY_OK ? taken && taken <= max_of(&whole) : !taken);
	MUST(r != PROXY_BAD || e.kind == ERR_INPUT);
	while ((d = proxy_parse(&have, &driven, &e)) == PROXY_MORE) {
		size_t n = proxy_wants(have);

		MUST(n);
		if (n > size - have.n)
			break;
		have.n += n;
		MUST(r != PROXY_OK || have.n <= taken);
	}
	MUST(d == r || (d == PROXY_MORE && r != PROXY_OK));
	if (r == PROXY_OK)
		MUST(same(&whole, &driven) && !have.n);
	return 0;
}
