/* spool/segment.h -- one file of the log: its header, and reading its records in order.
 *
 * seg-<8 hex digits>.log: 64 bytes of header, then records (spool/record.h), each at a multiple of
 * RECORD_ALIGN. A file is pre-allocated or recycled, so what stands behind the last record means
 * nothing: the segment's random epoch is in every checksum, and only records of this epoch with
 * rising sequence numbers count. */
#ifndef SPOOL_SEGMENT_H
#define SPOOL_SEGMENT_H

#include "spool/record.h"

#define SEGMENT_HEADER 64

struct segment {
	uint32_t number; /* from 1, no gaps */
	int fd;
	uint64_t epoch, first_sequence;
	uint64_t end;  /* where the next record goes */
	uint64_t size; /* of the file */
	uint32_t live; /* messages whose put lies here */
};

void segment_name(uint32_t number, char ret[32]);
/* "seg-0000002a.log" -> 42; false: some other name. */
bool segment_number(const char *name, uint32_t *ret);

/* Makes segment `number`: from the spare file when there is one, else anew with `size` bytes
 * allocated (written with zeros when `zero`). Durable, name and all, when it returns. */
bool segment_create(int dir, uint32_t number, uint64_t first_sequence, uint64_t size, bool zero,
    struct segment *ret, struct err *e);
/* ERR_DAMAGED: its header is unsound. */
bool segment_open(int dir, uint32_t number, struct segment *ret, struct err *e);
void segment_close(struct segment *);
/* Out of use: becomes the spare, or is deleted. */
void segment_retire(int dir, struct segment *);

/* pread of exactly n bytes. */
bool segment_read(int fd, uint64_t at, void *to, size_t n);
/* The record at `at`: header and meta, checked. meta is appended to buf (cleared first). */
bool segment_record(const struct segment *, uint64_t at, struct record_header *ret, struct buf *meta);
/* Whether the body behind the record matches its checksum. */
bool segment_body_sound(const struct segment *, uint64_t at, const struct record_header *);
/* The next sound record at or behind `at` with a sequence number above `after`; UINT64_MAX: none. */
uint64_t segment_seek(const struct segment *, uint64_t at, uint64_t after, struct buf *meta);

#endif
