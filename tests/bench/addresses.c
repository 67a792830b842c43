/* addresses: the guard's memory when a failed login comes from N addresses, each of its own /64.
 *
 *   addresses N
 *
 * One guesser who has tried often is there first, and has to be known still when all others have
 * been: prints one line of JSON. */
#include "policy/limiter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static long rss_kb(void)
{
	char line[256];
	long kb = 0;
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "RssAnon: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* In the order of the configuration's defaults; the memory is theirs. */
static const struct limiter_conf conf = {
	.free = 3,
	.delay_ms = 250,
	.delay_max_ms = 10000,
	.ban_after = 20,
	.ban_ms = 900000,
	.ban_max_ms = 86400000,
	.half_life_ms = 900000,
	.good_ms = 30ull * 86400000,
	.all_per_minute = 0,
	.memory = 64u << 20,
};

int main(int argc, char **argv)
{
	static const uint64_t key[2] = { 0x243f6a8885a308d3u, 0x13198a2e03707344u };
	unsigned long n = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	struct limiter *l = limiter_new(&conf, key);
	struct limiter_who guesser = { .address = { 0x20, 1, 0xd, 0xb8, 0xff }, .identity = S("") };
	struct limiter_who who = { .address = { 0x20, 1, 0xd, 0xb8 }, .identity = S("") };
	uint64_t now = 1800000000000u;
	struct limiter_count count;
	double began = seconds();

	if (!l || !n)
		return 2;
	for (unsigned i = 0; i < 15; i++)
		limiter_failed(l, &guesser, (i + 1) * 0x9e3779b97f4a7c15u, now);
	for (unsigned long i = 0; i < n; i++) {
		uint64_t at = i + 1;

		for (int b = 0; b < 4; b++)
			who.address[4 + b] = (unsigned char)(at >> (24 - 8 * b));
		who.address[15] = 1;
		limiter_failed(l, &who, at * 0x9e3779b97f4a7c15u, now + i / 10000);
	}
	count = limiter_count(l);
	printf("{\"addresses\":%lu,\"seconds\":%.2f,\"kept\":%zu,\"bytes\":%zu,\"forgotten\":%llu,"
	       "\"rss_kb\":%ld,\"guesser_waits_ms\":%llu}\n",
	       n, seconds() - began, count.kept, count.bytes, (unsigned long long)count.forgotten,
	       rss_kb(), (unsigned long long)limiter_look(l, &guesser, now + n / 10000).delay_ms);
	limiter_free(l);
	return 0;
}
