/* auth/gate.h -- the guard at every door: who is not let in, how late an attempt is answered, and
 * the log of it all.
 *
 * Brings together the limiter, the bans and the authentication log. Deciding takes one short lock
 * and no disk: what is to be written waits in a bounded queue until gate_write(), which a thread
 * of its own calls. When that queue is full, rows are dropped and counted: mail goes first.
 *
 * Threads: any. Times are Unix milliseconds. */
#ifndef AUTH_GATE_H
#define AUTH_GATE_H

#include "auth/authlog.h"
#include "auth/ban.h"
#include "auth/login.h"
#include "policy/limiter.h"

struct gate;

struct gate_conf {
	struct limiter_conf limiter;
	size_t bans_max;   /* bans kept */
	size_t queue_max;  /* rows that may wait to be written */
	uint64_t keep_ms;  /* rows older than this go; 0: none is kept */
	uint64_t rows_max; /* rows kept; about */
};

/* The store (schema authlog_schema) is the gate's alone, and stays open as long. Loads the bans. */
struct gate *gate_new(const struct gate_conf *, struct store *, const uint64_t hash_key[2],
		      uint64_t now_ms, struct err *e);
/* What waits is not written any more: gate_write() before. NULL is fine. */
void gate_free(struct gate *);
void gate_configure(struct gate *, const struct gate_conf *);

/* At the beginning of a connection. True: it is sent away; *ret says why. Never who is allowed by
 * name; who authenticated well recently only by a ban made by hand. */
bool gate_holds(struct gate *, const unsigned char address[16], uint64_t now_ms, struct ban *ret);

/* What is known of an address: for whose turn is when. */
enum limiter_standing gate_standing(struct gate *, const unsigned char address[16],
				    uint64_t now_ms);

struct gate_attempt {
	struct limiter_who who;
	struct slice secret; /* what was tried, or all of it that is the same in a second try */
	enum auth_reason reason;
	bool spared;                       /* nothing of it counts, for its address or against it */
	const struct authlog_entry *entry; /* everything of it set but count, n, and the result */
};

struct gate_verdict {
	uint64_t delay_ms; /* answer so late */
	enum limiter_cause cause;
	bool banned;    /* from now on */
	struct ban ban; /* when banned */
};

/* An attempt has been decided. */
struct gate_verdict gate_decided(struct gate *, const struct gate_attempt *, uint64_t now_ms);
/* A row for the log: result set by the caller. */
void gate_note(struct gate *, const struct authlog_entry *);

/* Writes what waits; `all`: the sums that are still open, too. On failure the rows wait on. */
bool gate_write(struct gate *, bool all, uint64_t now_ms, struct err *e);
/* Counts the rows that are there, once, in small steps: rows_max counts from then on. */
bool gate_count_rows(struct gate *, struct err *e);
/* Removes what is too old or too much, a bounded number at a time. True: there may be more. */
bool gate_prune(struct gate *, uint64_t now_ms);

/* By hand. */
bool gate_ban(struct gate *, const struct ban *, struct err *e);
/* ERR_ABSENT: there is no such ban. */
bool gate_lift(struct gate *, const struct net *, struct err *e);
/* All that hold now, by prefix; they live in the arena. */
bool gate_bans(struct gate *, uint64_t now_ms, struct arena *, struct ban **ret, size_t *ret_n,
	       struct err *e);
/* As authlog_list(); what waits is written first, so that it tells of now. */
bool gate_list(struct gate *, const struct authlog_filter *, const struct authlog_at *after,
	       size_t limit, uint64_t now_ms, struct arena *, struct authlog_entry **ret,
	       size_t *ret_n, struct authlog_at *ret_last, bool *ret_more, struct err *e);

struct gate_count {
	size_t bans, waiting;
	uint64_t dropped; /* rows, since the start */
	struct limiter_count limiter;
};
struct gate_count gate_count(struct gate *);

#endif
