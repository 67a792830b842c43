/* loop/listener.h -- sockets that accept, opened before rights are given up.
 *
 * An address is opened once for each loop thread (SO_REUSEPORT): the kernel spreads connections,
 * and a connection belongs to the loop that accepted it. */
#ifndef LOOP_LISTENER_H
#define LOOP_LISTENER_H

#include "base/slice.h"
#include "loop/loop.h"

#include <sys/types.h>

struct listener;

/* address: "192.0.2.1:587", "[2001:db8::1]:587", "[::]:25", "unix:/path". NULL: the text says which
 * address and why. A Unix socket is made with mode 0600; one left by a dead process is replaced,
 * one that answers is not. */
struct listener *listener_open(struct slice address, struct err *e);
/* Stops and closes; removes a Unix socket's name. */
void listener_close(struct listener *);
/* It owns fd, which is non-blocking. peer: the address as text, without a zone, or "unix"; for this
 * call. */
#define LISTENER_PEER 64
typedef void listener_accepted(void *arg, int fd, const char *peer);
/* Out of descriptors or memory: it rests and tries again. */
void listener_start(struct listener *, struct loop *, listener_accepted *, void *arg);
void listener_stop(struct listener *);
/* Takes who has connected already, before it is closed for good. On the loop's thread. */
void listener_drain(struct listener *);
/* It is open at this address, however it is spelled. */
bool listener_is_at(const struct listener *, struct slice address);
/* Before root becomes a user: a socket's owner alone may open others that overlap with it
 * (SO_REUSEPORT), as a reload may; a Unix socket's owner may connect. */
bool listener_give(const struct listener *, uid_t, gid_t);
/* The port it got, for address "...:0". 0 for a Unix socket. */
uint16_t listener_port(const struct listener *);

#endif
