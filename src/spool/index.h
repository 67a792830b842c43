/* spool/index.h -- the queue in memory: which message lies where, which delivery is due when.
 *
 * Both engines keep one; neither bodies nor envelopes are in it, but a fixed small record for each
 * message and each delivery. Not thread-safe: the engine holds its lock. */
#ifndef SPOOL_INDEX_H
#define SPOOL_INDEX_H

#include "spool/spool.h"

struct index;

struct place {
	uint32_t segment;
	uint32_t at; /* offset in units of RECORD_ALIGN */
};

/* A message, as the engine may read and change it. */
struct entry {
	struct id id;
	uint64_t account, accepted_ms, size;
	struct place put;
	void *data; /* memory engine: the content */
	uint32_t n_rcpts, failed;
	uint32_t n_deliveries, open; /* open: deliveries with pending recipients */
	uint32_t first;              /* insiders: chain of deliveries */
	bool file;                   /* the body is in large/ */
};

struct delivery {
	uint64_t next_ms;
	struct place state;   /* of its last RECORD_STATE; segment 0: none */
	uint32_t entry, dest; /* insiders */
	uint32_t next;        /* insiders: the message's next delivery */
	uint32_t at;          /* insiders: place in its destination's heap */
	uint32_t attempts, pending, failed;
	bool leased;
};

/* NULL: memory is out. */
struct index *index_new(const uint64_t hash_key[2]);
void index_free(struct index *);

/* A new message with all its recipients pending. NULL: memory is out (nothing changed). */
struct entry *index_put(struct index *, const struct spool_envelope *, uint64_t due_ms, struct place);
struct entry *index_find(const struct index *, struct id);
struct delivery *index_delivery(const struct index *, const struct entry *, uint32_t number);
/* What became of an attempt; ends the lease. True: the message is complete and may be removed. */
bool index_settle(struct index *, struct entry *, struct delivery *, uint32_t attempts,
    uint64_t next_ms, uint32_t pending, uint32_t failed);
void index_remove(struct index *, struct entry *);

/* The slots of spool_backend that are the same for every engine. */
size_t index_next(struct index *, uint64_t now_ms, struct spool_dest *out, size_t max,
    uint64_t *ret_wait_ms);
size_t index_take(struct index *, const struct spool_dest *, uint64_t now_ms,
    struct spool_ticket *out, size_t max);
void index_park(struct index *, const struct spool_dest *, uint64_t not_before_ms);
void index_release(struct index *, const struct spool_ticket *, uint64_t due_ms);
size_t index_list(const struct index *, const struct spool_filter *, const struct id *after,
    struct spool_row *out, size_t max);
/* Fills all but the bytes on disk and the damage. */
void index_count(const struct index *, struct spool_count *ret);
size_t index_messages(const struct index *);
/* Bytes of memory in use. */
uint64_t index_memory(const struct index *);
/* Every message, in no order: *at begins at 0; NULL ends. */
struct entry *index_each(const struct index *, size_t *at);

#endif
