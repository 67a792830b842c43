/* backup/sink.h -- where a backup goes: a new directory, or a tar stream on a descriptor.
 *
 * A directory is made as TO.partial, mode 0700, its files 0600, everything synced; sink_finish()
 * gives it its name. A stream is POSIX tar (pax headers where a name or size needs them). */
#ifndef BACKUP_SINK_H
#define BACKUP_SINK_H

#include "base/err.h"
#include "base/slice.h"

struct sink;

/* ERR_CONFLICT: `to`, or the rest of an earlier try, is there. NULL on failure. */
struct sink *sink_to_directory(const char *to, struct err *e);
/* The descriptor stays the caller's. now_s: time of the files, seconds since 1970. */
struct sink *sink_to_tar(int fd, uint64_t now_s, struct err *e);
/* Bytes that fit, as far as is known. */
uint64_t sink_room(const struct sink *);

/* A file of exactly so many bytes: begin, any number of writes, end. name: relative, manifest's.
 * ERR_LATER: errno's text; the sink is of no use any more. */
bool sink_begin(struct sink *, const char *name, uint64_t bytes, struct err *e);
bool sink_write(struct sink *, struct slice, struct err *e);
bool sink_end(struct sink *, struct err *e);
/* What was written so far is on the disk: a little at a time, so that nobody's sync waits for all
 * of it. */
bool sink_sync(struct sink *, struct err *e);

/* The last step: only now it is whole. */
bool sink_finish(struct sink *, struct err *e);
/* NULL is fine. What was not finished is removed. */
void sink_free(struct sink *);

#endif
