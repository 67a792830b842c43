/* spool/fact.h -- what the index needs to know of a record, and the summary of a segment.
 *
 * A start that read every record of a long queue would take minutes. So a segment that is full
 * gets a summary beside it, seg-<number>.sum: the facts of its records in order, checksummed and
 * bound to the segment's key. It is never needed: absent or unsound, the segment is read. */
#ifndef SPOOL_FACT_H
#define SPOOL_FACT_H

#include "spool/index.h"
#include "spool/segment.h"

struct fact {
	enum record_type type; /* RECORD_PUT or RECORD_STATE */
	bool moved;
	uint64_t at;
	struct index_message message; /* RECORD_PUT; arrays in the arena */
	struct id id;                 /* RECORD_STATE, and what follows */
	uint32_t delivery, attempts, pending, failed;
	uint64_t next_ms;
	bool held;
};

/* From a record that was found sound. False: it makes no sense, or (arena->failed) no memory. */
bool fact_of_record(const struct record_header *, uint64_t at, struct slice meta, struct arena *,
		    struct fact *ret);
/* Counts each delivery's recipients; NULL: memory is out. */
uint32_t *fact_rcpts(const struct spool_envelope *, struct arena *);

void fact_write(struct buf *, const struct fact *);
bool fact_read(struct slice *in, struct arena *, struct fact *ret);

/* Best effort: a summary that is not written costs time at the next start. next_sequence: of the
 * record behind the segment's last. */
void summary_write(int dir, const struct segment *, uint64_t next_sequence,
		   const struct buf *facts);
/* Fills ret_facts (cleared first), the segment's end and the next sequence. False: there is none
 * that is sound. */
bool summary_read(int dir, struct segment *, struct buf *ret_facts, uint64_t *ret_next_sequence);

#endif
