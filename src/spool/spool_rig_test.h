/* spool/spool_rig_test.h -- a spool in a directory of its own, for the tests of this room. */
#ifndef SPOOL_SPOOL_RIG_TEST_H
#define SPOOL_SPOOL_RIG_TEST_H

#include "spool/log_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* What happens between any two calls. */
enum bounce { STAY, REOPEN, KILL };

struct rig {
	const struct spool_backend *b;
	struct spool *s;
	struct spool_conf conf;
	char dir[64];
	enum bounce bounce;
};

void rig_begin(struct rig *, const struct spool_backend *, enum bounce, uint64_t segment_bytes);
void rig_end(struct rig *);
void rig_open(struct rig *);
void rig_close(struct rig *);
/* As if the process had been killed: nothing is written, the lock is gone. */
void rig_kill(struct rig *);
void rig_bounce(struct rig *);
/* The name of a file in the spool, in static storage. */
const char *rig_path(const struct rig *, const char *name);
void rig_remove_tree(const char *dir);

/* The n-th test message. Everything about it follows from n. */
struct sample {
	struct id id;
	struct spool_envelope envelope;
	struct spool_content content;
	struct spool_rcpt rcpts[8];
	struct slice dests[4];
	char text[12][32];
	char *head, *body;
	size_t body_bytes;
};

/* n_dests <= n_rcpts <= 8, n_dests <= 4; recipient i belongs to delivery i % n_dests; the j-th
 * destination is "d<first_dest + j>.test". */
void sample_make(struct sample *, unsigned n, uint32_t n_rcpts, uint32_t n_dests,
		 unsigned first_dest, size_t body_bytes);
void sample_free(struct sample *);
struct id sample_id(unsigned n);

enum spool_result rig_put(struct rig *, const struct sample *, uint64_t due_ms);
/* A message of one recipient. */
void rig_put_simple(struct rig *, unsigned n, const char *dest_number, size_t body_bytes);
enum spool_result rig_settle(struct rig *, struct id, uint32_t delivery,
			     const struct spool_verdict *, uint32_t n, uint64_t next_ms);
enum spool_result rig_deliver(struct rig *, struct id); /* delivery 0, recipient 0 */

/* Loads; fails the test unless it is the sample, but for the recipients' states. The message's
 * slices live in *a, which the caller ends. */
void rig_load_same(struct rig *, const struct sample *, struct arena *a, struct spool_message *ret);
bool rig_has(struct rig *, struct id);
struct spool_count rig_count(struct rig *);

int spool_record_cases(void);
int spool_model(void);
int spool_ahead_cases(void);
int spool_cut_cases(void);
int spool_crash_cases(void);
int spool_damage_cases(void);
int spool_salvage_cases(void);
int spool_space_cases(void);

#endif
