/* serve/capture.h -- delivery into a Maildir on this machine, by jobs of the files lane. */
#ifndef SERVE_CAPTURE_H
#define SERVE_CAPTURE_H

#include <stdbool.h>

struct deliver;
struct site;

/* Takes a handful of due deliveries of the site and writes them. False: it could not be started;
 * the site is as before. */
bool capture_start(struct deliver *, struct site *);

#endif
