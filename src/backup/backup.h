/* backup/backup.h -- `signet backup` and `signet restore`.
 *
 * A backup holds the configuration, the control database, and the spool as it was at one moment:
 * every message acknowledged before it, with the state of each recipient, and none by half. What
 * was delivered after that moment is still pending there; so a restored message waits until it is
 * released, unless told otherwise. Secrets (the master key, and what the configuration names:
 * certificates, keys, passwords) are in it only when asked for; else the manifest says what is
 * missing. manifest.h has the form. */
#ifndef BACKUP_BACKUP_H
#define BACKUP_BACKUP_H

#include "base/buf.h"
#include "base/err.h"

struct conf;

struct backup_ask {
	const struct conf *conf;
	const char *config; /* the file it was read from */
	const char *to;     /* a directory that does not exist; "-": tar on standard output */
	bool secrets;
};

struct backup_said {
	uint64_t messages, files, bytes, absent;
	char sha256[65]; /* of the manifest, to be kept elsewhere */
};

/* What is not finished leaves nothing that looks whole. ERR_CONFLICT: the place is taken, or
 * another backup is under way. ERR_LATER: no room, interrupted, or the server took its cut back. */
bool backup_take(const struct backup_ask *, struct backup_said *ret, struct err *e);

struct restore_ask {
	const char *from;
	const char *data;   /* where to */
	const char *spool;  /* NULL: "spool" in there */
	const char *expect; /* the manifest's SHA-256 in hexadecimal, or NULL */
	bool deliver;       /* restored messages are due at once */
};

struct restore_said {
	uint64_t messages, held, files, bytes;
};

/* Every file is checked before anything is written, and while it is written. ERR_DAMAGED names the
 * first file that is not what the manifest says. ERR_CONFLICT: something stands where it would be
 * written, or a newer program wrote it. notes: lines on what is left to do, for the eye. */
bool backup_restore(const struct restore_ask *, struct buf *notes, struct restore_said *ret,
		    struct err *e);

/* The commands; each returns an exit code (ctl/ctl.h) and says what it did, or why not. */
int backup_command(const char *config, const char *to, bool secrets, bool json);
int restore_command(const struct restore_ask *, bool json);
/* `signet keyring rotate`, or prune. ERR_CONFLICT: a server runs. */
int keyring_command(const char *config, bool prune, bool json);

#endif
