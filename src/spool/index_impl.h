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

/* A destination. */
struct dest {
	uint32_t refs;    /* flows */
	uint32_t pending; /* deliveries with pending recipients */
	uint16_t name_n;
	char name[];
};

/* Whose mail it is. Among those that wait for their time while something of it is due later; in
 * the line of those who take turns while something is due; neither while it is held. */
struct origin {
	struct heap_node node; /* in index.waiting */
	struct heap flows;     /* by time; those that are not handed out and have work */
	struct origin *next;   /* in the line */
	uint64_t account, pending;
	uint32_t refs; /* flows */
	bool held, in_line;
	uint32_t key_n;
	char key[]; /* as in index.origins: the account's 8 bytes, then the key's id */
};

struct flow {
	struct heap_node node; /* in its origin's flows */
	struct origin *origin;
	struct dest *dest;
	uint64_t not_before_ms;
	uint32_t *due;    /* heap of deliveries by next_ms */
	uint32_t n, cap;  /* cap >= refs: a delivery can always come back */
	uint32_t pending; /* deliveries with pending recipients, due or leased */
	uint32_t refs;    /* deliveries in messages that exist */
	uint32_t number;
	bool out;     /* handed out */
	bool resting; /* in index.resting */
};

/* Flows without use that are kept for a while: a queue that is empty between two messages of one
 * sender does not make everything anew for each. */
#define RESTING 64

struct index {
	struct slab entries, multi;
	uint32_t *by_id; /* open addressing: entry number or NONE */
	size_t by_id_cap, n;
	struct map dests, origins;
	struct map pairs;   /* of struct flow, by the addresses of its origin and destination */
	struct map holds;   /* account and key (or none) whose mail is held */
	struct flow **flow; /* by number; free ones NULL */
	uint32_t n_flow, cap_flow;
	uint32_t *free_flow, n_free_flow;
	struct flow *last; /* that was asked for; NULL: gone */
	struct flow *resting[RESTING];
	uint32_t rest_at; /* where the next one goes, in place of the oldest */
	struct heap waiting;
	struct origin *line, **line_end;
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

/* flow.c: NULL: memory is out. A flow that nobody uses goes away when it is placed. */
struct flow *index_flow(struct index *, uint64_t account, struct slice key_id, struct slice dest);
/* Where the flow belongs among those that wait for their time; and out, without use. */
void index_flow_place(struct index *, struct flow *);
void index_flows_done(struct index *);
/* A delivery of the flow begins (+1) or ends (-1) to have pending recipients. */
void index_flow_pending(struct index *, struct flow *, int by);

void index_due_remove(struct index *, struct flow *, uint32_t at);

#endif
