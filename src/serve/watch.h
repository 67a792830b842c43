/* serve/watch.h -- what the server measures of itself, and the words it counts under. */
#ifndef SERVE_WATCH_H
#define SERVE_WATCH_H

struct server;

/* Before the loops run: each looks once a second at how late it is. The words that are known
 * beforehand are made known, so that what has not happened yet is told as 0. */
void watch_start(struct server *);

#endif
