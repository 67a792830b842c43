/* spool/spool_files_test.h -- the files of a spool as bytes, and a log to let rot, for the tests of
 * what a crash or a disk leaves behind. */
#ifndef SPOOL_SPOOL_FILES_TEST_H
#define SPOOL_SPOOL_FILES_TEST_H

#include "spool/spool_rig_test.h"

struct bytes {
	char *p;
	size_t n;
};

/* The caller frees p. */
struct bytes file_get(const char *path);
void file_set(const char *path, const char *p, size_t n);
/* One bit of the byte there. */
void flip(const char *path, uint64_t at);
/* In static storage. */
const char *segment_path(const struct rig *, uint32_t number, const char *suffix);
size_t files_in(const struct rig *, const char *sub, const char *suffix);

/* Unlike rig_open(): it may fail. */
bool opens(struct rig *, struct err *);
/* Whether the n-th sample, of one recipient, is there; then as it was put, but for the state. */
bool same_or_gone(struct rig *, unsigned n, size_t body_bytes, enum spool_rcpt_state *ret);

/* A log of three segments and more, closed: of five messages, one was tried and one has failed. */
enum { ROT_MESSAGES = 24, ROT_BYTES = 700 };
void make_log(struct rig *);
/* All of it is there but one message at most, which is counted as damaged then. */
void check_rotten(struct rig *);

#endif
