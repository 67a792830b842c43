/* spool/index_impl.h -- how the index lies in memory, for index.c and queue.c. */
#ifndef SPOOL_INDEX_IMPL_H
#define SPOOL_INDEX_IMPL_H

#include "base/heap.h"
#include "base/map.h"
#include "spool/index.h"
#include "spool/slab.h"

#define NONE  UINT32_MAX
#define MULTI 0x80000000u /* a delivery's number: in `multi`, else it is its entry's */

/* Less for fuzzing, which opens a spool a thousand times a second. */
#ifndef BY_ID_LEAST
#define BY_ID_LEAST 1024u
#endif

enum { ENTRY_FILE = 1, ENTRY_PUBLISHED = 2 };

/* A delivery of a message that has several. */
struct multi {
	struct delivery d;
	uint32_t entry, number;
};

struct delivery_list {
	uint32_t open; /* deliveries with pending recipients */
	uint32_t at[]; /* in index.multi */
};

struct dest {
	struct heap_node node; /* in index.dests while it has work and is not held */
	uint64_t not_before_ms;
	uint32_t *due;    /* heap of deliveries by next_ms */
	uint32_t n, cap;  /* cap >= refs: a delivery can always come back */
	uint32_t pending; /* deliveries with pending recipients, due or leased */
	uint32_t refs;    /* deliveries in messages that exist */
	uint32_t number;
	uint16_t name_n;
	bool held;
	char name[];
};

struct index {
	struct slab entries, multi;
	uint32_t *by_id; /* open addressing: entry number or NONE */
	size_t by_id_cap, n;
	struct map names;   /* of struct dest */
	struct dest **dest; /* by number; free ones NULL */
	uint32_t n_dest, cap_dest;
	uint32_t *free_dest, n_free_dest;
	struct heap dests;
	struct spool_count count;
	uint64_t file_bytes;
};

static inline struct entry *entry_at(const struct index *x, uint32_t i)
{
	return slab_at(&x->entries, i);
}

static inline struct multi *multi_at(const struct index *x, uint32_t i)
{
	return slab_at(&x->multi, i);
}

static inline struct delivery *delivery_at(const struct index *x, uint32_t ref)
{
	return ref & MULTI ? &multi_at(x, ref & ~MULTI)->d : &entry_at(x, ref)->u.one;
}

/* Where the destination belongs among those that wait for their time; and out, without use. */
void index_dest_place(struct index *, struct dest *);
void index_due_remove(struct index *, struct dest *, uint32_t at);

#endif
