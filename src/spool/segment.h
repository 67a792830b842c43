/* spool/segment.h -- one file of the log: its header, and reading its records.
 *
 * seg-<8 hex digits>.log: a header, twice, in the first SEGMENT_DATA bytes, then records
 * (spool/record.h), each at a multiple of RECORD_ALIGN. A file is pre-allocated or recycled, so
 * what stands behind the last record means nothing: the segment's random key is in every record's
 * tag, and only records of this key with rising sequence numbers count. */
#ifndef SPOOL_SEGMENT_H
#define SPOOL_SEGMENT_H

#include "base/err.h"
#include "spool/record.h"

#define SEGMENT_FORMAT 2
#define SEGMENT_DATA   1024 /* where the first record stands */
#define SEGMENT_SPARES 2    /* files kept for recycling */

struct spool_uuid {
	unsigned char b[16];
};

struct segment {
	uint32_t number; /* from 1, no gaps */
	int fd;
	uint64_t key[2], first_sequence;
	struct spool_uuid uuid; /* of the spool it belongs to */
	uint64_t end;           /* where the next record goes */
	uint64_t size;          /* of the file */
	uint32_t live;          /* messages whose put lies here */
	uint32_t refs;          /* one for the list, one for each reader */
	bool handed_out;        /* a caller may hold a descriptor: never overwrite */
	bool half;              /* one of the two headers is unsound */
};

void segment_name(uint32_t number, const char *suffix, char ret[32]);
/* "seg-0000002a.log" -> 42; false: some other name. */
bool segment_number(const char *name, const char *suffix, uint32_t *ret);
void segment_spare_name(unsigned i, char ret[32]);

/* Makes a segment (number, uuid and first_sequence given): from a spare file when there is one,
 * else anew with `size` bytes allocated, written with zeros when `zero`. Durable, name and all,
 * when it returns. */
bool segment_create(int dir, struct segment *, uint64_t size, bool zero, struct err *e);
/* ERR_DAMAGED: its header is unsound; ERR_LATER: it cannot be read. ret->number is what the header
 * says: another number than the file's name makes it a copy. */
bool segment_open(int dir, uint32_t number, struct segment *ret, struct err *e);
void segment_close(struct segment *);
/* Out of use: becomes a spare when `keep`, or is deleted; its summary is deleted. */
void segment_retire(int dir, const struct segment *, bool keep);

/* pread and pwrite of exactly n bytes. errno is ENODATA when the file ends before. */
bool segment_read(int fd, uint64_t at, void *to, size_t n);
bool segment_write(int fd, uint64_t at, const void *from, size_t n);
/* CRC-32C of a part of a file. */
bool segment_crc(int fd, uint64_t at, uint64_t bytes, uint32_t *ret);

/* The record at `at`: header and meta, checked. meta is cleared first. */
bool segment_record(const struct segment *, uint64_t at, struct record_header *ret,
		    struct buf *meta);

/* Reading in order, a block at a time. Bytes that could not be read are not bytes that are
 * unsound: once `error` is set, nothing that was told of the segment may be believed. */
struct scan {
	const struct segment *segment;
	char *block;
	uint64_t from;
	size_t n, cap;
	int error;   /* errno of a read that failed, or ENOMEM */
	bool patchy; /* salvage: what cannot be read is taken as zeros instead */
};

void scan_init(struct scan *, const struct segment *);
void scan_done(struct scan *);
/* As segment_record(); the meta is valid until the next call. */
bool scan_record(struct scan *, uint64_t at, struct record_header *ret, struct slice *ret_meta);
/* Whether the body behind the record matches its checksum. */
bool scan_body_sound(struct scan *, uint64_t at, const struct record_header *);
/* The next sound record at or behind `at` with at least this sequence number; UINT64_MAX: none. */
uint64_t scan_seek(struct scan *, uint64_t at, uint64_t sequence, struct record_header *ret);

#endif
