/* spool/index.h -- the queue in memory: which message lies where, which delivery is due when.
 *
 * Both engines keep one; neither bodies nor envelopes are in it, but a fixed small record for each
 * message and each delivery. Not thread-safe: the engine holds its lock. A pointer into it is
 * valid until the message is removed. */
#ifndef SPOOL_INDEX_H
#define SPOOL_INDEX_H

#include "spool/spool.h"

/* So many recipients, and no more, has a message. */
#define INDEX_RCPTS_MAX UINT16_MAX

struct index;

/* What was delivered, cancelled or bounced stays so; a failed recipient may be tried again,
 * cancelled or bounced. */
static inline bool rcpt_may_change(enum spool_rcpt_state from)
{
	return from == RCPT_PENDING || from == RCPT_FAILED;
}

struct place {
	uint32_t segment; /* 0: nowhere */
	uint32_t at;      /* offset in units of RECORD_ALIGN */
};

enum { DELIVERY_LEASED = 1, DELIVERY_BUSY = 2 /* in the commit under way */, DELIVERY_HELD = 4 };

struct delivery {
	uint64_t next_ms;
	struct place state; /* of its last RECORD_STATE */
	uint32_t flow;      /* insiders */
	uint32_t at;        /* insiders: place in its flow's heap */
	uint16_t pending, failed;
	uint16_t attempts; /* stays at its largest value */
	uint8_t flags;
	uint8_t entry_flags; /* insiders: the message's, in its first delivery */
};

struct delivery_list;

struct entry {
	struct id id;
	struct place put;
	union {
		struct delivery one; /* when n_deliveries is 1 */
		struct delivery_list *many;
	} u;
	uint32_t size_low, accepted_low; /* see entry_size(), entry_accepted_ms() */
	uint16_t size_high, accepted_high;
	uint16_t n_rcpts, n_deliveries;
};

_Static_assert(sizeof(struct entry) <= 72, "a million messages must fit");

static inline uint64_t entry_size(const struct entry *e)
{
	return (uint64_t)e->size_high << 32 | e->size_low;
}

static inline uint64_t entry_accepted_ms(const struct entry *e)
{
	return (uint64_t)e->accepted_high << 32 | e->accepted_low;
}

/* What the index wants to know of a new message. */
struct index_message {
	struct id id;
	uint64_t account, accepted_ms, size, due_ms;
	struct slice key_id;
	struct place put;
	bool file;
	uint32_t n_rcpts, n_deliveries;
	const struct slice *dests; /* of each delivery */
	const uint32_t *rcpts;     /* recipients of each delivery */
};

/* NULL: memory is out. */
struct index *index_new(const uint64_t hash_key[2]);
void index_free(struct index *);

/* A new message with all its recipients pending, not yet published: only index_find() knows it.
 * All memory that it will ever need is taken here. NULL: memory is out, or too many recipients
 * (nothing changed). The id is new. */
struct entry *index_add(struct index *, const struct index_message *);
void index_publish(struct index *, struct entry *);
bool index_published(const struct index *, struct entry *);
/* The body is in a file of its own. */
bool entry_in_file(const struct index *, struct entry *);
/* Also of a message that was never published. */
void index_remove(struct index *, struct entry *);

struct entry *index_find(const struct index *, struct id);
struct delivery *index_delivery(const struct index *, struct entry *, uint32_t number);
struct index_outcome {
	uint64_t next_ms;
	uint32_t attempts, pending, failed;
	bool held;    /* by hand */
	bool by_hand; /* a lease, if there is one, goes on */
	bool retry;   /* somebody asked for it: the flow is not parked any longer */
};
/* What became of a delivery. True: the message is complete and may be removed. */
bool index_settle(struct index *, struct entry *, uint32_t number, const struct index_outcome *);
/* It is in the commit under way, or no longer: meanwhile nobody takes it. */
void index_busy(struct index *, struct entry *, uint32_t number, bool on);

/* The slots of spool_backend that are the same for every engine. */
size_t index_next(struct index *, uint64_t now_ms, struct spool_dest *out, size_t max,
		  uint64_t *ret_wait_ms);
size_t index_take(struct index *, uint32_t flow, uint64_t now_ms, struct spool_ticket *out,
		  size_t max, bool *ret_more);
void index_park(struct index *, uint32_t flow, uint64_t not_before_ms);
void index_release(struct index *, const struct spool_ticket *, uint64_t due_ms);
bool index_hold(struct index *, uint64_t account, struct slice key_id, bool on);
size_t index_walk(const struct index *, const struct spool_filter *, uint64_t *at,
		  struct spool_row *out, size_t max);
size_t index_flows(const struct index *, uint64_t *at, struct spool_flow *out, size_t max);
/* Fills what the index knows of a delivery's standing. */
void index_standing(const struct index *, const struct delivery *, struct spool_standing *ret);
/* Fills all but the bytes on disk and the damage. */
void index_count(const struct index *, struct spool_count *ret);
/* Messages, published or not; and the bytes of bodies in files among bytes_live. */
size_t index_messages(const struct index *);
uint64_t index_file_bytes(const struct index *);
/* Bytes of memory in use. */
uint64_t index_memory(const struct index *);
/* Every message, in no order: *at begins at 0; NULL ends. */
struct entry *index_each(const struct index *, size_t *at);

#endif
