/* spool/log_impl.h -- the insides of the segment engine, shared by its files. */
#ifndef SPOOL_LOG_IMPL_H
#define SPOOL_LOG_IMPL_H

#include "spool/index.h"
#include "spool/segment.h"

#include <pthread.h>

/* Under `lock`: the index, the segments' list and numbers, the damage. Under `files`: which
 * descriptors are open: a reader holds it shared while it reads, recycling holds it alone. Only
 * the committer writes to segments. */
struct spool {
	pthread_mutex_t lock;
	pthread_rwlock_t files;
	struct index *index;
	struct segment *segments; /* oldest first; the last is written to */
	size_t n_segments, cap_segments;
	uint64_t sequence; /* of the next record */
	int dir, large, damaged_dir, lock_fd;
	char path[4000];
	uint64_t segment_bytes, reserve_bytes, messages_max;
	bool broken;

	/* The committer's own */
	struct buf meta;        /* of the records of a batch, one behind the other */
	struct pending *pending;
	size_t n_pending, cap_pending;
	struct part *parts;
	size_t n_parts, cap_parts;
	uint64_t bytes_since_look, look_ms; /* at the free space */
	bool short_of_space;
	uint64_t moved_to; /* compaction: how far the oldest segment has been copied */
	struct arena scratch;
	bool large_changed;

	struct spool_damage *damage;
	size_t n_damage, cap_damage;
};

/* recover.c */
bool log_recover(struct spool *, struct err *e);
/* Sets the bytes of a segment aside in damaged/ and lists them. id may be NULL. */
void log_set_aside(struct spool *, const struct segment *, uint64_t at, uint64_t bytes,
    const struct id *id, const char *reason);
void log_note(struct spool *, const char *where, const char *reason, const struct id *id);
bool log_load_notes(struct spool *);

struct segment *log_segment(struct spool *, uint32_t number);
void large_name(struct id id, char ret[32]);

/* Reads a message's put record: header, meta (in buf) and what it says. The caller holds `files`. */
bool log_read_put(const struct segment *, uint64_t at, struct buf *meta, struct arena *,
    struct record_header *ret_header, struct record_put *ret);

static inline uint64_t place_at(struct place p)
{
	return (uint64_t)p.at * RECORD_ALIGN;
}

static inline struct place place_of(const struct segment *s, uint64_t at)
{
	return (struct place){ s->number, (uint32_t)(at / RECORD_ALIGN) };
}

#endif
