/* policy/guard.h -- addresses that strangers' records must not make us connect to.
 *
 * A name on the internet may point anywhere: at this machine, at the network it stands in, at
 * nobody. Such an address is asked about when it is known, and then it is that address that is
 * connected to, not the name again. What carries an IPv4 address inside (NAT64, 6to4) counts as
 * that one. */
#ifndef POLICY_GUARD_H
#define POLICY_GUARD_H

#include "base/net.h"

bool guard_any(const struct net *, size_t n, const unsigned char address[NET_BYTES]);

/* What is special about it, for people ("loopback", "private"); NULL: an address like any other. */
const char *guard_special(const unsigned char address[NET_BYTES]);

#endif
