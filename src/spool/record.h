/* spool/record.h -- what a record says, as bytes: the only place that knows the format.
 *
 * Pure. Integers are little-endian, texts length-prefixed; no byte is interpreted before the
 * record's checksum was found right, and even then every length is checked. */
#ifndef SPOOL_RECORD_H
#define SPOOL_RECORD_H

#include "base/buf.h"
#include "spool/spool.h"

enum record_type {
	RECORD_PUT = 1,    /* a message; again with the same id when it was moved */
	RECORD_STATE = 2,  /* all there is to know of one delivery: replaces what was said before */
	RECORD_CLOSED = 3, /* an orderly end: everything before it was synced */
};

#define RECORD_MAGIC    0x31524753u /* "SGR1" */
#define RECORD_HEADER   48
#define RECORD_ALIGN    8
#define RECORD_META_MAX (16u << 20)
/* A message in memory is at most this large in one record; larger bodies are files. */
#define RECORD_BODY_MAX (128u << 20)

/* Ends with a tag over all of it, made with the segment's random key and the record's place there:
 * neither what an earlier life of the file left behind, nor a message that contains bytes like a
 * record's, nor a record of this segment that stands where it was not written, ever counts. Meta
 * and body have a CRC each, which the tag covers. */
struct record_header {
	enum record_type type;
	bool moved;          /* RECORD_PUT, RECORD_STATE: a copy made by compaction */
	uint32_t meta_bytes; /* behind the header */
	uint32_t meta_crc;
	uint64_t body_bytes; /* behind the meta: head and body of a message */
	uint64_t sequence;
	uint32_t body_crc;
	uint32_t back; /* records of the same commit before this one */
};

/* place: offset in the segment. */
void record_header_write(const struct record_header *, const uint64_t key[2], uint64_t place,
			 char ret[RECORD_HEADER]);
/* False: not a record that was written at this place of the segment with this key. */
bool record_header_read(const char at[RECORD_HEADER], const uint64_t key[2], uint64_t place,
			struct record_header *ret);
/* The tag over a header's other bytes. */
uint64_t record_tag(struct slice, const uint64_t key[2], uint64_t place);
/* Bytes it occupies, alignment included. */
uint64_t record_bytes(const struct record_header *);

/* RECORD_PUT: where the head ends, and where the body is. */
struct record_put {
	struct spool_envelope envelope; /* rcpts and dests in the arena, texts in meta */
	uint64_t due_ms;
	uint64_t head_bytes;
	bool body_in_file; /* large/<id> */
	uint64_t file_at, file_bytes;
	uint32_t file_crc;
};
/* A text over 65,535 bytes sets meta->failed. */
void record_put_write(struct buf *meta, const struct record_put *);
bool record_put_read(struct slice meta, struct arena *, struct record_put *ret);

/* RECORD_STATE */
struct record_state {
	struct id id;
	uint32_t delivery, attempts;
	uint64_t next_ms;
	struct spool_verdict *verdicts; /* every recipient that is not as it was put */
	uint32_t n_verdicts;
	uint32_t pending; /* recipients of the delivery still pending */
	/* Not written when nothing is left to be done: */
	uint64_t tried_ms; /* of the last attempt, and whom it spoke to */
	struct slice remote;
	uint64_t held_ms; /* 0: not held */
	struct slice held_by;
};
void record_state_write(struct buf *meta, const struct record_state *);
bool record_state_read(struct slice meta, struct arena *, struct record_state *ret);

#endif
