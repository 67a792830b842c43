#include "spool/log_impl.h"

#include "base/auto.h"
#include "base/fault.h"
#include "ops/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define META_MAX (512u << 20) /* all records of a batch without their bodies */

/* -- segments -- */

struct segment *log_segment(struct spool *s, uint32_t number)
{
	size_t low = 0, high = s->n_segments;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (s->segments[mid]->number == number)
			return s->segments[mid];
		if (s->segments[mid]->number < number)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

struct segment *log_hold(struct spool *s, uint32_t number)
{
	struct segment *seg;

	pthread_mutex_lock(&s->lock);
	seg = log_segment(s, number);
	if (seg)
		seg->refs++;
	pthread_mutex_unlock(&s->lock);
	return seg;
}

void log_let_go(struct spool *s, struct segment *seg)
{
	bool last;

	pthread_mutex_lock(&s->lock);
	last = --seg->refs == 0;
	pthread_mutex_unlock(&s->lock);
	if (!last)
		return;
	segment_close(seg);
	free(seg);
}

bool log_add_segment(struct spool *s, const struct segment *seg)
{
	struct segment *own = malloc(sizeof *own);
	void *at;
	bool ok;

	if (!own)
		return false;
	*own = *seg;
	pthread_mutex_lock(&s->lock);
	at = s->segments;
	ok = log_grow(&at, &s->cap_segments, s->n_segments + 1, sizeof(struct segment *));
	s->segments = at;
	if (ok)
		s->segments[s->n_segments++] = own;
	pthread_mutex_unlock(&s->lock);
	if (!ok)
		free(own);
	return ok;
}

void log_large_name(struct id id, char ret[32])
{
	struct buf b = { .p = ret, .cap = 31, .max = 31 };

	id_add(&b, id);
	ret[b.n] = '\0';
}

/* -- opening -- */

static bool cannot(struct spool *s, const char *what, struct err *e)
{
	return err_set(e, ERR_LATER, "spool: %s%s: %s", s->path, what, strerror(errno));
}

static bool take_lock(struct spool *s, bool make, struct err *e)
{
	char pid[32] = "";
	int n;

	s->lock_fd = openat(s->dir, "lock",
			    (make ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return (!make && errno == ENOENT) || cannot(s, "/lock", e);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB)) {
		n = (int)read(s->lock_fd, pid, sizeof pid - 1);
		return err_set(e, ERR_CONFLICT, "spool: %s is in use by process %.*s", s->path,
			       n > 0 ? (int)strcspn(pid, " \n") : 1, n > 0 ? pid : "?");
	}
	if (!make)
		return true;
	/* Over the last one's, never cut first: a start on a full disk could not write it again.
	 * The lock is flock's; what is written is for the eye, and may fail. */
	n = snprintf(pid, sizeof pid, "%-15d\n", (int)getpid());
	(void)segment_write(s->lock_fd, 0, pid, (size_t)n);
	return true;
}

/* A new directory must not vanish with the messages in it. */
static bool make_dir(struct spool *s, struct err *e)
{
	char parent[sizeof s->path];
	char *slash;
	int fd;
	bool ok;

	if (mkdir(s->path, 0700))
		return errno == EEXIST || cannot(s, "", e);
	snprintf(parent, sizeof parent, "%s", s->path);
	slash = strrchr(parent, '/');
	if (slash == parent)
		slash++;
	if (slash)
		*slash = '\0';
	fd = open(slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ok = fd >= 0 && !fsync(fd);
	if (fd >= 0)
		close(fd);
	return ok || cannot(s, "", e);
}

static int sub_dir(struct spool *s, const char *name, bool make)
{
	if (make && mkdirat(s->dir, name, 0700) && errno != EEXIST)
		return -1;
	return openat(s->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

bool log_open_dirs(struct spool *s, struct slice path, bool make, struct err *e)
{
	struct stat st;

	if (!path.n || path.n + 1 >= sizeof s->path)
		return err_set(e, ERR_INPUT, "spool: path empty or too long");
	memcpy(s->path, path.p, path.n);
	if (make && !make_dir(s, e))
		return false;
	s->dir = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir < 0 || fstat(s->dir, &st))
		return cannot(s, "", e);
	/* Nobody else reads mail. */
	if (make && st.st_mode & 077 && fchmod(s->dir, 0700))
		return cannot(s, "", e);
	if (!take_lock(s, make, e))
		return false;
	s->large = sub_dir(s, "large", make);
	s->damaged_dir = sub_dir(s, "damaged", make);
	if (make && (s->large < 0 || s->damaged_dir < 0 || fsync(s->dir)))
		return cannot(s, "", e);
	return true;
}

bool log_read_uuid(struct spool *s)
{
	int fd = openat(s->dir, "spool.id", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct spool_uuid u;
	char text[33];
	bool ok = fd >= 0 && segment_read(fd, 0, text, sizeof text) && text[32] == '\n';

	if (fd >= 0)
		close(fd);
	for (size_t i = 0; ok && i < 32; i++) {
		const char *digits = "0123456789abcdef",
			   *d = text[i] ? strchr(digits, text[i]) : NULL;

		ok = d;
		if (ok)
			u.b[i / 2] =
			    (unsigned char)((i % 2 ? u.b[i / 2] << 4 : 0) | (int)(d - digits));
	}
	if (ok)
		s->uuid = u;
	return ok;
}

static bool write_uuid(struct spool *s, struct err *e)
{
	static const struct spool_uuid none;
	struct buf b;
	int fd;
	bool ok;

	if (!memcmp(&s->uuid, &none, sizeof none) &&
	    getrandom(&s->uuid, sizeof s->uuid, 0) != sizeof s->uuid)
		return cannot(s, "/spool.id", e);
	buf_init(&b, 64);
	buf_addhex(&b, slice(s->uuid.b, sizeof s->uuid.b));
	buf_addc(&b, '\n');
	fd = openat(s->dir, "spool.id.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		    0600);
	ok = fd >= 0 && !b.failed && segment_write(fd, 0, b.p, b.n) && !fsync(fd) &&
	     !renameat(s->dir, "spool.id.new", s->dir, "spool.id") && !fsync(s->dir);
	if (fd >= 0)
		close(fd);
	buf_done(&b);
	return ok || cannot(s, "/spool.id", e);
}

struct spool *log_new(const struct spool_conf *conf, struct err *e)
{
	struct spool *s = calloc(1, sizeof *s);

	if (s)
		s->index = index_new(conf->hash_key);
	if (!s || !s->index) {
		free(s);
		err_set(e, ERR_LATER, "spool: out of memory");
		return NULL;
	}
	s->dir = s->large = s->damaged_dir = s->lock_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	s->segment_bytes = conf->segment_bytes ? conf->segment_bytes : LOG_SEGMENT_BYTES;
	s->reserve_bytes = conf->reserve_bytes;
	s->messages_max = conf->messages_max;
	s->sequence = 1;
	buf_init(&s->meta, META_MAX);
	buf_init(&s->facts, LOG_FACTS_MAX);
	buf_init(&s->new_facts, LOG_FACTS_MAX);
	arena_init(&s->scratch, META_MAX);
	map_init(&s->noted, conf->hash_key);
	return s;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void log_free(struct spool *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_segments; i++) {
		segment_close(s->segments[i]);
		free(s->segments[i]);
	}
	ahead_free(s->ahead);
	index_free(s->index);
	buf_done(&s->meta);
	buf_done(&s->facts);
	buf_done(&s->new_facts);
	arena_done(&s->scratch);
	map_done(&s->noted);
	free(s->segments);
	free(s->pending);
	free(s->parts);
	free(s->damage);
	close_fd(s->large);
	close_fd(s->damaged_dir);
	close_fd(s->dir);
	close_fd(s->lock_fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* The first segment is written with zeros: a new installation is fast from its first message. */
static bool first_segment(struct spool *s, struct err *e)
{
	struct segment seg = {
		.number = 1, .first_sequence = 1, .uuid = s->uuid, .refs = 1, .fd = -1
	};

	if (!segment_create(s->dir, &seg, s->segment_bytes, true, e))
		return false;
	if (log_add_segment(s, &seg))
		return true;
	segment_close(&seg);
	return err_set(e, ERR_LATER, "spool: out of memory");
}

static bool begin(struct spool *s, const struct spool_conf *conf, struct err *e)
{
	bool known;

	if (!log_open_dirs(s, conf->path, true, e))
		return false;
	if (!log_load_notes(s))
		return cannot(s, "/damaged", e);
	log_drop_cut(s);
	s->ahead = ahead_new(s->dir, s->segment_bytes);
	if (!s->ahead)
		return err_set(e, ERR_LATER, "spool: out of memory");
	known = log_read_uuid(s);
	if (!log_recover(s, e) || (!known && !write_uuid(s, e)) ||
	    (!s->n_segments && !first_segment(s, e)))
		return false;
	log_retire_empty(s, SIZE_MAX / 2);
	s->rotated_ms = clock_mono_ms();
	return true;
}

static struct spool *seg_open(const struct spool_conf *conf, struct err *e)
{
	struct spool *s = log_new(conf, e);

	if (s && !begin(s, conf, e)) {
		log_free(s);
		return NULL;
	}
	return s;
}

static void seg_close(struct spool *s)
{
	if (s)
		log_mark_closed(s);
	log_free(s);
}

/* -- the slots that ask the index -- */

static size_t seg_next(struct spool *s, uint64_t now_ms, struct spool_dest *out, size_t max,
		       uint64_t *ret_wait_ms)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = index_next(s->index, now_ms, out, max, ret_wait_ms);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static size_t seg_take(struct spool *s, uint32_t flow, uint64_t now_ms, struct spool_ticket *out,
		       size_t max, bool *ret_more)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = index_take(s->index, flow, now_ms, out, max, ret_more);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void seg_park(struct spool *s, uint32_t flow, uint64_t not_before_ms)
{
	pthread_mutex_lock(&s->lock);
	index_park(s->index, flow, not_before_ms);
	pthread_mutex_unlock(&s->lock);
}

static void seg_release(struct spool *s, const struct spool_ticket *t, uint64_t due_ms)
{
	pthread_mutex_lock(&s->lock);
	index_release(s->index, t, due_ms);
	pthread_mutex_unlock(&s->lock);
}

static bool seg_hold(struct spool *s, uint64_t account, struct slice key_id, bool on)
{
	bool ok;

	pthread_mutex_lock(&s->lock);
	ok = index_hold(s->index, account, key_id, on);
	pthread_mutex_unlock(&s->lock);
	return ok;
}

static size_t seg_walk(struct spool *s, const struct spool_filter *f, uint64_t *at,
		       struct spool_row *out, size_t max)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = index_walk(s->index, f, at, out, max);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static size_t seg_flows(struct spool *s, uint64_t *at, struct spool_flow *out, size_t max)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = index_flows(s->index, at, out, max);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void seg_count(struct spool *s, struct spool_count *ret)
{
	struct statvfs v;

	pthread_mutex_lock(&s->lock);
	index_count(s->index, ret);
	ret->bytes_disk = log_disk_bytes(s);
	ret->damaged = s->n_damage;
	pthread_mutex_unlock(&s->lock);
	if (!fstatvfs(s->dir, &v))
		ret->disk_free = (uint64_t)v.f_bavail * v.f_frsize;
}

static size_t seg_damaged(struct spool *s, size_t from, struct spool_damage *out, size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	while (n < max && from < s->n_damage && n < s->n_damage - from) {
		out[n] = s->damage[from + n];
		n++;
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

const struct spool_backend spool_segments = {
	.name = "segments",
	.format = SEGMENT_FORMAT,
	.open = seg_open,
	.close = seg_close,
	.commit = log_commit,
	.next = seg_next,
	.take = seg_take,
	.park = seg_park,
	.release = seg_release,
	.hold = seg_hold,
	.load = log_load,
	.look = log_look,
	.walk = seg_walk,
	.flows = seg_flows,
	.count = seg_count,
	.damaged = seg_damaged,
	.cut = log_cut,
	.uncut = log_uncut,
};

int spool_body_file(struct slice spool_path, struct err *e)
{
	char path[4000];
	int fd, n = snprintf(path, sizeof path, "%.*s/large", SLICE_ARG(spool_path));

	if (n < 0 || (size_t)n >= sizeof path) {
		err_set(e, ERR_INPUT, "spool: path too long");
		return -1;
	}
	/* Without a name: a body whose message never comes to be leaves nothing behind. */
	fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		err_set(e, ERR_LATER, "spool: body file: %s", strerror(errno));
	return fd;
}

bool spool_probe(struct slice spool_path, struct err *e)
{
	static const char block[512] = "probe";
	AUTO_FD fd = spool_body_file(spool_path, e);

	if (fd < 0)
		return false;
	if (segment_write(fd, 0, block, sizeof block) && !FAULT("spool_probe_fails") &&
	    !fdatasync(fd))
		return true;
	return err_set(e, ERR_LATER, "spool: probe: %s", strerror(errno));
}
