/* spool/cut.c -- the log as it was between two commits, for a backup, while mail goes on.
 *
 * Segments are appended to and recycled, never changed in between, so a list of them with how far
 * each one counts is a consistent picture; hard links keep the bytes when the log lets go of a
 * segment, and a segment that was in a cut is deleted then instead of recycled. While the links
 * are made no segment is retired, and a body's file that a commit lets go of gets its link from
 * the committer. So nobody waits for anybody. */
#include "spool/log_impl.h"

#include "base/auto.h"
#include "base/fault.h"
#include "ops/clock.h"
#include "ops/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool cut_error(struct err *e, const char *what)
{
	return err_set(e, ERR_LATER, "spool: backup: %s: %s", what, strerror(errno));
}

void log_cut_keep(struct spool *s, const char *large_name)
{
	char kept[64];

	pthread_mutex_lock(&s->lock);
	if (s->cut_linking) {
		/* It lived at the moment of the cut, perhaps. */
		snprintf(kept, sizeof kept, SPOOL_CUT_DIR "/large/%s", large_name);
		s->cut_spoilt |= linkat(s->large, large_name, s->dir, kept, 0) && errno != EEXIST;
	}
	pthread_mutex_unlock(&s->lock);
}

void log_drop_cut(struct spool *s)
{
	/* Best effort: what stays takes space, and the next cut says why it cannot be made. */
	(void)tree_remove(s->dir, SPOOL_CUT_DIR);
}

/* Whether somebody holds the lock of the cut that is there. */
static bool in_use(struct spool *s)
{
	AUTO_FD fd =
	    openat(s->dir, SPOOL_CUT_DIR "/lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
}

static bool begin_cut(struct spool *s, struct err *e)
{
	uint64_t now = clock_mono_ms();
	bool free_now;

	pthread_mutex_lock(&s->lock);
	free_now =
	    !s->cut_busy && (!s->cut_ms || (now - s->cut_ms >= SPOOL_CUT_GRACE_MS && !in_use(s)));
	if (free_now) {
		s->cut_busy = true;
		s->cut_ms = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return free_now || err_set(e, ERR_CONFLICT, "spool: another backup is under way");
}

/* there: it stays, for whoever copies. */
static void end_cut(struct spool *s, bool there)
{
	if (!there)
		log_drop_cut(s);
	pthread_mutex_lock(&s->lock);
	s->cut_busy = false;
	s->cut_ms = there ? clock_mono_ms() : 0;
	pthread_mutex_unlock(&s->lock);
}

static bool make_room(struct spool *s, struct err *e)
{
	AUTO_FD lock = -1;

	if (!tree_remove(s->dir, SPOOL_CUT_DIR) || mkdirat(s->dir, SPOOL_CUT_DIR, 0700) ||
	    mkdirat(s->dir, SPOOL_CUT_DIR "/large", 0700) ||
	    mkdirat(s->dir, SPOOL_CUT_DIR "/damaged", 0700))
		return cut_error(e, SPOOL_CUT_DIR);
	lock = openat(s->dir, SPOOL_CUT_DIR "/lock",
		      O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return lock >= 0 || cut_error(e, SPOOL_CUT_DIR "/lock");
}

/* The moment itself: believe() and the segments' ends change under the same lock, whole commits at
 * a time. */
static bool look(struct spool *s, struct spool_cut *ret, struct err *e)
{
	struct spool_count count;
	bool ok;

	pthread_mutex_lock(&s->lock);
	index_count(s->index, &count);
	ret->segments = calloc(s->n_segments, sizeof *ret->segments);
	ok = ret->segments;
	ret->messages = count.messages;
	s->cut_linking = true;
	s->cut_spoilt = false;
	for (size_t i = 0; ok && i < s->n_segments; i++) {
		struct segment *seg = s->segments[i];

		segment_name(seg->number, "log", ret->segments[i].name);
		ret->segments[i].bytes = seg->end;
		seg->handed_out = true; /* never overwritten from now on */
		ret->n_segments++;
	}
	pthread_mutex_unlock(&s->lock);
	return ok || err_set(e, ERR_LATER, "spool: out of memory");
}

/* False: errno. What is gone meanwhile was nothing the cut needs, or has its link already. */
static bool link_one(struct spool *s, const char *name, bool needed)
{
	char to[320];

	snprintf(to, sizeof to, SPOOL_CUT_DIR "/%s", name);
	return !linkat(s->dir, name, s->dir, to, 0) || errno == EEXIST ||
	       (errno == ENOENT && !needed);
}

static bool link_all(struct spool *s, const char *sub, struct err *e)
{
	int fd = openat(s->dir, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	bool ok = true;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return cut_error(e, sub);
	}
	for (errno = 0; ok && (de = readdir(d)); errno = ok ? 0 : errno) {
		char name[300];

		snprintf(name, sizeof name, "%s/%s", sub, de->d_name);
		ok = de->d_name[0] == '.' || link_one(s, name, false);
	}
	ok = ok && !errno;
	if (!ok)
		cut_error(e, sub);
	closedir(d);
	return ok;
}

static bool link_cut(struct spool *s, const struct spool_cut *c, struct err *e)
{
	for (size_t i = 0; i < c->n_segments; i++) {
		uint32_t number = 0;
		char sum[32];

		if (!link_one(s, c->segments[i].name, true))
			return cut_error(e, c->segments[i].name);
		(void)segment_number(c->segments[i].name, "log", &number);
		segment_name(number, "sum", sum);
		/* The segment in use has none, and none is needed. */
		if (i + 1 < c->n_segments && !link_one(s, sum, false))
			return cut_error(e, sum);
		FAULT_DIE("spool_cutting");
	}
	return (link_one(s, "spool.id", true) || cut_error(e, "spool.id")) &&
	       link_all(s, "large", e) && link_all(s, "damaged", e);
}

bool log_cut(struct spool *s, struct spool_cut *ret, struct err *e)
{
	struct spool_cut c = { 0 };
	bool ok;

	if (!begin_cut(s, e))
		return false;
	ok = make_room(s, e) && look(s, &c, e) && link_cut(s, &c, e);
	pthread_mutex_lock(&s->lock);
	s->cut_linking = false;
	if (ok && s->cut_spoilt)
		ok = err_set(e, ERR_LATER, "spool: backup: a body could not be kept");
	pthread_mutex_unlock(&s->lock);
	FAULT_DIE("spool_cut");
	if (ok)
		*ret = c;
	else
		free(c.segments);
	end_cut(s, ok);
	return ok;
}

void log_uncut(struct spool *s)
{
	bool mine;

	/* As if it were being made, so that no second one begins in the middle. */
	pthread_mutex_lock(&s->lock);
	mine = !s->cut_busy && s->cut_ms;
	s->cut_busy |= mine;
	pthread_mutex_unlock(&s->lock);
	if (!mine)
		return;
	end_cut(s, false);
}

void log_cut_yield(struct spool *s)
{
	bool there;

	pthread_mutex_lock(&s->lock);
	there = s->cut_ms;
	pthread_mutex_unlock(&s->lock);
	if (there)
		log_uncut(s);
}
