/* history/event.h -- an event as bytes: the only place that knows the format.
 *
 * Pure. A record is the length and a check of what follows (4 bytes each), then the event:
 * integers, the lengths of its texts, the texts. Integers are little-endian. The check is against a
 * write that a crash cut; it costs less than a CRC, and nothing is decided by what stands here. */
#ifndef HISTORY_EVENT_H
#define HISTORY_EVENT_H

#include "history/history.h"

#define EVENT_HEAD 8
#define EVENT_MAX  8192 /* bytes of one event behind its head */
#define EVENT_TEXT 512

enum event_read { EVENT_OK, EVENT_MORE, EVENT_BAD };

/* The check of a body. */
uint32_t event_check(struct slice body);

void event_write(struct buf *, const struct history_event *);
/* Takes one event off the front. MORE and BAD leave `in` as it is. Texts are parts of `in`. */
enum event_read event_read(struct slice *in, struct history_event *ret);

#endif
