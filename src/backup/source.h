/* backup/source.h -- spool and database, standing still while they are copied.
 *
 * When a server runs it is asked for a cut over its control socket, and mail goes on. When none
 * does, the spool is opened here, as the user it belongs to, and its lock keeps a server from
 * starting meanwhile. Either way the files stand in one directory, as spool/spool.h says of a cut,
 * with "signet.db" beside them. The spool's moment comes first, the database's second: every
 * account that a message belongs to is there, and what was revoked in between stays revoked. */
#ifndef BACKUP_SOURCE_H
#define BACKUP_SOURCE_H

#include "ops/conf.h"
#include "spool/spool.h"

#include <limits.h>

struct source {
	const struct conf *conf;
	bool running;             /* the server's; else ours */
	char directory[PATH_MAX]; /* of the cut */
	unsigned format;
	struct spool_cut cut;
	struct spool *spool; /* ours */
	int lock;            /* held on the cut while it is copied */
};

/* conf stays valid. ERR_CONFLICT: a backup is under way, or a server has the spool and does not
 * answer. */
bool source_open(struct source *, const struct conf *, struct err *e);
/* Nothing of the cut is needed any more. Fine after a failed open. */
void source_close(struct source *);

#endif
