#include "spool/log_impl.h"

#include "base/auto.h"
#include "ops/clock.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

/* Evidence is kept, within reason. */
#define ASIDE_MAX (32ull << 20)
#define LIST_MAX  100000u

/* False: known already (or the list is full). The caller holds `lock`. */
static bool list_damage(struct spool *s, const struct spool_damage *d)
{
	struct slice where = slice_str(d->where);
	void *at = s->damage;

	if (map_get(&s->noted, where) || s->n_damage >= LIST_MAX ||
	    !log_grow(&at, &s->cap_damage, s->n_damage + 1, sizeof *s->damage))
		return false;
	s->damage = at;
	if (!map_put(&s->noted, where, s))
		return false;
	s->damage[s->n_damage++] = *d;
	return true;
}

static void write_note(struct spool *s, const struct spool_damage *d)
{
	struct buf text;
	char name[160];
	AUTO_FD fd = -1;

	buf_init(&text, 1024);
	buf_addf(&text, "%llu ", (unsigned long long)d->found_ms);
	id_add(&text, d->id);
	buf_addf(&text, " %s\n%s\n", d->where, d->reason);
	snprintf(name, sizeof name, "%s.note", d->where);
	fd = openat(s->damaged_dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		    0600);
	/* Best effort: what is unsound stays so, and is found again. */
	if (fd >= 0 && segment_write(fd, 0, text.p, text.n) && !fsync(fd))
		fsync(s->damaged_dir);
	buf_done(&text);
}

void log_note(struct spool *s, const char *where, const char *reason, const struct id *id)
{
	struct spool_damage d = { .found_ms = clock_wall_ms() };
	bool fresh;

	snprintf(d.where, sizeof d.where, "%s", where);
	snprintf(d.reason, sizeof d.reason, "%s", reason);
	if (id)
		d.id = *id;
	pthread_mutex_lock(&s->lock);
	fresh = list_damage(s, &d);
	pthread_mutex_unlock(&s->lock);
	if (!fresh)
		return;
	if (s->on_damage)
		s->on_damage(s->on_damage_arg, &d);
	if (!s->salvage)
		write_note(s, &d);
}

static bool read_note(struct spool *s, const char *name, struct spool_damage *ret)
{
	char text[512] = "", id[ID_TEXT + 1] = "";
	unsigned long long found = 0;
	AUTO_FD fd = openat(s->damaged_dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0 || read(fd, text, sizeof text - 1) <= 0 ||
	    sscanf(text, "%llu %22s %127s\n%95[^\n]", &found, id, ret->where, ret->reason) < 3)
		return false;
	ret->found_ms = found;
	(void)id_parse(slice_str(id), &ret->id);
	return true;
}

bool log_load_notes(struct spool *s)
{
	int fd = openat(s->damaged_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while ((e = readdir(d))) {
		struct spool_damage dm = { 0 };

		if (!slice_ends(slice_str(e->d_name), S(".note")) || !read_note(s, e->d_name, &dm))
			continue;
		if (list_damage(s, &dm) && s->on_damage)
			s->on_damage(s->on_damage_arg, &dm);
	}
	closedir(d);
	return true;
}

/* Ends with what tells this segment from others that had or will have its number: a note may be
 * older than the segment, when the log was lost and the notes were not. */
static void where_of(const struct segment *seg, uint64_t at, char ret[64])
{
	snprintf(ret, 64, "seg-%08x-%llu-%08x", seg->number, (unsigned long long)at,
		 (unsigned)siphash(seg->key, S("aside")));
}

bool log_is_aside(struct spool *s, const struct segment *seg, uint64_t at)
{
	char where[64];

	if (!s->n_damage)
		return false;
	where_of(seg, at, where);
	return map_get(&s->noted, slice_str(where));
}

static void copy_aside(struct spool *s, const struct segment *seg, uint64_t at, uint64_t bytes,
		       const char *name)
{
	AUTO_FD fd = openat(s->damaged_dir, name,
			    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	char block[16384];
	uint64_t to = 0;

	if (bytes > ASIDE_MAX)
		bytes = ASIDE_MAX;
	while (fd >= 0 && bytes) {
		size_t n = bytes < sizeof block ? (size_t)bytes : sizeof block;

		if (!segment_read(seg->fd, at + to, block, n) || !segment_write(fd, to, block, n))
			return;
		to += n;
		bytes -= n;
	}
}

void log_set_aside(struct spool *s, const struct segment *seg, uint64_t at, uint64_t bytes,
		   const struct id *id, const char *reason)
{
	char where[64];

	where_of(seg, at, where);
	if (!s->salvage)
		copy_aside(s, seg, at, bytes, where);
	log_note(s, where, reason, id);
}
