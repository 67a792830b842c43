/* serve/http_in.h -- the driver of http/conn: the local control socket, and the metrics port.
 *
 * On the control socket root and the service's own user may call (SO_PEERCRED), and who acted is
 * recorded. On the metrics port whoever reaches it may ask for /metrics and /healthz and for
 * nothing else. Calls run as jobs of the work lane, these two of the lane "watch". Lives on the
 * first loop.
 */
#ifndef SERVE_HTTP_IN_H
#define SERVE_HTTP_IN_H

struct home;

enum http_door { HTTP_CONTROL, HTTP_METRICS };

/* Takes over an accepted socket. */
void http_in_accept(struct home *, enum http_door, int fd);

#endif
