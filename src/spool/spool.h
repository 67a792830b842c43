/* spool/spool.h -- the queue: messages are kept until their last recipient is settled.
 *
 * Invariants
 *  - What spool_commit() acknowledged survives kill -9 and power loss: bodies, envelopes, and
 *    every change of a recipient's state.
 *  - A message is immutable once committed; only the state of its recipients changes.
 *  - A message leaves the spool when every recipient is delivered, cancelled or bounced. One that
 *    failed keeps its message (and is shown by spool_list) until somebody decides.
 *  - A record whose checksum does not hold is set aside and listed by spool_damaged(); it is never
 *    delivered, and everything else goes on.
 *  - Leases (spool_take) and holds (spool_next) live in memory only: a crash ends them all.
 *
 * Words
 *  destination  the key deliveries are queued by: the recipients' domain, lower case, A-labels
 *               (an address literal as written). The spool compares its bytes and nothing else.
 *  delivery     the recipients of one message that share one destination: the unit that is taken,
 *               attempted and put back. Numbered from 0 within its message.
 *
 * Threads: spool_commit() is called by one thread, the committer. Everything else may be called
 * from any thread. No call but commit, load and open waits for the disk. */
#ifndef SPOOL_SPOOL_H
#define SPOOL_SPOOL_H

#include "base/arena.h"
#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"

struct spool;

struct spool_conf {
	struct slice path;      /* directory, mode 0700; made by spool_open() when absent */
	uint64_t segment_bytes; /* size at which a new segment is begun; 0: engine's default */
	uint64_t reserve_bytes; /* free disk space that only outcomes may use */
	uint64_t messages_max;  /* messages in the spool; beyond it a put is SPOOL_FULL; 0: none */
	uint64_t hash_key[2];   /* random, for tables keyed by destination */
};

/* RFC 3461 4.1 */
enum { NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8 };
enum dsn_ret { RET_NONE, RET_FULL, RET_HDRS };

enum spool_rcpt_state {
	RCPT_PENDING,   /* not tried, or deferred */
	RCPT_DELIVERED, /* the next hop took it */
	RCPT_FAILED,    /* refused for good; kept for the operator */
	RCPT_CANCELLED, /* dropped by a recorded human act */
	RCPT_BOUNCED,   /* refused for good, and whoever had to be told is told */
};

struct spool_rcpt {
	struct slice path;  /* mailbox as it goes on the wire, no brackets */
	struct slice orcpt; /* ORCPT value still in xtext, or empty */
	unsigned notify;    /* NOTIFY_ flags; 0: parameter not given */
	uint32_t delivery;  /* which delivery of this message it belongs to */
	/* Filled by load, ignored by put: */
	enum spool_rcpt_state state;
	bool told_delay;    /* the sender has been told that it takes longer */
	struct slice reply; /* the last remote reply or reason */
};

/* What is known of a message besides its bytes. */
struct spool_envelope {
	struct id id;
	uint64_t account;
	struct slice key_id;  /* id of the key that authenticated it, for the log and revocation */
	uint64_t accepted_ms; /* Unix time */
	struct slice reverse_path; /* empty: the null reverse-path */
	bool body_8bit, smtputf8;
	enum dsn_ret ret;
	struct slice envid; /* still in xtext, or empty */
	struct spool_rcpt *rcpts;
	uint32_t n_rcpts;          /* at least 1 */
	const struct slice *dests; /* destination of each delivery; at most 255 bytes each */
	uint32_t n_deliveries;     /* 1 .. n_rcpts */
	uint64_t size;             /* bytes of head and body together; filled by the spool */
};

/* The bytes of a message: head, then body. The body is either in memory or in a file. */
struct spool_content {
	struct slice head;
	struct slice body; /* used when fd < 0 */
	int fd;            /* an unlinked or temporary file made by spool_body_file(), or -1 */
	uint64_t fd_offset, fd_bytes;
};

enum spool_result {
	SPOOL_OK,     /* durable */
	SPOOL_FULL,   /* put: disk reserve or messages_max reached; settle: not a byte is left, the
			 lease stays, come again. Nothing of it was kept */
	SPOOL_GONE,   /* settle: no such message or delivery (settled before) */
	SPOOL_FAILED, /* nothing is known about its durability: answer 4xx, then reopen or exit */
};

/* The verdict on one recipient of a delivery that was attempted. */
struct spool_verdict {
	uint32_t rcpt; /* index into the envelope's rcpts */
	enum spool_rcpt_state state;
	struct slice reply; /* kept up to 512 bytes */
	bool told_delay;    /* once true it stays so */
};

enum spool_op_kind { SPOOL_PUT, SPOOL_SETTLE };

struct spool_op {
	enum spool_op_kind kind;
	enum spool_result result; /* filled by commit */
	/* SPOOL_PUT. Slices stay valid until commit returns; the spool keeps none of them. */
	struct spool_envelope *envelope;
	struct spool_content *content;
	uint64_t due_ms; /* Unix time of the first attempt; normally accepted_ms */
	/* SPOOL_SETTLE: ends the lease of one delivery. */
	struct id id;
	uint32_t delivery;
	const struct spool_verdict *verdicts;
	uint32_t n_verdicts;
	uint64_t next_ms; /* when recipients stay pending: Unix time of the next attempt */
	bool attempted;   /* counts as an attempt */
};

/* A delivery taken for an attempt. */
struct spool_ticket {
	struct id id;
	uint32_t delivery;
	uint32_t attempts; /* made so far */
	uint64_t accepted_ms, account;
};

struct spool_dest {
	char name[256];
	size_t n;
};

/* A message as load gives it; everything lives in the arena but the descriptor. */
struct spool_message {
	struct spool_envelope envelope;
	uint64_t *next_ms;            /* per delivery; UINT64_MAX: nothing pending in it */
	uint32_t *attempts;           /* per delivery */
	struct spool_content content; /* fd, when >= 0, belongs to the caller, who closes it */
};

enum spool_list_state { LIST_ALL, LIST_PENDING, LIST_FAILED };

struct spool_filter {
	enum spool_list_state state;
	uint64_t account;  /* 0: any */
	struct slice dest; /* empty: any */
};

/* One row of `signet queue list`. */
struct spool_row {
	struct id id;
	uint64_t account, accepted_ms, size;
	uint64_t next_ms; /* of the delivery that is due first; UINT64_MAX: none pending */
	uint32_t n_rcpts, pending, failed, attempts;
	bool leased; /* an attempt is under way */
};

struct spool_count {
	uint64_t messages, pending_deliveries, failed_rcpts, leased, destinations;
	uint64_t bytes_live, bytes_disk; /* message bytes waiting; bytes the spool occupies */
	uint64_t disk_free;              /* bytes on its file system */
	uint64_t damaged;                /* records set aside */
};

struct spool_damage {
	char where[128]; /* file and offset, for the operator */
	char reason[96];
	struct id id; /* zero when it could not be read */
	uint64_t found_ms;
};

struct spool_backend {
	const char *name; /* as the config spells it */

	/* Opens (recovering what a crash left) or makes a spool. ERR_CONFLICT: another process has
	 * it. ERR_DAMAGED: the engine's own structure is unsound; the text names `spool salvage`.
	 */
	struct spool *(*open)(const struct spool_conf *conf, struct err *e);
	void (*close)(struct spool *);

	/* All operations of a batch with one sync. True: every op has its result and those with
	 * SPOOL_OK are durable. False (sync or write failed): results are SPOOL_FAILED, and from
	 * now on every commit fails until the spool is closed and opened again. */
	bool (*commit)(struct spool *, struct spool_op *const *ops, size_t n, struct err *e);

	/* Hands out up to max destinations with work due at now_ms, earliest first; each is held by
	 * the caller until park. *ret_wait_ms: Unix time when the next one that is not held falls
	 * due (UINT64_MAX: none). */
	size_t (*next)(struct spool *, uint64_t now_ms, struct spool_dest *out, size_t max,
		       uint64_t *ret_wait_ms);
	/* Leases up to max due deliveries of a destination that the caller holds. *ret_more: others
	 * are due there now. */
	size_t (*take)(struct spool *, const struct spool_dest *, uint64_t now_ms,
		       struct spool_ticket *out, size_t max, bool *ret_more);
	/* Gives a held destination back; next() will not hand it out before not_before_ms. */
	void (*park)(struct spool *, const struct spool_dest *, uint64_t not_before_ms);
	/* Ends a lease without an outcome; due again at due_ms. Nothing durable changes. */
	void (*release)(struct spool *, const struct spool_ticket *, uint64_t due_ms);

	/* ERR_ABSENT: no such message. ERR_DAMAGED: its record is unsound and was set aside. */
	bool (*load)(struct spool *, struct id id, struct arena *, struct spool_message *ret,
		     struct err *e);
	/* Up to max rows with id greater than *after, in id order; after may be NULL. */
	size_t (*list)(struct spool *, const struct spool_filter *, const struct id *after,
		       struct spool_row *out, size_t max);
	void (*count)(struct spool *, struct spool_count *ret);
	/* Up to max damaged records, beginning with number `from`. */
	size_t (*damaged)(struct spool *, size_t from, struct spool_damage *out, size_t max);
};

extern const struct spool_backend spool_segments; /* append-only segments on one machine */
extern const struct spool_backend spool_memory;   /* for tests: durable until the process ends */

/* A file for a body too large for memory, in the spool's directory, without a name; -1 on error.
 * Whoever fills it syncs it (fdatasync) before the put. The spool gives it a name and syncs the
 * directory inside commit. The descriptor stays the caller's. */
int spool_body_file(struct slice spool_path, struct err *e);

/* Can something be written and synced where the spool is, now? It takes as long as the disk takes,
 * and leaves nothing behind. */
bool spool_probe(struct slice spool_path, struct err *e);

/* Copies every sound message of a spool that does not open into a new one, made as `to` says, and
 * reports the rest through damage(). Needs no server. */
struct spool_salvage {
	uint64_t copied, lost;
};
bool spool_salvage(struct slice from, const struct spool_conf *to,
		   void (*damage)(void *arg, const struct spool_damage *), void *arg,
		   struct spool_salvage *ret, struct err *e);

#endif
