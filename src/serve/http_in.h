/* serve/http_in.h -- the driver of http/conn: now the local control socket.
 *
 * Root and the service's own user may call (SO_PEERCRED), and who acted is recorded. Calls run as
 * jobs of the work lane. Lives on the first loop. */
#ifndef SERVE_HTTP_IN_H
#define SERVE_HTTP_IN_H

struct home;

/* Takes over an accepted socket. */
void http_in_accept(struct home *, int fd);

#endif
