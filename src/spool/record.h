/* spool/record.h -- what a record says, as bytes: the only place that knows the format.
 *
 * Pure. Integers are little-endian, texts length-prefixed; no byte is interpreted before the
 * record's checksum was found right, and even then every length is checked. */
#ifndef SPOOL_RECORD_H
#define SPOOL_RECORD_H

#include "base/buf.h"
#include "spool/spool.h"

enum record_type {
	RECORD_PUT = 1,   /* a message; again with the same id when it was moved */
	RECORD_STATE = 2, /* all there is to know of one delivery: replaces what was said before */
};

#define RECORD_MAGIC  0x31524753u /* "SGR1" */
#define RECORD_HEADER 40
#define RECORD_ALIGN  8
/* A message in memory is at most this large in one record; larger bodies are files. */
#define RECORD_MAX (128u << 20)

/* magic, crc, type, body_crc, length, sequence, epoch: the crc covers all behind it, header and
 * meta, but for the body, whose own checksum is in the header. */
struct record_header {
	uint32_t magic, crc;
	uint32_t type;
	uint32_t meta_bytes; /* behind the header */
	uint64_t sequence;
	uint64_t body_bytes; /* behind the meta: head and body of a message */
	uint32_t body_crc;
	uint32_t reserved;
};

/* Fills the checksum. epoch: of the segment; a record of an earlier life of the file is unsound. */
void record_seal(struct record_header *, uint64_t epoch, struct slice meta);
void record_header_write(const struct record_header *, char ret[RECORD_HEADER]);
/* Reads and checks what can be checked without the meta. */
bool record_header_read(const char at[RECORD_HEADER], struct record_header *ret);
bool record_sound(const struct record_header *, uint64_t epoch, struct slice meta);
/* Bytes it occupies, alignment included. */
uint64_t record_bytes(const struct record_header *);

/* RECORD_PUT: where the head ends, and where the body is. */
struct record_put {
	struct spool_envelope envelope; /* rcpts and dests in the arena, texts in meta */
	uint64_t due_ms;
	uint64_t head_bytes;
	bool body_in_file;              /* large/<id> */
	uint64_t file_bytes;
	uint32_t file_crc;
};
void record_put_write(struct buf *meta, const struct record_put *);
bool record_put_read(struct slice meta, struct arena *, struct record_put *ret);

/* RECORD_STATE */
struct record_state {
	struct id id;
	uint32_t delivery, attempts;
	uint64_t next_ms;
	struct spool_verdict *verdicts; /* every recipient that is not as it was put */
	uint32_t n_verdicts;
	uint32_t pending;               /* recipients of the delivery still pending */
};
void record_state_write(struct buf *meta, const struct record_state *);
bool record_state_read(struct slice meta, struct arena *, struct record_state *ret);

#endif
