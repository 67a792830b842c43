/* spool/recover.c -- what a start finds: every segment read in order, what is unsound set aside.
 *
 * Reading is idempotent: it changes nothing in a segment, so a second start after a crash, or a
 * crash during a start, finds the same. */
#include "spool/log_impl.h"

#include "base/auto.h"
#include "ops/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* -- damage -- */

static void list_damage(struct spool *s, const struct spool_damage *d)
{
	for (size_t i = 0; i < s->n_damage; i++)
		if (!strcmp(s->damage[i].where, d->where))
			return; /* known from an earlier start */
	if (s->n_damage == s->cap_damage) {
		size_t cap = s->cap_damage ? s->cap_damage * 2 : 16;
		struct spool_damage *at = realloc(s->damage, cap * sizeof *at);

		if (!at)
			return;
		s->damage = at;
		s->cap_damage = cap;
	}
	s->damage[s->n_damage++] = *d;
}

void log_note(struct spool *s, const char *where, const char *reason, const struct id *id)
{
	struct spool_damage d = { .found_ms = clock_wall_ms() };
	struct buf text;
	char name[160];
	AUTO_FD fd = -1;

	snprintf(d.where, sizeof d.where, "%s", where);
	snprintf(d.reason, sizeof d.reason, "%s", reason);
	if (id)
		d.id = *id;
	for (size_t i = 0; i < s->n_damage; i++)
		if (!strcmp(s->damage[i].where, d.where))
			return;
	list_damage(s, &d);
	if (s->damaged_dir < 0)
		return;
	buf_init(&text, 1024);
	buf_addf(&text, "%llu ", (unsigned long long)d.found_ms);
	id_add(&text, d.id);
	buf_addf(&text, " %s\n%s\n", d.where, d.reason);
	snprintf(name, sizeof name, "%s.note", where);
	fd = openat(s->damaged_dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	/* Best effort: the same damage is found again at the next start. */
	if (fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n)
		fsync(fd);
	buf_done(&text);
}

bool log_load_notes(struct spool *s)
{
	AUTO_FD fd = dup(s->damaged_dir);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return false;
	fd_steal(&fd);
	rewinddir(d);
	while ((e = readdir(d))) {
		struct spool_damage dm = { 0 };
		char text[512] = "";
		char id[ID_TEXT + 1] = "";
		unsigned long long found = 0;
		AUTO_FD note = -1;

		if (!slice_ends(slice_str(e->d_name), S(".note")))
			continue;
		note = openat(s->damaged_dir, e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (note < 0 || read(note, text, sizeof text - 1) <= 0 ||
		    sscanf(text, "%llu %22s %127s\n%95[^\n]", &found, id, dm.where, dm.reason) < 3)
			continue;
		dm.found_ms = found;
		(void)id_parse(slice_str(id), &dm.id);
		list_damage(s, &dm);
	}
	closedir(d);
	return true;
}

static void copy_aside(struct spool *s, const struct segment *seg, uint64_t at, uint64_t bytes,
    const char *name)
{
	AUTO_FD fd = openat(s->damaged_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	char block[65536];

	while (fd >= 0 && bytes) {
		size_t n = bytes < sizeof block ? (size_t)bytes : sizeof block;

		if (!segment_read(seg->fd, at, block, n) || write(fd, block, n) != (ssize_t)n)
			return;
		at += n;
		bytes -= n;
	}
}

void log_set_aside(struct spool *s, const struct segment *seg, uint64_t at, uint64_t bytes,
    const struct id *id, const char *reason)
{
	char where[64];

	snprintf(where, sizeof where, "seg-%08x-%llu", seg->number, (unsigned long long)at);
	if (s->damaged_dir >= 0)
		copy_aside(s, seg, at, bytes, where);
	log_note(s, where, reason, id);
}

/* -- records -- */

struct segment *log_segment(struct spool *s, uint32_t number)
{
	if (!s->n_segments || number < s->segments[0].number ||
	    number - s->segments[0].number >= s->n_segments)
		return NULL;
	return &s->segments[number - s->segments[0].number];
}

void large_name(struct id id, char ret[32])
{
	struct buf b = { .p = ret, .cap = 31, .max = 31 };

	id_add(&b, id);
	ret[b.n] = '\0';
}

bool log_read_put(const struct segment *seg, uint64_t at, struct buf *meta, struct arena *a,
    struct record_header *h, struct record_put *ret)
{
	return segment_record(seg, at, h, meta) && h->type == RECORD_PUT &&
	    record_put_read(buf_slice(meta), a, ret) && ret->head_bytes <= h->body_bytes;
}

static bool apply_put(struct spool *s, struct segment *seg, uint64_t at, const struct record_header *h,
    struct slice meta, struct err *e)
{
	struct record_put p;
	struct entry *old, *now;

	arena_done(&s->scratch);
	if (!record_put_read(meta, &s->scratch, &p) || p.head_bytes > h->body_bytes) {
		if (s->scratch.failed)
			return err_set(e, ERR_LATER, "spool: out of memory");
		log_set_aside(s, seg, at, record_bytes(h), NULL, "a message record that makes no sense");
		return true;
	}
	old = index_find(s->index, p.envelope.id);
	if (old && !h->reserved) {
		log_set_aside(s, seg, at, record_bytes(h), &p.envelope.id, "a second record of a message");
		return true;
	}
	if (old) {
		/* Moved by compaction; the first copy's segment has not been recycled yet. */
		struct segment *from = log_segment(s, old->put.segment);

		if (from)
			from->live--;
		old->put = place_of(seg, at);
		seg->live++;
		return true;
	}
	p.envelope.size = p.body_in_file ? p.head_bytes + p.file_bytes : h->body_bytes;
	now = index_put(s->index, &p.envelope, p.due_ms, place_of(seg, at));
	if (!now)
		return err_set(e, ERR_LATER, "spool: out of memory");
	now->file = p.body_in_file;
	seg->live++;
	return true;
}

static uint32_t failed_in(const struct record_state *st)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < st->n_verdicts; i++)
		n += st->verdicts[i].state == RCPT_FAILED;
	return n;
}

static bool apply_state(struct spool *s, struct segment *seg, uint64_t at,
    const struct record_header *h, struct slice meta, struct err *e)
{
	struct record_state st;
	struct entry *en;
	struct delivery *dl;

	arena_done(&s->scratch);
	if (!record_state_read(meta, &s->scratch, &st)) {
		if (s->scratch.failed)
			return err_set(e, ERR_LATER, "spool: out of memory");
		log_set_aside(s, seg, at, record_bytes(h), NULL, "an outcome record that makes no sense");
		return true;
	}
	/* Of a message that is gone: its put lay in a segment that has been recycled since. */
	en = index_find(s->index, st.id);
	dl = en ? index_delivery(s->index, en, st.delivery) : NULL;
	if (!dl)
		return true;
	dl->state = place_of(seg, at);
	if (!dl->pending)
		return true; /* the same once more, moved */
	if (index_settle(s->index, en, dl, st.attempts, st.next_ms, st.pending, failed_in(&st))) {
		struct segment *from = log_segment(s, en->put.segment);

		if (from)
			from->live--;
		index_remove(s->index, en);
	}
	return true;
}

/* A body is checked when it is loaded; here only in the last segment, where a crash may have
 * left a record whose front reached the disk and whose body did not. */
static bool whole(struct spool *s, const struct segment *seg, uint64_t at,
    const struct record_header *h)
{
	return seg != &s->segments[s->n_segments - 1] || segment_body_sound(seg, at, h);
}

static bool read_segment(struct spool *s, struct segment *seg, struct buf *meta, struct err *e)
{
	uint64_t at = SEGMENT_HEADER;

	for (;;) {
		struct record_header h;
		uint64_t next;

		if (segment_record(seg, at, &h, meta) && h.sequence >= s->sequence && whole(s, seg, at, &h)) {
			if (h.type == RECORD_PUT ? !apply_put(s, seg, at, &h, buf_slice(meta), e)
			                         : !apply_state(s, seg, at, &h, buf_slice(meta), e))
				return false;
			s->sequence = h.sequence + 1;
			at += record_bytes(&h);
			seg->end = at;
			continue;
		}
		/* The end, a torn tail, or damage? It is damage when sound records follow. */
		next = segment_seek(seg, at + RECORD_ALIGN, s->sequence, meta);
		if (next == UINT64_MAX)
			return true;
		log_set_aside(s, seg, at, next - at, NULL, "unsound bytes before sound records");
		at = next;
	}
}

/* -- the directory -- */

static bool find_segments(struct spool *s, uint32_t *ret_low, uint32_t *ret_high, size_t *ret_n,
    struct err *e)
{
	AUTO_FD fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!d)
		return err_set(e, ERR_LATER, "spool: %s: %s", s->path, strerror(errno));
	fd_steal(&fd);
	*ret_low = UINT32_MAX;
	*ret_high = 0;
	*ret_n = 0;
	while ((de = readdir(d))) {
		static const char *const known[] = { ".", "..", "lock", "large", "damaged", "spare.log", "new.log" };
		uint32_t number;
		bool ours = false;

		for (size_t i = 0; i < sizeof known / sizeof *known; i++)
			ours |= !strcmp(de->d_name, known[i]);
		if (segment_number(de->d_name, &number)) {
			++*ret_n;
			*ret_low = number < *ret_low ? number : *ret_low;
			*ret_high = number > *ret_high ? number : *ret_high;
		} else if (!ours) {
			char where[100];

			snprintf(where, sizeof where, "foreign-%.80s", de->d_name);
			for (char *p = where; *p; p++)
				if (*p <= ' ' || *p == 0x7f || *p == '/')
					*p = '?';
			log_note(s, where, "a file that is not ours", NULL);
		}
	}
	closedir(d);
	return true;
}

/* Bodies whose message never became durable, or was settled just before the crash. */
static void drop_orphans(struct spool *s)
{
	AUTO_FD fd = openat(s->large, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!d)
		return;
	fd_steal(&fd);
	while ((de = readdir(d))) {
		struct id id;

		if (id_parse(slice_str(de->d_name), &id) && !index_find(s->index, id))
			unlinkat(s->large, de->d_name, 0);
	}
	closedir(d);
}

bool log_recover(struct spool *s, struct err *e)
{
	uint32_t low = 0, high = 0;
	size_t n = 0;
	struct buf meta;
	bool ok = true;

	if (!find_segments(s, &low, &high, &n, e))
		return false;
	if (n && n != (size_t)high - low + 1)
		return err_set(e, ERR_DAMAGED,
		    "spool: %zu segments are missing between seg-%08x and seg-%08x; try: signet spool salvage",
		    (size_t)high - low + 1 - n, low, high);
	s->segments = calloc(n + 16, sizeof *s->segments);
	s->cap_segments = n + 16;
	if (!s->segments)
		return err_set(e, ERR_LATER, "spool: out of memory");
	for (uint32_t i = 0; i < n; i++) {
		if (!segment_open(s->dir, low + i, &s->segments[i], e))
			return false;
		s->n_segments++;
	}
	buf_init(&meta, RECORD_MAX);
	for (size_t i = 0; ok && i < s->n_segments; i++) {
		struct segment *seg = &s->segments[i];

		if (i == 0)
			s->sequence = seg->first_sequence;
		if (seg->first_sequence > s->sequence) {
			struct segment *before = &s->segments[i - 1];

			log_set_aside(s, before, before->end, before->size - before->end, NULL,
			    "records at the end of a segment are unsound");
			s->sequence = seg->first_sequence;
		}
		ok = read_segment(s, seg, &meta, e);
	}
	buf_done(&meta);
	if (ok)
		drop_orphans(s);
	return ok;
}
