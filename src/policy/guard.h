/* policy/guard.h -- addresses that strangers' records must not make us connect to.
 *
 * A name on the internet may point anywhere: at this machine, at the network it stands in, at
 * nobody. Such an address is asked about when it is known, and then it is that address that is
 * connected to, not the name again. Addresses are 16 octets, IPv4 in its mapped form
 * (::ffff:192.0.2.1); what carries an IPv4 address inside (NAT64, 6to4) counts as that one. */
#ifndef POLICY_GUARD_H
#define POLICY_GUARD_H

#include <stdbool.h>
#include <stddef.h>

struct guard_prefix {
	unsigned char address[16];
	unsigned bits; /* that count: 0 to 128; of IPv4 addresses 96 and more */
};

bool guard_inside(const struct guard_prefix *, const unsigned char address[16]);
bool guard_any(const struct guard_prefix *, size_t n, const unsigned char address[16]);

/* What is special about it, for people ("loopback", "private"); NULL: an address like any other. */
const char *guard_special(const unsigned char address[16]);

#endif
