/* backup/take.c -- a backup is taken: what stands still is copied, then what it names, and last
 * the manifest.
 *
 * Mail has the right of way: after each block the copy rests as long as the block took, what was
 * written is synced a little at a time, and the process stands last in every queue. */
#include "backup/backup.h"

#include "backup/manifest.h"
#include "backup/sink.h"
#include "backup/source.h"
#include "base/auto.h"
#include "base/timetext.h"
#include "ops/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BLOCK       (1u << 20)
#define SYNC_BYTES  (16u << 20)
#define REST_MAX_MS 250
#define SPARE_BYTES (16ull << 20) /* left over where it is written */
#define NAMES_MAX   (512u << 20)

/* A file that will be copied. */
struct item {
	const char *path, *name; /* where it stands, what the backup calls it */
	uint64_t bytes;
	unsigned char sha256[DIGEST_SHA256];
};

struct taking {
	const struct conf *conf;
	struct source source;
	struct sink *sink;
	struct arena arena;
	struct sha256 *sha;
	char *block;
	struct item *items;
	size_t n, cap;
	struct manifest_absent *absent;
	size_t n_absent;
	uint64_t unsynced;
	struct manifest manifest; /* its front */
};

/* -- what is copied -- */

static const char *text2(struct arena *a, const char *before, const char *after)
{
	size_t n = strlen(before) + strlen(after) + 1;
	char *p = arena_alloc(a, n);

	if (p)
		snprintf(p, n, "%s%s", before, after);
	return p;
}

static bool add_item(struct taking *t, const char *path, const char *name, uint64_t bytes,
		     struct err *e)
{
	if (!path || !name)
		return err_set(e, ERR_LATER, "out of memory");
	if (!manifest_name_ok(slice_str(name)))
		return err_set(e, ERR_INPUT, "%s: a path that a backup cannot name", path);
	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 256;
		struct item *more = realloc(t->items, cap * sizeof *more);

		if (!more)
			return err_set(e, ERR_LATER, "out of memory");
		t->items = more;
		t->cap = cap;
	}
	t->items[t->n++] = (struct item){ .path = path, .name = name, .bytes = bytes };
	return true;
}

static const struct spool_cut_segment *segment_of(const struct taking *t, const char *name)
{
	for (size_t i = 0; !strncmp(name, "seg-", 4) && i < t->source.cut.n_segments; i++)
		if (!strcmp(t->source.cut.segments[i].name, name))
			return &t->source.cut.segments[i];
	return NULL;
}

/* One file of the cut. front: the backup's name of its directory. */
static bool add_cut_file(struct taking *t, const char *dir, const char *front, const char *name,
			 struct err *e)
{
	const struct spool_cut_segment *seg = segment_of(t, name);
	const char *path = text2(&t->arena, text2(&t->arena, dir, "/"), name);
	struct stat st;

	if (!path)
		return err_set(e, ERR_LATER, "out of memory");
	if (lstat(path, &st))
		return err_set(e, ERR_LATER, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || !strcmp(name, "lock"))
		return true;
	if (!strcmp(name, "signet.db"))
		front = "data/";
	return add_item(t, path, text2(&t->arena, front, name),
			seg ? seg->bytes : (uint64_t)st.st_size, e);
}

static bool add_directory(struct taking *t, const char *dir, const char *front, struct err *e)
{
	DIR *d = opendir(dir);
	struct dirent *de;
	bool ok = d;

	for (errno = 0; ok && (de = readdir(d)); errno = ok ? 0 : errno)
		ok = de->d_name[0] == '.' || add_cut_file(t, dir, front, de->d_name, e);
	if (!d || (ok && errno))
		ok = err_set(e, ERR_LATER, "%s: %s", dir, strerror(errno));
	if (d)
		closedir(d);
	return ok;
}

static bool add_cut(struct taking *t, struct err *e)
{
	const char *dir = t->source.directory;
	size_t found = 0;

	if (!add_directory(t, dir, "spool/", e) ||
	    !add_directory(t, text2(&t->arena, dir, "/large"), "spool/large/", e) ||
	    !add_directory(t, text2(&t->arena, dir, "/damaged"), "spool/damaged/", e))
		return false;
	for (size_t i = 0; i < t->n; i++)
		found += segment_of(t, strrchr(t->items[i].path, '/') + 1) != NULL;
	return found == t->source.cut.n_segments ||
	       err_set(e, ERR_LATER, "the server took its cut back: is its disk short of space?");
}

/* Under data_dir a file keeps its place; elsewhere its whole path is its name. */
static const char *name_of(struct taking *t, const char *path)
{
	struct slice data = t->conf->data_dir, p = slice_str(path);

	if (data.n && slice_starts(p, data) && p.n > data.n + 1 && p.p[data.n] == '/')
		return text2(&t->arena, "data/", path + data.n + 1);
	return text2(&t->arena, "outside", path);
}

/* The path with its directory resolved: "." and ".." and links among its parts are gone, the last
 * part stays (a certificate behind a link is copied under the link's name). */
static const char *clean(struct taking *t, struct slice path)
{
	const char *text = arena_dup(&t->arena, path).p;
	const char *slash = text ? strrchr(text, '/') : NULL, *dir;
	char real[PATH_MAX];

	if (!slash)
		return text;
	dir = slash == text ? "/" : arena_dup(&t->arena, slice(text, (size_t)(slash - text))).p;
	if (!dir || !realpath(dir, real))
		return text;
	return text2(&t->arena, real, slash);
}

static bool add_absent(struct taking *t, const char *path, const char *name, struct err *e)
{
	struct manifest_absent *more = realloc(t->absent, (t->n_absent + 1) * sizeof *t->absent);

	if (!more || !name)
		return err_set(e, ERR_LATER, "out of memory");
	t->absent = more;
	t->absent[t->n_absent++] = (struct manifest_absent){ slice_str(name), slice_str(path) };
	return true;
}

static bool known(const struct taking *t, const char *name)
{
	for (size_t i = 0; i < t->n; i++)
		if (!strcmp(t->items[i].name, name))
			return true;
	for (size_t i = 0; i < t->n_absent; i++)
		if (slice_eq(t->absent[i].name, slice_str(name)))
			return true;
	return false;
}

/* A file that the service needs and that is a secret, or stands beside one. */
static bool add_secret(struct taking *t, struct slice where, bool wanted, struct err *e)
{
	const char *path = where.n ? clean(t, where) : "";
	const char *name = path ? name_of(t, path) : NULL;
	struct stat st;

	if (!where.n)
		return true;
	if (!name)
		return err_set(e, ERR_LATER, "out of memory");
	if (known(t, name))
		return true;
	if (!wanted)
		return add_absent(t, path, name, e);
	if (stat(path, &st))
		return err_set(e, ERR_LATER, "%s: %s", path, strerror(errno));
	return add_item(t, path, name, (uint64_t)st.st_size, e);
}

static bool add_list(struct taking *t, const struct conf_list *l, bool wanted, struct err *e)
{
	for (size_t i = 0; i < l->n; i++)
		if (!add_secret(t, l->at[i], wanted, e))
			return false;
	return true;
}

static bool add_named(struct taking *t, const struct backup_ask *ask, struct err *e)
{
	const struct conf *c = t->conf;
	const char *data = arena_dup(&t->arena, c->data_dir).p;
	const char *master = data ? text2(&t->arena, data, "/master.key") : NULL;
	struct stat st;

	if (stat(ask->config, &st))
		return err_set(e, ERR_INPUT, "%s: %s", ask->config, strerror(errno));
	if (!add_item(t, ask->config, "config/signet.conf", (uint64_t)st.st_size, e) ||
	    !add_secret(t, slice_str(master), ask->secrets, e) ||
	    !add_list(t, &c->tls.certificate, ask->secrets, e) ||
	    !add_list(t, &c->tls.key, ask->secrets, e))
		return false;
	for (size_t i = 0; i < c->n_routes; i++)
		if (!add_secret(t, c->routes[i].password_file, ask->secrets, e) ||
		    !add_secret(t, c->routes[i].ca_file, ask->secrets, e))
			return false;
	return true;
}

/* -- copying -- */

/* Signals that would end us are held back; between two blocks is a good moment. */
static bool interrupted(void)
{
	sigset_t pending;

	return !sigpending(&pending) &&
	       (sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM) ||
		sigismember(&pending, SIGHUP));
}

static void rest(uint64_t ms)
{
	struct timespec t;

	ms = ms < REST_MAX_MS ? ms : REST_MAX_MS;
	t = (struct timespec){ .tv_sec = (time_t)(ms / 1000),
			       .tv_nsec = (long)(ms % 1000) * 1000000 };
	nanosleep(&t, NULL);
}

static bool copy_block(struct taking *t, int fd, uint64_t at, size_t n, struct err *e)
{
	uint64_t began = clock_mono_ms();
	struct slice bytes;
	ssize_t got;

	do
		got = pread(fd, t->block, n, (off_t)at);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_set(e, ERR_LATER, "read: %s", strerror(errno));
	bytes = slice(t->block, (size_t)got);
	if (!got)
		return err_set(e, ERR_LATER, "it got shorter while it was copied");
	sha256_add(t->sha, bytes);
	if (!sink_write(t->sink, bytes, e))
		return false;
	t->unsynced += bytes.n;
	if (t->unsynced >= SYNC_BYTES) {
		t->unsynced = 0;
		if (!sink_sync(t->sink, e))
			return false;
	}
	if (interrupted())
		return err_set(e, ERR_LATER, "interrupted");
	if (t->source.running)
		rest(clock_mono_ms() - began);
	return true;
}

static bool copy_item(struct taking *t, struct item *it, struct err *e)
{
	AUTO_FD fd = open(it->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_LATER,
			       "%s is gone: the server takes a cut back when its disk is short of "
			       "space",
			       it->path);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return err_set(e, ERR_LATER, "%s: %s", it->path,
			       fd < 0 ? strerror(errno) : "not a file");
	if (!sink_begin(t->sink, it->name, it->bytes, e))
		return false;
	for (uint64_t at = 0; at < it->bytes;) {
		uint64_t left = it->bytes - at;
		size_t n = left < BLOCK ? (size_t)left : BLOCK;

		if (!copy_block(t, fd, at, n, e)) {
			err_in(e, it->name);
			return false;
		}
		at += n;
	}
	sha256_end(t->sha, it->sha256);
	return sink_end(t->sink, e);
}

static bool enough_room(const struct taking *t, struct err *e)
{
	uint64_t need = SPARE_BYTES, room = sink_room(t->sink);

	for (size_t i = 0; i < t->n; i++)
		need += t->items[i].bytes + 4096;
	return need <= room ||
	       err_set(e, ERR_LATER, "no room: %llu MB are needed, %llu MB are free",
		       (unsigned long long)(need >> 20), (unsigned long long)(room >> 20));
}

/* -- the manifest -- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static bool write_manifest(struct taking *t, struct backup_said *ret, struct err *e)
{
	unsigned char sum[DIGEST_SHA256];
	struct buf text, hex;
	bool ok;

	if (t->n)
		qsort(t->items, t->n, sizeof *t->items, by_name);
	buf_init(&text, MANIFEST_MAX);
	manifest_begin(&text, &t->manifest);
	for (size_t i = 0; i < t->n; i++) {
		struct manifest_file f = { .bytes = t->items[i].bytes,
					   .name = slice_str(t->items[i].name) };

		memcpy(f.sha256, t->items[i].sha256, sizeof sum);
		manifest_add(&text, &f);
		ret->bytes += f.bytes;
	}
	for (size_t i = 0; i < t->n_absent; i++)
		manifest_add_absent(&text, &t->absent[i]);
	manifest_end(&text);
	ok = !text.failed || err_set(e, ERR_LATER, "the manifest is too large");
	digest_sha256(buf_slice(&text), sum);
	ok = ok && sink_begin(t->sink, MANIFEST_NAME, text.n, e) &&
	     sink_write(t->sink, buf_slice(&text), e) && sink_end(t->sink, e);
	buf_done(&text);
	hex = (struct buf){ .p = ret->sha256, .cap = 64, .max = 64 };
	buf_addhex(&hex, slice(sum, sizeof sum));
	ret->sha256[64] = '\0';
	ret->files = t->n;
	ret->absent = t->n_absent;
	ret->messages = t->manifest.messages;
	return ok;
}

/* -- all of it -- */

static bool front(struct taking *t, struct err *e)
{
	char path[PATH_MAX];
	struct passwd *pw;
	struct stat st;
	struct buf time;
	struct slice now;

	buf_init(&time, 64);
	time_add_rfc3339(&time, clock_wall_ms());
	now = arena_dup(&t->arena, buf_slice(&time));
	buf_done(&time);
	snprintf(path, sizeof path, "%.*s", SLICE_ARG(t->conf->data_dir));
	if (stat(path, &st))
		return err_set(e, ERR_LATER, "%s: %s", path, strerror(errno));
	pw = getpwuid(st.st_uid);
	t->manifest =
	    (struct manifest){ .program = S(SIGNET_VERSION),
			       .time = now,
			       .hostname = t->conf->hostname,
			       .owner = pw ? arena_dup(&t->arena, slice_str(pw->pw_name)) : S("-"),
			       .spool_format = t->source.format,
			       .messages = t->source.cut.messages };
	return true;
}

static bool open_sink(struct taking *t, const struct backup_ask *ask, struct err *e)
{
	t->sink = !strcmp(ask->to, "-") ? sink_to_tar(STDOUT_FILENO, clock_wall_ms() / 1000, e)
					: sink_to_directory(ask->to, e);
	return t->sink;
}

static bool take(struct taking *t, const struct backup_ask *ask, struct backup_said *ret,
		 struct err *e)
{
	if (!open_sink(t, ask, e) || !source_open(&t->source, t->conf, e) || !front(t, e) ||
	    !add_cut(t, e) || !add_named(t, ask, e) || !enough_room(t, e))
		return false;
	for (size_t i = 0; i < t->n; i++)
		if (!copy_item(t, &t->items[i], e))
			return false;
	return write_manifest(t, ret, e) && sink_finish(t->sink, e);
}

/* The last in the queue for processor and disk. */
static void stand_back(void)
{
	enum { IOPRIO_WHO_PROCESS = 1, IOPRIO_BEST_EFFORT_LAST = 2 << 13 | 7 };

	(void)setpriority(PRIO_PROCESS, 0, 10);
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_BEST_EFFORT_LAST);
}

static void hold_signals(void)
{
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, SIGINT);
	sigaddset(&s, SIGTERM);
	sigaddset(&s, SIGHUP);
	sigprocmask(SIG_BLOCK, &s, NULL);
	/* Whoever reads the stream may go: that is an error of write(2). */
	signal(SIGPIPE, SIG_IGN);
}

bool backup_take(const struct backup_ask *ask, struct backup_said *ret, struct err *e)
{
	struct taking t = { .conf = ask->conf, .source.lock = -1 };
	bool ok;

	*ret = (struct backup_said){ 0 };
	umask(077);
	hold_signals();
	stand_back();
	arena_init(&t.arena, NAMES_MAX);
	t.sha = sha256_new();
	t.block = malloc(BLOCK);
	ok = (t.block && t.sha) || err_set(e, ERR_LATER, "out of memory");
	ok = ok && take(&t, ask, ret, e);
	sink_free(t.sink);
	source_close(&t.source);
	sha256_free(t.sha);
	free(t.block);
	free(t.items);
	free(t.absent);
	arena_done(&t.arena);
	return ok;
}
