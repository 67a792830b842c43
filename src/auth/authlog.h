/* auth/authlog.h -- the authentication log: every decision about a login, for its owner to ask.
 *
 * Rows of a store of its own (the control database's generation, which logins are remembered by,
 * must not move with each of them). A row is one decision, or so many failures of one source that
 * differ in nothing but the time. Never a secret, nor a part of one.
 *
 * authlog_fold is pure: what is coalesced, and until when. The rest is straight-line code for
 * whoever has a handle. */
#ifndef AUTH_AUTHLOG_H
#define AUTH_AUTHLOG_H

#include "store/store.h"

/* Bytes of a text; what is longer is cut, what is no printable UTF-8 is written as \xNN. */
#define AUTHLOG_TEXT 128
#define AUTHLOG_WORD 40

struct authlog_entry {
	uint64_t at_ms, last_ms; /* Unix time of the first and the last */
	uint64_t n;              /* orders rows of one millisecond; set when it is written */
	uint64_t account;        /* 0: not known */
	uint32_t count;          /* at least 1 */
	uint32_t port;           /* the client's */
	char door[AUTHLOG_WORD]; /* listener */
	char address[AUTHLOG_WORD + 8];
	char tls[AUTHLOG_WORD], cipher[AUTHLOG_WORD];
	char mechanism[AUTHLOG_WORD];
	char identity[AUTHLOG_TEXT]; /* as claimed */
	char key_id[AUTHLOG_WORD];
	char result[AUTHLOG_WORD]; /* "ok", "failed", "withdrawn", "banned" */
	char reason[AUTHLOG_WORD];
	char name[AUTHLOG_TEXT]; /* what the client called itself at EHLO */
};

/* Copies a text into a field of `size` bytes, cut and escaped, with a zero behind it. */
void authlog_text(char *field, size_t size, struct slice text);
/* The same of what a client says in place of a name; but what looks like a key or a token (one that
 * was put into the wrong field) is not copied: AUTHLOG_SECRET stands there. */
void authlog_claim(char *field, size_t size, struct slice text);
#define AUTHLOG_SECRET "(looks like a secret)"

extern const struct schema authlog_schema;

/* -- coalescing -- */

#define AUTHLOG_FOLD_MS  60000 /* so long failures that are alike become one row */
#define AUTHLOG_DISTINCT 20

struct authlog_fold;

/* max: sources kept in mind. NULL: memory is out. */
struct authlog_fold *authlog_fold_new(size_t max, const uint64_t hash_key[2]);
void authlog_fold_free(struct authlog_fold *);
/* True: write it. False: it was counted to one that was written less than AUTHLOG_FOLD_MS ago. An
 * address that fails in more than AUTHLOG_DISTINCT ways a minute has the others told as one: their
 * identity is "*", key and name are empty. */
bool authlog_fold_add(struct authlog_fold *, struct authlog_entry *);
/* The next sum of failures to write: those whose time is over at now_ms (UINT64_MAX: all). */
bool authlog_fold_due(struct authlog_fold *, uint64_t now_ms, struct authlog_entry *ret);

/* -- rows -- */

/* Writes them in one transaction. */
bool authlog_add(struct store_handle *, const struct authlog_entry *, size_t n, struct err *e);

struct authlog_filter {
	uint64_t since_ms, until_ms; /* until: not any more then; 0: no end */
	uint64_t account;            /* 0: any */
	struct slice address, identity, key_id, result, reason; /* empty: any; equal else */
};

/* A place in the log. */
struct authlog_at {
	uint64_t at_ms, n;
};

/* Oldest first: up to limit rows that match, after *after (NULL: from since_ms). Looks at no more
 * than `look` rows; *ret_more: there was more to look at, go on from *ret_last. Rows live in the
 * arena. */
bool authlog_list(struct store_handle *, const struct authlog_filter *,
		  const struct authlog_at *after, size_t limit, size_t look, struct arena *,
		  struct authlog_entry **ret, size_t *ret_n, struct authlog_at *ret_last,
		  bool *ret_more, struct err *e);

/* Removes up to max rows older than before_ms, the oldest first; *ret_n: how many. */
bool authlog_prune(struct store_handle *, uint64_t before_ms, size_t max, size_t *ret_n,
		   struct err *e);
/* The time of the oldest row; 0: there is none. */
bool authlog_oldest(struct store_handle *, uint64_t *ret_ms, struct err *e);

#endif
