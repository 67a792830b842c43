#include "relay/route.h"

/* How well a route's domain names dest: 0 not at all, 1 by "*", more the longer the name. */
static size_t match(struct slice domain, struct slice dest)
{
	if (slice_eq(domain, S("*")))
		return 1;
	if (slice_ieq(domain, dest))
		return domain.n + 2;
	if (dest.n > domain.n && dest.p[dest.n - domain.n - 1] == '.' &&
	    slice_ieq(slice_from(dest, dest.n - domain.n), domain))
		return domain.n + 1;
	return 0;
}

const struct route *route_for(const struct routes *routes, struct slice dest)
{
	const struct route *best = NULL;
	size_t best_match = 0;

	for (size_t i = 0; i < routes->n; i++) {
		const struct route *r = &routes->at[i];

		for (size_t k = 0; k < r->n_domains; k++) {
			size_t m = match(r->domains[k], dest);

			if (m > best_match) {
				best = r;
				best_match = m;
			}
		}
	}
	return best;
}
