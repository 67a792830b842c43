/* history/history.c -- the thread that writes, the files, and looking through them. */
#include "history/history.h"

#include "base/auto.h"
#include "history/event.h"
#include "ops/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define WAITING_MAX (4u << 20) /* bytes that wait to be written */
#define GATHER_MS   500
#define FILES       16 /* so many make up the size, about: what is dropped at once */
#define FILE_LEAST  (64u << 10)
#define SYNC_S      2
#define BLOCK       (1u << 20)

struct file {
	unsigned number;
	uint64_t bytes, first_ms, last_ms; /* Unix time of its beginning and of its last event */
};

struct history {
	pthread_mutex_t lock;
	pthread_cond_t some, written;
	pthread_t thread;
	struct buf waiting;
	uint64_t added, done, dropped; /* events; done: written, or lost */
	uint64_t n_waiting;
	bool stop, hurry;

	/* The list is guarded; only the thread changes it. */
	struct file *files; /* oldest first */
	size_t n_files, cap_files;

	/* The thread's own */
	struct buf batch;
	int dir, fd;
	uint64_t keep_ms, file_bytes, max_size;
};

static void name_of(unsigned number, char ret[32])
{
	snprintf(ret, 32, "hist-%08x.log", number);
}

/* -- files -- */

static bool add_file(struct history *h, const struct file *f)
{
	if (h->n_files == h->cap_files) {
		size_t cap = h->cap_files ? h->cap_files * 2 : 32;
		struct file *p = realloc(h->files, cap * sizeof *p);

		if (!p)
			return false;
		h->files = p;
		h->cap_files = cap;
	}
	h->files[h->n_files++] = *f;
	return true;
}

static int by_number(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static bool find_files(struct history *h)
{
	int fd = openat(h->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	bool ok = d;

	if (!d && fd >= 0)
		close(fd);
	while (ok && (de = readdir(d))) {
		struct file f;
		struct stat st;
		char name[32];

		if (sscanf(de->d_name, "hist-%8x.log", &f.number) != 1)
			continue;
		name_of(f.number, name);
		if (strcmp(name, de->d_name) || fstatat(h->dir, name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		f.bytes = (uint64_t)st.st_size;
		f.first_ms = f.last_ms = (uint64_t)st.st_mtime * 1000 + 999;
		ok = add_file(h, &f);
	}
	if (d)
		closedir(d);
	if (h->n_files)
		qsort(h->files, h->n_files, sizeof *h->files, by_number);
	return ok;
}

static void drop_first(struct history *h)
{
	char name[32];

	name_of(h->files[0].number, name);
	unlinkat(h->dir, name, 0);
	pthread_mutex_lock(&h->lock);
	memmove(h->files, h->files + 1, --h->n_files * sizeof *h->files);
	pthread_mutex_unlock(&h->lock);
}

/* The one in use is never dropped. */
static void prune(struct history *h, uint64_t now)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < h->n_files; i++)
		bytes += h->files[i].bytes;
	while (h->n_files > 1 && (bytes > h->max_size || now > h->files[0].last_ms + h->keep_ms)) {
		bytes -= h->files[0].bytes;
		drop_first(h);
	}
}

static void next_file(struct history *h, uint64_t now)
{
	struct file f = { .number = h->n_files ? h->files[h->n_files - 1].number + 1 : 1,
			  .first_ms = now,
			  .last_ms = now };
	char name[32];
	bool ok;

	if (h->fd >= 0)
		close(h->fd);
	name_of(f.number, name);
	h->fd = openat(h->dir, name,
		       O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (h->fd < 0)
		return;
	pthread_mutex_lock(&h->lock);
	ok = add_file(h, &f);
	pthread_mutex_unlock(&h->lock);
	if (ok)
		return;
	close(h->fd);
	h->fd = -1;
}

static bool write_all(int fd, struct slice s)
{
	while (s.n) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		slice_take(&s, (size_t)n);
	}
	return true;
}

/* A file holds an eighth of the time, so that what is too old goes soon. */
static bool is_full(const struct history *h, uint64_t now)
{
	const struct file *f = h->fd < 0 ? NULL : &h->files[h->n_files - 1];

	return !f || f->bytes >= h->file_bytes || now > f->first_ms + h->keep_ms / 8;
}

static bool write_batch(struct history *h)
{
	uint64_t now = clock_wall_ms();
	bool ok;

	if (is_full(h, now))
		next_file(h, now);
	ok = h->fd >= 0 && write_all(h->fd, buf_slice(&h->batch));
	if (ok) {
		pthread_mutex_lock(&h->lock);
		h->files[h->n_files - 1].bytes += h->batch.n;
		h->files[h->n_files - 1].last_ms = now;
		pthread_mutex_unlock(&h->lock);
	} else if (h->fd >= 0) {
		/* Half an event may stand there: the next ones go elsewhere. */
		close(h->fd);
		h->fd = -1;
	}
	prune(h, now);
	return ok;
}

/* -- the thread -- */

static void wait_for_some(struct history *h)
{
	struct timespec until;
	uint64_t at = clock_mono_ms() + GATHER_MS;

	until = (struct timespec){ .tv_sec = (time_t)(at / 1000),
				   .tv_nsec = (long)(at % 1000 * 1000000) };
	while (!h->stop && !h->hurry && pthread_cond_timedwait(&h->some, &h->lock, &until) == 0)
		;
}

static void *run(void *arg)
{
	struct history *h = arg;

	pthread_mutex_lock(&h->lock);
	while (!h->stop || h->waiting.n) {
		struct buf swap = h->waiting;
		uint64_t n = h->n_waiting;
		bool ok = true;

		h->waiting = h->batch;
		h->batch = swap;
		h->n_waiting = 0;
		h->hurry = false;
		pthread_mutex_unlock(&h->lock);
		if (h->batch.n)
			ok = write_batch(h);
		else if (h->n_files)
			prune(h, clock_wall_ms());
		buf_clear(&h->batch);
		pthread_mutex_lock(&h->lock);
		h->done += n;
		h->dropped += ok ? 0 : n;
		pthread_cond_broadcast(&h->written);
		if (!h->waiting.n || !h->hurry)
			wait_for_some(h);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

void history_add(struct history *h, const struct history_event *v)
{
	size_t before;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	before = h->waiting.n;
	event_write(&h->waiting, v);
	if (h->waiting.failed) {
		/* No room: the thread is behind. */
		h->waiting.n = before;
		h->waiting.failed = false;
		h->dropped++;
	} else {
		h->added++;
		h->n_waiting++;
	}
	if (h->waiting.n > WAITING_MAX / 2 && !h->hurry) {
		h->hurry = true;
		pthread_cond_signal(&h->some);
	}
	pthread_mutex_unlock(&h->lock);
}

uint64_t history_dropped(struct history *h)
{
	uint64_t n;

	if (!h)
		return 0;
	pthread_mutex_lock(&h->lock);
	n = h->dropped;
	pthread_mutex_unlock(&h->lock);
	return n;
}

static void history_free(struct history *h)
{
	buf_done(&h->waiting);
	buf_done(&h->batch);
	if (h->fd >= 0)
		close(h->fd);
	if (h->dir >= 0)
		close(h->dir);
	free(h->files);
	pthread_cond_destroy(&h->some);
	pthread_cond_destroy(&h->written);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static bool begin(struct history *h, const struct history_conf *c, struct err *e)
{
	char path[4100];
	sigset_t all, old;
	int rc;

	if (c->path.n >= sizeof path)
		return err_set(e, ERR_INPUT, "history: path too long");
	snprintf(path, sizeof path, "%.*s", SLICE_ARG(c->path));
	if (mkdir(path, 0700) && errno != EEXIST)
		return err_set(e, ERR_LATER, "history: %s: %s", path, strerror(errno));
	h->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (h->dir < 0 || !find_files(h))
		return err_set(e, ERR_LATER, "history: %s: %s", path, strerror(errno));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&h->thread, NULL, run, h);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		return err_set(e, ERR_LATER, "history: thread: %s", strerror(rc));
	pthread_setname_np(h->thread, "history");
	return true;
}

struct history *history_open(const struct history_conf *c, struct err *e)
{
	struct history *h = calloc(1, sizeof *h);
	pthread_condattr_t steady;

	if (!h) {
		err_set(e, ERR_LATER, "history: out of memory");
		return NULL;
	}
	h->dir = h->fd = -1;
	h->keep_ms = c->keep_ms;
	h->max_size = c->max_size;
	h->file_bytes = c->max_size / FILES > FILE_LEAST ? c->max_size / FILES : FILE_LEAST;
	buf_init(&h->waiting, WAITING_MAX);
	buf_init(&h->batch, WAITING_MAX);
	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&steady);
	pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
	pthread_cond_init(&h->some, &steady);
	pthread_cond_init(&h->written, &steady);
	pthread_condattr_destroy(&steady);
	if (begin(h, c, e))
		return h;
	history_free(h);
	return NULL;
}

void history_close(struct history *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_cond_signal(&h->some);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	history_free(h);
}

/* -- finding -- */

struct search {
	struct id id;
	struct arena *arena;
	struct history_event *found;
	size_t n, max;
};

static bool keep(struct search *s, const struct history_event *v)
{
	struct history_event *to = &s->found[s->n];

	*to = *v;
	to->outcome = arena_dup(s->arena, v->outcome);
	to->key_id = arena_dup(s->arena, v->key_id);
	to->from = arena_dup(s->arena, v->from);
	to->to = arena_dup(s->arena, v->to);
	to->route = arena_dup(s->arena, v->route);
	to->remote = arena_dup(s->arena, v->remote);
	to->tls = arena_dup(s->arena, v->tls);
	to->reply = arena_dup(s->arena, v->reply);
	s->n++;
	return !s->arena->failed;
}

/* Of a file whose end is cut, or unsound, what stands before that counts. */
static bool search_file(struct search *s, int fd, char *block)
{
	size_t have = 0;
	ssize_t n;

	while (s->n < s->max && (n = read(fd, block + have, BLOCK - have)) > 0) {
		struct slice in = slice(block, have + (size_t)n);
		struct history_event v;
		enum event_read r;

		while ((r = event_read(&in, &v)) == EVENT_OK && s->n < s->max)
			if (id_eq(v.id, s->id) && !keep(s, &v))
				return false;
		if (r == EVENT_BAD)
			return true;
		memmove(block, in.p, in.n);
		have = in.n;
	}
	return true;
}

/* What was added so far is in the files, if the thread keeps up. */
static void wait_written(struct history *h)
{
	struct timespec until;
	uint64_t wanted;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += SYNC_S;
	pthread_mutex_lock(&h->lock);
	wanted = h->added;
	h->hurry = true;
	pthread_cond_signal(&h->some);
	while (h->done < wanted && !pthread_cond_timedwait(&h->written, &h->lock, &until))
		;
	pthread_mutex_unlock(&h->lock);
}

static unsigned *files_since(struct history *h, uint64_t since_ms, struct arena *a, size_t *ret_n)
{
	unsigned *numbers;
	size_t n = 0;

	pthread_mutex_lock(&h->lock);
	numbers = ARENA_ARRAY(a, unsigned, h->n_files + 1);
	for (size_t i = 0; numbers && i < h->n_files; i++)
		if (h->files[i].last_ms >= since_ms)
			numbers[n++] = h->files[i].number;
	pthread_mutex_unlock(&h->lock);
	*ret_n = n;
	return numbers;
}

bool history_find(struct history *h, struct id id, struct arena *a, size_t max,
		  struct history_event **ret, size_t *ret_n, struct err *e)
{
	struct search s = { .id = id, .arena = a, .max = max };
	AUTO_FREE char *block = malloc(BLOCK);
	uint64_t accepted = id_time(id);
	unsigned *numbers;
	size_t n;
	bool ok;

	*ret = NULL;
	*ret_n = 0;
	if (!h)
		return true;
	wait_written(h);
	/* Nothing is said of a message before it was accepted; clocks may be set in between. */
	numbers = files_since(h, accepted > 3600000 ? accepted - 3600000 : 0, a, &n);
	s.found = ARENA_ARRAY(a, struct history_event, max);
	ok = block && numbers && s.found;
	for (size_t i = 0; ok && i < n; i++) {
		char name[32];
		AUTO_FD fd = -1;

		name_of(numbers[i], name);
		fd = openat(h->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		ok = fd < 0 || search_file(&s, fd, block); /* dropped meanwhile */
	}
	*ret = s.found;
	*ret_n = s.n;
	return ok || err_set(e, ERR_LATER, "history: out of memory");
}
