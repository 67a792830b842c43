/* spool/log_impl.h -- the insides of the segment engine, shared by its files.
 *
 *     engine.c   opening, closing, the slots that only ask the index
 *     batch.c    the records of a commit, built in memory
 *     commit.c   a batch is built, written, synced, believed
 *     space.c    free space, rotation, compaction, retirement
 *     ahead.c    what a rotation needs, made before it
 *     load.c     a message from disk
 *     recover.c  what a start finds
 *     damage.c   what was set aside
 *     cut.c      its state at one moment, for a backup
 *     salvage.c  a new spool out of an unsound one
 *
 * The log is a first-in-first-out of segments. Only the oldest is ever taken out of use, when no
 * message's put lies in it any more; what still lives there is first copied to the front with its
 * outcomes. So no outcome is outlived by the message it speaks of. */
#ifndef SPOOL_LOG_IMPL_H
#define SPOOL_LOG_IMPL_H

#include "base/map.h"
#include "spool/ahead.h"
#include "spool/fact.h"

#include <pthread.h>

#define LOG_SEGMENT_BYTES (64ull << 20)
#define LOG_FACTS_MAX     (256u << 20)

/* A record of the batch being written, until it may be believed. */
struct pending {
	struct spool_op *op; /* NULL: copied by compaction */
	enum record_type type;
	struct id id;
	uint64_t at; /* in the segment */
	uint32_t delivery, attempts, left, failed;
	uint64_t next_ms;
	bool held;
	bool named; /* its body has got a name in large/ */
};

/* The next bytes of the batch. s->meta may move while the batch grows, so what stands there is
 * named by its offset until all is there. */
struct part {
	const char *p; /* NULL: in s->meta, at `at` */
	size_t at, n;
};

/* `lock` guards the index, the list of segments with what it says of them, and the damage. Only
 * the committer writes to segments and changes their list; whoever else reads one holds a
 * reference (log_hold). */
struct spool {
	pthread_mutex_t lock;
	struct index *index;
	struct segment **segments; /* oldest first; the last is written to */
	size_t n_segments, cap_segments;
	int dir, large, damaged_dir, lock_fd;
	char path[4000];
	struct spool_uuid uuid;
	uint64_t segment_bytes, reserve_bytes, messages_max;
	/* Guarded by `lock`: */
	bool cut_busy;    /* a cut is being made, or removed */
	bool cut_linking; /* its links are being made: nothing that it may need loses its name */
	bool cut_spoilt;  /* something did */
	uint64_t cut_ms;  /* when the one that is there was made; 0: there is none */
	bool salvage;     /* read what can be read, change nothing */

	/* The committer's own */
	uint64_t sequence;    /* of the next record */
	uint64_t first;       /* sequence of the batch's first record */
	bool broken, wrote;   /* wrote: since the last RECORD_CLOSED */
	struct buf meta;      /* of the records of a batch, one behind the other */
	struct buf facts;     /* of the segment in use, for its summary */
	struct buf new_facts; /* of the batch */
	struct pending *pending;
	size_t n_pending, cap_pending;
	struct part *parts;
	size_t n_parts, cap_parts;
	uint64_t bytes_since_look, look_ms; /* at the free space */
	bool short_of_space;
	struct ahead *ahead; /* NULL: salvage */
	bool asked_ahead;    /* for the next segment, since the last rotation */
	uint64_t rotated_ms;
	uint64_t moved_to; /* compaction: how far the oldest segment has been copied */
	struct arena scratch;
	bool large_changed;

	struct spool_damage *damage;
	size_t n_damage, cap_damage;
	struct map noted; /* by `where` */
	void (*on_damage)(void *arg, const struct spool_damage *);
	void *on_damage_arg;
};

/* engine.c */
struct segment *log_segment(struct spool *, uint32_t number); /* the caller holds `lock` */
struct segment *log_hold(struct spool *, uint32_t number);    /* takes `lock`; NULL: gone */
void log_let_go(struct spool *, struct segment *);
bool log_add_segment(struct spool *, const struct segment *);
/* spool.id: which spool the segments here belong to. False: it is lost. */
bool log_read_uuid(struct spool *s);
struct spool *log_new(const struct spool_conf *, struct err *e);
bool log_open_dirs(struct spool *, struct slice path, bool make, struct err *e);
void log_free(struct spool *);
void log_large_name(struct id id, char ret[32]);

static inline struct segment *log_active(struct spool *s)
{
	return s->segments[s->n_segments - 1];
}

static inline uint64_t place_at(struct place p)
{
	return (uint64_t)p.at * RECORD_ALIGN;
}

static inline struct place place_of(const struct segment *s, uint64_t at)
{
	return (struct place){ s->number, (uint32_t)(at / RECORD_ALIGN) };
}

/* batch.c: what is added may be taken out again until it is written */
enum spool_result log_add_put(struct spool *, struct spool_op *, uint64_t *at);
/* False: it builds on what is only in the batch, and must wait for the next. Else op->result says
 * what became of it. */
bool log_add_settle(struct spool *, struct spool_op *, uint64_t *at);
bool log_add_closed(struct spool *, uint64_t *at);
void log_unname(struct spool *, struct id id);

/* commit.c */
bool log_commit(struct spool *, struct spool_op *const *ops, size_t n, struct err *e);
/* An orderly end: tells the next start that nothing before was cut short by a crash. */
void log_mark_closed(struct spool *);
bool log_grow(void **at, size_t *cap, size_t need, size_t size);
struct batch_mark {
	size_t meta, parts, pending, facts;
	uint64_t at, sequence;
};
struct batch_mark log_mark(const struct spool *, uint64_t at);
/* Takes out of the batch what was added since the mark. */
void log_undo(struct spool *, const struct batch_mark *, uint64_t *at);
/* Copies a message into the batch, with its states behind it; the bytes stay valid until the
 * batch is written. False: memory is out (the caller undoes). */
bool log_add_copy(struct spool *, const struct record_header *, struct slice meta,
		  struct slice body, const struct record_state *states, uint32_t n, uint64_t *at);
/* Writes, syncs and forgets a batch of copies that ends at `end`. False: errno. */
bool log_commit_copies(struct spool *, uint64_t end);
/* The batch as it stands: write and sync. False: errno. */
bool log_append(struct spool *);
bool log_sync(struct spool *);
void log_clear_batch(struct spool *);

/* space.c */
void log_look_at_space(struct spool *);
bool log_rotate(struct spool *, struct err *e);
bool log_too_long(struct spool *);
void log_move_some(struct spool *, uint64_t bytes, uint64_t *at);
void log_retire_empty(struct spool *, size_t max);
uint64_t log_disk_bytes(struct spool *); /* the caller holds `lock` */

/* load.c */
bool log_load(struct spool *, struct id, struct arena *, struct spool_message *, struct err *e);
/* The same without its content. */
bool log_look(struct spool *, struct id, struct arena *, struct spool_message *, struct err *e);
/* The state of a delivery as it is on disk, in the arena. False: unsound, or no memory. */
/* ERR_LATER: it cannot be read now; ERR_DAMAGED: what stands there is unsound. */
bool log_read_state(const struct segment *, uint64_t at, struct arena *, struct record_state *ret,
		    struct err *e);
/* Unsound: never delivered, set aside, and out of the queue. */
void log_condemn(struct spool *, struct id id, const char *reason);

/* cut.c */
bool log_cut(struct spool *, struct spool_cut *, struct err *e);
void log_uncut(struct spool *);
/* A cut that a process left when it ended. */
void log_drop_cut(struct spool *);
/* A body's file is about to lose its name. */
void log_cut_keep(struct spool *, const char *large_name);
/* Space is short: what only a cut still holds is given up. */
void log_cut_yield(struct spool *);

/* recover.c */
bool log_recover(struct spool *, struct err *e);

/* damage.c: none of them is called with `lock` held */
bool log_load_notes(struct spool *);
/* Sets the bytes of a segment aside in damaged/ and lists them. id may be NULL. */
void log_set_aside(struct spool *, const struct segment *, uint64_t at, uint64_t bytes,
		   const struct id *id, const char *reason);
void log_note(struct spool *, const char *where, const char *reason, const struct id *id);
/* Whether what stands there has been set aside. */
bool log_is_aside(struct spool *, const struct segment *, uint64_t at);

#endif
