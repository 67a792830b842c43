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
 *  - Leases (take), flows that were handed out (next) and what hold() said live in memory only: a
 *    crash ends them all. A delivery held by hand (SPOOL_SETTLE) stays held after a crash.
 *
 * Words
 *  destination  the key deliveries are queued by: the recipients' domain, lower case, A-labels
 *               (an address literal as written). The spool compares its bytes and nothing else.
 *  delivery     the recipients of one message that share one destination: the unit that is taken,
 *               attempted and put back. Numbered from 0 within its message.
 *  origin       an account and the key that authenticated: whose mail it is.
 *  flow         the deliveries of one origin for one destination: what next() hands out. So what
 *               an account or a key has queued is held by one flag, and nobody's mail stands
 *               behind another's.
 *
 * Threads: spool_commit() is called by one thread, the committer. Everything else may be called
 * from any thread. No call but commit, load and open waits for the disk. */
#ifndef SPOOL_SPOOL_H
#define SPOOL_SPOOL_H

#include "base/arena.h"
#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"

struct map;
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
	SPOOL_BUSY,   /* settle by hand: an attempt is under way; nothing changed */
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

/* A delivery that is held is not handed out until it is let go. */
enum spool_hold { HOLD_AS_IT_IS, HOLD_SET, HOLD_CLEAR };

struct spool_op {
	enum spool_op_kind kind;
	enum spool_result result; /* filled by commit */
	/* SPOOL_PUT. Slices stay valid until commit returns; the spool keeps none of them. */
	struct spool_envelope *envelope;
	struct spool_content *content;
	uint64_t due_ms; /* Unix time of the first attempt; normally accepted_ms */
	/* SPOOL_SETTLE: ends the lease of one delivery; or (by_hand) changes one that is not
	 * leased, and of one that is, whether it is held: the attempt goes on. */
	struct id id;
	uint32_t delivery;
	const struct spool_verdict *verdicts;
	uint32_t n_verdicts;
	uint64_t next_ms; /* when recipients stay pending: Unix time of the next attempt */
	bool attempted;   /* counts as an attempt */
	bool by_hand;     /* next_ms 0 then: as it was */
	enum spool_hold hold;
	uint64_t at_ms;      /* Unix time of the attempt, or of the hold */
	struct slice remote; /* whom the attempt spoke to; kept up to 128 bytes */
	struct slice by;     /* who holds it; kept up to 128 bytes */
};

/* A delivery taken for an attempt. */
struct spool_ticket {
	struct id id;
	uint32_t delivery;
	uint32_t attempts; /* made so far */
	uint64_t accepted_ms, account;
};

/* A flow with work due. */
struct spool_dest {
	char name[256]; /* the destination */
	size_t n;
	uint64_t account;
	uint32_t flow; /* its number, for take and park, until it is parked */
};

/* How a delivery stands, besides its recipients. */
struct spool_standing {
	uint64_t tried_ms;   /* Unix time of the last attempt; 0: none */
	struct slice remote; /* whom it spoke to */
	uint64_t held_ms;    /* held by hand since; 0: not */
	struct slice held_by;
	bool leased;        /* an attempt is under way */
	bool stopped;       /* its account's or its key's mail is held */
	uint64_t parked_ms; /* its flow was parked until then */
};

/* A message as load gives it; everything lives in the arena but the descriptor. */
struct spool_message {
	struct spool_envelope envelope;
	uint64_t *next_ms;               /* per delivery; UINT64_MAX: nothing pending in it */
	uint32_t *attempts;              /* per delivery */
	struct spool_standing *standing; /* per delivery */
	struct spool_content content;    /* fd, when >= 0, belongs to the caller, who closes it */
};

enum spool_list_state {
	LIST_ALL,
	LIST_PENDING,  /* some recipient is pending */
	LIST_DEFERRED, /* pending, and tried before */
	LIST_LEASED,   /* an attempt is under way */
	LIST_HELD,     /* pending and held: by hand, or with its account's or key's mail */
	LIST_FAILED,
};

/* What a message must be; and a delivery, where it is about those. */
struct spool_filter {
	enum spool_list_state state;
	uint64_t account;        /* 0: any */
	struct slice key_id;     /* empty: any */
	struct slice dest;       /* empty: any */
	const struct map *dests; /* destinations, as keys; NULL: any */
	uint64_t before_ms;      /* accepted before; 0: whenever */
};

/* One row of `signet queue list`. */
struct spool_row {
	struct id id;
	uint64_t account, accepted_ms, size;
	uint64_t next_ms; /* of the delivery that is due first; UINT64_MAX: none pending */
	uint32_t n_rcpts, n_deliveries, pending, failed, attempts;
	bool leased;     /* an attempt is under way */
	bool held;       /* a delivery is held by hand */
	bool stopped;    /* its account's or its key's mail is held */
	char key_id[32]; /* cut */
};

/* A flow, for those who look through all of them. */
struct spool_flow {
	uint64_t account;
	char key_id[64], dest[256]; /* key_id: cut */
	size_t key_n, dest_n;
	uint32_t pending; /* deliveries */
	bool stopped;
};

struct spool_count {
	uint64_t messages, pending_deliveries, failed_rcpts, leased, destinations;
	uint64_t held;    /* pending deliveries that are held by hand */
	uint64_t stopped; /* pending deliveries whose account's or key's mail is held */
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

/* A cut: what the spool held at one moment between two commits, for a copy that is made while mail
 * goes on. The files stand as hard links in the directory "backup" inside the spool's own:
 * spool.id, seg-*.log with their summaries, large/, damaged/. Of each segment the first `bytes`
 * count; what stands behind them came later. A lock file "lock" stands there, too: who copies
 * holds flock(LOCK_SH) on it. */
struct spool_cut {
	uint64_t messages;
	struct spool_cut_segment {
		char name[32];
		uint64_t bytes;
	} * segments; /* free() it */
	size_t n_segments;
};
/* The name of that directory, and how long a cut that nobody has locked is left alone. */
#define SPOOL_CUT_DIR      "backup"
#define SPOOL_CUT_GRACE_MS 5000

struct spool_backend {
	const char *name; /* as the config spells it */
	unsigned format;  /* of what it writes on disk; grows when older programs cannot read it */

	/* Opens (recovering what a crash left) or makes a spool. ERR_CONFLICT: another process has
	 * it. ERR_DAMAGED: the engine's own structure is unsound; the text names `spool salvage`.
	 */
	struct spool *(*open)(const struct spool_conf *conf, struct err *e);
	void (*close)(struct spool *);

	/* All operations of a batch with one sync. True: every op has its result and those with
	 * SPOOL_OK are durable. False (sync or write failed): results are SPOOL_FAILED, and from
	 * now on every commit fails until the spool is closed and opened again. */
	bool (*commit)(struct spool *, struct spool_op *const *ops, size_t n, struct err *e);

	/* Hands out up to max flows with work due at now_ms, the origins taking turns; each is the
	 * caller's until park. *ret_wait_ms: Unix time when the next one that is not handed out
	 * falls due, at the latest (UINT64_MAX: none). */
	size_t (*next)(struct spool *, uint64_t now_ms, struct spool_dest *out, size_t max,
		       uint64_t *ret_wait_ms);
	/* Leases up to max due deliveries of a flow that the caller has. *ret_more: others are due
	 * there now. */
	size_t (*take)(struct spool *, uint32_t flow, uint64_t now_ms, struct spool_ticket *out,
		       size_t max, bool *ret_more);
	/* Gives a flow back; next() will not hand it out before not_before_ms. */
	void (*park)(struct spool *, uint32_t flow, uint64_t not_before_ms);
	/* Ends a lease without an outcome; due again at due_ms. Nothing durable changes. */
	void (*release)(struct spool *, const struct spool_ticket *, uint64_t due_ms);
	/* Holds what an account (key_id empty), or one of its keys, has queued and will have, or
	 * lets it go: what is held is handed out by no next() and no take(), attempts under way go
	 * on. Both must have been let go for a key's mail to go out. In memory only. Costs as much
	 * as there are origins, however much they have queued. False: memory is out. */
	bool (*hold)(struct spool *, uint64_t account, struct slice key_id, bool on);

	/* ERR_ABSENT: no such message. ERR_DAMAGED: its record is unsound and was set aside. */
	bool (*load)(struct spool *, struct id id, struct arena *, struct spool_message *ret,
		     struct err *e);
	/* The same without its content. */
	bool (*look)(struct spool *, struct id id, struct arena *, struct spool_message *ret,
		     struct err *e);
	/* The messages that fit the filter, in no order: up to max, and a bounded part of the queue
	 * in one call. *at begins at 0 and is WALK_END when all have been seen. What is there from
	 * the first call to the last is seen once. */
	size_t (*walk)(struct spool *, const struct spool_filter *, uint64_t *at,
		       struct spool_row *out, size_t max);
	/* The flows, in the same manner. */
	size_t (*flows)(struct spool *, uint64_t *at, struct spool_flow *out, size_t max);
	void (*count)(struct spool *, struct spool_count *ret);
	/* Up to max damaged records, beginning with number `from`. */
	size_t (*damaged)(struct spool *, size_t from, struct spool_damage *out, size_t max);

	/* Makes a cut; one at a time. Commits go on meanwhile. ERR_CONFLICT: another copy is being
	 * made. ERR_INPUT: there is nothing on disk. Mail has the right of way: when the disk's
	 * reserve is touched the cut is taken back, and whoever copies finds its files gone. */
	bool (*cut)(struct spool *, struct spool_cut *ret, struct err *e);
	/* The copy is made, or was given up. */
	void (*uncut)(struct spool *);
};

#define WALK_END UINT64_MAX

/* Up to max rows with id greater than *after, in id order; after may be NULL. */
size_t spool_list(const struct spool_backend *, struct spool *, const struct spool_filter *,
		  const struct id *after, struct spool_row *out, size_t max);

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
