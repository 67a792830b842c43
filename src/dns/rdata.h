/* dns/rdata.h -- the data of a resource record, as it came over the wire, without compression;
 * and what a message as a whole says.
 *
 * Untrusted bytes: every length is checked, and what does not use up the whole record is wrong.
 * Pure. */
#ifndef DNS_RDATA_H
#define DNS_RDATA_H

#include "base/slice.h"

#define DNS_NAME_MAX 253 /* of a name as text, without the final dot */

/* RFC 1035 3.3.9 */
struct dns_mx {
	uint16_t preference;
	char host[DNS_NAME_MAX + 1]; /* lower case, without the final dot; empty: the root */
};

enum dns_rdata {
	RDATA_OK,
	RDATA_ODD, /* well-formed, but the name in it is none of a host: see dns_host_name() */
	RDATA_BAD, /* too short, too long, or it points outside of itself */
};

enum dns_rdata dns_mx_read(struct slice rdata, struct dns_mx *ret);

/* An IPv4 address (RFC 1035 3.4.1) in its mapped form (::ffff:192.0.2.1), or an IPv6 address (RFC
 * 3596 2.2). False: wrong length. */
bool dns_a_read(struct slice rdata, unsigned char ret[16]);
bool dns_aaaa_read(struct slice rdata, unsigned char ret[16]);

/* Does a whole message (RFC 1035 4.1) without the data that was asked for send its reader on,
 * rather than say that there is none: NS records in the authority section and no SOA (RFC
 * 2308 2.1, 2.2)? One that cannot be read up to there says nothing, so it counts as such. */
bool dns_refers(struct slice message);

/* May it be the name of a host, or of a domain that gets mail: labels of 1 to 63 letters, digits,
 * hyphens and underscores (there are some), 253 octets in all, and the last label is not a number,
 * else it would be an address. Without a final dot. */
bool dns_host_name(struct slice name);

#endif
