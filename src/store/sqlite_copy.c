/* store/sqlite_copy.c -- a copy of the whole database while others read and write it. */
#include "store/sqlite_impl.h"

#include "base/auto.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A copy takes a rest after so many pages: mail has the right of way. */
#define COPY_PAGES   256
#define COPY_REST_NS 2000000

/* One state of the source: its read transaction is open before the first page is read. Nobody else
 * knows the new file, so it needs no journal, and one sync at its end. */
static bool copy_pages(sqlite3 *from, sqlite3 *to, struct err *e)
{
	int64_t ignored;
	sqlite3_backup *b;
	bool ok;
	int rc;

	if (!lite_run(to, "PRAGMA journal_mode=OFF", NULL, e) ||
	    !lite_run(to, "PRAGMA synchronous=OFF", NULL, e) || !lite_run(from, "BEGIN", NULL, e))
		return false;
	ok = lite_run(from, "SELECT count(*) FROM sqlite_schema", &ignored, e);
	b = ok ? sqlite3_backup_init(to, "main", from, "main") : NULL;
	if (b) {
		while ((rc = sqlite3_backup_step(b, COPY_PAGES)) == SQLITE_OK)
			nanosleep(&(struct timespec){ .tv_nsec = COPY_REST_NS }, NULL);
		sqlite3_backup_finish(b);
		ok = rc == SQLITE_DONE || lite_err(NULL, rc, "copy", e);
	} else if (ok) {
		ok = lite_err(to, sqlite3_errcode(to), "copy", e);
	}
	return lite_run(from, "ROLLBACK", NULL, ok ? e : NULL) && ok;
}

static bool sync_file(const char *path, struct err *e)
{
	AUTO_FD fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	return (fd >= 0 && !fsync(fd)) || err_set(e, ERR_LATER, "%s: %s", path, strerror(errno));
}

static bool copy_to(sqlite3 *from, struct slice to_text, struct err *e)
{
	char path[PATH_MAX];
	sqlite3 *to = NULL;
	bool ok;
	int rc;

	if (!lite_path(path, to_text, e))
		return false;
	AUTO_FD fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set(e, errno == EEXIST ? ERR_CONFLICT : ERR_LATER, "%s: %s", path,
			       strerror(errno));
	rc = sqlite3_open_v2(
	    path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	ok = rc == SQLITE_OK ? copy_pages(from, to, e) : lite_err(to, rc, "copy", e);
	ok = sqlite3_close(to) == SQLITE_OK && ok;
	ok = ok && sync_file(path, e);
	if (!ok)
		unlink(path);
	return ok;
}

bool lite_copy(struct store_handle *base, struct slice to, struct err *e)
{
	sqlite3 *from = lite_connect((struct lite *)base->store, e);
	bool ok = from && copy_to(from, to, e);

	sqlite3_close(from);
	return ok;
}

bool store_copy_file(struct slice from_path, struct slice to, struct err *e)
{
	struct lite l = { .busy_ms = 5000 };
	sqlite3 *from = NULL;
	struct stat st;
	bool ok = lite_path(l.path, from_path, e);

	if (ok && lstat(l.path, &st))
		ok = err_set(e, errno == ENOENT ? ERR_ABSENT : ERR_LATER, "%s: %s", l.path,
			     strerror(errno));
	ok = ok && lite_file_ready(l.path, e) && (from = lite_connect(&l, e)) &&
	     copy_to(from, to, e);
	sqlite3_close(from);
	return ok;
}

const char *store_version(void)
{
	return sqlite3_libversion();
}
