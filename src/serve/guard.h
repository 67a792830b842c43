/* serve/guard.h -- may a stranger's record make us connect there? See policy/guard.h. */
#ifndef SERVE_GUARD_H
#define SERVE_GUARD_H

#include <stdbool.h>
#include <stddef.h>

struct route;
struct server;

/* address: 16 octets, IPv4 mapped. False: the reason completes "it is ...". What the route allows
 * is let through first; then what is special is refused, and every address that we listen on (with
 * a listener on all of them: every address of this machine). */
bool guard_lets(const struct server *, const struct route *, const unsigned char address[16],
		char *ret_reason, size_t size);

#endif
