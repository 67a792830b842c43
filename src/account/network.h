/* account/network.h -- the addresses from which alone a key may be used.
 *
 * A set of networks; an empty one is no limit. Stored in the order they were given, 17 bytes each
 * (the address, IPv4 mapped, and its bits): reading them takes the same time whatever they say,
 * since a refusal must not tell by its time how far it came (./dev timing). */
#ifndef ACCOUNT_NETWORK_H
#define ACCOUNT_NETWORK_H

#include "base/buf.h"
#include "base/err.h"
#include "base/net.h"

#define NETWORKS_MAX   16
#define NETWORKS_BYTES (NETWORKS_MAX * (NET_BYTES + 1))
#define NETWORKS_TEXT  (NETWORKS_MAX * NET_TEXT)

struct networks {
	struct net at[NETWORKS_MAX];
	size_t n;
};

/* "192.0.2.1", "192.0.2.0/24", "2001:db8::/32". ERR_INPUT: not one, or too many. One that is there
 * already is not added again. */
bool networks_add(struct networks *, struct slice text, struct err *e);
/* As networks_bytes() wrote them; no bytes are an empty set. */
bool networks_read(struct slice bytes, struct networks *ret);
void networks_bytes(const struct networks *, struct buf *out);
/* One space between. */
void networks_text(const struct networks *, struct buf *out);
/* Whether a client with this address (text) may use the key. One without an address may not, but
 * where the set is empty. */
bool networks_allow(const struct networks *, struct slice client);

#endif
