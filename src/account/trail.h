/* account/trail.h -- who did what, written in the transaction that does it. */
#ifndef ACCOUNT_TRAIL_H
#define ACCOUNT_TRAIL_H

#include "store/store.h"

#define TRAIL_TEXT_MAX 256 /* bytes of who and of object; longer is cut at a character */

/* Who acts, and when. Every function that changes state takes one. */
struct actor {
	struct slice who; /* "uid:0", "key:<id>"; UTF-8, no control bytes */
	uint64_t now_ms;  /* Unix time */
};

struct trail_row {
	uint64_t account; /* 0: the installation */
	uint64_t at_ms;
	uint64_t n; /* orders rows of one millisecond */
	struct slice who, act, object;
};

/* In an open write transaction. act: "key.create"; object: the key id, domain or account name. */
bool trail_add(struct store_handle *, uint64_t account, const struct actor *, struct slice act,
	       struct slice object, struct err *e);
/* Oldest first. after: the last row seen, or NULL. Rows and texts live in the arena. */
bool trail_list(struct store_handle *, uint64_t account, const struct trail_row *after,
		size_t limit, struct arena *, struct trail_row **ret, size_t *ret_n, struct err *e);

#endif
