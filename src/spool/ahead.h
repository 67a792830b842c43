/* spool/ahead.h -- what a rotation needs, made before it is needed, by a thread of its own.
 *
 * While the segment in use fills, a spare file is written with zeros (overwriting them costs a
 * commit half of what new blocks cost, docs/spool.md), at a pace that leaves the disk to the
 * committer. When it has rotated, the summary of the segment before is written here, too. Nothing
 * that is made here is needed: without it a rotation allocates its file, and a start reads the
 * segment itself.
 *
 * The thread begins with the first call that wants one. Everything but ahead_free() is called by
 * the committer. */
#ifndef SPOOL_AHEAD_H
#define SPOOL_AHEAD_H

#include "base/buf.h"
#include "spool/segment.h"

struct ahead;

/* dir: the spool's, open as long as this. NULL: memory is out. */
struct ahead *ahead_new(int dir, uint64_t segment_bytes);
/* Lets the summary under way end, gives an unfinished spare up. NULL is fine. */
void ahead_free(struct ahead *);

/* A spare is wanted when there is none. */
void ahead_spare(struct ahead *);
/* Space has become short, or is not any more: no spare is made while it is. */
void ahead_short(struct ahead *, bool is_short);
/* Writes the summary of a segment that is full. Takes the facts' memory, and leaves the buffer
 * empty. False: not now (the last one is not written yet); the facts are untouched. */
bool ahead_summary(struct ahead *, const struct segment *, uint64_t next_sequence,
		   struct buf *facts);
/* The segment is to be retired: its summary is not being written any more when this returns. */
void ahead_forget(struct ahead *, uint32_t number);

#endif
