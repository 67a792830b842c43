#include "policy/guard.h"

#include <string.h>

#define LEN(a) (sizeof(a) / sizeof *(a))
#define V4(...)                                                                                    \
	{                                                                                          \
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, __VA_ARGS__                              \
	}
#define V4_BITS(n) (96 + (n))

/* The registries of RFC 6890 (IANA: special-purpose addresses), multicast and what is reserved. */
/* clang-format off */
static const struct special {
	struct net prefix;
	const char *what;
} specials[] = {
	{ { V4(0),              V4_BITS(8) },  "of this network" },
	{ { V4(10),             V4_BITS(8) },  "private" },
	{ { V4(100, 64),        V4_BITS(10) }, "of a carrier's NAT" },
	{ { V4(127),            V4_BITS(8) },  "loopback" },
	{ { V4(169, 254),       V4_BITS(16) }, "link-local" },
	{ { V4(172, 16),        V4_BITS(12) }, "private" },
	{ { V4(192, 0, 0),      V4_BITS(24) }, "reserved" },
	{ { V4(192, 0, 2),      V4_BITS(24) }, "for documentation" },
	{ { V4(192, 88, 99),    V4_BITS(24) }, "reserved" },
	{ { V4(192, 168),       V4_BITS(16) }, "private" },
	{ { V4(198, 18),        V4_BITS(15) }, "for benchmarks" },
	{ { V4(198, 51, 100),   V4_BITS(24) }, "for documentation" },
	{ { V4(203, 0, 113),    V4_BITS(24) }, "for documentation" },
	{ { V4(224),            V4_BITS(4) },  "multicast" },
	{ { V4(240),            V4_BITS(4) },  "reserved" },
	{ { { [15] = 1 },                128 }, "loopback" },
	{ { { 0 },                        96 }, "reserved" }, /* unspecified, IPv4-compatible */
	{ { { 0, 0x64, 0xff, 0x9b, 0, 1 }, 48 }, "private" },
	{ { { 0x01 },                     64 }, "discarded" },
	{ { { 0x20, 0x01 },               23 }, "reserved" }, /* Teredo, ORCHID */
	{ { { 0x20, 0x01, 0x0d, 0xb8 },   32 }, "for documentation" },
	{ { { 0x3f, 0xff },               20 }, "for documentation" },
	{ { { 0x5f },                     16 }, "reserved" },
	{ { { 0xfc },                      7 }, "private" },
	{ { { 0xfe, 0x80 },               10 }, "link-local" },
	{ { { 0xfe, 0xc0 },               10 }, "private" },
	{ { { 0xff },                      8 }, "multicast" },
};

/* Those with an IPv4 address inside, at this octet. */
static const struct {
	struct net prefix;
	size_t at;
} carriers[] = {
	{ { { 0, 0x64, 0xff, 0x9b }, 96 }, 12 }, /* RFC 6052 2.1 */
	{ { { 0x20, 0x02 },          16 }, 2 },  /* RFC 3056 2 */
};
/* clang-format on */

bool guard_any(const struct net *at, size_t n, const unsigned char address[NET_BYTES])
{
	for (size_t i = 0; i < n; i++)
		if (net_has(&at[i], address))
			return true;
	return false;
}

const char *guard_special(const unsigned char address[NET_BYTES])
{
	unsigned char inner[NET_BYTES] = V4(0);

	for (size_t i = 0; i < LEN(specials); i++)
		if (net_has(&specials[i].prefix, address))
			return specials[i].what;
	for (size_t i = 0; i < LEN(carriers); i++)
		if (net_has(&carriers[i].prefix, address)) {
			memcpy(inner + 12, address + carriers[i].at, 4);
			return guard_special(inner);
		}
	return NULL;
}
