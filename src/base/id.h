/* base/id.h -- the identity of a message, 16 bytes, shown as 22 base64url characters.
 *
 * The first six bytes are the Unix time in milliseconds, big-endian, the other ten are random:
 * ids of one second sort together, and nobody guesses the next. */
#ifndef BASE_ID_H
#define BASE_ID_H

#include "base/buf.h"

#define ID_TEXT 22

struct id {
	unsigned char b[16];
};

/* random: ten bytes. */
struct id id_make(uint64_t unix_ms, const unsigned char random[10]);
void id_add(struct buf *out, struct id id);
bool id_parse(struct slice text, struct id *ret);
bool id_eq(struct id a, struct id b);
int id_cmp(struct id a, struct id b);
/* The milliseconds in it. */
uint64_t id_time(struct id id);

#endif
