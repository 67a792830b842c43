/* serve/home.c -- what a loop thread has of its own. */
#include "base/must.h"
#include "serve/server.h"

void home_random(struct home *h, void *ret, size_t n)
{
	unsigned char *from;

	MUST(n <= 64);
	if (h->random_left < n) {
		keyring_random(h->random, sizeof h->random);
		h->random_left = sizeof h->random;
	}
	h->random_left -= n;
	from = h->random + h->random_left;
	memcpy(ret, from, n);
	explicit_bzero(from, n);
}
