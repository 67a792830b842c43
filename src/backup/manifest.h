/* backup/manifest.h -- what a backup says it holds: one text file, MANIFEST, written last.
 *
 * Lines end with LF, fields are separated by one space, in this order:
 *
 *     signet-backup 1
 *     program 0.1.0                     version that wrote it
 *     time 2026-11-26T03:25:14.000Z     of the cut, for the eye
 *     hostname mail.example
 *     owner signet                      who the files belonged to; "-": nobody with a name
 *     spool 2 1234                      format of its segments, messages in it
 *     file SHA256 BYTES NAME            any number, names rising as memcmp
 *     absent NAME PATH                  what was left out, and where it stood; any number
 *     end SHA256                        of all bytes before this line
 *
 * A name is relative, its parts separated by '/'; what is not a letter, digit or one of "._-@+=:,"
 * stands as %XX. No part is empty, "." or "..". The first part is data, config, spool or outside.
 * Pure: no disk, no clock. */
#ifndef BACKUP_MANIFEST_H
#define BACKUP_MANIFEST_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "digest/digest.h"

#define MANIFEST_NAME      "MANIFEST"
#define MANIFEST_FORMAT    1
#define MANIFEST_MAX       (64u << 20)
#define MANIFEST_NAME_MAX  1000 /* decoded */
#define MANIFEST_FILES_MAX 1000000

struct manifest_file {
	unsigned char sha256[DIGEST_SHA256];
	uint64_t bytes;
	struct slice name; /* decoded, NUL behind it */
};

struct manifest_absent {
	struct slice name, path;
};

struct manifest {
	struct slice program, time, hostname, owner;
	uint64_t spool_format, messages;
	struct manifest_file *files;
	size_t n_files;
	struct manifest_absent *absent;
	size_t n_absent;
	unsigned char sha256[DIGEST_SHA256]; /* of the whole text, the last line included */
};

/* Everything in the arena. ERR_CONFLICT: the format is newer than this program's. ERR_DAMAGED: cut
 * short, altered, or not a manifest; says which line. */
bool manifest_read(struct slice text, struct arena *, struct manifest *ret, struct err *e);

/* Writing, in the order of the text. The slices of `m` that stand before files are used. */
void manifest_begin(struct buf *, const struct manifest *m);
void manifest_add(struct buf *, const struct manifest_file *);
void manifest_add_absent(struct buf *, const struct manifest_absent *);
void manifest_end(struct buf *);

/* Whether a file may be called so: what manifest_read() accepts. */
bool manifest_name_ok(struct slice name);
/* Whether version a (three numbers) is newer than b. What is no version is newer than any. */
bool manifest_newer(struct slice a, struct slice b);

#endif
