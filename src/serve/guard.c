#include "serve/guard.h"

#include "policy/guard.h"
#include "serve/generation.h"
#include "serve/server.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static const unsigned char any_v6[16], any_v4[16] = { [10] = 0xff, 0xff };

/* The kernel knows: who goes to an address of this machine goes there from that address. Nothing is
 * sent. */
static bool of_this_machine(const unsigned char address[16])
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(25) };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(25) };
	bool v4 = !memcmp(address, any_v4, 12);
	struct sockaddr *to = v4 ? (struct sockaddr *)&four : (struct sockaddr *)&six;
	void *at = v4 ? (void *)&four.sin_addr : (void *)&six.sin6_addr;
	size_t size = v4 ? 4 : 16;
	socklen_t n = v4 ? sizeof four : sizeof six;
	int fd = socket(to->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool same;

	memcpy(at, address + 16 - size, size);
	same = fd >= 0 && !connect(fd, to, n) && !getsockname(fd, to, &n) &&
	       !memcmp(at, address + 16 - size, size);
	if (fd >= 0)
		close(fd);
	return same;
}

static bool listened_on(const struct conf_listener *l, const unsigned char address[16])
{
	unsigned char mine[CONF_ADDRESS_BYTES];

	for (size_t i = 0; i < l->address.n; i++) {
		if (!conf_address(l->address.at[i], mine, NULL))
			continue;
		if (!memcmp(mine, address, 16))
			return true;
		if ((!memcmp(mine, any_v6, 16) || !memcmp(mine, any_v4, 16)) &&
		    of_this_machine(address))
			return true;
	}
	return false;
}

bool guard_lets(const struct server *s, const struct route *r, const unsigned char address[16],
		char *ret_reason, size_t size)
{
	const struct conf *c = s->homes[0].now->conf;
	const char *special = guard_special(address);

	if (guard_any(r->allow, r->n_allow, address))
		return true;
	if (special) {
		snprintf(ret_reason, size, "%s", special);
		return false;
	}
	for (size_t i = 0; i < c->n_listeners; i++)
		if (listened_on(&c->listeners[i], address)) {
			snprintf(ret_reason, size, "an address of this server");
			return false;
		}
	return true;
}
