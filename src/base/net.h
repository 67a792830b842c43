/* base/net.h -- Internet addresses as 16 bytes (IPv4 mapped, ::ffff:a.b.c.d) and networks of them.
 */
#ifndef BASE_NET_H
#define BASE_NET_H

#include "base/slice.h"

#define NET_BYTES 16
#define NET_TEXT  48 /* room for net_text(), its NUL included */

struct net {
	unsigned char at[NET_BYTES];
	unsigned bits; /* 0 to 128: of these 16 bytes, so an IPv4 /8 has 104 */
};

/* "192.0.2.1", "2001:db8::1"; no brackets, no zone. ret is untouched on failure. */
bool net_address(struct slice text, unsigned char ret[NET_BYTES]);
/* An address, or ADDRESS/BITS with no bit set behind BITS: "10.0.0.1/8" means something else than
 * it says. ret is untouched on failure. */
bool net_parse(struct slice text, struct net *ret);
bool net_has(const struct net *, const unsigned char address[NET_BYTES]);
/* 127.0.0.0/8, ::1 */
bool net_is_loopback(const unsigned char address[NET_BYTES]);
/* As it is usually written; IPv4 mapped as IPv4. */
void net_text(const unsigned char address[NET_BYTES], char ret[NET_TEXT]);

#endif
