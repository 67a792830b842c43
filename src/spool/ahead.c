#include "spool/ahead.h"

#include "base/auto.h"
#include "spool/fact.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Written at once and waited for, so that a commit never stands behind more than this. */
#define STEP (256u << 10)
/* After a step the disk is the committer's for so many times as long as the step took. */
#define REST       2
#define REST_LEAST 1000000 /* ns */

static const char making[] = "ahead.log";

struct ahead {
	pthread_mutex_t lock;
	pthread_cond_t wanted, done;
	pthread_t thread;
	bool running;
	int dir;
	uint64_t segment_bytes;
	atomic_bool stop, is_short;
	bool spare;

	bool summary; /* one waits, or is being written: of this segment */
	struct segment segment;
	uint64_t next_sequence;
	struct buf facts;
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void rest(int64_t took_ns)
{
	int64_t ns = took_ns * REST > REST_LEAST ? took_ns * REST : REST_LEAST;
	struct timespec t = { ns / 1000000000, ns % 1000000000 };

	nanosleep(&t, NULL);
}

static bool given_up(struct ahead *a)
{
	return atomic_load(&a->stop) || atomic_load(&a->is_short);
}

static bool have_spare(int dir)
{
	for (unsigned i = 0; i < SEGMENT_SPARES; i++) {
		char name[32];

		segment_spare_name(i, name);
		if (!faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW))
			return true;
	}
	return false;
}

static bool fill(struct ahead *a, int fd)
{
	AUTO_FREE char *zeros = calloc(1, STEP);
	bool ok = zeros && !posix_fallocate(fd, 0, (off_t)a->segment_bytes);

	for (uint64_t at = 0; ok && at < a->segment_bytes; at += STEP) {
		uint64_t left = a->segment_bytes - at;
		size_t n = left < STEP ? (size_t)left : STEP;
		int64_t began = now_ns();

		ok = !given_up(a) && segment_write(fd, at, zeros, n) &&
		     !sync_file_range(fd, (off_t)at, (off_t)n,
				      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
					  SYNC_FILE_RANGE_WAIT_AFTER);
		rest(now_ns() - began);
	}
	return ok && !fdatasync(fd);
}

static void make_spare(struct ahead *a)
{
	AUTO_FD fd = -1;
	char name[32];
	bool ok;

	if (given_up(a) || have_spare(a->dir))
		return;
	fd = openat(a->dir, making, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	segment_spare_name(0, name);
	/* Whoever gave a spare back meanwhile loses it: one is as good as the other. */
	ok = fd >= 0 && fill(a, fd) && !given_up(a) && !renameat(a->dir, making, a->dir, name);
	if (fd >= 0 && !ok)
		unlinkat(a->dir, making, 0);
	/* The committer deletes what it sees; this may have come a moment later. */
	if (ok && atomic_load(&a->is_short))
		unlinkat(a->dir, name, 0);
}

static void *work(void *arg)
{
	struct ahead *a = arg;

	pthread_mutex_lock(&a->lock);
	for (;;) {
		if (a->summary) {
			pthread_mutex_unlock(&a->lock);
			summary_write(a->dir, &a->segment, a->next_sequence, &a->facts);
			pthread_mutex_lock(&a->lock);
			buf_done(&a->facts);
			a->summary = false;
			pthread_cond_broadcast(&a->done);
		} else if (atomic_load(&a->stop)) {
			break;
		} else if (a->spare) {
			a->spare = false;
			pthread_mutex_unlock(&a->lock);
			make_spare(a);
			pthread_mutex_lock(&a->lock);
		} else {
			pthread_cond_wait(&a->wanted, &a->lock);
		}
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

/* With `lock` held. */
static bool begin(struct ahead *a)
{
	sigset_t all, old;

	if (a->running)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	a->running = !pthread_create(&a->thread, NULL, work, a);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return a->running;
}

struct ahead *ahead_new(int dir, uint64_t segment_bytes)
{
	struct ahead *a = calloc(1, sizeof *a);

	if (!a)
		return NULL;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->wanted, NULL);
	pthread_cond_init(&a->done, NULL);
	a->dir = dir;
	a->segment_bytes = segment_bytes;
	return a;
}

void ahead_free(struct ahead *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	atomic_store(&a->stop, true);
	pthread_cond_signal(&a->wanted);
	pthread_mutex_unlock(&a->lock);
	if (a->running)
		pthread_join(a->thread, NULL);
	pthread_cond_destroy(&a->done);
	pthread_cond_destroy(&a->wanted);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

void ahead_spare(struct ahead *a)
{
	pthread_mutex_lock(&a->lock);
	a->spare = begin(a);
	pthread_cond_signal(&a->wanted);
	pthread_mutex_unlock(&a->lock);
}

void ahead_short(struct ahead *a, bool is_short)
{
	atomic_store(&a->is_short, is_short);
}

bool ahead_summary(struct ahead *a, const struct segment *s, uint64_t next_sequence,
		   struct buf *facts)
{
	bool ok;

	pthread_mutex_lock(&a->lock);
	ok = !a->summary && begin(a);
	if (ok) {
		a->summary = true;
		a->segment = *s;
		a->next_sequence = next_sequence;
		a->facts = *facts;
		buf_init(facts, facts->max);
		pthread_cond_signal(&a->wanted);
	}
	pthread_mutex_unlock(&a->lock);
	return ok;
}

void ahead_forget(struct ahead *a, uint32_t number)
{
	pthread_mutex_lock(&a->lock);
	while (a->summary && a->segment.number == number)
		pthread_cond_wait(&a->done, &a->lock);
	pthread_mutex_unlock(&a->lock);
}
