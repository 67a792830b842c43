/* loop/listener.h -- sockets that accept, opened before rights are given up.
 *
 * An address is opened once for each loop thread (SO_REUSEPORT): the kernel spreads connections,
 * and a connection belongs to the loop that accepted it. */
#ifndef LOOP_LISTENER_H
#define LOOP_LISTENER_H

#include "base/slice.h"
#include "loop/loop.h"

struct listener;

/* address: "192.0.2.1:587", "[2001:db8::1]:587", "[::]:25", "unix:/path". NULL: the text says which
 * address and why. A Unix socket is made with mode 0600; one left by a dead process is replaced,
 * one that answers is not. */
struct listener *listener_open(struct slice address, struct err *e);
/* Stops and closes; removes a Unix socket's name. */
void listener_close(struct listener *);
/* accepted() owns fd, which is non-blocking. Out of descriptors: it rests and tries again. */
bool listener_start(struct listener *, struct loop *, void (*accepted)(void *arg, int fd),
		    void *arg);
void listener_stop(struct listener *);
/* The port it got, for address "...:0". 0 for a Unix socket. */
uint16_t listener_port(const struct listener *);

#endif
